"""What an image's header and sidecar say: volumes, repetition time, slice timing."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from ban_bids.errors import DataError

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_LONGEST_TR = 30.0


@dataclass(frozen=True)
class BoldHeader:
    """What is known of a BOLD run before its voxels are read.

    Parameters
    ----------
    n_volumes : int
        Volumes.
    repetition_time : float
        Seconds.
    voxel_size : tuple of float
        Millimetres, three of them.
    slice_timing : tuple of float or None
        Seconds, one a slice.
    slice_encoding_direction : str
        ``i``, ``j`` or ``k``, with ``-`` where reversed.
    start_time : float or None
        ``StartTime``, seconds.
    notes : tuple of str
        What was passed over, without the file's name.
    """

    n_volumes: int
    repetition_time: float
    voxel_size: tuple[float, ...]
    slice_timing: tuple[float, ...] | None
    slice_encoding_direction: str
    start_time: float | None
    notes: tuple[str, ...] = ()


def load_header(path: Path) -> nibabel.Nifti1Image:
    """Open an image without reading its voxels.

    Raises
    ------
    DataError
        The file is missing (or a link to a file that was not fetched), empty, truncated or not NIfTI.
    """
    if not path.exists():
        raise DataError(f"{path}: link to a file that is not there; fetch the image (datalad get)")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file; restore the image")
    try:
        image = nibabel.load(path)
        header_bytes = int(image.dataobj.offset)
        needed = header_bytes + int(np.prod(image.shape)) * image.get_data_dtype().itemsize
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a NIfTI image that can be read ({error}); restore it") from error
    if path.suffix == ".nii" and path.stat().st_size < needed:
        raise DataError(f"{path}: truncated ({path.stat().st_size} of {needed} bytes); restore the image")
    return image


def _header_tr(image: nibabel.Nifti1Image) -> float | None:
    """Repetition time of the header, seconds; None where it tells none."""
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


def _number(metadata: Mapping[str, Any], key: str, path: Path) -> float | None:
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DataError(f"{path}: {key} of its sidecar is {value!r}; write a number")
    return float(value)


def _repetition_time(image: nibabel.Nifti1Image, metadata: Mapping[str, Any], path: Path) -> float:
    given = _number(metadata, "RepetitionTime", path)
    if given is None:
        raise DataError(f"{path}: RepetitionTime is missing; add it to the JSON sidecar, in seconds")
    if not 0 < given <= _LONGEST_TR:
        raise DataError(f"{path}: RepetitionTime is {given:g}; correct the JSON sidecar (seconds)")
    header = _header_tr(image)
    if header is not None and abs(header - given) > 1e-3 * max(1.0, given):
        raise DataError(
            f"{path}: RepetitionTime {given:g} s in the JSON sidecar, {header:g} s in the image header; "
            "correct the wrong one"
        )
    return given


def _slice_timing(
    image: nibabel.Nifti1Image, metadata: Mapping[str, Any], tr: float
) -> tuple[tuple[float, ...] | None, str, tuple[str, ...]]:
    direction = str(metadata.get("SliceEncodingDirection", "k"))
    times = metadata.get("SliceTiming")
    if times is None:
        return None, direction, ()
    axis = {"i": 0, "j": 1, "k": 2}.get(direction[:1])
    if axis is None:
        return (
            None,
            "k",
            (f"SliceEncodingDirection {direction!r} unknown; SliceTiming not used",),
        )
    if not isinstance(times, list) or len(times) != image.shape[axis]:
        n = len(times) if isinstance(times, list) else 0
        return (
            None,
            direction,
            (f"SliceTiming has {n} entries for {image.shape[axis]} slices; not used",),
        )
    if not all(isinstance(t, int | float) and 0 <= t <= tr for t in times):
        return None, direction, (f"SliceTiming outside 0 to {tr:g} s; not used",)
    return tuple(float(t) for t in times), direction, ()


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
        Not readable, 3-D, sparse sampling, or a repetition time that is missing or contradictory.
    """
    image = load_header(path)
    if len(image.shape) != 4 or image.shape[3] < 2:
        raise DataError(
            f"{path}: shape {image.shape} is not a series of volumes (4-D); give the BOLD run itself"
        )
    if metadata.get("VolumeTiming") is not None:
        raise DataError(
            f"{path}: VolumeTiming (sparse sampling) is not supported; leave the run out by --task-id"
        )
    tr = _repetition_time(image, metadata, path)
    slice_timing, direction, notes = _slice_timing(image, metadata, tr)
    return BoldHeader(
        n_volumes=int(image.shape[3]),
        repetition_time=tr,
        voxel_size=tuple(float(z) for z in image.header.get_zooms()[:3]),
        slice_timing=slice_timing,
        slice_encoding_direction=direction,
        start_time=_number(metadata, "StartTime", path),
        notes=notes,
    )
