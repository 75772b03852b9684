"""Which volume of a run heard what: the rows that encoding trains and scores on, and which of them repeat.

A *row* is one volume of one run. All arrays here are parallel, one entry per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ban_bids.errors import NotComputable
from ban_bids.inputs.types import Clip, Run

REST = -1
"""Entry of ``clip``, ``presentation`` and ``position`` for volumes outside every clip."""

_EDGE = 1e-6
"""Seconds of tolerance at a clip's edges, so that rounding never moves a volume over them."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Volumes of one run and what was heard during each.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,), float64
        Seconds on the run's clock to which each volume's samples refer (``k * TR + t_ref``).
    clip : ndarray of shape (n_volumes,), int32
        Index into the participant's clips, -1 for rest.
    presentation : ndarray of shape (n_volumes,), int32
        Index of the presentation within the run, in order of onset; -1 for rest.
    position : ndarray of shape (n_volumes,), int32
        0, 1, ... counting volumes since the presentation began; -1 for rest.
    lead_in : ndarray of shape (n_volumes,), bool
        Volumes within a lead-in presentation.
    keep : ndarray of shape (n_volumes,), bool
        False for non-steady-state and scrubbed volumes.
    repetition_time : float
        Seconds between volumes.
    acquisition_time : float or None
        Seconds that taking a volume lasts; None: the repetition time.
    """

    times: np.ndarray
    clip: np.ndarray
    presentation: np.ndarray
    position: np.ndarray
    lead_in: np.ndarray
    keep: np.ndarray
    repetition_time: float
    acquisition_time: float | None = None

    def width(self, lag_step: float) -> float:
        """Seconds over which features are averaged: the time in which a volume is taken, or a lag's step.

        With volumes back to back that is the repetition time. With silence between them (sparse sampling) it
        is shorter, so that the lags still tell one moment before a volume from the next.
        """
        duration = self.acquisition_time or self.repetition_time
        return min(self.repetition_time, max(duration, lag_step))

    @property
    def n_volumes(self) -> int:
        """Number of volumes in the run."""
        return len(self.times)

    @property
    def scored(self) -> np.ndarray:
        """Rows that may train and be scored: kept, and not within a lead-in presentation."""
        return self.keep & ~self.lead_in


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """One entry per held-out volume, concatenated over folds and runs; all arrays of length n.

    Parameters
    ----------
    run : ndarray, int32
        Index of the run in the participant's list of runs.
    volume : ndarray, int32
        Index of the volume within its run.
    clip : ndarray, int32
        Index into the participant's clips, -1 for rest.
    presentation : ndarray, int32
        Index of the presentation within the run, -1 for rest.
    position : ndarray, int32
        Volume number within the presentation, -1 for rest.
    scored : ndarray, bool
        False for lead-in, non-steady-state and scrubbed volumes: they keep the clock but enter no score.
    fold : ndarray, int32
        Index of the outer fold that holds the row out.
    """

    run: np.ndarray
    volume: np.ndarray
    clip: np.ndarray
    presentation: np.ndarray
    position: np.ndarray
    scored: np.ndarray
    fold: np.ndarray

    def __len__(self) -> int:
        return len(self.run)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Measured and predicted BOLD of the held-out rows, for some voxels.

    Parameters
    ----------
    table : HeldOutRows
        The n rows.
    bold : ndarray of shape (n, n_voxels), float32
        Cleaned and z-scored per run.
    prediction : dict of str to ndarray of shape (n, n_voxels), float32
        By layer; also ``"Joint"`` where the joint model was fitted.
    whole : dict of str to ndarray of shape (n, n_voxels), float32
        What tests of "does the voxel follow sound" permute in blocks: the prediction with its nuisance.
    specific : dict of str to ndarray of shape (n, n_voxels), float32
        What tests of "does it follow these sounds" permute: the same less what the run's mean clip would give at
        every presentation, so that it is zero on average over all orders of the run's clips.
    """

    table: HeldOutRows
    bold: np.ndarray
    prediction: dict[str, np.ndarray]
    whole: dict[str, np.ndarray]
    specific: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows that hold the same moment of the same clip.

    Parameters
    ----------
    index : ndarray of shape (n_unique, n_repeats), int
        ``index[u, i]`` is the row of repeat i of unique moment u; ordered by clip, then position.
    clip : ndarray of shape (n_unique,), int
        Clip of each unique moment.
    notes : tuple of str
        What was left out and why.
    """

    index: np.ndarray
    clip: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def n_repeats(self) -> int:
        """Number of repeats N of every unique row."""
        return int(self.index.shape[1])


def held_out_rows(runs: Sequence[Rows], held_out: Sequence[np.ndarray]) -> HeldOutRows:
    """Put the held-out rows of all folds into one table, by run and volume.

    Parameters
    ----------
    runs : sequence of Rows
        Of every run.
    held_out : sequence of ndarray of int
        Rows that each fold holds out, counted through all runs; no row twice.

    Returns
    -------
    HeldOutRows
    """
    first = np.concatenate([[0], np.cumsum([rows.n_volumes for rows in runs])])
    index = np.concatenate(held_out)
    order = np.argsort(index, kind="stable")
    fold = np.repeat(np.arange(len(held_out)), [len(rows) for rows in held_out])[order]
    index = index[order]
    run = np.searchsorted(first, index, side="right") - 1

    def taken(name: str) -> np.ndarray:
        return np.concatenate([getattr(rows, name) for rows in runs])[index]

    return HeldOutRows(
        run=run.astype(np.int32),
        volume=(index - first[run]).astype(np.int32),
        clip=taken("clip"),
        presentation=taken("presentation"),
        position=taken("position"),
        scored=taken("scored"),
        fold=fold.astype(np.int32),
    )


def run_rows(run: Run, t_ref: float, non_steady: int, *, scrubbed: Sequence[int], clips: Sequence[Clip]) -> Rows:
    """Assign every volume of a run to the clip that was heard at its reference time.

    Parameters
    ----------
    run : Run
        Gives ``repetition_time``, ``n_volumes`` and ``presentations``.
    t_ref : float
        Seconds from the start of a volume's TR to the time that its samples refer to.
    non_steady : int
        Number of leading volumes to leave out.
    scrubbed : sequence of int
        Further volumes to leave out.
    clips : sequence of Clip
        The participant's clips; every presented clip is one of them.

    Returns
    -------
    Rows
        A volume at ``t = k * TR + t_ref`` hears presentation j where
        ``onset_j <= t < onset_j + duration_j``.
    """
    n = run.n_volumes
    index_of = {clip: i for i, clip in enumerate(clips)}
    times = np.arange(n, dtype=np.float64) * run.repetition_time + t_ref
    clip, presentation, position = (np.full(n, REST, dtype=np.int32) for _ in range(3))
    lead_in = np.zeros(n, dtype=bool)
    for j, heard in enumerate(sorted(run.presentations, key=lambda p: p.onset)):
        inside = np.flatnonzero((times >= heard.onset - _EDGE) & (times < heard.onset + heard.clip.duration - _EDGE))
        clip[inside] = index_of[heard.clip]
        presentation[inside] = j
        position[inside] = np.arange(len(inside))
        lead_in[inside] = heard.lead_in
    keep = np.ones(n, dtype=bool)
    keep[:non_steady] = False
    keep[np.asarray(scrubbed, dtype=np.intp)] = False
    return Rows(times, clip, presentation, position, lead_in, keep, run.repetition_time, run.acquisition_time)


def repeat_rows(rows: HeldOutRows) -> Repeats:
    """Match the held-out rows of clips that were presented at least twice, by (clip, position).

    Only scored rows count, so lead-ins never become repeats. A clip's number of repeats is the median
    over its positions (one scrubbed volume does not cost a repeat); N is the smallest such number over the
    repeated clips. Clips with more keep their first N in order of time; positions with fewer are left out.

    Parameters
    ----------
    rows : HeldOutRows
        The n held-out rows.

    Returns
    -------
    Repeats

    Raises
    ------
    NotComputable
        If no clip is repeated.
    """
    used = np.flatnonzero(rows.scored & (rows.clip >= 0))
    used = used[np.lexsort((used, rows.position[used], rows.clip[used]))]
    keys = np.stack([rows.clip[used], rows.position[used]])
    first = np.flatnonzero(np.r_[True, np.any(np.diff(keys, axis=1) != 0, axis=0)]) if used.size else used
    counts = np.diff(np.r_[first, used.size])
    clip = keys[0, first]
    typical = {int(c): int(np.median(counts[clip == c])) for c in np.unique(clip)}
    repeated = {c: n for c, n in typical.items() if n >= 2}
    if not repeated:
        raise NotComputable("no clip is repeated in the held-out runs, so there is no noise ceiling")
    n_repeats = min(repeated.values())
    full = np.isin(clip, list(repeated)) & (counts >= n_repeats)
    notes = _repeat_notes(typical, repeated, n_repeats, int(np.sum(np.isin(clip, list(repeated)) & ~full)))
    index = used[first[full][:, None] + np.arange(n_repeats)]
    return Repeats(index=index, clip=clip[full], notes=notes)


def _repeat_notes(typical: dict[int, int], repeated: dict[int, int], n_repeats: int, lost: int) -> tuple[str, ...]:
    notes = []
    if len(repeated) < len(typical):
        notes.append(
            f"{len(typical) - len(repeated)} of {len(typical)} held-out clips are heard once only and "
            "enter neither the noise ceiling nor the repeat-mean scores"
        )
    if max(repeated.values()) > n_repeats:
        notes.append(
            f"clips are repeated {n_repeats} to {max(repeated.values())} times; "
            f"the first {n_repeats} repeats of each are used"
        )
    if lost:
        notes.append(f"{lost} moments of repeated clips lack one of the {n_repeats} repeats and are left out")
    return tuple(notes)


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
