"""The anatomy: T1w images averaged, bias-corrected, masked, segmented and normalised; or BOLD in their place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ants
import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.linear_model import LinearRegression

from ban_bids.errors import DataError
from ban_bids.files.images import read_through
from ban_bids.preprocessing.files import load_image, load_mask, save_image
from ban_bids.preprocessing.functional import reference_and_motion
from ban_bids.preprocessing.masks import head_mask, largest_component, tissue_probabilities
from ban_bids.preprocessing.space.register import (
    bias_corrected,
    from_ants,
    normalize,
    resample_to,
    rigid,
    template_mask_back,
    to_ants,
)
from ban_bids.preprocessing.space.template import Grid, template_brain
from ban_bids.preprocessing.space.transforms import Normalization, averaged, sample
from ban_bids.typing import Floats

_SLOPPY = (100, 70, 50, 0)
_WORKING = 2.0  # mm
_TISSUES = ("csf", "gm", "wm")

FEWEST_ALIKE = 0.8
"""Correlation inside the head, at 2 mm, under which an image does not join the average."""

WITHOUT_T1W = (
    "no T1w image: BOLD was registered to the template itself; regions and grey matter rest on the template; "
    "take the scores with care"
)


Image = tuple[NDArray[np.float32], Floats]
"""Values and their affine."""


def conform(path: Path) -> Image:
    """Read a T1w image in RAS, with 0 for what is not finite, at 1 mm where its voxels are finer than 0.9 mm.

    Raises
    ------
    DataError
        Unreadable, not 3-D, or constant.
    """
    with read_through(path) as found:
        image = nib.as_closest_canonical(nib.squeeze_image(found))
        data = np.nan_to_num(np.asarray(image.dataobj, np.float32), posinf=0.0, neginf=0.0)
    if data.ndim != 3:
        raise DataError(f"{path}: a 3-D T1w image is needed, shape is {image.shape}")
    if float(np.ptp(data)) == 0.0:
        raise DataError(f"{path}: the image is constant; replace it")
    affine = np.asarray(image.affine, float)
    voxel = voxel_sizes(affine)
    if (voxel >= 0.9).all():
        return data, affine
    factor = np.where(voxel < 0.9, 1.0 / voxel, 1.0)
    smooth = ndimage.gaussian_filter(data, 0.35 * np.sqrt(np.maximum(factor**2 - 1, 0)), truncate=3.0)
    shape = tuple(int(n) for n in np.ceil(np.array(data.shape) / factor))
    scale = np.diag([*factor, 1.0])
    return ndimage.affine_transform(smooth, scale[:3, :3], output_shape=shape, order=1), affine @ scale


# ---- several T1w images


def average_t1w(paths: Sequence[Path], folder: Path) -> tuple[Path, tuple[Path, ...], tuple[str, ...]]:
    """Average T1w images on the grid of the first that can be read.

    Each is aligned rigidly, scaled to the first inside the head and interpolated once (cubic splines); a
    voxel that only some images cover is the mean of those.

    Parameters
    ----------
    paths : sequence of Path
    folder : Path
        Where the average is written.

    Returns
    -------
    image : Path
        The average, or the only image that was left.
    used : tuple of Path
    notes : tuple of str
        What was averaged, and what was left out and why.

    Raises
    ------
    DataError
        No image can be read.
    """
    if len(paths) == 1:
        return paths[0], tuple(paths), ()
    images, notes = _readable(paths)
    (reference, first), *others = images.items()
    small = resample_to(to_ants(*first), _WORKING)
    head = head_mask(small.numpy())
    used, aligned = [reference], [first[0]]
    for path, image in others:
        coarse = resample_to(to_ants(*image), _WORKING)
        matrix = rigid(small, coarse, folder)
        moved = _moved(from_ants(coarse), from_ants(small), matrix)
        seen = head & np.isfinite(moved)
        expected, values = small.numpy()[seen].astype(float), moved[seen].astype(float)
        correlation = np.corrcoef(expected, values)[0, 1]
        if not correlation >= FEWEST_ALIKE:
            notes.append(
                f"{path.name}: left out of the T1w average; it does not fit {reference.name} "
                f"(r {correlation:.2f}, at least {FEWEST_ALIKE} is needed)"
            )
            continue
        aligned.append(np.float32(expected @ values / (values @ values)) * _moved(image, first, matrix))
        used.append(path)
    if len(used) == 1:
        return reference, (reference,), tuple(notes)
    average = save_image(folder / "average.nii.gz", np.nanmean(aligned, axis=0), first[1])
    notes.append(f"T1w image: average of {len(used)} ({', '.join(path.name for path in used)})")
    return average, tuple(used), tuple(notes)


def _readable(paths: Sequence[Path]) -> tuple[dict[Path, Image], list[str]]:
    images: dict[Path, Image] = {}
    errors: dict[Path, DataError] = {}
    for path in paths:
        try:
            images[path] = conform(path)
        except DataError as error:
            errors[path] = error
    if not images:
        raise errors[paths[0]]
    return images, [f"{path.name}: left out of the T1w average; {error}" for path, error in errors.items()]


def _moved(image: Image, like: Image, matrix: Floats) -> NDArray[np.float32]:
    """Image on another's grid (the other's world → the image's), NaN where it does not cover that grid."""
    (data, affine), (values, target) = image, like
    move = np.linalg.inv(affine) @ matrix @ target
    moved = ndimage.affine_transform(data, move[:3, :3], move[:3, 3], values.shape, order=3, cval=np.nan)
    return np.clip(moved, data.min(), data.max())  # splines overshoot at edges


