"""fMRIPrep's derivatives taken as they are: series, masks, confounds; regions are laid on their grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ants
import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing import figures
from ban_bids.preprocessing.atlases import description, find_atlas
from ban_bids.preprocessing.confounds import read_confounds
from ban_bids.preprocessing.files import load_image, load_mask, place, place_json, save_image
from ban_bids.preprocessing.fmriprep.files import (
    find_anatomical,
    find_confounds,
    find_series,
    find_transform,
    version_of,
)
from ban_bids.preprocessing.fmriprep.quality import Anatomy, assess_derivatives
from ban_bids.preprocessing.quality import quality_notes
from ban_bids.preprocessing.regions import (
    GREY_MATTER_FLOOR,
    AtlasFiles,
    labels_at,
    near_cortex,
    read_atlas,
    region_table,
    write_region_table,
)
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE, Grid
from ban_bids.preprocessing.space.transforms import sample
from ban_bids.settings import Settings

Floats = NDArray[np.floating[Any]]


def ingest(participant: Participant, folder: Path, settings: Settings) -> PreprocessedParticipant:
    """Find a participant's images among fMRIPrep's derivatives and lay the regions on their grid.

    Parameters
    ----------
    participant : Participant
    folder : Path
        fMRIPrep's output.
    settings : Settings
        ``space`` is the template, or ``T1w`` where the transform between them is there; ``res`` picks one of
        several resolutions.

    Returns
    -------
    PreprocessedParticipant

    Raises
    ------
    DataError
        A piece is missing (its name pattern is told), several resolutions fit, or runs differ in grid.
    """
    runs = tuple(_find_run(run, folder, settings) for run in participant.runs)
    grid = _common_grid([run.mask for run in runs])
    common = np.logical_and.reduce([load_mask(run.mask) for run in runs])
    grey, chosen = _grey_matter(participant, folder, settings.preprocessing.space, grid.points())
    points = _template_points(participant, folder, settings.preprocessing.space, grid.points())
    atlas = find_atlas(settings.preprocessing.atlas, settings.compute.work_dir / "atlases")
    labels, before, cortex = _laid(common & grey.reshape(grid.shape), points, atlas)
    if not cortex.any():
        raise DataError(f"{runs[0].mask}: no cortical voxel lies in every run's mask; look at the images")
    table, notes = region_table(labels, before, atlas)
    files = _write(participant, settings, grid, labels, cortex, table)
    shown = _figures(participant, settings, folder, runs, grid, files["dseg"])
    assessed = assess_derivatives(
        runs,
        _anatomy(participant, folder, settings.preprocessing.space),
        labels > 0,
        grid=grid,
        table=table,
        work=settings.compute.work_dir / "fmriprep" / f"sub-{participant.label}",
        figures=settings.output.output_dir / f"sub-{participant.label}" / "figures" / f"sub-{participant.label}_",
        template_points=points,
    )
    places = files["cortex"], files["dseg"], files["table"]
    return PreprocessedParticipant(
        participant,
        settings.preprocessing.space,
        runs,
        *places,
        f"fmriprep-{version_of(folder)}",
        (*shown, *assessed.figures),
        assessed.measurements,
        (*notes, *chosen, *_option_notes(settings), *quality_notes(assessed.measurements)),
    )


def _laid(
    possible: NDArray[np.bool_], points: Floats, atlas: AtlasFiles
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Regions in grey matter that every run covers, regions of the whole atlas, and the cortex."""
    before = labels_at(*read_atlas(atlas), points).reshape(possible.shape)
    labels = np.where(possible, before, 0).astype(np.uint8)
    return labels, before, (possible & near_cortex(points).reshape(possible.shape)) | (labels > 0)


def _find_run(run: Run, folder: Path, settings: Settings) -> PreprocessedRun:
    bold, mask = find_series(run, folder, settings)
    confounds = find_confounds(run, folder)
    _check_length(bold, run)
    return PreprocessedRun(run, bold, mask, confounds, _reference(bold, run), _non_steady(confounds, settings))


def _check_length(bold: Path, run: Run) -> None:
    shape = nib.load(bold).shape
    if len(shape) != 4 or shape[3] != run.n_volumes:
        raise DataError(f"{bold}: shape {shape} for a run of {run.n_volumes} volumes; take this run's series")


