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
from comparison_summary import Trainings, draws_of, figure, own_groups, plain
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


def solution_steps(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """First step from which each sound is recognised to the end, (n_tracks, n_sounds); 0 is the first, −1 is never.

    Kar et al. (2019), Nat. Neurosci. 22, 974, ask the same of cortex: from when on an object can be told.
    """
    right = answers.argmax(axis=-1) == truth[:, None]
    to_the_end = np.logical_and.accumulate(right[::-1])[::-1]
    return np.where(to_the_end.any(axis=0), to_the_end.argmax(axis=0), -1)


def margins(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Log probability of the true genre less that of the best other one, (n_tracks, n_sounds)."""
    logs = np.log(np.maximum(answers, 1e-12))
    own = np.eye(answers.shape[-1], dtype=bool)[truth][:, None, :]
    return np.where(own, logs, -np.inf).max(axis=-1) - np.where(own, -np.inf, logs).max(axis=-1)


def ease_by_step(solved: np.ndarray, ease: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ease of the sounds that are solved at the first step less that of those that need a later one.

    Parameters
    ----------
    solved : ndarray of int, (n_seeds, n_tracks, n_sounds)
        See :func:`solution_steps`; sounds that are never solved do not count.
    ease : ndarray, (n_seeds, n_tracks, n_sounds)
        By a model that is none of these, fitted on the same tracks.
    counts : ndarray, (n_draws, n_tracks)
        Draws of tracks; a row of ones gives the figure itself.

    Returns
    -------
    ndarray, (n_draws,)
        In ranks of ease, scaled from 0 to 1: 0.5 where every sound solved at once is easier than every other, about
        0 where ease tells nothing. Missing in draws without sounds of both kinds.
    """
    ranks = (ease.ravel().argsort().argsort() / max(1, ease.size - 1)).reshape(ease.shape)
    means = []
    for chosen in (solved == 0, solved > 0):
        n = counts @ chosen.sum(axis=(0, 2))
        total = counts @ np.where(chosen, ranks, 0.0).sum(axis=(0, 2))
        means.append(np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0))
    return means[0] - means[1]


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
        (:func:`ease_by_step` of pieces of :data:`PIECE`) or, where it is n/a, ``why_no_ease``.
    """
    truth = joined(trained[0], lambda outcome: np.array([genres.index(g) for g in outcome.genres]))
    counts = draws_of(own_groups(len(truth)) if groups is None else groups)
    return {kind: _of_read_out(kind, trained, judge, truth, counts) for kind in (PROBE, READOUT)}


def _of_read_out(
    kind: str, trained: Trainings, judge: Trainings | None, truth: np.ndarray, counts: np.ndarray
) -> dict[str, Any]:
    shared = trained[0][0].by_step[kind]
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
    solved = np.array([solution_steps(s[PIECE], truth) for s in by_step])
    ease = np.array([margins(joined(folds, lambda outcome: outcome.heard[PIECE]), truth) for folds in judge])
    return {**told, **_ease(solved, ease, counts)}


def _mean_accuracies(seeds: Sequence[np.ndarray], truth: np.ndarray) -> list[float]:
    """Accuracy after every step, mean over seeds."""
    return np.mean([accuracies(s, truth).mean(axis=1) for s in seeds], axis=0).round(4).tolist()


def _ease(solved: np.ndarray, ease: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Figure of :func:`ease_by_step`, with how many sounds of each kind there are."""
    numbers = {"at_once": int((solved == 0).sum()), "later": int((solved > 0).sum()), "never": int((solved < 0).sum())}
    draws = ease_by_step(solved, ease, counts)
    if not np.isfinite(draws).all():
        why = f"{numbers['later']} sounds need a later step, {numbers['at_once']} are solved at once: too few"
        return {"ease": None, "why_no_ease": why, "solved": numbers}
    value = float(ease_by_step(solved, ease, np.ones((1, counts.shape[1])))[0])
    return {"ease": plain(value, draws), "solved": numbers}


def _answers(outcome: Outcome, kind: str, condition: str) -> np.ndarray:
    """(n_tracks, n_steps, n_sounds, n_genres)."""
    return np.moveaxis(outcome.by_step[kind][condition], 0, 1)


def joined(folds: Sequence[Outcome], of_tracks: Callable[[Outcome], np.ndarray]) -> np.ndarray:
    """Rows of the tracks of all folds, sorted by the tracks' names."""
    names = np.array([name for outcome in folds for name in outcome.names])
    return np.concatenate([of_tracks(outcome) for outcome in folds])[names.argsort()]
