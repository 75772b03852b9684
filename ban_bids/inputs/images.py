"""What an image's header and sidecar say before its voxels are read."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from ban_bids.errors import DataError
from ban_bids.inputs.timing import VolumeTimes, number, read_times


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


def _phase_encoding(metadata: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """``PhaseEncodingDirection`` where it is one."""
    given = metadata.get("PhaseEncodingDirection")
    if given is None or (isinstance(given, str) and re.fullmatch("[ijk]-?", given)):
        return given, ()
    return None, (f"PhaseEncodingDirection {given!r} is none of i, j, k, i-, j-, k-; not used",)


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
        raise DataError(
            f"{path}: shape {image.shape} is not a series of volumes (4-D); give the BOLD run itself"
        )
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
