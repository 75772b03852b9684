"""Inner folds that are fitted each on its own rows: for folds on which the closed form is not exact.

Where inner folds leave out some rows of a run, what cleans the others must not know of them: each side's features and
responses are cleaned, and responses scaled, on that side's rows, and the training rows of every inner fold are
decomposed. Errors are those of brute force; the search over weights and penalties is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ban_bids.encoding.cleaning import Side
from ban_bids.encoding.ridge.bands import Bands, Basis

InnerSides = tuple[Side, Side]
"""Rows that fit and rows that judge, both among the outer fold's training rows."""


@dataclass(frozen=True, eq=False)
class OwnRows:
    """Inner folds with the rows that they are fitted on.

    Parameters
    ----------
    bands : Bands
        The outer fold's training rows, from which nothing was regressed out.
    folds : sequence of (Side, Side)
    """

    bands: Bands
    folds: Sequence[InnerSides]

    def without(self, i: int) -> Self:
        """Return the same for all bands but one."""
        return replace(self, bands=self.bands.without(i))


@dataclass(frozen=True, eq=False)
class RefittedFold:
    """One inner fold at any weights."""

    sides: InnerSides
    training: Bands
    validation: Bands

    @classmethod
    def of(cls, bands: Bands, sides: InnerSides) -> Self:
        """Clean the bands of both sides."""
        training, validation = bands.sides(*sides)
        return cls(sides, training.prepared(validation.n_rows), validation)

    def decompose(self, weights: np.ndarray) -> tuple[Basis, np.ndarray]:
        """Return the training rows' basis at weights (n_bands,), and the validation rows' kernel with it, (m, q)."""
        basis = self.training.basis(weights)
        each = np.repeat(np.asarray(weights, dtype=np.float64)[:, None], len(basis.values), axis=1)
        terms = self.validation.terms(self.training.from_dual(basis.vectors, each), each)
        return basis, np.asarray(sum(rows.astype(np.float64) @ coef * factor for rows, coef, factor in terms))


def score_of_zero(bold: np.ndarray, validation: Sequence[Side]) -> np.ndarray:
    """Return the score of predicting 0, (n_voxels,), float64: minus the mean over inner folds of the mean square."""
    squares = [np.mean(np.square(side.standardise(bold[side.rows]), dtype=np.float64), axis=0) for side in validation]
    return -np.mean(squares, axis=0)


class RefittedErrors:
    """Errors of validation rows at one weighting; takes the place of `closed_form.LeftOut`.

    Parameters
    ----------
    folds : sequence of RefittedFold
    decomposed : sequence of (Basis, ndarray)
        Of every fold.
    dtype : dtype
        Of products with voxels.
    """

    def __init__(
        self, folds: Sequence[RefittedFold], decomposed: Sequence[tuple[Basis, np.ndarray]], dtype: np.dtype
    ) -> None:
        self.folds, self.dtype = folds, np.dtype(dtype)
        self._values = [basis.values for basis, _ in decomposed]
        self._vectors = [basis.vectors.astype(self.dtype) for basis, _ in decomposed]
        self._kernels = [kernel for _, kernel in decomposed]

    def project(self, bold: np.ndarray) -> np.ndarray:
        """Return, fold below fold, training responses in the basis and validation responses: (sum of q + m, V)."""
        rows = []
        for fold, vectors in zip(self.folds, self._vectors):
            training, validation = fold.sides
            rows += [
                vectors.T @ training.standardise(bold[training.rows]),
                validation.standardise(bold[validation.rows]),
            ]
        return np.concatenate(rows)

    def loss(self, alpha: float, bold: Any, projected: np.ndarray) -> np.ndarray:
        """Compute the mean over inner folds of the mean squared error, (n_voxels,), float64."""
        loss, first = np.zeros(projected.shape[1]), 0
        for values, kernel in zip(self._values, self._kernels):
            q, m = len(values), len(kernel)
            seen, measured = projected[first : first + q], projected[first + q : first + q + m]
            error = measured - (kernel / (values + alpha)).astype(self.dtype) @ seen
            loss += np.einsum("ij,ij->j", error, error).astype(np.float64) / (m * len(self.folds))
            first += q + m
        return loss

    def blocks(self, alpha: float) -> list[Any]:
        """Return nothing: there is nothing to prepare for a penalty."""
        return []
