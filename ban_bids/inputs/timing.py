"""When a run's volumes and slices were taken: repetition time, sparse sampling, slice timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ban_bids.bids.images import orientation_notes
from ban_bids.bids.metadata import load_header, number
from ban_bids.errors import DataError
from ban_bids.files.images import voxel_sizes
from ban_bids.files.reading import as_number, as_numbers
from ban_bids.inputs.types import HeardRun, Run

JITTER = 0.01
"""Seconds by which a volume of ``VolumeTiming`` may lie off the line of constant intervals."""

FEWEST_VOLUMES = 5
"""Volumes that preprocessing needs of a run."""

SAME_CLUSTER = 1.5
"""Intervals of up to so many shortest ones lie within a cluster of volumes; longer ones are gaps."""

_NEARLY_CONSTANT = 1.1
"""Longest over shortest interval up to which volumes are near enough to a grid to shift slices along it."""

_EDGE = 1e-6
"""Seconds of tolerance at a clip's edges, so that rounding never moves a volume over them."""

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_LONGEST_TR = 30.0
_SAME = 1e-3
_NEAR = 0.05
_DURATIONS = ("FrameAcquisitionDuration", "AcquisitionDuration")  # BIDS renamed the field
_SHORTEST = 0.02
"""Seconds that taking a volume lasts at least: a few slices at once are the least that there is."""
_FIELDS = (
    "RepetitionTime", "VolumeTiming", "SliceTiming", "SliceEncodingDirection", "StartTime", "DelayTime", *_DURATIONS,
)  # fmt: skip
_AXES = {"i": 0, "j": 1, "k": 2, "i-": 0, "j-": 1, "k-": 2}


@dataclass(frozen=True)
class Voxels:
    """Size of an image's voxels, mm, and their number along each axis."""

    size: tuple[float, ...]
    shape: tuple[int, ...]


def read_run(
    heard: HeardRun, metadata: Mapping[str, Any], path: Path | None = None
) -> tuple[Run, Voxels, tuple[str, ...]]:
    """Read the header of a run's image and check it against its sidecar.

    BIDS describes sparse sampling in two ways: ``RepetitionTime`` with ``DelayTime`` (silence at the end of
    every repetition time), or ``VolumeTiming`` with the duration of a volume. With constant intervals both come down
    to volumes that are taken in the first part of each; else (clusters of volumes with silence between them) every
    volume keeps its own time, and ``repetition_time`` is the interval within clusters.

    Parameters
    ----------
    heard : HeardRun
    metadata : Mapping
        Sidecar fields with inheritance.
    path : Path, optional
        Image whose header counts, where it is not the run's own: slices are then not those of the sidecar.

    Returns
    -------
    run : Run
        Without slice times where the silence exceeds half the interval, or intervals differ: interpolating over it
        would invent signal.
    voxels : Voxels
    notes : tuple of str
        What was passed over, without the file's name.

    Raises
    ------
    DataError
        Not readable, 3-D, fewer than 5 volumes, or times that are missing or contradictory.
    """
    own = path is None or path == heard.bold
    path = path or heard.bold
    notes = _check_spelling(metadata, path)
    image = load_header(path)
    _check_shape(image.shape, path)
    notes += orientation_notes(image)
    starts: tuple[float, ...] | None = None
    stated_starts = metadata.get("VolumeTiming") is not None
    if stated_starts:
        first, interval, starts = _volume_timing(metadata, int(image.shape[3]), path)
    else:
        first, interval = 0.0, _repetition_time(image, metadata, path)
    times, direction = _slice_timing(image.shape if own else None, metadata, interval, notes=notes)
    if starts is not None and metadata.get("DelayTime") is not None:
        notes.append("DelayTime beside VolumeTiming of differing intervals; not used")
        metadata = {key: value for key, value in metadata.items() if key != "DelayTime"}
    duration = _acquisition_time(metadata, interval, path, notes=notes)
    if duration is None and times:
        duration = _duration_from_slices(times, interval)
    if stated_starts and duration is None and not times:
        raise _wrong(path, "VolumeTiming without a volume's duration: add FrameAcquisitionDuration or SliceTiming")
    run = Run(
        **vars(heard),
        repetition_time=interval,
        n_volumes=int(image.shape[3]),
        slice_timing=_usable_slice_times(times, duration, interval, starts=starts, notes=notes),
        slice_encoding_direction=direction,
        start_time=_start_time(metadata, first if own else 0.0, first + interval, path, notes=notes),
        acquisition_time=duration,
        first_volume=first,
        phase_encoding=_phase_encoding(metadata, notes=notes),
        volume_times=starts,
    )
    return run, Voxels(voxel_sizes(image), tuple(int(n) for n in image.shape[:3])), tuple(notes)


