"""Nuisance time courses of a run under fMRIPrep's column names, with their sidecar.

Components are nipype's. Displacements and DVARS are not: nipype computes them from files only, and its standardised
DVARS needs the package nitime and a Python call per voxel. The same formulas are a few lines on the arrays at hand.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.bids.names import sidecar
from ban_bids.files.json import write_json
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

VARIANCE = 0.5
"""Share of a mask's variance that its components are to explain, as in fMRIPrep."""

MOST_COMPONENTS = 50
"""Components of one mask at most: in large, noisy masks half of the variance can need hundreds."""

PERIOD = 128.0
"""Seconds; fMRIPrep's cut-off before CompCor, and of the cosine columns."""

MOST_VARIABLE = 2
"""Percent of the brain's voxels, the most variable ones, that temporal CompCor takes, as in fMRIPrep."""

_SURE = 0.95  # probability of voxels that are surely of a tissue
_FEWEST_ERODED = 100
_FEWEST_SURE = 10
_SPHERE = 80.0  # mm; FSL's head for the root mean square displacement
_MIDDLE = 1000.0  # median that intensities are scaled to before DVARS
_SLAB = 4096

_DESCRIPTIONS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def framewise_displacement(motion: Floats) -> Floats:
    """Power's framewise displacement, rotations at :data:`HEAD_RADIUS`.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Three translations (mm), three rotations (radians).

    Returns
    -------
    ndarray, shape (n_volumes,)
        mm; NaN first.

    References
    ----------
    Power et al. 2012, NeuroImage 59, 2142.
    """
    steps = np.abs(np.diff(motion, axis=0))
    return np.concatenate([[np.nan], steps[:, :3].sum(1) + HEAD_RADIUS * steps[:, 3:].sum(1)])


def framewise_displacement_of(table: pd.DataFrame) -> Floats:
    """A table's framewise displacement, computed from its motion where the column is absent."""
    if "framewise_displacement" in table:
        return table["framewise_displacement"].to_numpy(float)
    return framewise_displacement(table[list(MOTION)].to_numpy(float))


def rms_displacement(motion: Floats) -> Floats:
    """Root mean square displacement of the points of a sphere of 80 mm from one volume to the next.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Three translations (mm), three rotations (radians) about the sphere's centre.

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
    return np.concatenate([[np.nan], np.sqrt(_SPHERE**2 / 5 * turned + moved)])


def dvars(series: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """DVARS, plain and standardised, as nipype's ComputeDVARS.

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


