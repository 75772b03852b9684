"""Is the behavioural score calibrated? Simulated people and models whose true score is known.

People answer with a softmax of logits, mixed with guesses: confusions of genres that are the same in every data set,
what is the clip's own, and what is the person's own. Four populations:

- ``alike``: all answer with the same probabilities;
- ``guessing``: alike, and 40 % of answers are guesses;
- ``differ``: everybody prefers some answers, in general and to each genre, and is more or less sure (sd .7, .7, .3);
- ``tastes``: besides, clips have a second quality, of which some people make much and others the opposite (sd .7 of
  the first quality's weight): the model that shares it agrees with some people only.

The model's logits share w of the clips' own (correlation; the rest is the second quality of ``tastes``), of people
who have no preferences. True B: the correlation of expected patterns of model and population at the same number of
answers, on 4000 clips. Coverage: the share of 95 % intervals that hold it, data sets without a B left out.

    python benchmarks/behavior_calibration.py [--sets 200] [--only alike]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ban_bids.scoring.behavioral import BehavioralScore, score_responses
from ban_bids.scoring.bootstrap import percentile_interval
from ban_bids.scoring.i2n import (
    MAX_HALF,
    centred,
    compare_patterns,
    consistency,
    expected_pattern,
    hit_pattern,
    usable_clips,
)
from ban_bids.scoring.responses import Responses

N_GENRES = 10
GUESSES = 0.05
NAMES = tuple(str(k) for k in range(N_GENRES))
SIZES = ((4, 100), (8, 60), (12, 100), (20, 100), (30, 100))
"""People and clips."""
SHARED = (1.0, 0.7, 0.0)
KAPPAS = ("kappa_model_person", "kappa_person_person", "kappa_majority")


@dataclass(frozen=True)
class Population:
    """How people differ: standard deviations of their preferences, of log certainty, of their taste; guesses."""

    preference: float = 0.0
    certainty: float = 0.0
    taste: float = 0.0
    guesses: float = GUESSES

    def people(self, n: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Preferences (n, 1, G) and (n, true, G), certainty and taste (n, 1, 1)."""
        shapes = ((n, 1, N_GENRES), (n, N_GENRES, N_GENRES), (n, 1, 1), (n, 1, 1))
        general, of_genre, certainty, taste = (rng.standard_normal(shape) for shape in shapes)
        preference = (self.preference * general, self.preference * of_genre)
        return [*preference, np.exp(self.certainty * certainty), self.taste * taste]

    def probabilities(self, clips: Clips, people: list[np.ndarray]) -> np.ndarray:
        """(n, C, G)."""
        general, of_genre, certainty, taste = people
        logits = certainty * (clips.common + clips.own + taste * clips.other) + general + of_genre[:, clips.true]
        return (1 - self.guesses) * softmax(logits) + self.guesses / N_GENRES


POPULATIONS = {
    "alike": Population(),
    "guessing": Population(guesses=0.4),
    "differ": Population(0.7, 0.3),
    "tastes": Population(0.5, 0.2, 0.7),
}


@dataclass(frozen=True, eq=False)
class Clips:
    """Genres of clips, and logits: what is common to a genre, and two qualities that are the clip's own."""

    true: np.ndarray
    common: np.ndarray
    own: np.ndarray
    other: np.ndarray

    @classmethod
    def drawn(cls, n: int, rng: np.random.Generator) -> Clips:
        """As many of each genre, or one more."""
        true = np.arange(n) % N_GENRES
        # confusions of genres are the same in every data set: intervals draw clips within genres
        common = 0.8 * np.random.default_rng(99).standard_normal((N_GENRES, N_GENRES))[true]
        common[np.arange(n), true] += 2.5
        return cls(true, common, *(1.2 * rng.standard_normal((2, n, N_GENRES))))

    def model(self, shared: float, guesses: float = GUESSES) -> np.ndarray:
        """Probabilities of a model that shares so much of the clips' own."""
        logits = self.common + shared * self.own + np.sqrt(1 - shared**2) * self.other
        return (1 - guesses) * softmax(logits) + guesses / N_GENRES


