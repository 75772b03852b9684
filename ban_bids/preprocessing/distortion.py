"""Susceptibility distortion of BOLD images, found by registration to the T1w image.

Along the phase-encoding axis echo-planar images are stretched and squeezed where the field is not even. With
no field map the T1w image says where tissue belongs: after the rigid coregistration the BOLD reference is
registered to it once more, nonlinearly, allowed to move along that axis only and smoothly (the idea of Wang
et al. 2017, Front. Neuroinform. 11, 17, and of fMRIPrep's option of the same name). The field joins the chain
of transforms that points go through, so the series is still interpolated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.files import load_image, load_mask
from ban_bids.preprocessing.quality import normalised_mutual_information
from ban_bids.preprocessing.space.register import bias_corrected, shift_along, to_ants
from ban_bids.preprocessing.space.template import Grid
from ban_bids.preprocessing.space.transforms import Displacement, apply_affine, averaged, averaged_at, sample
from ban_bids.typing import Floats

_WORKING = 3.0  # mm; distortion is smooth, and SyN's smoothness is in voxels
_MARGIN = 4


@dataclass(frozen=True)
class ToReference:
    """Map of T1w points to a run's reference, through the session's distortion where it is known.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        T1w world → this run's reference world.
    session_matrix : ndarray, shape (4, 4), optional
        T1w world → reference world of the run in which the field was found.
    field : Displacement, optional
        In that world, undistorted → distorted.
    """

    matrix: Floats
    session_matrix: Floats | None = None
    field: Displacement | None = None

    def __call__(self, points: Floats) -> Floats:
        """Points ``(3, n)``, mm."""
        if self.field is None or self.session_matrix is None:
            return apply_affine(self.matrix, points)
        distorted = self.field(apply_affine(self.session_matrix, points))
        return apply_affine(self.matrix @ np.linalg.inv(self.session_matrix), distorted)


@dataclass(frozen=True)
class Distortion:
    """Distortion of a BOLD reference.

    Parameters
    ----------
    field : Displacement
        Reference world, undistorted → distorted; along the phase-encoding axis only.
    information : tuple of float
        Normalised mutual information of BOLD and T1w image inside the brain before and after.
    shift : float
        95th percentile of its size inside the brain, mm.
    """

    field: Displacement
    information: tuple[float, float]
    shift: float


def check_phase_encoding(participant: Participant) -> None:
    """Refuse ``--use-syn-sdc`` without T1w image, or for a run whose sidecar lacks the axis.

    Raises
    ------
    DataError
    """
    if not participant.t1w:
        raise DataError(f"sub-{participant.label}: --use-syn-sdc without a T1w image; add one, or leave the option out")
    for run in participant.runs:
        if run.phase_encoding is None:
            raise DataError(
                f"{run.bold}: no PhaseEncodingDirection in its JSON sidecar, which --use-syn-sdc needs; add "
                "it (i, j or k, with - where reversed), or leave the option out"
            )


def working_grid(shape: tuple[int, ...], affine: Floats, inside: NDArray[np.bool_]) -> Grid:
    """Isotropic grid on a BOLD image's axes over its masked part and a margin.

    Parameters
    ----------
    shape, affine
        Of the BOLD image.
    inside : ndarray of bool, shape shape
    """
    voxel = voxel_sizes(affine)
    present = np.array(np.nonzero(inside))
    low = np.maximum(present.min(1) * voxel - _MARGIN * _WORKING, 0)
    high = np.minimum(present.max(1) * voxel + _MARGIN * _WORKING, (np.array(shape[:3]) - 1) * voxel)
    new = affine @ np.diag([*(_WORKING / voxel), 1.0])
    new[:3, 3] = apply_affine(affine, (low / voxel)[:, None])[:, 0]
    return Grid.of(np.floor((high - low) / _WORKING) + 1, new)


def find_distortion(
    reference: Path, reference_mask: Path, t1w: Path, *, t1w_mask: Path, matrix: Floats, axis: str, folder: Path
) -> Distortion:
    """Distortion of a BOLD reference along one axis, by SyN on mutual information.

    Parameters
    ----------
    reference, reference_mask : Path
        BOLD reference and its brain mask.
    t1w, t1w_mask : Path
        Bias-corrected T1w image and its brain mask.
    matrix : ndarray, shape (4, 4)
        T1w world → reference world, rigid.
    axis : str
        ``PhaseEncodingDirection``; its sign does not matter.
    folder : Path
        For temporary files.

    Returns
    -------
    Distortion
        Zero where the registration did not raise the mutual information.
    """
    raw, affine = load_image(reference)
    mask = load_mask(reference_mask)
    bold = bias_corrected(to_ants(raw, affine), mask, folder).numpy()
    grid = working_grid(bold.shape, affine, mask)
    points = grid.points()
    t1w_points = apply_affine(np.linalg.inv(matrix), points)
    brain = (averaged_at(t1w_mask, t1w_points, _WORKING) > 0.5).reshape(grid.shape)
    fixed = np.where(brain, averaged_at(t1w, t1w_points, _WORKING).reshape(grid.shape), 0)
    moving = sample(averaged(np.where(mask, bold, 0), affine, _WORKING), affine, points).reshape(grid.shape)
    number = "ijk".index(axis[0])
    # ITK restricts a field by its components in world coordinates: both images are given a world whose axes
    # are those of the voxels (identity in ITK's LPS)
    upright = np.diag([-_WORKING, -_WORKING, _WORKING, 1.0])
    images = (to_ants(data, upright) for data in (fixed, moving, ndimage.binary_dilation(brain)))
    shift = shift_along(*images, axis=number, folder=folder)
    smooth = averaged(bold, affine, _WORKING)

    def information(field: Displacement) -> float:
        values = sample(smooth, affine, field(points[:, brain.ravel()]))
        return normalised_mutual_information(fixed[brain], values)

    direction = grid.affine[:3, number, None, None, None] / _WORKING
    still, field = (Displacement((direction * size).astype(np.float32), grid.affine) for size in (0 * shift, shift))
    before, after = information(still), information(field)
    if not after > before:
        return Distortion(still, (before, before), 0.0)
    return Distortion(field, (before, after), float(np.percentile(np.abs(shift[brain]), 95)))
