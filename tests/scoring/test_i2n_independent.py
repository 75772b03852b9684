"""I2n consistency and its ceiling once more, from Rajalingham et al. (2018) and the design alone, in plain loops.

Nothing of `ban_bids.scoring.i2n` is used to make the expected numbers: d' with its false-alarm rate, all halvings of
people one by one, all outcomes of a model's answers one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations, product
from statistics import NormalDist

import numpy as np
import pytest

from ban_bids.scoring.i2n import compare_patterns, consistency, expected_pattern, pair_covariance, usable_clips
from ban_bids.scoring.responses import Responses

Z = NormalDist().inv_cdf
Answers = Mapping[tuple[int, int], list[int]]
"""(person, clip) -> all answers that the person gave to the clip."""
Pattern = dict[tuple[int, int], float]
"""(clip, distractor) -> d', normalised."""


def rate(chosen: int, rejected: int) -> float:
    return (chosen + 0.5) / (chosen + rejected + 1)


def normalised_dprime(given: Mapping[int, list[int]], true: list[int], n_genres: int) -> Pattern:
    """d' of each clip against each distractor, less its mean over the clips of the genre (the n of I2n)."""
    dprime = {}
    for clip, answers in given.items():
        genre = true[clip]
        for distractor in set(range(n_genres)) - {genre}:
            hits = rate(answers.count(genre), answers.count(distractor))
            of_distractor = [answer for other, own in given.items() if true[other] == distractor for answer in own]
            false_alarms = rate(of_distractor.count(genre), of_distractor.count(distractor))
            dprime[clip, distractor] = Z(hits) - Z(false_alarms)
    return normalise(dprime, true)


def normalise(dprime: Pattern, true: list[int]) -> Pattern:
    result = {}
    for (clip, distractor), value in dprime.items():
        alike = [v for (other, d), v in dprime.items() if d == distractor and true[other] == true[clip]]
        result[clip, distractor] = value - sum(alike) / len(alike)
    return result


def expected_dprime(probabilities: np.ndarray, true: list[int], n_answers: int) -> Pattern:
    """Mean over all sequences of answers, one at a time; the false-alarm rate is the same for a genre's clips."""
    n_clips, n_genres = probabilities.shape
    dprime = {(clip, d): 0.0 for clip in range(n_clips) for d in range(n_genres) if d != true[clip]}
    for clip in range(n_clips):
        for answers in product(range(n_genres), repeat=n_answers):
            chance = math.prod(float(probabilities[clip, answer]) for answer in answers)
            for d in set(range(n_genres)) - {true[clip]}:
                dprime[clip, d] += chance * Z(rate(answers.count(true[clip]), answers.count(d)))
    return normalise(dprime, true)


def dot(one: Pattern, other: Pattern) -> float:
    return sum(one[key] * other[key] for key in one)


