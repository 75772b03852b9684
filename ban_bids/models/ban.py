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

from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ban_bids.constants import AREAS
from ban_bids.errors import UsageError
from ban_bids.models.config import MAX_PARAMETERS, AreaConfig, BANConfig, FrontEndConfig
from ban_bids.models.network import AuditoryNetwork

_PROBE = 64
"""Log-mel frames on which receptive fields are measured first."""


class CausalConv2d(nn.Module):
    """2-D convolution over (frequency, time), centred in frequency, blind to later frames in time."""

    def __init__(self, n_in: int, n_out: int, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            n_in, n_out, kernel, stride, padding=(kernel[0] // 2, 0), bias=False, padding_mode="zeros"
        )
        # output j may see inputs up to (j + 1)·stride − 1: they all lie in the time it covers
        self.left = kernel[1] - stride[1]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n_in, frequency, frames) -> (batch, n_out, frequency / stride, frames / stride)."""
        return self.conv(F.pad(x, (self.left, 0)))


class Area(nn.Module):
    """One cortical area: :meth:`hear` what lies below whenever that changed, then call it once per step."""

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

    def hear(self, below: Tensor) -> tuple[Tensor, Tensor]:
        """What comes from below: its share of the drive, and the skip path."""
        return self.bottom_up(below), self.skip(self.pool(below))

    def forward(self, heard: tuple[Tensor, Tensor], before: Tensor | None, above: Tensor | None, step: int) -> Tensor:
        """Activation at ``step`` from the area below now, and from itself and the next area a step ago."""
        drive, skip = heard
        if self.lateral is not None and before is not None:
            drive = drive + self.lateral(before)
        if self.feedback is not None and above is not None:
            drive = drive + self._upsampled(self.feedback(above), drive.shape)
        return F.relu(self.norms[step](drive) + skip)

    def _upsampled(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Repeat the next area's frames, each only once it is complete, so that time stays causal."""
        frequency, time = self.above_stride
        x = x.repeat_interleave(frequency, dim=2).repeat_interleave(time, dim=3)
        return F.pad(x, (time - 1, 0))[:, :, : shape[2], : shape[3]]


