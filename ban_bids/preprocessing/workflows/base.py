"""What the workflow factories share."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node

NORMALIZATION = ("affine", "warp", "inverse_warp")
"""Fields that hold T1w ↔ template."""


def node_name(text: str) -> str:
    """Name that Nipype takes: letters, digits and underscores."""
    return "".join(c if c.isalnum() else "_" for c in text)


def fields_node(names: Sequence[str], name: str) -> Node:
    """Node that only passes named fields on."""
    return Node(IdentityInterface(fields=list(names)), name=name)
