"""Bands, voxels and inner folds of a ridge problem, and its fits: one decomposition per weighting.

Weightings are worked on side by side, each on one thread of BLAS: threads of one small factorisation wait
for each other more than they work, and ten times as long where another process wants the same processors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import scipy.linalg
import torch
from threadpoolctl import threadpool_limits

from ban_bids.encoding.ridge.backend import CPU, Engine, arrays_of, free_on_device
from ban_bids.encoding.ridge.bands import Bands, Basis
from ban_bids.encoding.ridge.hyperparameters import Choice, Hyperparameters
from ban_bids.encoding.ridge.refitted import OwnRows, RefittedErrors, RefittedFold

_MOST_VOXELS = 8192
_FEWEST_VOXELS = 64
_NARROW = 1.25
"""Columns of a basis, in rows of the smallest inner fold, up to which `NarrowLeftOut` has less to multiply."""

_R = TypeVar("_R")
Rows = slice | np.ndarray
"""Rows of an inner fold: a slice, which copies nothing, where they stand together."""


class Problem:
    """Training rows of all bands, responses and inner folds.

    Parameters
    ----------
    bands : Bands
    bold : ndarray of shape (n, n_voxels), float32 or float64
        Its type is that of all products with voxels; factorisations are float64 in any case.
    inner : ndarray of shape (n,) or OwnRows
        Inner fold of each row, where leaving it out changes nothing in the other rows: the closed form is exact
        then. Or inner folds that are fitted on their own rows.
    engine : Engine
        Its arrays are those of the search; those of inner folds with rows of their own are numpy's. Decompositions
        and the refit stay on the CPU, where as many go side by side as it has cores.
    """

    def __init__(self, bands: Bands, bold: np.ndarray, inner: np.ndarray | OwnRows, *, engine: Engine = CPU) -> None:
        self.bold, self.inner = bold, inner
        self.engine = engine if isinstance(inner, np.ndarray) else replace(engine, backend="numpy")
        self.sizes = _sizes(inner)
        self.bands = bands.prepared(max(self.sizes))
        free = free_on_device(self.engine.backend)
        self.on_device = free is not None
        resident = free is None or bold.nbytes < free // 3
        self._responses = arrays_of(self.engine.backend).asarray(bold) if resident else None

    def responses(self, voxels: Any) -> Any:
        """Return some voxels' responses (n, n_chosen) where the search's products are made."""
        if self._responses is not None:
            return self._responses[:, voxels]
        return arrays_of(self.engine.backend).asarray(self.bold[:, voxels])

    @cached_property
    def _refitted(self) -> tuple[RefittedFold, ...]:
        inner = self.inner
        return () if isinstance(inner, np.ndarray) else tuple(RefittedFold.of(inner.bands, s) for s in inner.folds)

    def decompose(self, weights: np.ndarray) -> Any:
        """Decompose at weights (n_bands,): what `left_out` takes."""
        if isinstance(self.inner, np.ndarray):
            return self.bands.basis(weights)
        return [fold.decompose(weights) for fold in self._refitted]

    def left_out(self, decomposed: Any) -> LeftOut | RefittedErrors:
        """Return what knows the errors of left-out rows at the weights that were decomposed."""
        if isinstance(self.inner, np.ndarray):
            kind = NarrowLeftOut if self._narrow(decomposed.vectors.shape[1]) else LeftOut
            return kind(decomposed, inner_folds(self.inner), self.bold.dtype, self.engine.backend)
        return RefittedErrors(self._refitted, decomposed, self.bold.dtype)

    def _narrow(self, n_columns: int) -> bool:
        return isinstance(self.inner, np.ndarray) and n_columns <= _NARROW * min(self.sizes)

    def resources(self, n_alphas: int) -> tuple[int, int]:
        """Return how many weightings to work on at a time, and on how many voxels at a time in each."""
        n_rows, order, item = len(self.bold), self.bands.order, self.bold.itemsize
        narrow = self._narrow(order)
        blocks = item * n_alphas * sum(size * (order if narrow else size) for size in self.sizes)
        a_voxel = item * (n_rows + order * (2 * len(self.sizes) if narrow else 1) + 3 * max(self.sizes))
        decomposition = 8 * (2 * n_rows * order + 5 * order**2)
        left, free = self.engine.limits.left(), free_on_device(self.engine.backend)
        if free is None:
            fixed, a_worker = decomposition + blocks, decomposition + blocks + _MOST_VOXELS * a_voxel // 8
        else:
            fixed, a_worker = blocks + (8 + item) * n_rows * order, decomposition
        workers = max(1, min(self.engine.limits.workers(), left // a_worker))
        room = left // workers if free is None else free
        # whole multiples: a product's last bits depend on its width, and a resumed run gives the same bytes
        voxels = (room - fixed) // a_voxel // _FEWEST_VOXELS * _FEWEST_VOXELS
        return workers, int(np.clip(voxels, _FEWEST_VOXELS, _MOST_VOXELS))


def _sizes(inner: np.ndarray | OwnRows) -> list[int]:
    """Rows that each inner fold leaves out."""
    if isinstance(inner, np.ndarray):
        return [int(n) for n in np.unique(inner, return_counts=True)[1]]
    return [len(validation.rows) for _, validation in inner.folds]


def inner_folds(groups: np.ndarray) -> tuple[Rows, ...]:
    """Return the rows of each inner fold."""
    folds = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    return tuple(slice(int(f[0]), int(f[-1]) + 1) if np.all(np.diff(f) == 1) else f for f in folds)


def refit(problem: Problem, choice: Choice, hyperparameters: Hyperparameters) -> np.ndarray:
    """Fit every voxel on all rows with its own weights and penalty.

    Parameters
    ----------
    problem : Problem
    choice : Choice
    hyperparameters : Hyperparameters
        Among which the penalties are.

    Returns
    -------
    ndarray of shape (n_coefficients, n_voxels), float64
        See `Bands.terms`.
    """
    workers, size = problem.resources(0)
    coefficients = np.zeros((problem.bands.n_coefficients, problem.bold.shape[1]))
    alphas, position = hyperparameters.penalties, hyperparameters.position(choice.alpha)
    grid, point = np.unique(choice.weights.T, axis=0, return_inverse=True)
    point = point.ravel()

    def solve(task: tuple[int, np.ndarray]) -> None:
        p, voxels = task
        used = np.unique(position[voxels])
        alike = [voxels[position[voxels] == a] for a in used]
        solutions = problem.bands.coefficients(grid[p], alphas[used], [problem.bold[:, v] for v in alike])
        for v, solved in zip(alike, solutions):
            coefficients[:, v] = solved

    tasks = []
    for p in range(len(grid)):
        voxels = np.flatnonzero(point == p)
        voxels = voxels[np.argsort(position[voxels], kind="stable")]
        # one weighting alone is shared among the workers
        most = max(64, min(size // 4, -(-len(voxels) // workers) if len(grid) == 1 else size))
        tasks += [(p, voxels[first : first + most]) for first in range(0, len(voxels), most)]
    for _ in side_by_side(solve, tasks, workers):
        pass
    return coefficients


def side_by_side(task: Callable[[Any], _R], items: Sequence[Any] | np.ndarray, workers: int) -> Iterator[_R]:
    """Yield what a task makes of every item, in order; some at a time, each on one thread of BLAS."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(task, items)


