"""Configurations of networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from math import prod
from operator import truediv
from typing import Any, ClassVar, Self

from ban_bids.constants import AREAS, SAMPLING_RATE
from ban_bids.errors import CheckpointError, UsageError

MAX_PARAMETERS = 5_000_000
"""Weights that a BAN may have at most."""

POOLINGS = ("rms", "max")

SLOWEST = 10.0
"""Frames per second that T2/T3 must have at least: slower features cannot be laid on a fine time line."""


def with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that came back from JSON, with tuples where there are lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _require(about: str, *rules: tuple[bool, str]) -> None:
    """Refuse what breaks a rule; beside each stands what is wrong then."""
    for is_met, otherwise in rules:
        if not is_met:
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
        highest = self.sampling_rate / 2
        in_order = 0 <= self.f_min < self.f_max <= highest
        _require(
            "front end",
            (least >= 1, "sampling rate, hop and mel bands must be 1 or more"),
            (self.n_fft >= self.hop, f"a window of {self.n_fft} leaves gaps at hop {self.hop}"),
            (in_order, f"{self.f_min}-{self.f_max} Hz must lie between 0 and {highest} Hz"),
            (self.floor > 0, f"a floor of {self.floor} leaves silence without a logarithm"),
        )

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
        _require(about, (min(self.channels, self.steps) >= 1, "channels and steps must be 1 or more"))
        for kernel, stride in ((self.kernel, self.stride), (self.lateral_kernel, (1, 1))):
            _require(about, (len(kernel) == len(stride) == 2, "kernels and strides are (frequency, time)"))
            gaps = any(size < step for size, step in zip(kernel, stride))
            _require(
                about,
                (min(stride) >= 1, f"a stride of {stride} stands still; take 1 or more"),
                (not gaps, f"a kernel of {kernel} leaves gaps at a stride of {stride}; make it as long or longer"),
                (kernel[0] % 2 == 1, f"a frequency kernel of {kernel[0]} has no centre; make it odd"),
            )


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
    pooling : str
        What the read-out hears of each channel beside its mean: ``rms`` or ``max``, see
        :meth:`AuditoryNetwork.pooled <ban_bids.models.network.AuditoryNetwork.pooled>`.

    Raises
    ------
    UsageError
        For values that no network can have.
    """

    name: str
    front_end: FrontEndConfig = FrontEndConfig()
    dropout: float = 0.4
    pooling: str = "rms"

    def __post_init__(self) -> None:
        fit = self.name.isascii() and self.name.isalnum() and self.name == self.name.lower()
        _require(f"network {self.name!r}", (fit, "names enter file names; use lower-case letters and digits"))
        _require(f"network {self.name}", (self.pooling in POOLINGS, f"a pooling of {self.pooling!r}; take rms or max"))
        _require(f"network {self.name}", (0 <= self.dropout < 1, f"a dropout of {self.dropout} is not in [0, 1)"))

    strides: ClassVar[tuple[int, ...]]
    """What :attr:`time_strides` are where no setting decides them."""

    @property
    def time_strides(self) -> tuple[int, ...]:
        """Frames of what lies below per frame of each area, from the log-mel frames up."""
        return self.strides

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
            fields = {"pooling": "max", **with_tuples(values)}  # before it was a setting
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
        _require(about, (len(self.areas) == len(AREAS), f"{len(self.areas)} areas; BAN has {', '.join(AREAS)}"))
        bins = self.front_end.n_mels
        for label, area in zip(AREAS, self.areas):
            fault = f"{label} has a stride of {area.stride[0]}, which does not divide {bins} frequencies"
            _require(about, (bins % area.stride[0] == 0, fault))
            bins //= area.stride[0]
        rate = self.frame_rates[AREAS[-1]]
        _require(about, (rate >= SLOWEST, f"{AREAS[-1]} has {rate:.3g} frames per second; {SLOWEST:g} are the least"))

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
