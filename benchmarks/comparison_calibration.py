"""Are comparisons of models calibrated: p, correction for many pairs, intervals of differences and of ranks; power.

    python benchmarks/comparison_calibration.py [--n 400] [--only N_PEOPLE ...] [--clips K ...]

Listeners hear clips whose response holds a part that all of five models predict, one part for each model that it alone
predicts, and a part that none predicts; how much of each a clip holds is drawn (gamma, partly by region), as is how
strongly each part drives a person (log-normal; with one person, whose own score is the truth, all models' parts are
equally strong). Volumes have noise: the explainable variance of one repeat is 15 %. Two regions of 20 voxels, two
repeats, four rows a clip. Statistics, draws, differences, p and ranks are those of the package.

*Equal*: the five models' parts have the same strength in the population, so that every difference is a false positive.
*Planted*: model 1's own part is twice, model 2's 1.4 times as strong; the truth is that of 10^5 people, or
the person's.

Columns, in percent. Equal: ``p`` of the ten pairs under .05, ``max-T`` datasets with any corrected p under .05,
``covers`` intervals that hold the true difference (0). Planted: ``covers``; ``power`` of the pairs 1-3 and 2-3 (p under
.05) and of the corrected p; ``ranks`` intervals of rank that hold the true rank (of equals: any that they share);
``first`` mean probability that model 1 is first. In brackets: standard error over datasets.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import combinations, product

import numpy as np

from ban_bids.encoding.repeats import Repeats
from ban_bids.scoring.bootstrap import Estimate, clip_statistics
from ban_bids.scoring.comparison import KeptScore, clip_draws, paired_difference
from ban_bids.scoring.cortical import correlation_form
from ban_bids.scoring.differences import max_t, ranks, two_sided_p

REGIONS = ("A1", "PB")
N_MODELS, N_VOXELS, N_ROWS, N_FEATURES, N_REPEATS, N_DRAWS = 5, 20, 4, 3, 2, 400
EXPLAINABLE = 0.15
EQUAL = np.full(N_MODELS, 0.15)
PLANTED = 0.15 * np.array([2, 1.4, 1, 1, 1])
SHARED, REST = 0.3, 0.3
PAIRS = list(combinations(range(N_MODELS), 2))


def draw_people(rng: np.random.Generator, n: int, strengths: np.ndarray) -> np.ndarray:
    """Power of each part of a response: shared, the models' own, the rest; (2 + n_models, n_people, n_regions)."""
    shape = (n, len(REGIONS))
    drive = np.exp(0.35 * rng.standard_normal((n, 1)) + 0.2 * rng.standard_normal(shape))
    own = np.exp(0.3 * rng.standard_normal((len(strengths), *shape)) * (n > 1))
    return np.concatenate([[SHARED * drive], strengths[:, None, None] * own * drive, [np.full(shape, REST)]])


def truth(parts: np.ndarray) -> np.ndarray:
    """C of each model on infinitely many clips, mean over people: (n_models,)."""
    return correlation_form((parts[:1] + parts[1:-1]) / parts.sum(axis=0)).mean(axis=(1, 2))


def scores(rng: np.random.Generator, parts: np.ndarray, n_clips: int, seed: int) -> np.ndarray:
    """C of every model and person in the draws of clips of one dataset: (n_models, 1 + n_draws, n_people)."""
    n_parts, n_people, n_regions = parts.shape
    n = n_clips * N_ROWS
    power = rng.gamma(2, 1 / 2, (n_parts, 1, n_clips)) * rng.gamma(4, 1 / 4, (n_parts, n_regions, n_clips))
    features = rng.standard_normal((n_parts, n_regions, n_clips, N_ROWS, N_FEATURES)) * np.sqrt(power)[..., None, None]
    repeats = Repeats(np.arange(n * N_REPEATS).reshape(N_REPEATS, n).T, np.repeat(np.arange(n_clips), N_ROWS))
    [counts] = clip_draws([[f"{k:03d}" for k in range(n_clips)]], N_DRAWS, seed)
    noise = np.sqrt((1 - EXPLAINABLE) / EXPLAINABLE)
    found = np.empty((N_MODELS, len(counts), n_people))
    for person in range(n_people):
        weights = rng.standard_normal((n_parts, n_regions, N_FEATURES, N_VOXELS))
        weights *= np.sqrt(N_VOXELS * parts[:, person] / (weights**2).sum(axis=(2, 3)))[..., None, None]
        struck = np.exp(0.3 * rng.standard_normal((n_parts, 1, n_clips, 1, 1)) - 0.09)
        heard = (struck * np.einsum("prktf,prfv->prktv", features, weights)).reshape(n_parts, n_regions, n, N_VOXELS)
        bold = np.tile(heard.sum(axis=0), (1, N_REPEATS, 1))
        bold += noise * rng.standard_normal(bold.shape)
        for model in range(N_MODELS):
            prediction = np.tile(heard[0] + heard[1 + model], (1, N_REPEATS, 1))
            pairs = zip(REGIONS, prediction, bold, strict=True)
            kept = KeptScore({}, {region: clip_statistics(p, y, repeats) for region, p, y in pairs})
            found[model, :, person] = kept.rho(counts)["C", ""]
    return found


