"""Small file helpers of preprocessing: images and their addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ban_bids.typing import Floats


def save_image(path: Path, data: NDArray[Any], affine: Floats) -> Path:
    """Write a 3-D image; masks and labels as uint8, everything else as float32."""
    small = data.dtype == bool or np.issubdtype(data.dtype, np.integer)
    image = nib.Nifti1Image(data.astype(np.uint8 if small else np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def load_image(path: Path | str) -> tuple[NDArray[np.float32], Floats]:
    """3-D image as float32 with its affine."""
    image = nib.load(path)
    return np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float)


def load_mask(path: Path | str) -> NDArray[np.bool_]:
    """3-D mask as bool."""
    return np.asarray(nib.load(path).dataobj) > 0.5


def raw_uri(path: Path, root: Path) -> str:
    """BIDS URI of a file of the raw dataset."""
    inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return f"bids:raw:{inside}"
