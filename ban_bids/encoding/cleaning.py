"""One regression that removes confounds, trends and slow drifts from BOLD and features alike.

Each side of a fold is cleaned on its own rows. Rows that were cleaned together know of each other: what a regression
over a whole run takes out of the held-out rows' response it puts, with the other sign, into rows that train.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ban_bids.inputs.timing import clusters

_LOG = logging.getLogger(__name__)
_RANK_TOLERANCE = 1e-6
_CONSTANT = 1e-6
_SETTLING = 6.0
"""Seconds in which magnetisation settles after a gap: several T1 of grey matter at any flip angle in use."""


@dataclass(frozen=True, eq=False)
class Nuisance:
    """Orthonormal nuisance basis of one run.

    Parameters
    ----------
    basis : ndarray of shape (n_volumes, k), float64
        Orthonormal over the kept volumes, zero on the others.
    keep : ndarray of shape (n_volumes,), bool
        Volumes that are fitted.
    """

    basis: np.ndarray
    keep: np.ndarray

    def project(self, data: np.ndarray) -> np.ndarray:
        """Return the residual of ``data`` (n_volumes, m) after the basis; left-out volumes become 0."""
        basis = self.basis.astype(data.dtype, copy=False)
        residual = data - basis @ (basis.T @ data)
        residual[~self.keep] = 0
        return residual


def cosine_drifts(times: np.ndarray, repetition_time: float, high_pass: float) -> np.ndarray:
    """Return the discrete-cosine drift regressors slower than a period, without the constant.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,)
        Start of each volume, seconds.
    repetition_time, high_pass : float
        Seconds. The run lasts from the first start to one repetition time after the last one; regressor j has the
        period of twice that over j, and is kept where it is at least ``high_pass``.

    Returns
    -------
    ndarray of shape (n_volumes, n_drifts), float64
    """
    lasts = times[-1] - times[0] + repetition_time
    order = int(np.floor(2 * lasts / high_pass + 1e-9))
    phase = np.pi * (times - times[0] + repetition_time / 2) / lasts
    return np.cos(phase[:, None] * np.arange(1, order + 1)[None, :])


def settling(times: np.ndarray, repetition_time: float) -> np.ndarray:
    """Return one regressor for each of the first volumes after a gap, the same volume of every cluster.

    In a gap the tissue's magnetisation recovers: the first volumes of a cluster are brighter. Sounds are often played
    at the same moment of each gap, so that features would predict this.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,)
        Start of each volume, seconds.
    repetition_time : float
        Within clusters, seconds.

    Returns
    -------
    ndarray of shape (n_volumes, n_regressors), float64
        None without gaps; else one for each volume within 6 s of a cluster's start.
    """
    cluster = clusters(times, repetition_time)
    first = np.searchsorted(cluster, cluster)
    number = np.arange(len(times)) - first
    soon = (times - times[first] < _SETTLING) & bool(cluster[-1])
    return (number[:, None] == np.unique(number[soon])[None, :]).astype(np.float64)


def nuisance_basis(
    confounds: np.ndarray,
    repetition_time: float,
    high_pass: float,
    *,
    keep: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> Nuisance:
    """Make the orthonormal basis of everything that is regressed out of a run.

    Parameters
    ----------
    confounds : ndarray of shape (n_volumes, n_confounds)
        Confounds without constant or cosines; missing values (the first row of a difference) count as the
        column's mean.
    repetition_time, high_pass : float
        Seconds.
    keep : ndarray of shape (n_volumes,), bool, optional
        Volumes that are fitted; all by default.
    times : ndarray of shape (n_volumes,), optional
        Start of each volume, seconds, where there are gaps between them; one every repetition time by default.

    Returns
    -------
    Nuisance
        Span of constant, linear trend, cosines, what follows gaps, and confounds over the kept volumes.
    """
    n_volumes = len(confounds)
    keep = np.ones(n_volumes, dtype=bool) if keep is None else keep
    times = np.arange(n_volumes) * repetition_time if times is None else times
    table = np.asarray(confounds, dtype=np.float64)[keep]
    counted = np.isfinite(table)
    means = np.where(counted, table, 0).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
    table = np.where(counted, table, means) - means
    drifts = np.hstack([cosine_drifts(times, repetition_time, high_pass), settling(times, repetition_time)])[keep]
    trend = (2 * (times - times[0]) / (times[-1] - times[0]) - 1)[keep, None]
    columns = np.hstack([np.ones((int(keep.sum()), 1)), trend, drifts, table])
    norms = np.linalg.norm(columns, axis=0)
    columns = columns[:, norms > 0] / norms[norms > 0]
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    left = left[:, singular > _RANK_TOLERANCE * singular[0]]
    basis = np.zeros((n_volumes, left.shape[1]))
    basis[keep] = left
    return Nuisance(basis, keep)


def clean(data: np.ndarray, nuisance: Nuisance) -> tuple[np.ndarray, np.ndarray]:
    """Regress the nuisance out of BOLD and z-score each voxel over the kept volumes.

    Parameters
    ----------
    data : ndarray of shape (n_volumes, n_voxels), float32
        Raw BOLD.
    nuisance : Nuisance
        Made by `nuisance_basis`.

    Returns
    -------
    cleaned : ndarray of shape (n_volumes, n_voxels), float32
        Mean 0 and standard deviation 1 over kept volumes; 0 on left-out volumes and in unusable voxels.
    usable : ndarray of shape (n_voxels,), bool
        False where a kept volume is not finite or the voxel does not vary.
    """
    keep = nuisance.keep
    finite = np.isfinite(data[keep]).all(axis=0)
    values = np.where(finite, data, 0).astype(np.float32)
    values[~keep] = 0
    level = values[keep].mean(axis=0, dtype=np.float64)
    values[keep] -= level.astype(np.float32)
    residual = nuisance.project(values)
    spread = np.sqrt(np.mean(np.square(residual[keep], dtype=np.float64), axis=0))
    raw = np.sqrt(np.mean(np.square(values[keep], dtype=np.float64), axis=0))
    usable = finite & (spread > _CONSTANT * np.maximum(np.abs(level), raw)) & (spread > 0)
    residual /= np.where(usable, spread, 1).astype(np.float32)
    residual[:, ~usable] = 0
    return residual, usable


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one run on one side of a fold, and what is regressed out of them.

    Parameters
    ----------
    place : slice
        Where they stand among the side's rows.
    basis : ndarray of shape (n, k), float64
        Orthonormal over those of the rows that are fitted, zero on the others.
    degrees : int
        Rows that are fitted less k.
    """

    place: slice
    basis: np.ndarray
    degrees: int

    def project(self, rows: np.ndarray) -> None:
        """Take the basis out of this part's rows, in place."""
        basis = self.basis.astype(rows.dtype, copy=False)
        rows -= basis @ (basis.T @ rows)


