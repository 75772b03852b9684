"""Images: opened in one way, and voxels read through to the end of the file, so that whoever reads finds damage."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel
import nibabel.affines
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError

from ban_bids.errors import DataError
from ban_bids.files.fetched import absence
from ban_bids.files.reading import check_ordinary, not_fetched, opened

_BYTES_AT_ONCE = 2**20
_LARGEST = 2**36
"""Bytes of voxels in one image: 2000 volumes of 7 T at 0.8 mm take 30 GiB."""
_MOST_BEHIND = 2**26
"""Bytes that may follow the voxels in a compressed file."""
_DENSEST = 1040
"""Bytes that gzip can make of one."""
_UNREADABLE = (
    OSError, EOFError, zlib.error, struct.error, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
    ImageFileError, HeaderDataError, ImageDataError,
)  # fmt: skip
"""What nibabel lets through of headers that make no sense."""


@contextmanager
def naming(path: Path, remedy: str = "fetch the file again") -> Iterator[None]:
    """Turn errors of reading a file into one that names it.

    Parameters
    ----------
    path : Path
        What is read.
    remedy : str
        End of the message where the file is there.

    Raises
    ------
    DataError
        Cut short, damaged, no image, or a link to a file that was not fetched.
    """
    check_there(path, remedy)
    check_ordinary(path, remedy)
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{path}: memory does not do for what its header promises; {remedy}") from error
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())}); {remedy}") from error


def check_there(path: Path, remedy: str = "restore the file") -> None:
    """Refuse a file that is not there, or only as a link or pointer to content that was not fetched.

    Raises
    ------
    DataError
    """
    how = absence(path)
    if how == "absent":
        raise DataError(f"{path}: no such file; {remedy}")
    if how is not None:
        raise not_fetched(path, how)


def open_image(path: Path, remedy: str = "fetch the file again", *, keep_file_open: bool = False) -> Any:
    """Open an image without reading its voxels.

    Parameters
    ----------
    path : Path
    remedy : str
        End of the message where the file is there.
    keep_file_open : bool
        As :func:`nibabel.load`: whoever reads volume by volume needs it.

    Returns
    -------
    nibabel image
        Its header tells a shape and a type of real numbers that the file can hold.

    Raises
    ------
    DataError
        Not there, not fetched, no ordinary file, no image, or with a header that cannot be true.
    """
    with naming(path, remedy):
        size = check_ordinary(path, remedy)
        if path.suffix == ".gz" and size > _BYTES_AT_ONCE:
            _check_padding(path)
        image = nibabel.load(path, keep_file_open=keep_file_open)
        if _is_cifti(image):
            raise ValueError("CIFTI, values of grayordinates, and no image of voxels")
        needed = int(image.dataobj.offset) + voxel_bytes(image)
    if not 0 < needed <= _LARGEST:
        raise DataError(
            f"{path}: its header promises {needed} bytes of voxels (shape {image.shape}), and at most {_LARGEST} are "
            f"read; {remedy}"
        )
    if needed > size * (_DENSEST if path.suffix == ".gz" else 1):
        raise DataError(f"{path}: truncated ({size} bytes for {needed} of voxels and header); {remedy}")
    return image


def _check_padding(path: Path) -> None:
    """Refuse a compressed file that ends with a megabyte of zeros, which gzip would go through one by one.

    Raises
    ------
    ValueError
    """
    with opened(path) as file:
        for last in (64, _BYTES_AT_ONCE):
            file.seek(-last, 2)
            if any(file.read(last)):
                return
    raise ValueError("it goes on with zeros after its end, as copies do that were broken off")


def _is_cifti(image: Any) -> bool:
    """Whether it is CIFTI-2, which is kept in NIfTI-2 files, whatever its file is called."""
    header = getattr(image, "nifti_header", image.header)
    return isinstance(header, nibabel.Nifti1Header) and 3000 <= int(header["intent_code"]) < 3100


def voxel_sizes(image: Any) -> tuple[float, ...]:
    """Sides of an image's voxels by its affine, mm; what else its header says of them is not used anywhere."""
    return tuple(round(float(side), 3) for side in nibabel.affines.voxel_sizes(image.affine))


def voxel_bytes(image: Any) -> int:
    """Bytes that an image's voxels take in the file, by its header.

    Raises
    ------
    ValueError
        Its header promises none, or no real numbers.
    """
    shape, kind = [int(n) for n in image.shape], np.dtype(image.get_data_dtype())
    if not shape or min(shape) < 1:
        raise ValueError(f"shape {tuple(shape)}")
    if kind.kind not in "iuf":
        raise ValueError(f"voxels of type {kind}; save the image as real numbers")
    return math.prod(shape) * kind.itemsize


def unpacked(path: Path, file: IO[bytes] | gzip.GzipFile, most: int) -> int:
    """Read a file to its end, and tell how many bytes there were.

    Raises
    ------
    DataError
        There are many more than there should be.
    """
    length = 0
    while block := file.read(_BYTES_AT_ONCE):
        length += len(block)
        if length > most + _MOST_BEHIND:
            raise DataError(f"{path}: goes on for more than {_MOST_BEHIND} bytes after its voxels; restore the image")
    return length


@contextmanager
def read_through(path: Path, remedy: str = "fetch the file again") -> Iterator[Any]:
    """Open an image whose voxels are read forwards; what follows them is read as well when the block ends.

    A compressed file is so read once, whatever parts are asked for one after the other, and its checksum is compared:
    gzip does so at its end only, which reading all voxels just about misses.

    Parameters
    ----------
    path : Path
    remedy : str
        End of the message where the file is there.

    Yields
    ------
    nibabel image
        Over the open file; of no use after the block.

    Raises
    ------
    DataError
        As :func:`naming`, also while voxels are read in the block.
    """
    kind = type(open_image(path, remedy))
    with naming(path, remedy), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield kind.from_stream(file)
        if path.suffix == ".gz":
            unpacked(path, file, 0)
