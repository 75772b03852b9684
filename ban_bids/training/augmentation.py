"""What is random about a crop, drawn for a whole epoch at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ban_bids.errors import UsageError


@dataclass(frozen=True)
class Augmentation:
    """How far a crop may stray from what was recorded; zero turns each of them off.

    Everything acts on log-mel frames, so pitch and tempo change independently of each other and no sound is
    made anew: a tone that is shifted keeps the width of its line, and its phases play no role.

    Parameters
    ----------
    stretch : float
        Tempo changes by up to this share, up or down; frames are interpolated linearly. At most 0.5.
    shift : float
        Pitch shift of up to so many mel bands, up or down, interpolated linearly; the outermost band fills
        what is laid bare.
    gain : float
        Level, natural log of power (1.0 is 4.3 dB), up or down.
    eq : float
        Equaliser: a smooth random curve over the bands that runs through ``eq_knots`` equally spaced knots,
        each up to ``eq`` up or down, natural log of power. Two knots make a tilt.
    eq_knots : int
        At least two.
    frequency_masks, time_masks : int
        Masked stripes of bands and of frames (SpecAugment, Park et al. 2019, Interspeech,
        doi:10.21437/Interspeech.2019-2680). They take the mean of the crop, and may overlap.
    frequency_mask, time_mask : int
        Largest width of one stripe, bands and frames; widths are uniform from 0 to it.
    mixup : float
        Parameter α of the Beta(α, α) from which the weight λ of mixup is drawn (Zhang et al. 2018, ICLR,
        arXiv:1710.09412). Every crop has a weight of its own; the partners are a random permutation of the
        batch, so that each crop is also the partner of one. Log power is mixed, and the targets alike.

    Raises
    ------
    UsageError
        For values that make no sense.
    """

    stretch: float = 0.1
    shift: float = 1.5
    gain: float = 1.0
    eq: float = 1.2
    eq_knots: int = 6
    frequency_masks: int = 1
    frequency_mask: int = 8
    time_masks: int = 1
    time_mask: int = 25
    mixup: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.stretch <= 0.5 or self.eq_knots < 2 or any(v < 0 for v in vars(self).values()):
            raise UsageError(f"{self}: stretch lies within 0 and 0.5, eq_knots is 2 or more, nothing is negative")


PLAIN = Augmentation(
    stretch=0, shift=0, gain=0, eq=0, frequency_masks=0, frequency_mask=0, time_masks=0, time_mask=0, mixup=0
)
"""Crops as they were recorded."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of an epoch's ``n`` crops, batch after batch.

    Parameters
    ----------
    track : Tensor of int, (n,)
    start : Tensor of int, (n,)
        First frame within the track.
    pace : Tensor of float, (n,)
        Frames of the track per frame of the crop.
    shift : Tensor of float, (n,)
        Mel bands.
    level : Tensor of float, (n, n_mels)
        Gain and equaliser together, added to log power.
    bands, frames : Tensor of int, (n, n_masks, 2)
        First and one past the last band or frame of every masked stripe.
    partner : Tensor of int, (n,)
        Place in its batch of the crop that is mixed in.
    share : Tensor of float, (n,)
        Weight of the crop itself.
    """

    track: Tensor
    start: Tensor
    pace: Tensor
    shift: Tensor
    level: Tensor
    bands: Tensor
    frames: Tensor
    partner: Tensor
    share: Tensor

    def to(self, device: torch.device) -> Draws:
        """The same numbers on another device."""
        return Draws(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def rows(self, first: int, last: int) -> Draws:
        """The crops from ``first`` to ``last``, that one not included."""
        return Draws(*(getattr(self, field.name)[first:last] for field in fields(self)))


def draw(
    augmentation: Augmentation,
    lengths: np.ndarray,
    shape: tuple[int, int],
    n_batches: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Draws:
    """Draw an epoch's crops.

    Tracks come as permutations of all of them, one after another, so that none gives its second crop before
    each has given its first. Crops without augmentation show the same tracks in the same order.

    Parameters
    ----------
    augmentation : Augmentation
    lengths : ndarray of int, (n_tracks,)
        Frames of every track. One that is too short for a crop is repeated from its beginning.
    shape : (int, int)
        Bands and frames of a crop.
    n_batches, batch_size : int
    rng : numpy.random.Generator

    Returns
    -------
    Draws
        On the CPU.
    """
    n_mels, n_frames = shape
    n = n_batches * batch_size
    passes = -(-n // len(lengths))
    track = np.concatenate([rng.permutation(len(lengths)) for _ in range(passes)])[:n]
    where, pace = rng.random(n), (1.0 + augmentation.stretch * rng.uniform(-1, 1, n)).astype(np.float32)
    shift = augmentation.shift * rng.uniform(-1, 1, n)
    gain = augmentation.gain * rng.uniform(-1, 1, (n, 1))
    knots = augmentation.eq * rng.uniform(-1, 1, (n, augmentation.eq_knots))
    bands = _stripes(rng, n, augmentation.frequency_masks, augmentation.frequency_mask, n_mels)
    frames = _stripes(rng, n, augmentation.time_masks, augmentation.time_mask, n_frames)
    partner = rng.random((n_batches, batch_size)).argsort(axis=1).ravel()
    share = rng.beta(augmentation.mixup, augmentation.mixup, n) if augmentation.mixup else np.ones(n)
    free = lengths[track] - np.ceil(np.float32(n_frames - 1) * pace).astype(np.int64)
    # a repeated track may be entered anywhere
    start = np.floor(where * np.where(free > 0, free, lengths[track])).astype(np.int64)
    return Draws(
        torch.from_numpy(track),
        torch.from_numpy(start),
        torch.from_numpy(pace),
        torch.from_numpy(shift.astype(np.float32)),
        torch.from_numpy((gain + knots @ _through_knots(augmentation.eq_knots, n_mels)).astype(np.float32)),
        torch.from_numpy(bands),
        torch.from_numpy(frames),
        torch.from_numpy(partner),
        torch.from_numpy(share.astype(np.float32)),
    )


def _stripes(rng: np.random.Generator, n: int, count: int, widest: int, size: int) -> np.ndarray:
    """First and one past the last place of ``count`` stripes; one place of ``size`` is always spared."""
    width = rng.integers(min(widest, size - 1) + 1, size=(n, count))
    first = rng.integers(size - width + 1)
    return np.stack([first, first + width], axis=-1)


def _through_knots(n_knots: int, n_mels: int) -> np.ndarray:
    """Weights (n_knots, n_mels) of a curve that goes from knot to knot in half cosines.

    They sum to one at every band, so the curve never leaves the range of its knots, as splines do.
    """
    distance = np.abs(np.linspace(0, n_knots - 1, n_mels)[None] - np.arange(n_knots)[:, None])
    return np.where(distance < 1, 0.5 * (1 + np.cos(np.pi * distance)), 0.0)
