"""Blocks of the held-out runs, and the arrangements that a permutation test tries them in.

Neighbouring volumes are correlated, so single rows are not exchangeable; clips are. Each held-out run is cut
into blocks of one length, which change places within their run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from ban_bids.encoding.rows import HeldOutRows
from ban_bids.errors import NotComputable

MIN_ARRANGEMENTS = 1000
"""With fewer distinct arrangements of the blocks, no p value is given."""


CROSSED = float(np.sqrt(0.5))
"""Least factor of the observed statistic's distance from its expectation with leave-one-run-out.

Each pair of runs then meets in two folds, once either way round, while blocks are permuted in each fold on
its own. With every fold's prediction brought to norm 1, T_r is a sum over the R - 1 other runs s of
contributions of variance v_rs, of which T_s shares one: cov(T_r, T_s) <= sqrt(v_rs v_sr), so that the sum
over folds has at most twice the variance of the permuted sum (Cauchy-Schwarz; reached with many parameters
and one penalty, where the folds' correlation is 1 / (R - 1)). Single voxels share less:
`ban_bids.encoding.crossed` estimates how much.
"""


_FEWEST_RESTS = 2
"""Rests between clips in every held-out run that let a test ask whether a voxel hears at all."""


@dataclass(frozen=True, eq=False)
class PermutationPlan:
    """Blocks of the held-out runs and the arrangements that they are tried in.

    Parameters
    ----------
    blocks : ndarray of shape (n_blocks, length), int
        Row of every volume of every block; -1 for volumes that are not scored, which count as zero.
    run : ndarray of shape (n_blocks,), int
        Run of each block; blocks of a run stand together.
    label : ndarray of shape (n_blocks,), int
        Clip of each block, -1 for rest.
    order : ndarray of shape (m, n_blocks), int32
        ``order[k, j]`` is the block whose prediction meets block j's BOLD in arrangement k.
        The true arrangement is not among them unless drawn by chance.
    exhaustive : bool
        True when ``order`` is every distinct arrangement but the true one.
    notes : tuple of str
        What was left out, and what the test means here.
    crossed : bool
        Every run is held out in turn and trains the other folds, see ``CROSSED``.
    """

    blocks: np.ndarray
    run: np.ndarray
    label: np.ndarray
    order: np.ndarray
    exhaustive: bool
    notes: tuple[str, ...] = ()
    crossed: bool = False

    @property
    def n_permutations(self) -> int:
        """Number m of arrangements tried."""
        return len(self.order)

    @property
    def rests(self) -> bool:
        """Whether the test is of the whole prediction, see `ban_bids.encoding.permutation.rests_between_clips`."""
        return _rests(self.run, self.label)


def permutation_plan(rows: HeldOutRows, n_permutations: int, seed: int, *, crossed: bool = False) -> PermutationPlan:
    """Cut held-out runs into blocks and draw the arrangements.

    Parameters
    ----------
    rows : HeldOutRows
        The n held-out rows of all folds (folds are pooled by standing in one table).
    n_permutations : int
        Arrangements to draw; all distinct ones are taken instead where there are no more than that.
    seed : int
        Seed of the draws.
    crossed : bool
        Each run is a fold of its own and trains the others (leave-one-run-out).

    Returns
    -------
    PermutationPlan

    Raises
    ------
    NotComputable
        If no block can be cut, or fewer than 1000 arrangements are distinct.

    Notes
    -----
    Presentations of one clip get nearly the same prediction, and so do rest blocks: exchanging them is no new
    arrangement. They are counted as one label each, which can only lower the number of distinct arrangements.
    """
    blocks, run, label, notes = cut_blocks(rows)
    log_distinct = count_arrangements(run, label)
    if log_distinct < np.log(MIN_ARRANGEMENTS) - 1e-9:
        raise NotComputable(
            f"only {round(np.exp(log_distinct))} distinct arrangements of the {len(run)} held-out blocks "
            f"exist and {MIN_ARRANGEMENTS} are needed for a p value; hold out more or longer runs"
        )
    exhaustive = log_distinct <= np.log(n_permutations + 1) + 1e-9
    if exhaustive:
        order = _every_arrangement(run, label)
        notes += (f"all {len(order) + 1} distinct arrangements of the blocks are tried",)
    else:
        order = _random_arrangements(run, n_permutations, np.random.default_rng(seed))
    return PermutationPlan(blocks, run, label, order, exhaustive, notes, crossed)


def cut_blocks(rows: HeldOutRows) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Partition held-out runs into clips, and rest cut to clip length, all of one number of volumes.

    The length is the one that keeps most volumes of clips in play: that of the modal clip unless lengths
    differ so much that trimming to a shorter one keeps more. Segments that are shorter, and blocks of
    which more than half the volumes are not scored (lead-ins, non-steady state), are left out.

    Returns
    -------
    blocks : ndarray of shape (n_blocks, length)
        Rows, -1 where not scored.
    run, label : ndarray of shape (n_blocks,)
        Run, and clip (-1 for rest).
    notes : tuple of str

    Raises
    ------
    NotComputable
        If the held-out rows hold no scored clip.
    """
    segments = [s for s in _segments(rows) if rows.scored[s].any()]
    sizes = np.array([len(s) for s in segments if rows.clip[s[0]] >= 0])
    if not sizes.size:
        raise NotComputable("no scored clip stands in the held-out runs, so no block can be permuted")
    length = max(np.unique(sizes), key=lambda k: (k * np.sum(sizes >= k), k))
    kept = []
    for segment in segments:
        pieces = 1 if rows.clip[segment[0]] >= 0 else len(segment) // length
        candidates = [segment[i * length : (i + 1) * length] for i in range(pieces)]
        kept += [c for c in candidates if len(c) == length and 2 * rows.scored[c].sum() >= length]
    if not kept:
        raise NotComputable("no block of the held-out runs is scored in more than half of its volumes")
    index = np.stack(kept)
    blocks = np.where(rows.scored[index], index, -1)
    label = rows.clip[index[:, 0]]
    run = rows.run[index[:, 0]]
    return blocks, run, label, _block_notes(rows, blocks, run, label)


def rests_between_clips(rows: HeldOutRows) -> bool:
    """Whether every held-out run rests at least twice, for a block or longer, between clips.

    The whole prediction is then tested, response to sound at all included: blocks of rest change places with
    clips. Otherwise what is left of the prediction without that of the run's mean clip: rest at the run's
    edges alone would confuse sound with what scanner and filters do there.

    Parameters
    ----------
    rows : HeldOutRows

    Returns
    -------
    bool
    """
    try:
        _, run, label, _ = cut_blocks(rows)
    except NotComputable:
        return False
    return _rests(run, label)


def _rests(run: np.ndarray, label: np.ndarray) -> bool:
    for one in np.unique(run):
        quiet = label[run == one] < 0
        heard = np.flatnonzero(~quiet)
        if not heard.size or np.sum(np.diff(heard) > 1) < _FEWEST_RESTS:
            return False
    return True


def _segments(rows: HeldOutRows) -> list[np.ndarray]:
    """Stretches of rows of one presentation, or of rest, in order."""
    change = (np.diff(rows.run) != 0) | (np.diff(rows.presentation) != 0)
    return np.split(np.arange(len(rows.run)), np.flatnonzero(change) + 1)


def _block_notes(rows: HeldOutRows, blocks: np.ndarray, run: np.ndarray, label: np.ndarray) -> tuple[str, ...]:
    unused = int(rows.scored.sum() - np.sum(blocks >= 0))
    notes = []
    if unused:
        notes.append(
            f"{unused} of {int(rows.scored.sum())} scored volumes fit no block of {blocks.shape[1]} "
            "volumes and take no part in the permutation test"
        )
    if not _rests(run, label):
        notes.append(
            f"not every held-out run rests {_FEWEST_RESTS} times between clips: p tests clip-specific "
            "prediction, not whether a voxel hears at all"
        )
    return tuple(notes)


def count_arrangements(run: np.ndarray, label: np.ndarray) -> float:
    """Logarithm of the number of arrangements of labels within runs: sum over runs of log(B! / prod n_l!)."""
    total = 0.0
    for one in np.unique(run):
        _, counts = np.unique(label[run == one], return_counts=True)
        total += float(gammaln(counts.sum() + 1) - gammaln(counts + 1).sum())
    return total


def _random_arrangements(run: np.ndarray, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    order = np.empty((n_permutations, len(run)), dtype=np.int32)
    for one in np.unique(run):
        places = np.flatnonzero(run == one).astype(np.int32)
        order[:, places] = rng.permuted(np.tile(places, (n_permutations, 1)), axis=1)
    return order


def _every_arrangement(run: np.ndarray, label: np.ndarray) -> np.ndarray:
    """All distinct arrangements but the true one; blocks of a label keep their order of time."""
    order = np.arange(len(run), dtype=np.int32)[None]
    for one in np.unique(run):
        places = np.flatnonzero(run == one)
        labels = label[places]
        members = {k: places[labels == k] for k in np.unique(labels)}
        counts = {k: len(v) for k, v in members.items()}
        within = []
        for arrangement in _multiset_permutations(counts, len(places)):
            taken = {k: iter(v) for k, v in members.items()}
            within.append([next(taken[k]) for k in arrangement])
        order = np.repeat(order, len(within), axis=0)
        order[:, places] = np.tile(np.array(within, dtype=np.int32), (len(order) // len(within), 1))
    return order[np.any(order != np.arange(len(run)), axis=1)]


def _multiset_permutations(counts: dict[int, int], length: int) -> Iterator[tuple[int, ...]]:
    if length == 0:
        yield ()
        return
    for key, left in counts.items():
        if left:
            for rest in _multiset_permutations({**counts, key: left - 1}, length - 1):
                yield (key, *rest)
