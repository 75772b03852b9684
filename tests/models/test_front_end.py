"""The front end: any rate, channels, type and length; the numbers of the encoding path; odd sounds."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ban_bids.audio.resampling import resampled
from ban_bids.audio.waveforms import load_waveform
from ban_bids.errors import DataError
from ban_bids.models.ban import BAN
from ban_bids.models.checkpoint import load_checkpoint, save_checkpoint
from ban_bids.models.config import FrontEndConfig
from ban_bids.models.front_end import FrontEnd

RATE = 22_050


@pytest.fixture(scope="module")
def front_end() -> FrontEnd:
    return FrontEnd(FrontEndConfig(), time_stride=4)


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _mel_centres(config: FrontEndConfig) -> np.ndarray:
    edges = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (config.f_min, config.f_max)), config.n_mels + 2)
    return 700 * (10 ** (edges[1:-1] / 2595) - 1)


@pytest.mark.parametrize("rate", [8000, RATE, 44_100, 48_000])
def test_a_tone_peaks_in_its_band_at_any_rate(front_end: FrontEnd, rate: int) -> None:
    tone = 0.5 * torch.sin(2 * torch.pi * 1000.0 * torch.arange(rate) / rate)[None]
    mel = front_end.log_mel(front_end.mono(tone, rate))[0]
    nearest = int(np.abs(_mel_centres(front_end.config) - 1000.0).argmin())
    assert abs(int(mel[:, 20].argmax()) - nearest) <= 1
    # a bin-centred sine of amplitude a under a Hann window of n points: power (a·n/4)² at its peak
    assert abs(float(mel[:, 20].max()) - 2 * np.log(0.5 * 1024 / 4)) < 1.0


def test_log_mel_by_hand(front_end: FrontEnd) -> None:
    """One frame with NumPy's FFT and triangles drawn on the HTK scale."""
    config, sound = front_end.config, _noise(1, RATE)
    k = 20
    piece = sound[0, (k + 1) * config.hop - config.n_fft : (k + 1) * config.hop].double().numpy()
    power = np.abs(np.fft.rfft(piece * 0.5 * (1 - np.cos(2 * np.pi * np.arange(1024) / 1024)))) ** 2
    edges = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (config.f_min, config.f_max)), 66)
    edges = 700 * (10 ** (edges / 2595) - 1)
    hertz = np.linspace(0, RATE // 2, 513)
    up = (hertz[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    down = (edges[2:] - hertz[:, None]) / np.diff(edges)[1:]
    expected = np.log(power @ np.maximum(0, np.minimum(up, down)) + config.floor)
    np.testing.assert_allclose(front_end.log_mel(sound)[0, :, k], expected, atol=2e-3)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 32_000, 44_100, 48_000, 22_255])
@pytest.mark.parametrize("channels", [1, 2])
def test_same_numbers_as_the_encoding_path(tmp_path: Path, front_end: FrontEnd, rate: int, channels: int) -> None:
    sound = _noise(channels, round(1.3 * rate)).clamp(-0.99, 0.99)
    path = tmp_path / "sound.wav"
    soundfile.write(path, sound.T.numpy(), rate, subtype="FLOAT")
    expected = load_waveform(path)
    mono = front_end.mono(sound[None], rate)[0]
    np.testing.assert_allclose(mono, expected, rtol=0, atol=1e-7)
    assert len(expected) == ceil(sound.shape[1] * RATE / rate)
    by_file = front_end(torch.from_numpy(expected)[None])
    torch.testing.assert_close(front_end(sound[None], rate), by_file, rtol=0, atol=1e-5)


def test_a_network_takes_sound_as_it_comes(tmp_path: Path) -> None:
    network = BAN(seed=1).eval()
    sound = _noise(1, 2, 3 * 44_100)
    path = tmp_path / "sound.wav"
    soundfile.write(path, sound[0].T.numpy(), 44_100, subtype="FLOAT")
    with torch.no_grad():
        expected = network(torch.from_numpy(load_waveform(path))[None])
        torch.testing.assert_close(network(sound, sampling_rate=44_100), expected, rtol=0, atol=1e-5)
        assert not torch.allclose(network(sound), expected, rtol=0, atol=1e-3)  # the rate matters


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 22_255])
def test_the_direct_sum_is_torchaudios(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = _noise(2, 3001).double()  # in float32 torchaudio rounds the filter's phase
    monkeypatch.setattr("ban_bids.audio.resampling._LARGEST_BANK", 1 << 40)
    expected = resampled(sound, rate, RATE)
    monkeypatch.setattr("ban_bids.audio.resampling._LARGEST_BANK", 0)
    monkeypatch.setattr("ban_bids.audio.resampling._BLOCK", 1000)
    torch.testing.assert_close(resampled(sound, rate, RATE), expected, rtol=0, atol=1e-9)


def test_rates_without_a_common_factor_need_no_huge_filter_bank() -> None:
    rate = 22_051
    time = torch.arange(2 * rate, dtype=torch.float64) / rate
    tone = resampled(torch.sin(2 * torch.pi * 440.0 * time), rate, RATE)
    expected = torch.sin(2 * torch.pi * 440.0 * torch.arange(2 * RATE, dtype=torch.float64) / RATE)
    torch.testing.assert_close(tone[100:-100], expected[100:-100], rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("subtype", "dtype", "shift"),
    [("PCM_U8", torch.uint8, 24), ("PCM_16", torch.int16, 16), ("PCM_32", torch.int32, 0)],
)
def test_integers_are_pcm(tmp_path: Path, front_end: FrontEnd, subtype: str, dtype: torch.dtype, shift: int) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, _noise(2000).clamp(-0.9, 0.9).numpy(), RATE, subtype=subtype)
    stored = soundfile.read(path, dtype="int32")[0] >> shift
    pcm = torch.from_numpy(stored + (128 if dtype == torch.uint8 else 0)).to(dtype)
    torch.testing.assert_close(front_end.mono(pcm[None])[0], torch.from_numpy(load_waveform(path)), rtol=0, atol=0)


