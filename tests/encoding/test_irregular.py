"""Volumes at irregular intervals: features, rows, cleaning, repeats and permutations at their own times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import ToyModel, ToyStore, all_clips, design, listen, make_clip, make_run, participant, voxel_scores
from scipy.signal import lfilter

from ban_bids.encoding import design as design_module
from ban_bids.encoding.cleaning import cosine_drifts, nuisance_basis, settling
from ban_bids.encoding.fit import Fitting, encode
from ban_bids.encoding.heard import held_out_rows, sounds_heard
from ban_bids.encoding.noise import layout_noise
from ban_bids.encoding.permutation import SOUND, SPECIFIC, permutation_plan
from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.timeline import lags, lay_features, steps
from ban_bids.errors import NotComputable
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Presentation, Run
from ban_bids.settings import Encoding

TR, SIZE, GAP = 1.5, 4, 7.5
"""Clusters of four volumes, 1.5 s apart, and 7.5 s more of silence between them."""

PERIOD = SIZE * TR + GAP
SETTINGS = Encoding(n_components=6, n_band_weights=12, alphas=tuple(10.0**e for e in range(-3, 4)))
PLAN = HeldOutPlan((("task-test",),), "named", "test")


def clustered(name: str, tracks: list[str], n_clusters: int = 24, *, period: float = PERIOD, **sound: float) -> Run:
    """A run of clusters; clips of 10 s every 12 s, out of step with them, unless told otherwise."""
    starts = (np.arange(n_clusters)[:, None] * period + np.arange(SIZE) * TR).ravel()
    given = {"duration": 10.0, "gap": 2.0, "first": 1.0} | sound
    run = make_run(name, tracks, TR, len(starts), **given)  # type: ignore[arg-type]
    return replace(run, volume_times=tuple(starts.tolist()))


def runs_of_music() -> list[Run]:
    training = [clustered(f"train{r}", [f"t{r}{i}" for i in range(27)]) for r in range(3)]
    return [*training, clustered("test", [f"x{i}" for i in range(9)] * 3)]


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def responses(runs: list[Run], layer: str = "Belt", t_ref: float = 0.75) -> np.ndarray:
    """A response to the mean feature at every volume's time, summed over fine steps of time: the brute force."""
    model, fine = ToyModel(layers=(layer,)), 0.05
    found = []
    for run in runs:
        clock = np.arange(-30.0, run.duration + 30.0, fine)
        played = np.zeros(len(clock))
        for item in run.presentations:
            frames = model.frames(item.clip, layer) @ np.array([1.0, -0.5, 0.8, 0.3, -1.0, 0.6])
            inside = (clock >= item.onset) & (clock < item.end)
            played[inside] = frames[np.minimum(((clock[inside] - item.onset) * 10).astype(int), len(frames) - 1)]
        kernel = np.exp(-((np.arange(0, 9, fine) - 4) ** 2) / 4) * fine
        course = np.convolve(played, kernel)[: len(clock)]
        times = np.array(run.volume_times) + t_ref if run.volume_times else run.since_first + t_ref
        found.append(np.interp(times, clock, course))
    return np.concatenate(found)


def scored(runs: list[Run], bold: np.ndarray) -> float:
    """Correlation of prediction and BOLD over the held-out run."""
    data = participant(runs, bold[:, None])
    made = design(data, ToyModel(layers=("Belt",)), PLAN, SETTINGS, Path("unused"))
    found = encode(data, made, Fitting(SETTINGS))
    return float(voxel_scores(found.held_out.prediction["Belt"], found.held_out.bold, made.rows, None)[0][0])


def at_random(run: Run, seed: int) -> Run:
    """The run with gaps of 2 to 20 s, so that a grid of mean intervals is soon far from its volumes."""
    gaps = np.random.default_rng(seed).permutation(np.r_[np.full(12, 2.0), np.full(12, 20.0)])
    begin = np.concatenate([[0.0], np.cumsum(SIZE * TR + gaps)[:-1]])
    return replace(run, volume_times=tuple((begin[:, None] + np.arange(SIZE) * TR).ravel().tolist()))


def test_a_planted_response_is_found_at_its_times_and_lost_on_a_grid() -> None:
    runs = [at_random(run, seed) for seed, run in enumerate(runs_of_music())]
    signal = responses(runs)
    bold = signal / signal.std() + 0.3 * np.random.default_rng(0).standard_normal(len(signal))
    assert scored(runs, bold) > 0.85
    on_grid = [replace(run, volume_times=None, repetition_time=run.mean_interval) for run in runs]
    assert abs(scored(on_grid, bold)) < 0.5
    in_a_row = [replace(run, volume_times=None) for run in runs]
    assert abs(scored(in_a_row, bold)) < 0.5