def _check_spelling(metadata: Mapping[str, Any], path: Path) -> list[str]:
    """Refuse fields of time that are spelled otherwise than BIDS's, where these are not there; note those beside them.

    Raises
    ------
    DataError
        Such a field would not be read, and nothing would tell.
    """
    wanted = {name.casefold(): name for name in _FIELDS}
    notes = []
    for key, value in metadata.items():
        right = wanted.get("".join(filter(str.isalnum, key)).casefold(), key)
        if right == key or not _may_be_time(value) or value == metadata.get(right):
            continue
        if metadata.get(right) is None:
            raise DataError(f"{path}: {key!r} of its JSON sidecar is not read, for BIDS spells it {right}: rename it")
        notes.append(f"{key!r} of its JSON sidecar is not read beside {right}")
    return notes


def _may_be_time(value: object) -> bool:
    """Whether a value of a key of one's own may be what BIDS's field holds: times that are not all 0, an axis."""
    if isinstance(value, list):
        return any(_may_be_time(one) for one in value)
    return value in _AXES if isinstance(value, str) else as_number(value) not in (None, 0.0)


def _start_time(
    metadata: Mapping[str, Any], first: float, last: float, path: Path, *, notes: list[str]
) -> float | None:
    """Time that the first volume refers to, where the sidecar states one within it."""
    stated = number(metadata, "StartTime", path)
    if stated is None or first <= stated <= last:
        return stated
    notes.append(f"StartTime {stated:g} s is no time in the first volume ({first:g} to {last:g} s); not used")
    return None


def _check_shape(shape: tuple[int, ...], path: Path) -> None:
    """Refuse what is no series of enough volumes."""
    if len(shape) > 4 and shape[3] == 1:
        raise DataError(
            f"{path}: shape {shape} has its volumes on the fifth axis, BIDS wants them on the fourth; save it without "
            "the empty axis, e.g. mrconvert IN OUT -axes 0,1,2,4"
        )
    if len(shape) > 4 and shape[3] > 1 and set(shape[4:]) == {1}:
        raise DataError(
            f"{path}: shape {shape} is not a series of volumes (4-D) but has an empty axis behind them; save it "
            "without that axis, e.g. mrconvert IN OUT -axes 0,1,2,3"
        )
    if len(shape) != 4 or shape[3] < 2:
        raise DataError(f"{path}: shape {shape} is not a series of volumes (4-D); give the BOLD run itself")
    if shape[3] < FEWEST_VOLUMES:
        raise DataError(
            f"{path}: {shape[3]} volumes, and {FEWEST_VOLUMES} are needed; restore the whole image or leave the run "
            "out (--bids-filter-file)"
        )


def _phase_encoding(metadata: Mapping[str, Any], *, notes: list[str]) -> str | None:
    direction = metadata.get("PhaseEncodingDirection")
    if direction in ("i", "j", "k", "i-", "j-", "k-"):
        return str(direction)
    if direction is not None:
        notes.append(f"PhaseEncodingDirection {direction!r} is none of i, j, k, i-, j-, k-; not used")
    return None


