"""Two processes on one file take turns; a killed one holds nothing; where locks cannot be, that is said."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ban_bids.errors import DataError
from ban_bids.files.locks import file_lock, file_locks

HOLDER = """
import sys, time
from pathlib import Path
from ban_bids.files.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def is_free(path: Path) -> bool:
    """As the kernel sees it."""
    with path.open("w") as other:
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_held_files_are_refused_to_others_and_freed_afterwards(tmp_path: Path) -> None:
    paths = [tmp_path / "new" / f"sub-{label}.lock" for label in ("02", "01")]
    with file_locks(paths):
        assert not any(is_free(path) for path in paths)
        with file_locks([tmp_path / "new" / "sub-03.lock"]):
            pass
    assert all(is_free(path) for path in paths)


def test_a_failure_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"), file_lock(tmp_path / "x.lock"):
        raise OSError("disk full")
    assert is_free(tmp_path / "x.lock")


def test_a_waiting_process_says_so_and_goes_on_when_the_holder_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        started = time.monotonic()
        threading.Timer(0.6, os.kill, (holder.pid, signal.SIGKILL)).start()
        with caplog.at_level(logging.INFO), file_lock(path):
            assert 0.5 < time.monotonic() - started < 10
    assert f"{path}: another process is at work; waiting for it" in caplog.text


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = r"x\.lock: cannot be locked \(Function not implemented\).*with file locks"
    with pytest.raises(DataError, match=message), file_lock(tmp_path / "x.lock"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(DataError, match=r"x\.lock: cannot be locked .*choose a folder"),
        file_lock(tmp_path / "file" / "x.lock"),
    ):
        pass
