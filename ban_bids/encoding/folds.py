"""Outer folds (held-out runs) and inner folds (training runs), without any track on both sides.

`participant_folds` makes them once per participant: every model meets the same.

Rows of all runs are counted through: row ``offset[r] + k`` is volume k of run r.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ban_bids.encoding.rows import REST, HeldOutRows, Rows, held_out_rows
from ban_bids.encoding.timeline import lags
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Presentation, Run
from ban_bids.settings import Encoding

_INNER_CLIP_GROUPS = 5


@dataclass(frozen=True, eq=False)
class RunRows:
    """What one run heard: its rows and its presentations in order of onset."""

    name: str
    rows: Rows
    presentations: tuple[Presentation, ...]


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows that fit a model and rows that it predicts.

    Parameters
    ----------
    training, held_out : ndarray, intp
        Rows, counted through all runs.
    groups : ndarray, intp
        Inner fold of each training row, 0, 1, ...
    dropped : int
        Training rows left out because a track of the held-out rows was heard within their lags.
    """

    training: np.ndarray
    held_out: np.ndarray
    groups: np.ndarray
    dropped: int


@dataclass(frozen=True, eq=False)
class Folds:
    """What every model of a participant meets alike: folds, lags and the table of held-out rows.

    Parameters
    ----------
    folds : tuple of Fold
    delays : ndarray of shape (n_lags,), float64
        Lags of the features, seconds.
    first : ndarray of shape (n_runs + 1,), intp
        From `offsets`.
    rows : HeldOutRows
        The held-out rows of all folds, by run and volume.
    index : ndarray of shape (n_held_out,), intp
        Their rows, counted through all runs.
    notes : tuple of str
        Dropped rows, split folds.
    """

    folds: tuple[Fold, ...]
    delays: np.ndarray
    first: np.ndarray
    rows: HeldOutRows
    index: np.ndarray
    notes: tuple[str, ...]


def participant_folds(sources: Sequence[Run], runs: Sequence[RunRows], plan: HeldOutPlan, settings: Encoding) -> Folds:
    """Turn a plan of held-out runs into folds of rows, the same for every model.

    Parameters
    ----------
    sources : sequence of Run
    runs : sequence of RunRows
        What was heard in each of them.
    plan : HeldOutPlan
        Which runs are held out together.
    settings : Encoding
        ``lag_max``, ``lag_step`` and ``min_training_rows`` are used here.

    Returns
    -------
    Folds

    Raises
    ------
    DataError
        A held-out run was not preprocessed.
    NotComputable
        No split leaves enough training rows.
    """
    delays = lags(max(run.rows.repetition_time for run in runs), settings.lag_max, settings.lag_step)
    planned = plan_indices(sources, plan)
    folds, notes = make_folds(runs, planned, float(delays[-1]), min_training_rows=settings.min_training_rows)
    return Folds(
        folds=folds,
        delays=delays,
        first=offsets(runs),
        rows=held_out_rows([run.rows for run in runs], [fold.held_out for fold in folds]),
        index=np.sort(np.concatenate([fold.held_out for fold in folds])),
        notes=notes,
    )


def plan_indices(sources: Sequence[Run], plan: HeldOutPlan) -> list[tuple[list[int], list[int]]]:
    """Return the held-out and the training runs of each planned fold, as indices of ``sources``."""
    index = {run.name: i for i, run in enumerate(sources)}
    folds = []
    for i, names in enumerate(plan.folds):
        missing = [name for name in names if name not in index]
        if missing:
            raise DataError(f"held-out run {missing[0]} is not among the preprocessed runs; name another")
        training = [index[name] for name in plan.training(i, sources) if name in index]
        if not training:
            raise NotComputable(f"no run is left to train on when {', '.join(names)} is held out")
        folds.append(([index[name] for name in names], training))
    return folds


def offsets(runs: Sequence[RunRows]) -> np.ndarray:
    """Return the first row of each run, and the total number of rows at the end."""
    return np.concatenate([[0], np.cumsum([run.rows.n_volumes for run in runs])])


def within_reach(run: RunRows, longest_lag: float) -> np.ndarray:
    """Tell which presentations enter the lagged features of which volumes.

    Parameters
    ----------
    run : RunRows
    longest_lag : float
        Seconds.

    Returns
    -------
    ndarray of shape (n_volumes, n_presentations), bool
        True where the presentation overlaps ``[t - longest_lag - TR/2, t + TR/2]``.
    """
    half = run.rows.repetition_time / 2
    begin = (run.rows.times - longest_lag - half)[:, None]
    end = (run.rows.times + half)[:, None]
    onset = np.array([item.onset for item in run.presentations])[None, :]
    stop = np.array([item.onset + item.clip.duration for item in run.presentations])[None, :]
    return (onset < end - 1e-6) & (stop > begin + 1e-6)


def training_rows(
    runs: Sequence[RunRows], training: Sequence[int], tracks: Collection[Path], *, longest_lag: float
) -> tuple[np.ndarray, int]:
    """Choose the rows that may train a fold.

    Parameters
    ----------
    runs : sequence of RunRows
        All runs.
    training : sequence of int
        Indices of the training runs.
    tracks : collection of Path
        Audio files heard by the held-out rows.
    longest_lag : float
        Seconds.

    Returns
    -------
    rows : ndarray, intp
        Kept rows outside lead-ins that heard none of those tracks within their lags; rest stays in.
    dropped : int
        Rows that only this rule took out.
    """
    first = offsets(runs)
    chosen, dropped = [], 0
    for r in training:
        run = runs[r]
        forbidden = np.array([item.clip.audio in tracks for item in run.presentations], dtype=bool)
        touched = within_reach(run, longest_lag)[:, forbidden].any(axis=1)
        usable = run.rows.scored
        chosen.append(first[r] + np.flatnonzero(usable & ~touched))
        dropped += int((usable & touched).sum())
    return np.concatenate(chosen).astype(np.intp), dropped


