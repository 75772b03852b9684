"""The front end that every network carries: sound as it comes to standardised log-mel frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from ban_bids.audio.resampling import resampled
from ban_bids.errors import DataError
from ban_bids.models.config import FrontEndConfig

_FULL_SCALE = {torch.int16: 2.0**15, torch.int32: 2.0**31}


def power_spectrum(sound: Tensor, hop: int, window: Tensor) -> Tensor:
    """Power of (..., samples) in windows that are not centred: (..., bins, windows)."""
    spectrum = torch.stft(sound, len(window), hop, window=window, center=False, return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


class FrontEnd(nn.Module):
    """Sound to standardised log-mel frames; the statistics are part of the weights.

    Parameters
    ----------
    config : FrontEndConfig
    time_stride : int
        Log-mel frames per frame of the network's slowest area: there is always a whole number of these.
    """

    window: Tensor
    filters: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: FrontEndConfig, time_stride: int) -> None:
        super().__init__()
        self.config = config
        self.block = config.hop * time_stride
        filters = melscale_fbanks(
            config.n_fft // 2 + 1, config.f_min, config.f_max, config.n_mels, config.sampling_rate
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        # usual values of music at an RMS of about 0.1; training replaces them by its own
        self.register_buffer("mean", torch.full((config.n_mels, 1), -1.0))
        self.register_buffer("scale", torch.full((config.n_mels, 1), 3.0))

    def mono(self, sound: Tensor, sampling_rate: int | None = None) -> Tensor:
        """One channel at the network's own rate, as :func:`ban_bids.audio.waveforms.load_waveform` makes it.

        Channels are averaged first, then resampled. Samples beyond ±1 are kept as they are. Integers are
        PCM and are divided by their full scale.

        Parameters
        ----------
        sound : Tensor, (batch, samples) or (batch, channels, samples)
            Floating point, or PCM as int16, int32 or uint8.
        sampling_rate : int, optional
            Hz; the network's own when None.

        Returns
        -------
        Tensor of float32, (batch, samples · own rate / sampling_rate)

        Raises
        ------
        DataError
            For another shape or type, no samples, or samples that are not numbers. A compiled or exported
            network cannot look at its numbers: there NaN goes in and NaN comes out, from the frames that
            hear it on.
        """
        if sound.ndim not in (2, 3) or 0 in sound.shape:
            raise DataError(f"sound of shape {tuple(sound.shape)}: give (batch, samples) or (batch, channels, samples)")
        sound = self._as_float(sound)
        if not torch.compiler.is_compiling() and not torch.isfinite(sound).all():
            raise DataError("the sound holds samples that are not numbers; decode the original again")
        if sound.ndim == 3:
            sound = sound.mean(dim=1)
        target = self.config.sampling_rate
        return resampled(sound, target if sampling_rate is None else sampling_rate, target)

    def _as_float(self, sound: Tensor) -> Tensor:
        if sound.dtype.is_floating_point:
            return sound.to(self.window.dtype)
        if sound.dtype == torch.uint8:  # 8-bit PCM has its zero at 128
            return (sound.to(self.window.dtype) - 128.0) / 128.0
        if sound.dtype in _FULL_SCALE:
            return sound.to(self.window.dtype) / _FULL_SCALE[sound.dtype]
        raise DataError(f"sound of type {sound.dtype}: give floating point, or PCM as int16, int32 or uint8")

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log mel power, (batch, samples) -> (batch, mels, frames); frame k ends at sample (k + 1)·hop."""
        short = -waveform.shape[-1] % self.block  # whole frames for every area
        padded = F.pad(waveform, (self.config.n_fft - self.config.hop, short))
        power = power_spectrum(padded, self.config.hop, self.window)
        return torch.log(torch.matmul(self.filters.T, power) + self.config.floor)

    def standardise(self, log_mel: Tensor) -> Tensor:
        """(batch, mels, frames) -> (batch, 1, mels, frames), mean 0 and variance 1 on training music."""
        return ((log_mel - self.mean) / self.scale).unsqueeze(1)

    def forward(self, sound: Tensor, sampling_rate: int | None = None) -> Tensor:
        """(batch, samples) or (batch, channels, samples) -> (batch, 1, mels, frames), always in float32."""
        # spectra of music span more than bfloat16's three digits
        with torch.autocast(sound.device.type, enabled=False):
            return self.standardise(self.log_mel(self.mono(sound, sampling_rate)))
