"""Workflow of the T1w image."""

from __future__ import annotations

from nipype.pipeline.engine import Node, Workflow

from ban_bids.preprocessing.interfaces import anatomical
from ban_bids.preprocessing.workflows.base import NORMALIZATION, fields_node


def init_anat_wf(space: str, resolution: float, name: str = "anat") -> Workflow:
    """T1w: conform, N4, mask, tissues, normalisation, output grid.

    Inputs: ``t1w``. Outputs: ``t1w mask csf gm wm affine warp inverse_warp warped correlation target``.
    """
    outputs = ("t1w", "mask", "csf", "gm", "wm", *NORMALIZATION, "warped", "correlation", "target")
    inputnode, outputnode = fields_node(["t1w"], "inputnode"), fields_node(outputs, "outputnode")
    prepare = Node(anatomical.PrepareT1w(), name="prepare", mem_gb=2.0)
    normalize = Node(anatomical.NormalizeT1w(), name="normalize", mem_gb=1.5)
    target = Node(anatomical.MakeTarget(space=space, resolution=resolution), name="target", mem_gb=1.0)
    wf = Workflow(name=name)
    wf.connect(inputnode, "t1w", prepare, "in_file")
    wf.connect(prepare, "t1w", normalize, "t1w")
    wf.connect(prepare, "mask", normalize, "mask")
    for field in ("mask", "csf", "wm"):
        wf.connect(prepare, field, target, field)
    for field in NORMALIZATION:
        wf.connect(normalize, field, target, field)
    for field in ("t1w", "mask", "csf", "gm", "wm"):
        wf.connect(prepare, field, outputnode, field)
    for field in (*NORMALIZATION, "warped", "correlation"):
        wf.connect(normalize, field, outputnode, field)
    wf.connect(target, "target", outputnode, "target")
    return wf
