"""Shifts of whole runs against moving the rows themselves, and against uniformity under the null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nulls import noise, roi_null
from scipy import signal, stats

from ban_bids.encoding.cleaning import Nuisance
from ban_bids.encoding.permutation import SOUND, SPECIFIC, PermutationPlan, permutation_plan
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.significance import RoiSums, fdr_bh, max_statistic_p, null_from_sums, roi_p, roi_sums, voxel_p
from ban_bids.errors import NotComputable
from ban_bids.scoring.voxels import held_out_tests


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
    scored, fold = np.ones(len(parts), dtype=bool), np.zeros(len(parts), dtype=np.int32)
    return HeldOutRows(*arrays, scored=scored, fold=fold, sound=arrays[2], begun=arrays[2])


MIXED = [
    [(-1, 7), (0, 5), (1, 5), (2, 6), (-1, 13), (3, 5), (9, 5)],
    [(4, 5), (5, 5), (-1, 5), (6, 5), (7, 5), (8, 5)],
]
TWO_BLOCKS = [[(2 * r, 20), (-1, 20), (2 * r + 1, 20), (-1, 20)] for r in range(3)]


def uncleaned(rows: HeldOutRows) -> list[Nuisance]:
    """Of each run, nothing."""
    n_volumes = 1 + int(rows.volume.max())
    return [Nuisance(np.zeros((n_volumes, 1)), np.ones(n_volumes, dtype=bool)) for _ in np.unique(rows.run)]


def less_means(values: np.ndarray, rows: np.ndarray, since: np.ndarray | None) -> np.ndarray:
    """Rows less their mean, or less that of rows equally long after the last onset, if there are several."""
    out = values[rows].astype(float)
    since = np.zeros(len(rows)) if since is None else since
    several = [k for k in np.unique(since) if np.sum(since == k) > 1 and k >= 0]
    since = np.where(np.isin(since, several), since, -1)
    for k in np.unique(since):
        out[since == k] -= out[since == k].mean(axis=0)
    return out


def brute_force(
    rows: HeldOutRows, plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlations after really moving the rows of each run; what means take from them is measured, not derived."""
    observed, norms, null = 0.0, np.zeros((2, bold.shape[1])), np.zeros((len(plan.order), bold.shape[1]))
    for r in np.unique(rows.run):
        used = np.flatnonzero((rows.run == r) & rows.scored)
        since = None
        if plan.question == SPECIFIC:
            starts = {int(v) for v in rows.volume[(rows.run == r) & (rows.position == 0)]}
            since = np.array([min((v - s for s in starts if s <= v), default=-1) for v in rows.volume[used]])
        x, y = less_means(prediction, used, since), less_means(bold, used, since)
        moved = [np.roll(x, -k, axis=0) for k in range(len(x))]
        kept = [np.square(less_means(one, np.arange(len(x)), since)).sum(axis=0) for one in moved]
        scale = np.sqrt(np.square(x).sum(axis=0) / np.mean(kept, axis=0))
        inner = np.array([np.sum(one * y, axis=0) * scale for one in moved])
        observed = observed + np.sum(x * y, axis=0)
        norms += np.square(x).sum(axis=0), np.square(y).sum(axis=0)
        null += inner[plan.order[:, int(r)]]
    whole = np.sqrt(norms[0] * norms[1])
    return observed / whole, null / whole