@cache
def many(population: Population, n: int = 2000) -> tuple[Clips, np.ndarray]:
    """4000 clips, and the probabilities of an answer of somebody taken at random to them: (C, G)."""
    clips = Clips.drawn(4000, np.random.default_rng(0))
    rng, step = np.random.default_rng(5), 50
    parts = [population.probabilities(clips, population.people(step, rng)).mean(axis=0) for _ in range(n // step)]
    return clips, np.mean(parts, axis=0)


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def answers(
    p: np.ndarray, clips: Clips, model: np.ndarray, rng: np.random.Generator, heard: np.ndarray | None = None
) -> Responses:
    """One answer per person to each clip that the person heard."""
    chosen = (p.cumsum(axis=2)[..., :-1] < rng.random((*p.shape[:2], 1))).sum(axis=2)
    heard = np.ones(p.shape[:2], dtype=bool) if heard is None else heard
    counts = (chosen[..., None] == np.arange(N_GENRES)) & heard[..., None]
    return Responses(counts.astype(int), heard.astype(int), clips.true, model, NAMES, 0)


def true_scores(population: Population, n_people: int) -> dict[float, float]:
    """B of each model without sampling noise."""
    clips, of_people = many(population)
    half = min(n_people // 2, MAX_HALF)
    b = centred(expected_pattern(of_people, clips.true, half), clips.true)
    found = {}
    for shared in SHARED:
        a = centred(expected_pattern(clips.model(shared, population.guesses), clips.true, half), clips.true)
        found[shared] = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    return found


def data_sets(
    n_sets: int, population: Population, n_people: int, n_clips: int, heard: np.ndarray | None = None
) -> Iterator[dict[float, BehavioralScore]]:
    """Scores of the three models in every data set."""
    for seed in range(n_sets):
        rng = np.random.default_rng([seed, n_people, n_clips])
        clips = Clips.drawn(n_clips, rng)
        p = population.probabilities(clips, population.people(n_people, rng))
        responses = answers(p, clips, clips.model(1.0), rng, heard)
        yield {
            shared: score_responses(
                replace(responses, probabilities=clips.model(shared, population.guesses)),
                n_bootstrap=300,
                n_splits=50,
                seed=seed,
            )
            for shared in SHARED
        }


def covers(values: list[BehavioralScore], truth: float) -> float:
    """Share of intervals that hold the truth."""
    return float(np.mean([s.ci_low <= truth <= s.ci_high for s in values])) if values else float("nan")


def coverage(n_sets: int, populations: Sequence[str] = tuple(POPULATIONS)) -> dict[str, list[float]]:
    """Print B and its coverage for every population and size; return all coverages."""
    print("B: share of data sets with a B (and of these not marked rough), mean B (true B), coverage of 95 %")
    print("population people clips | model w = " + " | ".join(f"{shared:.1f}" for shared in SHARED))
    found: dict[str, list[float]] = {name: [] for name in populations}
    for name in populations:
        population = POPULATIONS[name]
        for n_people, n_clips in SIZES:
            truth = true_scores(population, n_people)
            scores = list(data_sets(n_sets, population, n_people, n_clips))
            cells = []
            for shared in SHARED:
                defined = [one[shared] for one in scores if np.isfinite(one[shared].value)]
                sure = np.mean([not s.rough for s in defined]) if defined else np.nan
                mean = np.mean([s.value for s in defined]) if defined else np.nan
                covered = covers(defined, truth[shared])
                found[name].append(covered)
                share = len(defined) / n_sets
                cells.append(f"{share:4.2f} ({sure:4.2f}) {mean:6.3f} ({truth[shared]:6.3f}) {covered:5.3f}")
            print(f"{name:10s} {n_people:6d} {n_clips:5d} | " + " | ".join(cells), flush=True)
        print(f"{name}: mean coverage {np.nanmean(found[name]):.3f}", flush=True)
    return found


def planted_reliability(population: Population, clips: Clips, half: int, n_halves: int = 400) -> float:
    """Correlation of the patterns of two halves of other people, from many halves on the same clips."""
    rng = np.random.default_rng(1)
    total, square = np.zeros((len(clips.true), N_GENRES)), 0.0
    for _ in range(n_halves):
        p = population.probabilities(clips, population.people(half, rng))
        counts = answers(p, clips, clips.model(1.0), rng).counts.sum(axis=0)
        pattern = centred(hit_pattern(counts, clips.true), clips.true)
        total, square = total + pattern, square + float((pattern**2).sum())
    # products of different halves: all products less those of each half with itself
    across = float((total**2).sum() - square) / (n_halves * (n_halves - 1))
    return across / (square / n_halves)


def reliability(n_sets: int) -> list[float]:
    """Print planted and recovered reliability of halves of people; return the errors."""
    print("reliability of halves of people on 100 clips: planted, mean estimate, error; its root is the ceiling")
    errors = []
    for name, population in POPULATIONS.items():
        for n_people in (4, 12, 30):
            clips = Clips.drawn(100, np.random.default_rng([3, n_people]))
            planted = planted_reliability(population, clips, n_people // 2)
            found = []
            for seed in range(n_sets):
                rng = np.random.default_rng([seed, n_people])
                p = population.probabilities(clips, population.people(n_people, rng))
                responses = answers(p, clips, clips.model(1.0), rng)
                half = usable_clips(responses.heard.sum(axis=0), clips.true)[1]
                patterns = compare_patterns(responses, half, 20, seed=seed)
                found.append(float(consistency(patterns, np.ones((1, 100)))[2][0]))
            errors.append(float(np.mean(found)) - planted)
            print(f"{name:10s} {n_people:3d} people: {planted:.3f} {np.mean(found):.3f} {errors[-1]:+.3f}", flush=True)
    return errors


def unequal(n_sets: int) -> None:
    """Print B where half of the clips are judged by 4 of 24 people, others by all; and where everybody misses some."""
    rng = np.random.default_rng(0)
    few = np.where(np.arange(100) // N_GENRES % 2, 4, 24)
    designs = {
        "4 or 24 judges": np.argsort(rng.random((24, 100)), axis=0) < few,
        "60 % of the clips": rng.random((24, 100)) < 0.6,
        "2 panels of 12": np.arange(24)[:, None] // 12 == np.arange(100) // 50,
    }
    for name, heard in designs.items():
        for of_people in ("alike", "differ"):
            population = POPULATIONS[of_people]
            half = usable_clips(heard.sum(axis=0), np.arange(100) % N_GENRES)[1]
            truth, scores = true_scores(population, 2 * half), list(data_sets(n_sets, population, 24, 100, heard))
            cells = []
            for shared in SHARED:
                defined = [one[shared] for one in scores if np.isfinite(one[shared].value)]
                mean = np.mean([s.value for s in defined])
                cells.append(f"{mean:6.3f} ({truth[shared]:6.3f}) {covers(defined, truth[shared]):5.3f}")
            print(f"{name}, {of_people}: " + " | ".join(cells), flush=True)


def differences(n_sets: int) -> list[float]:
    """Print how often the interval of B of one model less B of another, equally good one holds 0; return the shares."""
    shares = []
    for name, n_people, n_clips in (("alike", 12, 100), ("differ", 12, 100), ("tastes", 8, 60)):
        population, held = POPULATIONS[name], []
        for seed in range(n_sets):
            rng = np.random.default_rng([seed, n_people, n_clips])
            clips = Clips.drawn(n_clips, rng)
            p = population.probabilities(clips, population.people(n_people, rng))
            responses = answers(p, clips, clips.model(1.0), rng)
            # what the models do not share with people is each model's own
            models = [replace(clips, other=1.2 * rng.standard_normal((n_clips, N_GENRES))).model(0.7) for _ in range(2)]
            one, other = (
                score_responses(replace(responses, probabilities=model), n_bootstrap=300, n_splits=50, seed=seed)
                for model in models
            )
            if np.isfinite(one.value):
                low, high = percentile_interval(one.draws - other.draws)
                held.append(low <= 0 <= high)
        shares.append(float(np.mean(held)))
        print(f"difference of two models, {name}, {n_people} people, {n_clips} clips: {shares[-1]:.3f}", flush=True)
    return shares


def kappas(n_sets: int) -> None:
    """Print means and coverage of the kappas of people who are alike: the truth is the mean over data sets."""
    for n_people, n_clips in ((3, 60), (10, 100), (30, 100)):
        scores = list(data_sets(n_sets, POPULATIONS["alike"], n_people, n_clips))
        cells = []
        for name in KAPPAS:
            for shared in SHARED if name != "kappa_person_person" else SHARED[:1]:
                parts = [getattr(one[shared], name) for one in scores]
                mean = float(np.mean([part.value for part in parts]))
                cells.append(f"{mean:5.2f} {covers(parts, mean):4.2f}")
        print(f"{n_people} people, {n_clips} clips: " + " | ".join(cells), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200, help="data sets per line")
    parts: dict[str, Callable[[int], object]] = {"coverage": coverage, "reliability": reliability, "unequal": unequal}
    parts |= {"difference": differences, "kappa": kappas}
    parser.add_argument("--only", choices=(*parts, *POPULATIONS), help="one table, or coverage in one population")
    asked = parser.parse_args()
    started = time.process_time()
    if asked.only in POPULATIONS:
        coverage(asked.sets, [asked.only])
    for name, part in parts.items():
        if asked.only in (None, name):
            part(asked.sets)
    print(f"{asked.sets} data sets per line, {time.process_time() - started:.0f} processor seconds")


if __name__ == "__main__":
    main()
