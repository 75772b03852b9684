"""What preprocessing will leave on disk, from headers alone."""

from __future__ import annotations

import numpy as np

from ban_bids.files.images import open_image, voxel_sizes
from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.space.template import resolution_mm

BRAIN_MM3 = 1.9e6
"""Volume that a run's brain mask holds."""

_PACKED = 0.95
"""Size of a series of float32 in .nii.gz, as a share of that of its values in the mask."""

_TRANSFORMS = 45e6
"""Bytes of transforms to and from the template, pictures and tables of a participant."""

_PER_T1W_VOXEL = 6.0
"""Bytes of all images on the T1w image's grid, per voxel."""


_CORTEX_MM3 = 8.5e5
"""Volume of the voxels that are fitted."""

_IN_MEMORY = 512 * 2**20
"""Bytes of a participant's voxels up to which they need no file (`ban_bids.encoding.bold`)."""


def series_bytes(participant: Participant, res: str) -> float:
    """Bytes of a participant's preprocessed series.

    Parameters
    ----------
    participant : Participant
    res : str
        Output resolution, as of ``--res``.

    Raises
    ------
    DataError
        A header cannot be read.
    """
    return _PACKED * 4 * _values(participant, res, BRAIN_MM3)


def cortex_bytes(participant: Participant, res: str) -> float:
    """Bytes of the file that holds a participant's voxels while they are fitted; raises as :func:`series_bytes`."""
    size = 4 * _values(participant, res, _CORTEX_MM3)
    return size if size > _IN_MEMORY else 0.0


def anatomy_bytes(participant: Participant) -> float:
    """Bytes of a participant's anatomical images and transforms; raises as :func:`series_bytes`."""
    voxels = [np.prod(open_image(path).shape[:3], dtype=float) for path in participant.t1w]
    return _TRANSFORMS + _PER_T1W_VOXEL * sum(voxels)


def _values(participant: Participant, res: str, volume: float) -> float:
    """Values of all runs within a volume, mm³, on the output grid."""
    total = 0.0
    for run in participant.runs:
        total += run.n_volumes * volume / resolution_mm(res, voxel_sizes(open_image(run.bold))) ** 3
    return total
