"""Long sounds in pieces: the features of the whole, for every network of ours; and how far frames hear."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ban_bids.audio.waveforms import HeardClip
from ban_bids.models import pieces
from ban_bids.models.ban import BAN, receptive_fields
from ban_bids.models.config import PRESETS as BANS
from ban_bids.models.controls import Control, control_models, control_networks
from ban_bids.models.foreign import LayerModel
from ban_bids.models.low_level import MODELS
from ban_bids.models.network import NetworkModel
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.pieces import in_pieces, joined, time_reach
from ban_bids.models.presets import PRESETS, build, preset

RATE = 22_050
_SECONDS = 11.37


def _sound(seconds: float = _SECONDS) -> np.ndarray:
    n = round(seconds * RATE)
    swell = 1.0 + np.sin(np.arange(n) / RATE * 9)
    return (np.random.default_rng(0).normal(0, 0.1, n) * swell).astype(np.float32)


def _model(name: str) -> NetworkModel:
    config = preset(name)
    network = build(config, n_genres=3, seed=0)
    noise = torch.randn(4, 1, config.front_end.n_mels, 128, generator=torch.Generator().manual_seed(0))
    measure_normalisation(network, [noise], network.from_frames)
    return NetworkModel(network)


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip of 5 s is long, and heard in pieces of about 1 s."""
    monkeypatch.setattr(pieces, "LONG_SECONDS", 5.0)
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 1.03)


def _compare(whole: dict[str, np.ndarray], parts: dict[str, np.ndarray]) -> None:
    assert whole.keys() == parts.keys()
    for layer, frames in whole.items():
        assert parts[layer].shape == frames.shape
        np.testing.assert_allclose(parts[layer], frames, atol=2e-5 * np.abs(frames).max())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_pieces_give_the_features_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clip = _model(name), HeardClip(None, RATE, _sound())
    whole = model.features([clip])[0]
    monkeypatch.setattr(pieces, "LONG_SECONDS", 5.0)
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 1.03)
    parts = list(model.features_in_pieces(clip))
    assert len(parts) == 12 or len(parts) == 11
    _compare(whole, joined(parts))
    short = HeardClip(None, RATE, _sound(2.0))
    both = model.features([short, clip])  # the short one is heard whole
    _compare(whole, both[1])
    assert len(both[0]["A1"]) == round(2.0 * model.frame_rate["A1"])


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("seconds", [_SECONDS, 6.0])
def test_low_level_features_too(name: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clip = MODELS[name](), HeardClip(None, RATE, _sound(seconds))
    whole = model.features([clip])[0]
    monkeypatch.setattr(pieces, "LONG_SECONDS", 5.0)
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 1.03)
    _compare(whole, model.features([clip])[0])
    assert in_pieces(model, clip) is not None
    with pytest.raises(ValueError, match="16000 Hz for a model that hears 22050 Hz"):
        model.features([HeardClip(None, 16_000, _sound(8.0))])


@pytest.mark.usefixtures("short_pieces")
def test_pieces_without_context_would_differ() -> None:
    """What must be caught: the surroundings are needed, and as much of them as is taken."""
    model, clip = _model("ban-small"), HeardClip(None, RATE, _sound())
    plan = model._plan
    assert plan is not None
    right = joined(model.features_in_pieces(clip))
    for less in (plan.before, plan.unit * 3):
        model.__dict__["_plan"] = replace(plan, before=plan.before - less)
        wrong = joined(model.features_in_pieces(clip))
        assert np.abs(wrong["T2T3"] - right["T2T3"]).max() > 1e-4 * np.abs(right["T2T3"]).max()


@pytest.mark.parametrize("name", sorted(BANS))
def test_the_reach_of_ban_is_its_receptive_field(name: str) -> None:
    network = BAN(BANS[name], n_genres=2).eval()
    reach = time_reach(network.local, network.config.front_end.n_mels, network.config.time_stride)
    assert reach is not None
    strides = {area: round(50 / rate) for area, rate in network.frame_rates.items()}
    fields = {area: steps[-1].frames for area, steps in receptive_fields(BANS[name]).items()}
    assert reach == (max(fields[area] - strides[area] for area in fields), 0)


class _Convolutions(nn.Module):
    """Centred, with a stride: before and after are known."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 2, (1, 7), (1, 2), (0, 3))
        self.two = nn.Conv2d(2, 1, (1, 3), 1, (0, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = self.one(x)
        return {"one": first, "two": self.two(first)}


def test_reach_of_centred_convolutions_and_of_what_has_no_end() -> None:
    # frame k of `one` hears 2k − 3 to 2k + 3 and covers 2k and 2k + 1; that of `two` one frame more on either side
    assert time_reach(_Convolutions(), 4, 2) == (5, 4)
    gru = nn.GRU(4, 3, batch_first=True)
    assert time_reach(lambda x: {"gru": gru(x[:, 0].mT)[0].mT[:, :, None]}, 4, 1) is None


@pytest.mark.usefixtures("short_pieces")
def test_controls_are_heard_in_pieces_as_their_model() -> None:
    model, clip = _model("ban-small"), HeardClip(None, RATE, _sound())
    kind, network = next(control_networks(model.network))
    measure_normalisation(network, [torch.randn(4, 1, 64, 128)], network.from_frames)
    control = Control(model, kind, [], lambda: NetworkModel(network))
    parts = in_pieces(control, clip)
    assert parts is not None
    _compare(NetworkModel(network).features([clip])[0], joined(parts))
    assert {type(c).__name__ for c in control_models(MODELS["logmel"]()).models} == {"ModulationModel"}


@pytest.mark.usefixtures("short_pieces")
def test_a_module_of_unknown_context_hears_all_at_once_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 441, 441)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x[:, None])

    model = LayerModel(Module(), {"conv": "conv"}, name="some")
    with caplog.at_level(logging.WARNING):
        model.features([HeardClip(None, RATE, _sound(4.0))])
        assert not caplog.text
        model.features([HeardClip(None, RATE, _sound())])
    assert "model some hears all 11 s of sound of no file at once" in caplog.text
    assert in_pieces(model, HeardClip(None, RATE, _sound())) is None
