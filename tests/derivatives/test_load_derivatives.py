from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from fake_derivatives import AFFINE, SPACE, TASK, make_tree
from nilearn.image import load_img

from ban_bids import load_derivatives
from ban_bids.bids.names import bas_name
from ban_bids.constants import AREAS, JOINT
from ban_bids.derivatives import read
from ban_bids.derivatives.comparisons import COLUMNS, write_comparison, write_group_comparison
from ban_bids.derivatives.maps import write_statmap
from ban_bids.derivatives.read import Regions, remove_stale_maps
from ban_bids.derivatives.tables import write_table
from ban_bids.errors import DataError, UsageError
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json, write_json


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("tree") / "out")


def test_one_filter_and_several(tree):
    out = load_derivatives(tree.root)
    assert len(out.maps()) == 4 * (2 * 5 + 1)
    one = out.maps(participant="02", layer="T2T3", stat="r")
    assert len(one) == 1
    assert out.maps(participant="sub-02", layer="T2T3", stat="r").equals(one)
    assert set(one.loc[0, ["task", "space", "model"]]) == {TASK, SPACE, "ban"}
    several = out.maps(layer=["A1", "Belt"], stat=["r", "pspecific"], participant=("01", "02"))
    assert len(several) == 8
    assert list(several.index) == list(range(8))


def test_none_finds_maps_of_no_model(tree):
    ceilings = load_derivatives(tree.root).maps(model=None)
    assert set(ceilings["stat"]) == {"ev"}
    assert len(ceilings) == 4


def test_unknown_values_find_nothing_and_unknown_columns_are_an_error(tree):
    out = load_derivatives(tree.root)
    nothing = out.maps(layer="V1")
    assert nothing.empty
    assert "path" in nothing
    with pytest.raises(UsageError, match="'statistic' is no column.*stat"):
        out.maps(statistic="r")
    with pytest.raises(UsageError, match="'roi' is no column"):
        out.scores(roi="A1")


def test_every_map_opens_in_nilearn_with_its_values(tree):
    table = load_derivatives(tree.root).maps()
    for row in table.itertuples():
        image = load_img(row.path)
        assert np.allclose(image.affine, AFFINE)
        layer = "" if pd.isna(row.layer) else row.layer
        expected = tree.maps[row.participant, layer, row.stat]
        np.testing.assert_allclose(image.get_fdata()[tree.mask], expected, rtol=1e-5)


def test_model_and_layer_come_from_the_json_file(tmp_path):
    tree = make_tree(tmp_path / "out", ["01"], model="ban-A")
    place = {"participant": "01", "task": TASK, "space": SPACE}
    values = np.zeros(int(tree.mask.sum()))
    # "banA" + "1" and "ban" + "A1" would share a name; only the JSON file tells them apart
    write_statmap(tree.root, values, tree.mask, AFFINE, stat="share", model="ban", layer="A1", **place)
    out = load_derivatives(tree.root)
    assert set(out.maps(stat="r")["model"]) == {"ban-A"}
    assert set(out.maps(stat="r")["layer"]) == {*AREAS, JOINT}
    assert out.maps(model="ban", layer="A1")["stat"].tolist() == ["share"]
    assert set(out.scores(role="scored")["model"]) == {"ban-A"}


def test_scores_are_concatenated_and_filtered(tree):
    out = load_derivatives(tree.root)
    scores = out.scores()
    assert list(scores.columns[:2]) == ["participant", "task"]
    assert set(scores["model"]) == {"ban", "banuntrained1"}
    assert len(scores) == sum(len(table) for table in tree.scores.values())
    controls = scores["role"] == "control"
    assert set(scores.loc[controls, "control_of"]) == {"ban"} and scores.loc[~controls, "control_of"].isna().all()
    mine = out.scores("sub-03")
    np.testing.assert_allclose(mine["value"], tree.scores["03"]["value"])
    bas = tree.scores["03"].set_index("row").loc["BAS", "value"]
    assert out.scores("03", row="BAS")["value"].item() == pytest.approx(bas)
    assert out.score_definitions()["value"].startswith("layer, region: c, share of the region")


def test_tables_without_a_column_of_models_get_one(tmp_path):
    write_json(tmp_path / "dataset_description.json", {"GeneratedBy": [{"Name": "ban-bids"}]})
    path = bas_name("01", "T", "my-net").path(tmp_path)
    write_table(path, pd.DataFrame({"value": [1.0]}), {"value": "v"}, {"Model": "my-net", "ModelFingerprint": "f"})
    out = load_derivatives(tmp_path)
    assert out.scores()["model"].tolist() == ["my-net"]
    files = out.score_files()
    assert files.loc[0, ["path", "participant", "model_fingerprint"]].tolist() == [str(path), "01", "f"]


def test_numbers_with_decimal_commas_are_named(tmp_path):
    tree = make_tree(tmp_path / "out", ["01"], layers=("A1",))
    path = bas_name("01", TASK, "ban").path(tree.root)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table["rho"] = table["rho"].str.replace(".", ",")  # as a spreadsheet saves it in half of the world
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=r"desc-ban_bas.tsv: '0,\d+' in column rho is no number"):
        load_derivatives(tree.root).scores()
    path.write_text(path.read_text().splitlines()[0] + "\n")  # cut off behind its header
    assert load_derivatives(tree.root).scores().empty


