"""One participant's T1-weighted images: of several kinds one, of several of that kind those that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ban_bids.bids.images import orientation_notes
from ban_bids.bids.index import Index
from ban_bids.bids.metadata import load_header
from ban_bids.bids.names import entities, entity
from ban_bids.errors import DataError
from ban_bids.files.fetched import absence
from ban_bids.inputs.missing import Missing
from ban_bids.settings import Settings

_REPEATS = ("sub", "ses", "run", "part")
"""Entities in which images differ that are averaged; others say how an image was taken, or what was made of it."""


def read_anatomy(
    label: str, index: Index, settings: Settings, missing: Missing
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Choose T1-weighted images: of the chosen sessions where there are any, of one acquisition and one making.

    Parameters
    ----------
    label : str
        Participant.
    index : Index
    settings : Settings
        Sessions, and whose anatomy is used.
    missing : Missing
        Gathers images that are not there.

    Returns
    -------
    images : tuple of Path
        Sorted; none where there are none, which preprocessing does without, and says so.
    notes : tuple of str
        What was left out, and what is doubtful.

    Raises
    ------
    DataError
        There are images, and none can be used.
    """
    notes: list[str] = []
    images = [path for path in index.images("t1w", label) if entity(path, "part") in (None, "mag")]
    sessions = settings.selection.session_ids
    chosen = [path for path in images if not sessions or entity(path, "ses") in (None, *sessions)]
    if images and not chosen:
        notes.append(f"no T1w in session {', '.join(sessions)}; those of other sessions are used")
        chosen = images
    if not chosen:
        if settings.preprocessing.derivatives:
            notes.append("no T1w image; the derivatives' anatomy is used")
        return (), tuple(notes)
    first = _one_kind(chosen)
    if "fmriprep" in dict(settings.preprocessing.derivatives):
        return _if_readable(first, notes), tuple(notes)
    if len(first) < len(chosen):
        left = ", ".join(path.name for path in chosen if path not in first)
        notes.append(f"several kinds of T1w: {first[0].name} is used, {left} left out (--bids-filter-file chooses)")
    return _readable(first, notes, missing), tuple(notes)


def _one_kind(images: Sequence[Path]) -> list[Path]:
    """Images that differ in nothing but session and run: of the kind with the fewest labels that is there."""
    kinds: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for path in images:
        kinds.setdefault(tuple(pair for pair in entities(path) if pair[0] not in _REPEATS), []).append(path)
    return kinds[min(kinds, key=lambda kind: (all(absence(path) is not None for path in kinds[kind]), kind))]


def _readable(paths: Sequence[Path], notes: list[str], missing: Missing) -> tuple[Path, ...]:
    """Images whose header is sound, or that are missing and gathered; of several, the others are left out.

    Raises
    ------
    DataError
        None is.
    """
    sound, errors = [], []
    for path in paths:
        if missing.lacks(path):
            sound.append(path)
            continue
        try:
            image = load_header(path)
            _check_one_volume(path, image.shape)
        except DataError as error:
            errors.append(error)
            continue
        sound.append(path)
        notes += [f"{path.name}: {note}" for note in orientation_notes(image)]
    if not sound:
        raise errors[0]
    notes += [f"T1w image left out: {error}" for error in errors]
    return tuple(sound)


def _check_one_volume(path: Path, shape: Sequence[int]) -> None:
    """Refuse what is no single volume; axes of length 1 after the third do no harm.

    Raises
    ------
    DataError
    """
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise DataError(f"{path}: shape {tuple(shape)} is no volume; give a T1w image of three axes")
    n_volumes = int(np.prod(shape[3:], dtype=int))
    if n_volumes != 1:
        raise DataError(
            f"{path}: {n_volumes} volumes in one file (shape {tuple(shape)}), a T1w image is one; keep one of them, "
            "or their mean, or leave the file out by --bids-filter-file"
        )


def _if_readable(paths: Sequence[Path], notes: list[str]) -> tuple[Path, ...]:
    """Images whose header is sound, none being needed: fMRIPrep's anatomy is used."""
    there = [path for path in paths if absence(path) is None]
    problem = f"{paths[0].name} is not there"
    try:
        if there:
            return _readable(there, [], Missing())
    except DataError as error:
        problem = str(error)
    notes.append(f"raw T1w image not read ({problem}): not needed, the derivatives' anatomy is used")
    return ()
