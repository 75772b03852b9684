"""Block permutation against permuting the rows themselves, and against uniformity under the null."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from nulls import roi_null
from scipy import stats

from ban_bids.encoding.permutation import count_arrangements, cut_blocks, permutation_plan, rests_between_clips
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.significance import (
    RoiSums,
    fdr_bh,
    max_statistic_p,
    null_from_sums,
    roi_p,
    roi_sums,
    voxel_p,
)
from ban_bids.errors import NotComputable


def table(runs: list[list[tuple[int, int]]]) -> HeldOutRows:
    """Runs as lists of (clip, number of volumes); clip -1 is rest."""
    parts = []
    for r, segments in enumerate(runs):
        volume = 0
        for j, (clip, size) in enumerate(segments):
            rest = clip < 0
            for k in range(size):
                parts.append((r, volume, clip, -1 if rest else j, -1 if rest else k))
                volume += 1
    arrays = [np.array(c, dtype=np.int32) for c in zip(*parts)]
    return HeldOutRows(*arrays, scored=np.ones(len(parts), dtype=bool), fold=np.zeros(len(parts), dtype=np.int32))


MIXED = [
    [(-1, 7), (0, 5), (1, 5), (2, 6), (-1, 13), (3, 5), (0, 5)],
    [(4, 5), (5, 5), (-1, 5), (6, 5), (7, 5), (8, 5)],
]


def brute_force(plan, prediction, bold):  # noqa: ANN001, ANN201
    """Correlation after really permuting the blocks' rows, run by run; the true arrangement first."""
    used = np.concatenate([b[b >= 0] for b in plan.blocks])
    run = np.concatenate([np.full(np.sum(b >= 0), r) for b, r in zip(plan.blocks, plan.run)])
    x, y = (a.astype(float).copy() for a in (prediction, bold))
    for one in np.unique(run):
        rows = used[run == one]
        x[rows] -= x[rows].mean(0)
        y[rows] -= y[rows].mean(0)
    out = []
    for order in itertools.chain([np.arange(len(plan.run))], plan.order):
        total = np.zeros(x.shape[1])
        for j, i in enumerate(order):
            for a, b in zip(plan.blocks[i], plan.blocks[j]):
                if a >= 0 and b >= 0:
                    total += x[a] * y[b]
        out.append(total / np.sqrt((x[used] ** 2).sum(0) * (y[used] ** 2).sum(0)))
    return np.array(out[0]), np.array(out[1:])


@pytest.mark.parametrize("scrub", [(), (8, 30, 61)])
def test_voxel_and_roi_nulls_equal_brute_force_permutation_of_rows(scrub: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    rows = table(MIXED)
    rows.scored[list(scrub)] = False
    plan = permutation_plan(rows, 1200, seed=3)
    prediction, bold = rng.standard_normal((2, len(rows), 6)).astype(np.float32)
    bold[:, 0] += 0.7 * prediction[:, 0]
    observed, null = brute_force(plan, prediction, bold)
    expected = (1 + np.sum(null >= observed - 1e-5, axis=0)) / (1 + plan.n_permutations)
    np.testing.assert_allclose(voxel_p(plan, prediction, bold), expected)
    if not scrub:
        used = plan.blocks.ravel()
        run = np.repeat(plan.run, plan.blocks.shape[1])
        x, y = prediction[used].astype(float), bold[used].astype(float)
        for one in (0, 1):
            x[run == one] -= x[run == one].mean(0)
            y[run == one] -= y[run == one].mean(0)
        np.testing.assert_allclose(observed, [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T)], atol=1e-6)
    labels = np.array([1, 1, 2, 2, 0, 4])
    roi_observed, roi_values = roi_null(plan, prediction, bold, labels=labels)
    for region in (1, 2, 4):
        members = labels == region
        np.testing.assert_allclose(roi_observed[region - 1], observed[members].mean(), atol=1e-6)
        np.testing.assert_allclose(roi_values[:, region - 1], null[:, members].mean(1), atol=1e-6)
    assert np.isnan(roi_observed[2])


