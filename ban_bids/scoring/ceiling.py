"""How much of a voxel's held-out response any model could predict, from repeats of the same clips.

Signal and noise power follow Sahani & Linden (2003, *How linear are auditory cortical responses?*, NIPS 15);
the normalised correlation follows Schoppe et al. (2016, *Front. Comput. Neurosci.* 10:10, eqs 4-13).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ban_bids.encoding.repeats import Repeats, compared, mean_over_repeats
from ban_bids.encoding.rows import HeldOutRows


@dataclass(frozen=True, eq=False)
class Ceiling:
    """Explainable variance of every voxel; arrays of length n_voxels, float64.

    Parameters
    ----------
    ev : ndarray
        Single-repeat explainable variance EV1 = SP / TP; may be negative.
    ccmax : ndarray
        Largest correlation any prediction can have with the mean over repeats,
        ``sqrt(SP / var_mean)``; NaN where its square is not positive.
    sp : ndarray
        Signal power, ``(N * var_mean - TP) / (N - 1) - sp_bias``; negative values are kept.
    sp_bias : ndarray
        Signal power that the noise feigns in this layout of repeats (`ban_bids.encoding.noise`).
    tp : ndarray
        Total power: mean over repeats of each repeat's variance.
    var_mean : ndarray
        Variance of the mean over repeats.
    n_repeats : int
        N.
    """

    ev: np.ndarray
    ccmax: np.ndarray
    sp: np.ndarray
    sp_bias: np.ndarray
    tp: np.ndarray
    var_mean: np.ndarray
    n_repeats: int


def noise_ceiling(bold: np.ndarray, repeats: Repeats) -> Ceiling:
    """Signal power, explainable variance and largest attainable correlation of every voxel.

    Variances are taken over the concatenated unique rows, with one degree of freedom for the mean; neither
    a clip nor a repeat is z-scored again, which would turn differences between clips into nothing.

    Parameters
    ----------
    bold : ndarray of shape (n, V)
        Cleaned BOLD of all held-out rows, z-scored per run.
    repeats : Repeats
        From `ban_bids.encoding.repeats.repeat_rows`.

    Returns
    -------
    Ceiling
    """
    n = repeats.n_repeats
    var_mean = np.var(mean_over_repeats(bold, repeats), axis=0, ddof=1)
    tp = np.mean([np.var(bold[c].astype(np.float64), axis=0, ddof=1) for c in repeats.index.T], axis=0)
    bias = np.zeros(bold.shape[1]) if repeats.noise is None else repeats.noise.signal_power(bold, repeats.index)
    sp = (n * var_mean - tp) / (n - 1) - bias
    return Ceiling(
        ev=_ratio(sp, tp),
        ccmax=np.sqrt(_positive(_ratio(sp, var_mean))),
        sp=sp,
        sp_bias=bias,
        tp=tp,
        var_mean=var_mean,
        n_repeats=n,
    )


def cc_norm(r: np.ndarray, ceiling: Ceiling, ev_floor: float) -> np.ndarray:
    """Correlation with the repeat mean over the largest one attainable, r / CCmax (Schoppe et al. 2016).

    Parameters
    ----------
    r : ndarray of shape (V,)
        Correlation of the prediction with the mean over repeats.
    ceiling : Ceiling
        Of the same V voxels.
    ev_floor : float
        Voxels whose single-repeat explainable variance is smaller are not normalised.

    Returns
    -------
    ndarray of shape (V,)
        NaN where CCmax squared is not positive or EV1 is under the floor. Never clipped: may exceed 1.
    """
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(ceiling.ccmax) & (ceiling.ev >= ev_floor)
    return np.where(usable, _ratio(r, ceiling.ccmax), np.nan)


def voxel_correlation(
    prediction: np.ndarray, bold: np.ndarray, rows: HeldOutRows, repeats: Repeats | None
) -> np.ndarray:
    """Correlation of every voxel's prediction with its BOLD on the held-out rows.

    Parameters
    ----------
    prediction, bold : ndarray of shape (n, V)
        Of all held-out rows.
    rows : HeldOutRows
    repeats : Repeats or None
        See `ban_bids.encoding.repeats.compared`.

    Returns
    -------
    ndarray of shape (V,), float64
        NaN where prediction or BOLD is constant or not finite.
    """
    p, y = (compared(values, rows, repeats, np.float64) for values in (prediction, bold))
    spp, syy, spy = (np.einsum("ij,ij->j", a, b) for a, b in ((p, p), (y, y), (p, y)))
    return _ratio(spy, np.sqrt(spp * syy))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with NaN where the denominator is zero up to rounding or not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(denominator) > 1e-12, numerator / denominator, np.nan)


def _positive(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(values > 0, values, np.nan)
