"""Models of one directory, run on different days: what is compared, what is refused, and that numbers are right."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_derivatives import TASK, fake_settings, score_rows, write_model

from ban_bids import load_derivatives
from ban_bids.app import comparable
from ban_bids.app.comparison import compare_group, compare_participant
from ban_bids.app.group import conditions_notes
from ban_bids.bids.names import bas_name, draws_name
from ban_bids.constants import AREAS
from ban_bids.derivatives.comparisons import COLUMNS
from ban_bids.derivatives.dataset import write_dataset_files
from ban_bids.derivatives.draws import Draws, read_draws, write_draws
from ban_bids.derivatives.provenance import write_status
from ban_bids.encoding.repeats import Repeats
from ban_bids.files.json import read_json, write_json
from ban_bids.scoring.bootstrap import Estimate, clip_statistics
from ban_bids.scoring.comparison import KeptScore, clip_draws

N_CLIPS, N_DRAWS = 12, 300
CLIPS = tuple(f"{k:02d}" for k in range(N_CLIPS))
CONDITIONS = {"Version": "0.1", "Folds": "abc", "HeldOutRows": "def", "Atlas": "HCP-MMP1.0", "Lags": [0.0, 2.0]}
JUDGED = {"JudgedClips": 40, "People": 20, "RandomSeed": 0, "Answers": "0123"}


def listener(label: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Signal and BOLD of one person: the same for all models."""
    rng = np.random.default_rng((1, int(label)))
    signal = {area: rng.normal(size=(3 * N_CLIPS, 8)) for area in AREAS}
    return signal, {area: np.tile(s, (2, 1)) + rng.normal(size=(2 * len(s), 8)) for area, s in signal.items()}


def kept(label: str, quality: float, seed: int, n_clips: int = N_CLIPS, noise: float = 0.0) -> KeptScore:
    """A model that predicts a share of the signal, with errors of its own."""
    signal, bold = listener(label)
    rng = np.random.default_rng((2, seed))
    n = 3 * N_CLIPS
    repeats = Repeats(np.arange(2 * n).reshape(2, n).T[: 3 * n_clips], np.repeat(np.arange(n_clips), 3))
    committed = {}
    for area in AREAS:
        prediction = quality * signal[area] + 0.2 * rng.normal(size=(n, 8))
        measured = bold[area] + noise * rng.normal(size=bold[area].shape)
        committed[area] = clip_statistics(np.tile(prediction, (2, 1)), measured, repeats)
    return KeptScore({}, committed)


def score(root: Path, label: str, model: str, quality: float, seed: int | None = None, **changes) -> None:
    """Write what the participant level writes of a model with two untrained controls and log-mel."""
    seed = sum(map(ord, model)) if seed is None else seed
    clips = changes.pop("clips", CLIPS)
    options = {"n_clips": len(clips), "noise": changes.pop("noise", 0.0)}
    qualities = {model: quality, f"{model}untrained1": 0.1, f"{model}untrained2": 0.2, "logmel": 0.15}
    scores = {name: kept(label, q, seed + k, **options) for k, (name, q) in enumerate(qualities.items())}
    b = changes.pop("b", 0.3)
    drawn = b + 0.1 * np.random.default_rng((3, seed)).normal(size=N_DRAWS)
    conditions = {"conditions": CONDITIONS, "behavior_conditions": JUDGED, **changes}
    write_draws(root, Draws(label, TASK, model, clips, scores, Estimate(value=b, draws=drawn), **conditions))
    rows = []
    for name, one in scores.items():
        values = {key: float(draws[0]) for key, draws in one.rho(np.ones((1, len(clips)))).items()}
        values |= {("B", ""): b, ("BAS", ""): (values["C", ""] + b) / 2} if name == model else {}
        for (row, region), value in values.items():
            own = {"row": row, "region": region or None, "value": value, "rho": value if region else np.nan}
            role = "scored" if name == model else "control"
            rows.append({**own, "model": name, "role": role, "belongs_to": "participant"})
    table = pd.DataFrame(rows).reindex(columns=list(score_rows(np.random.default_rng(0), model)))
    write_model(root, label, table, model)
    write_status(root, label, "done", model=model)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset_files(tmp_path / "out", [])
    return tmp_path / "out"


