import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.image import load_img
from nilearn.maskers import NiftiMasker

from ban_bids.derivatives.maps import write_map
from ban_bids.derivatives.statistics import STATISTICS
from ban_bids.derivatives.tables import write_table
from ban_bids.errors import DataError
from ban_bids.files.json import read_json

AFFINE = np.array([[-3.0, 0, 0, 30], [0, 3, 0, -40], [0, 0, 4, -20], [0, 0, 0, 1]])


def mask_and_values(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 6, 7)) < 0.5
    return mask, rng.normal(size=int(mask.sum()))


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


@pytest.mark.parametrize(("statistic", "outside"), [("r", 0), ("p", 1), ("psound", 1), ("qspecific", 1)])
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


def test_definitions_say_what_was_computed():
    assert "four" not in STATISTICS["share"]["Definition"]  # models have any number of layers
    told = {name: text["Definition"] for name, text in STATISTICS.items()}
    assert "clips change places" in told["pspecific"] and "clips change places" not in told["psound"]
    assert all("moved round in time" in told[name] for name in ("psound", "pspecific"))
    assert "less what the voxel's own noise" in told["ev"]
