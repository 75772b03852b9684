"""Random, augmented crops of log-mel frames: what the network sees while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ban_bids.training.augmentation import Augmentation, Draws, draw


class CropBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batches of crops by the number of the epoch and of the batch: ``batches[epoch, k]``.

    A batch is a function of the seed, the epoch and its number alone: no earlier batch need be made, and a
    training that goes on after an interruption sees what an uninterrupted one sees. The random numbers are
    drawn on the CPU whatever the device, so all devices show the same crops. The tracks lie on the device
    (64 bands, 50 frames a second: 6.4 kB a second of audio), and so does all work on a batch.

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
        Crops a batch, at most an epoch's. Crops that do not fill a batch are left out of the epoch.
    augmentation : Augmentation
    seed : int
        Not negative.
    crops_per_track : int
        Crops of every track in an epoch.
    device : torch.device or str
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
        *,
        crops_per_track: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        n_crops = crops_per_track * len(frames)
        self.batch_size = min(batch_size, n_crops)
        self.n_batches = n_crops // self.batch_size
        self.n_mels, self.n_frames = len(frames[0]), n_frames
        self.augmentation = augmentation
        self.seed = seed
        self.device = torch.device(device)
        self._lengths = np.array([f.shape[1] for f in frames])
        # a frame's bands lie together, so that fetching frames copies whole lines of memory
        bank = np.concatenate([f.T for f in frames]).astype(np.float16, copy=False)
        self._bank = torch.from_numpy(bank).to(self.device)
        ends = np.cumsum(self._lengths)
        self._offset = torch.from_numpy(ends - self._lengths).to(self.device)
        self._length = torch.from_numpy(self._lengths).to(self.device)
        self._target = torch.eye(n_genres)[torch.as_tensor(np.asarray(labels))].to(self.device)
        self._drawn: tuple[int, Draws] | None = None

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.n_batches

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Batch ``k`` of an epoch.

        Parameters
        ----------
        index : (int, int)
            Epoch, and number of the batch within it.

        Returns
        -------
        crops : Tensor of float32, (batch, n_mels, n_frames)
        targets : Tensor of float32, (batch, n_genres)

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
        if draws.bands.shape[1] or draws.frames.shape[1]:
            crops = _masked(crops, draws.bands, draws.frames)
        if self.augmentation.mixup:
            share = draws.share[:, None]
            crops = torch.lerp(crops[draws.partner], crops, share[:, :, None])
            targets = torch.lerp(targets[draws.partner], targets, share)
        return crops, targets

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch."""
        return (self[epoch, k] for k in range(len(self)))

    def draws(self, epoch: int) -> Draws:
        """The random numbers of an epoch's crops; those of the last epoch asked for are kept."""
        if self._drawn is None or self._drawn[0] != epoch:
            rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
            shape = (self.n_mels, self.n_frames)
            drawn = draw(self.augmentation, self._lengths, shape, self.n_batches, self.batch_size, rng)
            self._drawn = epoch, drawn.to(self.device)
        return self._drawn[1]

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


class BatchOrder(Sampler[tuple[int, int]]):
    """The batches of a training, one a step, for ``DataLoader(batches, batch_size=None, sampler=order)``.

    With several processes each takes every ``world``-th batch, and all take equally many.

    Parameters
    ----------
    n_batches : int
        Batches an epoch, of all processes together.
    n_steps : int
        Steps of the training, in each process.
    done : callable
        Steps that were done before; asked when a pass starts, for a saved state is loaded late.
    rank, world : int
        Number of this process, and of processes.
    """

    def __init__(
        self,
        n_batches: int,
        n_steps: int,
        done: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.n_batches, self.n_steps, self.done = n_batches, n_steps, done
        self.rank, self.world = rank, world

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
    place = torch.arange(n_mels, device=crops.device) + shift[:, None]
    place = place.clamp(0, n_mels - 1)
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