class BAN(AuditoryNetwork):
    """The brain-like auditory network.

    Parameters
    ----------
    config : BANConfig
        Architecture; see :data:`ban_bids.models.config.PRESETS`.
    n_genres : int
        Width of the read-out.
    seed : int
        Initial weights; the same seed gives the same network.

    Raises
    ------
    UsageError
        With more than :data:`ban_bids.models.config.MAX_PARAMETERS` parameters.

    Examples
    --------
    >>> network = BAN(n_genres=10, seed=0)
    >>> network.frame_rates["T2T3"]
    12.5
    """

    architecture = "ban"
    config: BANConfig

    def __init__(self, config: BANConfig | None = None, n_genres: int = 10, seed: int = 0) -> None:
        config = BANConfig() if config is None else config
        super().__init__(config, n_genres, seed)
        n_parameters = sum(parameter.numel() for parameter in self.parameters())
        if n_parameters > MAX_PARAMETERS:
            raise UsageError(
                f"network {config.name}: {n_parameters:,} parameters are over {MAX_PARAMETERS:,}; "
                "take fewer channels or smaller kernels"
            )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster, also on a CPU

    @property
    def receptive_fields(self) -> dict[str, tuple[ReceptiveField, ...]]:
        """How much sound a frame of every area depends on, after each of its steps."""
        return receptive_fields(self.config)

    def make_areas(self) -> tuple[list[nn.Module], int]:
        """A1, Belt, PB, T2T3."""
        config = self.config
        below = [1, *(area.channels for area in config.areas)]
        above = [*config.areas[1:], None] if config.feedback else [None] * len(config.areas)
        return [
            Area(n_below, area, steps, config.recurrence, area_above)
            for n_below, area, steps, area_above in zip(below, config.areas, config.steps, above)
        ], below[-1]

    def from_frames(self, frames: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits and every area's activation at every step from standardised log-mel frames.

        Parameters
        ----------
        frames : Tensor, (batch, 1, mels, frames)
            Output of the front end.
        """
        history: dict[str, list[Tensor]] = {label: [] for label in AREAS}
        heard: dict[str, tuple[Tensor, Tensor]] = {}
        for step in range(max(self.config.steps)):
            # what every area was one step ago; the last state of an area that has made all its steps
            before = {label: states[-1] if states else None for label, states in history.items()}
            below, changed = frames, step == 0
            for label, above, steps in zip(AREAS, (*AREAS[1:], None), self.config.steps):
                if step < steps:
                    area = cast(Area, self.areas[label])
                    if changed:  # the sound, and an area that has made all its steps, say nothing new
                        heard[label] = area.hear(below)
                    states = before[label], None if above is None else before[above]
                    history[label].append(area(heard[label], *states, step))
                below, changed = history[label][-1], step < steps
        return self.read_out(history[AREAS[-1]][-1]), history


@dataclass(frozen=True)
class ReceptiveField:
    """What one frame of an area depends on.

    Parameters
    ----------
    frames : int
        Log-mel frames, counted back from the last one that the frame covers.
    samples : int
        Samples of the waveform: those frames and the window of the first.
    seconds : float
        The same, seconds.
    mel_bands : int
        Mel bands.
    """

    frames: int
    samples: int
    seconds: float
    mel_bands: int


def receptive_fields(config: BANConfig) -> dict[str, tuple[ReceptiveField, ...]]:
    """Receptive field of every area after each of its steps, as far as gradients reach.

    Time: the frame itself is the latest sound heard (the network is causal), so the field reaches back from
    its end. With feedback, frames of one area reach back a little more or less, and with it or a stride the
    positions of one area differ in frequency (those at the edges see fewer bands): the largest counts.

    Parameters
    ----------
    config : BANConfig

    Returns
    -------
    dict of tuple of ReceptiveField
        Area -> its field after each step.
    """
    # nothing cancels and no unit is silent: whatever is connected has a gradient; channels move no border
    areas = tuple(replace(area, channels=1) for area in config.areas)
    network = BAN(replace(config, areas=areas), n_genres=2).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    extents, n_frames = _extents(network, _PROBE), _PROBE
    while any(frames > n_frames - config.time_stride for steps in extents.values() for frames, _ in steps):
        n_frames *= 2  # the beginning of the sound cuts a field off
        extents = _extents(network, n_frames)
    return {label: tuple(_field(config.front_end, *extent) for extent in steps) for label, steps in extents.items()}


def _extents(network: BAN, n_frames: int) -> dict[str, list[tuple[int, int]]]:
    """Log-mel frames and bands that the last frames of every area hear after each step, the longest of all phases."""
    n_mels = network.config.front_end.n_mels
    sound = torch.ones(n_mels, 1, n_mels, n_frames, dtype=torch.float64, requires_grad=True)
    extents: dict[str, list[tuple[int, int]]] = {}
    for label, states in network.from_frames(sound)[1].items():
        for state in states:
            n_bins, length = state.shape[2:]
            stride = n_frames // length
            spans = []
            for last in range(length - network.config.time_stride // stride, length):
                at_last = state[range(n_bins), :, range(n_bins), last].sum()  # sound j shows what position j hears
                (gradient,) = torch.autograd.grad(at_last, sound, retain_graph=True)
                heard = gradient[:n_bins, 0] != 0
                first = int(heard.any(dim=(0, 1)).nonzero().min())
                spans.append(((last + 1) * stride - first, int(heard.any(dim=2).sum(dim=1).max())))
            longest, widest = map(max, zip(*spans))
            extents.setdefault(label, []).append((longest, widest))
    return extents


def _field(front_end: FrontEndConfig, frames: int, mel_bands: int) -> ReceptiveField:
    samples = (frames - 1) * front_end.hop + front_end.n_fft
    return ReceptiveField(frames, samples, samples / front_end.sampling_rate, mel_bands)
