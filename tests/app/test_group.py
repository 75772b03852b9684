from dataclasses import replace
from pathlib import Path

import lxml.html
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from fake_derivatives import AFFINE, BEHAVIORAL, SPACE, TASK, fake_settings, make_tree, score_rows, write_model
from scipy import stats

from ban_bids import load_derivatives
from ban_bids.app.group import find_members, group_level
from ban_bids.app.group_table import group_table
from ban_bids.bids.names import bas_name, sidecar
from ban_bids.constants import AREAS, JOINT
from ban_bids.derivatives.draws import Draws, write_draws
from ban_bids.derivatives.group_maps import Moments
from ban_bids.derivatives.maps import write_statmap
from ban_bids.derivatives.provenance import write_status
from ban_bids.derivatives.tables import write_table
from ban_bids.encoding.repeats import Repeats
from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.reports.group import _participant_scores
from ban_bids.scoring.bas import COLUMNS
from ban_bids.scoring.bootstrap import Estimate, clip_statistics
from ban_bids.scoring.comparison import KeptScore
from ban_bids.settings import Settings


def settings(root: Path, **changes) -> Settings:

    return fake_settings(root, "group").changed(**changes)


def small_tree(root: Path, *args, **kwargs):
    return make_tree(root, *args, layers=("A1",), **kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four participants, one that failed, one that did not finish; the raw dataset does not exist."""
    tree = make_tree(tmp_path_factory.mktemp("group") / "out")
    write_status(tree.root, "07", "failed", "sub-07_bold.nii.gz: 3-D <b>")
    (tree.root / "sub-09" / "anat").mkdir(parents=True)
    assert not (tree.root.parent / "bids").exists()
    assert group_level(tree.root, settings(tree.root)) == 0
    return tree


def group_rows(root):
    table = load_derivatives(root).group_scores()
    return table[table["level"] == "group"].reset_index(drop=True)


@pytest.mark.parametrize(("row", "layer"), [("C", None), ("BAS", None), ("layer", "T2T3")])
def test_means_and_intervals_are_those_of_scipy(finished, row, layer):
    values = []
    for table in finished.scores.values():
        mine = table[(table["row"] == row) & (table["role"] == "scored")]
        values.append(float((mine if layer is None else mine[mine["layer"] == layer])["value"].iloc[0]))
    found = group_rows(finished.root)
    found = found[(found["row"] == row) & (found["role"] == "scored")]
    found = (found if layer is None else found[found["layer"] == layer]).iloc[0]
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found["value"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((interval.low, interval.high))
    assert found["n"] == 4
    assert found["generalises_to"] == "people"
    assert "no draws of clips were kept" in found["reason"]


def test_what_belongs_to_the_dataset_is_not_averaged(finished):
    found = group_rows(finished.root).set_index("row").loc["B"]
    assert found["value"] == BEHAVIORAL
    assert found["ci_low"] == pytest.approx(BEHAVIORAL - 0.1)
    assert np.isnan(found["sd"])
    assert "not averaged" in found["reason"]


def test_a_mark_that_the_interval_of_b_is_rough_is_the_group_s_too():
    rough = "the interval is rough: people barely agree more than by chance"
    table = score_rows(np.random.default_rng(0), "ban").assign(participant="01", task=TASK, control_of=None)
    table.loc[table["row"] == "B", "reason"] = rough
    files = pd.DataFrame(columns=["path", "task", "model"])
    found = group_table(table, files, n_draws=10, seed=0).query("level == 'group'").set_index("row")
    assert found.loc["B", "reason"] == f"of the dataset; not averaged; {rough}"


def test_participants_rows_are_repeated_unchanged(finished):
    table = load_derivatives(finished.root).group_scores()
    for label, expected in finished.scores.items():
        own = table[table["participant"] == label]
        np.testing.assert_allclose(own["value"], expected["value"])


def test_a_score_that_nobody_has_keeps_its_reason(finished):
    found = group_rows(finished.root).set_index("row").loc["kappa_model_person"]
    assert found["n"] == 0
    assert found["reason"] == "sub-01, sub-02, sub-03, sub-04: people judged too few clips"


@pytest.mark.parametrize("layer", [*AREAS, JOINT])
def test_maps_are_those_of_scipy_voxel_by_voxel(finished, layer):
    out = load_derivatives(finished.root)
    stack = np.stack([finished.maps[label, layer, "r"] for label in ("01", "02", "03", "04")]).astype(np.float32)
    valid = np.isfinite(stack).all(axis=0)
    assert (~valid).sum() == 4
    z = np.arctanh(stack[:, valid].astype(float))
    expected = stats.ttest_1samp(z, 0, alternative="greater")
    for stat, values, outside in (
        ("mean", np.tanh(z.mean(axis=0)), 0),
        ("t", expected.statistic, 0),
        ("p", expected.pvalue, 1),
    ):
        row = out.group_maps(layer=layer, stat=stat)
        assert row["space"].tolist() == [SPACE]
        image = nib.load(row["path"][0])
        assert np.allclose(image.affine, AFFINE)
        inside = finished.mask.copy()
        inside[finished.mask] = valid
        np.testing.assert_allclose(image.get_fdata()[inside], values, rtol=1e-4, atol=1e-6)
        assert (image.get_fdata()[~inside] == outside).all()
        facts = read_json(Path(row["json"][0]))
        assert facts["Participants"] == ["01", "02", "03", "04"]
        assert facts["Sources"][0].startswith("bids::sub-01/func/")


def test_those_who_are_missing_are_listed_with_reasons(finished):
    facts = read_json(finished.root / "group_bas.json")
    assert facts["Participants"] == ["01", "02", "03", "04"]
    assert {m["participant"]: m["reason"] for m in facts["MissingParticipants"]} == {
        "07": "failed: sub-07_bold.nii.gz: 3-D <b>",
        "09": "no score table: participant level not finished",
    }
    page = lxml.html.parse(str(finished.root / "group.html")).getroot()
    text = page.xpath("//section[h2='Errors']")[0].text_content()
    assert "3-D <b>" in text
    assert "not finished" in text
    assert all(page.xpath("//img/@alt"))
    assert all(source.startswith("data:") for source in page.xpath("//img/@src"))


def test_every_column_of_the_group_table_is_defined(finished):
    table = load_derivatives(finished.root).group_scores()
    facts = read_json(finished.root / "group_bas.json")
    assert all(facts[column]["Description"] for column in table)


def test_a_model_that_knows_held_out_tracks_is_marked_in_the_group(tmp_path):
    tree = small_tree(tmp_path / "out")
    for label, count in (("01", "2"), ("03", "none")):
        table = tree.scores[label]
        write_model(
            tree.root, label, table.assign(track_overlap=np.where(table["role"] == "scored", count, "none")), "ban"
        )
    assert group_level(tree.root, settings(tree.root, participant_labels=("01", "03"))) == 0
    found = group_rows(tree.root)
    assert set(found.loc[found["model"] == "ban", "track_overlap"]) == {"2; none"}
    assert set(found.loc[found["role"] == "control", "track_overlap"]) == {"none"}
    page = lxml.html.parse(str(tree.root / "group.html")).getroot()
    warnings = page.xpath("//section[h2='Warnings']")[0].text_content()
    assert "ban was trained or validated on 2 held-out tracks (--allow-overlap): its scores are too high" in warnings


def test_one_participant_is_a_group_with_means_only(tmp_path):
    tree = small_tree(tmp_path / "out", ["01"])
    assert group_level(tree.root, settings(tree.root)) == 0
    found = group_rows(tree.root)
    cortical = found[(found["row"] == "C") & (found["role"] == "scored")].iloc[0]
    assert cortical["n"] == 1
    assert np.isnan(cortical["ci_low"])
    assert cortical["reason"] == "no interval: one participant, and no draws of clips were kept"
    assert pd.isna(cortical["generalises_to"])
    maps = load_derivatives(tree.root).group_maps()
    assert set(maps["stat"]) == {"mean"}
    data = nib.load(maps[maps["layer"] == "A1"]["path"].iloc[0]).get_fdata()[tree.mask]
    own = tree.maps["01", "A1", "r"]
    np.testing.assert_allclose(data[np.isfinite(own)], own[np.isfinite(own)], atol=1e-5)
    page = (tree.root / "group.html").read_text()
    assert "t and p are n/a: 1 participant" in page
    assert "n/a to n/a" not in page


def test_two_participants_have_t_but_no_p_and_old_maps_go(tmp_path):
    tree = small_tree(tmp_path / "out")
    group_level(tree.root, settings(tree.root))
    assert set(load_derivatives(tree.root).group_maps()["stat"]) == {"mean", "t", "p"}
    group_level(tree.root, settings(tree.root, participant_labels=("01", "03")))
    maps = load_derivatives(tree.root).group_maps()
    assert set(maps["stat"]) == {"mean", "t"}
    assert len(list(tree.root.glob("group_*_statmap.*"))) == 2 * len(maps)


def before_and_after_refusal(tree, match, **changes):
    before = sorted(tree.root.rglob("*"))
    with pytest.raises(DataError, match=match):
        group_level(tree.root, settings(tree.root, **changes))
    assert sorted(tree.root.rglob("*")) == before


def test_mixed_weights_are_refused_and_nothing_is_written(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"], fingerprints={"02": "e" * 16})
    before_and_after_refusal(tree, "model ban has different weights.*sub-01 ffff.*sub-02 eeee.*--weights")


def test_mixed_atlases_are_refused_and_nothing_is_written(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"], atlases={"02": "another"})
    with pytest.raises(DataError, match="sub-01 HCP-MMP1.0, sub-02 another.*same --atlas"):
        group_level(tree.root, settings(tree.root))
    assert not list(tree.root.glob("group*"))


def test_features_reduced_in_different_ways_are_refused_and_nothing_is_written(tmp_path):
    for label, other in (("02", "none"), ("02", "32 principal components")):
        tree = small_tree(tmp_path / other[:2], ["01", "02"], reductions={label: other})
        with pytest.raises(DataError, match=f"sub-01 64 principal.*sub-02 {other}.*same --n-components"):
            group_level(tree.root, settings(tree.root))
        assert not list(tree.root.glob("group*"))


def test_scores_by_different_versions_are_refused_and_nothing_is_written(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"], versions={"02": "0.1"})
    with pytest.raises(DataError, match="sub-01 0.2, sub-02 0.1.*same version"):
        group_level(tree.root, settings(tree.root))
    assert not list(tree.root.glob("group*"))


def test_a_region_that_the_atlas_lacks_stays_unavailable_in_the_group(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    why = "atlas juelich has no region PB"
    for label, table in tree.scores.items():
        gone = (table["region"] == "PB") | (table["row"] == "C")
        table.loc[gone, ["value", "ci_low", "ci_high"]] = np.nan
        table.loc[gone, "reason"] = why
        path = bas_name(label, TASK, "ban").path(tree.root)
        write_table(path, table, COLUMNS, {"Model": "ban", "Atlas": "juelich"})
    assert group_level(tree.root, settings(tree.root)) == 0
    rows = group_rows(tree.root)
    lost = rows[(rows["region"] == "PB") | (rows["row"] == "C")]
    assert len(lost) == 12 and lost["value"].isna().all() and (lost["n"] == 0).all()
    assert set(lost["reason"]) == {f"sub-01, sub-02: {why}"}
    assert rows.loc[rows["region"] == "A1", "value"].notna().all()
    page = (tree.root / "group.html").read_text()
    assert why in page


def test_mixed_grids_are_refused_and_nothing_is_written(tmp_path):
    other = AFFINE.copy()
    other[0, 3] += 1
    tree = small_tree(tmp_path / "out", ["01", "02"], affines={"02": other})
    before_and_after_refusal(tree, "sub-02 and sub-01 are on different grids.*--res")


def test_mixed_spaces_are_refused(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    values = np.ones(int(tree.mask.sum()))
    place = {"participant": "02", "task": TASK, "space": "Other", "model": "ban", "layer": "A1"}
    write_statmap(tree.root, values, tree.mask, AFFINE, stat="r", **place)
    before_and_after_refusal(tree, "different spaces.*sub-02: MNI152NLin2009cAsym, Other")


def test_two_analyses_are_not_averaged(tmp_path):
    tree = small_tree(tmp_path / "out", ["01"])
    values = np.ones(int(tree.mask.sum()))
    place = {"participant": "01", "task": "Rest", "space": SPACE, "model": "ban", "layer": "A1"}
    write_statmap(tree.root, values, tree.mask, AFFINE, stat="r", **place)
    known = read_json(bas_name("01", TASK, "ban").path(tree.root).with_suffix(".json"))
    write_table(bas_name("01", "Rest", "ban").path(tree.root), tree.scores["01"], COLUMNS, known)
    before_and_after_refusal(tree, "--task-id")
    assert group_level(tree.root, settings(tree.root, task_ids=(TASK,))) == 0


def test_people_or_models_of_different_held_out_tasks_are_not_mixed(tmp_path):
    """Each has one map per layer, so that no two maps of one participant gave it away."""
    tree = small_tree(tmp_path / "out", ["01"])
    facts = read_json(bas_name("01", TASK, "ban").path(tree.root).with_suffix(".json"))
    for label, model in (("02", "ban"), ("01", "deepcnn")):
        path = bas_name(label, "Rest", model).path(tree.root)
        place = {"participant": label, "task": "Rest", "space": SPACE, "model": model, "layer": "A1"}
        image = write_statmap(tree.root, np.ones(int(tree.mask.sum())), tree.mask, AFFINE, stat="r", **place)
        write_table(path, tree.scores["01"].assign(model=model), COLUMNS, {**facts, "Model": model})
        before_and_after_refusal(tree, rf"held-out tasks \(Rest: sub-{label}; Test: sub-01\).*--task-id")
        for file in (path, image):
            sidecar(file).unlink()


def test_a_task_that_was_not_held_out_is_told_from_an_unfinished_participant(tmp_path):
    tree = small_tree(tmp_path / "out", ["01"])
    (tree.root / "sub-09").mkdir()
    out = load_derivatives(tree.root)
    why = (
        "sub-01: no score table of task music; held out was Test; sub-09: no score table: participant level not "
        "finished.*--task-id takes the held-out task of the tables, Test"
    )
    with pytest.raises(DataError, match=why):
        find_members(out, settings(tree.root, task_ids=("music",)).selection)


def test_a_failed_participant_with_an_older_table_is_left_out(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    write_status(tree.root, "02", "failed", "no T1w")
    group_level(tree.root, settings(tree.root))
    facts = read_json(tree.root / "group_bas.json")
    assert facts["Participants"] == ["01"]
    assert facts["MissingParticipants"][0]["reason"] == "failed: no T1w; an older score table is left out"


def test_maps_without_a_score_table_are_unfinished_and_left_out(tmp_path):
    tree = small_tree(tmp_path / "out", ["01"])
    values = np.ones(int(tree.mask.sum()))
    place = {"participant": "01", "task": TASK, "space": SPACE, "model": "killed", "layer": "A1"}
    write_statmap(tree.root, values, tree.mask, AFFINE, stat="r", **place)
    assert group_level(tree.root, settings(tree.root)) == 0
    assert set(load_derivatives(tree.root).group_maps()["model"]) == {"ban"}


def test_models_stand_side_by_side_and_a_shared_control_keeps_its_model(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    rng = np.random.default_rng(5)
    for label in ("01", "02"):
        for model in ("ban", "deepcnn"):
            table = score_rows(rng, model)
            logmel = table[table["role"] == "control"].assign(model="logmel")
            write_model(tree.root, label, pd.concat([table, logmel]), model)
    assert group_level(tree.root, settings(tree.root)) == 0
    rows = group_rows(tree.root)
    c = rows[rows["row"] == "C"]
    assert set(c[c["role"] == "scored"]["model"]) == {"ban", "deepcnn"}
    assert sorted(c[c["model"] == "logmel"]["control_of"]) == ["ban", "deepcnn"]
    assert (c["n"] == 2).all()
    page = lxml.html.parse(str(tree.root / "group.html")).getroot()
    models = page.xpath("//section[h2='Summary']//table//tr[td]/td[1]/text()")
    assert sorted(models) == ["ban", "deepcnn"]


def test_a_model_that_failed_in_one_participant_is_left_out_there_alone(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    for label in ("01", "02"):
        write_model(tree.root, label, score_rows(np.random.default_rng(6), "deepcnn"), "deepcnn")
    write_status(tree.root, "02", "failed", "features are not finite", model="deepcnn")
    assert group_level(tree.root, settings(tree.root)) == 0
    rows = group_rows(tree.root)
    n = rows[(rows["row"] == "C") & (rows["role"] == "scored")].set_index("model")["n"]
    assert dict(n) == {"ban": 2, "deepcnn": 1}
    [missing] = read_json(tree.root / "group_bas.json")["MissingParticipants"]
    assert missing["participant"] == "02"
    assert missing["reason"] == "model deepcnn failed: features are not finite; an older score table is left out"


def test_who_was_not_scored_with_a_model_is_named_in_its_rows():
    rng = np.random.default_rng(0)
    own = [("01", "ban"), ("02", "ban"), ("02", "deepcnn")]
    tables = [score_rows(rng, model).assign(participant=label, task=TASK) for label, model in own]
    scores = pd.concat([table.assign(control_of=table["model"].iloc[0]) for table in tables], ignore_index=True)
    scores["control_of"] = scores["control_of"].where(scores["role"] == "control")
    files = pd.DataFrame(columns=["path", "task", "model"])
    rows = group_table(scores, files, n_draws=10, seed=0).query("level == 'group' and row == 'C'").set_index("model")
    assert rows["n"].to_dict() == {"ban": 2, "banuntrained1": 2, "deepcnn": 1, "deepcnnuntrained1": 1}
    assert rows["reason"].str.contains("sub-01: not scored").tolist() == [False, False, True, True]


def test_scores_that_pool_other_sessions_are_refused_by_name(tmp_path):
    tree = small_tree(tmp_path / "out", ["01"], sessions=("a", "b"))
    before_and_after_refusal(tree, "--session-id a: .*sub-01 ban: a, b", session_ids=("a",))
    assert group_level(tree.root, settings(tree.root, session_ids=("a", "b", "c"))) == 0
    assert group_level(tree.root, settings(tree.root)) == 0


def test_nobody_is_an_error_that_says_why(tmp_path):
    tree = small_tree(tmp_path / "out", [])
    write_status(tree.root, "02", "failed", "no T1w")
    with pytest.raises(DataError, match="sub-02: failed: no T1w"):
        group_level(tree.root, settings(tree.root))


def test_an_unknown_participant_is_a_usage_error(tmp_path):
    tree = small_tree(tmp_path / "out", ["01"])
    with pytest.raises(UsageError, match="--participant-label 99.*01"):
        group_level(tree.root, settings(tree.root, participant_labels=("99",)))


def moments_of(r: np.ndarray) -> Moments:
    moments = Moments()
    for own in r:
        moments.add(own)
    return moments


def test_voxels_without_variance_have_no_t():
    found = moments_of(np.array([[0.2, 0.1], [0.2, 0.3], [0.2, 1.0]])).statistics()
    assert np.isnan(found["t"][0])
    assert np.isnan(found["p"][0])
    assert np.isfinite(found["t"][1])
    assert found["mean"][0] == pytest.approx(0.2)


def test_maps_taken_one_by_one_give_what_all_of_them_at_once_give():
    rng = np.random.default_rng(3)
    r = rng.uniform(-0.9, 0.99, (9, 4, 5, 6)).astype(np.float32)
    r[rng.random(r.shape) < 0.02] = np.nan
    r[:, 0] = 0
    r[7, 1, 2, 3] = 0  # outside one person's mask
    r[2, 3, 3, 3] = 1
    moments = moments_of(r)
    mask = (np.isfinite(r) & (r != 0)).all(axis=0)
    assert 0 < mask.sum() < mask[1:].size
    np.testing.assert_array_equal(moments.mask, mask)
    z = np.arctanh(np.minimum(r[:, mask].astype(float), 1 - 1e-7))
    t, p = stats.ttest_1samp(z, 0, alternative="greater")
    found = moments.statistics()
    np.testing.assert_allclose(found["mean"], np.tanh(z.mean(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(found["t"], t, rtol=1e-12)
    np.testing.assert_allclose(found["p"], p, rtol=1e-12)


def test_voxels_that_anybody_lacks_are_gone_for_good():
    moments = moments_of(np.array([[0.1, 0.2, 0.3], [0.1, np.nan, 0.3], [0.2, 0.2, 0.0]]))
    assert moments.mask.tolist() == [True, False, False]
    moments.add(np.zeros(3))
    assert not moments.mask.any() and not len(moments.statistics()["mean"])


N_CLIPS = 12


def kept_score(rng, signal, quality) -> KeptScore:
    """A model that explains part of what a person hears: noise and its errors are the person's own."""
    n = 3 * N_CLIPS
    repeats = Repeats(np.arange(2 * n).reshape(2, n).T, np.repeat(np.arange(N_CLIPS), 3))
    statistics = {}
    for area in AREAS:
        bold = np.tile(signal[area], (2, 1)) + rng.normal(size=(2 * n, 8))
        statistics[area, area] = clip_statistics(np.tile(quality * signal[area], (2, 1)), bold, repeats)
    return KeptScore(statistics, {area: statistics[area, area] for area in AREAS})


def with_draws(root: Path, label: str, *, clips=None, shift: float = 0.0, b: float = BEHAVIORAL) -> pd.DataFrame:
    """Draws of a model and the score table that goes with them; ``shift`` makes the table another's."""
    heard, own = np.random.default_rng(8), np.random.default_rng(int(label))
    # some clips are predicted well and some are not, the same ones in everybody
    quality = np.repeat(heard.uniform(-0.2, 1, size=(N_CLIPS, 1)), 3, axis=0)
    signal = {area: own.normal(size=(3 * N_CLIPS, 8)) for area in AREAS}
    kept = kept_score(own, signal, quality)
    behavior = Estimate(value=b, draws=b + 0.12 * np.random.default_rng(9).normal(size=1000))
    names = tuple(f"{k:02d}" for k in range(N_CLIPS)) if clips is None else clips
    write_draws(root, Draws(label, TASK, "ban", names, {"ban": kept}, behavior))
    scores = {cell: float(values[0]) for cell, values in kept.scores(np.ones((1, N_CLIPS))).items()}
    scores["B", "", ""], scores["BAS", "", ""] = b, (scores["C", "", ""] + b) / 2
    scores["C", "", ""] += shift
    table = score_rows(own, "ban").assign(generalises_to="clips")
    cells = [tuple(cell) for cell in table[["row", "layer", "region"]].fillna("").to_numpy()]
    table["value"] = [scores.get(cell, value) for cell, value in zip(cells, table["value"], strict=True)]
    table = table[(table["role"] == "scored") & (table["layer"].isna() | (table["layer"] == table["region"]))]
    return write_model(root, label, table, "ban")


def width(row: pd.Series) -> float:
    return float(row["ci_high"] - row["ci_low"])


def test_the_interval_of_bas_holds_the_uncertainty_of_b_and_that_of_c_other_clips(tmp_path):
    """Lines 5 and 9 of the issue: B alone gives +- .12; people who agree are no proof of other clips."""
    labels = ["01", "02", "03", "04", "05"]
    tree = small_tree(tmp_path / "out", labels)
    tables = {label: with_draws(tree.root, label) for label in labels}
    assert group_level(tree.root, settings(tree.root)) == 0
    rows = group_rows(tree.root)
    totals = rows[rows["region"].isna()].set_index("row")
    values = [float(table.loc[table["row"] == "C", "value"].iloc[0]) for table in tables.values()]
    assert totals.loc["C", "value"] == pytest.approx(np.mean(values), abs=1e-6)
    assert totals.loc["C", "sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert width(totals.loc["BAS"]) >= 0.12 * 1.96
    over_people = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert width(totals.loc["C"]) > 1.5 * (over_people.high - over_people.low)
    assert totals.loc["C", "generalises_to"] == totals.loc["BAS", "generalises_to"] == "people and clips"
    assert totals.loc["B", "generalises_to"] == "clips (these people)"
    regions = rows[rows["row"].isin(["layer", "region"])]
    assert set(regions["generalises_to"]) == {"people and clips"}
    assert regions["ci_low"].notna().all()
    assert totals.loc["R2", "generalises_to"] == "people"
    own = load_derivatives(tree.root).group_scores().query("level == 'participant' and row == 'C'")
    assert set(own["generalises_to"]) == {"clips"}


def test_b_says_whether_its_interval_is_of_other_people_too(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    for label in ("01", "02"):
        table = with_draws(tree.root, label)
        table.loc[table["row"] == "B", "generalises_to"] = "people and clips"
        write_model(tree.root, label, table, "ban")
    assert group_level(tree.root, settings(tree.root)) == 0
    assert group_rows(tree.root).set_index("row").loc["B", "generalises_to"] == "people and clips"


def test_who_was_scored_before_people_chose_has_no_bas_and_stops_nobody(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02", "03"])
    tables = [with_draws(tree.root, label, b=b) for label, b in (("01", np.nan), ("02", 0.4), ("03", 0.4))]
    assert group_level(tree.root, settings(tree.root)) == 0
    totals = group_rows(tree.root).set_index("row")
    c = [float(table.loc[table["row"] == "C", "value"].iloc[0]) for table in tables]
    assert totals.loc["BAS", "value"] == pytest.approx((np.mean(c[1:]) + 0.4) / 2, abs=1e-6)
    assert totals.loc[["C", "B", "BAS"], "n"].tolist() == [3, 2, 2]
    assert totals.loc["BAS", "generalises_to"] == "people and clips"


def test_a_b_on_which_tables_disagree_makes_bas_unavailable_and_stops_nothing(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    for label, b in (("01", 0.4), ("02", 0.6)):
        table = with_draws(tree.root, label, b=b).assign(track_overlap="none")
        write_model(tree.root, label, table, "ban")
    assert group_level(tree.root, settings(tree.root)) == 0
    totals = group_rows(tree.root).set_index("row")
    assert totals.loc[["B", "BAS"], ["value", "ci_low"]].isna().all(axis=None)
    assert set(totals.loc[["C", "B", "BAS"], "track_overlap"]) == {"none"}
    why = "participants' tables disagree on it: run the participant level of all again"
    assert totals.loc[["B", "BAS"], "reason"].tolist() == [why, f"B is n/a: {why}"]
    assert totals.loc["C", "n"] == 2 and np.isfinite(totals.loc["C", "ci_low"])


def test_one_participant_has_an_interval_over_clips_that_says_so(tmp_path):
    tree = small_tree(tmp_path / "out", ["01"])
    with_draws(tree.root, "01")
    assert group_level(tree.root, settings(tree.root)) == 0
    c = group_rows(tree.root).set_index("row").loc["C"]
    assert c["generalises_to"] == "clips (these people)"
    assert c["ci_low"] < c["value"] < c["ci_high"]
    assert np.isnan(c["sd"])


def test_people_who_heard_other_clips_share_no_chance_of_clips(tmp_path):
    widths = []
    for name, own_clips in (("same", False), ("other", True)):
        labels = ["01", "02", "03", "04"]
        tree = small_tree(tmp_path / name, labels)
        for label in labels:
            with_draws(tree.root, label, clips=tuple(f"{label}-{k}" for k in range(N_CLIPS)) if own_clips else None)
        group_level(tree.root, settings(tree.root))
        widths.append(width(group_rows(tree.root).set_index("row").loc["C"]))
    assert widths[1] < widths[0]


def test_layers_that_are_called_by_numbers_keep_their_names_and_their_draws(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    numbered = dict(zip(AREAS, ("0", "1", "01", "1e3"), strict=True))
    for label in ("01", "02"):
        table = with_draws(tree.root, label)
        table["layer"] = table["layer"].map(numbered, na_action="ignore")
        write_model(tree.root, label, table, "ban")
        [draws] = load_derivatives(tree.root).draws(label)
        own = {(numbered[layer], region): one for (layer, region), one in draws.scores["ban"].statistics.items()}
        kept = replace(draws.scores["ban"], statistics=own)
        write_draws(tree.root, replace(draws, scores={"ban": kept}))
    assert load_derivatives(tree.root).scores("01", layer="01")["region"].tolist() == ["PB"]
    assert group_level(tree.root, settings(tree.root)) == 0
    layers = group_rows(tree.root).query("row == 'layer'")
    assert layers["layer"].tolist() == list(numbered.values())
    assert set(layers["generalises_to"]) == {"people and clips"}


def test_draws_of_other_scores_than_the_table_s_are_refused(tmp_path):
    tree = small_tree(tmp_path / "out", ["01", "02"])
    with_draws(tree.root, "01")
    with_draws(tree.root, "02", shift=0.05)
    before_and_after_refusal(
        tree, r"sub-02: C of ban is .* in its score table .*desc-ban_draws.npz\); run the participant level"
    )


@pytest.mark.parametrize("n_people", [60, 61])
def test_tables_of_many_people_fold_and_no_picture_grows_too_wide(n_people):
    lines = [
        {"participant": f"{label:03d}", "model": "ban", "task": TASK, "row": row, "region": None}
        | {"value": 0.3, "ci_low": 0.2, "ci_high": 0.4}
        for label in range(n_people)
        for row in ("C", "BAS")
    ]
    table, *pictures = _participant_scores(pd.DataFrame(lines), ["ban"])
    assert table.folded and len(table.frame) == n_people
    assert len(pictures) == (n_people == 60)
