"""Precomputed kernels of several areas, weighted and decomposed as features are by `Bands`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ban_bids.encoding.basis import Basis, solve_shifted

_ROWS_AT_ONCE = 256


class KernelBands:
    """Training kernels of several areas, ready to be weighted.

    Parameters
    ----------
    kernels : sequence of ndarray of shape (n, n)
        One an area, positive semidefinite, of one type, in memory or on disk; sums and decompositions are
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
        """Decompose the kernel of these weights (n_areas,)."""
        values, vectors = np.linalg.eigh(self._weighted(weights))
        return Basis(np.maximum(values, 0), vectors, complete=True)

    def coefficients(
        self, weights: np.ndarray, alphas: Sequence[float], responses: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Solve for the dual coefficients at one set of weights and several penalties.

        Parameters
        ----------
        weights : ndarray of shape (n_areas,)
        alphas : sequence of float
        responses : sequence of ndarray of shape (n, m_j)
            Those that take each penalty.

        Returns
        -------
        list of ndarray of shape (n, m_j), float64
            ``(sum_i w_i K_i + alpha I)^-1 y``; area i predicts ``w_i K_i,new`` times these.
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
