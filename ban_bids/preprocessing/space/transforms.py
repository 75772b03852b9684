"""Spatial transforms as points see them: read once, composed, applied to coordinates in numpy.

World coordinates are RAS millimetres. ITK's own files are LPS; the conversion happens here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.typing import Floats

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_affine(parameters: Floats, fixed: Floats) -> Floats:
    """4 × 4 RAS matrix of an ITK matrix-offset transform.

    Parameters
    ----------
    parameters : ndarray, shape (12,)
        Row-major 3 × 3 matrix, then translation.
    fixed : ndarray, shape (3,)
        Centre: ``y = M (x − c) + t + c`` in LPS.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(parameters[:9], (3, 3))
    matrix[:3, 3] = np.asarray(parameters[9:12]) + fixed - matrix[:3, :3] @ fixed
    return _FLIP @ matrix @ _FLIP


def itk_parameters(matrix: Floats) -> Floats:
    """Inverse of :func:`itk_affine` for a centre at the origin: ``(12,)``, LPS."""
    turned = _FLIP @ matrix @ _FLIP
    return np.concatenate([turned[:3, :3].ravel(), turned[:3, 3]])


def itk_text(matrices: Sequence[Floats]) -> str:
    """ITK's text file of affine transforms, one after another.

    Parameters
    ----------
    matrices : sequence of ndarray, shape (4, 4)
        RAS mm, from the points of the output image to those of the input image.
    """
    lines = ["#Insight Transform File V1.0"]
    for number, matrix in enumerate(matrices):
        values = " ".join(f"{value:.15g}" for value in itk_parameters(np.asarray(matrix)))
        lines += [f"#Transform {number}", "Transform: AffineTransform_double_3_3", f"Parameters: {values}"]
        lines.append("FixedParameters: 0 0 0")
    return "\n".join(lines) + "\n"


def apply_affine(matrix: Floats, points: Floats) -> Floats:
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
        field = np.moveaxis(vectors, -1, 0) * np.array([-1, -1, 1], np.float32)[:, None, None, None]
        return cls(field, image.affine)

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
    def load(cls, affine: Path | str, warp: Path | str, inverse_warp: Path | str) -> Normalization:
        """Read the three files that registration keeps."""
        return cls(np.loadtxt(affine), Displacement.load(warp), Displacement.load(inverse_warp))

    def template_to_t1w(self, points: Floats) -> Floats:
        """Template points ``(3, n)`` in T1w coordinates."""
        return apply_affine(self.affine, self.warp(points))

    def t1w_to_template(self, points: Floats) -> Floats:
        """T1w points ``(3, n)`` in template coordinates."""
        return self.inverse_warp(apply_affine(np.linalg.inv(self.affine), points))


def sample(
    data: NDArray[np.float32], affine: Floats, points: Floats, order: int = 1, outside: float = 0.0
) -> NDArray[np.float32]:
    """Values of a 3-D image at world points ``(3, n)``."""
    where = apply_affine(np.linalg.inv(affine), points)
    return ndimage.map_coordinates(
        np.asarray(data), where, order=order, mode="constant", cval=outside, output=np.float32
    )
