"""Banded ridge as estimators in scikit-learn's conventions: our closed form, and himalaya's search.

Both take the layers' features side by side, with columns of mean 0 in every run (there is no intercept). With
``kernel="precomputed"`` they take a kernel of such features for each layer, as scikit-learn's and himalaya's
kernel ridge do: (n_layers, n, n) to fit, (n_layers, m, n) against the training rows to predict. They choose
weights and penalty voxel by voxel by the smallest mean squared error over inner folds, and give the same
numbers: tests compare them. One layer is the case of one band.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
from himalaya.scoring import r2_score
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import PredefinedSplit
from sklearn.utils.validation import check_is_fitted

from ban_bids.encoding.ridge.backend import CLOSED_FORM, Engine, himalaya_backend, short_of_memory
from ban_bids.encoding.ridge.closed_form import Problem, inner_folds, refit
from ban_bids.encoding.ridge.limits import Limits, in_batches
from ban_bids.encoding.ridge.search import Choice, choose, choose_penalty

Layers = Any
"""Features of the layers side by side, an array; or a kernel of each, an array or a sequence of them."""

PRECOMPUTED = "precomputed"
"""``kernel`` of solvers that are given kernels; ``"linear"`` of those that are given features."""


_VOXELS = 1024


class Solver(Protocol):
    """What encoding asks of a solver."""

    weights_: np.ndarray
    alpha_: np.ndarray
    cv_score_: np.ndarray

    def fit(
        self,
        X: Layers,
        y: np.ndarray,
        groups: np.ndarray,
        weights: np.ndarray | None = None,
        near: np.ndarray | None = None,
    ) -> Self:
        """Choose weights (where they are not given) and penalty by inner folds and fit all rows."""
        ...

    def predict(self, X: Layers) -> np.ndarray:
        """Predict rows."""
        ...

    def split(self, X: Layers) -> list[np.ndarray]:
        """Return what each layer adds to the prediction."""
        ...

    def score(self, X: Layers, y: np.ndarray) -> np.ndarray:
        """Return R² of every voxel."""
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters that make this solver anew."""
        ...


