"""Eigenvectors of weighted kernels, and what leaving out a run does to a ridge model in terms of them.

With ``K = sum_i w_i X_i X_i' = U S U'`` ridge predicts ``H y``, ``H = U diag(s / (s + a)) U'``, and the
error of left-out rows r, with the model fitted on all others, is ``(I - H_rr)^-1 (y - H y)_r``: the block
form of the leave-one-out identity (Cook & Weisberg 1982). It is exact because centring, scaling and axes
are the same in all inner folds and there is no intercept. One decomposition serves all penalties and all
inner folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

_NULL = 1e-14


@dataclass(frozen=True, eq=False)
class Basis:
    """Eigenvalues and eigenvectors of one weighted kernel.

    Parameters
    ----------
    values : ndarray of shape (q,), float64
    vectors : ndarray of shape (n, q), float64
        Orthonormal columns.
    complete : bool
        ``q == n``: residuals are then taken from ``a / (s + a)``, where nothing cancels.
    """

    values: np.ndarray
    vectors: np.ndarray
    complete: bool

    def filter(self, alpha: float) -> np.ndarray:
        """Return f (q,), float64: the residual is ``U f U'y`` (complete) or ``y - U f U'y``."""
        return (alpha if self.complete else self.values) / (self.values + alpha)


class Bands:
    """Training features of several layers, ready to be weighted.

    Parameters
    ----------
    features : ndarray of shape (n, p)
        The layers side by side; columns have mean 0.
    widths : sequence of int
        Columns of each layer; they sum to p.
    largest : int
        Rows of the largest inner fold. Where fewer rows than columns would remain without it, n x n kernels
        are factorised (dual), else p x p matrices (primal).
    """

    def __init__(self, features: np.ndarray, widths: Sequence[int], largest: int) -> None:
        self.features = np.asarray(features, dtype=np.float64)
        self.widths = tuple(widths)
        self.primal = self.features.shape[1] < len(self.features) - largest
        self._gram = self.features.T @ self.features if self.primal else None

    @property
    def order(self) -> int:
        """Order of the matrices that are factorised."""
        return int(min(self.features.shape) if self.primal else len(self.features))

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel: one a feature."""
        return self.features.shape[1]

    def columns(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns of layers with weight, and the square root of each one's weight, float64."""
        each = np.repeat(np.asarray(weights, dtype=np.float64), self.widths)
        used = np.flatnonzero(each)
        return used, np.sqrt(each[used])

    def basis(self, weights: np.ndarray) -> Basis:
        """Decompose the kernel of these weights (n_layers,)."""
        used, root = self.columns(weights)
        if self._gram is None:
            values, vectors = np.linalg.eigh(self._kernel(used, root))
            return Basis(np.maximum(values, 0), vectors, complete=True)
        values, axes = np.linalg.eigh(self._weighted_gram(used, root))
        sound = values > _NULL * len(values) * max(float(values[-1]), np.finfo(np.float64).tiny)
        values, axes = values[sound], axes[:, sound]
        axes *= root[:, None] / np.sqrt(values)
        return Basis(values, self._used(used) @ axes, complete=False)

    def coefficients(
        self, weights: np.ndarray, alphas: Sequence[float], responses: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Solve for the coefficients of features at one set of weights and several penalties.

        Parameters
        ----------
        weights : ndarray of shape (n_layers,)
        alphas : sequence of float
        responses : sequence of ndarray of shape (n, m_j)
            Those that take each penalty.

        Returns
        -------
        list of ndarray of shape (p, m_j), float64
            0 for layers without weight. Small penalties make coefficients large and what they predict a small
            difference: keep float64 until then.
        """
        used, root = self.columns(weights)
        x = self._used(used)
        matrix = self._kernel(used, root) if self._gram is None else self._weighted_gram(used, root)
        found = []
        for alpha, response in zip(alphas, responses):
            y = response.astype(np.float64)
            solved = solve_shifted(matrix, alpha, y if self._gram is None else (x.T @ y) * root[:, None])
            if self._gram is None:
                solved = (x.T @ solved) * root[:, None]
            out = np.zeros((self.features.shape[1], y.shape[1]))
            out[used] = solved * root[:, None]
            found.append(out)
        return found

    def _used(self, used: np.ndarray) -> np.ndarray:
        return self.features if len(used) == self.features.shape[1] else self.features[:, used]

    def _kernel(self, used: np.ndarray, root: np.ndarray) -> np.ndarray:
        scaled = self._used(used) * root
        return scaled @ scaled.T

    def _weighted_gram(self, used: np.ndarray, root: np.ndarray) -> np.ndarray:
        assert self._gram is not None
        return self._gram[np.ix_(used, used)] * root * root[:, None]


def solve_shifted(matrix: np.ndarray, alpha: float, right: np.ndarray) -> np.ndarray:
    """Solve ``(M + alpha I) x = b`` for a symmetric positive semidefinite M, in float64."""
    shifted = matrix.copy()
    shifted.flat[:: len(matrix) + 1] += alpha
    # both are symmetric: the transpose is the same matrix in the order that LAPACK overwrites
    factor = scipy.linalg.cho_factor(shifted.T, lower=True, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, right, check_finite=False)


_ROWS_AT_ONCE = 256


class KernelBands:
    """Training kernels of several layers, ready to be weighted.

    Parameters
    ----------
    kernels : sequence of ndarray of shape (n, n)
        One an layer, positive semidefinite, of one type, in memory or on disk; sums and decompositions are
        float64. Columns of the features that they stand for have mean 0.
    """

    primal = False

    def __init__(self, kernels: Sequence[np.ndarray]) -> None:
        self.kernels = tuple(kernels)

    @property
    def order(self) -> int:
        """Order of the matrices that are factorised."""
        return len(self.kernels[0])

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel: one a training row."""
        return self.order

    def basis(self, weights: np.ndarray) -> Basis:
        """Decompose the kernel of these weights (n_layers,)."""
        values, vectors = np.linalg.eigh(self._weighted(weights))
        return Basis(np.maximum(values, 0), vectors, complete=True)

    def coefficients(
        self, weights: np.ndarray, alphas: Sequence[float], responses: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Solve for the dual coefficients at one set of weights and several penalties.

        Parameters
        ----------
        weights : ndarray of shape (n_layers,)
        alphas : sequence of float
        responses : sequence of ndarray of shape (n, m_j)
            Those that take each penalty.

        Returns
        -------
        list of ndarray of shape (n, m_j), float64
            ``(sum_i w_i K_i + alpha I)^-1 y``; layer i predicts ``w_i K_i,new`` times these.
        """
        kernel = self._weighted(weights)
        return [solve_shifted(kernel, a, y.astype(np.float64)) for a, y in zip(alphas, responses)]

    def _weighted(self, weights: np.ndarray) -> np.ndarray:
        total = np.zeros((self.order, self.order))
        for first in range(0, self.order, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            for weight, kernel in zip(weights, self.kernels):
                if weight:
                    total[rows] += np.float64(weight) * kernel[rows].astype(np.float64)
        return total


def in_order(kernel: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return a kernel of rows in another order; the same array where they are in it."""
    return kernel[np.ix_(order, order)] if np.any(np.diff(order) < 0) else kernel
