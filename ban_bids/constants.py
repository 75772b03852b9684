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

TEMPLATE = "MNI152NLin2009cAsym"
NATIVE = "T1w"
"""Output spaces: the template, and that of the participant's T1w image."""

DEFAULT_SEED = 20250221

SHIPPED: tuple[str, ...] = ("ban",)
"""Models whose weights come with the package, taken where none are given and none are trained."""

SMALL_DATA = "small-data weights"
"""Beginning of the note on the card of weights that few tracks have trained."""

SAMPLING_RATE = 22_050
"""Hz; what BAN hears."""

NOT_AVAILABLE = "n/a"
"""Of a cell or a field without a value, as BIDS writes it."""

OUT_OF_MEMORY = (
    "give the job more memory, or let the run take less with a lower --mem or --nprocs 1; the same command goes on "
    "from finished steps"
)
"""What helps where memory ran out."""

WORK_MARK = ".made-by-ban-bids"
"""File in a work folder that was empty or not there before: ``--clean-workdir`` empties no other."""
