"""BAS: the arithmetic, the rules about missing parts, and the layout of the table."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from ban_bids.scoring.bas import COLUMNS, ModelScores, bas_score, score_table
from ban_bids.scoring.behavioral import KAPPAS, BehavioralScore, Part, no_behavior
from ban_bids.scoring.bootstrap import Estimate, with_interval
from ban_bids.scoring.correspondence import EstimateWithP
from ban_bids.scoring.cortical import CorticalScore, LayerScore
from ban_bids.scoring.voxels import RegionTest

AREAS = ("A1", "Belt", "PB", "T2T3")


def cortical(value: float = 0.4, spread: float = 0.05, seed: int = 0, layers: tuple[str, ...] = AREAS) -> CorticalScore:
    draws = value + spread * np.random.default_rng(seed).standard_normal(4000)
    known = {"value": 0.25, "ci_low": 0.09, "ci_high": 0.36}
    interval = with_interval(value, draws)
    return CorticalScore(
        **interval,
        model="ban",
        layers=tuple(LayerScore(a, r, 40, **known) for a in layers for r in AREAS),
        regions=tuple(LayerScore(layers[0], r, 40, **known) for r in AREAS),
        committed={r: {layers[0]: 1.0} for r in AREAS},
        mapping={a: a for a in AREAS if a in layers},
        mapped=Estimate(**interval),
        rsquare=Estimate(value=0.5, ci_low=0.4, ci_high=0.6),
        preference=EstimateWithP(value=0.1, ci_low=0.05, ci_high=0.15, p=0.01),
        hierarchy=EstimateWithP(value=0.3, p=1 / 24),
        n_repeats=4,
        n_clips=60,
    )


def behavioral(value: float = 0.6, spread: float = 0.1) -> BehavioralScore:
    draws = value + spread * np.random.default_rng(9).standard_normal(4000)
    known = {"value": value, "ci_low": 0.4, "ci_high": 0.8, "draws": draws}
    kappas = {name: Part(raw=0.2, people=0.25, n_clips=39, value=k / 10) for k, name in enumerate(KAPPAS)}
    return BehavioralScore(raw=0.3, people=0.5, n_clips=40, n_people=12, **kappas, **known)


def test_bas_is_the_mean_with_an_interval_of_independent_parts() -> None:
    score = bas_score(cortical(), behavioral())
    assert score.value == pytest.approx(0.5)
    half_width = 1.96 * np.hypot(0.05, 0.1) / 2
    assert (score.ci_low, score.ci_high) == pytest.approx((0.5 - half_width, 0.5 + half_width), abs=0.008)
    assert score.reason == ""


def test_draws_of_both_parts_are_joined_one_by_one() -> None:
    c, b = cortical(), behavioral()
    tied = replace(b, draws=0.6 - (c.draws - 0.4))  # what raises C lowers B: nothing is left of either
    joint = bas_score(c, tied)
    np.testing.assert_allclose(joint.draws, 0.5)
    assert (joint.ci_low, joint.ci_high) == pytest.approx((0.5, 0.5))
    assert len(bas_score(c, replace(b, draws=b.draws[:100])).draws) == 100


def test_a_missing_part_leaves_bas_out_and_keeps_the_other() -> None:
    score = bas_score(cortical(), no_behavior())
    assert np.isnan([score.value, score.ci_low]).all()
    assert score.reason == "B is n/a: the dataset holds no human genre choices"
    none = replace(cortical(), value=np.nan, reason="no clip is repeated")
    assert bas_score(none, no_behavior()).reason.startswith("C is n/a: no clip is repeated; B is n/a")
    table = score_table([ModelScores("ban", "scored", cortical(), no_behavior())]).set_index("row")
    assert table.loc["C", "value"] == pytest.approx(0.4) and np.isnan(table.loc["BAS", "value"])


def test_a_rough_interval_of_b_is_marked_where_the_score_stands() -> None:
    marked = replace(behavioral(), rough="the interval is rough: 40 clips of 10 genres")
    rows = score_table([ModelScores("ban", "scored", cortical(), marked)]).set_index("row")
    assert rows.loc["B", "reason"] == marked.rough and rows.loc["B", "value"] == 0.6
    assert pd.isna(rows.loc["kappa_majority", "reason"])


def test_rough_intervals_of_c_are_marked_where_the_scores_stand() -> None:
    few, half = "only 6 clips are repeated", "explainable variance of PB may be half of what was found"
    rough = {region: few for region in AREAS} | {"PB": f"{few}; {half}"}
    gone = LayerScore(AREAS[0], "T2T3", 40, reason="region T2T3 holds no explainable variance")
    score = replace(cortical(), rough=rough, regions=(*cortical().regions[:3], gone))
    table = score_table([ModelScores("ban", "scored", score, behavioral())])
    regions = table[table["row"] == "region"].set_index("region")["reason"]
    assert regions["A1"] == f"the interval is rough: {few}"
    assert regions["PB"] == f"the interval is rough: {few}; {half}"
    assert regions["T2T3"] == gone.reason
    totals = table.set_index("row")["reason"]
    assert totals["C"] == totals["C_mapped"] == f"the interval is rough: {few}; {half}"
    assert pd.isna(totals["hierarchy"])
    assert totals["BAS"] == f"C: the interval is rough: {few}; {half}"
    mark = "the interval is rough: people barely agree more than by chance"
    both = score_table([ModelScores("ban", "scored", score, replace(behavioral(), rough=mark))]).set_index("row")
    assert both.loc["BAS", "reason"] == f"{totals['BAS']}; B: {mark}"
    layers = table[(table["row"] == "layer") & (table["region"] == "PB")]
    assert layers["reason"].str.endswith(half).all()


def test_few_voxels_are_marked_where_the_score_stands() -> None:
    counts = zip(cortical().regions, (19, 20, 0, 3))
    sized = replace(cortical(), layers=(), regions=tuple(replace(region, n_voxels=n) for region, n in counts))
    gone = replace(sized.regions[2], value=np.nan, reason="no voxel of region PB can be scored")
    thin = replace(sized.regions[3], value=np.nan, reason="region T2T3 holds no explainable variance")
    sized = replace(sized, regions=(*sized.regions[:2], gone, thin))
    rows = score_table([ModelScores("ban", "scored", sized, no_behavior())]).set_index("region")
    assert rows.loc["A1", "reason"] == "region A1 has only 19 voxels: its figures rest on little"
    assert rows.loc["A1", "value"] == pytest.approx(0.25)
    assert pd.isna(rows.loc["Belt", "reason"])
    assert rows.loc["PB", "reason"] == "no voxel of region PB can be scored"
    both = "region T2T3 holds no explainable variance; region T2T3 has only 3 voxels"
    assert rows.loc["T2T3", "reason"].startswith(both)


def test_table_has_a_row_per_layer_and_region_then_totals_then_controls() -> None:
    tests = [
        RegionTest(layer=layer, region=region, mean_r=0.1, p=0.01 * k, p_fwer=0.02 * k, question=question)
        for k, (question, layer, region) in enumerate(product(("sound", "specific"), AREAS, AREAS), 1)
    ]
    table = score_table(
        [
            ModelScores("ban", "scored", cortical(), behavioral(), tests=tests, track_overlap="3"),
            ModelScores("logmel", "control", cortical(0.1, layers=("Logmel",))),
            ModelScores("banfeedforward", "control", None, reason="needs its own weights"),
        ]
    )
    assert list(table.columns) == list(COLUMNS)
    ban = table[table.model == "ban"]
    totals = ["C", "C_mapped", "R2", "preference", "hierarchy"]
    assert list(ban.row[:25]) == ["layer"] * 16 + ["region"] * 4 + totals
    assert list(ban.row[-1:]) == ["BAS"] and "B" in set(ban.row) and "BAS_geometric" not in set(ban.row)
    layers = ban[ban.row == "layer"]
    assert list(zip(layers.layer, layers.region, strict=True)) == list(product(AREAS, AREAS))
    np.testing.assert_allclose(layers.p_sound.astype(float), [0.02 * k for k in range(1, 17)])
    np.testing.assert_allclose(layers.p_specific_uncorrected.astype(float), [0.01 * k for k in range(17, 33)])
    np.testing.assert_allclose(layers[["rho", "rho_ci_low", "rho_ci_high"]].to_numpy(float), [[0.5, 0.3, 0.6]] * 16)
    assert list(layers.mapped) == [layer == region for layer, region in product(AREAS, AREAS)]
    assert list(layers.committed) == [float(layer == "A1") for layer, _ in product(AREAS, AREAS)]
    by_row = ban.set_index("row")
    assert by_row.loc["preference", "p"] == 0.01 and by_row.loc["hierarchy", "p"] == 1 / 24
    assert set(layers.generalises_to) == {"clips"} and pd.isna(by_row.loc["hierarchy", "generalises_to"])
    assert set(ban.track_overlap) == {"3"}
    assert "B" in set(ban[ban.belongs_to == "dataset"].row)
    logmel = table[table.model == "logmel"]
    assert list(logmel.row) == ["layer"] * 4 + ["region"] * 4 + totals
    assert logmel[["p_sound", "p_specific"]].isna().all(axis=None) and logmel.mapped.isna().all()
    last = table.iloc[-1]
    assert last.model == "banfeedforward" and np.isnan(last.value) and last.reason == "needs its own weights"


def test_b_says_whether_other_people_are_in_its_interval_and_kappas_speak_of_these() -> None:
    def reach(score: BehavioralScore) -> pd.Series:
        return score_table([ModelScores("ban", "scored", cortical(), score)]).set_index("row")["generalises_to"]

    found = reach(
        replace(
            behavioral(), generalises_to="people and clips", kappa_majority=Part(value=0.1, ci_low=0.0, ci_high=0.2)
        )
    )
    assert found["B"] == "people and clips" and found["kappa_majority"] == "clips (these people)"
    assert found["C"] == found["BAS"] == "clips" and pd.isna(found["kappa_model_person"])
    assert reach(behavioral())["B"] == "clips (these people)"
    assert pd.isna(reach(no_behavior("nobody chose"))["B"])


def test_every_column_is_described() -> None:
    assert all({"LongName", "Description"} <= set(entry) for entry in COLUMNS.values())


def test_draws_of_the_two_parts_are_independent_under_one_seed() -> None:
    from ban_bids.scoring import behavioral as b
    from ban_bids.scoring import cortical as c
    from ban_bids.scoring.bootstrap import resample_counts

    one, other = resample_counts(40, 500, (7, c._STREAM)), resample_counts(40, 500, (7, b._STREAM))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03
