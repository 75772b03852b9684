"""Masks and tissues: steady state, head, brain, grey and white matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from ban_bids.typing import Floats

_LONGEST = 10  # volumes before the steady state, at most
_EM_STEPS = 60


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


def lost_volumes(global_signal: Floats) -> NDArray[np.intp]:
    """Volumes that hold no whole image, as the last one of a scan that was broken off.

    Parameters
    ----------
    global_signal : ndarray, shape (n_volumes,)
        What is not finite is not judged.

    Returns
    -------
    ndarray of int
        Volumes whose signal is under the median by 30 % and by ten scaled median absolute deviations.
    """
    known = global_signal[np.isfinite(global_signal)]
    if not known.size:
        return np.zeros(0, np.intp)
    middle = float(np.median(known))
    least = middle - max(0.3 * abs(middle), 10 * float(stats.median_abs_deviation(known, scale="normal")))
    return np.flatnonzero(global_signal < least)


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
    values = image[mask].astype(float)
    low, high = np.percentile(values, [0.5, 99.5])
    counts, edges = np.histogram(np.clip(values, low, high), bins=400)
    centres = (edges[1:] + edges[:-1]) / 2
    means = np.percentile(values, [8, 40, 82]).astype(float)
    deviations = np.full(3, (high - low) / 10)
    weights = np.array([0.2, 0.45, 0.35])
    for _ in range(_EM_STEPS):
        share = _responsibilities(centres, means, deviations, weights)
        mass = share * counts
        total = np.maximum(mass.sum(1), 1e-9)
        means = (mass @ centres) / total
        spread = np.sqrt((mass * (centres - means[:, None]) ** 2).sum(1) / total)
        deviations = np.maximum(spread, (high - low) / 100)
        weights = total / total.sum()
    order = np.argsort(means)
    means, deviations, weights = means[order], deviations[order], weights[order]
    share = _responsibilities(values, means, deviations, weights)
    share[:, values <= means[0]] = np.array([1.0, 0, 0])[:, None]
    share[:, values >= means[2]] = np.array([0, 0, 1.0])[:, None]
    probabilities = np.zeros((3, *image.shape), np.float32)
    probabilities[:, mask] = share
    return probabilities


def _responsibilities(values: Floats, means: Floats, deviations: Floats, weights: Floats) -> Floats:
    """Posterior of each class, ``(3, n)``."""
    z = (values[None] - means[:, None]) / deviations[:, None]
    density = weights[:, None] / deviations[:, None] * np.exp(-0.5 * np.minimum(z**2, 1400))
    return density / np.maximum(density.sum(0), 1e-300)
