"""Configurations of networks, and the receptive fields that follow from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import accumulate
from math import prod
from operator import mul, truediv
from typing import Any, Self

from ban_bids.constants import AREAS, SAMPLING_RATE
from ban_bids.errors import CheckpointError, UsageError

MAX_PARAMETERS = 5_000_000
"""Weights that a BAN may have at most."""

SLOWEST = 10.0
"""Frames per second that T2/T3 must have at least: slower features cannot be laid on a fine time line."""


def with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that came back from JSON, with tuples where there are lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _require(fulfilled: bool, about: str, otherwise: str) -> None:
    if not fulfilled:
        raise UsageError(f"{about}: {otherwise}")


@dataclass(frozen=True)
class FrontEndConfig:
    """Log-mel settings.

    Parameters
    ----------
    sampling_rate : int
        Of the waveform, Hz.
    n_fft, hop : int
        Window and step, samples. 441 samples make exactly 50 frames per second.
    n_mels : int
        Mel bands (HTK scale) between ``f_min`` and ``f_max``, Hz.
    floor : float
        Added to mel power before the logarithm; it bounds silence.

    Raises
    ------
    UsageError
        For values that make no spectrogram.
    """

    sampling_rate: int = SAMPLING_RATE
    n_fft: int = 1024
    hop: int = 441
    n_mels: int = 64
    f_min: float = 40.0
    f_max: float = 10_000.0
    floor: float = 1e-4

    def __post_init__(self) -> None:
        least = min(self.sampling_rate, self.hop, self.n_mels)
        _require(least >= 1, "front end", "sampling rate, hop and mel bands must be 1 or more")
        _require(self.n_fft >= self.hop, "front end", f"a window of {self.n_fft} leaves gaps at hop {self.hop}")
        _require(
            0 <= self.f_min < self.f_max <= self.sampling_rate / 2,
            "front end",
            f"{self.f_min}-{self.f_max} Hz must lie between 0 and {self.sampling_rate / 2} Hz",
        )
        _require(self.floor > 0, "front end", f"a floor of {self.floor} leaves silence without a logarithm")

    @property
    def frame_rate(self) -> float:
        """Log-mel frames per second."""
        return self.sampling_rate / self.hop


@dataclass(frozen=True)
class AreaConfig:
    """One area: a convolution from below, a convolution onto itself, a number of steps.

    Parameters
    ----------
    channels : int
        Feature maps.
    kernel, stride : (int, int)
        Of the bottom-up convolution, (frequency, time).
    lateral_kernel : (int, int)
        Of the lateral convolution, (frequency, time).
    steps : int
        Updates of the area, the first one feedforward.

    Raises
    ------
    UsageError
        For an area that cannot be built: it would have no channels or steps, no centre, or gaps.
    """

    channels: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (2, 2)
    lateral_kernel: tuple[int, int] = (3, 3)
    steps: int = 3

    def __post_init__(self) -> None:
        about = f"area of {self.channels} channels"
        _require(self.channels >= 1 and self.steps >= 1, about, "channels and steps must be 1 or more")
        for kernel, stride in ((self.kernel, self.stride), (self.lateral_kernel, (1, 1))):
            _require(len(kernel) == len(stride) == 2, about, "kernels and strides are (frequency, time)")
            _require(min(stride) >= 1, about, f"a stride of {stride} stands still; take 1 or more")
            _require(
                kernel[0] >= stride[0] and kernel[1] >= stride[1],
                about,
                f"a kernel of {kernel} leaves gaps at a stride of {stride}; make it as long or longer",
            )
            _require(kernel[0] % 2 == 1, about, f"a frequency kernel of {kernel[0]} has no centre; make it odd")


@dataclass(frozen=True)
class NetworkConfig:
    """What fixes a network, whatever its architecture.

    Parameters
    ----------
    name : str
        Alphanumeric, lower case; enters file names.
    front_end : FrontEndConfig
    dropout : float
        Before the read-out.

    Raises
    ------
    UsageError
        For values that no network can have.
    """

    name: str
    front_end: FrontEndConfig = FrontEndConfig()
    dropout: float = 0.4

    def __post_init__(self) -> None:
        fit = self.name.isascii() and self.name.isalnum() and self.name == self.name.lower()
        _require(fit, f"network {self.name!r}", "names enter file names; use lower-case letters and digits")
        _require(0 <= self.dropout < 1, f"network {self.name}", f"a dropout of {self.dropout} is not in [0, 1)")

    @property
    def time_strides(self) -> tuple[int, ...]:
        """Frames of what lies below per frame of each area, from the log-mel frames up."""
        raise NotImplementedError

    @property
    def time_stride(self) -> int:
        """Log-mel frames per frame of the last area."""
        return prod(self.time_strides)

    @property
    def frame_rates(self) -> dict[str, float]:
        """Frames per second of every area."""
        rates = accumulate(self.time_strides, truediv, initial=self.front_end.frame_rate)
        return dict(zip(AREAS, list(rates)[1:]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # lists, as they come back from a file
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from :meth:`to_dict`'s values, also after a trip through JSON.

        Raises
        ------
        CheckpointError
            When the values do not describe such a network in this version.
        """
        try:
            fields = with_tuples(values)
            fields["front_end"] = FrontEndConfig(**fields["front_end"])
            if "areas" in fields:
                fields["areas"] = tuple(AreaConfig(**with_tuples(area)) for area in fields["areas"])
            return cls(**fields)
        except (KeyError, TypeError, AttributeError, UsageError) as err:
            raise CheckpointError(
                f"the stored configuration is not one of this version ({err}); "
                "train again with ban-bids-train, or use the version that made the file"
            ) from err


