"""Nipype workflow factories: anatomy, one BOLD run, regions, one participant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline.engine import Node, Workflow

from ban_bids.inputs.dataset import Participant, Run
from ban_bids.preprocessing import interfaces as steps

_NORMALIZATION = ("affine", "warp", "inverse_warp")
_FIGURES = ("anatomy", "normalization", "coregistration", "motion", "regions")


def node_name(text: str) -> str:
    """Name that Nipype takes: letters, digits and underscores."""
    return "".join(c if c.isalnum() else "_" for c in text)


def _fields(names: Sequence[str], name: str) -> Node:
    return Node(IdentityInterface(fields=list(names)), name=name)


def init_anat_wf(space: str, resolution: float, name: str = "anat") -> Workflow:
    """T1w: conform, N4, mask, tissues, normalisation, output grid.

    Inputs: ``t1w``. Outputs: ``t1w mask csf gm wm affine warp inverse_warp warped correlation target``.
    """
    outputs = ("t1w", "mask", "csf", "gm", "wm", *_NORMALIZATION, "warped", "correlation", "target")
    inputnode, outputnode = _fields(["t1w"], "inputnode"), _fields(outputs, "outputnode")
    prepare = Node(steps.PrepareT1w(), name="prepare", mem_gb=2.0)
    normalize = Node(steps.NormalizeT1w(), name="normalize", mem_gb=1.5)
    target = Node(steps.MakeTarget(space=space, resolution=resolution), name="target", mem_gb=1.0)
    wf = Workflow(name=name)
    wf.connect(inputnode, "t1w", prepare, "in_file")
    wf.connect(prepare, "t1w", normalize, "t1w")
    wf.connect(prepare, "mask", normalize, "mask")
    for field in ("mask", "csf", "wm"):
        wf.connect(prepare, field, target, field)
    for field in _NORMALIZATION:
        wf.connect(normalize, field, target, field)
    for field in ("t1w", "mask", "csf", "gm", "wm"):
        wf.connect(prepare, field, outputnode, field)
    for field in (*_NORMALIZATION, "warped", "correlation"):
        wf.connect(normalize, field, outputnode, field)
    wf.connect(target, "target", outputnode, "target")
    return wf


def init_bold_wf(run: Run, first_of_session: bool, mem_gb: float, name: str) -> Workflow:
    """One BOLD run: motion, coregistration, resampling, confounds.

    The first run of a session is registered to the T1w image; the others to that run's reference.

    Inputs: ``t1w t1w_mask target`` and, but for a session's first run, ``session_reference
    session_matrix``. Outputs: ``bold mask confounds measures non_steady notes reference matrix``.
    """
    inputnode = _fields(("t1w", "t1w_mask", "target", "session_reference", "session_matrix"), "inputnode")
    outputs = ("bold", "mask", "confounds", "measures", "non_steady", "notes", "reference", "matrix")
    outputnode, notes = (
        _fields(outputs, "outputnode"),
        Node(Merge(2), name="notes", run_without_submitting=True),
    )
    motion = Node(steps.ReferenceAndMotion(in_file=str(run.bold)), name="motion", mem_gb=mem_gb)
    resample = Node(steps.Resample(**_timing(run)), name="resample", mem_gb=mem_gb)
    wf = Workflow(name=name)
    if first_of_session:
        align = Node(steps.Coregister(), name="coregister", mem_gb=0.5)
        wf.connect(motion, "mask", align, "reference_mask")
        wf.connect(inputnode, "t1w", align, "t1w")
        wf.connect(inputnode, "t1w_mask", align, "t1w_mask")
    else:
        align = Node(steps.RunToSession(name=run.bold.name), name="to_session", mem_gb=0.5)
        wf.connect(inputnode, "session_reference", align, "session_reference")
        wf.connect(inputnode, "session_matrix", align, "session_matrix")
    wf.connect(motion, "reference", align, "reference")
    wf.connect(motion, "notes", notes, "in1")
    wf.connect(align, "notes", notes, "in2")
    wf.connect(inputnode, "target", resample, "target")
    wf.connect(align, "matrix", resample, "matrix")
    for field in ("motion", "non_steady"):
        wf.connect(motion, field, resample, field)
    for field in ("bold", "mask", "confounds", "measures"):
        wf.connect(resample, field, outputnode, field)
    for node, source, field in (
        (motion, "non_steady", "non_steady"),
        (motion, "reference", "reference"),
        (align, "matrix", "matrix"),
        (notes, "out", "notes"),
    ):
        wf.connect(node, source, outputnode, field)
    return wf


def _timing(run: Run) -> dict[str, Any]:
    """Inputs of the resampling step that come from the run's sidecar."""
    inputs: dict[str, Any] = {
        "in_file": str(run.bold),
        "repetition_time": float(run.repetition_time),
        "direction": run.slice_encoding_direction,
    }
    if run.slice_timing:
        inputs["slice_timing"] = [float(time) for time in run.slice_timing]
    if run.start_time is not None:
        inputs["start_time"] = float(run.start_time)
    return inputs


