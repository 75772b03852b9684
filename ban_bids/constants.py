"""Names and numbers that several rooms share."""

from __future__ import annotations

AREAS: tuple[str, ...] = ("A1", "Belt", "PB", "T2T3")
"""BAN's four areas in order, as labelled in file names and tables."""

JOINT = "Joint"
"""Label of the four areas together (banded ridge)."""

REGIONS: tuple[str, ...] = AREAS
"""Anatomical regions: each area's own, under the same label."""

ATLASES: tuple[str, ...] = ("hcp-mmp", "juelich", "harvard-oxford", "destrieux")
"""Names that ``--atlas`` knows, the default first."""

AROMA = "ica_aroma"
CONFOUNDS = ("motion12", "simple", "scrubbing", "compcor", AROMA)
"""Strategies of ``--confounds``: ours, and those of nilearn's load_confounds_strategy."""

DEFAULT_SEED = 20250221

SAMPLING_RATE = 22_050
"""Hz; what BAN hears."""

NOT_AVAILABLE = "n/a"
"""Of a cell or a field without a value, as BIDS writes it."""

WORK_MARK = ".made-by-ban-bids"
"""File in a work folder that was empty or not there before: ``--clean-workdir`` empties no other."""
