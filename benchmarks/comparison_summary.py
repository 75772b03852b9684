"""Models side by side: figures with intervals over tracks and seeds, paired differences, exact tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from comparison_jobs import Outcome
from hearing import IN_NOISE, IN_PIECES
from scipy.stats import t as students_t

from ban_bids.training.scores import Answers, draw_tracks, statistics, summarise

N_DRAWS = 10_000
NOISE, PIECES = "noise", "pieces"
"""Means over all levels of noise, and over all lengths of pieces."""

Trainings = Sequence[Sequence[Outcome]]
"""Outcomes of a model by seed and fold."""


def pool(outcomes: Sequence[Outcome], genres: Sequence[str]) -> tuple[list[str], Answers]:
    """Join the folds of one model and seed: every track was asked once, tracks sorted by name."""
    entries = sorted(
        (name, genres.index(genre), segments) for outcome in outcomes for name, genre, segments in _rows(outcome)
    )
    names = [name for name, _, _ in entries]
    if len(set(names)) < len(names):
        raise ValueError("a track is in two folds")
    truth = np.array([number for _, number, _ in entries])
    return names, Answers(truth, [np.array(segments) for _, _, segments in entries])


def _rows(outcome: Outcome) -> list[tuple[str, str, list[list[float]]]]:
    plain = [s.tolist() for s in outcome.segments]
    return list(zip(outcome.names, outcome.genres, plain))


def draws_of(groups: Sequence[str], seed: int = 0) -> np.ndarray:
    """How often each track stands in each draw, (n_draws, n_tracks): its whole group is drawn, as often as it is.

    Parameters
    ----------
    groups : sequence of str
        Of each track, such as its speaker; every track is its own where nothing binds them.
    seed : int
    """
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    return draw_tracks(int(numbers.max()) + 1, N_DRAWS, seed)[:, numbers]


def compare(
    models: Mapping[str, Sequence[Answers]], reference: str, groups: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Figures of every model, and its differences to one of them.

    All figures are means over the seeds of a model. Intervals ``ci95`` are percentiles over draws of tracks, the same
    draws for all models, so that differences are paired: they say how far another draw of tracks would
    move the figures of these trained models, not what another training would do. ``ci95_seeds`` of a difference
    draws seeds too, see :func:`figure`.

    Parameters
    ----------
    models : mapping of str to sequence of Answers
        One entry per seed, all on the same tracks in the same order.
    reference : str
        Of the differences.
    groups : sequence of str, optional
        Of the tracks, see :func:`draws_of`; also what the exact test exchanges.

    Returns
    -------
    dict
        Model -> figure -> ``value`` and ``ci95``; ``difference`` (of track accuracy, less the reference's)
        with ``p`` of :func:`sign_flip_p`, ``p_holm``, and the tracks ``better`` and ``worse``.
    """
    n_tracks = len(models[reference][0].truth)
    groups = own_groups(n_tracks) if groups is None else groups
    counts, numbers = draws_of(groups), np.unique(np.asarray(groups), return_inverse=True)[1]
    values = {name: _mean_statistics(answers, np.ones((1, n_tracks))) for name, answers in models.items()}
    draws = {name: _mean_statistics(answers, counts) for name, answers in models.items()}
    result: dict[str, dict[str, Any]] = {}
    for name, answers in models.items():
        figures: dict[str, Any] = {k: plain(v[0], draws[name][k]) for k, v in values[name].items()}
        accuracies = [float((a.tracks.argmax(axis=1) == a.truth).mean()) for a in answers]
        figures["track_accuracy"]["seeds"] = [round(a, 4) for a in accuracies]
        if name != reference:
            moved = times_right(answers) - times_right(models[reference])
            figures["difference"] = {
                **figure(_right(answers) - _right(models[reference]), counts),
                "p": sign_flip_p(np.bincount(numbers, moved).astype(int)),
                "better": int((moved > 0).sum()),
                "worse": int((moved < 0).sum()),
            }
        result[name] = figures
    _correct([figures["difference"] for figures in result.values() if "difference" in figures])
    return result


