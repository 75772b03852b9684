"""Atomic writes: a reader sees the old file or the new one, never a part of one.

Each file is written under a name of its own in the same folder and then renamed over the target, so
that two processes that write at once both finish and the later one wins whole.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ban_bids.errors import UsageError
from ban_bids.files.room import told_when_full

TEMPORARY_PREFIX = ".tmp-"
"""Beginning of names of files that are being written; ``.bidsignore`` and all readers skip them."""


@contextmanager
def atomic_path(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path beside the target; on success it replaces the target, else it is removed.

    Parameters
    ----------
    path : Path
        Target; its folder is made where it does not exist.
    durable : bool
        Whether the content is on the disk before it replaces the target, for what must survive a power cut.

    Yields
    ------
    Path
        To be written by the caller. It keeps the target's extension.

    Raises
    ------
    UsageError
        The folder cannot be written.
    DiskFull
        There is no room for it.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        with told_when_full(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if durable:
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
            temporary.replace(path)
    except PermissionError as error:
        raise UsageError(f"{path}: user {os.getuid()} cannot write there; give another folder") from error
    finally:
        with suppress(OSError):  # where the folder is no folder, nothing is left behind either
            temporary.unlink(missing_ok=True)


def write_once(path: Path, text: str) -> bool:
    """Write UTF-8 text under a name that nobody has taken: on the disk and whole when this returns, or not at all.

    Of several processes that write at once exactly one succeeds.

    Parameters
    ----------
    path : Path
        Target; its folder is made where it does not exist.
    text : str

    Returns
    -------
    bool
        False where a file of this name was there; it stays as it is.

    Raises
    ------
    OSError
        It cannot be written, or the file system has no hard links; nothing is left behind.
    """
    # without the target's extension: what a killed process leaves is not taken for a finished file by any reader
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("x", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            # a network file system may say so of a link that it has just made itself
            return temporary.stat().st_nlink > 1
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def remove_with_leftovers(path: Path) -> None:
    """Remove a file, and what processes that were killed while they wrote it left beside it."""
    path.unlink(missing_ok=True)
    for leftover in path.parent.glob(f"{TEMPORARY_PREFIX}*-{path.name}"):
        leftover.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text atomically and return the path; halves of letters (names that are no UTF-8) are escaped."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def place(source: Path, target: Path) -> Path:
    """Put a finished file under its final name in one step: a hard link where possible, else a copy.

    Raises
    ------
    UsageError
        The target's folder cannot be written.
    DiskFull
        There is no room for it.
    """
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)
    return target
