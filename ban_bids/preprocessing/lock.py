"""One process at a time on a participant's nodes; other participants' processes do not wait."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_LOG = logging.getLogger(__name__)


@contextmanager
def participants_locked(labels: Iterable[str], folder: Path) -> Iterator[None]:
    """Hold an advisory lock for every label, waiting for processes that hold one.

    The second of two runs on one participant then finds the first one's finished nodes.

    Parameters
    ----------
    labels : iterable of str
        Taken in sorted order, so that two processes cannot wait for each other.
    folder : Path
        Where the lock files lie; it exists.
    """
    with ExitStack() as stack:
        for label in sorted(labels):
            stream = stack.enter_context((folder / f"sub-{label}.lock").open("w", encoding="utf-8"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _LOG.warning("sub-%s is being preprocessed by another process; waiting for it", label)
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError as error:
                _LOG.warning("%s: no locks on this file system (%s); run one process at a time", folder, error)
        yield