def _usable_slice_times(
    times: tuple[float, ...] | None,
    duration: float | None,
    interval: float,
    *,
    starts: tuple[float, ...] | None,
    notes: list[str],
) -> tuple[float, ...] | None:
    """Slice times, or None where the duration of a volume contradicts them or leaves too much silence."""
    if not times:
        return times
    steps = np.diff(starts) if starts is not None else np.array([interval])
    if steps.max() > _NEARLY_CONSTANT * steps.min():
        notes.append(
            f"volumes at irregular intervals ({steps.min():g} to {steps.max():g} s): slice timing is not corrected "
            "over the gaps, volumes refer to their middle"
        )
        return None
    if duration is None:
        return times
    if max(times) > duration + _SAME:
        notes.append(f"SliceTiming lasts to {max(times):g} s, a volume only {duration:g} s; not used")
        return None
    if interval - duration > interval / 2:
        notes.append(
            f"sparse sampling: volumes of {duration:g} s every {interval:g} s; slice timing is not corrected over "
            "the silence, volumes refer to their middle"
        )
        return None
    return times


def header_tr(image: nibabel.Nifti1Image) -> float | None:
    """Repetition time of a series' header, seconds; None where it states none."""
    if len(image.shape) < 4:
        return None
    zoom = float(image.header.get_zooms()[3])
    try:
        unit = _SECONDS.get(image.header.get_xyzt_units()[1])
    except KeyError:
        unit = None
    if not np.isfinite(zoom) or zoom <= 0:
        return None
    if unit is not None:
        return zoom * unit
    # no unit: 1 is what writers leave when they do not know; else seconds, or milliseconds where large
    return None if zoom == 1.0 else zoom * (1e-3 if zoom > 100 else 1.0)


def _wrong(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}; correct the JSON sidecar (times in seconds)")


def _repetition_time(image: nibabel.Nifti1Image, metadata: Mapping[str, Any], path: Path) -> float:
    stated = number(metadata, "RepetitionTime", path)
    if stated is None:
        raise DataError(f"{path}: RepetitionTime is missing; add it to the JSON sidecar, in seconds")
    if not 0 < stated <= _LONGEST_TR:
        raise _wrong(path, f"RepetitionTime is {stated:g}")
    header = header_tr(image)
    if header is not None and abs(header - stated) > 1e-3 * max(1.0, stated):
        raise DataError(
            f"{path}: RepetitionTime {stated:g} s in the JSON sidecar, {header:g} s in the image header; "
            "correct the wrong one"
        )
    return stated


def _volume_timing(
    metadata: Mapping[str, Any], n_volumes: int, path: Path
) -> tuple[float, float, tuple[float, ...] | None]:
    """Start of the first volume, the constant interval or that within clusters, and all starts where intervals differ.

    The image's header cannot hold these.
    """
    starts = as_numbers(metadata["VolumeTiming"])
    if starts is None:
        raise _wrong(path, "VolumeTiming is not a list of numbers")
    if len(starts) != n_volumes:
        raise _wrong(path, f"VolumeTiming has {len(starts)} times for {n_volumes} volumes")
    times = np.array(starts, float)
    interval = float(times[-1] - times[0]) / (n_volumes - 1)
    steps = np.diff(times)
    if times[0] < 0 or steps.min() <= 0 or steps.min() > _LONGEST_TR:
        raise _wrong(path, "VolumeTiming does not rise from 0 or later")
    regular = np.abs(times - times[0] - interval * np.arange(n_volumes)).max() <= JITTER
    # decimals of a scanner's log are not the sequence's
    interval = round(interval if regular else float(np.median(steps[steps <= SAME_CLUSTER * steps.min()])), 6)
    also = number(metadata, "RepetitionTime", path)
    if also is not None and (
        np.abs(steps - also).min() > _NEAR * also if not regular else abs(interval - also) > _SAME
    ):
        between = f"every {interval:g} s" if regular else f"at intervals of {steps.min():g} to {steps.max():g} s"
        raise _wrong(path, f"VolumeTiming has volumes {between}, RepetitionTime is {also:g} s: keep one")
    return float(times[0]), interval, None if regular else tuple(times.tolist())


