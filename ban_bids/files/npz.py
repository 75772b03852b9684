"""Arrays on disk: named ones in a file, written whole or not at all, damage noticed; and scratch arrays."""

from __future__ import annotations

import logging
import math
import os
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from ban_bids.errors import DataError
from ban_bids.files.atomic import atomic_path
from ban_bids.files.room import told_when_full

_LOG = logging.getLogger(__name__)

UNREADABLE = (
    OSError, ValueError, TypeError, AttributeError, EOFError, LookupError, ArithmeticError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What archives of arrays, and headers of arrays, that make no sense end in."""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays so that a reader, or another process, only ever sees a whole file.

    Parameters
    ----------
    path : Path
        ``.npz``; its folder is made where it is missing.
    arrays : mapping of str to ndarray
        Without objects.

    Raises
    ------
    DataError, UsageError, DiskFull
        The folder cannot be written, or has no room.
    """
    try:
        # as numpy.savez does, which takes names as keywords: none may be called "file" or "allow_pickle" there
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); free space or give another -w") from error


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray] | None:
    """Read arrays that `write_arrays` wrote.

    Parameters
    ----------
    path : Path
    *names : str
        Arrays to read; all without one.

    Returns
    -------
    dict of str to ndarray, or None
        None where there is no such file, or where it is damaged: that is logged, and the file removed, so
        that the caller makes it anew. Checksums of the arrays read are compared.

    Raises
    ------
    DataError
        The file belongs to someone who does not let this user read it.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise DataError(f"{path}: may not be read; have its owner allow it, or give another -w") from error
    except UNREADABLE as error:
        _LOG.warning("%s: damaged (%s); it is made anew", path, type(error).__name__)
        path.unlink(missing_ok=True)
        return None


def scratch_array(shape: tuple[int, ...], folder: Path, in_memory: int) -> np.ndarray:
    """Make an array of zeros, in memory or in a file that has no name and is gone with the array.

    Parameters
    ----------
    shape : tuple of int
    folder : Path
        Where the file lies; made where it is missing.
    in_memory : int
        Most bytes of an array in memory.

    Returns
    -------
    ndarray of that shape, float32

    Raises
    ------
    DataError, DiskFull
        The folder cannot be written, or has no room.
    """
    n_bytes = 4 * math.prod(shape)
    if n_bytes <= in_memory:
        return np.zeros(shape, dtype=np.float32)
    try:
        with told_when_full(folder, wanted=n_bytes), _unnamed(folder) as stream:
            if hasattr(os, "posix_fallocate"):  # or a full disk would kill the process at some later write
                os.posix_fallocate(stream.fileno(), 0, n_bytes)
            return np.memmap(stream, dtype=np.float32, mode="w+", shape=shape)
    except OSError as error:
        gigabytes = n_bytes / 2**30
        raise DataError(f"{folder}: no {gigabytes:.1f} GiB ({error}); free space or give another -w") from error


def _unnamed(folder: Path) -> IO[bytes]:
    """A new file without a name in a folder that is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


class GrowingRows:
    """Rows that come one after another; many wait in a file that has no name and is gone with them.

    Parameters
    ----------
    folder : Path
        Where the file lies.
    in_memory : int
        Most bytes that are kept in memory.
    """

    def __init__(self, folder: Path, in_memory: int) -> None:
        self._folder, self._in_memory = folder, in_memory
        self._parts: list[np.ndarray] = []
        self._stream: IO[bytes] | None = None
        self._n_rows = 0

    def add(self, rows: np.ndarray) -> None:
        """More rows, (n_rows, n_columns), float32.

        Raises
        ------
        DataError, DiskFull
            The folder cannot be written, or has no room.
        """
        self._parts.append(rows)
        self._n_rows += len(rows)
        if sum(part.nbytes for part in self._parts) > self._in_memory:
            self._to_file()

    def _to_file(self) -> None:
        try:
            with told_when_full(self._folder):
                if self._stream is None:
                    self._stream = _unnamed(self._folder)
                for part in self._parts:
                    self._stream.write(np.ascontiguousarray(part, dtype=np.float32).data)
                self._stream.flush()
        except OSError as error:
            raise DataError(f"{self._folder}: cannot be written ({error}); free space or give another -w") from error
        self._parts = [self._parts[-1][:0]]

    def all(self) -> np.ndarray:
        """All rows that were added, of one part at least: (n_rows, n_columns)."""
        if self._stream is None:
            return self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        shape = (self._n_rows, self._parts[0].shape[1])
        self._to_file()
        return np.memmap(self._stream, dtype=np.float32, mode="r", shape=shape)
