"""Masks and tissues: steady state, head, brain, grey and white matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats
from sklearn.mixture import GaussianMixture

from ban_bids.typing import Floats

_LONGEST = 10  # volumes before the steady state, at most
_FITTED_VOXELS = 100_000


def count_non_steady(global_signal: Floats) -> int:
    """Leading volumes, at most 10, whose global signal stands out upwards from the rest of the run.

    Parameters
    ----------
    global_signal : ndarray, shape (n_volumes,)

    Returns
    -------
    int
        Volumes before the first one within five scaled median absolute deviations (at least 1 %) of the
        median. T1 saturation makes the first volumes brighter, never darker.
    """
    n = len(global_signal)
    rest = global_signal[min(_LONGEST, n // 2) :]
    middle = float(np.median(rest))
    spread = max(5 * float(stats.median_abs_deviation(rest, scale="normal")), 0.01 * abs(middle))
    steady = global_signal[: min(_LONGEST, n // 4)] <= middle + spread
    return int(np.append(steady, True).argmax())


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The biggest connected part of a mask."""
    labels, _ = ndimage.label(mask)
    return mask & (labels == np.bincount(labels[mask], minlength=1).argmax())


def otsu(values: NDArray[np.float32]) -> float:
    """Otsu's threshold of some values."""
    top = float(np.percentile(values, 99.5))
    counts, edges = np.histogram(np.clip(values, None, top), bins=256)
    middle = (edges[1:] + edges[:-1]) / 2
    weight, total = np.cumsum(counts), counts.sum()
    mass = np.cumsum(counts * middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (mass[-1] * weight / total - mass) ** 2 / (weight * (total - weight))
    return float(middle[int(np.nanargmax(between[:-1]))])


def head_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Head without air: half of Otsu's threshold, largest part, holes filled."""
    mask = largest_component(ndimage.binary_opening(image > 0.5 * otsu(image.ravel())))
    return ndimage.binary_fill_holes(ndimage.binary_closing(mask, iterations=2))


def epi_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Brain in a BOLD reference: Otsu at 0.6, opened by two voxels, largest part, holes filled.

    It only guides coregistration; the output mask comes from the T1w image.
    """
    mask = image > 0.6 * otsu(image.ravel())
    opened = largest_component(ndimage.binary_opening(mask, iterations=2))
    if not opened.any():
        opened = largest_component(mask)
    grown = ndimage.binary_dilation(opened, iterations=2) & mask
    return ndimage.binary_fill_holes(grown | opened)


def tissue_probabilities(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """CSF, grey and white matter from a three-class Gaussian mixture of T1w intensities.

    Parameters
    ----------
    image : ndarray, shape (nx, ny, nz)
        Bias-corrected T1w image.
    mask : ndarray of bool
        Brain.

    Returns
    -------
    ndarray of float32, shape (3, nx, ny, nz)
        Probabilities of CSF, grey matter, white matter; 0 outside the mask.
    """
    low, high = np.percentile(image[mask], [0.5, 99.5])
    values = ((image[mask].astype(float) - low) / (high - low))[:, None]
    mixture = GaussianMixture(
        3,
        covariance_type="diag",
        weights_init=[0.2, 0.45, 0.35],
        means_init=np.percentile(values, [8, 40, 82])[:, None],
        precisions_init=np.full((3, 1), 100.0),
        reg_covar=1e-4,
        tol=1e-5,
        max_iter=500,
        random_state=0,
    ).fit(np.clip(values[:: 1 + len(values) // _FITTED_VOXELS], 0, 1))
    order = mixture.means_[:, 0].argsort()
    darkest, _, brightest = mixture.means_[order, 0]
    shares = mixture.predict_proba(values)[:, order]
    shares[values[:, 0] <= darkest] = [1, 0, 0]
    shares[values[:, 0] >= brightest] = [0, 0, 1]
    probabilities = np.zeros((3, *image.shape), np.float32)
    probabilities[:, mask] = shares.T
    return probabilities
