"""Where folds train on one another's held-out rows: how much do they share?

Predictions are moved in time in each held-out run on its own, as if the folds' predictions had nothing to do with the
BOLD of the other folds. They have: if runs r and s agree by chance, both folds score above 0. The pooled
statistic therefore varies more, where nothing is heard, than its arrangements say, by up to twice the
variance (`ban_bids.encoding.permutation.CROSSED`), mostly by less. How much less depends on how many
parameters are effective, on the norm of the predictions, and on the penalties. It does not follow from a
voxel's own penalties: where runs agree by chance, weak penalties are chosen *and* the statistic is large, so
that voxels of one penalty have no null distribution about 0. It is found by refitting instead: voxels whose
BOLD is shifted in time, so that it follows no clip, go through the same folds, choices and predictions. For the means
over regions some voxels of a region are shifted alike, so that they keep what they have in common.

The argument and the estimate are our own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from ban_bids.encoding.bold import ParticipantData, columns
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import Fitting, encode, slab_size
from ban_bids.encoding.permutation import CROSSED, SOUND, PermutationPlan
from ban_bids.encoding.planned import Folds
from ban_bids.encoding.rows import HeldOut, HeldOutRows
from ban_bids.encoding.significance import distances, null_from_sums, relative_distance, roi_sums

_LOG = logging.getLogger(__name__)

N_SHIFTED = 2000
"""Voxels refitted for single voxels, and as many for regions: the factor of voxels then has a standard error of 3 %,
that of regions one of 6 %; the share of p under .05 one of .5 and of 1 point."""

_TOGETHER = 10
"""Voxels of a region that are shifted alike: their mean stands for the region's."""

_LEVEL = 0.05
"""Where p is made right. Further out it is right as far as the tails of both distributions are alike."""


@dataclass(frozen=True)
class CrossingFactor:
    """Factors of one layer's observed statistics for one question: between √½ and 1.

    Parameters
    ----------
    voxels, regions : float
        For `ban_bids.encoding.significance.voxel_p` and ``null_from_sums``.
    """

    voxels: float = CROSSED
    regions: float = CROSSED


Factors = Mapping[tuple[str, str], CrossingFactor]
"""By question and layer."""


def folds_cross(folds: Folds) -> bool:
    """Whether a fold trains on rows that another one holds out."""
    return any(np.isin(fold.training, folds.index).any() for fold in folds.folds)


def crossing_factors(
    data: ParticipantData,
    design: Design,
    plans: Mapping[str, PermutationPlan],
    *,
    fitting: Fitting,
    n_shifted: int = N_SHIFTED,
) -> dict[tuple[str, str], CrossingFactor]:
    """Factors for voxels and regions, by question and layer.

    Parameters
    ----------
    data : ParticipantData
    design : Design
    plans : mapping of str to PermutationPlan
        By question, of the design's held-out rows.
    fitting : Fitting
        Its seed is also that of the choice of voxels and their shifts.
    n_shifted : int
        Voxels to refit for either factor, drawn from the usable ones, several times where there are fewer.

    Returns
    -------
    dict of (str, str) to CrossingFactor
        Empty where no plan is crossed or no voxel is usable. One over the 95 % quantile, over shifted voxels, of the
        statistic in units of what 5 % of its own arrangements exceed: 5 % of them get p < .05 with it. For regions
        the quantile is that of a normal distribution with the mean and standard deviation found. The joint model is
        not refitted, as that would take as long as a slab of voxels: the bound √½ holds for it.
    """
    crossed = {question: plan for question, plan in plans.items() if plan.crossed}
    if not crossed or not data.usable.any():
        return {}
    rng = np.random.default_rng(fitting.seed)
    single = _single(data, n_shifted, rng)
    grouped = _grouped(data, n_shifted, rng)
    voxels = _distances(data, design, crossed, single, fitting, rng)
    regions = _distances(data, design, crossed, grouped, fitting, rng, together=_TOGETHER)
    factors = {key: CrossingFactor(_factor(voxels[key]), _normal_factor(regions.get(key))) for key in voxels}
    for (question, layer), factor in factors.items():
        _LOG.info(
            "sub-%s %s %s: folds are crossed, statistics of %s times %.3f in voxels and %.3f in regions",
            data.label, design.model, layer, question, factor.voxels, factor.regions,
        )  # fmt: skip
    return factors