def own_groups(n_tracks: int) -> list[str]:
    """Every track as a group of its own, in their order."""
    return [f"{k:09d}" for k in range(n_tracks)]


def _right(answers: Sequence[Answers]) -> np.ndarray:
    """Which tracks each seed recognises, (n_seeds, n_tracks), 0 and 1."""
    return np.array([a.tracks.argmax(axis=1) == a.truth for a in answers], dtype=float)


def times_right(answers: Sequence[Answers]) -> np.ndarray:
    """By how many of a model's seeds each track is recognised, (n_tracks,)."""
    return _right(answers).sum(axis=0).astype(int)


def figure(scores: np.ndarray, counts: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Mean of scores of tracks, or of paired differences of them.

    Parameters
    ----------
    scores : ndarray, (n_seeds, n_tracks)
    counts : ndarray, (n_draws, n_tracks)
        Draws of tracks, see :func:`draws_of`.
    seed : int
        Of the draws of seeds.

    Returns
    -------
    dict
        ``value``; ``ci95`` over draws of tracks; ``seeds``, the mean of each seed; with two seeds or more
        ``ci95_seeds``, over draws of tracks and, independently, of seeds (the pigeonhole bootstrap of Owen 2007, Ann.
        Appl. Stat. 1, 386: it errs on the wide side for what varies with both, and is rough where seeds are few).
    """
    n_seeds, n_drawn = len(scores), counts.sum(axis=1)
    result = plain(float(scores.mean()), counts @ scores.mean(axis=0) / n_drawn)
    result["seeds"] = [round(float(s), 4) for s in scores.mean(axis=1)]
    if n_seeds > 1:
        of_seeds = draw_tracks(n_seeds, len(counts), seed + 1)
        both = (of_seeds * (counts @ scores.T)).sum(axis=1) / (n_seeds * n_drawn)
        result["ci95_seeds"] = plain(0.0, both)["ci95"]
    return result


def conditions(
    models: Mapping[str, Trainings], reference: str, genres: Sequence[str], groups: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Accuracy of every model in every condition that all its jobs were asked in, and the means :data:`NOISE` and
    :data:`PIECES`.

    Returns
    -------
    dict
        Model -> condition -> :func:`figure`, with ``difference``, paired, to the reference's where it has the
        condition. A piece counts as one sound; those of a track are drawn together.
    """
    scores = {model: _by_condition(seeds, genres) for model, seeds in models.items()}
    counts = draws_of(own_groups(sum(len(o.names) for o in models[reference][0])) if groups is None else groups)
    result: dict[str, dict[str, Any]] = {}
    for model, of_conditions in scores.items():
        result[model] = {condition: figure(s, counts) for condition, s in of_conditions.items()}
        for condition in of_conditions.keys() & scores[reference].keys() if model != reference else ():
            moved = of_conditions[condition] - scores[reference][condition]
            result[model][condition]["difference"] = figure(moved, counts)
    return result


def _by_condition(seeds: Trainings, genres: Sequence[str]) -> dict[str, np.ndarray]:
    """Condition -> share of each track's sounds that are recognised, (n_seeds, n_tracks), tracks sorted by name."""
    shared = [c for c in (*IN_NOISE, *IN_PIECES) if all(c in o.heard for folds in seeds for o in folds)]
    scores = {c: np.array([_shares(folds, c, genres) for folds in seeds]) for c in shared}
    for name, members in ((NOISE, IN_NOISE), (PIECES, IN_PIECES)):
        if all(c in scores for c in members):
            scores[name] = np.mean([scores[c] for c in members], axis=0)
    return scores


def _shares(folds: Sequence[Outcome], condition: str, genres: Sequence[str]) -> np.ndarray:
    entries = {
        name: float((answers.argmax(axis=1) == genres.index(genre)).mean())
        for outcome in folds
        for name, genre, answers in zip(outcome.names, outcome.genres, outcome.heard[condition], strict=True)
    }
    return np.array([entries[name] for name in sorted(entries)])


def measures(models: Mapping[str, Trainings], reference: str) -> dict[str, dict[str, Any]]:
    """What was measured of every model's code, over trainings.

    Returns
    -------
    dict
        Model -> measure -> :func:`over_trainings`, with ``difference``, paired by seed and fold, to the reference's;
        None where it is n/a in any training.
    """
    names = sorted({name for seeds in models.values() for folds in seeds for o in folds for name in o.measures})
    values = {
        model: {n: np.array([[o.measures.get(n) for o in folds] for folds in seeds], dtype=float) for n in names}
        for model, seeds in models.items()
    }
    result: dict[str, dict[str, Any]] = {}
    for model, of_model in values.items():
        result[model] = {name: over_trainings(v) for name, v in of_model.items()}
        for name, own in result[model].items():
            if own is not None and model != reference:
                own["difference"] = over_trainings(of_model[name] - values[reference][name])
    return result


def over_trainings(values: np.ndarray) -> dict[str, Any] | None:
    """Mean over trainings, (n_seeds, n_folds), with Student's 95 % interval over seeds from three of them on.

    Folds of one seed share most of their training tracks, so only seeds count as repetitions. None where a value is
    missing.
    """
    if not np.isfinite(values).all():
        return None
    of_seeds = values.mean(axis=1)
    n, mean = len(of_seeds), float(of_seeds.mean())
    half = float(students_t.ppf(0.975, n - 1) * of_seeds.std(ddof=1) / np.sqrt(n)) if n > 2 else None
    return {
        "value": round(mean, 4),
        "ci95": None if half is None else [round(mean - half, 4), round(mean + half, 4)],
        "seeds": [round(float(v), 4) for v in of_seeds],
        "lowest": round(float(values.min()), 4),
        "highest": round(float(values.max()), 4),
    }


def trainings(seeds: Trainings, n_points: int = 60) -> dict[str, Any]:
    """How the trainings of a model went: steps, processor seconds, why they ended, and one learning curve."""
    outcomes = [outcome for folds in seeds for outcome in folds]
    curve = outcomes[0].curve
    kept = sorted({round(k) for k in np.linspace(0, len(curve) - 1, min(n_points, len(curve)))})
    ended = Counter(o.ended for o in outcomes if o.ended is not None)
    return {
        "training_cpu_seconds": round(float(np.mean([o.cpu_seconds for o in outcomes])), 1),
        "steps": round(float(np.mean([o.steps for o in outcomes]))),
        "training": {
            "ended": dict(sorted(ended.items())),
            "steps": [min(o.steps for o in outcomes), max(o.steps for o in outcomes)],
            "resumed": sum(bool(o.resumed) for o in outcomes),
            "curve": [curve[k] for k in kept],
        },
    }


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of a sum of paired integer differences when each might as well have had the other sign.

    All 2^n arrangements are counted. With one seed, differences are −1, 0 and 1, and this is McNemar's
    exact test (binomial on the tracks that only one of two models recognises).
    """
    steps = np.abs(differences[differences != 0]).astype(int)
    reach = int(steps.sum())
    # probability[k + reach]: that the signed sum is k
    probability = np.zeros(2 * reach + 1)
    probability[reach] = 1.0
    for step in steps:
        probability = 0.5 * (np.roll(probability, step) + np.roll(probability, -step))
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, probability[sums >= abs(int(differences.sum()))].sum()))


def _mean_statistics(answers: Sequence[Answers], counts: np.ndarray) -> dict[str, np.ndarray]:
    of_seeds = [statistics(a, counts) for a in answers]
    return {name: np.mean([s[name] for s in of_seeds], axis=0) for name in of_seeds[0]}


def plain(value: float, draws: np.ndarray) -> dict[str, Any]:
    """A figure with the percentiles of its draws, rounded."""
    summary = summarise(value, draws)
    return {"value": round(summary.value, 4), "ci95": [round(bound, 4) for bound in summary.interval]}


def _correct(differences: Sequence[dict[str, Any]]) -> None:
    """Add Holm's (1979) correction over all models that are compared with the reference."""
    largest = 0.0
    for rank, entry in enumerate(sorted(differences, key=lambda d: d["p"])):
        largest = max(largest, min(1.0, (len(differences) - rank) * entry["p"]))
        entry["p_holm"] = round(largest, 5)
        entry["p"] = round(entry["p"], 5)
