"""What every trainable network of ours shares (`AuditoryNetwork`), and such a network as a candidate (`NetworkModel`).

A network goes from waveforms to genres with the front end inside; its four stages are the areas A1, Belt, PB, T2T3.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cached_property
from itertools import islice
from math import ceil
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ban_bids.audio.excerpts import Piece
from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import AREAS
from ban_bids.errors import NotComputable, UsageError
from ban_bids.models.candidate import ModelCard, waveforms
from ban_bids.models.config import NetworkConfig
from ban_bids.models.devices import resolve_device, torch_threads
from ban_bids.models.front_end import FrontEnd
from ban_bids.models.pieces import Plan, is_long, joined, own_frames, side_by_side, time_reach

UNTRAINED_SEEDS = (1, 2, 3, 4, 5)
"""Of the weights of a network's untrained controls; fixed, for what is measured of them lies in checkpoints."""

CONTROLS = (*(f"untrained{seed}" for seed in UNTRAINED_SEEDS), "permuted")
"""A network's controls of its own architecture, see :mod:`ban_bids.models.controls`."""

_MAX_WIDTH = 1024
_SILENT = 1e-6
"""Added to a mean square: a root has no slope at zero."""

_BATCH_SECONDS_CUDA = 480.0
_AT_ONCE = 8
"""Pieces of a long clip that are heard side by side, at most."""


