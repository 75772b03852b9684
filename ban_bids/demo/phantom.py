"""BOLD runs of the phantom: planted responses in moving tissue, sampled slice by slice, under noise.

What a scanner would see is built in its own order: tissue and its response move together, each slice is
taken at its own time, then noise comes on top. No preprocessing has touched the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates, spline_filter

from ban_bids.constants import REGIONS
from ban_bids.demo.anatomy import (
    HeadTemplate,
    Warp,
    centred_affine,
    grid_points,
    head_template,
    rigid,
    sample,
    save_image,
    smooth_field,
)
from ban_bids.typing import Floats, Volume


@dataclass(frozen=True)
class Scan:
    """How the phantom's BOLD images are taken.

    Parameters
    ----------
    shape : tuple of int
        Voxels along x, y and z.
    voxel : float
        Isotropic voxel size, millimetres.
    repetition_time : float
        Seconds a volume.
    n_volumes : int
        Volumes a run.
    multiband : int
        Slices taken at once.
    noise : float
        Standard deviation of the noise, fraction of the voxel's baseline.
    snr : float
        Variance of a responsive voxel's signal over the variance of its noise.
    autocorrelation : float
        Lag-one autocorrelation of the noise.
    motion : float
        Largest excursion of the head, millimetres and degrees.
    """

    shape: tuple[int, int, int]
    voxel: float
    repetition_time: float = 1.5
    n_volumes: int = 140
    multiband: int = 2
    noise: float = 0.01
    snr: float = 8.0
    autocorrelation: float = 0.3
    motion: float = 0.6

    @property
    def slice_times(self) -> Floats:
        """Time of each slice, seconds: interleaved (even slots first), ``multiband`` slices at once."""
        slots = self.shape[2] // self.multiband
        order = np.r_[np.arange(0, slots, 2), np.arange(1, slots, 2)]
        times = np.empty(slots)
        times[order] = np.arange(slots) * self.repetition_time / slots
        return np.tile(times, self.multiband)


@dataclass(frozen=True)
class Tissue:
    """A participant's still BOLD anatomy and where responses live.

    Parameters
    ----------
    base : ndarray of float32, shape (x, y, z)
        Baseline intensity.
    affine : ndarray, shape (4, 4)
        Voxel to scanner millimetre.
    labels : ndarray of uint8, shape (x, y, z)
        True region of each voxel, 0 outside.
    responsive : ndarray of bool, shape (x, y, z)
        Voxels of a region that respond.
    """

    base: Volume
    affine: Floats
    labels: npt.NDArray[np.uint8]
    responsive: npt.NDArray[np.bool_]


def responsive_in_mni(head: HeadTemplate, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Patches of each region that respond, on the template's grid; the rest (1 − ``fraction``) stays silent.

    Places near another region rather stay silent: images blur, and what is planted is to be told apart.
    """
    field = smooth_field(head.labels.shape, 3.0, np.random.default_rng([seed, 77]))
    chosen = np.zeros(head.labels.shape, dtype=bool)
    for label in range(1, len(REGIONS) + 1):
        region = head.labels == label
        if region.any():
            others = (head.labels > 0) & ~region
            # How much of another region lies within a few millimetres.
            liveliness = field - 40 * gaussian_filter(others.astype(np.float32), 2.5)
            chosen |= region & (liveliness > np.quantile(liveliness[region], 1 - fraction))
    return chosen


