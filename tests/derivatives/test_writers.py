import json
import multiprocessing
import os

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.image import load_img
from nilearn.maskers import NiftiMasker

from ban_bids.derivatives.tables import write_table
from ban_bids.errors import DataError, UsageError
from ban_bids.files.write import (
    atomic_path,
    read_json,
    read_tsv,
    write_json,
    write_map,
    write_text,
    write_tsv,
)

AFFINE = np.array([[-3.0, 0, 0, 30], [0, 3, 0, -40], [0, 0, 4, -20], [0, 0, 0, 1]])


def mask_and_values(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 6, 7)) < 0.5
    return mask, rng.normal(size=int(mask.sum()))


def test_a_failure_midway_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def _write_many(path, letter):
    for _ in range(60):
        write_text(path, letter * 100_000)


def test_two_writers_at_once_never_tear_a_file(tmp_path):
    path = write_text(tmp_path / "a.txt", "a" * 100_000)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(path, letter)) for letter in "bc"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_text())
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= {letter * 100_000 for letter in "abc"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_unwritable_place_is_named_with_the_user(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(UsageError, match=f"a.txt: user {os.getuid()}"):
        write_text(tmp_path / "a.txt", "x")


def test_files_have_ordinary_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    assert write_text(tmp_path / "a.txt", "x").stat().st_mode == plain.stat().st_mode


def test_json_takes_numpy_paths_and_what_is_not_finite(tmp_path):
    content = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": tmp_path,
        "d": np.nan,
        "e": ({1},),
        "f": np.bool_(True),
    }
    path = write_json(tmp_path / "x.json", content)
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert strict == {"a": 0.5, "b": [0, 1], "c": str(tmp_path), "d": "n/a", "e": [[1]], "f": True}
    assert read_json(path) == strict


def test_damaged_json_is_named(tmp_path):
    path = write_text(tmp_path / "x.json", '{"a": ')
    with pytest.raises(DataError, match="x.json"):
        read_json(path)


def test_tables_come_back_as_they_were(tmp_path):
    table = pd.DataFrame(
        {
            "participant": ["01", "1"],
            "score": [0.1 + 0.2, np.nan],
            "count": [3, 4],
            "reason": [None, "none,\tat\nall NA"],
            "flag": [True, False],
        }
    )
    path = write_tsv(tmp_path / "x.tsv", table)
    lines = path.read_text().splitlines()
    assert lines[0].split("\t") == list(table)
    assert lines[1].split("\t")[2:] == ["3", "n/a", "true"]
    back = read_tsv(path)
    assert list(back["participant"]) == ["01", "1"]
    assert back["score"][0] == table["score"][0]
    assert np.isnan(back["score"][1])
    assert back["reason"][1] == "none, at all NA"


def test_every_column_must_be_defined(tmp_path):
    table = pd.DataFrame({"a": [1], "b": [2]})
    with pytest.raises(DataError, match="no definition for column b"):
        write_table(tmp_path / "x_bas.tsv", table, {"a": "A"})
    assert not list(tmp_path.iterdir())
    write_table(tmp_path / "x_bas.tsv", table, {"a": "A", "b": {"Description": "B", "Units": "s"}, "c": "C"}, {"M": 1})
    assert read_json(tmp_path / "x_bas.json") == {
        "M": 1,
        "a": {"Description": "A"},
        "b": {"Description": "B", "Units": "s"},
    }


def test_maps_open_in_nilearn_with_their_values_in_their_place(tmp_path):
    mask, values = mask_and_values()
    path = write_map(tmp_path / "x_statmap.nii.gz", values, mask, AFFINE, {"Statistic": "r", "Units": "arbitrary"})
    image = load_img(path)
    assert np.allclose(image.affine, AFFINE)
    assert image.get_data_dtype() == np.float32
    assert np.allclose(image.get_fdata()[mask], values, atol=1e-6)
    assert (image.get_fdata()[~mask] == 0).all()
    masker = NiftiMasker(nib.Nifti1Image(mask.astype(np.uint8), AFFINE)).fit()
    assert np.allclose(np.ravel(masker.transform(str(path))), values, atol=1e-6)


@pytest.mark.parametrize(("statistic", "outside"), [("r", 0), ("p", 1), ("q", 1)])
def test_outside_and_not_computable_are_told_apart(tmp_path, statistic, outside):
    mask, values = mask_and_values()
    values[3] = np.nan
    values[4] = np.inf
    path = write_map(tmp_path / "x_statmap.nii.gz", values, mask, AFFINE, {"Statistic": statistic})
    data = nib.load(path).get_fdata()
    assert (data[~mask] == outside).all()
    assert np.flatnonzero(np.isnan(data[mask])).tolist() == [3, 4]
    facts = read_json(tmp_path / "x_statmap.json")
    assert facts["OutsideMask"] == outside
    assert (facts["VoxelsInMask"], facts["VoxelsNotComputable"]) == (mask.sum(), 2)


def test_maps_of_the_wrong_size_are_refused(tmp_path):
    mask, values = mask_and_values()
    with pytest.raises(DataError, match="voxels of a 3-D mask"):
        write_map(tmp_path / "x.nii.gz", values[1:], mask, AFFINE, {"Statistic": "r"})
    with pytest.raises(DataError, match="Statistic"):
        write_map(tmp_path / "x.nii.gz", values, mask, AFFINE, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("space", "code"), [("MNI152NLin2009cAsym", 4), ("T1w", 2)])
def test_headers_tell_template_space_from_native(tmp_path, space, code):
    mask, values = mask_and_values()
    facts = {"Statistic": "r", "SpatialReference": space}
    header = nib.load(write_map(tmp_path / "x_statmap.nii.gz", values, mask, AFFINE, facts)).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (code, code)
