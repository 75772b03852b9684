"""Median noise-corrected R² over voxels, each predicted from the layer that is best for it.

The number that Tuckute, Feather, Boebinger & McDermott (2023, *PLOS Biology* 21:e3002366) give of auditory networks:
the squared correlation of prediction and response, corrected for the response's reliability, of the layer that other
data choose for the voxel; its median over voxels. It differs from theirs, so that values are comparable but not the
same thing: they predict one mean response per sound, we volumes; they also divide by the reliability of the
prediction (of models fitted to single repeats), which raises theirs; they correct by Spearman-Brown with a floor, we by
CCmax²; negative correlations count as 0 there and as negative here, so that nothing predicted comes out at 0.
"""

from __future__ import annotations

import numpy as np

from ban_bids.encoding.repeats import Repeats, mean_over_repeats
from ban_bids.scoring.ceiling import noise_ceiling

_VOXELS = 256


def noise_corrected_rsquare(
    prediction: np.ndarray, bold: np.ndarray, repeats: Repeats, *, counts: np.ndarray, ev_floor: float
) -> np.ndarray:
    """Median over voxels of ``r |r| / CCmax²`` in every draw of clips.

    Parameters
    ----------
    prediction, bold : ndarray of shape (n, V)
        Of all held-out rows.
    repeats : Repeats
    counts : ndarray of shape (n_draws, K)
        How often each repeated clip is drawn; row 0 has every clip once and gives the number itself.
    ev_floor : float
        Voxels whose single-repeat explainable variance is smaller in a draw do not count in it.

    Returns
    -------
    ndarray of shape (n_draws,)
        NaN where no voxel counts. Nothing is clipped.
    """
    slabs = [slice(first, first + _VOXELS) for first in range(0, bold.shape[1], _VOXELS)]
    each = [_voxels(prediction[:, v], bold[:, v], repeats, counts, ev_floor) for v in slabs]
    values = np.concatenate([*each, np.full((len(counts), 1), np.nan)], axis=1)
    some = np.isfinite(values).any(axis=1)
    medians = np.full(len(counts), np.nan)
    medians[some] = np.nanmedian(values[some], axis=1)
    return medians


def _voxels(
    prediction: np.ndarray, bold: np.ndarray, repeats: Repeats, counts: np.ndarray, ev_floor: float
) -> np.ndarray:
    """``cov |cov| / (var(p) SP)``, which is ``r |r| / CCmax²``, (n_draws, V)."""
    moments = _Moments(repeats, counts)
    p, m = mean_over_repeats(prediction, repeats), mean_over_repeats(bold, repeats)
    covariance, of_prediction, of_mean = moments(p, m), moments(p, p), moments(m, m)
    each = (moments(y, y) for y in (bold[column].astype(np.float64) for column in repeats.index.T))
    total = sum(each, np.zeros_like(of_mean)) / repeats.n_repeats
    signal = (repeats.n_repeats * of_mean - total) / (repeats.n_repeats - 1)
    signal -= signal[0] - noise_ceiling(bold, repeats).sp  # what the layout of repeats adds to noise, off every draw
    usable = (signal > 0) & (signal >= ev_floor * total)
    varies = of_prediction > 1e-12 * total
    explained = np.divide(covariance * np.abs(covariance), of_prediction, out=np.zeros_like(covariance), where=varies)
    return np.divide(explained, signal, out=np.full_like(signal, np.nan), where=usable)


class _Moments:
    """Covariances over the rows of drawn clips, voxel by voxel, (n_draws, V)."""

    def __init__(self, repeats: Repeats, counts: np.ndarray) -> None:
        self.first = np.flatnonzero(np.r_[True, np.diff(repeats.clip) != 0])
        self.counts = counts
        self.rows = (counts @ self._total(np.ones(len(repeats.clip))))[:, None]

    def _total(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, self.first, axis=0)

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Covariance of a and b (n_unique, V), with one degree of freedom for the mean."""
        drawn = [self.counts @ self._total(values) for values in (a * b, a, b)]
        return (drawn[0] - drawn[1] * drawn[2] / self.rows) / (self.rows - 1)
