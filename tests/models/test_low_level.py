"""Low-level models: MFCC, ripples in their channels, read-outs as scikit-learn's, files and refusals."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchaudio.functional import create_dct

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import CheckpointError, NotComputable, UsageError
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint, save_checkpoint
from ban_bids.models.low_level import (
    MODELS,
    LogMelModel,
    ModulationBank,
    ModulationConfig,
    ModulationModel,
    load_low_level,
    log_mel_statistics,
    mfcc,
    save_low_level,
)
from ban_bids.models.presets import LOW_LEVEL, build, preset
from ban_bids.models.registry import load_model
from ban_bids.training.low_level import fit_low_level

RATE = 22_050


def _sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def _heard(sound: np.ndarray) -> HeardClip:
    return HeardClip(None, RATE, sound)


def test_mfcc_are_torchaudios() -> None:
    frames = LogMelModel().features([_heard(_sound(1.0))])[0]["Logmel"]
    expected = torch.from_numpy(frames).double() @ create_dct(20, 64, norm="ortho").double()
    np.testing.assert_allclose(mfcc(frames), expected.numpy(), atol=1e-5)


def test_statistics_are_taken_over_time() -> None:
    frames = np.random.default_rng(1).normal(size=(30, 64))
    out = log_mel_statistics(frames)
    assert out.shape == (188,)
    np.testing.assert_allclose(out[60:124], frames.mean(axis=0))
    np.testing.assert_allclose(out[124:], frames.std(axis=0))
    np.testing.assert_allclose(out[0], frames.sum(axis=1).mean() / 8)  # zeroth coefficient: sum / √64
    steps = mfcc(frames)[1:] - mfcc(frames)[:-1]
    np.testing.assert_allclose(out[40:60], steps.std(axis=0))


BANK = ModulationBank(ModulationConfig())


def _ripple(rate: float, scale: float, sign: int, times: np.ndarray, octaves: np.ndarray) -> np.ndarray:
    """Falling for sign +1: the phase stays the same where the frequency falls as time goes on."""
    return np.cos(2 * np.pi * (rate * times[None] + sign * scale * octaves[:, None]))


@pytest.mark.parametrize("channel", [BANK.config.channels[k] for k in range(0, 60, 7)], ids=str)
def test_a_ripple_peaks_in_its_channel(channel: tuple[float, float, str]) -> None:
    rate, scale, direction = channel
    times, octaves = np.arange(360) / 90, np.arange(BANK.n_bands) / 24
    ripple = 0.5 * _ripple(rate, scale, 1 if direction == "down" else -1, times, octaves)
    energies = BANK.energies(ripple)[:, 90:-90].mean(axis=1)
    assert BANK.config.channels[int(energies.argmax())] == channel
    # amplitude squared, less the taper's mean square; five octaves blur the low scales
    taper = float(np.mean(BANK.taper**2))
    assert energies.max() == pytest.approx(0.25 * taper, rel=0.05 if scale > 1 else 0.4)


def test_energy_is_what_filtering_in_two_dimensions_gives() -> None:
    """Against brute force: every channel's filter by an inverse transform along both axes."""
    rng = np.random.default_rng(0)
    spectrogram = rng.normal(size=(BANK.n_bands, 60))
    moving = (spectrogram - spectrogram.mean(axis=1, keepdims=True)) * BANK.taper
    padded = np.zeros((1024, 512))  # other sizes than the code's: zeros change nothing but sampling
    padded[: BANK.n_bands, :60] = moving
    f = np.fft.fftfreq(512, 1 / 90)
    s = np.fft.fftfreq(1024, 1 / 24)
    energies = BANK.energies(spectrogram)
    for k in (14, 37):
        rate, scale, direction = BANK.config.channels[k]
        u, v = f / rate, (s if direction == "down" else -s) / scale
        along_time = np.where(u > 0, 2 * u**2 * np.exp(1 - u**2), 0)
        along_bands = np.where(v > 0, v**2 * np.exp(1 - v**2), 0)
        out = np.fft.ifft2(np.fft.fft2(padded) * along_time * along_bands[:, None])
        brute = (np.abs(out[:, :60]) ** 2).sum(axis=0) / BANK.n_bands
        np.testing.assert_allclose(energies[k, 10:50], brute[10:50], rtol=0.05)


