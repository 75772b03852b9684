"""When a run's volumes and slices were taken: repetition time, sparse sampling, slice timing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ban_bids.bids.metadata import load_header, number
from ban_bids.errors import DataError

JITTER = 0.01
"""Seconds by which a volume of ``VolumeTiming`` may lie off the line of constant intervals."""

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_LONGEST_TR = 30.0
_SAME = 1e-3
_DURATIONS = ("FrameAcquisitionDuration", "AcquisitionDuration")  # BIDS renamed the field


@dataclass(frozen=True)
class VolumeTimes:
    """Times of a run's volumes; seconds.

    Parameters
    ----------
    repetition_time : float
        From one volume's start to the next one's, silence between them included.
    slice_timing : tuple of float or None
        One per slice, from its volume's start; None where slice timing is not to be corrected.
    slice_encoding_direction : str
        ``i``, ``j`` or ``k``, with ``-`` where reversed.
    acquisition_time : float or None
        How long taking a volume lasts, from its start; None: the whole repetition time.
    first_volume : float
        Start of the first volume on the run's clock.
    notes : tuple of str
        What was passed over, without the file's name.
    """

    repetition_time: float
    slice_timing: tuple[float, ...] | None
    slice_encoding_direction: str
    acquisition_time: float | None = None
    first_volume: float = 0.0
    notes: tuple[str, ...] = ()


def read_times(image: nibabel.Nifti1Image, metadata: Mapping[str, Any], path: Path) -> VolumeTimes:
    """Read when volumes and slices were taken.

    BIDS describes sparse sampling in two ways: ``RepetitionTime`` with ``DelayTime`` (silence at the end of
    every repetition time), or ``VolumeTiming`` with the duration of a volume. Both come down to volumes at
    constant intervals that are taken in the first part of each.

    Parameters
    ----------
    image : Nifti1Image
        4-D; its header is used.
    metadata : Mapping
        Sidecar fields with inheritance.
    path : Path
        For messages.

    Returns
    -------
    VolumeTimes
        Without slice times where the silence exceeds half the interval: interpolating over it would invent
        signal.

    Raises
    ------
    DataError
        A time is missing, contradictory, or volumes come at irregular intervals.
    """
    first, interval = 0.0, None
    if metadata.get("VolumeTiming") is not None:
        first, interval = _volume_timing(metadata, int(image.shape[3]), path)
    tr = _repetition_time(image, metadata, path) if interval is None else interval
    times, direction, notes = _slice_timing(image, metadata, tr)
    duration, more = _acquisition_time(metadata, tr, path)
    notes += more
    if duration is None and times:
        duration = _duration_from_slices(times, tr)
    if interval is not None and duration is None and not times:
        raise DataError(
            f"{path}: VolumeTiming without the duration of a volume; add FrameAcquisitionDuration (or "
            "SliceTiming) to the JSON sidecar, in seconds"
        )
    if times and duration is not None and max(times) > duration + _SAME:
        notes += (f"SliceTiming lasts to {max(times):g} s, a volume only {duration:g} s; not used",)
        times = None
    if times and duration is not None and tr - duration > tr / 2:
        notes += (
            f"sparse sampling: volumes of {duration:g} s every {tr:g} s; slice timing is not corrected over "
            "the silence, volumes refer to their middle",
        )
        times = None
    return VolumeTimes(tr, times, direction, duration, first, notes)


def _header_tr(image: nibabel.Nifti1Image) -> float | None:
    """Repetition time of the header, seconds; None where it states none."""
    zoom = float(image.header.get_zooms()[3])
    try:
        unit = image.header.get_xyzt_units()[1]
    except KeyError:
        unit = "unknown"
    if not np.isfinite(zoom) or zoom <= 0:
        return None
    if unit in _SECONDS:
        return zoom * _SECONDS[unit]
    # no unit: 1 is what writers leave when they do not know; else seconds, or milliseconds where large
    if zoom == 1.0:
        return None
    return zoom * 1e-3 if zoom > 100 else zoom


def _repetition_time(image: nibabel.Nifti1Image, metadata: Mapping[str, Any], path: Path) -> float:
    stated = number(metadata, "RepetitionTime", path)
    if stated is None:
        raise DataError(f"{path}: RepetitionTime is missing; add it to the JSON sidecar, in seconds")
    if not 0 < stated <= _LONGEST_TR:
        raise DataError(f"{path}: RepetitionTime is {stated:g}; correct the JSON sidecar (seconds)")
    header = _header_tr(image)
    if header is not None and abs(header - stated) > 1e-3 * max(1.0, stated):
        raise DataError(
            f"{path}: RepetitionTime {stated:g} s in the JSON sidecar, {header:g} s in the image header; "
            "correct the wrong one"
        )
    return stated


def _volume_timing(metadata: Mapping[str, Any], n_volumes: int, path: Path) -> tuple[float, float]:
    """Start of the first volume and the constant interval; the image's header cannot hold these."""
    starts = metadata["VolumeTiming"]
    if not isinstance(starts, list) or not all(
        isinstance(t, int | float) and not isinstance(t, bool) and np.isfinite(t) for t in starts
    ):
        raise DataError(f"{path}: VolumeTiming is not a list of numbers; correct the JSON sidecar (seconds)")
    if len(starts) != n_volumes:
        raise DataError(f"{path}: VolumeTiming has {len(starts)} times for {n_volumes} volumes; correct it")
    times = np.array(starts, float)
    interval = float(times[-1] - times[0]) / (n_volumes - 1)
    steps = np.diff(times)
    if times[0] < 0 or steps.min() <= 0 or interval > _LONGEST_TR:
        raise DataError(f"{path}: VolumeTiming does not rise from 0 or later in seconds; correct the sidecar")
    if np.abs(times - times[0] - interval * np.arange(n_volumes)).max() > JITTER:
        raise DataError(
            f"{path}: VolumeTiming is irregular (intervals of {steps.min():g} to {steps.max():g} s); only "
            "constant intervals are supported: leave the run out by --task-id or --bids-filter-file"
        )
    also = number(metadata, "RepetitionTime", path)
    if also is not None and abs(also - interval) > _SAME:
        raise DataError(
            f"{path}: VolumeTiming has volumes every {interval:g} s, RepetitionTime is {also:g} s; BIDS "
            "allows one of them: remove the wrong one from the JSON sidecar"
        )
    # decimals of a scanner's log are not the sequence's
    return float(times[0]), round(interval, 6)


