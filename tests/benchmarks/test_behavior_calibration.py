"""The simulation of people who choose: truths by other ways, and a small version of its coverage."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from behavior_calibration import (
    POPULATIONS,
    Clips,
    Population,
    answers,
    data_sets,
    many,
    planted_reliability,
    true_scores,
)

from ban_bids.scoring import behavioral


def test_the_population_of_people_who_are_alike_has_the_perfect_models_probabilities() -> None:
    clips, p = many(POPULATIONS["alike"])
    np.testing.assert_allclose(p, clips.model(1.0), atol=1e-12)
    found = true_scores(POPULATIONS["alike"], 12)
    assert found[1.0] == pytest.approx(1) and 0.6 < found[0.7] < 0.75 and abs(found[0.0]) < 0.01


def test_planted_reliability_is_that_of_halves_paired_one_by_one() -> None:
    population = Population(0.7, 0.3)
    clips = Clips.drawn(60, np.random.default_rng(0))
    planted = planted_reliability(population, clips, 3, n_halves=300)
    rng, pairs = np.random.default_rng(1), []
    for _ in range(150):
        patterns = []
        for _ in range(2):
            p = population.probabilities(clips, population.people(3, rng))
            counts = answers(p, clips, clips.model(1.0), rng).counts.sum(axis=0)
            patterns.append(pattern_of(counts, clips.true))
        a, b = patterns
        pairs.append(((a * b).sum(), ((a * a).sum() + (b * b).sum()) / 2))
    across, within = np.mean(pairs, axis=0)
    error = np.std([pair[0] for pair in pairs]) / np.sqrt(len(pairs)) / within
    assert planted == pytest.approx(across / within, abs=4 * error) and error < 0.01


def pattern_of(counts: np.ndarray, true: np.ndarray) -> np.ndarray:
    z = NormalDist().inv_cdf
    pattern = np.zeros(counts.shape)
    for clip, genre in enumerate(true):
        for d in set(range(counts.shape[1])) - {genre}:
            pattern[clip, d] = z((counts[clip, genre] + 0.5) / (counts[clip, genre] + counts[clip, d] + 1))
    for genre in set(true):
        pattern[true == genre] -= pattern[true == genre].mean(axis=0)
    return pattern


def test_intervals_hold_the_true_score_where_people_have_tastes_and_those_of_clips_alone_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    population = replace(POPULATIONS["tastes"], taste=1.0)
    truth = true_scores(population, 10)[0.0]

    def held() -> float:
        scores = [one[0.0] for one in data_sets(24, population, 10, 60)]
        return float(np.mean([one.ci_low <= truth <= one.ci_high for one in scores if np.isfinite(one.value)]))

    assert held() >= 0.85
    monkeypatch.setattr(behavioral, "FEWEST_PEOPLE", 11)  # as if there were too few to tell
    assert held() <= 0.8
