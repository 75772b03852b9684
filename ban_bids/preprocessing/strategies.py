"""Which columns of a confounds table, and which volumes, a named strategy takes out before encoding.

Cosine columns are never among them: the drift model is ours, with one cut-off for all runs.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.bids.fmriprep import series_tail
from ban_bids.constants import CONFOUNDS
from ban_bids.errors import DataError
from ban_bids.files.images import check_there
from ban_bids.files.tsv import read_tsv
from ban_bids.preprocessing.confounds import DVARS_OUTLIER, FD_OUTLIER, MOTION
from ban_bids.preprocessing.masks import lost_volumes
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.typing import Floats

_SEGMENT = 5  # volumes; shorter stretches between outliers are scrubbed as well (Power et al. 2014)

_SPREAD = 2  # volumes; farther, slice timing carries less than 2 % of a blank one

_LARGEST = 1e30  # of what is squared and summed in float64

MOTION12 = (*MOTION, *(f"{name}_derivative1" for name in MOTION), "csf", "white_matter")
"""Columns of ``motion12``: motion and its first differences, CSF, white matter.

The global signal stays in: it carries music-driven signal that is common to the cortex.
"""


def with_strategy(pre: PreprocessedParticipant, strategy: str) -> PreprocessedParticipant:
    """Set what is regressed out of each run and which volumes are scrubbed.

    Parameters
    ----------
    pre : PreprocessedParticipant
        Its tables may be ours or fMRIPrep's.
    strategy : str
        One of :data:`ban_bids.constants.CONFOUNDS`.

    Returns
    -------
    PreprocessedParticipant
        With notes on columns that are left out and on volumes that are scrubbed.

    Raises
    ------
    DataError
        A table is missing, has another number of rows than the run has volumes, or lacks columns.
    """
    chosen = [_choose(run, strategy) for run in pre.runs]
    notes = (note for _, added in chosen for note in added)
    return replace(pre, runs=tuple(run for run, _ in chosen), notes=(*pre.notes, *notes))


def regressors(run: PreprocessedRun) -> Floats:
    """Time courses to regress out of a run before encoding.

    Parameters
    ----------
    run : PreprocessedRun
        After :func:`with_strategy`.

    Returns
    -------
    ndarray, shape (n_volumes, k)
        In the order of ``run.regressors``. The first row of a difference, which no table has, is 0; what else
        is missing is the column's mean.

    Raises
    ------
    DataError
        See :func:`with_strategy`.
    """
    table = confounds_table(run)
    values = table[list(run.regressors)].to_numpy(float)
    differences = ["derivative1" in name for name in run.regressors]
    values[0, differences] = np.nan_to_num(values[0, differences])
    return np.where(np.isfinite(values), values, np.nanmean(values, axis=0))


def confounds_table(run: PreprocessedRun) -> pd.DataFrame:
    """Read a run's table; differences of motion are computed where it has none (some tables have none).

    Raises
    ------
    DataError
        It is missing or no table, of another number of rows than the run has volumes, lacks columns, or a cell that is
        needed is no number.
    """
    if run.confounds.is_symlink():
        check_there(run.confounds)
    table = read_tsv(run.confounds, foreign=True)
    numbers = table.select_dtypes("float")
    table[numbers.columns] = numbers.where(numbers.abs() < _LARGEST)  # infinite: as little known as n/a
    if len(table) != run.run.n_volumes:
        raise DataError(
            f"{run.confounds}: {len(table)} rows for {run.run.n_volumes} volumes of {run.bold.name}; "
            "take the table of this run"
        )
    absent = [name for name in MOTION if name not in table]
    if absent:
        raise DataError(f"{run.confounds}: no column {', '.join(absent)}; fMRIPrep's names are expected")
    needed = (*MOTION12, "framewise_displacement", "global_signal", "std_dvars")
    words = [name for name in needed if name in table and not pd.api.types.is_numeric_dtype(table[name])]
    if words:
        raise DataError(f"{run.confounds}: column {', '.join(words)} holds what is no number; restore the table")
    missing = {f"{name}_derivative1": table[name].diff() for name in MOTION}
    return table.assign(**{name: column for name, column in missing.items() if name not in table})


def _choose(run: PreprocessedRun, strategy: str) -> tuple[PreprocessedRun, list[str]]:
    table = confounds_table(run)
    wanted, kept = (MOTION12, np.arange(len(table))) if strategy == CONFOUNDS[0] else _ask_nilearn(run, strategy)
    varying = [name for name in wanted if name in table and table[name].nunique() > 1]
    notes = []
    dropped = [name for name in wanted if name not in varying]
    if dropped:
        notes.append(f"{run.run.name}: confounds without values or variance: {', '.join(dropped)}")
    gaps = [name for name in varying if table[name].iloc[int("derivative1" in name) :].isna().any()]
    if gaps:
        notes.append(f"{run.run.name}: confounds with n/a, taken as the mean: {', '.join(gaps)}")
    signal = table["global_signal"].to_numpy(float) if "global_signal" in table else np.zeros(0)
    lost = lost_volumes(signal)
    lost = lost[lost >= run.non_steady]  # slice timing leaves those before out
    if lost.size:
        kept = np.setdiff1d(kept, (lost[:, None] + np.arange(-_SPREAD, _SPREAD + 1)).ravel())
        notes.append(
            f"{run.run.name}: {lost.size} volumes hold less than 70 % of the others' signal (the first is number "
            f"{lost[0] + 1}): blank or broken off; they and {_SPREAD} on either side are scrubbed"
        )
    scrubbed = tuple(np.setdiff1d(np.arange(run.non_steady, len(table)), kept).tolist())
    if scrubbed:
        notes.append(f"{run.run.name}: {len(scrubbed)} of {len(table)} volumes scrubbed")
    return replace(run, regressors=tuple(varying), scrubbed=scrubbed), notes


def _ask_nilearn(run: PreprocessedRun, strategy: str) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Columns of one of nilearn's strategies, without cosines, and the volumes that it keeps."""
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    # nilearn's thresholds have changed between versions
    thresholds = {"scrub": _SEGMENT, "fd_threshold": FD_OUTLIER, "std_dvars_threshold": DVARS_OUTLIER}
    options = thresholds if strategy == "scrubbing" else {}
    with _where_nilearn_looks(run, strategy) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all volumes scrubbed: encoding refuses the run
        try:
            chosen, kept = load_confounds_strategy(str(image), denoise_strategy=strategy, demean=False, **options)
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{run.confounds}: nilearn finds no columns for --confounds {strategy} "
                f"({' '.join(str(error).split())}); choose another strategy"
            ) from error
    columns = tuple(str(name) for name in chosen.columns if not name.startswith("cosine"))
    return columns, np.arange(run.run.n_volumes) if kept is None else kept


@contextmanager
def _where_nilearn_looks(run: PreprocessedRun, strategy: str) -> Iterator[Path]:
    """Name of an image, beside copies of table and sidecar: nilearn finds them by name, in one folder.

    In a folder of fMRIPrep's it would refuse uncompressed series and tables of runs with fewer entities.
    """
    # hexadecimal: nilearn replaces "tsv" by "json" anywhere in the path
    folder = Path(tempfile.gettempdir()) / f"ban-bids-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        # which volumes are not steady, the run says
        table = confounds_table(run).filter(regex="^(?!non_steady_state)")
        table.to_csv(folder / "sub-x_desc-confounds_timeseries.tsv", sep="\t", index=False, na_rep="n/a")
        sidecar = run.confounds.with_suffix(".json")
        if sidecar.is_file():
            shutil.copyfile(sidecar, folder / "sub-x_desc-confounds_timeseries.json")
        yield folder / f"sub-x_{series_tail(strategy)}.nii.gz"
    finally:
        shutil.rmtree(folder)