@pytest.mark.parametrize("scrub", [(), (8, 30, 61)])
@pytest.mark.parametrize("question", [SOUND, SPECIFIC])
def test_voxel_and_roi_nulls_equal_really_moving_the_rows(question: str, scrub: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    rows = table(MIXED)
    rows.scored[list(scrub)] = False
    plan = permutation_plan(rows, 1200, seed=3, question=question)
    prediction, bold = rng.standard_normal((2, len(rows), 6)).astype(np.float32)
    bold[:, 0] += 0.7 * prediction[:, 0]
    observed, null = brute_force(rows, plan, prediction, bold)
    expected = (1 + np.sum(null >= observed - 1e-5, axis=0)) / (1 + plan.n_permutations)
    np.testing.assert_allclose(voxel_p(plan, prediction, bold), expected)
    labels = np.array([1, 1, 2, 2, 0, 4])
    roi_observed, roi_values = roi_null(plan, prediction, bold, labels=labels)
    for region in (1, 2, 4):
        members = labels == region
        np.testing.assert_allclose(roi_observed[region - 1], observed[members].mean(), atol=1e-6)
        np.testing.assert_allclose(roi_values[:, region - 1], null[:, members].mean(1), atol=1e-6)
    assert np.isnan(roi_observed[2])


def test_two_blocks_of_sound_and_two_of_rest_a_run_answer_whether_the_voxel_hears() -> None:
    rows = table(TWO_BLOCKS)
    heard = (rows.clip >= 0).astype(float)[:, None]
    rng = np.random.default_rng(0)
    bold = heard + 0.2 * rng.standard_normal((len(rows), 20))
    tests = held_out_tests(rows, uncleaned(rows), n_permutations=2000, seed=0)
    assert set(tests.plans) == {SOUND, SPECIFIC} and "pspecific" not in tests.reasons
    assert voxel_p(tests.plans[SOUND], heard + 0.1 * rng.standard_normal(bold.shape), bold).max() < 0.02
    # all clips alike: none is followed more than another
    specific = rng.standard_normal(bold.shape) * heard
    assert np.mean(voxel_p(tests.plans[SPECIFIC], specific, bold) < 0.05) < 0.2


@pytest.mark.parametrize(
    ("runs", "question", "why"),
    [
        ([[(-1, 15), (0, 15), (1, 15), (2, 15), (-1, 15)]] * 2, SOUND, "rest between clips in 0 of 150"),
        ([[(0, 15), (-1, 1), (1, 15), (2, 15)]] * 2, SOUND, "rest between clips in 2 of 92"),
        ([[(-1, 50)]] * 2, SOUND, "rest between clips in 0"),
        ([[(-1, 50)]] * 2, SPECIFIC, "two different clips"),
        ([[(0, 15), (-1, 15), (0, 15), (-1, 15)], [(1, 60)]], SPECIFIC, "two different clips"),
        ([[(0, 10), (1, 9)]], SPECIFIC, "no held-out run has 20"),
        ([[(0, 15), (1, 15)]], SPECIFIC, "only 30 distinct"),
        ([[(0, 2), (-1, 2)] * 20, [(0, 2), (-1, 2)] * 20], SOUND, "only 16 distinct"),
    ],
)
def test_what_cannot_be_told_is_missing_with_the_reason(
    runs: list[list[tuple[int, int]]], question: str, why: str
) -> None:
    with pytest.raises(NotComputable, match=why):
        permutation_plan(table(runs), 1000, seed=0, question=question)
    tests = held_out_tests(table(runs), uncleaned(table(runs)), n_permutations=1000, seed=0)
    assert why in tests.reasons[f"p{question}"]


def test_shifts_that_change_nothing_are_not_counted_as_arrangements() -> None:
    cycle = [[(7 * r + c, 8) for c in range(7)] * 4 for r in range(2)]
    plan = permutation_plan(table(cycle), 10_000, seed=0, question=SPECIFIC)
    assert plan.sizes == (224, 224) and plan.n_permutations == 28**2 - 1
    assert any("49 arrangements differ" in note for note in plan.notes)
    assert not permutation_plan(table(cycle * 2), 1000, seed=0, question=SPECIFIC).classes


def cycled(n_runs: int, n_clips: int, length: int, first: int = 0) -> list[list[tuple[int, int]]]:
    """Runs that cycle their own clips, the first after some volumes of rest and a part of its last clip."""
    clips = [[(n_clips * r + c, length) for c in range(n_clips)] for r in range(n_runs)]
    return [[(-1, first), *run * 4] for run in clips]


@pytest.mark.parametrize("first", [0, 3])
def test_clips_of_a_cycle_are_moved_whole(first: int) -> None:
    plan = permutation_plan(table(cycled(2, 10, 10, first)), 1000, seed=0, question=SPECIFIC)
    assert plan.sizes == (400, 400) and not plan.classes
    assert {int(k) for k in plan.order.ravel()} == set(range(0, 400, 10))


def test_random_predictions_of_a_cycle_are_not_found_more_often_than_five_percent_of_voxels_that_answer_it() -> None:
    """Answers that last as long as a clip: of shifts by any volume p < .05 would come in 9 % of voxels."""
    rows, rng = table(cycled(2, 10, 10)), np.random.default_rng(1)
    plan = permutation_plan(rows, 1000, seed=0, question=SPECIFIC)
    response, prediction = rng.standard_normal((2, 20, 1, 4000))
    bold = response[rows.clip, 0] + 0.5 * rng.standard_normal((len(rows), 4000))
    p = voxel_p(plan, prediction[rows.clip, 0].astype(np.float32), bold)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    "runs", [cycled(1, 10, 10), [[(c, 7 + c % 2) for c in range(9)] * 3] * 2, [[(c, 9) for c in range(12)]] * 2]
)
def test_cycles_of_too_few_or_uneven_clips_change_places(runs: list[list[tuple[int, int]]]) -> None:
    plan = permutation_plan(table(runs), 1000, seed=0, question=SPECIFIC)
    assert plan.classes and any("change places instead" in note for note in plan.notes)


