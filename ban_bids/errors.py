"""The project's exceptions: one line each, naming the file or option and the remedy.

Exit statuses follow sysexits: 2 for usage, 65 (EX_DATAERR) for data.
"""

from __future__ import annotations

import os
import re

_LONGEST = 4000
_LINE_ENDS = re.compile(r"[\r\n]+[ \t]*")


class BanBidsError(Exception):
    """Base of every error that ban-bids raises on purpose: one line, however much a file puts into it."""

    exit_status = 1

    def __str__(self) -> str:
        text = _LINE_ENDS.sub(" ", super().__str__())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 500]} […] {text[-400:]}"


class UsageError(BanBidsError):
    """An option or a combination of options cannot be used; the message names it and the remedy."""

    exit_status = 2


class DataError(BanBidsError):
    """A file of the dataset, a stimulus or a derivative cannot be used; it is named with the remedy."""

    exit_status = 65


class MissingDerivative(DataError):
    """fMRIPrep's output holds nothing under a run's name; the message says what was looked for and what is there."""


class UnfitRun(DataError):
    """A run's image or events cannot be used: the run is left out, and the participant goes on with the others."""


class StaleLock(DataError):
    """A lock was left by a process that gives no sign of life; the message names it, its machine and the file."""


class CheckpointError(DataError):
    """A weights file cannot be used: another architecture, a pickle, a damaged or missing card."""


class LeakError(DataError):
    """The model was trained or validated on tracks that are held out for scoring."""


class NotComputable(BanBidsError):
    """A quantity cannot be computed; the message is the reason that stands beside ``n/a``."""


class MemoryLimitError(BanBidsError):
    """Memory does not do for even a few voxels; the message names the remedy."""


class DiskFull(BanBidsError):
    """A file system, or a user's quota, is full: the path, the bytes free there, the remedy; nothing half is left."""


def one_reason(error: Exception) -> str:
    """Why something failed, as one line; of the system's errors, the file and what to do about it."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    rights = f"user {os.getuid()} has no right to it; give the right, or another path"
    remedy = rights if isinstance(error, PermissionError) else "give another path"
    return str(DataError(f"{error.filename}: {error.strerror}; {remedy}"))
