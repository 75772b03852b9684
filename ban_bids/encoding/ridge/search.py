"""Weights and penalty of every voxel, by the error of left-out runs.

A voxel's choice depends on that voxel alone, never on which others are fitted with it: batches and slabs of
any size give the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ban_bids.encoding.ridge.backend import exact_products
from ban_bids.encoding.ridge.closed_form import LeftOut, Problem, side_by_side
from ban_bids.encoding.ridge.hyperparameters import (
    Choice,
    Hyperparameters,
    neighbours,
    place,
    renormalised,
)
from ban_bids.encoding.ridge.limits import in_batches
from ban_bids.encoding.ridge.refitted import RefittedErrors

_LOG = logging.getLogger(__name__)
_STRIDE = 3
"""Of the penalties that are tried first: every third; all where there are not many more."""

_Best = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Voxels, and the score and the penalty's position of each."""


def choose(problem: Problem, hyperparameters: Hyperparameters) -> Choice:
    """Choose weights and penalty for every voxel by left-out rows."""
    return _searched(problem, hyperparameters, 0).choice(0)


def choose_nested(problem: Problem, hyperparameters: Hyperparameters) -> tuple[Choice, ...]:
    """Choose for the model of all bands and, in the same search, for that without each band.

    The model without band i is the model of all bands with that band's weight 0. It chooses its weights and its
    penalty anew: among all points tried where that weight is 0. These are the grid's, that of the model of all
    bands with the other weights renormalised, and those of the finer lattice around its own best one. Whatever a
    voxel tries counts in every model that may take it: no model is better than one with more bands.

    Parameters
    ----------
    problem : Problem
        Of two bands or more.
    hyperparameters : Hyperparameters
        Of the model of all bands.

    Returns
    -------
    tuple of Choice
        Of the model of all bands, then without the first band, without the second, ...; weights of the latter
        have a row per band that is left.
    """
    n_bands = problem.bands.n_bands
    search = _searched(problem, hyperparameters, n_bands)
    reduced = [search.choice(1 + i) for i in range(n_bands)]
    return search.choice(0), *(replace(c, weights=np.delete(c.weights, i, axis=0)) for i, c in enumerate(reduced))


def _searched(problem: Problem, hyperparameters: Hyperparameters, n_reduced: int) -> _Search:
    grid = hyperparameters.points(problem.bands.n_bands)
    search = _Search(problem, hyperparameters, n_reduced)
    everyone = np.arange(problem.bold.shape[1])
    search.try_all([(grid[0], everyone)])
    if not hyperparameters.exhaustive:
        search.start = search.alpha[0].copy()
    search.try_all([(weights, everyone) for weights in grid[1:]])
    search.try_all(_promising(search, hyperparameters.refine))
    return search


