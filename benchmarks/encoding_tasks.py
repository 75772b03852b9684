"""The pieces of work that the encoding benchmarks measure; each is called in a process of its own.

Every task reads what `encoding_data.simulate` wrote, and returns seconds, and scores where there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from encoding_data import Size, load, simulate
from measuring import Found, Watch

from ban_bids.encoding.ridge.backend import CLOSED_FORM, HIMALAYA, Engine
from ban_bids.encoding.ridge.bands import FeatureBands
from ban_bids.encoding.ridge.hyperparameters import Hyperparameters, band_weights, lattice_order
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.ridge.solvers import BandedRidge, predict_without

_SLAB = 8192


@dataclass(frozen=True)
class Work:
    """What a task is told: where data lie, how many candidates, and what it may take."""

    size: Size
    folder: Path
    weightings: int = 50
    alphas: int = 10
    mem_mb: int = 4096
    threads: int = 2
    backend: str = "numpy"
    draws: bool = False
    """Weights drawn at random, as himalaya draws its own, and no lattice."""

    @property
    def penalties(self) -> tuple[float, ...]:
        return tuple(np.logspace(-4, 5, self.alphas))

    def engine(self, solver: str = CLOSED_FORM) -> Engine:
        """Return the closed form on as many threads as are given; himalaya takes those that BLAS has."""
        threads = None if solver == HIMALAYA else self.threads
        return Engine(solver, self.backend, Limits(self.mem_mb * 2**20, threads))

    def grid(self, of: int | None = None) -> np.ndarray:
        """Return the first ``weightings`` of a grid of ``of`` weightings (as many by default)."""
        grid = band_weights(self.size.layers, of or self.weightings, 0)
        if self.draws:
            grid[1:] = np.random.default_rng(0).dirichlet(np.ones(self.size.layers), len(grid) - 1)
        return grid[: self.weightings]


def prepare(size: Size, folder: Path) -> Found:
    """Simulate the data of all other tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    with Watch() as watch:
        simulate(size, folder)
    return watch.found()


def joint(work: Work, of: int | None = None, refine: bool = False, exhaustive: bool = True) -> Found:
    """Our closed form: search, refit, and prediction of held-out rows."""
    return _fitted(BandedRidge(_candidates(work, of, refine, exhaustive), work.engine()), work)


def _candidates(work: Work, of: int | None, refine: bool, exhaustive: bool) -> Hyperparameters:
    grid = work.grid(of)
    finer = 2 * lattice_order(work.size.layers, len(grid)) if refine else 0
    return Hyperparameters(work.penalties, grid, refine=finer, exhaustive=exhaustive)


def himalaya(work: Work, of: int | None = None) -> Found:
    """Himalaya's random search over the same weightings and penalties, refit and prediction."""
    return _fitted(BandedRidge(Hyperparameters(work.penalties, work.grid(of)), work.engine(HIMALAYA)), work)


def _fitted(model: BandedRidge, work: Work) -> Found:
    data = load(work.size, work.folder)
    training, held_out = bands_of(data.x, work.size), bands_of(data.held_x, work.size)
    with Watch() as watch:
        with Watch() as fit:
            model.fit(training, data.y, data.groups)
        with Watch() as prediction:
            parts = model.split(held_out)
    return {
        **watch.found(), **fit.found("fit_"), **prediction.found("prediction_"),
        "cv_score": float(np.mean(model.choice_.score)),
        "held_out_rsquare": _rsquare(np.sum(parts, axis=0), data.held_y),
    }  # fmt: skip


def _rsquare(prediction: np.ndarray, measured: np.ndarray) -> float:
    """Mean R² over voxels; columns have mean 0."""
    left = measured - prediction
    unexplained = np.einsum("ij,ij->j", left, left, dtype=np.float64)
    return float(np.mean(1 - unexplained / np.einsum("ij,ij->j", measured, measured, dtype=np.float64)))


def unique(work: Work) -> Found:
    """The joint model and that without every layer, as the app: one search, then refits and predictions."""
    data, hyperparameters = load(work.size, work.folder), _candidates(work, None, True, False)
    training, held_out = bands_of(data.x, work.size), bands_of(data.held_x, work.size)
    with Watch() as watch:
        solver = BandedRidge(hyperparameters, work.engine())
        with Watch() as search:
            joint, *reduced = solver.choose_nested(training, data.y, data.groups)
        whole = solver.fit(training, data.y, data.groups, choice=joint).predict(held_out)
        common = {"bold": data.y, "groups": data.groups, "joint": joint, "whole": whole}
        rest = [
            predict_without(
                BandedRidge(hyperparameters.without(i), work.engine()), training, held_out,
                left_out=i, choice=choice, **common,
            )
            for i, choice in enumerate(reduced)
        ]  # fmt: skip
    without = [round(_rsquare(prediction, data.held_y), 5) for prediction in rest]
    return {
        **watch.found(), **search.found("search_"),
        "cv_score": float(np.mean(joint.score)), "held_out_rsquare": _rsquare(whole, data.held_y),
        "held_out_rsquare_without": without,
    }  # fmt: skip


def singles(work: Work) -> Found:
    """Every layer alone, as the app: penalties for all voxels at once, then refit and prediction by slabs."""
    data, solver = load(work.size, work.folder), BandedRidge(Hyperparameters(work.penalties), work.engine())
    training, held_out = bands_of(data.x, work.size), bands_of(data.held_x, work.size)
    scores, seconds = [], {}
    with Watch() as watch:
        for i, (x, new) in enumerate(zip(training.parts, held_out.parts)):
            layer = FeatureBands([x])
            with Watch() as each:
                choice = solver.choose(layer, data.y, data.groups)
                for first in range(0, work.size.voxels, _SLAB):
                    some = slice(first, min(first + _SLAB, work.size.voxels))
                    solver.fit(layer, data.y[:, some], data.groups, choice=choice.of(some))
                    scores.append(_rsquare(solver.predict(FeatureBands([new])), data.held_y[:, some]))
            seconds[f"layer{i}"] = round(each.wall, 2)
    return {**watch.found(), "each_wall_s": seconds, "held_out_rsquare": float(np.mean(scores))}


def bands_of(x: np.ndarray, size: Size) -> FeatureBands:
    """Return the layers as bands."""
    return FeatureBands([np.ascontiguousarray(part) for part in np.split(x, np.cumsum(size.widths)[:-1], axis=1)])