def test_bright_volumes_after_gaps_are_not_predicted() -> None:
    """Clips at the same moment of every gap: without regressors their features tell which volume comes first."""
    tracks = [[f"{name}{i}" for i in range(24)] for name in "abc"]
    sound = {"duration": 6.0, "gap": PERIOD - 6.0, "first": SIZE * TR - 1.0}
    runs = [clustered(name, some, **sound) for name, some in zip(("train0", "train1", "test"), tracks)]
    rng = np.random.default_rng(1)
    recovered = np.tile([3.0, 1.0, 0.4, 0.1], 24)
    bold = np.concatenate([recovered + 0.5 * rng.standard_normal(len(recovered)) for _ in runs])
    assert abs(scored(runs, bold)) < 0.2
    loud = ToyModel(layers=("Belt",), loudness=2.0)
    data = participant(runs, bold[:, None])
    found = encode(data, design(data, loud, PLAN, SETTINGS, Path("unused")), Fitting(SETTINGS))
    assert abs(np.corrcoef(found.held_out.prediction["Belt"][:, 0], found.held_out.bold[:, 0])[0, 1]) < 0.2
    kept = tuple(nuisance_basis(np.zeros((96, 0)), TR, 200.0) for _ in runs)
    raw = [(part - part.mean()) / part.std() for part in np.split(bold, 3)]
    naive = replace(data, nuisance=kept, bold=np.concatenate(raw)[:, None].astype(np.float32))
    found = encode(naive, design(naive, loud, PLAN, SETTINGS, Path("unused")), Fitting(SETTINGS))
    assert np.corrcoef(found.held_out.prediction["Belt"][:, 0], found.held_out.bold[:, 0])[0, 1] > 0.6


