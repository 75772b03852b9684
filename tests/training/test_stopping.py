"""Early stopping takes the best averaged weights, by a loss that is the cross-entropy."""

from __future__ import annotations

import copy

import pytest
import torch

from ban_bids.models.presets import build, preset
from ban_bids.training.stopping import EarlyStopping


def _batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    crops = torch.randn(3, 5, 64, 48, generator=generator)
    targets = torch.eye(4)[torch.randint(4, (3, 5), generator=generator)]
    return list(zip(crops, targets))


def test_loss_is_that_of_the_weights_with_the_running_normalisation() -> None:
    network, running = (build(preset("ban-small"), 4, seed) for seed in (1, 2))
    running.train()
    for crops, _ in _batches():
        running.from_frames(crops[:, None])  # moves the running statistics
    expected = copy.deepcopy(network)
    moved = {name: value for name, value in running.state_dict().items() if "running" in name}
    assert moved
    state = {**network.state_dict(), **moved}
    expected.load_state_dict(state)
    expected.eval()
    with torch.no_grad():
        terms = [
            -(targets * expected.from_frames(expected.front_end.standardise(crops))[0].log_softmax(dim=1)).sum()
            for crops, targets in _batches()
        ]
    stopping = EarlyStopping(network, _batches(), steps_between=1, patience=1)
    assert stopping.loss(network, running) == pytest.approx(float(sum(terms)) / 15, rel=1e-5)


def test_patience_counts_steps_since_the_best() -> None:
    network = build(preset("ban-small"), 4, 1)
    stopping = EarlyStopping(network, _batches(), steps_between=5, patience=20)
    ends = []
    losses = [3.0, 2.0, 2.5, 2.0, 2.4, 2.1, 1.0]
    for k, loss in enumerate(losses):
        with torch.no_grad():
            network.readout.bias.fill_(k)
        ends.append(stopping.look(network, loss, 5 * (k + 1)))
    # the lowest came at step 10, an equal one is none; 20 steps later patience ends
    assert ends == [False, False, False, False, False, True, False]
    assert (float(stopping.best_loss), int(stopping.best_step)) == (1.0, 35)
    assert float(stopping.best.readout.bias[0]) == 6
    assert [step for step in range(1, 21) if stopping.is_due(step)] == [5, 10, 15, 20]


def test_state_goes_with_the_module() -> None:
    network = build(preset("ban-small"), 4, 1)
    one, two = (EarlyStopping(network, _batches(), steps_between=5, patience=20) for _ in range(2))
    one.look(build(preset("ban-small"), 4, 9), 0.5, 15)
    two.load_state_dict(one.state_dict())
    assert (float(two.best_loss), int(two.best_step)) == (0.5, 15)
    assert torch.equal(two.best.readout.weight, build(preset("ban-small"), 4, 9).readout.weight)