def test_comparisons_are_read_back_by_participant_kind_and_row(tmp_path):
    write_json(tmp_path / "dataset_description.json", {"GeneratedBy": [{"Name": "ban-bids"}]})
    out = load_derivatives(tmp_path)
    assert out.comparisons().empty and list(out.comparisons()) == list(COLUMNS)
    with pytest.raises(DataError, match=r"group_comparison.tsv: not there; run 'ban-bids BIDS_DIR .* group' first"):
        out.group_comparison()
    lines = [{"kind": kind, "row": row, "value": k} for k, (kind, row) in enumerate([("models", "C"), ("rank", "C")])]
    for label in ("01", "02"):
        mine = {"level": "participant", "participant": label, "task": TASK, "model": "ban"}
        write_comparison(tmp_path, _with_columns([{**line, **mine} for line in lines]), participant=label, task=TASK)
    write_group_comparison(tmp_path, _with_columns([{"level": "group", **lines[0]}]), {"Participants": ["01", "02"]})
    assert out.comparisons()["participant"].tolist() == ["01", "01", "02", "02"]
    assert out.comparisons("sub-02", kind="rank")["value"].tolist() == [1]
    with pytest.raises(UsageError, match="'layer' is no column"):
        out.comparisons(layer="A1")
    assert list(out.group_comparison()) == list(COLUMNS) and out.group_comparison()["level"].tolist() == ["group"]


def _with_columns(lines):
    return pd.DataFrame(lines).reindex(columns=list(COLUMNS))


def test_a_region_that_the_atlas_lacks_has_no_index():
    table = pd.DataFrame({"index": [1, np.nan], "name": ["A1", "PB"], "reason": [None, "no such"]})
    table["abbreviation"] = table["name"]
    regions = Regions(Path("dseg.nii.gz"), table)
    assert regions.index("A1") == 1
    with pytest.raises(UsageError, match="region 'PB' is n/a: no such"):
        regions.index("PB")


def test_regions(tree):
    regions = load_derivatives(tree.root).regions("sub-01")
    labels = nib.load(regions.image).get_fdata()
    for name, size in zip(regions.table["abbreviation"], regions.table["n_voxels"], strict=True):
        assert (labels == regions.index(name)).sum() == size
    with pytest.raises(UsageError, match="region 'V1'"):
        regions.index("V1")
    with pytest.raises(DataError, match="participant 99"):
        load_derivatives(tree.root).regions("99")


def test_participants_and_absent_group(tree):
    out = load_derivatives(str(tree.root))
    assert out.participants == ("01", "02", "03", "04")
    assert out.group_maps().empty
    with pytest.raises(DataError, match="group' first"):
        out.group_scores()


def test_an_empty_folder_of_ours_gives_empty_tables(tmp_path):
    tree = make_tree(tmp_path / "out", [])
    out = load_derivatives(tree.root)
    assert out.maps(layer="A1").empty
    assert out.scores("01").empty
    assert out.scores(row="C", role="scored")["row"].empty  # nothing was scored; row is a column nonetheless
    assert out.participants == ()


def test_folders_of_others_are_refused(tmp_path):
    with pytest.raises(DataError, match="no dataset_description.json"):
        load_derivatives(tmp_path)
    write_json(tmp_path / "dataset_description.json", {"GeneratedBy": [{"Name": "fMRIPrep"}]})
    with pytest.raises(DataError, match="not generated by ban-bids"):
        load_derivatives(tmp_path)


def test_a_lost_image_is_named(tmp_path):
    tree = make_tree(tmp_path / "out", ["01"])
    lost = Path(load_derivatives(tree.root).maps(stat="ev")["path"][0])
    lost.unlink()
    with pytest.raises(DataError, match=lost.name):
        load_derivatives(tree.root).maps()


def test_files_being_written_are_not_seen(tmp_path):
    tree = make_tree(tmp_path / "out", ["01"])
    before = len(load_derivatives(tree.root).maps())
    folder = bas_name("01", TASK, "ban").path(tree.root).parent
    write_text(folder / ".tmp-1-abc-sub-01_task-T_stat-ev_statmap.json", "{")
    assert len(load_derivatives(tree.root).maps()) == before


def test_maps_of_layers_that_a_model_has_no_more_go_and_no_others(tmp_path):
    tree = make_tree(tmp_path / "out", ["01", "02"], layers=("A1", "Belt"))
    out = load_derivatives(tree.root)
    labels = {"participant": "01", "task": TASK, "space": SPACE, "model": "ban"}
    written = [Path(path) for path in out.maps(layer="A1", **labels)["path"]]
    remove_stale_maps(tree.root, written, **labels)
    assert set(out.maps(**labels)["layer"]) == {"A1"}
    assert set(out.maps(participant="02", model="ban")["layer"]) == {"A1", "Belt"}
    assert len(out.maps(participant="01", model=None)) == 1


def test_who_asks_for_one_participant_opens_no_file_of_another(tree, monkeypatch):
    opened = []

    def counted(path, **options):
        opened.append(path)
        return read_json(path, **options)

    monkeypatch.setattr(read, "read_json", counted)
    out = load_derivatives(tree.root)
    maps = out.maps(participant="02", stat="r")
    assert len(maps) == 5 and [path.name for path in opened[1:]] == [Path(name).name for name in maps["json"]]
    out.scores("sub-02")
    out.score_files("02")
    out.score_definitions("02")
    assert {path.parent.parent.name for path in opened[1:]} == {"sub-02"}
    assert out.scores("../out/sub-01").empty
    opened.clear()
    assert len(out.maps(stat="r")) == 20 and len(opened) == 20  # of everybody those of r alone
