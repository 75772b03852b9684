"""Points on the simplex: the weights of layers that the joint model tries."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np


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
