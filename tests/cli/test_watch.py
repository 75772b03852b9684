"""Signals end a command with all its processes; a kill for want of memory is one participant's failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from ban_bids.app.ended import KILLED, NOTHING, Ended
from ban_bids.cli import watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl and sigtimedwait are Linux's")

COMMAND = """
import os, signal, subprocess, sys, threading
from ban_bids.app.ended import Ended
from ban_bids.cli import watch
from ban_bids.files.processes import die_with_parent

WAIT = "import sys, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); sys.stdin.read()"
how = sys.argv[1]
for number in watch._ENDING:  # whoever runs the tests may ignore some, as nohup and a shell's & do
    signal.signal(number, signal.SIG_DFL)
if how == "ignores":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
watch.GRACE = 0.5 if how == "sits in C" else 60

def work(ended):
    if how == "sits in C":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as where Python's lock is held: no handler runs
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    apart = {"preexec_fn": die_with_parent, "start_new_session": True}
    below = subprocess.Popen([sys.executable, "-c", WAIT], **pipes, **apart)
    below.stdout.readline()
    try:
        print(os.getpid(), below.pid, flush=True)
        below.wait()
    finally:
        print("tidied", flush=True)

sys.exit(watch.watched("it", work, lambda: "the same command goes on"))
"""


@contextmanager
def running(how: str) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """The command at work, and the processes below it."""
    call = [sys.executable, "-c", COMMAND, how]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        below = [psutil.Process(int(pid)) for pid in command.stdout.readline().split()]
        assert len(below) == 2 and all(one.is_running() for one in below)
        try:
            yield command, below
        finally:
            command.kill()


def gone(processes: list[psutil.Process]) -> bool:
    """Whether processes have ended, or do so soon; nobody may wait for a zombie in a container."""
    _, alive = psutil.wait_procs(processes, timeout=10)
    return all(one.status() == psutil.STATUS_ZOMBIE for one in alive)


@pytest.mark.parametrize(
    ("how", "number", "tidied"),
    [
        ("waits", signal.SIGTERM, True),
        ("waits", signal.SIGHUP, True),
        ("waits", signal.SIGINT, True),
        ("waits", signal.SIGUSR1, True),
        ("sits in C", signal.SIGTERM, False),
    ],
)
def test_a_signal_ends_all_processes_and_says_how_to_go_on(how: str, number: signal.Signals, tidied: bool) -> None:
    with running(how) as (command, below):
        command.send_signal(number)
        said, told = command.communicate(timeout=30)
    assert command.returncode == 128 + number
    assert told == f"it: ended by {number.name}; the same command goes on\n"
    assert ("tidied" in said) is tidied
    assert not any(one.is_running() for one in below)


@pytest.mark.parametrize("alive", [True, False])
def test_a_worker_that_comes_too_late_ends(alive: bool) -> None:
    late = (
        "import multiprocessing, types; from ban_bids.files.processes import die_with_parent\n"
        f"multiprocessing.parent_process = lambda: types.SimpleNamespace(is_alive=lambda: {alive})\n"
        "die_with_parent()\n"
    )
    assert subprocess.run([sys.executable, "-c", late], check=False).returncode == (0 if alive else -signal.SIGKILL)


def test_what_nohup_made_ignored_stays_so() -> None:
    with running("ignores") as (command, below):
        command.send_signal(signal.SIGHUP)
        below[0].send_signal(signal.SIGHUP)
        command.send_signal(signal.SIGTERM)
        _, told = command.communicate(timeout=30)
    assert command.returncode == 143 and "ended by SIGTERM" in told


def test_a_signal_to_the_process_that_works_alone_is_told_as_well() -> None:
    with running("waits") as (command, below):
        below[0].send_signal(signal.SIGTERM)
        _, told = command.communicate(timeout=30)
    assert command.returncode == 143 and "ended by SIGTERM" in told
    assert not any(one.is_running() for one in below)


def test_nobody_is_left_where_the_one_that_watches_is_killed() -> None:
    with running("waits") as (command, below):
        command.kill()
        command.wait(timeout=30)
        assert gone(below)


def test_what_is_ignored_from_outside_stays_so() -> None:
    code = (
        "import os, signal, sys\nfrom ban_bids.cli import watch\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def work(_):\n    os.kill(os.getppid(), signal.SIGHUP)\n    signal.raise_signal(signal.SIGHUP)\n    return 3\n"
        "sys.exit(watch.watched('it', work, str))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")


PEOPLE = """
import os, signal, sys
from ban_bids.cli import watch

def work(ended):
    for label in ("01", "02", "03"):
        if label in ended.killed() or ended.outcomes(label):
            continue
        ended.begin(label)
        print("begins", label, flush=True)
        if label == "02":
            os.kill(os.getpid(), signal.SIGKILL)
        ended.end(label, [label, "done"])
    print(ended.killed(), [ended.outcomes(label) for label in ("01", "03")], flush=True)
    return 1

sys.exit(watch.watched("it", work, lambda: "the same command goes on"))
"""


def test_a_process_killed_at_a_participant_is_started_again_for_the_others() -> None:
    done = subprocess.run([sys.executable, "-c", PEOPLE], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "begins 01", "begins 02", "begins 03", "('02',) [['01', 'done'], ['03', 'done']]",
    ]  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"it: sub-02 {KILLED}; going on with the others\n"


@pytest.mark.parametrize(("number", "status", "words"), [("SIGKILL", 137, "--mem"), ("SIGSEGV", 139, "a library")])
def test_a_process_that_ends_at_no_participant_is_not_started_again(number: str, status: int, words: str) -> None:
    code = (
        f"import os, signal, sys\nfrom ban_bids.cli import watch\n"
        f"work = lambda _: os.kill(os.getpid(), signal.{number})\nsys.exit(watch.watched('it', work, str))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 1 and words in done.stderr


def test_where_nobody_watches_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    NOTHING.begin("01")
    assert NOTHING.killed() == () and NOTHING.outcomes("01") is None
    monkeypatch.setenv("LOCAL_RANK", "1")  # a process beside the first one: that one is watched
    assert watch.watched("it", lambda ended: int(ended.stream is None) + os.getpid(), str) == 1 + os.getpid()


def test_ends_are_kept_between_processes() -> None:
    ended = Ended.kept()
    ended.begin("01")
    child = os.fork()
    if child == 0:
        ended.end("01", {"any": "thing"})
        ended.begin("02")
        os._exit(0)
    os.waitpid(child, 0)
    assert ended.outcomes("01") == {"any": "thing"} and ended.killed() == ("02",)
    ended.begin("03")
    ended.leave("03")  # to be worked on again later
    assert ended.killed() == ("02",)
