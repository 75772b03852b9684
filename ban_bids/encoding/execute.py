"""Work through a participant's voxels slab by slab: take finished slabs from disk, keep what is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.crossed import CrossingFactor, crossing_factors
from ban_bids.encoding.design import Design
from ban_bids.encoding.finished import Finished, kept
from ban_bids.encoding.fit import Choices, Encoded, Fitting, alive_arrays, choose_models, encode, slab_size
from ban_bids.encoding.permutation import PermutationPlan
from ban_bids.encoding.repeats import Repeats
from ban_bids.encoding.ridge.backend import CLOSED_FORM
from ban_bids.files.memory import give_back
from ban_bids.files.progress import progress

Score = Callable[[Encoded, np.ndarray], Mapping[str, np.ndarray]]
"""What makes named arrays of fitted voxels, given with their columns in ``data.bold``."""


def in_slabs(
    data: ParticipantData,
    design: Design,
    fitting: Fitting,
    *,
    score: Score,
    voxels: np.ndarray | None = None,
    joint: bool = True,
    repeats: Repeats | None = None,
    finished: Finished | None = None,
    tested: bool = True,
) -> list[dict[str, np.ndarray]]:
    """Fit voxels, as many at a time as memory allows, and keep what is made of them.

    Parameters
    ----------
    data : ParticipantData
    design : Design
        Of the model.
    fitting : Fitting
    score : callable
        Makes named arrays of a slab: all that is returned and kept of it.
    voxels : ndarray of int, optional
        Columns of ``data.bold``, ascending; all by default.
    joint : bool
        Also fit the layers together; weights and penalties are then chosen for all these voxels beforehand.
    repeats : Repeats, optional
        See `ban_bids.encoding.fit.encode`.
    finished : Finished, optional
        Of everything that decides the arrays: slabs that an earlier run finished are taken from there, the
        others added.
    tested : bool
        Whether what tests need is predicted.

    Returns
    -------
    list of dict of str to ndarray
        One per slab, in the order of voxels; one without voxels if there are none.
    """
    columns = np.arange(len(data.region)) if voxels is None else voxels
    # predictions of the regions' voxels are all that is large and stays: of every layer, and of the joint model
    kept_bytes = 4 * len(design.index) * (len(design.layers) + 1) * int((data.region > 0).sum())
    alive = alive_arrays(design, joint=joint, tested=tested)
    size = slab_size(design, fitting.settings, fitting.engine.limits, alive, kept_bytes)
    choices: tuple[Choices, ...] | None = None

    def fitted(slab: np.ndarray) -> Mapping[str, np.ndarray]:
        nonlocal choices
        if joint and choices is None and fitting.engine.solver == CLOSED_FORM:
            choices = choose_models(data, design, fitting, voxels=columns, store=finished)
        places = np.searchsorted(columns, slab)
        own = None if choices is None else [{name: one.of(places) for name, one in fold.items()} for fold in choices]
        encoded = encode(data, design, fitting, voxels=slab, joint=joint, repeats=repeats, choices=own, tested=tested)
        scored = dict(score(encoded, slab))
        del encoded
        give_back()
        return scored

    slabs = [columns[first : first + size] for first in range(0, max(1, len(columns)), size)]
    title = f"sub-{data.label}: encoding with {design.model}"
    give_back()
    return [dict(kept(finished, slab, partial(fitted, slab))) for slab in progress(slabs, title)]


def kept_crossing_factors(
    data: ParticipantData,
    design: Design,
    fitting: Fitting,
    *,
    plans: Mapping[str, PermutationPlan],
    finished: Finished | None = None,
) -> dict[tuple[str, str], CrossingFactor]:
    """Crossing factors by question and layer (`ban_bids.encoding.crossed`), taken from a run that found them earlier.

    Parameters
    ----------
    data, design, fitting, finished
        As for `in_slabs`.
    plans : mapping of str to PermutationPlan
        By question, of the design's held-out rows.

    Returns
    -------
    dict of (str, str) to CrossingFactor
        Empty where no plan is crossed.
    """

    def compute() -> dict[str, np.ndarray]:
        factors = crossing_factors(data, design, plans, fitting=fitting)
        return {"/".join(key): np.array([factor.voxels, factor.regions]) for key, factor in factors.items()}

    found = {} if not plans else kept(finished, "crossing factors", compute)
    return {
        (question, layer): CrossingFactor(*map(float, values))
        for (question, _, layer), values in ((key.partition("/"), values) for key, values in found.items())
    }