def test_blocks_partition_the_run_with_rest_cut_to_clip_length() -> None:
    rows = table(MIXED)
    blocks, run, label, notes = cut_blocks(rows)
    assert blocks.shape == (14, 5)
    np.testing.assert_array_equal(label, [-1, 0, 1, 2, -1, -1, 3, 0, 4, 5, -1, 6, 7, 8])
    np.testing.assert_array_equal(run, [0] * 8 + [1] * 6)
    assert len(np.unique(blocks)) == blocks.size
    assert any("6 of 76" in n for n in notes)


def test_jittered_lengths_are_trimmed_rather_than_dropped_and_lead_ins_stay_out() -> None:
    rows = table([[(c, 10 + c % 2) for c in range(9)]])
    rows.scored[:10] = False
    blocks, _, label, notes = cut_blocks(rows)
    assert blocks.shape == (8, 10) and 0 not in label
    assert any("clip-specific" in n for n in notes)


@pytest.mark.parametrize(
    ("runs", "rests"),
    [
        ([[(-1, 5), (0, 5), (-1, 5), (1, 5), (-1, 5), (2, 5)]], True),
        (
            [[(0, 5), (-1, 12), (1, 5), (-1, 7), (2, 5)], [(3, 5), (-1, 5), (4, 5), (5, 5), (-1, 5), (6, 5)]],
            True,
        ),
        ([[(-1, 15), (0, 5), (1, 5), (2, 5), (-1, 15)]], False),  # at the edges only
        ([[(0, 5), (-1, 15), (1, 5), (2, 5)]], False),  # one
        ([[(0, 5), (-1, 3), (1, 5), (-1, 4), (2, 5)]], False),  # shorter than a block
        ([[(0, 5), (-1, 5), (1, 5), (-1, 5), (2, 5)], [(3, 5), (4, 5), (5, 5)]], False),  # not in every run
        ([[(-1, 30)]], False),
    ],
)
def test_only_rest_between_clips_lets_hearing_itself_be_tested(runs: list[list[tuple[int, int]]], rests: bool) -> None:
    rows = table(runs)
    assert rests_between_clips(rows) is rests
    if rows.clip.max() >= 0:
        assert any("clip-specific" in note for note in cut_blocks(rows)[3]) is not rests


def test_arrangements_are_counted_with_repeats_as_one_label() -> None:
    run, label = np.array([0] * 5 + [1] * 3), np.array([0, 1, 0, -1, -1, 2, 2, 3])
    distinct = {
        (tuple(a), tuple(b)) for a in itertools.permutations(label[:5]) for b in itertools.permutations(label[5:])
    }
    assert np.exp(count_arrangements(run, label)) == pytest.approx(len(distinct))


def test_few_arrangements_are_enumerated_once_each_and_too_few_refused() -> None:
    rows = table([[(c, 3) for c in (0, 1, 2, 0, 3, 4)], [(5, 3), (6, 3), (7, 3)]])  # 360 * 6
    plan = permutation_plan(rows, 10_000, seed=0)
    assert plan.exhaustive and plan.n_permutations == 2159
    labels = {tuple(plan.label[o]) for o in plan.order}
    assert len(labels) == 2159 and tuple(plan.label) not in labels
    assert not permutation_plan(rows, 2000, seed=0).exhaustive
    with pytest.raises(NotComputable, match="only 720 distinct"):
        permutation_plan(table([[(c, 3) for c in range(6)]]), 10_000, seed=0)
    with pytest.raises(NotComputable, match="no scored clip"):
        permutation_plan(table([[(-1, 30)]]), 10_000, seed=0)


def test_arrangements_stay_within_runs_and_repeat_with_the_seed() -> None:
    rows = table(MIXED)
    plan = permutation_plan(rows, 1500, seed=5)
    assert np.all(plan.run[plan.order] == plan.run)
    assert np.all(np.sort(plan.order, axis=1) == np.arange(len(plan.run)))
    np.testing.assert_array_equal(plan.order, permutation_plan(rows, 1500, seed=5).order)


def test_p_values_are_flat_under_autocorrelated_noise_and_small_for_signal() -> None:
    rng = np.random.default_rng(1)
    rows = table([[(c, 6) for c in range(12)], [(c, 6) for c in range(12, 24)]])
    plan = permutation_plan(rows, 1000, seed=0)
    smooth = np.exp(-np.arange(8) / 2)

    def noise(v: int) -> np.ndarray:
        return np.apply_along_axis(np.convolve, 0, rng.standard_normal((len(rows), v)), smooth, mode="same")

    p = voxel_p(plan, noise(800), noise(800))
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert np.mean(p < 0.05) < 0.09
    signal = noise(40)
    assert voxel_p(plan, signal, signal + noise(40)).max() < 0.01