class _Banded(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """What both solvers share: parameters, and prediction from coefficients."""

    def __init__(
        self,
        alphas: Sequence[float] = (1.0,),
        widths: Sequence[int] | None = None,
        grid: np.ndarray | None = None,
        limits: Limits | None = None,
        backend: str = "numpy",
        kernel: str = "linear",
    ) -> None:
        self.alphas = alphas
        self.widths = widths
        self.grid = grid
        self.limits = limits
        self.backend = backend
        self.kernel = kernel

    def _prepared(self, X: Layers) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
        """Return widths, penalties and grid; one band where no widths are given."""
        if self.kernel not in ("linear", PRECOMPUTED):
            raise ValueError(f"kernel={self.kernel!r}: linear or {PRECOMPUTED}")
        if self.kernel == PRECOMPUTED:
            widths = tuple(len(kernel) for kernel in X)
            if any(kernel.shape != (widths[0], widths[0]) for kernel in X):
                raise ValueError("X: a kernel of shape (n, n) for each layer is needed")
        else:
            widths = (X.shape[1],) if self.widths is None else tuple(self.widths)
            if sum(widths) != X.shape[1]:
                raise ValueError(f"widths {widths} do not sum to the {X.shape[1]} columns of X")
        grid = np.full((1, len(widths)), 1 / len(widths)) if self.grid is None else np.asarray(self.grid)
        if grid.ndim != 2 or grid.shape[1] != len(widths):
            raise ValueError(f"grid of shape {grid.shape}: one column for each of {len(widths)} layers is needed")
        return widths, np.asarray(self.alphas, dtype=np.float64), grid

    def predict(self, X: Layers) -> np.ndarray:
        """Predict rows: (m, p) features, or (n_layers, m, n) kernels, to (m, n_voxels), typed as responses."""
        return self._sum(self._pieces(X))

    def split(self, X: Layers) -> list[np.ndarray]:
        """Return what each layer adds to the prediction, arrays of shape (m, n_voxels)."""
        return [self._sum([piece]) for piece in self._pieces(X)]

    def _pieces(self, X: Layers) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return for each layer rows (m, k), coefficients (k, n_voxels), and factors of their product."""
        if self.kernel == PRECOMPUTED:
            check_is_fitted(self, "dual_coef_")
            return [(kernel, self.dual_coef_, w) for kernel, w in zip(X, self.weights_, strict=True)]
        check_is_fitted(self, "coef_")
        stops = np.cumsum(self.widths_)
        bands = [slice(stop - width, stop) for stop, width in zip(stops, self.widths_)]
        ones = np.ones(self.coef_.shape[1])
        return [(X[:, band], self.coef_[band], ones) for band in bands]

    def _sum(self, pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
        """Multiply and add in float64, some voxels at a time: only what is kept is large."""
        rows, coefficients, _ = pieces[0]
        out = np.empty((len(rows), coefficients.shape[1]), dtype=self.dtype_)
        for first in range(0, out.shape[1], _VOXELS):
            some = slice(first, first + _VOXELS)
            out[:, some] = sum(x.astype(np.float64) @ c[:, some] * factor[some] for x, c, factor in pieces)
        return out

    def score(self, X: Layers, y: np.ndarray, sample_weight: None = None) -> np.ndarray:
        """Return R² of every voxel, (n_voxels,)."""
        with himalaya_backend("numpy"):
            return r2_score(np.asarray(y), self.predict(X))


class BandedRidge(_Banded):
    """Banded ridge by the closed form of left-out runs.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from.
    widths : sequence of int, optional
        Columns of each layer; one layer by default. Not needed for kernels.
    grid : ndarray of shape (n_points, n_layers), optional
        Weights to choose from; equal weights by default.
    limits : Limits, optional
        Memory and threads.
    backend : str
        himalaya's: ``"numpy"``, ``"torch"`` or ``"torch_cuda"``.
    kernel : {"linear", "precomputed"}
        Whether features are given or kernels.
    refine, exhaustive
        See `ban_bids.encoding.ridge.search.choose`.

    Attributes
    ----------
    coef_ : ndarray of shape (p, n_voxels), float64
        Of features.
    dual_coef_ : ndarray of shape (n, n_voxels), float64
        Of kernels, of rows in the order of ``X``.
    weights_ : ndarray of shape (n_layers, n_voxels), float32
        Weight of each layer's kernel.
    alpha_ : ndarray of shape (n_voxels,), float32
    cv_score_ : ndarray of shape (n_voxels,), float32
        Minus the mean squared error of left-out rows, averaged over inner folds.
    """

    def __init__(
        self,
        alphas: Sequence[float] = (1.0,),
        widths: Sequence[int] | None = None,
        grid: np.ndarray | None = None,
        limits: Limits | None = None,
        backend: str = "numpy",
        kernel: str = "linear",
        refine: int = 0,
        exhaustive: bool = False,
    ) -> None:
        super().__init__(alphas, widths, grid, limits, backend, kernel)
        self.refine = refine
        self.exhaustive = exhaustive

    def choose(
        self,
        X: Layers,
        y: np.ndarray,
        groups: np.ndarray,
        weights: np.ndarray | None = None,
        near: np.ndarray | None = None,
    ) -> Self:
        """Choose weights and penalty for every voxel, but fit nothing: all attributes but ``coef_`` are set.

        Parameters and source as for `fit`.
        """
        self._choose(*self._set_up(X, y, groups), weights, near)
        return self

    def fit(
        self,
        X: Layers,
        y: np.ndarray,
        groups: np.ndarray,
        weights: np.ndarray | None = None,
        near: np.ndarray | None = None,
        alpha: np.ndarray | None = None,
    ) -> Self:
        """Choose weights and penalty for every voxel and fit all rows.

        Parameters
        ----------
        X : ndarray of shape (n, p), or kernels of shape (n_layers, n, n)
        y : ndarray of shape (n, n_voxels), float32 or float64
            Its type is that of products with voxels.
        groups : ndarray of shape (n,)
            Inner fold of each row.
        weights : ndarray of shape (n_layers, n_voxels), optional
            Only the penalty is chosen then; voxels whose weights are all 0 are left out and predicted as 0.
        near : ndarray of shape (n_voxels,), optional
            With ``weights``: penalties to start at, see `ban_bids.encoding.ridge.search.choose_penalty`.
        alpha : ndarray of shape (n_voxels,), optional
            With ``weights``: penalties, of ``alphas``; nothing is chosen then and there is no ``cv_score_``.
        """
        problem, alphas, grid = self._set_up(X, y, groups)
        if weights is None or alpha is None:
            choice = self._choose(problem, alphas, grid, weights, near)
        else:
            choice = self._given(alphas, weights, alpha)
        found = refit(problem, alphas, choice.grid, choice.point, choice.alpha)
        if self.kernel == PRECOMPUTED:
            self.dual_coef_ = np.empty_like(found)
            self.dual_coef_[inner_folds(groups)[0]] = found
        else:
            self.coef_ = found
        return self

    def _set_up(self, X: Layers, y: np.ndarray, groups: np.ndarray) -> tuple[Problem, np.ndarray, np.ndarray]:
        self.widths_, alphas, grid = self._prepared(X)
        self.dtype_ = y.dtype
        given = (y, groups, self.limits, self.backend)
        if self.kernel == PRECOMPUTED:
            return Problem.of_kernels(X, *given), alphas, grid
        return Problem.of_features(X, self.widths_, *given), alphas, grid

    def _choose(
        self,
        problem: Problem,
        alphas: np.ndarray,
        grid: np.ndarray,
        weights: np.ndarray | None,
        near: np.ndarray | None,
    ) -> Choice:
        if weights is None:
            choice = choose(problem, alphas, grid, self.refine, self.exhaustive)
        else:
            choice = choose_penalty(problem, alphas, *_distinct(weights), near)
        self.weights_ = np.ascontiguousarray(choice.grid[choice.point].T, dtype=np.float32)
        self.alpha_ = alphas[choice.alpha].astype(np.float32)
        self.cv_score_ = choice.score.astype(np.float32) if self.dtype_ == np.float32 else choice.score
        return choice

    def _given(self, alphas: np.ndarray, weights: np.ndarray, alpha: np.ndarray) -> Choice:
        grid, point = np.unique(weights.T, axis=0, return_inverse=True)
        index = np.abs(np.log(alphas[:, None] / alpha)).argmin(axis=0)
        self.weights_, self.alpha_ = weights, alphas[index].astype(np.float32)
        return Choice(grid, point.ravel(), index, np.full(len(alpha), np.nan))


class HimalayaBandedRidge(_Banded):
    """Banded ridge by himalaya (Dupré la Tour et al. 2022): its random search over given weights.

    Parameters
    ----------
    alphas, widths, grid, limits, backend, kernel
        As for `BandedRidge`; penalties too small for the type of ``y`` are never chosen.

    Attributes
    ----------
    coef_, dual_coef_, weights_, alpha_, cv_score_
        As of `BandedRidge`.
    """

    def fit(
        self,
        X: Layers,
        y: np.ndarray,
        groups: np.ndarray,
        weights: np.ndarray | None = None,
        near: np.ndarray | None = None,
    ) -> Self:
        """Choose weights and penalty for every voxel and fit all rows, as `BandedRidge.fit` does.

        Every penalty is tried, whatever ``near`` is.
        """
        widths, alphas, grid = self._prepared(X)
        bands: list[np.ndarray] = []
        if self.kernel == PRECOMPUTED:
            kernels = np.stack([kernel.astype(y.dtype, copy=False) for kernel in X])
            found = np.empty(y.shape)
            self.dual_coef_ = found
        else:
            bands = np.split(X.astype(y.dtype, copy=False), np.cumsum(widths)[:-1], axis=1)
            kernels = np.stack([band @ band.T for band in bands])
            found = np.empty((X.shape[1], y.shape[1]))
            self.coef_ = found
        self.widths_, self.dtype_ = widths, y.dtype
        self.weights_ = np.empty((len(widths), y.shape[1]), dtype=np.float32)
        self.alpha_ = np.empty(y.shape[1], dtype=np.float32)
        self.cv_score_ = np.empty(y.shape[1], dtype=y.dtype)

        def search(points: np.ndarray, of: np.ndarray, batch: slice) -> None:
            voxels = of[batch]
            *chosen, dual = self._searched(kernels, y[:, voxels], groups, alphas, points)
            self.weights_[:, voxels], self.alpha_[voxels], self.cv_score_[voxels] = chosen
            parts = [band.T.astype(np.float64) @ dual * w for band, w in zip(bands, chosen[0])]
            found[:, voxels] = np.concatenate(parts) if parts else dual

        for points, voxels in self._tasks(grid, weights, y.shape[1]):
            short = short_of_memory(self.backend)
            in_batches(len(voxels), len(voxels), partial(search, points, voxels), short)
        return self

    @staticmethod
    def _tasks(grid: np.ndarray, weights: np.ndarray | None, n_voxels: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return weights to choose from, and the voxels that do."""
        if weights is None:
            return [(grid, np.arange(n_voxels))]
        distinct, point = _distinct(weights)
        return [(row[None], np.flatnonzero(point == p)) for p, row in enumerate(distinct)]

    def _searched(
        self, kernels: np.ndarray, y: np.ndarray, groups: np.ndarray, alphas: np.ndarray, grid: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return weights (n_layers, V), alpha (V,), inner score (V,) and dual weights (n, V), float64."""
        room = (self.limits or Limits()).left() // 32
        voxels = int(max(64, room // (y.itemsize * len(y) * len(alphas))))
        with himalaya_backend(self.backend) as arrays, np.errstate(divide="ignore"):
            deltas, dual, scores, chosen = solve_multiple_kernel_ridge_random_search(
                arrays.asarray(kernels),
                arrays.asarray(y),
                n_iter=arrays.asarray(grid.astype(y.dtype)),
                alphas=arrays.asarray(alphas.astype(y.dtype)),
                cv=PredefinedSplit(groups),
                return_weights="dual",
                return_alphas=True,
                local_alpha=True,
                progress_bar=False,
                n_targets_batch=voxels,
                n_targets_batch_refit=voxels,
            )
            # himalaya's deltas are log(weight / alpha), and its dual weights are multiplied by alpha
            alpha = arrays.to_numpy(chosen).astype(np.float64)
            weights = np.exp(arrays.to_numpy(deltas).astype(np.float64)) * alpha
            best = arrays.to_numpy(scores).max(axis=0)
            return weights, alpha, best, arrays.to_numpy(dual).astype(np.float64) / alpha


def _distinct(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct weights (n_points, n_layers), to four digits, and the row of each voxel."""
    rows, point = np.unique(np.round(weights.T.astype(np.float64), 4), axis=0, return_inverse=True)
    return rows, point.ravel()


def make_solver(engine: Engine, refine: int = 0, **parameters: Any) -> Solver:
    """Return an unfitted solver; ``parameters`` are those that both have, and himalaya refines no weights."""
    common = {"limits": engine.limits, "backend": engine.backend, **parameters}
    return BandedRidge(refine=refine, **common) if engine.solver == CLOSED_FORM else HimalayaBandedRidge(**common)