@pytest.mark.parametrize("rate, scale, direction", [(4.0, 1.0, "down"), (8.0, 0.5, "up"), (4.0, 2.0, "up")])
def test_a_rippled_sound_peaks_in_its_channel(rate: float, scale: float, direction: str) -> None:
    times = np.arange(3 * RATE) / RATE
    rng = np.random.default_rng(0)
    octaves = np.arange(0, 5.5, 1 / 40)
    sign = 1 if direction == "down" else -1
    phases = rng.uniform(0, 2 * np.pi, len(octaves))
    tones = 0.05 * np.sin(2 * np.pi * 180 * 2 ** octaves[:, None] * times + phases[:, None])
    level = np.exp(0.5 * _ripple(rate, scale, sign, times, octaves))
    model = ModulationModel()
    # the tones beat with each other, so what the ripple adds to them is looked at
    rippled, flat = (
        features["Modulation"]
        for features in model.features([_heard((level * tones).sum(axis=0)), _heard(tones.sum(axis=0))])
    )
    assert rippled.shape == (45, 60)
    assert model.frame_rate == {"Modulation": 15.0}
    added = (rippled - flat)[10:-10].mean(axis=0)
    assert model.config.channels[int(added.argmax())] == (rate, scale, direction)


def test_silence_and_frame_counts() -> None:
    model = ModulationModel()
    for seconds in (1.0, 1.01, 2.5):
        frames = model.features([_heard(np.zeros(round(seconds * RATE)))])[0]["Modulation"]
        assert len(frames) == np.ceil(round(seconds * RATE) / RATE * 15 - 1e-6)
        np.testing.assert_allclose(frames, np.log(1e-3), atol=1e-5)


@pytest.mark.parametrize("n_genres", [2, 4])
def test_the_readout_is_scikit_learns(tmp_path: Path, n_genres: int) -> None:
    rng = np.random.default_rng(0)
    sounds = [_sound(0.5, k) * (1 + k % n_genres) for k in range(12)]
    x = np.stack([LogMelModel().summary(s) for s in sounds]) + rng.normal(0, 0.1, (12, 188))
    labels = [k % n_genres for k in range(12)]
    card = ModelCard(vars(LogMelModel().config), tuple("abcd"[:n_genres]))
    model = fit_low_level("logmel", x, labels, n_genres, card)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=5000)).fit(x, labels)
    heard = np.stack([model.summary(s) for s in sounds])
    clips = [_heard(s) for s in sounds]
    np.testing.assert_allclose(model.genre_probabilities(clips), theirs.predict_proba(heard), atol=1e-10)
    again = load_model("logmel", save_low_level(tmp_path / "w.safetensors", model))
    assert again.card == card
    assert again.genres == card.genres
    assert again.fingerprint == model.fingerprint != LogMelModel().fingerprint
    np.testing.assert_array_equal(again.genre_probabilities(clips), model.genre_probabilities(clips))
    with pytest.raises(UsageError, match="every one of the 5 genres"):
        fit_low_level("logmel", x, labels, 5)


def test_no_readout_no_probabilities() -> None:
    assert tuple(MODELS) == LOW_LEVEL
    for name in MODELS:
        model = load_model(name, None)
        assert model.name == name
        assert model.card is not None  # nothing was trained, and that is known
        with pytest.raises(NotComputable, match="no read-out"):
            model.genre_probabilities([_heard(_sound(1.0))])


def test_foreign_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(6, 188))
    card = ModelCard(vars(LogMelModel().config), ("a", "b"))
    path = save_low_level(tmp_path / "w.safetensors", fit_low_level("logmel", x, [0, 1] * 3, 2, card))
    with pytest.raises(CheckpointError, match="low-level model 'logmel'.*--model logmel"):
        load_checkpoint(path)
    with pytest.raises(UsageError, match="--model modulation.*holds 'logmel'"):
        load_model("modulation", path)
    with pytest.raises(CheckpointError, match="low-level model 'logmel'"):
        load_model("ban", path)
    network = build(preset("crnn"), 2)
    nets = save_checkpoint(tmp_path / "n.safetensors", network, ModelCard(network.config.to_dict(), ("a", "b")))
    with pytest.raises(CheckpointError, match="holds crnn, not a low-level model.*--preset logmel"):
        load_low_level(nets)
    with pytest.raises(CheckpointError, match="holds bare weights"):
        load_low_level(save_checkpoint(tmp_path / "b.safetensors", network, None))
    bad = ModelCard({"n_mels": 64, "wheels": 4}, ("a", "b"))
    with pytest.raises(CheckpointError, match="configuration is not one of this version"):
        load_low_level(save_low_level(tmp_path / "c.safetensors", fit_low_level("logmel", x, [0, 1] * 3, 2, bad)))
    three = ModelCard(vars(LogMelModel().config), ("a", "b", "c"))
    with pytest.raises(CheckpointError, match="read-out is damaged"):
        load_low_level(save_low_level(tmp_path / "d.safetensors", fit_low_level("logmel", x, [0, 1] * 3, 2, three)))
    pickled = tmp_path / "p.safetensors"
    monkeypatch.chdir(tmp_path)

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("exploded",)

    pickled.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="pickle"):
        load_model("logmel", pickled)
    assert not (tmp_path / "exploded").exists()
