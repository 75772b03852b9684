"""Workflow of the regions."""

from __future__ import annotations

from nipype.pipeline.engine import Node, Workflow

from ban_bids.preprocessing.interfaces.regions import Regions
from ban_bids.preprocessing.regions import AtlasFiles
from ban_bids.preprocessing.workflows.base import NORMALIZATION, fields_node


def init_rois_wf(space: str, atlas: AtlasFiles, name: str = "rois") -> Workflow:
    """Regions and cortex on the output grid.

    Inputs: ``target t1w gm affine warp inverse_warp masks``. Outputs: ``dseg table cortex t1w_in_space
    measures notes``.
    """
    inputs = ("target", "t1w", "gm", *NORMALIZATION, "masks")
    outputs = ("dseg", "table", "cortex", "t1w_in_space", "measures", "notes")
    inputnode, outputnode = fields_node(inputs, "inputnode"), fields_node(outputs, "outputnode")
    given = {"atlas": str(atlas.image), "atlas_table": str(atlas.table), "atlas_name": atlas.name}
    regions = Node(Regions(space=space, **given), name="regions", mem_gb=1.5)
    wf = Workflow(name=name)
    for field in inputs:
        wf.connect(inputnode, field, regions, field)
    for field in outputs:
        wf.connect(regions, field, outputnode, field)
    return wf
