"""Locks between processes, on files; a process that is killed holds none any more.

Where the file system has locks of its own, the system's lock is taken, which ends with its holder. Network file
systems may have none, or locks that other machines do not see: there a *lease* is taken (as well), a file beside the
lock that its holder touches every half minute (``filelock.SoftFileLease``). A lease whose holder died on this machine,
or fell silent for an hour while we waited, is taken over where names can be exchanged in one step; elsewhere, as on
NFS, nobody could do that without a moment in which two hold it, and it is told by name for a person to delete.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import BaseFileLock, FileLock, LeaseSettingsMismatch, SoftFileLease, Timeout

from ban_bids.errors import DataError, StaleLock
from ban_bids.files.filesystems import shared_between_machines
from ban_bids.files.room import disk_full, tells_of_no_room

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_TRIES = 0.2
_GRACE = 5.0
"""Seconds in which filelock takes over a lease that it may take over."""

LEASE_SECONDS = 3600.0
"""A holder may be silent for so long: while ANTs registers two images, no other thread of the process runs."""

_HEARTBEAT_SECONDS = 30.0
LEASE_SUFFIX = ".lease"
_TAKEN_OVER = "%s: taken over from %s, which is no more"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; wait, and say for whom, while another process holds it.

    Parameters
    ----------
    path : Path
        Made, with its folder, where it is missing; it stays.

    Raises
    ------
    StaleLock
        Its holder gives no sign of life, or took it over from us, or it could not be renewed; the message names it and
        the file to delete.
    DataError
        The file cannot be written.
    DiskFull
        There is no room for it.
    """
    with ExitStack() as stack:
        lease = _take(path, stack, wait=True)
        try:
            yield
        except (KeyboardInterrupt, Exception) as error:  # a signal that asks for the end goes through
            if lease is not None and lease.compromise is not None:  # which interrupted us
                raise _lost(lease) from error
            raise
        if lease is not None and lease.compromise is not None:
            raise _lost(lease)


@contextmanager
def file_locks(paths: Iterable[Path]) -> Iterator[None]:
    """Hold several locks, taken in sorted order, so that two processes cannot wait for each other.

    Raises
    ------
    DataError
        As :func:`file_lock`.
    """
    with ExitStack() as stack:
        for path in sorted(paths):
            stack.enter_context(file_lock(path))
        yield


@contextmanager
def all_free(paths: Iterable[Path]) -> Iterator[bool]:
    """Hold several locks if no other process holds one of them; yields whether they are held. Nobody is waited for."""
    with ExitStack() as stack:
        try:
            for path in sorted(paths):
                _take(path, stack, wait=False)
        except Timeout:
            stack.close()
            yield False
            return
        yield True


def _take(path: Path, stack: ExitStack, *, wait: bool) -> SoftFileLease | None:
    """Take the system's lock, and a lease where that does not do; both end with the stack.

    Raises
    ------
    Timeout
        Another process holds one, and nobody is to wait.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        by_lease, alone = shared_between_machines(path.parent), True
        try:
            # FileLock's own soft lock would outlive its machine
            system = FileLock(
                path, poll_interval=_SECONDS_BETWEEN_TRIES, fallback_to_soft=False, on_acquired=_sign
            )  # fmt: skip
            _acquire(system, path, wait=wait)
            stack.callback(_release, system)
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            _LOG.debug("%s: no locks of the file system (%s), a lease instead", path, error.strerror)
            by_lease, alone = True, False
        return _lease(path, stack, wait=wait, alone=alone) if by_lease else None
    except Timeout:
        raise
    except LeaseSettingsMismatch as error:
        raise DataError(f"{path}: held by another version of ban-bids ({error}); let that one end first") from error
    except OSError as error:
        if tells_of_no_room(str(error)):
            raise disk_full(path, str(error.strerror)) from error
        raise DataError(
            f"{path}: cannot be locked ({error.strerror}); choose a folder that can be written, on a file system "
            "that can make a file exclusively"
        ) from error


def _lease(path: Path, stack: ExitStack, *, wait: bool, alone: bool) -> SoftFileLease:
    """Take a lease; ``alone`` where the system's lock keeps the other processes of this machine away."""
    in_main = threading.current_thread() is threading.main_thread()
    lease = SoftFileLease(
        path.with_name(path.name + LEASE_SUFFIX), lease_duration=LEASE_SECONDS,
        heartbeat_interval=min(_HEARTBEAT_SECONDS, LEASE_SECONDS / 3), poll_interval=_SECONDS_BETWEEN_TRIES,
        # the work would go on beside another's: it ends as by Ctrl-C, and file_lock says why
        on_compromise=lambda _: _interrupt_main() if in_main else None,
    )  # fmt: skip
    before = _holder(lease)
    if alone:
        _break_dead(lease)
    _acquire(lease, Path(lease.lock_file), wait=wait, alone=alone)
    stack.callback(_release, lease)
    if before is not None and before.is_dead and not alone:
        _LOG.warning(_TAKEN_OVER, lease.lock_file, before)
    return lease


def _interrupt_main() -> None:
    """As by Ctrl-C, also where SIGINT is ignored (a shell's ``&``) or means something else (`ban_bids.cli.watch`)."""
    main = ctypes.c_ulong(threading.main_thread().ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(KeyboardInterrupt))


