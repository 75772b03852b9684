"""Spatial transforms as points see them: read once, composed, applied to coordinates in numpy; ITK's files.

World coordinates are RAS millimetres. ITK's own files are LPS; the conversion happens here.

Composite transforms (.h5), as antsApplyTransforms and fMRIPrep's users take them, are written here: antspyx
writes such files too, but as uncompressed doubles, with the time and the machine's system in them; these hold
single precision, compressed, and are the same bytes for the same transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec, voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.preprocessing.files import load_image
from ban_bids.typing import Floats

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Between RAS and LPS."""

_LPS = np.array([-1, -1, 1], np.float32)


def itk_affine(parameters: Floats, fixed: Floats) -> Floats:
    """4 × 4 RAS matrix of an ITK matrix-offset transform.

    Parameters
    ----------
    parameters : ndarray, shape (12,)
        Row-major 3 × 3 matrix, then translation.
    fixed : ndarray, shape (3,)
        Centre: ``y = M (x − c) + t + c`` in LPS.
    """
    matrix = np.reshape(parameters[:9], (3, 3))
    return FLIP @ from_matvec(matrix, parameters[9:12] + fixed - matrix @ fixed) @ FLIP


def itk_parameters(matrix: Floats) -> Floats:
    """Inverse of :func:`itk_affine` for a centre at the origin: ``(12,)``, LPS."""
    turned = FLIP @ matrix @ FLIP
    return np.concatenate([turned[:3, :3].ravel(), turned[:3, 3]])


def itk_text(matrices: Sequence[Floats]) -> str:
    """ITK's text file of affine transforms, one after another.

    Parameters
    ----------
    matrices : sequence of ndarray, shape (4, 4)
        RAS mm, from the points of the output image to those of the input image.
    """
    text = "#Insight Transform File V1.0\n"
    for number, matrix in enumerate(matrices):
        values = " ".join(f"{value:.15g}" for value in itk_parameters(np.asarray(matrix)))
        text += f"#Transform {number}\nTransform: AffineTransform_double_3_3\nParameters: {values}\n"
        text += "FixedParameters: 0 0 0\n"
    return text


def apply_affine(matrix: Floats, points: NDArray[Any]) -> Floats:
    """Points ``(3, n)`` through a 4 × 4 matrix."""
    return matrix[:3, :3] @ points + matrix[:3, 3:]


@dataclass(frozen=True)
class Displacement:
    """Displacement field: ``field`` (3, nx, ny, nz) in RAS mm on the grid of ``affine``."""

    field: NDArray[np.float32]
    affine: Floats

    @classmethod
    def load(cls, path: Path | str) -> Displacement:
        """Read an ITK displacement field (5-D NIfTI, LPS vectors)."""
        image = nib.load(path)
        vectors = np.asarray(image.dataobj, np.float32).reshape(*image.shape[:3], 3)
        return cls(np.moveaxis(vectors * _LPS, -1, 0), image.affine)

    def save(self, path: Path) -> Path:
        """Write as an ITK displacement field, which :meth:`load` reads."""
        vectors = np.moveaxis(self.field, 0, -1) * _LPS
        image = nib.Nifti1Image(vectors[:, :, :, None, :].astype(np.float32), self.affine)
        image.header.set_intent("vector")
        nib.save(image, path)
        return path

    def __call__(self, points: Floats) -> Floats:
        """Displaced points ``(3, n)``; linear interpolation, nearest value outside the grid."""
        where = apply_affine(np.linalg.inv(self.affine), points)
        moved = [ndimage.map_coordinates(part, where, order=1, mode="nearest") for part in self.field]
        return points + np.array(moved)


@dataclass(frozen=True)
class Normalization:
    """T1w ↔ template, as found by affine + SyN.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Template world (after the warp) → T1w world.
    warp, inverse_warp : Displacement
        On the template's grid.
    """

    affine: Floats
    warp: Displacement
    inverse_warp: Displacement

    @classmethod
    def load(cls, path: Path | str) -> Normalization:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            fields = (Displacement(stored[name], stored["grid"]) for name in ("warp", "inverse_warp"))
            return cls(stored["affine"], *fields)

    def save(self, path: Path) -> Path:
        """Write to an npz file."""
        grid, warp, inverse = self.warp.affine, self.warp.field, self.inverse_warp.field
        np.savez(path, affine=self.affine, grid=grid, warp=warp, inverse_warp=inverse)
        return path

    def template_to_t1w(self, points: Floats) -> Floats:
        """Template points ``(3, n)`` in T1w coordinates."""
        return apply_affine(self.affine, self.warp(points))

    def t1w_to_template(self, points: Floats) -> Floats:
        """T1w points ``(3, n)`` in template coordinates."""
        return self.inverse_warp(apply_affine(np.linalg.inv(self.affine), points))


def write_composite(path: Path, steps: Sequence[Floats | Displacement]) -> Path:
    """Write 4 × 4 matrices and displacement fields as one ITK transform.

    Parameters
    ----------
    path : Path
        Ends in ``.h5``.
    steps : sequence of ndarray, shape (4, 4), or Displacement
        RAS mm, in the order in which a point of the output image goes through them.
    """

    def write(number: int, kind: str, fixed: Floats | None = None, **parameters: Any) -> None:
        group = file.create_group(f"TransformGroup/{number}")
        name = f"{kind}Transform_float_3_3"
        group.create_dataset("TransformType", data=[name], dtype=h5py.string_dtype("ascii"))
        if fixed is not None:
            group["TransformFixedParameters"] = fixed
            group.create_dataset("TransformParameters", **parameters)

    content = BytesIO()  # on a full disk HDF5 takes the whole process with it
    with h5py.File(content, "w") as file:
        write(0, "Composite")
        # ITK applies the last transform of the queue first
        for number, step in enumerate(reversed(steps), 1):
            if isinstance(step, Displacement):
                vectors = np.ascontiguousarray(np.transpose(step.field, (3, 2, 1, 0)) * _LPS, np.float32)
                grid = np.concatenate([step.field.shape[1:], *map(np.ravel, itk_grid(step.affine))])
                write(number, "DisplacementField", grid, data=vectors.ravel(), compression="gzip")
            else:
                write(number, "Affine", np.zeros(3), data=itk_parameters(step))
    path.write_bytes(content.getbuffer())
    return path


def itk_grid(affine: Floats) -> tuple[Floats, Floats, Floats]:
    """Origin, spacing and direction (3 × 3) of a grid, LPS."""
    spacing = voxel_sizes(affine)
    turned = FLIP @ affine
    return turned[:3, 3], spacing, turned[:3, :3] / spacing


def sample(
    data: NDArray[Any], affine: Floats, points: Floats, order: int = 1, outside: float = 0.0
) -> NDArray[np.float32]:
    """Values of a 3-D image at world points ``(3, n)``."""
    where = apply_affine(np.linalg.inv(affine), points)
    return ndimage.map_coordinates(data, where, np.float32, order=order, cval=outside)


def averaged(data: NDArray[np.float32], affine: Floats, voxel: float) -> NDArray[np.float32]:
    """Smooth an image about as if its voxels had another, larger size, mm."""
    side = voxel_sizes(affine)
    return ndimage.gaussian_filter(data, 0.35 * np.sqrt(np.maximum(voxel**2 - side**2, 0.0)) / side)


def averaged_at(path: Path | str, points: Floats, voxel: float) -> NDArray[np.float32]:
    """Values of an image at world points, averaged over an output voxel (mm) first so that none is skipped."""
    data, affine = load_image(path)
    return sample(averaged(data, affine, voxel), affine, points)
