"""One participant's images: each run's own, checked against what was played, and all of them against each other.

A run that cannot be used is left out with a note; the participant goes on with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ban_bids.bids.metadata import Companions
from ban_bids.errors import DataError
from ban_bids.inputs.derivatives import header_of
from ban_bids.inputs.heldout import check_left_out
from ban_bids.inputs.timing import JITTER, SAME_CLUSTER, Voxels, heard_by, read_run
from ban_bids.inputs.types import HeardRun, Listening, Run
from ban_bids.settings import Preprocessing, Selection

NUMBERING = ("acq", "rec", "ce", "dir")
"""Entities that may differ between runs of one shape, resolution and repetition time: they only number scans."""

_LEAST_SCANNED = 0.5
"""Share of what was played that must have been scanned; less is another image, or a run that was given up."""

_SAME_SIZE = 0.01
_SAME_TR = 1e-3


@dataclass(frozen=True)
class _Image:
    """A run with the voxels of its image."""

    run: Run
    voxels: Voxels

    def unlike(self, other: _Image, *, shapes: bool) -> str | None:
        """In what the image differs from another, in words; None where they go together."""
        name = other.run.bold.name
        if any(abs(a - b) > _SAME_SIZE for a, b in zip(self.voxels.size, other.voxels.size)):
            sizes = f"{_text(self.voxels.size)} mm, but {_text(other.voxels.size)} mm in {name}"
            return f"voxels of {sizes}; resolutions are not mixed"
        (low, high), (lowest, highest) = (_intervals(image.run) for image in (self, other))
        irregular = self.run.volume_times is not None or other.run.volume_times is not None
        if max(low - highest, lowest - high) > (JITTER if irregular else _SAME_TR):
            mine, its = self.run.repetition_time, other.run.repetition_time
            return f"RepetitionTime {mine:g} s, but {its:g} s in {name}; they are not mixed"
        if shapes and self.voxels.shape != other.voxels.shape:
            shapes_of = f"{_text(self.voxels.shape)} voxels, but {_text(other.voxels.shape)} in {name}"
            return f"{shapes_of}; acquisitions are not mixed"
        return None


def _intervals(run: Run) -> tuple[float, float]:
    """Shortest and longest interval within clusters of volumes."""
    if run.volume_times is None:
        return run.repetition_time, run.repetition_time
    steps = np.diff(run.volume_times)
    return float(steps.min()), float(steps[steps <= SAME_CLUSTER * steps.min()].max())


def read_images(
    heard: Sequence[HeardRun], companions: Companions, preprocessing: Preprocessing, selection: Selection
) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Read the headers of runs' images; a run that cannot be used is left out.

    Parameters
    ----------
    heard : sequence of HeardRun
    companions : Companions
        Finds the images' sidecars.
    preprocessing : Preprocessing
        ``ignore`` and ``derivatives`` are used: ``--ignore slicetiming`` drops slice times.
    selection : Selection
        ``test_tasks`` and ``test_runs`` are used: a run that they name is not left out.

    Returns
    -------
    runs : tuple of Run
        Of one resolution and repetition time, that of most. Clips that begin after a run's image has ended are
        dropped; one that goes on after it stays, and its scanned volumes with it. ``row_notes`` say so.
    notes : tuple of str
        What was passed over; ``left out: FILE: REASON`` for each run that cannot be used.

    Raises
    ------
    DataError
        No run is left, or one that the options name cannot be used, or they leave none to train on, or resolutions
        or repetition times differ and no one is that of most runs.
    """
    images: list[_Image] = []
    left: list[tuple[HeardRun | Run, str]] = []
    noted: dict[str, list[str]] = {}
    raw = True
    for before in heard:
        try:
            header = header_of(before, companions.metadata(before.bold))
            run, voxels, notes = read_run(before, header.metadata, header.path)
            slice_timing, more = _slice_timing(run.slice_timing, preprocessing)
            run = _within_image(replace(run, slice_timing=slice_timing))
        except DataError as error:
            left.append((before, str(error)))
            continue
        for note in (*header.notes, *notes, *more):
            noted.setdefault(note, []).append(run.bold.name)
        images.append(_Image(run, voxels))
        raw = raw and header.path == before.bold
    if not raw:  # fMRIPrep's series have a grid of their own, which preprocessing checks
        images = [replace(image, voxels=Voxels((), ())) for image in images]
    images, odd = _of_one_kind(images)
    left += odd
    runs = tuple(image.run for image in images)
    check_left_out(runs, left, selection)
    told = (f"{note} ({names[0]}, {len(names)} of {len(heard)} runs)" for note, names in noted.items())
    return runs, (*told, *(_left_out(run, reason) for run, reason in left), *_numbered(runs))


def _left_out(run: Listening, reason: str) -> str:
    return f"left out: {run.bold.name}: {reason.removeprefix(f'{run.bold}: ')}"


