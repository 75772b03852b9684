"""CompCor: principal components of tissues that hold no signal, and of the most variable voxels.

nipype's CompCor wants the whole 4-D image in memory (1.8 GB for 410 volumes at 2 mm) and decomposes volumes
× voxels; nilearn's high_variance_confounds detrends only linearly and returns no singular values. Here voxels
are read a slab at a time and only the volumes × volumes covariance is decomposed: the same components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage

from ban_bids.typing import Floats

VARIANCE = 0.5
"""Share of a mask's variance that the components are to explain, as in fMRIPrep."""

MOST = 50
"""Components of one mask at most: in large, noisy masks half of the variance can need hundreds."""

PERIOD = 128.0
"""Seconds; fMRIPrep's cut-off before CompCor, and of the cosine columns."""

VARIABLE = 2
"""Percent of the brain's voxels, the most variable ones, that temporal CompCor takes (fMRIPrep's 2 %)."""

_SLAB = 4096
_SURE = 0.95
_FEWEST_ERODED = 100
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class Components:
    """Components of one mask.

    Parameters
    ----------
    values : ndarray, shape (n_volumes, k)
        Orthonormal over the steady volumes, 0 before them.
    singular, explained : ndarray, shape (k,)
        Singular values, and shares of the variance of the mask's voxels, largest first.
    """

    values: Floats
    singular: Floats
    explained: Floats


