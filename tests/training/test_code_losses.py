"""Losses that keep a code rich, held against what they are by definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ban_bids.constants import AREAS
from ban_bids.models.presets import build, preset
from ban_bids.training.code_losses import CodeLosses, contrast_loss, log_dimension, prediction_loss
from ban_bids.training.settings import Objective

_EVERYTHING = Objective(prediction=1.0, dimension=0.1, contrast=0.5, auxiliary=0.5)


@pytest.mark.parametrize("shape", [(2, 3, 2, 40), (2, 40, 2, 5)], ids=["more frames than units", "more units"])
def test_the_dimension_is_the_participation_ratio_of_the_covariance(shape: tuple[int, ...]) -> None:
    activation = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    rows = activation.double().numpy().transpose(0, 3, 1, 2).reshape(shape[0] * shape[3], -1)
    variances = np.linalg.eigvalsh(np.cov(rows.T))
    assert float(log_dimension(activation).exp()) == pytest.approx(variances.sum() ** 2 / np.square(variances).sum())


def test_a_code_of_one_direction_has_one_dimension_and_its_scale_does_not_matter() -> None:
    drive, direction = torch.randn(4, 1, 1, 30), torch.randn(1, 6, 2, 1)
    assert float(log_dimension(drive * direction)) == pytest.approx(0.0, abs=1e-4)
    code = torch.randn(4, 6, 2, 30)
    torch.testing.assert_close(log_dimension(100 * code), log_dimension(code), rtol=1e-4, atol=1e-4)


def test_a_batch_of_silence_leaves_the_weights_alone() -> None:
    silent = torch.zeros(2, 6, 2, 10, requires_grad=True)
    found = log_dimension(silent)
    found.backward()
    assert float(found.detach()) == pytest.approx(0.0, abs=1e-4)
    assert silent.grad is not None
    assert not silent.grad.any()


def test_a_head_that_knows_the_sound_predicts_it_and_one_that_says_the_mean_errs_by_one() -> None:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(3, 32, 24, generator=generator)  # 32 bands are predicted as they are
    places = frames.view(3, 32, 6, 4).permute(0, 2, 1, 3).reshape(3, 6, 128)
    now_and_next = torch.cat([places, torch.cat([places[:, 1:], places[:, -1:]], dim=1)], dim=2)
    top = now_and_next.permute(0, 2, 1)[:, :, None]  # channels, one frequency, frames of the area
    assert float(prediction_loss(nn.Identity(), top, frames, ahead=1)) == pytest.approx(0.0, abs=1e-6)
    silent = nn.Linear(256, 256)
    nn.init.zeros_(silent.weight)
    nn.init.zeros_(silent.bias)
    assert float(prediction_loss(silent, top, frames, ahead=1)) == pytest.approx(float(frames.square().mean()), rel=0.1)
    late = torch.roll(top, 1, dims=3)  # knows each frame one too late
    assert float(prediction_loss(nn.Identity(), late, frames, ahead=1)) > 0.5


def test_halves_that_belong_together_are_told_from_those_that_do_not() -> None:
    network = build(preset("ban-small"), 3)
    crops = torch.eye(8)[:, :, None, None] * torch.ones(8, 8, 2, 10)  # each crop a channel of its own, all the time
    together = float(contrast_loss(network, nn.Identity(), crops))
    apart = torch.cat([crops[..., :5], crops.flip(0)[..., :5]], dim=3)
    assert together < 0.1 < float(contrast_loss(network, nn.Identity(), apart))
    alike = torch.ones(8, 8, 2, 10)
    assert float(contrast_loss(network, nn.Identity(), alike)) == pytest.approx(np.log(8), rel=1e-4)


@pytest.mark.parametrize("name", ["ban-small", "crnn"])
def test_every_loss_reaches_the_areas_that_it_is_about(name: str) -> None:
    network = build(preset(name), 3)
    losses = CodeLosses(network, _EVERYTHING, n_classes=3, seed=0)
    frames = torch.randn(4, 1, 64, 16 * network.config.time_stride)
    _, history = network.from_frames(frames)
    found = losses(network, history, frames[:, 0], torch.eye(3)[[0, 1, 2, 0]])
    assert set(found) == {"prediction", "dimension", "contrast", *(f"auxiliary_{area}" for area in AREAS[:-1])}
    for kind, loss in found.items():
        network.zero_grad()
        loss.backward(retain_graph=True)
        area = network.areas[kind.removeprefix("auxiliary_") if "_" in kind else AREAS[-1]]
        assert max(float(p.grad.abs().max()) for p in area.parameters() if p.grad is not None) > 0, kind


def test_an_objective_without_weights_has_no_parameters_and_no_loss() -> None:
    network = build(preset("ban-small"), 3)
    losses = CodeLosses(network, Objective(prediction=0, dimension=0), n_classes=3, seed=0)
    assert not list(losses.parameters())
    frames = torch.randn(2, 1, 64, 64)
    assert losses(network, network.from_frames(frames)[1], frames[:, 0], torch.eye(3)[:2]) == {}


def test_parameters_follow_from_the_seed_and_leave_other_draws_alone() -> None:
    network = build(preset("ban-small"), 3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    once, again, other = (CodeLosses(network, _EVERYTHING, n_classes=3, seed=seed) for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), again.parameters()))
    assert not torch.equal(next(once.parameters()), next(other.parameters()))


def test_a_network_that_must_raise_its_dimension_does() -> None:
    network = build(replace(preset("ban-small"), dropout=0.0), 3, seed=1)
    losses = CodeLosses(network, Objective(prediction=0, dimension=1.0), n_classes=3, seed=0)
    frames = torch.randn(8, 1, 64, 32, generator=torch.Generator().manual_seed(2))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    found = []
    for _ in range(12):
        history = network.from_frames(frames)[1]
        loss = losses(network, history, frames[:, 0], torch.zeros(8, 3))["dimension"]
        found.append(float(log_dimension(history[AREAS[-1]][-1])))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert found[-1] > found[0] + 0.3
