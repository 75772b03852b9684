"""Which tracks train, which validate, and which may do neither.

GTZAN (Tzanetakis and Cook 2002) has faults: about 5 % exact replicas, 10 % mislabelled tracks, distorted
tracks and artists that repeat (Sturm 2012, 2013). torchaudio carries the fault-filtered lists (Kereliuk et
al. 2015); other splits by track leave artists on both sides and score ten points or more higher.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import chain
from pathlib import Path

import numpy as np
from torchaudio.datasets.gtzan import filtered_train, filtered_valid

from ban_bids.errors import DataError, UsageError
from ban_bids.files.reading import MIB, read_bytes, text_of
from ban_bids.inputs.heldout import held_out_tracks
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Dataset
from ban_bids.settings import Settings
from ban_bids.training.datasets import SUFFIXES, Track

_LOG = logging.getLogger(__name__)

SPLITS = ("fault-filtered", "fmri-safe", "stratified", "kfold-I-of-N", "random")
"""Names that ``--split`` takes; ``kfold-0-of-5`` is the first of five folds by track."""

_ARTISTS = "tracks of one artist may lie on both sides of the split, which makes accuracy look higher"
_COVERED = 0.8
_VALIDATION_SHARE = 1 / 6
_KFOLD = re.compile(r"kfold-(\d+)-of-(\d+)")
_DATASET = "dataset_description.json"


@dataclass(frozen=True)
class Split:
    """Training and validation tracks.

    Parameters
    ----------
    name : str
        What was done, in words, for the card.
    training, validation : tuple of Track
        Without a track in common.
    notes : tuple of str
        What a reader of the accuracy should know.
    """

    name: str
    training: tuple[Track, ...]
    validation: tuple[Track, ...]
    notes: tuple[str, ...] = ()


def split_tracks(tracks: Sequence[Track], split: str, seed: int, *, excluded: Sequence[Track] = ()) -> Split:
    """Divide tracks into training and validation.

    Parameters
    ----------
    tracks : sequence of Track
        What is there, without the excluded ones.
    split : str
        One of :data:`SPLITS`. ``fault-filtered`` and ``fmri-safe`` need GTZAN itself: where under 80 % of the
        lists' tracks are there (counting ``excluded``), a stratified split by track takes their place,
        logged and noted. ``fmri-safe`` leaves out the tracks of ds003720's Test runs and their twins
        (:func:`fmri_tracks`, :data:`FMRI_TWINS`) by name, and every track that is the same recording as one of
        these names in the collection, beside what was excluded. The other splits are by track, and say that
        artists may lie on both sides.
    seed : int
        Of the stratified, k-fold and random splits.
    excluded : sequence of Track
        Left out on request; only their names matter here.

    Returns
    -------
    Split

    Raises
    ------
    UsageError
        For an unknown split.
    DataError
        When no track is left on one side.
    """
    fold = _KFOLD.fullmatch(split)
    if split in ("fault-filtered", "fmri-safe"):
        result = _listed(tracks, split, seed, excluded)
    elif split == "stratified":
        result = _stratified(tracks, seed)
    elif split == "random":
        result = _random(tracks, seed)
    elif fold and int(fold[2]) >= 2 and int(fold[1]) < int(fold[2]):
        result = _fold(tracks, int(fold[1]), int(fold[2]), seed)
    else:
        raise UsageError(f"--split {split}: unknown; choose one of {', '.join(SPLITS)} (0 <= I < N)")
    if not (result.training and result.validation):
        raise DataError(
            f"--split {split}: {len(result.training)} training and {len(result.validation)} validation "
            "tracks are left; exclude fewer or choose another split"
        )
    return result


def fmri_tracks() -> frozenset[str]:
    """Names of the 60 GTZAN tracks heard in ds003720's Test runs."""
    text = files("ban_bids.training").joinpath("ds003720_test_tracks.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


FMRI_TWINS = {
    "disco.00074": "disco.00071",  # perhaps
    "jazz.00043": "jazz.00069",
    "jazz.00067": "jazz.00040",
    "jazz.00070": "jazz.00044",
    "jazz.00071": "jazz.00045",
    "reggae.00044": "reggae.00033",
    "reggae.00058": "reggae.00033",
    "reggae.00096": "reggae.00085",
}
"""GTZAN track -> the track of :func:`fmri_tracks` whose recording it is under another name."""


def _listed(tracks: Sequence[Track], split: str, seed: int, excluded: Sequence[Track]) -> Split:
    lists = set(filtered_train) | set(filtered_valid)
    barred = fmri_tracks() | FMRI_TWINS.keys() if split == "fmri-safe" else frozenset()
    safe = [t for t in tracks if barred.isdisjoint((t.name, *t.others))]
    present = {track.name for track in (*tracks, *excluded)}
    if len(lists & present) < _COVERED * len(lists):
        note = (
            f"{split} split: only {len(lists & present)} of its {len(lists)} tracks are there; "
            "split by track, stratified by genre, instead"
        )
        _LOG.warning(note)
        result = _stratified(safe, seed)
        return replace(result, name=f"{result.name} (in place of {split})", notes=(note, *result.notes))
    listed = [t for t in safe if t.name in lists]
    return replace(_by_name(split, listed, set(filtered_valid)), notes=())


def _stratified(tracks: Sequence[Track], seed: int) -> Split:
    """About a sixth of each genre's tracks validate, at least one where the genre has two or more."""
    chosen: set[str] = set()
    for names in _shuffled_by_genre(tracks, seed):
        chosen.update(names[: max(1, round(_VALIDATION_SHARE * len(names))) if len(names) > 1 else 0])
    return _by_name("by track, stratified by genre", tracks, chosen)


def _fold(tracks: Sequence[Track], index: int, n_folds: int, seed: int) -> Split:
    # counting on over genres keeps the folds equally large
    names = list(chain.from_iterable(_shuffled_by_genre(tracks, seed)))
    return _by_name(f"fold {index} of {n_folds} by track, stratified by genre", tracks, set(names[index::n_folds]))


def _shuffled_by_genre(tracks: Sequence[Track], seed: int) -> Iterator[list[str]]:
    """Names of each genre's tracks in random order, genre by genre."""
    rng = np.random.default_rng(seed)
    for genre in sorted({t.genre for t in tracks}):
        yield rng.permutation(sorted(t.name for t in tracks if t.genre == genre)).tolist()


def _random(tracks: Sequence[Track], seed: int) -> Split:
    note = "random split: artists and mislabelled tracks lie on both sides, so the accuracy is too high"
    _LOG.warning(note)
    names = np.random.default_rng(seed).permutation(sorted(t.name for t in tracks)).tolist()
    result = _by_name("random", tracks, set(names[: round(_VALIDATION_SHARE * len(names))]))
    return replace(result, notes=(note,))


def _by_name(name: str, tracks: Sequence[Track], validation: set[str]) -> Split:
    return Split(
        name,
        tuple(t for t in tracks if t.name not in validation),
        tuple(t for t in tracks if t.name in validation),
        (_ARTISTS,),
    )


def barred_tracks(dataset: Dataset, settings: Settings) -> list[Path]:
    """Audio files that may neither train nor validate a model that is scored on a dataset.

    Parameters
    ----------
    dataset : Dataset
        As read with ``settings``.
    settings : Settings
        Their selection says which runs are held out.

    Returns
    -------
    list of Path
        What is heard in held-out runs, by the rule that scoring uses, and the clips that people judged; sorted.
    """
    judged = () if dataset.choices is None else (clip.audio for clip in dataset.choices.clips)
    return sorted(held_out_tracks(dataset).union(judged))


def named_tracks(
    path: Path | None, data_dir: Path, *, test_tasks: Sequence[str] = (), test_runs: Sequence[str] = ()
) -> list[Path]:
    """Audio files that ``--exclude-stimuli`` names.

    Parameters
    ----------
    path : Path or None
        A BIDS dataset (its :func:`barred_tracks`), a folder of audio, a text file with one path per line, or nothing.
    data_dir : Path
        Folder of genres that the model is trained on; a dataset's stimuli may be named by its tracks.
    test_tasks, test_runs : sequence of str
        Held-out tasks and runs of a BIDS dataset.

    Returns
    -------
    list of Path

    Raises
    ------
    UsageError
        When it names no audio file, or tasks and runs are given without a dataset.
    """
    if path is not None and (path / _DATASET).is_file():
        root = path.resolve()
        settings = Settings.of(
            bids_dir=root,
            output_dir=root / "derivatives" / "ban-bids",
            level="participant",
            gtzan_dir=data_dir.resolve(),
            test_tasks=tuple(test_tasks),
            test_runs=tuple(test_runs),
        )
        return barred_tracks(read_dataset(settings), settings)
    if test_tasks or test_runs:
        raise UsageError(
            "--test-task and --test-runs have no effect unless --exclude-stimuli names a BIDS dataset "
            f"(a folder with {_DATASET}); give one, or drop them"
        )
    if path is None:
        return []
    if path.is_dir():
        tracks = sorted(file for file in path.rglob("*") if file.suffix.lower() in {*SUFFIXES, ".ogg"})
    elif path.is_file():
        tracks = [path.parent / line for line in _lines(path)]
    else:
        raise UsageError(f"--exclude-stimuli {path}: no such file or folder")
    if not tracks:
        raise UsageError(f"--exclude-stimuli {path}: names no audio file; drop the option or correct the path")
    return tracks


def _lines(path: Path) -> list[str]:
    """Lines of a text file that are neither empty nor comments."""
    try:
        lines = [line.strip() for line in text_of(read_bytes(path, MIB), path).splitlines()]
    except DataError as err:
        raise UsageError(f"--exclude-stimuli {path}: not a text file with one path per line ({err})") from err
    return [line for line in lines if line and not line.startswith("#")]