def compare(root: Path, label: str = "01") -> pd.DataFrame:
    settings = fake_settings(root).changed(n_bootstrap=N_DRAWS)
    path = compare_participant(root, label, TASK, settings)
    assert path.name == f"sub-{label}_task-{TASK}_comparison.tsv"
    table = load_derivatives(root).comparisons(label)
    assert list(table) == list(COLUMNS)
    return table


def one(table: pd.DataFrame, **filters) -> pd.Series:
    for column, value in filters.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_every_row_of_the_schema_is_there(root):
    for model, quality in (("b", 0.7), ("a", 0.4), ("c", 0.5)):
        score(root, "01", model, quality)
    table = compare(root)
    cells = len(AREAS) + 3
    assert (table["kind"] == "models").sum() == 3 * cells
    assert (table["kind"] == "control").sum() == 3 * 4 * (cells - 2)
    assert (table["kind"] == "rank").sum() == 3 * cells
    pairs = table[(table["kind"] == "models") & (table["row"] == "C")][["model", "other"]]
    assert [tuple(pair) for pair in pairs.to_numpy()] == list(combinations("abc", 2))
    assert set(table["level"]) == {"participant"} and set(table["participant"]) == {"01"}
    reach = table.groupby(table["row"] == "B")["generalises_to"].unique()
    assert list(reach[False]) == ["clips"] and list(reach[True]) == ["clips (these people)"]
    assert (table["n"] == 1).all()
    assert (table["p_corrected"].dropna() >= table["p"].dropna()).all()
    ranks = table[(table["kind"] == "rank") & (table["row"] == "C")].set_index("model")
    assert ranks.loc[["b", "c", "a"], "value"].tolist() == [1, 2, 3]
    assert ranks["first"].sum() == pytest.approx(1)
    assert table.loc[table["kind"] == "rank", ["p", "p_corrected"]].isna().all(axis=None)


def test_a_model_that_knows_held_out_tracks_is_marked_wherever_it_is_compared(root):
    for model, quality in (("b", 0.7), ("a", 0.4), ("c", 0.5)):
        score(root, "01", model, quality)
    table = pd.read_csv(bas_name("01", TASK, "a").path(root), sep="\t", na_values="n/a")
    overlap = np.where(table["model"] == "a", "3", "none")
    write_model(root, "01", table.assign(track_overlap=overlap), "a")
    out = load_derivatives(root)
    for found in (
        compare(root),
        compare_group(out.scores(), out.draw_files(), n_draws=N_DRAWS, seed=1),
    ):
        told = found["reason"].fillna("").str.contains("a was trained or validated on 3 held-out tracks", regex=False)
        assert (told == ((found["model"] == "a") | (found["other"] == "a"))).all()


def test_held_out_tracks_that_a_model_knows_are_those_of_each_participant(root):
    for label in ("01", "02"):
        for model, quality in (("b", 0.7), ("a", 0.4)):
            score(root, label, model, quality)
    table = pd.read_csv(bas_name("01", TASK, "a").path(root), sep="\t", na_values="n/a")
    write_model(root, "01", table.assign(track_overlap=np.where(table["model"] == "a", "1", "none")), "a")
    out = load_derivatives(root)
    found = compare_group(out.scores(), out.draw_files(), n_draws=N_DRAWS, seed=1).query("model == 'a'")
    told = found["reason"].fillna("").str.contains("a was trained or validated on 1 held-out track (", regex=False)
    assert (told == (found["participant"] != "02")).all()


