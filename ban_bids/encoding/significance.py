"""Could a voxel's held-out prediction be luck? Predictions of the held-out runs are moved round in time.

All voxels move alike (`ban_bids.encoding.permutation`), so that the dependence between them survives. The statistic is
the correlation of prediction and BOLD pooled over the held-out rows, one-sided. Its numerator in an arrangement is a
sum over pieces of one inner product each, ``c[k] = sum_t x[t + k] y[t]``, which the Fourier transform yields for all
shifts k at once; its denominator is the same in all.

Means are taken out of groups of rows (see `ban_bids.encoding.permutation.PermutationPlan`) of both x and y. Where
groups are small that takes variance from the inner products with shifted predictions, whose groups have means, but
none from the true one, whose groups have none: with C the projection on the groups' means, ``c[k]`` is divided by the
root of ``1 - mean over k of |C shift_k x|^2 / |x|^2``, so that all have the variance that white noise would give the
true one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft, stats

from ban_bids.encoding.permutation import CROSSED, PermutationPlan

_VOXELS = 128
"""Voxels at a time: their tables of inner products then stay in the processor's cache."""

_PERMUTATIONS = 2000
_FOR_A_QUANTILE = 1000
_TIE = 1e-5
"""Correlations closer than this are ties: float32 sums in another order differ by about 1e-6."""

_AUTOREGRESSION = 3
_LEAST_KEPT = 0.1
"""Of a shifted prediction's variance, when the groups' means are taken out: a guard against division by 0."""


def voxel_p(plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray, *, factor: float = CROSSED) -> np.ndarray:
    """One-sided permutation p value of every voxel's pooled correlation.

    Parameters
    ----------
    plan : PermutationPlan
        From `ban_bids.encoding.permutation.permutation_plan` for the same n rows.
    prediction, bold : ndarray of shape (n, V)
        Of all held-out rows.
    factor : float
        Of the observed statistic where the plan is crossed, see `ban_bids.encoding.crossed`; else not used.

    Returns
    -------
    ndarray of shape (V,), float64
        ``(1 + b) / (1 + m)`` with b the arrangements whose correlation is not smaller than the true one
        (Phipson & Smyth 2010); NaN where prediction or BOLD is constant or not finite.
    """
    gather = _gather_index(plan)
    p = np.full(prediction.shape[1], np.nan)
    for start in range(0, len(p), _VOXELS):
        chosen = slice(start, start + _VOXELS)
        table, observed, norm = _tables(plan, prediction[:, chosen], bold[:, chosen])
        threshold = torch.from_numpy(_drawn(plan, observed, factor) - _TIE * norm)
        larger = torch.zeros(len(norm), dtype=torch.int64)
        for part in gather.split(_PERMUTATIONS):
            larger += (_bag(part, torch.from_numpy(table)) >= threshold).sum(dim=0)
        p[chosen] = np.where(norm > 0, (1.0 + larger.numpy()) / (1.0 + plan.n_permutations), np.nan)
    return p


def relative_distance(
    plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray, *, level: float = 0.05
) -> np.ndarray:
    """How far the observed statistic lies from 0: 1 where p is ``level``.

    Parameters
    ----------
    plan : PermutationPlan
        Its first 1000 arrangements are used.
    prediction, bold : ndarray of shape (n, V)
        Of all held-out rows.
    level : float
        The unit is the distance that this share of the arrangements exceeds.

    Returns
    -------
    ndarray of shape (V,), float64
        NaN where prediction or BOLD is constant or not finite.
    """
    gather = _gather_index(plan)[:_FOR_A_QUANTILE]
    out = np.full(prediction.shape[1], np.nan)
    for start in range(0, len(out), _VOXELS):
        chosen = slice(start, start + _VOXELS)
        table, observed, norm = _tables(plan, prediction[:, chosen], bold[:, chosen])
        null = _bag(gather, torch.from_numpy(table)).numpy()
        out[chosen] = np.where(norm > 0, distances(observed, null, level=level), np.nan)
    return out


def distances(observed: np.ndarray, null: np.ndarray, *, level: float = 0.05) -> np.ndarray:
    """Observed statistics (K,) in units of what ``level`` of their arrangements (m, K) exceed; NaN if that is 0."""
    reached = np.quantile(null, 1 - level, axis=0)
    return np.divide(observed, reached, out=np.full(len(observed), np.nan), where=reached > 0)


