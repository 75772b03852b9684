"""What the layout of repeats makes of pure noise: signal power where there is none, and how much of it.

Noise is autocorrelated, and cleaning takes slow drifts out of it. Repeats of one run are therefore neither
independent nor alike in their dependence: the covariance between them, which is taken for signal power, is above 0 in
fixed cycles and below 0 where repeats follow each other. The signal itself repeats, so that shifting the data (a
shifted cycle is a cycle) would take it off together with the noise. What repeats differ in holds no signal: its
autocorrelation tells the noise's, and the noise's its part in the signal power.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from scipy.signal import lfilter

from ban_bids.encoding.cleaning import Nuisance

AUTOCORRELATIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96)
"""Of the first-order processes, from one volume to the next; the first is white."""

LAGS = tuple(range(17))
"""Volumes at which the autocovariance of residuals is taken."""

_MIXED = 3
"""White noise and this or a stronger autocorrelation make up a voxel's noise."""

_NEGLIGIBLE = 5e-4
_DEGENERATE = 1e-9
_RIDGE = 1e-9
"""Where repeated rows stand so far apart that no lag but 0 is left, all noise counts as half white."""

_COLUMNS = 1000
_BURN_IN = 100
_SEED = 20
_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class LayoutNoise:
    """Noise of some autocorrelations in one layout of repeats, as cleaned: each of unit variance.

    Parameters
    ----------
    place : ndarray of shape (n_unique, n_repeats), intp
        Where each repeat stands on one line of volumes on which the runs lie further apart than any lag.
    lags, pairs : ndarray of shape (n_lags,)
        Volumes, and how many pairs of repeated rows lie as far apart in one run.
    covariance : ndarray of shape (n_kinds, n_lags)
        Sums over those pairs of the products of two residuals, the difference of a row from the mean of its repeats.
    power : ndarray of shape (n_kinds,)
        Expected signal power.
    """

    place: np.ndarray
    lags: np.ndarray
    pairs: np.ndarray
    covariance: np.ndarray
    power: np.ndarray

    def products(self, bold: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Sums of lagged products of residuals, (n_lags, V), of BOLD (n, V) with repeats at ``index``."""
        mean = sum(bold[rows].astype(np.float64) for rows in index.T) / index.shape[1]
        line = np.zeros((int(self.place.max()) + 1, bold.shape[1]))
        for rows, places in zip(index.T, self.place.T):
            line[places] = bold[rows] - mean
        return np.array([np.einsum("ij,ij->j", line[: len(line) - lag], line[lag:]) for lag in self.lags])

    def signal_power(self, bold: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Signal power that the noise of each voxel is expected to feign.

        Every voxel's noise is white noise and one first-order process, whose autocorrelation and two variances,
        none negative, come nearest to the lagged products of its residuals.

        Parameters
        ----------
        bold : ndarray of shape (n, V)
            Of all held-out rows.
        index : ndarray of shape (n_unique, n_repeats)
            Rows of the repeats.

        Returns
        -------
        ndarray of shape (V,)
        """
        return self._fitted(self.products(bold, index))

    def _fitted(self, products: np.ndarray) -> np.ndarray:
        weight = 1 / np.sqrt(self.pairs)
        found, kinds = products * weight[:, None], self.covariance * weight
        white = kinds[0]
        least = np.full(found.shape[1], np.inf)
        power = np.zeros(found.shape[1])
        for k in range(_MIXED, len(kinds)):
            both = np.stack([white, kinds[k]])
            gram, right = both @ both.T, both @ found
            mixed = np.linalg.solve(gram + _RIDGE * np.trace(gram) * np.eye(2), right)
            alone = right / np.diag(gram)[:, None]
            a, b = np.where(mixed[1] < 0, [alone[0], 0 * alone[1]], mixed)
            a, b = np.where(mixed[0] < 0, [0 * alone[0], alone[1]], [a, b])
            error = np.sum((found - np.outer(white, a) - np.outer(kinds[k], b)) ** 2, axis=0)
            better = error < least
            least[better] = error[better]
            power[better] = (a * self.power[0] + b * self.power[k])[better]
        return power


def layout_noise(
    index: np.ndarray,
    run: np.ndarray,
    fold: np.ndarray,
    *,
    volume: np.ndarray,
    nuisance: Sequence[Nuisance],
    moment: np.ndarray | None = None,
) -> LayoutNoise | None:
    """Work out what noise gives in a layout of repeats.

    Parameters
    ----------
    index : ndarray of shape (n_unique, n_repeats)
        Held-out rows of the repeats.
    run, fold, volume : ndarray of shape (n,)
        Of the held-out rows; rows of one run and fold are cleaned together.
    nuisance : sequence of Nuisance
        Of every run.
    moment : ndarray of shape (n,), int, optional
        Place of each volume in time, in repetition times; its number by default.

    Returns
    -------
    LayoutNoise or None
        None where noise of no autocorrelation feigns signal power, as with each repeat in a run of its own, and with
        a single moment, which has no variance.
    """
    if len(index) < 2:
        return None
    moment = volume if moment is None else moment
    blocks = list(_blocks(run, fold, volume, moment=moment, nuisance=nuisance))
    power = np.array([_expected_power(index, blocks, kind) for kind in AUTOCORRELATIONS])
    if np.abs(power).max() < _NEGLIGIBLE:
        return None
    apart = max(LAGS) + 1
    spans = np.array([int(moment[run == r].max(initial=0)) + 1 + apart for r in range(int(run.max()) + 1)])
    place = (np.concatenate([[0], np.cumsum(spans)])[run] + moment)[index]
    occupied = np.zeros(int(place.max()) + 1, dtype=int)
    occupied[place] = 1
    pairs = np.array([occupied[: len(occupied) - lag] @ occupied[lag:] for lag in LAGS])
    lags, pairs = np.array(LAGS)[pairs > 0], pairs[pairs > 0]
    made = LayoutNoise(place, lags, pairs, np.zeros((len(power), len(lags))), power)
    drawn = np.array([made.products(_noise(blocks, len(run), kind), index) for kind in AUTOCORRELATIONS])
    made = replace(made, covariance=drawn.mean(axis=2))
    # The fit is not linear: what it misses on average in noise of each kind is taken off beforehand.
    for _ in range(_ROUNDS):
        fitted = np.array([made._fitted(products).mean() for products in drawn])
        made = replace(made, power=made.power + power - fitted)
    return made


@dataclass(frozen=True, eq=False)
class _Block:
    """Held-out rows of one run that are cleaned together: their place in the table, in time, and nuisance."""

    rows: np.ndarray
    moments: np.ndarray
    basis: np.ndarray

    def clean(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values - self.basis @ (self.basis.T @ values))


def _blocks(
    run: np.ndarray, fold: np.ndarray, volume: np.ndarray, *, moment: np.ndarray, nuisance: Sequence[Nuisance]
) -> Iterator[_Block]:
    for r, f in np.unique(np.stack([run, fold]), axis=1).T:
        rows = np.flatnonzero((run == r) & (fold == f))
        rows = rows[nuisance[r].keep[volume[rows]]]
        left, singular, _ = np.linalg.svd(nuisance[r].basis[volume[rows]], full_matrices=False)
        yield _Block(rows, moment[rows], left[:, singular > 1e-6 * singular.max(initial=0)])


def _expected_power(index: np.ndarray, blocks: Sequence[_Block], autocorrelation: float) -> float:
    """Expected mean covariance between repeats of cleaned noise, relative to its variance.

    With S_i the sum over the rows of repeat i it is the expectation of
    ``sum_{i != j} [sum_u y_iu y_ju - S_i S_j / n] / (n - 1) / (N (N - 1))``; rows of different blocks are independent.
    """
    n_unique, n_repeats = index.shape
    total = 0.0
    for block in blocks:
        stationary = autocorrelation ** np.abs(block.moments[:, None] - block.moments[None, :])
        covariance = block.clean(block.clean(stationary).T)
        variance = np.trace(covariance) / max(1, len(covariance))
        if variance < _DEGENERATE:
            continue
        at = np.full(1 + max(int(index.max()), int(block.rows.max(initial=0))), -1)
        at[block.rows] = np.arange(len(block.rows))
        local = at[index]
        member = np.zeros((len(block.rows), n_repeats))
        for i, column in enumerate(local.T):
            member[column[column >= 0], i] = 1
        sums = member.T @ covariance @ member
        same = sum(
            float(covariance[one, other].sum())
            for i, j in permutations(range(n_repeats), 2)
            for one, other in [local[(local[:, i] >= 0) & (local[:, j] >= 0)][:, [i, j]].T]
        )
        total += (same - (sums.sum() - np.trace(sums)) / n_unique) / variance
    return total / ((n_unique - 1) * n_repeats * (n_repeats - 1))


def _noise(blocks: Sequence[_Block], n: int, autocorrelation: float) -> np.ndarray:
    """Cleaned noise of unit variance in every block, (n, columns); the same innovations for every autocorrelation."""
    rng = np.random.default_rng(_SEED)
    made = np.zeros((n, _COLUMNS))
    for block in blocks:
        first, last = int(block.moments.min(initial=0)), int(block.moments.max(initial=0))
        drawn = rng.standard_normal((last - first + 1 + _BURN_IN, _COLUMNS))
        course = lfilter([1], [1, -autocorrelation], drawn, axis=0)[_BURN_IN:]
        cleaned = block.clean(course[block.moments - first])
        spread = np.sqrt(np.mean(cleaned**2, axis=0))
        made[block.rows] = cleaned / np.where(spread > _DEGENERATE, spread, np.inf)
    return made
