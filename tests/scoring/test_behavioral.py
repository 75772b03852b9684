"""Behavioural score on simulated people and models with a known shared structure, and against loops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score

from ban_bids.scoring.behavioral import (
    BehavioralScore,
    behavioral_score,
    match_responses,
    mean_kappa,
    no_behavior,
)
from ban_bids.scoring.i2n import d_prime, human_rates, model_rates, pair_correlation, split_halves

GENRES = ("blues", "hip-hop", "jazz", "metal", "pop")


@dataclass(frozen=True)
class Heard:
    audio: Path
    start: float = 0.0
    duration: float = 5.0


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def population(n_clips: int, seed: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """True genres, and the probabilities with which a population answers."""
    rng = np.random.default_rng(seed)
    true = np.arange(n_clips) % len(GENRES)
    logits = spread * rng.standard_normal((n_clips, len(GENRES)))
    logits[np.arange(n_clips), true] += 1.5
    return true, softmax(logits)


def answers(true: np.ndarray, probabilities: np.ndarray, n_people: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (
            f"{p:02d}",
            f"/a/{c}.wav",
            0.0,
            5.0,
            GENRES[true[c]],
            GENRES[rng.choice(len(GENRES), p=probabilities[c])],
        )
        for p in range(n_people)
        for c in range(len(true))
    ]
    return pd.DataFrame(rows, columns=["participant", "audio", "start", "duration", "true_genre", "response"])


def clips(n: int) -> list[Heard]:
    return [Heard(Path(f"/a/{c}.wav")) for c in range(n)]


def run(choices: pd.DataFrame, probabilities: np.ndarray, **more: object) -> BehavioralScore:
    options = {"n_bootstrap": 100, "n_splits": 20, **more}
    return behavioral_score(choices, clips(len(probabilities)), probabilities, genres=GENRES, **options)  # type: ignore[arg-type]


def test_a_model_of_the_same_population_is_consistent_and_another_is_not() -> None:
    same, other, same_kappa, other_kappa = [], [], [], []
    rng = np.random.default_rng(100)
    for seed in range(6):
        true, people = population(100, seed)
        _, stranger = population(100, seed + 50)
        choices = answers(true, people, 20, seed)
        # One more member of the population: certain of one answer drawn from it.
        member = np.array([np.eye(len(GENRES))[rng.choice(len(GENRES), p=p)] for p in people])
        same.append(run(choices, people).i2n.value)
        other.append(run(choices, stranger).i2n.value)
        same_kappa.append(run(choices, 0.98 * member + 0.02 * people).kappa.value)
        other_kappa.append(run(choices, stranger).kappa.value)
    assert np.mean(same) == pytest.approx(1, abs=0.08)
    assert abs(np.mean(other)) < 0.08
    assert np.mean(same_kappa) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(other_kappa)) < 0.15


def test_rates_and_d_prime_equal_loops() -> None:
    rng = np.random.default_rng(0)
    true = np.array([0, 0, 1, 1, 2])
    counts = rng.integers(0, 6, (5, 3))
    p = rng.dirichlet(np.ones(3), 5)
    people, model = human_rates(counts, true), model_rates(p, true, counts.sum(1))
    values = d_prime(people, true)
    for i, t in enumerate(true):
        assert np.isnan([people[i, t], model[i, t], values[i, t]]).all()
        for d in set(range(3)) - {t}:
            k, n = counts[i, t], counts[i].sum()
            assert people[i, d] == pytest.approx((k + 0.5) / (k + counts[i, d] + 1))
            limited = min(max(p[i, t] / (p[i, t] + p[i, d]), 0.5 / (n + 1)), (n + 0.5) / (n + 1))
            assert model[i, d] == pytest.approx(limited)
            wrong = [(counts[j, t] + 0.5) / (counts[j, t] + counts[j, d] + 1) for j in range(5) if true[j] == d]
            assert values[i, d] == pytest.approx(norm.ppf(people[i, d]) - norm.ppf(np.mean(wrong)))


def test_pair_correlation_equals_pearson_of_the_normalised_entries_of_each_draw() -> None:
    rng = np.random.default_rng(1)
    true = np.array([0, 0, 0, 1, 1, 2, 2])
    x, y = rng.standard_normal((2, 7, 3))
    x[np.arange(7), true] = y[np.arange(7), true] = np.nan
    counts = np.array([[1, 1, 1, 1, 1, 1, 1], [2, 0, 1, 1, 1, 0, 2]], dtype=float)
    found = pair_correlation(x, y, true, counts)
    for draw, value in zip(counts.astype(int), found):
        entries = []
        for t in range(3):
            members = [i for i in range(7) if true[i] == t for _ in range(draw[i])]
            for d in set(range(3)) - {t}:
                a, b = x[members, d], y[members, d]
                entries += list(zip(a - a.mean(), b - b.mean()))
        assert value == pytest.approx(np.corrcoef(np.array(entries).T)[0, 1])


def test_kappa_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.random((2, 4, 40)) < 0.7).astype(float)
    common = rng.random((4, 40)) < 0.8
    common[3] = False
    expected = np.mean([cohen_kappa_score(a[k, common[k]], b[k, common[k]]) for k in range(3)])
    assert mean_kappa(a, b, common, np.ones((1, 40)))[0] == pytest.approx(expected)


def test_halves_partition_people_and_keep_a_persons_answers_together() -> None:
    true, p = population(20, 3)
    choices = answers(true, p, 7, 3)
    choices = pd.concat([choices, choices[choices.participant == "00"]], ignore_index=True)
    responses = match_responses(choices, clips(20), p, genres=GENRES)
    one, other = split_halves(responses, 30, 0)
    np.testing.assert_array_equal(one + other, np.broadcast_to(responses.counts.sum(0), one.shape))
    assert set(np.unique(one.sum(-1))) <= {3.0, 4.0, 5.0}
    assert np.allclose(one.sum(-1).mean(), 4, atol=0.3)


def test_tracks_that_the_model_knows_are_left_out_and_counted() -> None:
    true, p = population(60, 4)
    choices = answers(true, p, 6, 4)
    excluded = np.arange(60) >= 50
    result = run(choices, p, excluded=excluded)
    shorter = choices[choices.audio.isin([f"/a/{c}.wav" for c in range(50)])]
    assert (result.n_clips, result.n_excluded) == (50, 10)
    assert result.value == pytest.approx(run(shorter, p).value)
    nothing = run(choices, p, excluded=np.ones(60, dtype=bool))
    assert np.isnan(nothing.value) and "trained or validated" in nothing.reason and nothing.n_excluded == 60


def test_spelling_of_genres_and_order_of_clips_do_not_matter_and_unknown_ones_are_noted() -> None:
    true, p = population(40, 5)
    choices = answers(true, p, 5, 5)
    plain = run(choices, p)
    other = choices.replace({"hip-hop": "Hip Hop"}).sample(frac=1, random_state=0)
    # Order of a person's rows only matters for a clip judged twice.
    assert run(other, p).value == pytest.approx(plain.value)
    more = pd.concat([choices, choices.iloc[:3].assign(true_genre="polka")], ignore_index=True)
    result = run(more, p)
    assert result.value == pytest.approx(plain.value) and "3 choices" in result.notes[0]
    wrong = choices.assign(response="polka")
    responses = match_responses(wrong, clips(40), p, genres=GENRES)
    assert responses.heard.all() and not (responses.first == responses.true).any()


def test_missing_parts_have_reasons_and_the_other_part_is_still_reported() -> None:
    true, p = population(60, 6)
    alone = run(answers(true, p, 1, 6), p)
    assert np.isnan(alone.value) and "two people" in alone.i2n.reason and "two people" in alone.kappa.reason
    assert np.isfinite(alone.kappa.raw)
    uniform = np.full_like(p, 0.2)
    chance = run(answers(true, uniform, 6, 6), p)
    assert "by chance" in chance.kappa.reason and np.isnan(chance.value) and chance.reason
    few = run(answers(true[:5], p[:5], 6, 6), p[:5])
    assert "too few clips" in few.i2n.reason
    nothing = no_behavior()
    assert np.isnan(nothing.value) and "no human genre choices" in nothing.reason
    flat = run(answers(true, p, 12, 6), uniform)
    assert "constant" in flat.i2n.reason and np.isfinite(flat.kappa.value) and np.isnan(flat.value)


def test_same_seed_same_score_and_interval_around_it() -> None:
    true, p = population(80, 7)
    choices = answers(true, p, 8, 7)
    a, b = run(choices, p, seed=3), run(choices, p, seed=3)
    assert (a.value, a.ci_low, a.ci_high) == (b.value, b.ci_low, b.ci_high)
    assert a.ci_low < a.value < a.ci_high
    assert a.draws.shape == (100,)
    assert a.value == pytest.approx((a.i2n.value + a.kappa.value) / 2)
