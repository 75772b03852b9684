"""Formulas of the measures of quality: plain functions of arrays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.preprocessing.confounds import FD_OUTLIER, framewise_displacement_of
from ban_bids.typing import Floats

_BINS = 32


def mean_and_noise(volumes: Iterable[Floats]) -> tuple[Floats, Floats]:
    """Mean of every voxel's series, and its standard deviation about a straight line.

    Parameters
    ----------
    volumes : iterable of ndarray, shape (n_voxels,)
        At least three, one after the other: the whole series need not be in memory.

    Returns
    -------
    mean, noise : ndarray, shape (n_voxels,)
        In the units of the series; the divisor is the number of volumes.
    """
    stream = iter(volumes)
    # sums of differences to the first volume: those of the values themselves would cancel badly
    first = np.array(next(stream), float)
    total, squares, moment = (np.zeros_like(first) for _ in range(3))
    n = 1
    for volume in stream:
        step = volume - first
        total += step
        moment += n * step
        squares += step * step
        n += 1
    slope = moment - (n - 1) / 2 * total
    left = squares - total**2 / n - slope**2 / (n * (n**2 - 1) / 12)
    return first + total / n, np.sqrt(np.maximum(left, 0.0) / n)


def temporal_snr(volumes: Iterable[Floats]) -> Floats:
    """Temporal signal-to-noise ratio: mean over standard deviation in time, without a linear trend.

    Parameters
    ----------
    volumes : iterable of ndarray, shape (n_voxels,)
        Volumes in the steady state.

    Returns
    -------
    ndarray, shape (n_voxels,)
        NaN where a voxel does not vary.

    References
    ----------
    Krueger & Glover 2001, Magnetic Resonance in Medicine 46, 631; taken after removal of a line.
    """
    return ratio(*mean_and_noise(volumes))


def ratio(mean: Floats, noise: Floats) -> Floats:
    """Mean over noise; NaN where a voxel does not vary."""
    vary = noise > 1e-6 * np.abs(mean)
    return np.where(vary, mean / np.where(vary, noise, 1.0), np.nan)


def median(values: Floats) -> float:
    """Median of what is finite; NaN of nothing."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def normalised_mutual_information(one: Floats, other: Floats, bins: int = _BINS) -> float:
    """How well each of two images tells the other: 1 not at all, 2 completely.

    Parameters
    ----------
    one, other : ndarray, shape (n,)
        Values at the same places.
    bins : int
        Of each side of the joint histogram, between the 0.5th and 99.5th percentile.

    Returns
    -------
    float
        ``(H(one) + H(other)) / H(one, other)``; NaN where neither image varies.

    References
    ----------
    Studholme, Hill & Hawkes 1999, Pattern Recognition 32, 71.
    """
    first, second = (np.clip(v.astype(float), *np.percentile(v, [0.5, 99.5])) for v in (one, other))
    joint = np.histogram2d(first, second, bins=bins)[0] / len(one)
    both = _entropy(joint.ravel())
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / both if both > 0 else float("nan")


def _entropy(share: Floats) -> float:
    seen = share[share > 0]
    return float(-(seen * np.log(seen)).sum())


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, ``2 |A and B| / (|A| + |B|)``; NaN where both are empty.

    References
    ----------
    Dice 1945, Ecology 26, 297.
    """
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else float("nan")


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's r of two images at the same places; NaN where one does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def confound_measures(table: pd.DataFrame, non_steady: int) -> dict[str, float]:
    """Measures of head motion and of DVARS from a confounds table.

    Parameters
    ----------
    table : DataFrame
        Under fMRIPrep's column names.
    non_steady : int
        Leading volumes that are left out: their intensity jumps are no fault.

    Returns
    -------
    dict
        ``fd_mean``, ``fd_max`` (mm), ``fd_high_share`` (%), ``dvars_median`` (% of the brain's median),
        ``std_dvars_median``; NaN where the table lacks the column.
    """
    moved = framewise_displacement_of(table)
    moved = moved[np.isfinite(moved)]
    share = 100 * float(np.mean(moved > FD_OUTLIER)) if moved.size else float("nan")
    # the difference between the last volume before the steady state and the first one in it
    steady = table.iloc[non_steady + 1 :]
    jump, standard = (
        median(steady[name].to_numpy(float)) if name in table else float("nan") for name in ("dvars", "std_dvars")
    )
    return {
        "fd_mean": float(moved.mean()) if moved.size else float("nan"),
        "fd_max": float(moved.max()) if moved.size else float("nan"),
        "fd_high_share": share,
        "dvars_median": jump / 10,  # the column's unit is a thousandth of the brain's median
        "std_dvars_median": standard,
    }
