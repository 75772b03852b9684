"""Progress of long steps and of stages: a bar on a terminal, log lines elsewhere, minutes and peak memory."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import psutil

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 60.0


def progress(items: Iterable[T], description: str) -> Iterator[T]:
    """Yield the items and show how far along they are.

    Parameters
    ----------
    items : iterable
        What is worked through.
    description : str
        Shown before the bar or the count.

    Yields
    ------
    item
        Each item, unchanged.
    """
    total = len(items) if isinstance(items, Sized) else None
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=description, total=total, console=Console(stderr=True), transient=True)
        return
    last = time.monotonic()
    for n, item in enumerate(items):
        yield item
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            _LOG.info("%s: %d of %s", description, n + 1, "?" if total is None else total)


_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Stage:
    """One finished stage: its name, wall minutes, and peak memory of the whole process tree in MiB."""

    name: str
    minutes: float
    peak_mib: float


@dataclass
class StageClock:
    """Collects the stages of one run; one clock per call of the app, passed down."""

    stages: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement and watch the memory it uses.

        Parameters
        ----------
        name : str
            What is done, as it appears in the log and the report.
        """
        stop = threading.Event()
        peak = [_tree_mib()]

        def watch() -> None:
            last = time.monotonic()
            while not stop.wait(_SAMPLE_SECONDS):
                peak[0] = max(peak[0], _tree_mib())
                if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
                    last = time.monotonic()
                    _LOG.info("%s: %.0f min so far", name, (last - start) / 60)

        start = time.monotonic()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        _LOG.info("%s ...", name)
        try:
            yield
        finally:
            stop.set()
            watcher.join()
            stage = Stage(name, (time.monotonic() - start) / 60, max(peak[0], _tree_mib()))
            self.stages.append(stage)
            _LOG.info("%s: %.2f min, peak %.0f MiB", stage.name, stage.minutes, stage.peak_mib)


def _tree_mib() -> float:
    """Resident memory of this process and its descendants; a page shared by two is counted twice."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20
