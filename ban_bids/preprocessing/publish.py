"""Put a participant's finished images and transforms under their BIDS names, with sidecars.

Names are those that users of fMRIPrep expect. A run's files lie in the folder of its session and carry ``ses-``;
what belongs to the participant carries none. ``from-X_to-Y`` with ``mode-image``: antsApplyTransforms brings an
image of X to Y with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.bids.names import sidecar
from ban_bids.files.atomic import write_text
from ban_bids.files.json import write_json
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.atlases import description
from ban_bids.preprocessing.files import place, raw_uri
from ban_bids.preprocessing.quality import Measurement, quality_notes
from ban_bids.preprocessing.quality_figures import TSNR_TITLE, carpet_title
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE
from ban_bids.preprocessing.space.transforms import itk_text
from ban_bids.settings import Preprocessing

FIGURES = (
    ("fig_anatomy", "Brain mask (red) on the T1w image"),
    ("fig_normalization", "T1w brain in template space; outlines of the template (red) and its white matter"),
    ("fig_coregistration", "BOLD references; outlines of the T1w brain (red) and white matter (cyan)"),
    ("fig_motion", "Head motion and framewise displacement"),
    ("fig_regions", "Auditory regions on the T1w image"),
    ("fig_tsnr", TSNR_TITLE),
)
_WITHOUT_T1W = "firstboldref"
"""What stands in the names for the T1w image where there is none: the first run's reference."""

LISTS = {
    "bold": "bolds",
    "mask": "masks",
    "confounds": "confounds",
    "non_steady": "non_steady",
    "quality": "signals",
    "reference": "references",
    "motion": "motions",
    "matrix": "matrices",
}
"""Outputs of a run's workflow, and the lists over runs that they make."""

Summary = Mapping[str, Any]
"""What the node ``collect`` wrote: a participant's files and measures by name."""


def read_summary(path: Path) -> Summary:
    """Summary of a participant."""
    content: Summary = json.loads(path.read_text(encoding="utf-8"))
    return content


def publish(
    participant: Participant, summary: Summary, options: Preprocessing, *, bids_dir: Path, output_dir: Path
) -> PreprocessedParticipant:
    """Place all files and say what they are.

    Parameters
    ----------
    participant : Participant
    summary : mapping
    options : Preprocessing
    bids_dir, output_dir : Path

    Returns
    -------
    PreprocessedParticipant
    """
    folder = output_dir / f"sub-{participant.label}"
    _publish_anatomy(participant, summary, options.space, folder=folder, bids_dir=bids_dir)
    runs = tuple(
        _publish_run(
            run,
            {name: summary[several][index] for name, several in LISTS.items() if several in summary},
            folder / (f"ses-{run.session}" if run.session else "") / "func",
            space=options.space,
            anatomy=_anatomy(participant),
            source={"Sources": [raw_uri(run.bold, bids_dir)]},
        )
        for index, run in enumerate(participant.runs)
    )
    regions = {key: Path(summary[key]) for key in ("dseg", "table", "cortex")}
    quality = tuple(Measurement(**one) for one in summary["quality"])
    return PreprocessedParticipant(
        participant,
        options.space,
        runs,
        **place_regions(regions, participant.label, options, output_dir),
        source="ban-bids",
        figures=_publish_figures(participant, summary, folder / "figures"),
        quality=quality,
        notes=(*(str(note) for note in summary.get("notes", [])), *quality_notes(quality)),
    )


def place_regions(files: Mapping[str, Path], label: str, options: Preprocessing, output_dir: Path) -> dict[str, Path]:
    """Place a participant's regions and cortex.

    Parameters
    ----------
    files : mapping
        ``dseg``, ``table``, ``cortex``.
    label : str
        Of the participant.
    options : Preprocessing
    output_dir : Path

    Returns
    -------
    dict
        ``dseg``, ``dseg_table`` and ``cortex``, as :class:`PreprocessedParticipant` has them.
    """
    stem = f"{output_dir}/sub-{label}/func/sub-{label}_space-{options.space}_desc-"
    regions = {"Description": "Auditory regions clipped to grey matter and BOLD masks"} | description(options.atlas)
    cortex = {"Description": "Cortical grey matter that every run covers", "Type": "ROI"}
    return {
        "dseg": place(files["dseg"], f"{stem}auditory_dseg.nii.gz", regions),
        "dseg_table": place(files["table"], f"{stem}auditory_dseg.tsv"),
        "cortex": place(files["cortex"], f"{stem}cortex_mask.nii.gz", cortex),
    }


