"""Memory of all processes of a run, what there is of it, and giving back what is not needed (best on Linux)."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

_ARENAS, _MOST_ARENAS = -8, 2  # M_ARENA_MAX of <malloc.h>
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory.limit_in_bytes")
_UNLIMITED = 2**60


def taken() -> int:
    """Bytes that this process and all below it take; a page that n of them share counts once."""
    process = psutil.Process()
    total = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error, OSError):  # it ended meanwhile
            total += _proportional(one)
    return total


def _proportional(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, PermissionError):  # another system, or none of our own processes
        return int(process.memory_info().rss)
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))  # none of one that ended


def there_is(groups: Path = _CONTROL_GROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that all processes may take together: the machine's memory, or less where a job or container has less.

    Parameters
    ----------
    groups : Path
        Where control groups are mounted, of the first or the second version.
    own : Path
        Names the groups of this process.
    """
    limits = [psutil.virtual_memory().total]
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            place = groups / ("memory" if "memory" in kinds.split(",") else "") / name.lstrip("/")
            # a group is bounded by those above it, too
            for folder in (place, *place.parents) if kinds in ("", "memory") else ():
                limits += [limit for file in _LIMITS if (limit := _number(folder / file)) < _UNLIMITED]
                if folder == groups:
                    break
    return min(limits)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return _UNLIMITED


def keep_little() -> None:
    """Have the C library share few heaps among threads: each keeps what was freed in it."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # not of GNU
            ctypes.CDLL(None).mallopt(_ARENAS, _MOST_ARENAS)
        os.environ.setdefault("MALLOC_ARENA_MAX", str(_MOST_ARENAS))  # of processes that are started


def give_back() -> None:
    """Return to the system what is free in this process."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def forget_pages(array: np.ndarray) -> None:
    """Take the pages of an array that lies on disk out of memory; it stays as it is, and is read again when needed."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
