"""The front end that every network carries: waveform to standardised log-mel frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from ban_bids.models.config import FrontEndConfig


class FrontEnd(nn.Module):
    """Mono waveform to standardised log-mel frames; its statistics are part of the weights."""

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

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log mel power, (batch, samples) -> (batch, mels, frames); frame k ends at sample (k + 1)·hop."""
        short = -waveform.shape[-1] % self.block  # whole frames for every area
        padded = F.pad(waveform, (self.config.n_fft - self.config.hop, short))
        spectrum = torch.stft(
            padded,
            self.config.n_fft,
            self.config.hop,
            window=self.window,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log(torch.matmul(self.filters.T, power) + self.config.floor)

    def standardise(self, log_mel: Tensor) -> Tensor:
        """(batch, mels, frames) -> (batch, 1, mels, frames), mean 0 and variance 1 on training music."""
        return ((log_mel - self.mean) / self.scale).unsqueeze(1)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 1, mels, frames)."""
        return self.standardise(self.log_mel(waveform))
