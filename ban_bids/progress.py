"""Progress of long steps: a bar on a terminal, a log line a minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 60.0


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how far along they are.

    Parameters
    ----------
    items : iterable
        What is worked through.
    description : str
        Shown before the bar or the count.
    total : int, optional
        Number of items; taken from ``len(items)`` where it has one.

    Yields
    ------
    item
        Each item, unchanged.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(
            items, description=description, total=total, console=Console(stderr=True), transient=True
        )
        return
    last = time.monotonic()
    for n, item in enumerate(items):
        yield item
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            _LOG.info("%s: %d of %s", description, n + 1, "?" if total is None else total)
