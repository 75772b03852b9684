"""How much sound a frame of an area depends on, computed from the configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING

from ban_bids.settings import AREAS

if TYPE_CHECKING:
    from ban_bids.models.config import AreaConfig, BANConfig

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
        The same in seconds.
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
        self.areas = config.areas
        self.steps = config.steps
        self.recurrence = config.recurrence
        self.feedback = config.feedback
        n_below, bins = config.front_end.n_mels, []
        for area in self.areas:
            n_below //= area.stride[0]
            bins.append(n_below)
        self.bins = (*bins, config.front_end.n_mels)  # the last one stands at index −1
        self.earliest = cache(self._earliest)
        self.bands = cache(self._bands)

    def hears_itself(self, area: int, step: int) -> bool:
        return area >= 0 and self.recurrence and step > 0

    def hears_above(self, area: int, step: int) -> bool:
        return self.feedback and step > 0 and area + 1 < len(self.areas)

    def last(self, area: int, step: int) -> int:
        """The step that is heard: an area that has made all its steps keeps its last state."""
        return min(step, self.steps[area] - 1) if area >= 0 else 0

    def _earliest(self, area: int, step: int, k: int) -> int:
        """First log-mel frame that frame ``k`` depends on."""
        if area < 0:
            return k
        own: AreaConfig = self.areas[area]
        # output k ends with input (k + 1)·stride − 1; the skip path sees the last `stride` of these only
        first = (k + 1) * own.stride[1] - max(own.kernel[1], own.stride[1])
        found = [self.earliest(area - 1, self.last(area - 1, step), first)]
        if self.hears_itself(area, step):
            found.append(self.earliest(area, step - 1, k - own.lateral_kernel[1] + 1))
        if self.hears_above(area, step):
            stride = self.areas[area + 1].stride[1]
            found.append(self.earliest(area + 1, self.last(area + 1, step - 1), (k - stride + 1) // stride))
        return min(found)

    def _bands(self, area: int, step: int, j: int) -> tuple[int, int]:
        """Lowest and highest mel band that frequency position ``j`` depends on."""
        if area < 0:
            return j, j
        own = self.areas[area]
        reach = own.kernel[0] // 2
        low, high = j * own.stride[0] - reach, j * own.stride[0] + max(reach, own.stride[0] - 1)
        found = self._span(area - 1, self.last(area - 1, step), low, high)
        if self.hears_itself(area, step):
            reach = own.lateral_kernel[0] // 2
            found += self._span(area, step - 1, j - reach, j + reach)
        if self.hears_above(area, step):
            j_above = j // self.areas[area + 1].stride[0]
            found.append(self.bands(area + 1, self.last(area + 1, step - 1), j_above))
        return min(low for low, _ in found), max(high for _, high in found)

    def _span(self, area: int, step: int, low: int, high: int) -> list[tuple[int, int]]:
        inside = max(low, 0), min(high, self.bins[area] - 1)
        return [self.bands(area, step, j) for j in inside]


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
