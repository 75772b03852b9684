"""Effective dimension of a layer: over how many directions its activations spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ban_bids.errors import NotComputable

_SMALLEST = 1e-6
"""Standard deviation, relative to the mean's size, below which a feature is constant but for rounding (float32)."""


class Scatter:
    """Covariance over frames that come clip by clip; no more than (n_features, n_features) is kept."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = np.zeros(0)
        self.products = np.zeros((0, 0))

    def add(self, frames: np.ndarray) -> None:
        """Count frames in, (n_frames, n_features), as they come: in the end all weigh the same.

        Sums about means are merged pairwise (Chan, Golub & LeVeque 1983, The American Statistician 37, 242).
        """
        n = len(frames)
        if n == 0:
            return
        values = np.asarray(frames, np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        if self.n == 0:
            self.mean, self.products = np.zeros_like(mean), np.zeros((len(mean), len(mean)))
        apart = mean - self.mean
        self.products += centred.T @ centred + np.outer(apart, apart) * (self.n * n / (self.n + n))
        self.mean = self.mean + apart * (n / (self.n + n))
        self.n += n

    @property
    def covariance(self) -> np.ndarray:
        """(n_features, n_features), divided by the number of frames."""
        return self.products / max(1, self.n)


@dataclass(frozen=True)
class Dimension:
    """Effective dimension of a layer.

    Parameters
    ----------
    raw : float
        Of the features as they are.
    zscored : float
        Of the features that vary, each divided by its standard deviation.
    n_features, n_constant, n_frames : int
        Width of the layer, how many of its features are constant, and frames that were heard.
    """

    raw: float
    zscored: float
    n_features: int
    n_constant: int
    n_frames: int


def participation_ratio(covariance: np.ndarray) -> float:
    """Participation ratio of a covariance's eigenvalues, (Σλ)² / Σλ² = (tr C)² / tr(C²).

    Parameters
    ----------
    covariance : ndarray, (n, n)
        Symmetric.

    Returns
    -------
    float
        1 for one direction, n for n equal ones [1]_.

    Raises
    ------
    NotComputable
        Nothing varies.

    References
    ----------
    .. [1] Gao P, Trautmann E, Yu B, Santhanam G, Ryu S, Shenoy K, Ganguli S (2017). A theory of multineuronal
       dimensionality, dynamics and measurement. bioRxiv 214262.
    """
    total = float(np.trace(covariance))
    if not total > 0:
        raise NotComputable("the layer is constant")
    shares = covariance / total  # squares of small variances would underflow
    return 1.0 / float(np.sum(shares**2))


def effective_dimension(scatter: Scatter) -> Dimension:
    """Effective dimension of a layer, raw and z-scored.

    Raises
    ------
    NotComputable
        The layer is constant, or there were no frames.
    """
    if scatter.n < 2:
        raise NotComputable("the sounds are shorter than two frames of the layer")
    deviation = np.sqrt(np.diag(scatter.covariance))
    varies = deviation > _SMALLEST * np.maximum(np.abs(scatter.mean), np.finfo(np.float32).tiny)
    if not varies.any():
        raise NotComputable("the layer is constant")
    covariance = scatter.covariance[np.ix_(varies, varies)]
    correlation = covariance / np.outer(deviation[varies], deviation[varies])
    n = len(varies)
    return Dimension(
        participation_ratio(covariance), participation_ratio(correlation), n, n - int(varies.sum()), scatter.n
    )
