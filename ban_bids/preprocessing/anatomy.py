"""The T1w image: conform, bias field, brain mask, tissues, normalisation."""

from __future__ import annotations

from pathlib import Path

import ants
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.preprocessing.files import load_image, load_mask, save_image
from ban_bids.preprocessing.masks import head_mask, largest_component, tissue_probabilities
from ban_bids.preprocessing.space.register import (
    bias_corrected,
    from_ants,
    normalize,
    resample_to,
    template_mask_back,
    to_ants,
)
from ban_bids.preprocessing.space.template import template_brain
from ban_bids.preprocessing.space.transforms import sample
from ban_bids.typing import Floats

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


def cropped_template(margin: int = 4) -> ants.ANTsImage:
    """The template's brain at 2 mm, cut to its box and some voxels: registration costs by the voxel."""
    template = resample_to(ants.image_read(str(template_brain())), _WORKING)
    present = np.array(np.nonzero(template.numpy() > 1e-3))
    low = np.maximum(present.min(1) - margin, 0)
    high = np.minimum(present.max(1) + margin + 1, template.shape)
    return ants.crop_indices(template, [int(n) for n in low], [int(n) for n in high])


def prepare_t1w(path: Path, folder: Path) -> dict[str, Path]:
    """Bias-corrected T1w image, brain mask and tissue probabilities.

    The mask is the template's, brought back by registering the whole head, bias-corrected at 2 mm, to the
    brain-only template. The bias field is smooth: it is fitted at 2 mm inside the brain and interpolated.

    Returns
    -------
    dict
        ``t1w``, ``mask``, ``csf``, ``gm``, ``wm``: images on the conformed T1w grid, or on one of 1 mm
        where that is finer (what later steps need; fewer voxels to move about).
    """
    data, affine = working_grid(*conform(path))
    full = to_ants(data, affine)
    small = resample_to(full, _WORKING)
    head = head_mask(small.numpy())
    template = cropped_template()
    rough = template_mask_back(bias_corrected(small, head, folder), template, folder)
    brain = ndimage.binary_fill_holes(largest_component(rough.numpy() > 0.5)) & head
    flat = bias_corrected(small, ndimage.binary_dilation(brain, iterations=1), folder).numpy()
    field = np.where(flat > 1e-3, np.maximum(small.numpy(), 1e-3) / np.maximum(flat, 1e-3), 1.0)
    _, small_affine = from_ants(small)
    bias = np.clip(_onto(field, small_affine, data.shape, affine), 0.2, 5.0)
    corrected: NDArray[np.float32] = data / bias
    mask = _onto(ndimage.gaussian_filter(brain.astype(np.float32), 0.5), small_affine, data.shape, affine) > 0.5
    tissues = tissue_probabilities(corrected, mask)
    result = {"t1w": save_image(folder / "t1w.nii.gz", corrected, affine)}
    result["mask"] = save_image(folder / "mask.nii.gz", mask, affine)
    for name, values in zip(("csf", "gm", "wm"), tissues):
        result[name] = save_image(folder / f"{name}.nii.gz", values, affine)
    return result


def working_grid(data: NDArray[np.float32], affine: Floats) -> tuple[NDArray[np.float32], Floats]:
    """The image itself, or resampled to 1 mm where its voxels are finer than 0.9 mm."""
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    if (voxel >= 0.9).all():
        return data, affine
    factor = np.where(voxel < 0.9, 1.0 / voxel, 1.0)
    smooth = ndimage.gaussian_filter(data, 0.35 * np.sqrt(np.maximum(factor**2 - 1, 0)), truncate=3.0)
    shape = tuple(int(n) for n in np.ceil(np.array(data.shape) / factor))
    scale = np.diag([*factor, 1.0])
    return ndimage.affine_transform(smooth, scale[:3, :3], output_shape=shape, order=1), affine @ scale


def _onto(data: NDArray[np.float32], affine: Floats, shape: tuple[int, ...], target: Floats) -> NDArray[np.float32]:
    """Linear interpolation on another grid; the nearest value outside."""
    move = np.linalg.inv(affine) @ target
    return ndimage.affine_transform(
        data.astype(np.float32), move[:3, :3], move[:3, 3], output_shape=shape, order=1, mode="nearest"
    )


def normalize_t1w(t1w: Path, mask: Path, folder: Path) -> tuple[dict[str, Path], float]:
    """Affine + SyN of the T1w brain to the template at 2 mm.

    Returns
    -------
    files : dict
        See :func:`ban_bids.preprocessing.space.register.normalize`.
    correlation : float
        Of the warped brain with the template inside the template's mask.
    """
    data, affine = load_image(t1w)
    brain = resample_to(to_ants(data * load_mask(mask), affine), _WORKING)
    template = cropped_template()
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
