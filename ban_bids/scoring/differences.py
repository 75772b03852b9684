"""Is the difference of two models real, and which rank does a model have: from joint draws of all differences.

A difference is an estimate (`ban_bids.scoring.bootstrap.Estimate`) whose draws scatter about it as it does in new
samples (of clips; of people and clips at the group level); draw k of all differences is one draw. The same draws give
interval, p, the correction for many pairs and ranks, so that none of them contradicts another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ban_bids.scoring.bootstrap import LEVEL, Estimate
from ban_bids.scoring.comparison import spread_of_draws

_TIE = 1e-9  # differences that rounding makes of equal scores


def two_sided_p(difference: Estimate) -> float:
    """P value of no difference, which is under 5 % where the 95 % interval leaves out zero.

    Parameters
    ----------
    difference : Estimate

    Returns
    -------
    float
        ``min(1, 2 (1 + b) / (1 + m))``: b of the m defined draws lie on the rarer side of zero, or on it. NaN without
        an interval.
    """
    draws = difference.draws[np.isfinite(difference.draws)]
    if np.isnan(difference.ci_low) or not draws.size:
        return float("nan")
    beyond = min(int(np.sum(draws <= _TIE)), int(np.sum(draws >= -_TIE)))
    return min(1.0, 2 * (1 + beyond) / (1 + draws.size))


def max_t(differences: Sequence[Estimate]) -> np.ndarray:
    """P values corrected for all pairs by the largest standardised difference of each draw (single-step max-T).

    Parameters
    ----------
    differences : sequence of Estimate
        A family of pairs, in the same draws.

    Returns
    -------
    ndarray of shape (n_pairs,)
        ``(1 + #{k: max over pairs of |draw k - d| / s >= |d| / s of this pair}) / (1 + m)`` with the difference d and
        the spread s of its draws, never less than `two_sided_p` (Westfall & Young 1993, *Resampling-Based Multiple
        Testing*; Romano & Wolf 2005, *Econometrica* 73:1237). NaN without an interval; such pairs take no part.
    """
    p = np.array([two_sided_p(one) for one in differences])
    n_draws = min((len(one.draws) for one, own in zip(differences, p, strict=True) if np.isfinite(own)), default=0)
    spreads = np.array(
        [
            float(spread_of_draws(one.draws)) if np.isfinite(own) else 0.0
            for one, own in zip(differences, p, strict=True)
        ]
    )
    varied = [int(k) for k in np.flatnonzero(spreads > _TIE)]
    if not varied:
        return p
    deviations = np.array([np.abs(differences[k].draws[:n_draws] - differences[k].value) / spreads[k] for k in varied])
    deviations = deviations[:, np.isfinite(deviations).any(axis=0)]
    largest = np.nanmax(deviations, axis=0)
    corrected = p.copy()
    for k in varied:
        reached = int(np.sum(largest >= abs(differences[k].value) / spreads[k]))
        corrected[k] = max(p[k], (1 + reached) / (1 + len(largest)))
    return corrected


@dataclass(frozen=True)
class Rank:
    """Rank of one model, 1 the best.

    Parameters
    ----------
    value : float
        Equal models share the mean of their ranks; NaN where a difference has no value.
    ci_low, ci_high : float
        Limits of the rank; NaN where a difference has no interval.
    first : float
        Share of draws in which the model is the best.
    """

    value: float
    ci_low: float
    ci_high: float
    first: float


def ranks(n_models: int, differences: Mapping[tuple[int, int], Estimate]) -> list[Rank]:
    """Rank models by their paired differences.

    Parameters
    ----------
    n_models : int
    differences : mapping of (i, j) to Estimate
        Of all i < j: model i less model j, in the same draws.

    Returns
    -------
    list of Rank
        The interval counts the models that are better, and that are worse, than this one by the max-T p over the pairs
        that it takes part in: it holds the rank in 95 %, also where models are nearly equal and percentiles of ranks in
        draws hold it too rarely (Mogstad, Romano, Shaikh & Wilhelm 2024, *Rev. Econ. Stud.* 91:476).
    """
    # reversed pairs are the same with the sign turned, draw by draw
    lead = {(i, j): one.value for (i, j), one in differences.items()}
    lead |= {(j, i): -value for (i, j), value in lead.items()}
    first = _first(n_models, differences)
    found = []
    for i in range(n_models):
        others = [j for j in range(n_models) if j != i]
        p = max_t([differences[min(i, j), max(i, j)] for j in others])
        ahead = np.array([lead[i, j] for j in others])
        low = 1 + np.sum((p <= 1 - LEVEL) & (ahead < 0)) if np.isfinite(p).all() else np.nan
        high = n_models - np.sum((p <= 1 - LEVEL) & (ahead > 0)) if np.isfinite(p).all() else np.nan
        value = 1 + np.sum(ahead < -_TIE) + np.sum(np.abs(ahead) <= _TIE) / 2 if np.isfinite(ahead).all() else np.nan
        found.append(Rank(float(value), float(low), float(high), float(first[i])))
    return found


def _first(n_models: int, differences: Mapping[tuple[int, int], Estimate]) -> np.ndarray:
    """Share of draws in which each model beats most others; models that are equal there share the draw."""
    n_draws = min(len(one.draws) for one in differences.values())
    wins, known = np.zeros((n_draws, n_models)), np.ones(n_draws, dtype=bool)
    for (i, j), one in differences.items():
        draws = one.draws[:n_draws]
        known &= np.isfinite(draws)
        equal = np.abs(draws) <= _TIE
        wins[:, i] += (draws > _TIE) + equal / 2
        wins[:, j] += (draws < -_TIE) + equal / 2
    if not known.any():
        return np.full(n_models, np.nan)
    best = wins[known] >= wins[known].max(axis=1, keepdims=True)
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
