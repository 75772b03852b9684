"""Locks between processes, on files; a process that is killed holds none any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ban_bids.errors import DataError

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_TRIES = 0.2


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; wait, and say so, while another process holds it.

    Parameters
    ----------
    path : Path
        Made, with its folder, where it is missing; it stays.

    Raises
    ------
    DataError
        The file cannot be written, or its file system has no locks.
    """
    # a soft lock would outlive a killed process: where there are no real ones that is an error
    lock = FileLock(path, poll_interval=_SECONDS_BETWEEN_TRIES, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _LOG.info("%s: another process is at work; waiting for it", path)
            lock.acquire()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be locked ({error.strerror}); choose a folder that can be written, on a file system "
            "with file locks"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def file_locks(paths: Iterable[Path]) -> Iterator[None]:
    """Hold several locks, taken in sorted order, so that two processes cannot wait for each other.

    Raises
    ------
    DataError
        As :func:`file_lock`.
    """
    with ExitStack() as stack:
        for path in sorted(paths):
            stack.enter_context(file_lock(path))
        yield


@contextmanager
def all_free(paths: Iterable[Path]) -> Iterator[bool]:
    """Hold several locks if no other process holds one of them; yields whether they are held. Nobody is waited for."""
    with ExitStack() as stack:
        try:
            for path in sorted(paths):
                stack.enter_context(FileLock(path, timeout=0, fallback_to_soft=False))
        except Timeout:
            stack.close()
            yield False
            return
        yield True
