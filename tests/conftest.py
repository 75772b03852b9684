"""Fixtures that every test folder may use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data that is not part of the project; tests skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BAN_BIDS_TEST_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set BAN_BIDS_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_audio_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test decodes goes to the user's caches, or comes from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAN_BIDS_CACHE", str(tmp_path_factory.mktemp("audio-cache")))
        yield


@pytest.fixture(autouse=True)
def _keep_logging() -> Iterator[None]:
    """Put the loggers back as they were: the command line sets handlers and levels, in fixtures too."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in ("ban_bids", "py.warnings"):
        logging.getLogger(name).setLevel(logging.NOTSET)
