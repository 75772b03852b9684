"""A linear read-out of classes for any model: logistic regression on time-pooled features of one of its layers.

Every layer is tried with every penalty on inner folds, whose parts are recordings; the pair with the smallest loss is
fitted to all. The read-out is kept with a card that says on which tracks it was fitted, as that of a trained network.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ban_bids import __version__
from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import CheckpointError, DataError, NotComputable
from ban_bids.files.hashing import json_digest
from ban_bids.files.locks import file_lock
from ban_bids.files.npz import read_arrays, write_arrays
from ban_bids.files.progress import progress
from ban_bids.files.sounds import audio_seconds
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate, ModelCard
from ban_bids.models.checkpoint import load_tensors, save_tensors
from ban_bids.models.low_level import LinearReadout, moments
from ban_bids.training.datasets import Collection, Track
from ban_bids.training.low_level import fit_linear
from ban_bids.training.records import Trained, training_card
from ban_bids.training.scores import Answers, Evaluation, score
from ban_bids.training.splits import Split

_LOG = logging.getLogger(__name__)

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""C of the logistic regression, the strongest penalty first."""

N_FOLDS = 5
"""Inner folds, fewer where there are fewer recordings."""

MAX_EXCERPTS = 3
"""Excerpts per track at most."""

_ARCHITECTURE = "linear-readout"
_BATCH = 8
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Manner:
    """How tracks are heard: as the clips are that the read-out is to answer to.

    Parameters
    ----------
    seconds : float
        Length of an excerpt; a shorter track is heard whole.
    fade, rms
        As of a :class:`~ban_bids.inputs.types.Clip`.
    """

    seconds: float = 10.0
    fade: float = 0.0
    rms: float | None = None

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Manner:
        """Median length of clips, and the fade and level that all have in common."""
        fades, levels = {clip.fade for clip in clips}, {clip.rms for clip in clips}
        return cls(
            float(np.median([clip.duration for clip in clips])),
            fades.pop() if len(fades) == 1 else 0.0,
            levels.pop() if len(levels) == 1 else None,
        )


@dataclass(frozen=True, eq=False)
class FittedReadout:
    """A model with a linear read-out of one of its layers; the model itself stays as it is.

    Parameters
    ----------
    model : Candidate
    layer : str
        Whose features, pooled over the clip, are read.
    linear : LinearReadout
    card : ModelCard
        Of the read-out: classes, tracks, accuracy; not of the model's own weights.
    """

    model: Candidate
    layer: str
    linear: LinearReadout
    card: ModelCard

    @property
    def genres(self) -> tuple[str, ...]:
        """Classes."""
        return self.card.genres

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """(n_clips, n_genres), of whole clips."""
        batches = [clips[first : first + _BATCH] for first in range(0, len(clips), _BATCH)]
        rows = [pooled(self.model, batch)[self.layer] for batch in progress(batches, f"read-out of {self.model.name}")]
        return self.linear.probabilities(np.concatenate(rows))


@dataclass(frozen=True, eq=False)
class Chosen:
    """What inner folds chose, fitted to all rows.

    Parameters
    ----------
    layer : str
    penalty : float
        One of :data:`PENALTIES`.
    readout : LinearReadout
    evaluation : Evaluation
        Of recordings, each answered by a read-out that was fitted without its fold, of the layer and penalty that the
        *other* folds choose: no recording takes part in the choice that answers it.
    of_folds : tuple of (str, float)
        That layer and penalty, per fold.
    """

    layer: str
    penalty: float
    readout: LinearReadout
    evaluation: Evaluation
    of_folds: tuple[tuple[str, float], ...]


def choose_readout(
    layers: Sequence[str],
    summaries: Callable[[str], np.ndarray],
    labels: np.ndarray,
    recordings: np.ndarray,
    *,
    seed: int,
) -> Chosen:
    """Choose layer and penalty on inner folds, and fit.

    Parameters
    ----------
    layers : sequence of str
        In order; of equal losses the earlier one's is taken, and the stronger penalty.
    summaries : callable
        Layer -> ndarray, (n, n_statistics).
    labels : ndarray of int, (n,)
        Classes from 0 on, each of two recordings at least.
    recordings : ndarray of int, (n,)
        Rows of one recording, which has one class, are never on both sides of a fold.
    seed : int
        Of the folds.

    Returns
    -------
    Chosen

    Notes
    -----
    The loss is the mean of -log p of the true class; in it, and in fitting, every class counts the same, within a class
    every recording, and within a recording every row.
    """
    fold = inner_folds(labels, recordings, seed)
    weights = balanced_weights(labels, recordings)
    pairs = [(layer, penalty) for layer in layers for penalty in PENALTIES]
    probabilities = np.empty((len(pairs), len(labels), labels.max() + 1))
    for k, layer in enumerate(progress(list(layers), "read-out of layers")):
        features = summaries(layer)
        for held in np.unique(fold):
            out = fold == held
            own = balanced_weights(labels[~out], recordings[~out])
            for j, penalty in enumerate(PENALTIES):
                readout = fit_linear(features[~out], labels[~out], penalty=penalty, weights=own)
                probabilities[k * len(PENALTIES) + j, out] = readout.probabilities(features[out])
    losses = -np.log(np.maximum(probabilities[:, np.arange(len(labels)), labels], _SMALLEST)) * weights
    best = int(losses.sum(axis=1).argmin())
    of_others = {held: int(losses[:, fold != held].sum(axis=1).argmin()) for held in np.unique(fold)}
    answers = np.stack([probabilities[of_others[held], row] for row, held in enumerate(fold)])
    places = [np.flatnonzero(recordings == name) for name in np.unique(recordings)]
    truth = np.array([labels[rows[0]] for rows in places])
    layer, penalty = pairs[best]
    return Chosen(
        layer,
        penalty,
        fit_linear(summaries(layer), labels, penalty=penalty, weights=weights),
        score(Answers(truth, [answers[rows] for rows in places])),
        tuple(pairs[of_others[held]] for held in np.unique(fold)),
    )


