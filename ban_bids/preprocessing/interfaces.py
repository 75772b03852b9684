"""Typed Nipype interfaces around the steps; each writes into its node's folder only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from ban_bids.preprocessing import anatomy, figures, functional
from ban_bids.preprocessing.targets import make_regions, make_target

VERSION = "1"
"""Part of every node's hash: raise it when a step's result changes, so that cached nodes are done again."""


class _InputSpec(BaseInterfaceInputSpec):
    version = traits.Str(VERSION, usedefault=True, desc="version of the step")


class _Step(SimpleInterface):
    """A step with its results by name and its folder as a path."""

    def _keep(self, results: dict[str, Any]) -> None:
        for name, value in results.items():
            self._results[name] = str(value) if isinstance(value, Path) else value


class _PrepareT1wInput(_InputSpec):
    in_file = File(exists=True, mandatory=True, desc="raw T1w image")


class _T1wOutput(TraitedSpec):
    t1w = File(exists=True, desc="bias-corrected, RAS")
    mask = File(exists=True, desc="brain")
    csf = File(exists=True)
    gm = File(exists=True)
    wm = File(exists=True)


class PrepareT1w(_Step):
    """Conform, N4, brain mask, tissue probabilities."""

    input_spec, output_spec = _PrepareT1wInput, _T1wOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._keep(dict(anatomy.prepare_t1w(Path(self.inputs.in_file), Path(runtime.cwd))))
        return runtime


class _NormalizeInput(_InputSpec):
    t1w = File(exists=True, mandatory=True)
    mask = File(exists=True, mandatory=True)


class _NormalizeOutput(TraitedSpec):
    affine = File(exists=True, desc="template world to T1w world, RAS, text")
    warp = File(exists=True)
    inverse_warp = File(exists=True)
    warped = File(exists=True, desc="T1w brain on the template at 2 mm")
    correlation = traits.Float(desc="with the template inside its mask")


class NormalizeT1w(_Step):
    """Affine + SyN to MNI152NLin2009cAsym."""

    input_spec, output_spec = _NormalizeInput, _NormalizeOutput

    def _run_interface(self, runtime: Any) -> Any:
        files, correlation = anatomy.normalize_t1w(
            Path(self.inputs.t1w), Path(self.inputs.mask), Path(runtime.cwd)
        )
        self._keep({**files, "correlation": correlation})
        return runtime


class _ReferenceInput(_InputSpec):
    in_file = File(exists=True, mandatory=True, desc="raw BOLD run")


class _ReferenceOutput(TraitedSpec):
    reference = File(exists=True)
    mask = File(exists=True)
    motion = File(exists=True)
    non_steady = traits.Int()
    notes = traits.List(traits.Str())


class ReferenceAndMotion(_Step):
    """Steady state, two-pass realignment, reference, rough mask."""

    input_spec, output_spec = _ReferenceInput, _ReferenceOutput

    def _run_interface(self, runtime: Any) -> Any:
        files, non_steady, notes = functional.reference_and_motion(
            Path(self.inputs.in_file), Path(runtime.cwd)
        )
        self._keep({**files, "non_steady": non_steady, "notes": list(notes)})
        return runtime


class _MatrixOutput(TraitedSpec):
    matrix = File(exists=True, desc="T1w world to BOLD reference world, RAS, text")
    notes = traits.List(traits.Str())


class _CoregisterInput(_InputSpec):
    reference = File(exists=True, mandatory=True)
    reference_mask = File(exists=True, mandatory=True)
    t1w = File(exists=True, mandatory=True)
    t1w_mask = File(exists=True, mandatory=True)


class Coregister(_Step):
    """Rigid registration of a session's first BOLD reference to the T1w image."""

    input_spec, output_spec = _CoregisterInput, _MatrixOutput

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        matrix = functional.coregister_session(
            Path(given.reference), Path(given.reference_mask), Path(given.t1w), Path(given.t1w_mask), folder
        )
        np.savetxt(folder / "matrix.txt", matrix, fmt="%.10f")
        self._keep({"matrix": folder / "matrix.txt", "notes": []})
        return runtime


