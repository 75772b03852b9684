"""Slice timing correction and the one spatial interpolation of a run to its output grid."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.files.images import read_through
from ban_bids.preprocessing.space.template import Grid
from ban_bids.preprocessing.space.transforms import apply_affine
from ban_bids.typing import Floats


def load_run(path: Path) -> tuple[NDArray[np.float32], Floats, NDArray[np.bool_], tuple[str, ...]]:
    """Read a BOLD run and fill voxels that miss values.

    Returns
    -------
    data : ndarray of float32, shape (nx, ny, nz, n_volumes)
        Voxels with a value that is not finite hold their nearest whole neighbour's series, so that
        interpolation does not spread the gap.
    affine : ndarray, shape (4, 4)
    missing : ndarray of bool, shape (nx, ny, nz)
        Those voxels; they are kept out of the mask.
    notes : tuple of str

    Raises
    ------
    DataError
        Not 4-D, unreadable, or constant.
    """
    with read_through(path) as image:
        data = np.array(image.dataobj, np.float32)
    if data.ndim != 4 or data.shape[3] < 5:
        raise DataError(f"{path}: a run of at least 5 volumes is needed, shape is {data.shape}")
    missing = np.asarray(~np.isfinite(data).all(axis=3))
    notes: tuple[str, ...] = ()
    if missing.all():
        raise DataError(f"{path}: no voxel has finite values throughout; replace the image")
    if missing.any():
        notes = (f"{path.name}: {int(missing.sum())} voxels with NaN or infinite values left out",)
        near = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
        data[missing] = data[tuple(near[:, missing])]
    if float(np.ptp(data[..., :5])) == 0.0:
        raise DataError(f"{path}: the image is constant; replace it")
    return data, np.asarray(image.affine, float), missing, notes


def correct_slice_timing(
    data: NDArray[np.float32],
    slice_timing: tuple[float, ...],
    direction: str,
    repetition_time: float,
    target: float,
    *,
    n_skip: int = 0,
) -> None:
    """Shift every slice's series, in place, to one acquisition time by cubic B-splines in time.

    Parameters
    ----------
    data : ndarray, shape (nx, ny, nz, n_volumes)
    slice_timing : tuple of float
        Seconds, one per slice.
    direction : str
        BIDS ``SliceEncodingDirection``; with a trailing ``-`` the first time is the last slice's.
    repetition_time, target : float
        Seconds.
    n_skip : int
        Leading non-steady-state volumes. They stay as they are and enter no other volume: one that is brighter by
        half would raise the first steady one, in slices taken late, by a quarter.

    Raises
    ------
    DataError
        As many times as slices are not there.
    """
    axis = "ijk".index(direction[0])
    times = slice_timing[::-1] if direction.endswith("-") else slice_timing
    if len(times) != data.shape[axis]:
        raise DataError(f"SliceTiming has {len(times)} values for {data.shape[axis]} slices; mend the sidecar")
    impulse = np.eye(1, 2 * _REACH + 1, _REACH)[0]
    for series, time in zip(np.moveaxis(data, axis, 0), times):
        kernel = ndimage.shift(impulse, (time - target) / repetition_time, order=3)
        series[..., n_skip:] = ndimage.convolve1d(series[..., n_skip:], kernel, axis=-1, mode="nearest")


_REACH = 16  # volumes: the spline's response to an impulse has died down to 1e-8 after 14


def resample_run(data: NDArray[np.float32], affine: Floats, motion: Floats, points: Floats) -> NDArray[np.float32]:
    """Interpolate every volume at the output voxels, once, with cubic B-splines.

    Parameters
    ----------
    data : ndarray, shape (nx, ny, nz, n_volumes)
    affine : ndarray, shape (4, 4)
    motion : ndarray, shape (n_volumes, 4, 4)
        Reference world → volume world, mm.
    points : ndarray, shape (3, n_points)
        Output voxels in the reference's world: every other transform is already in them.

    Returns
    -------
    ndarray, shape (n_volumes, n_points)
    """
    rows = np.empty((data.shape[3], points.shape[1]), np.float32)
    for index, matrix in enumerate(np.linalg.inv(affine) @ motion):
        where = apply_affine(matrix, points)
        coefficients = ndimage.spline_filter(data[..., index], order=3, output=np.float32, mode="mirror")
        ndimage.map_coordinates(coefficients, where, rows[index], order=3, prefilter=False, mode="mirror")
    return rows


def inside_image(shape: tuple[int, ...], affine: Floats, points: Floats, margin: float = 0.5) -> NDArray[np.bool_]:
    """Which points ``(3, n)`` lie within the voxels of an image."""
    where = apply_affine(np.linalg.inv(affine), points)
    limit = np.array(shape[:3])[:, None] - 1
    return np.asarray(((where >= -margin) & (where <= limit + margin)).all(0))


def write_series(
    path: Path, grid: Grid, mask: NDArray[np.bool_], rows: NDArray[np.float32], repetition_time: float
) -> None:
    """Write masked series as a 4-D float32 image, one volume at a time, at gzip level 1.

    Parameters
    ----------
    path : Path
    grid : Grid
    mask : ndarray of bool, shape grid.shape
    rows : ndarray of float32, shape (n_volumes, n_mask)
    repetition_time : float
        Seconds.
    """
    header = nib.Nifti1Image(np.broadcast_to(np.float32(0), (*grid.shape, len(rows))), grid.affine).header
    header.set_xyzt_units("mm", "sec")
    header.set_sform(grid.affine, 4)
    header.set_qform(grid.affine, 4)
    header.set_zooms((*header.get_zooms()[:3], repetition_time))
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 352
    volume = np.zeros(grid.shape, np.float32)
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as stream:
        header.write_to(stream)
        for row in rows:
            volume[mask] = row
            stream.write(volume.tobytes(order="F"))