class LeftOut:
    """Errors of left-out rows at one weighting.

    Parameters
    ----------
    basis : Basis
    folds : sequence of slice or ndarray of int
        Rows of each inner fold.
    dtype : dtype
        Of products with voxels; what is done before them is float64.
    backend : str
        himalaya's: ``"numpy"``, ``"torch"`` or ``"torch_cuda"``. Responses are its arrays.

    Notes
    -----
    The error of rows r is ``(I - H_rr)^-1 (y - H y)_r``, see `ban_bids.encoding.ridge.bands`.
    """

    def __init__(self, basis: Basis, folds: Sequence[Rows], dtype: np.dtype, backend: str = "numpy") -> None:
        self.basis, self.folds, self.dtype = basis, folds, np.dtype(dtype)
        self.arrays = arrays_of(backend)
        self._exact = self.arrays.asarray(basis.vectors)
        self.vectors = self.arrays.asarray(basis.vectors, dtype=self.dtype.name)
        self._blocks: dict[float, list[Any]] = {}

    def project(self, bold: Any) -> Any:
        """Return responses (n, n_voxels) in the basis: (q, n_voxels)."""
        return self.vectors.T @ bold

    def loss(self, alpha: float, bold: Any, projected: Any) -> np.ndarray:
        """Compute the mean over inner folds of the mean squared error of left-out rows.

        Parameters
        ----------
        alpha : float
        bold : array of shape (n, n_voxels)
        projected : array of shape (q, n_voxels)
            Of the same voxels.

        Returns
        -------
        ndarray of shape (n_voxels,), float64

        Raises
        ------
        numpy.linalg.LinAlgError
            ``I - H_rr`` is not positive definite: the penalty is far too small for the kernel.
        """
        keep = self.arrays.asarray(self.basis.filter(alpha), dtype=self.dtype.name)
        loss = np.zeros(bold.shape[1])
        for fold, block in enumerate(self.blocks(alpha)):
            loss += _mean_square(self._errors(fold, block, keep, bold, projected)) / len(self.folds)
        return loss

    def _errors(self, fold: int, block: Any, keep: Any, bold: Any, projected: Any) -> Any:
        rows = self.folds[fold]
        residual = (self.vectors[rows] * keep) @ projected
        if not self.basis.complete:
            residual *= -1
            residual += bold[rows]
        return block @ residual

    def blocks(self, alpha: float) -> list[Any]:
        """Return what errors of every inner fold are products with, ``(I - H_rr)^-1``, computed at the first call."""
        if alpha not in self._blocks:
            self._blocks[alpha] = [self._block(alpha, fold) for fold in range(len(self.folds))]
        return self._blocks[alpha]

    def _block(self, alpha: float, fold: int) -> Any:
        """Return ``(I - H_rr)^-1`` of left-out rows, (m, m), of the type of products with voxels."""
        half = self._exact[self.folds[fold]] * self.arrays.asarray(np.sqrt(self.basis.filter(alpha)))
        block = half @ half.T
        if not self.basis.complete:
            block *= -1
            block.reshape(-1)[:: len(block) + 1] += 1
        inverse = _inverse(block) if isinstance(block, np.ndarray) else _inverse_of_tensor(block)
        return self.arrays.asarray(_definite(inverse, alpha), dtype=self.dtype.name)