class _RunToSessionInput(_InputSpec):
    reference = File(exists=True, mandatory=True)
    session_reference = File(exists=True, mandatory=True)
    session_matrix = File(exists=True, mandatory=True)
    name = traits.Str(mandatory=True)


class RunToSession(_Step):
    """Compose a run's alignment to its session's first run with that run's coregistration."""

    input_spec, output_spec = _RunToSessionInput, _MatrixOutput

    def _run_interface(self, runtime: Any) -> Any:
        matrix, notes = functional.run_to_session(
            Path(self.inputs.reference), Path(self.inputs.session_reference), self.inputs.name
        )
        path = Path(runtime.cwd) / "matrix.txt"
        np.savetxt(path, matrix @ np.loadtxt(self.inputs.session_matrix), fmt="%.10f")
        self._keep({"matrix": path, "notes": list(notes)})
        return runtime


class _TargetInput(_InputSpec):
    mask = File(exists=True, mandatory=True)
    csf = File(exists=True, mandatory=True)
    wm = File(exists=True, mandatory=True)
    affine = File(exists=True, mandatory=True)
    warp = File(exists=True, mandatory=True)
    inverse_warp = File(exists=True, mandatory=True)
    space = traits.Str(mandatory=True)
    resolution = traits.Float(mandatory=True)


class _TargetOutput(TraitedSpec):
    target = File(exists=True)


class MakeTarget(_Step):
    """Output grid, brain voxels, their T1w coordinates and tissues."""

    input_spec, output_spec = _TargetInput, _TargetOutput

    def _run_interface(self, runtime: Any) -> Any:
        names = ("mask", "csf", "wm", "affine", "warp", "inverse_warp")
        target = make_target(
            {name: Path(getattr(self.inputs, name)) for name in names},
            self.inputs.space,
            self.inputs.resolution,
        )
        self._keep({"target": target.save(Path(runtime.cwd) / "target.npz")})
        return runtime


class _ResampleInput(_InputSpec):
    in_file = File(exists=True, mandatory=True)
    motion = File(exists=True, mandatory=True)
    matrix = File(exists=True, mandatory=True)
    target = File(exists=True, mandatory=True)
    non_steady = traits.Int(mandatory=True)
    repetition_time = traits.Float(mandatory=True)
    slice_timing = traits.List(traits.Float())
    direction = traits.Str("k", usedefault=True)
    start_time = traits.Float()


class _ResampleOutput(TraitedSpec):
    bold = File(exists=True)
    mask = File(exists=True)
    confounds = File(exists=True)
    measures = traits.Dict()


class Resample(_Step):
    """Slice timing, one spatial interpolation, mask, confounds."""

    input_spec, output_spec = _ResampleInput, _ResampleOutput

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs
        timing = functional.Timing(
            given.repetition_time,
            tuple(given.slice_timing) if isdefined(given.slice_timing) and given.slice_timing else None,
            given.direction,
            given.start_time if isdefined(given.start_time) else None,
        )
        files, measures = functional.resample_to_target(
            Path(given.in_file),
            Path(given.motion),
            np.loadtxt(given.matrix),
            functional.Target.load(given.target),
            timing,
            given.non_steady,
            Path(runtime.cwd),
        )
        self._keep({**files, "measures": measures})
        return runtime


class _RegionsInput(_InputSpec):
    target = File(exists=True, mandatory=True)
    t1w = File(exists=True, mandatory=True)
    gm = File(exists=True, mandatory=True)
    masks = InputMultiObject(File(exists=True), mandatory=True)
    affine = File(exists=True, mandatory=True)
    warp = File(exists=True, mandatory=True)
    inverse_warp = File(exists=True, mandatory=True)
    space = traits.Str(mandatory=True)
    atlas = File(exists=True)
    atlas_table = File(exists=True, desc="beside the atlas; here so that its content is hashed")


class _RegionsOutput(TraitedSpec):
    dseg = File(exists=True)
    table = File(exists=True)
    cortex = File(exists=True)
    t1w_in_space = File(exists=True)
    measures = traits.Dict()
    notes = traits.List(traits.Str())


