"""The anatomy: T1w images averaged, bias-corrected, masked, segmented and normalised; or BOLD in their place."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.preprocessing.files import load_image, load_mask, naming, save_image
from ban_bids.preprocessing.masks import count_non_steady, epi_mask, head_mask, largest_component, tissue_probabilities
from ban_bids.preprocessing.space.realign import realign
from ban_bids.preprocessing.space.register import (
    bias_corrected,
    from_ants,
    normalize,
    resample_to,
    rigid,
    template_mask_back,
    to_ants,
)
from ban_bids.preprocessing.space.resample import load_run
from ban_bids.preprocessing.space.template import Grid, template_brain
from ban_bids.preprocessing.space.transforms import Normalization, apply_affine, sample
from ban_bids.typing import Floats

_LOG = logging.getLogger(__name__)
_WORKING = 2.0  # mm
_TISSUES = ("csf", "gm", "wm")
_REFERENCE_VOLUMES = 20

FEWEST_ALIKE = 0.8
"""Correlation inside the head, at 2 mm, under which an image does not join the average."""

WITHOUT_T1W = (
    "no T1w image: BOLD was registered to the template itself; regions and grey matter rest on the template; "
    "take the scores with care"
)

Image = tuple[NDArray[np.float32], Floats]
"""Values and their affine."""


def conform(path: Path) -> Image:
    """Read a T1w image, turn its axes to RAS and set values that are not finite to 0.

    Raises
    ------
    DataError
        Unreadable, not 3-D, or constant.
    """
    with naming(path):
        image = nib.as_closest_canonical(nib.load(path))
        data = np.asarray(image.dataobj, np.float32)
    data = data.reshape([n for n in data.shape if n > 1])
    if data.ndim != 3:
        raise DataError(f"{path}: a 3-D T1w image is needed, shape is {image.shape}")
    data = np.nan_to_num(data, posinf=0.0, neginf=0.0)
    if float(np.ptp(data)) == 0.0:
        raise DataError(f"{path}: the image is constant; replace it")
    return data, np.asarray(image.affine, float)


def not_finer_than_1mm(data: NDArray[np.float32], affine: Floats) -> Image:
    """The image itself, or resampled to 1 mm where its voxels are finer than 0.9 mm."""
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
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
    total, count = first[0].astype(np.float32), np.ones(first[0].shape, np.uint8)
    used = [reference]
    for path, image in others:
        matrix, gain, correlation = _align(image, first, folder)
        if correlation < FEWEST_ALIKE:
            notes.append(
                f"{path.name}: left out of the T1w average; it does not fit {reference.name} "
                f"(r {correlation:.2f}, at least {FEWEST_ALIKE} is needed)"
            )
            continue
        data, affine = image
        values, covered = _interpolated(data, np.linalg.inv(affine) @ matrix @ first[1], total.shape)
        total += np.float32(gain) * values * covered
        count += covered
        used.append(path)
    result = reference
    if len(used) > 1:
        result = save_image(folder / "average.nii.gz", total / np.maximum(count, 1), first[1])
        notes.append(f"T1w image: average of {len(used)} ({', '.join(path.name for path in used)})")
    for note in notes:
        _LOG.warning(note)
    return result, tuple(used), tuple(notes)


def _readable(paths: Sequence[Path]) -> tuple[dict[Path, Image], list[str]]:
    images: dict[Path, Image] = {}
    errors: dict[Path, DataError] = {}
    for path in paths:
        try:
            images[path] = not_finer_than_1mm(*conform(path))
        except DataError as error:
            errors[path] = error
    if not images:
        raise errors[paths[0]]
    return images, [f"{path.name}: left out of the T1w average; {error}" for path, error in errors.items()]


def _align(image: Image, first: Image, folder: Path) -> tuple[Floats, float, float]:
    """Matrix (first's world → image's world), gain and correlation inside the first's head."""
    fixed, moving = (resample_to(to_ants(*part), _WORKING) for part in (first, image))
    matrix = rigid(fixed, moving, folder)
    values, affine = from_ants(fixed)
    head = head_mask(values)
    points = apply_affine(matrix, Grid.of(values.shape, affine).points()[:, head.ravel()])
    moved = sample(*from_ants(moving), points, outside=np.nan)
    seen = np.isfinite(moved)
    known, moved = values[head][seen].astype(float), moved[seen].astype(float)
    if len(moved) < 100 or not moved.std() > 0:
        return matrix, 0.0, 0.0
    return matrix, float(known @ moved / (moved @ moved)), float(np.corrcoef(known, moved)[0, 1])


