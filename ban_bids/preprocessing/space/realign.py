"""Rigid head-motion realignment by inverse-compositional Gauss–Newton.

The gradient is taken once, on the reference; every volume then needs a few interpolations at some
thousand points. A gain column takes up global changes of intensity. Rotations are about the centre of
the sampled points, as R = Rz·Ry·Rx.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.affines import from_matvec, voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ban_bids.preprocessing.space.transforms import apply_affine
from ban_bids.typing import Floats

_FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))
_FWHM = 5.0  # mm, smoothing before estimation
_MOST_POINTS = 10_000
_REFERENCE_VOLUMES = 20  # evenly spread, make the references


@dataclass(frozen=True)
class Motion:
    """Head motion of a run.

    Parameters
    ----------
    matrices : ndarray, shape (n_volumes, 4, 4)
        Reference world mm → volume world mm.
    parameters : ndarray, shape (n_volumes, 6)
        trans_x, trans_y, trans_z (mm), rot_x, rot_y, rot_z (radians) about the centre of the sampled points.
    reference : ndarray, shape (nx, ny, nz)
        Mean of the realigned volumes, in the image's own grid.
    """

    matrices: Floats
    parameters: Floats
    reference: NDArray[np.float32]


def rigid_matrix(parameters: Floats, centre: Floats) -> Floats:
    """4 × 4 matrix of three translations (mm) and three rotations (radians) about a centre."""
    rotation = Rotation.from_euler("xyz", parameters[3:]).as_matrix()
    return from_matvec(rotation, centre + parameters[:3] - rotation @ centre)


def rigid_parameters(matrix: Floats, centre: Floats) -> Floats:
    """Inverse of :func:`rigid_matrix`: ``(6,)``."""
    rotation = matrix[:3, :3]
    angles = Rotation.from_matrix(rotation).as_euler("xyz")
    return np.concatenate([rotation @ centre + matrix[:3, 3] - centre, angles])


@dataclass(frozen=True)
class _Level:
    """Smoothed copy of an image grid on which motion is estimated."""

    factor: NDArray[np.int_]
    sigma: Floats
    affine: Floats

    def coefficients(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cubic spline coefficients of the block-averaged, smoothed volume."""
        return ndimage.spline_filter(self.smooth(volume), order=3, output=np.float32, mode="mirror")

    def smooth(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Block averages, then a Gaussian."""
        fx, fy, fz = self.factor
        if max(self.factor) > 1:
            nx, ny, nz = (n // f for n, f in zip(volume.shape, self.factor))
            cut = volume[: nx * fx, : ny * fy, : nz * fz]
            volume = cut.reshape(nx, fx, ny, fy, nz, fz).mean((1, 3, 5), dtype=np.float32)
        return ndimage.gaussian_filter(volume, self.sigma, mode="nearest", truncate=3.0)


def _level(affine: Floats, shape: tuple[int, ...], fwhm: float) -> _Level:
    voxel = voxel_sizes(affine)
    factor = np.where((voxel < 2.6) & (np.array(shape[:3]) >= 32), 2, 1)
    scale = from_matvec(np.diag(factor.astype(float)), (factor - 1) / 2)
    return _Level(factor, fwhm * _FWHM_TO_SIGMA / (voxel * factor), affine @ scale)


class _Target:
    """Reference image: sampled points, values and the matrix of derivatives."""

    def __init__(self, smooth: NDArray[np.float32], affine: Floats, spacing: float = 5.0) -> None:
        voxel = voxel_sizes(affine)
        step = np.maximum(1, np.round(spacing / voxel).astype(int))
        head = ndimage.binary_dilation(smooth > 0.15 * np.percentile(smooth, 98))
        index = np.array(np.nonzero(head))
        inner = (index > 0) & (index < np.array(head.shape)[:, None] - 1)
        index = index[:, (inner & (index % step[:, None] == 0)).all(0)]
        index = index[:, :: -(-index.shape[1] // _MOST_POINTS)]  # voxels of 3.5 mm are all sampled otherwise
        self.points = apply_affine(affine, index)
        self.centre = self.points.mean(1)
        where = tuple(index)
        self.values = smooth[where].astype(float)
        gradient = np.array([g[where] for g in np.gradient(smooth.astype(float))])
        world = np.linalg.inv(affine[:3, :3]).T @ gradient  # intensity per mm
        arm = self.points - self.centre[:, None]
        self.jacobian = np.column_stack([world.T, np.cross(arm.T, world.T), self.values])


def _align(
    target: _Target, coefficients: NDArray[np.float32], affine: Floats, *, start: Floats, iterations: int
) -> Floats:
    """Refine a matrix (reference world → volume world) by Gauss–Newton."""
    matrix, to_voxel = start.copy(), np.linalg.inv(affine)
    limit = np.array(coefficients.shape)[:, None] - 1
    for _ in range(iterations):
        where = apply_affine(to_voxel @ matrix, target.points)
        inside = ((where >= 0) & (where <= limit)).all(0)
        if inside.sum() < 100:
            return start
        values = ndimage.map_coordinates(
            coefficients, where[:, inside], order=3, prefilter=False, mode="mirror", output=float
        )
        jacobian, reference = target.jacobian[inside], target.values[inside]
        error = values - reference
        solution = np.linalg.lstsq(jacobian.T @ jacobian, jacobian.T @ error, rcond=None)[0]
        step = solution[:6] / (1 + solution[6])
        matrix = matrix @ np.linalg.inv(rigid_matrix(step, target.centre))
        if np.abs(step[:3]).max() < 2e-3 and np.abs(step[3:]).max() < 3e-5:
            break
    return matrix


def _mean_aligned(
    coefficients: Sequence[NDArray[np.float32]] | NDArray[np.float32], matrices: Floats, affine: Floats
) -> NDArray[np.float32]:
    """Mean of volumes, given by their spline coefficients, after alignment."""
    volumes = [
        ndimage.affine_transform(volume, move[:3, :3], move[:3, 3], order=3, prefilter=False, mode="nearest")
        for volume, move in zip(coefficients, np.linalg.inv(affine) @ matrices @ affine)
    ]
    return np.mean(volumes, axis=0, dtype=float).astype(np.float32)


def realign(data: NDArray[np.float32], affine: Floats, n_skip: int = 0) -> Motion:
    """Estimate a run's rigid head motion in two passes.

    The first pass aligns every volume to the median of some volumes, the second to the mean of the aligned
    ones.

    Parameters
    ----------
    data : ndarray of float32, shape (nx, ny, nz, n_volumes)
        Finite values.
    affine : ndarray, shape (4, 4)
    n_skip : int
        Leading non-steady-state volumes kept out of the reference (they are aligned all the same).

    Returns
    -------
    Motion
    """
    level, n = _level(affine, data.shape, _FWHM), data.shape[3]
    volumes = np.moveaxis(data, 3, 0)
    coefficients = np.stack([level.coefficients(volume) for volume in volumes])
    steady = np.arange(min(n_skip, n - 1), n)
    chosen = np.unique(steady[np.linspace(0, len(steady) - 1, min(_REFERENCE_VOLUMES, len(steady))).astype(int)])
    few = chosen[:: max(1, len(chosen) // 11)]
    smooth = [level.smooth(volumes[t]) for t in few]
    target = _Target(np.median(smooth, axis=0).astype(np.float32), level.affine)
    matrices = np.empty((n, 4, 4))
    for t in range(n):
        start = matrices[t - 1] if t else np.eye(4)
        matrices[t] = _align(target, coefficients[t], level.affine, start=start, iterations=12)
    target = _Target(_mean_aligned(coefficients[chosen], matrices[chosen], level.affine), level.affine)
    for t in range(n):
        matrices[t] = _align(target, coefficients[t], level.affine, start=matrices[t], iterations=6)
    parameters = np.array([rigid_parameters(matrix, target.centre) for matrix in matrices])
    whole = [ndimage.spline_filter(volumes[t], order=3, output=np.float32) for t in chosen]
    return Motion(matrices, parameters, _mean_aligned(whole, matrices[chosen], affine))


def align_images(
    moving: NDArray[np.float32], moving_affine: Floats, fixed: NDArray[np.float32], fixed_affine: Floats
) -> Floats:
    """Rigid alignment of two images of the same contrast (two runs' references), coarse then fine.

    Returns
    -------
    ndarray, shape (4, 4)
        Fixed world mm → moving world mm.
    """
    matrix: Floats = np.eye(4)
    for fwhm in (12.0, _FWHM):
        level, ground = _level(moving_affine, moving.shape, fwhm), _level(fixed_affine, fixed.shape, fwhm)
        target = _Target(ground.smooth(fixed), ground.affine)
        coefficients = level.coefficients(moving)
        matrix = _align(target, coefficients, level.affine, start=matrix, iterations=40)
    return matrix
