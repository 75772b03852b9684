"""How workers are started depends on what the system lets processes share."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from ban_bids.files.sharing import no_semaphores, worker_context


def test_a_socket_path_too_long_makes_workers_start_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/short")
    assert worker_context().get_start_method() == "forkserver"
    long = tmp_path / ("w" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert worker_context().get_start_method() == "spawn"


def test_a_socket_fits_into_the_longest_folder_that_counts_as_short(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:

        def fits(folder: Path) -> bool:
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
            return worker_context().get_start_method() == "forkserver"

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


POOL = """
import sys
from concurrent.futures import ProcessPoolExecutor
from ban_bids.files.processes import die_with_parent
from ban_bids.files.sharing import worker_context

pool = ProcessPoolExecutor(2, worker_context(), initializer=die_with_parent)
print(*pool.map(abs, [1, -2]), flush=True)
sys.stdin.read()
"""


def test_workers_and_their_server_end_with_a_process_that_is_killed() -> None:
    if why := no_semaphores():
        pytest.skip(why)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", POOL], text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "1 2\n"
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(below, timeout=20)
    # two workers or one, their server, and what gives semaphores back; nobody may wait for a zombie in a container
    assert len(below) >= 3
    assert all(one.status() == psutil.STATUS_ZOMBIE for one in alive)
