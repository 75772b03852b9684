"""A command in a process of its own, and a small one that watches it.

The one that watches computes nothing, so that nothing can delay it: ANTs and LAPACK hold Python's lock for minutes, and
a handler of signals in their process would wait. On SIGTERM, as schedulers send before they kill, SIGHUP, SIGINT,
SIGUSR1 and SIGUSR2 it lets the other end tidily, kills what is left of all its processes after a few seconds, and says
how to go on. A command that is killed for want of memory is started again without the participant that it was at.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from ban_bids.app.ended import KILLED, Ended
from ban_bids.files.processes import adopt_orphans, descendants, die_with_parent, end_descendants

GRACE = 5.0
"""Seconds that the command has to end by itself; schedulers wait for 30 before they kill."""

_ENDING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


_HELPER = "LOCAL_RANK"
"""Lightning's variable in processes that it starts beside the first, which ends them."""
_KILLED = 128 + signal.SIGKILL


class EndedBySignal(BaseException):
    """A signal asks the command to end: no error, so that nothing takes it for a participant's fault."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def watched(program: str, work: Callable[[Ended], int], how_to_go_on: Callable[[], str]) -> int:
    """Do work in a process of its own, and watch it.

    Parameters
    ----------
    program : str
        Name of the command.
    work : callable
        Takes what earlier processes of this call have ended, and returns an exit status.
    how_to_go_on : callable
        End of the line that is said after a signal.

    Returns
    -------
    int
        The work's; 128 and the signal's number after a signal (143 for SIGTERM), as shells have it.
    """
    possible = hasattr(os, "fork") and hasattr(signal, "sigtimedwait") and threading.active_count() == 1
    if not possible or _HELPER in os.environ:
        return work(Ended())
    ended, killed, others = Ended.kept(), 0, descendants()
    adopt_orphans()
    # what nohup made ignored stays so
    heeded = {number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heeded | {signal.SIGCHLD})
    try:
        while True:
            child = _started()
            if child == 0:
                _work(work, ended, heeded, before)
            status, asked = _wait(child, heeded)
            end_descendants(others)
            if asked or status != _KILLED or len(ended.killed()) == killed:
                return _told(program, status, asked, how_to_go_on)
            killed = len(ended.killed())
            print(f"{program}: sub-{ended.killed()[-1]} {KILLED}; going on with the others", file=sys.stderr)
    finally:
        while signal.sigtimedwait(heeded | {signal.SIGCHLD}, 0) is not None:
            pass  # a late second signal would end this process in place of the status
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _told(program: str, status: int, asked: int | None, how_to_go_on: Callable[[], str]) -> int:
    """Say what ended the work, unless it did so itself; the exit status."""
    if asked is None and status - 128 in _ENDING:  # the signal reached the process that works alone
        asked = status - 128
    if asked is not None and status:
        print(f"{program}: ended by {signal.Signals(asked).name}; {how_to_go_on()}", file=sys.stderr)
        return 128 + asked
    if status == _KILLED:
        print(f"{program}: {KILLED}", file=sys.stderr)
    elif status > 128 and status - 128 in set(signal.Signals):
        print(
            f"{program}: ended by {signal.Signals(status - 128).name}, a fault of a library; {how_to_go_on()}",
            file=sys.stderr,
        )
    return status


def _started() -> int:
    """Fork; 0 in the process that works, whose id is returned in the one that watches."""
    _flush()
    return os.fork()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads any more
            if stream is not None:  # a daemon's may be closed
                stream.flush()


def _work(work: Callable[[Ended], int], ended: Ended, heeded: set[signal.Signals], mask: set[int]) -> NoReturn:
    die_with_parent()
    try:
        for number in heeded:
            signal.signal(number, _raise)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = work(ended)
    except EndedBySignal as asked:
        status = 128 + asked.number
    else:
        atexit._run_exitfuncs()
    _flush()
    os._exit(status)  # taking a million objects apart takes seconds, and may wait for threads


def _raise(number: int, _: FrameType | None) -> NoReturn:
    for one in _ENDING:
        signal.signal(one, signal.SIG_IGN)  # to end is asked once
    raise EndedBySignal(number)


def _is_impatient(number: int | None, until: float) -> bool:
    """Whether somebody pressed Ctrl-C again; a scheduler's signals come in pairs, and so may one Ctrl-C."""
    return number == signal.SIGINT and until - time.monotonic() < GRACE - 1.0


def _wait(child: int, heeded: set[signal.Signals]) -> tuple[int, int | None]:
    """Wait for a process; its status, and the signal that came meanwhile."""
    asked, until = None, 0.0
    while True:
        left = GRACE if asked is None else until - time.monotonic()
        came = signal.sigtimedwait(heeded | {signal.SIGCHLD}, max(0.0, left))
        number = None if came is None else came.si_signo
        if number in heeded and asked is None:
            asked, until = number, time.monotonic() + GRACE
            os.kill(child, signal.SIGTERM)
        elif asked is not None and (time.monotonic() >= until or _is_impatient(number, until)):
            return _KILLED, asked
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(code)
            return (128 - code if code < 0 else code), asked
