"""From a plan of held-out runs to what every model of a participant meets alike: folds, lags, held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ban_bids.encoding.cleaning import Nuisance
from ban_bids.encoding.folds import Fold, FoldMaker
from ban_bids.encoding.heard import held_out_rows
from ban_bids.encoding.rows import HeldOutRows, RunRows, offsets
from ban_bids.encoding.timeline import lags
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Run
from ban_bids.settings import Encoding


@dataclass(frozen=True, eq=False)
class Folds:
    """What every model of a participant meets alike: folds, lags and the table of held-out rows.

    Parameters
    ----------
    folds : tuple of Fold
    delays : ndarray of shape (n_lags,), float64
        Lags of the features, seconds.
    first : ndarray of shape (n_runs + 1,), intp
        From `ban_bids.encoding.rows.offsets`.
    rows : HeldOutRows
        The held-out rows of all folds, by run and volume.
    index : ndarray of shape (n_held_out,), intp
        Their rows, counted through all runs.
    notes : tuple of str
        How folds were made, what was dropped.
    """

    folds: tuple[Fold, ...]
    delays: np.ndarray
    first: np.ndarray
    rows: HeldOutRows
    index: np.ndarray
    notes: tuple[str, ...]


def participant_folds(
    sources: Sequence[Run],
    runs: Sequence[RunRows],
    nuisance: Sequence[Nuisance],
    *,
    plan: HeldOutPlan,
    settings: Encoding,
    recording: Mapping[Path, Path] | None = None,
) -> Folds:
    """Turn a plan of held-out runs into folds of rows, the same for every model.

    Parameters
    ----------
    sources : sequence of Run
    runs : sequence of RunRows
        What was heard in each of them.
    nuisance : sequence of Nuisance
        What is regressed out of each of them.
    plan : HeldOutPlan
        Which runs are held out together. Where every run is held out in turn, rows are held out by run if runs
        share few recordings, and else by groups of recordings over all runs.
    settings : Encoding
        ``lag_max``, ``lag_step`` and ``min_training_rows`` are used here.
    recording : mapping of Path to Path, optional
        File -> one file that stands for all with the same sound; those not in it stand for themselves.

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
    maker = FoldMaker(
        runs, nuisance, longest_lag=float(delays[-1]), least=settings.min_training_rows, recording=recording or {}
    )
    folds, notes = maker.folds(plan_indices(sources, plan), in_turn=plan.leave_one_out)
    return Folds(
        folds=folds,
        delays=delays,
        first=offsets(runs),
        rows=held_out_rows(
            [run.rows for run in runs],
            [fold.held_out for fold in folds],
            longest_lag=float(delays[-1]),
            lag_step=settings.lag_step,
        ),
        index=np.sort(np.concatenate([fold.held_out for fold in folds])),
        notes=notes,
    )


def plan_indices(sources: Sequence[Run], plan: HeldOutPlan) -> list[tuple[list[int], list[int]]]:
    """Return the held-out and the training runs of each planned fold, as indices of ``sources``.

    Raises
    ------
    DataError
        A held-out run was not preprocessed.
    NotComputable
        No run is left to train on.
    """
    index = {run.name: i for i, run in enumerate(sources)}
    folds = []
    for i, names in enumerate(plan.folds):
        missing = [name for name in names if name not in index]
        if missing:
            raise DataError(f"held-out run {missing[0]} is not among the preprocessed runs; name another")
        training = [index[name] for name in plan.training(i, sources) if name in index]
        if not training and not plan.leave_one_out:
            raise NotComputable(f"no run is left to train on when {', '.join(names)} is held out")
        folds.append(([index[name] for name in names], training))
    return folds