def still_tissue(
    scan: Scan, warp: Warp, responsive: npt.NDArray[np.bool_], displaced: Floats, rng: np.random.Generator
) -> Tissue:
    """Bring head, regions and responsive patches into a participant's BOLD grid.

    Parameters
    ----------
    scan : Scan
        Grid and contrast.
    warp : Warp
        T1w scanner space to MNI.
    responsive : ndarray of bool
        Responsive patches on the template's grid.
    displaced : ndarray, shape (4, 4)
        BOLD scanner space to T1w scanner space: the head lay differently.
    rng : numpy.random.Generator
        Source of the coil's sensitivity.

    Returns
    -------
    Tissue
        A voxel belongs to the region that fills most of it, if regions fill a quarter of it: the ribbon is
        thinner than a voxel, and blood responds beyond it.
    """
    head = head_template()
    affine = centred_affine(scan.shape, scan.voxel, (0.0, -16.0, 2.0))
    points = displaced[:3, :3] @ grid_points(scan.shape, affine) + displaced[:3, 3:]
    offsets = np.array(np.meshgrid(*[[-0.25, 0.25]] * 3)).reshape(3, -1) * scan.voxel
    base = np.zeros(points.shape[1], dtype=np.float32)
    inside = sample(head.bold, head.affine, warp(points)) > 0.02
    share = np.zeros((len(REGIONS) + 1, points.shape[1]), dtype=np.float32)
    alive = np.zeros(points.shape[1], dtype=np.float32)
    for offset in offsets.T:
        place = warp(points[:, inside] + offset[:, None])
        base[inside] += sample(head.bold, head.affine, place) / offsets.shape[1]
        label = sample(head.labels.astype(np.float32), head.affine, place, order=0).astype(int)
        share[label, np.flatnonzero(inside)] += 1 / offsets.shape[1]
        alive[inside] += sample(responsive.astype(np.float32), head.affine, place, order=0)
    labels = np.where(share[1:].sum(axis=0) >= 0.25, share[1:].argmax(axis=0) + 1, 0)
    # Of the part of the voxel that lies in regions, at least half responds.
    lively = alive / offsets.shape[1] >= 0.5 * share[1:].sum(axis=0)
    coil = 1000 * np.exp(0.1 * smooth_field(scan.shape, 30 / scan.voxel, rng))
    return Tissue(
        base=base.reshape(scan.shape) * coil,
        affine=affine,
        labels=labels.reshape(scan.shape).astype(np.uint8),
        responsive=((labels > 0) & lively).reshape(scan.shape),
    )


def head_motion(scan: Scan, rng: np.random.Generator) -> Floats:
    """Smooth random walk of the head, shape (n_volumes, 6): three in millimetres, three in radians."""
    steps = gaussian_filter1d(rng.standard_normal((scan.n_volumes, 6)), 3, axis=0)
    walk = np.cumsum(steps, axis=0)
    walk -= walk[0]
    walk *= rng.uniform(0.4, 1.0, 6) * scan.motion / np.abs(walk).max(axis=0)
    walk += rng.uniform(-0.25, 0.25, 6) * scan.motion
    walk[:, 3:] = np.deg2rad(walk[:, 3:])
    return walk


@dataclass(frozen=True)
class Planted:
    """Signals of one run in the still tissue's responsive voxels.

    Parameters
    ----------
    voxels : ndarray of int, shape (n,)
        Flat indices into the BOLD grid.
    signal : ndarray of float32, shape (n, n_volumes, n_slots)
        Fraction of baseline, at each slice-time slot of each volume.
    """

    voxels: npt.NDArray[np.intp]
    signal: npt.NDArray[np.float32]


