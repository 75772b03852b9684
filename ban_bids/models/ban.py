"""BAN, the brain-like auditory network: four areas, lateral recurrence, optional feedback.

A reconstruction: the paper (Wang et al. 2025, arXiv 2502.15503) names the areas and the recurrence,
not the numbers; those are in :mod:`ban_bids.models.config`.

At step t every area is updated in order from what lies below it at step t, from itself at step t − 1
(lateral) and, with feedback, from the next area at step t − 1::

    z_i(t) = W_i * h_{i-1}(t) + L_i * h_i(t-1) + F_i * up(h_{i+1}(t-1))
    h_i(t) = relu( norm_{i,t}[z_i(t)] + S_i pool(h_{i-1}(t)) )

W, L, F and the skip path S are shared over the steps; the normalisation is not. Time is causal
throughout: frame k of an area covers the seconds [k, k + 1) / rate and depends on no later sample.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from ban_bids.models.config import AreaConfig, BANConfig, FrontEndConfig
from ban_bids.settings import AREAS


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


class CausalConv2d(nn.Module):
    """2-D convolution over (frequency, time), centred in frequency, blind to later frames in time."""

    def __init__(self, n_in: int, n_out: int, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            n_in, n_out, kernel, stride, padding=(kernel[0] // 2, 0), bias=False, padding_mode="zeros"
        )
        # output j may see inputs up to (j + 1)·stride − 1: they all lie in the time it covers
        self.left = kernel[1] - stride[1]
        if self.left < 0:
            raise ValueError(f"a time kernel of {kernel[1]} leaves gaps at a stride of {stride[1]}")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n_in, frequency, frames) -> (batch, n_out, frequency / stride, frames / stride)."""
        return self.conv(F.pad(x, (self.left, 0)))


class Area(nn.Module):
    """One cortical area; call it once a step."""

    def __init__(
        self, n_below: int, config: AreaConfig, steps: int, recurrence: bool, above: AreaConfig | None
    ) -> None:
        super().__init__()
        n = config.channels
        self.steps = steps
        self.bottom_up = CausalConv2d(n_below, n, config.kernel, config.stride)
        self.lateral = CausalConv2d(n, n, config.lateral_kernel, (1, 1)) if recurrence else None
        self.above_stride = above.stride if above is not None else (1, 1)
        self.feedback = nn.Conv2d(above.channels, n, 1, bias=False) if above is not None else None
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for _ in range(steps))
        self.pool = nn.AvgPool2d(config.stride)
        self.skip = nn.Conv2d(n_below, n, 1, bias=False)

    def forward(self, below: Tensor, own: Tensor | None, above: Tensor | None, step: int) -> Tensor:
        """Activation at ``step`` from the area below now, and from itself and the next area a step ago."""
        drive = self.bottom_up(below)
        if self.lateral is not None and own is not None:
            drive = drive + self.lateral(own)
        if self.feedback is not None and above is not None:
            drive = drive + self._upsampled(self.feedback(above), drive.shape)
        return F.relu(self.norms[step](drive) + self.skip(self.pool(below)))

    def _upsampled(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Repeat the next area's frames, each only once it is complete, so that time stays causal."""
        frequency, time = self.above_stride
        x = x.repeat_interleave(frequency, dim=2).repeat_interleave(time, dim=3)
        return F.pad(x, (time - 1, 0))[:, :, : shape[2], : shape[3]]


class BAN(nn.Module):
    """The brain-like auditory network.

    Parameters
    ----------
    config : BANConfig
        Architecture; see :data:`ban_bids.models.config.PRESETS`.
    n_genres : int
        Width of the read-out.
    seed : int
        Initial weights; the same seed gives the same network.

    Examples
    --------
    >>> network = BAN(n_genres=10, seed=0)
    >>> network.frame_rates["T2T3"]
    12.5
    """

    def __init__(self, config: BANConfig | None = None, n_genres: int = 10, seed: int = 0) -> None:
        super().__init__()
        config = BANConfig() if config is None else config
        if len(config.areas) != len(AREAS):
            raise ValueError(f"BAN has the areas {AREAS}; {len(config.areas)} are configured")
        self.config = config
        self.front_end = FrontEnd(config.front_end, config.time_stride)
        with torch.random.fork_rng(devices=[]):  # torch's own initial draws must not move the caller's
            self.areas = self._make_areas()
            self.dropout = nn.Dropout(config.dropout)
            self.readout = nn.Linear(2 * config.areas[-1].channels, n_genres)
        self.reset_weights(seed)

    def _make_areas(self) -> nn.ModuleDict:
        config, made = self.config, nn.ModuleDict()
        n_below = 1
        for i, (label, area) in enumerate(zip(AREAS, config.areas)):
            above = config.areas[i + 1] if config.feedback and i + 1 < len(AREAS) else None
            made[label] = Area(n_below, area, config.steps[i], config.recurrence, above)
            n_below = area.channels
        return made

    @property
    def frame_rates(self) -> dict[str, float]:
        """Frames a second of every area."""
        return self.config.frame_rates

    def reset_weights(self, seed: int) -> None:
        """Draw all weights anew (He et al. 2015), leaving the front end's statistics as they are."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self, waveform: Tensor, return_areas: bool = False, every_step: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Genre logits, and on request what every area did.

        Parameters
        ----------
        waveform : Tensor, (batch, samples)
            Mono, at the front end's sampling rate.
        return_areas : bool
            Also return the areas' activations at the last step.
        every_step : bool
            Return them at every step instead, with the steps as second dimension.

        Returns
        -------
        logits : Tensor, (batch, n_genres)
        areas : dict of Tensor, (batch, channels, frequency, frames) or (batch, steps, channels, …)
            Only with ``return_areas`` or ``every_step``.
        """
        logits, history = self.from_frames(self.front_end(waveform))
        if every_step:
            return logits, {label: torch.stack(steps, dim=1) for label, steps in history.items()}
        if return_areas:
            return logits, {label: steps[-1] for label, steps in history.items()}
        return logits

    def from_frames(self, frames: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits and every area's activation at every step from standardised log-mel frames.

        Parameters
        ----------
        frames : Tensor, (batch, 1, mels, frames)
            Output of the front end.
        """
        history: dict[str, list[Tensor]] = {label: [] for label in AREAS}
        for step in range(max(self.config.steps)):
            # what every area was one step ago; the last state of an area that has made all its steps
            before = {label: states[-1] if states else None for label, states in history.items()}
            below = frames
            for label, above, steps in zip(AREAS, (*AREAS[1:], None), self.config.steps):
                if step < steps:
                    states = before[label], None if above is None else before[above]
                    history[label].append(self.areas[label](below, *states, step))
                below = history[label][-1]
        top = history[AREAS[-1]][-1]
        pooled = torch.cat([top.mean(dim=(2, 3)), top.amax(dim=(2, 3))], dim=1)
        return self.readout(self.dropout(pooled)), history
