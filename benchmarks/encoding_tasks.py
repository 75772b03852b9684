"""The pieces of work that the encoding benchmarks measure; each is called in a process of its own.

Every task reads what `encoding_data.simulate` wrote, and returns seconds, and scores where there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ban_bids.encoding.models import Chosen, choose_joint, fit_joint, fit_single, fit_without
from ban_bids.encoding.ridge.weights import band_weights, lattice_order
from encoding_data import Data, Size, load, simulate
from measuring import Found, Watch

from ban_bids.encoding.ridge.backend import Engine
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.ridge.solvers import BandedRidge, HimalayaBandedRidge

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

    @property
    def limits(self) -> Limits:
        return Limits(self.mem_mb * 2**20, self.threads)

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
    """Our closed form: search, refit, and prediction of held-out rows; the choice is kept on disk."""
    data, grid = load(work.size, work.folder), work.grid(of)
    finer = 2 * lattice_order(work.size.layers, len(grid)) if refine else 0
    model = BandedRidge(
        work.penalties, work.size.widths, grid, work.limits, work.backend, refine=finer, exhaustive=exhaustive
    )
    found = _fitted(model, data)
    np.savez(work.folder / "choice.npz", weights=model.weights_, alpha=model.alpha_, inner=model.cv_score_)
    return found


def himalaya(work: Work, of: int | None = None) -> Found:
    """Himalaya's random search over the same weightings and penalties, refit and prediction."""
    data = load(work.size, work.folder)
    limits = Limits(work.mem_mb * 2**20)
    model = HimalayaBandedRidge(work.penalties, work.size.widths, work.grid(of), limits, work.backend)
    return _fitted(model, data)


def _fitted(model: BandedRidge | HimalayaBandedRidge, data: Data) -> Found:
    with Watch() as watch:
        with Watch() as fit:
            model.fit(data.x, data.y, data.groups)
        with Watch() as prediction:
            parts = model.split(data.held_x)
    return {
        **watch.found(), **fit.found("fit_"), **prediction.found("prediction_"),
        "cv_score": float(np.mean(model.cv_score_)),
        "held_out_rsquare": _rsquare(np.sum(parts, axis=0), data.held_y),
    }  # fmt: skip


def _rsquare(prediction: np.ndarray, measured: np.ndarray) -> float:
    """Mean R² over voxels; columns have mean 0."""
    left = measured - prediction
    unexplained = np.einsum("ij,ij->j", left, left, dtype=np.float64)
    return float(np.mean(1 - unexplained / np.einsum("ij,ij->j", measured, measured, dtype=np.float64)))


def unique(work: Work) -> Found:
    """Unique variance of every layer: penalties anew without it, refit, prediction; `joint` comes first."""
    data, engine = load(work.size, work.folder), Engine(backend=work.backend, limits=work.limits)
    training, held_out = _layers(data.x, work.size), _layers(data.held_x, work.size)
    with np.load(work.folder / "choice.npz") as kept:
        chosen = Chosen(**kept)
    model = fit_joint(training, data.y, held_out, data.groups, work.penalties, chosen.weights.T[:1], engine, 0, chosen)
    with Watch() as watch:
        for layer in training:
            fit_without(layer, model, training, data.y, held_out, data.groups, work.penalties, engine)
    return watch.found()


def singles(work: Work) -> Found:
    """Every layer alone, as the app: penalties for all voxels at once, then refit and prediction by slabs."""
    data, engine = load(work.size, work.folder), Engine(backend=work.backend, limits=work.limits)
    training, held_out = _layers(data.x, work.size), _layers(data.held_x, work.size)
    alone, scores, seconds = np.ones((1, 1), dtype=np.float32), [], {}
    with Watch() as watch:
        for layer, x in training.items():
            with Watch() as each:
                chosen = choose_joint({layer: x}, data.y, data.groups, work.penalties, alone, engine)
                for first in range(0, work.size.voxels, _SLAB):
                    some = slice(first, min(first + _SLAB, work.size.voxels))
                    y, own = data.y[:, some], chosen.of(some)
                    found = fit_single(x, y, held_out[layer], data.groups, work.penalties, engine, own)
                    scores.append(_rsquare(found.prediction, data.held_y[:, some]))
            seconds[layer] = round(each.wall, 2)
    return {**watch.found(), "each_wall_s": seconds, "held_out_rsquare": float(np.mean(scores))}


def _layers(x: np.ndarray, size: Size) -> dict[str, np.ndarray]:
    parts = np.split(x, np.cumsum(size.widths)[:-1], axis=1)
    return {f"layer{i}": np.ascontiguousarray(part) for i, part in enumerate(parts)}
