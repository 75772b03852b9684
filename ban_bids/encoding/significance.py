"""Could a voxel's held-out prediction be luck? Blocks of the held-out runs are permuted whole.

The predictions of the blocks change places within their run (`ban_bids.encoding.permutation`), in the same way
for every voxel, so that the dependence between voxels and within blocks survives. The statistic is the
correlation pooled over all blocks' rows, one-sided. Centring on the mean of each run's blocks makes both
norms the same under every permutation, so that only inner products between blocks are needed:
with ``G[i, j] = <prediction of block i, BOLD of block j>`` the statistic of a permutation is
``sum_j G[order[j], j]`` over a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from ban_bids.encoding.permutation import CROSSED, PermutationPlan

_VOXELS = 128
"""Voxels at a time: their tables of inner products then stay in the processor's cache."""

_PERMUTATIONS = 2000
_FOR_A_QUANTILE = 1000
_TIE = 1e-5
"""Correlations closer than this are ties: float32 sums in another order differ by about 1e-6."""


def voxel_p(plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray, *, factor: float = CROSSED) -> np.ndarray:
    """One-sided permutation p value of every voxel's pooled correlation.

    Parameters
    ----------
    plan : PermutationPlan
        From `ban_bids.encoding.permutation.permutation_plan` for the same n rows.
    prediction, bold : ndarray of shape (n, V)
        Of all held-out rows.
    factor : float
        Of the observed distance from the expectation where the plan is crossed, see
        `ban_bids.encoding.crossed`; else not used.

    Returns
    -------
    ndarray of shape (V,), float64
        ``(1 + b) / (1 + m)`` with b the arrangements whose correlation is not smaller than the true one
        (Phipson & Smyth 2010); NaN where prediction or BOLD is constant or not finite.
    """
    gather, identity = _gather_index(plan)
    p = np.full(prediction.shape[1], np.nan)
    for start in range(0, len(p), _VOXELS):
        chosen = slice(start, start + _VOXELS)
        table, norm = _tables(plan, prediction[:, chosen], bold[:, chosen])
        threshold = _observed(plan, identity, table, factor) - torch.from_numpy(_TIE * norm)
        larger = torch.zeros(len(norm), dtype=torch.int64)
        for part in gather.split(_PERMUTATIONS):
            larger += (_bag(part, table) >= threshold).sum(dim=0)
        p[chosen] = np.where(norm > 0, (1.0 + larger.numpy()) / (1.0 + plan.n_permutations), np.nan)
    return p


def relative_distance(
    plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray, *, level: float = 0.05
) -> np.ndarray:
    """How far the observed statistic lies from its expectation over arrangements: 1 where p is ``level``.

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
    gather, identity = _gather_index(plan)
    out = np.full(prediction.shape[1], np.nan)
    for start in range(0, len(out), _VOXELS):
        chosen = slice(start, start + _VOXELS)
        table, norm = _tables(plan, prediction[:, chosen], bold[:, chosen])
        mean = _expected(plan, table).numpy()
        reached = np.quantile(_bag(gather[:_FOR_A_QUANTILE], table).numpy(), 1 - level, axis=0) - mean
        observed = _bag(identity, table)[0].numpy() - mean
        out[chosen] = np.divide(observed, reached, out=np.full(len(norm), np.nan), where=(norm > 0) & (reached > 0))
    return out


def _bag(index: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sum the rows of ``table`` named by each row of ``index``: faster than a matrix product."""
    return torch.nn.functional.embedding_bag(index, table, mode="sum")


def _gather_index(plan: PermutationPlan) -> tuple[torch.Tensor, torch.Tensor]:
    """Row of the stacked B x B tables for ``G[order[k, j], j]``: (m, n_blocks), and the true order's."""
    offset = np.zeros(len(plan.run), dtype=np.int64)
    size = np.zeros(len(plan.run), dtype=np.int64)
    first = np.zeros(len(plan.run), dtype=np.int64)
    done = 0
    for places in _runs(plan):
        offset[places], size[places], first[places] = done, len(places), places[0]
        done += len(places) ** 2
    block = np.arange(len(plan.run))
    column = offset + (block - first)
    gather = (plan.order - first) * size + column
    return torch.from_numpy(gather), torch.from_numpy(((block - first) * size + column)[None])


def _observed(plan: PermutationPlan, identity: torch.Tensor, table: torch.Tensor, factor: float) -> torch.Tensor:
    """The statistic in the true order; with crossed folds its distance from the mean times ``factor``."""
    observed = _bag(identity, table)[0]
    if not plan.crossed:
        return observed
    mean = _expected(plan, table)
    return mean + factor * (observed - mean)


def _expected(plan: PermutationPlan, table: torch.Tensor) -> torch.Tensor:
    """Mean of the statistic over all arrangements."""
    size = np.concatenate([np.full(len(places) ** 2, len(places)) for places in _runs(plan)])
    return (table / torch.from_numpy(size).to(table.dtype)[:, None]).sum(dim=0)


def _runs(plan: PermutationPlan) -> list[np.ndarray]:
    return [np.flatnonzero(plan.run == one) for one in np.unique(plan.run)]


