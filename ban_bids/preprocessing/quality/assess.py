"""All measures of quality of a participant that we preprocessed, and their pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.preprocessing.confounds import read_confounds
from ban_bids.preprocessing.files import load_image, load_mask
from ban_bids.preprocessing.masks import epi_mask
from ban_bids.preprocessing.quality import figures
from ban_bids.preprocessing.quality.carpet import standardised
from ban_bids.preprocessing.quality.measures import (
    confound_measures,
    correlation,
    dice,
    median,
    normalised_mutual_information,
)
from ban_bids.preprocessing.quality.thresholds import Measurement, measured, unavailable
from ban_bids.preprocessing.space.resample import inside_image
from ban_bids.preprocessing.space.template import Grid, mask_grid
from ban_bids.preprocessing.space.transforms import apply_affine, sample

Floats = NDArray[np.floating[Any]]
_WORKING = 2.0
_NO_T1W = "there is no T1w image"
_OF_T1W = (
    "bold_t1w_dice",
    "bold_t1w_nmi",
    "t1w_brain_volume",
    "csf_share",
    "grey_matter_share",
    "white_matter_share",
)
FIRST = "it is its session's first run, to which the others are compared"


@dataclass(frozen=True)
class RunFiles:
    """What one run's measures are made from.

    Parameters
    ----------
    name, session : str
        Session empty where there is none.
    mask, confounds, quality : Path
        Output mask, confounds table, and npz of :func:`ban_bids.preprocessing.carpet.save_run_quality`.
    non_steady : int
    repetition_time : float
        Seconds.
    reference, matrix : Path, optional
        BOLD reference, and T1w world → its world.
    """

    name: str
    session: str
    mask: Path
    confounds: Path
    quality: Path
    non_steady: int
    repetition_time: float
    reference: Path | None = None
    matrix: Path | None = None


def signal_measures(run: RunFiles, auditory: NDArray[np.bool_], volume: float) -> list[Measurement]:
    """Signal-to-noise, motion, and size of the mask of a run.

    Parameters
    ----------
    run : RunFiles
    auditory : ndarray of bool, shape (nx, ny, nz)
        Voxels of the auditory regions on the output grid.
    volume : float
        Of a voxel, mm³.
    """
    mask = load_mask(run.mask)
    inside = auditory[mask]
    with np.load(run.quality) as stored:
        after, before = stored["after"], stored["before"]
    brain, raw = median(after), median(before)
    values = {
        "tsnr_brain": brain,
        "tsnr_auditory": median(after[inside]),
        "tsnr_brain_before": raw,
        "tsnr_auditory_before": median(before[inside]),
        "tsnr_ratio": brain / raw if raw > 0 else math.nan,
        **confound_measures(read_confounds(run.confounds), run.non_steady),
        "non_steady_volumes": float(run.non_steady),
        "mask_volume": float(mask.sum()) * volume / 1000,
    }
    return measured(values.items(), run.name)


def match_measures(runs: Sequence[RunFiles], t1w: Path, t1w_mask: Path) -> list[Measurement]:
    """How well every run's reference lies on the T1w image, and on its session's first run.

    Compared at 2 mm over the T1w image's brain and its surroundings, where the run has a field of view.
    """
    image, affine = load_image(t1w)
    brain_image = load_image(t1w_mask)[0]
    grid = mask_grid(brain_image > 0.5, affine, _WORKING, pad=12)
    points = grid.points()
    brain = sample(brain_image, affine, points) > 0.5
    anatomy = sample(image, affine, points)
    firsts: dict[str, tuple[Floats, NDArray[np.bool_]]] = {}
    found: list[Measurement] = []
    for run in runs:
        if run.reference is None or run.matrix is None:
            continue
        values, outline, seen = _at(run.reference, run.matrix, points)
        inside = brain & seen
        found += measured(
            [
                ("bold_t1w_dice", dice(outline & seen, inside)),
                ("bold_t1w_nmi", _information(values[inside], anatomy[inside])),
            ],
            run.name,
        )
        if run.session not in firsts:
            firsts[run.session] = values, seen
            found += unavailable(["run_to_session_correlation"], FIRST, run.name)
            continue
        first, also_seen = firsts[run.session]
        both = inside & also_seen
        found += measured([("run_to_session_correlation", correlation(values[both], first[both]))], run.name)
    return found


def _information(one: Floats, other: Floats) -> float:
    return normalised_mutual_information(one, other) if one.size else math.nan


def _at(
    reference: Path, matrix: Path, points: Floats
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """A BOLD reference, its own brain mask and its field of view at T1w points."""
    image, affine = load_image(reference)
    moved = apply_affine(np.loadtxt(matrix), points)
    outline = sample(epi_mask(image).astype(np.float32), affine, moved) > 0.5
    return sample(image, affine, moved), outline, inside_image(image.shape, affine, moved)


def tissue_measures(t1w_mask: Path, tissues: Sequence[Path | None]) -> list[Measurement]:
    """Volume of the brain mask and shares of CSF, grey and white matter in it.

    Parameters
    ----------
    t1w_mask : Path
    tissues : sequence of three Paths or None
        Probabilities of CSF, grey matter, white matter on the mask's grid; None: not at hand.
    """
    image, affine = load_image(t1w_mask)
    mask = image > 0.5
    found = measured([("t1w_brain_volume", mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)])
    for name, path in zip(("csf_share", "grey_matter_share", "white_matter_share"), tissues):
        if path is None:
            found += unavailable([name], "there is no probability image of the tissue")
            continue
        values = load_image(path)[0]
        same = values.shape == mask.shape and mask.any()
        found += measured([(name, 100 * float(values[mask].mean()) if same else math.nan)])
    return found


def without_t1w(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The same with what tells of a T1w image not available: a BOLD reference stood in for it."""
    return [
        Measurement(one.measure, math.nan, one.run, one.region, _NO_T1W) if one.measure in _OF_T1W else one
        for one in measurements
    ]


