"""Clips against closed forms and direct slicing, and every way of not being audio."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ban_bids.audio.waveforms import audio_hash, content_hash, load_waveform, render_clip, sine_fade
from ban_bids.constants import SAMPLING_RATE
from ban_bids.errors import DataError


@dataclass(frozen=True)
class _Clip:
    audio: Path
    start: float = 0.0
    duration: float = 1.0
    fade: float = 0.0
    rms: float | None = None
    silence: float = 0.0


def _noise(seconds: float, rate: int = SAMPLING_RATE, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))
    return samples.clip(-0.99, 0.99).astype(np.float32)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "blues.00000.wav"
    soundfile.write(path, _noise(4.0), SAMPLING_RATE, subtype="FLOAT")
    return path


def test_excerpt_is_the_slice_of_the_file(wav: Path) -> None:
    part = load_waveform(wav, 1.25, 1.5)
    first = round(1.25 * SAMPLING_RATE)
    np.testing.assert_array_equal(part, _noise(4.0)[first : first + round(1.5 * SAMPLING_RATE)])
    assert part.dtype == np.float32


def test_stereo_is_averaged(tmp_path: Path) -> None:
    left, right = _noise(1.0, seed=1), _noise(1.0, seed=2)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], axis=1), SAMPLING_RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_waveform(tmp_path / "s.wav"), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_resampled_tone_is_the_tone_at_the_new_rate(tmp_path: Path, rate: int) -> None:
    def tone(r: int) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * 440.0 * np.arange(2 * r) / r)

    soundfile.write(tmp_path / "t.wav", tone(rate), rate, subtype="FLOAT")
    heard = load_waveform(tmp_path / "t.wav", 0.0, 2.0)
    inner = slice(500, -500)  # the filter rings at the file's ends
    np.testing.assert_allclose(heard[inner], tone(SAMPLING_RATE)[inner], atol=2e-3)


def test_excerpt_just_past_the_end_is_padded_and_logged(wav: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        part = load_waveform(wav, 3.0, 1.09)
    assert len(part) == round(1.09 * SAMPLING_RATE)
    np.testing.assert_array_equal(part[SAMPLING_RATE:], 0.0)
    assert "padded" in caplog.text
    assert wav.name in caplog.text


@pytest.mark.parametrize(("start", "duration"), [(3.0, 1.2), (4.0, 0.05), (9.0, 1.0), (-1.0, 1.0), (0.0, 0.0)])
def test_excerpt_outside_the_file_is_refused(wav: Path, start: float, duration: float) -> None:
    with pytest.raises(DataError, match="blues.00000.wav.*events file"):
        load_waveform(wav, start, duration)


def _write_cut(path: Path, fmt: str) -> None:
    whole = path.with_name("whole" + path.suffix)
    soundfile.write(whole, _noise(2.0), SAMPLING_RATE, format=fmt)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("missing.wav", lambda p: None, "no such audio file"),
        ("empty.wav", lambda p: p.write_bytes(b""), "empty"),
        ("zero.wav", lambda p: soundfile.write(p, np.zeros(0), SAMPLING_RATE), "no samples"),
        ("text.wav", lambda p: p.write_text("this is not audio at all" * 50), "not audio"),
        ("cut.wav", lambda p: _write_cut(p, "WAV"), "truncated"),
        ("cut.flac", lambda p: _write_cut(p, "FLAC"), "cut.flac"),
        ("nan.wav", lambda p: soundfile.write(p, np.full(99, np.nan), 99, subtype="FLOAT"), "not numbers"),
    ],
)
def test_each_bad_file_has_its_own_line(tmp_path: Path, name: str, make: object, words: str) -> None:
    path = tmp_path / name
    make(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=words) as caught:
        load_waveform(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fade_is_a_raised_sine() -> None:
    gain = sine_fade(1000, 100)
    k = np.arange(100)
    # sin² written as a cosine: an independent form of the same ramp
    np.testing.assert_allclose(gain[:100], 0.5 - 0.5 * np.cos(np.pi * (k + 0.5) / 100), atol=1e-6)
    np.testing.assert_array_equal(gain[100:900], 1.0)
    np.testing.assert_allclose(gain, gain[::-1], atol=1e-7)
    np.testing.assert_array_equal(sine_fade(50, 0), 1.0)
    assert sine_fade(10, 100).max() < 1.0  # ramps that meet are cut to half the clip


def test_render_fades_first_and_scales_last(wav: Path) -> None:
    rms = 0.13210295550519335
    heard = render_clip(_Clip(wav, 0.5, 3.0, fade=1.0, rms=rms))
    assert np.sqrt(np.mean(heard.astype(float) ** 2)) == pytest.approx(rms, rel=1e-6)
    n = SAMPLING_RATE
    raw = _noise(4.0)[n // 2 : n // 2 + 3 * n]
    expected = raw * sine_fade(3 * n, n)
    np.testing.assert_allclose(heard, expected * (rms / np.sqrt(np.mean(expected**2))), rtol=1e-4, atol=1e-6)


def test_render_without_fade_and_rms_leaves_the_excerpt_alone(wav: Path) -> None:
    np.testing.assert_array_equal(render_clip(_Clip(wav, 1.0, 2.0)), load_waveform(wav, 1.0, 2.0))


def test_silence_cannot_be_scaled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    with pytest.raises(DataError, match="quiet.wav.*silent"):
        render_clip(_Clip(tmp_path / "quiet.wav", rms=0.1))


def test_content_hash_is_of_bytes_and_audio_hash_of_samples(tmp_path: Path) -> None:
    samples = _noise(1.0)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLING_RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "a.au", samples, SAMPLING_RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "b.wav", samples[::-1], SAMPLING_RATE, subtype="PCM_16")
    wav_bytes = (tmp_path / "a.wav").read_bytes()
    assert content_hash(tmp_path / "a.wav") == hashlib.sha256(wav_bytes).hexdigest()
    assert content_hash(tmp_path / "a.wav") != content_hash(tmp_path / "a.au")
    assert audio_hash(tmp_path / "a.wav") == audio_hash(tmp_path / "a.au")
    assert audio_hash(tmp_path / "a.wav") != audio_hash(tmp_path / "b.wav")
    with pytest.raises(DataError, match="cannot be read"):
        content_hash(tmp_path / "none.wav")


def test_files_of_floats_are_hashed_by_their_samples(tmp_path: Path) -> None:
    hashes = set()
    for seed in range(9):
        track = np.round(_noise(0.5, seed=seed) * 2**15) / 2**15
        for name, subtype in {"i.wav": "PCM_16", "i.au": "PCM_24", "f.wav": "FLOAT", "d.wav": "DOUBLE"}.items():
            soundfile.write(tmp_path / name, track, SAMPLING_RATE, subtype=subtype)
        hashes |= {audio_hash(path) for path in tmp_path.iterdir()}
    assert len(hashes) == 9
    soundfile.write(tmp_path / "f.wav", np.where(track == 0, -0.0, track), SAMPLING_RATE, subtype="FLOAT")
    assert audio_hash(tmp_path / "f.wav") in hashes
    soundfile.write(tmp_path / "f.wav", track + 2.0**-20, SAMPLING_RATE, subtype="FLOAT")
    assert audio_hash(tmp_path / "f.wav") not in hashes


def test_hashes_of_older_cards_can_still_be_made(tmp_path: Path) -> None:
    samples = (1000 * np.sin(np.arange(5000))).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLING_RATE, subtype="PCM_16")
    expected = hashlib.sha256(f"{SAMPLING_RATE} 1 ".encode() + samples.tobytes()).hexdigest()
    assert audio_hash(tmp_path / "a.wav", version=1) == expected != audio_hash(tmp_path / "a.wav")


def test_real_tracks_load(shared_data: Path) -> None:
    files = sorted((shared_data / "gtzan_mini").rglob("*.wav"))[::20]
    assert files
    for path in files:
        waveform = load_waveform(path)
        assert 29.0 < len(waveform) / SAMPLING_RATE < 31.0
        assert 0.01 < float(np.abs(waveform).max()) <= 1.0


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_streamed_wav_without_a_length_is_not_taken_for_a_cut_one(wav: Path, size: int) -> None:
    data = bytearray(wav.read_bytes())
    data[4:8] = size.to_bytes(4, "little")
    wav.write_bytes(bytes(data))
    assert len(load_waveform(wav)) == 4 * SAMPLING_RATE
