"""What is doubtful about an image before its voxels are used: which way round it is, whether it is another's copy."""

from __future__ import annotations

import zlib
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from ban_bids.errors import DataError
from ban_bids.files.images import open_image, voxel_sizes
from ban_bids.files.reading import opened

_BLOCK = 1 << 20
_SAME_SIZE = 0.01
_LOOK = "check left and right, and the images in the report"


def says_where(image: nibabel.Nifti1Image) -> bool:
    """Whether a header says where its voxels lie: without sform and qform the place is made up from their number."""
    header = image.header
    if not isinstance(header, nibabel.Nifti1Header):
        return True
    return int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0


def orientation_notes(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    """What is doubtful about where left and right lie in an image.

    Parameters
    ----------
    image : Nifti1Image
        Its header is read only.

    Returns
    -------
    tuple of str
        A sentence without the file's name, or nothing.
    """
    header = image.header
    if not isinstance(header, nibabel.Nifti1Header):
        return ()
    return _side_notes(image) or _size_notes(image)  # pixdim goes with the qform


def _size_notes(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    """Whether the header tells sizes of voxels that are not those of the affine, which everything is computed with."""
    told, sides = [float(side) for side in image.header["pixdim"][1:4]], voxel_sizes(image)
    if np.allclose(told, sides, rtol=_SAME_SIZE):
        return ()
    mm = [" x ".join(f"{side:.3g}" for side in of) for of in (told, sides)]
    return (f"voxels of {mm[0]} mm by pixdim, of {mm[1]} mm by the affine, which is used",)


def _side_notes(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    """What sform and qform leave open about left and right."""
    header = image.header
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if not says_where(image):
        axes = "".join(str(axis) for axis in nibabel.aff2axcodes(image.affine))
        return (f"neither sform nor qform (both codes 0): left and right are unknown, taken as {axes}; {_LOOK}",)
    if sform_code <= 0 or qform_code <= 0:
        return ()
    try:
        sform, qform = header.get_sform(), header.get_qform()
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        return (f"the qform is not a rotation; the sform is used; {_LOOK}",)
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        return (f"sform and qform contradict each other (one is the other's mirror image); the sform is used; {_LOOK}",)
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in image.shape[:3]))])
    apart = np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max()
    if apart > np.linalg.norm(sform[:3, :3], axis=0).min() / 2:
        return (f"sform and qform contradict each other by more than half a voxel; the sform is used; {_LOOK}",)
    return ()


def same_image(one: Path, other: Path) -> bool:
    """Whether two files, one of them perhaps compressed, hold the same voxels in the same place.

    Parameters
    ----------
    one, other : Path
        NIfTI images.

    Returns
    -------
    bool
        False also where one of them cannot be read.
    """
    try:
        if _content(one) == _content(other):
            return True
        first, second = (open_image(path, keep_file_open=True) for path in (one, other))
        if first.shape != second.shape or not np.allclose(first.affine, second.affine, atol=1e-4):
            return False
        return all(
            np.array_equal(np.nan_to_num(first.dataobj[..., k]), np.nan_to_num(second.dataobj[..., k]))
            for k in range(first.shape[-1])
        )
    except (DataError, OSError, EOFError, zlib.error, ValueError):
        return False


def _content(path: Path) -> tuple[int, int]:
    """Checksum and length of what a file holds unpacked; of a compressed one they are written at its end."""
    with opened(path) as file:
        if path.suffix == ".gz":
            file.seek(-8, 2)
            return int.from_bytes(file.read(4), "little"), int.from_bytes(file.read(4), "little")
        checksum = length = 0
        while block := file.read(_BLOCK):
            checksum, length = zlib.crc32(block, checksum), length + len(block)
    return checksum, length % 2**32
