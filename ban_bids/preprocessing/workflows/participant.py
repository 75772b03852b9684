"""Workflow of one participant: anatomy, runs, regions, pictures, summary."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow

from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.interfaces.quality import Quality
from ban_bids.preprocessing.interfaces.report import Collect, Figures
from ban_bids.preprocessing.regions import AtlasFiles
from ban_bids.preprocessing.workflows.anat import init_anat_from_bold_wf, init_anat_wf
from ban_bids.preprocessing.workflows.base import NORMALIZATION, node_name
from ban_bids.preprocessing.workflows.bold import init_bold_wf
from ban_bids.preprocessing.workflows.rois import init_rois_wf
from ban_bids.settings import Settings

_FIGURES = ("anatomy", "normalization", "coregistration", "motion", "regions")


def init_participant_wf(
    participant: Participant,
    settings: Settings,
    resolution: float,
    atlas: AtlasFiles,
    mem_gb: float,
) -> Workflow:
    """Everything for one participant, ending in the node ``collect`` with its summary."""
    wf = Workflow(name=node_name(f"sub_{participant.label}"))
    if participant.t1w:
        anat = init_anat_wf(settings.preprocessing.space, resolution)
        anat.inputs.inputnode.t1w = [str(path) for path in participant.t1w]
    else:
        anat = init_anat_from_bold_wf(
            participant.runs[0].bold, settings.preprocessing.space, resolution, settings.preprocessing.dummy_scans
        )
    rois = init_rois_wf(settings.preprocessing.space, atlas)
    runs = _connect_runs(wf, anat, participant, settings, mem_gb)
    names = [run.name for run in participant.runs]
    figures = Node(Figures(names=names), name="figures", mem_gb=0.5)
    collect = Node(Collect(content={"label": participant.label, "names": names}), name="collect", overwrite=True)
    merged = {field: _merged(wf, runs, field) for field in _PLURAL}
    wf.connect(merged["mask"], "out", rois, "inputnode.masks")
    for field in ("bold", "mask", "confounds", "non_steady", "reference", "matrix", "motion"):
        wf.connect(merged[field], "out", collect, _PLURAL[field])
    for field in ("confounds", "reference", "matrix"):
        wf.connect(merged[field], "out", figures, _PLURAL[field])
    quality = _connect_quality(wf, participant, anat, rois)
    for field in ("quality", "mask", "confounds", "non_steady", "reference", "matrix"):
        wf.connect(merged[field], "out", quality, _PLURAL[field])
    for source, target in (("measurements", "quality"), ("tsnr", "fig_tsnr"), ("carpets", "carpets")):
        wf.connect(quality, source, collect, target)
    notes = Node(Merge(len(runs) + 2), name="all_notes", run_without_submitting=True, overwrite=True)
    for number, run in enumerate(runs, 1):
        wf.connect(run, "outputnode.notes", notes, f"in{number}")
    wf.connect(rois, "outputnode.notes", notes, f"in{len(runs) + 1}")
    wf.connect(anat, "outputnode.notes", notes, f"in{len(runs) + 2}")
    wf.connect(notes, "out", collect, "notes")
    for field in ("t1w", "gm", "target", *NORMALIZATION):
        wf.connect(anat, f"outputnode.{field}", rois, f"inputnode.{field}")
    _connect_report(wf, anat, rois, figures, collect)
    if settings.preprocessing.use_syn_sdc:
        own = [bold for bold in runs if bold.get_node("distortion") is not None]
        wf.connect(_merged(wf, own, "distortion_figure"), "out", collect, "distortions")
    return wf


_PLURAL = {
    "bold": "bolds",
    "mask": "masks",
    "confounds": "confounds",
    "non_steady": "non_steady",
    "quality": "signals",
    "reference": "references",
    "motion": "motions",
    "matrix": "matrices",
}
"""Outputs of a run, and the lists that they make."""


def _connect_quality(wf: Workflow, participant: Participant, anat: Workflow, rois: Workflow) -> Node:
    """Node of the measures of quality, without the lists over runs."""
    runs = participant.runs
    quality = Node(
        Quality(
            names=[run.name for run in runs],
            sessions=[run.session or "" for run in runs],
            repetition_times=[float(run.repetition_time) for run in runs],
            from_t1w=bool(participant.t1w),
        ),
        name="quality",
        mem_gb=0.5,
    )
    wf.connect(anat, "outputnode.correlation", quality, "correlation")
    wf.connect(anat, "outputnode.mask", quality, "t1w_mask")
    for field in ("dseg", "table"):
        wf.connect(rois, f"outputnode.{field}", quality, field)
    return quality


def _connect_runs(
    wf: Workflow, anat: Workflow, participant: Participant, settings: Settings, mem_gb: float
) -> list[Workflow]:
    """One workflow a run; later runs of a session lean on its first, without T1w image all on the anatomy.

    Runs whose distortion is reduced share a first run only if their phase encoding is the same.
    """
    firsts: dict[tuple[str | None, str | None], Workflow] = {}
    result = []
    for run in participant.runs:
        key = (run.session, run.phase_encoding if settings.preprocessing.use_syn_sdc else None)
        first = firsts.get(key) if participant.t1w else anat
        bold = init_bold_wf(run, first is None, settings, mem_gb, node_name(run.name))
        wf.connect(anat, "outputnode.target", bold, "inputnode.target")
        if first is None:
            firsts[key] = bold
            wf.connect(anat, "outputnode.t1w", bold, "inputnode.t1w")
            wf.connect(anat, "outputnode.mask", bold, "inputnode.t1w_mask")
            wf.connect(anat, "outputnode.wm", bold, "inputnode.wm")
        else:
            wf.connect(first, "outputnode.reference", bold, "inputnode.session_reference")
            wf.connect(first, "outputnode.matrix", bold, "inputnode.session_matrix")
            if settings.preprocessing.use_syn_sdc:
                wf.connect(first, "outputnode.field", bold, "inputnode.session_field")
        result.append(bold)
    return result


def _merged(wf: Workflow, runs: Sequence[Workflow], field: str) -> Node:
    """List of one output over runs, in their order.

    Made every time, like the summary: it holds full paths, which change where the work folder moves.
    """
    merge = Node(Merge(len(runs), no_flatten=True), name=f"all_{field}", run_without_submitting=True, overwrite=True)
    for number, run in enumerate(runs, 1):
        wf.connect(run, f"outputnode.{field}", merge, f"in{number}")
    return merge


def _connect_report(wf: Workflow, anat: Workflow, rois: Workflow, figures: Node, collect: Node) -> None:
    for field in ("t1w", "mask", "wm", "warped"):
        wf.connect(anat, f"outputnode.{field}", figures, field)
    for field in ("t1w_in_space", "dseg"):
        wf.connect(rois, f"outputnode.{field}", figures, field)
    for field in _FIGURES:
        wf.connect(figures, field, collect, f"fig_{field}")
    for source, target in (("t1w", "t1w"), ("mask", "t1w_mask")):
        wf.connect(anat, f"outputnode.{source}", collect, target)
    for source, target in (("used", "t1w_used"), ("to_template",) * 2, ("from_template",) * 2):
        wf.connect(anat, f"outputnode.{source}", collect, target)
    for field in ("dseg", "table", "cortex", "t1w_in_space"):
        wf.connect(rois, f"outputnode.{field}", collect, field)
