"""Put a participant's finished images under their BIDS names, with sidecars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.atlases import description
from ban_bids.preprocessing.files import place, place_sidecar, raw_uri
from ban_bids.preprocessing.publish_anat import publish_anat, publish_transforms
from ban_bids.preprocessing.quality import Measurement, quality_notes
from ban_bids.preprocessing.quality_figures import TSNR_TITLE, carpet_title
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.settings import Settings

FIGURES = (
    ("fig_anatomy", "Brain mask (red) on the T1w image"),
    ("fig_normalization", "T1w brain in template space; outlines of the template (red) and its white matter"),
    ("fig_coregistration", "BOLD references; outlines of the T1w brain (red) and white matter (cyan)"),
    ("fig_motion", "Head motion and framewise displacement"),
    ("fig_regions", "Auditory regions on the T1w image"),
    ("fig_tsnr", TSNR_TITLE),
)


def publish(participant: Participant, summary: Mapping[str, Any], settings: Settings) -> PreprocessedParticipant:
    """Place all files and say what they are.

    Parameters
    ----------
    participant : Participant
    summary : mapping
        What the node ``collect`` wrote.
    settings : Settings

    Returns
    -------
    PreprocessedParticipant
    """
    space, folder = settings.preprocessing.space, settings.output.output_dir / f"sub-{participant.label}"
    publish_anat(participant, summary, settings, folder / "anat")
    runs = tuple(_publish_run(run, index, summary, settings, folder) for index, run in enumerate(participant.runs))
    stem = folder / "func" / f"sub-{participant.label}_space-{space}"
    dseg = place(Path(summary["dseg"]), Path(f"{stem}_desc-auditory_dseg.nii.gz"))
    table = place(Path(summary["table"]), Path(f"{stem}_desc-auditory_dseg.tsv"))
    cortex = place(Path(summary["cortex"]), Path(f"{stem}_desc-cortex_mask.nii.gz"))
    notes = [str(note) for note in summary.get("notes", [])]
    told = {"Description": "Auditory regions clipped to grey matter and BOLD masks"}
    place_sidecar(dseg, told | description(settings.preprocessing.atlas))
    place_sidecar(cortex, {"Description": "Cortical grey matter that every run covers", "Type": "ROI"})
    shown = tuple(
        (
            _title(title, participant),
            place(Path(summary[key]), folder / "figures" / f"sub-{participant.label}_desc-{key[4:]}.png"),
        )
        for key, title in FIGURES
        if key in summary
    )
    quality = tuple(Measurement(**one) for one in summary["quality"])
    notes += quality_notes(quality)
    shown += _distortions(participant, summary, folder)
    shown += _carpets(participant, summary, folder)
    return PreprocessedParticipant(
        participant, space, runs, cortex, dseg, table, "ban-bids", shown, quality, tuple(notes)
    )


def _title(title: str, participant: Participant) -> str:
    if participant.t1w:
        return title
    return title.replace("T1w brain", "BOLD brain").replace("T1w image", "BOLD reference")


def _distortions(participant: Participant, summary: Mapping[str, Any], folder: Path) -> tuple[tuple[str, Path], ...]:
    """Pictures of ``--use-syn-sdc``, one a field."""
    stem = folder / "figures" / f"sub-{participant.label}_desc-distortion"
    return tuple(
        (
            "BOLD reference before and after its distortion was reduced",
            place(Path(path), Path(f"{stem}{n}.png")),
        )
        for n, path in enumerate(summary.get("distortions", []), 1)
    )


def _carpets(participant: Participant, summary: Mapping[str, Any], folder: Path) -> tuple[tuple[str, Path], ...]:
    stem = folder / "figures" / f"sub-{participant.label}_"
    return tuple(
        (carpet_title(run.name), place(Path(path), Path(f"{stem}{run.name}_desc-carpet.png")))
        for run, path in zip(participant.runs, summary.get("carpets", []))
    )


def _publish_run(run: Run, index: int, summary: Mapping[str, Any], settings: Settings, folder: Path) -> PreprocessedRun:
    place_in = folder / f"ses-{run.session}" / "func" if run.session else folder / "func"
    stem = place_in / f"sub-{run.participant}_{run.name}"
    bold = place(
        Path(summary["bolds"][index]), Path(f"{stem}_space-{settings.preprocessing.space}_desc-preproc_bold.nii.gz")
    )
    mask = place(
        Path(summary["masks"][index]), Path(f"{stem}_space-{settings.preprocessing.space}_desc-brain_mask.nii.gz")
    )
    table = place(Path(summary["confounds"][index]), Path(f"{stem}_desc-confounds_timeseries.tsv"))
    source = {"Sources": [raw_uri(run.bold, settings.selection.bids_dir)]}
    content = {
        "TaskName": run.task,
        "RepetitionTime": run.repetition_time,
        "StartTime": run.reference_time,
        "SliceTimingCorrected": bool(run.slice_timing),
        "SkullStripped": True,
        **source,
    }
    place_sidecar(bold, content)
    place_sidecar(mask, {"Type": "Brain", **source})
    publish_transforms(run, index, summary, settings, stem)
    place(Path(summary["confounds"][index]).with_suffix(".json"), table.with_suffix(".json"))
    return PreprocessedRun(run, bold, mask, table, run.reference_time, int(summary["non_steady"][index]))


def read_summary(path: Path) -> dict[str, Any]:
    """Summary of a participant."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
