"""Random, augmented crops of log-mel frames: what the network sees while it is trained.

What is random is drawn for a whole epoch at once (:class:`Draws`); :class:`CropBatches` makes the crops from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ban_bids.errors import UsageError
from ban_bids.training.acoustics import in_noise, in_room


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
    reverberation : float
        Share of crops that are heard in a room, see :func:`ban_bids.training.acoustics.in_room`.
    decay : (float, float)
        Fewest and most frames in which the room's tail falls by 60 dB.
    noise : float
        Share of crops that are heard in stationary noise, see :func:`ban_bids.training.acoustics.in_noise`.
    snr : (float, float)
        Lowest and highest ratio of a crop's power to its noise's, dB.
    tilt : (float, float)
        Least and most log power by which the highest band's noise exceeds the lowest's.
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
    reverberation: float = 0.0
    decay: tuple[float, float] = (10.0, 50.0)
    noise: float = 0.0
    snr: tuple[float, float] = (0.0, 20.0)
    tilt: tuple[float, float] = (-6.0, 2.0)
    mixup: float = 0.2

    def __post_init__(self) -> None:
        numbers = [value for value in vars(self).values() if not isinstance(value, tuple)]
        if not 0 <= self.stretch <= 0.5 or self.eq_knots < 2 or any(number < 0 for number in numbers):
            raise UsageError(f"{self}: stretch lies within 0 and 0.5, eq_knots is 2 or more, nothing is negative")
        if max(self.noise, self.reverberation) > 1 or self.decay[0] <= 0:
            raise UsageError(f"{self}: noise and reverberation are shares of crops, a decay takes more than no frames")


PLAIN = Augmentation(
    stretch=0, shift=0, gain=0, eq=0, frequency_masks=0, frequency_mask=0, time_masks=0, time_mask=0, mixup=0
)
"""Crops as they were recorded."""


class Draws(NamedTuple):
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
    decay : Tensor of float, (n,)
        Of the room's tail, frames; 0 for no room.
    snr : Tensor of float, (n,)
        dB; infinite for no noise.
    tilt : Tensor of float, (n,)
        Of the noise's spectrum, natural log of power.
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
    decay: Tensor
    snr: Tensor
    tilt: Tensor

    def to(self, device: torch.device) -> Draws:
        """The same numbers on another device."""
        return Draws(*(numbers.to(device, non_blocking=True) for numbers in self))

    def rows(self, first: int, last: int) -> Draws:
        """The crops from ``first`` to ``last``, that one not included."""
        return Draws(*(numbers[first:last] for numbers in self))


class CropBatches(Dataset[tuple[Tensor, ...]]):
    """Batches of crops by the number of the epoch and of the batch: ``batches[epoch, k]``.

    A batch is a function of the seed, the epoch and its number alone: no earlier batch need be made, and a
    training that goes on after an interruption sees what an uninterrupted one sees. The random numbers are
    drawn on the CPU whatever the device, so all devices show the same crops. The tracks lie on the device
    (64 bands, 50 frames per second: 6.4 kB per second of audio), and so does all work on a batch.

    Parameters
    ----------
    frames : sequence of ndarray, (n_mels, n_frames)
        Log-mel frames of whole tracks. One that is too short for a crop is repeated from its beginning.
    targets : ndarray of float32, (n_tracks, n_classes)
        What the read-outs are to answer, the classes of several tasks side by side; handed on, and mixed by mixup.
    n_frames : int
        Length of a crop.
    batch_size : int
        Crops per batch, at most an epoch's. Crops that do not fill a batch are left out of the epoch.
    augmentation : Augmentation
    seed : int
        Not negative.
    crops_per_track : int
        Crops of every track in an epoch; with several pools, of every track of the first.
    pools : sequence of sequence of int, optional
        Places of the tracks that are heard alike often, such as those of each folder: crops come from the pools in
        turn. The tracks of the others go round from epoch to epoch, so that all are heard equally often. By default
        all tracks are one pool.
    with_sounds : bool
        Batches also hold the crops as they were before a room, noise and masks.
    device : torch.device or str
    """

    def __init__(
        self,
        frames: Sequence[np.ndarray],
        targets: np.ndarray,
        *,
        n_frames: int,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        crops_per_track: int = 1,
        pools: Sequence[Sequence[int] | np.ndarray] | None = None,
        with_sounds: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self._pools = [np.asarray(pool) for pool in ([range(len(frames))] if pools is None else pools)]
        n_crops = crops_per_track * len(self._pools[0]) * len(self._pools)
        self.batch_size = min(batch_size, n_crops)
        self.n_batches = n_crops // self.batch_size
        self.n_mels, self.n_frames = len(frames[0]), n_frames
        self.augmentation, self.with_sounds = augmentation, with_sounds
        self.seed = seed
        self.device = torch.device(device)
        self._lengths = np.array([f.shape[1] for f in frames])
        # a frame's bands lie together, so that fetching frames copies whole lines of memory
        bank = np.concatenate([f.T for f in frames]).astype(np.float16, copy=False)
        self._bank = torch.from_numpy(bank).to(self.device)
        ends = np.cumsum(self._lengths)
        self._offset = torch.from_numpy(ends - self._lengths).to(self.device)
        self._length = torch.from_numpy(self._lengths).to(self.device)
        self._target = torch.from_numpy(np.asarray(targets, np.float32)).to(self.device)
        self._drawn: tuple[int, Draws] | None = None

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.n_batches

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, ...]:
        """Batch ``k`` of an epoch.

        Parameters
        ----------
        index : (int, int)
            Epoch, and number of the batch within it.

        Returns
        -------
        crops : Tensor of float32, (batch, n_mels, n_frames)
        targets : Tensor of float32, (batch, n_classes)
        sounds : Tensor of float32, (batch, n_mels, n_frames)
            Only with ``with_sounds``.

        Raises
        ------
        IndexError
            When the epoch has no such batch.
        """
        epoch, k = index
        if not 0 <= k < self.n_batches:
            raise IndexError(f"batch {k} of an epoch of {self.n_batches}")
        draws = self.draws(epoch).rows(k * self.batch_size, (k + 1) * self.batch_size)
        crops, targets = self._cut(draws), self._target[draws.track]
        if self.augmentation.shift:
            crops = _shifted(crops, draws.shift)
        if self.augmentation.gain or self.augmentation.eq:
            crops += draws.level[:, :, None]
        batch = (self._heard(crops, draws, key=(epoch, k)), targets, *([crops] if self.with_sounds else []))
        if not self.augmentation.mixup:
            return batch
        return tuple(
            torch.lerp(part[draws.partner], part, draws.share.view(-1, *[1] * (part.ndim - 1))) for part in batch
        )

    def _heard(self, crops: Tensor, draws: Draws, key: tuple[int, int]) -> Tensor:
        """Crops as they are heard in a room and in noise, and in part."""
        if self.augmentation.reverberation:
            crops = in_room(crops, draws.decay)
        if self.augmentation.noise:
            seed = int(np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0])
            crops = in_noise(crops, draws.snr, draws.tilt, torch.Generator().manual_seed(seed))
        if draws.bands.shape[1] or draws.frames.shape[1]:
            crops = _masked(crops, draws.bands, draws.frames)
        return crops

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of an epoch."""
        return (self[epoch, k] for k in range(len(self)))

    def draws(self, epoch: int) -> Draws:
        """The random numbers of an epoch's crops; those of the last epoch asked for are kept."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(self._generator(epoch), epoch).to(self.device)
        return self._drawn[1]

    def _draw(self, rng: np.random.Generator, epoch: int) -> Draws:
        """Draw an epoch's crops, on the CPU; crops without augmentation show the same tracks in the same order."""
        augmentation, lengths, n = self.augmentation, self._lengths, self.n_batches * self.batch_size
        track = self._tracks(rng, epoch, n)
        where, pace = rng.random(n), (1.0 + augmentation.stretch * rng.uniform(-1, 1, n)).astype(np.float32)
        shift = augmentation.shift * rng.uniform(-1, 1, n)
        gain = augmentation.gain * rng.uniform(-1, 1, (n, 1))
        knots = augmentation.eq * rng.uniform(-1, 1, (n, augmentation.eq_knots))
        bands = _stripes(rng, n, augmentation.frequency_masks, augmentation.frequency_mask, self.n_mels)
        frames = _stripes(rng, n, augmentation.time_masks, augmentation.time_mask, self.n_frames)
        partner = rng.random((self.n_batches, self.batch_size)).argsort(axis=1).ravel()
        share = rng.beta(augmentation.mixup, augmentation.mixup, n) if augmentation.mixup else np.ones(n)
        free = lengths[track] - np.ceil(np.float32(self.n_frames - 1) * pace).astype(np.int64)
        # a repeated track may be entered anywhere
        start = np.floor(where * np.where(free > 0, free, lengths[track])).astype(np.int64)
        level = gain + knots @ _through_knots(augmentation.eq_knots, self.n_mels)
        decay = np.where(rng.random(n) < augmentation.reverberation, rng.uniform(*augmentation.decay, n), 0.0)
        snr = np.where(rng.random(n) < augmentation.noise, rng.uniform(*augmentation.snr, n), np.inf)
        tilt = rng.uniform(*augmentation.tilt, n)
        drawn = (track, start, pace, shift, level, bands, frames, partner, share, decay, snr, tilt)
        single = (values.astype(np.float32) if values.dtype.kind == "f" else values for values in drawn)
        return Draws(*map(torch.from_numpy, single))

    def _tracks(self, rng: np.random.Generator, epoch: int, n: int) -> np.ndarray:
        """The tracks of an epoch's crops, from all pools in turn.

        They come as permutations of all of a pool, one after another, so that none gives its second crop before each
        has given its first: the first pool anew in each epoch, the others through all epochs.
        """
        first, share = self._pools[0], -(-n // len(self._pools))
        own = [first[rng.permutation(len(first))] for _ in range(-(-share // len(first)))]
        heard = [np.concatenate(own)[:share]]
        for number, pool in enumerate(self._pools[1:], 1):
            passes, places = np.divmod(np.arange(epoch * share, (epoch + 1) * share), len(pool))
            order = {k: self._generator(number, int(k)).permutation(pool) for k in np.unique(passes)}
            heard.append(np.array([order[k][place] for k, place in zip(passes, places)]))
        return np.stack(heard, axis=1).ravel()[:n]

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def _cut(self, draws: Draws) -> Tensor:
        """Unaugmented crops at their pace."""
        steps = torch.arange(self.n_frames, device=self.device)
        offset, length = self._offset[draws.track, None], self._length[draws.track, None]
        if not self.augmentation.stretch:
            return self._fetch(offset + (draws.start[:, None] + steps) % length).mT.contiguous()
        position = steps * draws.pace[:, None]
        whole = position.floor()
        first = draws.start[:, None] + whole.long()
        low, high = self._fetch(offset + first % length), self._fetch(offset + (first + 1) % length)
        return torch.lerp(low, high, (position - whole)[:, :, None]).mT.contiguous()

    def _fetch(self, rows: Tensor) -> Tensor:
        """Frames of the bank, (batch, n_frames, n_mels)."""
        return self._bank.index_select(0, rows.reshape(-1)).view(*rows.shape, -1).float()


@dataclass(eq=False)
class BatchOrder(Sampler[tuple[int, int]]):
    """The batches of a training, one per step, for ``DataLoader(batches, batch_size=None, sampler=order)``.

    With several processes each takes every ``world``-th batch, and all take equally many.

    Parameters
    ----------
    n_batches : int
        Batches per epoch, of all processes together.
    n_steps : int
        Steps of the training, in each process.
    done : callable
        Steps that were done before; asked when a pass starts, for a saved state is loaded late.
    rank, world : int
        Number of this process, and of processes.
    """

    n_batches: int
    n_steps: int
    done: Callable[[], int] = lambda: 0
    rank: int = field(default=0, kw_only=True)
    world: int = field(default=1, kw_only=True)

    def __len__(self) -> int:
        """Steps of the whole training: Lightning counts those that were done before."""
        return self.n_steps

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (epoch, number of the batch)."""
        for step in range(self.done(), self.n_steps):
            yield divmod(step * self.world + self.rank, self.n_batches)


def _shifted(crops: Tensor, shift: Tensor) -> Tensor:
    """Crops whose band b shows what stood at band b + shift."""
    n, n_mels, n_frames = crops.shape
    place = (torch.arange(n_mels, device=crops.device) + shift[:, None]).clamp(0, n_mels - 1)
    low = place.floor()
    row = low.long() + n_mels * torch.arange(n, device=crops.device)[:, None]
    above = (low.long() < n_mels - 1).long()
    lines = crops.view(n * n_mels, n_frames)
    below = lines.index_select(0, row.reshape(-1)).view_as(crops)
    return torch.lerp(below, lines.index_select(0, (row + above).reshape(-1)).view_as(crops), (place - low)[:, :, None])


def _masked(crops: Tensor, bands: Tensor, frames: Tensor) -> Tensor:
    """Crops with stripes of bands and of frames set to the crop's mean."""
    mean = crops.mean(dim=(1, 2), keepdim=True)
    hidden = _inside(bands, crops.shape[1])[:, :, None] | _inside(frames, crops.shape[2])[:, None, :]
    return torch.where(hidden, mean, crops)


def _inside(stripes: Tensor, size: int) -> Tensor:
    """Which places lie in any of the stripes (n, n_masks, 2): (n, size)."""
    place = torch.arange(size, device=stripes.device)
    return ((place >= stripes[..., :1]) & (place < stripes[..., 1:])).any(dim=1)


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