class Regions(_Step):
    """Auditory regions and cortex of a participant on the output grid."""

    input_spec, output_spec = _RegionsInput, _RegionsOutput

    def _run_interface(self, runtime: Any) -> Any:
        names = ("target", "t1w", "gm", "affine", "warp", "inverse_warp")
        files, measures, notes = make_regions(
            {name: Path(getattr(self.inputs, name)) for name in names},
            [Path(mask) for mask in self.inputs.masks],
            self.inputs.space,
            Path(self.inputs.atlas) if isdefined(self.inputs.atlas) else None,
            Path(runtime.cwd),
        )
        self._keep({**files, "measures": measures, "notes": list(notes)})
        return runtime


class _FiguresInput(_InputSpec):
    t1w = File(exists=True, mandatory=True)
    mask = File(exists=True, mandatory=True)
    warped = File(exists=True, mandatory=True)
    references = InputMultiObject(File(exists=True), mandatory=True)
    matrices = InputMultiObject(File(exists=True), mandatory=True)
    confounds = InputMultiObject(File(exists=True), mandatory=True)
    names = traits.List(traits.Str(), mandatory=True)
    wm = File(exists=True, mandatory=True)
    t1w_in_space = File(exists=True, mandatory=True)
    dseg = File(exists=True, mandatory=True)


class _FiguresOutput(TraitedSpec):
    anatomy = File(exists=True)
    normalization = File(exists=True)
    coregistration = File(exists=True)
    motion = File(exists=True)
    regions = File(exists=True)


class Figures(_Step):
    """Pictures for the report."""

    input_spec, output_spec = _FiguresInput, _FiguresOutput

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        names = given.names
        self._keep(
            {
                "anatomy": figures.anatomy(given.t1w, given.mask, folder),
                "normalization": figures.normalization(given.warped, folder),
                "coregistration": figures.coregistration(
                    given.references, given.matrices, names, given.t1w, given.mask, given.wm, folder
                ),
                "motion": figures.motion(given.confounds, names, folder),
                "regions": figures.regions(given.t1w_in_space, given.dseg, folder),
            }
        )
        return runtime


class _CollectInput(_InputSpec):
    content = traits.Dict(mandatory=True, desc="static entries")
    measures = InputMultiObject(traits.Dict(), mandatory=True)
    notes = InputMultiObject(traits.Any())
    non_steady = InputMultiObject(traits.Int(), mandatory=True)
    correlation = traits.Float(mandatory=True)
    bolds = InputMultiObject(File(exists=True), mandatory=True)
    masks = InputMultiObject(File(exists=True), mandatory=True)
    confounds = InputMultiObject(File(exists=True), mandatory=True)
    t1w = File(exists=True, mandatory=True)
    t1w_mask = File(exists=True, mandatory=True)
    t1w_in_space = File(exists=True, mandatory=True)
    affine = File(exists=True, mandatory=True)
    warp = File(exists=True, mandatory=True)
    inverse_warp = File(exists=True, mandatory=True)
    dseg = File(exists=True, mandatory=True)
    table = File(exists=True, mandatory=True)
    cortex = File(exists=True, mandatory=True)
    region_measures = traits.Dict(mandatory=True)
    fig_anatomy = File(exists=True)
    fig_normalization = File(exists=True)
    fig_coregistration = File(exists=True)
    fig_motion = File(exists=True)
    fig_regions = File(exists=True)


class _CollectOutput(TraitedSpec):
    summary = File(exists=True)


class Collect(_Step):
    """Write one summary of a participant's files and measures, from which they are published."""

    input_spec, output_spec = _CollectInput, _CollectOutput

    def _run_interface(self, runtime: Any) -> Any:
        content = {
            name: value
            for name, value in self.inputs.get().items()
            if isdefined(value) and name not in ("version",)
        }
        path = Path(runtime.cwd) / "summary.json"
        path.write_text(json.dumps(content, default=list, indent=1), encoding="utf-8")
        self._keep({"summary": path})
        return runtime
