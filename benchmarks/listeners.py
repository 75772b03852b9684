"""Every kind of model of a comparison, fitted on a fold's training tracks and ready to be asked about any sound."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import AREAS, SAMPLING_RATE
from ban_bids.models.candidate import Candidate
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.network import AuditoryNetwork, NetworkModel
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import LOW_LEVEL, PRESETS, build, preset
from ban_bids.training.datasets import Collection, Track, log_mel_frames
from ban_bids.training.evaluate import crop_length, fitted_crops, segment_frames, segment_probabilities
from ban_bids.training.grouped import group_of
from ban_bids.training.low_level import fit_low_level, summaries_of
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.train import set_statistics, train_collection

UNTRAINED = "-untrained"
_PENALTIES = {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]}


@dataclass(frozen=True)
class Fold:
    """A fold's tracks, and the settings of its job.

    Parameters
    ----------
    collection : Collection
    training, validation : sequence of Track
    settings : TrainingSettings
    weights : Path
        Where a training keeps its state while it goes on, and its weights when it has ended.
    device : str
        On which networks are trained.
    """

    collection: Collection
    training: Sequence[Track]
    validation: Sequence[Track]
    settings: TrainingSettings
    weights: Path
    device: str = "cpu"

    @property
    def labels(self) -> np.ndarray:
        """Numbers of the training tracks' genres."""
        return np.array(self.collection.labels(self.training), dtype=int)

    def frames(self, network: AuditoryNetwork) -> list[np.ndarray]:
        """Log-mel frames of the training tracks, as the network wants them."""
        return log_mel_frames(self.training, network.front_end, self.collection.cache)


@dataclass(frozen=True, eq=False)
class Listener:
    """A fitted model.

    Parameters
    ----------
    answer : callable
        Waveform (n_samples,) -> probabilities of its segments, (n_segments, n_genres).
    model : Candidate
        Gives the features of its layers.
    crop_frames : int
        Log-mel frames of a segment; 0 for models that hear sounds whole.
    cpu_seconds : float
        Processor time of the training itself: its steps for a network, features and fit for others.
    steps : int
        Of gradient descent; 0 for models that make none.
    ended : str or None
        Why a training ended: ``plateau``, ``time`` or ``steps``; None where the card does not say, or where nothing
        was trained by steps.
    curve : list of [step, loss]
        Mean training loss up to each step; empty where it was not kept.
    resumed : list of int
        Steps after which the training was interrupted and taken up again.
    """

    answer: Callable[[np.ndarray], np.ndarray]
    model: Candidate
    crop_frames: int
    cpu_seconds: float
    steps: int = 0
    ended: str | None = None
    curve: Sequence[Sequence[float]] = ()
    resumed: Sequence[int] = field(default=())

    @property
    def network(self) -> AuditoryNetwork | None:
        """The network, where the model is one."""
        return self.model.network if isinstance(self.model, NetworkModel) else None

    @property
    def n_steps(self) -> int:
        """Steps of the network's last area; 0 where the model is no network."""
        if self.network is None:
            return 0
        frames = torch.zeros(1, self.network.front_end.config.n_mels, self.network.config.time_stride)
        with torch.no_grad():
            return len(self.network.from_frames(self.network.front_end.standardise(frames))[1][AREAS[-1]])

    def last_layer(self, sound: np.ndarray) -> np.ndarray:
        """Features of the last layer, (n_frames, n_features)."""
        heard = self.model.features([HeardClip(None, SAMPLING_RATE, sound)])[0]
        return heard[self.model.layers[-1]]


Fit = Callable[[str, Fold], Listener]


def fitter(name: str) -> Fit | None:
    """How a model is fitted; None for an unknown one."""
    if name in PRESETS:
        return trained
    if name.endswith(UNTRAINED) and name.removesuffix(UNTRAINED) in PRESETS:
        return untrained
    return low_level if name in LOW_LEVEL else None


def about(name: str) -> dict[str, str]:
    """How a model came by its answers, in a word: ``kind``."""
    if name in PRESETS:
        return {"kind": "trained network"}
    if name in LOW_LEVEL:
        return {"kind": "logistic regression on whole tracks"}
    return {"kind": "random network, logistic regression"}


