"""Do regions prefer layers of their own, and deeper regions deeper layers? Tests of the layer × region table."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.stats import rankdata

from ban_bids.scoring.bootstrap import Estimate, with_interval

ONE_LAYER = "the model has one layer only"
ONE_REGION = "fewer than two regions have scores"


@dataclass(frozen=True, eq=False, kw_only=True)
class EstimateWithP(Estimate):
    """An estimate with the p value of its being larger than 0, one-sided."""

    p: float = np.nan


def layer_preference(c: np.ndarray, draws: np.ndarray, committed: np.ndarray) -> EstimateWithP:
    """How much more a region's committed layer leads the other layers there than it does in the other regions.

    With own layer l of region g, ``lead(l, g) = c(l, g) - mean of c(k, g) over the other layers k``, and the index is
    the mean over regions of ``lead(l, g) - mean of lead(l, h) over the other regions h``: the interaction of layers
    and regions at the committed pairs. A layer that is better, or a region that is predicted better, everywhere leaves
    it at 0, as does one layer that is committed to all regions. Layers are committed on training rows, c is of
    held-out rows: the choice does not raise it.

    Parameters
    ----------
    c : ndarray of shape (n_layers, n_regions)
        Finite.
    draws : ndarray of shape (n_draws, n_layers, n_regions)
        In draws of clips, the same in all cells.
    committed : ndarray of shape (n_layers, n_regions)
        Share of the folds that committed the layer to the region; columns sum to 1.

    Returns
    -------
    EstimateWithP
        Interval over clips; p is the share of draws that lie above their median by the index or more, counted with
        the index itself.
    """
    n_layers, n_regions = c.shape
    if n_layers < 2 or n_regions < 2:
        return EstimateWithP(reason=ONE_LAYER if n_layers < 2 else ONE_REGION)
    scale = n_layers / (n_layers - 1) / (n_regions - 1)  # of a mean over regions of double-centred cells
    index, drawn = (scale * np.sum(committed * _interaction(table), axis=(-2, -1)) for table in (c, draws))
    index, drawn = float(np.round(index, 12)), np.round(drawn, 12)
    deviations = drawn[np.isfinite(drawn)] - np.nanmedian(drawn)
    p = (1 + np.sum(deviations >= index)) / (1 + len(deviations))
    return EstimateWithP(**with_interval(index, drawn), p=float(p))


def _interaction(table: np.ndarray) -> np.ndarray:
    """Cells less the means of their layer and region, plus the mean of all."""
    centred = table - table.mean(axis=-2, keepdims=True)
    return centred - centred.mean(axis=-1, keepdims=True)


def hierarchy_index(depth: np.ndarray, region: np.ndarray, n_layers: int) -> EstimateWithP:
    """Rank correlation, over voxels, of the depth of the best layer with the depth of the region.

    Neighbouring voxels are no independent witnesses: p is that of all orders in which the regions could stand (each
    region moves as a whole), so that with four regions it is never under 1/24.

    Parameters
    ----------
    depth : ndarray of shape (n_voxels,), int
        Index of the layer that predicts each voxel best on inner folds, in the model's order.
    region : ndarray of shape (n_voxels,), int
        Number of each voxel's region, from the core of auditory cortex outwards.
    n_layers : int

    Returns
    -------
    EstimateWithP
        Spearman's correlation, p one-sided. It rests on training rows: draws of held-out clips do not change it, and
        it has no interval.
    """
    present = np.unique(region)
    if n_layers < 2:
        return EstimateWithP(reason=ONE_LAYER)
    if len(present) < 2:
        return EstimateWithP(reason=ONE_REGION)
    if len(np.unique(depth)) < 2:
        return EstimateWithP(reason="one layer predicts every voxel best: no order to compare")
    order, place = rankdata(depth), np.searchsorted(present, region)
    indices = np.array(
        [np.corrcoef(order, rankdata(np.array(places)[place]))[0, 1] for places in permutations(range(len(present)))]
    )
    return EstimateWithP(value=float(indices[0]), p=float(np.mean(indices >= indices[0] - 1e-12)))