def _single(data: ParticipantData, n: int, rng: np.random.Generator) -> np.ndarray:
    """Voxels drawn from the usable ones, each once before any comes twice."""
    usable = np.flatnonzero(data.usable)
    times = -(-n // len(usable))
    return np.concatenate([rng.permutation(usable) for _ in range(times)])[:n]


def _grouped(data: ParticipantData, n: int, rng: np.random.Generator) -> np.ndarray:
    """Voxels of one region after another, each time as many as are shifted alike."""
    regions = [np.flatnonzero(data.usable & (data.region == k)) for k in np.unique(data.region[data.region > 0])]
    regions = [members for members in regions if len(members)]
    draws = n // (_TOGETHER * max(1, len(regions)))
    parts = [
        rng.choice(members, _TOGETHER, replace=len(members) < _TOGETHER) for _ in range(draws) for members in regions
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.intp)


def _distances(
    data: ParticipantData,
    design: Design,
    plans: Mapping[str, PermutationPlan],
    voxels: np.ndarray,
    fitting: Fitting,
    rng: np.random.Generator,
    *,
    together: int = 1,
) -> dict[tuple[str, str], np.ndarray]:
    """Distances from 0, by question and layer: of shifted voxels, or of means over ``together`` of them."""
    if not len(voxels):
        return {}
    shifted = shifted_voxels(data, voxels, together, _longest_clip(design.rows), rng)
    size = slab_size(design, fitting.settings, fitting.engine.limits) // together * together
    found: dict[tuple[str, str], list[np.ndarray]] = {(q, layer): [] for q in plans for layer in design.layers}
    for first in range(0, len(voxels), size):
        slab = slice(first, min(first + size, len(voxels)))
        held = encode(shifted, design, fitting, voxels=slab, joint=False).held_out
        for (question, layer), parts in found.items():
            plan, predicted = plans[question], tested(held, question)[layer]
            if together == 1:
                parts.append(relative_distance(plan, predicted, held.bold, level=_LEVEL))
            else:
                labels = 1 + np.arange(predicted.shape[1]) // together
                sums = roi_sums(plan, predicted, held.bold, labels=labels, n_regions=int(labels[-1]))
                parts.append(distances(*null_from_sums(plan, sums, factor=1.0), level=_LEVEL))
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _longest_clip(rows: HeldOutRows) -> int:
    """Volumes of the clip that is longest, of those that were taken: one may have begun before its run."""
    table = pd.DataFrame({"run": rows.run, "presentation": rows.presentation, "position": rows.position})
    position = table[table["position"] >= 0].groupby(["run", "presentation"])["position"]
    return 1 + int((position.max() - position.min()).max()) if len(position) else 1


def tested(held: HeldOut, question: str) -> dict[str, np.ndarray]:
    """Return the predictions that a question's test moves, by layer."""
    return held.whole if question == SOUND else held.specific


def _factor(distance: np.ndarray) -> float:
    """One over the distance that 5 % of voxels exceed, between √½ and 1."""
    finite = distance[np.isfinite(distance)]
    return _bounded(float(np.quantile(finite, 1 - _LEVEL))) if finite.size else CROSSED


def _normal_factor(distance: np.ndarray | None) -> float:
    """The same from the mean and the standard deviation: regions are fewer."""
    finite = np.empty(0) if distance is None else distance[np.isfinite(distance)]
    if finite.size < 2:
        return CROSSED
    return _bounded(float(finite.mean() + stats.norm.isf(_LEVEL) * finite.std(ddof=1)))


def _bounded(reached: float) -> float:
    return float(np.clip(1 / max(reached, 1.0), CROSSED, 1.0))


def shifted_voxels(
    data: ParticipantData, voxels: np.ndarray, together: int, least: int, rng: np.random.Generator
) -> ParticipantData:
    """Voxels whose BOLD is moved round in each run by a random time.

    The response leaves the clips while autocorrelation, power and what voxels and runs differ in stay.

    Parameters
    ----------
    data : ParticipantData
    voxels : ndarray of int
        Columns of ``data.bold``.
    together : int
        Neighbours in ``voxels`` that are shifted alike; 1: each by its own time.
    least : int
        Volumes by which each run is shifted at least, either way.
    rng : Generator

    Returns
    -------
    ParticipantData
        Of these voxels, without regions; cleaned like the BOLD they came from.
    """
    n = len(voxels)
    parts, first = [], 0
    for run, nuisance in zip(data.runs, data.nuisance):
        bold = columns(data.bold, np.arange(first, first + run.rows.n_volumes), voxels)
        scored = np.flatnonzero(run.rows.scored)
        edge = min(least, len(scored) // 2)
        shift = np.repeat(rng.integers(edge, len(scored) - edge + 1, -(-n // together)), together)[:n]
        source = (np.arange(len(scored))[:, None] - shift) % max(1, len(scored))
        bold[scored] = np.take_along_axis(bold[scored], source, axis=0)
        parts.append(nuisance.project(bold))
        first += run.rows.n_volumes
    return replace(
        data,
        bold=np.concatenate(parts),
        region=np.zeros(n, dtype=data.region.dtype),
        usable=np.ones(n, dtype=bool),
    )
