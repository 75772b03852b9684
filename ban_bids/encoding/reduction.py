"""Scaler and principal axes of an layer's features, fitted on training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

_RANK_TOLERANCE = 1e-10
_FLAT = 1e-7
_COLUMNS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Scaler:
    """The z-score of one layer's features.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_features,), float64
        ``scale`` is infinite for features that do not vary.
    """

    mean: np.ndarray
    scale: np.ndarray

    @property
    def n_varying(self) -> int:
        """Number of features that vary."""
        return int(np.isfinite(self.scale).sum())

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return z-scores (n_rows, n_features), float64; 0 where a feature does not vary."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True, eq=False)
class Reduction:
    """Scaler and principal axes of one layer.

    Parameters
    ----------
    scaler : Scaler
    axes : ndarray of shape (n_features, n_components), float64
        Orthonormal, by falling variance.
    """

    scaler: Scaler
    axes: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return component scores (n_rows, n_components), float32, of features (n_rows, n_features)."""
        return (self.scaler.apply(features) @ self.axes).astype(np.float32)


def fit_scaler(features: np.ndarray) -> Scaler:
    """Fit the z-score on training rows (n_rows, n_features), in float64, some columns at a time."""
    mean, scale = (np.empty(features.shape[1]) for _ in range(2))
    for first in range(0, features.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(first, first + _COLUMNS_AT_ONCE)
        table = features[:, columns].astype(np.float64)
        mean[columns], scale[columns] = table.mean(axis=0), table.std(axis=0)
    scale[scale <= _FLAT * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)] = np.inf
    return Scaler(mean, scale)


def fit_reduction(features: np.ndarray, n_components: int) -> Reduction:
    """Fit scaler and principal axes on training rows.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_features)
    n_components : int
        At most so many axes; fewer where the features have lower rank.

    Returns
    -------
    Reduction
        Features that do not vary are left out (z-score, then eigenvectors of the smaller Gram matrix).
    """
    scaler = fit_scaler(features)
    table = scaler.apply(features)
    n_rows, n_features = table.shape
    wide = n_features > n_rows
    gram = table @ table.T if wide else table.T @ table
    first = max(0, len(gram) - n_components)
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(first, len(gram) - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    sound = values > _RANK_TOLERANCE * max(float(values[0]), np.finfo(np.float64).tiny)
    values, vectors = values[sound], vectors[:, sound]
    axes = table.T @ vectors / np.sqrt(values) if wide else vectors
    return Reduction(scaler, axes)
