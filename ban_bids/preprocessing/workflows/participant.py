"""Workflow of one participant: anatomy, runs, regions, pictures, summary."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow

from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.files import node_name, participant_node
from ban_bids.preprocessing.interfaces.anatomical import Regions
from ban_bids.preprocessing.interfaces.quality import Quality
from ban_bids.preprocessing.interfaces.report import Figures, collect
from ban_bids.preprocessing.publish import LISTS
from ban_bids.preprocessing.regions import AtlasFiles
from ban_bids.preprocessing.workflows.anatomy import init_anat_from_bold_wf, init_anat_wf, same
from ban_bids.preprocessing.workflows.bold import init_bold_wf
from ban_bids.settings import Preprocessing

_FIGURES = ("anatomy", "normalization", "coregistration", "motion", "regions")

_ANATOMY = {
    "regions": same("t1w", "gm", "target", "normalization"),
    "quality": [*same("correlation"), ("mask", "t1w_mask")],
    "figures": same("t1w", "mask", "wm", "warped"),
    "collect": [*same("t1w", "to_template", "from_template"), ("mask", "t1w_mask"), ("used", "t1w_used")],
}
_RUNS = {
    "regions": ("mask",),
    "quality": ("quality", "mask", "confounds", "non_steady", "reference", "matrix"),
    "figures": ("confounds", "reference", "matrix"),
    "collect": ("bold", "mask", "confounds", "non_steady", "reference", "matrix", "motion"),
}
"""What each of a participant's steps takes from the anatomy, and from all runs."""

_COLLECTED = (
    "quality", "notes", "non_steady", "bolds", "masks", "confounds", "t1w", "t1w_mask",
    "t1w_in_space", "t1w_used", "to_template", "from_template", "references", "matrices", "motions", "dseg", "table",
    "cortex", *(f"fig_{name}" for name in _FIGURES), "fig_tsnr", "carpets", "distortions",
)  # fmt: skip


def init_participant_wf(
    participant: Participant, options: Preprocessing, *, resolution: float, atlas: AtlasFiles, mem_gb: float
) -> Workflow:
    """Everything for one participant, ending in the node ``collect`` with its summary.

    Parameters
    ----------
    participant : Participant
    options : Preprocessing
    resolution : float
        Output voxel size, mm.
    atlas : AtlasFiles
    mem_gb : float
        What the steps on a whole series need.
    """
    wf = Workflow(name=participant_node(participant.label))
    runs, names = participant.runs, [run.name for run in participant.runs]
    if participant.t1w:
        anat = init_anat_wf(options.space, resolution, sloppy=options.sloppy)
        anat.inputs.inputnode.t1w = [str(path) for path in participant.t1w]
    else:
        anat = init_anat_from_bold_wf(runs[0].bold, options.space, resolution, dummy_scans=options.dummy_scans)
    bolds = _connect_runs(wf, anat, participant, options=options, mem_gb=mem_gb)
    files = {"atlas": str(atlas.image), "atlas_table": str(atlas.table), "atlas_name": atlas.name}
    measures = Quality(
        names=names,
        # without T1w image runs of all sessions lean on the first
        sessions=[(run.session if participant.t1w else None) or "" for run in runs],
        repetition_times=[float(run.mean_interval) for run in runs],
        from_t1w=bool(participant.t1w),
    )
    regions = Node(Regions(space=options.space, **files), name="regions", mem_gb=1.5)
    quality = Node(measures, name="quality", mem_gb=0.5)
    figures = Node(Figures(names=names), name="figures", mem_gb=0.5)
    summary = Node(collect(_COLLECTED), name="collect", overwrite=True)
    merged = {field: _merged(wf, bolds, field) for field in LISTS}
    for step in (regions, quality, figures, summary):
        wf.connect([(anat, step, [(f"outputnode.{source}", field) for source, field in _ANATOMY[step.name]])])
        wf.connect([(merged[field], step, [("out", LISTS[field])]) for field in _RUNS[step.name]])
    notes = Node(Merge(len(bolds) + 2), name="all_notes", run_without_submitting=True, overwrite=True)
    sources = [*((bold, "outputnode.notes") for bold in bolds), (regions, "notes"), (anat, "outputnode.notes")]
    wf.connect([(node, notes, [(output, f"in{number}")]) for number, (node, output) in enumerate(sources, 1)])
    wf.connect(
        [
            (regions, quality, same("dseg", "table")),
            (regions, figures, same("t1w_in_space", "dseg")),
            (regions, summary, same("dseg", "table", "cortex", "t1w_in_space")),
            (quality, summary, [("measurements", "quality"), ("tsnr", "fig_tsnr"), ("carpets", "carpets")]),
            (figures, summary, [(name, f"fig_{name}") for name in _FIGURES]),
            (notes, summary, [("out", "notes")]),
        ]
    )
    if options.use_syn_sdc:
        firsts = [bold for bold in bolds if bold.get_node("distortion") is not None]
        wf.connect(_merged(wf, firsts, "distortion_figure"), "out", summary, "distortions")
    return wf


def _connect_runs(
    wf: Workflow, anat: Workflow, participant: Participant, *, options: Preprocessing, mem_gb: float
) -> list[Workflow]:
    """One workflow per run; later runs of a session lean on its first, without T1w image all on the anatomy.

    Runs whose distortion is reduced share a first run only if their phase encoding is the same.
    """
    firsts: dict[tuple[str | None, str | None], Workflow] = {}
    bolds = []
    for run in participant.runs:
        key = (run.session, run.phase_encoding if options.use_syn_sdc else None)
        first = firsts.get(key) if participant.t1w else anat
        bold = init_bold_wf(run, options, first_of_session=first is None, mem_gb=mem_gb, name=node_name(run.name))
        wf.connect(anat, "outputnode.target", bold, "inputnode.target")
        if first is None:
            firsts[key], source = bold, anat
            fields = [("t1w", "t1w"), ("mask", "t1w_mask"), ("wm", "wm")]
        else:
            source = first
            fields = [("reference", "session_reference"), ("matrix", "session_matrix")]
            fields += [("field", "session_field")] if options.use_syn_sdc else []
        wf.connect([(source, bold, [(f"outputnode.{output}", f"inputnode.{field}") for output, field in fields])])
        bolds.append(bold)
    return bolds


def _merged(wf: Workflow, bolds: Sequence[Workflow], field: str) -> Node:
    """List of one output over runs, in their order.

    Made every time, like the summary: it holds full paths, which change where the work folder moves.
    """
    merge = Node(Merge(len(bolds), no_flatten=True), name=f"all_{field}", run_without_submitting=True, overwrite=True)
    wf.connect([(bold, merge, [(f"outputnode.{field}", f"in{number}")]) for number, bold in enumerate(bolds, 1)])
    return merge