def test_few_arrangements_are_all_tried_once_and_the_halves_of_a_single_run_move_apart() -> None:
    plan = permutation_plan(table([[(c, 10) for c in range(9)]]), 10_000, seed=0, question=SPECIFIC)
    assert plan.sizes == (45, 45) and plan.exhaustive and plan.n_permutations == 45**2 - 1
    assert len(np.unique(plan.order, axis=0)) == 45**2 - 1 and plan.order.any(axis=1).all()
    short = permutation_plan(table([[(c, 10) for c in range(7)]]), 10_000, seed=0, question=SPECIFIC)
    assert short.sizes == (70,) and short.n_permutations == 69


def test_arrangements_repeat_with_the_seed_and_reach_every_shift() -> None:
    plans = [permutation_plan(table(MIXED), 1000, seed=seed, question=SPECIFIC) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(plans[0].order, plans[1].order)
    assert not np.array_equal(plans[0].order, plans[2].order)
    assert [sorted(set(column)) for column in plans[0].order.T] == [list(range(n)) for n in plans[0].sizes]


def test_only_part_of_a_run_may_be_held_out_by_several_folds() -> None:
    rows = table([[(c, 10) for c in range(12)]] * 2)
    part = np.flatnonzero((rows.clip % 3 > 0) & (rows.position > 2))
    held_out = {name: values[part] for name, values in vars(rows).items() if values is not None}
    rows = replace(rows, **held_out | {"fold": (rows.clip[part] % 3).astype(np.int32)})
    plan = permutation_plan(rows, 1000, seed=0, question=SPECIFIC, crossed=True)
    assert plan.sizes == (56, 56)
    rng = np.random.default_rng(0)
    p = voxel_p(plan, *rng.standard_normal((2, len(rows), 1000)), factor=1.0)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.02)


def shuffled(n_runs: int, n_clips: int, length: int = 10) -> list[list[tuple[int, int]]]:
    """The same clips in every run, each time in another order."""
    rng = np.random.default_rng(0)
    return [[(int(c), length) for c in rng.permutation(n_clips)] for _ in range(n_runs)]


@pytest.mark.parametrize(
    ("runs", "n_runs_together", "n_clips"),
    [
        ([[(10 * r + c, 10) for c in range(10)] * 4 for r in range(2)], 2, 0),  # ds003720: cycles of own clips
        ([[(c, 10) for c in range(12)]] * 3, 0, 12),  # all alike: moved alike there would be 12 arrangements
        ([[(c, 10) for c in range(50)]] * 2, 1, 0),  # all alike: moved alike
        (shuffled(4, 12), 0, 12),
        ([sum(shuffled(2, 16), [])], 0, 16),  # one run, twice through its clips
        ([[(c, 10) for c in range(12)]], 2, 0),  # one run, each clip once
    ],
)
def test_presentations_of_a_clip_stay_together(
    runs: list[list[tuple[int, int]]], n_runs_together: int, n_clips: int
) -> None:
    plan = permutation_plan(table(runs), 500, seed=0, question=SPECIFIC)
    assert sum(map(len, plan.classes)) == n_clips
    if not n_clips:
        assert len(np.unique(plan.order, axis=1).T) == n_runs_together or len(runs) == 1
        return
    # a response to the clips, and a prediction from features that know nothing of it; both recur
    rows, rng = table(runs), np.random.default_rng(1)
    response, prediction = rng.standard_normal((2, n_clips, 10, 2000))
    bold = response[rows.clip, rows.position] + rng.standard_normal((len(rows), 2000))
    p = voxel_p(plan, prediction[rows.clip, rows.position], bold)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)
    followed = response[rows.clip, rows.position] + rng.standard_normal((len(rows), 2000))
    assert np.mean(voxel_p(plan, followed, bold) < 0.05) > 0.99


