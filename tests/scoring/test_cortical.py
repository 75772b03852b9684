"""Cortical score against loops over voxels and repeats, and against planted shares of explained signal."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ban_bids.encoding.rows import HeldOutRows, repeat_rows
from ban_bids.scoring.bas import ModelScores, bas_score, score_table
from ban_bids.scoring.behavioral import no_behavior
from ban_bids.scoring.bootstrap import clip_statistics, explained_power, percentile_interval, resample_counts, share
from ban_bids.scoring.ceiling import voxel_correlation
from ban_bids.scoring.cortical import CorticalScore, cortical_score, scored_pairs

AREAS = ("A1", "Belt", "PB", "T2T3")


def table(n_clips: int, n_repeats: int, length: int) -> HeldOutRows:
    clip = np.tile(np.repeat(np.arange(n_clips), length), n_repeats)
    n = len(clip)
    return HeldOutRows(
        run=np.repeat(np.arange(n_repeats), n // n_repeats),
        volume=np.tile(np.arange(n // n_repeats), n_repeats),
        clip=clip,
        presentation=np.tile(np.repeat(np.arange(n_clips), length), n_repeats),
        position=np.tile(np.arange(length), n_clips * n_repeats),
        scored=np.ones(n, dtype=bool),
        fold=np.zeros(n, dtype=np.int32),
    )


def brute_share(prediction: np.ndarray, bold: np.ndarray, index: np.ndarray) -> float:
    top = bottom = 0.0
    for v in range(bold.shape[1]):
        repeats = [bold[rows, v].astype(float) for rows in index.T]
        p = np.mean([prediction[rows, v].astype(float) for rows in index.T], axis=0)
        top += 2 * np.cov(p, np.mean(repeats, axis=0))[0, 1] - np.var(p, ddof=1)
        # signal power is also the mean covariance of different repeats
        bottom += np.mean([np.cov(one, other)[0, 1] for one, other in itertools.combinations(repeats, 2)])
    return top / bottom


def simulate(rho: float, seed: int, v: int = 200, share: float = 0.3) -> tuple[HeldOutRows, np.ndarray, np.ndarray]:
    """BOLD whose signal a prediction, scaled as least squares would, correlates with by ``rho``."""
    rng = np.random.default_rng(seed)
    rows = table(20, 3, 10)
    signal, other = rng.standard_normal((2, 200, v))
    bold = np.sqrt(share) * np.tile(signal, (3, 1)) + np.sqrt(1 - share) * rng.standard_normal((600, v))
    prediction = rho * np.sqrt(share) * np.tile(rho * signal + np.sqrt(1 - rho**2) * other, (3, 1))
    return rows, prediction.astype(np.float32), bold.astype(np.float32)


def score(rows: HeldOutRows, prediction: np.ndarray, bold: np.ndarray, **more: object) -> CorticalScore:
    repeats = repeat_rows(rows)
    options = {"regions": ("A1",), "n_bootstrap": 50, **more}
    labels = np.ones(bold.shape[1], dtype=int)
    return cortical_score("m", {"A1": prediction}, bold, labels=labels, rows=rows, repeats=repeats, **options)  # type: ignore[arg-type]


def test_share_equals_loops_in_the_estimate_and_in_a_draw_of_clips() -> None:
    rng = np.random.default_rng(0)
    rows = table(6, 4, 5)
    rows.scored[[3, 40]] = False  # clips of unequal length
    prediction, bold = rng.standard_normal((2, 120, 7)).astype(np.float32)
    bold += 0.5 * prediction + 3
    bold += np.tile(rng.standard_normal((30, 7)), (4, 1)).astype(np.float32)
    repeats = repeat_rows(rows)
    result = score(rows, prediction, bold)
    assert result.layers[0].value == pytest.approx(brute_share(prediction, bold, repeats.index), rel=1e-6)
    counts = np.array([[1.0] * 6, [2, 0, 1, 0, 3, 0]])
    statistics = clip_statistics(prediction, bold, repeats)
    drawn = np.concatenate([repeats.index[repeats.clip == c] for c in (0, 0, 2, 4, 4, 4)])
    assert share(statistics, counts)[1] == pytest.approx(brute_share(prediction, bold, drawn), rel=1e-6)
    parts = [clip_statistics(prediction[:, v], bold[:, v], repeats) for v in (slice(3), slice(3, None))]
    np.testing.assert_allclose(share(parts[0] + parts[1], counts), share(statistics, counts))
    with pytest.raises(ValueError, match="other clips"):
        parts[0] + clip_statistics(prediction, bold, replace(repeats, index=repeats.index[:, :3]))


@pytest.mark.parametrize(("scale", "expected"), [(1, 0.49), (-1, -3 * 0.49), (2, 0), (0.2, 0.36 * 0.49), (0, 0)])
def test_a_planted_correlation_gives_its_square_and_wrong_signs_and_scales_count_against(
    scale: float, expected: float
) -> None:
    values = []
    for seed in range(8):
        rows, prediction, bold = simulate(0.7, seed)
        values.append(score(rows, scale * prediction, bold).value)
    assert np.mean(values) == pytest.approx(expected, abs=0.02)


def test_a_perfect_prediction_scores_one() -> None:
    assert np.mean([score(*simulate(1.0, seed)).value for seed in range(10)]) == pytest.approx(1, abs=0.02)


def test_share_is_linear_in_the_data_and_unbiased_where_signal_is_weak() -> None:
    """A voxelwise sign of the correlation added 14 % here, and 61 % at a quarter of this explainable variance."""
    rng = np.random.default_rng(12)
    rows, voxels = table(60, 4, 6), 4000
    repeats, counts = repeat_rows(rows), np.ones((1, 60))
    for planted, explainable in ((0.02, 0.02), (0.02, 0.005), (0.0, 0.005)):
        signal, other = rng.standard_normal((2, 360, voxels), dtype=np.float32)
        bold = np.sqrt(1 - explainable) * rng.standard_normal((1440, voxels), dtype=np.float32)
        bold += np.sqrt(explainable) * np.tile(signal, (4, 1))
        rho = np.sqrt(planted)
        prediction = np.sqrt(planted * explainable) * np.tile(rho * signal + np.sqrt(1 - planted) * other, (4, 1))
        found = clip_statistics(prediction, bold, repeats)
        # in units of the planted signal power, so that only the numerator's error counts
        assert explained_power(found, counts)[0] / (voxels * explainable) == pytest.approx(planted, abs=0.002)
        assert share(found, counts)[0] == pytest.approx(planted, abs=0.003)
        negative = clip_statistics(-prediction, bold, repeats)
        total = explained_power(found, counts) + explained_power(negative, counts)
        np.testing.assert_allclose(total, -2 * np.var(prediction[:360], axis=0, ddof=1).sum(), rtol=1e-4)


@pytest.mark.parametrize(("explainable", "too_much"), [(0.02, 0.36), (0.05, 0.32)])
def test_a_planted_share_of_thirty_percent_comes_out_where_squared_correlations_give_more(
    explainable: float, too_much: float
) -> None:
    rng = np.random.default_rng(11)
    # as many independent rows as 600 rows of autocorrelated BOLD are worth
    rows = table(36, 4, 10)
    shares, squares = [], []
    for _ in range(16):
        signal, other = rng.standard_normal((2, 360, 600), dtype=np.float32)
        bold = np.sqrt(1 - explainable) * rng.standard_normal((1440, 600), dtype=np.float32)
        bold += np.sqrt(explainable) * np.tile(signal, (4, 1))
        scale = np.sqrt(0.3 * explainable)
        prediction = scale * np.tile(np.sqrt(0.3) * signal + np.sqrt(0.7) * other, (4, 1))
        result = score(rows, prediction.astype(np.float32), bold.astype(np.float32), n_bootstrap=10)
        shares.append(result.value)
        squares.append(result.layers[0].squared_ratio)
    assert np.mean(shares) == pytest.approx(0.30, abs=0.01)
    assert np.mean(squares) == pytest.approx(too_much, abs=0.01)


def test_alignment_and_totals_over_four_layers() -> None:
    rng = np.random.default_rng(3)
    rows = table(12, 2, 8)
    signals = rng.standard_normal((4, 96, 30))
    labels = np.repeat([1, 2, 3, 4, 0], 30)
    bold = np.zeros((192, 150), dtype=np.float32)
    predictions = {a: (0.1 * rng.standard_normal((192, 150))).astype(np.float32) for a in (*AREAS, "Joint")}
    for k, layer in enumerate(AREAS):
        tiled = np.tile(signals[k], (2, 1))
        bold[:, labels == k + 1] = tiled + 0.5 * rng.standard_normal((192, 30))
        predictions[layer][:, labels == k + 1] = tiled
    result = four_layers(predictions, bold, labels, rows, n_bootstrap=200)
    assert [(s.layer, s.region) for s in result.layers] == [(a, a) for a in AREAS]
    assert result.value == pytest.approx(np.mean(np.diag(result.alignment)))
    assert np.diag(result.alignment).min() > 0.9
    off = result.alignment[~np.eye(4, dtype=bool)]
    assert np.abs(off).max() < 0.1 and result.alignment_layers == AREAS
    assert result.ci_low <= result.value <= result.ci_high
    assert result.draws.shape == (200,)
    assert (result.n_repeats, result.n_clips) == (2, 12)


def test_interval_covers_the_planted_share() -> None:
    hits = 0
    for seed in range(40):
        result = score(*simulate(0.7, seed, v=20), n_bootstrap=200)
        hits += result.ci_low <= 0.49 <= result.ci_high
    assert hits >= 32


def test_same_seed_same_interval() -> None:
    rows, prediction, bold = simulate(0.5, 0, v=10)
    a, b, c = (score(rows, prediction, bold, seed=s) for s in (1, 1, 2))
    assert (a.ci_low, a.ci_high) == (b.ci_low, b.ci_high) != (c.ci_low, c.ci_high)


def test_without_repeats_only_the_unnormalised_number_exists() -> None:
    rows, prediction, bold = simulate(0.7, 0, v=20)
    result = cortical_score(
        "m", {"A1": prediction}, bold, labels=np.ones(20, dtype=int), rows=rows, repeats=None, regions=("A1",)
    )
    r = voxel_correlation(prediction, bold, rows, None)
    layer = result.layers[0]
    assert layer.unnormalised == pytest.approx(np.mean(r * np.abs(r)))
    assert np.isnan([layer.value, layer.squared_ratio, layer.median_ccnorm, result.value, result.ci_low]).all()
    assert "repeated" in layer.reason and result.reason == layer.reason


def test_unusable_voxels_are_left_out_and_empty_regions_named() -> None:
    rows, prediction, bold = simulate(0.7, 0, v=20)
    clean = score(rows, prediction[:, :16], bold[:, :16]).layers[0]
    bold[:, 16], bold[5, 17], prediction[5, 18], bold[:, 19] = 0, np.nan, np.inf, 3
    dirty = score(rows, prediction, bold).layers[0]
    assert dirty.n_voxels == 16 and dirty.value == clean.value
    constant = score(rows, np.zeros_like(prediction[:, :16]), bold[:, :16]).layers[0]
    assert constant.value == 0 and constant.reason == ""
    result = score(rows, prediction, bold, regions=("A1", "Belt"))
    assert "region Belt" in result.reason and np.isnan(result.value)
    assert np.isfinite(result.layers[0].value)


def four_layers(
    predictions: dict[str, np.ndarray], bold: np.ndarray, labels: np.ndarray, rows: HeldOutRows, **more: object
) -> CorticalScore:
    """Each layer in the region of its name."""
    options = {"labels": labels, "rows": rows, "repeats": repeat_rows(rows), "regions": AREAS, **more}
    return cortical_score("ban", predictions, bold, mapping={a: a for a in AREAS}, **options)  # type: ignore[arg-type]


def four_regions(absent: tuple[str, ...]) -> CorticalScore:
    """Four layers of 12 voxels each, all answering; the labels of some regions are taken away."""
    rng = np.random.default_rng(4)
    rows, labels = table(10, 2, 6), np.repeat([1, 2, 3, 4], 12)
    signal = np.tile(rng.standard_normal((60, 48)), (2, 1))
    bold = (signal + 0.5 * rng.standard_normal((120, 48))).astype(np.float32)
    predictions = {a: (signal + rng.standard_normal((120, 48))).astype(np.float32) for a in AREAS}
    reasons = {name: f"atlas juelich has no region {name}" for name in absent}
    labels[np.isin(labels, [AREAS.index(name) + 1 for name in absent])] = 0
    return four_layers(predictions, bold, labels, rows, absent=reasons, n_bootstrap=50)


def test_an_absent_region_is_not_available_and_changes_no_other() -> None:
    whole, part = four_regions(()), four_regions(("PB",))
    assert np.isfinite(whole.value) and np.isnan([part.value, part.ci_low, *part.draws]).all()
    assert part.reason == part.layers[2].reason == "atlas juelich has no region PB"
    assert part.layers[2].n_voxels == 0 and np.isnan([part.layers[2].value, part.layers[2].mean_r]).all()
    assert [part.layers[k] for k in (0, 1, 3)] == [whole.layers[k] for k in (0, 1, 3)]
    assert np.isnan(part.alignment[:, 2]).all()
    np.testing.assert_array_equal(np.delete(part.alignment, 2, 1), np.delete(whole.alignment, 2, 1))
    assert four_regions(("PB", "T2T3")).reason == "atlas juelich has no region PB, T2T3"
    assert bas_score(part, no_behavior())[0].reason.startswith("C is n/a: atlas juelich has no region PB;")
    line = score_table([ModelScores("ban", "scored", part)]).set_index("region").loc["PB"]
    assert line["reason"] == "atlas juelich has no region PB" and line[["value", "p", "mean_r"]].isna().all()


def test_layers_meet_the_regions_of_their_mapping_or_every_region() -> None:
    assert scored_pairs(None, ("Logmel",), AREAS) == tuple(("Logmel", r) for r in AREAS)
    assert scored_pairs({a: a for a in AREAS}, AREAS, AREAS) == tuple((a, a) for a in AREAS)
    assert scored_pairs({"late/b": "PB", "a": "A1"}, ("a", "b", "late/b"), AREAS) == (("a", "A1"), ("late/b", "PB"))


def test_layers_and_regions_of_any_number_and_name() -> None:
    rng = np.random.default_rng(6)
    rows, labels = table(12, 2, 6), np.repeat([1, 2], 20)
    signal = np.tile(rng.standard_normal((72, 40)), (2, 1))
    bold = (signal + 0.5 * rng.standard_normal((144, 40))).astype(np.float32)
    names = ("conv 1", "encoder/layers.2", "out")
    predictions = {name: (signal + k * rng.standard_normal((144, 40))) for k, name in enumerate(names)}
    regions = ("IC", "Heschl's gyrus")
    options = {"labels": labels, "rows": rows, "repeats": repeat_rows(rows), "regions": regions, "n_bootstrap": 30}
    every = cortical_score("net", predictions, bold, **options)  # type: ignore[arg-type]
    assert [(s.layer, s.region) for s in every.layers] == [(a, r) for a in names for r in regions]
    np.testing.assert_array_equal([s.value for s in every.layers], every.alignment.ravel())
    assert every.value == pytest.approx(every.alignment.mean())
    mapped = cortical_score("net", predictions, bold, mapping={names[1]: "IC"}, **options)  # type: ignore[arg-type]
    assert mapped.value == every.alignment[1, 0] and mapped.layers == (every.layers[2],)
    np.testing.assert_array_equal(mapped.alignment, every.alignment)
    lost = cortical_score("net", predictions, bold, mapping={"out": "PB"}, **options)  # type: ignore[arg-type]
    assert lost.reason == "no voxel of region PB can be scored"
    none = cortical_score("net", predictions, bold, mapping={}, **options)  # type: ignore[arg-type]
    assert np.isnan(none.value) and "no layer that belongs to a region" in none.reason
    shares = score_table([ModelScores("net", "scored", every)], regions)
    np.testing.assert_array_equal(shares[["c_IC", "c_Heschl's gyrus"]].to_numpy(float)[:6:2], every.alignment)


def test_resampling_keeps_sizes_and_strata() -> None:
    strata = np.array([0, 0, 0, 1, 1])
    counts = resample_counts(5, 300, 0, strata)
    np.testing.assert_array_equal(counts[:, :3].sum(1), 3)
    np.testing.assert_array_equal(counts[:, 3:].sum(1), 2)
    np.testing.assert_array_equal(resample_counts(5, 9, 0).sum(1), 5)


def test_interval_is_of_the_defined_draws_unless_most_are_not() -> None:
    draws = np.r_[np.arange(101.0), np.full(20, np.nan)]
    assert percentile_interval(draws) == pytest.approx((2.5, 97.5))
    assert np.isnan(percentile_interval(np.r_[1.0, np.nan, np.nan])).all()
    assert np.isnan(percentile_interval(np.array([]))).all()


def test_a_region_without_explainable_variance_has_no_share_rather_than_a_ratio_of_noises() -> None:
    numbers = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = table(20, 3, 10)
        prediction, bold = rng.standard_normal((2, 600, 60)).astype(np.float32)
        found = score(rows, prediction, bold)
        numbers += bool(np.isfinite(found.value))
        if not np.isfinite(found.value):
            assert "explainable variance" in found.layers[0].reason
            assert np.isnan(found.alignment).all()
    # an interval of 95 % leaves a false number now and then
    assert numbers <= 3


def test_alignment_intervals_hold_their_estimates() -> None:
    rows, prediction, bold = simulate(0.8, seed=5)
    found = score(rows, prediction, bold, n_bootstrap=200)
    assert found.alignment_low[0, 0] < found.alignment[0, 0] < found.alignment_high[0, 0]
    assert found.alignment_low[0, 0] == found.layers[0].ci_low