def _numbered(runs: Sequence[Run]) -> tuple[str, ...]:
    """Note which labels differ between runs that are taken together."""
    several = {key: dict.fromkeys(dict(run.entities).get(key, "(none)") for run in runs) for key in NUMBERING}
    return tuple(
        f"runs with several {key}- labels ({', '.join(labels)}) have one repetition time and grid: taken together "
        "(--bids-filter-file chooses)"
        for key, labels in several.items()
        if len(labels) > 1
    )


def _slice_timing(
    times: tuple[float, ...] | None, preprocessing: Preprocessing
) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Slice times, or none where ``--ignore slicetiming`` asks for it; derivatives stay what they are."""
    if "slicetiming" not in preprocessing.ignore or not times:
        return times, ()
    if "fmriprep" in dict(preprocessing.derivatives):
        return times, ("--ignore slicetiming changes nothing in fMRIPrep's derivatives",)
    return None, ("--ignore slicetiming: slice timing is not corrected",)


def _within_image(run: Run) -> Run:
    """Return the run without the clips that begin after its image has ended.

    A clip that goes on after the end stays: the volumes that were taken heard it, and without it they would count as
    rest.

    Raises
    ------
    DataError
        Less than half of what was played was scanned, or volumes hear nothing.
    """
    end, opening = run.duration, run.first_volume - run.repetition_time
    kept = tuple(item for item in run.presentations if item.onset < end)
    played = sum(item.clip.duration for item in run.presentations)
    scanned = sum(max(0.0, min(item.end, end) - max(item.onset, opening)) for item in kept)
    if scanned < _LEAST_SCANNED * played:
        raise DataError(
            f"{run.bold}: BOLD lasts {_span(run.first_volume, end)} ({run.n_volumes} volumes), but events last "
            f"{_span(run.presentations[0].onset, max(item.end for item in run.presentations), 'to ')} "
            f"({run.played_by.name}), so that most of what was played was not scanned; restore the whole image or "
            "correct the events"
        )
    notes = list(run.row_notes)
    dropped = len(run.presentations) - len(kept)
    if dropped:
        begin = "clip begins" if dropped == 1 else "clips begin"
        notes.append(f"{dropped} {begin} after the image's end at {end:g} s: dropped")
    early = sum(item.end <= opening for item in kept)
    if early:
        ends = "clip ends" if early == 1 else "clips end"
        notes.append(f"{early} {ends} before the image begins at {run.first_volume:g} s: no volume hears it")
    cut = sum(item.end > end + run.repetition_time for item in kept)
    if cut:
        notes.append(f"{cut} clip goes on after the image's end at {end:g} s: the volumes that heard it are used")
    run = replace(run, presentations=kept, row_notes=tuple(notes))
    sparse = run.volume_times is not None or (run.acquisition_time or run.repetition_time) < run.repetition_time
    if sparse and not heard_by(run, run.reference_time + run.since_first).any():
        raise DataError(
            f"{run.bold}: sparse sampling, and no volume is taken while a clip plays, or next after it "
            f"({run.played_by.name}); correct the onsets (seconds) or leave the run out (--bids-filter-file)"
        )
    return run


def _span(first: float, last: float, until: str = "") -> str:
    """From when to when, seconds; of what begins at 0 or later only its end."""
    return f"{until}{last:g} s" if first >= 0 and (until or first == 0) else f"from {first:g} to {last:g} s"


def _of_one_kind(images: Sequence[_Image]) -> tuple[list[_Image], list[tuple[HeardRun | Run, str]]]:
    """Images of the resolution and repetition time of most runs, and the others with what they differ in.

    Where labels such as ``acq-`` differ, so may what else was scanned: then the grid must be the same, too.

    Raises
    ------
    DataError
        No kind is that of more than half of the runs.
    """
    labels = {tuple(dict(image.run.entities).get(key) for key in NUMBERING[:3]) for image in images}
    shapes = len(labels) > 1
    kinds: list[list[_Image]] = []
    for image in images:
        alike = next((kind for kind in kinds if image.unlike(kind[0], shapes=shapes) is None), None)
        if alike is None:
            kinds.append([image])
        else:
            alike.append(image)
    if len(kinds) < 2:
        return list(images), []
    most = max(kinds, key=len)
    odd = [image for kind in kinds if kind is not most for image in kind]
    if len(most) <= len(odd):
        raise DataError(
            f"{odd[0].run.bold}: {odd[0].unlike(most[0], shapes=shapes)}, and neither is that of most runs: choose "
            f"with {_choice(odd[0].run, most[0].run)}"
        )
    return most, [(image.run, f"{image.unlike(most[0], shapes=shapes)} ({len(most)} runs)") for image in odd]


def _choice(one: Listening, other: Listening) -> str:
    """Options that can tell two runs apart."""
    options = [("--task-id", "task"), ("--session-id", "session")]
    fitting = [option for option, name in options if getattr(one, name) != getattr(other, name)]
    return " or ".join([*fitting, "--bids-filter-file"])


def _text(size: Iterable[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in size)
