"""Pitch, loudness and the profile of layers against known sounds, closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from made_music import music

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import NotComputable
from ban_bids.models.ban import BAN
from ban_bids.models.low_level import LogMelModel
from ban_bids.models.network import NetworkModel
from ban_bids.models.presets import preset
from ban_bids.training.code_measures.contours import a_weighting, loudness_contour, pitch_contour
from ban_bids.training.code_measures.sounds import HeldOutSounds
from ban_bids.training.code_measures.tuning import (
    TONES,
    Timescale,
    linear_tuning,
    receptive_field,
    sparseness,
    tone_responses,
    tuning_width,
)

RATE = 22_050


def test_pitch_of_known_sounds() -> None:
    time = np.arange(2 * RATE) / RATE
    for f0 in (80.0, 123.0, 220.0, 440.0, 580.0):
        tone = sum(np.sin(2 * np.pi * f0 * h * time + h) / h for h in range(1, 6))
        contour = pitch_contour(0.1 * np.asarray(tone), RATE, 20, 10.0)
        assert np.isfinite(contour[1:-1]).all()
        np.testing.assert_allclose(contour[1:-1], np.log2(f0), atol=0.02)
    noise = np.random.default_rng(0).normal(size=2 * RATE)
    assert np.isfinite(pitch_contour(noise, RATE, 20, 10.0)).mean() < 0.2
    assert np.isnan(pitch_contour(np.zeros(2 * RATE), RATE, 20, 10.0)).all()
    too_low = np.sin(2 * np.pi * 30 * time)  # a peak would only be found at the end of the range
    assert np.isfinite(pitch_contour(too_low, RATE, 20, 10.0)).mean() < 0.2
    half = np.concatenate([np.sin(2 * np.pi * 200 * time[:RATE]), 0.01 * np.sin(2 * np.pi * 300 * time[:RATE])])
    contour = pitch_contour(half, RATE, 20, 10.0)
    assert np.isfinite(contour[1:9]).all()
    assert np.isnan(contour[11:]).all()  # below 3 % of the sound's peak


def test_loudness_is_a_weighted() -> None:
    table = {10**1.5: -39.4, 100: -19.1, 500: -3.2, 1000: 0.0, 2000: 1.2, 8000: -1.1}  # IEC 61672-1, dB
    np.testing.assert_allclose(20 * np.log10(a_weighting(np.array(list(table)))), list(table.values()), atol=0.06)
    time = np.arange(2 * RATE) / RATE
    sound = np.sin(2 * np.pi * 1000 * time) * np.where(time < 1, 0.1, 0.01)
    level = loudness_contour(sound, RATE, 20, 10.0)
    np.testing.assert_allclose(level[2:8], 10 * np.log10(0.1**2 / 2), atol=0.05)
    np.testing.assert_allclose(level[12:18], 10 * np.log10(0.01**2 / 2), atol=0.05)
    assert loudness_contour(np.zeros(RATE), RATE, 10, 10.0) == pytest.approx(np.full(10, -80.0))


def test_receptive_field_of_a_known_layer(pieces: HeldOutSounds) -> None:
    """What changes when a single moment of sound changes, by brute force."""
    model = NetworkModel(BAN(preset("ban-small"), n_genres=3, seed=0))
    sound = music(0, 6.0, RATE)
    changed = sound.copy()
    at = 3 * RATE
    changed[at] += 0.5
    before, after = (model.features([HeardClip(None, RATE, s)])[0] for s in (sound, changed))
    for layer in model.layers:
        rate = model.frame_rate[layer]
        differ = np.flatnonzero(np.abs(before[layer] - after[layer]).max(axis=1) > 0)
        heard = (differ[-1] - differ[0] + 1) / rate  # frames that hear the moment: so long, to a frame
        assert receptive_field(model, layer) >= heard - 1 / rate - 1e-9
        assert receptive_field(model, layer) <= heard + 2 / rate + 0.05
    with pytest.raises(NotComputable, match="networks of this package"):
        receptive_field(LogMelModel(), "Logmel")


def test_timescale_of_an_autoregressive_layer() -> None:
    rng = np.random.default_rng(0)
    for phi in (0.6, 0.9):
        timescale = Timescale(10.0)
        for _ in range(4):
            frames = np.zeros((3000, 8))
            for t in range(1, 3000):
                frames[t] = phi * frames[t - 1] + rng.normal(size=8)
            timescale.add((5 + frames).astype(np.float32))
        assert timescale.seconds == pytest.approx(-0.1 / np.log(phi), rel=0.1)
    flat = Timescale(10.0)
    flat.add(np.full((100, 3), 0.1, np.float32))
    with pytest.raises(NotComputable, match="constant within sounds"):
        _ = flat.seconds


def test_width_of_gaussian_tuning() -> None:
    octaves = np.log2(TONES / 800.0)
    responses = np.column_stack([np.exp(-0.5 * (octaves / 0.5) ** 2), -3 * np.exp(-0.5 * (octaves / 0.5) ** 2)])
    assert tuning_width(responses) == pytest.approx(2 * np.sqrt(np.pi) * 0.5 / np.sqrt(2), rel=0.01)
    assert tuning_width(np.ones((37, 2))) == pytest.approx(37 / 6)
    assert tuning_width(np.hstack([responses, np.zeros((37, 9))])) == tuning_width(responses)
    with pytest.raises(NotComputable, match="no feature responds"):
        tuning_width(np.zeros((37, 4)))
    log_mel = tone_responses(LogMelModel())["Logmel"]
    assert log_mel.shape == (37, 64)
    best = TONES[log_mel.argmax(axis=0)]
    assert (np.diff(best[5:50]) >= 0).all()  # bands in order answer best to tones in order


def test_best_rate_is_that_which_a_layer_hears(pieces: HeldOutSounds) -> None:
    rng = np.random.default_rng(0)
    for rate in (2.0, 16.0):
        heard = pieces.targets["modulation"][:, pieces.modulation_rates == rate]
        layer = heard @ rng.normal(size=(heard.shape[1], 20))
        assert linear_tuning(layer, pieces).best_rate == pytest.approx(rate, rel=0.05)
    spectral = pieces.targets["spectrum"] @ rng.normal(size=(192, 20))
    assert linear_tuning(spectral, pieces).spectral_r2 > 0.9
    assert linear_tuning(rng.normal(size=spectral.shape), pieces).spectral_r2 < 0.05
    assert np.isnan(linear_tuning(rng.normal(size=spectral.shape), pieces).best_rate)


def test_sparseness_of_known_distributions() -> None:
    rng = np.random.default_rng(0)
    assert sparseness(rng.normal(size=(20_000, 9))) == pytest.approx(0, abs=0.1)
    assert sparseness(7 - rng.laplace(size=(20_000, 9))) == pytest.approx(3, abs=0.5)
