"""Auditory regions and the cortex of a participant on the output grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.constants import ATLASES, NOT_AVAILABLE, REGIONS
from ban_bids.errors import DataError
from ban_bids.files.images import read_through
from ban_bids.files.tsv import read_frame, read_tsv, write_tsv
from ban_bids.preprocessing.files import load_image, load_mask, save_image
from ban_bids.preprocessing.space.template import NATIVE, Target
from ban_bids.preprocessing.space.transforms import Normalization, averaged_at, sample
from ban_bids.typing import Floats

SHIPPED = Path(__file__).parent / "data"
_STEM = "tpl-MNI152NLin2009cAsym_res-01_atlas-HCPMMP1_desc-"
DSEG_FILE, TABLE_FILE = f"{_STEM}auditory_dseg.nii.gz", f"{_STEM}auditory_dseg.tsv"
CORTEX_FILE = f"{_STEM}cortex_mask.nii.gz"

FEWEST_VOXELS = 20
"""A region with fewer voxels is named in the notes."""

GREY_MATTER_FLOOR = 0.2
"""Probability of grey matter above which a voxel counts: low, so that thin cortex at 2–3 mm is not lost."""

RIBBON_MARGIN = 3.0
"""Millimetres around the group's ribbon in which a participant's own grey matter counts as cortical."""


@dataclass(frozen=True)
class AtlasFiles:
    """An atlas in the template's space.

    Parameters
    ----------
    name : str
        What notes and reasons call it.
    image : Path
        Label image, ``*_dseg.nii.gz``.
    table : Path
        TSV with the columns ``index`` and ``name`` and perhaps ``parcels``; a region whose index is
        ``n/a`` is one that the atlas does not have.
    """

    name: str
    image: Path
    table: Path


HCP_MMP = AtlasFiles(ATLASES[0], SHIPPED / DSEG_FILE, SHIPPED / TABLE_FILE)


def region_indices(atlas: AtlasFiles) -> dict[str, tuple[int, ...]]:
    """Labels of every region in an atlas's image; none for a region that the atlas declares absent.

    Raises
    ------
    DataError
        A column or a region is missing, an index is no whole number or that of two regions, or all regions are absent.
    """
    table = _read_table(atlas)
    indices: dict[str, tuple[int, ...]] = {}
    for name in REGIONS:
        rows = table.loc[table["name"] == name, "index"]
        if rows.empty:
            raise DataError(
                f"{atlas.table}: no row named {name}; the regions are {', '.join(REGIONS)} "
                f"(give {name} the index {NOT_AVAILABLE} if the atlas does not have it)"
            )
        numbers = rows[rows != NOT_AVAILABLE]
        if 0 < len(numbers) < len(rows):
            raise DataError(f"{atlas.table}: {name} has an index and {NOT_AVAILABLE} too; keep one")
        if not numbers.str.fullmatch(r"[1-9]\d*(\.0+)?").all():
            raise DataError(f"{atlas.table}: index {', '.join(numbers)} of {name} is no whole number from 1")
        indices[name] = tuple(int(float(number)) for number in numbers)
    given = Counter(number for numbers in indices.values() for number in set(numbers))
    if twice := [number for number, times in given.items() if times > 1]:
        both = " and ".join(name for name in REGIONS if twice[0] in indices[name])
        raise DataError(f"{atlas.table}: {both} share the index {twice[0]}; a voxel is of one region, keep one of them")
    if not any(indices.values()):
        raise DataError(f"{atlas.table}: every region is {NOT_AVAILABLE}; at least one needs an index")
    return indices


def _read_table(atlas: AtlasFiles) -> pd.DataFrame:
    table = read_frame(atlas.table, "give another --atlas", dtype=str, keep_default_na=False)
    if not {"index", "name"} <= set(table.columns):
        raise DataError(f"{atlas.table}: columns index and name are needed")
    table["index"] = table["index"].str.strip().replace("", NOT_AVAILABLE)
    return table


def read_atlas(atlas: AtlasFiles = HCP_MMP) -> tuple[NDArray[np.uint8], Floats]:
    """Label image with our numbers (1–4 in the order of the regions) and its affine.

    Raises
    ------
    DataError
        See :func:`region_indices`; or a label of the table is nowhere in the image.
    """
    indices = region_indices(atlas)
    with read_through(atlas.image, "give another --atlas") as image:
        data = np.rint(np.asarray(image.dataobj, np.float64)).astype(int)
    labels = np.zeros(data.shape, np.uint8)
    for number, name in enumerate(REGIONS, 1):
        chosen = np.isin(data, indices[name])
        if indices[name] and not chosen.any():
            raise DataError(f"{atlas.image}: no voxel has the index of {name}; correct {atlas.table.name}")
        labels[chosen] = number
    return labels, np.asarray(image.affine, float)


def near_cortex(points: Floats) -> NDArray[np.bool_]:
    """Which template points ``(3, n)`` lie within :data:`RIBBON_MARGIN` of the group's cortical ribbon."""
    wide, affine = load_image(SHIPPED / CORTEX_FILE)
    return sample(wide, affine, points, order=0) > 0.5


