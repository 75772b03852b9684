"""Schedule, averaged weights and the end of a training, step by step."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from short_trainings import QUICK

from ban_bids.models.presets import build, preset
from ban_bids.training.fit import BANTraining
from ban_bids.training.settings import CLOCKS


class _Trainer:
    """What the module asks of Lightning's trainer."""

    def __init__(self, module: BANTraining) -> None:
        self.optimizers: list[Any] = [module.configure_optimizers()]
        self.strategy = SimpleNamespace(broadcast=lambda value: value)
        self.should_stop = False
        self.global_rank = 0


def _module(monkeypatch: pytest.MonkeyPatch, n_steps: int, **changes: Any) -> BANTraining:
    module = BANTraining(build(preset("ban-small"), 3, 1), replace(QUICK, **changes), n_steps)
    trainer = _Trainer(module)
    monkeypatch.setattr(BANTraining, "trainer", property(lambda self: trainer))
    monkeypatch.setattr("lightning.pytorch.LightningModule.optimizer_step", lambda *a, **k: None)
    return module


def _rates(module: BANTraining, n: int) -> list[float]:
    rates = []
    for _ in range(n):
        module.on_train_batch_start(None, 0)
        rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
        module.optimizer_step()
    return rates


def test_rate_rises_linearly_then_falls_as_half_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = np.array(_rates(_module(monkeypatch, 200, learning_rate=0.1, warm_up=0.05, plateau=None), 200))
    share = np.arange(200) / 200
    expected = 0.05 * (1 + np.cos(np.pi * share)) * np.minimum(1, (np.arange(200) + 1) / 10)
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert rates.argmax() == 9
    assert rates[-1] < 1e-4 * rates.max()


def test_schedule_runs_to_the_end_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setitem(CLOCKS, "wall", lambda: now[0])
    module = _module(monkeypatch, 10**6, learning_rate=0.1, warm_up=0.05, plateau=None, max_minutes=1.0)
    rates = []
    while not module.trainer.should_stop:
        rates += _rates(module, 1)
        now[0] += 0.5
    assert module.ended == "time"
    assert len(rates) == 121  # the step at 60.0 s finds the budget used up
    peak = int(np.argmax(rates))
    assert peak == pytest.approx(6, abs=2)  # 5 % of 120 steps
    assert all(a > b for a, b in zip(rates[peak:], rates[peak + 1 :]))
    assert rates[-1] == pytest.approx(0.0, abs=1e-6)


def test_a_loss_that_no_longer_falls_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(monkeypatch, 10**6, learning_rate=0.1, plateau=0.03)
    rates = []
    while not module.trainer.should_stop:
        module._losses.append(torch.tensor(1.0 + float(np.exp(-module.steps_done / 100))))
        rates += _rates(module, 1)
    assert module.ended == "plateau"
    # by hand: the quarters' means of this exponential differ by less than 3 % of the fall from 550 steps on
    falls_from = next(k for k in range(200, len(rates)) if rates[k] < 0.1)
    assert 525 <= falls_from <= 600
    assert len(rates) == pytest.approx(1.5 * falls_from, abs=3)
    assert len(module.schedule.curve.points) == len(rates) // 25


@pytest.mark.parametrize(("falling", "ended"), [(True, "time"), (False, "plateau")])
def test_a_loss_that_still_falls_is_not_said_to_have_ended_on_a_plateau(
    monkeypatch: pytest.MonkeyPatch, falling: bool, ended: str
) -> None:
    """Steps become quicker: half as many again are over before the time is, which let the rate fall."""
    now = [0.0]
    monkeypatch.setitem(CLOCKS, "wall", lambda: now[0])
    module = _module(monkeypatch, 10**6, plateau=0.03, max_minutes=4.0)
    while not module.trainer.should_stop:
        step = module.steps_done
        module._losses.append(torch.tensor(3.0 - step / 1000 if falling else 1.0 + float(np.exp(-step / 100))))
        now[0] += 20.0 if step == 0 else 0.1
        _rates(module, 1)
    assert now[0] < 240.0
    assert module.ended == ended


def test_average_forgets_the_start_and_then_decays(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(monkeypatch, 100, ema=0.5)
    expected = None
    for k in range(20):
        with torch.no_grad():
            module.network.readout.bias.fill_(float(k))
        module.optimizer_step()
        decay = 0.0 if k == 0 else min(0.5, (k + 1) / (10 + k))
        expected = k if expected is None else decay * expected + (1 - decay) * k
        assert float(module.average.readout.bias[0]) == pytest.approx(expected, rel=1e-5)


def test_dropout_is_that_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(monkeypatch, 100)
    draws = []
    for step in (3, 4, 3):
        module.steps_done = step
        torch.rand(7)  # whatever else draws in between
        module.on_train_batch_start(None, 0)
        draws.append(torch.rand(5))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
