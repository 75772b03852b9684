"""Two processes on one file take turns; a killed one holds nothing; where the system has no locks, leases do."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ban_bids.errors import DataError, DiskFull, StaleLock
from ban_bids.files import filesystems, locks
from ban_bids.files.filesystems import shared_between_machines
from ban_bids.files.locks import LEASE_SUFFIX, all_free, file_lock, file_locks

HOLDER = """
import errno, fcntl, socket, sys, time
from pathlib import Path
from ban_bids.errors import BanBidsError
from ban_bids.files import locks

def refuse(*args):
    raise OSError(errno.ENOLCK, "No locks available")

path, host, seconds = Path(sys.argv[1]), *sys.argv[2:]
if host == "network":
    locks.shared_between_machines = lambda folder: True
elif host != "flock":
    fcntl.flock = refuse
    locks.LEASE_SECONDS = float(seconds)
    socket.gethostname = lambda: host
try:
    with locks.file_lock(path):
        print("held", flush=True)
        for _ in range(600):
            time.sleep(0.1)
except BanBidsError as error:
    print(error, flush=True)
"""

COUNTER = """
import errno, fcntl, sys
from pathlib import Path
from ban_bids.files import locks

def refuse(*args):
    raise OSError(errno.ENOSYS, "Function not implemented")

fcntl.flock = refuse
path, counter = map(Path, sys.argv[1:])
for _ in range(20):
    with locks.file_lock(path):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@contextmanager
def holder(
    path: Path, host: str = "flock", seconds: float = 3600.0, *, in_background: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock: the system's, or a lease of a machine with this name."""
    command = [sys.executable, "-c", HOLDER, str(path), host, str(seconds)]

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell's & does

    before = ignore if in_background else None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=before) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


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
    with holder(path) as other:
        started = time.monotonic()
        threading.Timer(0.6, os.kill, (other.pid, signal.SIGKILL)).start()
        with caplog.at_level(logging.INFO), file_lock(path):
            assert 0.5 < time.monotonic() - started < 10
    assert f"{path}: process {other.pid} on {socket.gethostname()} (for " in caplog.text
    assert "is at work; waiting for it" in caplog.text


def test_another_fault_of_the_file_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DataError, match=r"x\.lock: cannot be locked \(Input"), file_lock(tmp_path / "x.lock"):
        pass


def test_a_full_disk_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: str, *args: int, **more: int) -> int:
        if str(path).endswith("x.lock"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DiskFull, match=r"x\.lock: the disk is full \(.*; make room"), file_lock(tmp_path / "x.lock"):
        pass


