"""The shipped label image and a user's atlas."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ban_bids.errors import DataError
from ban_bids.preprocessing.regions import (
    DSEG_FILE,
    PARCELS,
    SHIPPED,
    TABLE_FILE,
    labels_at,
    near_cortex,
    read_atlas,
    region_table,
)
from ban_bids.preprocessing.transforms import apply_affine
from ban_bids.settings import REGIONS

# Centres measured independently from the surfaces, mm
CENTRES = {"left": (-41, -25, 10), "right": (44, -22, 10)}


def test_shipped_labels_are_the_four_regions_where_they_belong() -> None:
    labels, affine = read_atlas(None)
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    assert tuple(PARCELS) == REGIONS
    points = apply_affine(affine, np.argwhere(labels == 1).T.astype(float))
    for side, chosen in (("left", points[0] < 0), ("right", points[0] > 0)):
        assert np.linalg.norm(points[:, chosen].mean(1) - CENTRES[side]) < 3
    counts = [int((labels == n).sum()) for n in range(1, 5)]
    assert 800 < counts[0] < 1500 < counts[1] < 3200
    assert counts[3] > 3 * counts[1]


def test_table_agrees_with_the_image() -> None:
    table = pd.read_csv(SHIPPED / TABLE_FILE, sep="\t")
    data = np.asarray(nib.load(SHIPPED / DSEG_FILE).dataobj)
    assert table["name"].tolist() == list(REGIONS)
    assert table["n_voxels"].tolist() == [int((data == n).sum()) for n in table["index"]]
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 500_000


def test_cortex_leaves_out_deep_nuclei_and_cerebellum() -> None:
    deep = np.array([[12, -18, 6], [0, -60, -30], [25, 0, 0], [200.0, 0, 0]]).T
    assert not near_cortex(deep).any()
    assert near_cortex(np.array([[-43.0], [-25], [11]])).all()


def test_labels_at_picks_the_nearest_voxel() -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 2, 3] = 4
    affine = np.diag([2.0, 2, 2, 1])
    assert labels_at(labels, affine, np.array([[2.9, 3.4], [4.2, 4.0], [5.8, 6.0]])).tolist() == [4, 0]


def test_small_regions_are_named() -> None:
    before = np.repeat(np.arange(1, 5, dtype=np.uint8), 30).reshape(4, 5, 6)
    after = np.where((before == 2) & (np.arange(120).reshape(4, 5, 6) > 35), 0, before)
    table, notes = region_table(after, before, None)
    assert table["n_voxels"].tolist() == [30, 6, 30, 30]
    assert len(notes) == 1
    assert "region Belt: 6 of" in notes[0]


def test_users_atlas_needs_table_and_all_regions(tmp_path: Path) -> None:
    data = np.zeros((5, 5, 5), np.int16)
    data[0], data[1], data[2], data[3] = 10, 20, 30, 40
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "my_dseg.nii.gz")
    with pytest.raises(DataError, match="my_dseg.tsv not found"):
        read_atlas(tmp_path / "my_dseg.nii.gz")
    rows = pd.DataFrame({"index": [40, 30, 20, 10], "name": list(REGIONS)})
    rows.to_csv(tmp_path / "my_dseg.tsv", sep="\t", index=False)
    labels, _ = read_atlas(tmp_path / "my_dseg.nii.gz")
    assert [int(labels[i, 0, 0]) for i in range(5)] == [4, 3, 2, 1, 0]
    rows[:3].to_csv(tmp_path / "my_dseg.tsv", sep="\t", index=False)
    with pytest.raises(DataError, match="no row named T2T3"):
        read_atlas(tmp_path / "my_dseg.nii.gz")
