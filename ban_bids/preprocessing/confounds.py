"""Nuisance time courses of a run under fMRIPrep's column names, with their sidecar."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.errors import DataError
from ban_bids.preprocessing.compcor import PERIOD, compcor, cosines
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.typing import Floats

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
SIGNALS = ("global_signal", "csf", "white_matter")

HEAD_RADIUS = 50.0
"""Millimetres; turns rotations into displacements (Power et al. 2012)."""

FD_OUTLIER = 0.5
"""Framewise displacement, mm, above which a volume is a motion outlier, as in fMRIPrep."""

DVARS_OUTLIER = 1.5
"""Standardised DVARS above which a volume is a motion outlier, as in fMRIPrep."""

_SPHERE = 80.0  # mm; FSL's head for the root mean square displacement
_MIDDLE = 1000.0  # median that intensities are scaled to before DVARS
_SLAB = 4096

DESCRIPTIONS = {
    "trans": "Head translation relative to the run's reference, mm, about the centre of the brain",
    "rot": "Head rotation, radians, R = Rz Ry Rx",
    "framewise_displacement": "Power et al. 2012: absolute differences summed, rotations at 50 mm; mm",
    "rmsd": "Root mean square displacement between volumes over a sphere of 80 mm (Jenkinson 1999); mm",
    "dvars": "Root mean square over the brain of the first difference in time, median intensity 1000",
    "std_dvars": "DVARS over its expectation from voxels' spread and lag-1 autocorrelation (Nichols 2013)",
    "global_signal": "Mean in the brain mask",
    "csf": "Mean in voxels of cerebrospinal fluid, eroded",
    "white_matter": "Mean in voxels of white matter, eroded",
    "csf_wm": "Mean in the voxels of csf and white_matter",
    "cosine": f"Discrete cosine of CompCor's high-pass filter, {PERIOD:g} s; not used for encoding",
    "non_steady_state_outlier": "1 in one leading volume before the steady state",
    "motion_outlier": f"1 in one volume with framewise displacement over {FD_OUTLIER} mm or std_dvars over "
    f"{DVARS_OUTLIER}",
}
"""What a column is, by the beginning of its name."""

_SUFFIXES = {
    "_derivative1_power2": "square of the first difference in time",
    "_derivative1": "first difference in time; n/a in the first volume",
    "_power2": "square",
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


def rms_displacement(motion: Floats, radius: float = _SPHERE) -> Floats:
    """Root mean square displacement of a sphere's points from one volume to the next.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Three translations (mm), three rotations (radians) about the sphere's centre.
    radius : float
        mm.

    Returns
    -------
    ndarray, shape (n_volumes,)
        mm; NaN first.

    References
    ----------
    Jenkinson 1999, FMRIB technical report TR99MJ1.
    """
    poses = np.array([rigid_matrix(row, np.zeros(3)) for row in motion])
    change = poses[1:] @ np.linalg.inv(poses[:-1]) - np.eye(4)
    turned = np.square(change[:, :3, :3]).sum((1, 2))
    moved = np.square(change[:, :3, 3]).sum(1)
    return np.concatenate([[np.nan], np.sqrt(radius**2 / 5 * turned + moved)])


def dvars(series: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """DVARS, plain and standardised, as nipype's ComputeDVARS (whose nitime is no dependency of nipype).

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
        Voxels whose interquartile range is 0 are left out.

    Returns
    -------
    plain : ndarray, shape (n_volumes,)
        Root mean square of the difference to the volume before, in thousandths of the series' median; NaN
        first.
    standardised : ndarray, shape (n_volumes,)
        ``plain`` over the mean of √(2 (1 − ρ₁)) σ over voxels: about 1 where nothing but noise changes.

    References
    ----------
    Power et al. 2012, NeuroImage 59, 2142; Nichols 2013, Notes on creating a standardized version of DVARS.
    """
    n, n_voxels = series.shape
    low, high = int(0.25 * (n - 1)), int(0.75 * (n - 1))
    squares, expected, counted = np.zeros(n - 1), 0.0, 0
    for start in range(0, n_voxels, _SLAB):
        block = np.ascontiguousarray(series[:, start : start + _SLAB].T)
        ordered = np.sort(block, axis=1)  # vectorised: several times faster than a partition
        spread = (ordered[:, high] - ordered[:, low]).astype(float) / 1.349  # of a normal distribution
        block, spread = block[spread > 0].astype(float), spread[spread > 0]
        squares += np.square(np.diff(block, axis=1)).sum(0)
        block -= block.mean(1, keepdims=True)
        lagged = np.einsum("vt,vt->v", block[:, 1:], block[:, :-1]) / np.einsum("vt,vt->v", block, block)
        expected += float((np.sqrt(2 * (1 - lagged)) * spread).sum())
        counted += len(spread)
    if not counted:
        return np.full(n, np.nan), np.full(n, np.nan)
    plain = np.concatenate([[np.nan], np.sqrt(squares / counted)])
    return plain * _MIDDLE / float(np.median(series)), plain / (expected / counted)


def expanded(name: str, values: Floats) -> dict[str, Floats]:
    """A column with its first difference and the squares of both, under fMRIPrep's names."""
    derivative = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": derivative,
        f"{name}_power2": values**2,
        f"{name}_derivative1_power2": derivative**2,
    }


