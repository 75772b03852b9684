"""Fit the linear read-out of a low-level model on whole tracks, with scikit-learn."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ban_bids.audio.waveforms import load_waveform
from ban_bids.errors import UsageError
from ban_bids.files.progress import progress
from ban_bids.models.candidate import ModelCard
from ban_bids.models.low_level import MODELS, LinearReadout, LowLevelModel, save_low_level
from ban_bids.training.card import origin, track_counts, track_notes, write_card
from ban_bids.training.datasets import Collection, Track
from ban_bids.training.evaluation_scores import Answers, score
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import split_tracks

_LOG = logging.getLogger(__name__)
PENALTY = 1.0
"""C of the logistic regression: scikit-learn's default, fixed beforehand, never chosen on results."""


def fit_low_level(
    name: str,
    summaries: np.ndarray,
    labels: Sequence[int],
    n_genres: int,
    card: ModelCard | None = None,
    c: float = PENALTY,
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
    c : float
        Inverse strength of the L2 penalty on standardised statistics.

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
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
    fitted.fit(summaries, np.asarray(labels))
    scaler, regression = fitted[0], fitted[1]
    coef, intercept = regression.coef_, regression.intercept_
    if n_genres == 2:  # scikit-learn keeps the second class only; the softmax of (0, z) is its sigmoid
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
    readout = LinearReadout(scaler.mean_, scaler.scale_, coef, intercept)
    return MODELS[name](readout=readout, card=card)


def summaries_of(name: str, tracks: Sequence[Track]) -> np.ndarray:
    """Statistics of whole tracks that the model of this name is fitted on, (n_tracks, n_statistics)."""
    model = MODELS[name]()
    shown = progress(list(tracks), f"{name} statistics")
    return np.stack([model.summary(load_waveform(track.path)) for track in shown])


def train_low_level(collection: Collection, out: Path, settings: TrainingSettings, extra: dict[str, Any]) -> Path:
    """Fit on a collection's training tracks and write the read-out with its card.

    Parameters
    ----------
    collection, out, settings, extra
        As for :func:`ban_bids.training.train.train_collection`; of the settings only ``preset``, ``split``
        and ``seed`` (of the split) matter.

    Returns
    -------
    Path
        ``out``.
    """
    started = time.monotonic()
    split = split_tracks(collection.tracks, settings.split, settings.seed, collection.excluded)
    name, number = settings.preset, {genre: k for k, genre in enumerate(collection.genres)}
    card = ModelCard(
        config=asdict(MODELS[name]().config),
        **origin(collection, split),
        notes=tuple(track_notes(collection, split)),
        metrics=dict(track_counts(collection, split)),
        settings={"preset": name, "split": settings.split, "seed": settings.seed, "C": PENALTY, **extra},
    )
    labels = [number[t.genre] for t in split.training]
    model = fit_low_level(name, summaries_of(name, split.training), labels, len(number), card)
    assert model.readout is not None
    truth = np.array([number[t.genre] for t in split.validation], dtype=int)
    answers = model.readout.probabilities(summaries_of(name, split.validation))
    evaluation = score(Answers(truth, [row[None] for row in answers]))
    card.metrics.update(evaluation.to_dict() | {"minutes": round((time.monotonic() - started) / 60, 2)})
    _LOG.info(
        "%s: track accuracy %.2f on %d validation tracks, split %s",
        name, evaluation.track_accuracy.value, evaluation.n_tracks, split.name,
    )  # fmt: skip
    save_low_level(out, model)
    write_card(out.with_suffix(".json"), card)
    return out
