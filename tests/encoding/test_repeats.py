"""Which rows repeat: those whose sound is the same over the whole lag window, in any order of clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from listening import all_clips, listen, make_clip, make_run

from ban_bids.encoding.heard import held_out_rows, sounds_heard
from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.errors import NotComputable
from ban_bids.inputs.types import Presentation, Run
from ban_bids.scoring.bootstrap import clip_statistics, share

LAG, STEP, TR = 9.0, 2.0, 1.5


def rows_of(runs: list[Run], t_ref: float = 0.75) -> HeldOutRows:
    """All rows of the runs, held out."""
    rows = [listen(run, all_clips(runs), t_ref).rows for run in runs]
    n = sum(run.n_volumes for run in runs)
    return held_out_rows(rows, [np.arange(n)], longest_lag=LAG, lag_step=STEP)


def random_order(
    seed: int, *, n_clips: int = 6, n_repeats: int = 4, duration: float = 15.0, gap: float = 0.0, n_runs: int = 1
) -> list[Run]:
    """Every clip ``n_repeats`` times per run, another order each time."""
    rng = np.random.default_rng(seed)
    orders = [np.concatenate([rng.permutation(n_clips) for _ in range(n_repeats)]) for _ in range(n_runs)]
    n_volumes = int(np.ceil(n_repeats * n_clips * (duration + gap) / TR)) + 10
    return [
        make_run(f"r{r}", [f"t{k}" for k in order], TR, n_volumes, gap=gap, duration=duration)
        for r, order in enumerate(orders)
    ]


@pytest.mark.parametrize(("duration", "gap"), [(15.0, 0.0), (6.0, 0.0), (6.0, 4.5), (1.5, 3.0), (10.5, 12.0)])
@pytest.mark.parametrize("t_ref", [0.0, 0.75])
def test_sounds_are_the_same_where_every_tenth_of_a_second_of_the_lag_window_is(
    duration: float, gap: float, t_ref: float
) -> None:
    runs = random_order(3, n_clips=3, duration=duration, gap=gap, n_runs=2)
    rows = [listen(run, all_clips(runs), t_ref).rows for run in runs]
    heard = sounds_heard(rows, longest_lag=LAG, lag_step=STEP)
    windows = []
    for run, of_run in zip(runs, rows):
        for time in of_run.times:
            moments = time + np.arange(-LAG - TR / 2 + 0.01, 0.1, 0.1)
            playing = [
                next(((p.clip.track, round(t - p.onset, 3)) for p in run.presentations if p.onset <= t < p.end), None)
                for t in moments
            ]
            windows.append(tuple(playing))
    found = np.concatenate([sound for sound, _ in heard])
    assert len(found) == len(windows)
    silence = tuple([None] * len(windows[0]))
    assert [window == silence for window in windows] == (found == -1).tolist()
    distinct = {window: number for window, number in zip(windows, found)}
    assert [distinct[window] for window in windows] == found.tolist()
    assert len(set(distinct.values())) == len(distinct)


def test_in_random_back_to_back_order_the_first_nine_seconds_of_clips_are_no_repeats() -> None:
    rows = rows_of(random_order(0, n_clips=10))
    repeats = repeat_rows(rows)
    assert repeats.n_repeats == 4
    inside = rows.clip[repeats.index[:, 0]] >= 0
    assert set(rows.position[repeats.index[inside]].ravel()) == {6, 7, 8, 9}
    assert inside.sum() == 40
    assert any("are no repeats: other sounds" in note for note in repeats.notes)
    same = repeats.index[inside]
    assert (rows.clip[same] == repeats.clip[inside, None]).all()


def test_in_a_fixed_cycle_only_the_start_of_the_run_is_no_repeat() -> None:
    run = make_run("a", [f"t{k}" for k in range(5)] * 4, TR, 200)
    repeats = repeat_rows(rows_of([run]))
    # the first clip's first 9 s follow silence once and clip 4 three times
    assert repeats.index.shape == (44, 4)
    assert repeats.index.min() == 6
    assert any("6 moments" in note for note in repeats.notes)
    led = make_run("a", [f"t{k}" for k in [4, *range(5)] + [*range(5)] * 3], TR, 210, lead_in=True)
    assert repeat_rows(rows_of([led])).index.shape == (50, 4)
    other = make_run("a", [f"t{k}" for k in [9, *range(5)] + [*range(5)] * 3], TR, 210, lead_in=True)
    assert repeat_rows(rows_of([other])).index.shape == (44, 4)  # a lead-in is sound like any other


def test_rest_within_the_lags_repeats_and_silence_does_not() -> None:
    run = make_run("a", ["x", "y", "y", "x"], TR, 120, first=15.0, gap=30.0)
    rows = rows_of([run])
    repeats = repeat_rows(rows)
    # 10 volumes of each clip and the 6 after it that still reach it (t - 9 s - TR / 2 is before its end)
    assert repeats.index.shape == (32, 2)
    assert np.bincount(repeats.clip).tolist() == [16, 16]
    assert (rows.clip[repeats.index] == -1).sum() == 2 * 2 * 6
    assert (rows.sound[np.setdiff1d(np.arange(120), repeats.index)] == -1).all()  # type: ignore[index]


@pytest.mark.parametrize("interval", [15.2, 15.75, 16.9])
@pytest.mark.parametrize("scatter", [0.0, 0.02])
def test_onsets_off_the_grid_of_volumes_do_not_split_repeats(interval: float, scatter: float) -> None:
    rng = np.random.default_rng(1)
    clips = [make_clip(f"t{k % 5}") for k in range(20)]
    late = rng.uniform(0, scatter, 20) if scatter else np.zeros(20)
    run = replace(
        make_run("a", ["t0"], TR, 240),
        presentations=tuple(Presentation(c, 0.3 + k * interval + late[k]) for k, c in enumerate(clips)),
    )
    rows = rows_of([run])
    repeats = repeat_rows(rows)
    assert repeats.n_repeats == 4
    # what may lack a repeat: the start of the run, and one volume per clip where a phase leaves no room
    assert len(repeats.index) >= 50 - 7 - 5
    times = rows.volume * TR + 0.75
    onsets = np.array([item.onset for item in run.presentations])
    since = times - onsets[np.searchsorted(onsets, times + 0.1) - 1]
    assert np.ptp(since[repeats.index], axis=1).max() < TR


def test_short_sounds_between_sparse_volumes_count_with_their_delay() -> None:
    base = replace(make_run("a", ["x"], 10.0, 9), acquisition_time=2.0)
    # each sound ends before the next volume at 11, 21, ... s: 5 s before a volume, or 2.5 s
    onsets = [("x", 6.0), ("y", 16.0), ("x", 36.0), ("y", 56.0), ("x", 78.5)]
    run = replace(base, presentations=tuple(Presentation(make_clip(t, 1.0), onset) for t, onset in onsets))
    rows = rows_of([run], t_ref=1.0)
    assert rows.clip.tolist() == [-1, 0, 1, -1, 0, -1, 1, -1, 0]  # played in the silence before
    assert rows.sound is not None and rows.begun is not None
    assert rows.begun.tolist() == [-1, 0, 1, -1, 0, -1, 1, -1, 0]
    assert rows.sound[1] == rows.sound[4] != rows.sound[8]
    assert rows.sound[2] == rows.sound[6]
    repeats = repeat_rows(rows)
    assert repeats.index.tolist() == [[1, 4], [2, 6]] and repeats.clip.tolist() == [0, 1]


def test_no_repeat_after_the_same_sounds_is_a_reason() -> None:
    # 5 presentations of each clip: pairs that happen to follow the same two clips are no repeats either
    with pytest.raises(NotComputable, match="each time other sounds are heard within the lags"):
        repeat_rows(rows_of(random_order(2, n_clips=10, n_repeats=5, duration=6.0)))
    with pytest.raises(NotComputable, match="no clip is repeated"):
        repeat_rows(rows_of([make_run("a", ["x", "y"], TR, 30)]))
    with pytest.raises(ValueError, match="held_out_rows"):
        repeat_rows(replace(rows_of([make_run("a", ["x", "x"], TR, 30)]), sound=None))


@pytest.mark.parametrize(("duration", "gap"), [(15.0, 0.0), (10.5, 0.0), (6.0, 4.5)])
def test_a_perfect_prediction_scores_one_in_random_order(duration: float, gap: float) -> None:
    """With every volume of a clip as a repeat c was 1.15 for clips of 15 s, 1.69 for 10 s, 1.44 for 6 s and rests."""
    rng = np.random.default_rng(4)
    runs = random_order(5, n_clips=12, duration=duration, gap=gap, n_runs=2)
    rows = rows_of(runs)
    kernel = np.exp(-((np.arange(0, LAG, TR) - 5) ** 2) / 8)
    length, responses = int(duration / TR), []
    sounds = rng.standard_normal((12, length, 400))
    for r in range(2):
        clip, position = rows.clip[rows.run == r], rows.position[rows.run == r]
        playing = np.where(clip[:, None] >= 0, sounds[clip, position], 0)
        responses.append(np.apply_along_axis(lambda x: np.convolve(x, kernel)[: len(x)], 0, playing))
    response = np.concatenate(responses)
    bold = response + 2 * rng.standard_normal(response.shape)
    repeats = repeat_rows(rows)
    counts = np.ones((1, 12))
    assert share(clip_statistics(response, bold, repeats), counts)[0] == pytest.approx(1, abs=0.02)
    scaled = (1 - np.sqrt(2 / 3)) * response  # 2 b - b^2 = 1/3
    assert share(clip_statistics(scaled, bold, repeats), counts)[0] == pytest.approx(1 / 3, abs=0.01)


def test_a_run_in_which_nothing_is_heard_repeats_nothing() -> None:
    runs = [make_run("a", ["x", "y", "x", "y"], TR, 50), make_run("b", [], TR, 20)]
    heard = [listen(run, all_clips(runs)).rows for run in runs]
    (_, _), (sound, begun) = sounds_heard(heard, longest_lag=LAG, lag_step=STEP)
    assert (sound == -1).all() and (begun == -1).all()
    both, alone = repeat_rows(rows_of(runs)), repeat_rows(rows_of(runs[:1]))
    assert np.array_equal(both.index, alone.index)