class AuditoryNetwork(nn.Module, ABC):
    """A network from waveforms to genres whose four stages are compared with cortical areas.

    Subclasses set ``architecture`` and define :meth:`make_areas` and :meth:`from_frames`.

    Parameters
    ----------
    config : NetworkConfig
        Fixes the architecture; kept as ``config``.
    n_genres : int
        Width of the read-out.
    seed : int
        Initial weights; the same seed gives the same network.

    Attributes
    ----------
    architecture : str
        Enters checkpoints; two networks of one architecture differ in their configuration only.
    front_end : FrontEnd
        Waveform to standardised log-mel frames.
    areas : nn.ModuleDict
        A1, Belt, PB, T2T3.
    readout : nn.Linear
        Pooled activation of the last area to genres.
    control_statistics : dict of dict of Tensor
        Control -> :func:`~ban_bids.models.normalisation.normalisation` of it on this network's training music
        (:func:`ban_bids.models.controls.control_statistics`); empty where it is not known.
    """

    architecture: ClassVar[str]

    def __init__(self, config: NetworkConfig, n_genres: int = 10, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.control_statistics: dict[str, dict[str, Tensor]] = {}
        self.front_end = FrontEnd(config.front_end, config.time_stride)
        self.dropout = nn.Dropout(config.dropout)
        with torch.random.fork_rng(devices=[]):  # torch's own initial draws must not move the caller's
            areas, channels = self.make_areas()
            self.areas = nn.ModuleDict(dict(zip(AREAS, areas, strict=True)))
            self.readout = nn.Linear(2 * channels, n_genres)
        self.reset_weights(seed)

    @abstractmethod
    def make_areas(self) -> tuple[list[nn.Module], int]:
        """The four areas in order, and the channels of the last."""

    @abstractmethod
    def from_frames(self, frames: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits and every area's activation at every step from standardised log-mel frames.

        Parameters
        ----------
        frames : Tensor, (batch, 1, mels, frames)
            Output of the front end; a whole number of frames of the slowest area.

        Returns
        -------
        logits : Tensor, (batch, n_genres)
        history : dict of list of Tensor, (batch, channels, frequency, frames)
            Area -> its activation after each of its steps (one step without recurrence).
        """

    @property
    def frame_rates(self) -> dict[str, float]:
        """Frames per second of every area."""
        return self.config.frame_rates

    def local(self, frames: Tensor) -> dict[str, Tensor]:
        """Activations at the last step of the areas of which a frame depends on sound nearby only.

        Parameters
        ----------
        frames : Tensor, (batch, 1, mels, frames)
            As for :meth:`from_frames`.

        Returns
        -------
        dict of Tensor, (batch, channels, frequency, frames)
            All areas, unless a network has some that remember.
        """
        return {label: states[-1] for label, states in self.from_frames(frames)[1].items()}

    def remembering(self, local: Mapping[str, Tensor], memory: Any) -> tuple[dict[str, Tensor], Any]:
        """Activations of the other areas, which remember all that was before, and their memory of it.

        Parameters
        ----------
        local : mapping of str to Tensor
            What :meth:`local` gave for the next piece of a sound.
        memory : object
            Of the piece before; None for the first.
        """
        return {}, None

    def read_out(self, top: Tensor) -> Tensor:
        """Logits from the last area: :meth:`pooled`, then linear.

        Parameters
        ----------
        top : Tensor, (batch, channels, frequency, frames)
        """
        return self.readout(self.dropout(self.pooled(top)))

    def pooled(self, activation: Tensor) -> Tensor:
        """What a read-out hears of an area: two statistics of every channel over frequency and time.

        The mean, and the root mean square; or, where ``config.pooling`` is ``"max"``, the maximum. A read-out of
        maxima rewards channels that are silent but for rare peaks, which no linear model can use elsewhere.

        Parameters
        ----------
        activation : Tensor, (batch, channels, frequency, frames)

        Returns
        -------
        Tensor, (batch, 2 · channels)
        """
        if self.config.pooling == "max":
            second = activation.amax(dim=(2, 3))
        else:
            second = (activation.float().square().mean(dim=(2, 3)) + _SILENT).sqrt().to(activation.dtype)
        return torch.cat([activation.mean(dim=(2, 3)), second], dim=1)

    def reset_weights(self, seed: int) -> None:
        """Draw all weights anew (He et al. 2015), leaving the front end's statistics as they are."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # the draw goes into a tensor of its own: its order must not depend on the memory format
                fresh = torch.empty(module.weight.shape)
                nn.init.kaiming_normal_(fresh, nonlinearity="relu", generator=generator)
                with torch.no_grad():
                    module.weight.copy_(fresh)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        waveform: Tensor,
        return_areas: bool = False,
        every_step: bool = False,
        sampling_rate: int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Genre logits, and on request what every area did.

        Parameters
        ----------
        waveform : Tensor, (batch, samples) or (batch, channels, samples)
            Sound of any length, see :meth:`FrontEnd.mono <ban_bids.models.front_end.FrontEnd.mono>`.
        return_areas : bool
            Also return the areas' activations at the last step.
        every_step : bool
            Return them at every step instead, with the steps as second dimension.
        sampling_rate : int, optional
            Of the waveform, Hz; the front end's own when None.

        Returns
        -------
        logits : Tensor, (batch, n_genres)
        areas : dict of Tensor, (batch, channels, frequency, frames) or (batch, steps, channels, …)
            Only with ``return_areas`` or ``every_step``. Frame k of an area covers the seconds
            [k, k + 1) / ``frame_rates[area]``; frames that reach past the end hear silence there.

        Raises
        ------
        DataError
            For sound that cannot be used.
        """
        logits, history = self.from_frames(self.front_end(waveform, sampling_rate))
        if every_step:
            return logits, {label: torch.stack(history[label], dim=1) for label in AREAS}
        if return_areas:
            return logits, {label: history[label][-1] for label in AREAS}
        return logits


class NetworkModel:
    """A network as a :class:`~ban_bids.models.candidate.Candidate`: clips in, arrays out.

    Parameters
    ----------
    network : AuditoryNetwork
        Put into evaluation mode and moved to ``device``.
    genres : tuple of str
        Classes; empty where they are not known.
    card : ModelCard or None
        Of the checkpoint.
    name : str, optional
        Taken from the configuration otherwise.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    measured : bool
        Whether the network's normalisation is that of any sound; one that is not cannot be used before
        :func:`ban_bids.models.controls.measured_model`.
    """

    def __init__(
        self,
        network: AuditoryNetwork,
        genres: Sequence[str] = (),
        card: ModelCard | None = None,
        *,
        name: str | None = None,
        device: str = "cpu",
        measured: bool = True,
    ) -> None:
        self.measured = measured
        self.device = resolve_device(device)
        self.network = network.eval().to(self.device)
        self.name = name or network.config.name
        self.layers: tuple[str, ...] = AREAS
        self.frame_rate: Mapping[str, float] = network.frame_rates
        self.sampling_rate = network.config.front_end.sampling_rate
        self.mapping: Mapping[str, str] | None = {area: area for area in AREAS}
        self.genres = tuple(genres)
        self.card = card
        self.fingerprint = fingerprint(network)

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """Activations of every area at the last step.

        Parameters
        ----------
        clips : sequence of HeardClip
            At the network's own sampling rate.

        Returns
        -------
        list of dict
            Area -> float32 array, (n_frames, channels · frequency bins); neighbouring frequency bins are
            averaged where an area would be wider than 1024.
        """
        features: list[dict[str, np.ndarray]] = [{} for _ in clips]
        whole = [i for i, clip in enumerate(clips) if not is_long(clip) or self._plan is None]
        for indices, (_, activations), seconds in self._heard([clips[i] for i in whole]):
            for area, activation in activations.items():
                # the network works on whole frames of its slowest area: drop those after the end
                n_frames = ceil(seconds * self.frame_rate[area] - 1e-6)
                for i, frames in zip(indices, activation):
                    features[whole[i]][area] = frames[:n_frames]
        for i in set(range(len(clips))).difference(whole):
            features[i] = joined(self.features_in_pieces(clips[i]))
        return features

    def features_in_pieces(self, clip: HeardClip) -> Iterator[dict[str, np.ndarray]]:
        """Features of a long clip piece by piece; joined, those of the whole except for rounding.

        Yields
        ------
        dict
            As :meth:`features`, of the next frames.
        """
        if self._plan is None:
            yield from self.features([clip])
            return
        self._check_measured()
        memory: Any = None
        n_threads = min(_AT_ONCE, torch.get_num_threads()) if self.device.type == "cpu" else 1
        with torch_threads(1), ThreadPoolExecutor(n_threads) as pool:
            for _, local in side_by_side(pool, n_threads, self._hear_piece, self._plan.pieces(clip)):
                with torch.no_grad():
                    more, memory = self.network.remembering(local, memory)
                areas = {**local, **more}
                yield {area: _flatten(areas[area])[0].cpu().numpy() for area in self.layers}

    def _hear_piece(self, piece: Piece) -> dict[str, Tensor]:
        """Activations of the local areas, without context."""
        with torch.no_grad():
            sound = torch.from_numpy(np.asarray(piece.sound, dtype=np.float32))[None].to(self.device)
            areas = self.network.local(self.network.front_end(sound))
        samples = {area: self.sampling_rate / self.frame_rate[area] for area in areas}
        return {area: activation[..., own_frames(piece, samples[area])] for area, activation in areas.items()}

    @cached_property
    def _plan(self) -> Plan | None:
        """How long clips are cut; None where an area hears without end and cannot carry its memory on."""
        front_end, stride = self.network.config.front_end, self.network.config.time_stride
        # on the CPU: libraries of GPUs may spread what is no number further than it is heard
        network = self.network if self.device.type == "cpu" else deepcopy(self.network).cpu()
        reach = time_reach(network.local, front_end.n_mels, stride)
        if reach is None:
            return None
        hop = front_end.hop
        window = front_end.n_fft - hop
        return Plan.of(hop * stride, reach[0] * hop + window, reach[1] * hop, self.sampling_rate)

    def _check_measured(self) -> None:
        if not self.measured:
            raise UsageError(
                f"model {self.name}: its weights are random and its normalisation has not been measured; "
                "give it sound by ban_bids.models.controls.measured_model"
            )

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """Softmax of the read-out, (n_clips, n_genres).

        Raises
        ------
        NotComputable
            When the weights came without the names of their genres.
        """
        if not self.genres:
            raise NotComputable("the genres of the read-out are unknown: the weights are random or have no card")
        probabilities = np.empty((len(clips), len(self.genres)), dtype=np.float64)
        for indices, (logits, _), _ in self._heard(clips):
            probabilities[indices] = torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
        return probabilities

    def _heard(
        self, clips: Sequence[HeardClip]
    ) -> Iterator[tuple[list[int], tuple[np.ndarray, dict[str, np.ndarray]], float]]:
        """Indices, what `_hear` returns, and the length in seconds of every batch.

        On a CPU batches go side by side, one thread each: the threads of one operation wait for each other,
        and where another process wants the same processors that makes them several times slower than one.
        """
        self._check_measured()
        n_threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        batches = self._batches(waveforms(clips, self.sampling_rate))
        with torch_threads(1), ThreadPoolExecutor(n_threads) as pool:
            while side_by_side := list(islice(batches, n_threads)):
                outputs = pool.map(self._hear, [batch for _, batch in side_by_side])
                for (indices, batch), output in zip(side_by_side, outputs):
                    yield indices, output, batch.shape[1] / self.sampling_rate

    def _hear(self, batch: Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits, and every area's activation as (batch, frames, features)."""
        with torch.no_grad():
            logits, areas = self.network(batch, return_areas=True)
        return logits.cpu().numpy(), {label: _flatten(a).cpu().numpy() for label, a in areas.items()}

    def _batches(self, sounds: Sequence[np.ndarray]) -> Iterator[tuple[list[int], Tensor]]:
        """Equal lengths together on a GPU; singly on a CPU, so that no result depends on its neighbours."""
        lengths = np.array([len(sound) for sound in sounds], dtype=int)
        for length in np.unique(lengths):
            indices = np.flatnonzero(lengths == length)
            fitting = int(_BATCH_SECONDS_CUDA * self.sampling_rate // max(length, 1))
            size = 1 if self.device.type == "cpu" else max(1, fitting)
            for first in range(0, len(indices), size):
                chosen = indices[first : first + size].tolist()
                stacked = np.stack([np.asarray(sounds[i], dtype=np.float32) for i in chosen])
                yield chosen, torch.from_numpy(stacked).to(self.device)


def fingerprint(network: AuditoryNetwork) -> str:
    """SHA-256 over configuration and every stored tensor."""
    digest = hashlib.sha256(json.dumps(network.config.to_dict(), sort_keys=True).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _flatten(activation: Tensor) -> Tensor:
    """(batch, channels, frequency, frames) -> (batch, frames, channels · bins), at most 1024 wide."""
    channels, bins = activation.shape[1:3]
    if channels * bins > _MAX_WIDTH:
        keep = max(1, _MAX_WIDTH // channels)
        activation = torch.nn.functional.adaptive_avg_pool2d(activation, (keep, activation.shape[3]))
    return activation.permute(0, 3, 1, 2).flatten(2).float()
