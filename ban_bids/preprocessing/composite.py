"""ITK composite transforms (.h5), as antsApplyTransforms and fMRIPrep's users take them.

antspyx writes such files too, but as uncompressed doubles, with the time and the machine's system in them;
these hold single precision, compressed, and are the same bytes for the same transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ban_bids.preprocessing.transforms import Displacement, itk_parameters

Floats = NDArray[np.floating[Any]]
_FLIP = np.diag([-1.0, -1.0, 1.0])


def write_composite(path: Path, steps: Sequence[Floats | Displacement]) -> Path:
    """Write 4 × 4 matrices and displacement fields as one ITK transform.

    Parameters
    ----------
    path : Path
        Ends in ``.h5``.
    steps : sequence of ndarray, shape (4, 4), or Displacement
        RAS mm, in the order in which a point of the output image goes through them.
    """
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup")
        _write_type(group.create_group("0"), "CompositeTransform")
        # ITK applies the last transform of the queue first
        for number, step in enumerate(reversed(steps), 1):
            part = group.create_group(str(number))
            if isinstance(step, Displacement):
                _write_type(part, "DisplacementFieldTransform")
                part["TransformFixedParameters"] = _grid(step)
                part.create_dataset("TransformParameters", data=_vectors(step), compression="gzip")
            else:
                _write_type(part, "AffineTransform")
                part["TransformFixedParameters"] = np.zeros(3)
                part["TransformParameters"] = itk_parameters(step)
    return path


def _write_type(group: h5py.Group, name: str) -> None:
    group.create_dataset("TransformType", data=[f"{name}_float_3_3"], dtype=h5py.string_dtype("ascii"))


def _grid(field: Displacement) -> Floats:
    """Size, origin, spacing and direction (row-major) of a field's grid, LPS."""
    spacing = np.linalg.norm(field.affine[:3, :3], axis=0)
    direction = _FLIP @ (field.affine[:3, :3] / spacing)
    origin = _FLIP @ field.affine[:3, 3]
    return np.concatenate([field.field.shape[1:], origin, spacing, direction.ravel()])


def _vectors(field: Displacement) -> NDArray[np.float32]:
    """LPS vectors, one after another, the first axis fastest."""
    vectors = np.transpose(field.field, (3, 2, 1, 0)) * np.array([-1, -1, 1], np.float32)
    return np.ascontiguousarray(vectors, np.float32).ravel()
