"""Frames per second of any module's layers: measured, and compared with what clips then give.

How many frames a sound gives is all that can be seen of a module that is not known. Two sounds alone tell the rate to
within a frame: of a layer of 1.3 frames a second, 4 s more give 5 or 6, and a rate that is 10 % wrong puts the last of
15 s of sound 1.5 s from where it was heard. So lengths are sought at which another frame comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import ceil, floor, gcd, inf

SHORT, LONG, LONGEST = 4.0, 8.0, 32.0
"""Seconds of the sounds that are compared; the long one is doubled up to the longest where a layer is slow."""

_PRECISION, _FINE = 2e-3, 5e-4
"""Share by which a rate may be wrong where no whole number of samples is near, and where several are: 0.03 s and 0.01 s
at the end of 15 s."""

_APART = 0.5
"""Units from which a whole number is told from what lies between two: half a sample is a frame of 16 kHz at 22.05."""

_WINDOW = 1.0
"""Seconds by which a longer sound may lose more at its end than a short one: of modules that hear whole windows."""

_UNLIKE, _ALIKE = 1.2, 1.05
"""Times as many frames as the rate says from which it is wrong, if they are alike in sounds of two lengths."""

_ROUNDING = 1.5
_EQUAL = 1e-9


@dataclass
class _Edge:
    """A length at which a layer gives another frame: more than ``low``, at most ``high`` samples."""

    frames: int
    low: int
    high: int

    @property
    def width(self) -> int:
        """Lengths that it may be."""
        return self.high - self.low

    def narrow(self, place: int, frames: int) -> None:
        """Take into account how many frames a sound of this length gives."""
        if frames < self.frames:
            self.low = max(self.low, place)
        else:
            self.high = min(self.high, place)


def measured_rates(count: Callable[[int], Mapping[str, int]], sampling_rate: int) -> dict[str, float]:
    """Frames per second of every layer.

    Parameters
    ----------
    count : callable
        Samples to the frames of each layer; more samples give as many or more.
    sampling_rate : int
        Hz.

    Returns
    -------
    dict of str to float
        Exact where a frame is a whole number of the fastest layer's frames, and one of these up to a thousand samples;
        else to two thousandths (the fastest's between whole samples: to a sample in 3 s). 0 where frames do not grow
        with the sound, or too seldom.
    """
    counted = cache(count)
    start, stop, longest = (round(seconds * sampling_rate) for seconds in (SHORT, LONG, LONGEST))
    layers = list(counted(start))
    periods: dict[str, float] = {}
    while len(periods) < len(layers) and stop <= longest:
        more = {layer: counted(stop)[layer] - counted(start)[layer] for layer in layers if layer not in periods}
        for layer in sorted(more, key=lambda layer: more[layer], reverse=True):
            unit = next(iter(periods.values()), 1.0)
            period = _period(partial(_of_layer, counted, layer), start, stop, unit) if more[layer] > 1 else inf
            if period < inf:
                periods[layer] = period
        stop *= 2
    return {layer: sampling_rate / periods.get(layer, inf) for layer in layers}


def _of_layer(counted: Callable[[int], Mapping[str, int]], layer: str, samples: int) -> int:
    return counted(samples)[layer]


def _period(count: Callable[[int], int], start: int, stop: int, unit: float) -> float:
    """Samples per frame: a whole number of units if one alone is near enough; infinite if no two frames are apart."""
    guess = ceil(2 * (stop - start) / (count(stop) - count(start)))
    first, last = _Edge(count(start) + 1, start, stop), _Edge(count(stop), start, stop)
    for edge, place in ((first, start + guess), (last, stop - guess)):
        if start < place < stop:
            edge.narrow(place, count(place))
    while True:
        widest = max(first, last, key=lambda edge: edge.width)
        frames = count(last.high) - count(first.high)
        least, most = last.low + 1 - first.high, last.high - first.low - 1
        if frames > 0 and (widest.width == 1 or most - least <= 2 * _PRECISION * least):
            whole = range(ceil(least / frames / unit - _EQUAL), floor(most / frames / unit + _EQUAL) + 1)
            fine = widest.width == 1 or most - least <= 2 * _FINE * least
            if len(whole) == 1 and (fine or most - least <= _APART * unit * frames):
                return whole[0] * unit
            if widest.width == 1 or (fine and len(whole) > 1) or (not whole and unit > 1):
                return (least + most) / 2 / frames
        elif widest.width == 1:
            return inf
        place = (widest.low + widest.high) // 2
        widest.narrow(place, count(place))


def fault_of(rate: float, axis: int, now: tuple[float, Sequence[int]], before: tuple[float, Sequence[int]]) -> str:
    """What is wrong with a layer's frame rate or axis of time by two sounds of other lengths; empty if nothing is.

    Parameters
    ----------
    rate : float
        Frames per second.
    axis : int
        Of time.
    now, before : (float, sequence of int)
        Seconds of a sound, and the shape of what the layer gave for it.

    Returns
    -------
    str
    """
    (short, narrow), (long, wide) = sorted((now, before), key=lambda heard: heard[0])
    if long - short < 2 * _WINDOW or len(narrow) != len(wide):
        return ""
    few, many = narrow[axis], wide[axis]
    heard = f"{few} frames for {short:.4g} s and {many} for {long:.4g} s, at {rate:.4g} a second"
    if few == many and tuple(narrow) != tuple(wide):
        return f"{heard}: another axis grows with the sound; set time_axis"
    if long - many / rate > max(short - few / rate, 0.0) + _WINDOW + _ROUNDING / rate:
        return f"{heard}: it does not hear the end of a sound, or frame_rate is wrong; pad the sound, or correct it"
    times = [max(0.0, frames - _ROUNDING) / (rate * seconds) for frames, seconds in ((few, short), (many, long))]
    window = gcd(few, many)  # a module that pads sound to whole windows gives more than fit, rightly
    padded = window > 1 and all(
        ceil(rate * seconds / window - _EQUAL) * window == frames for frames, seconds in ((few, short), (many, long))
    )
    if not padded and min(times) > _UNLIKE and max(times) < _ALIKE * min(times):
        return f"{heard}: more than fit; correct frame_rate"
    return ""
