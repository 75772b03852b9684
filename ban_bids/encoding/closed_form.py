"""Left-out runs and fits of many voxels at many weights: one decomposition a weighting.

Weightings are worked on side by side, each on one thread of BLAS: threads of one small factorisation wait
for each other more than they work, and ten times as long where another process wants the same processors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from ban_bids.encoding.basis import Bands, Basis
from ban_bids.encoding.limits import Limits, in_batches

_MOST_VOXELS = 8192
_FEWEST_VOXELS = 64
_R = TypeVar("_R")


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

    def resources(self, n_alphas: int) -> tuple[int, int]:
        """Return how many weightings to work on at a time, and on how many voxels at a time in each."""
        n_rows, order, item = len(self.bold), self.bands.order, self.bold.itemsize
        sizes = [fold.stop - fold.start for fold in self.folds]
        left = self.limits.left()
        blocks = n_alphas * sum(size**2 for size in sizes)
        fixed = 8 * (2 * n_rows * order + 5 * order**2) + item * blocks
        a_voxel = item * (n_rows + order + 3 * max(sizes))
        workers = max(1, min(self.limits.workers(), left // (fixed + _MOST_VOXELS * a_voxel // 8)))
        # whole multiples: a product's last bits depend on its width, and a resumed run gives the same bytes
        voxels = (left // workers - fixed) // a_voxel // _FEWEST_VOXELS * _FEWEST_VOXELS
        return workers, int(np.clip(voxels, _FEWEST_VOXELS, _MOST_VOXELS))


class LeftOut:
    """Errors of left-out rows at one weighting.

    Parameters
    ----------
    basis : Basis
    folds : sequence of slice
        Rows of each inner fold.
    dtype : dtype
        Of products with voxels.
    """

    def __init__(self, basis: Basis, folds: Sequence[slice], dtype: np.dtype) -> None:
        self.basis, self.folds, self.dtype = basis, folds, dtype
        self.vectors = basis.vectors.astype(dtype, copy=False)
        self._blocks: dict[float, list[np.ndarray]] = {}

    def project(self, bold: np.ndarray) -> np.ndarray:
        """Return responses (n, n_voxels) in the basis: (q, n_voxels)."""
        return self.vectors.T @ bold

    def loss(self, alpha: float, bold: np.ndarray, projected: np.ndarray) -> np.ndarray:
        """Compute the mean over inner folds of the mean squared error of left-out rows.

        Parameters
        ----------
        alpha : float
        bold : ndarray of shape (n, n_voxels)
        projected : ndarray of shape (q, n_voxels)
            Of the same voxels.

        Returns
        -------
        ndarray of shape (n_voxels,), float64
        """
        keep = self.basis.filter(alpha).astype(self.dtype)
        if alpha not in self._blocks:
            self._blocks[alpha] = [self.basis.left_out(alpha, r).astype(self.dtype) for r in self.folds]
        loss = np.zeros(bold.shape[1])
        for rows, block in zip(self.folds, self._blocks[alpha]):
            residual = (self.vectors[rows] * keep) @ projected
            if not self.basis.complete:
                np.subtract(bold[rows], residual, out=residual)
            error = block @ residual
            loss += np.einsum("ij,ij->j", error, error) / (len(error) * len(self.folds))
        return loss


def refit(
    problem: Problem, alphas: np.ndarray, grid: np.ndarray, point: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """Fit every voxel on all rows with its own weights and penalty.

    Parameters
    ----------
    problem : Problem
    alphas : ndarray of shape (n_alphas,)
    grid : ndarray of shape (n_points, n_areas)
    point, alpha : ndarray of shape (n_voxels,), intp
        Row of ``grid`` and index of ``alphas`` of each voxel.

    Returns
    -------
    ndarray of shape (p, n_voxels), float64
        Coefficients of the features as they were given: the prediction is features @ coefficients.
    """
    workers, size = problem.resources(0)
    coefficients = np.zeros((problem.bands.features.shape[1], problem.bold.shape[1]))

    def solve(p: int) -> None:
        mine = np.flatnonzero(point == p)
        mine = mine[np.argsort(alpha[mine], kind="stable")]

        def some(batch: slice) -> None:
            used = np.unique(alpha[mine[batch]])
            voxels = [mine[batch][alpha[mine[batch]] == a] for a in used]
            responses = [problem.bold[:, v] for v in voxels]
            for v, solved in zip(voxels, problem.bands.coefficients(grid[p], alphas[used], responses)):
                coefficients[:, v] = solved

        in_batches(len(mine), max(64, size // 4), some)

    for _ in side_by_side(solve, np.unique(point), workers):
        pass
    return coefficients


def side_by_side(task: Callable[[Any], _R], items: Sequence[Any] | np.ndarray, workers: int) -> Iterator[_R]:
    """Yield what a task makes of every item, in order; some at a time, each on one thread of BLAS."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(task, items)
