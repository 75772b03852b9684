"""Banded ridge by one factorisation a weight and penalty, whatever the number of inner folds.

For the kernel ridge ``w = (K + a I)^-1 y`` the prediction error of a left-out set of rows r, with the model
fitted on all other rows, is ``(G_rr)^-1 (G y)_r`` with ``G = (K + a I)^-1``: the block form of the
leave-one-out identity (Cook & Weisberg 1982; ``I - H = a G``). It is exact because centring, scaling and axes
are the same in all inner folds and there is no intercept. G_rr is symmetric positive definite: Cholesky, in
float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

_BATCH_BYTES = 32 * 2**20
_FACTOR_BYTES = 2 * 2**30


@dataclass(frozen=True, eq=False)
class Choice:
    """Weights and penalty chosen for every voxel.

    Parameters
    ----------
    point : ndarray of shape (n_voxels,), intp
        Row of the grid of weights.
    alpha : ndarray of shape (n_voxels,), intp
        Index of the penalty.
    score : ndarray of shape (n_voxels,), float32
        Minus the mean squared error of left-out rows, averaged over inner folds.
    """

    point: np.ndarray
    alpha: np.ndarray
    score: np.ndarray


def weighted_kernel(kernels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum of kernels (n_areas, n, n) times weights (n_areas,), in float64."""
    total = np.zeros(kernels.shape[1:])
    for kernel, weight in zip(kernels, weights):
        if weight:
            total += np.float64(weight) * kernel
    return total


def left_out_errors(kernel: np.ndarray, alpha: float, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return the matrix that maps responses to errors of left-out rows, scaled for a sum of squares.

    Parameters
    ----------
    kernel : ndarray of shape (n, n), float64
    alpha : float
    groups : sequence of ndarray of int
        Rows of each inner fold.

    Returns
    -------
    ndarray of shape (n, n), float32
        M; ``sum((M y)**2)`` is the mean over inner folds of the mean squared error.
    """
    inverse = _inverse(kernel, alpha)
    errors = np.empty(kernel.shape, dtype=np.float32)
    for rows in groups:
        block = scipy.linalg.cho_factor(inverse[np.ix_(rows, rows)], lower=True, check_finite=False)
        solved = scipy.linalg.cho_solve(block, inverse[rows], check_finite=False)
        errors[rows] = solved / np.sqrt(len(rows) * len(groups))
    return errors


def choose(
    kernels: np.ndarray, bold: np.ndarray, groups: np.ndarray, alphas: np.ndarray, grid: np.ndarray
) -> Choice:
    """Choose weights and penalty for every voxel by left-out rows.

    Parameters
    ----------
    kernels : ndarray of shape (n_areas, n, n), float32
    bold : ndarray of shape (n, n_voxels), float32
    groups : ndarray of shape (n,)
        Inner fold of each row.
    alphas : ndarray of shape (n_alphas,)
        Of equally good ones the larger is taken.
    grid : ndarray of shape (n_points, n_areas)
        Of equally good points the earlier is taken.

    Returns
    -------
    Choice
    """
    n_rows, n_voxels = bold.shape
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    falling = np.argsort(alphas)[::-1]
    candidates = [(p, a) for p in range(len(grid)) for a in falling]

    def scored(candidate: tuple[int, int]) -> np.ndarray:
        p, a = candidate
        errors = left_out_errors(weighted_kernel(kernels, grid[p]), alphas[a], members)
        found = np.empty(n_voxels, dtype=np.float32)
        for batch in _batches(n_rows, n_voxels):
            left = errors @ bold[:, batch]
            found[batch] = -np.einsum("ij,ij->j", left, left)
        return found

    score = np.full(n_voxels, -np.inf, dtype=np.float32)
    point, best = (np.zeros(n_voxels, dtype=np.intp) for _ in range(2))
    for (p, a), found in zip(candidates, _each(scored, candidates, n_rows)):
        better = found > score
        score[better] = found[better]
        point[better], best[better] = p, a
    return Choice(point, best, score)


def _each(
    task: Callable[[tuple[int, int]], np.ndarray], candidates: Sequence[tuple[int, int]], n_rows: int
) -> Iterator[np.ndarray]:
    """Do a task for every candidate, in order, one thread of BLAS each and as many at a time as BLAS may use.

    The threads of one factorisation wait for each other at every block: where another process wants the same
    processors, that makes it ten times slower than one thread is. Candidates do not wait for each other.
    """
    info = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    threads = max((int(pool["num_threads"]) for pool in info), default=1)
    fitting = int(_FACTOR_BYTES // (3 * 8 * n_rows**2))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(max(1, min(threads, fitting))) as pool:
        yield from pool.map(task, candidates)


def solutions(
    kernels: np.ndarray, bold: np.ndarray, alphas: np.ndarray, grid: np.ndarray, choice: Choice
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Solve for the dual weights of every voxel with its own weights and penalty.

    Parameters
    ----------
    kernels, bold, alphas, grid
        As for `choose`.
    choice : Choice
        What it returned.

    Yields
    ------
    voxels : ndarray of shape (m,), intp
        Some voxels of one choice.
    dual : ndarray of shape (n, m), float64
        ``(K + a I)^-1 y``. Penalties far under the kernel's largest eigenvalue make these large, and what is
        predicted from them a small difference: keep float64 until then.
    """
    for p in np.unique(choice.point):
        kernel = weighted_kernel(kernels, grid[p])
        for a in np.unique(choice.alpha[choice.point == p]):
            voxels = np.flatnonzero((choice.point == p) & (choice.alpha == a))
            factor = scipy.linalg.cho_factor(_regularised(kernel, alphas[a]), lower=True, check_finite=False)
            for batch in _batches(len(bold), len(voxels)):
                chosen = voxels[batch]
                response = bold[:, chosen].astype(np.float64)
                yield chosen, scipy.linalg.cho_solve(factor, response, overwrite_b=True, check_finite=False)


def _regularised(kernel: np.ndarray, alpha: float) -> np.ndarray:
    shifted = kernel.copy()
    shifted.flat[:: len(kernel) + 1] += alpha
    return shifted


def _inverse(kernel: np.ndarray, alpha: float) -> np.ndarray:
    """Invert ``K + a I`` from its Cholesky factor."""
    factor, failed = scipy.linalg.lapack.dpotrf(_regularised(kernel, alpha), lower=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError(f"kernel plus {alpha:g} is not positive definite")
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    below = np.tril(inverse, -1)
    return below + below.T + np.diag(inverse.diagonal())


def _batches(n_rows: int, n_voxels: int) -> Iterator[slice]:
    """Cut voxels into slices whose temporary arrays stay small enough for the cache to help."""
    step = max(256, _BATCH_BYTES // (4 * max(1, n_rows)))
    for first in range(0, n_voxels, step):
        yield slice(first, min(first + step, n_voxels))
