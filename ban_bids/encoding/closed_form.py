"""Weights and penalty for every voxel, and the fit of what is chosen: one decomposition a weighting.

Weightings are worked on side by side, each on one thread of BLAS: threads of one small factorisation wait
for each other more than they work, and ten times as long where another process wants the same processors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from ban_bids.encoding.basis import Bands, Basis
from ban_bids.encoding.limits import Limits, in_batches

_LOG = logging.getLogger(__name__)
_MOST_VOXELS = 8192
_R = TypeVar("_R")


@dataclass(frozen=True, eq=False)
class Choice:
    """Weights and penalty chosen for every voxel.

    Parameters
    ----------
    point : ndarray of shape (n_voxels,), intp
        Row of the grid of weights.
    alpha : ndarray of shape (n_voxels,), intp
        Index of the penalty.
    score : ndarray of shape (n_voxels,), float64
        Minus the mean squared error of left-out rows, averaged over inner folds.
    """

    point: np.ndarray
    alpha: np.ndarray
    score: np.ndarray


class Problem:
    """Features, responses and inner folds, with the rows of an inner fold side by side.

    Parameters
    ----------
    features : ndarray of shape (n, p)
        Areas side by side.
    widths : sequence of int
        Columns of each area.
    bold : ndarray of shape (n, n_voxels), float32 or float64
        Its type is that of all products with voxels; factorisations are float64 in any case.
    groups : ndarray of shape (n,)
        Inner fold of each row.
    limits : Limits
    """

    def __init__(
        self,
        features: np.ndarray,
        widths: Sequence[int],
        bold: np.ndarray,
        groups: np.ndarray,
        limits: Limits | None = None,
    ) -> None:
        order = np.argsort(groups, kind="stable")
        if np.any(order[1:] < order[:-1]):
            features, bold = features[order], bold[order]
        sizes = np.unique(groups, return_counts=True)[1]
        stops = np.cumsum(sizes)
        self.folds = tuple(slice(int(stop - size), int(stop)) for stop, size in zip(stops, sizes))
        self.bold = bold
        self.bands = Bands(features, widths, int(sizes.max()))
        self.limits = limits or Limits()

    def resources(self) -> tuple[int, int]:
        """Return how many weightings to work on at a time, and on how many voxels at a time in each."""
        n_rows, order, item = len(self.bold), self.bands.order, self.bold.itemsize
        left = self.limits.left()
        fixed = 8 * (2 * n_rows * order + 5 * order**2)
        a_voxel = item * (order + 3 * max(fold.stop - fold.start for fold in self.folds))
        workers = max(1, min(self.limits.workers(), left // (fixed + _MOST_VOXELS * a_voxel // 8)))
        return workers, int(np.clip((left // workers - fixed) // a_voxel, 64, _MOST_VOXELS))


def left_out_losses(
    basis: Basis, bold: np.ndarray, alphas: Sequence[float] | np.ndarray, folds: Sequence[slice]
) -> Iterator[np.ndarray]:
    """Compute the error of left-out rows at one weighting and several penalties.

    Parameters
    ----------
    basis : Basis
    bold : ndarray of shape (n, n_voxels), float32 or float64
        Products with voxels are of this type; sums over inner folds are float64.
    alphas : sequence of float
    folds : sequence of slice
        Rows of each inner fold.

    Yields
    ------
    ndarray of shape (n_voxels,), float64
        Mean over inner folds of the mean squared error, one array a penalty.
    """
    vectors = basis.vectors.astype(bold.dtype, copy=False)
    seen = vectors.T @ bold
    for alpha in alphas:
        keep = basis.filter(alpha).astype(bold.dtype)
        loss = np.zeros(bold.shape[1])
        for rows in folds:
            residual = (vectors[rows] * keep) @ seen
            if not basis.complete:
                np.subtract(bold[rows], residual, out=residual)
            left = basis.left_out(alpha, rows).astype(bold.dtype) @ residual
            loss += np.einsum("ij,ij->j", left, left) / (len(left) * len(folds))
        yield loss


def choose(problem: Problem, alphas: np.ndarray, grid: np.ndarray) -> Choice:
    """Choose weights and penalty for every voxel by left-out rows.

    Parameters
    ----------
    problem : Problem
    alphas : ndarray of shape (n_alphas,)
        Of equally good ones the larger is taken.
    grid : ndarray of shape (n_points, n_areas)
        Of equally good points the earlier is taken.

    Returns
    -------
    Choice
    """
    n_voxels = problem.bold.shape[1]
    workers, size = problem.resources()
    falling = np.argsort(alphas)[::-1]
    _LOG.debug("search: %d weightings at a time, %d voxels at a time", workers, size)

    def best_at(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        score, best = np.full(n_voxels, -np.inf), np.zeros(n_voxels, dtype=np.intp)
        basis = problem.bands.basis(weights)

        def search(batch: slice) -> None:
            found, chosen = score[batch], best[batch]
            found[:] = -np.inf
            losses = left_out_losses(basis, problem.bold[:, batch], alphas[falling], problem.folds)
            for a, loss in zip(falling, losses):
                better = -loss > found
                found[better], chosen[better] = -loss[better], a

        in_batches(n_voxels, size, search)
        return score, best

    score = np.full(n_voxels, -np.inf)
    point, alpha = (np.zeros(n_voxels, dtype=np.intp) for _ in range(2))
    for p, (found, best) in enumerate(_side_by_side(best_at, grid, workers)):
        better = found > score
        score[better], alpha[better], point[better] = found[better], best[better], p
    return Choice(point, alpha, score)


def refit(problem: Problem, alphas: np.ndarray, grid: np.ndarray, choice: Choice) -> np.ndarray:
    """Fit every voxel on all rows with its own weights and penalty.

    Parameters
    ----------
    problem, alphas, grid
        As for `choose`.
    choice : Choice
        What it returned.

    Returns
    -------
    ndarray of shape (p, n_voxels), float64
        Coefficients of the features as they were given: the prediction is features @ coefficients.
    """
    workers, size = problem.resources()
    coefficients = np.zeros((problem.bands.features.shape[1], problem.bold.shape[1]))

    def solve(p: int) -> None:
        mine = np.flatnonzero(choice.point == p)
        mine = mine[np.argsort(choice.alpha[mine], kind="stable")]

        def some(batch: slice) -> None:
            used = np.unique(choice.alpha[mine[batch]])
            voxels = [mine[batch][choice.alpha[mine[batch]] == a] for a in used]
            responses = [problem.bold[:, v] for v in voxels]
            for v, solved in zip(voxels, problem.bands.coefficients(grid[p], alphas[used], responses)):
                coefficients[:, v] = solved

        in_batches(len(mine), max(64, size // 4), some)

    for _ in _side_by_side(solve, np.unique(choice.point), workers):
        pass
    return coefficients


def _side_by_side(task: Callable[[Any], _R], items: Sequence[Any] | np.ndarray, workers: int) -> Iterator[_R]:
    """Do a task for every item, in order, some at a time, each on one thread of BLAS."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(task, items)
