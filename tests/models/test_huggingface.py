"""Audio models of transformers from folders: their layers in time, in pieces, in batches; what cannot be loaded."""

from __future__ import annotations

import pickle
import shutil
import socket
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import BanBidsError, CheckpointError, NotComputable, UsageError
from ban_bids.inputs.types import Clip
from ban_bids.models.hidden import HiddenStates
from ban_bids.models.huggingface import narrowed
from ban_bids.models.registry import load_model
from ban_bids.settings import ModelRequest

transformers = pytest.importorskip("transformers")
small = pytest.importorskip("small_transformers")

WAVES = (
    "wav2vec2", "wav2vec2large", "hubert", "wavlm", "data2vec", "unispeech", "unispeechsat", "conformer", "sew", "sewd",
)  # fmt: skip
WINDOWS = ("whisper", "ast", "clap")
RATE = 16_000


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*call: object, **options: object) -> None:
        raise AssertionError("a model asked for the network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {kind: small.save(kind, place / f"{kind}-tiny") for kind in (*WAVES, *WINDOWS)}


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A folder that a test may spoil."""
    return lambda kind: shutil.copytree(folders[kind], tmp_path / kind)


def _load(folder: Path | str) -> HiddenStates:
    model = load_model(f"hf:{folder}", None)
    assert isinstance(model, HiddenStates)
    return model


def _hearing(model: HiddenStates, batch_seconds: float = 0.0, **changes: Any) -> HiddenStates:
    """The same model, heard otherwise."""
    return HiddenStates(
        model.module,
        replace(model.hearing, **changes),
        name=model.name,
        code="",
        batch_seconds=batch_seconds,
    )


def _notes(model: HiddenStates) -> tuple[str, ...]:
    assert model.card is not None
    return model.card.notes


def _noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def _heard(sound: np.ndarray, rate: int = RATE) -> HeardClip:
    return HeardClip(None, rate, sound)


def _directly(kind: str, folder: Path, sound: np.ndarray) -> list[np.ndarray]:
    """Hidden states of one window by transformers alone, in time: (frames, features) of each layer."""
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    extractor = small.extractor(kind)
    given = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        if kind == "whisper":
            out = model.encoder(given["input_features"], output_hidden_states=True)
            return [state[0].numpy() for state in out.hidden_states]
        if kind == "ast":
            out = model(given["input_values"], output_hidden_states=True)
            n_bands, n_times = (32 - 16) // 10 + 1, (128 - 16) // 10 + 1
            # patch f · n_times + t, behind two tokens
            return [
                np.stack([np.concatenate([s[0, 2 + f * n_times + t] for f in range(n_bands)]) for t in range(n_times)])
                for s in out.hidden_states
            ]
        if kind == "clap":
            out = model.audio_model(given["input_features"], is_longer=given["is_longer"], output_hidden_states=True)
            return [_unfolded(state[0].numpy(), parts=4) for state in out.hidden_states]
        return [s[0].numpy() for s in model(given["input_values"], output_hidden_states=True).hidden_states]


def _unfolded(image: np.ndarray, parts: int) -> np.ndarray:
    """(channels, parts · bands, columns): part p holds the times from p · columns on."""
    channels, rows, columns = image.shape
    bands = rows // parts
    frames = np.zeros((parts * columns, bands * channels), dtype=np.float32)
    for p in range(parts):
        for b in range(bands):
            for c in range(columns):
                frames[p * columns + c, b * channels : (b + 1) * channels] = image[:, p * bands + b, c]
    return frames


@pytest.mark.parametrize("kind", [*WAVES, *WINDOWS])
def test_layers_are_the_hidden_states_of_transformers(folders: dict[str, Path], kind: str) -> None:
    model = _load(folders[kind])
    assert model.name == f"{kind}tiny"
    assert model.mapping is None and model.genres == ()
    assert model.card is not None and not model.card.training_known and not model.card.hashes
    assert model.layers == tuple(f"L{k:02d}" for k in range(len(model.layers)))
    seconds = {"whisper": 2.0, "ast": 1.28, "clap": 1.0}.get(kind, 3.0)
    sound = _noise(seconds)
    expected = _directly(kind, folders[kind], sound)
    native = _hearing(model, least_rate=1e9).features([_heard(sound)])[0]
    usual = model.features([_heard(sound)])[0]
    assert len(expected) == len(model.layers)
    for layer, count, states in zip(model.layers, model.hearing.averaged, expected):
        np.testing.assert_allclose(native[layer], states, atol=2e-5)
        means = [states[first : first + count].mean(axis=0) for first in range(0, len(states), count)]
        np.testing.assert_allclose(usual[layer], means, atol=2e-5)
        assert usual[layer].dtype == np.float32
    with pytest.raises(NotComputable, match="no read-out"):
        model.genre_probabilities([_heard(sound)])


@pytest.mark.parametrize("kind", [*WAVES, *WINDOWS])
def test_frames_times_their_rate_are_the_duration(folders: dict[str, Path], kind: str) -> None:
    model = _load(folders[kind])
    for native in (model, _hearing(model, least_rate=1e9)):
        for seconds in (0.02, 0.7, 2.0, 5.31):
            features = native.features([_heard(_noise(seconds))])[0]
            for layer, frames in features.items():
                rate = native.frame_rate[layer]
                whole = np.ceil(max(seconds, 0.1) * rate - 1e-6)
                # the last window of the convolutions, or patch of the spectrogram, does not fit
                assert whole - max(2, 0.2 * rate) <= len(frames) <= whole
                assert len(frames) >= 1 and np.isfinite(frames).all()
    slow = [model.frame_rate[layer] for layer in model.layers]
    assert min(slow) >= 10.0 and max(slow) < 20.0


@pytest.mark.parametrize("kind", [*WAVES, *WINDOWS])
def test_a_batch_is_what_each_clip_is_alone(folders: dict[str, Path], kind: str) -> None:
    model = _load(folders[kind])
    together = _hearing(model, batch_seconds=60.0)
    sounds = [0.2 * _noise(2.5), _noise(2.5, 1), 5 * _noise(0.4, 2), _noise(2.5, 3), _noise(0.4, 4), _noise(4.17, 5)]
    for sound, features in zip(sounds, together.features([_heard(sound) for sound in sounds])):
        alone = model.features([_heard(sound)])[0]
        for layer in model.layers:
            np.testing.assert_allclose(features[layer], alone[layer], atol=2e-5)


@pytest.mark.parametrize(("kind", "window", "hop"), [("whisper", 2.0, 1.0), ("ast", 1.28, 0.6), ("clap", 1.0, 0.5)])
def test_windows_are_slid_over_the_sound(folders: dict[str, Path], kind: str, window: float, hop: float) -> None:
    model = _load(folders[kind])
    sliding = _hearing(model, hop=round(hop * RATE), least_rate=1e9)
    sound = _noise(3 * hop + window)  # the last window ends with the sound
    starts = [hop * k for k in range(4)]
    seen = [_directly(kind, folders[kind], sound[round(s * RATE) : round((s + window) * RATE)]) for s in starts]
    frames = sliding.features([_heard(sound)])[0]
    for place, layer in enumerate(model.layers):
        rate = sliding.frame_rate[layer]
        for k, frame in enumerate(frames[layer]):
            centre = (k + 0.5) / rate
            # the window in whose middle the frame lies best; ends of the sound are no edges
            depth = [
                min(np.inf if s == 0 else centre - s, np.inf if s == starts[-1] else s + window - centre)
                for s in starts
            ]
            best = sorted(depth)[-1]
            agrees = [
                np.allclose(frame, states[place][round(k - s * rate)], atol=2e-5)
                for s, states, d in zip(starts, seen, depth)
                if d >= best - 1.01 / rate and 0 <= round(k - s * rate) < len(states[place])
            ]
            assert any(agrees), (layer, k)


@pytest.mark.parametrize("kind", ["wav2vec2large", "sew"])
def test_long_sounds_are_heard_in_pieces(folders: dict[str, Path], kind: str) -> None:
    model = _load(folders[kind])
    window, hop = 2.0, 1.0
    pieced = _hearing(model, window=round(window * RATE), hop=round(hop * RATE))
    sound = _noise(5.23)
    frames, whole = pieced.features([_heard(sound)])[0], model.features([_heard(sound)])[0]
    normalised = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)  # over the whole clip, not by piece
    plan = pieced.hearing.pieces(len(sound))
    assert [start / RATE for start, _, _ in plan[:3]] == pytest.approx([0, hop, 2 * hop], abs=0.1)
    assert plan[0][1] == 0 and plan[-1][2] == len(sound)
    assert all(end == begin for (_, _, end), (_, begin, _) in zip(plan, plan[1:]))
    module: Any = model.module
    for layer_at, layer in enumerate(model.layers):
        step, count = model.hearing.steps[layer_at], model.hearing.averaged[layer_at]
        expected = []
        for start, begin, end in plan:
            heard = torch.from_numpy(normalised[start : start + round(window * RATE)])[None]
            with torch.no_grad():
                states = module(heard, output_hidden_states=True).hidden_states[layer_at][0].numpy()
            n = (end - begin) / step
            first = (begin - start) // step * count
            taken = states[first : first + int(np.ceil(n)) * count]
            expected += [taken[k : k + count].mean(axis=0) for k in range(0, len(taken), count)]
        assert len(frames[layer]) == len(whole[layer]) == len(expected)
        np.testing.assert_allclose(frames[layer], expected, atol=2e-5)
    # 20 s are heard whole
    short, long = (model.hearing.pieces(n) for n in (20 * RATE, 20 * RATE + 1))
    assert short == [(0, 0, 20 * RATE)] and len(long) == 2


@pytest.mark.parametrize("kind", [*WAVES, *WINDOWS])
def test_frames_stand_where_the_sound_is(folders: dict[str, Path], kind: str) -> None:
    model = _hearing(_load(folders[kind]), least_rate=1e9)
    sound = _noise(4.0)
    rate = model.frame_rate["L00"]
    usual = model.features([_heard(sound)])[0]["L00"]
    for onset in (0.9, 1.7, 2.83):
        changed = sound.copy()
        at = round(onset * RATE)
        changed[at : at + 4800] = _noise(0.3, 3)
        away = np.abs(model.features([_heard(changed)])[0]["L00"] - usual).sum(axis=1)
        away = np.clip(away - np.quantile(away, 0.8), 0, None)
        centre = (away * (np.arange(len(away)) + 0.5)).sum() / away.sum() / rate
        assert centre == pytest.approx(onset + 0.15, abs=0.08), onset


def test_shifted_sound_gives_shifted_frames(folders: dict[str, Path]) -> None:
    # L00 of networks whose convolutions normalise each frame knows only its neighbourhood
    model = _load(folders["wav2vec2large"])
    sound = _noise(3.0)
    features, shifted = (
        model.features([_heard(np.roll(sound, k))])[0]["L00"] for k in (0, RATE // 2)
    )  # both have one mean and variance
    np.testing.assert_allclose(shifted[8:28], features[3:23], atol=1e-4)
    assert not np.allclose(shifted[8:28], features[8:28], atol=1e-2)


def test_a_clip_is_heard_at_the_models_own_rate(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("wav2vec2large")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=24_000).save_pretrained(folder)
    model = _load(folder)
    assert model.sampling_rate == 24_000
    assert model.frame_rate["L00"] == pytest.approx(24_000 / 320 / 7)  # 75 a second, by sevens
    tone = {rate: 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate) for rate in (24_000, 44_100)}
    soundfile.write(tmp_path / "tone.wav", tone[44_100], 44_100, subtype="FLOAT")
    from_file = model.features([HeardClip(Clip(tmp_path / "tone.wav", 0.0, 2.0, "tone"), 24_000)])[0]
    made = model.features([_heard(tone[24_000], 24_000)])[0]
    for layer in model.layers:
        np.testing.assert_allclose(from_file[layer][2:-2], made[layer][2:-2], atol=0.02)
    with pytest.raises(ValueError, match="16000 Hz for a model that hears 24000 Hz"):
        model.features([_heard(_noise(1.0))])


def test_the_fingerprint_follows_weights_and_preprocessing(
    folders: dict[str, Path], copied: Callable[[str], Path], tmp_path: Path
) -> None:
    model = _load(folders["data2vec"])
    folder = copied("data2vec")
    same = folder.rename(tmp_path / "data2vec-tiny")
    assert _load(same).fingerprint == model.fingerprint
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(same)
    other = _load(same)
    assert other.fingerprint != model.fingerprint
    sound, elsewhere = _noise(1.0), 3 * _noise(1.0) + 0.3
    ours, theirs = (m.features([_heard(elsewhere)])[0]["L03"] for m in (model, other))
    np.testing.assert_allclose(model.features([_heard(sound)])[0]["L03"], ours, atol=1e-4)  # normalised
    assert not np.allclose(ours, theirs, atol=1e-3)
    small.save("data2vec", tmp_path / "again" / "data2vec-tiny", seed=1)
    assert _load(tmp_path / "again" / "data2vec-tiny").fingerprint != model.fingerprint


def test_another_module_of_the_architecture_has_the_same_layers(folders: dict[str, Path]) -> None:
    model = _load(folders["whisper"])
    assert model.card is not None and "Radford" in model.card.references[0]
    module = deepcopy(model.module)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(weight.flatten().flip(0).view_as(weight))
    control = model.with_module(module, "flipped")
    assert (control.name, control.layers, control.frame_rate) == ("flipped", model.layers, model.frame_rate)
    assert control.fingerprint != model.fingerprint
    assert control.card is None
    one, other = (m.features([_heard(_noise(1.0))])[0]["L02"] for m in (model, control))
    assert one.shape == other.shape and not np.allclose(one, other, atol=1e-3)


def test_without_preprocessing_the_defaults_are_taken_and_told(copied: Callable[[str], Path]) -> None:
    folder = copied("wavlm")
    (folder / "preprocessor_config.json").unlink()
    model = _load(folder)
    assert model.sampling_rate == 16_000
    assert any(
        "no preprocessor_config.json: the defaults of Wav2Vec2FeatureExtractor" in note for note in _notes(model)
    )
    assert any("not causal" in note for note in _notes(model))


def test_mert_is_run_as_hubert_where_it_is_one(copied: Callable[[str], Path], folders: dict[str, Path]) -> None:
    mert = {
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
        "feature_extractor_cqt": False,
        "deepnorm": False,
        "attention_relax": -1.0,
    }
    folder = small.rewritten(copied("hubert"), **mert)
    (folder / "modeling_MERT.py").write_text("raise SystemExit('foreign code was run')\n")
    model = _load(folder)
    assert any("MERT is a HuBERT" in note for note in _notes(model))
    assert model.card is not None and "MERT" in model.card.references[0]
    expected = _load(folders["hubert"]).features([_heard(_noise(1.0))])[0]
    for layer, frames in model.features([_heard(_noise(1.0))])[0].items():
        np.testing.assert_array_equal(frames, expected[layer])
    small.rewritten(folder, feature_extractor_cqt=True)
    with pytest.raises(UsageError, match="'mert_model' needs foreign code .*, which is never run"):
        _load(folder)


def test_models_with_a_head_and_pickled_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = small.configs()["wav2vec2"]
    model = transformers.Wav2Vec2ForCTC(config).half()
    model.save_pretrained(tmp_path / "half")
    small.extractor("wav2vec2").save_pretrained(tmp_path / "half")
    expected = _load(tmp_path / "half")
    assert all(weight.dtype == torch.float32 for weight in expected.module.parameters())
    shutil.copytree(tmp_path / "half", tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    pickled = _load(tmp_path / "pickled")
    for layer, frames in pickled.features([_heard(_noise(1.0))])[0].items():
        np.testing.assert_array_equal(frames, expected.features([_heard(_noise(1.0))])[0][layer])


class _Planted:
    """What a pickle may do to its reader."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_a_pickle_that_holds_code_is_refused(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("wav2vec2")
    (folder / "model.safetensors").unlink()
    for write in (torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))):
        write({"encoder.weight": _Planted(tmp_path / "was-here")}, folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="cannot be used with its config.json") as caught:
            _load(folder)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "was-here").exists()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "wav2v')