@dataclass(frozen=True)
class BANConfig(NetworkConfig):
    """Everything that fixes BAN's architecture.

    Parameters
    ----------
    name, front_end, dropout
        As for every network.
    areas : tuple of AreaConfig
        A1, Belt, PB, T2T3 in order.
    recurrence : bool
        Off: lateral connections are not used and every area makes one step.
    feedback : bool
        Each area also hears the next one, one step late.

    Raises
    ------
    UsageError
        For areas that do not fit together, or a last area of fewer than 10 frames per second.
    """

    name: str = "ban"
    areas: tuple[AreaConfig, ...] = (
        AreaConfig(16, kernel=(5, 5), stride=(2, 1)),
        AreaConfig(32, stride=(2, 2)),
        AreaConfig(64, stride=(2, 1)),
        AreaConfig(128, stride=(2, 2)),
    )
    recurrence: bool = True
    feedback: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        about = f"network {self.name}"
        _require(len(self.areas) == len(AREAS), about, f"{len(self.areas)} areas; BAN has {', '.join(AREAS)}")
        bins = self.front_end.n_mels
        for label, area in zip(AREAS, self.areas):
            stride = area.stride[0]
            _require(
                bins % stride == 0,
                about,
                f"{label} has a stride of {stride}, which does not divide {bins} frequencies",
            )
            bins //= stride
        rate = self.frame_rates[AREAS[-1]]
        _require(rate >= SLOWEST, about, f"{AREAS[-1]} has {rate:.3g} frames per second; {SLOWEST:g} are the least")

    @property
    def steps(self) -> tuple[int, ...]:
        """Updates of each area as they are run."""
        if not (self.recurrence or self.feedback):
            return (1,) * len(self.areas)
        return tuple(area.steps for area in self.areas)

    @property
    def time_strides(self) -> tuple[int, ...]:
        """Frames of what lies below per frame of each area."""
        return tuple(area.stride[1] for area in self.areas)

    @property
    def frequency_bins(self) -> dict[str, int]:
        """Frequency positions of every area."""
        strides = accumulate((area.stride[0] for area in self.areas), mul)
        return {label: self.front_end.n_mels // stride for label, stride in zip(AREAS, strides)}

    @property
    def receptive_fields(self) -> dict[str, tuple[ReceptiveField, ...]]:
        """How much sound a frame of every area depends on, after each of its steps."""
        return receptive_fields(self)


_FAR = 1 << 20  # a frame so late that no reach meets the beginning of the sound


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


class _Wiring:
    """Who hears whom in BAN; indices of areas count from 0, and −1 are the log-mel frames."""

    def __init__(self, config: BANConfig) -> None:
        self.config = config
        self.bins = (*config.frequency_bins.values(), config.front_end.n_mels)  # the last one stands at index −1
        self.earliest = cache(self._earliest)
        self.bands = cache(self._bands)

    def _sources(self, area: int, step: int) -> dict[str, tuple[int, int]]:
        """Area and step of everything that an area hears at a step."""
        sources = {"below": (area - 1, self._last(area - 1, step))}
        if self.config.recurrence and step > 0:
            sources["itself"] = (area, step - 1)
        if self.config.feedback and step > 0 and area + 1 < len(AREAS):
            sources["above"] = (area + 1, self._last(area + 1, step - 1))
        return sources

    def _last(self, area: int, step: int) -> int:
        """The step that is heard: an area that has made all its steps keeps its last state."""
        return min(step, self.config.steps[area] - 1) if area >= 0 else 0

    def _layers(self, area: int) -> tuple[AreaConfig, AreaConfig]:
        """Settings of an area and of the one above it (of itself where there is none)."""
        return self.config.areas[area], self.config.areas[min(area + 1, len(AREAS) - 1)]

    def _earliest(self, area: int, step: int, frame: int) -> int:
        """First log-mel frame that a frame depends on."""
        if area < 0:
            return frame
        layer, above = self._layers(area)
        first = {
            # the convolution ends with frame (frame + 1)·stride − 1; the skip path sees the last `stride` of these only
            "below": (frame + 1) * layer.stride[1] - max(layer.kernel[1], layer.stride[1]),
            "itself": frame - layer.lateral_kernel[1] + 1,
            "above": (frame - above.stride[1] + 1) // above.stride[1],
        }
        return min(self.earliest(*source, first[kind]) for kind, source in self._sources(area, step).items())

    def _bands(self, area: int, step: int, position: int) -> tuple[int, int]:
        """Lowest and highest mel band that a frequency position depends on."""
        if area < 0:
            return position, position
        layer, above = self._layers(area)
        stride, reach, lateral = layer.stride[0], layer.kernel[0] // 2, layer.lateral_kernel[0] // 2
        edges = {
            "below": (position * stride - reach, position * stride + max(reach, stride - 1)),
            "itself": (position - lateral, position + lateral),
            "above": (position // above.stride[0],),
        }
        spans = [
            self.bands(*source, min(max(edge, 0), self.bins[source[0]] - 1))
            for kind, source in self._sources(area, step).items()
            for edge in edges[kind]
        ]
        return min(low for low, _ in spans), max(high for _, high in spans)


def receptive_fields(config: BANConfig) -> dict[str, tuple[ReceptiveField, ...]]:
    """Receptive field of every area after each of its steps.

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
    wiring, front_end = _Wiring(config), config.front_end
    strides = [area.stride[1] for area in config.areas]
    out = {}
    for i, label in enumerate(AREAS):
        total, above = prod(strides[: i + 1]), prod(strides[i + 1 :])
        fields = []
        for step in range(config.steps[i]):
            ends = {k: (k + 1) * total for k in range(_FAR, _FAR + above)}  # one of each phase
            frames = max(end - wiring.earliest(i, step, k) for k, end in ends.items())
            spans = [wiring.bands(i, step, j) for j in range(wiring.bins[i])]
            samples = (frames - 1) * front_end.hop + front_end.n_fft
            bands = max(high - low + 1 for low, high in spans)
            fields.append(ReceptiveField(frames, samples, samples / front_end.sampling_rate, bands))
        out[label] = tuple(fields)
    return out


_BAN = BANConfig()
PRESETS: dict[str, BANConfig] = {
    "ban": _BAN,
    "ban-feedforward": replace(_BAN, name="banfeedforward", recurrence=False),
    "ban-feedback": replace(_BAN, name="banfeedback", feedback=True),
    "ban-small": replace(
        _BAN,
        name="bansmall",
        areas=tuple(replace(area, channels=channels, steps=2) for area, channels in zip(_BAN.areas, (16, 32, 48, 64))),
    ),
}
"""Named architectures: ``ban`` is the reference; the others switch one thing."""
