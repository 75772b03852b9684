"""Which rows a permutation test uses, and the arrangements that it tries them in.

Neighbouring volumes are correlated, so single rows are not exchangeable. What a test may do is to move a run's
prediction round in time against its BOLD: both keep their own course, and where nothing is heard one moment of
stationary noise is as good as another. Each held-out run is shifted by its own number of volumes, so that runs of N
volumes have N arrangements each, and together their product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod

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

_NEVER = -(2**31)

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
        are equally long after the onset of the last clip, so that no response that all clips share is left. With
        ``classes`` the same moment of the same presentation of a class's clips; -1 for rows that are not compared.
    fold : ndarray of shape (n_used,), int
        Outer fold of each row.
    order : ndarray of shape (m, n_units), int32
        Volumes by which each arrangement moves each piece's prediction, round in the piece. With ``classes``: the clip
        of its class whose prediction meets each clip's BOLD.
        The true arrangement is not among them unless drawn by chance.
    exhaustive : bool
        True when ``order`` is every arrangement but the true one.
    classes : tuple of ndarray of shape (n_clips, n_presentations, n_moments), int
        Clips that change places, in all of their presentations alike; positions in ``rows``. None where runs are
        moved in time.
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
    order: np.ndarray
    exhaustive: bool
    classes: tuple[np.ndarray, ...] = ()
    notes: tuple[str, ...] = ()
    crossed: bool = False

    @property
    def n_permutations(self) -> int:
        """Number m of arrangements tried."""
        return len(self.order)


def permutation_plan(
    rows: HeldOutRows, n_permutations: int, seed: int, *, question: str, crossed: bool = False
) -> PermutationPlan:
    """Choose a question's rows and draw the arrangements.

    Parameters
    ----------
    rows : HeldOutRows
        The n held-out rows of all folds (folds are pooled by standing in one table); clips of one recording have one
        number.
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

    A voxel may answer clips in a way of which the model knows nothing. That answer recurs with each presentation, and
    so does the prediction: presentations of a clip are no independent witnesses. Moving runs by whole clips keeps them
    together where clips recur in a fixed cycle, and runs that hold the same clips at the same times are moved alike.
    Where clips recur in other orders, or arrangements are too few, clips change places instead, in all of their
    presentations alike.
    """
    pieces, size, notes = _pieces(rows)
    rng = np.random.default_rng(seed)
    moves: _Moves | None
    if question == SOUND:
        _need_rest(rows, np.concatenate(pieces))
        moves = _Moves([rows.clip[piece] != REST for piece in pieces], tuple(range(len(pieces))), size)
    else:
        pieces = _kept_together(rows, pieces)
        _need_clips(rows, pieces)
        pieces, moves = _moves_of_clips(rows, pieces, size)
    used, sizes = np.concatenate(pieces), tuple(map(len, pieces))
    classes: tuple[np.ndarray, ...] = ()
    if moves is None:
        classes = _classes(rows, pieces)
        distinct = prod(factorial(len(one)) for one in classes)
        order, exhaustive = _relabellings([len(one) for one in classes], n_permutations, rng)
        group = _class_groups(classes, len(used))
        notes += (
            f"p{question}: clips recur, and moving runs in time would part their presentations or leave fewer than "
            f"{MIN_ARRANGEMENTS} arrangements: clips change places instead, each in all of its presentations",
        )
    else:
        distinct = moves.distinct
        order, exhaustive = _shifts(moves, n_permutations, rng)
        group = _moment_groups(rows, pieces, question)
    notes += _enough(question, distinct, n_permutations)
    return PermutationPlan(question, used, sizes, group, rows.fold[used], order, exhaustive, classes, notes, crossed)


def _enough(question: str, distinct: int, n_permutations: int) -> tuple[str, ...]:
    """Note where p cannot be small; NotComputable where it would mean nothing."""
    if distinct < MIN_ARRANGEMENTS:
        raise NotComputable(
            f"only {distinct} distinct arrangements of the held-out runs exist and {MIN_ARRANGEMENTS} are needed for "
            "a p value; hold out more or longer runs"
        )
    if distinct >= n_permutations:
        return ()
    return (f"p{question}: only {distinct} arrangements differ: no p far below {1 / distinct:.2g} is to be expected",)


def _moment_groups(rows: HeldOutRows, pieces: Sequence[np.ndarray], question: str) -> np.ndarray:
    """Group of each row of the pieces; see `PermutationPlan`."""
    piece = np.repeat(np.arange(len(pieces)), [len(one) for one in pieces])
    moment = [_since_onset(rows, one) * (question == SPECIFIC) for one in pieces]
    return np.unique(np.stack([piece, np.concatenate(moment)]), axis=1, return_inverse=True)[1].reshape(-1)


def _kept_together(rows: HeldOutRows, pieces: list[np.ndarray]) -> list[np.ndarray]:
    """A single run whose halves share clips stays whole."""
    if len(pieces) == 2 and len(np.unique(rows.run[np.concatenate(pieces)])) == 1:
        shared = set(rows.clip[pieces[0]]) & set(rows.clip[pieces[1]]) - {REST}
        straddles = rows.presentation[pieces[0][-1]] == rows.presentation[pieces[1][0]]
        if len(shared) > straddles:
            return [np.concatenate(pieces)]
    return pieces


@dataclass(frozen=True, eq=False)
class _Moves:
    """How pieces may be moved: by multiples of ``step`` volumes, each like the piece that ``alike`` names."""

    label: Sequence[np.ndarray]
    alike: Sequence[int]
    step: int = 1

    @property
    def leaders(self) -> list[int]:
        return sorted(set(self.alike))

    @property
    def distinct(self) -> int:
        """Arrangements that labels tell apart."""
        return prod(-(-_distinct_shifts(self.label[k]) // self.step) for k in self.leaders)


def _moves_of_clips(rows: HeldOutRows, pieces: list[np.ndarray], size: int) -> tuple[list[np.ndarray], _Moves | None]:
    """Pieces and their moves by whole clusters of volumes; None where clips have to change places.

    Clips that recur are moved whole. A voxel answers from a clip's beginning to its end, alike in all presentations:
    moved by half a clip, answers and predictions would meet half and half, and vary less than where they stand.
    """
    label = [rows.clip[piece] for piece in pieces]
    moves = _Moves(label, _moved_alike(label), size)
    if not _moves_keep_clips_together(label, moves.alike):
        return pieces, None
    used = np.concatenate(pieces)
    heard = used[rows.clip[used] != REST]
    presentations = {*zip(rows.run[heard].tolist(), rows.presentation[heard].tolist())}
    if len(presentations) == len(np.unique(rows.clip[heard])):
        return pieces, moves
    cut, step = _in_whole_clips(rows, pieces) if size == 1 else (pieces, 1)
    label = [rows.clip[piece] for piece in cut]
    whole = _Moves(label, _moved_alike(label), step)
    return (cut, whole) if step > 1 and whole.distinct >= MIN_ARRANGEMENTS else (pieces, None)


def _in_whole_clips(rows: HeldOutRows, pieces: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Pieces cut to whole clips, and the volumes from one onset to the next; as they are, and 1, if that varies."""
    onsets = [np.flatnonzero(rows.position[piece] == 0) for piece in pieces]
    steps = {int(step) for one in onsets for step in np.diff(one)}
    if len(steps) != 1 or min(map(len, onsets)) < 2:
        return pieces, 1
    step = steps.pop()
    whole = [min(len(one), (len(piece) - one[0]) // step) for piece, one in zip(pieces, onsets)]
    return [piece[one[0] :][: n * step] for piece, one, n in zip(pieces, onsets, whole)], step


def _moved_alike(label: Sequence[np.ndarray]) -> list[int]:
    """For each piece the first one that holds the same clips at the same times."""
    return [next(k for k, other in enumerate(label) if np.array_equal(other, one)) for one in label]


def _moves_keep_clips_together(label: Sequence[np.ndarray], alike: Sequence[int]) -> bool:
    """Whether no clip recurs but in pieces that are moved alike, and in the fixed cycle of a piece."""
    leaders = [label[k] for k in sorted(set(alike))]
    heard = [set(one[one != REST]) for one in leaders]
    apart = sum(map(len, heard)) == len(set().union(*heard))
    straddling = len(leaders) == 2 and len(heard[0] & heard[1]) == 1 and leaders[0][-1] == leaders[1][0] != REST
    return (apart or straddling) and all(map(_once_or_in_a_cycle, leaders))


def _once_or_in_a_cycle(label: np.ndarray) -> bool:
    label = np.trim_zeros(label - REST) + REST
    starts = np.flatnonzero(np.diff(label, prepend=label[0] - 1))
    order = label[starts][label[starts] != REST]
    if len(np.unique(order)) == len(order):
        return True
    return any(np.array_equal(label[k:], label[:-k]) for k in range(1, len(label) - len(label) // 3))


def _classes(rows: HeldOutRows, pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Clips that are presented equally often, with the rows of the moments that most of their presentations share."""
    place = np.full(len(rows), -1)
    used = np.concatenate(pieces)
    place[used] = np.arange(len(used))
    shown: list[tuple[int, dict[int, int]]] = []
    for piece in pieces:
        heard = piece[rows.clip[piece] != REST]
        for presentation in dict.fromkeys(rows.presentation[heard]):
            mine = heard[rows.presentation[heard] == presentation]
            shown.append((int(rows.clip[mine[0]]), dict(zip(rows.position[mine].tolist(), place[mine].tolist()))))
    counts = Counter(moment for _, at in shown for moment in at)
    tried = [[moment for moment in sorted(counts) if counts[moment] >= least] for least in sorted(set(counts.values()))]
    # Clips may last a volume longer at some onsets than at others: what keeps most rows is compared.
    moments = max(tried, key=lambda some: len(some) * sum(at.keys() >= set(some) for _, at in shown), default=[])
    found: dict[int, list[list[int]]] = {}
    for clip, at in shown:
        if moments and at.keys() >= set(moments):
            found.setdefault(clip, []).append([at[moment] for moment in moments])
    sizes = sorted({len(blocks) for blocks in found.values()})
    classes = (np.array([blocks for blocks in found.values() if len(blocks) == n]) for n in sizes)
    return tuple(one for one in classes if len(one) > 1)


def _class_groups(classes: Sequence[np.ndarray], n_used: int) -> np.ndarray:
    group, done = np.full(n_used, -1), 0
    for one in classes:
        moments = one.shape[1] * one.shape[2]
        group[one.reshape(len(one), moments)] = done + np.arange(moments)
        done += moments
    return group


def _relabellings(sizes: Sequence[int], n_permutations: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Arrangements of the clips of each class; all but the true one where there are no more than that."""
    if prod(map(factorial, sizes)) <= n_permutations + 1:
        every = product(*(permutations(range(size)) for size in sizes))
        return np.array([sum(one, ()) for one in every], dtype=np.int32)[1:], True
    drawn = (rng.permuted(np.tile(np.arange(size, dtype=np.int32), (n_permutations, 1)), axis=1) for size in sizes)
    return np.concatenate(list(drawn), axis=1), False


def _pieces(rows: HeldOutRows) -> tuple[list[np.ndarray], int, tuple[str, ...]]:
    """Scored rows of each run in order of time; those of a single run in two halves.

    Where volumes come in clusters, whole clusters only, and their size: moved by less, volumes that follow a gap would
    meet volumes that do not.
    """
    runs = [np.flatnonzero(rows.scored & (rows.run == run)) for run in np.unique(rows.run)]
    whole, size = _whole_clusters(rows, runs)
    pieces = [piece for piece in whole if len(piece) >= MIN_ROWS]
    if not pieces:
        raise NotComputable(f"no held-out run has {MIN_ROWS} scored volumes; hold out more or longer runs")
    lost = sum(map(len, runs)) - sum(map(len, pieces))
    why = f"runs with fewer than {MIN_ROWS}" if size == 1 else f"clusters without {size} scored volumes, or such runs"
    notes = (f"{lost} scored volumes of held-out {why} take no part in p",) * bool(lost)
    if len(pieces) == 1 and len(pieces[0]) >= 2 * MIN_HALF:
        pieces = np.split(pieces[0], [-(-len(pieces[0]) // (2 * size)) * size])
    return pieces, size, notes


def _whole_clusters(rows: HeldOutRows, runs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Rows of clusters of the commonest number of scored volumes, and this; all rows and 1 without gaps."""
    if rows.cluster is None or not rows.cluster.any():
        return list(runs), 1
    sizes = [np.bincount(rows.cluster[run])[rows.cluster[run]] for run in runs]  # of each row's cluster
    size = int(np.bincount(np.concatenate(sizes)).argmax())
    return [run[of == size] for run, of in zip(runs, sizes)], size


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
    at, position = rows.moment[piece], rows.position[piece]
    heard = rows.clip[piece] != REST
    last = np.maximum.accumulate(np.where(heard, at - position, _NEVER))
    moment = np.where(last == _NEVER, 0, np.where(heard, position, at - last) + 1)
    return np.where(np.bincount(moment)[moment] > 1, moment, 0)


def _distinct_shifts(label: np.ndarray) -> int:
    """Number of arrangements of a piece that its labels tell apart: the period of their course, round in the piece."""
    periods = [k for k in range(1, len(label) + 1) if len(label) % k == 0]
    return next(k for k in periods if np.array_equal(np.roll(label, k), label))


def _shifts(moves: _Moves, n_permutations: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Shifts of each piece; all but the true ones where there are no more than that."""
    leaders = moves.leaders
    moved = [len(moves.label[k]) // moves.step for k in leaders]
    exhaustive = prod(moved) <= n_permutations + 1
    if exhaustive:
        drawn = np.indices(moved).reshape(len(moved), -1).T[1:].astype(np.int32)
    else:
        drawn = rng.integers(0, moved, (n_permutations, len(moved)), dtype=np.int32)
    return moves.step * drawn[:, [leaders.index(k) for k in moves.alike]], exhaustive
