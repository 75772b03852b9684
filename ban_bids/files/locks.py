"""Locks between processes, on files."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ban_bids.errors import DataError

_LOG = logging.getLogger(__name__)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; wait, and say so, while another process holds it.

    Raises
    ------
    DataError
        When the file cannot be written or its file system has no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as err:
        raise DataError(f"{path}: cannot be written ({err.strerror}); choose another --work-dir") from err
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.info("%s: another process is at work; waiting for it", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as err:
            raise DataError(
                f"{path}: the file system has no file locks ({err.strerror}); choose a local --work-dir"
            ) from err
        yield  # closing the file releases the lock