def test_clips_that_last_a_volume_longer_at_every_second_onset_all_change_places() -> None:
    runs = [[(clip, 7 + k % 2) for k, (clip, _) in enumerate(run)] for run in shuffled(3, 6)]
    plan = permutation_plan(table(runs), 1000, seed=0, question=SPECIFIC)
    assert [one.shape for one in plan.classes] == [(6, 3, 7)]
    rows = table(runs)
    assert all(len(set(rows.clip[plan.rows[clip]].ravel())) == 1 for clip in plan.classes[0])


def test_clips_that_change_places_give_the_inner_products_of_whitened_rows() -> None:
    rows, rng = table(shuffled(3, 5)), np.random.default_rng(0)
    plan = permutation_plan(rows, 1000, seed=0, question=SPECIFIC)
    assert plan.exhaustive and plan.n_permutations == 119
    bold = signal.lfilter([1], [1, -0.6], rng.standard_normal((len(rows), 4)), axis=0)
    prediction = rng.standard_normal((len(rows), 4)) + 0.1 * bold
    white = []
    for v in range(4):
        parts = [bold[rows.run == r, v] - bold[rows.run == r, v].mean() for r in range(3)]
        c = [sum(np.dot(part[k:], part[: len(part) - k]) for part in parts) for k in range(4)]
        c[0] *= 1 + 1e-6
        weights = np.linalg.solve([[c[abs(i - j)] for j in range(3)] for i in range(3)], c[1:])
        filters = np.r_[1, -weights]
        white.append(
            [[signal.lfilter(filters, [1], x[rows.run == r, v]) for r in range(3)] for x in (prediction, bold)]
        )
    blocks = np.zeros((2, 4, 5, 3, 10))
    for v in range(4):
        for which in range(2):
            for r in range(3):
                for start in range(0, 50, 10):
                    clip = rows.clip[rows.run == r][start]
                    blocks[which, v, clip, r] = white[v][which][r][start : start + 10]
    blocks -= blocks.mean(axis=2, keepdims=True)
    inner = np.einsum("vakt,vbkt->vab", *blocks)
    names = [int(rows.clip[plan.rows[one[0, 0]]]) for one in plan.classes[0]]
    assert sorted(names) == list(range(5))
    inner = inner[:, names][:, :, names]
    null = np.array([[inner[v][order, np.arange(5)].sum() for v in range(4)] for order in plan.order])
    observed = np.einsum("vaa->v", inner)
    np.testing.assert_allclose(
        voxel_p(plan, prediction, bold), (1 + np.sum(null >= observed, axis=0)) / (1 + len(null)), atol=0.009
    )


LAYOUTS = {
    "back to back": ([[(12 * r + c, 10) for c in range(12)] for r in range(3)], SPECIFIC),
    "cycle": ([[(10 * r + c, 10) for c in range(10)] * 4 for r in range(3)], SPECIFIC),
    "on and off": ([[(-1, 10), (c, 10)] for c in range(8)], SOUND),
    "on and off, one run": ([[(-1, 10), (c, 10)] for c in range(8)], SOUND),
    "back to back, one run": ([[(c, 10) for c in range(12)]], SPECIFIC),
}
LAYOUTS["on and off"] = ([sum(LAYOUTS["on and off"][0], [])] * 3, SOUND)
LAYOUTS["on and off, one run"] = ([sum(LAYOUTS["on and off, one run"][0], [])], SOUND)


