"""Random, augmented crops of log-mel frames: what the network sees while it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset


@dataclass(frozen=True)
class Augmentation:
    """How far a crop may stray from what was recorded.

    Parameters
    ----------
    stretch : float
        Tempo changes by up to this share, up or down.
    shift : float
        Pitch shift, mel bands.
    gain, tilt : float
        Level, and level difference between lowest and highest band, in natural log of power.
    frequency_mask, time_mask : int
        Largest width of a masked stripe (SpecAugment, Park et al. 2019), bands and frames.
    mixup : float
        Parameter of the beta distribution of mixup (Zhang et al. 2018); 0 turns it off.
    """

    stretch: float = 0.1
    shift: float = 1.5
    gain: float = 1.0
    tilt: float = 1.0
    frequency_mask: int = 8
    time_mask: int = 25
    mixup: float = 0.2


class CropBatches(IterableDataset):
    """Batches of crops; every track gives one crop an epoch, in random order.

    Parameters
    ----------
    frames : sequence of ndarray, (n_mels, n_frames)
        Log-mel frames of whole tracks.
    labels : sequence of int
        Their genres.
    n_genres : int
    n_frames : int
        Length of a crop.
    batch_size : int
        Crops a batch; the last batch of an epoch is dropped if it has a single crop.
    augmentation : Augmentation
    seed : int
        With the number of the epoch it fixes every crop.
    """

    def __init__(
        self,
        frames: Sequence[np.ndarray],
        labels: Sequence[int],
        n_genres: int,
        n_frames: int,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.frames = frames
        self.labels = np.asarray(labels)
        self.n_genres = n_genres
        self.n_frames = n_frames
        self.batch_size = min(batch_size, len(frames))
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Batches an epoch."""
        return max(1, len(self.frames) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (batch, n_mels, n_frames) crops and (batch, n_genres) targets."""
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        order = rng.permutation(len(self.frames))
        for k in range(len(self)):
            chosen = order[k * self.batch_size : (k + 1) * self.batch_size]
            crops = np.stack([crop(self.frames[i], self.n_frames, self.augmentation, rng) for i in chosen])
            targets = np.eye(self.n_genres, dtype=np.float32)[self.labels[chosen]]
            if self.augmentation.mixup:
                share = rng.beta(self.augmentation.mixup, self.augmentation.mixup)
                crops = np.float32(share) * crops + np.float32(1 - share) * crops[::-1]
                targets = np.float32(share) * targets + np.float32(1 - share) * targets[::-1]
            yield torch.from_numpy(np.ascontiguousarray(crops)), torch.from_numpy(targets)


def crop(
    frames: np.ndarray, n_frames: int, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """Cut a random crop and augment it.

    Parameters
    ----------
    frames : ndarray, (n_mels, n_source)
        A track shorter than the crop is repeated.
    n_frames : int
    augmentation : Augmentation
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, (n_mels, n_frames)
    """
    pace = 1.0 + rng.uniform(-augmentation.stretch, augmentation.stretch)
    span = int(np.ceil(n_frames * pace)) + 1
    if frames.shape[1] < span:
        frames = np.tile(frames, (1, -(-span // frames.shape[1])))
    start = rng.integers(frames.shape[1] - span + 1)
    piece = frames[:, start : start + span].astype(np.float32)
    piece = _interpolate(piece, np.arange(n_frames) * pace, axis=1)
    bands = np.arange(len(piece)) + rng.uniform(-augmentation.shift, augmentation.shift)
    piece = _interpolate(piece, np.clip(bands, 0, len(piece) - 1), axis=0)
    tilt = rng.uniform(-0.5, 0.5) * augmentation.tilt * np.linspace(-1, 1, len(piece))
    piece += (rng.uniform(-augmentation.gain, augmentation.gain) + tilt).astype(np.float32)[:, None]
    _mask(piece, augmentation.frequency_mask, augmentation.time_mask, rng)
    return piece


def _interpolate(values: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = (positions - low).astype(np.float32)
    share = share[None, :] if axis == 1 else share[:, None]
    return values.take(low, axis) * (1 - share) + values.take(high, axis) * share


def _mask(piece: np.ndarray, bands: int, frames: int, rng: np.random.Generator) -> None:
    """Set one stripe of bands and one of frames to the crop's mean, in place."""
    level = piece.mean()
    for axis, largest in ((0, bands), (1, frames)):
        width = int(rng.integers(min(largest, piece.shape[axis] - 1) + 1))
        first = int(rng.integers(piece.shape[axis] - width + 1))
        stripe = slice(first, first + width)
        if axis == 0:
            piece[stripe] = level
        else:
            piece[:, stripe] = level
