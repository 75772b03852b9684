"""How often the 95 % intervals hold the truth: c, C, B, BAS and differences, of one participant and of groups.

    python benchmarks/interval_coverage.py [--n 200] [--only N_PEOPLE]

The truth is that of the population. Of a group: the mean of a score over infinitely many people, each of whom hears
infinitely many clips. Of one participant: that participant's score on infinitely many clips. Both are known exactly,
or from 10^5 people. What is drawn anew in every dataset:

- clips: how much of what the models predict, of what they do not, and of what they predict wrongly a clip holds
  (gamma, shared by all people and partly by regions), besides its features; how hard its genre is to tell;
- people: how strongly what the models predict drives them (log-normal, by person and by person and region), which
  voxel listens to which feature, and how the clips strike each of them (log-normal, by person and clip);
- noise: of every volume; a repeat's explainable variance is 15 %.

Four regions of 30 voxels, four rows a clip. The model has c of about .35, its rival .17, the weak one .02. B: answers
of 20 people among five genres; its truth is that of a model as near to them on 5000 clips. Statistics, draws and
intervals are those of the package. ``own`` columns are the intervals of a participant's table.

Prints, for each design, the coverage in percent and in brackets the median width over the ideal one, 2 * 1.96 times
the standard deviation of the estimate over datasets, then the percentage of datasets without an interval (-54: n/a in
54 %), which are left out; the standard error of a coverage of 95 % is 1.5 with 200 datasets.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ban_bids.encoding.repeats import Repeats
from ban_bids.inputs.types import Clip
from ban_bids.scoring.bas import bas_score
from ban_bids.scoring.behavioral import behavioral_score
from ban_bids.scoring.bootstrap import Estimate, centred_draws, clip_statistics, share, with_interval
from ban_bids.scoring.comparison import (
    KeptScore,
    clip_draws,
    over_people,
    paired_difference,
)
from ban_bids.scoring.cortical import correlation_form

REGIONS = ("A1", "Belt", "PB", "T2T3")
MODELS = ("model", "rival", "weak")
SIZES = {"clips": (10, 20, 60), "repeats": (2, 4), "people": (1, 5, 20)}
N_VOXELS, N_ROWS, N_FEATURES, N_DRAWS = 30, 4, 3, 1000
EXPLAINABLE = 0.15
GENRES = tuple("abcde")
N_JUDGES = 20
C, WEAK, DIFFERENCE = ("C", "", ""), "weak C", "C - rival's"


@dataclass(frozen=True)
class People:
    """Power of each part of a response, (n_people, n_regions): two that models predict, what they do not, errors."""

    parts: np.ndarray  # (5, n_people, n_regions)

    @property
    def truth(self) -> np.ndarray:
        """c on infinitely many clips, (n_models, n_people, n_regions)."""
        first, second, rest, error, other = self.parts
        heard = first + second + rest
        return np.array([first + second - error, first - other, _WEAK * (2 - _WEAK) * first]) / heard


_WEAK = 0.03


def draw_people(rng: np.random.Generator, n: int) -> People:
    """People of the population."""
    shape = (n, len(REGIONS))
    drive = np.exp(0.35 * rng.standard_normal((n, 1)) + 0.2 * rng.standard_normal(shape))
    second = drive * np.exp(0.3 * rng.standard_normal(shape))
    return People(np.array([0.3 * drive, 0.15 * second, *(np.full(shape, x) for x in (0.6, 0.08, 0.1))]))


def listen(rng: np.random.Generator, people: People, n_clips: int, n_repeats: int) -> list[dict[str, KeptScore]]:
    """Statistics of every model in every person, of one dataset."""
    shape = (len(REGIONS), n_clips, N_ROWS, N_FEATURES)
    power = rng.gamma(2, 1 / 2, (5, 1, n_clips)) * rng.gamma(4, 1 / 4, (5, len(REGIONS), n_clips))
    features = rng.standard_normal((5, *shape)) * np.sqrt(power)[..., None, None]
    n = n_clips * N_ROWS
    repeats = Repeats(np.arange(n * n_repeats).reshape(n_repeats, n).T, np.repeat(np.arange(n_clips), N_ROWS))
    noise = np.sqrt((1 - EXPLAINABLE) / EXPLAINABLE)
    kept = []
    for person in range(people.parts.shape[1]):
        weights = rng.standard_normal((5, len(REGIONS), N_FEATURES, N_VOXELS))
        weights *= np.sqrt(N_VOXELS * people.parts[:, person] / (weights**2).sum(axis=(2, 3)))[..., None, None]
        struck = np.exp(0.3 * rng.standard_normal((5, 1, n_clips, 1, 1)) - 0.09)
        parts = (struck * np.einsum("prktf,prfv->prktv", features, weights)).reshape(5, len(REGIONS), n, N_VOXELS)
        first, second, rest, error, other = parts
        predictions = dict(zip(MODELS, (first + second + error, first + other, _WEAK * first), strict=True))
        bold = np.tile(first + second + rest, (1, n_repeats, 1))
        bold += noise * rng.standard_normal(bold.shape)
        kept.append({name: _kept(np.tile(p, (1, n_repeats, 1)), bold, repeats) for name, p in predictions.items()})
    return kept


def _kept(predictions: np.ndarray, bold: np.ndarray, repeats: Repeats) -> KeptScore:
    pairs = zip(REGIONS, predictions, bold, strict=True)
    return KeptScore({}, {region: clip_statistics(p, y, repeats) for region, p, y in pairs})


def judged(rng: np.random.Generator, n_clips: int, n_draws: int) -> Estimate:
    """B of one dataset: clips whose difficulty the model shares in part."""
    n_genres = len(GENRES)
    true = np.arange(n_clips) % n_genres
    right = 1.5 * (true[:, None] == np.arange(n_genres))
    shared = rng.standard_normal((n_clips, n_genres))
    of_people = right + shared + 0.7 * rng.standard_normal((n_clips, n_genres))
    of_model = np.exp(right + shared + 0.7 * rng.standard_normal((n_clips, n_genres)))
    chances = rng.gumbel(size=(N_JUDGES, n_clips, n_genres)) + of_people
    answers = chances.argmax(axis=2)
    person, clip = np.indices(answers.shape).reshape(2, -1)
    choices = pd.DataFrame(
        {
            "participant": [f"{p:02d}" for p in person],
            "audio": [f"{c}.wav" for c in clip],
            "start": 0.0,
            "duration": 1.0,
            "true_genre": [GENRES[true[c]] for c in clip],
            "response": [GENRES[g] for g in answers.ravel()],
        }
    )
    clips = [Clip(Path(f"{c}.wav"), 0.0, 1.0, str(c), GENRES[true[c]]) for c in range(n_clips)]
    probabilities = of_model / of_model.sum(axis=1, keepdims=True)
    return behavioral_score(choices, clips, probabilities, genres=GENRES, n_bootstrap=n_draws, n_splits=20)


@dataclass(frozen=True)
class Dataset:
    """Estimate and truth of each quantity."""

    found: dict[str, Estimate]
    truth: dict[str, float]


def analysed(
    rng: np.random.Generator, n_people: int, n_clips: int, n_repeats: int, b: Estimate, truth: dict[str, float]
) -> Dataset:
    """One dataset: everything that is reported of it."""
    people = draw_people(rng, n_people)
    seed = int(rng.integers(2**31))
    kept = listen(rng, people, n_clips, n_repeats)
    clips = [f"{k:03d}" for k in range(n_clips)]
    counts = clip_draws([clips], N_DRAWS, seed)[0]
    model, rival, weak = (np.stack([one[name].scores(counts)[C] for one in kept], axis=1) for name in MODELS)
    c = np.stack([share(one["model"].committed["A1"], counts) for one in kept], axis=1)
    # as in tables: nobody without explainable variance is scored
    c, model, rival, weak = (x[:, np.isfinite(x[0]) | (n_people == 1)] for x in (c, model, rival, weak))
    found = {name: over_people(x[0], x[1:], n_clips, seed=seed) for name, x in (("c", c), ("C", model), (WEAK, weak))}
    found["BAS"] = bas_score(found["C"], b)
    found[DIFFERENCE] = paired_difference(model[0], rival[0], model[1:], rival[1:], n_clips, seed=seed)
    if n_people == 1:
        truth = {**truth, **_truth(people)}
        # as `ban_bids.scoring.cortical` makes them
        shares = {region: share(statistics, counts) for region, statistics in kept[0]["model"].committed.items()}
        drawn = {region: centred_draws(x[1:], x[0], n_clips) for region, x in shares.items()}
        found["own c"] = Estimate(**with_interval(shares["A1"][0], drawn["A1"]))
        rho = np.mean([correlation_form(draws) for draws in drawn.values()], axis=0)
        found["own C"] = Estimate(**with_interval(model[0, 0], rho))
    truth = {**truth, "BAS": (truth["C"] + truth["B"]) / 2}
    return Dataset({**found, "B": b}, truth)


def _truth(people: People) -> dict[str, float]:
    rho = correlation_form(people.truth).mean(axis=(1, 2))
    c = float(people.truth[0, :, 0].mean())
    totals = {"C": rho[0], WEAK: rho[2], DIFFERENCE: rho[0] - rho[1]}
    return {"c": c, "own c": c, "own C": float(rho[0]), **{name: float(value) for name, value in totals.items()}}


def coverage(sets: list[Dataset], name: str) -> str:
    """Coverage in percent, the median width over the ideal one, and the percentage without an interval, if any."""
    if name not in sets[0].found:
        return ""
    truth = np.array([one.truth[name] for one in sets])
    value, low, high = np.array([(e.value, e.ci_low, e.ci_high) for e in (one.found[name] for one in sets)]).T
    ideal = 2 * 1.96 * np.nanstd(value - truth)
    there = np.isfinite(low)
    if not there.any():
        return "n/a"
    covered = np.mean((low <= truth)[there] & (truth <= high)[there])
    none = f" -{100 * np.mean(~there):.0f}" if not there.all() else ""
    return f"{100 * covered:.0f} ({np.median((high - low)[there]) / ideal:.2f}){none}"


def main() -> int:
    """Simulate every design and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="datasets of every design")
    parser.add_argument("--only", type=int, choices=SIZES["people"], nargs="*", default=SIZES["people"])
    given = parser.parse_args()
    start = time.process_time()
    population = _truth(draw_people(np.random.default_rng(0), 100_000))
    population["B"] = judged(np.random.default_rng(1), 5000, 2).value
    b = {k: [judged(np.random.default_rng((2, k, s)), k, N_DRAWS) for s in range(given.n)] for k in SIZES["clips"]}
    print("truth of the population:", {name: round(value, 3) for name, value in population.items()})
    columns = ("c", "C", "B", "BAS", DIFFERENCE, WEAK, "own c", "own C")
    print("people clips repeats" + "".join(f"{name:>15s}" for name in columns) + "   CPU s", flush=True)
    for n_people, n_clips, n_repeats in product(given.only, SIZES["clips"], SIZES["repeats"]):
        begun = time.process_time()
        rng = np.random.default_rng((3, n_people, n_clips, n_repeats))
        sets = [analysed(rng, n_people, n_clips, n_repeats, one, population) for one in b[n_clips]]
        cells = "".join(f"{coverage(sets, name):>15s}" for name in columns)
        seconds = time.process_time() - begun
        print(f"{n_people:6d} {n_clips:5d} {n_repeats:7d}{cells} {seconds:7.0f}", flush=True)
    print(f"processor time: {time.process_time() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