def _a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _damaged_extractor(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")


def _others_extractor(folder: Path) -> None:
    transformers.WhisperFeatureExtractor().save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_config, r"there is no .*config.json; give a folder that transformers"),
        (_damaged_config, "config.json: not readable JSON .*; fetch it again"),
        (_a_list, "config.json: not a JSON object; fetch it again"),
        (lambda f: small.rewritten(f, model_type="wav2vec9"), "'wav2vec9', which transformers does not know"),
        (lambda f: small.rewritten(f, model_type="bert"), "'bert' cannot be laid on sound here, those of wav2vec2, "),
        (lambda f: small.rewritten(f, model_type="encodec"), "'encodec' cannot be laid on sound here"),
        (lambda f: small.rewritten(f, hidden_size="many"), "config.json cannot be used"),
        (_no_weights, "weights in .* cannot be used with its config.json"),
        (_cut_weights, "weights in .* cannot be used with its config.json"),
        (lambda f: small.rewritten(f, num_hidden_layers=4), r"lack what config.json describes \(encoder.layers.3"),
        (lambda f: small.rewritten(f, num_hidden_layers=2), r"more than what config.json describes \(encoder.layers.2"),
        (lambda f: small.rewritten(f, hidden_size=64), "cannot be used with its config.json|another architecture's"),
        (lambda f: small.rewritten(f, model_type="whisper"), "is Wav2Vec2FeatureExtractor's, not Whisper"),
        (_damaged_extractor, "preprocessor_config.json cannot be used"),
        (_others_extractor, "WhisperFeatureExtractor's, not Wav2Vec2FeatureExtractor's"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_line(
    copied: Callable[[str], Path], spoil: Callable[[Path], object], message: str
) -> None:
    folder = copied("wav2vec2")
    spoil(folder)
    with pytest.raises(BanBidsError, match=message) as caught:
        _load(folder)
    assert str(caught.value).startswith(f"--model hf:{folder}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("whisper", {"max_source_positions": 50}, "windows of 32000 samples, its encoder hears 16000"),
        ("ast", {"max_length": 64}, "makes 128 frames of 32 bands, config.json says 64 of 32"),
    ],
)
def test_windows_that_do_not_fit_their_preprocessing(
    copied: Callable[[str], Path], kind: str, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        _load(small.rewritten(copied(kind), **changes))


def test_weights_of_another_architecture(copied: Callable[[str], Path], folders: dict[str, Path]) -> None:
    folder = copied("whisper")
    shutil.copy(folders["ast"] / "model.safetensors", folder)
    with pytest.raises(CheckpointError, match=r"lack what config.json describes \(encoder\."):
        _load(folder)


def test_fused_clap_is_not_random(tmp_path: Path) -> None:
    config = small.configs()["clap"]
    config.audio_config.enable_fusion = True
    folder = small.save("clap", tmp_path / "fused", config=config, with_extractor=False)
    fused = small.extractor("clap")
    fused.truncation = "fusion"
    fused.save_pretrained(folder)
    model = _load(folder)
    first, second = (model.features([_heard(_noise(1.7))])[0] for _ in range(2))
    for layer in model.layers:
        np.testing.assert_array_equal(first[layer], second[layer])
    small.extractor("clap").save_pretrained(folder)
    with pytest.raises(UsageError, match="its preprocessing says 'rand_trunc', its config 'fusion'"):
        _load(folder)


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_a_repository_is_found_in_the_users_cache(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    cache = tmp_path / "hub" if variable == "HF_HOME" else tmp_path
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / "models--somebody--WavLM-Tiny.1"
    shutil.copytree(folders["wavlm"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    request = ModelRequest.parse("hf:somebody/WavLM-Tiny.1")
    assert request.name == "hf:somebody/WavLM-Tiny.1"
    assert _load(request.name.removeprefix("hf:")).name == "wavlmtiny1"
    with pytest.raises(UsageError, match=rf"nor is somebody/other in the cache {cache}; nothing is downloaded"):
        _load("somebody/other")


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder .*/nothing; write hf:FOLDER"):
        _load(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"its weights lie in the folder; drop --weights"):
        load_model(f"hf:{tmp_path}", tmp_path / "w.safetensors")


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UsageError, match=r"needs transformers; pip install 'ban-bids\[pretrained\]'"):
        _load(tmp_path)


def test_neighbouring_bands_are_averaged_until_they_fit() -> None:
    states = torch.arange(2 * 3 * 12 * 300, dtype=torch.float64).view(2, 3, 12, 300)
    kept = narrowed(states)  # 3 · 300 is the most that fits 1024 and divides 12
    assert kept.shape == (2, 3, 900)
    torch.testing.assert_close(kept[1, 2, 300:600], states[1, 2, 4:8].mean(dim=0))
    assert narrowed(states[..., :2]).shape == (2, 3, 24)
    wide = torch.ones(1, 1, 4, 2000)
    assert narrowed(wide).shape == (1, 1, 2000)
