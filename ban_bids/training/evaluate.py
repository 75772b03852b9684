"""How well a network recognises the genres of whole tracks, from half-overlapping segments."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ban_bids.audio.sameness import Identity
from ban_bids.audio.waveforms import HeardClip, load_waveform
from ban_bids.constants import AREAS
from ban_bids.errors import CheckpointError, DataError
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint, load_tensors
from ban_bids.models.devices import resolve_device
from ban_bids.models.low_level import load_low_level
from ban_bids.models.network import AuditoryNetwork
from ban_bids.models.presets import LOW_LEVEL
from ban_bids.training.cache import AudioCache
from ban_bids.training.code_measures.comparison import CodeComparison
from ban_bids.training.datasets import Track, log_mel_frames, read_collection
from ban_bids.training.scores import Answers, Evaluation, score
from ban_bids.training.settings import TrainingSettings

_LOG = logging.getLogger(__name__)

PARTS = ("unseen", "validated", "trained")
"""What a checkpoint's card says of a track; their figures are never put together."""

_CROP_SECONDS = 5.12
_WHOLE = 0.95
"""Share of a collection's tracks that a crop may hold whole; a longer one would be repetitions of most tracks."""


@dataclass(frozen=True, eq=False)
class Part:
    """The tracks of one of :data:`PARTS`, what the network answered, and what that is worth."""

    tracks: tuple[Track, ...]
    answers: Answers
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class CheckpointEvaluation:
    """A checkpoint on the tracks of a folder.

    Parameters
    ----------
    genres : tuple of str
        Classes of the read-out, in its order.
    split : str
        How training and validation tracks were told apart, from the card.
    crop_seconds : float or None
        Length of a segment; None for a model that hears whole tracks.
    parts : dict
        Name -> Part, or None where the folder has no such tracks.
    code : dict of CodeComparison
        Measures of the code by part, never of tracks that trained; empty where they were not asked for.
    """

    genres: tuple[str, ...]
    split: str
    crop_seconds: float | None
    parts: dict[str, Part | None]
    code: dict[str, CodeComparison] = field(default_factory=dict)

    @property
    def untrained_parts(self) -> dict[str, tuple[Track, ...]]:
        """Tracks of the parts that did not train the checkpoint."""
        parts = {name: self.parts[name] for name in PARTS[:2]}
        return {name: part.tracks for name, part in parts.items() if part is not None}

    @property
    def headline(self) -> str | None:
        """The part whose figures may be quoted; tracks that trained never are."""
        return next((name for name in PARTS[:2] if self.parts[name] is not None), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is n/a is None."""
        plain: dict[str, Any] = {
            "genres": list(self.genres),
            "split": self.split,
            "segment_seconds": None if self.crop_seconds is None else round(self.crop_seconds, 4),
            "headline": self.headline,
        }
        for name, part in self.parts.items():
            plain[name] = None if part is None else {
                **part.evaluation.to_dict(),
                "per_genre": dict(zip(self.genres, _plain_rows(part.evaluation.per_genre))),
                "reliability": _plain_rows(part.evaluation.reliability),
            }  # fmt: skip
        return plain | {"code": {name: comparison.to_dict() for name, comparison in self.code.items()}}


def _plain_rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.round(4).astype(object).where(table.notna(), None).to_dict("records")


def evaluate(
    network: AuditoryNetwork,
    frames: Sequence[np.ndarray],
    labels: Sequence[int],
    *,
    crop_frames: int,
    n_bootstrap: int = 2000,
) -> Evaluation:
    """Recognise whole tracks by averaging the probabilities of half-overlapping segments.

    Parameters
    ----------
    network : AuditoryNetwork
        In evaluation mode.
    frames : sequence of ndarray, (n_mels, n_frames)
        Log-mel frames of whole tracks.
    labels : sequence of int
        True genres, as numbers of the read-out's classes.
    crop_frames : int
        Length of a segment.
    n_bootstrap : int
        Draws for the intervals over tracks.

    Returns
    -------
    Evaluation
    """
    segments = [segment_probabilities(network, f, crop_frames) for f in frames]
    return score(Answers(np.asarray(labels, dtype=int), segments), n_bootstrap=n_bootstrap)


def segment_probabilities(
    network: AuditoryNetwork, frames: np.ndarray, crop_frames: int, *, readout: nn.Module | None = None
) -> np.ndarray:
    """Softmax for each half-overlapping segment of one track; the last one ends where the track ends.

    Parameters
    ----------
    network : AuditoryNetwork
    frames : ndarray, (n_mels, n_frames)
        A track shorter than a segment is repeated to fill one, as in training.
    crop_frames : int
    readout : Module, optional
        Answers another task, from what the network's own read-out gets.

    Returns
    -------
    ndarray of float64, (n_segments, n_genres) or (n_segments, n_classes)
    """
    crops = segment_frames(frames, crop_frames)
    device = network.readout.weight.device
    with torch.no_grad():
        logits, history = _heard(network, torch.from_numpy(crops).to(device))
        if readout is not None:
            logits = readout(network.pooled(history[AREAS[-1]][-1]))
    return torch.softmax(logits.double(), dim=1).cpu().numpy()


def segment_frames(frames: np.ndarray, crop_frames: int) -> np.ndarray:
    """Half-overlapping segments of one track, (n_segments, n_mels, crop_frames), float32.

    A shorter track is repeated from its beginning: so it trained, and an end that is heard once in a while by a
    network that never met one would cost accuracy.
    """
    if frames.shape[1] < crop_frames:
        frames = frames[:, np.arange(crop_frames) % frames.shape[1]]
    last = max(0, frames.shape[1] - crop_frames)
    starts = sorted({*range(0, last + 1, max(1, crop_frames // 2)), last})
    return np.stack([frames[:, s : s + crop_frames] for s in starts]).astype(np.float32)


def crop_length(network: AuditoryNetwork, seconds: float) -> int:
    """Log-mel frames of so many seconds, a whole number of frames of the slowest layer."""
    stride = network.config.time_stride
    return stride * max(1, round(seconds * network.front_end.config.frame_rate / stride))


def fitted_crops(
    settings: TrainingSettings,
    network: AuditoryNetwork,
    frames: Sequence[np.ndarray],
    pools: Sequence[Sequence[int] | np.ndarray],
) -> tuple[TrainingSettings, int]:
    """Crops that are no longer than recordings are: more of a crop would be repetitions of the same sound.

    Parameters
    ----------
    settings : TrainingSettings
    network : AuditoryNetwork
    frames : sequence of ndarray, (n_mels, n_frames)
        Of the training tracks.
    pools : sequence of sequence of int
        Places of the tracks of each collection.

    Returns
    -------
    settings : TrainingSettings
        With ``crop_seconds`` such that a crop holds 95 % of the tracks of the collection with the longest ones, where
        that is less; masks of frames are then shorter in proportion.
    n_frames : int
        Log-mel frames of a crop.
    """
    wanted, stride = crop_length(network, settings.crop_seconds), network.config.time_stride
    longest = max(np.quantile([frames[k].shape[1] for k in pool], _WHOLE) for pool in pools)
    n_frames = min(wanted, stride * ceil(longest / stride))
    if n_frames == wanted:
        return settings, wanted
    shorter = replace(settings.augmentation, time_mask=settings.augmentation.time_mask * n_frames // wanted)
    seconds = n_frames / network.front_end.config.frame_rate
    return replace(settings, crop_seconds=seconds, augmentation=shorter), n_frames


def genre_logits(network: AuditoryNetwork, log_mel: Tensor) -> Tensor:
    """Logits (n, n_genres) of log-mel frames (n, n_mels, n_frames), as they come from the front end or a crop."""
    return _heard(network, log_mel)[0]


def _heard(network: AuditoryNetwork, log_mel: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
    short = -log_mel.shape[-1] % network.config.time_stride
    padded = torch.nn.functional.pad(log_mel, (0, short), mode="replicate") if short else log_mel
    return network.from_frames(network.front_end.standardise(padded))


def evaluate_checkpoint(
    checkpoint: Path,
    data_dir: Path,
    exclude: Iterable[Path] = (),
    *,
    device: str = "cpu",
    cache: AudioCache | None = None,
) -> CheckpointEvaluation:
    """Score a checkpoint on the tracks of a folder, apart for those that it knows.

    Parameters
    ----------
    checkpoint : Path
    data_dir : Path
        Folder of genres.
    exclude : iterable of Path
        Audio files to leave out.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    cache : AudioCache, optional
        Where decoded audio is kept; by default that of the user.

    Returns
    -------
    CheckpointEvaluation

    Raises
    ------
    CheckpointError
        For weights without a card: their genres are unknown.
    DataError
        When the data has a genre that the checkpoint does not know.
    """
    _, architecture, card = load_tensors(Path(checkpoint))
    if card is None:
        raise CheckpointError(f"{checkpoint}: has no model card, so its genres are unknown; train it again")
    collection = read_collection(data_dir, exclude, cache)
    strangers = sorted(set(collection.genres) - set(card.genres))
    if strangers:
        raise DataError(f"{data_dir}: the checkpoint does not know the genres {', '.join(strangers)}")
    crop_seconds: float | None = None
    if architecture in LOW_LEVEL:
        model = load_low_level(checkpoint)
        rate = model.sampling_rate
        sounds = (load_waveform(track.path, sampling_rate=rate) for track in collection.tracks)
        segments = [model.genre_probabilities([HeardClip(None, rate, sound)]) for sound in sounds]
    else:
        network, _ = load_checkpoint(checkpoint)
        crop_frames = crop_length(network, float(card.settings.get("crop_seconds", _CROP_SECONDS)))
        crop_seconds = crop_frames / network.front_end.config.frame_rate
        frames = log_mel_frames(collection.tracks, network.front_end, collection.cache)
        network.to(resolve_device(device))
        segments = [segment_probabilities(network, f, crop_frames) for f in frames]
    met = _met(card, collection.tracks)
    parts = {name: _part(name, card, collection.tracks, segments, met) for name in PARTS}
    return CheckpointEvaluation(tuple(card.genres), card.split, crop_seconds, parts)


def _part(
    name: str, card: ModelCard, tracks: Sequence[Track], segments: Sequence[np.ndarray], met: Sequence[str]
) -> Part | None:
    """Tracks of which the card says this; None where there are none."""
    places = [k for k, how in enumerate(met) if how == name]
    if not places:
        return None
    truth = np.array([card.genres.index(tracks[k].genre) for k in places], dtype=int)
    answers = Answers(truth, [segments[k] for k in places])
    return Part(tuple(tracks[k] for k in places), answers, score(answers))


def _met(card: ModelCard, tracks: Sequence[Track]) -> list[str]:
    """How the checkpoint met each track, by its sound, whatever its name is."""
    known = card.same_tracks({track.path: Identity(track.digest, track.fingerprint) for track in tracks})
    if not card.knows_sounds:
        _LOG.warning(
            "the card holds no fingerprints of all tracks: other copies of them count as unseen; train it again"
        )
    return [
        "unseen" if track.path not in known
        else "trained" if card.training_hashes.keys() & known[track.path]
        else "validated"
        for track in tracks
    ]  # fmt: skip
