import numpy as np
import pandas as pd
import pytest
from fake_derivatives import make_tree

from ban_bids import load_derivatives
from ban_bids.derivatives.quality import quality_path, with_outliers, write_quality
from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.preprocessing.quality import DEFINITIONS, Measurement


def measurements(fd: float = 0.2) -> list[Measurement]:
    return [
        Measurement("region_voxels", 12.0, region="A1"),
        Measurement("t1w_brain_volume", 1400.25),
        Measurement("fd_mean", fd, "task-music_run-1"),
        Measurement("tsnr_brain", 41.5, "task-music_run-1"),
        Measurement("tsnr_ratio", float("nan"), "task-music_run-1", reason="no raw run"),
        Measurement("tsnr_brain", 38.0, "task-music_run-2"),
    ]


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "out", ["01", "02"], layers=("A1",))


def test_a_table_comes_back_as_it_was_written(tree):
    path = write_quality(tree.root, "01", measurements(0.7), "ban-bids")
    assert path == tree.root / "sub-01" / "sub-01_desc-quality_qc.tsv"
    table = load_derivatives(tree.root).quality("sub-01")
    assert list(zip(table["scope"], table["measure"], strict=True)) == [
        ("run", "tsnr_brain"),
        ("run", "tsnr_ratio"),
        ("run", "fd_mean"),
        ("run", "tsnr_brain"),
        ("participant", "t1w_brain_volume"),
        ("region", "region_voxels"),
    ]
    assert table["participant"].tolist() == ["01"] * 6
    np.testing.assert_array_equal(table["value"], [41.5, np.nan, 0.7, 38.0, 1400.25, 12.0])
    assert table["warning"].tolist() == [False, False, True, False, False, True]
    assert table["unit"].tolist() == ["1", "1", "mm", "1", "mL", "count"]
    assert table["threshold"].tolist()[1:] == ["< 0.95", "> 0.5", "< 20", "< 800 or > 2000", "< 20"]
    assert table["reason"].tolist()[1] == "no raw run"
    assert table["run"].isna().tolist() == [False] * 4 + [True] * 2


def test_tables_of_all_participants_are_filtered(tree):
    write_quality(tree.root, "01", measurements(0.7), "ban-bids")
    write_quality(tree.root, "02", measurements(0.1), "fmriprep-24.1")
    out = load_derivatives(tree.root)
    assert len(out.quality()) == 12
    found = out.quality(measure="fd_mean", warning=True)
    assert found["participant"].tolist() == ["01"]
    with pytest.raises(UsageError, match="'name' is no column"):
        out.quality(name="fd_mean")


def test_without_tables_there_are_columns(tree):
    table = load_derivatives(tree.root).quality("01")
    assert table.empty
    assert "measure" in table
    with pytest.raises(DataError, match="group' first"):
        load_derivatives(tree.root).group_quality()


def test_every_measure_is_defined_beside_the_table(tree):
    content = read_json(quality_path(tree.root, "01").parent / write_quality(
        tree.root, "01", measurements(), "ban-bids"
    ).with_suffix(".json").name)  # fmt: skip
    assert set(content["Measures"]) == set(DEFINITIONS)
    assert content["Measures"]["fd_mean"]["Units"] == "mm"
    assert content["Measures"]["fd_mean"]["Threshold"] == "> 0.5"
    assert content["PreprocessedBy"] == "ban-bids"
    assert all(content[column]["Description"] for column in load_derivatives(tree.root).quality("01")[
        ["scope", "run", "region", "measure", "value", "unit", "threshold", "warning", "reason"]
    ])  # fmt: skip


def group(measure: str, values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"measure": measure, "region": None, "value": values})


def test_outliers_are_marked_on_the_bad_side_only():
    values = [0.10, 0.12, 0.11, 0.13, 0.09, 0.9, -0.9, np.nan]
    middle = np.nanmedian(values)
    score = 0.6745 * (np.array(values) - middle) / np.nanmedian(np.abs(np.array(values) - middle))
    assert (np.abs(score[:5]) < 3.5).all()
    assert score[5] > 3.5
    for measure, expected in (
        ("fd_mean", [None] * 5 + ["high", None, None]),
        ("tsnr_brain", [None] * 5 + [None, "low", None]),
        ("t1w_brain_volume", [None] * 5 + ["high", "low", None]),
        ("measure_of_an_earlier_version", [None] * 8),
    ):
        assert with_outliers(group(measure, values))["outlier"].tolist() == expected


@pytest.mark.parametrize("values", [[0.1, 0.1, 0.1, 9.0], [0.0, 0.0, 0.0, 0.0, 9.0]])
def test_few_or_equal_values_have_no_outlier(values):
    assert with_outliers(group("fd_mean", values))["outlier"].isna().all()


def test_regions_are_judged_apart():
    table = pd.concat([group("region_voxels", [200.0] * 3 + [201.0, 199.0, 202.0]).assign(region="T2T3"),
                       group("region_voxels", [20.0, 21.0, 19.0, 20.0, 22.0, 2.0]).assign(region="A1")],
                      ignore_index=True)  # fmt: skip
    marked = with_outliers(table)
    assert marked.loc[marked["outlier"].notna(), "value"].tolist() == [2.0]
