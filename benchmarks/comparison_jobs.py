"""One model on one fold: trained, asked in quiet, in noise and in pieces, measured, and all of it kept in its file."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hearing import QUIET, conditions
from last_layer import measure
from listeners import UNTRAINED, Fold, Listener, fitter
from step_probes import StepProbes

import ban_bids
from ban_bids.audio.waveforms import load_waveform
from ban_bids.constants import DEFAULT_SEED
from ban_bids.files.atomic import write_bytes
from ban_bids.models.presets import LOW_LEVEL, PRESETS, preset
from ban_bids.training.datasets import Collection
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import split_tracks

_FORMAT = 3
_DIGITS = 4
_DECIDING = ("hearing", "last_layer", "listeners", "step_probes")


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
        Holds one file per finished job, and the states of unfinished trainings.
    keep : bool
        Keep the weights of trained networks; without, they go when the job is done.
    device : str
        On which networks are trained.
    """

    collection: Collection
    n_folds: int
    settings: TrainingSettings
    folder: Path
    keep: bool = False
    device: str = "cpu"

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
            "device": self.device,
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{job.model}_seed-{job.seed}_fold-{job.fold}_{digest}.json.gz"

    def fold_of(self, job: Job) -> Fold:
        """Its tracks and settings."""
        settings = self.settings_of(job)
        split = split_tracks(self.collection.tracks, settings.split, settings.seed)
        # not beside the result: a card of the same name lies beside the weights
        weights = self.folder / "weights" / self.file_of(job).name.replace(".json.gz", ".safetensors")
        return Fold(self.collection, split.training, split.validation, settings, weights, self.device)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model answered to the tracks of a fold, and what was measured of it.

    Parameters
    ----------
    names, genres : list of str
        Of the fold's tracks.
    segments : list of ndarray, (n_segments, n_genres)
        Probabilities in quiet, in the order of the collection's genres.
    cpu_seconds, steps, ended, curve, resumed
        See :class:`listeners.Listener`.
    code : str
        Hash of the package's code of models and training.
    heard : dict of ndarray, (n_tracks, n_sounds, n_genres)
        Condition (:func:`hearing.conditions`) -> mean probabilities of each of a track's sounds.
    by_step : dict of dict of ndarray, (n_steps, n_tracks, n_sounds, n_genres)
        Read-out (:class:`step_probes.StepProbes`) -> condition -> the same after every step of the last area.
    measures, not_measured : dict
        See :func:`last_layer.measure`.
    """

    names: list[str]
    genres: list[str]
    segments: list[np.ndarray]
    cpu_seconds: float
    steps: int
    code: str
    ended: str | None = None
    curve: list[list[float]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    heard: dict[str, np.ndarray] = field(default_factory=dict)
    by_step: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    measures: dict[str, float | None] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)


def run(job: Job, plan: Plan) -> Path:
    """Do a job and write its result, whole or not at all.

    Returns
    -------
    Path
        :meth:`Plan.file_of`.
    """
    torch.set_num_threads(1)
    fold, fit = plan.fold_of(job), fitter(job.model)
    assert fit is not None  # the names were checked before
    fold.weights.parent.mkdir(exist_ok=True)
    listener = fit(job.model, fold)
    # recurrence.py asks these networks about their steps: both benchmarks share their jobs
    probes = StepProbes(listener, fold) if listener.n_steps > 1 else None
    result = {
        "names": [t.name for t in fold.validation],
        "genres": [t.genre for t in fold.validation],
        "cpu_seconds": round(listener.cpu_seconds, 2),
        "steps": listener.steps,
        "ended": listener.ended,
        "curve": [[int(step), round(float(loss), 4)] for step, loss in listener.curve],
        "resumed": list(listener.resumed),
        "code": code_hash(),
        **_answers(listener, fold, probes),
        **measure(listener, fold),
    }
    # small enough to be kept with the figures that are computed from them
    written = write_bytes(plan.file_of(job), gzip.compress(json.dumps(result).encode(), mtime=0))
    if not plan.keep:
        for path in (fold.weights, fold.weights.with_suffix(".json")):
            path.unlink(missing_ok=True)
    return written


def _answers(listener: Listener, fold: Fold, probes: StepProbes | None) -> dict[str, Any]:
    """Answers to every held-out track in every condition; one that not all tracks have is left out."""
    segments: list[list[list[float]]] = []
    heard: dict[str, list[Any]] = {}
    steps: dict[str, dict[str, list[Any]]] = {}
    for track in fold.validation:
        for condition, sounds in conditions(load_waveform(track.path), track.digest):
            answers = [listener.answer(sound) for sound in sounds]
            if condition == QUIET:
                segments.append(_rounded(answers[0]).tolist())
            heard.setdefault(condition, []).append([a.mean(axis=0) for a in answers])
            for kind, by_step in {} if probes is None else probes.answers(sounds).items():
                steps.setdefault(kind, {}).setdefault(condition, []).append(by_step)
    return {
        "segments": segments,
        "heard": {c: a.tolist() for c, a in _complete(heard, len(fold.validation)).items()},
        "by_step": {
            kind: {c: np.moveaxis(a, 1, 0).tolist() for c, a in _complete(of, len(fold.validation)).items()}
            for kind, of in steps.items()
        },
    }


def _complete(heard: Mapping[str, Sequence[Any]], n_tracks: int) -> dict[str, np.ndarray]:
    return {condition: _rounded(answers) for condition, answers in heard.items() if len(answers) == n_tracks}


def _rounded(answers: Any) -> np.ndarray:
    # in double precision, in which a rounded number is also short when written
    return np.round(np.asarray(answers, dtype=float), _DIGITS)


def load(path: Path) -> Outcome:
    """Read a result that :func:`run` wrote."""
    values = json.loads(gzip.decompress(path.read_bytes()))
    arrays = {
        "segments": [np.array(s) for s in values["segments"]],
        "heard": {c: np.array(a) for c, a in values.get("heard", {}).items()},
        "by_step": {
            kind: {c: np.array(a) for c, a in of.items()} for kind, of in values.get("by_step", {}).items()
        },
    }  # fmt: skip
    return Outcome(**{**values, **arrays})


def check(name: str) -> None:
    """Refuse the name of a model that there is not."""
    if fitter(name) is None:
        raise SystemExit(
            f"--models {name}: unknown; choose among {', '.join([*PRESETS, *LOW_LEVEL])}, PRESET{UNTRAINED}"
        )


def check_folds(plan: Plan, n_seeds: int) -> None:
    """Refuse folds without a training track of some class.

    A read-out that is fitted there numbers the classes that it met: its answers would be taken for those of others.
    """
    for seed, fold in product(range(n_seeds), range(plan.n_folds)):
        settings = plan.settings_of(Job("", seed, fold))
        trained = {t.genre for t in split_tracks(plan.collection.tracks, settings.split, settings.seed).training}
        if missing := sorted(set(plan.collection.genres) - trained):
            raise SystemExit(
                f"--folds {plan.n_folds}: of seed {seed}, fold {fold} leaves no track of {', '.join(missing)} to train "
                "on; choose other folds, or give a folder without such classes"
            )


def default_models() -> list[str]:
    """Every preset, BAN without training, and every low-level model."""
    return [*PRESETS, f"ban{UNTRAINED}", *LOW_LEVEL]


def code_hash() -> str:
    """Hash over the code that decides a result."""
    root = Path(ban_bids.__file__).parent
    files = sorted(file for part in ("audio", "models", "training") for file in (root / part).rglob("*.py"))
    files += [Path(__file__).with_name(f"{name}.py") for name in _DECIDING]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def jobs_of(models: Sequence[str], n_seeds: int, n_folds: int) -> Iterator[Job]:
    """Fold by fold, so that all models are equally far on whenever one looks."""
    return (Job(m, s, f) for s in range(n_seeds) for f in range(n_folds) for m in models)