def test_dead_voxels_are_missing_and_do_not_spoil_the_regions() -> None:
    rng = np.random.default_rng(2)
    rows = table(MIXED)
    plan = permutation_plan(rows, 1000, seed=0)
    prediction, bold = rng.standard_normal((2, len(rows), 4)).astype(np.float32)
    bold[:, 1], bold[3, 2], prediction[:, 3] = 7.3, np.nan, 0
    p = voxel_p(plan, prediction, bold)
    assert np.isfinite(p[0]) and np.isnan(p[1:]).all()
    alone, _ = roi_null(plan, prediction[:, :1], bold[:, :1], labels=np.array([1]))
    together, _ = roi_null(plan, prediction, bold, labels=np.ones(4, dtype=int))
    assert together[0] == pytest.approx(alone[0])


def test_slabs_add_up() -> None:
    rng = np.random.default_rng(3)
    rows = table(MIXED)
    plan = permutation_plan(rows, 1000, seed=0)
    prediction, bold = rng.standard_normal((2, len(rows), 10)).astype(np.float32)
    labels = rng.integers(0, 3, 10)
    sums = roi_sums(plan, prediction[:, :4], bold[:, :4], labels=labels[:4], n_regions=2)
    more = roi_sums(plan, prediction[:, 4:], bold[:, 4:], labels=labels[4:], n_regions=2)
    sums = RoiSums(sums.inner + more.inner, sums.count + more.count)
    for a, b in zip(null_from_sums(plan, sums), roi_null(plan, prediction, bold, labels=labels)):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_max_statistic_is_never_smaller_than_the_single_p_and_counts_the_largest_region() -> None:
    rng = np.random.default_rng(4)
    null, observed = rng.standard_normal((999, 4)), np.array([2.0, 0.1, np.nan, -1.0])
    null[:, 2] = np.nan
    single, family = roi_p(observed, null), max_statistic_p(observed, null)
    largest = null[:, [0, 1, 3]].max(1)
    assert family[0] == (1 + np.sum(largest >= 2.0)) / 1000
    assert np.all(family[[0, 1, 3]] >= single[[0, 1, 3]])
    assert np.isnan(family[2]) and np.isnan(single[2])
    assert np.isnan(max_statistic_p(np.array([np.nan]), np.full((9, 1), np.nan))).all()


def test_fdr_is_that_of_benjamini_and_hochberg_and_keeps_missing_values() -> None:
    p = np.random.default_rng(5).uniform(size=200) ** 2
    p[7] = p[8]
    ranked = [np.min([200 * q / np.sum(p <= q) for q in p if q >= one]) for one in p]
    np.testing.assert_allclose(fdr_bh(p), np.minimum(ranked, 1))
    assert fdr_bh(p.astype(np.float32)).dtype == np.float64
    with_nan = np.r_[np.nan, p, np.nan]
    np.testing.assert_allclose(fdr_bh(with_nan)[1:-1], fdr_bh(p))
    assert np.isnan(fdr_bh(with_nan)[[0, -1]]).all()
    assert fdr_bh(np.array([])).size == 0


def test_region_p_values_are_flat_when_voxels_and_volumes_are_correlated() -> None:
    rng = np.random.default_rng(6)
    rows = table([[(-1, 6), *((c, 6) for c in range(9)), (-1, 13)], [(c, 6) for c in range(9, 20)]])
    plan = permutation_plan(rows, 1000, seed=0)
    smooth = np.exp(-np.arange(8) / 2)

    def noise() -> np.ndarray:
        shared = np.convolve(rng.standard_normal(len(rows)), smooth, mode="same")
        return shared[:, None] + rng.standard_normal((len(rows), 6))

    single, family = [], []
    for _ in range(200):
        observed, null = roi_null(plan, noise(), noise(), labels=np.array([1, 1, 1, 2, 2, 2]))
        single.append(roi_p(observed, null)[0])
        family.append(np.min(max_statistic_p(observed, null)))
    assert stats.kstest(single, "uniform").pvalue > 0.001
    assert stats.binomtest(int(np.sum(np.array(family) < 0.05)), 200, 0.05).pvalue > 0.001
