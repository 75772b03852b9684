"""Nuisance time courses under fMRIPrep's column names, and the choice used for encoding."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.errors import DataError
from ban_bids.preprocessing.result import PreprocessedRun

_LOG = logging.getLogger(__name__)
Floats = NDArray[np.floating[Any]]

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
TISSUES = ("csf", "white_matter")
CHOSEN = (*MOTION, *(f"{name}_derivative1" for name in MOTION), *TISSUES)
"""Columns regressed out before encoding: motion and its first differences, white matter, CSF.

The global signal stays in: it carries music-driven signal that is common to the cortex.
"""

HEAD_RADIUS = 50.0
"""Millimetres; turns rotations into displacements (Power et al. 2012)."""

COLUMNS = {
    "trans": "Head translation relative to the run's reference, mm, about the centre of the brain",
    "rot": "Head rotation, radians; R = Rz Ry Rx",
    "derivative1": "First difference in time; n/a in the first volume",
    "power2": "Square",
    "framewise_displacement": "Power et al. 2012: absolute differences summed, rotations at 50 mm; mm",
    "dvars": "Root mean square over the brain of the first difference in time (Power et al. 2012)",
    "std_dvars": "DVARS divided by its median",
    "global_signal": "Mean in the brain mask",
    "csf": "Mean in voxels of cerebrospinal fluid",
    "white_matter": "Mean in eroded white matter",
    "non_steady_state_outlier": "1 in one leading volume before the steady state",
}


def framewise_displacement(motion: Floats, radius: float = HEAD_RADIUS) -> Floats:
    """Power's framewise displacement.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Three translations (mm), three rotations (radians).
    radius : float
        mm.

    Returns
    -------
    ndarray, shape (n_volumes,)
        mm; NaN first.

    References
    ----------
    Power et al. 2012, NeuroImage 59, 2142.
    """
    steps = np.abs(np.diff(motion, axis=0))
    return np.concatenate([[np.nan], steps[:, :3].sum(1) + radius * steps[:, 3:].sum(1)])


def framewise_displacement_of(table: pd.DataFrame) -> Floats:
    """A table's framewise displacement, computed from its motion where the column is absent."""
    if "framewise_displacement" in table:
        return table["framewise_displacement"].to_numpy(float)
    return framewise_displacement(table[list(MOTION)].to_numpy(float))


def dvars(series: NDArray[np.float32]) -> Floats:
    """Root mean square over voxels of the difference to the volume before; NaN first.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
    """
    values = [
        np.sqrt(np.mean(np.square(after - before, dtype=float))) for before, after in zip(series, series[1:])
    ]
    return np.array([np.nan, *values])


def confound_table(
    motion: Floats,
    series: NDArray[np.float32],
    white_matter: NDArray[np.bool_],
    csf: NDArray[np.bool_],
    n_non_steady: int,
) -> pd.DataFrame:
    """All columns of a run.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
    series : ndarray, shape (n_volumes, n_voxels)
        Brain voxels.
    white_matter, csf : ndarray of bool, shape (n_voxels,)
        An empty mask gives a column of n/a.
    n_non_steady : int
        Leading volumes before the steady state.
    """
    columns: dict[str, Floats] = {"global_signal": series.mean(1, dtype=float)}
    for name, mask in (("csf", csf), ("white_matter", white_matter)):
        columns[name] = series[:, mask].mean(1, dtype=float) if mask.any() else np.full(len(series), np.nan)
    columns["dvars"] = dvars(series)
    columns["std_dvars"] = columns["dvars"] / max(float(np.nanmedian(columns["dvars"])), 1e-12)
    columns["framewise_displacement"] = framewise_displacement(motion)
    for name, values in zip(MOTION, motion.T):
        derivative = np.concatenate([[np.nan], np.diff(values)])
        columns |= {name: values, f"{name}_derivative1": derivative}
        columns |= {f"{name}_power2": values**2, f"{name}_derivative1_power2": derivative**2}
    for number in range(n_non_steady):
        columns[f"non_steady_state_outlier{number:02d}"] = (np.arange(len(motion)) == number).astype(float)
    return pd.DataFrame(columns)


def write_confounds(table: pd.DataFrame, path: Path) -> None:
    """Write as TSV with ``n/a`` for missing values."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.8g")


def read_confounds(path: Path) -> pd.DataFrame:
    """Read a confounds table.

    Raises
    ------
    DataError
        Missing or not a table.
    """
    try:
        return pd.read_csv(path, sep="\t", na_values="n/a")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: confounds cannot be read ({error}); run preprocessing again") from error


def reconstructed_confounds(pre: PreprocessedRun) -> tuple[Floats, list[str]]:
    """Confounds to regress out of a run before encoding.

    Motion, its first differences, white matter and CSF (:data:`CHOSEN`). Cosine columns and the constant
    are never among them: the drift model is ours, with one cut-off for all runs.

    Parameters
    ----------
    pre : PreprocessedRun
        Its table may be ours or fMRIPrep's.

    Returns
    -------
    values : ndarray, shape (n_volumes, k)
        Not available (first row of differences) is 0.
    names : list of str
        A column without variance (no CSF voxel in the field of view) is left out.

    Raises
    ------
    DataError
        The table is missing, has another number of rows than the run has volumes, or no motion.
    """
    table = read_confounds(pre.confounds)
    if len(table) != pre.run.n_volumes:
        raise DataError(
            f"{pre.confounds}: {len(table)} rows for {pre.run.n_volumes} volumes of {pre.run.bold.name}; "
            "take the table of this run"
        )
    absent = [name for name in MOTION if name not in table]
    if absent:
        raise DataError(f"{pre.confounds}: no column {', '.join(absent)}; fMRIPrep's names are expected")
    values = {name: table[name].to_numpy(float) for name in CHOSEN if name in table}
    for name in MOTION:
        values.setdefault(f"{name}_derivative1", np.concatenate([[0.0], np.diff(values[name])]))
    filled = {name: np.nan_to_num(column) for name, column in values.items()}
    names = [name for name in CHOSEN if name in filled and np.ptp(filled[name]) > 0]
    dropped = [name for name in CHOSEN if name not in names]
    if dropped:
        _LOG.warning("%s: columns without values or variance: %s", pre.confounds.name, ", ".join(dropped))
    matrix = np.column_stack([filled[name] for name in names]) if names else np.zeros((len(table), 0))
    return matrix, names