def all_halvings(n_people: int, half: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    for order in permutations(range(n_people)):
        yield order[:half], order[-half:]


def brute_force(
    answers: Answers, true: list[int], model: np.ndarray, n_people: int, half: int
) -> tuple[float, float, float, float]:
    """B, rho, reliability, and the standard deviation of B over single halvings (to first order)."""
    n_genres, expected = model.shape[1], expected_dprime(model, true, half)
    shared, people, within = [], [], []
    for first, second in all_halvings(n_people, half):
        for pick in answer_picks(answers, first + second, len(true)):
            a, b = (
                normalised_dprime({c: [pick[p, c] for p in group] for c in range(len(true))}, true, n_genres)
                for group in (first, second)
            )
            shared.append((dot(expected, a) + dot(expected, b)) / 2)
            people.append(dot(a, b))
            within.append((dot(a, a) + dot(b, b)) / 2)
    s, p, w = (float(np.mean(values)) for values in (shared, people, within))
    own = dot(expected, expected)
    rho, reliability = s / math.sqrt(own * w), p / w
    value = rho / math.sqrt(reliability)
    spread = value * np.std(np.array(shared) / s - np.array(people) / (2 * p))
    return value, rho, reliability, float(spread)


def answer_picks(answers: Answers, people: tuple[int, ...], n_clips: int) -> Iterator[dict[tuple[int, int], int]]:
    """All ways of taking one of a person's answers to each clip (few have several)."""
    cells = [(person, clip) for person in people for clip in range(n_clips)]
    for taken in product(*(answers[cell] for cell in cells)):
        yield dict(zip(cells, taken, strict=True))


def people_who_answer(
    n_people: int, true: list[int], n_genres: int, seed: int, repeated: tuple[tuple[int, int], ...] = ()
) -> tuple[Answers, Responses, np.ndarray]:
    """Simulated answers as plain lists, and as the package takes them; and the probabilities of another model."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((len(true), n_genres))
    logits[np.arange(len(true)), true] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    model = 0.5 * probabilities + 0.5 * rng.dirichlet(np.ones(n_genres), len(true))
    answers, counts = {}, np.zeros((n_people, len(true), n_genres), dtype=int)
    for person in range(n_people):
        for clip in range(len(true)):
            n = 2 if (person, clip) in repeated else 1
            own = [int(rng.choice(n_genres, p=probabilities[clip])) for _ in range(n)]
            if n == 2:
                own[1] = (own[0] + 1) % n_genres  # another answer, so that the draw matters
            answers[person, clip] = own
            np.add.at(counts[person, clip], own, 1)
    names = tuple(f"genre {k}" for k in range(n_genres))
    return answers, Responses(counts, counts.sum(axis=2), np.array(true), model, names, 0), model


def ours(responses: Responses, half: int, n_splits: int, seed: int = 0) -> tuple[float, float, float]:
    keep, found = usable_clips(responses.heard.sum(axis=0), responses.true)
    assert keep.all() and found == half
    values = consistency(compare_patterns(responses, half, n_splits, seed=seed), np.ones((1, len(keep))))
    return tuple(float(value[0]) for value in values)  # type: ignore[return-value]


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_two_people_have_one_halving_and_the_same_number_to_rounding(seed: int) -> None:
    true = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    answers, responses, model = people_who_answer(2, true, 3, seed)
    value, rho, reliability, spread = brute_force(answers, true, model, 2, 1)
    found = ours(responses, 1, 3)
    assert spread == pytest.approx(0, abs=1e-12)
    assert found == pytest.approx((value, rho, reliability), abs=1e-12)


@pytest.mark.parametrize(("n_people", "half", "repeated"), [(4, 2, ()), (5, 2, ()), (3, 1, ((0, 1), (2, 4), (1, 6)))])
def test_more_people_have_the_same_number_to_the_error_of_random_halvings(
    n_people: int, half: int, repeated: tuple[tuple[int, int], ...]
) -> None:
    true = [0, 0, 0, 1, 1, 1, 2, 2]
    answers, responses, model = people_who_answer(n_people, true, 3, 2, repeated)
    value, rho, reliability, spread = brute_force(answers, true, model, n_people, half)
    n_splits = 4000
    found = ours(responses, half, n_splits)
    error = spread / math.sqrt(n_splits)
    assert 0 < error < 0.03 and found[0] == pytest.approx(value, abs=4 * error)
    assert found[1:] == pytest.approx((rho, reliability), abs=0.02)


def test_clips_with_other_judges_are_the_mean_over_orders_in_which_nobody_meets_herself() -> None:
    """Every pair of clips, every order of four people: first judges against last ones, unless somebody is in both."""
    true = [0, 0, 0, 1, 1, 1]
    judges = [(0, 1), (1, 2), (2, 3), (0, 1, 2), (3, 0), (1, 2, 3)]
    answers, responses, _ = people_who_answer(4, true, 2, 3)
    heard = np.array([[person in own for own in judges] for person in range(4)])
    responses = Responses(
        responses.counts * heard[..., None], heard.astype(int), responses.true, responses.probabilities, ("a", "b"), 0
    )

    def pattern(people: Callable[[list[int]], int], order: tuple[int, ...]) -> list[tuple[int, float]]:
        chosen = [people([p for p in order if p in judges[clip]]) for clip in range(6)]
        given = [answers[person, clip][0] for clip, person in enumerate(chosen)]
        return [(who, Z(rate(int(a == true[c]), int(a != true[c])))) for c, (who, a) in enumerate(zip(chosen, given))]

    sums, n = np.zeros((6, 6)), np.zeros((6, 6))
    for order in permutations(range(4)):
        first, last = pattern(lambda own: own[0], order), pattern(lambda own: own[-1], order)
        for i, j in product(range(6), repeat=2):
            if first[i][0] != last[j][0]:
                sums[i, j] += first[i][1] * last[j][1]
                n[i, j] += 1
    expected = np.where(np.equal.outer(true, true), sums / n, 0)  # other genres' clips have other pairs of genres
    assert n.min() < 24 and (np.diag(n) == 24).all()
    found = compare_patterns(responses, 1, 3000, seed=0).people
    # 4 standard errors of at least half of 3000 halvings; every product is of the same size
    np.testing.assert_allclose(found, expected, atol=4 * np.abs(expected).max() / math.sqrt(1500))


def known_reliability(probabilities: np.ndarray, true: list[int], half: int) -> float:
    """Reliability of a half's pattern when people answer alike: variance between clips, and of all outcomes."""
    n_clips, n_genres = probabilities.shape
    mean = np.zeros((n_clips, n_genres))
    square = np.zeros((n_clips, n_genres))
    for clip in range(n_clips):
        for d in set(range(n_genres)) - {true[clip]}:
            t, w = probabilities[clip, true[clip]], probabilities[clip, d]
            for k_t, k_d in product(range(half + 1), repeat=2):
                rest = half - k_t - k_d
                if rest >= 0:
                    ways = math.factorial(half) / math.prod(map(math.factorial, (k_t, k_d, rest)))
                    chance = ways * t**k_t * w**k_d * max(1 - t - w, 0) ** rest
                    z = Z(rate(k_t, k_d))
                    mean[clip, d] += chance * z
                    square[clip, d] += chance * z * z
    signal = noise = 0.0
    for genre in set(true):
        own = [clip for clip in range(n_clips) if true[clip] == genre]
        signal += float(((mean[own] - mean[own].mean(axis=0)) ** 2).sum())
        noise += float((square[own] - mean[own] ** 2).sum()) * (1 - 1 / len(own))
    return signal / (signal + noise)


@pytest.mark.parametrize(("n_people", "spread"), [(6, 1.5), (16, 0.7)])
def test_planted_reliability_is_recovered(n_people: int, spread: float) -> None:
    n_clips, n_genres = 100, 5
    true = [clip % n_genres for clip in range(n_clips)]
    rng = np.random.default_rng(n_people)
    logits = spread * rng.standard_normal((n_clips, n_genres))
    logits[np.arange(n_clips), true] += 1.5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    planted = known_reliability(p, true, n_people // 2)
    found = []
    for seed in range(30):
        own = np.random.default_rng([seed, n_people])
        answer = (p.cumsum(axis=1)[:, :-1] < own.random((n_people, n_clips, 1))).sum(axis=2)
        counts = (answer[..., None] == np.arange(n_genres)).astype(int)
        responses = Responses(counts, counts.sum(2), np.array(true), p, tuple("abcde"), 0)
        found.append(ours(responses, n_people // 2, 20, seed)[2])
    assert 0.1 < planted < 0.8
    assert np.mean(found) == pytest.approx(planted, abs=0.02)


def test_people_who_differ_do_not_raise_b() -> None:
    """Everybody prefers some genres and confuses some in an own way; the population's probabilities have B = 1.

    People halved anew for each clip would meet themselves on other clips, and B would be 1.14 here.
    """
    n_people, n_clips, n_genres = 8, 80, 5
    true = np.arange(n_clips) % n_genres
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        logits = rng.standard_normal((n_clips, n_genres))
        logits[np.arange(n_clips), true] += 1.5
        many = logits + 1.2 * rng.standard_normal((1000, n_genres, n_genres))[:, true]
        many = np.exp(many) / np.exp(many).sum(axis=2, keepdims=True)
        answer = (many[:n_people].cumsum(axis=2)[..., :-1] < rng.random((n_people, n_clips, 1))).sum(axis=2)
        counts = (answer[..., None] == np.arange(n_genres)).astype(int)
        responses = Responses(counts, counts.sum(2), true, many[n_people:].mean(axis=0), tuple("abcde"), 0)
        patterns = compare_patterns(responses, n_people // 2, 20, seed=seed)
        one = np.ones((1, n_clips))
        found.append([float(pair_covariance(x, true, one)[0]) for x in (patterns.shared, patterns.people)])
        found[-1].append(float(pair_covariance(patterns.model, true, one)[0]))
    shared, people, model = np.mean(found, axis=0)
    assert shared / math.sqrt(people * model) == pytest.approx(1, abs=0.02)


def test_the_models_pattern_is_that_of_all_sequences_of_answers() -> None:
    rng = np.random.default_rng(0)
    true = [0, 0, 1, 1]
    p = rng.dirichlet(np.ones(3), 4)
    found = expected_pattern(p, np.array(true), 3)
    found -= np.repeat([found[:2].mean(axis=0), found[2:].mean(axis=0)], 2, axis=0)
    for (clip, d), value in expected_dprime(p, true, 3).items():
        assert found[clip, d] == pytest.approx(value)
