"""How much of a voxel's held-out response any model could predict, from repeats of the same clips.

Signal and noise power follow Sahani & Linden (2003, *How linear are auditory cortical responses?*, NIPS 15);
the normalised correlation follows Schoppe et al. (2016, *Front. Comput. Neurosci.* 10:10, eqs 4-13).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ban_bids.encoding.rows import HeldOutRows
from ban_bids.errors import NotComputable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows that hold the same moment of the same clip.

    Parameters
    ----------
    index : ndarray of shape (n_unique, n_repeats), int
        ``index[u, i]`` is the row of repeat i of unique moment u; ordered by clip, then position.
    clip : ndarray of shape (n_unique,), int
        Clip of each unique moment.
    notes : tuple of str
        What was left out and why.
    """

    index: np.ndarray
    clip: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def n_repeats(self) -> int:
        """Number of repeats N of every unique row."""
        return int(self.index.shape[1])


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
        Signal power, ``(N * var_mean - TP) / (N - 1)``; negative values are kept.
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
    tp: np.ndarray
    var_mean: np.ndarray
    n_repeats: int


def repeat_rows(rows: HeldOutRows) -> Repeats:
    """Match the held-out rows of clips that were presented at least twice, by (clip, position).

    Only scored rows count, so lead-ins never become repeats. A clip's number of repeats is the median
    over its positions (one scrubbed volume does not cost a repeat); N is the smallest such number over the
    repeated clips. Clips with more keep their first N in order of time; positions with fewer are left out.

    Parameters
    ----------
    rows : HeldOutRows
        The n held-out rows.

    Returns
    -------
    Repeats

    Raises
    ------
    NotComputable
        If no clip is repeated.
    """
    used = np.flatnonzero(rows.scored & (rows.clip >= 0))
    used = used[np.lexsort((used, rows.position[used], rows.clip[used]))]
    keys = np.stack([rows.clip[used], rows.position[used]])
    first = np.flatnonzero(np.r_[True, np.any(np.diff(keys, axis=1) != 0, axis=0)]) if used.size else used
    counts = np.diff(np.r_[first, used.size])
    clip = keys[0, first]
    typical = {int(c): int(np.median(counts[clip == c])) for c in np.unique(clip)}
    repeated = {c: n for c, n in typical.items() if n >= 2}
    if not repeated:
        raise NotComputable("no clip is repeated in the held-out runs, so there is no noise ceiling")
    n_repeats = min(repeated.values())
    full = np.isin(clip, list(repeated)) & (counts >= n_repeats)
    notes = _repeat_notes(typical, repeated, n_repeats, int(np.sum(np.isin(clip, list(repeated)) & ~full)))
    index = used[first[full][:, None] + np.arange(n_repeats)]
    return Repeats(index=index, clip=clip[full], notes=notes)


def _repeat_notes(typical: dict[int, int], repeated: dict[int, int], n_repeats: int, lost: int) -> tuple[str, ...]:
    notes = []
    if len(repeated) < len(typical):
        notes.append(
            f"{len(typical) - len(repeated)} of {len(typical)} held-out clips are heard once only and "
            "enter neither the noise ceiling nor the repeat-mean scores"
        )
    if max(repeated.values()) > n_repeats:
        notes.append(
            f"clips are repeated {n_repeats} to {max(repeated.values())} times; "
            f"the first {n_repeats} repeats of each are used"
        )
    if lost:
        notes.append(f"{lost} moments of repeated clips lack one of the {n_repeats} repeats and are left out")
    for note in notes:
        logger.debug(note)
    return tuple(notes)


def mean_over_repeats(values: np.ndarray, repeats: Repeats) -> np.ndarray:
    """Average an (n, V) array over repeats: (n_unique, V), without a copy of every repeat at once."""
    total = np.zeros((len(repeats.index), values.shape[1]), dtype=np.float64)
    for column in repeats.index.T:
        total += values[column]
    return total / repeats.n_repeats


def noise_ceiling(bold: np.ndarray, repeats: Repeats) -> Ceiling:
    """Signal power, explainable variance and largest attainable correlation of every voxel.

    Variances are taken over the concatenated unique rows, with one degree of freedom for the mean; neither
    a clip nor a repeat is z-scored again, which would turn differences between clips into nothing.

    Parameters
    ----------
    bold : ndarray of shape (n, V)
        Cleaned BOLD of all held-out rows, z-scored per run.
    repeats : Repeats
        From `repeat_rows`.

    Returns
    -------
    Ceiling
    """
    n = repeats.n_repeats
    var_mean = np.var(mean_over_repeats(bold, repeats), axis=0, ddof=1)
    tp = np.mean([np.var(bold[c].astype(np.float64), axis=0, ddof=1) for c in repeats.index.T], axis=0)
    sp = (n * var_mean - tp) / (n - 1)
    return Ceiling(
        ev=_ratio(sp, tp),
        ccmax=np.sqrt(_positive(_ratio(sp, var_mean))),
        sp=sp,
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


def voxel_scores(
    prediction: np.ndarray, bold: np.ndarray, rows: HeldOutRows, repeats: Repeats | None
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation and explained share of variance of every voxel on the held-out rows.

    Parameters
    ----------
    prediction, bold : ndarray of shape (n, V)
        Of all held-out rows.
    rows : HeldOutRows
        The n rows; only scored ones enter.
    repeats : Repeats or None
        With repeats, the mean prediction is compared with the mean BOLD over the unique rows, both less
        their mean. Without, all scored rows are pooled, both less their mean in each run.

    Returns
    -------
    r, rsquare : ndarray of shape (V,), float64
        Pearson correlation, and 1 - SSE / SST on the same rows with the same means removed; NaN where
        BOLD is constant or not finite (``r`` also where the prediction is constant).
    """
    if repeats is not None:
        p, y = mean_over_repeats(prediction, repeats), mean_over_repeats(bold, repeats)
        p -= p.mean(axis=0)
        y -= y.mean(axis=0)
    else:
        scored = rows.scored
        p, y = prediction[scored].astype(np.float64), bold[scored].astype(np.float64)
        for run in np.unique(rows.run[scored]):
            chosen = rows.run[scored] == run
            p[chosen] -= p[chosen].mean(axis=0)
            y[chosen] -= y[chosen].mean(axis=0)
    spp, syy, spy = (np.einsum("ij,ij->j", a, b) for a, b in ((p, p), (y, y), (p, y)))
    r = _ratio(spy, np.sqrt(spp * syy))
    return r, 1.0 - _ratio(spp - 2 * spy + syy, syy)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with NaN where the denominator is zero up to rounding or not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(denominator) > 1e-12, numerator / denominator, np.nan)


def _positive(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(values > 0, values, np.nan)