def _reference(bold: Path, run: Run) -> float:
    """Reference time that the derivative's sidecar states, else by our rule."""
    path = bold.with_name(bold.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    content: dict[str, Any] = {}
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: not JSON ({error}); copy it from fMRIPrep's output") from error
    if "StartTime" in content:
        return run.first_volume + float(content["StartTime"])
    corrected = content.get("SliceTimingCorrected", run.slice_timing is not None)
    return (run if corrected else replace(run, slice_timing=None)).reference_time


def _non_steady(confounds: Path, settings: Settings) -> int:
    """``--dummy-scans``, else as many as fMRIPrep found."""
    if settings.preprocessing.dummy_scans is not None:
        return settings.preprocessing.dummy_scans
    table = read_confounds(confounds)
    return sum(name.startswith("non_steady_state_outlier") for name in table.columns)


def _option_notes(settings: Settings) -> tuple[str, ...]:
    """What options do, and do not do, to images that are taken as they are."""
    notes: tuple[str, ...] = ()
    if settings.preprocessing.dummy_scans is not None:
        notes += (f"--dummy-scans {settings.preprocessing.dummy_scans} replaces fMRIPrep's non-steady-state volumes",)
    if settings.preprocessing.use_syn_sdc:
        notes += ("--use-syn-sdc changes nothing in fMRIPrep's derivatives",)
    return notes


def _common_grid(masks: Sequence[Path]) -> Grid:
    first = nib.load(masks[0])
    for path in masks[1:]:
        image = nib.load(path)
        if image.shape != first.shape or not np.allclose(image.affine, first.affine, atol=1e-3):
            raise DataError(f"{path}: another grid than {masks[0].name}; choose one resolution with --res")
    shape = tuple(int(n) for n in first.shape[:3])
    return Grid((shape[0], shape[1], shape[2]), np.asarray(first.affine, float))


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


def _anatomy(participant: Participant, folder: Path, space: str) -> Anatomy:
    """Images of the T1w that measures of quality can be made from, as far as they are there."""

    def first(tail: str, where: str) -> Path | None:
        paths, _ = find_anatomical(participant, folder, where, tail)
        return paths[0] if paths else None

    return Anatomy(
        first("desc-preproc_T1w", space),
        first("desc-brain_mask", space),
        first("label-WM_probseg", space),
        first("label-CSF_probseg", space),
        first("desc-brain_mask", NATIVE),
    )


def _grey_matter(
    participant: Participant, folder: Path, space: str, points: Floats
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Grey matter at points of the output space, from its probability or else the segmentation (label 1)."""
    for tail, floor in (("label-GM_probseg", GREY_MATTER_FLOOR), ("dseg", 0.5)):
        paths, notes = find_anatomical(participant, folder, space, tail)
        if paths:
            # the finest resolution: probabilities are interpolated, so any will do
            data, affine = load_image(paths[0])
            if tail == "dseg":
                data = (np.rint(data) == 1).astype(np.float32)
            return sample(data, affine, points) > floor, notes
    named = f"space-{space}[_res-*]_" if space == TEMPLATE else ""
    pattern = f"sub-{participant.label}_{named}label-GM_probseg.nii.gz (or _dseg.nii.gz)"
    raise DataError(f"{folder}: no file {pattern}; run fMRIPrep with --output-spaces {space}, or copy anat/")


def _write(
    participant: Participant,
    settings: Settings,
    grid: Grid,
    labels: NDArray[np.uint8],
    cortex: NDArray[np.bool_],
    table: pd.DataFrame,
) -> dict[str, Path]:
    """Regions and cortex under the names of our own outputs."""
    stem = f"sub-{participant.label}_space-{settings.preprocessing.space}_desc-"
    func = settings.output.output_dir / f"sub-{participant.label}" / "func"
    work = settings.compute.work_dir / "fmriprep" / f"sub-{participant.label}"
    work.mkdir(parents=True, exist_ok=True)
    sources = (
        ("dseg", save_image(work / "dseg.nii.gz", labels, grid.affine), "auditory_dseg.nii.gz"),
        ("table", write_region_table(table, work / "dseg.tsv"), "auditory_dseg.tsv"),
        ("cortex", save_image(work / "cortex.nii.gz", cortex, grid.affine), "cortex_mask.nii.gz"),
    )
    files = {key: place(source, func / f"{stem}{name}") for key, source, name in sources}
    told = {"Description": "Auditory regions clipped to grey matter and BOLD masks"}
    place_json(told | description(settings.preprocessing.atlas), func / f"{stem}auditory_dseg.json")
    place_json({"Description": "Cortical grey matter", "Type": "ROI"}, func / f"{stem}cortex_mask.json")
    return files


def _figures(
    participant: Participant,
    settings: Settings,
    folder: Path,
    runs: Sequence[PreprocessedRun],
    grid: Grid,
    dseg: Path,
) -> tuple[tuple[str, Path], ...]:
    work = settings.compute.work_dir / "fmriprep" / f"sub-{participant.label}"
    target = settings.output.output_dir / f"sub-{participant.label}" / "figures" / f"sub-{participant.label}_desc-"
    tables, names = [str(run.confounds) for run in runs], [run.run.name for run in runs]
    shown = [("Head motion and framewise displacement", figures.motion(tables, names, work))]
    brains, _ = find_anatomical(participant, folder, settings.preprocessing.space, "desc-preproc_T1w")
    if brains:
        values = sample(*load_image(brains[0]), grid.points())
        t1w = save_image(work / "t1w.nii.gz", values.reshape(grid.shape), grid.affine)
        shown.append(("Auditory regions on the T1w image", figures.regions(str(t1w), str(dseg), work)))
    return tuple((title, place(path, Path(f"{target}{path.name}"))) for title, path in shown)
