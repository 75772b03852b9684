"""What every scored model offers (`Candidate`), and how objects of the older protocol come to offer it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ban_bids.audio.sameness import Fingerprint, Identity, Index, identify
from ban_bids.audio.waveforms import HASH_VERSION, HeardClip, audio_hash
from ban_bids.bids.names import alphanumeric
from ban_bids.constants import JOINT, REGIONS, SAMPLING_RATE, SMALL_DATA
from ban_bids.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*")
_MEMBERS = ("name", "frame_rate", "genres", "card", "fingerprint", "features", "genre_probabilities")


@dataclass(frozen=True)
class ModelCard:
    """What is known of how a checkpoint came about; stored beside its weights.

    Parameters
    ----------
    config : dict
        ``NetworkConfig.to_dict()``.
    genres : tuple of str
        Names of the read-out's classes in order.
    split : str
        How training and validation tracks were separated, in words.
    training_hashes, validation_hashes : dict
        Track name -> :func:`ban_bids.audio.waveforms.audio_hash`, for every track that trained or validated.
    hash_version : int
        :data:`ban_bids.audio.waveforms.HASH_VERSION` of these hashes.
    fingerprints : dict
        Track name -> text of its :class:`ban_bids.audio.sameness.Fingerprint`, for the same tracks. Cards without
        them (of older versions) know copies that are equal sample for sample only.
    excluded : dict
        Hashes of tracks that were left out on request.
    unreadable : tuple of str
        Files that could not be decoded and were skipped.
    notes : tuple of str
        Anything a reader of the scores should know: replicas, fallback of a split, a budget that ran out.
    metrics : dict
        Accuracy with its interval, and the like.
    settings : dict
        Seed, epochs and other training settings.
    versions : dict
        Of the libraries that made it.
    references : tuple of str
        Publications that describe the model, as a methods text cites them.
    training_known : bool
        Whether the hashes are those of all tracks; False where nobody says what trained the model.
    sources : tuple of str
        Collections that the tracks come from, each with its licence.
    """

    config: dict[str, Any]
    genres: tuple[str, ...]
    split: str = "unknown"
    training_hashes: dict[str, str] = field(default_factory=dict)
    validation_hashes: dict[str, str] = field(default_factory=dict)
    hash_version: int = HASH_VERSION
    fingerprints: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    training_known: bool = True
    sources: tuple[str, ...] = ()

    @property
    def small_data(self) -> str | None:
        """The note that few tracks have trained these weights, if that is so."""
        return next((note for note in self.notes if note.startswith(SMALL_DATA)), None)

    @property
    def hashes(self) -> dict[str, str]:
        """Name -> hash of every track that trained or validated the model."""
        return {**self.validation_hashes, **self.training_hashes}

    @property
    def knows_sounds(self) -> bool:
        """Whether all tracks are known by their sound, and not only by a hash of their samples."""
        return self.hashes.keys() <= self._sounds.keys()

    def knows(self, path: Path) -> bool:
        """Whether the recording in an audio file trained or validated the model, under whatever name."""
        return bool(self.same_tracks({path: identify(path)}))

    def same_tracks(self, files: Mapping[Path, Identity]) -> dict[Path, tuple[str, ...]]:
        """Which of the tracks that trained or validated the model are the recordings in some files.

        Parameters
        ----------
        files : mapping of Path to Identity
            Audio files, with :func:`ban_bids.audio.sameness.identify` of each.

        Returns
        -------
        dict of Path to tuple of str
            Names of tracks, sorted, of those files that the model knows, by hash or by sound.

        Raises
        ------
        DataError
            When the card is of an older version and a file cannot be decoded.
        """
        by_hash: dict[str, set[str]] = {}
        for name, digest in self.hashes.items():
            by_hash.setdefault(digest, set()).add(name)
        paths, names = list(files), list(self._sounds)
        found = {path: set(by_hash.get(self._hash(path, identity), ())) for path, identity in files.items()}
        sounds = Index(list(self._sounds.values()))
        for query, place in sounds.matches([identity.fingerprint for identity in files.values()]):
            found[paths[query]].add(names[place])
        return {path: tuple(sorted(tracks)) for path, tracks in found.items() if tracks}

    @cached_property
    def _sounds(self) -> dict[str, Fingerprint]:
        """Fingerprints that this version can read; others count as absent."""
        sounds = {}
        for name, text in self.fingerprints.items():
            with suppress(ValueError):
                sounds[name] = Fingerprint.of(text)
        return sounds

    def _hash(self, path: Path, identity: Identity) -> str:
        return identity.digest if self.hash_version == HASH_VERSION else audio_hash(path, self.hash_version)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelCard:
        """Rebuild from ``dataclasses.asdict``'s values, also after a trip through JSON and from older versions.

        Raises
        ------
        TypeError
            When they are not those of a card.
        """
        fields = {"hash_version": 1, **values}
        for name in ("genres", "unreadable", "notes", "references", "sources"):
            fields[name] = tuple(fields.get(name, ()))
        return cls(**fields)


class Candidate(Protocol):
    """A model whose layers are compared with cortical regions.

    Attributes
    ----------
    name : str
        Lower-case letters and digits: it enters file names (``desc-<name><Layer>``).
    layers : tuple of str
        Its layers in order: any number, any names whose letters and digits (:func:`layer_labels`) differ.
    frame_rate : dict of str to float
        Frames per second of each layer.
    sampling_rate : int
        Of the sound that it hears, Hz; clips are given at this rate.
    mapping : dict of str to str or None
        Layer -> region (one of :data:`ban_bids.constants.REGIONS`) that it stands for; None where the model
        maps no layer.
    genres : tuple of str
        Classes of its read-out; empty when it has none.
    card : ModelCard or None
        Where the weights come from; None is "unknown".
    fingerprint : str
        Changes when weights or front end change; keys caches.
    """

    name: str
    layers: tuple[str, ...]
    frame_rate: Mapping[str, float]
    sampling_rate: int
    mapping: Mapping[str, str] | None
    genres: tuple[str, ...]
    card: ModelCard | None

    @property
    def fingerprint(self) -> str:
        """An attribute, or computed when it is first asked for."""
        ...

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """Layer -> float32 array, (n_frames, n_features), of each clip; frame k: [k, k + 1) / frame rate."""
        ...

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """(n_clips, n_genres), or raise NotComputable where the model has no read-out."""
        ...


class _HearsWaveforms:
    """What hears plain waveforms at 22 050 Hz as a :class:`Candidate`."""

    sampling_rate = SAMPLING_RATE

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name: str = model.name
        self.layers: tuple[str, ...] = tuple(model.layers if hasattr(model, "layers") else model.areas)
        self.frame_rate: Mapping[str, float] = dict(model.frame_rate)
        self.mapping: Mapping[str, str] | None = mapping_by_name(self.layers)
        self.genres = tuple(model.genres)
        self.card = model.card
        self.fingerprint = model.fingerprint
        self.device = getattr(model, "device", "")

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """As :class:`Candidate`."""
        return self.model.features(waveforms(clips, self.sampling_rate))

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """As :class:`Candidate`."""
        return self.model.genre_probabilities(waveforms(clips, self.sampling_rate))


def as_candidate(model: Any) -> Candidate:
    """Return an object that somebody made as a candidate, or say what it lacks.

    Parameters
    ----------
    model : object
        A :class:`Candidate`; or, without the attribute ``mapping``, an object of the older protocol:
        ``features`` and ``genre_probabilities`` are given plain mono waveforms at 22 050 Hz, its layers are
        called ``layers`` or ``areas``, and those that are named as regions stand for these.

    Raises
    ------
    UsageError
        It lacks attributes, its name or layers cannot enter file names, a frame rate is missing, or its
        mapping names other layers or regions.
    """
    is_candidate = hasattr(model, "mapping")
    layers = "layers" if is_candidate or not hasattr(model, "areas") else "areas"
    wanted = [*_MEMBERS, layers, *(("sampling_rate",) if is_candidate else ())]
    if lacks := [member for member in wanted if not hasattr(model, member)]:
        raise UsageError(f"lacks {', '.join(lacks)}")
    candidate: Candidate = model if is_candidate else _HearsWaveforms(model)
    if not _NAME.fullmatch(candidate.name):
        raise UsageError(f"name {candidate.name!r} is not of the form [a-z][a-z0-9]*")
    layer_labels(candidate.layers)
    if without := [layer for layer in candidate.layers if layer not in candidate.frame_rate]:
        raise UsageError(f"layer {without[0]} has no frame rate")
    check_mapping(candidate.mapping, candidate.layers)
    return candidate


def waveforms(clips: Sequence[HeardClip], sampling_rate: int) -> list[np.ndarray]:
    """Waveforms of clips for a model of this sampling rate; ValueError for clips at another one."""
    if rates := {clip.sampling_rate for clip in clips} - {sampling_rate}:
        raise ValueError(f"clips at {rates.pop()} Hz for a model that hears {sampling_rate} Hz")
    return [clip.waveform for clip in clips]


def layer_labels(layers: Sequence[str]) -> dict[str, str]:
    """Layer -> its letters and digits, by which files and tables name it.

    Raises
    ------
    UsageError
        Two layers have the same label, or one has that of the joint model.
    """
    by_label: dict[str, str] = {}
    for layer in layers:
        label = alphanumeric(layer)
        if label == JOINT:
            raise UsageError(f"layer {layer!r} would be named {JOINT} in files, as the joint model is; rename it")
        if label in by_label:
            raise UsageError(
                f"layers {by_label[label]!r} and {layer!r} would both be named {label} in files; rename one"
            )
        by_label[label] = layer
    return {layer: label for label, layer in by_label.items()}


def mapping_by_name(layers: Sequence[str]) -> dict[str, str] | None:
    """Mapping of the layers that are called as regions to these; None where there are none."""
    return {layer: layer for layer in layers if layer in REGIONS} or None


def check_mapping(mapping: Mapping[str, str] | None, layers: Sequence[str]) -> None:
    """Refuse a mapping from layers that the model does not have, or to regions that there are not."""
    for layer, region in (mapping or {}).items():
        if layer not in layers:
            raise UsageError(f"mapping: there is no layer {layer!r} among {', '.join(layers)}")
        if region not in REGIONS:
            raise UsageError(f"mapping: {region!r} is no region; the regions are {', '.join(REGIONS)}")
