"""Banded ridge as an estimator in scikit-learn's conventions, by our closed form or by himalaya's search.

Both take `ban_bids.encoding.ridge.bands.Bands`, whose columns have mean 0 in every run (there is no intercept),
choose weights and penalty voxel by voxel by the smallest mean squared error over inner folds, and give the same
numbers: tests compare them. Ridge on one layer is the case of one band.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
from sklearn.base import BaseEstimator
from sklearn.model_selection import PredefinedSplit
from sklearn.utils.validation import check_is_fitted

from ban_bids.encoding.ridge.backend import CPU, HIMALAYA, Engine, himalaya_backend
from ban_bids.encoding.ridge.bands import Bands, Term
from ban_bids.encoding.ridge.closed_form import Problem, refit
from ban_bids.encoding.ridge.hyperparameters import Choice, Hyperparameters
from ban_bids.encoding.ridge.limits import in_batches
from ban_bids.encoding.ridge.refitted import OwnRows
from ban_bids.encoding.ridge.search import choose, choose_nested

_VOXELS = 256

Inner = np.ndarray | OwnRows
"""Inner fold of each training row, or inner folds that are fitted on their own rows."""


class BandedRidge(BaseEstimator):
    """Banded ridge.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Penalties and weights to choose from.
    engine : Engine
        Solver, arrays, memory and threads.

    Attributes
    ----------
    choice_ : Choice
        Weights and penalty of every voxel.
    coef_ : ndarray of shape (n_coefficients, n_voxels), float64
        See `Bands.terms`.
    """

    def __init__(self, hyperparameters: Hyperparameters = Hyperparameters(), engine: Engine = CPU) -> None:  # noqa: B008
        self.hyperparameters = hyperparameters
        self.engine = engine

    def choose(self, X: Bands, y: np.ndarray, inner: Inner) -> Choice:
        """Choose by the closed form, whatever the engine's solver is, and fit nothing.

        One decomposition per weighting serves all voxels: choose for as many as memory allows, then fit slab
        by slab. Parameters as for `fit`.
        """
        return choose(Problem(X, y, inner, engine=self.engine), self.hyperparameters)

    def choose_nested(self, X: Bands, y: np.ndarray, inner: Inner) -> tuple[Choice, ...]:
        """As `choose`, also for the model without each band: `ban_bids.encoding.ridge.search.choose_nested`."""
        return choose_nested(Problem(X, y, inner, engine=self.engine), self.hyperparameters)

    def fit(self, X: Bands, y: np.ndarray, inner: Inner, *, choice: Choice | None = None) -> Self:
        """Choose weights and penalty for every voxel and fit all rows.

        Parameters
        ----------
        X : Bands
            Training rows.
        y : ndarray of shape (n, n_voxels), float32 or float64
            Its type is that of products with voxels.
        inner : ndarray of shape (n,) or OwnRows
            Inner fold of each row, or inner folds that are fitted on their own rows: himalaya cannot, so that
            these are always ours.
        choice : Choice, optional
            From `choose` or `choose_nested`: nothing is chosen then, and the closed form fits.
        """
        if choice is None and self.engine.solver == HIMALAYA and isinstance(inner, np.ndarray):
            self.choice_, self.coef_ = random_search(
                X, y, inner, hyperparameters=self.hyperparameters, engine=self.engine
            )
        else:
            problem = Problem(X, y, inner, engine=self.engine)
            self.choice_ = choose(problem, self.hyperparameters) if choice is None else choice
            self.coef_ = refit(problem, self.choice_, self.hyperparameters)
        self.dtype_, self.columns_ = y.dtype, X.columns
        return self

    def predict(self, X: Bands) -> np.ndarray:
        """Predict rows, (m, n_voxels), typed as responses."""
        return self._sum(self._terms(X))

    def split(self, X: Bands) -> list[np.ndarray]:
        """Return what each band adds to the prediction, arrays of shape (m, n_voxels)."""
        return [self._sum([term]) for term in self._terms(X)]

    def _terms(self, X: Bands) -> list[Term]:
        check_is_fitted(self, "coef_")
        if X.columns != self.columns_:
            raise ValueError(f"bands of {X.columns} columns: those fitted had {self.columns_}")
        return X.terms(self.coef_, self.choice_.weights)

    def _sum(self, terms: Sequence[Term]) -> np.ndarray:
        """Multiply and add in float64, some voxels at a time: only what is kept is large."""
        rows, coefficients, _ = terms[0]
        out = np.empty((len(rows), coefficients.shape[1]), dtype=self.dtype_)
        exact = [(x.astype(np.float64), c, factor) for x, c, factor in terms]
        for first in range(0, out.shape[1], _VOXELS):
            some = slice(first, first + _VOXELS)
            out[:, some] = sum(x @ c[:, some] * factor[some] for x, c, factor in exact)
        return out


def predict_without(
    solver: BandedRidge,
    training: Bands,
    held_out: Bands,
    *,
    left_out: int,
    bold: np.ndarray,
    inner: Inner,
    joint: Choice,
    whole: np.ndarray,
    choice: Choice | None = None,
) -> np.ndarray:
    """Predict rows from all bands but one, with weights and penalties of their own.

    Parameters
    ----------
    solver : BandedRidge
        Of the model of those bands, see `Hyperparameters.without`.
    training, held_out : Bands
        All bands.
    left_out : int
        The band to leave out.
    bold : ndarray of shape (n, n_voxels)
        Responses of the training rows.
    inner : ndarray of shape (n,) or OwnRows
        Inner folds of all bands' training rows.
    joint : Choice
        Of the model of all bands.
    whole : ndarray of shape (m, n_voxels)
        That model's prediction of the rows to predict.
    choice : Choice, optional
        From `BandedRidge.choose_nested`; the solver chooses by default.

    Returns
    -------
    ndarray of shape (m, n_voxels)
        ``whole`` for voxels whose joint model does not use the band: theirs is the same model.
    """
    prediction = whole.copy()
    voxels = np.flatnonzero(joint.weights[left_out])
    if len(voxels):
        chosen = None if choice is None else choice.of(voxels)
        others = inner if isinstance(inner, np.ndarray) else inner.without(left_out)
        solver.fit(training.without(left_out), bold[:, voxels], others, choice=chosen)
        prediction[:, voxels] = solver.predict(held_out.without(left_out))
    return prediction


def random_search(
    bands: Bands, y: np.ndarray, groups: np.ndarray, *, hyperparameters: Hyperparameters, engine: Engine
) -> tuple[Choice, np.ndarray]:
    """Choose and fit by himalaya (Dupré la Tour et al. 2022): its random search over given weights.

    Parameters
    ----------
    bands, y, groups
        As for `BandedRidge.fit`.
    hyperparameters : Hyperparameters
        Penalties too small for the type of ``y`` are never chosen.
    engine : Engine

    Returns
    -------
    Choice
    coefficients : ndarray of shape (n_coefficients, n_voxels), float64
        See `Bands.terms`.
    """
    n_voxels = y.shape[1]
    kernels, penalties, grid = bands.kernels(y.dtype), hyperparameters.penalties, hyperparameters.points(bands.n_bands)
    chosen = Choice(np.empty((bands.n_bands, n_voxels), y.dtype), *(np.empty(n_voxels, y.dtype) for _ in range(2)))
    coefficients = np.empty((bands.n_coefficients, n_voxels))

    def search(batch: slice) -> None:
        some, dual = _search_batch(kernels, y[:, batch], groups, penalties=penalties, grid=grid, engine=engine)
        chosen.weights[:, batch], chosen.alpha[batch], chosen.score[batch] = some.weights, some.alpha, some.score
        coefficients[:, batch] = bands.from_dual(dual, some.weights)

    in_batches(n_voxels, n_voxels, search)
    return chosen, coefficients


def _search_batch(
    kernels: np.ndarray, y: np.ndarray, groups: np.ndarray, *, penalties: np.ndarray, grid: np.ndarray, engine: Engine
) -> tuple[Choice, np.ndarray]:
    """Return what is chosen for some voxels, and their dual weights (n, n_voxels), float64."""
    room = engine.limits.left() // 32
    voxels = int(max(64, room // (y.itemsize * len(y) * len(penalties))))
    with himalaya_backend(engine.backend) as arrays, np.errstate(divide="ignore"):
        deltas, dual, scores, best = solve_multiple_kernel_ridge_random_search(
            arrays.asarray(kernels),
            arrays.asarray(y),
            n_iter=arrays.asarray(grid.astype(y.dtype)),
            alphas=arrays.asarray(penalties.astype(y.dtype)),
            cv=PredefinedSplit(groups),
            return_weights="dual",
            return_alphas=True,
            local_alpha=True,
            progress_bar=False,
            n_targets_batch=voxels,
            n_targets_batch_refit=voxels,
        )
        # himalaya's deltas are log(weight / alpha), and its dual weights are multiplied by alpha
        alpha = arrays.to_numpy(best).astype(np.float64)
        weights = np.exp(arrays.to_numpy(deltas).astype(np.float64)) * alpha
        choice = Choice(weights, alpha, arrays.to_numpy(scores).max(axis=0))
        return choice, arrays.to_numpy(dual).astype(np.float64) / alpha
