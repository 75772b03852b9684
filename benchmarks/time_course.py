"""Whether harder sounds need later steps of a recurrent network's last area.

How hard a sound is, is never judged by the network itself: by the level of noise that we added, or by how clearly a
low-level model, fitted on the same training tracks, recognises the same piece of sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from comparison_jobs import Outcome
from comparison_summary import Trainings, draws_of, figure, own_groups
from hearing import IN_NOISE, QUIET
from step_probes import PROBE, READOUT

HARD = IN_NOISE[-2:]
"""Levels of noise that count as hard."""

PIECE = "2 s"
"""Pieces of sound of which another model says how hard they are."""


def gains(by_step: Sequence[dict[str, np.ndarray]], truth: np.ndarray) -> dict[str, np.ndarray]:
    """What the steps after the first add to accuracy: condition -> (n_seeds, n_tracks).

    Parameters
    ----------
    by_step : sequence of dict of ndarray, (n_steps, n_tracks, n_sounds, n_genres)
        One entry per seed: condition -> answers.
    truth : ndarray of int, (n_tracks,)
    """
    return {
        condition: np.array([shares[-1] - shares[0] for shares in (accuracies(s[condition], truth) for s in by_step)])
        for condition in by_step[0]
    }


def accuracies(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of each track's sounds that are recognised after every step, (n_steps, n_tracks)."""
    return (answers.argmax(axis=-1) == truth[:, None]).mean(axis=2)


def margins(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Log probability of the true genre less that of the best other one, (n_tracks, n_sounds)."""
    logs = np.log(np.maximum(answers, 1e-12))
    own = np.eye(answers.shape[-1], dtype=bool)[truth][:, None, :]
    return np.where(own, logs, -np.inf).max(axis=-1) - np.where(own, -np.inf, logs).max(axis=-1)


def gain_by_ease(change: np.ndarray, ease: np.ndarray) -> np.ndarray:
    """What later steps add for the harder half of the sounds, less what they add for the easier half.

    Sounds near a border between genres change sides easily, whatever the step, and are hard for any model: that they
    are recognised at a later step only would say nothing. So losses count against gains: steps that differ at random
    give 0 in both halves.

    Parameters
    ----------
    change : ndarray of float, (n_seeds, n_tracks, n_sounds)
        1 for a sound that the last step recognises and the first does not, −1 the other way round, else 0.
    ease : ndarray, (n_seeds, n_tracks, n_sounds)
        By a model that is not this one, fitted on the same tracks; each seed has its halves.

    Returns
    -------
    ndarray, (n_seeds, n_tracks)
        Each track's share: their mean is the difference of the halves' means.
    """
    half = in_harder_half(ease)
    sign = half / half.mean(axis=(1, 2), keepdims=True) - ~half / (~half).mean(axis=(1, 2), keepdims=True)
    return (sign * change).mean(axis=2)


def in_harder_half(ease: np.ndarray) -> np.ndarray:
    """Which sounds of each seed are in the half with less ease."""
    flat = ease.reshape(len(ease), -1)
    return (flat.argsort(axis=1).argsort(axis=1) < flat.shape[1] // 2).reshape(ease.shape)


def time_course(
    trained: Trainings, judge: Trainings | None, genres: Sequence[str], groups: Sequence[str] | None = None
) -> dict[str, Any]:
    """What the steps of a network's last area add, and for which sounds.

    Parameters
    ----------
    trained, judge : sequence of sequence of Outcome
        Of the network and of the model that says how hard a sound is, by seed and fold.
    genres : sequence of str
    groups : sequence of str, optional
        Of the tracks, sorted by their names, see :func:`comparison_summary.draws_of`.

    Returns
    -------
    dict
        Read-out -> ``accuracy`` (condition -> of each step), ``gain`` of the steps after the first (condition ->
        figure), ``harder`` (gain at the levels of noise :data:`HARD` less gain in quiet, paired), ``ease``
        (:func:`gain_by_ease` of pieces of :data:`PIECE`) or, where it is n/a, ``why_no_ease``.
    """
    truth = joined(trained[0], lambda outcome: np.array([genres.index(g) for g in outcome.genres]))
    counts = draws_of(own_groups(len(truth)) if groups is None else groups)
    return {kind: _of_read_out(kind, trained, judge, truth, counts) for kind in (PROBE, READOUT)}


def _of_read_out(
    kind: str, trained: Trainings, judge: Trainings | None, truth: np.ndarray, counts: np.ndarray
) -> dict[str, Any]:
    # a fold with a sound that is too short for a piece has no such condition
    every = [outcome.by_step[kind] for folds in trained for outcome in folds]
    shared = [condition for condition in every[0] if all(condition in of_fold for of_fold in every)]
    by_step = [
        {c: np.moveaxis(joined(folds, partial(_answers, kind=kind, condition=c)), 0, 1) for c in shared}
        for folds in trained
    ]
    gained = gains(by_step, truth)
    told: dict[str, Any] = {
        "accuracy": {c: _mean_accuracies([s[c] for s in by_step], truth) for c in shared},
        "gain": {c: figure(gain, counts) for c, gain in gained.items()},
        "harder": figure(np.mean([gained[c] for c in HARD], axis=0) - gained[QUIET], counts),
    }
    if judge is None or PIECE not in shared:
        why = "its jobs are not all done" if judge is None else f"some sounds are shorter than {PIECE}"
        return {**told, "ease": None, "why_no_ease": why}
    right = np.array([s[PIECE].argmax(axis=-1) == truth[:, None] for s in by_step]).astype(float)
    ease = np.array([margins(joined(folds, lambda outcome: outcome.heard[PIECE]), truth) for folds in judge])
    change = right[:, -1] - right[:, 0]
    halves = {"harder": in_harder_half(ease), "easier": ~in_harder_half(ease)}
    changed = {
        name: {"gained": int((change[half] > 0).sum()), "lost": int((change[half] < 0).sum())}
        for name, half in halves.items()
    }
    return {**told, "ease": figure(gain_by_ease(change, ease), counts), "changed": changed}


def _mean_accuracies(seeds: Sequence[np.ndarray], truth: np.ndarray) -> list[float]:
    """Accuracy after every step, mean over seeds."""
    return np.mean([accuracies(s, truth).mean(axis=1) for s in seeds], axis=0).round(4).tolist()


def _answers(outcome: Outcome, kind: str, condition: str) -> np.ndarray:
    """(n_tracks, n_steps, n_sounds, n_genres)."""
    return np.moveaxis(outcome.by_step[kind][condition], 0, 1)


def joined(folds: Sequence[Outcome], of_tracks: Callable[[Outcome], np.ndarray]) -> np.ndarray:
    """Rows of the tracks of all folds, sorted by the tracks' names."""
    names = np.array([name for outcome in folds for name in outcome.names])
    return np.concatenate([of_tracks(outcome) for outcome in folds])[names.argsort()]
