"""ITK composite transforms (.h5), as antsApplyTransforms and fMRIPrep's users take them.

antspyx writes such files too, but as uncompressed doubles, with the time and the machine's system in them;
these hold single precision, compressed, and are the same bytes for the same transform.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ants
import h5py
import numpy as np
from numpy.typing import NDArray

from ban_bids.preprocessing.space.transforms import Displacement, itk_affine, itk_parameters
from ban_bids.typing import Floats

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


_SEED = 1


@contextmanager
def ants_folder(parent: Path) -> Iterator[Path]:
    """Make antspyx write into a new folder under ``parent``; remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ants-", dir=parent))
    before = tempfile.tempdir
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def to_ants(data: NDArray[np.float32], affine: Floats) -> ants.ANTsImage:
    """ANTs image (LPS) of an array in RAS world coordinates."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return ants.from_numpy(
        np.ascontiguousarray(data, np.float32),
        origin=tuple(_FLIP @ affine[:3, 3]),
        spacing=tuple(spacing),
        direction=_FLIP @ (affine[:3, :3] / spacing),
    )


def from_ants(image: ants.ANTsImage) -> tuple[NDArray[np.float32], Floats]:
    """Array and RAS affine of an ANTs image."""
    affine = np.eye(4)
    affine[:3, :3] = _FLIP @ image.direction @ np.diag(image.spacing)
    affine[:3, 3] = _FLIP @ np.array(image.origin)
    return image.numpy().astype(np.float32), affine


def resample_to(image: ants.ANTsImage, millimetres: float) -> ants.ANTsImage:
    """Linear resampling to isotropic voxels, smoothed first where that is coarser."""
    ratio = millimetres / np.array(image.spacing)
    if (ratio > 1.5).any():
        sigma = tuple(float(s) for s in np.where(ratio > 1.5, 0.4 * millimetres, 1e-3))
        image = ants.smooth_image(image, sigma, sigma_in_physical_coordinates=True)
    return ants.resample_image(image, (millimetres,) * 3, use_voxels=False, interp_type=0)


def read_affine(path: str) -> Floats:
    """4 × 4 RAS matrix of an ITK affine file."""
    transform = ants.read_transform(path)
    return itk_affine(np.array(transform.parameters), np.array(transform.fixed_parameters))


def bias_corrected(image: ants.ANTsImage, mask: NDArray[np.bool_], folder: Path) -> ants.ANTsImage:
    """N4 within a mask, fitted at 6 mm or so, applied at full resolution."""
    with ants_folder(folder):
        shrink = max(1, round(6.0 / float(np.mean(image.spacing))))
        weight = image.new_image_like(mask.astype(np.float32))
        lifted = image.new_image_like(np.maximum(image.numpy(), 1e-3).astype(np.float32))
        return ants.n4_bias_field_correction(
            lifted, mask=weight, shrink_factor=shrink, convergence={"iters": [20] * 3, "tol": 1e-6}
        )


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
    with ants_folder(folder):
        found = ants.registration(
            fixed=template,
            moving=head,
            type_of_transform="SyN",
            reg_iterations=(40, 20, 0),
            random_seed=_SEED,
        )
        return ants.apply_transforms(head, inside, found["invtransforms"], interpolator="genericLabel")


def normalize(
    brain: ants.ANTsImage,
    template: ants.ANTsImage,
    folder: Path,
    reg_iterations: tuple[int, ...] = (100, 70, 50, 20),
) -> dict[str, Path]:
    """Affine and SyN of a brain to the template, both at 2 mm.

    Returns
    -------
    dict
        ``affine`` (text, template world → T1w world, RAS), ``warp``, ``inverse_warp`` (ITK fields on the
        template's grid), ``warped`` (the brain in the template's space at 2 mm), ``to_template`` and
        ``from_template`` (both steps in one ITK composite each, as antsApplyTransforms takes them).
    """
    with ants_folder(folder):
        affine = ants.registration(fixed=template, moving=brain, type_of_transform="Affine", random_seed=_SEED)
        found = ants.registration(
            fixed=template,
            moving=brain,
            type_of_transform="SyNOnly",
            reg_iterations=reg_iterations,
            initial_transform=affine["fwdtransforms"][0],
            random_seed=_SEED,
        )
        warp = next(name for name in found["fwdtransforms"] if name.endswith("Warp.nii.gz"))
        linear = next(name for name in found["fwdtransforms"] if name.endswith(".mat"))
        inverse = next(name for name in found["invtransforms"] if name.endswith("InverseWarp.nii.gz"))
        result = {key: folder / name for key, name in _NORMALIZATION_FILES.items()}
        matrix = read_affine(linear)
        np.savetxt(result["affine"], matrix, fmt="%.10f")
        shutil.copyfile(warp, result["warp"])
        shutil.copyfile(inverse, result["inverse_warp"])
        ants.image_write(found["warpedmovout"], str(result["warped"]))
    _write_composites(matrix, result)
    return result


def _write_composites(matrix: Floats, files: Mapping[str, Path]) -> None:
    """Both directions as ITK composites; steps in the order in which the output image's points take them."""
    write_composite(files["to_template"], [Displacement.load(files["warp"]), matrix])
    write_composite(files["from_template"], [np.linalg.inv(matrix), Displacement.load(files["inverse_warp"])])


_NORMALIZATION_FILES = {
    "affine": "affine.txt",
    "warp": "warp.nii.gz",
    "inverse_warp": "inverse_warp.nii.gz",
    "warped": "warped.nii.gz",
    "to_template": "to_template.h5",
    "from_template": "from_template.h5",
}


def coregister(
    bold: ants.ANTsImage,
    bold_mask: ants.ANTsImage,
    t1w: ants.ANTsImage,
    t1w_mask: ants.ANTsImage,
    folder: Path,
) -> Floats:
    """Rigid registration of a BOLD reference to the T1w brain by mutual information, both masked.

    Returns
    -------
    ndarray, shape (4, 4)
        T1w world → BOLD world, mm, RAS.
    """
    masks = {"mask": t1w_mask, "moving_mask": bold_mask, "mask_all_stages": True}
    return _rigid(t1w * t1w_mask, bold * bold_mask, folder, **masks)


def align_heads(moving: ants.ANTsImage, fixed: ants.ANTsImage, folder: Path) -> Floats:
    """Rigid registration of two whole heads by mutual information.

    Returns
    -------
    ndarray, shape (4, 4)
        Fixed world → moving world, mm, RAS.
    """
    return _rigid(fixed, moving, folder)


def _rigid(fixed: ants.ANTsImage, moving: ants.ANTsImage, folder: Path, **masks: Any) -> Floats:
    with ants_folder(folder):
        found = ants.registration(
            fixed=fixed,
            moving=moving,
            type_of_transform="Rigid",
            aff_metric="mattes",
            random_seed=_SEED,
            **masks,
        )
        return read_affine(found["fwdtransforms"][0])
