"""The learning rate's schedule: half a cosine over the budget, or a plateau and then its end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ban_bids.training.schedule import BLOCK, LearningCurve, Schedule


def _curve(losses: np.ndarray) -> LearningCurve:
    curve = LearningCurve()
    for loss in losses:
        curve.add(float(loss))
    return curve


def _exponential(n: int, time_constant: float, noise: float = 0.0) -> np.ndarray:
    steps = np.arange(n)
    return 0.8 + 1.5 * np.exp(-steps / time_constant) + noise * np.random.default_rng(0).normal(size=n)


def test_the_curve_holds_block_means() -> None:
    losses = np.random.default_rng(1).random(10 * BLOCK + 7)
    curve = _curve(losses)
    np.testing.assert_allclose(curve.points, losses[: 10 * BLOCK].reshape(10, BLOCK).mean(axis=1))
    assert curve.rounded()[-1] == [10 * BLOCK, round(curve.points[-1], 4)]


def test_a_loss_that_has_come_to_its_end_is_flat_and_one_that_falls_is_not() -> None:
    # the quarters' means of an exponential, by hand: they differ by 2.7 % of the fall at 550 steps, 1.8 % at 650
    assert not _curve(_exponential(550, 100.0)).is_flat(0.02)
    assert _curve(_exponential(650, 100.0)).is_flat(0.02)
    assert not _curve(np.linspace(3, 1, 2000)).is_flat(0.02)
    assert _curve(np.linspace(1, 3, 2000)).is_flat(0.02)  # a training that gets worse is not gone on with


def test_the_noise_of_single_steps_neither_ends_nor_keeps_a_training() -> None:
    assert not _curve(_exponential(400, 100.0, noise=0.2)).is_flat(0.02)
    assert _curve(_exponential(2000, 100.0, noise=0.2)).is_flat(0.02)


def test_a_short_training_is_never_flat() -> None:
    assert not _curve(np.ones(15 * BLOCK)).is_flat(0.02)
    assert not _curve(np.ones(16 * BLOCK)).is_flat(0.02)  # nothing has been learnt


def test_without_a_plateau_the_rate_is_half_a_cosine_of_the_share() -> None:
    schedule = Schedule(n_steps=2000, warm_up=0.05, plateau=None)
    for step in (0, 40, 99, 100, 700, 1999):
        share = step / 2000
        expected = min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * share))
        assert schedule.rate(step, share) == pytest.approx(expected)
    schedule.look(1900, 0.95)
    assert schedule.falls_from is None
    assert schedule.fallen(2000, 1.0) == 1.0


def test_a_plateau_ends_the_training_after_half_as_many_steps_again() -> None:
    schedule = Schedule(n_steps=100_000, warm_up=0.05, plateau=0.02)
    ended = None
    for step, loss in enumerate(_exponential(5000, 100.0)):
        if schedule.fallen(step, step / 100_000) >= 1:
            ended = step
            break
        schedule.curve.add(float(loss))
        if (step + 1) % BLOCK == 0:
            schedule.look(step + 1, (step + 1) / 100_000)
    assert schedule.falls_from is not None
    first = schedule.falls_from[0]
    assert 550 < first <= 650
    assert ended == pytest.approx(1.5 * first, abs=1)
    assert schedule.rate(first, first / 100_000) == 1.0
    assert schedule.rate(first + first // 4, 0.0) == pytest.approx(0.5, abs=0.02)


def test_where_the_budget_ends_first_the_rate_falls_over_its_last_third() -> None:
    schedule = Schedule(n_steps=900, warm_up=0.05, plateau=0.001)
    for step in range(1, 901):
        schedule.curve.add(3 - step / 900)
        schedule.look(step, step / 900)
    assert schedule.falls_from is not None
    assert schedule.falls_from[0] == pytest.approx(600, abs=1)
    assert schedule.fallen(750, 750 / 900) == pytest.approx(0.5, abs=0.01)
    assert schedule.fallen(900, 1.0) == 1.0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=600), st.integers(1, 599))
def test_a_schedule_goes_on_from_its_state(losses: list[float], at: int) -> None:
    whole, first = (Schedule(n_steps=600, warm_up=0.1, plateau=0.05) for _ in range(2))
    second = Schedule(n_steps=600, warm_up=0.1, plateau=0.05)
    current = first
    for step, loss in enumerate(losses, 1):
        for schedule in (whole, current):
            schedule.curve.add(loss)
            if step % BLOCK == 0:
                schedule.look(step, step / 600)
        if step == at:
            second.restore(first.state())
            current = second
        assert current.rate(step, step / 600) == whole.rate(step, step / 600)
