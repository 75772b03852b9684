"""Fixtures for the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def tree_of() -> Callable[[Path], list[str]]:
    """List of every path under a folder with its size and time of change."""

    def snapshot(folder: Path) -> list[str]:
        paths = sorted(folder.rglob("*"))
        return [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]

    return snapshot