def _acquisition_time(metadata: Mapping[str, Any], tr: float, path: Path) -> tuple[float | None, tuple[str, ...]]:
    """How long taking a volume lasts, where the sidecar states it."""
    duration: float | None = None
    notes: tuple[str, ...] = ()
    for key in _DURATIONS:
        seconds = number(metadata, key, path)
        if duration is not None or seconds is None:
            continue
        if 0 < seconds <= tr + _SAME:
            duration = min(seconds, tr)
        else:  # converters write the whole scan's duration under this name
            notes = (f"{key} {seconds:g} s is no part of {tr:g} s from volume to volume; not used",)
    delay = number(metadata, "DelayTime", path)
    if delay is None:
        return duration, notes
    if not 0 <= delay < tr:
        raise DataError(f"{path}: DelayTime is {delay:g} of {tr:g} s per volume; correct the JSON sidecar")
    if duration is not None and abs(duration + delay - tr) > 0.05 * tr:
        raise DataError(
            f"{path}: a volume of {duration:g} s and DelayTime {delay:g} s do not make up {tr:g} s; correct "
            "the JSON sidecar"
        )
    return (tr - delay if duration is None else duration), notes


def _duration_from_slices(times: tuple[float, ...], tr: float) -> float | None:
    """Last slice's time and a slice more, where that leaves more than half the interval silent."""
    distinct = np.unique(times)
    if len(distinct) < 2:
        return None
    duration = float(distinct[-1] + np.diff(distinct).min())
    return duration if tr - duration > tr / 2 else None


def _slice_timing(
    image: nibabel.Nifti1Image, metadata: Mapping[str, Any], tr: float
) -> tuple[tuple[float, ...] | None, str, tuple[str, ...]]:
    direction = str(metadata.get("SliceEncodingDirection", "k"))
    times = metadata.get("SliceTiming")
    if times is None:
        return None, direction, ()
    unused = "not used: slice timing is not corrected"
    axis = {"i": 0, "j": 1, "k": 2}.get(direction[:1])
    if axis is None:
        return None, "k", (f"SliceEncodingDirection {direction!r} unknown; SliceTiming {unused}",)
    if not isinstance(times, list) or len(times) != image.shape[axis]:
        n = len(times) if isinstance(times, list) else 0
        return None, direction, (f"SliceTiming has {n} entries for {image.shape[axis]} slices; {unused}",)
    if not all(isinstance(t, int | float) and 0 <= t <= tr for t in times):
        return None, direction, (f"SliceTiming outside 0 to {tr:g} s; {unused}",)
    return tuple(float(t) for t in times), direction, ()


@dataclass(frozen=True)
class BoldHeader:
    """What is known of a BOLD run before its voxels are read.

    Parameters
    ----------
    n_volumes : int
        Volumes.
    voxel_size : tuple of float
        Millimetres, three of them.
    times : VolumeTimes
        When volumes and slices were taken.
    start_time : float or None
        ``StartTime``, seconds.
    phase_encoding : str or None
        ``PhaseEncodingDirection``: ``i``, ``j`` or ``k``, with ``-`` where reversed.
    notes : tuple of str
        What was passed over, without the file's name.
    """

    n_volumes: int
    voxel_size: tuple[float, ...]
    times: VolumeTimes
    start_time: float | None
    phase_encoding: str | None
    notes: tuple[str, ...] = ()


def _phase_encoding(metadata: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """``PhaseEncodingDirection`` where it is one."""
    axis = metadata.get("PhaseEncodingDirection")
    if axis is None or (isinstance(axis, str) and re.fullmatch("[ijk]-?", axis)):
        return axis, ()
    return None, (f"PhaseEncodingDirection {axis!r} is none of i, j, k, i-, j-, k-; not used",)


def read_bold_header(path: Path, metadata: Mapping[str, Any]) -> BoldHeader:
    """Read and check a BOLD image's header against its sidecar.

    Parameters
    ----------
    path : Path
        NIfTI image.
    metadata : Mapping
        Sidecar fields with inheritance.

    Returns
    -------
    BoldHeader
        Times in seconds.

    Raises
    ------
    DataError
        Not readable, 3-D, or times that are missing, contradictory or irregular.
    """
    image = load_header(path)
    if len(image.shape) != 4 or image.shape[3] < 2:
        raise DataError(f"{path}: shape {image.shape} is not a series of volumes (4-D); give the BOLD run itself")
    times = read_times(image, metadata, path)
    phase_encoding, notes = _phase_encoding(metadata)
    return BoldHeader(
        n_volumes=int(image.shape[3]),
        voxel_size=tuple(float(z) for z in image.header.get_zooms()[:3]),
        times=times,
        start_time=number(metadata, "StartTime", path),
        phase_encoding=phase_encoding,
        notes=(*times.notes, *notes),
    )
