"""One model on one fold: trained, asked, and its answers kept in its file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ban_bids
from ban_bids.constants import DEFAULT_SEED
from ban_bids.files.json import write_json
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.network import AuditoryNetwork, measure_normalisation
from ban_bids.models.presets import LOW_LEVEL, PRESETS, build, preset
from ban_bids.training.datasets import Collection, Track, log_mel_frames
from ban_bids.training.evaluate import crop_length, fitted_crops, segment_frames, segment_probabilities
from ban_bids.training.grouped import group_of
from ban_bids.training.low_level import fit_low_level, summaries_of
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import split_tracks
from ban_bids.training.train import set_statistics, train_collection

UNTRAINED = "-untrained"
_FORMAT = 1
_PENALTIES = {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]}


@dataclass(frozen=True)
class Job:
    """A model, a seed and a fold.

    The seed, counted from the package's default, fixes weights, crops and which tracks make the folds.
    """

    model: str
    seed: int
    fold: int


@dataclass(frozen=True)
class Plan:
    """What all jobs share.

    Parameters
    ----------
    collection : Collection
    n_folds : int
    settings : TrainingSettings
        Preset, split and seed are the job's.
    folder : Path
        Holds one file per finished job.
    """

    collection: Collection
    n_folds: int
    settings: TrainingSettings
    folder: Path

    def settings_of(self, job: Job) -> TrainingSettings:
        """The job's own settings."""
        split = f"kfold-{job.fold}-of-{self.n_folds}"
        name = job.model.removesuffix(UNTRAINED)
        known = name if name in PRESETS else self.settings.preset
        return replace(self.settings, preset=known, split=split, seed=DEFAULT_SEED + job.seed)

    def file_of(self, job: Job) -> Path:
        """Where its result lies; the name changes with settings, architecture and tracks."""
        settings = self.settings_of(job)
        parts = {
            "format": _FORMAT,
            "job": asdict(job),
            "settings": asdict(settings),
            "network": preset(settings.preset).to_dict(),
            "tracks": [(t.name, t.genre, t.digest, t.group) for t in self.collection.tracks],
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{job.model}_seed-{job.seed}_fold-{job.fold}_{digest}.json"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model answered to the tracks of a fold.

    Parameters
    ----------
    names, genres : list of str
        Of the fold's tracks.
    segments : list of ndarray, (n_segments, n_genres)
        Probabilities, in the order of the collection's genres.
    cpu_seconds : float
        Processor time of the training itself: its steps for a network, features and fit for others.
    steps : int
        Of gradient descent; 0 for models that make none.
    code : str
        Hash of the package's code of models and training.
    """

    names: list[str]
    genres: list[str]
    segments: list[np.ndarray]
    cpu_seconds: float
    steps: int
    code: str


@dataclass(frozen=True)
class Fold:
    """A fold's tracks, and the settings of its job."""

    collection: Collection
    training: Sequence[Track]
    validation: Sequence[Track]
    settings: TrainingSettings

    @property
    def labels(self) -> np.ndarray:
        """Numbers of the training tracks' genres."""
        return np.array(self.collection.labels(self.training), dtype=int)

    def frames(self, tracks: Sequence[Track], network: AuditoryNetwork) -> list[np.ndarray]:
        """Log-mel frames of tracks, as the network wants them."""
        return log_mel_frames(tracks, network.front_end, self.collection.cache)


Special = Callable[[str, Fold], tuple[list[np.ndarray], float]]
"""Fits a model that is no trained network; returns each validation track's segments and processor seconds."""


def run(job: Job, plan: Plan) -> Path:
    """Do a job and write its result, whole or not at all.

    Returns
    -------
    Path
        :meth:`Plan.file_of`.
    """
    torch.set_num_threads(1)
    settings = plan.settings_of(job)
    split = split_tracks(plan.collection.tracks, settings.split, settings.seed)
    fold = Fold(plan.collection, split.training, split.validation, settings)
    if job.model in PRESETS:
        segments, seconds, steps = _trained(fold)
    else:
        fit = special(job.model)
        assert fit is not None  # the names were checked before
        (segments, seconds), steps = fit(job.model, fold), 0
    result = {
        "names": [t.name for t in fold.validation],
        "genres": [t.genre for t in fold.validation],
        "segments": [np.round(s, 6).tolist() for s in segments],
        "cpu_seconds": round(seconds, 2),
        "steps": steps,
        "code": code_hash(),
    }
    return write_json(plan.file_of(job), result)


def load(path: Path) -> Outcome:
    """Read a result that :func:`run` wrote."""
    values = json.loads(path.read_text())
    return Outcome(**{**values, "segments": [np.array(s) for s in values["segments"]]})


def check(name: str) -> None:
    """Refuse the name of a model that there is not."""
    if name not in PRESETS and special(name) is None:
        raise SystemExit(
            f"--models {name}: unknown; choose among {', '.join([*PRESETS, *LOW_LEVEL])}, PRESET{UNTRAINED}"
        )


def default_models() -> list[str]:
    """Every preset, BAN without training, and every low-level model."""
    return [*PRESETS, f"ban{UNTRAINED}", *LOW_LEVEL]


def special(name: str) -> Special | None:
    """How a model that is no preset is fitted; None for an unknown one."""
    if name.endswith(UNTRAINED) and name.removesuffix(UNTRAINED) in PRESETS:
        return _untrained
    return _low_level if name in LOW_LEVEL else None


def about(name: str) -> dict[str, str]:
    """How a model came by its answers, in a word: ``kind``."""
    if name in PRESETS:
        return {"kind": "trained network"}
    if name in LOW_LEVEL:
        return {"kind": "logistic regression on whole tracks"}
    return {"kind": "random network, logistic regression"}


def code_hash() -> str:
    """Hash over the code that decides a result."""
    root = Path(ban_bids.__file__).parent
    files = sorted(file for part in ("audio", "models", "training") for file in (root / part).glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _trained(fold: Fold) -> tuple[list[np.ndarray], float, int]:
    """Train a network within the budget; its checkpoint is not kept."""
    with TemporaryDirectory(prefix="ban-bids-compare-") as folder:
        started = time.process_time()
        out = Path(folder) / "w.safetensors"
        path = train_collection(fold.collection, out, fold.settings, nthreads=1, device="cpu", progress=False)
        whole = time.process_time() - started
        network, card = load_checkpoint(path)
    assert card is not None
    length = crop_length(network, card.settings["crop_seconds"])  # shorter than asked for where recordings are
    frames = fold.frames(fold.validation, network)
    segments = [segment_probabilities(network, f, length) for f in frames]
    used = card.metrics.get("budget_minutes_used")
    return segments, whole if used is None else 60.0 * used, card.metrics["steps"]


def _untrained(name: str, fold: Fold) -> tuple[list[np.ndarray], float]:
    """Logistic regression on what the read-out of a random network, normalised on the training music, would get."""
    started = time.process_time()
    network = build(preset(name.removesuffix(UNTRAINED)), len(fold.collection.genres), fold.settings.seed)
    training = fold.frames(fold.training, network)
    length = fitted_crops(fold.settings, network, training, [range(len(training))])[1]
    set_statistics(network, training)
    segments = (torch.from_numpy(segment_frames(f, length)) for f in training)
    measure_normalisation(network, map(network.front_end.standardise, segments), network.from_frames)
    pooled = [pooled_features(network, segment_frames(f, length)) for f in training]
    groups = [group_of(track) for track in fold.training] if fold.collection.group else None
    model = fit_logistic(pooled, fold.labels, groups)
    seconds = time.process_time() - started
    validation = fold.frames(fold.validation, network)
    tested = [pooled_features(network, segment_frames(f, length)) for f in validation]
    return [model.predict_proba(x) for x in tested], seconds


def _low_level(name: str, fold: Fold) -> tuple[list[np.ndarray], float]:
    """Logistic regression on whole tracks, its penalty fixed beforehand; one segment a track."""
    started = time.process_time()
    summaries = summaries_of(name, fold.training)
    model = fit_low_level(name, summaries, fold.labels.tolist(), n_genres=len(fold.collection.genres))
    seconds = time.process_time() - started
    assert model.readout is not None
    probabilities = model.readout.probabilities(summaries_of(name, fold.validation))
    return [row[None] for row in probabilities], seconds


def pooled_features(network: AuditoryNetwork, log_mel: np.ndarray) -> np.ndarray:
    """What the read-out gets, (n_segments, n_features), from log-mel segments."""
    caught: list[torch.Tensor] = []
    hook = network.readout.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    try:
        with torch.no_grad():
            network.from_frames(network.front_end.standardise(torch.from_numpy(log_mel)))
    finally:
        hook.remove()
    return caught[0].numpy()


def fit_logistic(
    segments: Sequence[np.ndarray], labels: np.ndarray, groups: Sequence[str] | None = None
) -> GridSearchCV:
    """Logistic regression on segments, its penalty chosen on folds of the training tracks.

    Parameters
    ----------
    segments : sequence of ndarray, (n_segments, n_features)
        One entry per track.
    labels : ndarray of int, (n_tracks,)
    groups : sequence of str, optional
        What a fold must not divide, such as speakers; by default each track.

    Returns
    -------
    GridSearchCV
        Fitted; its probabilities are in the order of the genres' numbers.
    """
    counts = [len(s) for s in segments]
    names: Sequence[int] | Sequence[str] = range(len(segments)) if groups is None else groups
    folds = GroupKFold(min(5, len(set(names))), shuffle=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(pipeline, _PENALTIES, cv=folds)
    return search.fit(np.concatenate(segments), np.repeat(labels, counts), groups=np.repeat(names, counts))
