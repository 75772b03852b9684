"""Workflow of one BOLD run."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow

from ban_bids.inputs.types import Run
from ban_bids.preprocessing.interfaces import bold as steps
from ban_bids.preprocessing.interfaces.distortion import FindDistortion
from ban_bids.preprocessing.workflows.base import fields_node
from ban_bids.settings import Settings

_INPUTS = ("t1w", "t1w_mask", "wm", "target", "session_reference", "session_matrix", "session_field")
_OUTPUTS = (
    "bold", "mask", "confounds", "quality", "non_steady", "notes", "reference", "motion", "matrix",
    "field", "distortion", "distortion_figure",
)  # fmt: skip


def init_bold_wf(run: Run, first_of_session: bool, settings: Settings, mem_gb: float, name: str) -> Workflow:
    """One BOLD run: motion, coregistration, resampling, confounds.

    The first run of a session is registered to the T1w image; the others to that run's reference.

    Inputs: ``t1w t1w_mask target`` and, but for a session's first run, ``session_reference
    session_matrix``; with ``--use-syn-sdc`` also ``wm`` or ``session_field``. Outputs: ``bold mask confounds
    quality non_steady notes reference motion matrix`` and, of a first run with that option, ``field
    distortion distortion_figure``.
    """
    inputnode, outputnode = fields_node(_INPUTS, "inputnode"), fields_node(_OUTPUTS, "outputnode")
    notes = Node(Merge(3), name="notes", run_without_submitting=True)
    dummies = {} if settings.preprocessing.dummy_scans is None else {"dummy_scans": settings.preprocessing.dummy_scans}
    motion = Node(steps.ReferenceAndMotion(in_file=str(run.bold), **dummies), name="motion", mem_gb=mem_gb)
    resample = Node(steps.Resample(**_timing(run)), name="resample", mem_gb=mem_gb)
    wf = Workflow(name=name)
    if first_of_session:
        align = Node(steps.Coregister(), name="coregister", mem_gb=0.5)
        wf.connect(motion, "mask", align, "reference_mask")
        wf.connect(inputnode, "t1w", align, "t1w")
        wf.connect(inputnode, "t1w_mask", align, "t1w_mask")
    else:
        align = Node(steps.RunToSession(), name="to_session", mem_gb=0.5)
        wf.connect(inputnode, "session_reference", align, "session_reference")
        wf.connect(inputnode, "session_matrix", align, "session_matrix")
    wf.connect(motion, "reference", align, "reference")
    wf.connect(motion, "notes", notes, "in1")
    wf.connect(align, "notes", notes, "in2")
    wf.connect(inputnode, "target", resample, "target")
    wf.connect(align, "matrix", resample, "matrix")
    for field in ("motion", "non_steady"):
        wf.connect(motion, field, resample, field)
    for field in ("bold", "mask", "confounds", "quality"):
        wf.connect(resample, field, outputnode, field)
    for node, source, field in (
        (motion, "non_steady", "non_steady"),
        (motion, "reference", "reference"),
        (motion, "motion", "motion"),
        (align, "matrix", "matrix"),
        (notes, "out", "notes"),
    ):
        wf.connect(node, source, outputnode, field)
    if settings.preprocessing.use_syn_sdc and first_of_session:
        _connect_distortion(wf, run)
    elif settings.preprocessing.use_syn_sdc:
        wf.connect(inputnode, "session_field", resample, "field")
        wf.connect(inputnode, "session_matrix", resample, "session_matrix")
    return wf


def _connect_distortion(wf: Workflow, run: Run) -> None:
    """Find a first run's distortion after its coregistration, and resample through it."""
    names = ("inputnode", "motion", "coregister", "resample", "notes", "outputnode")
    inputnode, motion, align, resample, notes, outputnode = (wf.get_node(name) for name in names)
    found = Node(FindDistortion(axis=run.phase_encoding or "", name=run.name), name="distortion", mem_gb=0.7)
    for field in ("t1w", "t1w_mask", "wm"):
        wf.connect(inputnode, field, found, field)
    wf.connect(motion, "reference", found, "reference")
    wf.connect(motion, "mask", found, "reference_mask")
    wf.connect(align, "matrix", found, "matrix")
    wf.connect(align, "matrix", resample, "session_matrix")
    wf.connect(found, "field", resample, "field")
    wf.connect(found, "notes", notes, "in3")
    for source, target in (("field", "field"), ("measures", "distortion"), ("figure", "distortion_figure")):
        wf.connect(found, source, outputnode, target)


def _timing(run: Run) -> dict[str, Any]:
    """Inputs of the resampling step that come from the run's sidecar."""
    inputs: dict[str, Any] = {
        "in_file": str(run.bold),
        "repetition_time": float(run.repetition_time),
        "direction": run.slice_encoding_direction,
    }
    if run.slice_timing:
        inputs["slice_timing"] = [float(time) for time in run.slice_timing]
    return inputs
