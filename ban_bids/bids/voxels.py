"""Voxels of an image, read through to the end of the file: damage is found by whoever reads, and named."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError

from ban_bids.errors import DataError
from ban_bids.files.fetched import absence

_BYTES_AT_ONCE = 2**20
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, ImageFileError, HeaderDataError, ImageDataError)


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
    try:
        yield
    except _UNREADABLE as error:
        check_there(path, remedy)
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
    if how == "lfs":
        raise DataError(f"{path}: not fetched; fetch it: git lfs pull --include {path.name}")
    if how is not None:
        raise DataError(f"{path}: link to a file that is not there; fetch it: datalad get {path}")


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
    with naming(path, remedy):
        kind = type(nibabel.load(path))
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield kind.from_stream(file)
            while path.suffix == ".gz" and file.read(_BYTES_AT_ONCE):
                pass
