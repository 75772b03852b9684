"""Room on file systems: what is free, and a full one told in one line, whichever library met it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ban_bids.errors import BanBidsError, DiskFull

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
_OTHER_REASONS = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS)
# libraries that keep the number to themselves: sqlite, HDF5, what a step of preprocessing printed; numpy's tofile
_TEXT = re.compile(r"No space left on device|Disk quota exceeded|disk is full|\d+ requested and \d+ written")
_NOTHING = 64 * 1024
"""Bytes free at which a library that failed without a reason (libsndfile, ITK) is taken to have had no room."""

_SPEECHLESS = (OSError, EOFError, zlib.error, RuntimeError, AssertionError)
_FEW_FILES = 16
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def nearest(path: Path) -> Path:
    """The path, or what exists nearest above it."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write on the file system where a path lies, or would lie."""
    usage = shutil.disk_usage(nearest(path))
    return usage.free if usage.total else sys.maxsize  # ramfs and some file systems of user space do not tell


def folder_bytes(folder: Path) -> int:
    """Bytes that the files of a folder take on disk; what goes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).lstat().st_blocks * 512
    return total


def nothing_free(path: Path) -> bool:
    """Whether next to nothing can be written any more where a path lies."""
    return free_bytes(path) < _NOTHING


def told_size(n_bytes: float) -> str:
    """A size in words: ``3.4 GiB``."""
    power = 0
    while n_bytes >= 1024 and power < len(_UNITS) - 1:
        n_bytes, power = n_bytes / 1024, power + 1
    return f"{n_bytes:.0f} {_UNITS[0]}" if power == 0 else f"{n_bytes:.1f} {_UNITS[power]}"


def tells_of_no_room(text: str) -> bool:
    """Whether a library's message says that a disk or a quota is full."""
    return _TEXT.search(text) is not None


def disk_full(path: Path, reason: str = "No space left on device", wanted: int = 0) -> DiskFull:
    """The error for a path that could not be written.

    Parameters
    ----------
    path : Path
        File or folder.
    reason : str
        What the system or a library said.
    wanted : int
        Bytes that were asked for, where that is known.
    """
    free = free_bytes(path)
    left = f"{told_size(wanted)} wanted, " if wanted else ""
    left += f"{free} bytes free" if free < 1024 else f"{free} bytes ({told_size(free)}) free"
    files = os.statvfs(nearest(path)) if hasattr(os, "statvfs") else None
    if files is not None and files.f_files and files.f_favail < _FEW_FILES:
        left += f", and room for {files.f_favail} more files"
    return DiskFull(
        f"{path}: the disk is full ({reason}; {left}); make room there, then give the same command again: "
        "what is finished is kept"
    )


@contextmanager
def told_when_full(*paths: Path, wanted: int = 0) -> Iterator[None]:
    """Turn a full disk, or a used-up quota, into one line: path, bytes free, remedy.

    Parameters
    ----------
    *paths : Path
        What is written inside: a file, or folders, of which the one with the least room is named where the error
        names none of the files in them.
    wanted : int
        Bytes that are asked for, where that is known.

    Raises
    ------
    DiskFull
        An error inside says so, or what led to it; or a library failed without a word and nothing is free.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        found = _cause(error, min(map(free_bytes, paths)))
        if found is None:
            raise
        raise disk_full(_place(found, paths), _reason(found), wanted) from error


def _cause(error: BaseException, free: int) -> BaseException | None:
    """The exception that tells of a full disk: this one, or one that it came from."""
    seen: BaseException | None = error
    while seen is not None:
        numbered = isinstance(seen, OSError) and seen.errno in _NUMBERS
        if numbered or (not isinstance(seen, BanBidsError) and tells_of_no_room(str(seen))):
            return seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    speaks = isinstance(error, OSError) and error.errno in _OTHER_REASONS
    return error if free < _NOTHING and isinstance(error, _SPEECHLESS) and not speaks else None


def _place(error: BaseException, paths: tuple[Path, ...]) -> Path:
    named = Path(os.fsdecode(error.filename)) if isinstance(error, OSError) and error.filename else None
    if named is not None and len(paths) > 1 and any(named.is_relative_to(path) for path in paths):
        return named
    return min(paths, key=free_bytes)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return str(error.strerror)
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}" if words else type(error).__name__
