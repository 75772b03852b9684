"""Which held-out rows repeat, and what of them is compared: means over repeats, or single rows without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ban_bids.encoding.cleaning import Nuisance
from ban_bids.encoding.noise import LayoutNoise, layout_noise
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.errors import NotComputable

_FEWEST = 0.05
"""Share of the volumes of repeated clips; fewer are repeats by chance."""


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows over whose whole lag window the same was heard.

    Parameters
    ----------
    index : ndarray of shape (n_unique, n_repeats), int
        ``index[u, i]`` is the row of repeat i of unique moment u; ordered by clip, then by what was heard.
    clip : ndarray of shape (n_unique,), int
        Clip that began last in each unique moment's lag window.
    notes : tuple of str
        What was left out and why.
    noise : LayoutNoise or None
        From `with_noise`; None also where noise feigns no signal power.
    """

    index: np.ndarray
    clip: np.ndarray
    notes: tuple[str, ...] = ()
    noise: LayoutNoise | None = None

    @property
    def n_repeats(self) -> int:
        """Number of repeats N of every unique row."""
        return int(self.index.shape[1])


def repeat_rows(rows: HeldOutRows) -> Repeats:
    """Find the held-out rows that repeat: what is heard over the whole lag window is the same.

    Only scored rows count, so lead-ins never become repeats; rest repeats as long as a clip is within its lags. A
    moment is a repeat where more than half of its clip's presentations agree in it: in random order the first
    seconds of a clip follow other clips each time, and those few that follow the same one by chance are left out
    too. N is the number that leaves most pairs of repeats, among those that every repeated clip has in some moment.
    Moments with more keep their first N in order of time; moments with fewer (after scrubbed volumes, or at the start
    of a run) are left out.

    Parameters
    ----------
    rows : HeldOutRows
        The n held-out rows, with ``sound`` and ``begun``.

    Returns
    -------
    Repeats

    Raises
    ------
    NotComputable
        If no clip is repeated, or none after the same sounds.
    """
    if rows.sound is None or rows.begun is None:
        raise ValueError("rows do not say which sounds were heard: make them with held_out_rows")
    used = np.flatnonzero(rows.scored & (rows.sound >= 0))
    used = used[np.lexsort((used, rows.sound[used], rows.begun[used]))]
    first = np.flatnonzero(np.r_[True, np.diff(rows.sound[used]) != 0]) if used.size else used
    counts = np.diff(np.r_[first, used.size])
    clip = rows.begun[used[first]]
    presented = _presentations(rows, clip, counts)
    agree = (counts >= 2) & (2 * counts > presented)
    _require_repeats(counts, agree, presented)
    most = [int(counts[agree & (clip == c)].max()) for c in np.unique(clip[agree])]
    n_repeats = max(range(2, min(most) + 1), key=lambda n: (np.sum(agree & (counts >= n)) * n * (n - 1), n))
    full = agree & (counts >= n_repeats)
    index = used[first[full][:, None] + np.arange(n_repeats)]
    once = len(np.unique(clip[presented < 2]))
    differs = (presented >= 2) & ~agree
    lost = int(counts[differs].sum()), int(counts[presented >= 2].sum())
    notes = _repeat_notes(max(most), n_repeats, once=once, differ=lost, lack=int(np.sum(agree & ~full)))
    return Repeats(index=index, clip=clip[full], notes=notes)


def _require_repeats(counts: np.ndarray, agree: np.ndarray, presented: np.ndarray) -> None:
    """Refuse where no clip is repeated, or hardly a volume after the same sounds."""
    again = int(counts[presented >= 2].sum())
    if not again:
        raise NotComputable("no clip is repeated in the held-out runs, so there is no noise ceiling")
    same = int(counts[agree].sum())
    if same < _FEWEST * again:
        raise NotComputable(
            f"clips are repeated in the held-out runs, but only {same} of their {again} volumes after the same sounds "
            "(each time other sounds are heard within the lags before), so there is no noise ceiling; a fixed order, "
            "pauses or longer clips would give one"
        )


def _presentations(rows: HeldOutRows, clip: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How often each moment's clip was presented, or heard within the lags where no volume fell into it."""
    heard = rows.scored & (rows.clip >= 0)
    distinct = np.unique(np.stack([rows.clip[heard], rows.run[heard], rows.presentation[heard]]), axis=1)[0]
    number = np.bincount(distinct, minlength=int(clip.max(initial=-1)) + 1)
    np.maximum.at(number, clip, counts)
    return number[clip]


def _repeat_notes(most: int, n_repeats: int, *, once: int, differ: tuple[int, int], lack: int) -> tuple[str, ...]:
    notes = []
    if once:
        notes.append(
            f"{once} held-out clips are heard once only and enter neither the noise ceiling nor the repeat-mean scores"
        )
    if differ[0]:
        notes.append(
            f"{differ[0]} of {differ[1]} volumes of repeated clips are no repeats: other sounds are heard within the "
            "lags before"
        )
    if most > n_repeats:
        notes.append(f"clips are repeated up to {most} times; the first {n_repeats} repeats of each are used")
    if lack:
        notes.append(f"{lack} moments of repeated clips lack one of the {n_repeats} repeats and are left out")
    return tuple(notes)


def with_noise(repeats: Repeats, rows: HeldOutRows, nuisance: Sequence[Nuisance]) -> Repeats:
    """Add what the repeats' layout makes of noise that was cleaned as the rows were.

    Parameters
    ----------
    repeats : Repeats
    rows : HeldOutRows
        Rows of one run and fold were cleaned together.
    nuisance : sequence of Nuisance
        Of every run.

    Returns
    -------
    Repeats
    """
    made = layout_noise(repeats.index, rows.run, rows.fold, volume=rows.volume, nuisance=nuisance, moment=rows.moment)
    return replace(repeats, noise=made)


def mean_over_repeats(values: np.ndarray, repeats: Repeats) -> np.ndarray:
    """Average an (n, V) array over repeats: (n_unique, V), without a copy of every repeat at once."""
    total = np.zeros((len(repeats.index), values.shape[1]), dtype=np.float64)
    for column in repeats.index.T:
        total += values[column]
    return total / repeats.n_repeats


def compared(
    values: np.ndarray, rows: HeldOutRows, repeats: Repeats | None, dtype: type[np.floating] = np.float32
) -> np.ndarray:
    """Return held-out values as they are compared: repeat means, or scored rows, less their mean in each run.

    Parameters
    ----------
    values : ndarray of shape (n, n_voxels)
        Of all held-out rows.
    rows : HeldOutRows
        The n rows; only scored ones enter.
    repeats : Repeats or None
    dtype : type
        Of the result; without repeats also of the sums.

    Returns
    -------
    ndarray of shape (n_unique or n_scored, n_voxels)
        Linear in ``values``; columns have mean 0.
    """
    if repeats is not None:
        means = mean_over_repeats(values, repeats)
        return (means - means.mean(axis=0)).astype(dtype, copy=False)
    chosen, run = values[rows.scored].astype(dtype, copy=False), rows.run[rows.scored]
    for r in np.unique(run):
        chosen[run == r] -= chosen[run == r].mean(axis=0)
    return chosen
