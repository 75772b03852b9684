"""Measures of quality of fMRIPrep's derivatives: the same table as for our own, in the output space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ban_bids.files.atomic import atomic_path
from ban_bids.files.images import read_through
from ban_bids.inputs.derivatives import RESTORE
from ban_bids.preprocessing import quality
from ban_bids.preprocessing.files import load_image, load_mask
from ban_bids.preprocessing.publish import Picture
from ban_bids.preprocessing.quality import Measurement, RunFiles, measured
from ban_bids.preprocessing.quality_figures import TSNR_TITLE, Layout, carpet_title, quality_pictures, save_run_quality
from ban_bids.preprocessing.regions import RegionMaps
from ban_bids.preprocessing.result import PreprocessedRun
from ban_bids.preprocessing.space.template import Grid, template_brain
from ban_bids.preprocessing.space.transforms import sample
from ban_bids.typing import Floats

_VOLUMES_AT_ONCE = 8
_NO_RAW = "the raw run is not read where fMRIPrep's derivatives are taken"
_NO_T1W = "fMRIPrep's output has no T1w image with brain mask in the output space"
_NO_MASK = "fMRIPrep's output has no brain mask of the T1w image"


@dataclass(frozen=True)
class Anatomy:
    """What fMRIPrep's output holds of the T1w image; None: it is not there.

    Parameters
    ----------
    t1w, mask : Path, optional
        In the output space.
    tissues : tuple of Path or None
        Probabilities of white matter and CSF in the output space.
    native_mask : Path, optional
        Brain mask on the grid of the T1w image.
    """

    t1w: Path | None = None
    mask: Path | None = None
    tissues: tuple[Path | None, Path | None] = (None, None)
    native_mask: Path | None = None


def assess_derivatives(
    runs: Sequence[PreprocessedRun],
    anatomy: Anatomy,
    maps: RegionMaps,
    *,
    grid: Grid,
    template_points: Floats,
    work: Path,
) -> tuple[tuple[Measurement, ...], list[Picture]]:
    """All measures that can be had from derivatives; what cannot be had says why.

    Parameters
    ----------
    runs : sequence of PreprocessedRun
    anatomy : Anatomy
    maps : RegionMaps
        Auditory regions on the grid.
    grid : Grid
    template_points : ndarray, shape (3, n_voxels)
        The grid's voxels in template coordinates, RAS mm.
    work : Path
        Folder for what is kept of each run: a series is read once, also if the call is repeated.

    Returns
    -------
    measurements : tuple of Measurement
    pictures : list of Picture
    """
    points, labels = grid.points(), maps.labels > 0
    white_matter, csf = (None if path is None else sample(*load_image(path), points) for path in anatomy.tissues)
    measurements: list[Measurement] = []
    files = []
    for run in runs:
        mask = load_mask(run.mask)
        inside = mask.ravel()
        tissues = None if white_matter is None or csf is None else (white_matter[inside], csf[inside])
        kept = _kept(run, mask, Layout.of(int(inside.sum()), tissues), work)
        name, session, tr = run.run.name, run.run.session or "", float(run.run.mean_interval)
        files.append(RunFiles(name, session, run.mask, run.confounds, kept, run.non_steady, tr))
        measurements += [
            replace(one, reason=_NO_RAW) if one.measure == "tsnr_ratio" else one
            for one in quality.signal_measures(files[-1], labels)
        ]
    measurements += _match(files, anatomy, points)
    measurements += _participant(anatomy, points, template_points)
    measurements += quality.region_measures(maps.table)
    tsnr, carpets = quality_pictures(files, labels, grid, work)
    shown = [(carpet_title(run.run.name), path, "carpet", run.run) for run, path in zip(runs, carpets)]
    return tuple(measurements), [(TSNR_TITLE, tsnr, "tsnr", None), *shown]


def _kept(run: PreprocessedRun, mask: NDArray[np.bool_], layout: Layout, work: Path) -> Path:
    """Signal-to-noise and carpet of a run, made anew only where its series is another one."""
    state = run.bold.stat()
    # the name holds what the content rests on: size and time of the series, voxels, leading volumes
    mark = f"{state.st_size}-{state.st_mtime_ns}-{int(mask.sum())}-{len(layout.starts)}-{run.non_steady}"
    path = work / f"{run.run.name}_quality-{mark}.npz"
    if not path.is_file():
        for old in work.glob(f"{run.run.name}_quality-*.npz"):
            old.unlink()
        with atomic_path(path) as temporary:
            save_run_quality(temporary, None, _volumes(run.bold, mask), layout, run.non_steady)
    return path


def _volumes(bold: Path, mask: NDArray[np.bool_]) -> Iterator[Floats]:
    with read_through(bold, RESTORE) as image:
        for first in range(0, image.shape[3], _VOLUMES_AT_ONCE):
            yield from np.asanyarray(image.dataobj[..., first : first + _VOLUMES_AT_ONCE])[mask].T


def _match(runs: Sequence[RunFiles], anatomy: Anatomy, points: Floats) -> list[Measurement]:
    """Masks against the T1w image's and series' means against the session's first run."""
    brain = None if anatomy.mask is None else sample(*load_image(anatomy.mask), points) > 0.5
    overlaps: list[Measurement] = []
    means = []
    for run in runs:
        mask = load_mask(run.mask).ravel()
        mean = np.zeros(mask.size)
        with np.load(run.quality) as stored:
            mean[mask] = stored["mean"]
        means.append((run, mean, mask))
        overlap = math.nan if brain is None else quality.dice(mask, brain)
        overlaps += measured({"bold_t1w_dice": overlap}, run.name, reason=_NO_T1W)
    return overlaps + quality.session_fit(means)


def _participant(anatomy: Anatomy, points: Floats, template_points: Floats) -> list[Measurement]:
    """Fit to the template, brain volume."""
    fit = math.nan
    if anatomy.t1w is not None and anatomy.mask is not None:
        template = sample(*load_image(template_brain()), template_points)
        inside = template > 1e-3
        brain = sample(*load_image(anatomy.t1w), points) * (sample(*load_image(anatomy.mask), points) > 0.5)
        fit = quality.correlation(brain[inside], template[inside])
    volume = measured({"t1w_brain_volume": math.nan}, reason=_NO_MASK)
    if anatomy.native_mask is not None:
        volume = quality.brain_volume(anatomy.native_mask)
    return measured({"registration_correlation": fit}, reason=_NO_T1W) + volume
