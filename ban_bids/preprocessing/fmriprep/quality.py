"""Measures of quality of fMRIPrep's derivatives: the same table as for our own, in the output space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.files.atomic import atomic_path
from ban_bids.preprocessing import quality
from ban_bids.preprocessing.files import load_image, load_mask, place
from ban_bids.preprocessing.quality import Measurement, RunFiles, measured, unavailable
from ban_bids.preprocessing.quality_figures import TSNR_TITLE, Layout, carpet_title, quality_pictures, save_run_quality
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
    white_matter, csf : Path, optional
        Probabilities in the output space.
    own_mask : Path, optional
        Brain mask on the T1w image's own grid.
    """

    t1w: Path | None = None
    mask: Path | None = None
    white_matter: Path | None = None
    csf: Path | None = None
    own_mask: Path | None = None


@dataclass(frozen=True)
class Assessed:
    """Measures and pictures of a participant."""

    measurements: tuple[Measurement, ...]
    figures: tuple[tuple[str, Path], ...]


def assess_derivatives(
    runs: Sequence[PreprocessedRun],
    anatomy: Anatomy,
    labels: NDArray[np.bool_],
    *,
    grid: Grid,
    table: pd.DataFrame,
    work: Path,
    figures: Path,
    template_points: Floats | None = None,
) -> Assessed:
    """All measures that can be had from derivatives; what cannot be had says why.

    Parameters
    ----------
    runs : sequence of PreprocessedRun
    anatomy : Anatomy
    labels : ndarray of bool, shape grid.shape
        Auditory regions.
    grid : Grid
    table : DataFrame
        Of the regions: ``name n_voxels n_voxels_atlas``.
    work : Path
        Folder for what is kept of each run: a series is read once, also if the call is repeated.
    figures : Path
        Start of the pictures' names, e.g. ``out/sub-01/figures/sub-01_``.
    template_points : ndarray, shape (3, n_voxels), optional
        The grid's voxels in template coordinates, RAS mm; by default the grid is the template's.
    """
    points = grid.points()
    tissues = _tissues(anatomy, points)
    measurements: list[Measurement] = []
    files = []
    for run in runs:
        mask = load_mask(run.mask)
        inside = mask.ravel()
        layout = Layout.of(*(t[inside] for t in tissues)) if tissues else Layout.unsorted(int(inside.sum()))
        files.append(_files(run, _kept(run, mask, layout, work)))
        for one in quality.signal_measures(files[-1], labels):
            no_raw = one.measure == "tsnr_ratio"
            measurements += unavailable([one.measure], _NO_RAW, one.run) if no_raw else [one]
    measurements += _match(files, anatomy, points)
    measurements += _participant(anatomy, points, points if template_points is None else template_points)
    measurements += quality.region_measures(table)
    tsnr, carpets = quality_pictures(files, labels, grid, work)
    shown = [(TSNR_TITLE, place(tsnr, Path(f"{figures}desc-tsnr.png")))]
    for run, path in zip(runs, carpets):
        shown.append((carpet_title(run.run.name), place(path, Path(f"{figures}{run.run.name}_desc-carpet.png"))))
    return Assessed(tuple(measurements), tuple(shown))


def _tissues(anatomy: Anatomy, points: Floats) -> tuple[Floats, Floats] | None:
    """Probabilities of white matter and CSF at the grid's voxels, where there are images of both."""
    if anatomy.white_matter is None or anatomy.csf is None:
        return None
    return sample(*load_image(anatomy.white_matter), points), sample(*load_image(anatomy.csf), points)


def _files(run: PreprocessedRun, kept: Path) -> RunFiles:
    name, tr = run.run.name, float(run.run.repetition_time)
    return RunFiles(name, run.run.session or "", run.mask, run.confounds, kept, run.non_steady, tr)


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
    # the file stays open: a compressed series is read through once, not from its start for every volume
    image = nib.load(bold, keep_file_open=True)
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
        if brain is None:
            overlaps += unavailable(["bold_t1w_dice"], _NO_T1W, run.name)
        else:
            overlaps += measured([("bold_t1w_dice", quality.dice(mask, brain))], run.name)
    return overlaps + quality.session_fit(means)


def _participant(anatomy: Anatomy, points: Floats, template_points: Floats) -> list[Measurement]:
    """Fit to the template, brain volume."""
    if anatomy.t1w is None or anatomy.mask is None:
        fit = unavailable(["registration_correlation"], _NO_T1W)
    else:
        template = sample(*load_image(template_brain()), template_points)
        inside = template > 1e-3
        brain = sample(*load_image(anatomy.t1w), points) * (sample(*load_image(anatomy.mask), points) > 0.5)
        fit = measured([("registration_correlation", quality.correlation(brain[inside], template[inside]))])
    volume = quality.brain_volume(anatomy.own_mask) if anatomy.own_mask else unavailable(["t1w_brain_volume"], _NO_MASK)
    return fit + volume
