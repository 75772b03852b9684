from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import all_clips, listen, make_run

from ban_bids.encoding.folds import inner_groups, make_folds, offsets, training_rows, within_reach
from ban_bids.encoding.rows import held_out_rows, repeat_rows
from ban_bids.errors import NotComputable

LAG = 9.0


def test_reach_by_hand() -> None:
    run = make_run("a", ["x"], tr=2.0, n_volumes=15, first=4.0, duration=3.0)
    reach = within_reach(listen(run, all_clips([run]), t_ref=1.0), 4.0)[:, 0]
    # x lasts 4-7 s; volume at t averages from t - 4 - 1 to t + 1: those from 3 < t to t < 12
    assert (np.flatnonzero(reach) * 2 + 1).tolist() == [5, 7, 9, 11]


def test_drop_rule_by_hand() -> None:
    # training run: 15-s clips at 0, 30, 60 s with 15 s of rest after each; "shared" is also held out
    runs = [
        make_run("train", ["one", "shared", "two"], tr=1.5, n_volumes=60, gap=15.0),
        make_run("test", ["shared"], tr=1.5, n_volumes=20),
    ]
    heard = [listen(run, all_clips(runs)) for run in runs]
    rows, dropped = training_rows(heard, [0], {Path("/audio/shared.wav")}, longest_lag=LAG)
    times = np.arange(60) * 1.5
    # dropped where [t - 9 - 0.75, t + 0.75] meets [30, 45]
    touched = (times + 0.75 > 30) & (times - 9.75 < 45)
    assert np.array_equal(rows, np.flatnonzero(~touched))
    assert dropped == int(touched.sum()) == 17


def test_drop_rule_counts_lead_ins_but_not_rows_left_out_anyway() -> None:
    # the lead-in's rows are out already; rows after it, within the lags of the shared track, are dropped
    runs = [
        make_run("train", ["shared", "one"], n_volumes=20, lead_in=True),
        make_run("test", ["shared"], n_volumes=10),
    ]
    heard = [listen(run, all_clips(runs), non_steady=2) for run in runs]
    rows, dropped = training_rows(heard, [0], {Path("/audio/shared.wav")}, longest_lag=LAG)
    assert rows.tolist() == [17, 18, 19]  # 25.5 s is the first whose 9.75 s before hold none of it
    assert dropped == 7


def test_held_out_lead_in_tracks_are_dropped_too() -> None:
    runs = [
        make_run("train", ["one", "shared", "two"], n_volumes=60, gap=15.0),
        make_run("test", ["shared", "other"], n_volumes=20, lead_in=True),
    ]
    heard = [listen(run, all_clips(runs)) for run in runs]
    folds, notes = make_folds(heard, [([1], [0])], LAG, min_training_rows=10)
    assert folds[0].dropped == 17
    assert "17 training rows dropped" in notes[0]
    assert np.array_equal(folds[0].held_out, np.arange(60, 80))


def test_different_excerpts_of_one_track_are_the_same_track() -> None:
    runs = [make_run("train", ["a", "b"], n_volumes=20), make_run("test", ["a"], n_volumes=10)]
    excerpt = runs[1].presentations[0].clip.__class__(Path("/audio/a.wav"), 7.0, 15.0, "a")
    object.__setattr__(runs[1].presentations[0], "clip", excerpt)
    heard = [listen(run, all_clips(runs)) for run in runs]
    folds, _ = make_folds(heard, [([1], [0])], LAG, min_training_rows=1)
    assert folds[0].dropped > 0


def test_inner_folds_are_runs() -> None:
    runs = [make_run(name, [name], n_volumes=10) for name in "abc"]
    heard = [listen(run, all_clips(runs)) for run in runs]
    folds, notes = make_folds(heard, [([1], [0, 2])], LAG, min_training_rows=5)
    assert folds[0].training.tolist() == [*range(10), *range(20, 30)]
    assert folds[0].groups.tolist() == [0] * 10 + [1] * 10
    assert notes == ()


def test_one_training_run_is_cut_between_clips() -> None:
    run = make_run("a", list("abcdefg"), n_volumes=80)
    heard = [listen(run, all_clips([run]))]
    groups = inner_groups(heard, np.arange(80))
    assert set(groups) == {0, 1, 2, 3, 4}
    assert np.all(np.diff(groups) >= 0)
    clips = heard[0].rows.clip
    for clip in range(7):
        assert len(set(groups[clips == clip])) == 1


