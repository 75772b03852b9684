"""The example's networks give what their own packages give, at the right times, wherever those are installed."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import UsageError
from ban_bids.models.candidate import as_candidate
from ban_bids.models.checkpoint import check_no_overlap
from ban_bids.models.registry import load_model

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RATE = 16_000
PACKAGES = {"crepe": "torchcrepe", "resemblyzer": "resemblyzer", "silero": "silero_vad"}


def installed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(PACKAGES[name]) is None, reason=f"{PACKAGES[name]} is not installed")


ALL = [pytest.param(name, marks=installed(name)) for name in PACKAGES]


@pytest.fixture(autouse=True)
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("pretrained_in_wheels")


def _sound(seconds: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * RATE)) / RATE
    sound = 0.01 * np.sin(2 * np.pi * (200 + 300 * t) * t) * (1 + np.sin(2 * np.pi * 4 * t))
    return (sound + 0.001 * rng.standard_normal(len(t))).astype(np.float32)


def _features(name: str, sound: np.ndarray) -> dict[str, np.ndarray]:
    return load_model(f"pretrained_in_wheels:{name}", None).features([HeardClip(None, RATE, sound)])[0]


@pytest.mark.parametrize("name", ALL)
def test_they_are_candidates_of_unknown_training(name: str) -> None:
    model = as_candidate(load_model(f"pretrained_in_wheels:{name}", None))
    assert (model.name, model.sampling_rate, model.mapping) == (name, RATE, None)
    assert model.card is not None and len(model.card.references) == 1
    assert str(check_no_overlap(model.card, [])) == "unknown"
    for features in model.features([HeardClip(None, RATE, _sound()), HeardClip.silence(2.0, RATE)]):
        assert tuple(features) == model.layers
        assert all(np.isfinite(values).all() for values in features.values())
    assert {layer: len(values) for layer, values in features.items()} == {
        layer: np.ceil(2.0 * rate) for layer, rate in model.frame_rate.items()
    }


@installed("crepe")
@pytest.mark.parametrize("hertz", [440.0, 98.0])
def test_crepe_hears_the_pitch_of_a_tone(hertz: float) -> None:
    tone = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
    heard = _features("crepe", 0.1 * tone)["pitch"][5:-5].argmax(axis=1)
    # bin b is 20 b + 1997.38 cents above 10 Hz (Kim et al. 2018)
    cents = 1200 * np.log2(hertz / 10)
    assert np.abs(20 * heard + 1997.3794 - cents).max() <= 20


@installed("crepe")
def test_crepe_is_torchcrepes_own() -> None:
    torchcrepe = importlib.import_module("torchcrepe")
    sound = torch.from_numpy(_sound())
    centred = torch.nn.functional.pad(sound, (352, 352))[None]  # frame k is centred on (k + 1/2) hops
    frames = next(torchcrepe.preprocess(centred, RATE, hop_length=320, pad=False))
    with torch.no_grad():
        pitch = torchcrepe.infer(frames, "tiny").numpy()
        embedding = torchcrepe.infer(frames, "tiny", embed=True)
    features = _features("crepe", _sound())
    np.testing.assert_allclose(features["pitch"], pitch, atol=1e-5)
    np.testing.assert_allclose(features["conv5"], embedding.mean(dim=(2, 3)).numpy(), rtol=1e-4, atol=1e-5)


@installed("resemblyzer")
def test_resemblyzer_is_its_own_forward() -> None:
    resemblyzer, audio = importlib.import_module("resemblyzer"), importlib.import_module("resemblyzer.audio")
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    loud = audio.normalize_volume(_sound(), -30, increase_only=True)
    mel = torch.from_numpy(audio.wav_to_mel_spectrogram(loud))[None]
    features = _features("resemblyzer", _sound())
    with torch.no_grad():
        states = encoder.lstm(mel)[0][0].numpy()
        np.testing.assert_allclose(features["lstm3"], states[:150], atol=1e-4)
        for n in (40, 150):
            np.testing.assert_allclose(features["voice"][n - 1], encoder(mel[:, :n])[0].numpy(), atol=1e-4)


@installed("silero")
def test_silero_is_the_packages_own_network(example: ModuleType) -> None:
    # the package holds two trainings of one architecture: the scripted one runs, its weights are put into ours
    spec = find_spec("silero_vad")
    assert spec is not None and spec.origin is not None
    original = torch.jit.load(str(Path(spec.origin).parent / "data" / "silero_vad.jit"))
    theirs = {name.removeprefix("_model."): weight for name, weight in original.state_dict().items()}
    weights = {"stft_conv.weight": theirs["stft.forward_basis_buffer"]}
    for kind in ("weight", "bias"):
        weights |= {f"conv{k + 1}.{kind}": theirs[f"encoder.{k}.reparam_conv.{kind}"] for k in range(4)}
        weights |= {f"lstm_cell.{kind}_{gate}": theirs[f"decoder.rnn.{kind}_{gate}"] for gate in ("ih", "hh")}
        weights[f"final_conv.{kind}"] = theirs[f"decoder.decoder.2.{kind}"]
    sound = torch.from_numpy(_sound(2.048)) * 20
    original.reset_states()
    with torch.no_grad():
        expected = torch.cat([original(step[None], RATE) for step in sound.split(512)], dim=1)
        heard = example.SpeechLayers().load(weights)(sound[None])
    assert expected.max() - expected.min() > 0.02
    np.testing.assert_allclose(heard.numpy(), expected.numpy(), atol=1e-5)


def test_a_missing_package_is_named(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pretrained_in_wheels", example)
    monkeypatch.setattr(example, "find_spec", lambda name: None)
    for name in PACKAGES:
        with pytest.raises(UsageError, match=f"the package {PACKAGES[name]} is not installed; pip install "):
            load_model(f"pretrained_in_wheels:{name}", None)
