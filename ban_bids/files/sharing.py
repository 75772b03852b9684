"""What a system lets processes share: semaphores, and sockets that are files."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from multiprocessing.context import BaseContext

_SOCKET_PATH = 107 if sys.platform == "linux" else 103
"""Bytes that the path of a socket may have."""

_SOCKET_NAME = len("/pymp-12345678/listener-12345678")
"""What multiprocessing appends to the folder of temporary files."""


def no_semaphores() -> str | None:
    """Why processes cannot share work here; None where they can.

    A pool of processes needs semaphores, which the system keeps in ``/dev/shm``: not there, or not for this user to
    write, in a container that was made read-only.
    """
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError) as error:  # ImportError: a Python that was built where there was none
        why = getattr(error, "strerror", None) or error
        return f"/dev/shm: no semaphores can be made there ({why})"
    return None


def worker_context() -> BaseContext:
    """How to start workers: by a server, which is fast and listens at a socket, or anew where its path is too long."""
    if len(os.fsencode(tempfile.gettempdir())) + _SOCKET_NAME > _SOCKET_PATH:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # the server waits for the end of a pipe, which its own workers hold open, who wait for its end
    context.set_forkserver_preload(["__main__", "ban_bids.files.server"])
    return context