def noise_mask(
    probability: NDArray[np.float32], brain: NDArray[np.bool_], covered: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Covered voxels that are surely of a tissue, without its outermost layer of voxels.

    Parameters
    ----------
    probability : ndarray, shape (n_brain,)
        Of the tissue, averaged over each voxel of ``brain``.
    brain : ndarray of bool, shape (nx, ny, nz)
    covered : ndarray of int, shape (n_covered,)
        Entries of ``probability`` that the run covers.

    Returns
    -------
    ndarray of bool, shape (n_covered,)
        Where fewer than 100 voxels survive erosion, all sure ones; where fewer than 10 are sure, the
        likeliest 10, if any is likelier than not.
    """
    volume = np.zeros(brain.shape, bool)
    volume[brain] = probability > _SURE
    eroded = ndimage.binary_erosion(volume)[brain][covered]
    if eroded.sum() >= _FEWEST_ERODED:
        return eroded
    here = probability[covered]
    sure = here > _SURE
    if sure.sum() >= _FEWEST_SURE or not (here > 0.5).any():
        return sure
    return here >= min(_SURE, float(np.sort(here)[-_FEWEST_SURE]))


def cosines(n_volumes: int, repetition_time: float, times: Floats | None = None) -> Floats:
    """Discrete cosines that fMRIPrep filters with, shape (n_volumes, k).

    Parameters
    ----------
    n_volumes : int
    repetition_time : float
        Mean interval between volumes, seconds.
    times : ndarray, shape (n_volumes,), optional
        Start of each volume, seconds, where intervals differ: the same cosines of time are then taken there.
    """
    from nipype.algorithms.confounds import cosine_filter  # here and below: all readers of tables import this module

    basis = cosine_filter(np.zeros((1, n_volumes)), repetition_time, PERIOD)[1].reshape(n_volumes, -1)
    if times is None:
        return basis
    phase = np.pi * (times - times[0] + repetition_time / 2) / (times[-1] - times[0] + repetition_time)
    return np.sqrt(2 / n_volumes) * np.cos(phase[:, None] * np.arange(1, basis.shape[1] + 1))


def most_variable(series: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The :data:`MOST_VARIABLE` percent of voxels that vary most about a quadratic trend."""
    from nipype.algorithms.confounds import regress_poly

    slabs = range(0, series.shape[1], _SLAB)
    spread = [regress_poly(2, series[:, start : start + _SLAB].T)[0].std(axis=1) for start in slabs]
    return np.concatenate(spread) >= np.percentile(np.concatenate(spread), 100 - MOST_VARIABLE)


def compcor(
    series: NDArray[np.float32],
    masks: Mapping[str, NDArray[np.bool_]],
    n_non_steady: int,
    repetition_time: float,
    *,
    times: Floats | None = None,
) -> tuple[dict[str, Floats], dict[str, dict[str, Any]]]:
    """Principal components of voxels that hold no signal, by nipype, under fMRIPrep's names.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
        Brain voxels.
    masks : dict of str to ndarray of bool, shape (n_voxels,)
        By the mask's name in the sidecar: ``CSF``, ``WM``, ``combined``, and an empty name for the most
        variable voxels. An empty mask gives no component.
    n_non_steady : int
        Leading volumes before the steady state; components are 0 in them.
    repetition_time : float
        Mean interval between volumes, seconds.
    times : ndarray, shape (n_volumes,), optional
        Start of each volume, seconds, where intervals differ.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        ``t_comp_cor_00``, … (temporal), ``c_…``, ``w_…``, ``a_…`` (both tissues).
    metadata : dict of str to dict
        A sidecar's entry of each column.

    References
    ----------
    Behzadi et al. 2007, NeuroImage 37, 90.
    """
    from nipype.algorithms.confounds import compute_noise_components

    columns: dict[str, Floats] = {}
    metadata: dict[str, dict[str, Any]] = {}
    drifts: dict[str, Any] = {"filter_type": "cosine", "period_cut": PERIOD, "repetition_time": repetition_time}
    if times is not None:  # nipype's cosines know no gaps: ours are taken out before, and only means are left to it
        series = series.copy()
        steady = len(series) - n_non_steady
        basis = np.hstack([np.ones((steady, 1)), cosines(steady, repetition_time, times[n_non_steady:])])
        series[n_non_steady:] -= (basis @ np.linalg.lstsq(basis, series[n_non_steady:])[0]).astype(np.float32)
        drifts = {"filter_type": False}
    for name, prefix in (("", "t"), ("CSF", "c"), ("WM", "w"), ("combined", "a")):
        if not masks[name].any():
            continue
        voxels = series[n_non_steady:, masks[name]].T.astype(float)[None, None]  # an image of one row of voxels
        whole = nib.Nifti2Image(np.ones(voxels.shape[:3], np.uint8), np.eye(4))  # NIfTI-1 ends at 32767 voxels
        values, _, facts = compute_noise_components(voxels, [whole], VARIANCE, **drifts)
        values = values[:, :MOST_COMPONENTS]
        values *= np.sign(values[np.abs(values).argmax(0), range(values.shape[1])])  # the largest entry is positive
        for number, component in enumerate(np.pad(values, ((n_non_steady, 0), (0, 0))).T):
            key = f"{prefix}_comp_cor_{number:02d}"
            columns[key] = component
            metadata[key] = {
                "Method": "aCompCor" if name else "tCompCor",
                **({"Mask": name} if name else {}),
                "SingularValue": float(facts["singular_value"][number]),
                "VarianceExplained": float(facts["variance_explained"][number]),
                "CumulativeVarianceExplained": float(facts["cumulative_variance_explained"][number]),
                "Retained": True,
            }
    return columns, metadata


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
    *,
    times: Floats | None = None,
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
        Mean interval between volumes, seconds.
    times : ndarray, shape (n_volumes,), optional
        Start of each volume, seconds, where intervals differ. Differences are from the volume before all the same:
        what moved since then, however long ago.

    Returns
    -------
    table : DataFrame of n_volumes rows
    metadata : dict
        By column: ``Description``, ``Method`` and, of components, what fMRIPrep says about them.
    """
    csf = csf & ~white_matter
    whole, tissues = np.ones(series.shape[1], bool), csf | white_matter
    columns: dict[str, Floats] = {}
    for name, mask in zip(SIGNALS, (whole, csf, white_matter)):
        columns |= expanded(name, _mean(series, mask))
    columns["csf_wm"] = _mean(series, tissues)
    columns["dvars"], columns["std_dvars"] = dvars(series)
    columns["framewise_displacement"] = framewise_displacement(motion)
    columns["rmsd"] = rms_displacement(motion)
    masks = {"": most_variable(series[n_non_steady:]), "CSF": csf, "WM": white_matter, "combined": tissues}
    noise, metadata = compcor(series, masks, n_non_steady, repetition_time, times=times)
    columns |= noise
    filtered = cosines(len(motion) - n_non_steady, repetition_time, None if times is None else times[n_non_steady:])
    drifts = np.pad(filtered, ((n_non_steady, 0), (0, 0)))
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
    """One column per volume: 1 there, 0 elsewhere."""
    return {f"{name}{k:02d}": (np.arange(n_volumes) == v).astype(float) for k, v in enumerate(volumes)}


def _described(name: str) -> dict[str, str]:
    begins = [text for begin, text in sorted(_DESCRIPTIONS["begins"].items()) if name.startswith(begin)]
    ends = [text for end, text in _DESCRIPTIONS["ends"].items() if name.endswith(end)]
    return {"Description": "; ".join([*begins[-1:], *ends[:1]])} if begins else {}


def write_confounds(table: pd.DataFrame, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write as TSV with ``n/a`` for missing values, and the sidecar of the same name."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
    if metadata is not None:
        write_json(sidecar(path), metadata)
