"""Ridge regression from a layer, fitted on some recordings and tested on others, its penalty chosen on inner folds.

Outer and inner folds share one partition of the recordings: what answers fold i is fitted on the others, and its
penalty is chosen by how fits without i *and* j answer j, for every other j. So all fits are sums of the folds' own sums
of squares, and five folds need fifteen small eigenproblems, whatever the number of rows and penalties; scikit-learn's
and himalaya's searches, which work on rows, take a hundred times longer. The result is theirs (the tests compare).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import add

import numpy as np
from threadpoolctl import threadpool_limits

from ban_bids.errors import NotComputable
from ban_bids.training.scores import Summary, draw_tracks, summarise

N_FOLDS = 5
"""Folds of recordings."""

PENALTIES = 10.0 ** np.arange(-5, 6)
"""Squared penalties per row, for standardised features; the largest leaves next to nothing but the mean."""

LEAST_DEVIATION = 0.1
"""Features are divided by their standard deviation, but at least by this share of its root mean square over features:
a feature that hardly varies in the training rows would be blown up where it does in others."""

MIN_ROWS = 50
"""Fewer common frames are too few."""

N_DRAWS = 2000
"""Bootstrap draws of recordings for an interval."""


@dataclass(frozen=True, eq=False)
class Answered:
    """How well each target is predicted on recordings that took no part in the fit.

    Parameters
    ----------
    errors, spread : ndarray, (n_recordings, n_targets)
        Sums of squares, over the rows of each recording, of the prediction's error and about the *training* rows' mean.
    weights : ndarray, (n_features, n_targets)
        Mean over the fits, of the scaled features.
    penalties : ndarray, (n_folds, n_targets)
        Chosen for each fold.
    varies : ndarray of bool, (n_targets,)
    n_rows : int
    """

    errors: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    penalties: np.ndarray
    varies: np.ndarray
    n_rows: int

    @property
    def r2(self) -> np.ndarray:
        """Out-of-sample R² of each target, (n_targets,), missing where it does not vary.

        1 - Σ (y - ŷ)² / Σ (y - ȳ)², ȳ the mean of the training rows: 0 for who knows no more than that [1]_.

        References
        ----------
        .. [1] Campbell JY, Thompson SB (2008). Predicting excess stock returns out of sample: can anything beat the
           historical average? Review of Financial Studies 21, 1509-1531.
        """
        return self._r2(np.ones((1, len(self.errors))))[0]

    def mean_r2(self, seed: int) -> Summary:
        """Mean R² over the targets that vary, with its 95 % bootstrap interval over recordings.

        Raises
        ------
        NotComputable
            No target varies.
        """
        if not self.varies.any():
            raise NotComputable("the target does not vary")
        draws = self._r2(draw_tracks(len(self.errors), N_DRAWS, seed))[:, self.varies].mean(axis=1)
        return summarise(float(self.r2[self.varies].mean()), draws)

    def _r2(self, counts: np.ndarray) -> np.ndarray:
        spread = counts @ self.spread
        share = np.divide(counts @ self.errors, spread, out=np.ones_like(spread), where=spread > 0)
        return np.where(self.varies, 1.0 - share, np.nan)


def dealt(recordings: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each row: the recordings in random order are dealt to :data:`N_FOLDS` folds in turn."""
    names, place = np.unique(recordings, return_inverse=True)
    fold = np.empty(len(names), dtype=int)
    fold[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % N_FOLDS
    return fold[place]


def cross_validated(features: np.ndarray, targets: np.ndarray, recordings: np.ndarray, *, seed: int) -> Answered:
    """Predict targets linearly from features, always on recordings that took no part.

    Parameters
    ----------
    features : ndarray, (n_rows, n_features)
    targets : ndarray, (n_rows, n_targets)
    recordings : ndarray of int, (n_rows,)
    seed : int
        Of the folds.

    Returns
    -------
    Answered

    Raises
    ------
    NotComputable
        Fewer than :data:`N_FOLDS` recordings or :data:`MIN_ROWS` rows, or the features are constant.

    Notes
    -----
    Features are centred and scaled (:data:`LEAST_DEVIATION`) by their training rows, targets centred by theirs; each
    target has its own penalty.
    """
    n_recordings = len(np.unique(recordings))
    if n_recordings < N_FOLDS or len(features) < MIN_ROWS:
        raise NotComputable(
            f"{n_recordings} recordings with {len(features)} frames; it takes {N_FOLDS} and {MIN_ROWS} frames"
        )
    # nothing but numerics: every fit is centred and scaled anew by its own rows
    x = features - features.mean(axis=0)
    if not (overall := np.sqrt(np.mean(x**2))) > 0:
        raise NotComputable("the layer is constant")
    x = x / overall
    size = targets.std(axis=0)
    varies = size > 1e-6 * np.maximum(1e-6, np.abs(targets.mean(axis=0)))
    y = (targets - targets.mean(axis=0)) / np.where(varies, size, 1.0)
    with threadpool_limits(1):
        return _answered(x, y, recordings, dealt(recordings, seed), varies)


def _answered(x: np.ndarray, y: np.ndarray, recordings: np.ndarray, fold: np.ndarray, varies: np.ndarray) -> Answered:
    rows = [np.flatnonzero(fold == k) for k in range(N_FOLDS)]
    sums = [_Sums.of(x[r], y[r]) for r in rows]
    inner = np.zeros((N_FOLDS, len(PENALTIES), y.shape[1]))
    for pair in combinations(range(N_FOLDS), 2):
        fit = _Fit(reduce(add, (s for k, s in enumerate(sums) if k not in pair)))
        for held, other in (pair, pair[::-1]):
            inner[other] += fit.errors(x[rows[held]], y[rows[held]])
    best = inner.argmin(axis=1)
    place = np.unique(recordings, return_inverse=True)[1]
    errors, spread = (np.zeros((place.max() + 1, y.shape[1])) for _ in range(2))
    weights = np.zeros((x.shape[1], y.shape[1]))
    for k in range(N_FOLDS):
        fit = _Fit(reduce(add, (s for other, s in enumerate(sums) if other != k)))
        coefficients = fit.coefficients(PENALTIES[best[k]])
        weights += coefficients / N_FOLDS
        predicted = fit.standardised(x[rows[k]]) @ coefficients + fit.mean_y
        np.add.at(errors, place[rows[k]], (y[rows[k]] - predicted) ** 2)
        np.add.at(spread, place[rows[k]], (y[rows[k]] - fit.mean_y) ** 2)
    return Answered(errors, spread, weights, PENALTIES[best], varies, len(x))


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over rows: their number, x, y, x xᵀ, x yᵀ."""

    n: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> _Sums:
        return cls(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y)

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.n + other.n, self.x + other.x, self.y + other.y, self.xx + other.xx, self.xy + other.xy
        )  # fmt: skip


class _Fit:
    """Ridge for every penalty at once, from sums over the training rows."""

    def __init__(self, sums: _Sums) -> None:
        self.mean_x, self.mean_y = sums.x / sums.n, sums.y / sums.n
        covariance = sums.xx / sums.n - np.outer(self.mean_x, self.mean_x)
        variance = np.maximum(0.0, np.diag(covariance))
        least = LEAST_DEVIATION * np.sqrt(variance.mean())
        # an infinite scale gives no weight: all is constant in these rows
        self.scale = np.maximum(np.sqrt(variance), least) if least > 1e-6 else np.full(len(variance), np.inf)
        values, self.vectors = np.linalg.eigh(covariance / np.outer(self.scale, self.scale))
        self.values = np.maximum(0.0, values)
        cross = (sums.xy / sums.n - np.outer(self.mean_x, self.mean_y)) / self.scale[:, None]
        self.rotated = self.vectors.T @ cross

    def standardised(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean_x) / self.scale

    def coefficients(self, penalties: np.ndarray) -> np.ndarray:
        """(n_features, n_targets), for a penalty per target."""
        return self.vectors @ (self.rotated / (self.values[:, None] + penalties))

    def errors(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Sum of squared errors by penalty and target, (n_penalties, n_targets)."""
        turned, wanted = self.standardised(x) @ self.vectors, y - self.mean_y
        return np.stack([
            ((wanted - turned @ (self.rotated / (self.values[:, None] + penalty))) ** 2).sum(axis=0)
            for penalty in PENALTIES
        ])  # fmt: skip
