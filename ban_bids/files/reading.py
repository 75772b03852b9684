"""Files that others made, read so that none can hang, fill the memory or end in a traceback.

Ordinary files only: reading a pipe may never end, and a device never does. No larger than what is read may be, and
nested no deeper: whatever is wrong becomes one line with the file and the remedy.
"""

from __future__ import annotations

import math
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

from ban_bids.errors import DataError

Store = Literal["annex", "lfs"]
"""Of git-annex (datalad) or git-lfs: where content lies that was not fetched."""

MIB = 2**20
DEEPEST = 64
"""Levels of lists and tables in each other that a file may have."""

_LARGEST_INTEGER = 2**63
_RIGHTS = "fetch the file or fix its rights"
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_UNREADABLE = (OSError, ValueError)  # a name with a null byte is a ValueError
_POINTERS: tuple[tuple[bytes, Store], ...] = (
    (b"/annex/objects/", "annex"),
    (b"version https://git-lfs.github.com/", "lfs"),
)
LONGEST_POINTER = 32 * 1024  # git-annex's own limit


def pointer(head: bytes) -> Store | None:
    """Whose pointer a small file is that begins so, if it is one."""
    return next((store for start, store in _POINTERS if head.startswith(start)), None)


def link_to(path: Path) -> Literal["annex", "link"]:
    """Whether a link leads into git-annex's store, or elsewhere."""
    return "annex" if {".git", "annex"} <= set(path.readlink().parts) else "link"


def not_fetched(path: Path, how: Store | Literal["link"]) -> DataError:
    """The error for a link or pointer whose content is not there."""
    if how == "lfs":
        return DataError(f"{path}: not fetched; fetch it: git lfs pull --include {shlex.quote(path.name)}")
    if how == "link":
        return DataError(f"{path}: link to a file that is not there ({path.readlink()}); restore that file")
    return DataError(f"{path}: link to a file that is not there; fetch it: datalad get {shlex.quote(str(path))}")


def check_fetched(path: Path, raw: bytes) -> None:
    """Refuse the content of a file that is a pointer of git-annex or git-lfs.

    Parameters
    ----------
    path : Path
    raw : bytes
        All of it, or as many bytes as no pointer has.

    Raises
    ------
    DataError
    """
    store = pointer(raw) if len(raw) < LONGEST_POINTER else None
    if store is not None:
        raise not_fetched(path, store)


def check_ordinary(path: Path, remedy: str = _RIGHTS) -> int:
    """Refuse what is no ordinary file, for readers that open files themselves.

    Parameters
    ----------
    path : Path
        Links are followed.
    remedy : str
        End of the message where the file cannot be reached.

    Returns
    -------
    int
        Its size, bytes.

    Raises
    ------
    DataError
        It is not there, a folder, a pipe, a socket, a device, or a link to itself.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  before Python 3.12 Path.stat lets other errors through than this
    except _UNREADABLE as error:
        raise unreadable(path, error, remedy) from error
    return _ordinary(path, status)


def _ordinary(path: Path, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "something else")
        raise DataError(f"{path}: cannot be read ({kind}, no ordinary file); put the file there")
    return status.st_size


def unreadable(path: Path, error: Exception, remedy: str = _RIGHTS) -> DataError:
    """The error for a file that cannot be read, in one line."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return not_fetched(path, link_to(path))
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermissionError):
        remedy = f"give user {os.getuid()} the right to read it"
    return DataError(f"{path}: cannot be read ({reason}); {remedy}")


@contextmanager
def opened(path: Path, *, remedy: str = _RIGHTS) -> Iterator[BufferedReader]:
    """Open an ordinary file to read its bytes; never waits for a pipe's other end.

    Parameters
    ----------
    path : Path
    remedy : str
        End of the message where it cannot be read.

    Yields
    ------
    binary file

    Raises
    ------
    DataError
        As :func:`check_ordinary`, also for what goes wrong while it is read.
    """
    check_ordinary(path, remedy)
    try:
        # of two processes one may put a pipe there in between: it is opened without waiting, and looked at again
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except _UNREADABLE as error:
        raise unreadable(path, error, remedy) from error
    with os.fdopen(handle, "rb") as stream:
        _ordinary(path, os.fstat(handle))
        try:
            yield stream
        except OSError as error:
            raise unreadable(path, error, remedy) from error


def read_bytes(path: Path, most: int, *, remedy: str = _RIGHTS) -> bytes:
    """Read a whole file, where it is no larger than it may be.

    Parameters
    ----------
    path : Path
    most : int
        Bytes that a file of this kind may have.
    remedy : str
        End of the message where it cannot be read.

    Raises
    ------
    DataError
        As :func:`opened`; it is larger, or a pointer to content that was not fetched.
    """
    with opened(path, remedy=remedy) as stream:
        size = os.fstat(stream.fileno()).st_size
        raw = stream.read(most + 1) if size <= most else b""  # it may grow, and some say that they are empty
    if size > most or len(raw) > most:
        raise too_large(path, max(size, len(raw)), most)
    check_fetched(path, raw)
    return raw


def too_large(path: Path, size: int, most: int) -> DataError:
    """The error for a file of more bytes than are read."""
    return DataError(
        f"{path}: {_megabytes(size)}, and at most {_megabytes(most)} are read of such a file; put the right file "
        "there, or leave out of it what is not needed"
    )


def _megabytes(size: int) -> str:
    return f"{size} bytes" if size < MIB else f"{size / MIB:,.1f} MiB"


def text_of(raw: bytes, path: Path, *, whole: bool = True) -> str:
    """Text of a file in UTF-8 or UTF-16.

    Parameters
    ----------
    raw : bytes
        Its content.
    path : Path
        For messages.
    whole : bool
        False for the beginning of a file: letters that are cut, or of another encoding, are then replaced.

    Raises
    ------
    DataError
        It is in another encoding, or no text.
    """
    coding = "utf-8-sig"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        coding = "utf-16"
    elif len(raw) > 1 and (raw[0] == 0) != (raw[1] == 0):  # UTF-16 without its mark: every other byte of ASCII is 0
        coding = "utf-16-be" if raw[0] == 0 else "utf-16-le"
    try:
        text = raw.decode(coding, "strict" if whole else "replace")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{path}: not text; save it as UTF-8")
    return text


def check_content(content: Any) -> None:
    """Check what was parsed of JSON, TOML or YAML: nested no deeper than :data:`DEEPEST`, integers of 64 bits.

    Others could not be written, compared or made floats of later.

    Raises
    ------
    ValueError
        Says what is wrong.
    """
    level = [content]
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise ValueError(f"nested more than {DEEPEST} deep")


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, int) and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        raise ValueError(f"an integer of {value.bit_length()} bits; at most 64 are read")
    return value if isinstance(value, list) else ()


def as_number(value: object) -> float | None:
    """A finite number as it was parsed; None for anything else, true and false among them."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def as_numbers(value: object) -> list[float] | None:
    """A list of finite numbers; None for anything else."""
    numbers = [as_number(item) for item in value] if isinstance(value, list) else [None]
    found = [number for number in numbers if number is not None]
    return found if len(found) == len(numbers) else None
