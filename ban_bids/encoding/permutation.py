"""Which rows a permutation test uses, and the arrangements that it tries them in.

Neighbouring volumes are correlated, so single rows are not exchangeable. What a test may do is to move a run's
prediction round in time against its BOLD: both keep their own course, and where nothing is heard one moment of
stationary noise is as good as another. Each held-out run is shifted by its own number of volumes, so that runs of N
volumes have N arrangements each, and together their product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ban_bids.encoding.rows import REST, HeldOutRows
from ban_bids.errors import NotComputable

SOUND = "sound"
SPECIFIC = "specific"
QUESTIONS = {SOUND: "follows sound", SPECIFIC: "follows these sounds"}
"""Questions in words: of the whole prediction, and of what is specific to the clips."""

MIN_ARRANGEMENTS = 40
"""With fewer distinct arrangements no p value is given: all of them are tried then, and p is 1 / 40 at least."""

MIN_REST = 0.1
"""Least share of scored held-out volumes that rest between clips where a voxel can be said to follow sound."""

MIN_ROWS = 20
"""Scored volumes that a run must have to take part."""

MIN_HALF = 40
"""A single run is shifted in two halves, each by its own number, if they have so many volumes."""

CROSSED = float(np.sqrt(0.5))
"""Least factor of the observed statistic where folds train on one another's held-out rows.

