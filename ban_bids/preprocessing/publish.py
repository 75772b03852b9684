"""Put a participant's finished images and transforms under their BIDS names, with sidecars.

Names are those that users of fMRIPrep expect. A run's files lie in the folder of its session and carry ``ses-``;
what belongs to the participant carries none. ``from-X_to-Y`` with ``mode-image``: antsApplyTransforms brings an
image of X to Y with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.bids.names import DerivativeName, region_name, sidecar
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

_SLOPPY = "--sloppy: registration to the template ended at 4 mm; a trial, not for publication"

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

Picture = tuple[str, Path | str, str, Run | None]
"""Title, file, label of ``desc-``, and the run that it shows; None: the participant."""

Summary = Mapping[str, Any]
"""What the node ``collect`` wrote: a participant's files and measures by name."""


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
    _publish_anatomy(participant, summary, options.space, bids_dir=bids_dir, output_dir=output_dir)
    runs = tuple(
        _publish_run(
            run,
            {name: summary[several][index] for name, several in LISTS.items() if several in summary},
            output_dir,
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
        figures=place_figures(_figures(participant, summary), participant, output_dir),
        quality=quality,
        notes=(*summary["notes"], *quality_notes(quality), *([_SLOPPY] if options.sloppy else ())),
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
    dseg = region_name(label, options.space).path(output_dir)
    mask = DerivativeName("mask", ".nii.gz", label, space=options.space, desc="cortex").path(output_dir)
    regions = {"Description": "Auditory regions clipped to grey matter and BOLD masks"} | description(options.atlas)
    cortex = {"Description": "Cortical grey matter that every run covers", "Type": "ROI"}
    return {
        "dseg": place(files["dseg"], dseg, regions),
        "dseg_table": place(files["table"], sidecar(dseg, ".tsv")),
        "cortex": place(files["cortex"], mask, cortex),
    }


def place_figures(
    pictures: Iterable[Picture], participant: Participant, output_dir: Path
) -> tuple[tuple[str, Path], ...]:
    """Place pictures of the report; a run's carry its name, and lie with the participant's.

    Returns
    -------
    tuple of (str, Path)
        Title and file.
    """
    folder = output_dir / f"sub-{participant.label}" / "figures"
    owner = (("sub", participant.label),)
    return tuple(
        (title, place(path, folder / str(DerivativeName.of(run.entities if run else owner, "", ".png", desc=desc))))
        for title, path, desc, run in pictures
    )


def _publish_run(
    run: Run, files: Summary, output_dir: Path, *, space: str, anatomy: str, source: dict[str, Any]
) -> PreprocessedRun:
    """Place a run's own entries of the summary in its session's folder."""

    def named(suffix: str, extension: str, *others: tuple[str, str], **labels: str) -> Path:
        return DerivativeName.of((*run.entities, *others), suffix, extension, **labels).path(output_dir)

    timing: dict[str, Any] = {"RepetitionTime": run.repetition_time}
    if run.volume_times is not None:
        taken = run.acquisition_time or run.repetition_time
        timing = {"VolumeTiming": list(run.volume_times), "FrameAcquisitionDuration": taken}
    content = {
        "TaskName": run.task,
        **timing,
        "StartTime": run.reference_time,
        "SliceTimingCorrected": bool(run.slice_timing),
        "SkullStripped": True,
    }
    bold = place(files["bold"], named("bold", ".nii.gz", space=space, desc="preproc"), content | source)
    mask = place(files["mask"], named("mask", ".nii.gz", space=space, desc="brain"), {"Type": "Brain", **source})
    confounds = place(files["confounds"], named("timeseries", ".tsv", desc="confounds"))
    place(sidecar(Path(files["confounds"])), sidecar(confounds))
    place(files["reference"], named("boldref", ".nii.gz", desc="coreg"), {"SkullStripped": False, **source})
    with np.load(files["motion"]) as stored:
        motion = list(stored["matrices"])
    for ends, desc, matrices, kind in (
        (("boldref", anatomy), "coreg", [np.loadtxt(files["matrix"])], "ITK affine"),
        (("orig", "boldref"), "hmc", motion, "ITK affine, one per volume"),
    ):
        path = write_text(named("xfm", ".txt", *_between(*ends), desc=desc), itk_text(matrices))
        write_json(sidecar(path), {"Description": kind, **source})
    return PreprocessedRun(run, bold, mask, confounds, run.reference_time, int(files["non_steady"]))


def _between(source: str, target: str) -> tuple[tuple[str, str], ...]:
    """Entities of a transform."""
    return ("from", source), ("to", target), ("mode", "image")


def _publish_anatomy(
    participant: Participant, summary: Summary, space: str, *, bids_dir: Path, output_dir: Path
) -> None:
    """Place the T1w image, its mask and the transforms to and from the template."""
    used = [participant.t1w[number] for number in summary["t1w_used"]] or [participant.runs[0].bold]
    source = {"Sources": [raw_uri(path, bids_dir) for path in used]}
    label, anatomy = participant.label, _anatomy(participant)
    composite = {"Description": "ITK composite: affine and displacement field"}
    image, brain = {"SkullStripped": False}, {"Type": "Brain"}
    files: list[tuple[str, DerivativeName, dict[str, Any]]] = [
        ("to_template", DerivativeName("xfm", ".h5", label, others=_between(anatomy, TEMPLATE)), composite),
        ("from_template", DerivativeName("xfm", ".h5", label, others=_between(TEMPLATE, anatomy)), composite),
    ]
    if participant.t1w:
        files += [
            ("t1w", DerivativeName("T1w", ".nii.gz", label, desc="preproc"), image),
            ("t1w_mask", DerivativeName("mask", ".nii.gz", label, desc="brain"), brain),
        ]
        if space != NATIVE:
            files.append(("t1w_in_space", DerivativeName("T1w", ".nii.gz", label, space=space, desc="preproc"), image))
    for key, name, content in files:
        place(summary[key], name.path(output_dir, "anat"), content | source)


def _figures(participant: Participant, summary: Summary) -> list[Picture]:
    """Pictures of the report that the workflow drew."""
    drawn = [(_title(title, participant), summary[key], key[4:], None) for key, title in FIGURES if key in summary]
    title = "BOLD reference before and after its distortion was reduced"
    distortions = enumerate(summary.get("distortions", []), 1)
    carpets = zip(participant.runs, summary.get("carpets", []))
    return [
        *drawn,
        *((title, path, f"distortion{number}", None) for number, path in distortions),
        *((carpet_title(run.name), path, "carpet", run) for run, path in carpets),
    ]


def _anatomy(participant: Participant) -> str:
    return NATIVE if participant.t1w else _WITHOUT_T1W


def _title(title: str, participant: Participant) -> str:
    return title if participant.t1w else title.replace("T1w brain", "BOLD brain").replace("T1w image", "BOLD reference")
