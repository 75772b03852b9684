"""The T1w image: conform, bias field, brain mask, tissues, normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ants
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.preprocessing.files import load_image, load_mask, save_image
from ban_bids.preprocessing.masks import head_mask, largest_component, tissue_probabilities
from ban_bids.preprocessing.register import (
    bias_corrected,
    from_ants,
    normalize,
    resample_to,
    template_mask_back,
    to_ants,
)
from ban_bids.preprocessing.template import template_brain
from ban_bids.preprocessing.transforms import sample

Floats = NDArray[np.floating[Any]]
_WORKING = 2.0


def conform(path: Path) -> tuple[NDArray[np.float32], Floats]:
    """Read a T1w image, turn its axes to RAS and set values that are not finite to 0.

    Raises
    ------
    DataError
        Unreadable, not 3-D, or constant.
    """
    try:
        image = nib.as_closest_canonical(nib.load(path))
        data = np.asarray(image.dataobj, np.float32)
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch the file again") from error
    data = data.reshape([n for n in data.shape if n > 1])
    if data.ndim != 3:
        raise DataError(f"{path}: a 3-D T1w image is needed, shape is {image.shape}")
    data = np.nan_to_num(data, posinf=0.0, neginf=0.0)
    if float(np.ptp(data)) == 0.0:
        raise DataError(f"{path}: the image is constant; replace it")
    return data, np.asarray(image.affine, float)


def prepare_t1w(path: Path, folder: Path) -> dict[str, Path]:
    """Bias-corrected T1w image, brain mask and tissue probabilities.

    The mask is the template's, brought back by registering the whole head, bias-corrected at 2 mm, to the
    brain-only template.

    Returns
    -------
    dict
        ``t1w``, ``mask``, ``csf``, ``gm``, ``wm``: images on the conformed T1w grid.
    """
    data, affine = conform(path)
    full = to_ants(data, affine)
    small = resample_to(full, _WORKING)
    head = head_mask(small.numpy())
    flat = bias_corrected(small, head, folder)
    template = resample_to(ants.image_read(str(template_brain())), _WORKING)
    rough = template_mask_back(flat, template, folder)
    brain_small = ndimage.binary_fill_holes(largest_component(rough.numpy() > 0.5)) & head
    # The field found at 2 mm inside the brain, carried to the full grid: a bias field is smooth.
    flat = bias_corrected(small, ndimage.binary_dilation(brain_small, iterations=1), folder)
    ratio = np.where(
        flat.numpy() > 1e-3, np.maximum(small.numpy(), 1e-3) / np.maximum(flat.numpy(), 1e-3), 1.0
    )
    _, small_affine = from_ants(small)
    grid = ants.resample_image_to_target(
        small.new_image_like(ratio.astype(np.float32)), full, "linear"
    ).numpy()
    corrected = data / np.clip(grid, 0.2, 5.0)
    soft = ndimage.gaussian_filter(brain_small.astype(np.float32), 0.5)
    mask = ants.resample_image_to_target(small.new_image_like(soft), full, "linear").numpy() > 0.5
    tissues = tissue_probabilities(corrected.astype(np.float32), mask)
    result = {"t1w": save_image(folder / "t1w.nii.gz", corrected, affine)}
    result["mask"] = save_image(folder / "mask.nii.gz", mask, affine)
    for name, values in zip(("csf", "gm", "wm"), tissues):
        result[name] = save_image(folder / f"{name}.nii.gz", values, affine)
    return result


def normalize_t1w(t1w: Path, mask: Path, folder: Path) -> tuple[dict[str, Path], float]:
    """Affine + SyN of the T1w brain to the template at 2 mm.

    Returns
    -------
    files : dict
        See :func:`ban_bids.preprocessing.register.normalize`.
    correlation : float
        Of the warped brain with the template inside the template's mask.
    """
    data, affine = load_image(t1w)
    brain = resample_to(to_ants(data * load_mask(mask), affine), _WORKING)
    template = resample_to(ants.image_read(str(template_brain())), _WORKING)
    files = normalize(brain, template, folder)
    warped, target = load_image(files["warped"])[0], template.numpy()
    inside = target > 1e-3
    return files, float(np.corrcoef(warped[inside], target[inside])[0, 1])


def averaged_at(path: Path, points: Floats, voxel: float) -> NDArray[np.float32]:
    """A probability image at world points, averaged over an output voxel first so that none is skipped."""
    data, affine = load_image(path)
    own = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = 0.35 * np.sqrt(np.maximum(voxel**2 - own**2, 0.0)) / own
    return sample(ndimage.gaussian_filter(data, sigma), affine, points)
