"""What every scored model offers, and a network dressed as such a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import ceil
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ban_bids.constants import AREAS, SAMPLING_RATE
from ban_bids.errors import NotComputable, UsageError
from ban_bids.models.checkpoint import ModelCard
from ban_bids.models.network import AuditoryNetwork
from ban_bids.models.presets import build

_MAX_WIDTH = 1024
_BATCH_SECONDS_CUDA = 480.0


class AudioModel(Protocol):
    """An auditory model whose areas are compared with cortical regions.

    Attributes
    ----------
    name : str
        Alphanumeric, lower case: it enters file names (``desc-<name><Area>``).
    layers : tuple of str
        Its layers in order.
    frame_rate : dict of str to float
        Frames a second of every area.
    genres : tuple of str
        Classes of its read-out; empty when it has none.
    card : ModelCard or None
        Where the weights come from; None is "unknown".
    fingerprint : str
        Changes when weights or front end change; keys caches.
    """

    name: str
    layers: tuple[str, ...]
    frame_rate: dict[str, float]
    genres: tuple[str, ...]
    card: ModelCard | None
    fingerprint: str

    def features(self, waveforms: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Area -> (n_frames, n_features) for each mono waveform at 22 050 Hz; frame k: [k, k + 1)/rate."""
        ...

    def genre_probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """(n_waveforms, n_genres), or raise NotComputable where the model has no read-out."""
        ...