def _interpolated(
    data: NDArray[np.float32], move: Floats, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image on another grid, of which ``move`` brings voxels to the image's, and where it covers that grid."""
    where = {"matrix": move[:3, :3], "offset": move[:3, 3], "output_shape": shape}
    covered = ndimage.affine_transform(np.ones(data.shape, np.uint8), **where, order=0)
    values = ndimage.affine_transform(data, **where, order=3, mode="nearest")
    return np.clip(values, data.min(), data.max()), covered  # splines overshoot at edges


# ---- from the T1w image to the template


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
    data, affine = not_finer_than_1mm(*conform(path))
    small = resample_to(to_ants(data, affine), _WORKING)
    head = head_mask(small.numpy())
    rough = template_mask_back(bias_corrected(small, head, folder), cropped_template(), folder)
    brain = ndimage.binary_fill_holes(largest_component(rough.numpy() > 0.5)) & head
    flat = bias_corrected(small, ndimage.binary_dilation(brain, iterations=1), folder).numpy()
    field = np.where(flat > 1e-3, np.maximum(small.numpy(), 1e-3) / np.maximum(flat, 1e-3), 1.0)
    move = np.linalg.inv(from_ants(small)[1]) @ affine

    def at_full_resolution(values: Floats) -> NDArray[np.float32]:
        """Linear interpolation; the nearest value outside."""
        values = values.astype(np.float32)
        where = {"matrix": move[:3, :3], "offset": move[:3, 3], "output_shape": data.shape}
        return ndimage.affine_transform(values, **where, order=1, mode="nearest")

    corrected = np.asarray(data / np.clip(at_full_resolution(field), 0.2, 5.0), np.float32)
    mask = at_full_resolution(ndimage.gaussian_filter(brain.astype(np.float32), 0.5)) > 0.5
    images = {"t1w": corrected, "mask": mask, **dict(zip(_TISSUES, tissue_probabilities(corrected, mask)))}
    return {name: save_image(folder / f"{name}.nii.gz", values, affine) for name, values in images.items()}


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


# ---- no T1w image: the first run's BOLD reference stands for it, the template's tissues for its own


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
        Multiple correlation of the warped reference with the template's tissue probabilities: the contrast
        of BOLD is another than the template's.
    """
    reference, mask, affine = _reference(bold, dummy_scans)
    image = resample_to(to_ants(reference, affine), _WORKING)
    inside = resample_to(to_ants(mask, affine), _WORKING).numpy() > 0.5
    flat = bias_corrected(image, ndimage.binary_dilation(inside), folder)
    files = normalize(flat.new_image_like(flat.numpy() * inside), cropped_template(), folder)
    files["reference"] = save_image(folder / "reference.nii.gz", reference, affine)
    files["matrix"] = folder / "identity.txt"
    np.savetxt(files["matrix"], np.eye(4), fmt="%.10f")
    values, grid_affine = from_ants(flat)
    files["t1w"] = save_image(folder / "t1w.nii.gz", values, grid_affine)
    tissues, tissue_affine = _template_tissues()
    points = Normalization.load(files["normalization"]).t1w_to_template(Grid.of(values.shape, grid_affine).points())
    for name, part in tissues.items():
        brought = sample(part, tissue_affine, points).reshape(values.shape)
        final = brought > 0.5 if name == "mask" else brought
        files[name] = save_image(folder / f"{name}.nii.gz", final, grid_affine)
    return files, _fit(files["warped"], tissues, tissue_affine)


def _reference(bold: Path, dummy_scans: int | None) -> tuple[NDArray[np.float32], NDArray[np.bool_], Floats]:
    """Mean of some realigned steady volumes, its rough brain mask and affine."""
    data, affine, missing, _ = load_run(bold)
    if dummy_scans is None:
        dummy_scans = count_non_steady(data.mean((0, 1, 2), dtype=float))
    steady = np.arange(dummy_scans, data.shape[3])
    few = steady[np.linspace(0, len(steady) - 1, min(_REFERENCE_VOLUMES, len(steady))).astype(int)]
    reference = realign(np.ascontiguousarray(data[..., few]), affine).reference
    return reference, epi_mask(reference) & ~missing, affine


def _template_tissues() -> tuple[dict[str, NDArray[np.float32]], Floats]:
    """Tissue probabilities and brain mask of the template at 1 mm, smoothed for sampling at 2 mm; affine."""
    image, affine = load_image(template_brain())
    brain = image > 1e-3
    parts = dict(zip(_TISSUES, tissue_probabilities(image, brain)), mask=brain.astype(np.float32))
    return {name: ndimage.gaussian_filter(part, 0.6) for name, part in parts.items()}, affine


def _fit(warped: Path, tissues: Mapping[str, NDArray[np.float32]], tissue_affine: Floats) -> float:
    """Multiple correlation of the warped reference with the tissues, inside brain and field of view."""
    values, affine = load_image(warped)
    points = Grid.of(values.shape, affine).points()
    parts = {name: sample(part, tissue_affine, points) for name, part in tissues.items()}
    chosen = (parts["mask"] > 0.5) & (values.ravel() > 0)
    design = np.column_stack([np.ones(int(chosen.sum())), *(parts[name][chosen] for name in _TISSUES)])
    measured = values.ravel()[chosen].astype(float)
    fitted = design @ np.linalg.lstsq(design, measured, rcond=None)[0]
    return float(np.corrcoef(fitted, measured)[0, 1])