def _moved_signal(
    planted: Planted, column: npt.NDArray[np.intp], place: Floats, volume: int, slot: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Signal at tissue places (voxel units, shape (3, m)), each at the time of the slice that sees it."""
    low = np.floor(place).astype(int)
    part = place - low
    total = np.zeros(place.shape[1], dtype=np.float32)
    shape = np.array(column.shape)[:, None]
    for corner in np.ndindex(2, 2, 2):
        index = low + np.array(corner)[:, None]
        weight = np.prod(np.where(np.array(corner)[:, None] == 1, part, 1 - part), axis=0)
        valid = np.all((index >= 0) & (index < shape), axis=0)
        which = np.where(valid, column[tuple(np.clip(index, 0, shape - 1))], -1)
        use = which >= 0
        total[use] += weight[use] * planted.signal[which[use], volume, slot[use]]
    return total


def moving_tissue(scan: Scan, tissue: Tissue, planted: Planted, motion: Floats) -> npt.NDArray[np.float32]:
    """Images of the moving, responding head without noise, shape (n_volumes, n_voxels).

    Parameters
    ----------
    scan, tissue, planted
        The phantom; signals are relative to the baseline.
    motion : ndarray, shape (n_volumes, 6)
        Position of the head in every volume, about the centre of the grid.

    Returns
    -------
    ndarray of float32
    """
    centre = np.array(scan.shape)[:, None] / 2 * scan.voxel
    head = np.flatnonzero(tissue.base > 5)
    coefficients = spline_filter(tissue.base, order=3, output=np.float32)
    column = np.full(scan.shape, -1, dtype=np.intp)
    column.ravel()[planted.voxels] = np.arange(planted.voxels.size)
    grid = np.array(np.unravel_index(head, scan.shape)) * scan.voxel - centre
    near = np.flatnonzero(_near(column >= 0).ravel()[head])
    slots = np.unique(scan.slice_times, return_inverse=True)[1]
    slot = slots[np.unravel_index(head[near], scan.shape)[2]]
    images = np.zeros((scan.n_volumes, tissue.base.size), dtype=np.float32)
    for volume, parameters in enumerate(motion):
        back = np.linalg.inv(rigid(parameters))
        place = (back[:3, :3] @ grid + back[:3, 3:] + centre) / scan.voxel
        values = map_coordinates(coefficients, place.astype(np.float32), order=3, prefilter=False, output=np.float32)
        signal = _moved_signal(planted, column, place[:, near], volume, slot)
        values[near] *= 1 + signal
        images[volume, head] = np.maximum(values, 0)
    return images


def _near(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask grown by two voxels along each axis: all places that motion may bring it to."""
    grown = mask.copy()
    for axis in range(3):
        for shift in (-2, -1, 1, 2):
            grown |= np.roll(mask, shift, axis=axis)
        mask = grown.copy()
    return grown


def add_noise(
    scan: Scan, tissue: Tissue, images: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Add drift, a global fluctuation and autocorrelated noise in the head, and air around it, in place.

    Only the autocorrelated noise (``scan.noise`` of the baseline) counts in the stated SNR.
    """
    n, rho = scan.n_volumes, scan.autocorrelation
    time = np.linspace(-1, 1, n, dtype=np.float32)
    head = np.flatnonzero(tissue.base > 5)
    base = tissue.base.ravel()[head]
    added = rng.standard_normal((n, head.size), dtype=np.float32)
    added[1:] *= np.float32(np.sqrt(1 - rho**2))
    for volume in range(1, n):
        added[volume] += np.float32(rho) * added[volume - 1]
    added *= np.float32(scan.noise)
    swing = gaussian_filter1d(rng.standard_normal(n), 2).astype(np.float32)
    for shape, strength in ((time, 0.01), (np.cos(np.pi * time), 0.006), (swing, 0.003)):
        field = 1 + 0.5 * smooth_field(scan.shape, 15 / scan.voxel, rng).ravel()[head]
        added += np.outer(strength * shape / shape.std(), field)
    images[:, head] += added * base
    outside = np.flatnonzero(tissue.base <= 5)
    images[:, outside] = np.abs(8 * rng.standard_normal((n, outside.size), dtype=np.float32))
    return images


def write_run(
    path: Path, scan: Scan, tissue: Tissue, planted: Planted, motion: Floats, rng: np.random.Generator
) -> None:
    """Make one BOLD run and write it as int16 ``.nii.gz``.

    Parameters
    ----------
    path : Path
        Target.
    scan, tissue, planted, motion
        As in :func:`moving_tissue`.
    rng : numpy.random.Generator
        Source of the noise.
    """
    images = add_noise(scan, tissue, moving_tissue(scan, tissue, planted, motion), rng)
    series = np.rint(images).astype(np.int16).T.reshape(*scan.shape, scan.n_volumes)
    save_image(path, series, tissue.affine, scan.repetition_time)