def _publish_run(
    run: Run, files: Summary, folder: Path, *, space: str, anatomy: str, source: dict[str, Any]
) -> PreprocessedRun:
    """Place a run's own entries of the summary in its session's folder."""
    stem = f"{folder}/sub-{run.participant}_{run.name}"
    content = {
        "TaskName": run.task,
        "RepetitionTime": run.repetition_time,
        "StartTime": run.reference_time,
        "SliceTimingCorrected": bool(run.slice_timing),
        "SkullStripped": True,
    }
    bold = place(files["bold"], f"{stem}_space-{space}_desc-preproc_bold.nii.gz", content | source)
    mask = place(files["mask"], f"{stem}_space-{space}_desc-brain_mask.nii.gz", {"Type": "Brain", **source})
    confounds = place(files["confounds"], f"{stem}_desc-confounds_timeseries.tsv")
    place(sidecar(Path(files["confounds"])), sidecar(confounds))
    place(files["reference"], f"{stem}_desc-coreg_boldref.nii.gz", {"SkullStripped": False, **source})
    with np.load(files["motion"]) as stored:
        motion = list(stored["matrices"])
    for name, matrices, kind in (
        (f"from-boldref_to-{anatomy}_mode-image_desc-coreg", [np.loadtxt(files["matrix"])], "ITK affine"),
        ("from-orig_to-boldref_mode-image_desc-hmc", motion, "ITK affine, one per volume"),
    ):
        path = write_text(Path(f"{stem}_{name}_xfm.txt"), itk_text(matrices))
        write_json(sidecar(path), {"Description": kind, **source})
    return PreprocessedRun(run, bold, mask, confounds, run.reference_time, int(files["non_steady"]))


def _publish_anatomy(participant: Participant, summary: Summary, space: str, *, folder: Path, bids_dir: Path) -> None:
    """Place the T1w image, its mask and the transforms to and from the template."""
    used = [participant.t1w[number] for number in summary["t1w_used"]] or [participant.runs[0].bold]
    source = {"Sources": [raw_uri(path, bids_dir) for path in used]}
    anatomy = _anatomy(participant)
    composite = {"Description": "ITK composite: affine and displacement field"}
    image, brain = {"SkullStripped": False}, {"Type": "Brain"}
    files: list[tuple[str, str, dict[str, Any]]] = [
        ("to_template", f"from-{anatomy}_to-{TEMPLATE}_mode-image_xfm.h5", composite),
        ("from_template", f"from-{TEMPLATE}_to-{anatomy}_mode-image_xfm.h5", composite),
    ]
    if participant.t1w:
        files += [("t1w", "desc-preproc_T1w.nii.gz", image), ("t1w_mask", "desc-brain_mask.nii.gz", brain)]
        if space != NATIVE:
            files.append(("t1w_in_space", f"space-{space}_desc-preproc_T1w.nii.gz", image))
    for key, name, content in files:
        place(summary[key], folder / "anat" / f"sub-{participant.label}_{name}", content | source)


def _publish_figures(participant: Participant, summary: Summary, folder: Path) -> tuple[tuple[str, Path], ...]:
    """Titles and pictures of the report."""
    files = [(_title(title, participant), summary[key], f"desc-{key[4:]}") for key, title in FIGURES if key in summary]
    files += [
        ("BOLD reference before and after its distortion was reduced", path, f"desc-distortion{number}")
        for number, path in enumerate(summary.get("distortions", []), 1)
    ]
    files += [
        (carpet_title(run.name), path, f"{run.name}_desc-carpet")
        for run, path in zip(participant.runs, summary.get("carpets", []))
    ]
    stem = f"{folder}/sub-{participant.label}_"
    return tuple((title, place(path, f"{stem}{name}.png")) for title, path, name in files)


def _anatomy(participant: Participant) -> str:
    return NATIVE if participant.t1w else _WITHOUT_T1W


def _title(title: str, participant: Participant) -> str:
    if participant.t1w:
        return title
    return title.replace("T1w brain", "BOLD brain").replace("T1w image", "BOLD reference")