def init_rois_wf(space: str, atlas: tuple[Path, Path] | None, name: str = "rois") -> Workflow:
    """Regions and cortex on the output grid.

    Inputs: ``target t1w gm affine warp inverse_warp masks``. Outputs: ``dseg table cortex t1w_in_space
    measures notes``.
    """
    inputs = ("target", "t1w", "gm", *_NORMALIZATION, "masks")
    outputs = ("dseg", "table", "cortex", "t1w_in_space", "measures", "notes")
    inputnode, outputnode = _fields(inputs, "inputnode"), _fields(outputs, "outputnode")
    given = {"atlas": str(atlas[0]), "atlas_table": str(atlas[1])} if atlas is not None else {}
    regions = Node(steps.Regions(space=space, **given), name="regions", mem_gb=1.5)
    wf = Workflow(name=name)
    for field in inputs:
        wf.connect(inputnode, field, regions, field)
    for field in outputs:
        wf.connect(regions, field, outputnode, field)
    return wf


def init_participant_wf(
    participant: Participant, space: str, resolution: float, atlas: tuple[Path, Path] | None, mem_gb: float
) -> Workflow:
    """Everything for one participant, ending in the node ``collect`` with its summary."""
    wf = Workflow(name=node_name(f"sub_{participant.label}"))
    anat = init_anat_wf(space, resolution)
    anat.inputs.inputnode.t1w = str(participant.t1w[0])
    rois = init_rois_wf(space, atlas)
    runs = _connect_runs(wf, anat, participant.runs, mem_gb)
    names = [run.name for run in participant.runs]
    figures = Node(steps.Figures(names=names), name="figures", mem_gb=0.5)
    collect = Node(steps.Collect(content={"label": participant.label, "names": names}), name="collect")
    for source, target in (("measures", "measures"), ("non_steady", "non_steady"), ("bold", "bolds")):
        wf.connect(_merged(wf, runs, source), "out", collect, target)
    for field in ("mask", "confounds", "reference", "matrix"):
        merged = _merged(wf, runs, field)
        if field == "mask":
            wf.connect(merged, "out", rois, "inputnode.masks")
            wf.connect(merged, "out", collect, "masks")
        if field == "confounds":
            wf.connect(merged, "out", collect, "confounds")
        if field != "mask":
            wf.connect(merged, "out", figures, _PLURAL[field])
    notes = Node(Merge(len(runs) + 1), name="all_notes", run_without_submitting=True)
    for number, run in enumerate(runs, 1):
        wf.connect(run, "outputnode.notes", notes, f"in{number}")
    wf.connect(rois, "outputnode.notes", notes, f"in{len(runs) + 1}")
    wf.connect(notes, "out", collect, "notes")
    for field in ("t1w", "gm", "target", *_NORMALIZATION):
        wf.connect(anat, f"outputnode.{field}", rois, f"inputnode.{field}")
    _connect_report(wf, anat, rois, figures, collect)
    return wf


_PLURAL = {"confounds": "confounds", "reference": "references", "matrix": "matrices"}


def _connect_runs(wf: Workflow, anat: Workflow, runs: Sequence[Run], mem_gb: float) -> list[Workflow]:
    """One workflow a run; later runs of a session lean on its first."""
    firsts: dict[str | None, Workflow] = {}
    result = []
    for run in runs:
        first = firsts.get(run.session)
        bold = init_bold_wf(run, first is None, mem_gb, node_name(run.name))
        wf.connect(anat, "outputnode.target", bold, "inputnode.target")
        if first is None:
            firsts[run.session] = bold
            wf.connect(anat, "outputnode.t1w", bold, "inputnode.t1w")
            wf.connect(anat, "outputnode.mask", bold, "inputnode.t1w_mask")
        else:
            wf.connect(first, "outputnode.reference", bold, "inputnode.session_reference")
            wf.connect(first, "outputnode.matrix", bold, "inputnode.session_matrix")
        result.append(bold)
    return result


def _merged(wf: Workflow, runs: Sequence[Workflow], field: str) -> Node:
    """List of one output over runs, in their order."""
    merge = Node(Merge(len(runs), no_flatten=True), name=f"all_{field}", run_without_submitting=True)
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
    for source, target in (("t1w", "t1w"), ("mask", "t1w_mask"), ("correlation", "correlation")):
        wf.connect(anat, f"outputnode.{source}", collect, target)
    for field in _NORMALIZATION:
        wf.connect(anat, f"outputnode.{field}", collect, field)
    for field in ("dseg", "table", "cortex", "t1w_in_space"):
        wf.connect(rois, f"outputnode.{field}", collect, field)
    wf.connect(rois, "outputnode.measures", collect, "region_measures")
