"""Kernels of lagged features, made of undelayed kernels: lagged features are never laid out.

A lagged row is ``x_i = (b[index[i, 0]], b[index[i, 1]], ...)`` with b the binned features of its run, so
``x_i . x_j = sum over lags l of K0[index[i, l], index[j, l]]`` with ``K0 = B B'``: one product as wide as the
features instead of one that is n_lags times as wide. Lags stay inside the runs of both rows. Regressing the
nuisance of run r out of features, ``P_r X_r``, is ``P_r K_rs P_s'`` on the kernel. Two runs at a time are
worked on, in float64; what is kept is float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ban_bids.encoding.cleaning import Nuisance
from ban_bids.encoding.folds import Fold
from ban_bids.encoding.reduction import Scaler
from ban_bids.encoding.ridge.bands import KernelBands
from ban_bids.encoding.timeline import Binned
from ban_bids.files.arrays import scratch_array


@dataclass(frozen=True, eq=False)
class KernelFold:
    """A fold and its layers' kernels.

    Parameters
    ----------
    fold : Fold
    kernels : dict of str to tuple of ndarray, float32
        By layer: training (n, n), held-out (m, n) and specific (m, n) rows against training rows, see
        `ban_bids.encoding.design.FoldDesign.matrices`; on disk where all folds' together are large.
    dimensions : dict of str to int
        Features of each layer that vary over training rows.
    held_out : ndarray, intp
        Where this fold's held-out rows stand in the table of held-out rows.
    """

    fold: Fold
    kernels: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    dimensions: dict[str, int]
    held_out: np.ndarray

    bands = KernelBands
    """What solvers are given."""

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel's joint model: one a training row."""
        return len(self.fold.training)

    def matrices(
        self, layer: str, nuisance: Sequence[Nuisance], first: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return an layer's kernels; the nuisance was projected out when they were made."""
        return self.kernels[layer]


@dataclass(frozen=True, eq=False)
class LayerFeatures:
    """One layer's features in every run, and how they are scaled and cleaned.

    Parameters
    ----------
    binned : sequence of Binned
        One a run.
    common : mapping of int to Binned
        By held-out run, what its mean clip would give at every presentation: it is taken out of what is
        tested. Empty where predictions are tested whole.
    scaler : Scaler
        Fitted on the fold's training rows.
    nuisance : sequence of Nuisance
        One a run.
    """

    binned: Sequence[Binned]
    common: Mapping[int, Binned]
    scaler: Scaler
    nuisance: Sequence[Nuisance]

    def scaled(self, r: int) -> np.ndarray:
        """Return a run's bins as z-scores, float64."""
        return self.scaler.apply(self.binned[r].bins)

    def blocks(self, r: int, s: int, left: np.ndarray, tested: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the kernel of two runs' volumes, clean on both sides; and of what is tested in the first.

        ``left`` are the scaled bins of run r. The second kernel (the same where nothing is ``tested``) is of
        what is specific to the clips of run r, and keeps the nuisance of that run.
        """
        right = left if r == s else self.scaled(s)
        half = self._delayed(left, right, r, s)
        clean = self.nuisance[r].project(half)
        if tested and r in self.common:
            half = self._delayed(left - self.scaler.apply(self.common[r].bins), right, r, s)
        return clean, half

    def _delayed(self, left: np.ndarray, right: np.ndarray, r: int, s: int) -> np.ndarray:
        undelayed = left @ right.T
        rows, columns = self.binned[r].index, self.binned[s].index
        total = np.zeros((len(rows), len(columns)))
        for i, j in zip(rows.T, columns.T):
            total += undelayed[_range(i)][:, _range(j)]
        return self.nuisance[s].project(total.T).T


def layer_kernels(
    features: LayerFeatures, fold: Fold, first: np.ndarray, folder: Path, in_memory: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute one layer's kernels of one fold.

    Parameters
    ----------
    features : LayerFeatures
    fold : Fold
    first : ndarray of shape (n_runs + 1,)
        First row of each run.
    folder, in_memory
        See `ban_bids.files.arrays.scratch_array`.

    Returns
    -------
    training : ndarray of shape (n_training, n_training), float32
        Of mean diagonal 1.
    held_out, specific : ndarray of shape (n_held_out, n_training), float32
        On the same scale; ``specific`` keeps its nuisance.
    """
    n, m = len(fold.training), len(fold.held_out)
    out = scratch_array((n + 2 * m, n), folder, in_memory)
    training, held_out, specific = out[:n], out[n : n + m], out[n + m :]
    places, tested = (_by_run(rows, first) for rows in (fold.training, fold.held_out))
    power = 0.0
    for r, ((mine, here), (rows, there)) in enumerate(zip(places, tested)):
        left = features.scaled(r) if len(mine) or len(rows) else None
        for s, (others, at) in enumerate(places):
            # a kernel is symmetric: of two training runs one block is enough
            if left is None or not len(others) or (s > r and not len(rows)):
                continue
            clean, half = features.blocks(r, s, left, len(rows) > 0)
            if s <= r:
                block = clean[np.ix_(mine, others)]
                training[np.ix_(here, at)], training[np.ix_(at, here)] = block, block.T
            if s == r:
                power += float(clean.diagonal()[mine].sum())
            held_out[np.ix_(there, at)] = clean[np.ix_(rows, others)]
            specific[np.ix_(there, at)] = half[np.ix_(rows, others)]
    if power > 0:
        out *= np.float32(n / power)
    return training, held_out, specific


def _range(index: np.ndarray) -> slice | np.ndarray:
    """The same rows as a slice where they stand together: a view in place of a copy."""
    together = bool(np.all(np.diff(index) == 1))
    return slice(int(index[0]), int(index[-1]) + 1) if together else index


def _by_run(rows: np.ndarray, first: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of each run, counted from its first, and where they stand in ``rows``."""
    places = [np.flatnonzero((rows >= start) & (rows < stop)) for start, stop in zip(first[:-1], first[1:])]
    return [(rows[place] - start, place) for place, start in zip(places, first)]
