"""Noise has the level that was asked for, and every model hears the same sounds."""

from __future__ import annotations

import hearing
import numpy as np
import pytest
from made_music import music

RATE = 22_050


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return music(1, 6.0)


@pytest.mark.parametrize("snr", hearing.SNRS)
def test_noise_has_the_level_that_was_asked_for(sound: np.ndarray, snr: int) -> None:
    noise = hearing.in_noise(sound, snr, "a track").astype(np.float64) - sound
    found = 10 * np.log10(np.mean(sound.astype(np.float64) ** 2) / np.mean(noise**2))
    assert found == pytest.approx(snr, abs=0.1)


def test_noise_is_the_tracks_own_and_the_same_at_every_level(sound: np.ndarray) -> None:
    at_0, at_10 = (hearing.in_noise(sound, snr, "a track") - sound for snr in (0, 10))
    np.testing.assert_allclose(at_0, at_10 * 10**0.5, atol=1e-5)
    np.testing.assert_array_equal(hearing.in_noise(sound, 0, "a track"), hearing.in_noise(sound, 0, "a track"))
    other = hearing.in_noise(sound, 0, "another track") - sound
    assert abs(np.corrcoef(at_0, other)[0, 1]) < 0.1


def test_noise_is_pink_and_stationary() -> None:
    noise = hearing.pink_noise(20 * RATE, "a track")
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
    octaves = [power[(frequency >= f) & (frequency < 2 * f)].sum() for f in (80, 160, 320, 640, 1280, 2560, 5120)]
    np.testing.assert_allclose(octaves, np.mean(octaves), rtol=0.15)
    assert power[frequency < 19].sum() < 1e-9 * power.sum()
    seconds = (noise.reshape(20, RATE) ** 2).mean(axis=1)
    assert seconds.std() < 0.35 * seconds.mean()


@pytest.mark.parametrize("seconds", hearing.PIECES)
def test_pieces_are_cut_from_the_whole_track(sound: np.ndarray, seconds: float) -> None:
    parts = hearing.pieces(sound, seconds)
    assert parts is not None and len(parts) == hearing.N_PIECES
    assert {len(part) for part in parts} == {round(seconds * RATE)}
    np.testing.assert_array_equal(parts[0], sound[: len(parts[0])])
    np.testing.assert_array_equal(parts[-1], sound[-len(parts[-1]) :])
    again = hearing.pieces(sound, seconds)
    assert again is not None
    np.testing.assert_array_equal(np.stack(parts), np.stack(again))


def test_a_short_sound_has_no_long_pieces(sound: np.ndarray) -> None:
    assert hearing.pieces(sound[:RATE], 2.0) is None
    names = [name for name, _ in hearing.conditions(sound[:RATE], "a track")]
    assert names == ["quiet", *hearing.IN_NOISE, "0.5 s", "1 s"]
    assert [name for name, _ in hearing.conditions(sound, "a track")] == [
        "quiet",
        *hearing.IN_NOISE,
        *hearing.IN_PIECES,
    ]