def _centred_blocks(plan: PermutationPlan, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values by block, less each run's mean over its blocks, and their norm.

    Returns
    -------
    values : ndarray of shape (n_blocks, length, V), float32
        Zero where not scored, and in voxels that are constant or not finite.
    norm : ndarray of shape (V,), float32
        Euclidean norm over all blocks; 0 marks the voxels left out.
    """
    scored = (plan.blocks >= 0)[..., None]
    out = np.where(scored, values[plan.blocks], 0).astype(np.float32)
    scale = np.abs(out).max(axis=(0, 1))
    for places in _runs(plan):
        mean = out[places].sum(axis=(0, 1), dtype=np.float64) / scored[places].sum()
        out[places] = np.where(scored[places], out[places] - mean, 0)
    if plan.crossed:
        for places in _runs(plan):
            one = np.sqrt(np.einsum("ijv,ijv->v", out[places], out[places]))
            out[places] = np.divide(out[places], one, out=np.zeros_like(out[places]), where=one > 1e-5 * scale)
    norm = np.sqrt(np.einsum("ijv,ijv->v", out, out))
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(norm) & (norm > 1e-5 * scale * np.sqrt(scored.sum()))
    return np.where(usable, out, np.float32(0)), np.where(usable, norm, 0).astype(np.float32)


def _tables(plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """The runs' tables of inner products, stacked, (sum of B squared, V); the product of norms, (V,)."""
    x, x_norm = _centred_blocks(plan, prediction)
    y, y_norm = _centred_blocks(plan, bold)
    table = np.concatenate([inner.reshape(-1, x.shape[2]) for inner in _inner(plan, x, y)])
    return torch.from_numpy(table), x_norm * y_norm


def _inner(plan: PermutationPlan, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Per run the (B, B, V) inner products of prediction block i with BOLD block j."""
    tables = []
    for places in _runs(plan):
        a = torch.from_numpy(x[places]).permute(2, 0, 1)
        b = torch.from_numpy(y[places]).permute(2, 1, 0)
        tables.append(torch.bmm(a, b).permute(1, 2, 0).contiguous().numpy())
    return tables


@dataclass(frozen=True, eq=False)
class RoiSums:
    """Inner products between blocks summed over the voxels of each region; those of slabs of voxels may be added.

    Parameters
    ----------
    inner : ndarray of shape (R, sum of B squared over runs), float64
        Sum over voxels of inner products of the unit-norm prediction and BOLD.
    count : ndarray of shape (R,), int
        Voxels summed.
    """

    inner: np.ndarray
    count: np.ndarray


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
    inner, count = [], []
    for region in range(1, n_regions + 1):
        members = np.flatnonzero(labels == region)
        total, used = np.zeros(sum(len(p) ** 2 for p in _runs(plan))), 0
        for start in range(0, len(members), _VOXELS):
            chosen = members[start : start + _VOXELS]
            x, x_norm = _centred_blocks(plan, prediction[:, chosen])
            y, y_norm = _centred_blocks(plan, bold[:, chosen])
            scale = np.divide(1.0, x_norm * y_norm, out=np.zeros_like(x_norm), where=(x_norm * y_norm) > 0)
            x *= scale
            products = [x[k].reshape(len(k), -1) @ y[k].reshape(len(k), -1).T for k in _runs(plan)]
            total += np.concatenate([product.ravel() for product in products])
            used += int(np.sum(scale > 0))
        inner.append(total)
        count.append(used)
    return RoiSums(np.array(inner), np.array(count))


def null_from_sums(plan: PermutationPlan, sums: RoiSums) -> tuple[np.ndarray, np.ndarray]:
    """Mean voxel correlation of each region: observed (R,) and under every arrangement (m, R).

    NaN for regions without a usable voxel.
    """
    gather, identity = _gather_index(plan)
    with np.errstate(invalid="ignore", divide="ignore"):
        table = torch.from_numpy((sums.inner / sums.count[:, None]).T.copy())
    return _observed(plan, identity, table, CROSSED).numpy(), _bag(gather, table).numpy()


def roi_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Each region's own one-sided p value, not corrected for the number of regions; NaN stays NaN."""
    larger = np.sum(null >= observed - 1e-9, axis=0)
    return np.where(np.isfinite(observed), (1.0 + larger) / (1.0 + len(null)), np.nan)


def max_statistic_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Family-wise p values: each region against the largest region's statistic (Westfall & Young 1993).

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
    if not finite.any():
        return np.full(observed.shape, np.nan)
    return np.where(finite, roi_p(observed, np.repeat(null[:, finite].max(axis=1)[:, None], len(observed), 1)), np.nan)


def fdr_bh(p: np.ndarray) -> np.ndarray:
    """Benjamini & Hochberg (1995) adjusted p values (q) over the finite entries of ``p``; NaN stays NaN."""
    q = np.full(p.shape, np.nan)
    finite = np.isfinite(p)
    q[finite] = stats.false_discovery_control(p[finite].astype(np.float64))
    return q