def _acquisition_time(metadata: Mapping[str, Any], tr: float, path: Path, *, notes: list[str]) -> float | None:
    """How long taking a volume lasts, where the sidecar states it."""
    durations = [(key, seconds) for key in _DURATIONS if (seconds := number(metadata, key, path)) is not None]
    fitting = [min(seconds, tr) for _, seconds in durations if _SHORTEST <= seconds <= tr + _SAME]
    duration = fitting[0] if fitting else None
    if durations and duration is None:  # converters write the whole scan's duration under this name
        key, seconds = durations[-1]
        notes.append(f"{key} {seconds:g} s is no part of {tr:g} s from volume to volume; not used")
    delay = number(metadata, "DelayTime", path)
    if delay is None:
        return duration
    if not 0 <= delay < tr:
        raise _wrong(path, f"DelayTime is {delay:g} of {tr:g} s per volume")
    if duration is not None and abs(duration + delay - tr) > 0.05 * tr:
        raise _wrong(path, f"a volume of {duration:g} s and DelayTime {delay:g} s do not make up {tr:g} s")
    return tr - delay if duration is None else duration


def _duration_from_slices(times: tuple[float, ...], tr: float) -> float | None:
    """Last slice's time and a slice more, where that leaves more than half the interval silent."""
    distinct = np.unique(times)
    if len(distinct) < 2:
        return None
    duration = float(distinct[-1] + np.diff(distinct).min())
    return duration if tr - duration > tr / 2 else None


def _slice_timing(
    shape: tuple[int, ...] | None, metadata: Mapping[str, Any], tr: float, *, notes: list[str]
) -> tuple[tuple[float, ...] | None, str]:
    """Slice times and their axis; the number of slices is checked where the raw image's shape is known."""
    direction = str(metadata.get("SliceEncodingDirection", "k"))
    stated = metadata.get("SliceTiming")
    if stated is None:
        return None, direction
    times = as_numbers(stated)
    axis = _AXES.get(direction)
    if axis is None:
        problem, direction = f"SliceEncodingDirection {direction!r} unknown; SliceTiming", "k"
    elif times is None:
        problem = "SliceTiming is not a list of numbers;"
    elif not times or (shape is not None and len(times) != shape[axis]):
        problem = f"SliceTiming has {len(times)} entries for {shape[axis] if shape is not None else 'all'} slices;"
    elif not 0 <= min(times) <= max(times) <= tr:
        problem = f"SliceTiming outside 0 to {tr:g} s;"
    elif len(times) > 1 and min(times) == max(times):
        problem = f"SliceTiming is {times[0]:g} s for all {len(times)} slices;"
    else:
        return tuple(times), direction
    notes.append(f"{problem} not used: slice timing is not corrected")
    return None, direction


def clusters(times: np.ndarray, repetition_time: float) -> np.ndarray:
    """Number the clusters of volumes.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,)
        Seconds.
    repetition_time : float
        Within clusters, seconds.

    Returns
    -------
    ndarray of shape (n_volumes,), int
        Of each volume; a gap between clusters is longer than one and a half repetition times.
    """
    return np.concatenate([[0], np.cumsum(np.diff(times) > SAME_CLUSTER * repetition_time)])


def heard_by(run: Run, times: np.ndarray) -> np.ndarray:
    """Tell which presentations each volume counts for: what plays at its time; after a gap, what played in it.

    Parameters
    ----------
    run : Run
    times : ndarray of shape (n_volumes,)
        That volumes refer to, seconds on the run's clock.

    Returns
    -------
    ndarray of shape (n_presentations, n_volumes), bool
        Where volumes come at constant intervals, silence between them counts as a gap only if all that is played is
        played in it.
    """
    onset, end = (np.array([getattr(item, name) for item in run.presentations])[:, None] for name in ("onset", "end"))
    begun = times >= onset - _EDGE
    playing = begun & (times < end - _EDGE)
    silent = run.acquisition_time is not None and run.acquisition_time < run.repetition_time
    after_gap = np.full(len(times), silent and not playing.any())
    if run.volume_times is not None:
        after_gap = np.r_[True, np.diff(clusters(times, run.repetition_time)) > 0]
    before = np.r_[min(times[0], 0.0), times[:-1]]
    return np.asarray(begun & (np.where(after_gap, before, times) < end - _EDGE))
