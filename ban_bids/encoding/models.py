"""Ridge regression of many voxels on one layer, or on several layers with a weight each.

All solvers take features and BOLD whose columns have mean 0 in every run: there is no intercept. Penalties
and weights are chosen voxel by voxel: the smallest mean squared error over inner folds. With
``kernel="precomputed"`` an layer's features (n_rows, n_features) are instead their kernel with the training
rows, (n_rows, n_training).

`ban_bids.encoding.ridge.solvers` has the estimators; here they meet layers by name and held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ban_bids.encoding.ridge.backend import Engine
from ban_bids.encoding.ridge.solvers import PRECOMPUTED, BandedRidge, Layers, Solver, make_solver

_ALONE = 1e-6


@dataclass(frozen=True, eq=False)
class Chosen:
    """Weights and penalty of every voxel, chosen on inner folds.

    Parameters
    ----------
    weights : ndarray of shape (n_layers, n_voxels), float32
        Weight of each layer's kernel, summing to 1; all 0 for voxels that are left out.
    alpha : ndarray of shape (n_voxels,), float32
    inner : ndarray of shape (n_voxels,), float32
        Score over inner folds: minus the mean squared error; ``-inf`` for voxels that are left out.
    """

    weights: np.ndarray
    alpha: np.ndarray
    inner: np.ndarray

    def of(self, voxels: slice | np.ndarray) -> Chosen:
        """Return the same for some voxels."""
        return Chosen(self.weights[:, voxels], self.alpha[voxels], self.inner[voxels])


@dataclass(frozen=True, eq=False)
class Single:
    """Predictions of held-out rows from one layer.

    Parameters
    ----------
    prediction : ndarray of shape (n_held_out, n_voxels), float32
    alpha : ndarray of shape (n_voxels,), float32
        Penalty chosen for each voxel.
    inner : ndarray of shape (n_voxels,), float32
        Score of that penalty: minus the mean squared error, averaged over inner folds.
    """

    prediction: np.ndarray
    alpha: np.ndarray
    inner: np.ndarray


@dataclass(frozen=True, eq=False)
class Joint:
    """Predictions of held-out rows from several layers at once.

    Parameters
    ----------
    parts : dict of str to ndarray of shape (n_held_out, n_voxels), float32
        What each layer adds; their sum is the prediction.
    weights : ndarray of shape (n_layers, n_voxels), float32
        Weight of each layer's kernel, summing to 1.
    alpha : ndarray of shape (n_voxels,), float32
    inner : ndarray of shape (n_voxels,), float32
        Best score over inner folds: minus the mean squared error.
    """

    parts: dict[str, np.ndarray]
    weights: np.ndarray
    alpha: np.ndarray
    inner: np.ndarray

    @property
    def prediction(self) -> np.ndarray:
        """Sum of the parts."""
        return np.sum(list(self.parts.values()), axis=0)


def choose_joint(
    training: Mapping[str, np.ndarray],
    bold: np.ndarray,
    groups: np.ndarray,
    alphas: Sequence[float],
    grid: np.ndarray,
    engine: Engine | None = None,
    refine: int = 0,
    kernel: str = "linear",
) -> Chosen:
    """Choose weights and penalty of a banded ridge model by the closed form, and fit nothing yet.

    One decomposition a weighting serves all voxels: choose for as many as memory allows, then fit slab by
    slab.

    Parameters
    ----------
    training, bold, groups, alphas, grid, engine, refine, kernel
        As for `fit_joint`; one layer is the case of a single-layer model.

    Returns
    -------
    Chosen
    """
    solver = _closed_form(training, alphas, engine, kernel, grid=grid, refine=refine)
    solver.choose(_together(training, kernel), bold, groups)
    return Chosen(solver.weights_, solver.alpha_, solver.cv_score_)


def choose_without(
    layer: str,
    joint: Chosen,
    training: Mapping[str, np.ndarray],
    bold: np.ndarray,
    groups: np.ndarray,
    alphas: Sequence[float],
    engine: Engine | None = None,
    kernel: str = "linear",
) -> Chosen:
    """Choose the penalty of the model of all layers but one, by a climb from the joint model's.

    Parameters
    ----------
    layer : str
        The layer to leave out.
    joint : Chosen
        Of the model of all layers; the weights are renormalised.
    training, bold, groups, alphas, engine, kernel
        As for `fit_joint`.

    Returns
    -------
    Chosen
        Voxels are left out that use this layer alone, or do not use it.
    """
    used = {name: x for name, x in training.items() if name != layer}
    solver = _closed_form(used, alphas, engine, kernel)
    weights = _renormalised(joint.weights, list(training).index(layer))
    solver.choose(_together(used, kernel), bold, groups, weights, joint.alpha)
    return Chosen(solver.weights_, solver.alpha_, solver.cv_score_)


def _closed_form(
    training: Mapping[str, np.ndarray],
    alphas: Sequence[float],
    engine: Engine | None,
    kernel: str,
    **more: Any,
) -> BandedRidge:
    engine = engine or Engine()
    more |= {"limits": engine.limits, "backend": engine.backend, "kernel": kernel}
    return BandedRidge(tuple(alphas), _widths(training), **more)


def _renormalised(weights: np.ndarray, i: int) -> np.ndarray:
    """Weights without layer i, summing to 1; 0 in voxels that use it alone, or do not use it."""
    rest = np.delete(weights, i, axis=0)
    total = rest.sum(axis=0)
    active = (total >= _ALONE) & (weights[i] != 0)
    return np.where(active, rest / np.where(active, total, 1), 0).astype(np.float32)


def fit_single(
    training: np.ndarray,
    bold: np.ndarray,
    held_out: np.ndarray,
    groups: np.ndarray,
    alphas: Sequence[float],
    engine: Engine | None = None,
    chosen: Chosen | None = None,
    kernel: str = "linear",
) -> Single:
    """Fit a ridge model of one layer and predict held-out rows.

    Parameters
    ----------
    training : ndarray of shape (n_training, n_features), float32
    bold : ndarray of shape (n_training, n_voxels), float32
    held_out : ndarray of shape (n_held_out, n_features), float32
    groups : ndarray of shape (n_training,)
        Inner fold of each training row.
    alphas : sequence of float
        Penalties to choose from.
    engine : Engine, optional
        The solver; the closed form by default.
    chosen : Chosen, optional
        Penalties, from `choose_joint`.
    kernel : {"linear", "precomputed"}
        What ``training`` and ``held_out`` are.

    Returns
    -------
    Single
    """
    alone = np.ones((1, 1), dtype=np.float32)
    given = (groups, alphas, alone, engine, 0, chosen, kernel)
    joint = fit_joint({"": training}, bold, {"": held_out}, *given)
    return Single(joint.parts[""], joint.alpha, joint.inner)


def fit_joint(
    training: Mapping[str, np.ndarray],
    bold: np.ndarray,
    held_out: Mapping[str, np.ndarray],
    groups: np.ndarray,
    alphas: Sequence[float],
    grid: np.ndarray,
    engine: Engine | None = None,
    refine: int = 0,
    chosen: Chosen | None = None,
    kernel: str = "linear",
) -> Joint:
    """Fit a banded ridge model: a kernel an layer, weights and penalty chosen voxel by voxel.

    Parameters
    ----------
    training, held_out : dict of str to ndarray of shape (n_rows, n_features), float32
        Features of each layer, the same layers in the same order.
    bold : ndarray of shape (n_training, n_voxels), float32
    groups : ndarray of shape (n_training,)
        Inner fold of each training row.
    alphas : sequence of float
        Penalties to choose from.
    grid : ndarray of shape (n_points, n_layers)
        Weights to choose from.
    engine, kernel
        As for `fit_single`.
    refine : int
        See `ban_bids.encoding.ridge.search.choose`; himalaya tries the grid alone.
    chosen : Chosen, optional
        Weights and penalties, from `choose_joint`: nothing is chosen then.

    Returns
    -------
    Joint
        Layer i adds ``w_i X_i,held_out X_i' (K + alpha I)^-1 y`` with ``K = sum w_i X_i X_i'``.
    """
    x = _together(training, kernel)
    if chosen is None:
        given = {"alphas": tuple(alphas), "widths": _widths(training), "grid": grid, "kernel": kernel}
        solver: Solver = make_solver(engine or Engine(), refine, **given)
        solver.fit(x, bold, groups)
        chosen = Chosen(solver.weights_, solver.alpha_, solver.cv_score_)
    else:
        solver = _closed_form(training, alphas, engine, kernel)
        solver.fit(x, bold, groups, chosen.weights, alpha=chosen.alpha)
    parts = solver.split(_together(held_out, kernel))
    return Joint(dict(zip(training, parts)), chosen.weights, chosen.alpha, chosen.inner)


def fit_without(
    layer: str,
    joint: Joint,
    training: Mapping[str, np.ndarray],
    bold: np.ndarray,
    held_out: Mapping[str, np.ndarray],
    groups: np.ndarray,
    alphas: Sequence[float],
    engine: Engine | None = None,
    chosen: Chosen | None = None,
    kernel: str = "linear",
) -> np.ndarray:
    """Predict held-out rows from all layers but one, with the joint model's weights renormalised.

    Parameters
    ----------
    layer : str
        The layer to leave out.
    joint : Joint
        The model of all layers.
    training, bold, held_out, groups, alphas, engine, kernel
        As for `fit_joint`; the penalty is chosen anew, by a climb from the joint model's.
    chosen : Chosen, optional
        Penalties, from `choose_without`.

    Returns
    -------
    ndarray of shape (n_held_out, n_voxels), float32
        0 for voxels whose joint model uses this layer alone; the joint prediction where it does not use it.
    """
    i = list(training).index(layer)
    weights = _renormalised(joint.weights, i) if chosen is None else chosen.weights
    voxels = np.flatnonzero(weights.any(axis=0))
    prediction = np.zeros((len(held_out[layer]), bold.shape[1]), dtype=np.float32)
    if len(voxels):
        used = {name: x for name, x in training.items() if name != layer}
        x, y = _together(used, kernel), bold[:, voxels]
        solver: Solver
        if chosen is None:
            widths = _widths(used)
            solver = make_solver(engine or Engine(), alphas=tuple(alphas), widths=widths, kernel=kernel)
            solver.fit(x, y, groups, weights[:, voxels], joint.alpha[voxels])
        else:
            solver = _closed_form(used, alphas, engine, kernel)
            solver.fit(x, y, groups, weights[:, voxels], alpha=chosen.alpha[voxels])
        prediction[:, voxels] = solver.predict(_together({name: held_out[name] for name in used}, kernel))
    idle = joint.weights[i] == 0
    prediction[:, idle] = np.sum([part[:, idle] for part in joint.parts.values()], axis=0)
    return prediction


def _widths(layers: Mapping[str, np.ndarray]) -> list[int]:
    return [part.shape[1] for part in layers.values()]


def _together(layers: Mapping[str, np.ndarray], kernel: str) -> Layers:
    """Features side by side, or kernels one after the other."""
    if kernel == PRECOMPUTED:
        return list(layers.values())
    return np.hstack(list(layers.values())) if len(layers) > 1 else next(iter(layers.values()))
