"""Checks of preprocessing's options that need no image: light enough for the command line."""

from __future__ import annotations

from ban_bids.constants import AROMA, CONFOUNDS
from ban_bids.errors import UsageError
from ban_bids.settings import Preprocessing


def check_confounds(preprocessing: Preprocessing) -> None:
    """Check that the strategy for confounds exists, and that its files can.

    Parameters
    ----------
    preprocessing : Preprocessing

    Raises
    ------
    UsageError
        Names the choices.
    """
    name = preprocessing.confounds
    if name not in CONFOUNDS:
        raise UsageError(f"--confounds {name}: choose one of {', '.join(CONFOUNDS)}")
    if name == AROMA and "fmriprep" not in dict(preprocessing.derivatives):
        others = ", ".join(other for other in CONFOUNDS if other != name)
        raise UsageError(
            f"--confounds {name}: needs ICA-AROMA images of fMRIPrep; give them with -d fmriprep=DIR, or "
            f"choose one of {others}"
        )
