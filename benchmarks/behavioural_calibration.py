"""Is the behavioural score calibrated? Simulated people and models whose true score is known.

People answer from common probabilities: a preference per clip and genre (softmax), mixed with guesses. The perfect
model has their probabilities, the half-right one shares half of the variance of their logits, the chance one only what
is common to a genre's clips. The true B of a model is what very many clips give without sampling noise: the
correlation of expected patterns of model and people at the same number of answers. Coverage counts how often the 95 %
interval of clips holds it (n/a left out), kappas' coverage the mean over data sets.

    python benchmarks/behavioural_calibration.py [--sets 60]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from ban_bids.scoring.behavioral import BehavioralScore, score_responses
from ban_bids.scoring.i2n import MAX_HALF, expected_pattern
from ban_bids.scoring.responses import Responses

N_GENRES = 10
MODELS = ("perfect", "half", "chance")
KAPPAS = ("kappa_model_person", "kappa_person_person", "kappa_majority")


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def world(n_clips: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """True genres, and the answer probabilities of the models; those of the perfect one are the people's."""
    true = np.arange(n_clips) % N_GENRES
    # confusions of genres are the same in every data set: intervals draw clips within genres
    common = 0.8 * np.random.default_rng(99).standard_normal((N_GENRES, N_GENRES))[true]
    common[np.arange(n_clips), true] += 2.5
    people, other = 1.2 * rng.standard_normal((2, n_clips, N_GENRES))
    logits = (people, (people + other) / np.sqrt(2), other)
    return true, {name: (1 - noise) * softmax(common + own) + noise / N_GENRES for name, own in zip(MODELS, logits)}


def answers(
    probabilities: np.ndarray, true: np.ndarray, n_people: np.ndarray | int, rng: np.random.Generator
) -> Responses:
    """One answer per person to each clip; clip c is heard by the first n_people[c]."""
    most = int(np.max(n_people))
    chosen = (probabilities.cumsum(axis=1)[:, :-1] < rng.random((most, len(true), 1))).sum(axis=2)
    heard = np.arange(most)[:, None] < np.broadcast_to(n_people, len(true))
    counts = (chosen[..., None] == np.arange(N_GENRES)) & heard[..., None]
    names = tuple(str(k) for k in range(N_GENRES))
    return Responses(counts.astype(int), heard.astype(int), true, probabilities, names, 0)


def true_score(model: str, noise: float, n_people: int) -> float:
    """B without sampling noise, from 4000 clips."""
    true, models = world(4000, noise, np.random.default_rng(0))
    half = min(n_people // 2, MAX_HALF)
    a, b = (expected_pattern(models[name], true, half) for name in (model, "perfect"))
    for genre in range(N_GENRES):
        for pattern in (a, b):
            pattern[true == genre] -= pattern[true == genre].mean(axis=0)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def data_sets(n_sets: int, n_people: np.ndarray | int, n_clips: int, noise: float) -> dict[str, list[BehavioralScore]]:
    """Scores of the three models in every data set."""
    scores: dict[str, list[BehavioralScore]] = {model: [] for model in MODELS}
    for seed in range(n_sets):
        rng = np.random.default_rng([seed, int(np.sum(n_people)), n_clips, round(100 * noise)])
        true, models = world(n_clips, noise, rng)
        responses = answers(models["perfect"], true, n_people, rng)
        for name, probabilities in models.items():
            judged = replace(responses, probabilities=probabilities)
            scores[name].append(score_responses(judged, n_bootstrap=300, n_splits=50, seed=seed))
    return scores


def covers(values: list[BehavioralScore], truth: float) -> float:
    """Share of intervals that hold the truth."""
    return float(np.mean([s.ci_low <= truth <= s.ci_high for s in values])) if values else float("nan")


def row(n_sets: int, n_people: int, n_clips: int, noise: float) -> str:
    """One line of the table."""
    scores = data_sets(n_sets, n_people, n_clips, noise)
    cells = [f"{n_people:6d} {n_clips:5d} {noise:5.1f} {_split_half(scores):5.2f}"]
    for model in MODELS:
        defined = [s for s in scores[model] if np.isfinite(s.value)]
        truth = true_score(model, noise, n_people)
        mean = np.mean([s.value for s in defined]) if defined else np.nan
        cells.append(f"{len(defined) / n_sets:4.2f} {mean:6.3f} ({truth:5.3f}) {covers(defined, truth):4.2f}")
    for name in KAPPAS:
        for model in MODELS if name != "kappa_person_person" else MODELS[:1]:
            parts = [getattr(s, name) for s in scores[model]]
            mean = np.mean([part.value for part in parts])
            cells.append(f"{mean:5.2f} {covers(parts, float(mean)):4.2f}")
    return " | ".join(cells)


def _split_half(scores: dict[str, list[BehavioralScore]]) -> float:
    return float(np.nanmean([s.people for s in scores["perfect"]]))


def unequal(n_sets: int) -> str:
    """Half of the clips judged by 4 people, half by 24."""
    few = np.where(np.arange(100) // N_GENRES % 2, 4, 24)
    scores = data_sets(n_sets, few, 100, 0.0)
    return ", ".join(f"{name} {np.nanmean([s.value for s in scores[name]]):.3f}" for name in MODELS)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=60, help="data sets per line")
    n_sets = parser.parse_args().sets
    started = time.process_time()
    print("B: share of data sets with a B, mean B (true B), coverage of 95 %; kappas: mean, coverage")
    print("people clips noise   r_h | perfect | half | chance | model-person x 3 | person-person | majority x 3")
    for n_people in (3, 10, 30):
        for n_clips in (20, 60, 100):
            for noise in (0.0, 0.3, 0.6):
                print(row(n_sets, n_people, n_clips, noise), flush=True)
    print(f"unequal numbers of answers (4 and 24), 100 clips: {unequal(n_sets)}")
    print(f"{n_sets} data sets per line, {time.process_time() - started:.0f} processor seconds")


if __name__ == "__main__":
    main()