def compared(drawn: np.ndarray, n_clips: int, seed: int) -> list[Estimate]:
    """All pairs of one dataset."""
    drawn = drawn[:, :, np.isfinite(drawn[:, 0]).all(axis=0)]
    return [
        paired_difference(drawn[i, 0], drawn[j, 0], drawn[i, 1:], drawn[j, 1:], n_clips, seed=seed) for i, j in PAIRS
    ]


def simulate(n_sets: int, n_people: int, n_clips: int, strengths: np.ndarray) -> dict[str, np.ndarray]:
    """What is reported of every dataset: arrays of length n_sets, of pairs (n_sets, n_pairs)."""
    planted = len(set(strengths)) > 1
    rng = np.random.default_rng((7, n_people, n_clips, planted))
    population = truth(draw_people(np.random.default_rng(0), 100_000, strengths))
    kept: dict[str, list[np.ndarray | float]] = {name: [] for name in ("p", "corrected", "covers", "ranks", "first")}
    while len(kept["p"]) < n_sets:
        parts, seed = draw_people(rng, n_people, strengths), int(rng.integers(2**31))
        true = truth(parts) if n_people == 1 else population
        true = true if planted else np.zeros(N_MODELS)
        differences = compared(scores(rng, parts, n_clips, seed), n_clips, seed)
        if not np.isfinite(differences[0].value):  # of one person without explainable variance: n/a
            continue
        found = ranks(N_MODELS, dict(zip(PAIRS, differences, strict=True)))
        best = [1 + np.sum(true > t + 0.002) for t in true]
        worst = [np.sum(true > t - 0.002) for t in true]
        kept["p"].append(np.array([two_sided_p(one) for one in differences]))
        kept["corrected"].append(max_t(differences))
        gaps = [true[i] - true[j] for i, j in PAIRS]
        kept["covers"].append(np.array([e.ci_low <= gap <= e.ci_high for e, gap in zip(differences, gaps)]))
        held = [r.ci_low <= w and r.ci_high >= b for r, b, w in zip(found, best, worst, strict=True)]
        kept["ranks"].append(np.array(held))
        kept["first"].append(found[0].first)
    return {name: np.array(values, dtype=float) for name, values in kept.items()}


def percent(of_sets: np.ndarray) -> str:
    """Mean over datasets in percent, and its standard error."""
    each = of_sets.reshape(len(of_sets), -1).mean(axis=1)
    return f"{100 * each.mean():.1f} ({100 * each.std() / np.sqrt(len(each)):.1f})"


def main() -> int:
    """Simulate every design and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=400, help="datasets of a design with one person; fewer with more")
    parser.add_argument("--only", type=int, nargs="*", default=[1, 5, 20], help="people")
    parser.add_argument("--clips", type=int, nargs="*", default=[10, 60])
    given = parser.parse_args()
    columns = ("p", "max-T", "covers", "covers", "power 1-3", "power 2-3", "cor. 1-3", "cor. 2-3", "ranks", "first")
    print("                   equal" + 34 * " " + "planted")
    print("people clips  sets" + "".join(f"{name:>13s}" for name in columns) + "  CPU s", flush=True)
    for n_people, n_clips in product(given.only, given.clips):
        begun, n_sets = time.process_time(), max(given.n // (1 + n_people // 5), 2)
        null, planted = (simulate(n_sets, n_people, n_clips, strengths) for strengths in (EQUAL, PLANTED))
        far, near = PAIRS.index((0, 2)), PAIRS.index((1, 2))
        cells = [null["p"] < 0.05, (null["corrected"] < 0.05).any(axis=1), null["covers"], planted["covers"]]
        cells += [planted[name][:, pair] < 0.05 for name in ("p", "corrected") for pair in (far, near)]
        cells += [planted["ranks"], planted["first"]]
        line = "".join(f"{percent(np.asarray(cell, dtype=float)):>13s}" for cell in cells)
        print(f"{n_people:6d} {n_clips:5d} {n_sets:5d}{line} {time.process_time() - begun:6.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
