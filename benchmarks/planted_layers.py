"""Are planted layers and planted differences found? Four regions follow four layers of a small network.

    python benchmarks/planted_layers.py [--n 40] [--people 3] [--explainable 0.1] [--jobs 2]

The network turns a sound into four layers, each smoother and further from the sound than the one before; region g of
every person follows layer g by weights of the voxels' own (planted in BOLD with a share of explainable variance), and
clips, features, weights and noise are new in every dataset. Models: the network itself; two that see one half of its
units each, equal by symmetry; the network with a share of every feature's variance replaced by noise; one of other
weights. Everything goes through the package's public functions: folds, ridge, committed layers, C, and paired
differences over people and clips.

Printed: how often the committed layer of a region is the planted one, and for every model its C and how often its
difference to the network (that of the halves: to each other) has p < .05. Standard errors are over datasets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from calibration import prepared
from scipy.ndimage import uniform_filter1d
from simulated_listening import STEP, TEST, Listener, Source, ToyStore, World, _layout, cycles, own

from ban_bids.app.scored import score_control
from ban_bids.encoding import design as design_module
from ban_bids.inputs.types import Clip
from ban_bids.scoring.comparison import KeptScore, clip_draws, paired_difference
from ban_bids.scoring.cortical import CorticalScore
from ban_bids.scoring.differences import two_sided_p

LAYERS = ("L0", "L1", "L2", "L3")
NOISY = (0.05, 0.1, 0.2, 0.4)
_WIDTH, _DRAWS = 12, 500
_SECONDS = (0.25, 2.0, 4.0, 8.0)  # over which each layer averages
_HALVES = ("first half", "second half")


class Network:
    """Courses of four layers; each mixes and squashes the one before and averages over a longer time."""

    def __init__(self, seed: int, name: str) -> None:
        rng = np.random.default_rng([seed, *name.encode()])
        self.sound = Source(seed, _WIDTH, "sound")
        self.weights = [rng.standard_normal((_WIDTH, _WIDTH)) / np.sqrt(_WIDTH) for _ in LAYERS]

    def course(self, clip: Clip, layer: int) -> np.ndarray:
        """(seconds / `STEP`, width), of mean 0 and variance about 1."""
        values = self.sound.course(clip)
        for k in range(layer + 1):
            values = np.tanh(3 * values @ self.weights[k])
            values = uniform_filter1d(values, max(1, round(_SECONDS[k] / STEP)), axis=0, mode="nearest")
            values = values / (values.std() + 1e-9)
        return values


@dataclass
class Model(Listener):
    """Layers of a network, some of its units, with noise."""

    layers: tuple[str, ...] = LAYERS
    network: Network | None = None
    units: tuple[int | None, int | None] = (None, None)  # first, step
    noisy: float = 0.0
    noise: Source | None = None

    def __post_init__(self) -> None:
        self.frame_rate = dict.fromkeys(self.layers, 1 / STEP)

    def frames(self, clip: Clip | None, layer: str) -> np.ndarray:
        """Features of a clip; of silence zeros."""
        units = slice(self.units[0], None, self.units[1])
        width = len(range(_WIDTH)[units])
        if clip is None:
            return np.zeros((1, width), dtype=np.float32)
        assert self.network is not None and self.noise is not None
        heard = self.network.course(clip, self.layers.index(layer))[:, units]
        first = width * self.layers.index(layer)
        other = self.noise.course(clip)[:, first : first + width]
        return (np.sqrt(1 - self.noisy) * heard + np.sqrt(self.noisy) * other).astype(np.float32)


def models(seed: int) -> dict[str, Model]:
    """All models by name, the planted one first."""
    network, noise = Network(seed, "planted"), Source(seed, _WIDTH * len(LAYERS), "feature noise")
    made = partial(Model, noise=noise)
    return {
        "planted": made(network=network),
        _HALVES[0]: made(network=network, units=(0, 2)),
        _HALVES[1]: made(network=network, units=(1, 2)),
        **{f"noise {share:g}": made(network=network, noisy=share) for share in NOISY},
        "other weights": made(network=Network(seed, "other")),
    }


def person(seed: int, number: int, explainable: float) -> World:
    """A listener: the same layout and clips for everyone of a dataset."""
    layout = _layout(own(4, 20) + cycles(2, 10, 4), TEST)
    return World(layout, 1000 * seed + number, n_regions=len(LAYERS), n_voxels=30)


def bold_of(world: World, network: Network, explainable: float) -> np.ndarray:
    """What the voxels of each region do: its layer through the haemodynamic response, and noise."""
    parts = []
    for layer in range(len(LAYERS)):
        course: Callable[[Clip], np.ndarray] = partial(network.course, layer=layer)
        heard = world.response(course)
        answer = heard @ world.rng.standard_normal((heard.shape[1], world.n_voxels))
        parts.append(answer / answer.std(axis=0))
    return np.sqrt(explainable) * np.hstack(parts) + np.sqrt(1 - explainable) * world.noise(0.4)


def dataset(seed: int, people: int, explainable: float) -> dict[str, float]:
    """Committed layers, scores and differences of one dataset."""
    design_module.FeatureCache = ToyStore  # type: ignore[misc, assignment]
    candidates = models(seed)
    scores: dict[str, list[CorticalScore]] = {name: [] for name in candidates}
    for number in range(people):
        world = person(seed, number, explainable)
        planted = candidates["planted"].network
        assert planted is not None
        ready = prepared(world, bold_of(world, planted, explainable))
        for name, model in candidates.items():
            laid = design_module.design(ready.data, model, ready.folds, n_components=64, cache=Path("unused"))
            scores[name].append(score_control(ready, laid))
    first = scores["planted"]
    hits = [one.committed[f"R{k}"].get(layer, 0) for one in first for k, layer in enumerate(LAYERS)]
    found = {"committed": float(np.mean(hits))}
    clips = [str(k) for k in range(first[0].n_clips)]
    counts = clip_draws([clips] * people, _DRAWS, seed)
    drawn = {
        name: np.stack([
            KeptScore(one.statistics, one.committed_statistics).scores(count)["C", "", ""]
            for one, count in zip(own_scores, counts, strict=True)
        ], axis=1)
        for name, own_scores in scores.items()
    }  # fmt: skip
    for name, values in drawn.items():
        other = drawn[_HALVES[1] if name == _HALVES[0] else "planted"]
        found[f"C of {name}"] = float(values[0].mean())
        if name != "planted":
            gap = paired_difference(other[0], values[0], other[1:], values[1:], len(clips), seed=seed)
            found[f"difference to {name}"], found[f"p of {name}"] = gap.value, two_sided_p(gap)
    return found


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=40, help="datasets")
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument(
        "--explainable", type=float, default=0.1, help="share of a voxel's variance in one presentation"
    )
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    start = time.perf_counter()
    one = partial(dataset, people=given.people, explainable=given.explainable)
    with ProcessPoolExecutor(given.jobs) as pool:
        table = pd.DataFrame(pool.map(one, range(given.n)))
    spread = np.sqrt(len(table))
    print(f"committed layer is the planted one: {100 * table['committed'].mean():.1f} % of regions, people and folds")
    print("| model | C | C of the other less C | p < .05, % |\n|---|---|---|---|")
    for name in models(0):
        c = table[f"C of {name}"]
        line = f"| {name} | {c.mean():.3f} ± {c.std() / spread:.3f} |"
        if name == "planted":
            print(f"{line} – | – |")
            continue
        gap, found = table[f"difference to {name}"], table[f"p of {name}"] < 0.05
        share = 100 * found.mean()
        print(f"{line} {gap.mean():+.3f} ± {gap.std() / spread:.3f} | {share:.0f} ± {100 * found.std() / spread:.0f} |")
    print(f"{given.n} datasets of {given.people} people, {(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