def inner_groups(runs: Sequence[RunRows], rows: np.ndarray) -> np.ndarray:
    """Assign training rows to inner folds: their runs, or contiguous groups of clips in a single run.

    Parameters
    ----------
    runs : sequence of RunRows
    rows : ndarray
        Training rows, ascending.

    Returns
    -------
    ndarray of shape (n_rows,), intp
        0, 1, ...; at least two inner folds.

    Raises
    ------
    NotComputable
        Fewer than two rows.
    """
    if len(rows) < 2:
        raise NotComputable("fewer than two training rows are left: nothing can be fitted")
    first = offsets(runs)
    run = np.searchsorted(first, rows, side="right") - 1
    groups = np.unique(run, return_inverse=True)[1]
    if groups.max() > 0:
        return groups.astype(np.intp)
    only = runs[run[0]]
    begun = _latest_presentation(only)[rows - first[run[0]]]
    heard = np.unique(begun)
    if len(heard) < 2:
        heard, begun = np.arange(len(rows)), np.arange(len(rows))
    parts = np.array_split(heard, min(_INNER_CLIP_GROUPS, len(heard)))
    starts = np.array([part[0] for part in parts])
    return (np.searchsorted(starts, begun, side="right") - 1).astype(np.intp)


def make_folds(
    runs: Sequence[RunRows],
    plan: Sequence[tuple[Sequence[int], Sequence[int]]],
    longest_lag: float,
    *,
    min_training_rows: int,
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """Turn held-out runs into folds of rows.

    Parameters
    ----------
    runs : sequence of RunRows
        All runs.
    plan : sequence of (held-out run indices, training run indices)
        One pair per fold.
    longest_lag : float
        Seconds.
    min_training_rows : int
        With fewer rows left after the leak rule the held-out run's tracks are split into the smallest number
        of groups, each its own fold, that leaves as many.

    Returns
    -------
    folds : tuple of Fold
    notes : tuple of str
        What the leak rule dropped and where folds had to be split.

    Raises
    ------
    NotComputable
        No split leaves enough training rows.
    """
    folds: list[Fold] = []
    notes: list[str] = []
    for held_out, training in plan:
        names = ", ".join(runs[r].name for r in held_out)
        for n_groups in range(1, 1 + max(1, len(_tracks(runs, held_out)))):
            parts = _parts(runs, held_out, n_groups, longest_lag)
            split = [_fold(runs, part, training, longest_lag) for part in parts]
            if all(len(fold.training) >= min_training_rows for fold in split):
                break
        else:
            raise NotComputable(
                f"held-out {names}: fewer than {min_training_rows} training rows heard none of its tracks; "
                "hold out other runs (--test-runs)"
            )
        if n_groups > 1:
            notes.append(f"held-out {names}: too few training rows, folded by {n_groups} groups of tracks")
        dropped = sum(fold.dropped for fold in split)
        if dropped:
            notes.append(
                f"held-out {names}: {dropped} training rows dropped that heard one of its tracks"
                + (f" (over {n_groups} folds)" if n_groups > 1 else "")
            )
        folds += split
    return tuple(folds), tuple(notes)


def _fold(
    runs: Sequence[RunRows], part: tuple[np.ndarray, frozenset[Path]], training: Sequence[int], longest_lag: float
) -> Fold:
    held_out, tracks = part
    rows, dropped = training_rows(runs, training, tracks, longest_lag=longest_lag)
    groups = inner_groups(runs, rows) if len(rows) > 1 else np.zeros(len(rows), dtype=np.intp)
    return Fold(rows, held_out, groups, dropped)


def _parts(
    runs: Sequence[RunRows], held_out: Sequence[int], n_groups: int, longest_lag: float
) -> list[tuple[np.ndarray, frozenset[Path]]]:
    """Split held-out rows by the track that began last; give each part the tracks within its lags.

    Rows of a track hear the end of the track before it: that one may not train them either.
    """
    first = offsets(runs)
    order = {track: i for i, track in enumerate(_tracks(runs, held_out))}
    n_tracks = max(1, len(order))
    rows: list[list[np.ndarray]] = [[] for _ in range(n_groups)]
    tracks: list[set[Path]] = [set() for _ in range(n_groups)]
    for r in held_out:
        run = runs[r]
        audio = [item.clip.audio for item in run.presentations]
        group_of = np.array([order[path] * n_groups // n_tracks for path in audio] or [0])
        member = group_of[_latest_presentation(run)]
        reach = within_reach(run, longest_lag)
        for g in range(n_groups):
            volumes = np.flatnonzero(member == g)
            rows[g].append(first[r] + volumes)
            reached = range(len(audio)) if n_groups == 1 else np.flatnonzero(reach[volumes].any(axis=0))
            tracks[g].update(audio[j] for j in reached)
    return [
        (np.concatenate(parts).astype(np.intp), frozenset(heard))
        for parts, heard in zip(rows, tracks)
        if sum(map(len, parts))
    ]


def _latest_presentation(run: RunRows) -> np.ndarray:
    """Return, for each volume, the presentation that began last (the first one before it began)."""
    if not run.presentations:
        return np.zeros(run.rows.n_volumes, dtype=np.intp)
    heard = np.where(run.rows.presentation == REST, 0, run.rows.presentation)
    return np.maximum.accumulate(heard).astype(np.intp)


def _tracks(runs: Sequence[RunRows], held_out: Sequence[int]) -> list[Path]:
    """Return the tracks of runs in order of their first presentation."""
    return list(dict.fromkeys(item.clip.audio for r in held_out for item in runs[r].presentations))
