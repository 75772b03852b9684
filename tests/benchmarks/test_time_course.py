"""Which steps solve which sounds: planted answers are found again, and nothing is found where nothing was planted."""

from __future__ import annotations

import numpy as np
import pytest
import time_course
from comparison_jobs import Outcome
from step_probes import PROBE, READOUT
from time_course import HARD, PIECE, gain_by_ease, margins

GENRES = ("a", "b", "c")


def _told(right: np.ndarray, truth: np.ndarray, sure: float = 0.8) -> np.ndarray:
    """Answers (..., n_tracks, n_sounds, 3) that are right where they should be."""
    answer = np.where(right, truth[:, None], (truth[:, None] + 1) % 3)
    return np.eye(3)[answer] * (1.5 * sure - 0.5) + (0.5 - 0.5 * sure)


def test_margin_by_hand() -> None:
    answers = np.array([[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]])
    np.testing.assert_allclose(margins(answers, np.array([0])), [[np.log(0.7 / 0.2), np.log(0.1 / 0.6)]])


def test_gain_by_ease_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    change, ease = rng.integers(-1, 2, size=(2, 9, 3)).astype(float), rng.normal(size=(2, 9, 3))
    found = gain_by_ease(change, ease)
    for c, e, value in zip(change, ease, found):
        hard = np.isin(np.arange(27), np.argsort(e.ravel())[:13])
        assert value.mean() == pytest.approx(c.ravel()[hard].mean() - c.ravel()[~hard].mean())


def test_steps_that_differ_at_random_show_nothing() -> None:
    """Hard sounds change sides more often, both ways: most of what is solved late is hard, and nothing is found."""
    rng = np.random.default_rng(1)
    ease = rng.normal(size=(4, 400, 8))
    first, last = rng.random((2, *ease.shape)) < 1 / (1 + np.exp(-3 * ease))
    late = last & ~first
    assert ease[late].mean() < ease[first & last].mean() - 0.5
    assert abs(gain_by_ease(last.astype(float) - first, ease).mean()) < 0.02


def _outcomes(seed: int, later_is_harder: bool) -> tuple[Outcome, Outcome]:
    """A network of three steps and the model that judges its sounds, on 40 tracks."""
    rng = np.random.default_rng(seed)
    genres = [GENRES[k % 3] for k in range(40)]
    truth = np.arange(40) % 3
    judged = rng.uniform(0.2, 0.9, size=(40, 8))
    hard = judged < 0.5 if later_is_harder else rng.random((40, 8)) < 0.5
    pieces = np.stack([_told(~hard | (step > 0), truth) for step in range(3)])
    always = np.ones((3, 40, 1), dtype=bool)
    at_last = always & (np.arange(3) == 2)[:, None, None]
    by_step = {"quiet": _told(always, truth), **{c: _told(at_last, truth) for c in HARD}, PIECE: pieces}
    judge = np.eye(3)[truth][:, None] * (1.5 * judged[..., None] - 0.5) + (0.5 - 0.5 * judged[..., None])
    names = [f"t{k:02d}" for k in rng.permutation(40)]
    common = {"names": names, "genres": genres, "segments": [], "cpu_seconds": 1.0, "steps": 1, "code": "x"}
    return (
        Outcome(**common, by_step={PROBE: by_step, READOUT: by_step}),
        Outcome(**common, heard={PIECE: judge}),
    )


@pytest.mark.parametrize("planted", [True, False])
def test_harder_sounds_need_later_steps_where_that_was_planted(planted: bool) -> None:
    networks, judges = zip(*(_outcomes(seed, planted) for seed in range(2)))
    # names are in another order for every seed, as folds are
    same = [Outcome(**{**vars(o), "names": networks[0].names}) for o in (*networks, *judges)]
    told = time_course.time_course([[o] for o in same[:2]], [[o] for o in same[2:]], GENRES)[PROBE]
    assert told["accuracy"]["quiet"] == [1.0, 1.0, 1.0]
    assert told["accuracy"][HARD[0]] == [0.0, 0.0, 1.0]
    assert told["harder"]["value"] == 1.0
    low, high = told["ease"]["ci95_seeds"]
    assert low > 0.4 if planted else low < 0 < high
    assert sum(n["lost"] for n in told["changed"].values()) == 0


def test_a_condition_that_a_later_fold_lacks_is_left_out() -> None:
    network, judge = _outcomes(0, True)
    other, its_judge = _outcomes(1, True)
    for outcome in (other, its_judge):
        outcome.names[:] = [f"u{name}" for name in outcome.names]
    without = {condition: told for condition, told in other.by_step[PROBE].items() if condition != PIECE}
    other.by_step.update({PROBE: without, READOUT: without})
    told = time_course.time_course([[network, other]], [[judge, its_judge]], GENRES)[PROBE]
    assert set(told["accuracy"]) == set(told["gain"]) == {"quiet", *HARD}
    assert told["harder"]["value"] == 1.0
    assert told["ease"] is None and "shorter than 2 s" in told["why_no_ease"]


def test_without_a_judge_ease_is_not_available() -> None:
    network, judge = _outcomes(0, True)
    told = time_course.time_course([[network]], None, GENRES)[PROBE]
    assert told["ease"] is None and "jobs" in told["why_no_ease"]
    del network.by_step[PROBE][PIECE]
    told = time_course.time_course([[network]], [[judge]], GENRES)[PROBE]
    assert told["ease"] is None and "shorter than 2 s" in told["why_no_ease"]