def test_a_difference_of_c_is_that_of_explicit_loops_over_draws(root):
    score(root, "01", "a", 0.7)
    score(root, "01", "b", 0.4)
    found = one(compare(root), kind="models", row="C")
    first, second = (kept("01", q, ord(m)) for m, q in (("a", 0.7), ("b", 0.4)))
    [counts] = clip_draws([CLIPS], N_DRAWS, fake_settings(root).compute.random_seed)
    differences = []
    for drawn in counts:
        rho = []
        for model in (first, second):
            c = np.array([model.scores(drawn[None])["region", "", area][0] for area in AREAS])
            rho.append(np.mean(np.sign(c) * np.sqrt(np.abs(c))))
        differences.append(rho[0] - rho[1])
    value, draws = differences[0], np.array(differences[1:])
    from scipy import stats

    wider = np.sqrt(N_CLIPS / (N_CLIPS - 1)) * stats.t.ppf(0.975, N_CLIPS - 1) / stats.norm.ppf(0.975)
    draws = value + wider * (draws - np.median(draws))
    assert found["value"] == pytest.approx(value, abs=1e-6)
    assert found[["ci_low", "ci_high"]].tolist() == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=1e-6)
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    assert found["p"] == pytest.approx(2 * (1 + beyond) / (1 + N_DRAWS))


def test_b_and_bas_join_draws_by_number(root):
    score(root, "01", "a", 0.7, b=0.5)
    score(root, "01", "b", 0.7, seed=5, b=0.2)
    table = compare(root)
    [first, second] = load_derivatives(root).draws("01")
    drawn = first.behavior.draws - second.behavior.draws
    b = one(table, kind="models", row="B")
    assert b["value"] == pytest.approx(0.3)
    assert b[["ci_low", "ci_high"]].tolist() == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-6)
    c, bas = (one(table, kind="models", row=row) for row in ("C", "BAS"))
    assert bas["value"] == pytest.approx((c["value"] + 0.3) / 2, abs=1e-6)
    narrower = (b["ci_high"] - b["ci_low"]) / 2
    assert bas["ci_high"] - bas["ci_low"] > narrower


def test_untrained_networks_are_compared_as_their_mean_too(root):
    score(root, "01", "a", 0.7)
    table = compare(root)
    assert set(table["kind"]) == {"control"}  # one model: nothing to rank
    c = {other: one(table, other=other, row="C")["value"] for other in ("auntrained1", "auntrained2", "auntrained")}
    assert c["auntrained"] == pytest.approx((c["auntrained1"] + c["auntrained2"]) / 2, abs=1e-6)
    assert one(table, other="logmel", row="C")["ci_low"] > 0


def test_equal_models_differ_by_nothing_and_share_their_rank(root):
    for model in ("a", "b"):
        score(root, "01", model, 0.6, seed=4)
    table = compare(root)
    for row in ("C", "B", "BAS"):
        found = one(table, kind="models", row=row)
        assert found[["value", "ci_low", "ci_high"]].tolist() == pytest.approx([0, 0, 0], abs=1e-9)
        assert found["p"] == found["p_corrected"] == 1
        ranks = table[(table["kind"] == "rank") & (table["row"] == row)]
        assert ranks[["value", "ci_low", "ci_high", "first"]].to_numpy().tolist() == [[1.5, 1, 2, 0.5]] * 2


