"""Confidence intervals by resampling held-out clips.

Volumes within a clip are correlated and the repeats of a clip share their signal, so the clip, with all its
volumes and repeats together, is what is drawn with replacement (Efron & Tibshirani 1993, ch. 8 and 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from ban_bids.encoding.repeats import Repeats, mean_over_repeats

LEVEL = 0.95
"""Coverage of every interval."""

_MIN_DEFINED = 0.5


def resample_counts(
    n_units: int, n_draws: int, seed: int | Sequence[int], strata: np.ndarray | None = None
) -> np.ndarray:
    """How often each unit stands in each bootstrap draw.

    Parameters
    ----------
    n_units : int
        Units (clips) to draw from.
    n_draws : int
    seed : int or sequence of int
        Parts that must be independent take ``(seed, k)`` with another k each.
    strata : ndarray of shape (n_units,), optional
        Units are drawn within groups of equal entries, so that every draw keeps the groups' sizes.

    Returns
    -------
    ndarray of shape (n_draws, n_units), float64
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((n_draws, n_units))
    groups = np.zeros(n_units, dtype=int) if strata is None else strata
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n_draws)
    return counts


def widening(n_units: int) -> float:
    """Factor by which draws of few units vary too little for a percentile interval.

    ``sqrt(K / (K - 1)) t(.975, K - 1) / z(.975)``: with it the percentile interval of a mean of K units is Student's
    (after the expanded percentile interval of Hesterberg 2015, *Am. Stat.* 69:371).
    """
    tail = (1 + LEVEL) / 2
    return float(np.sqrt(n_units / (n_units - 1)) * stats.t.ppf(tail, n_units - 1) / stats.norm.ppf(tail))


def centred_draws(draws: np.ndarray, estimate: float, n_units: int) -> np.ndarray:
    """Draws shifted so that their median is the estimate, and made wider for few units.

    Parameters
    ----------
    draws : ndarray of shape (n_draws,)
    estimate : float
    n_units : int
        Clips that were drawn. With 10 to 20 of them, plain draws of c cover it in 88 to 90 % of simulated data sets,
        these in 91 to 94 % (``benchmarks/interval_coverage.py``).
    """
    if n_units < 2 or not np.isfinite(estimate) or not np.isfinite(draws).any():
        return draws
    return estimate + widening(n_units) * (draws - np.nanmedian(draws))