def inner_folds(labels: np.ndarray, recordings: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each row: the recordings of each class in random order are dealt to the folds in turn, class by class."""
    names, first = np.unique(recordings, return_index=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(labels[first][order], kind="stable")]
    dealt = np.empty(len(names), dtype=int)
    dealt[order] = np.arange(len(names)) % min(N_FOLDS, len(names))
    return dealt[np.searchsorted(names, recordings)]


def balanced_weights(labels: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """Weight of each row, (n,): classes alike, recordings of a class alike, rows of a recording alike.

    They add up to the number of recordings, so that a penalty means the same however many rows each has.
    """
    _, row_of, n_rows = np.unique(recordings, return_inverse=True, return_counts=True)
    share = 1.0 / n_rows[row_of]
    of_class = np.bincount(labels, weights=share)
    return share / of_class[labels] * len(n_rows) / np.count_nonzero(of_class)


def pooled(model: Candidate, clips: Sequence[HeardClip]) -> dict[str, np.ndarray]:
    """Mean and standard deviation over frames of every feature, by layer: float32, (n_clips, 2 · n_features).

    Raises
    ------
    DataError
        Features are not finite.
    """
    features = model.features(clips)
    rows = {layer: [moments(np.asarray(one[layer], np.float64)) for one in features] for layer in model.layers}
    arrays = {layer: np.stack(of_layer).astype(np.float32) for layer, of_layer in rows.items()}
    if broken := [layer for layer, values in arrays.items() if not np.isfinite(values).all()]:
        raise DataError(f"model {model.name}: features of {broken[0]} are not finite ({clips[0]}); check its weights")
    return arrays


def excerpts(track: Track, manner: Manner) -> list[Clip]:
    """Excerpts of a track, as many as fit side by side, at most :data:`MAX_EXCERPTS`, spread evenly over it."""
    length = audio_seconds(track.path)
    seconds = min(manner.seconds, length)
    n = min(MAX_EXCERPTS, max(1, int(length / seconds + 1e-6)))
    starts = [max(0.0, (k + 0.5) * length / n - seconds / 2) for k in range(n)]
    return [Clip(track.path, start, seconds, track.name, track.genre, manner.fade, manner.rms) for start in starts]


class PooledFeatures:
    """Pooled features of the excerpts of tracks, computed once per track and kept on disk.

    Parameters
    ----------
    model : Candidate
    tracks : sequence of Track
    manner : Manner
    folder : Path
        One small file per track, named by all that its content depends on.
    """

    def __init__(self, model: Candidate, tracks: Sequence[Track], manner: Manner, folder: Path) -> None:
        self.model = model
        self.tracks = tuple(tracks)
        self._clips = {track: excerpts(track, manner) for track in tracks}
        device = str(getattr(model, "device", ""))  # a GPU rounds otherwise
        fixed = [__version__, model.fingerprint, device, model.sampling_rate, asdict(manner), MAX_EXCERPTS]
        self._path = {track: folder / f"{json_digest([*fixed, track.digest])}.npz" for track in tracks}

    def compute(self) -> None:
        """Compute what is not on disk yet."""
        missing = [track for track in self.tracks if not self._path[track].exists()]
        for track in progress(missing, f"features of {self.model.name} for its read-out"):
            self._computed(track)

    @property
    def rows_of(self) -> np.ndarray:
        """Place of the track of each row, (n_excerpts,)."""
        return np.repeat(np.arange(len(self.tracks)), [len(self._clips[track]) for track in self.tracks])

    def of_layer(self, layer: str) -> np.ndarray:
        """(n_excerpts, 2 · n_features), float64, track after track; damaged files are made anew."""
        stored = (read_arrays(self._path[track], layer) or self._computed(track) for track in self.tracks)
        return np.concatenate([arrays[layer] for arrays in stored]).astype(np.float64)

    def _computed(self, track: Track) -> Mapping[str, np.ndarray]:
        arrays = pooled(self.model, [HeardClip(clip, self.model.sampling_rate) for clip in self._clips[track]])
        write_arrays(self._path[track], arrays)
        return arrays


def readout_once(
    model: Candidate, collection: Collection, classes: Sequence[str], *, manner: Manner, folder: Path, seed: int
) -> FittedReadout:
    """Fit a model's read-out, unless it was fitted before on the same tracks in the same way.

    Parameters
    ----------
    model : Candidate
    collection : Collection
        One track of each recording, without those that must not be heard.
    classes : sequence of str
        Of the collection, those to tell apart; one with a single recording is left out, which the card notes.
    manner : Manner
        How the tracks are heard.
    folder : Path
        Keeps read-outs, by all that they depend on, and the features that they were fitted on. Processes that share it
        wait for each other.
    seed : int
        Of the folds.

    Returns
    -------
    FittedReadout

    Raises
    ------
    NotComputable
        Fewer than two classes have two recordings.
    DataError
        The model gives no features of a track.
    """
    counts = Counter(track.genre for track in collection.tracks)
    usable = tuple(name for name in collection.genres if name in classes and counts[name] > 1)
    single = [name for name in collection.genres if name in classes and counts[name] == 1]
    if len(usable) < 2:
        known = ", ".join(f"{name} {counts[name]}" for name in collection.genres if name in classes) or "none"
        raise NotComputable(
            f"a read-out needs two classes of two recordings each; of those that people chose among there are: {known}"
        )
    used = replace(collection, genres=usable, tracks=tuple(t for t in collection.tracks if t.genre in usable))
    notes = (f"classes with one recording, left out of the read-out: {', '.join(single)}",) if single else ()
    settings = {
        "fingerprint": model.fingerprint, "manner": asdict(manner), "max_excerpts": MAX_EXCERPTS, "seed": seed,
        "penalties": PENALTIES, "n_folds": N_FOLDS, "device": str(getattr(model, "device", "")),
    }  # fmt: skip
    tracks = [(track.name, track.genre, track.digest) for track in used.tracks]
    excluded = sorted(track.digest for track in used.excluded)
    key = json_digest([__version__, settings, tracks, excluded, single])
    path = folder / f"{model.name}-{key[:16]}.safetensors"
    with file_lock(path.with_suffix(".lock")):
        if (known_one := _stored(path, model)) is not None:
            _LOG.info("%s: fitted before on the same tracks; used again", path)
            return known_one
        features = PooledFeatures(model, used.tracks, manner, folder / "features")
        features.compute()
        trained, split = _fitted(features, used, seed, settings, notes)
        trained.save(path, training_card(trained, used, split))
        fitted = _stored(path, model)
    if fitted is None:
        raise DataError(f"{path}: damaged as soon as it is written; check the disk or give another -w")
    return fitted


def _fitted(
    features: PooledFeatures, collection: Collection, seed: int, settings: dict[str, object], notes: tuple[str, ...]
) -> tuple[Trained, Split]:
    """Read-out of the collection's tracks, with all that its card says."""
    recordings = features.rows_of
    labels = np.array(collection.labels(collection.tracks))[recordings]
    chosen = choose_readout(features.model.layers, features.of_layer, labels, recordings, seed=seed)
    accuracy = chosen.evaluation.track_accuracy
    _LOG.info(
        "read-out of %s: layer %s, accuracy on inner folds %.2f (95 %% interval %.2f-%.2f, %d tracks, %d classes)",
        features.model.name, chosen.layer, accuracy.value, *accuracy.interval, len(collection.tracks),
        len(collection.genres),
    )  # fmt: skip
    if chosen.penalty in (PENALTIES[0], PENALTIES[-1]):
        notes += (f"the penalty of the read-out lies at the end of what was tried (C = {chosen.penalty:g})",)
    trained = Trained(
        config={"layer": chosen.layer, "penalty": chosen.penalty},
        evaluation=chosen.evaluation,
        save=lambda path, card: save_tensors(path, chosen.readout.tensors, _ARCHITECTURE, card),
        settings=settings,
        metrics={"of_folds": [list(pair) for pair in chosen.of_folds]},
        notes=notes,
    )
    split = Split(f"all fitted; accuracy from {len(chosen.of_folds)} folds of recordings", collection.tracks, ())
    return trained, split


def _stored(path: Path, model: Candidate) -> FittedReadout | None:
    """A read-out that was kept; None where there is none, or it is damaged, which is logged."""
    if not path.exists():
        return None
    try:
        tensors, _, card = load_tensors(path)
        if card is None:
            raise CheckpointError(f"{path}: has no card")
        return FittedReadout(model, str(card.config["layer"]), LinearReadout.of(path, tensors, card), card)
    except (CheckpointError, KeyError) as err:
        _LOG.warning("%s; fitted anew", err)
        return None
