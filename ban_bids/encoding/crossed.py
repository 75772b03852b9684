"""With leave-one-run-out every run trains the folds that test the others: how much do the folds share?

Blocks are permuted in each held-out run on its own, as if the folds' predictions had nothing to do with the
BOLD of the other folds. They have: if runs r and s agree by chance, both folds score above 0. The pooled
statistic therefore varies more, where nothing is heard, than its permutations say, by up to twice the
variance (`ban_bids.encoding.permutation.CROSSED`), in single voxels by less. How much less depends on how many
parameters are effective, on the norm of the predictions, and on the penalties. It does not follow from a
voxel's own penalties: where runs agree by chance, weak penalties are chosen *and* the statistic is large, so
that voxels of one penalty have no null distribution about 0. It is found by refitting instead: voxels whose
BOLD is shifted in time, so that it follows no clip, go through the same folds, choices and predictions.

The argument and the estimate are our own.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from ban_bids.encoding.bold import ParticipantData, columns
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import Fitting, encode, slab_size
from ban_bids.encoding.permutation import CROSSED, PermutationPlan
from ban_bids.encoding.significance import relative_distance

_LOG = logging.getLogger(__name__)

N_SHIFTED = 2000
"""Voxels refitted: the factor then has a standard error of 3 %, the share of p under .05 one of .5 points."""

_LEVEL = 0.05
"""Where p is made right. Further out it is right as far as the tails of both distributions are alike."""


def crossing_factors(
    data: ParticipantData, design: Design, plan: PermutationPlan, *, fitting: Fitting, n_shifted: int = N_SHIFTED
) -> dict[str, float]:
    """Factors for `ban_bids.encoding.significance.voxel_p`, by layer.

    Parameters
    ----------
    data : ParticipantData
    design : Design
    plan : PermutationPlan
        Of the design's held-out rows.
    fitting : Fitting
        Its seed is also that of the choice of voxels and their shifts.
    n_shifted : int
        Voxels to refit, drawn from the usable ones, several times where there are fewer.

    Returns
    -------
    dict of str to float
        Between √½ and 1; empty where the plan is not crossed or no voxel is usable. One over the 95 %
        quantile, over shifted voxels, of the statistic's distance from its expectation, in units of the
        distance that 5 % of a voxel's own arrangements exceed: 5 % of them get p < .05 with it. The joint
        model is not refitted, as that would take as long as a slab of voxels: for it, as for regions, the
        bound √½ holds.
    """
    if not plan.crossed or not data.usable.any():
        return {}
    shifted = shifted_voxels(data, plan.blocks.shape[1], n_shifted, np.random.default_rng(fitting.seed))
    distances: dict[str, list[np.ndarray]] = {layer: [] for layer in design.layers}
    size = slab_size(design, fitting.settings, fitting.engine.limits)
    for first in range(0, n_shifted, size):
        slab = slice(first, min(first + size, n_shifted))
        held = encode(shifted, design, fitting, voxels=slab, joint=False).held_out
        tested = held.whole if plan.rests else held.specific
        for layer, predicted in tested.items():
            distances[layer].append(relative_distance(plan, predicted, held.bold, level=_LEVEL))
    factors = {layer: _factor(np.concatenate(parts)) for layer, parts in distances.items()}
    for layer, factor in factors.items():
        _LOG.info(
            "sub-%s %s %s: leave-one-run-out, distances of single voxels from their expectation times %.3f",
            data.label, design.model, layer, factor,
        )  # fmt: skip
    return factors


def _factor(distance: np.ndarray) -> float:
    """One over the distance that 5 % of voxels exceed, between √½ and 1."""
    finite = distance[np.isfinite(distance)]
    reached = float(np.quantile(finite, 1 - _LEVEL)) if finite.size else np.inf
    return float(np.clip(1 / max(reached, 1.0), CROSSED, 1.0))


def shifted_voxels(data: ParticipantData, least: int, n_shifted: int, rng: np.random.Generator) -> ParticipantData:
    """Voxels whose BOLD is moved round in each run, each by its own random time.

    The response leaves the clips while autocorrelation, power and what voxels and runs differ in stay.

    Parameters
    ----------
    data : ParticipantData
    least : int
        Volumes by which each run is shifted at least, either way.
    n_shifted : int
        Voxels, drawn from the usable ones.
    rng : Generator

    Returns
    -------
    ParticipantData
        Of ``n_shifted`` voxels, without regions; cleaned like the BOLD they came from.
    """
    usable = np.flatnonzero(data.usable)
    times = -(-n_shifted // len(usable))
    voxels = np.concatenate([rng.permutation(usable) for _ in range(times)])[:n_shifted]
    parts, first = [], 0
    for run, nuisance in zip(data.runs, data.nuisance):
        n = run.rows.n_volumes
        bold = columns(data.bold, np.arange(first, first + n), voxels)
        scored = np.flatnonzero(run.rows.scored)
        edge = min(least, len(scored) // 2)
        shift = rng.integers(edge, len(scored) - edge + 1, n_shifted)
        source = (np.arange(len(scored))[:, None] - shift) % max(1, len(scored))
        bold[scored] = np.take_along_axis(bold[scored], source, axis=0)
        parts.append(nuisance.project(bold))
        first += n
    return replace(
        data,
        bold=np.concatenate(parts),
        region=np.zeros(n_shifted, dtype=data.region.dtype),
        usable=np.ones(n_shifted, dtype=bool),
    )
