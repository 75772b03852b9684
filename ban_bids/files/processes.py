"""Processes that leave nobody behind: orphans are adopted, and all end together (on Linux)."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress

import psutil

_DIE_WITH_PARENT, _ADOPT = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER of <linux/prctl.h>
_LINUX = sys.platform == "linux"
_SECONDS_TO_GO = 2.0
_SECONDS_TO_CLEAN = 0.5
_BETWEEN_LOOKS = 0.02


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends, however that ends.

    Workers of a pool else wait for ever for work from a process that was killed.
    """
    if _LINUX:
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        # it ended just before, or, of a worker whose imports took their time, with the process that wants its work
        master = multiprocessing.parent_process()
        if os.getppid() != parent or (master is not None and not master.is_alive()):
            os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that `end_descendants` finds them."""
    if _LINUX:
        ctypes.CDLL(None).prctl(_ADOPT, 1, 0, 0, 0)


def descendants() -> frozenset[psutil.Process]:
    """All processes below this one."""
    return frozenset(psutil.Process().children(recursive=True))


def end_descendants(spared: frozenset[psutil.Process] = frozenset()) -> None:
    """Kill all processes below this one, and those that they start meanwhile, and wait for their end.

    Parameters
    ----------
    spared : frozenset of psutil.Process
        Not ours to end.
    """
    begun = time.monotonic()
    while time.monotonic() < begun + _SECONDS_TO_GO:
        alive = descendants() - spared
        for process in alive:
            with suppress(psutil.Error):
                # multiprocessing's own ends by itself, when it has given back the semaphores of those that were killed
                if time.monotonic() > begun + _SECONDS_TO_CLEAN or not _tracks_resources(process):
                    process.kill()
        with suppress(ChildProcessError):  # there is none left
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not alive:
            return
        time.sleep(_BETWEEN_LOOKS)


def _tracks_resources(process: psutil.Process) -> bool:
    return "resource_tracker" in " ".join(process.cmdline())
