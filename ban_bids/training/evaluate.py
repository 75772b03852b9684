"""How well a network recognises the genres of whole tracks, from half-overlapping segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ban_bids.audio.waveforms import HeardClip, load_waveform
from ban_bids.errors import CheckpointError, DataError
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint, load_tensors
from ban_bids.models.low_level import load_low_level
from ban_bids.models.network import AuditoryNetwork, resolve_device
from ban_bids.models.presets import LOW_LEVEL
from ban_bids.training.cache import AudioCache
from ban_bids.training.datasets import Track, log_mel_frames, read_collection
from ban_bids.training.evaluation_scores import Answers, Evaluation, score

PARTS = ("unseen", "validated", "trained")
"""What a checkpoint's card says of a track; their figures are never put together."""

_CROP_SECONDS = 5.12


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
    """

    genres: tuple[str, ...]
    split: str
    crop_seconds: float | None
    parts: dict[str, Part | None]

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
            if part is None:
                plain[name] = None
                continue
            rows = zip(self.genres, part.evaluation.genre_rows)
            plain[name] = {
                **part.evaluation.to_dict(),
                "per_genre": {genre: _rounded(asdict(row)) for genre, row in rows},
                "reliability": [_rounded(asdict(entry)) for entry in part.evaluation.reliability],
            }
        return plain


def evaluate(
    network: AuditoryNetwork,
    frames: Sequence[np.ndarray],
    labels: Sequence[int],
    n_genres: int,
    crop_frames: int,
    seed: int = 0,
    n_bootstrap: int = 2000,
) -> Evaluation:
    """Recognise whole tracks by averaging the probabilities of half-overlapping segments.

    Parameters
    ----------
    network : AuditoryNetwork
        In evaluation mode, with a read-out of ``n_genres``.
    frames : sequence of ndarray, (n_mels, n_frames)
        Log-mel frames of whole tracks.
    labels : sequence of int
        True genres.
    n_genres : int
    crop_frames : int
        Length of a segment.
    seed, n_bootstrap : int
        Of the intervals over tracks.

    Returns
    -------
    Evaluation
    """
    if network.readout.out_features != n_genres:
        raise ValueError(f"a read-out of {network.readout.out_features} genres for {n_genres}")
    segments = [segment_probabilities(network, f, crop_frames) for f in frames]
    return score(Answers(np.asarray(labels, dtype=int), segments), n_bootstrap, seed)


def segment_probabilities(network: AuditoryNetwork, frames: np.ndarray, crop_frames: int) -> np.ndarray:
    """Softmax for each half-overlapping segment of one track; the last one ends where the track ends.

    Parameters
    ----------
    network : AuditoryNetwork
    frames : ndarray, (n_mels, n_frames)
        A track shorter than a segment is one segment.
    crop_frames : int

    Returns
    -------
    ndarray of float64, (n_segments, n_genres)
    """
    crops = segment_frames(frames, crop_frames)
    device = network.readout.weight.device
    with torch.no_grad():
        logits = _logits(network, torch.from_numpy(crops).to(device))
    return torch.softmax(logits.double(), dim=1).cpu().numpy()


def segment_frames(frames: np.ndarray, crop_frames: int) -> np.ndarray:
    """Half-overlapping segments of one track, (n_segments, n_mels, crop_frames), float32."""
    last = max(0, frames.shape[1] - crop_frames)
    starts = sorted({*range(0, last + 1, max(1, crop_frames // 2)), last})
    return np.stack([frames[:, s : s + crop_frames] for s in starts]).astype(np.float32)


def crop_length(network: AuditoryNetwork, seconds: float) -> int:
    """Log-mel frames of so many seconds, a whole number of frames of the slowest area."""
    stride = network.config.time_stride
    return stride * max(1, round(seconds * network.front_end.config.frame_rate / stride))


def _logits(network: AuditoryNetwork, log_mel: Tensor) -> Tensor:
    short = -log_mel.shape[-1] % network.config.time_stride
    padded = torch.nn.functional.pad(log_mel, (0, short), mode="replicate") if short else log_mel
    return network.from_frames(network.front_end.standardise(padded))[0]


def evaluate_checkpoint(
    checkpoint: Path,
    data_dir: Path,
    exclude: Iterable[Path] = (),
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
    model = _stored(Path(checkpoint), device)
    collection = read_collection(data_dir, exclude, cache)
    genres = model.card.genres
    strangers = sorted(set(collection.genres) - set(genres))
    if strangers:
        raise DataError(f"{data_dir}: the checkpoint does not know the genres {', '.join(strangers)}")
    parts: dict[str, Part | None] = {}
    for name, tracks in _parts(model.card, collection.tracks).items():
        if not tracks:
            parts[name] = None
            continue
        truth = np.array([genres.index(t.genre) for t in tracks], dtype=int)
        answers = Answers(truth, model.ask(tracks, collection.cache))
        parts[name] = Part(tracks, answers, score(answers))
    return CheckpointEvaluation(tuple(genres), model.card.split, model.crop_seconds, parts)


@dataclass(frozen=True)
class _Stored:
    """A checkpoint's card, the probabilities it gives to tracks' segments, and their length."""

    card: ModelCard
    ask: Callable[[Sequence[Track], AudioCache], list[np.ndarray]]
    crop_seconds: float | None


def _stored(checkpoint: Path, device: str) -> _Stored:
    """A network, asked segment by segment, or a low-level model, asked about whole tracks."""
    _, architecture, card = load_tensors(checkpoint)
    if card is None:
        raise CheckpointError(f"{checkpoint}: has no model card, so its genres are unknown; train it again")
    if architecture in LOW_LEVEL:
        model = load_low_level(checkpoint)

        def whole(tracks: Sequence[Track], cache: AudioCache) -> list[np.ndarray]:
            rate = model.sampling_rate
            heard = (HeardClip(None, rate, load_waveform(track.path, sampling_rate=rate)) for track in tracks)
            return [model.genre_probabilities([clip]) for clip in heard]

        return _Stored(card, whole, None)
    network, _ = load_checkpoint(checkpoint)
    crop_frames = crop_length(network, float(card.settings.get("crop_seconds", _CROP_SECONDS)))

    def by_segment(tracks: Sequence[Track], cache: AudioCache) -> list[np.ndarray]:
        frames = log_mel_frames(tracks, network.front_end.cpu(), cache)
        network.to(resolve_device(device))
        return [segment_probabilities(network, f, crop_frames) for f in frames]

    return _Stored(card, by_segment, crop_frames / network.front_end.config.frame_rate)


def _parts(card: ModelCard, tracks: Iterable[Track]) -> dict[str, tuple[Track, ...]]:
    """Tracks by what the card says of their content, whatever their names are."""
    training, validation = set(card.training_hashes.values()), set(card.validation_hashes.values())
    parts: dict[str, list[Track]] = {name: [] for name in PARTS}
    for track in tracks:
        known = "trained" if track.digest in training else "validated"
        parts[known if track.digest in training | validation else "unseen"].append(track)
    return {name: tuple(found) for name, found in parts.items()}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