def region_measures(table: pd.DataFrame) -> list[Measurement]:
    """Voxels of every region and their share of the atlas's.

    Parameters
    ----------
    table : DataFrame
        Columns ``name``, ``n_voxels``, ``n_voxels_atlas``; counts are missing where the atlas lacks a region.
    """
    counts = table[["n_voxels", "n_voxels_atlas"]].astype("Float64").to_numpy(float, na_value=math.nan)
    found: list[Measurement] = []
    for name, (kept, whole) in zip(table["name"].astype(str), counts):
        if not whole > 0:
            reason = f"the atlas has no voxel of {name} in the brain"
            for measure in ("region_voxels", "region_coverage"):
                found.append(Measurement(measure, math.nan, None, name, reason))
            continue
        values = [("region_voxels", float(kept)), ("region_coverage", 100 * float(kept / whole))]
        found += measured(values, region=name)
    return found


def quality_pictures(
    runs: Sequence[RunFiles], labels: NDArray[np.bool_], grid: Grid, folder: Path
) -> tuple[Path, list[Path]]:
    """Maps of signal-to-noise of all runs, and a carpet a run.

    Parameters
    ----------
    runs : sequence of RunFiles
    labels : ndarray of bool, shape (nx, ny, nz)
        Auditory regions.
    grid : Grid
        The output grid.
    folder : Path
        Where to write.

    Returns
    -------
    tsnr : Path
    carpets : list of Path
        In the order of the runs.
    """
    carpets, maps = [], []
    within = np.zeros(grid.shape, bool)
    for run in runs:
        mask = load_mask(run.mask)
        within |= mask
        with np.load(run.quality) as stored:
            after, rows, tissue = stored["after"], stored["carpet"], stored["tissue"]
        volume = np.full(grid.shape, np.nan, np.float32)
        volume[mask] = after
        maps.append(volume)
        path = folder / f"{run.name}_carpet.png"
        shown = standardised(rows, run.non_steady)
        table = read_confounds(run.confounds)
        carpets.append(figures.carpet(shown, tissue, table, run.repetition_time, path))
    names = [run.name for run in runs]
    sides = "LR" if grid.affine[0, 0] > 0 else "RL"
    return figures.tsnr(maps, names, within, labels, sides, folder / "tsnr.png"), carpets