# ---- from the T1w image to the template


def cropped_template() -> ants.ANTsImage:
    """The template's brain at 2 mm, cut to its box and four voxels: registration costs by the voxel."""
    template = resample_to(ants.image_read(str(template_brain())), _WORKING)
    box = ndimage.binary_dilation(template.numpy() > 1e-3, iterations=4)
    return ants.crop_image(template, template.new_image_like(box.astype(np.float32)))


def prepare_t1w(path: Path, folder: Path) -> dict[str, Path]:
    """Bias-corrected T1w image, brain mask and tissue probabilities.

    The mask is the template's, brought back by registering the whole head, bias-corrected at 2 mm, to the
    brain-only template. The bias field is smooth: it is fitted at 2 mm inside the brain and interpolated.

    Returns
    -------
    dict
        ``t1w``, ``mask``, ``csf``, ``gm``, ``wm``: images on the conformed T1w grid, see :func:`conform`.
    """
    data, affine = conform(path)
    small = resample_to(to_ants(data, affine), _WORKING)
    head = head_mask(small.numpy())
    rough = template_mask_back(bias_corrected(small, head, folder), cropped_template(), folder)
    brain = ndimage.binary_fill_holes(largest_component(rough.numpy() > 0.5)) & head
    flat = bias_corrected(small, ndimage.binary_dilation(brain, iterations=1), folder).numpy()
    field = np.where(flat > 1e-3, np.maximum(small.numpy(), 1e-3) / np.maximum(flat, 1e-3), 1.0)
    move = np.linalg.inv(from_ants(small)[1]) @ affine

    def at_full_resolution(values: Floats) -> NDArray[np.float32]:
        """Linear interpolation; the nearest value outside."""
        part = values.astype(np.float32)
        return ndimage.affine_transform(part, move[:3, :3], move[:3, 3], data.shape, order=1, mode="nearest")

    corrected = np.asarray(data / np.clip(at_full_resolution(field), 0.2, 5.0), np.float32)
    mask = at_full_resolution(ndimage.gaussian_filter(brain.astype(np.float32), 0.5)) > 0.5
    images = {"t1w": corrected, "mask": mask, **dict(zip(_TISSUES, tissue_probabilities(corrected, mask)))}
    return {name: save_image(folder / f"{name}.nii.gz", values, affine) for name, values in images.items()}


def normalize_t1w(t1w: Path, mask: Path, folder: Path, *, sloppy: bool = False) -> tuple[dict[str, Path], float]:
    """Affine + SyN of the T1w brain to the template at 2 mm.

    Parameters
    ----------
    t1w, mask, folder : Path
    sloppy : bool
        Whether the last step stays at 4 mm.

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
    register = partial(normalize, reg_iterations=_SLOPPY) if sloppy else normalize
    files = register(brain, template, folder)
    warped, target = load_image(files["warped"])[0], template.numpy()
    inside = target > 1e-3
    return files, float(np.corrcoef(warped[inside], target[inside])[0, 1])


# ---- no T1w image: the BOLD reference of the first run stands for it, the template's tissues for the person's


def anatomy_from_bold(bold: Path, folder: Path, dummy_scans: int | None = None) -> tuple[dict[str, Path], float]:
    """Normalise a run's reference and bring the template's brain and tissues to it.

    Parameters
    ----------
    bold : Path
        The participant's first run.
    folder : Path
        Where all files go.
    dummy_scans : int, optional
        Volumes before the steady state; detected where not given.

    Returns
    -------
    files : dict
        What :func:`prepare_t1w` and :func:`ban_bids.preprocessing.space.register.normalize` give, on a grid
        of 2 mm in the run's world; ``reference`` (on the run's grid) and ``matrix`` (identity), to which
        runs are aligned.
    correlation : float
        Multiple correlation, inside the brain, of the reference with the template's tissue probabilities: the
        contrast of BOLD is another than the template's.
    """
    files, _, _ = reference_and_motion(bold, folder, dummy_scans)
    image = resample_to(to_ants(*load_image(files["reference"])), _WORKING)
    inside = resample_to(to_ants(*load_image(files["mask"])), _WORKING).numpy() > 0.5
    flat = bias_corrected(image, ndimage.binary_dilation(inside), folder)
    files |= normalize(flat.new_image_like(flat.numpy() * inside), cropped_template(), folder)
    files["matrix"] = folder / "identity.txt"
    np.savetxt(files["matrix"], np.eye(4), fmt="%.10f")
    values, affine = from_ants(flat)
    points = Normalization.load(files["normalization"]).t1w_to_template(Grid.of(values.shape, affine).points())
    template, template_affine = load_image(template_brain())
    brain = template > 1e-3
    parts = zip((*_TISSUES, "mask"), (*tissue_probabilities(template, brain), brain.astype(np.float32)))
    images: dict[str, NDArray[Any]] = {
        name: sample(averaged(part, template_affine, _WORKING), template_affine, points).reshape(values.shape)
        for name, part in parts
    }
    seen = (images["mask"] > 0.5) & inside
    tissues = np.column_stack([images[name][seen] for name in _TISSUES])
    correlation = float(np.sqrt(LinearRegression().fit(tissues, values[seen]).score(tissues, values[seen])))
    images |= {"t1w": values, "mask": images["mask"] > 0.5}
    files |= {name: save_image(folder / f"{name}.nii.gz", part, affine) for name, part in images.items()}
    del files["motion"]
    return files, correlation
