"""fMRIPrep's derivatives taken as they are: series, masks, confounds; regions are laid on their grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ants
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.bids.images import orientation_notes
from ban_bids.errors import DataError
from ban_bids.files.fetched import absence
from ban_bids.files.images import open_image
from ban_bids.inputs.derivatives import (
    RESTORE,
    check_derivative,
    check_says_where,
    derived_sidecar,
    files_of_run,
    made_header,
)
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing import figures
from ban_bids.preprocessing.files import load_image, load_mask, save_image
from ban_bids.preprocessing.fmriprep.files import find_anatomical, find_transform, version_of
from ban_bids.preprocessing.fmriprep.quality import Anatomy, assess_derivatives
from ban_bids.preprocessing.publish import Picture, place_figures, place_regions
from ban_bids.preprocessing.quality import quality_notes
from ban_bids.preprocessing.regions import GREY_MATTER_FLOOR, AtlasFiles, RegionMaps
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE, Grid
from ban_bids.preprocessing.space.transforms import sample
from ban_bids.preprocessing.strategies import confounds_table
from ban_bids.settings import Preprocessing
from ban_bids.typing import Floats

_MOST_PROBABLE = 1.05
"""Probability that interpolation may give."""


def ingest(
    participant: Participant,
    folder: Path,
    options: Preprocessing,
    *,
    atlas: AtlasFiles,
    output_dir: Path,
    work_dir: Path,
) -> PreprocessedParticipant:
    """Find a participant's images among fMRIPrep's derivatives and lay the regions on their grid.

    Parameters
    ----------
    participant : Participant
    folder : Path
        fMRIPrep's output.
    options : Preprocessing
        ``space`` is the template, or ``T1w`` where the transform between them is there; ``res`` picks one of
        several resolutions.
    atlas : AtlasFiles
    output_dir, work_dir : Path

    Returns
    -------
    PreprocessedParticipant

    Raises
    ------
    DataError
        A piece is missing (its name pattern is named), several resolutions fit, or runs differ in grid.
    """
    space = options.space
    work = work_dir / "fmriprep" / f"sub-{participant.label}"
    work.mkdir(parents=True, exist_ok=True)
    runs = tuple(_take_run(run, participant, folder, options) for run in participant.runs)
    grid = _common_grid([run.mask for run in runs])
    common = np.logical_and.reduce([_brain(run.mask) for run in runs])
    grey, notes = _grey_matter(participant, folder, space, grid.points())
    points = _template_points(participant, folder, space, grid.points())
    maps = RegionMaps.lay(atlas, points, possible=common & grey.reshape(grid.shape), source=runs[0].mask)
    regions = place_regions(maps.save(work, grid.affine), participant.label, options, output_dir)
    anatomy, unfetched = _anatomy(participant, folder, space)
    measurements, pictures = assess_derivatives(runs, anatomy, maps, grid=grid, template_points=points, work=work)
    pictures = [*_figures(runs, anatomy.t1w, grid, dseg=regions["dseg"], work=work), *pictures]
    return PreprocessedParticipant(
        participant,
        space,
        runs,
        **regions,
        source=f"fmriprep-{version_of(folder)}",
        figures=place_figures(pictures, participant, output_dir),
        quality=measurements,
        notes=(
            *maps.notes,
            *notes,
            *unfetched,
            *_option_notes(options),
            *_gap_notes(runs),
            *_side_notes(runs),
            *quality_notes(measurements),
        ),
    )


def _take_run(run: Run, participant: Participant, folder: Path, options: Preprocessing) -> PreprocessedRun:
    """A run with fMRIPrep's files, whose headers and table were checked.

    Raises
    ------
    DataError
    """
    run = files_of_run(run, participant, folder, options)
    check_derivative(run)
    files = run.derivative
    assert files is not None  # files_of_run raises otherwise
    t_ref = run.reference_time_of(derived_sidecar(files.bold))
    taken = PreprocessedRun(run, files.bold, files.mask, files.confounds, t_ref, options.dummy_scans or 0)
    columns = confounds_table(taken).columns
    if options.dummy_scans is not None:
        return taken
    return replace(taken, non_steady=sum(name.startswith("non_steady_state_outlier") for name in columns))


def _brain(path: Path) -> NDArray[np.bool_]:
    mask = load_mask(path, RESTORE)
    if not mask.any():
        raise DataError(f"{path}: no voxel in this mask; {RESTORE}")
    return mask


def _gap_notes(runs: Sequence[PreprocessedRun]) -> tuple[str, ...]:
    """Note runs with gaps between volumes in which fMRIPrep shifted slices as if there were none."""
    shifted = []
    for run in runs:
        longest, interval = float(np.diff(run.run.since_first).max()), run.run.repetition_time
        gaps = longest > 1.1 * interval or longest > 2 * (run.run.acquisition_time or interval)
        if gaps and derived_sidecar(run.bold).get("SliceTimingCorrected"):
            shifted.append(run.bold.name)
    if not shifted:
        return ()
    more = f" (and {len(shifted) - 1} more)" if len(shifted) > 1 else ""
    return (
        f"{shifted[0]}{more}: slice timing was corrected over the silence between volumes, "
        "which invents signal; run fMRIPrep with --ignore slicetiming",
    )


def _side_notes(runs: Sequence[PreprocessedRun]) -> tuple[str, ...]:
    """Note series whose sform and qform contradict each other, the first of each kind."""
    doubts = {note: run.bold.name for run in reversed(runs) for note in orientation_notes(open_image(run.bold))}
    return tuple(f"{name}: {note}" for note, name in doubts.items())


def _option_notes(options: Preprocessing) -> tuple[str, ...]:
    """What options do, and do not do, to images that are taken as they are."""
    notes: tuple[str, ...] = ()
    if options.dummy_scans is not None:
        notes += (f"--dummy-scans {options.dummy_scans} replaces fMRIPrep's non-steady-state volumes",)
    if options.use_syn_sdc:
        notes += ("--use-syn-sdc changes nothing in fMRIPrep's derivatives",)
    others = [f"{name}={path}" for name, path in options.derivatives if name != "fmriprep"]
    if others:
        notes += (f"--derivatives {', '.join(others)}: not used; images are taken from fMRIPrep's alone",)
    return notes


def _common_grid(masks: Sequence[Path]) -> Grid:
    first = open_image(masks[0], RESTORE)
    for path in masks[1:]:
        image = open_image(path, RESTORE)
        if image.shape != first.shape or not np.allclose(image.affine, first.affine, atol=1e-3):
            raise DataError(f"{path}: another grid than {masks[0].name}; choose one resolution with --res")
    return Grid.of(first.shape, first.affine)


def _template_points(participant: Participant, folder: Path, space: str, points: Floats) -> Floats:
    """Points ``(3, n)`` of the output space in template coordinates, RAS mm."""
    if space == TEMPLATE:
        return points
    path = find_transform(participant, folder)
    flip = np.array([[-1.0], [-1.0], [1.0]])  # ITK's coordinates are LPS
    # the transform that resamples template images onto the T1w image takes points of the T1w image
    table = pd.DataFrame((flip * points).T, columns=["x", "y", "z"])
    try:
        ants.read_transform(str(path))  # applying what cannot be read ends the process
    except RuntimeError as error:
        raise DataError(f"{path}: ITK cannot read this transform; copy it again") from error
    moved = ants.apply_transforms_to_points(3, table, [str(path)])
    return flip * moved[["x", "y", "z"]].to_numpy(float).T


def _anatomy(participant: Participant, folder: Path, space: str) -> tuple[Anatomy, tuple[str, ...]]:
    """Images of the T1w that measures of quality can be made from, as far as they are there, and those not fetched."""
    unfetched: list[str] = []

    def first(tail: str, where: str) -> Path | None:
        paths, _ = find_anatomical(participant, folder, where, tail)
        if paths and absence(paths[0]) is not None:
            unfetched.append(f"{paths[0]}: not fetched; measures of quality that need it are n/a (datalad get)")
            return None
        return paths[0] if paths else None

    anatomy = Anatomy(
        first("desc-preproc_T1w", space),
        first("desc-brain_mask", space),
        (first("label-WM_probseg", space), first("label-CSF_probseg", space)),
        first("desc-brain_mask", NATIVE),
    )
    return anatomy, tuple(unfetched)


def _grey_matter(
    participant: Participant, folder: Path, space: str, points: Floats
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Grey matter at points of the output space, from its probability or else the segmentation (label 1)."""
    for tail, floor in (("label-GM_probseg", GREY_MATTER_FLOOR), ("dseg", 0.5)):
        paths, notes = find_anatomical(participant, folder, space, tail)
        if paths:
            # the finest resolution: probabilities are interpolated, so any will do
            data, affine = load_image(paths[0], RESTORE)
            check_says_where(paths[0], made_header(paths[0]))
            largest = float(np.nanmax(data, initial=0.0))
            if tail != "dseg" and largest > _MOST_PROBABLE:
                raise DataError(f"{paths[0]}: values up to {largest:.3g} are no probabilities (percents?); {RESTORE}")
            if tail == "dseg":
                data = (np.rint(data) == 1).astype(np.float32)
            grey = sample(np.nan_to_num(data), affine, points) > floor
            if not grey.any():
                raise DataError(f"{paths[0]}: no grey matter where the series lie; {RESTORE}")
            return grey, notes
    named = f"space-{space}[_res-*]_" if space == TEMPLATE else ""
    pattern = f"sub-{participant.label}_{named}label-GM_probseg.nii.gz (or _dseg.nii.gz)"
    raise DataError(f"{folder}: no file {pattern}; {_without_grey_matter(participant, folder, space)}")


def _without_grey_matter(participant: Participant, folder: Path, space: str) -> str:
    """What helps where the anatomy lacks what the regions need."""
    there = [name for name in (TEMPLATE, NATIVE) if find_anatomical(participant, folder, name, "label-GM_probseg")[0]]
    if there:
        return f"there is that of space {' and '.join(there)}; run fMRIPrep with --output-spaces {space}"
    return "fMRIPrep writes it into anat/ beside func/: copy that folder too"


def _figures(
    runs: Sequence[PreprocessedRun], brain: Path | None, grid: Grid, *, dseg: Path, work: Path
) -> list[Picture]:
    """Pictures of motion and, with a T1w image in the output space, of the regions."""
    motion = figures.motion([run.confounds for run in runs], [run.run.name for run in runs], work)
    drawn: list[Picture] = [("Head motion and framewise displacement", motion, "motion", None)]
    if brain is not None:
        values = sample(*load_image(brain, RESTORE), grid.points())
        t1w = save_image(work / "t1w.nii.gz", values.reshape(grid.shape), grid.affine)
        drawn.append(("Auditory regions on the T1w image", figures.regions(t1w, dseg, work), "regions", None))
    return drawn
