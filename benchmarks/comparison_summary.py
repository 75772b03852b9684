"""Models side by side: figures with intervals over tracks, paired differences, exact tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from comparison_jobs import Outcome

from ban_bids.training.scores import Answers, draw_tracks, statistics, summarise

N_DRAWS = 10_000


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


def compare(models: Mapping[str, Sequence[Answers]], reference: str, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Figures of every model, and its differences to one of them.

    All figures are means over the seeds of a model. Intervals are percentiles over draws of tracks, the same
    draws for all models, so that differences are paired: they say how far another draw of tracks would
    move the figures of these trained models, not what another training would do.

    Parameters
    ----------
    models : mapping of str to sequence of Answers
        One entry per seed, all on the same tracks in the same order.
    reference : str
        Of the differences.
    seed : int
        Of the draws.

    Returns
    -------
    dict
        Model -> figure -> ``value`` and ``ci95``; ``difference`` (of track accuracy, less the reference's)
        with ``p`` of :func:`sign_flip_p`, ``p_holm``, and the tracks ``better`` and ``worse``.
    """
    n_tracks = len(models[reference][0].truth)
    counts = draw_tracks(n_tracks, N_DRAWS, seed)
    values = {name: _mean_statistics(answers, np.ones((1, n_tracks))) for name, answers in models.items()}
    draws = {name: _mean_statistics(answers, counts) for name, answers in models.items()}
    result: dict[str, dict[str, Any]] = {}
    for name, answers in models.items():
        figures: dict[str, Any] = {k: _plain(v[0], draws[name][k]) for k, v in values[name].items()}
        accuracies = [float((a.tracks.argmax(axis=1) == a.truth).mean()) for a in answers]
        figures["track_accuracy"]["seeds"] = [round(a, 4) for a in accuracies]
        if name != reference:
            difference = values[name]["track_accuracy"][0] - values[reference]["track_accuracy"][0]
            paired = draws[name]["track_accuracy"] - draws[reference]["track_accuracy"]
            moved = times_right(answers) - times_right(models[reference])
            figures["difference"] = {
                **_plain(difference, paired),
                "p": sign_flip_p(moved),
                "better": int((moved > 0).sum()),
                "worse": int((moved < 0).sum()),
            }
        result[name] = figures
    _correct([figures["difference"] for figures in result.values() if "difference" in figures])
    return result


def times_right(answers: Sequence[Answers]) -> np.ndarray:
    """By how many of a model's seeds each track is recognised, (n_tracks,)."""
    return np.sum([a.tracks.argmax(axis=1) == a.truth for a in answers], axis=0).astype(int)


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


def _plain(value: float, draws: np.ndarray) -> dict[str, Any]:
    summary = summarise(value, draws)
    return {"value": round(summary.value, 4), "ci95": [round(bound, 4) for bound in summary.interval]}


def _correct(differences: Sequence[dict[str, Any]]) -> None:
    """Add Holm's (1979) correction over all models that are compared with the reference."""
    largest = 0.0
    for rank, entry in enumerate(sorted(differences, key=lambda d: d["p"])):
        largest = max(largest, min(1.0, (len(differences) - rank) * entry["p"]))
        entry["p_holm"] = round(largest, 5)
        entry["p"] = round(entry["p"], 5)
