"""Workflows of the anatomy: from T1w images, or from BOLD where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from ban_bids.preprocessing.interfaces.anatomical import (
    NORMALIZED,
    PREPARED,
    AnatomyFromBold,
    MakeTarget,
    NormalizeT1w,
    PrepareT1w,
)

_PREPARED = (*PREPARED.split(), "used", "notes")
_NORMALIZED = (*NORMALIZED.split(), "correlation")


def same(*names: str) -> list[tuple[str, str]]:
    """Connections between outputs and inputs of the same names."""
    return [(name, name) for name in names]


def fields_node(names: Iterable[str], name: str) -> Node:
    """Node that only passes named fields on."""
    return Node(IdentityInterface(fields=list(names)), name=name)


def init_anat_wf(space: str, resolution: float, *, sloppy: bool = False, name: str = "anat") -> Workflow:
    """T1w: average of several, conform, N4, mask, tissues, normalisation, output grid.

    Parameters
    ----------
    space : str
        Output space.
    resolution : float
        Output voxel size, mm.
    sloppy : bool
        See :class:`ban_bids.settings.Preprocessing`.
    name : str

    Notes
    -----
    Inputs: ``t1w`` (a list). Outputs: ``t1w mask csf gm wm used notes normalization warped to_template
    from_template correlation target``.
    """
    inputnode = fields_node(["t1w"], "inputnode")
    outputnode = fields_node((*_PREPARED, *_NORMALIZED, "target"), "outputnode")
    prepare = Node(PrepareT1w(), name="prepare", mem_gb=2.0)
    normalize = Node(NormalizeT1w(sloppy=sloppy), name="normalize", mem_gb=1.5)
    target = Node(MakeTarget(space=space, resolution=resolution), name="target", mem_gb=1.0)
    wf = Workflow(name=name)
    wf.connect(
        [
            (inputnode, prepare, [("t1w", "in_files")]),
            (prepare, normalize, same("t1w", "mask")),
            (prepare, target, same("mask", "csf", "wm")),
            (normalize, target, same("normalization")),
            (prepare, outputnode, same(*_PREPARED)),
            (normalize, outputnode, same(*_NORMALIZED)),
            (target, outputnode, same("target")),
        ]
    )
    return wf


def init_anat_from_bold_wf(
    bold: Path, space: str, resolution: float, *, dummy_scans: int | None, name: str = "anat"
) -> Workflow:
    """Without T1w image: a run's BOLD reference in its place, tissues from the template.

    Parameters
    ----------
    bold : Path
        The raw run.
    space, resolution, name
        See :func:`init_anat_wf`.
    dummy_scans : int or None
        Volumes before the steady state; None finds them.

    Notes
    -----
    No inputs. Outputs: those of :func:`init_anat_wf`, and ``reference matrix`` to which every run is
    aligned.
    """
    fields = (*_PREPARED, *_NORMALIZED, "reference", "matrix")
    outputnode = fields_node((*fields, "target"), "outputnode")
    dummies = {} if dummy_scans is None else {"dummy_scans": dummy_scans}
    from_bold = Node(AnatomyFromBold(in_file=str(bold), **dummies), name="from_bold", mem_gb=2.0)
    target = Node(MakeTarget(space=space, resolution=resolution), name="target", mem_gb=1.0)
    wf = Workflow(name=name)
    wf.connect(
        [
            (from_bold, target, same("mask", "csf", "wm", "normalization")),
            (from_bold, outputnode, same(*fields)),
            (target, outputnode, same("target")),
        ]
    )
    return wf