@pytest.mark.parametrize("samples", [1, 440, RATE, RATE + 1])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_any_length_is_handled(samples: int, rate: int) -> None:
    with torch.no_grad():
        logits, areas = BAN().eval()(0.1 * torch.ones(2, samples), return_areas=True, sampling_rate=rate)
    assert logits.shape == (2, 10)
    assert torch.isfinite(logits).all()
    assert areas["T2T3"].shape[3] == ceil(ceil(samples * RATE / rate) / 1764)


def test_silence_is_the_floor(front_end: FrontEnd) -> None:
    silence = front_end.log_mel(torch.zeros(1, RATE))
    torch.testing.assert_close(silence, torch.full_like(silence, float(np.log(front_end.config.floor))))
    with torch.no_grad():
        logits, areas = BAN().eval()(torch.zeros(1, 80 * 1764), return_areas=True)
    assert torch.isfinite(logits).all()
    for activation in areas.values():  # and after its beginning it is the same at all times
        late = activation[..., activation.shape[3] // 2 :]
        torch.testing.assert_close(late, late[..., :1].expand_as(late), rtol=0, atol=1e-5)


def test_samples_beyond_one_are_kept(front_end: FrontEnd) -> None:
    loud = _noise(1, 12 * 1764) * 10
    assert float(loud.abs().max()) > 1.0
    quiet, louder = front_end.log_mel(front_end.mono(loud)), front_end.log_mel(front_end.mono(10 * loud))
    torch.testing.assert_close(louder - quiet, torch.full_like(quiet, float(np.log(100.0))), rtol=0, atol=1e-3)
    assert torch.isfinite(front_end(loud.sign() * 32_768.0)).all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_samples_that_are_not_numbers_are_refused(front_end: FrontEnd, wrong: float) -> None:
    sound = _noise(2, RATE)
    sound[1, 17] = wrong
    with pytest.raises(DataError, match="not numbers"):
        front_end(sound)


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (torch.zeros(RATE), None, "shape"),
        (torch.zeros(1, 0), None, "shape"),
        (torch.zeros(1, 2, 3, 4), None, "shape"),
        (torch.zeros(1, RATE, dtype=torch.int64), None, "int64"),
        (torch.zeros(1, RATE, dtype=torch.complex64), None, "complex64"),
        (torch.zeros(1, RATE), -1, "sampling rate"),
        (torch.zeros(1, RATE), 0, "sampling rate"),
        (torch.zeros(1, RATE), 22_050.5, "sampling rate"),
    ],
)
def test_what_is_no_sound_is_refused(front_end: FrontEnd, sound: torch.Tensor, rate: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        front_end(sound, rate)


def test_statistics_travel_in_the_checkpoint_and_filters_do_not(tmp_path: Path) -> None:
    network = BAN(seed=1)
    network.front_end.mean.copy_(torch.arange(64.0)[:, None])
    network.front_end.scale.fill_(2.0)
    stored = {name for name in network.state_dict() if name.startswith("front_end.")}
    assert stored == {"front_end.mean", "front_end.scale"}
    path = save_checkpoint(tmp_path / "bare.safetensors", network, None)
    loaded, _ = load_checkpoint(path)
    torch.testing.assert_close(loaded.front_end.mean, network.front_end.mean, rtol=0, atol=0)
    torch.testing.assert_close(loaded.front_end.scale, network.front_end.scale, rtol=0, atol=0)
    sound = _noise(1, RATE)
    expected = (network.front_end.log_mel(sound) - torch.arange(64.0)[:, None]) / 2.0
    torch.testing.assert_close(loaded.front_end(sound), expected[:, None], rtol=0, atol=0)


def test_autocast_leaves_log_mel_in_float32() -> None:
    network = BAN(seed=1).eval()
    sound = _noise(2, 2, RATE)
    with torch.no_grad():
        expected = network.front_end(sound, 44_100)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            frames = network.front_end(sound, 44_100)
            assert network(sound).dtype == torch.bfloat16  # autocast is on for the rest
    assert frames.dtype == torch.float32
    torch.testing.assert_close(frames, expected, rtol=0, atol=0)