class NetworkModel:
    """A network as an :class:`AudioModel`: waveforms in, arrays out.

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
    """

    def __init__(
        self,
        network: AuditoryNetwork,
        genres: Sequence[str] = (),
        card: ModelCard | None = None,
        name: str | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = resolve_device(device)
        self.network = network.eval().to(self.device)
        self.name = name or network.config.name
        self.layers = AREAS
        self.frame_rate = network.frame_rates
        self.genres = tuple(genres)
        self.card = card
        self.fingerprint = fingerprint(network)

    def features(self, waveforms: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Activations of every area at the last step.

        Parameters
        ----------
        waveforms : sequence of ndarray, (n_samples,)
            Mono, 22 050 Hz.

        Returns
        -------
        list of dict
            Area -> float32 array, (n_frames, channels · frequency bins); neighbouring frequency bins are
            averaged where an area would be wider than 1024.
        """
        out: list[dict[str, np.ndarray]] = [{} for _ in waveforms]
        for indices, (_, areas), seconds in self._heard(waveforms):
            for label, activation in areas.items():
                # the network works on whole frames of its slowest area: drop those after the end
                n_frames = ceil(seconds * self.frame_rate[label] - 1e-6)
                for i, frames in zip(indices, activation):
                    out[i][label] = frames[:n_frames]
        return out

    def genre_probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Softmax of the read-out, one row a waveform.

        Raises
        ------
        NotComputable
            When the weights came without the names of their genres.
        """
        if not self.genres:
            raise NotComputable("the genres of the read-out are unknown: the weights are random or have no card")
        out = np.empty((len(waveforms), len(self.genres)), dtype=np.float64)
        for indices, (logits, _), _ in self._heard(waveforms):
            out[indices] = torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
        return out

    def _heard(
        self, waveforms: Sequence[np.ndarray]
    ) -> Iterator[tuple[list[int], tuple[np.ndarray, dict[str, np.ndarray]], float]]:
        """Indices, what `_hear` returns, and the length in seconds of every batch.

        On a CPU batches go side by side, one thread each: the threads of one operation wait for each other,
        and where another process wants the same processors that makes them several times slower than one.
        """
        n_threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        if n_threads > 1:
            torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(n_threads) as pool:
                batches = self._batches(waveforms)
                while some := list(islice(batches, n_threads)):
                    for (indices, batch), made in zip(some, pool.map(self._hear, [b for _, b in some])):
                        yield indices, made, batch.shape[1] / SAMPLING_RATE
        finally:
            if n_threads > 1:
                torch.set_num_threads(n_threads)

    def _hear(self, batch: Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits, and every area's activation as (batch, frames, features)."""
        with torch.no_grad():
            logits, areas = self.network(batch, return_areas=True, sampling_rate=SAMPLING_RATE)
        return logits.cpu().numpy(), {label: _flatten(a).cpu().numpy() for label, a in areas.items()}

    def _batches(self, waveforms: Sequence[np.ndarray]) -> Iterator[tuple[list[int], Tensor]]:
        """Equal lengths together on a GPU; singly on a CPU, so that no result depends on its neighbours."""
        lengths = np.array([len(w) for w in waveforms], dtype=int)
        for length in np.unique(lengths):
            indices = np.flatnonzero(lengths == length)
            size = (
                1 if self.device.type == "cpu" else max(1, int(_BATCH_SECONDS_CUDA * SAMPLING_RATE // max(length, 1)))
            )
            for k in range(0, len(indices), size):
                chosen = indices[k : k + size].tolist()
                stacked = np.stack([np.asarray(waveforms[i], dtype=np.float32) for i in chosen])
                yield chosen, torch.from_numpy(stacked).to(self.device)


def untrained_model(
    network: AuditoryNetwork,
    seed: int,
    genres: Sequence[str] = (),
    name: str | None = None,
    device: str = "cpu",
) -> NetworkModel:
    """Return a network of the same architecture and front end with random weights.

    Its normalisation is calibrated (see :func:`calibrate`), so that activations neither vanish nor explode.

    Parameters
    ----------
    network : AuditoryNetwork
        Gives configuration and front-end statistics; it is not changed.
    seed : int
        Of the weights.
    genres : sequence of str
        Names of the read-out's classes, if it is to be used.
    name : str, optional
        Of the model; the configuration's name followed by ``untrained`` otherwise.
    device : str
        As for :class:`NetworkModel`.
    """
    fresh = build(network.config, network.readout.out_features, seed)
    fresh.front_end.load_state_dict(network.front_end.state_dict())
    calibrate(fresh)
    return NetworkModel(fresh, genres, None, name or f"{network.config.name}untrained", device)


def calibrate(network: AuditoryNetwork, seed: int = 0) -> None:
    """Set the running statistics of every normalisation from standard log-mel noise.

    The noise has zero mean, unit variance and an autocorrelation over 80 ms and three mel bands, like the
    standardised frames of music that the first area hears; no audio is involved, so nothing can leak.
    """
    generator = torch.Generator().manual_seed(seed)
    mels = network.config.front_end.n_mels
    noise = torch.randn(8, 1, mels + 2, 512 + 3, generator=generator)
    noise = torch.nn.functional.avg_pool2d(noise, (3, 4), stride=1)
    noise = noise / noise.std()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average over the batches seen
    network.train()
    with torch.no_grad():
        network.from_frames(noise.to(network.readout.weight.device))
    network.eval()
    for norm in norms:
        norm.momentum = 0.1


def fingerprint(network: AuditoryNetwork) -> str:
    """SHA-256 over configuration and every stored tensor."""
    digest = hashlib.sha256(json.dumps(network.config.to_dict(), sort_keys=True).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def resolve_device(device: str) -> torch.device:
    """``auto`` takes a GPU where there is one.

    Raises
    ------
    UsageError
        For ``cuda`` where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA GPU here; choose --device cpu or auto")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def _flatten(activation: Tensor) -> Tensor:
    """(batch, channels, frequency, frames) -> (batch, frames, channels · bins), at most 1024 wide."""
    channels, bins = activation.shape[1:3]
    if channels * bins > _MAX_WIDTH:
        keep = max(1, _MAX_WIDTH // channels)
        activation = torch.nn.functional.adaptive_avg_pool2d(activation, (keep, activation.shape[3]))
    return activation.permute(0, 3, 1, 2).flatten(2).float()
