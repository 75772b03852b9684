"""Simulated people are as right as asked, the simulated model has the planted B, and more data make it surer."""

from __future__ import annotations

import numpy as np
import pytest

from ban_bids.errors import UsageError
from ban_bids.listen.plan import B_TRUE, make_world, plan_table, simulate, true_b
from ban_bids.scoring.behavioral import score_responses


@pytest.mark.parametrize(("n_choices", "accuracy"), [(10, 0.7), (4, 0.9), (3, 0.4)])
def test_people_are_right_as_often_as_asked(n_choices: int, accuracy: float) -> None:
    world = make_world(n_choices, accuracy, seed=1)
    right = [simulate(world, 20, 400, np.random.default_rng(k)).right.mean() for k in range(3)]
    assert np.mean(right) == pytest.approx(accuracy, abs=0.03)


def test_the_scoring_finds_the_planted_b() -> None:
    world = make_world(10, 0.7, seed=2)
    assert true_b(world.genres, seed=5)(world.shared) == pytest.approx(B_TRUE, abs=0.03)  # on other clips
    scores = [
        score_responses(simulate(world, 40, 400, np.random.default_rng([9, k])), n_bootstrap=50, n_splits=20, seed=k)
        for k in range(4)
    ]
    assert np.mean([score.value for score in scores]) == pytest.approx(B_TRUE, abs=0.04)


def test_a_model_with_people_s_own_preferences_is_at_the_ceiling_and_an_unrelated_one_at_zero() -> None:
    of = true_b(make_world(10, 0.7, seed=3).genres, seed=5)
    assert of(1.0) > 0.95
    assert abs(of(0.0)) < 0.04


def test_everybody_answers_every_clip_once_and_people_differ() -> None:
    responses = simulate(make_world(4, 0.6, seed=0), 7, 22, np.random.default_rng(0))
    assert responses.counts.shape == (7, 22, 4)
    assert (responses.counts.sum(axis=2) == 1).all() and (responses.n_answers == 1).all()
    assert np.bincount(responses.true).tolist() == [6, 6, 5, 5]
    assert len(np.unique(responses.counts.argmax(axis=2), axis=0)) == 7
    np.testing.assert_allclose(responses.probabilities.sum(axis=1), 1)


def test_more_people_and_clips_make_b_surer() -> None:
    table = plan_table([4, 24], [20, 80], n_choices=5, accuracy=0.7, n_simulations=8, seed=0)
    assert list(table.columns) == ["people", "clips", "computable", "half_width", "B", "reliability"]
    assert table[["people", "clips"]].to_numpy().tolist() == [[4, 20], [4, 80], [24, 20], [24, 80]]
    few, most = table.iloc[0], table.iloc[-1]
    assert most.computable == 1 and few.computable < 1
    assert most.half_width < 0.5 * few.half_width or np.isnan(few.half_width)
    assert most.half_width < table.iloc[2].half_width
    assert table.iloc[1].reliability < most.reliability


def test_the_same_seed_gives_the_same_table() -> None:
    tables = [plan_table([4], [20], n_choices=4, accuracy=0.7, n_simulations=3, seed=s) for s in (1, 1, 2)]
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])


def test_one_person_has_no_b() -> None:
    table = plan_table([1], [20], n_choices=4, accuracy=0.7, n_simulations=2, seed=1)
    assert table.computable.tolist() == [0] and table[["half_width", "B", "reliability"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("people", "choices", "accuracy"), [(5, 10, 1.0), (5, 10, 0.1), (5, 10, 70.0), (0, 10, 0.7), (5, 1, 0.7)]
)
def test_impossible_people_are_refused(people: int, choices: int, accuracy: float) -> None:
    with pytest.raises(UsageError, match="--accuracy"):
        plan_table([people], [20], n_choices=choices, accuracy=accuracy, n_simulations=1, seed=0)
