"""Blocks and pieces of long sounds against the whole, which is decoded and resampled at once."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ban_bids.audio import excerpts, waveforms
from ban_bids.audio.excerpts import excerpt_blocks, in_pieces
from ban_bids.audio.resampling import resampled, resampled_blocks
from ban_bids.audio.waveforms import HeardClip, load_waveform, render_clip, sine_fade
from ban_bids.errors import DataError
from ban_bids.inputs.types import Clip


def _noise(n: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (n, channels)).astype(np.float32)


def _cut(sound: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    places = np.cumsum(sizes)
    return [part for part in np.split(sound, places[places < len(sound)]) if len(part)]


@given(
    st.sampled_from(
        [(44_100, 22_050), (22_050, 16_000), (16_000, 22_050), (48_000, 22_050), (22_051, 22_050), (8000, 8000)]
    ),
    st.integers(1, 60_000),
    st.lists(st.integers(1, 30_000), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_resampled_blocks_are_the_resampled_whole(rates: tuple[int, int], n: int, sizes: list[int]) -> None:
    sound = _noise(n)[:, 0]
    whole = resampled(torch.from_numpy(sound), *rates).numpy()
    blocks = np.concatenate(list(resampled_blocks(_cut(sound, sizes), *rates)))
    assert blocks.shape == whole.shape
    np.testing.assert_allclose(blocks, whole, atol=1e-6)


@given(
    st.integers(1, 500),
    st.lists(st.integers(1, 90), max_size=9),
    st.tuples(st.integers(1, 80), st.integers(0, 120), st.integers(0, 120)),
)
@settings(max_examples=100, deadline=None)
def test_pieces_cover_a_clip_once_with_what_is_around(n: int, sizes: list[int], cut: tuple[int, int, int]) -> None:
    sound, (length, before, after) = _noise(n)[:, 0], cut
    pieces = list(in_pieces(_cut(sound, sizes), n, length, before, after))
    assert [piece.start for piece in pieces] == list(range(0, n, length))
    assert [piece.end for piece in pieces] == [*range(length, n, length), n]
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    for piece in pieces:
        begin, end = max(0, piece.start - before), min(n, piece.end + after)
        assert piece.first == begin
        np.testing.assert_array_equal(piece.sound, sound[begin:end])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (excerpts, waveforms):
        monkeypatch.setattr(module, "BLOCK_SECONDS", 0.7)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_a_clip_in_blocks_is_the_clip_at_once(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, _noise(44_100 * 6, 2), 44_100)
    clips = [
        Clip(path, 0.3, 5.1, "a", fade=1.1, rms=0.2),
        Clip(path, 0.0, 6.05, "a"),
        Clip(path, 1.0, 2.0, "a", fade=9.0),
    ]
    clips.append(Clip(path, 2.0, 6.0, "a", fade=0.5, rms=0.1, file_end=6.0))
    whole = [render_clip(clip, 22_050) for clip in clips]
    for module in (excerpts, waveforms):
        monkeypatch.setattr(module, "BLOCK_SECONDS", 0.7)
    for clip, expected in zip(clips, whole):
        np.testing.assert_allclose(render_clip(clip, 22_050), expected, atol=1e-6)
        heard = HeardClip(clip, 22_050)
        assert heard.n_samples == len(expected)
        parts = [p.sound[p.start - p.first :][: p.end - p.start] for p in heard.pieces(10_000, 3000, 2000)]
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)
    np.testing.assert_array_equal(whole[3][4 * 22_050 :], 0.0)  # after its file
    assert np.sqrt(np.mean(whole[3][: 4 * 22_050].astype(float) ** 2)) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.usefixtures("small_blocks")
def test_what_is_wrong_late_in_a_long_sound_is_told(tmp_path: Path) -> None:
    sound = _noise(8000 * 5)[:, 0]
    sound[8000 * 3] = np.inf
    soundfile.write(tmp_path / "a.wav", sound, 8000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"not numbers \(the first at 3.00 s\)"):
        load_waveform(tmp_path / "a.wav")
    assert len(load_waveform(tmp_path / "a.wav", 0.0, 2.9)) == round(2.9 * 22_050)
    with pytest.raises(DataError, match="lies outside the file"):
        list(excerpt_blocks(tmp_path / "a.wav", 2.0, 4.0))


def test_parts_of_a_fade_are_those_of_the_whole() -> None:
    for n, n_fade in ((1000, 100), (1000, 0), (999, 700), (7, 3)):
        whole = sine_fade(n, n_fade)
        for first in range(0, n, 93):
            count = min(93, n - first)
            np.testing.assert_array_equal(sine_fade(n, n_fade, first, count), whole[first : first + count])


def test_many_channels_are_averaged(tmp_path: Path) -> None:
    sound = _noise(9000, 6)
    soundfile.write(tmp_path / "a.wav", sound, 22_050, subtype="FLOAT")
    np.testing.assert_allclose(load_waveform(tmp_path / "a.wav"), sound.mean(axis=1), atol=1e-7)


def test_silence_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "a.wav", np.r_[np.zeros(22_050), _noise(22_050)[:, 0]], 22_050)
    with caplog.at_level(logging.WARNING):
        render_clip(Clip(tmp_path / "a.wav", 0.5, 1.0, "a"))
        assert not caplog.text
        render_clip(Clip(tmp_path / "a.wav", 0.0, 0.9, "a"))
    assert "a.wav: silent from 0.00 s for 0.90 s" in caplog.text


def test_an_mp3_is_the_same_from_any_place_on(tmp_path: Path) -> None:
    # after quiet parts bits of a loud frame lie many frames before it: a decoder that begins there lacks them
    rate, rng = 44_100, np.random.default_rng(0)
    sound = np.zeros((rate * 40, 2))
    for second in range(1, 40):
        sound[second * rate : second * rate + 200] = rng.normal(0, 0.3, (200, 2))
    path = tmp_path / "clicks.mp3"
    soundfile.write(path, sound, rate)
    whole = load_waveform(path, sampling_rate=rate)
    for second in range(1, 40):
        excerpt = load_waveform(path, second, 0.5, rate)
        np.testing.assert_allclose(excerpt, whole[second * rate :][: len(excerpt)], atol=1e-5, err_msg=str(second))
