"""Errors of left-out runs at one weighting, on a CPU (numpy, torch) or a GPU (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg

from ban_bids.encoding.backend import arrays_of
from ban_bids.encoding.basis import Basis


class LeftOut:
    """Errors of left-out rows at one weighting.

    Parameters
    ----------
    basis : Basis
    folds : sequence of slice
        Rows of each inner fold.
    dtype : dtype
        Of products with voxels; what is done before them is float64.
    backend : str
        himalaya's: ``"numpy"``, ``"torch"`` or ``"torch_cuda"``. Responses are its arrays.

    Notes
    -----
    The error of rows r is ``(I - H_rr)^-1 (y - H y)_r``, see `ban_bids.encoding.basis`.
    """

    def __init__(self, basis: Basis, folds: Sequence[slice], dtype: np.dtype, backend: str = "numpy") -> None:
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
        for rows, block in zip(self.folds, self.blocks(alpha)):
            residual = (self.vectors[rows] * keep) @ projected
            if not self.basis.complete:
                residual *= -1
                residual += bold[rows]
            loss += _mean_square(block @ residual) / len(self.folds)
        return loss

    def blocks(self, alpha: float) -> list[Any]:
        """Return ``(I - H_rr)^-1`` of every inner fold, computed at the first call."""
        if alpha not in self._blocks:
            self._blocks[alpha] = [self._block(alpha, rows) for rows in self.folds]
        return self._blocks[alpha]

    def _block(self, alpha: float, rows: slice) -> Any:
        """Return ``(I - H_rr)^-1`` of left-out rows, (m, m), of the type of products with voxels."""
        half = self._exact[rows] * self.arrays.asarray(np.sqrt(self.basis.filter(alpha)))
        block = half @ half.T
        if not self.basis.complete:
            block *= -1
            block.reshape(-1)[:: len(block) + 1] += 1
        inverse = _inverse(block) if isinstance(block, np.ndarray) else _inverse_of_tensor(block)
        if inverse is None:
            raise np.linalg.LinAlgError(f"left-out rows with penalty {alpha:g}: not positive definite")
        return self.arrays.asarray(inverse, dtype=self.dtype.name)


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


def _inverse_of_tensor(matrix: Any) -> Any:
    """As `_inverse`; by Cholesky, for torch's other solvers of small systems went wrong on CPUs."""
    import torch  # only for its factorisations

    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if bool(failed) else torch.cholesky_inverse(factor)
