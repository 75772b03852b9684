"""What solvers are given of a fold: each layer's features, scaled, reduced and lagged, or kernels of them.

Kernels are made of undelayed kernels, so that lagged features are never spelt out. A lagged row is
``x_i = (b[index[i, 0]], b[index[i, 1]], ...)`` with b the binned features of its run, so
``x_i . x_j = sum over lags l of K0[index[i, l], index[j, l]]`` with ``K0 = B B'``: one product as wide as the
features instead of one that is n_lags times as wide. Lags stay inside the runs of both rows. Regressing the
nuisance of run r out of features, ``P_r X_r``, is ``P_r K_rs P_s'`` on the kernel. Two runs at a time are
worked on, in float64; what is kept is float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.linalg

from ban_bids.encoding.cleaning import Nuisance, Side
from ban_bids.encoding.folds import Fold
from ban_bids.encoding.ridge.bands import FeatureBands, KernelBands
from ban_bids.encoding.timeline import Binned
from ban_bids.files.npz import scratch_array

_RANK_TOLERANCE = 1e-10
_FLAT = 1e-7
_COLUMNS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Scaler:
    """The z-score of one layer's features.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_features,), float64
        ``scale`` is infinite for features that do not vary.
    """

    mean: np.ndarray
    scale: np.ndarray

    @property
    def n_varying(self) -> int:
        """Number of features that vary."""
        return int(np.isfinite(self.scale).sum())

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return z-scores (n_rows, n_features), float64; 0 where a feature does not vary."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True, eq=False)
class Reduction:
    """Scaler and principal axes of one layer.

    Parameters
    ----------
    scaler : Scaler
    axes : ndarray of shape (n_features, n_components), float64
        Orthonormal, by falling variance.
    """

    scaler: Scaler
    axes: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return component scores (n_rows, n_components), float32, of features (n_rows, n_features)."""
        return (self.scaler.apply(features) @ self.axes).astype(np.float32)


def fit_scaler(features: np.ndarray) -> Scaler:
    """Fit the z-score on training rows (n_rows, n_features), in float64, some columns at a time."""
    mean, scale = (np.empty(features.shape[1]) for _ in range(2))
    for first in range(0, features.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(first, first + _COLUMNS_AT_ONCE)
        table = features[:, columns].astype(np.float64)
        mean[columns], scale[columns] = table.mean(axis=0), table.std(axis=0)
    scale[scale <= _FLAT * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)] = np.inf
    return Scaler(mean, scale)


