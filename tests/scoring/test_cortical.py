"""Cortical score against loops over voxels and repeats, and against planted shares of explained signal."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.scoring.bas import ModelScores, bas_score, score_table
from ban_bids.scoring.behavioral import no_behavior
from ban_bids.scoring.bootstrap import (
    Estimate,
    clip_statistics,
    explained_power,
    percentile_interval,
    resample_counts,
    share,
)
from ban_bids.scoring.ceiling import voxel_correlation
from ban_bids.scoring.cortical import CorticalScore, MeasuredRegions, cortical_score

AREAS = ("A1", "Belt", "PB", "T2T3")
OWN = {area: area for area in AREAS}


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
        sound=np.tile(np.arange(n // n_repeats), n_repeats),
        begun=clip,
    )


def brute_share(prediction: np.ndarray, bold: np.ndarray, index: np.ndarray) -> float:
    top = bottom = 0.0
    for v in range(bold.shape[1]):
        p, y = ([values[rows, v].astype(float) for rows in index.T] for values in (prediction, bold))
        pairs = list(itertools.permutations(range(index.shape[1]), 2))
        # what repeats of prediction and data share, against what repeats of the data share
        top += np.mean([2 * np.cov(p[i], y[j])[0, 1] - np.cov(p[i], p[j])[0, 1] for i, j in pairs])
        bottom += np.mean([np.cov(y[i], y[j])[0, 1] for i, j in pairs])
    return top / bottom


def simulate(rho: float, seed: int, v: int = 200, share: float = 0.3) -> tuple[HeldOutRows, np.ndarray, np.ndarray]:
    """BOLD whose signal a prediction, scaled as least squares would, correlates with by ``rho``."""
    rng = np.random.default_rng(seed)
    rows = table(20, 3, 10)
    signal, other = rng.standard_normal((2, 200, v))
    bold = np.sqrt(share) * np.tile(signal, (3, 1)) + np.sqrt(1 - share) * rng.standard_normal((600, v))
    prediction = rho * np.sqrt(share) * np.tile(rho * signal + np.sqrt(1 - rho**2) * other, (3, 1))
    return rows, prediction.astype(np.float32), bold.astype(np.float32)


def measured(rows: HeldOutRows, bold: np.ndarray, labels: np.ndarray | None = None, **more: object) -> MeasuredRegions:
    options = {"regions": ("A1",), "n_bootstrap": 50, "repeats": repeat_rows(rows), **more}
    labels = np.ones(bold.shape[1], dtype=int) if labels is None else labels
    return MeasuredRegions(bold=bold, labels=labels, rows=rows, **options)  # type: ignore[arg-type]


def score(rows: HeldOutRows, prediction: np.ndarray, bold: np.ndarray, **more: object) -> CorticalScore:
    inner = {"A1": np.zeros((1, bold.shape[1]))}
    return cortical_score("m", {"A1": prediction}, inner, measured(rows, bold, **more))


def rho(c: float | np.ndarray) -> np.ndarray:
    return np.sign(c) * np.sqrt(np.abs(c))


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
        values.append(score(rows, scale * prediction, bold).layers[0].value)
    assert np.mean(values) == pytest.approx(expected, abs=0.02)


def test_the_same_prediction_in_all_repeats_is_scored_on_their_mean() -> None:
    rows, prediction, bold = simulate(0.6, 1, v=5)
    index = repeat_rows(rows).index
    p, m = prediction[index[:, 0]].astype(float), bold[index].mean(axis=1, dtype=float)
    explained = sum(2 * np.cov(p[:, v], m[:, v])[0, 1] - np.var(p[:, v], ddof=1) for v in range(5))
    found = explained_power(clip_statistics(prediction, bold, repeat_rows(rows)), np.ones((1, 20)))
    assert found[0] == pytest.approx(explained, rel=1e-6)


def test_a_perfect_prediction_scores_one() -> None:
    assert np.mean([score(*simulate(1.0, seed)).layers[0].value for seed in range(10)]) == pytest.approx(1, abs=0.02)


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


@pytest.mark.parametrize("explainable", [0.02, 0.05])
def test_a_planted_share_of_thirty_percent_comes_out_where_little_is_explainable(explainable: float) -> None:
    rng = np.random.default_rng(11)
    # as many independent rows as 600 rows of autocorrelated BOLD are worth
    rows = table(36, 4, 10)
    shares = []
    for _ in range(16):
        signal, other = rng.standard_normal((2, 360, 600), dtype=np.float32)
        bold = np.sqrt(1 - explainable) * rng.standard_normal((1440, 600), dtype=np.float32)
        bold += np.sqrt(explainable) * np.tile(signal, (4, 1))
        scale = np.sqrt(0.3 * explainable)
        prediction = scale * np.tile(np.sqrt(0.3) * signal + np.sqrt(0.7) * other, (4, 1))
        result = score(rows, prediction.astype(np.float32), bold.astype(np.float32), n_bootstrap=10)
        shares.append(result.layers[0].value)
    assert np.mean(shares) == pytest.approx(0.30, abs=0.01)


def planted(seed: int = 3, **more: object) -> tuple[dict[str, np.ndarray], MeasuredRegions]:
    """Four layers of 30 voxels each: every layer predicts the region of its name and nothing else."""
    rng = np.random.default_rng(seed)
    rows = table(12, 2, 8)
    labels = np.repeat([1, 2, 3, 4, 0], 30)
    bold = np.zeros((192, 150), dtype=np.float32)
    predictions = {a: (0.1 * rng.standard_normal((192, 150))).astype(np.float32) for a in (*AREAS, "Joint")}
    for k, layer in enumerate(AREAS):
        tiled = np.tile(rng.standard_normal((96, 30)), (2, 1))
        bold[:, labels == k + 1] = tiled + 0.5 * rng.standard_normal((192, 30))
        predictions[layer][:, labels == k + 1] = tiled
    return predictions, measured(rows, bold, labels, **{"regions": AREAS, "n_bootstrap": 200, **more})


def scores_inside(best: dict[str, str], labels: np.ndarray, n_folds: int = 1) -> dict[str, np.ndarray]:
    """Scores on inner folds, 1 where a layer is best, 0 elsewhere; ``best`` is by region."""
    inner = {layer: np.zeros((n_folds, len(labels))) for layer in AREAS}
    for k, region in enumerate(AREAS, 1):
        inner[best[region]][:, labels == k] = 1
    return inner


def test_every_layer_meets_every_region_and_c_is_the_mean_rho_of_the_committed() -> None:
    predictions, regions = planted()
    found = cortical_score("ban", predictions, scores_inside(OWN, regions.labels), regions, mapping=OWN)
    assert [(s.layer, s.region) for s in found.layers] == [(a, r) for a in AREAS for r in AREAS]
    table_of_c = np.array([s.value for s in found.layers]).reshape(4, 4)
    assert np.diag(table_of_c).min() > 0.9 and np.abs(table_of_c[~np.eye(4, dtype=bool)]).max() < 0.1
    for k, layer in enumerate(AREAS):
        voxels = regions.labels == k + 1
        assert regions.repeats is not None
        brute = brute_share(predictions[layer][:, voxels], regions.bold[:, voxels], regions.repeats.index)
        assert table_of_c[k, k] == pytest.approx(brute, rel=1e-5)
    assert found.value == pytest.approx(np.mean(rho(np.diag(table_of_c))))
    assert found.ci_low <= found.value <= found.ci_high and found.draws.shape == (200,)
    draws = [rho(score.draws) for score in found.layers if score.layer == score.region]
    np.testing.assert_allclose(found.draws, np.mean(draws, axis=0))
    assert (found.mapped.value, found.mapped.ci_low) == (found.value, found.ci_low)
    assert (found.n_repeats, found.n_clips) == (2, 12)
    assert found.committed == {a: {a: 1.0} for a in AREAS}
    assert list(found.statistics) == list(itertools.product(AREAS, AREAS))
    np.testing.assert_allclose(share(found.committed_statistics["PB"], regions.counts)[0], table_of_c[2, 2])


def test_layers_are_committed_on_inner_folds_and_never_because_they_predict_better() -> None:
    predictions, regions = planted()
    wrong = dict(zip(AREAS, (*AREAS[1:], AREAS[0]), strict=True))
    found = cortical_score("ban", predictions, scores_inside(wrong, regions.labels), regions, mapping=OWN)
    assert {region: list(own) for region, own in found.committed.items()} == {r: [layer] for r, layer in wrong.items()}
    assert abs(found.value) < 0.3 < 0.9 < found.mapped.value
    assert found.rsquare.value < 0.1
    level = {layer: np.ones((1, 150)) for layer in AREAS}
    assert all(own == {"A1": 1.0} for own in cortical_score("ban", predictions, level, regions).committed.values())


def test_a_region_is_predicted_fold_by_fold_by_the_layer_committed_there() -> None:
    predictions, regions = planted()
    regions.rows.fold[96:] = 1
    inner = scores_inside(OWN, regions.labels, n_folds=2)
    pb = regions.labels == 3
    inner["A1"][1, pb] = 2
    found = cortical_score("ban", predictions, inner, regions)
    assert found.committed["PB"] == {"A1": 0.5, "PB": 0.5} and found.committed["Belt"] == {"Belt": 1.0}
    mixed = np.concatenate([predictions["PB"][:96], predictions["A1"][96:]])
    assert regions.repeats is not None
    expected = brute_share(mixed[:, pb], regions.bold[:, pb], regions.repeats.index)
    third = found.regions[2]
    assert (third.layer, third.region) == ("A1, PB", "PB") and third.value == pytest.approx(expected, rel=1e-5)
    own = {(s.layer, s.region): s.value for s in found.layers}
    values = [own["A1", "A1"], own["Belt", "Belt"], expected, own["T2T3", "T2T3"]]
    assert found.value == pytest.approx(np.mean(rho(np.array(values))))
    rows = score_table([ModelScores("ban", "scored", found)])
    layers = rows[rows["row"] == "layer"].set_index(["layer", "region"])["committed"].astype(float)
    assert layers["A1", "PB"] == layers["PB", "PB"] == 0.5 and layers["T2T3", "T2T3"] == 1 and layers["Belt", "A1"] == 0
    region = rows[rows["row"] == "region"].set_index("region")
    assert region.loc["PB", "value"] == third.value and region["layer"].isna().all()
    assert region["rho"].mean() == pytest.approx(found.value)


def test_the_mapping_must_serve_every_region() -> None:
    predictions, regions = planted(n_bootstrap=10)
    inner = scores_inside(OWN, regions.labels)

    def mapped(mapping: dict[str, str] | None) -> Estimate:
        return cortical_score("ban", predictions, inner, regions, mapping=mapping).mapped

    assert "no mapping" in mapped(None).reason
    assert mapped({"A1": "A1", "Belt": "Belt"}).reason == "the model's mapping has no layer for region PB, T2T3"
    twice = cortical_score("ban", predictions, inner, regions, mapping={"A1": "A1", "Belt": "A1", "PB": "Belt"})
    assert "region PB, T2T3" in twice.mapped.reason
    two = replace(regions, regions=("A1", "Belt"), labels=np.where(regions.labels > 2, 0, regions.labels))
    both = cortical_score("ban", predictions, inner, two, mapping={"A1": "A1", "PB": "A1", "Belt": "Belt"})
    c = {(s.layer, s.region): rho(s.value) for s in both.layers}
    expected = ((c["A1", "A1"] + c["PB", "A1"]) / 2 + c["Belt", "Belt"]) / 2
    assert both.mapped.value == pytest.approx(expected)


def test_interval_covers_the_planted_share() -> None:
    hits = 0
    for seed in range(40):
        result = score(*simulate(0.7, seed, v=20), n_bootstrap=200)
        hits += result.ci_low <= 0.7 <= result.ci_high
    assert hits >= 32


def test_same_seed_same_interval() -> None:
    rows, prediction, bold = simulate(0.5, 0, v=10)
    a, b, c = (score(rows, prediction, bold, seed=s) for s in (1, 1, 2))
    assert (a.ci_low, a.ci_high) == (b.ci_low, b.ci_high) != (c.ci_low, c.ci_high)


def test_without_repeats_only_the_unnormalised_number_exists() -> None:
    rows, prediction, bold = simulate(0.7, 0, v=20)
    result = score(rows, prediction, bold, repeats=None)
    r = voxel_correlation(prediction, bold, rows, None)
    layer = result.layers[0]
    assert layer.unnormalised == pytest.approx(np.mean(r * np.abs(r)))
    assert np.isnan([layer.value, layer.median_ccnorm, result.value, result.ci_low, result.rsquare.value]).all()
    assert "repeated" in layer.reason and result.reason == layer.reason == result.rsquare.reason
    assert result.statistics == result.committed_statistics == {}
    assert bas_score(result, no_behavior()).reason.startswith("C is n/a: no clip is repeated")


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


def four_regions(absent: tuple[str, ...]) -> CorticalScore:
    """Four layers of 12 voxels each, all answering; the labels of some regions are taken away."""
    rng = np.random.default_rng(4)
    rows, labels = table(10, 2, 6), np.repeat([1, 2, 3, 4], 12)
    signal = np.tile(rng.standard_normal((60, 48)), (2, 1))
    bold = (signal + 0.5 * rng.standard_normal((120, 48))).astype(np.float32)
    predictions = {a: (signal + rng.standard_normal((120, 48))).astype(np.float32) for a in AREAS}
    reasons = {name: f"atlas juelich has no region {name}" for name in absent}
    labels[np.isin(labels, [AREAS.index(name) + 1 for name in absent])] = 0
    inner = {layer: np.zeros((1, 48)) for layer in AREAS}
    regions = measured(rows, bold, labels, absent=reasons, regions=AREAS)
    return cortical_score("ban", predictions, inner, regions, mapping=OWN)


def test_an_absent_region_is_not_available_and_changes_no_other() -> None:
    whole, part = four_regions(()), four_regions(("PB",))
    assert np.isfinite(whole.value) and np.isnan([part.value, part.mapped.value, part.ci_low, *part.draws]).all()
    assert part.reason == part.mapped.reason == part.regions[2].reason == "atlas juelich has no region PB"
    assert part.regions[2].n_voxels == 0 and np.isnan([part.regions[2].value, part.regions[2].mean_r]).all()
    assert set(part.committed) == {"A1", "Belt", "T2T3"}
    for before, after in zip(whole.layers, part.layers, strict=True):
        assert after == before if after.region != "PB" else np.isnan(after.value)
    assert np.isfinite([part.preference.value, part.rsquare.value]).all()
    assert four_regions(("PB", "T2T3")).reason == "atlas juelich has no regions PB, T2T3"
    assert bas_score(part, no_behavior()).reason.startswith("C is n/a: atlas juelich has no region PB;")
    lines = score_table([ModelScores("ban", "scored", part)]).set_index("region").loc["PB"]
    assert set(lines["reason"]) == {"atlas juelich has no region PB"}
    assert lines[["value", "rho", "p_sound", "mean_r", "committed"]].isna().all(axis=None)


def test_layers_and_regions_of_any_number_and_name() -> None:
    rng = np.random.default_rng(6)
    rows, labels = table(12, 2, 6), np.repeat([1, 2], 20)
    signal = np.tile(rng.standard_normal((72, 40)), (2, 1))
    bold = (signal + 0.5 * rng.standard_normal((144, 40))).astype(np.float32)
    names = ("conv 1", "encoder/layers.2", "out")
    predictions = {name: (signal + k * rng.standard_normal((144, 40))) for k, name in enumerate(names)}
    regions = ("IC", "Heschl's gyrus")
    inner = {name: np.full((1, 40), -k) for k, name in enumerate(names)}
    known = measured(rows, bold, labels, regions=regions, n_bootstrap=30)
    found = cortical_score("net", predictions, inner, known)
    assert [(s.layer, s.region) for s in found.layers] == [(a, r) for a in names for r in regions]
    assert found.value == pytest.approx(np.mean([rho(s.value) for s in found.layers[:2]]))
    rows_of = score_table([ModelScores("net", "scored", found)])
    assert list(rows_of["row"]) == ["layer"] * 6 + ["region"] * 2 + ["C", "C_mapped", "R2", "preference", "hierarchy"]
    one = cortical_score("net", {"out": predictions["out"]}, {"out": inner["out"]}, known)
    assert one.preference.reason == one.hierarchy.reason == "the model has one layer only"
    assert np.isfinite(one.value)


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
            assert np.isnan(found.rsquare.value) and found.rsquare.reason == found.reason
    # an interval of 95 % leaves a false number now and then
    assert numbers <= 3


def test_rho_and_its_limits_are_those_of_c_in_correlation_form() -> None:
    rows, prediction, bold = simulate(0.8, seed=5)
    found = score(rows, prediction, bold, n_bootstrap=200)
    [layer] = found.layers
    assert layer.ci_low < layer.value < layer.ci_high
    numbers = np.array([layer.value, layer.ci_low, layer.ci_high])
    np.testing.assert_allclose([layer.rho.value, layer.rho.ci_low, layer.rho.ci_high], np.sqrt(numbers))
    negative = score(rows, -prediction, bold).layers[0]
    assert negative.rho.value == pytest.approx(-np.sqrt(-negative.value)) and negative.value < 0


@pytest.mark.parametrize("n_clips", [1, 2])
def test_one_or_two_repeated_clips_have_no_share_and_no_interval(n_clips: int) -> None:
    rng = np.random.default_rng(7)
    length = 30 // n_clips
    rows, signal = table(n_clips, 4, length), np.tile(rng.standard_normal((30, 20)), (4, 1))
    bold = (signal + 0.3 * rng.standard_normal((120, 20))).astype(np.float32)
    found = score(rows, signal.astype(np.float32), bold)
    layer = found.layers[0]
    assert np.isnan([layer.value, layer.ci_low, layer.ci_high, found.rsquare.ci_low, found.rsquare.ci_high]).all()
    assert f"too few repeated clips ({n_clips} of 3)" in layer.reason
    assert "too few repeated clips" in found.reason


def test_intervals_are_rough_where_explainable_variance_is_barely_known() -> None:
    known, barely = (score(*simulate(0.6, 3, v=20, share=share), n_bootstrap=200) for share in (0.3, 0.02))
    assert not any("may be half" in note for note in known.notes)
    assert np.isfinite(barely.layers[0].value)
    assert any("explainable variance of A1 may be half" in note for note in barely.notes)
    assert "A1" not in known.rough
    assert barely.rough["A1"].endswith("explainable variance of A1 may be half of what was found")
