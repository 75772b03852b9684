"""No T1w image: the first run's BOLD reference stands for it, the template's tissues for its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.preprocessing.anatomy import cropped_template
from ban_bids.preprocessing.files import load_image, save_image
from ban_bids.preprocessing.masks import count_non_steady, epi_mask, tissue_probabilities
from ban_bids.preprocessing.space.realign import realign
from ban_bids.preprocessing.space.register import bias_corrected, from_ants, normalize, resample_to, to_ants
from ban_bids.preprocessing.space.resample import load_run
from ban_bids.preprocessing.space.template import Grid, template_brain
from ban_bids.preprocessing.space.transforms import Normalization, sample
from ban_bids.typing import Floats

_WORKING = 2.0
_TISSUES = ("csf", "gm", "wm")
_VOLUMES = 20

WARNING = (
    "no T1w image: BOLD was registered to the template itself; regions and grey matter rest on the template; "
    "take the scores with care"
)


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
        What :func:`ban_bids.preprocessing.anatomy.prepare_t1w` and
        :func:`ban_bids.preprocessing.space.register.normalize` give, on a grid of 2 mm in the run's world;
        ``reference`` (on the run's grid) and ``matrix`` (identity), to which runs are aligned.
    correlation : float
        Multiple correlation of the warped reference with the template's tissue probabilities: the contrast
        of BOLD is another than the template's.
    """
    reference, mask, affine = _reference(bold, dummy_scans)
    files = {"reference": save_image(folder / "reference.nii.gz", reference, affine)}
    files["matrix"] = folder / "identity.txt"
    np.savetxt(files["matrix"], np.eye(4), fmt="%.10f")
    image = resample_to(to_ants(reference, affine), _WORKING)
    inside = resample_to(to_ants(mask.astype(np.float32), affine), _WORKING).numpy() > 0.5
    flat = bias_corrected(image, ndimage.binary_dilation(inside), folder)
    files |= normalize(flat.new_image_like(flat.numpy() * inside), cropped_template(), folder)
    values, grid_affine = from_ants(flat)
    files["t1w"] = save_image(folder / "t1w.nii.gz", values, grid_affine)
    tissues, tissue_affine = _template_tissues()
    points = Normalization.load(files["affine"], files["warp"], files["inverse_warp"]).t1w_to_template(
        Grid(values.shape, grid_affine).points()
    )
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
    few = steady[np.linspace(0, len(steady) - 1, min(_VOLUMES, len(steady))).astype(int)]
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
    points = Grid(values.shape, affine).points()
    parts = {name: sample(part, tissue_affine, points) for name, part in tissues.items()}
    chosen = (parts["mask"] > 0.5) & (values.ravel() > 0)
    design = np.column_stack([np.ones(int(chosen.sum())), *(parts[name][chosen] for name in _TISSUES)])
    seen = values.ravel()[chosen].astype(float)
    fitted = design @ np.linalg.lstsq(design, seen, rcond=None)[0]
    return float(np.corrcoef(fitted, seen)[0, 1])