def _definite(solved: Any, alpha: float) -> Any:
    if solved is None:
        raise np.linalg.LinAlgError(f"left-out rows with penalty {alpha:g}: not positive definite")
    return solved


class NarrowLeftOut(LeftOut):
    """As `LeftOut`, where the basis is hardly wider than an inner fold: one product a fold and penalty, not two.

    Inner folds share all rows among them; the basis is not ``complete``.

    Notes
    -----
    The same errors are ``y_r - U_r (F^-1 - U_r'U_r)^-1 (U'y - U_r'y_r)``, F the filter (Woodbury's identity); the
    last factor is the same for all penalties.
    """

    def project(self, bold: Any) -> Any:
        """Return, fold below fold, responses of the other folds' rows in the basis: (n_folds * q, n_voxels)."""
        parts = [self.vectors[rows].T @ bold[rows] for rows in self.folds]
        whole = sum(parts)
        return self.arrays.concatenate([whole - part for part in parts])

    def _errors(self, fold: int, block: Any, keep: Any, bold: Any, projected: Any) -> Any:
        q = block.shape[1]
        errors = block @ projected[fold * q : (fold + 1) * q]
        errors -= bold[self.folds[fold]]  # their sign does not count
        return errors

    def _block(self, alpha: float, fold: int) -> Any:
        """Return ``U_r (F^-1 - U_r'U_r)^-1`` of left-out rows, (m, q)."""
        root = self.arrays.asarray(np.sqrt(self.basis.filter(alpha)))
        matrix = self._squares[fold] * -root
        matrix *= root[:, None]
        matrix.reshape(-1)[:: len(matrix) + 1] += 1
        half = self._exact[self.folds[fold]] * root
        root_of_type = self.arrays.asarray(root, dtype=self.dtype.name)
        solved = _solved(matrix, half) if isinstance(matrix, np.ndarray) else _solved_of_tensors(matrix, half)
        return self.arrays.asarray(_definite(solved, alpha), dtype=self.dtype.name) * root_of_type

    @cached_property
    def _squares(self) -> list[Any]:
        """``U_r'U_r`` of every inner fold, float64."""
        return [self._exact[rows].T @ self._exact[rows] for rows in self.folds]


def _mean_square(error: Any) -> np.ndarray:
    """Mean over rows of squares, (n_voxels,), float64."""
    if isinstance(error, np.ndarray):
        return np.einsum("ij,ij->j", error, error).astype(np.float64) / len(error)
    return error.square_().sum(dim=0).double().cpu().numpy() / len(error)


def _inverse(matrix: np.ndarray) -> np.ndarray | None:
    """Inverse of a symmetric matrix, which is overwritten; None where it is not positive definite."""
    # the transpose of a symmetric matrix is the same one in the order that LAPACK overwrites
    factor, failed = scipy.linalg.lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if failed:
        return None
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    below = np.tril(inverse, -1)
    return below + below.T + np.diag(inverse.diagonal())


def _solved(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
    """Rows times the inverse of a symmetric matrix, which is overwritten; None where it is not positive definite."""
    factor, failed = scipy.linalg.lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    return None if failed else scipy.linalg.lapack.dpotrs(factor, rows.T, lower=1)[0].T


def _inverse_of_tensor(matrix: Any) -> Any:
    """As `_inverse`; by Cholesky, for torch's other solvers of small systems went wrong on CPUs."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if bool(failed) else torch.cholesky_inverse(factor)


def _solved_of_tensors(matrix: Any, rows: Any) -> Any:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if bool(failed) else torch.cholesky_solve(rows.T, factor).T
