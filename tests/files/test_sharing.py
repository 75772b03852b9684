"""How workers are started depends on what the system lets processes share."""

from __future__ import annotations

import socket
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from ban_bids.files.sharing import no_semaphores, start_method


def test_a_socket_path_too_long_makes_workers_start_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/work/tmp")
    assert start_method() == "forkserver"
    long = tmp_path / ("w" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert start_method() == "spawn"


def test_a_socket_fits_into_the_longest_folder_that_counts_as_short(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:

        def fits(folder: Path) -> bool:
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
            return start_method() == "forkserver"

        names = (Path(short) / ("w" * length) for length in range(120, 0, -1))
        longest = next(folder for folder in names if fits(folder))
        assert fits(longest) and len(str(longest)) > 60
        # as multiprocessing names them
        path = longest / "pymp-abcdefgh" / "listener-abcdefgh"
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))


def test_semaphores_can_be_made_here() -> None:
    if why := no_semaphores():
        pytest.skip(why)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(abs, -1).result() == 1
