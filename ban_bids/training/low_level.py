"""Fit the linear read-out of a low-level model on whole tracks, with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ban_bids.audio.waveforms import load_waveform
from ban_bids.errors import UsageError
from ban_bids.files.progress import progress
from ban_bids.models.candidate import ModelCard
from ban_bids.models.low_level import MODELS, LinearReadout, LowLevelModel, save_low_level
from ban_bids.training.datasets import Collection, Track
from ban_bids.training.records import Trained
from ban_bids.training.scores import Answers, score
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import Split

PENALTY = 1.0
"""C of the logistic regression: scikit-learn's default, fixed beforehand, never chosen on results."""


def fit_linear(
    summaries: np.ndarray, labels: np.ndarray, *, penalty: float = PENALTY, weights: np.ndarray | None = None
) -> LinearReadout:
    """Standardise statistics and fit a multinomial logistic regression to them.

    Parameters
    ----------
    summaries : ndarray, (n, n_statistics)
    labels : ndarray of int, (n,)
        Every class from 0 on occurs.
    penalty : float
        C of scikit-learn: the inverse of the strength of the squared penalty.
    weights : ndarray, (n,), optional
        Of each row in the loss; equal without.
    """
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=5000))
    # threads of its small products wait for each other where another process wants the same processors
    with threadpool_limits(1):
        fitted.fit(summaries, labels, logisticregression__sample_weight=weights)
    scaler, regression = fitted[0], fitted[1]
    coef, intercept = regression.coef_, regression.intercept_
    if len(coef) == 1:  # scikit-learn keeps the second of two classes only; the softmax of (0, z) is its sigmoid
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
    return LinearReadout(scaler.mean_, scaler.scale_, coef, intercept)


def fit_low_level(
    name: str, summaries: np.ndarray, labels: Sequence[int], *, n_genres: int, card: ModelCard | None = None
) -> LowLevelModel:
    """Fit a low-level model's read-out.

    Parameters
    ----------
    name : str
        One of :data:`ban_bids.models.low_level.MODELS`.
    summaries : ndarray, (n_tracks, n_statistics)
        See :func:`summaries_of`.
    labels : sequence of int
        Genres of the tracks; every genre occurs.
    n_genres : int
    card : ModelCard, optional
        Of the result; its genres are those that the labels number.

    Returns
    -------
    LowLevelModel

    Raises
    ------
    UsageError
        When a genre has no track.
    """
    if sorted(set(labels)) != list(range(n_genres)):
        raise UsageError(f"--preset {name}: every one of the {n_genres} genres needs a training track")
    readout = fit_linear(summaries, np.asarray(labels))
    return MODELS[name](readout=readout, card=card)  # type: ignore[call-arg]


def summaries_of(name: str, tracks: Sequence[Track]) -> np.ndarray:
    """Statistics of whole tracks that the model of this name is fitted on, (n_tracks, n_statistics)."""
    model = MODELS[name]()  # type: ignore[call-arg]
    shown = progress(list(tracks), f"{name} statistics")
    return np.stack([model.summary(load_waveform(track.path)) for track in shown])


def train_low_level(collection: Collection, split: Split, settings: TrainingSettings) -> Trained:
    """Fit on the training tracks, evaluate on the validation tracks.

    Parameters
    ----------
    collection : Collection
    split : Split
        Of its tracks.
    settings : TrainingSettings
        Only ``preset``, ``split`` and ``seed`` (of the split) matter.

    Returns
    -------
    Trained
    """
    name = settings.preset
    labels = collection.labels(split.training)
    readout = fit_low_level(name, summaries_of(name, split.training), labels, n_genres=len(collection.genres)).readout
    assert readout is not None
    evaluation = None
    if split.validation:
        probabilities = readout.probabilities(summaries_of(name, split.validation))
        evaluation = score(Answers(np.array(collection.labels(split.validation)), [row[None] for row in probabilities]))
    model = MODELS[name]
    return Trained(
        config=asdict(model().config),  # type: ignore[call-arg]
        evaluation=evaluation,
        save=lambda path, card: save_low_level(path, model(readout=readout, card=card)),  # type: ignore[call-arg]
        settings={"preset": name, "split": settings.split, "seed": settings.seed, "C": PENALTY},
        metrics={},
    )