def noise_mask(
    probability: NDArray[np.float32], brain: NDArray[np.bool_], covered: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Covered voxels that are surely of a tissue, without its outermost layer of voxels.

    Parameters
    ----------
    probability : ndarray, shape (n_brain,)
        Of the tissue, averaged over each voxel of ``brain``.
    brain : ndarray of bool, shape (nx, ny, nz)
    covered : ndarray of int, shape (n_covered,)
        Entries of ``probability`` that the run covers.

    Returns
    -------
    ndarray of bool, shape (n_covered,)
        Where fewer than 100 voxels survive erosion, all sure ones; where fewer than 10 are sure, the
        likeliest 10, if any is likelier than not.
    """
    volume = np.zeros(brain.shape, bool)
    volume[brain] = probability > _SURE
    eroded = ndimage.binary_erosion(volume)[brain][covered]
    if eroded.sum() >= _FEWEST_ERODED:
        return eroded
    here = probability[covered]
    sure = here > _SURE
    if sure.sum() >= _FEWEST or not (here > 0.5).any():
        return sure
    return here >= min(_SURE, float(np.sort(here)[-_FEWEST]))


def cosines(n_volumes: int, repetition_time: float, period: float = PERIOD) -> Floats:
    """Discrete cosines that fMRIPrep filters with, shape (n_volumes, k), of unit norm.

    ``k = floor(2 n TR / period) - 1``: nipype counts the constant among them.
    """
    order = int(np.floor(2 * n_volumes * repetition_time / period))
    phase = np.pi * (np.arange(n_volumes) + 0.5) / n_volumes
    return np.sqrt(2 / n_volumes) * np.cos(phase[:, None] * np.arange(1, max(order, 1)))


def _filtered(
    series: NDArray[np.float32], columns: NDArray[np.intp], first: int, basis: Floats
) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """Residuals of steady volumes after an orthonormal basis, some voxels at a time."""
    for start in range(0, len(columns), _SLAB):
        chosen = columns[start : start + _SLAB]
        block = series[first:, chosen].astype(float)
        block -= basis @ (basis.T @ block)
        yield chosen, block


def noise_covariance(
    series: NDArray[np.float32], mask: NDArray[np.bool_], first: int, repetition_time: float
) -> Floats:
    """Sum over a mask's voxels of z zᵀ, z the voxel's filtered series of unit variance.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
    mask : ndarray of bool, shape (n_voxels,)
    first : int
        First steady volume.
    repetition_time : float
        Seconds.

    Returns
    -------
    ndarray, shape (n_volumes - first, n_volumes - first)
        Voxels enter separately: covariances of disjoint masks add up to that of their union.
    """
    n = len(series) - first
    drifts = cosines(n, repetition_time)
    basis = np.column_stack([np.full(n, n**-0.5), drifts])
    total = np.zeros((n, n))
    for _, block in _filtered(series, np.flatnonzero(mask), first, basis):
        spread = block.std(0)
        block /= np.where(spread > 0, spread, 1.0)
        total += block @ block.T
    return total


def components(covariance: Floats, first: int) -> Components:
    """Leading components of a covariance: as many as explain :data:`VARIANCE`, at most :data:`MOST`.

    Parameters
    ----------
    covariance : ndarray, shape (n, n)
        Of :func:`noise_covariance`.
    first : int
        First steady volume; rows of zeros are put before it.

    Returns
    -------
    Components
        Each with its largest entry positive; none for a covariance of zeros.

    References
    ----------
    Behzadi et al. 2007, NeuroImage 37, 90.
    """
    values, vectors = linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    whole = float(values.sum())
    if whole == 0:
        return Components(np.zeros((first + len(values), 0)), np.zeros(0), np.zeros(0))
    share = values / whole
    k = min(int(np.searchsorted(np.cumsum(share), VARIANCE)) + 1, MOST)
    kept = vectors[:, :k]
    kept = kept * np.sign(kept[np.abs(kept).argmax(0), np.arange(k)])
    padded = np.vstack([np.zeros((first, k)), kept])
    return Components(padded, np.sqrt(values[:k]), share[:k])


def most_variable(series: NDArray[np.float32], first: int) -> NDArray[np.bool_]:
    """The :data:`VARIABLE` percent of voxels that vary most about a quadratic trend."""
    n = len(series) - first
    time = np.linspace(-1, 1, n)
    basis = linalg.orth(np.column_stack([np.ones(n), time, time**2]))
    spread = np.empty(series.shape[1])
    for chosen, block in _filtered(series, np.arange(series.shape[1]), first, basis):
        spread[chosen] = block.std(0)
    return spread >= np.percentile(spread, 100 - VARIABLE)


def compcor(
    series: NDArray[np.float32],
    white_matter: NDArray[np.bool_],
    csf: NDArray[np.bool_],
    first: int,
    repetition_time: float,
) -> tuple[dict[str, Floats], dict[str, dict[str, Any]]]:
    """Components of CSF, white matter, both together and the most variable voxels, as fMRIPrep names them.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
        Brain voxels.
    white_matter, csf : ndarray of bool, shape (n_voxels,)
        Disjoint. An empty mask gives no component.
    first : int
        First steady volume.
    repetition_time : float
        Seconds.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        ``c_comp_cor_00``, …, ``w_…``, ``a_…`` (both), ``t_…`` (temporal).
    metadata : dict of str to dict
        A sidecar's entry of each column.
    """
    covariance = {
        name: noise_covariance(series, mask, first, repetition_time)
        for name, mask in (("CSF", csf), ("WM", white_matter), ("", most_variable(series, first)))
    }
    covariance["combined"] = covariance["CSF"] + covariance["WM"]
    columns: dict[str, Floats] = {}
    metadata: dict[str, dict[str, Any]] = {}
    for prefix, name in (("t", ""), ("c", "CSF"), ("w", "WM"), ("a", "combined")):
        found = components(covariance[name], first)
        for number, values in enumerate(found.values.T):
            key = f"{prefix}_comp_cor_{number:02d}"
            columns[key] = values
            metadata[key] = {
                "Method": "aCompCor" if name else "tCompCor",
                **({"Mask": name} if name else {}),
                "SingularValue": float(found.singular[number]),
                "VarianceExplained": float(found.explained[number]),
                "CumulativeVarianceExplained": float(found.explained[: number + 1].sum()),
                "Retained": True,
            }
    return columns, metadata
