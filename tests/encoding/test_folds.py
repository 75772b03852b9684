"""Folds: no recording on both sides, enough to train on, and each side clean on its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import all_clips, listen, make_clip, make_run

from ban_bids.encoding.cleaning import Nuisance, nuisance_basis, side_of
from ban_bids.encoding.folds import Fold, FoldMaker
from ban_bids.encoding.heard import held_out_rows
from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import RunRows, offsets
from ban_bids.encoding.sounds import sounds_of
from ban_bids.errors import NotComputable
from ban_bids.inputs.types import Presentation, Run

LAG = 9.0


def nuisance_of(heard: Sequence[RunRows], n_confounds: int = 0, seed: int = 0) -> list[Nuisance]:
    rng = np.random.default_rng(seed)
    return [
        nuisance_basis(
            rng.standard_normal((run.rows.n_volumes, n_confounds)),
            run.rows.repetition_time,
            1e6,
            keep=run.rows.scored,
        )
        for run in heard
    ]


def maker(runs: list[Run], least: int = 30, n_confounds: int = 0, non_steady: int = 0, **same: str) -> FoldMaker:
    heard = [listen(run, all_clips(runs), non_steady=non_steady) for run in runs]
    recording = {Path(f"/audio/{one}.wav"): Path(f"/audio/{other}.wav") for one, other in same.items()}
    return FoldMaker(heard, nuisance_of(heard, n_confounds), longest_lag=LAG, least=least, recording=recording)


def in_turn(n_runs: int) -> list[tuple[list[int], list[int]]]:
    return [([r], [q for q in range(n_runs) if q != r]) for r in range(n_runs)]


def heard_units(made: FoldMaker, rows: np.ndarray) -> set[int]:
    return set(np.flatnonzero(made.heard[rows].any(axis=0)))


def check_folds(made: FoldMaker, folds: Sequence[Fold]) -> None:
    """No recording on both sides of a fold or of an inner fold; no row held out twice; every row scored is clean."""
    for fold in folds:
        assert not heard_units(made, fold.training) & heard_units(made, fold.held_out)
        assert made.scored[fold.training].all()
        assert len(fold.inner) >= 2
        for inner in fold.inner:
            training, validation = fold.training[inner.training.rows], fold.training[inner.validation.rows]
            assert len(training) and len(validation)
            assert not np.intersect1d(training, validation).size
            assert not heard_units(made, training) & heard_units(made, validation)
    held_out = np.concatenate([fold.held_out for fold in folds])
    assert len(np.unique(held_out)) == len(held_out)


def test_reach_by_hand() -> None:
    run = make_run("a", ["x"], tr=2.0, n_volumes=15, first=4.0, duration=3.0)
    heard = listen(run, all_clips([run]), t_ref=1.0)
    reach = sounds_of([heard], {})[0].reach(heard.rows, 4.0)[:, 0]
    # x lasts 4-7 s; volume at t averages from t - 4 - 1 to t + 1: those from 3 < t to t < 12
    assert (np.flatnonzero(reach) * 2 + 1).tolist() == [5, 7, 9, 11]


def test_drop_rule_by_hand() -> None:
    # training run: 15-s clips at 0, 30, 60 s with 15 s of rest after each; "shared" is also held out
    runs = [
        make_run("train", ["one", "shared", "two"], n_volumes=60, gap=15.0),
        make_run("more", ["three", "four"], n_volumes=30),
        make_run("test", ["shared"], n_volumes=20),
    ]
    made = maker(runs, least=10)
    folds, notes = made.folds([([2], [0, 1])], in_turn=False)
    times = np.arange(60) * 1.5
    # dropped where [t - 9 - 0.75, t + 0.75] meets [30, 45]
    touched = (times + 0.75 > 30) & (times - 9.75 < 45)
    assert folds[0].training.tolist() == [*np.flatnonzero(~touched), *range(60, 90)]
    assert folds[0].dropped == int(touched.sum()) == 17
    assert "17 training rows dropped" in notes[0]
    assert folds[0].held_out.tolist() == list(range(90, 110))
    assert folds[0].whole_runs
    check_folds(made, folds)


def test_lead_ins_train_nothing_and_are_heard_all_the_same() -> None:
    runs = [
        make_run("train", ["shared", "one"], n_volumes=20, lead_in=True),
        make_run("more", ["two", "three"], n_volumes=20),
        make_run("test", ["shared", "other"], n_volumes=20, lead_in=True),
    ]
    folds, _ = maker(runs, least=3, non_steady=2).folds([([2], [0, 1])], in_turn=False)
    # 25.5 s is the first whose 9.75 s before hold none of it
    assert folds[0].training.tolist() == [17, 18, 19, *range(22, 40)]
    assert folds[0].dropped == 7


def test_the_same_recording_under_another_name_is_dropped_too() -> None:
    runs = [make_run(name, tracks, n_volumes=30) for name, tracks in
            (("a", ["x", "y", "z"]), ("b", ["u", "v", "w"]), ("test", ["copy", "t"]))]  # fmt: skip
    apart, _ = maker(runs).folds([([2], [0, 1])], in_turn=False)
    together, _ = maker(runs, copy="y").folds([([2], [0, 1])], in_turn=False)
    assert apart[0].dropped == 0
    assert together[0].dropped == 17


def test_inner_folds_are_runs_where_runs_share_nothing() -> None:
    runs = [make_run(name, [f"{name}{i}" for i in range(3)], n_volumes=30) for name in "abc"]
    folds, notes = maker(runs).folds([([1], [0, 2])], in_turn=False)
    assert folds[0].whole_runs
    assert folds[0].groups.tolist() == [0] * 30 + [1] * 30
    assert not folds[0].training_side.parts and not folds[0].held_out_side.parts
    assert notes == ()


def test_a_few_shared_recordings_are_dropped_so_that_inner_folds_are_runs() -> None:
    tracks = [[f"{r}-{i}" for i in range(25)] for r in range(3)]
    tracks[1][24] = "0-3"
    runs = [make_run(f"r{r}", heard, n_volumes=250) for r, heard in enumerate([*tracks, ["t0", "t1"]])]
    made = maker(runs)
    folds, notes = made.folds([([3], [0, 1, 2])], in_turn=False)
    # the last ten volumes of the second run heard it
    assert np.setdiff1d(np.arange(750), folds[0].training).tolist() == list(range(490, 500))
    assert any("10 training rows dropped that heard a recording of another run" in note for note in notes)
    assert folds[0].whole_runs
    check_folds(made, folds)


def test_inner_folds_of_runs_that_share_recordings_are_groups_of_recordings() -> None:
    tracks = [f"t{i}" for i in range(8)]
    runs = [make_run(name, tracks, n_volumes=80) for name in "ab"]
    runs.append(make_run("test", ["x", "y"], n_volumes=30))
    made = maker(runs)
    folds, _ = made.folds([([2], [0, 1])], in_turn=False)
    assert len(folds[0].training) == 160
    assert not folds[0].whole_runs and len(folds[0].inner) == 5
    check_folds(made, folds)
    for inner in folds[0].inner:
        for side in (inner.training, inner.validation):
            assert len(side.parts) == 2  # a part of each run


def test_one_training_run_is_cut_between_clips_with_a_gap() -> None:
    runs = [make_run("a", list("bcdefgh"), n_volumes=80), make_run("test", ["x", "y"], n_volumes=30)]
    made = maker(runs)
    folds, _ = made.folds([([1], [0])], in_turn=False)
    assert not folds[0].whole_runs
    check_folds(made, folds)


def test_every_recording_in_every_run_is_held_out_by_groups_of_recordings() -> None:
    tracks = [f"t{i}" for i in range(10)]
    rng = np.random.default_rng(0)
    runs = [make_run(name, list(rng.permutation(tracks)), n_volumes=100) for name in "abcd"]
    made = maker(runs)
    folds, notes = made.folds(in_turn(4), in_turn=True)
    assert 2 <= len(folds) <= 5
    assert "groups of recordings" in notes[0]
    check_folds(made, folds)
    for fold in folds:
        assert len(np.unique(made.run[fold.held_out])) == 4
        assert len(fold.held_out_side.parts) == 4
        assert made.heard[fold.training].any(axis=1).sum() > 30


def test_silence_does_not_count_as_something_to_train_on() -> None:
    # two minutes of rest a run, but both runs hold the same clips: silence alone would be left of the other run
    runs = [make_run(name, ["x", "y", "z", "w"], n_volumes=140, gap=30.0) for name in "ab"]
    made = maker(runs)
    folds, _ = made.folds(in_turn(2), in_turn=True)
    for fold in folds:
        assert len(heard_units(made, fold.training)) >= 2
        assert made.heard[fold.training].any(axis=1).sum() >= 30
    check_folds(made, folds)


def test_nearly_all_shared_is_not_enough() -> None:
    # each run has one clip of its own: with the others' recordings dropped one clip per run would train
    tracks = [f"t{i}" for i in range(11)]
    runs = [make_run(name, [*tracks, f"own{name}"], n_volumes=120) for name in "abc"]
    made = maker(runs)
    folds, notes = made.folds(in_turn(3), in_turn=True)
    assert "groups of recordings" in notes[0]
    check_folds(made, folds)


def test_one_run_is_scored_by_groups_of_recordings() -> None:
    runs = [make_run("a", [f"t{i}" for i in range(20)], n_volumes=200)]
    made = maker(runs)
    folds, notes = made.folds([([0], [])], in_turn=True)
    assert len(folds) == 5 and notes[0].startswith("held-out task-a: one run only, so rows are held out by 5 groups")
    check_folds(made, folds)
    for fold in folds:  # a gap of the longest lag before and after
        between = np.diff(np.sort(np.r_[fold.training, fold.held_out]))
        assert between.max() >= int(LAG / 1.5)


def test_one_long_recording_is_cut_into_stretches() -> None:
    runs = [make_run("a", ["story"], n_volumes=400, duration=590.0)]
    made = maker(runs)
    folds, _ = made.folds([([0], [])], in_turn=True)
    assert len(folds) == 5
    check_folds(made, folds)
    twice = maker([make_run("a", ["story", "story"], n_volumes=400, duration=290.0)])
    with pytest.raises(NotComputable, match="recording"):
        twice.folds([([0], [])], in_turn=True)


def excerpts_of(*parts: tuple[str, float, float]) -> Run:
    """One run of excerpts (track, start, duration), one after another with 5 s between them."""
    run, onset, played = make_run("a", [], n_volumes=400), 5.0, []
    for track, start, duration in parts:
        played.append(Presentation(make_clip(track, duration, start), onset))
        onset += duration + 5.0
    return replace(run, presentations=tuple(played), n_volumes=int(onset / run.repetition_time))


@pytest.mark.parametrize("heard_twice", [False, True])
@pytest.mark.parametrize(
    ("once", "again"),
    [
        # a story in rows, and one whose rows begin before the last one ended
        ([("story", 60.0 * k, 60.0) for k in range(10)], [("story", 30.0 * k, 60.0) for k in range(10)]),
        # another excerpt of the first song
        ([("s", 0, 200), ("t", 0, 200), ("s", 200, 200)], [("s", 0, 200), ("t", 0, 200), ("s", 150, 200)]),
        # the first song in another file
        ([("s", 0, 200), ("t", 0, 200), ("u", 0, 200)], [("s", 0, 200), ("t", 0, 200), ("copy", 0, 200)]),
        # short sounds in turn, which overlap themselves by less than measured onsets may; and parts of them
        ([("s", k / 10, 0.08) for k in range(80)], [("st"[k % 2], 0, 0.08) for k in range(80)]),
        ([("s", k / 10, 0.08) for k in range(80)], [("s", k * 0.02, 0.08) for k in range(80)]),
    ],
)
def test_time_is_not_cut_where_a_moment_of_a_recording_may_be_heard_twice(
    once: list[tuple[str, float, float]], again: list[tuple[str, float, float]], heard_twice: bool
) -> None:
    made = maker([excerpts_of(*(again if heard_twice else once))], copy="s")
    if heard_twice:
        with pytest.raises(NotComputable, match="recording"):
            made.folds([([0], [])], in_turn=True)
        return
    folds, _ = made.folds([([0], [])], in_turn=True)
    assert len(folds) == 5
    for fold in folds:
        trained, tested = (file_seconds(made.runs[0], rows) for rows in (fold.training, fold.held_out))
        # a tenth that a border lies in belongs to both
        assert trained and tested and len(trained & tested) <= 2


def file_seconds(run: RunRows, volumes: np.ndarray) -> set[tuple[str, int]]:
    """Tenths of a second of every file that volumes hear within their lags, from the presentations themselves."""
    found = set()
    for time in run.rows.times[volumes]:
        begin, end = time - LAG - run.rows.repetition_time / 2, time + run.rows.repetition_time / 2
        for item in run.presentations:
            shift = item.clip.start - item.onset
            inside = (max(begin, item.onset) + shift + 1e-6, min(end, item.end) + shift - 1e-6)
            if inside[1] > inside[0]:
                found |= {(item.clip.track, tenth) for tenth in range(int(inside[0] * 10), int(inside[1] * 10) + 1)}
    return found


def test_one_long_recording_in_two_runs_is_cut_at_the_same_places() -> None:
    # 10 volumes of 2 s later in the second run; stretches of 100 s end on whole tenths
    runs = [make_run(name, ["story"], tr=2.0, n_volumes=300, duration=500.0, gap=0.0) for name in "ab"]
    runs[1] = replace(runs[1], presentations=(replace(runs[1].presentations[0], onset=20.0),))
    made = maker(runs)
    folds, notes = made.folds(in_turn(2), in_turn=True)
    assert len(folds) == 5 and "one or two recordings only, cut into 5 stretches" in notes[0]
    check_folds(made, folds)
    for fold in folds:
        trained, tested = (
            set().union(*(file_seconds(made.runs[r], rows[made.run[rows] == r] - made.first[r]) for r in range(2)))
            for rows in (fold.training, fold.held_out)
        )
        assert trained and tested
        # a tenth that a border lies in belongs to both
        assert len(trained & tested) <= 2
        assert {r for r in range(2) if (made.run[fold.held_out] == r).any()} == {0, 1}


def test_two_long_recordings_train_one_another() -> None:
    runs = [make_run(name, [name], n_volumes=200, duration=290.0) for name in "ab"]
    made = maker(runs)
    folds, notes = made.folds(in_turn(2), in_turn=True)
    assert [list(np.unique(made.run[fold.training])) for fold in folds] == [[1], [0]]
    assert "two recordings only" in notes[0]
    check_folds(made, folds)
    # the same sound in two files, whose times nobody knows: not cut
    with pytest.raises(NotComputable, match="recording"):
        maker(runs, a="b").folds(in_turn(2), in_turn=True)


def test_one_recording_everywhere_is_an_error() -> None:
    runs = [make_run(name, ["x"], n_volumes=10) for name in "ab"]
    with pytest.raises(NotComputable, match="--test-runs"):
        maker(runs, least=5).folds(in_turn(2), in_turn=True)


def test_rows_that_all_heard_several_groups_are_an_error() -> None:
    rng = np.random.default_rng(0)  # clips much shorter than the lags, in another order each time
    orders = [[f"t{i}" for i in rng.permutation(6)] for _ in range(8)]
    runs = [make_run(name, [track for order in orders for track in order], duration=2.0) for name in "ab"]
    with pytest.raises(NotComputable, match="every row heard recordings of several groups"):
        maker(runs).folds(in_turn(2), in_turn=True)


def test_parts_with_few_rows_for_their_nuisance_are_left_out() -> None:
    tracks = [f"t{i}" for i in range(12)]
    rng = np.random.default_rng(0)
    runs = [make_run(name, list(rng.permutation(tracks)), n_volumes=120) for name in "abcde"]
    many, few = (maker(runs, n_confounds=n) for n in (16, 0))
    folds, _ = many.folds(in_turn(5), in_turn=True)
    assert len(folds) < len(few.folds(in_turn(5), in_turn=True)[0])
    for fold in folds:
        for side in (fold.training_side, fold.held_out_side):
            assert all(part.basis.shape[1] * 1.5 <= part.basis.shape[0] for part in side.parts)
    check_folds(many, folds)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), tr=st.floats(0.7, 3.0), n_runs=st.integers(1, 4))
def test_no_recording_is_ever_on_both_sides(seed: int, tr: float, n_runs: int) -> None:
    rng = np.random.default_rng(seed)
    runs = [
        make_run(name, [f"t{i}" for i in rng.integers(0, 9, 6)], tr=tr, n_volumes=int(100 / tr), gap=float(gap))
        for name, gap in zip("abcd"[:n_runs], rng.choice([0, 2, 12], n_runs))
    ]
    made = maker(runs, least=5)
    try:
        folds, _ = made.folds(in_turn(n_runs), in_turn=True)
    except NotComputable:
        return
    check_folds(made, folds)


def test_each_side_is_clean_by_least_squares_on_its_own_rows() -> None:
    rng = np.random.default_rng(0)
    runs = [make_run(name, [f"{name}{i}" for i in range(6)], n_volumes=60) for name in "ab"]
    heard = [listen(run, all_clips(runs)) for run in runs]
    nuisance = nuisance_of(heard, n_confounds=4)
    first, raw = offsets(heard), rng.standard_normal((120, 5)) * 3 + 7
    clean = np.concatenate([nuisance[r].project(raw[first[r] : first[r + 1]]) for r in range(2)])
    rows = np.r_[5:40, 60:120]
    side = side_of(rows, first, nuisance)
    assert len(side.parts) == 1  # all of the second run is there
    found = side.standardise(clean[rows])
    basis = nuisance[0].basis[5:40]
    residual = raw[5:40] - basis @ np.linalg.lstsq(basis, raw[5:40], rcond=None)[0]
    expected = residual / np.sqrt((residual**2).sum(axis=0) / (35 - np.linalg.matrix_rank(basis)))
    np.testing.assert_allclose(found[:35], expected, atol=1e-10)
    np.testing.assert_array_equal(found[35:], clean[60:])
    # nothing of the other rows enters
    changed = raw.copy()
    changed[40:60] += rng.standard_normal((20, 5)) * 50
    again = np.concatenate([nuisance[r].project(changed[first[r] : first[r + 1]]) for r in range(2)])
    np.testing.assert_allclose(side.standardise(again[rows]), found, atol=1e-10)


def test_ds003720_has_4733_training_rows() -> None:
    # 41 clips of 15 s a run; the first repeats the last of the run before (Training) or of the run (Test)
    def training(r: int) -> list[str]:
        return [f"t{r - 1}-39", *(f"t{r}-{i}" for i in range(40))]

    def test(r: int) -> list[str]:
        return [f"x{r}-9", *([f"x{r}-{i}" for i in range(10)] * 4)]

    runs = [make_run(f"Training{r}", training(r), n_volumes=410, lead_in=True) for r in range(12)]
    runs += [make_run(f"Test{r}", test(r), n_volumes=410, lead_in=True) for r in range(6)]
    made = maker(runs)
    folds, notes = made.folds([(range(12, 18), range(12))], in_turn=False)
    # seven volumes of every run but the first still heard the lead-in, a recording of the run before
    assert len(folds[0].training) == 4800 - 11 * 7
    assert any("77 training rows dropped that heard a recording of another run" in note for note in notes)
    assert folds[0].whole_runs and len(folds[0].inner) == 12
    assert len(folds[0].held_out) == 6 * 410
    check_folds(made, folds)
    heard = [run.rows for run in made.runs]
    table = held_out_rows(heard, [folds[0].held_out], longest_lag=LAG, lag_step=2.0)
    assert repeat_rows(table).index.shape == (600, 4)
