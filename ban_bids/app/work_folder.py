"""What lies in the work folder, and how it goes when it is no longer needed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ban_bids.constants import WORK_MARK
from ban_bids.errors import BanBidsError, DataError, one_reason
from ban_bids.files.locks import all_free, file_lock

_LOG = logging.getLogger(__name__)

LOCKS = "locks"
"""Folder of one lock per participant that a call is at work on."""

_PARTS = (
    "nipype", "fmriprep", "encoding", "features", "readouts", "models", "atlases",
    "tmp", "home", "cache", "config", "data", LOCKS,
)  # fmt: skip


def participant_lock(work_dir: Path, label: str) -> Path:
    """Lock of a participant."""
    return work_dir / LOCKS / f"sub-{label}.lock"


def output_lock(output_dir: Path, label: str) -> Path:
    """Lock of a participant's results, for calls that share them and no work folder; there during a call only."""
    return output_dir / "logs" / f".sub-{label}.lock"


@contextmanager
def held(labels: Sequence[str], work_dir: Path, output_dir: Path) -> Iterator[dict[str, str]]:
    """Hold the locks of participants, in the work folder and in the output directory.

    Yields
    ------
    dict
        By label, why a participant is not held: its lock was left by a process that gives no sign of life, or cannot
        be written, as where it is another user's.

    Raises
    ------
    DiskFull
        There is no room for a lock.
    """
    refused: dict[str, str] = {}
    with ExitStack() as everybody:
        for label in sorted(labels):
            ours, reasons = output_lock(output_dir, label), []
            with ExitStack() as own:
                for path in sorted((participant_lock(work_dir, label), ours)):
                    try:
                        own.enter_context(file_lock(path))
                    except DataError as error:
                        reasons.append(str(error))
                if not reasons:
                    own.callback(_remove, ours)  # while it is held: who waits for it makes another
                    everybody.push(own.pop_all())
            if reasons:
                refused[label] = "; ".join(reasons)
                _LOG.error("sub-%s: %s", label, refused[label])
        yield refused


def _remove(lock: Path) -> None:
    """Remove a lock that is no longer needed; one that stays harms nobody, and all is done by now."""
    try:
        lock.unlink(missing_ok=True)
    except OSError as error:
        _LOG.warning("%s: cannot be removed (%s); it does no harm", lock, error.strerror)


def clean_work_folder(work_dir: Path) -> None:
    """Remove what this app made in its work folder, and the folder if nothing else lies in it.

    Parameters
    ----------
    work_dir : Path
        Kept as it is, and the log says so, while another call is at work in it, where nobody can know (a lock is
        another user's), or where it held something before we used it: what is called ``data`` or ``models`` there may
        be somebody's.
    """
    if not (work_dir / WORK_MARK).is_file():
        _LOG.warning("%s: kept, for it was not made by ban-bids; remove by hand what is no longer needed", work_dir)
        return
    try:
        with all_free((work_dir / LOCKS).glob("*.lock")) as free:
            if not free:
                _LOG.info("%s: kept, for another call is at work in it", work_dir)
                return
            for part in _PARTS:
                shutil.rmtree(work_dir / part, ignore_errors=True)
            (work_dir / WORK_MARK).unlink()
    except (BanBidsError, OSError) as error:  # all else is done
        _LOG.warning("%s: not removed, or not whole: %s", work_dir, one_reason(error))
        return
    with suppress(OSError):  # something of somebody else lies in it
        work_dir.rmdir()