def test_one_training_run_without_clips_is_cut_anyway() -> None:
    run = make_run("a", [], n_volumes=23)
    assert len(set(inner_groups([listen(run, ())], np.arange(23)))) == 5
    with pytest.raises(NotComputable):
        inner_groups([listen(run, ())], np.array([3]))


def test_falls_back_to_groups_of_tracks() -> None:
    # every run plays the same eight tracks: holding out a run's tracks leaves nothing to train on
    tracks = [f"t{i}" for i in range(8)]
    runs = [make_run(name, tracks, n_volumes=80) for name in "abc"]
    heard = [listen(run, all_clips(runs)) for run in runs]
    plan = [([r], [q for q in range(3) if q != r]) for r in range(3)]
    folds, notes = make_folds(heard, plan, LAG, min_training_rows=30)
    assert len(folds) > 3
    assert "groups of tracks" in notes[0]
    check_no_track_on_both_sides(heard, folds)
    held_out = np.concatenate([fold.held_out for fold in folds])
    assert np.array_equal(np.sort(held_out), np.arange(240))


def test_no_split_is_an_error() -> None:
    runs = [make_run(name, ["x"], n_volumes=10) for name in "ab"]
    heard = [listen(run, all_clips(runs)) for run in runs]
    with pytest.raises(NotComputable, match="--test-runs"):
        make_folds(heard, [([0], [1])], LAG, min_training_rows=5)


def check_no_track_on_both_sides(heard: list, folds: tuple) -> None:
    first = offsets(heard)
    for fold in folds:
        heard_by = []
        for rows in (fold.training, fold.held_out):
            tracks = set()
            for r, run in enumerate(heard):
                mine = rows[(rows >= first[r]) & (rows < first[r + 1])] - first[r]
                reached = within_reach(run, LAG)[mine].any(axis=0)
                tracks |= {p.clip.audio for p, yes in zip(run.presentations, reached) if yes}
            heard_by.append(tracks)
        assert not heard_by[0] & heard_by[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), tr=st.floats(0.7, 3.0))
def test_no_track_is_ever_on_both_sides(seed: int, tr: float) -> None:
    rng = np.random.default_rng(seed)
    runs = [make_run(name, [f"t{i}" for i in rng.integers(0, 9, 5)], tr=tr, n_volumes=int(90 / tr)) for name in "abcd"]
    heard = [listen(run, all_clips(runs)) for run in runs]
    plan = [([r], [q for q in range(4) if q != r]) for r in range(4)]
    try:
        folds, _ = make_folds(heard, plan, LAG, min_training_rows=5)
    except NotComputable:
        return
    check_no_track_on_both_sides(heard, folds)
    held_out = np.concatenate([fold.held_out for fold in folds])
    assert np.array_equal(np.sort(held_out), np.arange(offsets(heard)[-1]))
    for fold in folds:
        assert len(fold.training) >= 5
        assert not np.intersect1d(fold.training, fold.held_out).size


def test_ds003720_has_4800_training_rows_and_600_unique_held_out_rows() -> None:
    # 41 clips of 15 s a run; the first repeats the last of the run before (Training) or of the run (Test)
    def training(r: int) -> list[str]:
        return [f"t{r - 1}-39", *(f"t{r}-{i}" for i in range(40))]

    def test(r: int) -> list[str]:
        return [f"x{r}-9", *([f"x{r}-{i}" for i in range(10)] * 4)]

    runs = [make_run(f"Training{r}", training(r), n_volumes=410, lead_in=True) for r in range(12)]
    runs += [make_run(f"Test{r}", test(r), n_volumes=410, lead_in=True) for r in range(6)]
    heard = [listen(run, all_clips(runs)) for run in runs]
    folds, notes = make_folds(heard, [(range(12, 18), range(12))], LAG, min_training_rows=30)
    assert notes == ()
    assert len(folds[0].training) == 4800
    assert np.bincount(folds[0].groups).tolist() == [400] * 12
    table = held_out_rows([run.rows for run in heard], [np.arange(offsets(heard)[12], offsets(heard)[18])])
    assert len(table) == len(folds[0].held_out) == 6 * 410
    assert repeat_rows(table).index.shape == (600, 4)
