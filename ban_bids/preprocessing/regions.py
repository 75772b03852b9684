"""Auditory regions and the cortex of a participant on the output grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.errors import DataError
from ban_bids.preprocessing.files import load_image
from ban_bids.preprocessing.transforms import sample
from ban_bids.settings import REGIONS

Floats = NDArray[np.floating[Any]]

PARCELS: dict[str, tuple[str, ...]] = {
    "A1": ("A1",),
    "Belt": ("LBelt", "MBelt"),
    "PB": ("PBelt",),
    "T2T3": ("A4", "A5", "TA2", "STGa", "STSda", "STSdp"),
}
"""Areas and the HCP-MMP1.0 parcels that make them, in the order of the labels 1–4."""

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


def atlas_files(atlas: Path | None) -> tuple[Path, Path]:
    """Label image and table: the user's, or the shipped ones.

    Raises
    ------
    DataError
        The image or the table beside it is missing.
    """
    image = atlas if atlas is not None else SHIPPED / DSEG_FILE
    table = image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    for path in (image, table):
        if not path.is_file():
            raise DataError(f"--atlas: {path} not found; give NAME_dseg.nii.gz with NAME_dseg.tsv beside it")
    return image, table


def read_atlas(atlas: Path | None) -> tuple[NDArray[np.uint8], Floats]:
    """Label image with our numbers (1–4 in the order of the regions) and its affine.

    Parameters
    ----------
    atlas : Path or None
        ``*_dseg.nii.gz`` in the template's space; columns ``index`` and ``name`` in the TSV beside it.

    Raises
    ------
    DataError
        A file or a region is missing.
    """
    image, path = atlas_files(atlas)
    table = pd.read_csv(path, sep="\t")
    if not {"index", "name"} <= set(table.columns):
        raise DataError(f"{path}: columns index and name are needed")
    data = np.rint(np.asarray(nib.load(image).dataobj, np.float64)).astype(int)
    labels = np.zeros(data.shape, np.uint8)
    for number, name in enumerate(REGIONS, 1):
        chosen = table.loc[table["name"].astype(str) == name, "index"]
        if chosen.empty:
            raise DataError(f"{path}: no row named {name}; the regions are {', '.join(REGIONS)}")
        labels[np.isin(data, chosen.to_numpy(int))] = number
    return labels, np.asarray(nib.load(image).affine, float)


def labels_at(labels: NDArray[np.uint8], affine: Floats, points: Floats) -> NDArray[np.uint8]:
    """Label at each template point ``(3, n)``, nearest voxel."""
    return sample(labels.astype(np.float32), affine, points, order=0).astype(np.uint8)


def near_cortex(points: Floats) -> NDArray[np.bool_]:
    """Which template points ``(3, n)`` lie within :data:`RIBBON_MARGIN` of the group's cortical ribbon."""
    wide, affine = load_image(SHIPPED / CORTEX_FILE)
    return sample(wide, affine, points, order=0) > 0.5


def region_table(
    labels: NDArray[np.uint8], before: NDArray[np.uint8], atlas: Path | None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Table beside the label image, and notes on regions that are small or lost.

    Parameters
    ----------
    labels, before : ndarray of uint8
        Labels after and before clipping to grey matter and brain mask.
    atlas : Path or None
        User's atlas, if any.
    """
    rows, notes = [], []
    for number, name in enumerate(REGIONS, 1):
        kept, whole = int((labels == number).sum()), int((before == number).sum())
        parcels = "+".join(PARCELS[name]) if atlas is None else atlas.name
        rows.append(
            {
                "index": number,
                "name": name,
                "abbreviation": name,
                "n_voxels": kept,
                "n_voxels_atlas": whole,
                "parcels": parcels,
            }
        )
        if kept < FEWEST_VOXELS:
            notes.append(
                f"region {name}: {kept} of the atlas's {whole} voxels lie in grey matter and in every run's "
                "field of view; its figures rest on little"
            )
    return pd.DataFrame(rows), tuple(notes)
