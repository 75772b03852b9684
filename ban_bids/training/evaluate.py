"""Accuracy of a trained network on whole tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ban_bids.errors import CheckpointError, DataError
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.datasets import Track, log_mel_frames, read_collection


@dataclass(frozen=True)
class Accuracy:
    """Share of tracks whose genre is recognised.

    Parameters
    ----------
    accuracy : float
    interval : (float, float)
        95 % bootstrap interval over tracks.
    n_tracks : int
    confusion : ndarray of int, (n_genres, n_genres)
        True genre by recognised genre.
    """

    accuracy: float
    interval: tuple[float, float]
    n_tracks: int
    confusion: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the card."""
        return {
            "track_accuracy": round(self.accuracy, 4),
            "track_accuracy_ci95": [round(bound, 4) for bound in self.interval],
            "n_tracks": self.n_tracks,
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    network: AuditoryNetwork,
    frames: Sequence[np.ndarray],
    labels: Sequence[int],
    n_genres: int,
    crop_frames: int,
    seed: int = 0,
    n_bootstrap: int = 2000,
) -> Accuracy:
    """Recognise whole tracks by averaging the probabilities of half-overlapping crops.

    Parameters
    ----------
    network : AuditoryNetwork
        In evaluation mode.
    frames : sequence of ndarray, (n_mels, n_frames)
        Log-mel frames of whole tracks.
    labels : sequence of int
        True genres.
    n_genres : int
    crop_frames : int
        Length of a crop.
    seed, n_bootstrap : int
        Of the interval over tracks.

    Returns
    -------
    Accuracy
    """
    truth = np.asarray(labels, dtype=int)
    answer = np.array([track_probabilities(network, f, crop_frames).argmax() for f in frames], dtype=int)
    confusion = np.zeros((n_genres, n_genres), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    right = (truth == answer).astype(float)
    draws = np.random.default_rng(seed).integers(len(right), size=(n_bootstrap, len(right)))
    low, high = np.quantile(right[draws].mean(axis=1), [0.025, 0.975])
    return Accuracy(float(right.mean()), (float(low), float(high)), len(right), confusion)


def track_probabilities(network: AuditoryNetwork, frames: np.ndarray, crop_frames: int) -> np.ndarray:
    """Mean softmax over half-overlapping crops of one track; the last crop ends where the track ends."""
    n = frames.shape[1]
    last = max(0, n - crop_frames)
    starts = sorted({*range(0, last + 1, max(1, crop_frames // 2)), last})
    crops = np.stack([frames[:, s : s + crop_frames] for s in starts]).astype(np.float32)
    device = network.readout.weight.device
    with torch.no_grad():
        logits = _logits(network, torch.from_numpy(crops).to(device))
    return torch.softmax(logits.double(), dim=1).mean(dim=0).cpu().numpy()


def _logits(network: AuditoryNetwork, log_mel: Tensor) -> Tensor:
    short = -log_mel.shape[-1] % network.config.time_stride
    padded = torch.nn.functional.pad(log_mel, (0, short), mode="replicate") if short else log_mel
    return network.from_frames(network.front_end.standardise(padded))[0]


def evaluate_checkpoint(checkpoint: Path, data_dir: Path, exclude: Iterable[Path] = ()) -> dict[str, Any]:
    """Accuracy of a checkpoint on the tracks of a folder that neither trained nor validated it.

    Parameters
    ----------
    checkpoint : Path
    data_dir : Path
        Folder of genres.
    exclude : iterable of Path
        Audio files to leave out.

    Returns
    -------
    dict
        Accuracy on ``unseen`` tracks and on those it was ``validated`` and ``trained`` on, each like
        :meth:`Accuracy.to_dict` or None where there are no such tracks, the genres, and the card's split.

    Raises
    ------
    CheckpointError
        For weights without a card: their genres are unknown.
    DataError
        When the data has a genre that the checkpoint does not know.
    """
    network, card = load_checkpoint(checkpoint)
    if card is None:
        raise CheckpointError(f"{checkpoint}: has no model card, so its genres are unknown; train it again")
    collection = read_collection(data_dir, exclude)
    strangers = sorted(set(collection.genres) - set(card.genres))
    if strangers:
        raise DataError(f"{data_dir}: the checkpoint does not know the genres {', '.join(strangers)}")
    training, validation = set(card.training_hashes.values()), set(card.validation_hashes.values())
    parts: dict[str, list[Track]] = {"unseen": [], "validated": [], "trained": []}
    for track in collection.tracks:
        known = "trained" if track.digest in training else "validated"
        parts[known if track.digest in training | validation else "unseen"].append(track)
    rate = network.front_end.config.frame_rate
    crop_frames = round(card.settings.get("crop_seconds", 5.0) * rate)
    result: dict[str, Any] = {"genres": list(card.genres), "split": card.split}
    for name, tracks in parts.items():
        labels = [card.genres.index(t.genre) for t in tracks]
        frames = log_mel_frames(tracks, network.front_end)
        result[name] = (
            evaluate(network, frames, labels, len(card.genres), crop_frames).to_dict() if tracks else None
        )
    return result