Each pair of folds then meets twice, once either way round, while runs are shifted as if they did not. With
every fold's prediction brought to norm 1, T_r is a sum over the R - 1 other folds s of contributions of
variance v_rs, of which T_s shares one: cov(T_r, T_s) <= sqrt(v_rs v_sr), so that the sum over folds has at most
twice the variance of the shifted sum (Cauchy-Schwarz; reached with many parameters and one penalty, where the
folds' correlation is 1 / (R - 1)). `ban_bids.encoding.crossed` estimates how much it has.
"""


@dataclass(frozen=True, eq=False)
class PermutationPlan:
    """Rows of a test and the arrangements that they are tried in. A *piece* is a run, or half of a single one.

    Parameters
    ----------
    question : {"sound", "specific"}
    rows : ndarray of shape (n_used,), int
        Scored held-out rows, piece by piece in order of time.
    sizes : tuple of int
        Rows of each piece.
    group : ndarray of shape (n_used,), int
        Rows whose mean is taken out together: a piece for ``sound``; for ``specific`` the volumes of a piece that
        are equally long after the onset of the last clip, so that no response that all clips share is left.
    fold : ndarray of shape (n_used,), int
        Outer fold of each row.
    shift : ndarray of shape (m, n_pieces), int32
        Volumes by which each arrangement moves each piece's prediction, round in the piece.
        The true arrangement is not among them unless drawn by chance.
    exhaustive : bool
        True when ``shift`` is every arrangement but the true one.
    notes : tuple of str
        What was left out, and the smallest p that is possible where that is not small.
    crossed : bool
        Folds train on one another's held-out rows, see ``CROSSED``.
    """

    question: str
    rows: np.ndarray
    sizes: tuple[int, ...]
    group: np.ndarray
    fold: np.ndarray
    shift: np.ndarray
    exhaustive: bool
    notes: tuple[str, ...] = ()
    crossed: bool = False

    @property
    def n_permutations(self) -> int:
        """Number m of arrangements tried."""
        return len(self.shift)


def permutation_plan(
    rows: HeldOutRows, n_permutations: int, seed: int, *, question: str, crossed: bool = False
) -> PermutationPlan:
    """Choose a question's rows and draw the arrangements.

    Parameters
    ----------
    rows : HeldOutRows
        The n held-out rows of all folds (folds are pooled by standing in one table).
    n_permutations : int
        Arrangements to draw; all are taken instead where there are no more than that.
    seed : int
        Seed of the draws.
    question : {"sound", "specific"}
    crossed : bool
        Folds train on one another's held-out rows.

    Returns
    -------
    PermutationPlan

    Raises
    ------
    NotComputable
        The held-out runs are too short, or all rest or none (``sound``), or hold no two different clips in a run
        (``specific``), or fewer than 40 arrangements are distinct.

    Notes
    -----
    Rows that are not scored are passed over, as if the volumes on either side were neighbours. Where a run's
    course repeats, so do its arrangements: in a regular on/off design of period P only P are distinct.
    """
    pieces, notes = _pieces(rows)
    used = np.concatenate(pieces)
    if question == SOUND:
        _need_rest(rows, used)
        label = [rows.clip[piece] != REST for piece in pieces]
        moment = np.zeros(len(used), dtype=np.intp)
    else:
        _need_clips(rows, pieces)
        label = [rows.clip[piece] for piece in pieces]
        moment = np.concatenate([_since_onset(rows, piece) for piece in pieces])
    distinct = prod(map(_distinct_shifts, label))
    if distinct < MIN_ARRANGEMENTS:
        raise NotComputable(
            f"only {distinct} distinct arrangements of the held-out runs exist and {MIN_ARRANGEMENTS} are needed for "
            "a p value; hold out more or longer runs"
        )
    if distinct < n_permutations:
        notes += (
            f"p{question}: only {distinct} arrangements differ: no p far below {1 / distinct:.2g} is to be expected",
        )
    sizes = tuple(map(len, pieces))
    piece = np.repeat(np.arange(len(sizes)), sizes)
    group = np.unique(np.stack([piece, moment]), axis=1, return_inverse=True)[1].reshape(-1)
    shift, exhaustive = _shifts(sizes, n_permutations, np.random.default_rng(seed))
    return PermutationPlan(question, used, sizes, group, rows.fold[used], shift, exhaustive, notes, crossed)


def _pieces(rows: HeldOutRows) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Scored rows of each run in order of time; those of a single run in two halves."""
    runs = [np.flatnonzero(rows.scored & (rows.run == run)) for run in np.unique(rows.run)]
    pieces = [piece for piece in runs if len(piece) >= MIN_ROWS]
    if not pieces:
        raise NotComputable(f"no held-out run has {MIN_ROWS} scored volumes; hold out more or longer runs")
    lost = sum(map(len, runs)) - sum(map(len, pieces))
    notes = (f"{lost} scored volumes of held-out runs with fewer than {MIN_ROWS} take no part in p",) * bool(lost)
    if len(pieces) == 1 and len(pieces[0]) >= 2 * MIN_HALF:
        pieces = np.array_split(pieces[0], 2)
    return pieces, notes


def _need_rest(rows: HeldOutRows, used: np.ndarray) -> None:
    """Rest at a run's edges alone would confuse sound with what scanner and filters do there."""
    quiet = 0
    for run in np.unique(rows.run[used]):
        clip = rows.clip[used[rows.run[used] == run]]
        heard = np.flatnonzero(clip != REST)
        quiet += int(np.sum(clip[heard[0] : heard[-1]] == REST)) if heard.size else 0
    if quiet < MIN_REST * len(used):
        raise NotComputable(
            f"held-out runs rest between clips in {quiet} of {len(used)} scored volumes, and {MIN_REST:.0%} are needed "
            "to tell sound from rest"
        )


def _need_clips(rows: HeldOutRows, pieces: Sequence[np.ndarray]) -> None:
    clips = (np.unique(rows.clip[piece]) for piece in pieces)
    if not any(np.sum(one != REST) > 1 for one in clips):
        raise NotComputable("no held-out run holds two different clips, so that none can be told from another")


def _since_onset(rows: HeldOutRows, piece: np.ndarray) -> np.ndarray:
    """Volumes since the last clip began, 1, 2, ...; 0 before the first and at moments that come once only."""
    onset = np.where(rows.clip[piece] == REST, -1, rows.volume[piece] - rows.position[piece])
    last = np.maximum.accumulate(onset)
    moment = np.where(last < 0, 0, rows.volume[piece] - last + 1)
    return np.where(np.bincount(moment)[moment] > 1, moment, 0)


def _distinct_shifts(label: np.ndarray) -> int:
    """Number of arrangements of a piece that its labels tell apart: the period of their course, round in the piece."""
    periods = [k for k in range(1, len(label) + 1) if len(label) % k == 0]
    return next(k for k in periods if np.array_equal(np.roll(label, k), label))


def _shifts(sizes: Sequence[int], n_permutations: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    if prod(sizes) <= n_permutations + 1:
        return np.indices(sizes).reshape(len(sizes), -1).T[1:].astype(np.int32), True
    return rng.integers(0, sizes, (n_permutations, len(sizes)), dtype=np.int32), False
