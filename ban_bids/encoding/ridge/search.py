"""Weights and penalty of every voxel, by the error of left-out runs.

A voxel's choice depends on that voxel alone, never on which others are fitted with it: batches and slabs of
any size give the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np

from ban_bids.encoding.ridge.backend import exact_products
from ban_bids.encoding.ridge.bands import Basis
from ban_bids.encoding.ridge.closed_form import LeftOut, Problem, side_by_side
from ban_bids.encoding.ridge.hyperparameters import Choice, Hyperparameters, neighbours
from ban_bids.encoding.ridge.limits import in_batches

_LOG = logging.getLogger(__name__)
_Best = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Voxels, and the score and the penalty's position of each."""


def choose(problem: Problem, hyperparameters: Hyperparameters) -> Choice:
    """Choose weights and penalty for every voxel by left-out rows."""
    grid = hyperparameters.points(problem.bands.n_bands)
    search = _Search(problem, hyperparameters)
    everyone = np.arange(problem.bold.shape[1])
    search.try_all([(grid[0], everyone)])
    if not hyperparameters.exhaustive:
        search.start = search.alpha.copy()
    search.try_all([(weights, everyone) for weights in grid[1:]])
    if hyperparameters.refine:
        search.try_all(_around(search, hyperparameters.refine))
    return search.choice(np.array(search.tried)[search.point])


def choose_penalty(problem: Problem, hyperparameters: Hyperparameters, start: Choice) -> Choice:
    """Choose the penalty of voxels whose weights are known.

    The weights of ``start`` are kept, to four digits; nothing is computed for voxels whose weights are all 0.
    The search climbs from its penalties until both neighbours are worse; an exhaustive one tries all.
    """
    search = _Search(problem, hyperparameters)
    if not hyperparameters.exhaustive:
        search.start = hyperparameters.position(start.alpha)
    grid, point = distinct(start.weights)
    search.try_all([(row, np.flatnonzero(point == p)) for p, row in enumerate(grid) if row.any()])
    return search.choice(grid[point])


def distinct(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct weights (n_points, n_bands), to four digits, and the row of each voxel."""
    rows, point = np.unique(np.round(weights.T.astype(np.float64), 4), axis=0, return_inverse=True)
    return rows, point.ravel()


class _Search:
    """The best that was found so far for every voxel; penalties are in rising order."""

    def __init__(self, problem: Problem, hyperparameters: Hyperparameters) -> None:
        n_voxels = problem.bold.shape[1]
        self.problem, self.alphas = problem, hyperparameters.penalties
        self.workers, self.size = problem.resources(len(self.alphas))
        self.tried: list[np.ndarray] = []
        self.start: np.ndarray | None = None
        self.score = np.full(n_voxels, -np.inf)
        self.point, self.alpha = (np.zeros(n_voxels, dtype=np.intp) for _ in range(2))
        _LOG.debug("search: %d weightings and %d voxels at a time", self.workers, self.size)

    def choice(self, weights: np.ndarray) -> Choice:
        """Return the best, given the weights (n_voxels, n_bands) of it."""
        dtype = self.problem.bold.dtype
        chosen = np.ascontiguousarray(weights.T, dtype=dtype)
        return Choice(chosen, self.alphas[self.alpha].astype(dtype), self.score.astype(dtype))

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
            bases = side_by_side(self.problem.bands.basis, [weights for weights, _ in some], self.workers)
            for (weights, voxels), basis in zip(some, bases):
                self._keep(weights, self._best_of(self._left_out(basis), voxels))

    def _keep(self, weights: np.ndarray, best: _Best) -> None:
        voxels, score, alpha = best
        better = score > self.score[voxels]
        won = voxels[better]
        self.score[won], self.alpha[won], self.point[won] = score[better], alpha[better], len(self.tried)
        self.tried.append(weights)

    def _left_out(self, basis: Basis) -> LeftOut:
        return LeftOut(basis, self.problem.folds, self.problem.bold.dtype, self.problem.engine.backend)

    def _best_at(self, task: tuple[np.ndarray, np.ndarray]) -> _Best:
        """Return voxels, and score and penalty of each, at one set of weights."""
        weights, voxels = task
        return self._best_of(self._left_out(self.problem.bands.basis(weights)), voxels)

    def _best_of_many(self, weights: np.ndarray, voxels: np.ndarray) -> _Best:
        """As `_best_at`, but penalties and voxels are worked on side by side."""
        left = self._left_out(self.problem.bands.basis(weights))
        if self.start is None:
            for _ in side_by_side(left.blocks, self.alphas, self.workers):
                pass
        parts = [voxels[k : k + self.size] for k in range(0, len(voxels), self.size)]
        if len(parts) < self.workers:
            parts = np.array_split(voxels, self.workers)
        bests = side_by_side(partial(self._best_of, left), parts, self.workers)
        together, score, alpha = (np.concatenate(values) for values in zip(*bests))
        return together, score, alpha

    def _best_of(self, left: LeftOut, voxels: np.ndarray) -> _Best:
        if self.start is not None:
            voxels = voxels[np.argsort(self.start[voxels], kind="stable")]
        score, alpha = np.full(len(voxels), -np.inf), np.zeros(len(voxels), dtype=np.intp)

        def some(batch: slice) -> None:
            batched = voxels[batch]
            start = None if self.start is None else self.start[batched]
            table = _climb(left, self.alphas, self.problem.responses(batched), start)
            alpha[batch] = _highest(table)
            score[batch] = table.max(axis=0)

        in_batches(len(voxels), self.size, some)
        return voxels, score, alpha


def _climb(left: LeftOut, alphas: np.ndarray, bold: Any, start: np.ndarray | None) -> np.ndarray:
    """Score voxels, in rising order of where they start, until both neighbours of the best penalty are known.

    Returns
    -------
    ndarray of shape (n_alphas, n_voxels), float64
        ``-inf`` where nothing was computed.
    """
    seen = left.project(bold)
    table = np.full((len(alphas), bold.shape[1]), -np.inf)
    known = np.zeros(table.shape, dtype=bool)
    for a, alpha in enumerate(alphas):
        near = slice(None)
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


def _around(search: _Search, order: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Points of a lattice around each voxel's best one, and the voxels to try them for."""
    tried = {tuple(np.round(np.asarray(weights) * order, 3)) for weights in search.tried}
    members: dict[tuple[float, ...], list[np.ndarray]] = defaultdict(list)
    for p in np.unique(search.point):
        voxels = np.flatnonzero(search.point == p)
        for point in neighbours(search.tried[p], order):
            if tuple(point.astype(float)) not in tried:
                members[tuple(point.astype(float))].append(voxels)
    around = sorted(members.items())
    return [((np.array(point) / order).astype(np.float32), np.concatenate(voxels)) for point, voxels in around]
