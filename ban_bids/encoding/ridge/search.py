"""Weights and penalty of every voxel, by the error of left-out runs.

A voxel's choice depends on that voxel alone, never on which others are fitted with it: batches and slabs of
any size give the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ban_bids.encoding.ridge.backend import exact_products, short_of_memory
from ban_bids.encoding.ridge.bands import Basis
from ban_bids.encoding.ridge.closed_form import LeftOut, Problem, side_by_side
from ban_bids.encoding.ridge.limits import in_batches
from ban_bids.encoding.ridge.weights import neighbours

_LOG = logging.getLogger(__name__)
_Best = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Voxels, and the score and the penalty's index of each."""


@dataclass(frozen=True, eq=False)
class Choice:
    """Weights and penalty chosen for every voxel.

    Parameters
    ----------
    grid : ndarray of shape (n_points, n_layers)
        All weights that were tried for some voxel.
    point : ndarray of shape (n_voxels,), intp
        Row of ``grid``.
    alpha : ndarray of shape (n_voxels,), intp
        Index of the penalty.
    score : ndarray of shape (n_voxels,), float64
        Minus the mean squared error of left-out rows, averaged over inner folds.
    """

    grid: np.ndarray
    point: np.ndarray
    alpha: np.ndarray
    score: np.ndarray


def choose(problem: Problem, alphas: np.ndarray, grid: np.ndarray, refine: int = 0, exhaustive: bool = False) -> Choice:
    """Choose weights and penalty for every voxel by left-out rows.

    Parameters
    ----------
    problem : Problem
    alphas : ndarray of shape (n_alphas,)
        Of equally good ones the larger is taken.
    grid : ndarray of shape (n_points, n_layers)
        Tried for all voxels. Of equally good points the earlier is taken.
    refine : int
        Order of a finer lattice: its points around a voxel's best one are tried next; 0 for none.
    exhaustive : bool
        Try every penalty at every point. Otherwise all are tried at the first point; at the others the search
        starts at the voxel's best one there and climbs until both neighbours are worse.

    Returns
    -------
    Choice
    """
    rising = np.argsort(alphas)
    search = _Search(problem, alphas[rising])
    everyone = np.arange(problem.bold.shape[1])
    search.try_all([(grid[0], everyone)])
    if not exhaustive:
        search.start = search.alpha.copy()
    search.try_all([(weights, everyone) for weights in grid[1:]])
    if refine:
        search.try_all(_around(search, refine))
    return Choice(np.array(search.tried), search.point, rising[search.alpha], search.score)


def choose_penalty(
    problem: Problem, alphas: np.ndarray, grid: np.ndarray, point: np.ndarray, near: np.ndarray | None = None
) -> Choice:
    """Choose the penalty of voxels whose weights are known.

    Parameters
    ----------
    problem, alphas, grid
        As for `choose`.
    point : ndarray of shape (n_voxels,), intp
        Row of ``grid`` of each voxel; nothing is computed for a row of zeros.
    near : ndarray of shape (n_voxels,), optional
        A penalty for each voxel to start at, climbing until both neighbours are worse; all are tried by
        default.

    Returns
    -------
    Choice
    """
    rising = np.argsort(alphas)
    search = _Search(problem, alphas[rising])
    if near is not None:
        search.start = np.abs(np.log(alphas[rising][:, None] / near)).argmin(axis=0)
    search.try_all([(row, np.flatnonzero(point == p)) for p, row in enumerate(grid) if row.any()])
    return Choice(grid, point, rising[search.alpha], search.score)


class _Search:
    """The best that was found so far for every voxel; penalties are in rising order."""

    def __init__(self, problem: Problem, alphas: np.ndarray) -> None:
        n_voxels = problem.bold.shape[1]
        self.problem, self.alphas = problem, alphas
        self.workers, self.size = problem.resources(len(alphas))
        self.tried: list[np.ndarray] = []
        self.start: np.ndarray | None = None
        self.score = np.full(n_voxels, -np.inf)
        self.point, self.alpha = (np.zeros(n_voxels, dtype=np.intp) for _ in range(2))
        _LOG.debug("search: %d weightings and %d voxels at a time", self.workers, self.size)

    def try_all(self, points: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Try weights, each for some voxels, and keep what is better."""
        with exact_products(self.problem.backend):
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
        mine = voxels[better]
        self.score[mine], self.alpha[mine], self.point[mine] = score[better], alpha[better], len(self.tried)
        self.tried.append(weights)

    def _left_out(self, basis: Basis) -> LeftOut:
        return LeftOut(basis, self.problem.folds, self.problem.bold.dtype, self.problem.backend)

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
        found = list(side_by_side(partial(self._best_of, left), parts, self.workers))
        together, score, alpha = (np.concatenate(values) for values in zip(*found))
        return together, score, alpha

    def _best_of(self, left: LeftOut, voxels: np.ndarray) -> _Best:
        if self.start is not None:
            voxels = voxels[np.argsort(self.start[voxels], kind="stable")]
        score, alpha = np.full(len(voxels), -np.inf), np.zeros(len(voxels), dtype=np.intp)

        def some(batch: slice) -> None:
            mine = voxels[batch]
            start = None if self.start is None else self.start[mine]
            table = _climb(left, self.alphas, self.problem.responses(mine), start)
            alpha[batch] = _highest(table)
            score[batch] = table.max(axis=0)

        in_batches(len(voxels), self.size, some, short_of_memory(self.problem.backend))
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
        mine = np.flatnonzero(search.point == p)
        for point in neighbours(search.tried[p], order):
            if tuple(point.astype(float)) not in tried:
                members[tuple(point.astype(float))].append(mine)
    return [
        ((np.array(point) / order).astype(np.float32), np.concatenate(voxels))
        for point, voxels in sorted(members.items())
    ]
