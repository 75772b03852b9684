"""Long sounds in pieces, with what a model hears around them: the same features in the memory of a piece.

What a layer's frame depends on is *measured*, not derived: of a network whose input is not a number in one place, the
frames that are no numbers are those that hear that place, whatever the weights. With so much sound before and after it,
a piece gives the frames of the whole clip, except for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ban_bids.audio.excerpts import Piece
from ban_bids.audio.waveforms import HeardClip

LONG_SECONDS = 120.0
"""Clips that are longer are heard in pieces; others whole."""

PIECE_SECONDS = 15.0
"""Length of the pieces, without what is heard around them."""

_LONGEST_PROBE = 1 << 13
"""Frames of a network's input in which what a frame depends on must lie: 164 s for ours."""

_Heard = TypeVar("_Heard")


@dataclass(frozen=True)
class Plan:
    """How a clip is cut.

    Parameters
    ----------
    unit : int
        Samples after which the frames of all layers fall together.
    before, after : int
        Samples of context, whole units.
    sampling_rate : int
        Hz.
    """

    unit: int
    before: int
    after: int
    sampling_rate: int

    @classmethod
    def of(cls, unit: int, before: int, after: int, sampling_rate: int) -> Plan:
        """Context of at least so many samples."""
        return cls(unit, -(-before // unit) * unit, -(-after // unit) * unit, sampling_rate)

    def pieces(self, clip: HeardClip) -> Iterator[Piece]:
        """Parts of a clip of about :data:`PIECE_SECONDS`, with their context; ValueError for another sampling rate."""
        if clip.sampling_rate != self.sampling_rate:
            raise ValueError(f"clips at {clip.sampling_rate} Hz for a model that hears {self.sampling_rate} Hz")
        length = max(1, round(PIECE_SECONDS * self.sampling_rate / self.unit)) * self.unit
        return clip.pieces(length, self.before, self.after)


def is_long(clip: HeardClip) -> bool:
    """Whether a clip is heard in pieces by models that can."""
    return clip.n_samples > LONG_SECONDS * clip.sampling_rate


def in_pieces(model: Any, clip: HeardClip) -> Iterator[dict[str, np.ndarray]] | None:
    """Features of a long clip piece by piece, where the model has ``features_in_pieces``; None otherwise."""
    heard = getattr(model, "features_in_pieces", None)
    return heard(clip) if heard is not None and is_long(clip) else None


def joined(parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Features of a whole clip from those of its pieces."""
    kept: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for layer, frames in part.items():
            kept.setdefault(layer, []).append(frames)
    return {layer: np.concatenate(frames) for layer, frames in kept.items()}


def own_frames(piece: Piece, samples: float) -> slice:
    """Frames of a piece's output, of so many samples each, that are its own and not context.

    Parameters
    ----------
    piece : Piece
        Its beginnings are whole frames.
    samples : float
        Per frame.
    """
    first = round(piece.first / samples)
    end = ceil(piece.end / samples - 1e-6) if piece.is_last else round(piece.end / samples)
    return slice(round(piece.start / samples) - first, end - first)


def side_by_side(
    pool: Executor, n: int, hear: Callable[[Piece], _Heard], pieces: Iterator[Piece]
) -> Iterator[tuple[Piece, _Heard]]:
    """What each piece gives, in order; so many are heard at a time."""
    while several := list(islice(pieces, n)):
        yield from zip(several, pool.map(hear, several))


def time_reach(hear: Callable[[Tensor], Mapping[str, Tensor]], n_bands: int, stride: int) -> tuple[int, int] | None:
    """How far the frames of a network's layers hear.

    Parameters
    ----------
    hear : callable
        (1, 1, n_bands, n_frames) to the layers' activations, time last; each has a whole fraction of the frames.
    n_bands : int
        Of the input.
    stride : int
        Frames of the input per frame of the slowest layer.

    Returns
    -------
    (int, int) or None
        Frames of the input, before the first and after the last one that a layer's frame covers, the most of all
        layers; None where there is no end to them.
    """
    n_frames = 64 * stride
    while n_frames <= _LONGEST_PROBE:
        reach = _reach_within(hear, n_bands, stride, n_frames)
        if reach is not None:
            return reach
        n_frames *= 2
    return None


def _reach_within(
    hear: Callable[[Tensor], Mapping[str, Tensor]], n_bands: int, stride: int, n_frames: int
) -> tuple[int, int] | None:
    """The same, or None where an end of the sound is heard from its middle."""
    before, after = 0, 0
    middle = n_frames // 2 // stride * stride
    for at in range(middle, middle + stride):
        sound = torch.zeros(1, 1, n_bands, n_frames)
        sound[..., at] = torch.nan
        with torch.no_grad():
            layers = hear(sound)
        for activation in layers.values():
            heard = activation.isnan().flatten(0, -2).any(dim=0).nonzero()[:, 0].tolist()
            step = n_frames // activation.shape[-1]
            if not heard:
                continue
            if heard[0] == 0 or heard[-1] == activation.shape[-1] - 1:
                return None
            before = max(before, heard[-1] * step - at)
            after = max(after, at - (heard[0] + 1) * step + 1)
    return before, after