def region_table(
    labels: NDArray[np.uint8], before: NDArray[np.uint8], atlas: AtlasFiles
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Table beside the label image, and notes on regions that are absent from the atlas.

    Parameters
    ----------
    labels, before : ndarray of uint8
        Labels after and before clipping to grey matter and brain mask.
    atlas : AtlasFiles

    Returns
    -------
    table : DataFrame
        One row per region; counts are whole numbers or missing, ``reason`` says why.
    notes : tuple of str
    """
    indices, source = region_indices(atlas), _read_table(atlas)
    parts = source.get("parcels", pd.Series(atlas.name, index=source.index))
    table = pd.DataFrame(
        {
            "index": range(1, len(REGIONS) + 1),
            "name": REGIONS,
            "abbreviation": REGIONS,
            "n_voxels": np.bincount(labels.ravel(), minlength=len(REGIONS) + 1)[1:],
            "n_voxels_atlas": np.bincount(before.ravel(), minlength=len(REGIONS) + 1)[1:],
            "parcels": ["+".join(parts[source["name"] == name].unique()) for name in REGIONS],
            "reason": [None if indices[name] else f"atlas {atlas.name} has no region {name}" for name in REGIONS],
        }
    ).astype(dict.fromkeys(_COUNTS, "Int64"))
    absent = table["reason"].notna()
    table.loc[absent, [*_COUNTS, "parcels"]] = None
    consequence = f"its scores are {NOT_AVAILABLE}, and so is C, the mean over all"
    return table, tuple(f"{reason}: {consequence}" for reason in table.loc[absent, "reason"])


_COUNTS = ("index", "n_voxels", "n_voxels_atlas")


def absent_regions(path: Path) -> Mapping[str, str]:
    """Regions that the atlas does not have, with the reason, from a participant's table of regions.

    Raises
    ------
    DataError
        The table cannot be read.
    """
    table = read_tsv(path)
    if "reason" not in table:
        return {}
    absent = table.dropna(subset="reason")
    return dict(zip(absent["name"], absent["reason"]))


@dataclass(frozen=True)
class RegionMaps:
    """Regions and cortex on an output grid.

    Parameters
    ----------
    labels : ndarray of uint8
        Regions 1–4, clipped to grey matter and to the voxels of every run.
    cortex : ndarray of bool
        Cortical grey matter that every run covers, and all of the regions.
    table : DataFrame
        Of :func:`region_table`.
    notes : tuple of str
    """

    labels: NDArray[np.uint8]
    cortex: NDArray[np.bool_]
    table: pd.DataFrame
    notes: tuple[str, ...]

    @classmethod
    def lay(cls, atlas: AtlasFiles, points: Floats, *, possible: NDArray[np.bool_], source: Path) -> RegionMaps:
        """Look an atlas up on an output grid.

        Parameters
        ----------
        atlas : AtlasFiles
        points : ndarray, shape (3, n_voxels)
            Template points of all voxels of the grid, C order: what the atlas gives a region is counted also where a
            brain mask or a field of view lacks it.
        possible : ndarray of bool, shape (nx, ny, nz)
            Grey matter that every run covers.
        source : Path
            File that the error names.

        Raises
        ------
        DataError
            No voxel of the cortex is possible.
        """
        before = sample(*read_atlas(atlas), points, order=0).astype(np.uint8).reshape(possible.shape)
        labels = np.where(possible, before, 0).astype(np.uint8)
        cortex = (near_cortex(points).reshape(possible.shape) & possible) | (labels > 0)
        if not cortex.any():
            raise DataError(f"{source}: no cortical voxel lies in every run's mask; look at the images")
        return cls(labels, cortex, *region_table(labels, before, atlas))

    def save(self, folder: Path, affine: Floats) -> dict[str, Path]:
        """Write ``dseg``, its ``table`` and ``cortex``."""
        return {
            "dseg": save_image(folder / "dseg.nii.gz", self.labels, affine),
            "table": write_tsv(folder / "dseg.tsv", self.table),
            "cortex": save_image(folder / "cortex.nii.gz", self.cortex, affine),
        }


def make_regions(
    target: Target,
    masks: Sequence[Path],
    atlas: AtlasFiles,
    *,
    normalization: Normalization,
    space: str,
    gm: Path,
    t1w: Path,
    folder: Path,
) -> tuple[dict[str, Path], RegionMaps]:
    """Regions, cortex and T1w image on a participant's output grid.

    Parameters
    ----------
    target : Target
    masks : sequence of Path
        Of the runs, on the output grid.
    atlas : AtlasFiles
    normalization : Normalization
    space : str
        The template or ``T1w``.
    gm, t1w : Path
        Probability of grey matter, and the image, on the T1w grid.
    folder : Path
        Where the files go.

    Returns
    -------
    files : dict
        ``dseg``, ``table``, ``cortex``, ``t1w_in_space``.
    maps : RegionMaps

    Raises
    ------
    DataError
        No voxel of the cortex lies in every run's mask.
    """
    grid, brain = target.grid, target.brain
    points = grid.points()
    template = normalization.t1w_to_template(points) if space == NATIVE else points
    resolution = float(np.linalg.norm(grid.affine[:3, 0]))
    possible = np.logical_and.reduce([load_mask(path) for path in masks])
    possible[brain] &= averaged_at(gm, target.t1w_points, resolution) > GREY_MATTER_FLOOR
    maps = RegionMaps.lay(atlas, template, possible=possible & brain, source=masks[0])
    files = maps.save(folder, grid.affine)
    image, affine = load_image(t1w)
    there = sample(image, affine, points if space == NATIVE else normalization.template_to_t1w(points))
    files["t1w_in_space"] = save_image(folder / "t1w.nii.gz", there.reshape(grid.shape), grid.affine)
    return files, maps