@pytest.mark.parametrize("autocorrelation", [0.4, 0.9])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_five_percent_of_deaf_voxels_are_found_in_every_layout(layout: str, autocorrelation: float) -> None:
    runs, question = LAYOUTS[layout]
    rows = table(runs)
    rng = np.random.default_rng(1)
    n_voxels, lag = 3000, np.exp(-((np.arange(7) - 3) ** 2) / 3)
    courses = rng.standard_normal((rows.clip.max() + 1, 10, n_voxels)) + rng.standard_normal((1, n_voxels))
    courses = courses + (0 if question == SOUND else -courses.mean(axis=0)) + 2 * (question == SOUND)
    bold, prediction = [], []
    for r in np.unique(rows.run):
        clip, position = rows.clip[rows.run == r], rows.position[rows.run == r]
        course = np.where((clip >= 0)[:, None], courses[clip, position], 0)
        prediction.append(sum(np.roll(course, k, axis=0) * weight for k, weight in enumerate(lag)))
        own = signal.lfilter([1], [1, -autocorrelation], rng.standard_normal((len(clip) + 50, n_voxels)), axis=0)[50:]
        bold.append(own - own.mean(axis=0))
    plan = permutation_plan(rows, 1000, seed=0, question=question)
    p = voxel_p(plan, np.concatenate(prediction), np.concatenate(bold))
    assert 0.035 < np.mean(p < 0.05) < 0.065


def test_signal_is_found() -> None:
    rng = np.random.default_rng(1)
    rows = table([[(c, 6) for c in range(12)], [(c, 6) for c in range(12, 24)]])
    plan = permutation_plan(rows, 1000, seed=0, question=SPECIFIC)
    followed, other = noise(rng, (len(rows), 40), 0.5), noise(rng, (len(rows), 40), 0.5)
    assert voxel_p(plan, followed, followed + other).max() < 0.01


def test_dead_voxels_are_missing_and_do_not_spoil_the_regions() -> None:
    rng = np.random.default_rng(2)
    rows = table(MIXED)
    for crossed in (False, True):
        plan = permutation_plan(rows, 1000, seed=0, question=SOUND, crossed=crossed)
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
    plan = permutation_plan(rows, 1000, seed=0, question=SPECIFIC)
    prediction, bold = rng.standard_normal((2, len(rows), 10)).astype(np.float32)
    labels = rng.integers(0, 3, 10)
    sums = roi_sums(plan, prediction[:, :4], bold[:, :4], labels=labels[:4], n_regions=2)
    more = roi_sums(plan, prediction[:, 4:], bold[:, 4:], labels=labels[4:], n_regions=2)
    sums = RoiSums(sums.inner + more.inner, sums.observed + more.observed, sums.count + more.count)
    for a, b in zip(null_from_sums(plan, sums), roi_null(plan, prediction, bold, labels=labels)):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_the_maximum_is_of_standardised_statistics() -> None:
    rng = np.random.default_rng(4)
    spread = np.array([1.0, 0.1, 1.0, 3.0])
    null, observed = rng.standard_normal((999, 4)) * spread + 0.5, np.array([2.0, 0.85, np.nan, -1.0])
    null[:, 2] = np.nan
    single, family = roi_p(observed, null), max_statistic_p(observed, null)
    used = [0, 1, 3]
    largest = ((null[:, used] - null[:, used].mean(0)) / null[:, used].std(0)).max(1)
    z = (observed[1] - null[:, 1].mean()) / null[:, 1].std()
    assert family[1] == (1 + np.sum(largest >= z)) / 1000
    assert np.all(family[used] >= single[used])
    # Bonferroni's limit holds up to chance, however little a statistic varies beside the others
    assert single[1] < 0.002 and family[1] < 3 * single[1] + 0.005
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
    plan = permutation_plan(rows, 1000, seed=0, question=SPECIFIC)
    smooth = np.exp(-np.arange(8) / 2)

    def course() -> np.ndarray:
        shared = np.convolve(rng.standard_normal(len(rows)), smooth, mode="same")
        return shared[:, None] + rng.standard_normal((len(rows), 6))

    single, family = [], []
    for _ in range(200):
        observed, null = roi_null(plan, course(), course(), labels=np.array([1, 1, 1, 2, 2, 2]))
        single.append(roi_p(observed, null)[0])
        family.append(np.min(max_statistic_p(observed, null)))
    assert stats.kstest(single, "uniform").pvalue > 0.001
    assert stats.binomtest(int(np.sum(np.array(family) < 0.05)), 200, 0.05).pvalue > 0.001