class _Search:
    """The best that was found so far for every voxel; penalties are in rising order.

    Rows of ``score``, ``point`` and ``alpha``: the model of all bands, then, where they are searched as well, that
    without each band. Points are counted as they were ``tried``.
    """

    def __init__(self, problem: Problem, hyperparameters: Hyperparameters, n_reduced: int) -> None:
        shape = (1 + n_reduced, problem.bold.shape[1])
        self.problem, self.alphas = problem, hyperparameters.penalties
        self.workers, self.size = problem.resources(len(self.alphas))
        self.tried: list[np.ndarray] = []
        self.start: np.ndarray | None = None
        self.stride = 1 if hyperparameters.exhaustive or len(self.alphas) < 2 * _STRIDE else _STRIDE
        self.score = np.full(shape, -np.inf)
        self.point, self.alpha = (np.zeros(shape, dtype=np.intp) for _ in range(2))
        _LOG.debug("search: %d weightings and %d voxels at a time", self.workers, self.size)

    def choice(self, model: int) -> Choice:
        """Return the best of a model; weights are those of all bands."""
        dtype = self.problem.bold.dtype
        weights = np.ascontiguousarray(np.array(self.tried)[self.point[model]].T, dtype=dtype)
        return Choice(weights, self.alphas[self.alpha[model]].astype(dtype), self.score[model].astype(dtype))

    def try_all(self, points: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Try weights, each for some voxels, and keep what is better."""
        with exact_products():
            if self.problem.on_device:
                self._try_on_device(points)
            elif len(points) == 1:
                self._keep(points[0][0], self._best_of_many(*points[0]))
            else:
                for (weights, _), best in zip(points, side_by_side(self._best_at, points, self.workers)):
                    self._keep(weights, best)

    def _try_on_device(self, points: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Decompose some at a time on the CPU; one thread alone asks the GPU for factorisations."""
        for first in range(0, len(points), self.workers):
            some = points[first : first + self.workers]
            bases = side_by_side(self.problem.decompose, [weights for weights, _ in some], self.workers)
            for (weights, voxels), basis in zip(some, bases):
                self._keep(weights, self._best_of(self.problem.left_out(basis), voxels))

    def _keep(self, weights: np.ndarray, best: _Best) -> None:
        voxels, score, alpha = best
        without = [model for model in range(1, len(self.score)) if weights[model - 1] == 0]
        for model in (0, *without):
            better = score > self.score[model, voxels]
            won = voxels[better]
            self.score[model, won], self.alpha[model, won] = score[better], alpha[better]
            self.point[model, won] = len(self.tried)
        self.tried.append(weights)

    def _best_at(self, task: tuple[np.ndarray, np.ndarray]) -> _Best:
        """Return voxels, and score and penalty of each, at one set of weights."""
        weights, voxels = task
        return self._best_of(self._at(weights), voxels)

    def _at(self, weights: np.ndarray) -> LeftOut | RefittedErrors:
        return self.problem.left_out(self.problem.decompose(weights))

    def _best_of_many(self, weights: np.ndarray, voxels: np.ndarray) -> _Best:
        """As `_best_at`, but penalties and voxels are worked on side by side."""
        left = self._at(weights)
        if self.start is None:
            for _ in side_by_side(left.blocks, self.alphas, self.workers):
                pass
        parts = [voxels[k : k + self.size] for k in range(0, len(voxels), self.size)]
        if len(parts) < self.workers:
            parts = np.array_split(voxels, self.workers)
        bests = side_by_side(partial(self._best_of, left), parts, self.workers)
        together, score, alpha = (np.concatenate(values) for values in zip(*bests))
        return together, score, alpha

    def _best_of(self, left: LeftOut | RefittedErrors, voxels: np.ndarray) -> _Best:
        if self.start is not None:
            voxels = voxels[np.argsort(self.start[voxels], kind="stable")]
        score, alpha = np.full(len(voxels), -np.inf), np.zeros(len(voxels), dtype=np.intp)

        def some(batch: slice) -> None:
            batched = voxels[batch]
            start = None if self.start is None else self.start[batched]
            table = _climb(left, self.alphas, self.problem.responses(batched), start, self.stride)
            alpha[batch] = _highest(table)
            score[batch] = table.max(axis=0)

        in_batches(len(voxels), self.size, some)
        return voxels, score, alpha


def _climb(
    left: LeftOut | RefittedErrors, alphas: np.ndarray, bold: Any, start: np.ndarray | None, stride: int
) -> np.ndarray:
    """Score voxels, in rising order of where they start, until both neighbours of the best penalty are known.

    Without a start every ``stride``-th penalty is tried first.

    Returns
    -------
    ndarray of shape (n_alphas, n_voxels), float64
        ``-inf`` where nothing was computed.
    """
    seen = left.project(bold)
    table = np.full((len(alphas), bold.shape[1]), -np.inf)
    known = np.zeros(table.shape, dtype=bool)
    for a, alpha in enumerate(alphas):
        near = slice(None if a % stride == stride // 2 else bold.shape[1], None)
        if start is not None:
            near = slice(*(int(k) for k in np.searchsorted(start, [a - 1, a + 2])))
        if known[a, near].size:
            table[a, near] = -left.loss(alpha, bold[:, near], seen[:, near])
            known[a, near] = True
    while True:
        best = _highest(table)
        unknown = [np.flatnonzero(~known[a] & (np.abs(best - a) == 1)) for a in range(len(alphas))]
        if not any(map(len, unknown)):
            return table
        for a, voxels in enumerate(unknown):
            if len(voxels):
                table[a, voxels] = -left.loss(alphas[a], bold[:, voxels], seen[:, voxels])
                known[a, voxels] = True


def _highest(table: np.ndarray) -> np.ndarray:
    """Return the row of the largest score of each column, the last of equal ones."""
    return len(table) - 1 - table[::-1].argmax(axis=0)


def _promising(search: _Search, order: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return points that were not tried, and the voxels to try them for.

    For the model without a band that is the best point of all bands, renormalised; and for every model those of a
    lattice (none where its order is 0) around the model's own best point, where it may take them.
    """
    tried = {place(weights) for weights in search.tried}
    points: dict[tuple[int, ...], np.ndarray] = {}
    voxels: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)

    def ask(point: np.ndarray, of: np.ndarray) -> None:
        if len(of) and place(point) not in tried:
            points.setdefault(place(point), point)
            voxels[place(point)].append(of)

    for model, (score, best) in enumerate(zip(search.score, search.point)):
        for p in np.unique(best):
            around = neighbours(search.tried[p], order) / order if order else np.empty((0, len(search.tried[p])))
            own = np.flatnonzero((best == p) & np.isfinite(score))
            for point in around if model == 0 else around[around[:, model - 1] == 0]:
                ask(point.astype(np.float32), own)
        for p in np.unique(search.point[0]) if model else ():
            ask(renormalised(search.tried[p], model - 1), np.flatnonzero(search.point[0] == p))
    return [(points[at], np.unique(np.concatenate(voxels[at]))) for at in sorted(points)]
