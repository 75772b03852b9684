"""fMRIPrep's derivatives taken as they are: series, masks, confounds; regions are laid on their grid."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.errors import DataError
from ban_bids.inputs.dataset import Participant, Run
from ban_bids.preprocessing import figures
from ban_bids.preprocessing.confounds import read_confounds
from ban_bids.preprocessing.files import load_mask, place, place_json, save_image
from ban_bids.preprocessing.fmriprep_quality import Anatomy, assess_derivatives
from ban_bids.preprocessing.quality import quality_notes
from ban_bids.preprocessing.regions import (
    GREY_MATTER_FLOOR,
    labels_at,
    near_cortex,
    read_atlas,
    region_table,
)
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.preprocessing.template import TEMPLATE, Grid
from ban_bids.preprocessing.transforms import sample
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)


def ingest(participant: Participant, folder: Path, settings: Settings) -> PreprocessedParticipant:
    """Find a participant's images among fMRIPrep's derivatives and lay the regions on their grid.

    Parameters
    ----------
    participant : Participant
    folder : Path
        fMRIPrep's output.
    settings : Settings
        ``space`` must be the template; ``res`` picks one of several resolutions.

    Returns
    -------
    PreprocessedParticipant

    Raises
    ------
    DataError
        A piece is missing (its name pattern is told), several resolutions fit, or runs differ in grid.
    """
    if settings.space != TEMPLATE:
        raise DataError(
            f"--space {settings.space} with -d fmriprep: only {TEMPLATE} has the regions; choose it"
        )
    runs = tuple(_find_run(run, folder, settings) for run in participant.runs)
    grid = _common_grid([run.mask for run in runs])
    common = np.logical_and.reduce([load_mask(run.mask) for run in runs])
    points = grid.points()
    grey = _grey_matter(participant, folder, points).reshape(grid.shape)
    before = labels_at(*read_atlas(settings.atlas), points).reshape(grid.shape)
    labels = np.where(common & grey, before, 0).astype(np.uint8)
    cortex = (common & grey & near_cortex(points).reshape(grid.shape)) | (labels > 0)
    if not cortex.any():
        raise DataError(f"{runs[0].mask}: no cortical voxel lies in every run's mask; look at the images")
    table, notes = region_table(labels, before, settings.atlas)
    files = _write(participant, settings, grid, labels, cortex, table)
    shown = _figures(participant, settings, folder, runs, grid, files["dseg"])
    assessed = assess_derivatives(
        runs,
        _anatomy(participant, folder),
        labels > 0,
        grid,
        table,
        int(cortex.sum()),
        settings.work_dir / "fmriprep" / f"sub-{participant.label}",
        settings.output_dir / f"sub-{participant.label}" / "figures" / f"sub-{participant.label}_",
    )
    source = f"fmriprep-{version_of(folder)}"
    return PreprocessedParticipant(
        participant,
        settings.space,
        runs,
        files["cortex"],
        files["dseg"],
        files["table"],
        source,
        (*shown, *assessed.figures),
        assessed.measurements,
        (*notes, *_option_notes(settings), *quality_notes(assessed.measurements)),
    )


def version_of(folder: Path) -> str:
    """Version that made the derivatives, ``unknown`` where their description does not tell."""
    try:
        content = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        _LOG.warning("%s: no readable dataset_description.json; fMRIPrep's version is unknown", folder)
        return "unknown"
    made = content.get("GeneratedBy") or [{}]
    return str(made[0].get("Version", "unknown"))


def _places(participant: str, session: str | None, folder: Path, kind: str) -> list[Path]:
    subject = folder / f"sub-{participant}"
    return [subject / f"ses-{session}" / kind, subject / kind] if session else [subject / kind]


def _one(found: Sequence[Path], pattern: str, folder: Path, hint: str) -> Path:
    if not found:
        raise DataError(f"{folder}: no file {pattern}; {hint}")
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise DataError(f"{folder}: several files fit {pattern} ({names}); {hint}")
    return found[0]


def _entities(name: str) -> dict[str, str]:
    return dict(part.split("-", 1) for part in name.split("_") if "-" in part)


def _matching(run: Run, folder: Path, tail: str, space: str | None, res: str | None) -> list[Path]:
    """Files of a run with a tail (``desc-preproc_bold.nii.gz``), a space and a resolution."""
    wanted = dict(run.entities)
    found = []
    for place_ in _places(run.participant, run.session, folder, "func"):
        for path in sorted(place_.glob(f"sub-{run.participant}*_{tail}")):
            has = _entities(path.name)
            if any(has.get(key) != value for key, value in wanted.items()):
                continue
            extra = set(has) - set(wanted) - {"desc", "space", "res", "cohort"}
            if extra or has.get("space") != space or (res is not None and has.get("res", "native") != res):
                continue
            found.append(path)
    return found


def _find_run(run: Run, folder: Path, settings: Settings) -> PreprocessedRun:
    stem = f"sub-{run.participant}_{run.name}_space-{settings.space}"
    wanted = None if settings.res == "native" else settings.res.removesuffix("mm")
    hint = f"run fMRIPrep with --output-spaces {settings.space}, or choose a resolution with --res"
    series = []
    for tail in ("desc-preproc_bold.nii.gz", "desc-preproc_bold.nii"):
        series += _matching(run, folder, tail, settings.space, wanted)
    bold = _one(series, f"{stem}[_res-*]_desc-preproc_bold.nii.gz", folder, hint)
    res = _entities(bold.name).get("res", "native")
    masks = _matching(run, folder, "desc-brain_mask.nii.gz", settings.space, res)
    mask = _one(masks, f"{stem}[_res-*]_desc-brain_mask.nii.gz", folder, "it belongs beside the series")
    tables = _matching(run, folder, "desc-confounds_timeseries.tsv", None, None)
    tables += _matching(run, folder, "desc-confounds_regressors.tsv", None, None)
    pattern = f"sub-{run.participant}_{run.name}_desc-confounds_timeseries.tsv"
    confounds = _one(tables, pattern, folder, "copy it from fMRIPrep's output")
    _check_length(bold, run)
    return PreprocessedRun(
        run, bold, mask, confounds, _reference(bold, run), _non_steady(confounds, settings)
    )


def _check_length(bold: Path, run: Run) -> None:
    shape = nib.load(bold).shape
    if len(shape) != 4 or shape[3] != run.n_volumes:
        raise DataError(f"{bold}: shape {shape} for a run of {run.n_volumes} volumes; take this run's series")


def _reference(bold: Path, run: Run) -> float:
    """Reference time that the derivative's sidecar states, else by our rule."""
    path = bold.with_name(bold.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    content: dict[str, Any] = {}
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
    if "StartTime" in content:
        return run.first_volume + float(content["StartTime"])
    corrected = content.get("SliceTimingCorrected", run.slice_timing is not None)
    return (run if corrected else replace(run, slice_timing=None)).reference_time


def _non_steady(confounds: Path, settings: Settings) -> int:
    """``--dummy-scans``, else as many as fMRIPrep found."""
    if settings.dummy_scans is not None:
        return settings.dummy_scans
    table = read_confounds(confounds)
    return sum(name.startswith("non_steady_state_outlier") for name in table.columns)


def _option_notes(settings: Settings) -> tuple[str, ...]:
    """What options do, and do not do, to images that are taken as they are."""
    notes: tuple[str, ...] = ()
    if settings.dummy_scans is not None:
        notes += (f"--dummy-scans {settings.dummy_scans} replaces fMRIPrep's non-steady-state volumes",)
    if settings.use_syn_sdc:
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


def _anatomical(participant: Participant, folder: Path, tail: str) -> list[Path]:
    sessions = {run.session for run in participant.runs}
    found: set[Path] = set()
    for session in sessions:
        for place_ in _places(participant.label, session, folder, "anat"):
            found |= set(place_.glob(f"sub-{participant.label}*space-{TEMPLATE}*_{tail}"))
    # the finest resolution: probabilities are interpolated, so any will do
    return sorted(found, key=lambda path: float(np.prod(nib.load(path).header.get_zooms()[:3])))


def _anatomy(participant: Participant, folder: Path) -> Anatomy:
    """Images of the T1w that measures of quality can be made from, as far as they are there."""
    places = {p for run in participant.runs for p in _places(participant.label, run.session, folder, "anat")}
    pattern = f"sub-{participant.label}*_"

    def first(tail: str, own: bool = False) -> Path | None:
        found = _anatomical(participant, folder, tail)
        if own:
            files = [path for place_ in places for path in place_.glob(pattern + tail)]
            found = sorted(path for path in files if "space" not in _entities(path.name))
        return found[0] if found else None

    tissues = tuple(first(f"label-{name}_probseg.nii.gz", own=True) for name in ("CSF", "GM", "WM"))
    return Anatomy(
        first("desc-preproc_T1w.nii.gz"),
        first("desc-brain_mask.nii.gz"),
        first("label-WM_probseg.nii.gz"),
        first("label-CSF_probseg.nii.gz"),
        first("desc-brain_mask.nii.gz", own=True),
        (tissues[0], tissues[1], tissues[2]),
    )


def _grey_matter(
    participant: Participant, folder: Path, points: NDArray[np.floating[Any]]
) -> NDArray[np.bool_]:
    """Grey matter at template points, from the probability image or else the segmentation (label 1)."""
    for tail, floor in (("label-GM_probseg.nii.gz", GREY_MATTER_FLOOR), ("dseg.nii.gz", 0.5)):
        for path in _anatomical(participant, folder, tail):
            if "desc-" in path.name:
                continue  # desc-aseg_dseg and the like have other labels
            image = nib.load(path)
            data = np.asarray(image.dataobj, np.float32)
            if tail.startswith("dseg"):
                data = (np.rint(data) == 1).astype(np.float32)
            return sample(data, np.asarray(image.affine, float), points) > floor
    pattern = f"sub-{participant.label}_space-{TEMPLATE}[_res-*]_label-GM_probseg.nii.gz (or _dseg.nii.gz)"
    raise DataError(f"{folder}: no file {pattern}; run fMRIPrep with --output-spaces {TEMPLATE}")


def _write(
    participant: Participant,
    settings: Settings,
    grid: Grid,
    labels: NDArray[np.uint8],
    cortex: NDArray[np.bool_],
    table: pd.DataFrame,
) -> dict[str, Path]:
    """Regions and cortex under the names of our own outputs."""
    stem = f"sub-{participant.label}_space-{settings.space}_desc-"
    func = settings.output_dir / f"sub-{participant.label}" / "func"
    work = settings.work_dir / "fmriprep" / f"sub-{participant.label}"
    work.mkdir(parents=True, exist_ok=True)
    table.to_csv(work / "dseg.tsv", sep="\t", index=False)
    sources = (
        ("dseg", save_image(work / "dseg.nii.gz", labels, grid.affine), "auditory_dseg.nii.gz"),
        ("table", work / "dseg.tsv", "auditory_dseg.tsv"),
        ("cortex", save_image(work / "cortex.nii.gz", cortex, grid.affine), "cortex_mask.nii.gz"),
    )
    files = {key: place(source, func / f"{stem}{name}") for key, source, name in sources}
    place_json({"Description": "Auditory regions"}, func / f"{stem}auditory_dseg.json")
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
    work = settings.work_dir / "fmriprep" / f"sub-{participant.label}"
    target = settings.output_dir / f"sub-{participant.label}" / "figures" / f"sub-{participant.label}_desc-"
    tables, names = [str(run.confounds) for run in runs], [run.run.name for run in runs]
    shown = [("Head motion and framewise displacement", figures.motion(tables, names, work))]
    brains = _anatomical(participant, folder, "desc-preproc_T1w.nii.gz")
    if brains:
        image = nib.load(brains[0])
        values = sample(np.asarray(image.dataobj, np.float32), image.affine, grid.points())
        t1w = save_image(work / "t1w.nii.gz", values.reshape(grid.shape), grid.affine)
        shown.append(("Auditory regions on the T1w image", figures.regions(str(t1w), str(dseg), work)))
    return tuple((title, place(path, Path(f"{target}{path.name}"))) for title, path in shown)
