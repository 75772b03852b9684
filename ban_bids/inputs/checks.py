"""Checks of folders and options that need no image: light enough for the command line."""

from __future__ import annotations

import os
from pathlib import Path

from ban_bids.constants import AROMA, CONFOUNDS
from ban_bids.errors import UsageError
from ban_bids.settings import Settings


def _user() -> str:
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else "this user"


def check_writable(folder: Path, option: str) -> None:
    """Check that a folder, or the nearest one above it that exists, can be written.

    Parameters
    ----------
    folder : Path
        Absolute; need not exist. Nothing is created.
    option : str
        Named in the message.

    Raises
    ------
    UsageError
        It is a file, or this user may not write there.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{option} {folder}: {place} is not a folder; choose another path")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {folder}: {_user()} cannot write in {place}; change its rights or the path")


def _check_outside(folder: Path, bids_dir: Path, option: str) -> None:
    derivatives = bids_dir / "derivatives"
    if folder == bids_dir or (bids_dir in folder.parents and derivatives not in folder.parents):
        raise UsageError(
            f"{option} {folder} lies in the dataset {bids_dir}; choose one elsewhere or under {derivatives}"
        )


def check_folders(settings: Settings) -> None:
    """Check that output and work folders are apart from the input and can be written.

    Parameters
    ----------
    settings : Settings
        Paths are absolute.

    Raises
    ------
    UsageError
        Names the option, the path and, for rights, the user.
    """
    _check_outside(settings.output.output_dir, settings.selection.bids_dir, "OUTPUT_DIR")
    _check_outside(settings.compute.work_dir, settings.selection.bids_dir, "--work-dir")
    if settings.output.dry_run:
        return
    check_writable(settings.output.output_dir, "OUTPUT_DIR")
    check_writable(settings.compute.work_dir, "--work-dir")


def check_confounds(settings: Settings) -> None:
    """Check that the strategy for confounds exists, and that its files can.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    UsageError
        Names the choices.
    """
    name = settings.preprocessing.confounds
    if name not in CONFOUNDS:
        raise UsageError(f"--confounds {name}: choose one of {', '.join(CONFOUNDS)}")
    if name == AROMA and "fmriprep" not in dict(settings.preprocessing.derivatives):
        others = ", ".join(other for other in CONFOUNDS if other != name)
        raise UsageError(
            f"--confounds {name}: needs ICA-AROMA images of fMRIPrep; give them with -d fmriprep=DIR, or "
            f"choose one of {others}"
        )