@dataclass(frozen=True, eq=False)
class Side:
    """Rows that train a fold, or rows that it predicts, cleaned without the others.

    Parameters
    ----------
    rows : ndarray of shape (n,), intp
        Ascending.
    parts : tuple of Part
        The runs that must be cleaned anew. Runs of which every fitted row is here are not among them: regressing
        the nuisance out of the whole run was regressing it out of these rows.
    """

    rows: np.ndarray
    parts: tuple[Part, ...] = ()

    def project(self, values: np.ndarray) -> np.ndarray:
        """Return values (n, m) of the side's rows, already clean over whole runs, clean over these rows alone."""
        out = np.array(values) if self.parts else values
        for part in self.parts:
            part.project(out[part.place])
        return out

    def standardise(self, bold: np.ndarray) -> np.ndarray:
        """Clean BOLD (n, n_voxels) over these rows alone, in place, with a noise variance of 1 in every part."""
        for part in self.parts:
            rows = bold[part.place]
            part.project(rows)
            spread = np.sqrt(np.einsum("ij,ij->j", rows, rows) / max(1, part.degrees))
            rows /= np.where(spread > _CONSTANT, spread, np.inf)
        return bold


def side_of(
    rows: np.ndarray, first: np.ndarray, nuisance: Sequence[Nuisance], *, raw: bool = False, fewest: float = 0.0
) -> Side:
    """Restrict the runs' nuisance to some rows.

    Parameters
    ----------
    rows : ndarray of int
        Ascending, counted through all runs.
    first : ndarray of shape (n_runs + 1,)
        First row of each run.
    nuisance : sequence of Nuisance
        One per run.
    raw : bool
        Whether what is to be cleaned was not cleaned over whole runs: then every run is a part.
    fewest : float
        Rows per nuisance column under which a part is only centred: there is too little to fit more.

    Returns
    -------
    Side
    """
    parts = []
    for r, (start, stop) in enumerate(zip(first[:-1], first[1:])):
        low, high = np.searchsorted(rows, [start, stop])
        volumes = rows[low:high] - start
        fitted = nuisance[r].keep[volumes]
        if fitted.any() and (raw or fitted.sum() < nuisance[r].keep.sum()):
            basis = nuisance[r].basis[volumes]
            if fitted.sum() < fewest * basis.shape[1]:
                basis = fitted[:, None].astype(np.float64)
            parts.append(_part(slice(int(low), int(high)), basis, int(fitted.sum())))
    return Side(rows, tuple(parts))


def _part(place: slice, basis: np.ndarray, n_fitted: int) -> Part:
    left, singular, _ = np.linalg.svd(basis, full_matrices=False)
    left = left[:, singular > _RANK_TOLERANCE * singular[0]]
    return Part(place, left, n_fitted - left.shape[1])


def crowding(name: str, nuisance: Nuisance) -> tuple[str, ...]:
    """Return (and log) a warning when nuisance columns exceed a third of a run's kept volumes."""
    columns, volumes = nuisance.basis.shape[1], int(nuisance.keep.sum())
    if 3 * columns <= volumes:
        return ()
    note = f"{name}: {columns} nuisance columns for {volumes} volumes; choose fewer confounds"
    _LOG.debug(note)
    return (note,)
