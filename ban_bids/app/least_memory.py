"""The least memory that a participant can be worked on with: a smaller ``--mem`` is refused before anything is done."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress

from ban_bids.errors import BanBidsError, UsageError
from ban_bids.files.images import open_image, voxel_sizes
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.types import Dataset, Participant
from ban_bids.preprocessing.run import memory_gb
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)

_LIBRARIES = 0.8
"""GiB of a process with its libraries and a model."""
_AUDITORY_MM3 = 1.1e5
"""Of the auditory regions together, whose predictions are kept."""
_PREDICTIONS = 6
"""Of BAN's four areas, of all of them together, and BOLD."""
_COLUMNS = 1800
"""Of a model of four layers with seven lags: what is decomposed."""
_STEP = 0.25


def check_memory(people: Sequence[Participant], dataset: Dataset, settings: Settings) -> None:
    """Refuse a ``--mem`` that does not do for anybody, and warn of those for whom it does not.

    Raises
    ------
    UsageError
        Names the least that does for the smallest.
    """
    asked = settings.compute.mem_mb
    if asked is None or not people:
        return
    needs = []
    for person in people:
        with suppress(BanBidsError):  # what is wrong with somebody's files is told where they are read
            needs.append(_least(person, dataset, settings))
    too_much = [_told(need) for need in needs if asked / 1024 < _rounded(need)]
    if needs and len(too_much) == len(needs):
        raise UsageError(f"--mem {asked}: {_told(min(needs))}")
    for told in too_much:
        _LOG.warning("--mem %d: %s", asked, told)


def _rounded(need: tuple[float, str, str]) -> float:
    return math.ceil(need[0] / _STEP) * _STEP


def _told(need: tuple[float, str, str]) -> str:
    least, (_, label, what) = _rounded(need), need
    return f"{what} of sub-{label} takes about {least:g} GB; give --mem {math.ceil(1024 * least)} (MB) or more"


def _least(person: Participant, dataset: Dataset, settings: Settings) -> tuple[float, str, str]:
    """GiB, whose, and what of it takes them."""
    encoding = (_LIBRARIES + _encoding(person, dataset, settings) / 2**30, person.label, "encoding")
    elsewhere = settings.compute.use_plugin is not None  # whose memory is in the plugin's file
    if elsewhere or dict(settings.preprocessing.derivatives).get("fmriprep") is not None:
        return encoding
    gib = memory_gb(person, settings.preprocessing) * 1e9 / 2**30
    return max(encoding, (_LIBRARIES + gib, person.label, "preprocessing"))


def _encoding(person: Participant, dataset: Dataset, settings: Settings) -> float:
    """Bytes of predictions that are kept, and of one decomposition."""
    held_out = {name for fold in held_out_plan(person, settings.selection, dataset.held_out).folds for name in fold}
    rows = sum(run.n_volumes for run in person.runs)
    predicted = sum(run.n_volumes for run in person.runs if run.name in held_out)
    first = person.runs[0]
    sides = voxel_sizes(open_image(first.bold if first.derivative is None else first.derivative.bold))
    voxels = _AUDITORY_MM3 / max(1.0, math.prod(sides))
    columns = min(rows, _COLUMNS)
    return 4 * _PREDICTIONS * predicted * voxels + 8 * (2 * rows * columns + 5 * columns**2)
