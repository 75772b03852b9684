"""Workflows of the anatomy: from T1w images, or from BOLD where there is none."""

from __future__ import annotations

from pathlib import Path

from nipype.pipeline.engine import Node, Workflow

from ban_bids.preprocessing.interfaces import anatomical
from ban_bids.preprocessing.workflows.base import NORMALIZATION, fields_node

_PREPARED = ("t1w", "mask", "csf", "gm", "wm", "used", "notes")
_NORMALIZED = (*NORMALIZATION, "warped", "to_template", "from_template", "correlation")


def init_anat_wf(space: str, resolution: float, name: str = "anat") -> Workflow:
    """T1w: average of several, conform, N4, mask, tissues, normalisation, output grid.

    Inputs: ``t1w`` (a list). Outputs: ``t1w mask csf gm wm used notes affine warp inverse_warp warped
    to_template from_template correlation target``.
    """
    inputnode = fields_node(["t1w"], "inputnode")
    outputnode = fields_node((*_PREPARED, *_NORMALIZED, "target"), "outputnode")
    prepare = Node(anatomical.PrepareT1w(), name="prepare", mem_gb=2.0)
    normalize = Node(anatomical.NormalizeT1w(), name="normalize", mem_gb=1.5)
    target = Node(anatomical.MakeTarget(space=space, resolution=resolution), name="target", mem_gb=1.0)
    wf = Workflow(name=name)
    wf.connect(inputnode, "t1w", prepare, "in_files")
    wf.connect(prepare, "t1w", normalize, "t1w")
    wf.connect(prepare, "mask", normalize, "mask")
    for field in ("mask", "csf", "wm"):
        wf.connect(prepare, field, target, field)
    for field in NORMALIZATION:
        wf.connect(normalize, field, target, field)
    for field in _PREPARED:
        wf.connect(prepare, field, outputnode, field)
    for field in _NORMALIZED:
        wf.connect(normalize, field, outputnode, field)
    wf.connect(target, "target", outputnode, "target")
    return wf


def init_anat_from_bold_wf(
    bold: Path, space: str, resolution: float, dummy_scans: int | None, name: str = "anat"
) -> Workflow:
    """Without T1w image: a run's BOLD reference in its place, tissues from the template.

    No inputs. Outputs: those of :func:`init_anat_wf`, and ``reference matrix`` to which every run is
    aligned.
    """
    fields = (*_PREPARED, *_NORMALIZED, "reference", "matrix")
    outputnode = fields_node((*fields, "target"), "outputnode")
    dummies = {} if dummy_scans is None else {"dummy_scans": dummy_scans}
    made = Node(anatomical.AnatomyFromBold(in_file=str(bold), **dummies), name="from_bold", mem_gb=2.0)
    target = Node(anatomical.MakeTarget(space=space, resolution=resolution), name="target", mem_gb=1.0)
    wf = Workflow(name=name)
    for field in ("mask", "csf", "wm", *NORMALIZATION):
        wf.connect(made, field, target, field)
    for field in fields:
        wf.connect(made, field, outputnode, field)
    wf.connect(target, "target", outputnode, "target")
    return wf
