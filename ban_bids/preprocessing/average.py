"""Several T1w images of one person: rigidly aligned to the first and averaged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.preprocessing.anatomy import conform, working_grid
from ban_bids.preprocessing.files import save_image
from ban_bids.preprocessing.masks import head_mask
from ban_bids.preprocessing.space.register import align_heads, from_ants, resample_to, to_ants
from ban_bids.preprocessing.space.template import Grid
from ban_bids.preprocessing.space.transforms import apply_affine, sample
from ban_bids.typing import Floats

_LOG = logging.getLogger(__name__)
Image = tuple[NDArray[np.float32], Floats]

_WORKING = 2.0
FEWEST_ALIKE = 0.8
"""Correlation inside the head, at 2 mm, under which an image does not join the average."""


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
    first, images, notes = _readable(paths)
    total, count = images[0][0].astype(np.float32), np.ones(images[0][0].shape, np.uint8)
    used = [first[0]]
    for path, image in zip(first[1:], images[1:]):
        matrix, gain, correlation = _align(image, images[0], folder)
        if correlation < FEWEST_ALIKE:
            notes.append(
                f"{path.name}: left out of the T1w average; it does not fit {used[0].name} "
                f"(r {correlation:.2f}, at least {FEWEST_ALIKE} is needed)"
            )
            continue
        _add(image, images[0][1], matrix, gain, total, count)
        used.append(path)
    if len(used) == 1:
        result = used[0]
    else:
        result = save_image(folder / "average.nii.gz", total / np.maximum(count, 1), images[0][1])
        notes.append(f"T1w image: average of {len(used)} ({', '.join(path.name for path in used)})")
    for note in notes:
        _LOG.warning(note)
    return result, tuple(used), tuple(notes)


def _readable(paths: Sequence[Path]) -> tuple[list[Path], list[Image], list[str]]:
    found, images, notes, errors = [], [], [], []
    for path in paths:
        try:
            images.append(working_grid(*conform(path)))
        except DataError as error:
            errors.append(error)
            notes.append(f"{path.name}: left out of the T1w average; {error}")
        else:
            found.append(path)
    if not found:
        raise errors[0]
    return found, images, notes


def _align(image: Image, first: Image, folder: Path) -> tuple[Floats, float, float]:
    """Matrix (first's world → image's world), gain and correlation inside the first's head."""
    fixed, moving = (resample_to(to_ants(*part), _WORKING) for part in (first, image))
    matrix = align_heads(moving, fixed, folder)
    values, affine = from_ants(fixed)
    points = Grid(values.shape, affine).points()[:, head_mask(values).ravel()]
    seen = sample(*from_ants(moving), apply_affine(matrix, points), outside=np.nan)
    known = values[head_mask(values)][np.isfinite(seen)].astype(float)
    seen = seen[np.isfinite(seen)].astype(float)
    if len(seen) < 100 or not seen.std() > 0:
        return matrix, 0.0, 0.0
    return matrix, float(known @ seen / (seen @ seen)), float(np.corrcoef(known, seen)[0, 1])


def _add(
    image: Image,
    affine: Floats,
    matrix: Floats,
    gain: float,
    total: NDArray[np.float32],
    count: NDArray[np.uint8],
) -> None:
    """Add an image, interpolated on the first's grid, to the running sum."""
    data, own = image
    move = np.linalg.inv(own) @ matrix @ affine
    where = {"matrix": move[:3, :3], "offset": move[:3, 3], "output_shape": total.shape}
    there = ndimage.affine_transform(np.ones(data.shape, np.uint8), **where, order=0)
    values = ndimage.affine_transform(data, **where, order=3, mode="nearest")
    # splines overshoot at edges: no value may leave the image's own range
    total += np.float32(gain) * np.clip(values, data.min(), data.max()) * there
    count += there