def trained(name: str, fold: Fold) -> Listener:
    """Train a network; one that was interrupted goes on where it was."""
    started = time.process_time()
    path = train_collection(
        fold.collection, fold.weights, fold.settings, nthreads=1, device=fold.device, progress=False
    )
    whole = time.process_time() - started
    network, card = load_checkpoint(path)
    assert card is not None
    length = crop_length(network, card.settings["crop_seconds"])  # shorter than asked for where recordings are
    used: dict[str, Any] = card.metrics
    minutes = used.get("budget_minutes_used")
    return Listener(
        answer=lambda sound: segment_probabilities(network, sound_frames(network, sound), length),
        model=NetworkModel(network),
        crop_frames=length,
        cpu_seconds=whole if minutes is None else 60.0 * minutes,
        steps=used["steps"],
        ended=used.get("ended"),
        curve=used.get("curve", ()),
        resumed=used.get("resumed_after_steps", ()),
    )


def untrained(name: str, fold: Fold) -> Listener:
    """Logistic regression on what the read-out of a random network, normalised on the training music, would get."""
    started = time.process_time()
    network = build(preset(name.removesuffix(UNTRAINED)), len(fold.collection.genres), fold.settings.seed)
    training = fold.frames(network)
    length = fitted_crops(fold.settings, network, training, [range(len(training))])[1]
    set_statistics(network, training)
    segments = (torch.from_numpy(segment_frames(f, length)) for f in training)
    measure_normalisation(network, map(network.front_end.standardise, segments), network.from_frames)
    pooled = [pooled_features(network, segment_frames(f, length)) for f in training]
    groups = [group_of(track) for track in fold.training] if fold.collection.group else None
    fitted = fit_logistic(pooled, fold.labels, groups)
    seconds = time.process_time() - started

    def answer(sound: np.ndarray) -> np.ndarray:
        crops = segment_frames(sound_frames(network, sound), length)
        return fitted.predict_proba(pooled_features(network, crops))

    return Listener(answer, NetworkModel(network), length, seconds)


def low_level(name: str, fold: Fold) -> Listener:
    """Logistic regression on whole tracks, its penalty fixed beforehand; one segment a sound."""
    started = time.process_time()
    summaries = summaries_of(name, fold.training)
    model = fit_low_level(name, summaries, fold.labels.tolist(), n_genres=len(fold.collection.genres))
    seconds = time.process_time() - started
    readout = model.readout
    assert readout is not None
    return Listener(lambda sound: readout.probabilities(model.summary(sound)[None]), model, 0, seconds)


def sound_frames(network: AuditoryNetwork, sound: np.ndarray) -> np.ndarray:
    """Log-mel frames (n_mels, n_frames) that lie within a sound.

    The front end adds silence up to a whole frame of the slowest area. Of a piece of half a second that would be a
    tenth, so it is left out here; what is missing is filled by the last frame, see
    :func:`ban_bids.training.evaluate.genre_logits`.
    """
    n_frames = max(1, len(sound) // network.front_end.config.hop)
    with torch.no_grad():
        return network.front_end.log_mel(torch.from_numpy(np.ascontiguousarray(sound))[None])[0, :, :n_frames].numpy()


def pooled_features(network: AuditoryNetwork, log_mel: np.ndarray) -> np.ndarray:
    """What the read-out gets, (n_segments, n_features), from log-mel segments."""
    return step_features(network, log_mel)[-1]


def step_features(network: AuditoryNetwork, log_mel: np.ndarray) -> list[np.ndarray]:
    """What the read-out would get after every step of the last area, each (n_segments, n_features)."""
    frames = torch.from_numpy(log_mel)
    short = -frames.shape[-1] % network.config.time_stride
    whole = torch.nn.functional.pad(frames, (0, short), mode="replicate") if short else frames
    caught: list[np.ndarray] = []
    with torch.no_grad():
        history = network.from_frames(network.front_end.standardise(whole))[1]
        hook = network.readout.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0].numpy()))
        try:
            for state in history[AREAS[-1]]:
                network.read_out(state)
        finally:
            hook.remove()
    return caught


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
