"""Registration and bias correction by ANTs: arrays and files in RAS, one thread, one seed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ants
import numpy as np
from nibabel.affines import from_matvec
from numpy.typing import NDArray

from ban_bids.files.room import told_when_full
from ban_bids.preprocessing.space.transforms import (
    FLIP,
    Displacement,
    Normalization,
    itk_affine,
    itk_grid,
    write_composite,
)
from ban_bids.typing import Floats

_SEED = 1


@contextmanager
def ants_folder(parent: Path) -> Iterator[None]:
    """Make antspyx write into a new folder under ``parent``; remove it at the end."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="ants-", dir=parent, ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            with told_when_full(Path(folder)):  # ITK cuts a file short without a word
                yield
        finally:
            tempfile.tempdir = before


def to_ants(data: NDArray[Any], affine: Floats) -> ants.ANTsImage:
    """ANTs image (LPS) of an array in RAS world coordinates."""
    origin, spacing, direction = itk_grid(affine)
    array = np.ascontiguousarray(data, np.float32)
    return ants.from_numpy(array, origin=tuple(origin), spacing=tuple(spacing), direction=direction)


def from_ants(image: ants.ANTsImage) -> tuple[NDArray[np.float32], Floats]:
    """Array and RAS affine of an ANTs image."""
    affine = FLIP @ from_matvec(image.direction * image.spacing, image.origin)
    return image.numpy().astype(np.float32), affine


def resample_to(image: ants.ANTsImage, millimetres: float) -> ants.ANTsImage:
    """Linear resampling to isotropic voxels, smoothed first where that is coarser."""
    ratio = millimetres / np.array(image.spacing)
    if (ratio > 1.5).any():
        sigma = tuple(float(s) for s in np.where(ratio > 1.5, 0.4 * millimetres, 1e-3))
        image = ants.smooth_image(image, sigma, sigma_in_physical_coordinates=True)
    return ants.resample_image(image, (millimetres,) * 3, use_voxels=False, interp_type=0)


def bias_corrected(image: ants.ANTsImage, mask: NDArray[np.bool_], folder: Path) -> ants.ANTsImage:
    """N4 within a mask, fitted at 6 mm or so, applied at full resolution."""
    with ants_folder(folder):
        shrink = max(1, round(6.0 / float(np.mean(image.spacing))))
        weight = image.new_image_like(mask.astype(np.float32))
        lifted = image.new_image_like(np.maximum(image.numpy(), 1e-3).astype(np.float32))
        return ants.n4_bias_field_correction(
            lifted, mask=weight, shrink_factor=shrink, convergence={"iters": [20] * 3, "tol": 1e-6}
        )


def rigid(fixed: ants.ANTsImage, moving: ants.ANTsImage, folder: Path, **masks: Any) -> Floats:
    """Rigid registration by mutual information.

    Parameters
    ----------
    fixed, moving : ANTsImage
    folder : Path
        For temporary files.
    **masks
        Of :func:`ants.registration`.

    Returns
    -------
    ndarray, shape (4, 4)
        Fixed world → moving world, mm, RAS.
    """
    with _registered(fixed, moving, folder, type_of_transform="Rigid", aff_metric="mattes", **masks) as result:
        return _read_affine(result["fwdtransforms"][0])


@contextmanager
def _registered(
    fixed: ants.ANTsImage, moving: ants.ANTsImage, folder: Path, **options: Any
) -> Iterator[dict[str, Any]]:
    """What :func:`ants.registration` gives; its files are there inside the context only."""
    with ants_folder(folder):
        yield ants.registration(fixed, moving, random_seed=_SEED, **options)


def shift_along(
    fixed: ants.ANTsImage, moving: ants.ANTsImage, mask: ants.ANTsImage, *, axis: int, folder: Path
) -> NDArray[np.float32]:
    """SyN on mutual information that moves along one axis of ITK's world only, and smoothly.

    Returns
    -------
    ndarray, shape fixed.shape
        Shift, mm, from places in ``fixed`` to those in ``moving``.
    """
    options = {
        "type_of_transform": "SyNOnly",
        "syn_metric": "mattes",
        "syn_sampling": 32,  # bins of the histogram
        "reg_iterations": (100, 50, 20),
        "flow_sigma": 10.0,  # variances of the Gaussians that smooth step and field, voxels²
        "total_sigma": 2.0,
        "restrict_transformation": tuple(int(n == axis) for n in range(3)),
    }
    with _registered(fixed, moving, folder, mask=mask, **options) as result:
        vectors = ants.image_read(_ending(result["fwdtransforms"], "Warp.nii.gz")).numpy()
    return np.asarray(vectors[..., axis], np.float32)


def template_mask_back(head: ants.ANTsImage, template: ants.ANTsImage, folder: Path) -> ants.ANTsImage:
    """Brain mask of a whole head: register it to the brain-only template, bring the template's mask back.

    Parameters
    ----------
    head, template : ANTsImage
        Both at 2 mm, the head bias-corrected.
    folder : Path
        For temporary files.

    Returns
    -------
    ANTsImage
        Mask (0/1) on the head's grid.
    """
    inside = ants.threshold_image(template, 1e-3, 1e9)
    with _registered(template, head, folder, type_of_transform="SyN", reg_iterations=(40, 20, 0)) as result:
        return ants.apply_transforms(head, inside, result["invtransforms"], interpolator="genericLabel")


def normalize(
    brain: ants.ANTsImage,
    template: ants.ANTsImage,
    folder: Path,
    *,
    reg_iterations: tuple[int, ...] = (100, 70, 50, 20),
) -> dict[str, Path]:
    """Affine and SyN of a brain to the template, both at 2 mm.

    Parameters
    ----------
    brain, template : ANTsImage
    folder : Path
        For all files.
    reg_iterations : tuple of int
        Of SyN at 16, 8, 4 and 2 mm; three quarters of the time are the last ones'.

    Returns
    -------
    dict
        ``normalization`` (see :class:`ban_bids.preprocessing.space.transforms.Normalization`), ``warped`` (the
        brain in the template's space at 2 mm), ``to_template`` and ``from_template`` (both steps in one ITK
        composite each, as antsApplyTransforms takes them).
    """
    warped = folder / "warped.nii.gz"
    with _registered(template, brain, folder, type_of_transform="Affine") as affine:
        options = {"reg_iterations": reg_iterations, "initial_transform": affine["fwdtransforms"][0]}
        with _registered(template, brain, folder, type_of_transform="SyNOnly", **options) as result:
            matrix = _read_affine(_ending(result["fwdtransforms"], ".mat"))
            warp = Displacement.load(_ending(result["fwdtransforms"], "Warp.nii.gz"))
            inverse = Displacement.load(_ending(result["invtransforms"], "InverseWarp.nii.gz"))
            ants.image_write(result["warpedmovout"], str(warped))
    return {
        "normalization": Normalization(np.round(matrix, 10), warp, inverse).save(folder / "normalization.npz"),
        "warped": warped,
        # steps in the order in which the output image's points take them
        "to_template": write_composite(folder / "to_template.h5", [warp, matrix]),
        "from_template": write_composite(folder / "from_template.h5", [np.linalg.inv(matrix), inverse]),
    }


def _ending(names: list[str], end: str) -> str:
    return next(name for name in names if name.endswith(end))


def _read_affine(path: str) -> Floats:
    """4 × 4 RAS matrix of an ITK affine file."""
    transform = ants.read_transform(path)
    return itk_affine(np.array(transform.parameters), np.array(transform.fixed_parameters))