def test_what_was_done_is_not_lost_where_the_lock_cannot_be_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flock = fcntl.flock

    def refuse(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with file_lock(tmp_path / "x.lock"):
            pass
        assert "x.lock: cannot be released (Input/output error)" in caplog.text
        # nor does it hide what went wrong inside
        with pytest.raises(ValueError, match="inside"), file_lock(tmp_path / "y.lock"):
            raise ValueError("inside")


@pytest.mark.usefixtures("no_flock")
def test_a_lease_that_cannot_be_renewed_ends_the_work_and_blames_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(os, "utime", refuse)
    told = r"x\.lock\.lease: could not be renewed .*Input/output error.*start again when the file system answers"
    with pytest.raises(StaleLock, match=told), file_lock(tmp_path / "x.lock"):
        for _ in range(600):
            time.sleep(0.05)


def test_without_locks_of_the_file_system_two_processes_take_turns(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "x.lock"), str(counter)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert counter.read_text() == "40"
    assert not (tmp_path / f"x.lock{LEASE_SUFFIX}").exists()


@pytest.mark.usefixtures("no_flock")
def test_a_lease_of_a_killed_process_of_this_machine_is_taken_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, host = tmp_path / "x.lock", socket.gethostname()
    with holder(path, host) as other:
        with all_free([path]) as free:
            assert not free  # while it runs
        other.kill()
        other.wait()
        with file_lock(path):
            assert (tmp_path / f"x.lock{LEASE_SUFFIX}").exists()
    assert f"taken over from process {other.pid} on {host}" in caplog.text


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot exchange names, as NFS: there the library takes over nothing."""
    monkeypatch.setattr(locks.SoftFileLease, "_try_break_stale_lock", lambda self: None)


@pytest.mark.usefixtures("no_exchange")
def test_on_nfs_the_systems_lock_lets_a_lease_of_a_killed_process_be_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "shared_between_machines", lambda folder: True)
    path = tmp_path / "x.lock"
    with holder(path, "network") as other:
        with all_free([path]) as free:
            assert not free
        other.kill()  # and nobody has asked yet how it ended
        with file_lock(path):
            pass
    assert f"taken over from process {other.pid} on {socket.gethostname()}" in caplog.text


@pytest.mark.usefixtures("no_exchange", "no_flock")
def test_without_any_of_these_it_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_GRACE", 0.0)
    path, host = tmp_path / "x.lock", socket.gethostname()
    with holder(path, host) as other:
        other.kill()
        other.wait()
    told = rf"x\.lock{LEASE_SUFFIX}: left by process {other.pid} on {host} .*delete this file and start again"
    with pytest.raises(StaleLock, match=told), file_lock(path):
        pass


@pytest.mark.usefixtures("no_flock")
def test_a_lease_of_another_machine_is_waited_for_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.lock"
    with holder(path, "node7") as other:
        other.kill()  # of which this machine knows nothing: on another one it may run
        threading.Timer(0.6, (tmp_path / f"x.lock{LEASE_SUFFIX}").unlink).start()
        with caplog.at_level(logging.INFO), file_lock(path):
            pass
    assert f"x.lock{LEASE_SUFFIX}: process {other.pid} on node7 (last sign of life " in caplog.text


@pytest.mark.usefixtures("no_flock")
def test_a_lease_that_another_machine_left_long_ago_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path, lease = tmp_path / "x.lock", tmp_path / f"x.lock{LEASE_SUFFIX}"
    with holder(path, "node7") as other:
        other.kill()
    long_ago = time.time() - 3 * 3600
    os.utime(lease, (long_ago, long_ago))
    told = rf"{lease}: left by process {other.pid} on node7 \(last sign of life 180 min ago\); .* delete this file"
    with pytest.raises(StaleLock, match=told), file_lock(path):
        pass
    assert lease.exists()
    lease.unlink()
    with file_lock(path):
        pass


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize("in_background", [False, True])
def test_a_lease_that_falls_silent_is_taken_over_and_its_holder_stops(
    in_background: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 3.0)
    path = tmp_path / "x.lock"
    with holder(path, "node7", 3.0, in_background=in_background) as other:
        other.send_signal(signal.SIGSTOP)
        with file_lock(path):
            other.send_signal(signal.SIGCONT)
            assert other.stdout is not None
            said = other.stdout.readline()
    assert f"process {os.getpid()} on {socket.gethostname()}" in said and "took this lock over" in said


def test_where_other_machines_may_write_there_is_a_lease_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not shared_between_machines(tmp_path)
    with file_lock(tmp_path / "x.lock"):
        assert not (tmp_path / f"x.lock{LEASE_SUFFIX}").exists()
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    filesystems._kind.cache_clear()
    assert shared_between_machines(tmp_path / "not" / "there") and not shared_between_machines(tmp_path.parent)
    with file_lock(tmp_path / "x.lock"):
        assert not is_free(tmp_path / "x.lock")
        assert (tmp_path / f"x.lock{LEASE_SUFFIX}").exists()
    filesystems._kind.cache_clear()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(DataError, match=r"x\.lock: cannot be locked .*choose a folder"),
        file_lock(tmp_path / "file" / "x.lock"),
    ):
        pass