def _bag(index: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sum the rows of ``table`` named by each row of ``index``: faster than a matrix product."""
    return torch.nn.functional.embedding_bag(index, table, mode="sum")


def _gather_index(plan: PermutationPlan) -> torch.Tensor:
    """Row of the stacked tables for each piece, or clip, in each arrangement, (m, n_units)."""
    if not plan.classes:
        return torch.from_numpy(plan.order + _first(plan)[:-1])
    sizes = np.array([len(one) for one in plan.classes])
    first = np.cumsum(sizes**2) - sizes**2
    column = np.concatenate([np.arange(size) for size in sizes])
    return torch.from_numpy(np.repeat(first, sizes) + plan.order * np.repeat(sizes, sizes) + column)


def _first(plan: PermutationPlan) -> np.ndarray:
    """First row of every piece, and the number of rows at the end."""
    return np.concatenate([[0], np.cumsum(plan.sizes)])


def _drawn(plan: PermutationPlan, observed: np.ndarray, factor: float) -> np.ndarray:
    """The statistic, whose mean over arrangements is 0, times ``factor`` if folds are crossed."""
    return factor * observed if plan.crossed else observed


def _centred(plan: PermutationPlan, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n_used, V) of the plan's rows less their groups' means, and their norm.

    Returns
    -------
    values : ndarray of shape (n_used, V), float32
        Zero in voxels that are constant or not finite.
    norm : ndarray of shape (V,), float32
        Euclidean norm; 0 marks the voxels left out.
    """
    scale = np.abs(values).max(axis=0)
    out = _less_means(values, plan.group)
    if plan.crossed:
        for fold in np.unique(plan.fold):
            rows = plan.fold == fold
            one = np.linalg.norm(out[rows], axis=0)
            out[rows] = np.divide(out[rows], one, out=np.zeros_like(out[rows]), where=one > 1e-5 * scale)
        out = _less_means(out, plan.group)
        scale = np.where(scale > 0, 1, scale)
    norm = np.linalg.norm(out, axis=0)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(norm) & (norm > 1e-5 * scale * np.sqrt(1 if plan.crossed else len(out)))
    return np.where(usable, out, np.float32(0)), np.where(usable, norm, 0).astype(np.float32)


def _less_means(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Values (n_used, V) less the means of their groups."""
    counts = np.bincount(group[group >= 0])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    order = np.argsort(group, kind="stable")[np.sum(group < 0) :]
    means = np.add.reduceat(values[order], first, axis=0, dtype=np.float64) / counts[:, None]
    return np.where((group >= 0)[:, None], values - means.astype(np.float32)[group], np.float32(0))


def _whitened(plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without BOLD's autocorrelation within pieces, by an autoregressive model of each voxel (Yule-Walker)."""
    piece = np.repeat(np.arange(len(plan.sizes)), plan.sizes)
    lags = [np.flatnonzero(piece[lag:] == piece[: len(piece) - lag]) + lag for lag in range(_AUTOREGRESSION + 1)]
    centred = _less_means(bold, piece).astype(np.float64)
    covariance = np.stack([np.einsum("tv,tv->v", centred[at], centred[at - k]) for k, at in enumerate(lags)])
    power = np.where((covariance[0] > 0) & np.isfinite(covariance[0]), covariance[0], 1)
    r = np.nan_to_num(covariance / power)
    r[0] = 1 + 1e-6
    distance = np.abs(np.subtract.outer(np.arange(_AUTOREGRESSION), np.arange(_AUTOREGRESSION)))
    weights = np.linalg.solve(np.moveaxis(r[distance], -1, 0), r[1:].T[..., None])[..., 0].T.astype(np.float32)
    out = []
    for values in (prediction, bold):
        white = values.copy()
        for k in range(1, _AUTOREGRESSION + 1):
            white[lags[k]] -= weights[k - 1] * values[lags[k] - k]
        out.append(white)
    return out[0], out[1]


def _tables(
    plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inner products of BOLD with predictions.

    Returns
    -------
    table : ndarray of shape (n_inner, V), float32
        Of all shifts of each piece, pieces stacked; or of each clip's prediction with each clip's BOLD.
    observed, norm : ndarray of shape (V,), float32
        In the true arrangement, summed over pieces; the product of norms.
    """
    x, y = (values[plan.rows].astype(np.float32, copy=False) for values in (prediction, bold))
    if plan.classes:
        x, y = _whitened(plan, x, y)
    (x, x_norm), (y, y_norm) = _centred(plan, x), _centred(plan, y)
    tables = _relabelled if plan.classes else _moved
    return tables(plan, x, y), np.einsum("tv,tv->v", x, y), x_norm * y_norm


def _relabelled(plan: PermutationPlan, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Inner products of clip i's prediction with clip j's BOLD over all presentations, class by class."""
    parts = []
    for one in plan.classes:
        rows = one.reshape(len(one), -1)
        a, b = torch.from_numpy(x[rows]).permute(2, 0, 1), torch.from_numpy(y[rows]).permute(2, 1, 0)
        parts.append(torch.bmm(a, b).permute(1, 2, 0).reshape(len(one) ** 2, -1).numpy())
    return np.concatenate(parts)


def _moved(plan: PermutationPlan, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Inner products at every shift of each piece."""
    table = np.empty_like(x)
    first = _first(plan)
    for start, stop in zip(first[:-1], first[1:]):
        one, other = (fft.rfft(values[start:stop], axis=0) for values in (x, y))
        lost = _lost(plan.group[start:stop], np.square(np.abs(one)))
        table[start:stop] = fft.irfft(one * other.conj(), n=stop - start, axis=0) / np.sqrt(1 - lost)
    return table


def _lost(group: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Share of a piece's variance, mean over its shifts, that lies in means of its groups; (V,), float32.

    With 1_g a group's indicator, ``mean over k of |C shift_k x|^2 = sum_f |X_f|^2 sum_g |1_gf|^2 / (n_g N^2)``.
    """
    n = len(group)
    members = (group == np.unique(group)[:, None]).astype(np.float32)
    means = (np.square(np.abs(fft.rfft(members, axis=1))) / members.sum(axis=1, keepdims=True)).sum(axis=0) / n
    both_signs = np.full(len(means), 2.0)
    both_signs[0] = 1.0
    if n % 2 == 0:
        both_signs[-1] = 1.0
    whole, taken = both_signs @ power, (both_signs * means) @ power
    lost = np.divide(taken, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.asarray(np.clip(lost, 0, 1 - _LEAST_KEPT), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class RoiSums:
    """Inner products summed over the voxels of each region; those of slabs of voxels may be added.

    Parameters
    ----------
    inner : ndarray of shape (R, n_inner), float64
        Sum over voxels of inner products of the unit-norm prediction and BOLD.
    observed : ndarray of shape (R,), float64
        The same in the true arrangement, summed over pieces.
    count : ndarray of shape (R,), int
        Voxels summed.
    """

    inner: np.ndarray
    observed: np.ndarray
    count: np.ndarray

    @property
    def mean_r(self) -> np.ndarray:
        """Mean voxel correlation of each region, (R,); NaN without a usable voxel."""
        return np.divide(self.observed, self.count, out=np.full(len(self.count), np.nan), where=self.count > 0)


def roi_sums(
    plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray, *, labels: np.ndarray, n_regions: int
) -> RoiSums:
    """Sums over a slab of voxels from which `null_from_sums` makes the regions' null distribution.

    Parameters
    ----------
    plan : PermutationPlan
    prediction, bold : ndarray of shape (n, V)
    labels : ndarray of shape (V,), int
        Region 1 ... n_regions of every voxel; anything else belongs to none.
    n_regions : int

    Returns
    -------
    RoiSums
    """
    inner = np.zeros((n_regions, sum(len(one) ** 2 for one in plan.classes) or len(plan.rows)))
    observed, count = np.zeros(n_regions), np.zeros(n_regions, dtype=np.intp)
    for region in range(n_regions):
        members = np.flatnonzero(labels == region + 1)
        for start in range(0, len(members), _VOXELS):
            chosen = members[start : start + _VOXELS]
            table, true, norm = _tables(plan, prediction[:, chosen], bold[:, chosen])
            scale = np.divide(1.0, norm, out=np.zeros(len(norm)), where=norm > 0)
            inner[region] += table @ scale
            observed[region] += true @ scale
            count[region] += int(np.sum(scale > 0))
    return RoiSums(inner, observed, count)


def null_from_sums(plan: PermutationPlan, sums: RoiSums, *, factor: float = CROSSED) -> tuple[np.ndarray, np.ndarray]:
    """Mean voxel correlation of each region: observed (R,) and under every arrangement (m, R).

    Parameters
    ----------
    plan : PermutationPlan
    sums : RoiSums
    factor : float
        As for `voxel_p`.

    Returns
    -------
    observed, null : ndarray
        NaN for regions without a usable voxel.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        table = torch.from_numpy((sums.inner / sums.count[:, None]).T.copy())
    return _drawn(plan, sums.mean_r, factor), _bag(_gather_index(plan), table).numpy()


def roi_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Each region's own one-sided p value, not corrected for the number of regions; NaN stays NaN."""
    larger = np.sum(null >= observed - 1e-9, axis=0)
    return np.where(np.isfinite(observed), (1.0 + larger) / (1.0 + len(null)), np.nan)


def max_statistic_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Family-wise p values: each region against the largest of all (Westfall & Young 1993).

    What is compared are standardised statistics, less the mean of their own arrangements and over the standard
    deviation: else a region whose statistic varies much would set the limit for one whose statistic varies little.

    Parameters
    ----------
    observed : ndarray of shape (R,)
    null : ndarray of shape (m, R)

    Returns
    -------
    ndarray of shape (R,)
        NaN where ``observed`` is NaN; such regions are left out of the maximum.
    """
    finite = np.isfinite(observed)
    out = np.full(observed.shape, np.nan)
    if finite.any():
        mean, spread = null[:, finite].mean(axis=0), null[:, finite].std(axis=0)
        spread = np.where(spread > 0, spread, 1)
        largest = ((null[:, finite] - mean) / spread).max(axis=1)
        out[finite] = roi_p((observed[finite] - mean) / spread, np.repeat(largest[:, None], finite.sum(), axis=1))
    return out


def fdr_bh(p: np.ndarray) -> np.ndarray:
    """Benjamini & Hochberg (1995) adjusted p values (q) over the finite entries of ``p``; NaN stays NaN."""
    q = np.full(p.shape, np.nan)
    finite = np.isfinite(p)
    q[finite] = stats.false_discovery_control(p[finite].astype(np.float64))
    return q
