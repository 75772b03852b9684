"""The conventional networks: shapes, rates, sizes, centred time, determinism, round trips, controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import AREAS
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint, save_checkpoint
from ban_bids.models.controls import control_models
from ban_bids.models.conventional import PRESETS as CONVENTIONAL
from ban_bids.models.network import AuditoryNetwork, NetworkModel, fingerprint
from ban_bids.models.presets import PRESETS, build
from ban_bids.models.random_weights import permuted_module
from ban_bids.models.registry import load_model

RATE = 22_050
# channels × frequency bins of A1, Belt, PB, T2T3, frames per second, millions of parameters from the papers'
# own layer tables (10 genres)
SHAPES = {
    "deepcnn": ([(64, 16), (128, 8), (256, 4), (512, 2)], (25, 12.5, 6.25, 6.25), 11.18),
    "alexnet": ([(64, 16), (192, 8), (256, 4), (1024, 1)], (12.5, 12.5, 6.25, 6.25), 4.58),
    "vgg": ([(64, 32), (128, 16), (256, 8), (512, 4)], (25, 12.5, 6.25, 6.25), 4.51),
    "crnn": ([(64, 32), (128, 16), (128, 1), (128, 1)], (25, 12.5, 12.5, 12.5), 0.57),
}


@pytest.fixture(params=sorted(CONVENTIONAL))
def network(request: pytest.FixtureRequest) -> AuditoryNetwork:
    return build(CONVENTIONAL[request.param], n_genres=10, seed=3).eval()


def test_shapes_rates_and_sizes(network: AuditoryNetwork) -> None:
    shapes, rates, millions = SHAPES[network.architecture]
    assert list(network.frame_rates.items()) == list(zip(AREAS, rates))
    with torch.no_grad():
        logits, areas = network(torch.randn(2, 3 * RATE) / 10, return_areas=True)
        _, steps = network(torch.randn(1, RATE), every_step=True)
    assert logits.shape == (2, 10)
    frames = int(np.ceil(150 / network.config.time_stride)) * network.config.time_stride
    for label, (channels, bins), rate in zip(AREAS, shapes, rates):
        assert areas[label].shape == (2, channels, bins, frames * rate / 50)
        assert steps[label].shape[:2] == (1, 1)
    n = sum(p.numel() for p in network.parameters())
    assert n / 1e6 == pytest.approx(millions, abs=0.01)


def test_time_is_centred_to_within_half_a_frame(network: AuditoryNetwork) -> None:
    # all weights alike and means for maxima: the gradient is the receptive field
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1e-3)
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    n_frames = 384
    frames = torch.ones(1, 1, 64, n_frames, requires_grad=True)
    _, history = network.from_frames(frames)
    for label, rate in network.frame_rates.items():
        if label == "T2T3" and network.architecture == "crnn":
            continue  # the GRU hears the past
        stride = round(50 / rate)
        k = n_frames // stride // 2
        (gradient,) = torch.autograd.grad(history[label][-1][..., k].sum(), frames, retain_graph=True)
        field = gradient.sum(dim=(0, 1, 2))
        centre = float((field * (torch.arange(n_frames) + 0.5)).sum() / field.sum())
        assert abs(centre / stride - (k + 0.5)) <= 0.5, label


def test_the_same_seed_gives_the_same_network(network: AuditoryNetwork) -> None:
    state = torch.get_rng_state()
    same = build(network.config, 10, seed=3)
    other = build(network.config, 10, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert fingerprint(same) == fingerprint(network)
    for (name, a), (_, b) in zip(network.named_parameters(), other.named_parameters()):
        drawn = a.ndim > 1 or ".gru." in name
        assert torch.equal(a, b) != drawn, name
    # nothing keeps a value of its own: every tensor is drawn or set anew
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(7.0)
    other.reset_weights(3)
    assert fingerprint(other) == fingerprint(network)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_stored_and_loaded(tmp_path: Path, name: str) -> None:
    network = build(PRESETS[name], 3, seed=1).eval()
    card = ModelCard(network.config.to_dict(), ("a", "b", "c"))
    path = save_checkpoint(tmp_path / "w.safetensors", network, card)
    again, stored = load_checkpoint(path)
    assert type(again) is type(network)
    assert again.config == network.config
    assert stored == card
    assert fingerprint(again) == fingerprint(network)
    model = load_model(name, path)
    assert model.name == network.config.name == name.replace("-", "")
    bare = save_checkpoint(tmp_path / "bare.safetensors", network, None)
    assert fingerprint(load_checkpoint(bare)[0]) == fingerprint(network)


def test_controls_are_alive_and_repeat(network: AuditoryNetwork, music: list[Clip]) -> None:
    model = NetworkModel(network, ("a",) * 10)
    rng = np.random.default_rng(0)
    sound = HeardClip(None, RATE, rng.normal(0, 0.1, 2 * RATE))
    controls = control_models(model, music).models
    torch.manual_seed(1)  # the caller's random numbers decide nothing
    again = control_models(model, music).models
    assert [c.fingerprint for c in again] == [c.fingerprint for c in controls]
    for control in controls:
        for label, frames in control.features([sound])[0].items():
            assert np.isfinite(frames).all()
            assert 0.01 < frames.std() < 20.0, (control.name, label)
            assert (frames.std(axis=0) > 0).mean() > 0.5, (control.name, label)


def test_recurrent_weights_are_permuted_too() -> None:
    network = build(CONVENTIONAL["crnn"], 3)
    shuffled = permuted_module(network, 0)
    before = network.get_parameter("areas.T2T3.gru.weight_hh_l0")
    after = shuffled.get_parameter("areas.T2T3.gru.weight_hh_l0")
    assert not torch.equal(before, after)
    assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