def fit_reduction(features: np.ndarray, n_components: int) -> Reduction:
    """Fit scaler and principal axes on training rows.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_features)
    n_components : int
        At most so many axes; fewer where the features have lower rank.

    Returns
    -------
    Reduction
        Features that do not vary are left out (z-score, then eigenvectors of the smaller Gram matrix).
    """
    scaler = fit_scaler(features)
    table = scaler.apply(features)
    n_rows, n_features = table.shape
    wide = n_features > n_rows
    gram = table @ table.T if wide else table.T @ table
    first = max(0, len(gram) - n_components)
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(first, len(gram) - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    sound = values > _RANK_TOLERANCE * max(float(values[0]), np.finfo(np.float64).tiny)
    values, vectors = values[sound], vectors[:, sound]
    axes = table.T @ vectors / np.sqrt(values) if wide else vectors
    return Reduction(scaler, axes)


class LayerMatrices(NamedTuple):
    """One layer in one fold: features, or kernels with the training rows; float32.

    Parameters
    ----------
    training : ndarray of shape (n_training, k)
    held_out : ndarray of shape (n_held_out, k)
        Cleaned: scores rest on it.
    whole, specific : ndarray of shape (n_held_out, k)
        What tests permute, see `ban_bids.encoding.rows.HeldOut`. They keep their nuisance: the permutation test
        moves their blocks, and BOLD, without nuisance, meets only the rest of them.
    inner : ndarray of shape (n_training, k), optional
        Training rows with their nuisance, for inner folds that clean their own rows.
    """

    training: np.ndarray
    held_out: np.ndarray
    whole: np.ndarray
    specific: np.ndarray
    inner: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class FoldDesign:
    """A fold and its layers' reduced features in every run.

    Parameters
    ----------
    fold : Fold
    reduced : dict of str to tuple of Binned
        By layer, one per run; all layers have the same number of components.
    specific : dict of str to tuple of Binned
        The same less what the run's mean clip would give at every presentation, in runs with held-out rows.
    """

    fold: Fold
    reduced: dict[str, tuple[Binned, ...]]
    specific: dict[str, tuple[Binned, ...]]

    bands = FeatureBands
    """What solvers are given, in scikit-learn's terms: features."""

    @property
    def dimensions(self) -> dict[str, int]:
        """Components of each layer."""
        return {layer: runs[0].bins.shape[1] for layer, runs in self.reduced.items()}

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel's joint model."""
        return sum(runs[0].bins.shape[1] * runs[0].index.shape[1] for runs in self.reduced.values())

    def matrices(self, layer: str, nuisance: Sequence[Nuisance], first: np.ndarray) -> LayerMatrices:
        """Return the training and held-out features of a layer, and what of the held-out ones is tested.

        Parameters
        ----------
        layer : str
        nuisance : sequence of Nuisance
            One per run.
        first : ndarray of shape (n_runs + 1,)
            First row of each run.

        Returns
        -------
        LayerMatrices
            Of shape (n_rows, n_lags * n_components): lagged inside each run, nuisance projected out on each side's
            own rows, scaled so that the training kernel has mean diagonal 1.
        """
        training, held_out, whole, specific, raw = [], [], [], [], []
        places = (_by_run(rows, first) for rows in (self.fold.training, self.fold.held_out))
        for r, (binned, (rows, _), (tested, _)) in enumerate(zip(self.reduced[layer], *places)):
            if len(rows) or len(tested):
                lagged = binned.lagged()
                cleaned = nuisance[r].project(lagged)
                training.append(cleaned[rows])
                held_out.append(cleaned[tested])
                whole.append(lagged[tested])
                if not self.fold.whole_runs:
                    raw.append(lagged[rows])
                specific.append(self.specific[layer][r].lagged()[tested])
        features = self.fold.training_side.project(np.concatenate(training))
        power = float(np.mean(np.square(features, dtype=np.float64).sum(axis=1)))
        scale = np.float32(1 / np.sqrt(power) if power > 0 else 1)
        cleaned_rows = self.fold.held_out_side.project(np.concatenate(held_out))
        return LayerMatrices(
            training=features * scale,
            held_out=cleaned_rows * scale,
            whole=np.concatenate(whole) * scale,
            specific=np.concatenate(specific) * scale,
            inner=np.concatenate(raw) * scale if raw else None,
        )


@dataclass(frozen=True, eq=False)
class KernelFold:
    """A fold and its layers' kernels.

    Parameters
    ----------
    fold : Fold
    kernels : dict of str to LayerMatrices
        By layer, against training rows; on disk where all folds' together are large.
    dimensions : dict of str to int
        Features of each layer that vary over training rows.
    """

    fold: Fold
    kernels: dict[str, LayerMatrices]
    dimensions: dict[str, int]

    bands = KernelBands
    """What solvers are given, in scikit-learn's terms."""

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel's joint model: one per training row."""
        return len(self.fold.training)

    def matrices(self, layer: str, nuisance: Sequence[Nuisance], first: np.ndarray) -> LayerMatrices:
        """Return a layer's kernels; the nuisance was projected out when they were made."""
        return self.kernels[layer]


AnyFold = FoldDesign | KernelFold


@dataclass(frozen=True, eq=False)
class LayerFeatures:
    """One layer's features in every run, and how they are scaled and cleaned.

    Parameters
    ----------
    binned : sequence of Binned
        One per run.
    common : mapping of int to Binned
        By run with held-out rows, what its mean clip would give at every presentation: it is taken out of what is
        tested as specific.
    scaler : Scaler
        Fitted on the fold's training rows.
    nuisance : sequence of Nuisance
        One per run.
    """

    binned: Sequence[Binned]
    common: Mapping[int, Binned]
    scaler: Scaler
    nuisance: Sequence[Nuisance]

    def scaled(self, r: int) -> np.ndarray:
        """Return a run's bins as z-scores, float64."""
        return self.scaler.apply(self.binned[r].bins)

    def blocks(self, r: int, s: int, left: np.ndarray, tested: bool) -> tuple[np.ndarray, ...]:
        """Return the kernel of two runs' volumes, clean on both sides; what is tested of the first; and as it is.

        ``left`` are the scaled bins of run r. The second kernel keeps the nuisance of run r; so does the third (the
        same where nothing is ``tested``), which is of what is specific to the clips of that run. The fourth keeps
        the nuisance of both.
        """
        right = left if r == s else self.scaled(s)
        raw = self._delayed(left, right, r, s)
        whole = self.nuisance[s].project(raw.T).T
        specific = whole
        if tested and r in self.common:
            only = self._delayed(left - self.scaler.apply(self.common[r].bins), right, r, s)
            specific = self.nuisance[s].project(only.T).T
        return self.nuisance[r].project(whole), whole, specific, raw

    def _delayed(self, left: np.ndarray, right: np.ndarray, r: int, s: int) -> np.ndarray:
        undelayed = left @ right.T
        rows, columns = self.binned[r].index, self.binned[s].index
        total = np.zeros((len(rows), len(columns)))
        for i, j in zip(rows.T, columns.T):
            total += undelayed[_range(i)][:, _range(j)]
        return total


def layer_kernels(
    features: LayerFeatures, fold: Fold, first: np.ndarray, *, folder: Path, in_memory: int
) -> LayerMatrices:
    """Compute one layer's kernels of one fold.

    Parameters
    ----------
    features : LayerFeatures
    fold : Fold
    first : ndarray of shape (n_runs + 1,)
        First row of each run.
    folder, in_memory
        See `ban_bids.files.npz.scratch_array`.

    Returns
    -------
    LayerMatrices
        The training kernel has mean diagonal 1; the others are on the same scale.
    """
    n, m = len(fold.training), len(fold.held_out)
    out = scratch_array((n + 3 * m + (0 if fold.whole_runs else n), n), folder, in_memory)
    training, held_out, whole, specific, inner = np.split(out, np.cumsum([n, m, m, m]))
    places, tested = (_by_run(rows, first) for rows in (fold.training, fold.held_out))
    for r, ((fitted, here), (rows, there)) in enumerate(zip(places, tested)):
        left = features.scaled(r) if len(fitted) or len(rows) else None
        for s, (others, at) in enumerate(places):
            # a kernel is symmetric: of two training runs one block is enough
            if left is None or not len(others) or (s > r and not len(rows)):
                continue
            clean, *tested_blocks, raw = features.blocks(r, s, left, len(rows) > 0)
            for kernel, values in ((training, clean), (inner, raw)):
                if s <= r and len(kernel):
                    block = values[np.ix_(fitted, others)]
                    kernel[np.ix_(here, at)], kernel[np.ix_(at, here)] = block, block.T
            held_out[np.ix_(there, at)] = clean[np.ix_(rows, others)]
            for kernel, block in zip((whole, specific), tested_blocks):
                kernel[np.ix_(there, at)] = block[np.ix_(rows, others)]
    _clean_sides(fold, training, held_out, whole, specific)
    power = float(training.diagonal().sum(dtype=np.float64))
    if power > 0:
        out *= np.float32(n / power)
    return LayerMatrices(training, held_out, whole, specific, inner if len(inner) else None)


def _clean_sides(fold: Fold, training: np.ndarray, *others: np.ndarray) -> None:
    """Clean kernels, in place, on the rows of each side alone: all of them against the training rows."""
    sides = (fold.training_side, fold.held_out_side, Side(fold.held_out), Side(fold.held_out))
    for kernel, side in zip((training, *others), sides):
        if side.parts:
            kernel[:] = side.project(kernel)
        if fold.training_side.parts:
            kernel[:] = fold.training_side.project(kernel.T).T


def _range(index: np.ndarray) -> slice | np.ndarray:
    """The same rows as a slice where they stand together: a view in place of a copy."""
    together = bool(np.all(np.diff(index) == 1))
    return slice(int(index[0]), int(index[-1]) + 1) if together else index


def _by_run(rows: np.ndarray, first: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of each run, counted from its first, and where they stand in ``rows``."""
    places = [np.flatnonzero((rows >= start) & (rows < stop)) for start, stop in zip(first[:-1], first[1:])]
    return [(rows[place] - start, place) for place, start in zip(places, first)]