@settings(max_examples=30, deadline=None)
@given(
    steps_=st.lists(st.floats(0.8, 12.0), min_size=4, max_size=12), t_ref=st.floats(0.0, 1.0), seed=st.integers(0, 99)
)
def test_features_at_any_times_equal_fine_integration(steps_: list[float], t_ref: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(steps_) + t_ref
    rate, onsets, durations = 4.0, [2.0, 14.0, 31.0], [9.0, 12.0, 6.0]
    frames = [rng.standard_normal((int(d * rate), 1)) for d in durations]
    delays, width = lags(0.8, 9.0, 2.0), 0.8
    binned = lay_features(
        *steps(onsets, durations, frames, rate=rate, silence=np.zeros(1)), times, width=width, delays=delays
    )
    lagged = binned.lagged()
    for k in range(len(times)):
        for j, lag in enumerate(delays):
            moments = times[k] - lag - width / 2 + (np.arange(400) + 0.5) * width / 400
            heard = np.zeros(400)
            for onset, duration, clip in zip(onsets, durations, frames):
                inside = (moments >= onset) & (moments < onset + duration)
                heard[inside] = clip[((moments[inside] - onset) * rate).astype(int), 0]
            assert lagged[k, j] == pytest.approx(heard.mean(), abs=0.02)


@settings(max_examples=40, deadline=None)
@given(
    tr=st.floats(0.5, 4.0),
    t_ref=st.floats(0.0, 1.0),
    first=st.floats(0.0, 20.0),
    gap=st.floats(0.0, 10.0),
    duration=st.floats(2.0, 20.0),
)
def test_at_constant_intervals_both_paths_are_one(
    tr: float, t_ref: float, first: float, gap: float, duration: float
) -> None:
    run = make_run("a", ["x", "y", "x", "y", "x"], tr, 40, first=first, gap=gap, duration=duration)
    stated = replace(run, volume_times=tuple((np.arange(40) * tr).tolist()))
    clips = all_clips([run])
    one, other = (listen(some, clips, t_ref * tr).rows for some in (run, stated))
    assert not other.regular
    for name in ("times", "clip", "presentation", "lead_in", "keep", "onset", "tick", "cluster"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    near = np.abs((one.times[:, None] - one.onset) / tr - np.rint((one.times[:, None] - one.onset) / tr)).min(axis=1)
    assert np.array_equal(one.position[near > 1e-5], other.position[near > 1e-5])
    bases = [nuisance_basis(np.zeros((40, 0)), tr, 20.0, times=some.since_first).basis for some in (run, stated)]
    assert np.array_equal(*bases)
    assert np.array_equal(bases[0], nuisance_basis(np.zeros((40, 0)), tr, 20.0).basis)
    line = steps([first], [duration], [np.ones((20, 1))], rate=1.0, silence=np.zeros(1))
    delays = lags(tr, 9.0, 2.0)
    laid = [lay_features(*line, rows.times, width=rows.width(2.0), delays=delays) for rows in (one, other)]
    assert np.array_equal(laid[0].bins, laid[1].bins) and np.array_equal(laid[0].index, laid[1].index)
    heard = [sounds_heard([rows], longest_lag=9.0, lag_step=min(tr, 2.0))[0] for rows in (one, other)]
    assert np.array_equal(heard[0][1], heard[1][1])
    pairs = {*zip(heard[0][0].tolist(), heard[1][0].tolist())}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), "the same volumes are the same sound"


def test_drifts_are_cosines_of_time() -> None:
    times = np.array(clustered("a", []).volume_times)
    lasts = times[-1] + TR
    found = cosine_drifts(times, TR, 100.0)
    assert found.shape == (96, int(2 * lasts / 100))
    for k in range(found.shape[1]):
        assert np.allclose(found[:, k], np.cos(np.pi * (k + 1) * (times + TR / 2) / lasts))
    # a slow drift of the scanner's is gone, whenever volumes were taken
    drift = np.sin(2 * np.pi * times / 280) + 0.01 * times
    basis = nuisance_basis(np.zeros((96, 0)), TR, 100.0, times=times)
    left = basis.project(drift[:, None])
    assert np.abs(left).max() < 0.2 * np.abs(drift - drift.mean()).max()


def test_volumes_after_gaps_have_regressors_of_their_own() -> None:
    run = clustered("a", [], n_clusters=5)
    found = settling(np.array(run.volume_times), TR)
    assert np.array_equal(found, np.tile(np.eye(4), (5, 1)))
    long = np.concatenate([np.arange(20) * TR, 60 + np.arange(20) * TR])
    assert settling(long, TR).shape == (40, 4) and settling(long, TR).sum() == 8
    for regular in (np.arange(30) * TR, np.arange(30) * TR + np.linspace(0, 0.05, 30)):
        assert settling(regular, TR).shape == (30, 0)


def rows_of(runs: list[Run], t_ref: float = 0.75) -> HeldOutRows:
    rows = [listen(run, all_clips(runs), t_ref).rows for run in runs]
    return held_out_rows(rows, [np.arange(sum(run.n_volumes for run in runs))], longest_lag=9.0, lag_step=TR)


def test_repeats_are_of_one_time_since_the_clip_began() -> None:
    """The same clips at other moments of the clusters: volumes repeat where as long has passed, not as many volumes."""
    names = [f"x{i}" for i in range(5)]
    # the cycle of clips is that of the clusters in one run; in the other clips begin three volumes later
    even = clustered("a", names * 4, 20, duration=10.0, gap=PERIOD - 10.0, first=0.0)
    late = clustered("b", names * 4, 20, duration=10.0, gap=PERIOD - 10.0, first=3 * TR)
    rows = rows_of([even, late])
    assert rows.sound is not None
    onsets = [np.array([item.onset for item in run.presentations]) for run in (even, late)]
    times = np.concatenate([np.array(run.volume_times) + 0.75 for run in (even, late)])
    since = np.array(
        [
            time - (before[before <= time][-1] if (before := onsets[r])[0] <= time else np.nan)
            for time, r in zip(times, rows.run)
        ]
    )
    for number in np.unique(rows.sound[rows.sound >= 0]):
        assert np.ptp(since[rows.sound == number]) < 1e-9
    repeats = repeat_rows(rows)
    assert (np.ptp(since[repeats.index], axis=1) < 1e-9).all()
    # volumes 0 and 3 s after the onset in both runs, but at other numbers
    shared = [
        number
        for number in np.unique(rows.sound)
        if number >= 0 and len(np.unique(rows.run[rows.sound == number])) == 2
    ]
    assert shared


def test_noise_decays_over_gaps_as_over_time() -> None:
    run = clustered("a", [f"x{i}" for i in range(6)] * 4, 24, duration=10.0, gap=PERIOD - 10.0, first=0.0)
    rows = rows_of([run])
    assert rows.tick is not None
    assert np.array_equal(rows.tick, np.rint(np.array(run.volume_times) / TR))
    repeats = repeat_rows(rows)
    nuisance = [nuisance_basis(np.zeros((96, 0)), TR, 200.0, times=run.since_first)]
    args = (repeats.index, rows.run, rows.fold)
    timed = layout_noise(*args, volume=rows.volume, nuisance=nuisance, moment=rows.moment)
    counted = layout_noise(*args, volume=rows.volume, nuisance=nuisance)
    # noise of AR .9 from one repetition time to the next, simulated in time: what repeats share of it
    course = lfilter([1], [1, -0.9], np.random.default_rng(0).standard_normal((rows.tick.max() + 101, 8000)), axis=0)
    clean = nuisance[0].project(course[100:][rows.tick])
    clean /= np.sqrt(np.mean(clean**2, axis=0))
    parts = np.stack([clean[column] for column in repeats.index.T])
    n = len(parts)
    total = parts.var(axis=1, ddof=1).mean(axis=0)
    feigned = float(np.mean((n * parts.mean(axis=0).var(axis=0, ddof=1) - total) / (n - 1)))
    found, wrong = (
        0.0 if made is None else float(made.signal_power(clean, repeats.index).mean()) for made in (timed, counted)
    )
    assert abs(found - feigned) < 0.01
    assert abs(found - feigned) <= abs(wrong - feigned)


def test_only_whole_clusters_are_moved() -> None:
    runs = [
        clustered("a", [f"a{i}" for i in range(27)], gap=6.0, duration=6.0),
        clustered("b", [f"b{i}" for i in range(27)], gap=6.0, duration=6.0),
    ]
    rows = rows_of(runs)
    rows.scored[[0, 1, 50]] = False  # before the steady state; scrubbed
    for question in (SOUND, SPECIFIC):
        plan = permutation_plan(rows, 200, 0, question=question)
        assert plan.sizes == (88, 96)
        assert (plan.order % SIZE == 0).all() and len(np.unique(plan.order)) > 10
        cluster = rows.run[plan.rows] * 100 + rows.cluster[plan.rows]  # type: ignore[index]
        assert (np.bincount(cluster)[np.unique(cluster)] == SIZE).all()
        assert any("5 scored volumes of held-out clusters" in note for note in plan.notes)


def test_clusters_of_single_volumes_are_moved_one_by_one() -> None:
    rng = np.random.default_rng(0)
    starts = np.cumsum(rng.uniform(8, 11, 60))
    run = replace(
        make_run("a", [f"x{i}" for i in range(30)], 8.0, 60, duration=10.0, gap=7.0), volume_times=tuple(starts)
    )
    plan = permutation_plan(rows_of([run]), 200, 0, question=SOUND)
    assert sum(plan.sizes) == 60
    assert np.gcd.reduce(plan.order.ravel()) == 1


def test_clips_that_recur_change_places_where_volumes_are_clustered() -> None:
    run = clustered("a", [f"x{i}" for i in range(8)] * 6, 40, duration=10.0, gap=PERIOD - 10.0, first=0.0)
    plan = permutation_plan(rows_of([run]), 200, 0, question=SPECIFIC)
    assert plan.classes
    rows = rows_of([run])
    since = np.array(run.volume_times)[plan.rows] % PERIOD
    for one in plan.classes:
        assert (np.ptp(since[one], axis=(0, 1)) < 1e-6).all(), "moments that meet are as long after the onset"
    assert rows.sound is not None


@pytest.mark.parametrize("question", [SOUND, SPECIFIC])
def test_p_is_flat_for_noise_that_is_alike_within_clusters(question: str) -> None:
    """Noise and prediction of their own in each cluster: moved volume by volume, p would be small too often."""
    runs = [clustered(name, [f"{name}{i}" for i in range(27)], 40, gap=8.0, duration=6.0) for name in "ab"]
    rows = rows_of(runs)
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noise, prediction = (
            np.repeat(rng.standard_normal(80), SIZE) + 0.2 * rng.standard_normal(320) for _ in range(2)
        )
        plan = permutation_plan(rows, 99, seed, question=question)
        values = []
        for shifts in (np.zeros(plan.order.shape[1], int), *plan.order):
            first, total = 0, 0.0
            for size, shift in zip(plan.sizes, shifts):
                part = plan.rows[first : first + size]
                total += float(np.corrcoef(np.roll(prediction[part], shift), noise[part])[0, 1])
                first += size
            values.append(total)
        p.append((1 + sum(value >= values[0] for value in values[1:])) / len(values))
    assert np.mean(np.array(p) < 0.05) < 0.15
    assert 0.35 < np.mean(p) < 0.65


def test_a_run_of_unequal_clusters_has_no_p() -> None:
    starts = np.concatenate([np.arange(n) * TR + 40 * k for k, n in enumerate([2, 3, 4, 5, 6, 7])])
    run = replace(make_run("a", [f"x{i}" for i in range(12)], TR, len(starts), gap=5.0), volume_times=tuple(starts))
    with pytest.raises(NotComputable, match="no held-out run has 20 scored volumes"):
        permutation_plan(rows_of([run]), 100, 0, question=SOUND)


def test_a_presentation_before_the_run_and_one_that_its_end_cuts() -> None:
    run = clustered("a", [], 6)
    items = (Presentation(make_clip("x", 10.0), -4.0), Presentation(make_clip("y", 30.0), 60.0))
    rows = listen(replace(run, presentations=items), all_clips([replace(run, presentations=items)]), 0.75).rows
    times = np.array(run.volume_times) + 0.75
    assert np.array_equal(rows.clip == 0, times < 15.0)  # it ends in the first gap: the volume after it counts for it
    assert np.array_equal(rows.clip == 1, times >= 60.0)
    assert rows.position[0] == 3  # 4.75 s after the onset, in repetition times
