"""How well genres are recognised: accuracy, F1 and calibration, each with an interval over tracks.

One vectorised definition serves the figures and their thousands of draws; the tests hold it against scikit-learn, which
would need seconds for the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

N_BINS = 10
"""Bins of equal width between 0 and 1 in which confidence is held against accuracy."""

LEVEL = 0.95
"""Coverage of every interval."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities that a model gave to the segments of some tracks.

    Parameters
    ----------
    truth : ndarray of int, (n_tracks,)
        Number of each track's genre.
    segments : sequence of ndarray, (n_segments, n_genres)
        One entry per track; every row sums to 1.
    """

    truth: np.ndarray
    segments: Sequence[np.ndarray]

    @property
    def tracks(self) -> np.ndarray:
        """Mean over each track's segments, (n_tracks, n_genres)."""
        return np.stack([s.mean(axis=0) for s in self.segments])


@dataclass(frozen=True)
class Summary:
    """A number and its 95 % bootstrap interval over tracks."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model's answers are worth.

    Parameters
    ----------
    track_accuracy, segment_accuracy : Summary
        Share of tracks, and of segments, whose genre is recognised; a track's answer is the genre with the
        highest mean probability over its segments.
    macro_f1 : Summary
        Mean over the genres that have tracks of F1 on tracks.
    calibration_error : Summary
        Expected calibration error on tracks (Guo et al. 2017): mean distance of confidence, the probability
        of the answer, from accuracy, over :data:`N_BINS` bins weighted by their tracks. Resampling adds to
        it, so its interval lies high where tracks are few.
    brier_score : Summary
        Mean over tracks of Σ (p − y)² over the genres (Brier 1950): 0 to 2.
    confusion : ndarray of int, (n_genres, n_genres)
        Tracks by true genre and answer.
    reliability : DataFrame
        One row per bin (``low``, ``high``] of confidence: ``n`` tracks, their mean ``confidence`` and
        ``accuracy``, which are missing in an empty bin.
    n_segments : int
    """

    track_accuracy: Summary
    segment_accuracy: Summary
    macro_f1: Summary
    calibration_error: Summary
    brier_score: Summary
    confusion: np.ndarray
    reliability: pd.DataFrame
    n_segments: int

    @property
    def n_tracks(self) -> int:
        """Tracks that were answered for."""
        return int(self.confusion.sum())

    @property
    def per_genre(self) -> pd.DataFrame:
        """One row per genre, in their order.

        Columns: ``n`` tracks of this genre (without any, everything else is missing), ``precision``, the share of the
        tracks answered with it that have it (missing also where no track was), ``recall``, the share of its tracks
        that were answered with it, and ``f1``, 2 TP / (2 TP + FP + FN).
        """
        right, n, answered = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        with np.errstate(invalid="ignore"):
            shares = {"precision": right / answered, "recall": right / n, "f1": 2 * right / (n + answered)}
        return pd.DataFrame({"n": n, **{name: np.where(n > 0, share, np.nan) for name, share in shares.items()}})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint's card."""
        plain: dict[str, Any] = {}
        for name in (field.name for field in fields(self) if isinstance(getattr(self, field.name), Summary)):
            summary: Summary = getattr(self, name)
            plain[name] = round(summary.value, 4)
            plain[f"{name}_ci95"] = [round(bound, 4) for bound in summary.interval]
        plain |= {"n_tracks": self.n_tracks, "n_segments": self.n_segments}
        return plain | {"confusion": self.confusion.tolist()}


def score(answers: Answers, *, n_bootstrap: int = 2000, seed: int = 0) -> Evaluation:
    """Summarise answers.

    Intervals are percentiles over draws of whole tracks with replacement: the segments of one track are
    alike, so drawing segments would make every interval too narrow (Efron & Tibshirani 1993, ch. 8).

    Parameters
    ----------
    answers : Answers
        Of at least one track.
    n_bootstrap, seed : int
        Draws of tracks.

    Returns
    -------
    Evaluation
    """
    n_tracks, n_genres = answers.tracks.shape
    estimates = statistics(answers, np.ones((1, n_tracks)))
    resampled = statistics(answers, draw_tracks(n_tracks, n_bootstrap, seed))
    summaries = {name: summarise(value[0], resampled[name]) for name, value in estimates.items()}
    return Evaluation(
        **summaries,
        confusion=confusion_matrix(answers.truth, answers.tracks.argmax(axis=1), labels=range(n_genres)),
        reliability=_reliability(answers),
        n_segments=sum(len(s) for s in answers.segments),
    )


def draw_tracks(n_tracks: int, n_draws: int, seed: int) -> np.ndarray:
    """How often each track stands in each draw with replacement, (n_draws, n_tracks)."""
    share = np.full(n_tracks, 1 / n_tracks)
    return np.random.default_rng(seed).multinomial(n_tracks, share, n_draws).astype(float)


def summarise(value: float, draws: np.ndarray) -> Summary:
    """A figure with the percentiles of its draws."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Summary(float(value), (float(low), float(high)))


def statistics(answers: Answers, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Every summary figure of :class:`Evaluation` for each draw of tracks.

    Parameters
    ----------
    answers : Answers
    counts : ndarray, (n_draws, n_tracks)
        How often each track is drawn; a row of ones gives the figures themselves.

    Returns
    -------
    dict of ndarray, (n_draws,)
    """
    probabilities, truth = answers.tracks, answers.truth
    n_tracks, n_genres = probabilities.shape
    answer, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = answer == truth
    segments_right = np.array([(s.argmax(axis=1) == t).sum() for s, t in zip(answers.segments, truth)])
    n_segments = np.array([len(s) for s in answers.segments])
    cells = np.zeros((n_tracks, n_genres * n_genres))
    cells[np.arange(n_tracks), truth * n_genres + answer] = 1.0
    gaps = np.zeros((n_tracks, N_BINS))
    gaps[np.arange(n_tracks), _bin(confidence)] = confidence - right
    squares = np.square(probabilities - np.eye(n_genres)[truth]).sum(axis=1)
    n = counts.sum(axis=1)
    return {
        "track_accuracy": counts @ right / n,
        "segment_accuracy": (counts @ segments_right) / (counts @ n_segments),
        "macro_f1": _macro_f1((counts @ cells).reshape(-1, n_genres, n_genres)),
        "calibration_error": np.abs(counts @ gaps).sum(axis=1) / n,
        "brier_score": counts @ squares / n,
    }


def _macro_f1(confusions: np.ndarray) -> np.ndarray:
    """Mean F1 over the genres that have tracks, for each of (n_draws, n_genres, n_genres)."""
    true, answered = confusions.sum(axis=2), confusions.sum(axis=1)
    right = np.diagonal(confusions, axis1=1, axis2=2)
    f1 = np.divide(2 * right, true + answered, out=np.zeros_like(right, dtype=float), where=true > 0)
    return f1.sum(axis=1) / (true > 0).sum(axis=1)


def _bin(confidence: np.ndarray) -> np.ndarray:
    """Number of the bin (k, k + 1] / N_BINS in which each confidence lies."""
    return np.clip(np.ceil(confidence * N_BINS).astype(int) - 1, 0, N_BINS - 1)


def _reliability(answers: Answers) -> pd.DataFrame:
    confidence = answers.tracks.max(axis=1)
    right = answers.tracks.argmax(axis=1) == answers.truth
    where, edges = _bin(confidence), np.arange(N_BINS + 1) / N_BINS
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": np.bincount(where, minlength=N_BINS)})
    return table.join(pd.DataFrame({"confidence": confidence, "accuracy": right}).groupby(where).mean())