def confound_table(
    motion: Floats,
    series: NDArray[np.float32],
    white_matter: NDArray[np.bool_],
    csf: NDArray[np.bool_],
    n_non_steady: int,
    repetition_time: float,
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """All columns of a run, and the entries of their sidecar.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        About the centre of the brain.
    series : ndarray, shape (n_volumes, n_voxels)
        Brain voxels.
    white_matter, csf : ndarray of bool, shape (n_voxels,)
        An empty mask gives columns of n/a, and no component.
    n_non_steady : int
        Leading volumes before the steady state.
    repetition_time : float
        Seconds.

    Returns
    -------
    table : DataFrame of n_volumes rows
    metadata : dict
        By column: ``Description``, ``Method`` and, of components, what fMRIPrep tells of them.
    """
    csf = csf & ~white_matter
    columns: dict[str, Floats] = {}
    whole = np.ones(series.shape[1], bool)
    for name, mask in zip(SIGNALS, (whole, csf, white_matter)):
        columns |= expanded(name, _mean(series, mask))
    columns["csf_wm"] = _mean(series, csf | white_matter)
    columns["dvars"], columns["std_dvars"] = dvars(series)
    columns["framewise_displacement"] = framewise_displacement(motion)
    columns["rmsd"] = rms_displacement(motion)
    noise, metadata = compcor(series, white_matter, csf, n_non_steady, repetition_time)
    columns |= noise
    drifts = np.pad(cosines(len(motion) - n_non_steady, repetition_time), ((n_non_steady, 0), (0, 0)))
    columns |= {f"cosine{k:02d}": values for k, values in enumerate(drifts.T)}
    for name, values in zip(MOTION, motion.T):
        columns |= expanded(name, values)
    columns |= _spikes("non_steady_state_outlier", range(n_non_steady), len(motion))
    outliers = (columns["framewise_displacement"] > FD_OUTLIER) | (columns["std_dvars"] > DVARS_OUTLIER)
    columns |= _spikes("motion_outlier", np.flatnonzero(outliers), len(motion))
    metadata |= {name: {"Method": "Mean"} for name in (*SIGNALS, "csf_wm")}
    table = pd.DataFrame(columns)
    return table, {name: metadata.get(name, {}) | _described(name) for name in columns}


def _mean(series: NDArray[np.float32], mask: NDArray[np.bool_]) -> Floats:
    if not mask.any():
        return np.full(len(series), np.nan)
    return series[:, mask].mean(1, dtype=float)


def _spikes(name: str, volumes: Iterable[int], n_volumes: int) -> dict[str, Floats]:
    """One column a volume: 1 there, 0 elsewhere."""
    return {f"{name}{k:02d}": (np.arange(n_volumes) == v).astype(float) for k, v in enumerate(volumes)}


def _described(name: str) -> dict[str, str]:
    begins = max((begin for begin in DESCRIPTIONS if name.startswith(begin)), key=len, default=None)
    if begins is None:
        return {}  # components: fMRIPrep's own entries say it all
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
    return {"Description": DESCRIPTIONS[begins] + (f"; {_SUFFIXES[suffix]}" if suffix else "")}


def write_confounds(table: pd.DataFrame, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write as TSV with ``n/a`` for missing values, and the sidecar of the same name."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
    if metadata is not None:
        path.with_suffix(".json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


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
