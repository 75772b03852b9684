"""Workflow of one BOLD run."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow

from ban_bids.inputs.types import Run
from ban_bids.preprocessing.interfaces import bold as steps
from ban_bids.preprocessing.workflows.anatomy import fields_node, same
from ban_bids.settings import Preprocessing

_INPUTS = ("t1w", "t1w_mask", "wm", "target", "session_reference", "session_matrix", "session_field")
_OUTPUTS = (
    "bold", "mask", "confounds", "quality", "non_steady", "notes", "reference", "motion", "matrix",
    "field", "distortion_figure",
)  # fmt: skip


def init_bold_wf(run: Run, options: Preprocessing, *, first_of_session: bool, mem_gb: float, name: str) -> Workflow:
    """One BOLD run: motion, coregistration, resampling, confounds.

    The first run of a session is registered to the T1w image; the others to that run's reference.

    Parameters
    ----------
    run : Run
    options : Preprocessing
        ``dummy_scans`` and ``use_syn_sdc``.
    first_of_session : bool
    mem_gb : float
        What the steps on the whole series need.
    name : str

    Notes
    -----
    Inputs: ``t1w t1w_mask target`` and, but for a session's first run, ``session_reference
    session_matrix``; with ``--use-syn-sdc`` also ``wm`` or ``session_field``. Outputs: ``bold mask confounds
    quality non_steady notes reference motion matrix`` and, of a first run with that option, ``field
    distortion_figure``.
    """
    inputnode, outputnode = fields_node(_INPUTS, "inputnode"), fields_node(_OUTPUTS, "outputnode")
    dummies = {} if options.dummy_scans is None else {"dummy_scans": options.dummy_scans}
    motion = Node(steps.ReferenceAndMotion(in_file=str(run.bold), **dummies), name="motion", mem_gb=mem_gb)
    resample = Node(steps.Resample(**_timing(run)), name="resample", mem_gb=mem_gb)
    notes = Node(Merge(2), name="notes", run_without_submitting=True)
    if first_of_session:
        align = Node(steps.Coregister(), name="coregister", mem_gb=0.5)
        aligned = [(motion, align, [("mask", "reference_mask")]), (inputnode, align, same("t1w", "t1w_mask"))]
    else:
        align = Node(steps.RunToSession(), name="to_session", mem_gb=0.5)
        aligned = [(inputnode, align, same("session_reference", "session_matrix"))]
    wf = Workflow(name=name)
    wf.connect(
        [
            *aligned,
            (motion, align, same("reference")),
            (motion, notes, [("notes", "in1")]),
            (motion, resample, same("motion", "non_steady")),
            (align, resample, same("matrix")),
            (inputnode, resample, same("target")),
            (resample, outputnode, same("bold", "mask", "confounds", "quality")),
            (motion, outputnode, same("non_steady", "reference", "motion")),
            (align, outputnode, same("matrix")),
            (notes, outputnode, [("out", "notes")]),
        ]
    )
    if options.use_syn_sdc and first_of_session:
        _connect_distortion(wf, run)
    elif options.use_syn_sdc:
        wf.connect(inputnode, "session_field", resample, "field")
        wf.connect(inputnode, "session_matrix", resample, "session_matrix")
    return wf


def _connect_distortion(wf: Workflow, run: Run) -> None:
    """Find a first run's distortion after its coregistration, and resample through it."""
    names = ("inputnode", "motion", "coregister", "resample", "notes", "outputnode")
    inputnode, motion, align, resample, notes, outputnode = (wf.get_node(name) for name in names)
    distortion = steps.FindDistortion(axis=run.phase_encoding or "", name=run.name)
    find = Node(distortion, name="distortion", mem_gb=0.7)
    wf.connect(
        [
            (inputnode, find, same("t1w", "t1w_mask", "wm")),
            (motion, find, [("reference", "reference"), ("mask", "reference_mask")]),
            (align, find, same("matrix")),
            (align, resample, [("matrix", "session_matrix")]),
            (find, resample, same("field")),
            (find, notes, [("notes", "in2")]),
            (find, outputnode, [("field", "field"), ("figure", "distortion_figure")]),
        ]
    )


def _timing(run: Run) -> dict[str, Any]:
    """Inputs of the resampling step that come from the run's sidecar."""
    inputs: dict[str, Any] = {
        "in_file": str(run.bold),
        "repetition_time": float(run.mean_interval),
        "direction": run.slice_encoding_direction,
    }
    if run.volume_times is not None:
        inputs["starts"] = [float(time) for time in run.since_first]
    if run.slice_timing:
        inputs["slice_timing"] = [float(time) for time in run.slice_timing]
        inputs["middle"] = run.reference_time - run.first_volume
    return inputs
