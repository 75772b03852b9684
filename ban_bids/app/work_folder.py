"""What lies in the work folder, and how it goes when it is no longer needed."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from ban_bids.constants import WORK_MARK
from ban_bids.files.locks import all_free

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


def clean_work_folder(work_dir: Path) -> None:
    """Remove what this app made in its work folder, and the folder if nothing else lies in it.

    Parameters
    ----------
    work_dir : Path
        Kept as it is, and the log says so, while another call is at work in it, or where it held something before we
        used it: what is called ``data`` or ``models`` there may be somebody's.
    """
    if not (work_dir / WORK_MARK).is_file():
        _LOG.warning("%s: kept, for it was not made by ban-bids; remove by hand what is no longer needed", work_dir)
        return
    with all_free((work_dir / LOCKS).glob("*.lock")) as free:
        if not free:
            _LOG.info("%s: kept, for another call is at work in it", work_dir)
            return
        for part in _PARTS:
            shutil.rmtree(work_dir / part, ignore_errors=True)
        (work_dir / WORK_MARK).unlink()
    with suppress(OSError):  # something of somebody else lies in it
        work_dir.rmdir()
