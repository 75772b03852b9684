"""Pipelines of torchaudio by name, on small networks that are made here."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import CheckpointError, UsageError
from ban_bids.models.bundles import offered
from ban_bids.models.hidden import HiddenStates
from ban_bids.models.registry import load_model

RATE = 16_000
PARAMS: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(16, 10, 10), (16, 8, 8), (16, 4, 4)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 48,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
}
WAVLM = {**PARAMS, "encoder_num_buckets": 8, "encoder_max_distance": 16}
LARGE = {**PARAMS, "extractor_mode": "layer_norm", "encoder_layer_norm_first": True}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three small bundles under names of their own, no network, and an empty TORCH_HOME."""

    def refuse(*call: object, **options: object) -> None:
        raise AssertionError("a model asked for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    pipelines = torchaudio.pipelines
    for name, bundle in {
        "WAV2VEC2_TINY": pipelines.Wav2Vec2Bundle("wav2vec2_tiny.pth", PARAMS, RATE, False, "Wav2Vec2"),
        "HUBERT_TINY": pipelines.Wav2Vec2Bundle("https://x.org/a/hubert_tiny.pth", LARGE, RATE, True, "Wav2Vec2"),
        "WAVLM_TINY": pipelines.Wav2Vec2Bundle("wavlm_tiny.pth", WAVLM, RATE, False, "WavLM"),
        "ASR_TINY": pipelines.Wav2Vec2ASRBundle(
            "asr_tiny.pth", {**PARAMS, "aux_num_out": 5}, RATE, False, "Wav2Vec2", _labels=("a", "b", "c", "d")
        ),
    }.items():
        monkeypatch.setattr(pipelines, name, bundle, raising=False)


def _network(params: dict[str, Any], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    make = torchaudio.models.wavlm_model if "encoder_num_buckets" in params else torchaudio.models.wav2vec2_model
    return make(**params).eval()


def _saved(network: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return path


def _heard(seconds: float, seed: int = 0) -> HeardClip:
    return HeardClip(None, RATE, np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)))


def _averaged(states: torch.Tensor) -> np.ndarray:
    """50 frames a second, averaged by fives."""
    return np.stack([states[0, k : k + 5].numpy().mean(axis=0) for k in range(0, states.shape[1], 5)])


@pytest.mark.parametrize(("name", "params"), [("WAV2VEC2", PARAMS), ("HUBERT", LARGE), ("WAVLM", WAVLM)])
def test_layers_are_torchaudios_features(tmp_path: Path, name: str, params: dict[str, Any]) -> None:
    network = _network(params)
    model = load_model(f"torchaudio:{name}_TINY", _saved(network, tmp_path / "w.pth"))
    assert isinstance(model, HiddenStates)
    assert model.name == f"{name.lower()}tiny"
    assert model.layers == ("L00", "L01", "L02", "L03")
    assert model.frame_rate == dict.fromkeys(model.layers, 10.0)
    assert (model.sampling_rate, model.mapping) == (RATE, None)
    assert model.card is not None and not model.card.training_known
    assert {"WAV2VEC2": "Baevski", "HUBERT": "Hsu", "WAVLM": "Chen"}[name] in model.card.references[0]
    sound = torch.from_numpy(_heard(2.0).waveform)[None]
    if name == "HUBERT":  # as the bundle's own wrapper does
        sound = torch.nn.functional.layer_norm(sound, sound.shape)
    with torch.no_grad():
        expected, _ = network.extract_features(sound)
        early = network.encoder.transformer._preprocess(
            network.encoder.feature_projection(network.feature_extractor(sound, None)[0])
        )
    features = model.features([_heard(2.0)])[0]
    for layer, states in zip(model.layers, [early, *expected]):
        assert len(features[layer]) == 20
        np.testing.assert_allclose(features[layer], _averaged(states), atol=1e-5)
    control = model.with_module(_network(params, seed=1), "other")
    assert control.fingerprint != model.fingerprint and control.layers == model.layers
    assert not any(module._forward_pre_hooks for module in network.encoder.transformer.layers)


def test_one_network_by_torchaudio_and_by_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = pytest.importorskip("small_transformers")
    folder = small.save("wav2vec2", tmp_path / "same", with_extractor=False)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    theirs = transformers.Wav2Vec2Model.from_pretrained(folder)
    network = torchaudio.models.wav2vec2.utils.import_huggingface_model(theirs).eval()
    ours = load_model("torchaudio:WAV2VEC2_TINY", _saved(network, tmp_path / "w.pth"))
    other = load_model(f"hf:{folder}", None)
    assert ours.layers == other.layers and ours.frame_rate == other.frame_rate
    expected = other.features([_heard(1.3)])[0]
    for layer, frames in ours.features([_heard(1.3)])[0].items():
        np.testing.assert_allclose(frames, expected[layer], atol=2e-5)


def test_the_read_out_of_letters_is_left_out(tmp_path: Path) -> None:
    # as published: with rows of symbols that torchaudio itself removes
    network = _network({**PARAMS, "aux_num_out": 8})
    model = load_model("torchaudio:ASR_TINY", _saved(network, tmp_path / "w.pth"))
    with torch.no_grad():
        expected, _ = network.extract_features(torch.from_numpy(_heard(1.0).waveform)[None])
    np.testing.assert_allclose(model.features([_heard(1.0)])[0]["L03"], _averaged(expected[-1]), atol=1e-5)


def test_weights_are_found_where_torchaudio_keeps_them(tmp_path: Path) -> None:
    kept = tmp_path / "torch" / "hub" / "checkpoints" / "hubert_tiny.pth"
    where = rf"its weights are {re.escape(str(kept))}: it is not there, and nothing is downloaded.*HUBERT_TINY=FILE$"
    with pytest.raises(UsageError, match=where):
        load_model("torchaudio:HUBERT_TINY", None)
    network = _network(LARGE)
    _saved(network, kept)
    fingerprint = load_model("torchaudio:HUBERT_TINY", None).fingerprint
    given = load_model("torchaudio:HUBERT_TINY", _saved(network, tmp_path / "w.pth"))
    assert given.fingerprint == fingerprint
    with pytest.raises(UsageError, match="none.pth: there is no such file"):
        load_model("torchaudio:HUBERT_TINY", tmp_path / "none.pth")


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code in a pickle was run",))


def test_other_weights_and_bundles_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pth"
    for thing in (_network(LARGE).state_dict(), [1, 2], {"encoder": _Code()}):
        torch.save(thing, path)
        with pytest.raises(CheckpointError, match="w.pth cannot be used .* not the weights of this bundle") as caught:
            load_model("torchaudio:WAV2VEC2_TINY", path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(CheckpointError, match="w.pth cannot be used"):
        load_model("torchaudio:WAV2VEC2_TINY", path)
    assert "code in a pickle was run" not in capsys.readouterr().out
    for name in ("HDEMUCS_HIGH_MUSDB", "WAV2VEC2", "utils", ""):
        with pytest.raises(UsageError, match=f"--model torchaudio:{name}: no bundle .* HUBERT_BASE.* WAVLM_LARGE"):
            load_model(f"torchaudio:{name}", None)


def test_every_true_bundle_has_what_is_read_from_it() -> None:
    names = [name for name in offered() if not name.endswith("_TINY")]
    assert {"WAV2VEC2_BASE", "HUBERT_BASE", "WAVLM_BASE_PLUS", "WAV2VEC2_ASR_BASE_960H", "MMS_FA"} <= set(names)
    for name in names:
        bundle = getattr(torchaudio.pipelines, name)
        strides = [stride for _, _, stride in bundle._params["extractor_conv_layer_config"]]
        assert np.prod(strides) == 320 and bundle.sample_rate == RATE
        assert bundle._params["encoder_num_layers"] in (12, 24, 48)