REFUSED = {
    "other folds": ({"conditions": {**CONDITIONS, "Folds": "xyz"}}, "Folds differs (a: abc, b: xyz)"),
    "another atlas": (
        {"conditions": {**CONDITIONS, "Atlas": "AAL"}},
        "Atlas differs (a: HCP-MMP1.0, b: AAL); run the participant level of a or b again",
    ),
    "other lags": ({"conditions": {**CONDITIONS, "Lags": [0.0]}}, "Lags differs (a: 0.0 2.0, b: 0.0)"),
    "another version": ({"conditions": {**CONDITIONS, "Version": "0.0"}}, "Version differs (a: 0.1, b: 0.0)"),
    "nothing was kept": ({"conditions": {}}, "what b rests on was not kept; run the participant level of b again"),
    "other clips": ({"clips": CLIPS[:10]}, "repeated clips differ (a: 12, b: 10)"),
    "other BOLD": ({"noise": 0.5}, "BOLD of A1, Belt, PB, T2T3 is not the same (other images, confounds or voxels)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_by_name(root, caplog, case):
    changes, why = REFUSED[case]
    score(root, "01", "a", 0.7)
    score(root, "01", "b", 0.5, **changes)
    with caplog.at_level(logging.WARNING):
        table = compare(root)
    pairs = table[(table["kind"] == "models") & (table["row"] != "B")]
    assert pairs["value"].isna().all() and pairs["p"].isna().all() and (pairs["n"] == 0).all()
    assert pairs["reason"].str.contains(why, regex=False).all()
    ranks = table[(table["kind"] == "rank") & (table["row"] == "C")]
    assert ranks["value"].isna().all() and ranks["reason"].str.contains(why, regex=False).all()
    assert f"sub-01: a and b are not compared: {why}" in caplog.text
    # B rests on other data, and a model's own controls on the same
    assert np.isfinite(one(table, kind="models", row="B")["value"])
    assert np.isfinite(table.loc[table["kind"] == "control", "value"]).all()


def test_b_in_other_draws_is_refused_and_c_is_let_through(root):
    score(root, "01", "a", 0.7)
    score(root, "01", "b", 0.5, behavior_conditions={**JUDGED, "RandomSeed": 1})
    table = compare(root)
    assert np.isfinite(one(table, kind="models", row="C")["value"])
    for row in ("B", "BAS"):
        found = one(table, kind="models", row=row)
        assert np.isnan(found["value"]) and "B: RandomSeed differs (a: 0, b: 1)" in found["reason"]


def test_one_model_of_other_settings_leaves_the_others_ranked(root):
    for model, quality in (("a", 0.7), ("b", 0.5)):
        score(root, "01", model, quality)
    score(root, "01", "old", 0.9, conditions={**CONDITIONS, "Atlas": "AAL"})
    ranks = compare(root).query("kind == 'rank' and row == 'C'").set_index("model")
    assert ranks.loc[["a", "b"], "value"].tolist() == [1, 2]
    assert np.isnan(ranks.loc["old", "value"]) and "Atlas differs" in ranks.loc["old", "reason"]


def test_what_threads_make_of_the_same_bold_is_let_through(root):
    score(root, "01", "a", 0.7)
    score(root, "01", "b", 0.5, noise=1e-6)
    assert np.isfinite(one(compare(root), kind="models", row="C")["value"])


def test_missing_damaged_and_stale_files_are_named_and_stop_nothing(root):
    for model in "abcd":
        score(root, "01", model, 0.6)
    draws_name("01", TASK, "b").path(root).with_suffix(".json").unlink()
    draws_name("01", TASK, "c").path(root).write_bytes(b"no zip")
    path = draws_name("01", TASK, "d").path(root).with_suffix(".json")
    write_json(path, {key: value for key, value in read_json(path).items() if "Comparable" not in key})
    table = compare(root)
    reasons = table[(table["kind"] == "models") & (table["model"] == "a") & (table["row"] == "C")].set_index("other")
    assert reasons.loc["b", "reason"] == "no draws of b were kept; run the participant level of b again"
    assert "desc-c_draws.npz: missing or damaged; run the participant level" in reasons.loc["c", "reason"]
    assert reasons.loc["d", "reason"] == "what d rests on was not kept; run the participant level of d again"


def test_a_score_that_is_not_there_keeps_its_reason_and_a_stale_table_is_noticed(root):
    for model in "abc":
        score(root, "01", model, 0.6)
    for model, change in (("b", np.nan), ("c", 0.9)):
        path = bas_name("01", TASK, model).path(root)
        table = pd.read_csv(path, sep="\t", na_values="n/a")
        mine = (table["row"] == "C") & (table["role"] == "scored")
        table.loc[mine, "value"] = change
        table["reason"] = table["reason"].astype(object)
        table.loc[mine, "reason"] = "region PB holds nothing"
        table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    found = compare(root)
    rows = found[(found["kind"] == "models") & (found["row"] == "C")]
    assert "b: region PB holds nothing" in one(rows, model="a", other="b")["reason"]
    assert "c has 0.9000 in its score table and" in one(rows, model="a", other="c")["reason"]
    assert np.isfinite(one(found, kind="models", row="region", region="A1", model="a", other="b")["value"])


def test_the_group_compares_over_people_and_repeats_its_participants(root):
    labels = ("01", "02", "03")
    for label in labels:
        write_status(root, label, "done")
        for model, quality in (("a", 0.8), ("b", 0.4)):
            score(root, label, model, quality)
    score(root, "03", "b", 0.4, conditions={**CONDITIONS, "Folds": "xyz"})
    settings = fake_settings(root, "group").changed(n_bootstrap=N_DRAWS)
    own = pd.concat([compare(root, label) for label in labels])
    from ban_bids.app.comparison import compare_group

    out = load_derivatives(root)
    table = compare_group(out.scores(), out.draw_files(), n_draws=N_DRAWS, seed=settings.compute.random_seed)
    group = table[table["level"] == "group"]
    found = one(group, kind="models", row="C")
    mine = own[(own["kind"] == "models") & (own["row"] == "C")].set_index("participant")
    assert found["n"] == 2 and "sub-03: Folds differs" in found["reason"]
    assert found["value"] == pytest.approx(mine.loc[["01", "02"], "value"].mean(), abs=1e-6)
    assert found["generalises_to"] == "people and clips"
    assert one(group, kind="models", row="B")["generalises_to"] == "clips (these people)"
    repeated = table[table["level"] == "participant"].reset_index(drop=True)
    np.testing.assert_allclose(repeated["value"].astype(float), own["value"], atol=1e-6)
    np.testing.assert_allclose(repeated["p_corrected"].astype(float), own["p_corrected"], atol=1e-6)


def test_differences_of_b_speak_of_those_that_its_draws_were_drawn_over(root):
    drawn = {"behavior_conditions": {**JUDGED, "IntervalOver": "people and clips"}}
    for label in ("01", "02"):
        for model, quality in (("a", 0.8), ("b", 0.4)):
            score(root, label, model, quality, **drawn)
    from ban_bids.app.comparison import compare_group

    own = compare(root)
    out = load_derivatives(root)
    table = compare_group(out.scores(), out.draw_files(), n_draws=N_DRAWS, seed=0)
    for rows in (own, table[table["level"] == "group"]):
        assert set(rows.loc[rows["row"] == "B", "generalises_to"]) == {"people and clips"}
    score(root, "01", "a", 0.8)
    apart = compare(root)
    [reason] = apart.loc[(apart["row"] == "B") & (apart["kind"] == "models"), "reason"]
    assert "IntervalOver" in reason


def test_a_model_of_few_participants_does_not_decide_who_is_ranked(root):
    for label in ("01", "02", "03"):
        for model, quality in (("a", 0.8), ("b", 0.4)):
            score(root, label, model, quality)
    score(root, "02", "new", 0.9)
    from ban_bids.app.comparison import compare_group

    out = load_derivatives(root)
    group = compare_group(out.scores(), out.draw_files(), n_draws=N_DRAWS, seed=0).query("level == 'group'")
    ranks = group[(group["kind"] == "rank") & (group["row"] == "C")].set_index("model")
    assert ranks.loc[["a", "b"], "value"].tolist() == [1, 2] and (ranks.loc[["a", "b"], "n"] == 3).all()
    assert ranks.loc["new", "reason"] == "has the score in 1 participants, the ranked models in 3"


def test_each_file_of_draws_is_read_once_and_its_statistics_are_let_go(root, monkeypatch):
    for label in ("01", "02"):
        for model, quality in (("a", 0.7), ("b", 0.5), ("c", 0.4)):
            score(root, label, model, quality)
    counts = Counter()

    def counted(path, **options):
        counts[path.name] += 1
        return read_draws(path, **options)

    monkeypatch.setattr(comparable, "read_draws", counted)
    out = load_derivatives(root)
    compare_group(out.scores(), out.draw_files(), n_draws=50, seed=0)
    assert len(counts) == 6 and set(counts.values()) == {1}  # for the group and again for each of its members
    found = comparable.entries(out.scores("01"), out.draw_files("01"), n_draws=50, seed=0)
    bold = [next(iter(one.draws.scores.values())).committed["A1"] for one in found]
    assert [list(one.draws.scores) for one in found] == [["a"], ["b"], ["c"]]
    assert all(one.q_yy is bold[0].q_yy and one.q_pp.size == 0 for one in bold)


def test_members_with_other_clips_are_compared_in_draws_of_their_own(root):
    for label, clips in (("01", CLIPS), ("02", CLIPS[:10])):
        for model, quality in (("a", 0.7), ("b", 0.5)):
            score(root, label, model, quality, clips=clips)
    out = load_derivatives(root)
    seed = fake_settings(root).compute.random_seed
    table = compare_group(out.scores(), out.draw_files(), n_draws=N_DRAWS, seed=seed)
    own = compare(root, "02")
    of_group = table[table["participant"] == "02"].reset_index(drop=True)
    np.testing.assert_allclose(of_group["ci_low"].astype(float), own["ci_low"].astype(float), atol=1e-5)


def test_a_model_of_other_clips_leaves_the_intervals_of_others_as_they_are(root):
    few = CLIPS[:5]
    for model, quality in (("a", 0.8), ("b", 0.4)):
        score(root, "01", model, quality, clips=few)
    rows = {"kind": "models", "row": "C", "model": "a", "other": "b"}
    alone = one(compare(root), **rows)
    score(root, "01", "c", 0.5)  # of twelve clips, with which it cannot be compared
    table = compare(root)
    beside = one(table, **rows)
    assert beside["reason"] == alone["reason"] == "only 5 clips are repeated: the interval is rough"
    # the draws are others, and a pair of five clips has the width of five clips
    assert beside["ci_high"] - beside["ci_low"] == pytest.approx(alone["ci_high"] - alone["ci_low"], rel=0.2)
    control = one(table, kind="control", row="C", model="a", other="logmel")
    assert "only 5 clips" in control["reason"]
    assert pd.isna(one(table, kind="control", row="C", model="c", other="logmel")["reason"])


def test_nobody_is_ranked_by_a_b_on_which_participants_tables_disagree(root):
    for label, b in (("01", 0.3), ("02", 0.5)):
        for model, quality in (("a", 0.8), ("b", 0.4)):
            score(root, label, model, quality, b=b)
    out = load_derivatives(root)
    group = compare_group(out.scores(), out.draw_files(), n_draws=N_DRAWS, seed=0).query("level == 'group'")
    ranks = group[(group["kind"] == "rank") & group["row"].isin(["B", "BAS"])]
    assert len(ranks) == 4 and ranks[["value", "ci_low", "first"]].isna().all(axis=None)
    assert ranks["reason"].str.contains("participants' tables disagree on B").all()
    assert group.query("kind == 'rank' and row == 'C'")["value"].tolist() == [1, 2]


def test_participants_who_were_scored_in_different_ways_are_told(root):
    for label, confounds in (("01", "motion12"), ("02", "motion12"), ("03", "compcor")):
        conditions = {**CONDITIONS, "ConfoundsStrategy": confounds, "Folds": label}
        for model in "ab":
            score(root, label, model, 0.5, conditions=conditions)
    files = load_derivatives(root).draw_files()
    [note] = conditions_notes(files)  # folds are each person's own
    assert note.endswith("ConfoundsStrategy differs (motion12: sub-01, sub-02; compcor: sub-03)")
    assert conditions_notes(files[files["participant"] != "03"]) == []


def test_models_that_were_scored_in_different_ways_make_no_different_participants(root):
    for label in ("01", "02"):
        score(root, label, "a", 0.5, conditions={**CONDITIONS, "HighPass": 200.0})
        score(root, label, "b", 0.5, conditions={**CONDITIONS, "HighPass": 128.0})
    files = load_derivatives(root).draw_files()
    assert conditions_notes(files) == []  # each model's mean is over scores of one kind
    score(root, "02", "b", 0.5, conditions={**CONDITIONS, "HighPass": 200.0})
    [note] = conditions_notes(files)
    assert note.startswith("b: ") and note.endswith("HighPass differs (128.0: sub-01; 200.0: sub-02)")
