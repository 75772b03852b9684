"""A participant's output grid, regions and cortex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ban_bids.errors import DataError
from ban_bids.preprocessing.anatomy import averaged_at
from ban_bids.preprocessing.files import load_image, load_mask, save_image
from ban_bids.preprocessing.functional import Target
from ban_bids.preprocessing.regions import (
    GREY_MATTER_FLOOR,
    AtlasFiles,
    labels_at,
    near_cortex,
    read_atlas,
    region_table,
    write_region_table,
)
from ban_bids.preprocessing.space.template import NATIVE, mask_grid, template_grid
from ban_bids.preprocessing.space.transforms import Normalization, sample


def _normalization(files: Mapping[str, Path]) -> Normalization:
    return Normalization.load(files["affine"], files["warp"], files["inverse_warp"])


def make_target(files: Mapping[str, Path], space: str, resolution: float) -> Target:
    """Grid, brain voxels, their T1w coordinates and tissues.

    Parameters
    ----------
    files : mapping
        ``mask``, ``csf``, ``wm`` (T1w grid), ``affine``, ``warp``, ``inverse_warp``.
    space : str
        The template or ``T1w``.
    resolution : float
        mm.
    """
    t1_mask, t1_affine = load_image(files["mask"])
    if space == NATIVE:
        grid = mask_grid(t1_mask > 0.5, t1_affine, resolution)
        points = grid.points()
    else:
        grid = template_grid(resolution)
        points = _normalization(files).template_to_t1w(grid.points())
    inside = averaged_at(files["mask"], points, resolution) > 0.5
    chosen = points[:, inside]
    return Target(
        grid,
        inside.reshape(grid.shape),
        chosen,
        averaged_at(files["wm"], chosen, resolution),
        averaged_at(files["csf"], chosen, resolution),
    )


def make_regions(
    files: Mapping[str, Path], masks: Sequence[Path], space: str, atlas: AtlasFiles, folder: Path
) -> tuple[dict[str, Path], dict[str, float], tuple[str, ...]]:
    """Label image, table, cortex and T1w image on the output grid.

    Regions and cortex are clipped to the participant's grey matter and to the voxels of every run.

    Returns
    -------
    files : dict
        ``dseg``, ``table``, ``cortex``, ``t1w_in_space``.
    measures : dict
        ``cortex_voxels``; those of the regions stand in the table.
    notes : tuple of str

    Raises
    ------
    DataError
        No voxel of the cortex lies in every run's mask.
    """
    target = Target.load(files["target"])
    grid, brain = target.grid, target.brain
    common = np.logical_and.reduce([load_mask(path) for path in masks])
    resolution = float(np.linalg.norm(grid.affine[:3, 0]))
    every = grid.points()
    if space == NATIVE:
        template = _normalization(files).t1w_to_template(every[:, brain.ravel()])
        t1w_points = every
    else:
        template = every[:, brain.ravel()]
        t1w_points = _normalization(files).template_to_t1w(every)
    grey = averaged_at(files["gm"], target.t1w_points, resolution) > GREY_MATTER_FLOOR
    labels, before, cortex = (np.zeros(grid.shape, kind) for kind in (np.uint8, np.uint8, bool))
    before[brain] = labels_at(*read_atlas(atlas), template)
    cortex[brain] = near_cortex(template) & grey
    cortex &= common
    kept = np.zeros(grid.shape, bool)
    kept[brain] = grey
    labels = np.where(kept & common, before, 0).astype(np.uint8)
    cortex |= labels > 0
    if not cortex.any():
        raise DataError(f"{masks[0]}: no cortical voxel lies in every run's field of view; look at the images")
    table, notes = region_table(labels, before, atlas)
    image, affine = load_image(files["t1w"])
    t1w = sample(image, affine, t1w_points, order=1).reshape(grid.shape)
    result = {
        "dseg": save_image(folder / "dseg.nii.gz", labels, grid.affine),
        "table": write_region_table(table, folder / "dseg.tsv"),
        "cortex": save_image(folder / "cortex.nii.gz", cortex, grid.affine),
        "t1w_in_space": save_image(folder / "t1w.nii.gz", t1w, grid.affine),
    }
    measures = {"cortex_voxels": float(cortex.sum())}
    return result, measures, notes
