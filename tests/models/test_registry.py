"""Models by name, the open registry, BAN as an audio model, and the controls."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import hear_noise

from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import AREAS
from ban_bids.errors import NotComputable, UsageError
from ban_bids.inputs.types import Clip
from ban_bids.models.ban import BAN
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import save_checkpoint
from ban_bids.models.config import PRESETS, FrontEndConfig
from ban_bids.models.controls import control_models, untrained_network
from ban_bids.models.devices import resolve_device
from ban_bids.models.low_level import LogMelModel, ModulationModel
from ban_bids.models.network import NetworkModel
from ban_bids.models.random_weights import permuted_module
from ban_bids.models.registry import load_model
from ban_bids.settings import ModelRequest

RATE = 22_050
GENRES = ("a", "b", "c")


def _model(name: str = "ban-small") -> NetworkModel:
    network = BAN(PRESETS[name], n_genres=3, seed=1)
    hear_noise(network)
    return NetworkModel(network, GENRES, name="planted")


def _sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def _heard(seconds: float, seed: int = 0) -> HeardClip:
    return HeardClip(None, RATE, _sound(seconds, seed))


def test_ban_by_name_reads_the_architecture_from_the_file(tmp_path: Path) -> None:
    network = BAN(PRESETS["ban-feedforward"], n_genres=3)
    card = ModelCard(network.config.to_dict(), GENRES)
    path = save_checkpoint(tmp_path / "w.safetensors", network, card)
    for name in ("ban", "ban-feedforward"):
        model = load_model(name, path)
        assert model.name == "banfeedforward"
        assert model.genres == GENRES
        assert model.card == card
    with pytest.raises(UsageError, match="holds 'banfeedforward'"):
        load_model("ban-feedback", path)


@pytest.mark.parametrize(
    ("text", "name", "weights"),
    [
        ("ban", "ban", None),
        ("ban=ban.safetensors", "ban", "ban.safetensors"),
        ("ban-small-untrained", "ban-small-untrained", None),
        ("modulation", "modulation", None),
        ("crnn=/a/b=c.safetensors", "crnn", "/a/b=c.safetensors"),
        ("mine.module:factory", "mine.module:factory", None),
        ("torch:mine.module:factory=w.pt", "torch:mine.module:factory", "w.pt"),
    ],
)
def test_requests_are_names_with_or_without_weights(text: str, name: str, weights: str | None) -> None:
    assert ModelRequest.parse(text) == ModelRequest(name, None if weights is None else Path(weights).resolve())


def test_folders_in_names_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine" / "lr=0.1").mkdir(parents=True)
    folder = tmp_path / "mine" / "lr=0.1"
    for text in ("hf:mine/lr=0.1", "hf:./mine/lr=0.1", "hf:~/mine/lr=0.1", f"hf:{folder}"):
        assert ModelRequest.parse(text) == ModelRequest(f"hf:{folder}")
    assert ModelRequest.parse("features:lr=0.1") == ModelRequest(f"features:{tmp_path / 'lr=0.1'}")
    assert ModelRequest.parse("features:a/b").name == f"features:{tmp_path / 'a' / 'b'}"
    assert ModelRequest.parse("hf:mine").name == f"hf:{tmp_path / 'mine'}"
    assert ModelRequest.parse("hf:owner/name-1.0").name == "hf:owner/name-1.0"  # perhaps in the hub's cache
    assert ModelRequest.parse("torchaudio:WAV2VEC2_BASE=w=1.pth") == ModelRequest(
        "torchaudio:WAV2VEC2_BASE", tmp_path / "w=1.pth"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=w.safetensors", "--model =w.safetensors: write NAME or NAME=WEIGHTS"),
        ("ban=", "--model ban=: write NAME or NAME=WEIGHTS"),
        ("torch:resnet1000", "--model torch:resnet1000: unknown"),
        ("hf:", "--model hf:: write hf:FOLDER"),
        ("hf:/data/no such=folder", "--model hf:/data/no such=folder: there is no folder /data/no such=folder"),
        ("features:", "--model features:: write features:FOLDER"),
        ("torchaudio:resnet", "--model torchaudio:resnet: no bundle of torchaudio.*; choose HUBERT_ASR_LARGE, "),
        (
            "resnet1000=w.pt",
            "--model resnet1000: unknown; choose one of ban, .*or give hf:FOLDER, torchaudio:.*:factory",
        ),
    ],
)
def test_requests_that_cannot_be_met(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        request = ModelRequest.parse(text)
        load_model(request.name, request.weights)
    assert "\n" not in str(caught.value)


def test_unknown_names_and_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--model ban-small needs weights: give --weights FILE, or --gtzan-dir"):
        load_model("ban-small", None)
    with pytest.raises(UsageError, match="unknown.*ban-feedback.*package.module:factory"):
        load_model("resnet1000", None)
    with pytest.raises(UsageError, match="cannot be imported"):
        load_model("no_such_package.module:factory", None)


@pytest.mark.parametrize("name", ["ban-untrained", "ban-small-untrained", "crnn-untrained"])
def test_untrained_networks_need_no_file(tmp_path: Path, name: str) -> None:
    model = load_model(name, None, seed=4)
    assert model.name == name.replace("-", "")
    assert model.fingerprint == load_model(name, None, seed=4).fingerprint
    assert model.fingerprint != load_model(name, None, seed=5).fingerprint
    assert model.card is not None  # no stimulus trained it, and that is known
    assert model.card.training_hashes == model.card.validation_hashes == {}
    with pytest.raises(NotComputable, match="random"):
        model.genre_probabilities([_heard(1.0)])
    with pytest.raises(UsageError, match="random weights; drop --weights"):
        load_model(name, tmp_path / "w.safetensors")


def test_a_model_from_outside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outside_models.py").write_text(
        "from ban_bids.models.low_level import LogMelModel\n"
        "def factory(weights, device):\n    model = LogMelModel()\n    model.name = 'outsider'\n"
        "    return model\n"
        "def broken(weights, device):\n    return object()\n"
        "def failing(weights, device):\n    raise KeyError('conv1')\n"
        "def refusing(weights, device):\n    return LogMelModel(card=None).genre_probabilities([])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_model("outside_models:factory", None).name == "outsider"
    assert load_model("torch:outside_models:factory", None).name == "outsider"
    with pytest.raises(UsageError, match="lacks name"):
        load_model("outside_models:broken", None)
    with pytest.raises(UsageError, match="cannot be imported"):
        load_model("outside_models:missing", None)
    with pytest.raises(UsageError, match="^--model outside_models:failing: .*KeyError: 'conv1'.*$"):
        load_model("outside_models:failing", None)
    assert "Traceback" in caplog.text
    with pytest.raises(NotComputable, match="no read-out"):  # an error of ours says all there is to say
        load_model("outside_models:refusing", None)


def test_a_network_of_another_rate_hears_the_same_pitch() -> None:
    usual = FrontEndConfig()
    double = replace(usual, sampling_rate=44_100, n_fft=2 * usual.n_fft, hop=2 * usual.hop)
    loudest = []
    for front_end in (usual, double):
        network = BAN(replace(PRESETS["ban-small"], front_end=front_end))
        heard: list[torch.Tensor] = []
        network.front_end.register_forward_hook(lambda *call, heard=heard: heard.append(call[2]))
        model = NetworkModel(network)
        assert model.sampling_rate == front_end.sampling_rate
        tone = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(model.sampling_rate) / model.sampling_rate)
        features = model.features([HeardClip(None, model.sampling_rate, tone)])[0]
        assert len(features["T2T3"]) == math.ceil(network.frame_rates["T2T3"])
        loudest.append(int(heard[0][0, 0, :, 25].argmax()))
    assert loudest[0] == loudest[1]


def test_threads_change_no_byte_and_are_put_back() -> None:
    model, before = _model(), torch.get_num_threads()
    sounds = [_heard(1.0, seed) for seed in range(5)] + [_heard(1.5, 9)]
    try:
        outputs = []
        for n in (1, 3):
            torch.set_num_threads(n)
            outputs.append((model.features(sounds), model.genre_probabilities(sounds)))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
    (one, p_one), (three, p_three) = outputs
    np.testing.assert_array_equal(p_one, p_three)
    for a, b in zip(one, three):
        for area in AREAS:
            np.testing.assert_array_equal(a[area], b[area])


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(UsageError, match="--device cuda: torch finds no CUDA GPU"):
        NetworkModel(BAN(PRESETS["ban-small"]), device="cuda")


def test_features_are_the_networks_activations() -> None:
    model = _model()
    sounds = [_sound(1.0), _sound(1.5, 1), _sound(1.0, 2)]
    features = model.features([HeardClip(None, RATE, sound) for sound in sounds])
    for sound, areas in zip(sounds, features):
        with torch.no_grad():
            _, expected = model.network(torch.from_numpy(sound)[None], return_areas=True)
        assert list(areas) == list(AREAS)
        for label, frames in areas.items():
            assert frames.dtype == np.float32
            assert frames.shape[0] == np.ceil(len(sound) / RATE * model.frame_rate[label])
            assert frames.shape[1] <= 1024
            flat = expected[label][0].permute(2, 0, 1).flatten(1).numpy()
            np.testing.assert_array_equal(frames, flat[: len(frames)])


def test_wide_areas_are_pooled_over_frequency() -> None:
    config = PRESETS["ban-small"]
    wide = replace(config, areas=(replace(config.areas[0], channels=64), *config.areas[1:]))
    model = NetworkModel(BAN(wide))
    sound = _sound(0.5)
    frames = model.features([HeardClip(None, RATE, sound)])[0]["A1"]
    assert frames.shape == (25, 64 * 16)
    with torch.no_grad():
        full = model.network(torch.from_numpy(sound)[None], return_areas=True)[1]["A1"][0]
    pairs = full.unflatten(1, (16, 2)).mean(dim=2)[..., :25]
    np.testing.assert_allclose(frames, pairs.permute(2, 0, 1).flatten(1).numpy(), atol=1e-6)


def test_probabilities_sum_to_one_and_need_genres() -> None:
    model = _model()
    probabilities = model.genre_probabilities([_heard(1.0), _heard(2.0, 1)])
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    with pytest.raises(NotComputable):
        NetworkModel(model.network).genre_probabilities([_heard(1.0)])


def test_controls_are_there_and_sane(music: list[Clip]) -> None:
    model = _model("ban")
    before = model.fingerprint
    found = control_models(model, music)
    controls, notes = found.models, found.notes
    names = [c.name for c in controls]
    assert names == [*(f"planteduntrained{k}" for k in range(1, 6)), "plantedpermuted", "logmel", "modulation"]
    assert len(notes) == 1 and "dataset's own clips" in notes[0]
    assert len({c.fingerprint for c in controls}) == len(controls)
    sound = _heard(2.0)
    for control in controls:
        for label, frames in control.features([sound])[0].items():
            assert np.isfinite(frames).all()
            # neither dead nor exploded, silence included
            assert 0.05 < frames.std() < 20.0, (control.name, label)
            assert (frames.std(axis=0) > 0).mean() > 0.5
        quiet = control.features([HeardClip.silence(1.0, RATE)])[0]
        assert all(np.isfinite(frames).all() for frames in quiet.values())
    assert NetworkModel(model.network, GENRES).fingerprint == before
    again = control_models(model, reversed(music)).models
    assert [c.fingerprint for c in again] == [c.fingerprint for c in controls]
    other = control_models(model, music[:2]).models  # other statistics, another fingerprint
    assert not {c.fingerprint for c in controls[:-2]} & {c.fingerprint for c in other[:-2]}


def test_untrained_keeps_the_front_end_and_changes_the_weights() -> None:
    network = BAN(PRESETS["ban-small"], seed=1)
    network.front_end.mean.fill_(-3.0)
    fresh = untrained_network(network, seed=2)
    assert torch.equal(fresh.front_end.mean, network.front_end.mean)
    assert not torch.equal(fresh.areas["A1"].skip.weight, network.areas["A1"].skip.weight)


def test_permutation_keeps_every_tensors_values() -> None:
    network = BAN(PRESETS["ban-small"], seed=1)
    shuffled = permuted_module(network, seed=0)
    for (name, a), (_, b) in zip(network.named_parameters(), shuffled.named_parameters()):
        assert torch.equal(a.flatten().sort().values, b.flatten().sort().values), name
    weight = network.areas["PB"].lateral.conv.weight
    assert not torch.equal(weight, shuffled.areas["PB"].lateral.conv.weight)


def test_log_mel_is_the_front_end_itself() -> None:
    model = LogMelModel()
    frames = model.features([_heard(1.0)])[0]["Logmel"]
    assert frames.shape == (50, 64)
    assert model.frame_rate == {"Logmel": 50.0}
    # a louder sound by 20 dB is ln(100) higher wherever the floor does not matter
    louder = model.features([HeardClip(None, RATE, 10 * _sound(1.0))])[0]["Logmel"]
    np.testing.assert_allclose(louder - frames, np.log(100), atol=0.05)
    with pytest.raises(NotComputable):
        model.genre_probabilities([_heard(1.0)])


def test_low_level_models_are_controls_of_each_other_and_not_of_themselves() -> None:
    for model, other in ((ModulationModel(), "logmel"), (LogMelModel(), "modulation")):
        controls = control_models(model)
        assert [c.name for c in controls.models] == [other] and not controls.missing and not controls.notes
