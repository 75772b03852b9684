"""BAS: the arithmetic, the rules about missing parts, and the layout of the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ban_bids.scoring.bas import COLUMNS, ModelScores, bas_score, score_table
from ban_bids.scoring.behavioral import KAPPAS, BehavioralScore, Part, no_behavior
from ban_bids.scoring.bootstrap import with_interval
from ban_bids.scoring.cortical import CorticalScore, LayerScore

AREAS = ("A1", "Belt", "PB", "T2T3")


def cortical(value: float = 0.4, spread: float = 0.05, seed: int = 0) -> CorticalScore:
    draws = value + spread * np.random.default_rng(seed).standard_normal(4000)
    layers = tuple(LayerScore(a, a, 10 + k, value=value, ci_low=0.1, ci_high=0.5) for k, a in enumerate(AREAS))
    matrix = np.arange(16.0).reshape(4, 4)
    interval = with_interval(value, draws)
    return CorticalScore("ban", layers, matrix, matrix, matrix, AREAS, AREAS, n_repeats=4, n_clips=60, **interval)


def behavioral(value: float = 0.6, spread: float = 0.1) -> BehavioralScore:
    draws = value + spread * np.random.default_rng(9).standard_normal(4000)
    known = {"value": value, "ci_low": 0.4, "ci_high": 0.8, "draws": draws}
    kappas = {name: Part(raw=0.2, people=0.25, n_clips=39, value=k / 10) for k, name in enumerate(KAPPAS)}
    return BehavioralScore(raw=0.3, people=0.5, n_clips=40, n_people=12, **kappas, **known)


def test_bas_is_the_mean_with_an_interval_of_independent_parts() -> None:
    score, geometric = bas_score(cortical(), behavioral())
    assert score.value == pytest.approx(0.5)
    assert geometric.value == pytest.approx(np.sqrt(0.24))
    half_width = 1.96 * np.hypot(0.05, 0.1) / 2
    assert (score.ci_low, score.ci_high) == pytest.approx((0.5 - half_width, 0.5 + half_width), abs=0.008)
    assert geometric.ci_low < geometric.value < geometric.ci_high
    assert score.reason == geometric.reason == ""


def test_a_missing_part_leaves_bas_out_and_keeps_the_other() -> None:
    score, geometric = bas_score(cortical(), no_behavior())
    assert np.isnan([score.value, score.ci_low, geometric.value]).all()
    assert score.reason == "B is n/a: the dataset holds no human genre choices"
    none = replace(cortical(), value=np.nan, reason="no clip is repeated")
    assert bas_score(none, no_behavior())[0].reason.startswith("C is n/a: no clip is repeated; B is n/a")
    table = score_table([ModelScores("ban", "scored", cortical(), no_behavior())]).set_index("row")
    assert table.loc["C", "value"] == pytest.approx(0.4) and np.isnan(table.loc["BAS", "value"])


def test_a_rough_interval_of_b_is_marked_where_the_score_stands() -> None:
    marked = replace(behavioral(), rough="the interval is rough: 40 clips of 10 genres")
    rows = score_table([ModelScores("ban", "scored", cortical(), marked)]).set_index("row")
    assert rows.loc["B", "reason"] == marked.rough and rows.loc["B", "value"] == 0.6
    assert pd.isna(rows.loc["kappa_majority", "reason"])


def test_few_voxels_are_marked_where_the_score_stands() -> None:
    counts = zip(cortical().layers, (19, 20, 0, 3))
    sized = replace(cortical(), layers=tuple(replace(layer, n_voxels=n) for layer, n in counts))
    gone = replace(sized.layers[2], value=np.nan, reason="no voxel of region PB can be scored")
    thin = replace(sized.layers[3], value=np.nan, reason="region T2T3 holds no explainable variance")
    sized = replace(sized, layers=(*sized.layers[:2], gone, thin))
    rows = score_table([ModelScores("ban", "scored", sized, no_behavior())]).set_index("region")
    assert rows.loc["A1", "reason"] == "region A1 has only 19 voxels: its figures rest on little"
    assert rows.loc["A1", "value"] == pytest.approx(0.4)
    assert pd.isna(rows.loc["Belt", "reason"])
    assert rows.loc["PB", "reason"] == "no voxel of region PB can be scored"
    both = "region T2T3 holds no explainable variance; region T2T3 has only 3 voxels"
    assert rows.loc["T2T3", "reason"].startswith(both)


def test_geometric_mean_needs_positive_parts() -> None:
    score, geometric = bas_score(cortical(-0.1), behavioral())
    assert score.value == pytest.approx(0.25) and np.isnan(geometric.value) and geometric.reason


def test_table_has_a_row_per_layer_then_totals_then_controls() -> None:
    p = {(a, a): 0.01 * (k + 1) for k, a in enumerate(AREAS)}
    logmel = replace(
        cortical(0.1),
        layers=tuple(LayerScore("Logmel", r, 5, value=0.1) for r in AREAS),
        alignment=np.full((1, 4), 0.1),
        alignment_layers=("Logmel",),
    )
    table = score_table(
        [
            ModelScores("ban", "scored", cortical(), behavioral(), p=p, track_overlap="3"),
            ModelScores("logmel", "control", logmel),
            ModelScores("banfeedforward", "control", None, reason="needs its own weights"),
        ]
    )
    assert list(table.columns) == list(COLUMNS)
    ban = table[table.model == "ban"]
    assert list(ban.row) == ["layer"] * 4 + ["C", "B", *KAPPAS, "BAS", "BAS_geometric"]
    assert list(ban.layer[:4]) == list(AREAS) and list(ban.p[:4]) == list(p.values())
    np.testing.assert_array_equal(ban[[f"c_{a}" for a in AREAS]].to_numpy(float)[:4], cortical().alignment)
    assert set(ban.track_overlap) == {"3"}
    assert set(ban[ban.belongs_to == "dataset"].row) == {"B", *KAPPAS}
    b = ban.set_index("row").loc["B"]
    assert (b.raw, b.people, b.n_clips, b.n_people, b.value) == (0.3, 0.5, 40, 12, 0.6)
    assert list(ban[ban.row.isin(KAPPAS)].value) == [0.0, 0.1, 0.2]
    assert list(table[table.model == "logmel"].row) == ["layer"] * 4 + ["C"]
    last = table.iloc[-1]
    assert last.model == "banfeedforward" and np.isnan(last.value) and last.reason == "needs its own weights"


def test_every_column_is_described() -> None:
    assert all({"LongName", "Description"} <= set(entry) for entry in COLUMNS.values())


def test_draws_of_the_two_parts_are_independent_under_one_seed() -> None:
    from ban_bids.scoring import behavioral as b
    from ban_bids.scoring import cortical as c
    from ban_bids.scoring.bootstrap import resample_counts

    one, other = resample_counts(40, 500, (7, c._STREAM)), resample_counts(40, 500, (7, b._STREAM))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03