def _break_dead(lease: SoftFileLease) -> bool:
    """Remove a lease of a dead process of this machine while we hold the system's lock, which keeps its others away.

    Other machines cannot know that it is dead, so nobody else does this at the same time, and no exchange is needed.
    """
    holder = _holder(lease)
    if holder is None or not holder.is_dead:
        return False
    lease.force_break()
    _LOG.warning(_TAKEN_OVER, lease.lock_file, holder)
    return True


def _acquire(lock: BaseFileLock, path: Path, *, wait: bool, alone: bool = False) -> None:
    """Acquire a lock, and say for whom we wait.

    Raises
    ------
    Timeout
        It is held, and nobody is to wait.
    StaleLock
        It is a lease whose holder gives no sign of life, and it could not be taken over.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        _LOG.info("%s: %s is at work; waiting for it", path, _holder(lock) or "another process")
        watch = _Watch(lock, alone) if isinstance(lock, SoftFileLease) else None
        try:
            lock.acquire(cancel_check=None if watch is None else watch.is_stale)
        except Timeout as error:
            raise StaleLock(
                f"{path}: left by {_holder(lock) or 'another process'}; if that no longer runs, delete this file and "
                "start again"
            ) from error


def _release(lock: BaseFileLock) -> None:
    """Release a lock; what was done under it is done, whatever its file system says now."""
    try:
        lock.release()
    except OSError as error:
        _LOG.warning(
            "%s: cannot be released (%s); it is free when this process ends, and others wait until then",
            lock.lock_file,
            error.strerror or error,
        )


def _lost(lease: SoftFileLease) -> StaleLock:
    if lease.compromise is not None and lease.compromise.reason == "refresh-failed":
        why = getattr(lease.compromise.error, "strerror", None) or lease.compromise.error
        return StaleLock(
            f"{lease.lock_file}: could not be renewed for {LEASE_SECONDS / 60:.0f} min ({why}), and another process "
            "may take it; we stop, so that two do not write at once: start again when the file system answers"
        )
    return StaleLock(
        f"{lease.lock_file}: {_holder(lease) or 'another process'} took this lock over or it was deleted while we were "
        f"at work (no sign of life of ours for {LEASE_SECONDS / 60:.0f} min, or a person's doing); we stop, so that "
        "two do not write at once: start again when the other has ended"
    )


def _sign(descriptor: int) -> None:
    """Write into a lock who holds it; only for people, so a full disk does no harm."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n{socket.gethostname()}\n".encode("utf-8", "replace"), 0)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as far as its file tells.

    Parameters
    ----------
    pid : int
    host : str
    seconds : float
        Since it took a lock of the system, or since a lease was touched last, by this machine's clock.
    beats : bool
        Whether it is a lease.
    """

    pid: int
    host: str
    seconds: float
    beats: bool

    def __str__(self) -> str:
        ago = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        when = f"last sign of life {ago} ago" if self.beats else f"for {ago}"
        return f"process {self.pid} on {self.host} ({when})"

    @property
    def is_dead(self) -> bool:
        """Whether it was a process of this machine that is no more; of other machines nobody knows."""
        if self.host != socket.gethostname():
            return False
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE  # killed, where nobody asks how it ended
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def _holder(lock: BaseFileLock) -> Holder | None:
    """Who holds a lock; None where nobody does, or its file does not tell."""
    path = Path(lock.lock_file)
    with suppress(OSError, ValueError):
        seconds = max(0.0, time.time() - path.lstat().st_mtime)
        if isinstance(lock, SoftFileLease):
            owner = lock.owner
            # the library appends the name space of a container's processes, whose numbers mean nothing here
            return None if owner is None else Holder(owner.pid, owner.hostname, seconds, beats=True)
        pid, host = path.read_text(encoding="utf-8", errors="replace").splitlines()[:2]
        return Holder(int(pid), host, seconds, beats=False)
    return None


class _Watch:
    """Whether a lease's holder is dead, or has been silent for too long, and the lease was not taken over.

    One that was silent before we came is told at once: to watch it for as long again would cost a job its time.
    """

    def __init__(self, lease: SoftFileLease, alone: bool) -> None:
        self.lease, self.alone = lease, alone
        self.seen: tuple[int, int] | None = None
        self.since = self.dead_since = time.monotonic()
        found = _holder(lease)
        self.silent = found is not None and found.seconds > LEASE_SECONDS  # no two clocks differ by as much

    def is_stale(self) -> bool:
        """Look once more; called at every try."""
        if self.alone and _break_dead(self.lease):
            return False
        now, holder = time.monotonic(), _holder(self.lease)
        try:
            status = Path(self.lease.lock_file).lstat()
        except OSError:  # released, or taken by another who waits
            self.since, self.dead_since, self.silent = now, now, False
            return False
        key = (status.st_ino, status.st_mtime_ns)
        if key != self.seen:
            self.silent &= self.seen is None
            self.seen, self.since = key, now
        if holder is None or not holder.is_dead:
            self.dead_since = now
        return self.silent or now - self.since > LEASE_SECONDS + _GRACE or now - self.dead_since > _GRACE