def percentile_interval(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; NaN draws are left out, NaN limits where over half are NaN."""
    finite = draws[np.isfinite(draws)]
    if draws.size == 0 or finite.size < _MIN_DEFINED * draws.size:
        return float("nan"), float("nan")
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimate:
    """A number with its interval; NaN, with the reason, where it cannot be computed.

    Parameters
    ----------
    value, ci_low, ci_high : float
        The number, and its bootstrap interval over clips.
    draws : ndarray of shape (n_draws,)
        Bootstrap draws of it.
    reason : str
        Why ``value`` is NaN; empty otherwise.
    """

    value: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    draws: np.ndarray = field(default_factory=lambda: np.array([np.nan]), compare=False)
    reason: str = ""


def with_interval(value: float, draws: np.ndarray) -> dict[str, Any]:
    """A number, its draws and their interval, as fields of an `Estimate`."""
    low, high = percentile_interval(draws)
    return {"value": float(value), "ci_low": low, "ci_high": high, "draws": draws}


@dataclass(frozen=True, eq=False)
class ClipStatistics:
    """What the share c of a layer in a region rests on, clip by clip: c of any draw of clips follows exactly.

    All are sums over the region's voxels, float64. p_i and y_i are prediction and BOLD of repeat i of a unique row, m
    is the mean of its N y_i; K is the number of repeated clips. The prediction of a moment is the same in all its
    repeats but for the nuisance that was taken out of each run; what is not the same is nothing that repeats, and
    products with p are therefore means over the pairs of different repeats, as signal power is one.

    Parameters
    ----------
    n : ndarray of shape (K,)
        Unique rows of each clip.
    py, pp, mm, yy : ndarray of shape (K,)
        Sums over each clip's rows: of the means over i != j of p_i y_j and p_i p_j, of m^2, of the mean of y_i^2.
    q_py, q_pp, q_mm, q_yy : ndarray of shape (K, K)
        The same products of the sums within clip a (first factor) and clip b (second): from them follows the part of
        the mean in a draw's variances.
    n_repeats : int
        N.
    sp_bias : float
        Signal power that noise feigns in this layout of repeats (`ban_bids.encoding.noise`), taken off every draw's.
    """

    n: np.ndarray
    py: np.ndarray
    pp: np.ndarray
    mm: np.ndarray
    yy: np.ndarray
    q_py: np.ndarray
    q_pp: np.ndarray
    q_mm: np.ndarray
    q_yy: np.ndarray
    n_repeats: int
    sp_bias: float = 0.0

    def __add__(self, other: ClipStatistics) -> ClipStatistics:
        """Statistics of the voxels of both, on the same clips and repeats."""
        if self.n_repeats != other.n_repeats or not np.array_equal(self.n, other.n):
            raise ValueError("statistics of other clips or repeats cannot be added")
        summed = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return replace(self, **summed, sp_bias=self.sp_bias + other.sp_bias)


_SUMS = ("py", "pp", "mm", "yy", "q_py", "q_pp", "q_mm", "q_yy")


def clip_statistics(prediction: np.ndarray, bold: np.ndarray, repeats: Repeats) -> ClipStatistics:
    """Sums and products of sums within clips, over some voxels.

    Parameters
    ----------
    prediction, bold : ndarray of shape (n, V)
        Of all held-out rows.
    repeats : Repeats
        Rows of each unique moment, moments of a clip standing together; K clips in order of index.

    Returns
    -------
    ClipStatistics
    """
    first = np.flatnonzero(np.r_[True, np.diff(repeats.clip) != 0])
    p, m = mean_over_repeats(prediction, repeats), mean_over_repeats(bold, repeats)
    n_repeats = repeats.n_repeats

    def products(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Within every clip, and of the sums within every two."""
        inside = np.add.reduceat(np.einsum("uv,uv->u", a, b), first)
        return inside, np.add.reduceat(a, first, axis=0) @ np.add.reduceat(b, first, axis=0).T

    same: dict[str, list[Any]] = {name: [0.0, 0.0] for name in ("py", "pp", "yy")}
    for rows in repeats.index.T:
        p_i, y_i = (values[rows].astype(np.float64) for values in (prediction, bold))
        for name, pair in (("py", (p_i, y_i)), ("pp", (p_i, p_i)), ("yy", (y_i, y_i))):
            same[name] = [total + one / n_repeats for total, one in zip(same[name], products(*pair))]

    def different(a: np.ndarray, b: np.ndarray, of_same: list[Any]) -> tuple[np.ndarray, ...]:
        """Means over pairs of different repeats, from those over all pairs and over equal ones."""
        return tuple((n_repeats * whole - one) / (n_repeats - 1) for whole, one in zip(products(a, b), of_same))

    (py, q_py), (pp, q_pp), (mm, q_mm) = different(p, m, same["py"]), different(p, p, same["pp"]), products(m, m)
    yy, q_yy = same["yy"]
    return ClipStatistics(
        n=np.diff(np.r_[first, len(repeats.clip)]).astype(np.float64),
        py=py,
        pp=pp,
        mm=mm,
        yy=np.asarray(yy),
        q_py=q_py,
        q_pp=q_pp,
        q_mm=q_mm,
        q_yy=np.asarray(q_yy),
        n_repeats=n_repeats,
        sp_bias=0.0 if repeats.noise is None else float(repeats.noise.signal_power(bold, repeats.index).sum()),
    )


def explained_power(statistics: ClipStatistics, counts: np.ndarray) -> np.ndarray:
    """Signal power that the prediction explains, in every draw of clips.

    ``sum_v mean_{i != j} [2 cov(p_i, y_j) - cov(p_i, p_j)]``, which is ``sum_v [2 cov(p, m) - var(p)]`` where the
    prediction p is the same in all repeats: the squared error that it spares, linear in the data and so free of bias
    from their noise. Predictions of opposite sign or wrong scale count against. Where p is the signal, it is SP.

    Parameters
    ----------
    statistics : ClipStatistics
        Of K clips.
    counts : ndarray of shape (n_draws, K)
        From `resample_counts`; a row of ones gives the estimate itself.

    Returns
    -------
    ndarray of shape (n_draws,)
    """
    s = statistics
    # a moment is linear in products and sums: one of both instead of two
    return _moment(s.n, 2 * s.py - s.pp, 2 * s.q_py - s.q_pp, counts)


def signal_power(statistics: ClipStatistics, counts: np.ndarray) -> np.ndarray:
    """Signal power ``sum_v SP = sum_v (N var(m) - mean_i var(y_i)) / (N - 1)``, less its bias, in every draw of clips.

    Parameters
    ----------
    statistics : ClipStatistics
        Of K clips.
    counts : ndarray of shape (n_draws, K)

    Returns
    -------
    ndarray of shape (n_draws,)
        Negative values are kept.
    """
    s = statistics
    power = _moment(s.n, s.n_repeats * s.mm - s.yy, s.n_repeats * s.q_mm - s.q_yy, counts)
    return power / (s.n_repeats - 1) - s.sp_bias


def share(statistics: ClipStatistics, counts: np.ndarray, signal: np.ndarray | None = None) -> np.ndarray:
    """Share c of explainable variance that the prediction explains, in every draw of clips.

    Parameters
    ----------
    statistics : ClipStatistics
        Of K clips.
    counts : ndarray of shape (n_draws, K)
        How often each clip is drawn; a row of ones gives c itself.
    signal : ndarray of shape (n_draws,), optional
        `signal_power` in the same draws, where it is known: it is the same for all layers in a region.

    Returns
    -------
    ndarray of shape (n_draws,)
        `explained_power` over `signal_power`; NaN where the signal power is not positive.
    """
    explained = explained_power(statistics, counts)
    signal = signal_power(statistics, counts) if signal is None else signal
    return np.divide(explained, signal, out=np.full(len(counts), np.nan), where=signal > 0)


def _moment(n: np.ndarray, products: np.ndarray, of_sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Covariance over the rows of drawn clips, summed over voxels, with one degree of freedom for the mean."""
    rows = counts @ n
    means = np.einsum("db,db->d", counts @ of_sums, counts)
    return (counts @ products - means / rows) / (rows - 1)
