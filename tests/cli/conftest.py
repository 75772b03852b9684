"""Fixtures for the command line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tree_of() -> Callable[[Path], list[str]]:
    """List of every path under a folder with its size and time of change."""

    def snapshot(folder: Path) -> list[str]:
        paths = sorted(folder.rglob("*"))
        return [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]

    return snapshot


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """Put the root logger back as it was: the command line sets its handlers."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
