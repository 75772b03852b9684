"""Bands: groups of features with a weight each, given as features or as kernels; solvers do not know which.

With ``K = sum_i w_i X_i X_i' = U S U'`` ridge predicts ``H y``, ``H = U diag(s / (s + a)) U'``, and the
error of left-out rows r, with the model fitted on all others, is ``(I - H_rr)^-1 (y - H y)_r``: the block
form of the leave-one-out identity (Cook & Weisberg 1982). It is exact because centring, scaling and axes
are the same in all inner folds and there is no intercept. One decomposition serves all penalties and all
inner folds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg

from ban_bids.encoding.cleaning import Side

_NULL = 1e-14
_ROWS_AT_ONCE = 256

Term = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows (m, k), coefficients (k, n_voxels) and factors (n_voxels,) of their product: what a band predicts."""


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


class Bands(ABC):
    """Rows of several bands: those that train, or others to predict.

    Parameters
    ----------
    parts : sequence of ndarray
        One per band, in memory or on disk. Columns of the features that they stand for have mean 0 in every run:
        there is no intercept.

    Raises
    ------
    ValueError
        Bands of different rows.
    """

    primal = False
    """Whether p x p matrices are factorised, not n x n kernels."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = tuple(parts)
        if len({len(part) for part in self.parts}) != 1:
            raise ValueError(f"bands of shapes {[part.shape for part in self.parts]}: the same rows are needed")

    @property
    def n_rows(self) -> int:
        """Rows of every band."""
        return len(self.parts[0])

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.parts)

    @property
    def columns(self) -> list[int]:
        """Columns of every band: features, or training rows."""
        return [part.shape[1] for part in self.parts]

    @property
    def order(self) -> int:
        """Order of the matrices that are factorised."""
        return self.n_coefficients if self.primal else self.n_rows

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel."""
        return self.n_rows

    def without(self, i: int) -> Self:
        """Return all bands but one."""
        return type(self)(self.parts[:i] + self.parts[i + 1 :])

    @abstractmethod
    def sides(self, training: Side, validation: Side) -> tuple[Self, Self]:
        """Return some training rows and others to predict, each cleaned on its own; nothing was cleaned before."""

    def prepared(self, largest: int) -> Self:
        """Return training rows ready to be weighted.

        Parameters
        ----------
        largest : int
            Rows of the largest inner fold. Where fewer rows than features would remain without it, n x n
            kernels are factorised (dual), else p x p matrices (primal).
        """
        return self

    def basis(self, weights: np.ndarray) -> Basis:
        """Decompose the kernel of these weights (n_bands,)."""
        values, vectors = np.linalg.eigh(self._matrix(weights))
        return Basis(np.maximum(values, 0), vectors, complete=True)

    def coefficients(
        self, weights: np.ndarray, alphas: Sequence[float], responses: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Solve at one set of weights and several penalties.

        Parameters
        ----------
        weights : ndarray of shape (n_bands,)
        alphas : sequence of float
        responses : sequence of ndarray of shape (n, m_j)
            Those that take each penalty.

        Returns
        -------
        list of ndarray of shape (n_coefficients, m_j), float64
            What `terms` takes. Small penalties make coefficients large and what they predict a small
            difference: keep float64 until then.
        """
        matrix = self._matrix(weights)
        return [solve_shifted(matrix, a, y.astype(np.float64)) for a, y in zip(alphas, responses)]

    @abstractmethod
    def _matrix(self, weights: np.ndarray) -> np.ndarray:
        """Return what is factorised at these weights (n_bands,), float64."""

    @abstractmethod
    def kernels(self, dtype: np.dtype) -> np.ndarray:
        """Return the kernel of each band, (n_bands, n, n)."""

    @abstractmethod
    def from_dual(self, dual: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Turn dual coefficients (n, n_voxels) at weights (n_bands, n_voxels) into what `terms` takes."""

    @abstractmethod
    def terms(self, coefficients: np.ndarray, weights: np.ndarray) -> list[Term]:
        """Return what each band adds to predictions of these rows.

        Parameters
        ----------
        coefficients : ndarray of shape (n_coefficients, n_voxels)
        weights : ndarray of shape (n_bands, n_voxels)
        """


class FeatureBands(Bands):
    """Features of each band, (n, p_i); coefficients are those of the features as they are given."""

    def __init__(self, parts: Sequence[np.ndarray], largest: int | None = None) -> None:
        super().__init__(parts)
        if largest is not None:
            self.primal = self.n_coefficients < self.n_rows - largest
            self._features = np.concatenate(self.parts, axis=1, dtype=np.float64)
            self._gram = self._features.T @ self._features if self.primal else None

    def prepared(self, largest: int) -> Self:
        """Put features side by side in float64."""
        return type(self)(self.parts, largest)

    def sides(self, training: Side, validation: Side) -> tuple[Self, Self]:
        """Return some training rows and others to predict, each cleaned on its own."""
        one, other = (
            type(self)([side.project(part[side.rows]) for part in self.parts]) for side in (training, validation)
        )
        return one, other

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel: one per feature."""
        return sum(self.columns)

    def basis(self, weights: np.ndarray) -> Basis:
        """Decompose the kernel of these weights (n_bands,)."""
        if not self.primal:
            return super().basis(weights)
        values, axes = np.linalg.eigh(self._matrix(weights))
        sound = values > _NULL * len(values) * max(float(values[-1]), np.finfo(np.float64).tiny)
        values, axes = values[sound], axes[:, sound]
        used, root = self._columns(weights)
        axes *= root[:, None] / np.sqrt(values)
        return Basis(values, self._used(used) @ axes, complete=False)

    def coefficients(
        self, weights: np.ndarray, alphas: Sequence[float], responses: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """As `Bands.coefficients`; 0 for bands without weight."""
        used, root = self._columns(weights)
        x, matrix, solutions = self._used(used), self._matrix(weights), []
        for alpha, response in zip(alphas, responses):
            y = response.astype(np.float64)
            if self.primal:
                solved = solve_shifted(matrix, alpha, (x.T @ y) * root[:, None])
            else:
                solved = (x.T @ solve_shifted(matrix, alpha, y)) * root[:, None]
            coefficients = np.zeros((self.n_coefficients, y.shape[1]))
            coefficients[used] = solved * root[:, None]
            solutions.append(coefficients)
        return solutions

    def _columns(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns of bands with weight, and the square root of each one's weight, float64."""
        each = np.repeat(np.asarray(weights, dtype=np.float64), self.columns)
        used = np.flatnonzero(each)
        return used, np.sqrt(each[used])

    def _used(self, used: np.ndarray) -> np.ndarray:
        return self._features if len(used) == self.n_coefficients else self._features[:, used]

    def _matrix(self, weights: np.ndarray) -> np.ndarray:
        used, root = self._columns(weights)
        if self._gram is not None:
            return np.asarray(self._gram[np.ix_(used, used)] * root * root[:, None])
        scaled = self._used(used) * root
        return scaled @ scaled.T

    def kernels(self, dtype: np.dtype) -> np.ndarray:
        """Return the kernel of each band, (n_bands, n, n)."""
        return np.stack([part @ part.T for part in (part.astype(dtype, copy=False) for part in self.parts)])

    def from_dual(self, dual: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return coefficients of features, (p, n_voxels), float64."""
        return np.concatenate([part.T.astype(np.float64) @ dual * w for part, w in zip(self.parts, weights)])

    def terms(self, coefficients: np.ndarray, weights: np.ndarray) -> list[Term]:
        """Return features, their coefficients, and ones."""
        bands, ones = np.split(coefficients, np.cumsum(self.columns)[:-1]), np.ones(coefficients.shape[1])
        return [(part, band, ones) for part, band in zip(self.parts, bands)]


class KernelBands(Bands):
    """Kernel of each band with the training rows, (m, n), all of one type; coefficients are dual ones.

    ``(sum_i w_i K_i + alpha I)^-1 y``: band i predicts ``w_i K_i`` times these. Sums and decompositions are
    float64; rows of kernels that lie on disk are read some at a time.
    """

    def prepared(self, largest: int) -> Self:
        """Check that these are kernels of training rows.

        Raises
        ------
        ValueError
            They are not square.
        """
        if any(part.shape != (self.n_rows, self.n_rows) for part in self.parts):
            raise ValueError("kernels of training rows: one of shape (n, n) for each band is needed")
        return self

    def sides(self, training: Side, validation: Side) -> tuple[Self, Self]:
        """Return kernels of some training rows, and of others with these, each cleaned on its own."""
        one, other = (
            type(self)(
                [training.project(side.project(part[np.ix_(side.rows, training.rows)]).T).T for part in self.parts]
            )
            for side in (training, validation)
        )
        return one, other

    def _matrix(self, weights: np.ndarray) -> np.ndarray:
        total = np.zeros((self.n_rows, self.n_rows))
        for first in range(0, self.n_rows, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            for weight, kernel in zip(weights, self.parts):
                if weight:
                    total[rows] += np.float64(weight) * kernel[rows].astype(np.float64)
        return total

    def kernels(self, dtype: np.dtype) -> np.ndarray:
        """Return the kernel of each band, (n_bands, n, n)."""
        return np.stack([part.astype(dtype, copy=False) for part in self.parts])

    def from_dual(self, dual: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the same."""
        return dual

    def terms(self, coefficients: np.ndarray, weights: np.ndarray) -> list[Term]:
        """Return kernels, the dual coefficients, and weights."""
        return [(part, coefficients, w) for part, w in zip(self.parts, weights, strict=True)]


def solve_shifted(matrix: np.ndarray, alpha: float, right: np.ndarray) -> np.ndarray:
    """Solve ``(M + alpha I) x = b`` for a symmetric positive semidefinite M, in float64."""
    shifted = matrix.copy()
    shifted.flat[:: len(matrix) + 1] += alpha
    # both are symmetric: the transpose is the same matrix in the order that LAPACK overwrites
    factor = scipy.linalg.cho_factor(shifted.T, lower=True, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, right, check_finite=False)
