"""Penalties and weights of bands: what a search may choose from, and what it has chosen.

Weights are points on the simplex; those that the joint model tries lie on a lattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import comb
from typing import Self

import numpy as np

_ALONE = 1e-6


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """What is chosen from, voxel by voxel, and how thoroughly.

    Parameters
    ----------
    alphas : sequence of float
        Penalties; of equally good ones the larger is taken.
    grid : ndarray of shape (n_points, n_bands), optional
        Weights, tried for all voxels; equal weights by default. Of equally good points the earlier is taken.
    refine : int
        Order of a finer lattice: its points around a voxel's best one are tried next; 0 for none. himalaya
        tries the grid alone.
    exhaustive : bool
        Try every penalty at every point. Otherwise all are tried at the first point; at the others the search
        starts at the voxel's best one there and climbs until both neighbours are worse.
    """

    alphas: Sequence[float] | np.ndarray = (1.0,)
    grid: np.ndarray | None = None
    refine: int = 0
    exhaustive: bool = False

    @property
    def penalties(self) -> np.ndarray:
        """Penalties in rising order, (n_alphas,), float64."""
        return np.sort(np.asarray(self.alphas, dtype=np.float64))

    def position(self, alpha: np.ndarray) -> np.ndarray:
        """Return where chosen penalties (n_voxels,) stand among ``penalties``: intp, of the nearest one."""
        return np.asarray(np.abs(np.log(self.penalties[:, None] / alpha)).argmin(axis=0))

    def points(self, n_bands: int) -> np.ndarray:
        """Return the weights to try, (n_points, n_bands).

        Raises
        ------
        ValueError
            The grid is of another number of bands.
        """
        if self.grid is None:
            return np.full((1, n_bands), 1 / n_bands)
        if self.grid.ndim != 2 or self.grid.shape[1] != n_bands:
            raise ValueError(f"grid of shape {self.grid.shape}: one column for each of {n_bands} bands is needed")
        return self.grid

    def without(self, i: int) -> Hyperparameters:
        """Return what the model without band i chooses from: every point of the grid, `renormalised`."""
        if self.grid is None:
            return self
        points = distinct([renormalised(point, i) for point in self.grid])
        return replace(self, grid=np.delete(np.stack(points), i, axis=1))


@dataclass(frozen=True, eq=False)
class Choice:
    """Weights and penalty of every voxel, chosen on inner folds; of the type of the voxels' responses.

    Parameters
    ----------
    weights : ndarray of shape (n_bands, n_voxels)
        Weight of each band's kernel, summing to 1.
    alpha : ndarray of shape (n_voxels,)
        Where it stands among the penalties: `Hyperparameters.position`.
    score : ndarray of shape (n_voxels,)
        Minus the mean squared error of left-out rows, averaged over inner folds.
    """

    weights: np.ndarray
    alpha: np.ndarray
    score: np.ndarray

    def of(self, voxels: slice | np.ndarray) -> Choice:
        """Return the same for some voxels."""
        return Choice(self.weights[:, voxels], self.alpha[voxels], self.score[voxels])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put voxels after voxels."""
        names = ("weights", "alpha", "score")
        return cls(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names))


def renormalised(point: np.ndarray, i: int) -> np.ndarray:
    """Return weights (n_bands,), float32, without band i's: 0 there, the others sum to 1 in their proportions.

    Where no other band has weight they are equal.
    """
    rest = np.where(np.arange(len(point)) == i, 0, np.asarray(point, dtype=np.float64))
    if rest.sum() < _ALONE:
        rest = (np.arange(len(point)) != i).astype(np.float64)
    return np.asarray(rest / rest.sum(), dtype=np.float32)


def distinct(points: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return points (n_bands,) without those that are an earlier one to four digits."""
    first: dict[tuple[int, ...], np.ndarray] = {}
    for point in points:
        first.setdefault(place(point), point)
    return list(first.values())


def place(point: np.ndarray) -> tuple[int, ...]:
    """Return weights (n_bands,) to four digits: points of the same place are the same."""
    return tuple(np.rint(np.asarray(point, dtype=np.float64) * 10_000).astype(int).tolist())


def lattice(n_layers: int, order: int) -> np.ndarray:
    """Return all multiples of ``1 / order`` that sum to 1, (n_points, n_layers), each layer alone first."""
    counts = [c for c in product(range(order, -1, -1), repeat=n_layers) if sum(c) == order]
    alone = sorted(counts, key=lambda c: max(c) < order)
    return np.array(alone) / order


def lattice_order(n_layers: int, n_points: int) -> int:
    """Return the order, at least 1, of the finest lattice that leaves one of n points for equal weights."""
    order = 1
    while n_layers > 1 and comb(order + n_layers, n_layers - 1) < n_points:
        order += 1
    return order


def band_weights(n_layers: int, n_points: int, seed: int) -> np.ndarray:
    """Return a fixed grid of layer weights on the simplex.

    Parameters
    ----------
    n_layers : int
    n_points : int
        At least ``n_layers + 1`` points come back.
    seed : int
        Of the random part.

    Returns
    -------
    ndarray of shape (n_points, n_layers), float32
        Equal weights, each layer alone, the rest of the finest lattice that fits, then draws from a flat
        Dirichlet distribution. A lattice finds better weights than as many draws do.
    """
    if n_layers == 1:
        return np.ones((1, 1), dtype=np.float32)
    fixed = np.vstack([np.full((1, n_layers), 1 / n_layers), lattice(n_layers, lattice_order(n_layers, n_points))])
    drawn = np.random.default_rng(seed).dirichlet(np.ones(n_layers), max(0, n_points - len(fixed)))
    return np.vstack([fixed, drawn]).astype(np.float32)


def neighbours(point: np.ndarray, order: int) -> np.ndarray:
    """Return the points of a lattice around weights: the nearest one, and those that are one step from it.

    Parameters
    ----------
    point : ndarray of shape (n_layers,)
        Sums to 1.
    order : int
        Of the lattice.

    Returns
    -------
    ndarray of shape (n_neighbours, n_layers), int
        Multiples of ``1 / order``.
    """
    scaled = np.asarray(point, dtype=np.float64) * order
    nearest = np.floor(scaled + 1e-6).astype(int)
    missing = order - nearest.sum()
    # of equal remainders the first layers are rounded up
    nearest[np.argsort(nearest - scaled, kind="stable")[:missing]] += 1
    step = np.eye(len(point), dtype=int)
    around = [nearest + up - down for up in step for down in step if (up != down).any()]
    return np.array([nearest, *(moved for moved in around if moved.min() >= 0)])
