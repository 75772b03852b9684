"""Interfaces of the pictures and of the summary that everything is published from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, TraitedSpec, isdefined, traits

from ban_bids.preprocessing import figures
from ban_bids.preprocessing.interfaces.base import InputSpec, Step


class _FiguresInput(InputSpec):
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


class Figures(Step):
    """Pictures for the report."""

    input_spec, output_spec = _FiguresInput, _FiguresOutput

    def _run_interface(self, runtime: Any) -> Any:
        inputs, folder = self.inputs, Path(runtime.cwd)
        self.keep(
            {
                "anatomy": figures.anatomy(inputs.t1w, inputs.mask, folder),
                "normalization": figures.normalization(inputs.warped, folder),
                "coregistration": figures.coregistration(
                    inputs.references, inputs.matrices, inputs.names, inputs.mask, inputs.wm, folder
                ),
                "motion": figures.motion(inputs.confounds, inputs.names, folder),
                "regions": figures.regions(inputs.t1w_in_space, inputs.dseg, folder),
            }
        )
        return runtime


class _CollectInput(InputSpec):
    content = traits.Dict(mandatory=True, desc="static entries")
    quality = traits.List(traits.Dict(), mandatory=True, desc="measurements")
    notes = InputMultiObject(traits.Any())
    non_steady = InputMultiObject(traits.Int(), mandatory=True)
    bolds = InputMultiObject(File(exists=True), mandatory=True)
    masks = InputMultiObject(File(exists=True), mandatory=True)
    confounds = InputMultiObject(File(exists=True), mandatory=True)
    t1w = File(exists=True, mandatory=True)
    t1w_mask = File(exists=True, mandatory=True)
    t1w_in_space = File(exists=True, mandatory=True)
    t1w_used = traits.List(traits.Int())
    to_template = File(exists=True, mandatory=True)
    from_template = File(exists=True, mandatory=True)
    references = InputMultiObject(File(exists=True), mandatory=True)
    matrices = InputMultiObject(File(exists=True), mandatory=True)
    motions = InputMultiObject(File(exists=True), mandatory=True)
    dseg = File(exists=True, mandatory=True)
    table = File(exists=True, mandatory=True)
    cortex = File(exists=True, mandatory=True)
    fig_anatomy = File(exists=True)
    fig_normalization = File(exists=True)
    fig_coregistration = File(exists=True)
    fig_motion = File(exists=True)
    fig_regions = File(exists=True)
    fig_tsnr = File(exists=True)
    carpets = traits.List(File(exists=True))
    distortions = traits.List(File(exists=True), desc="pictures, with --use-syn-sdc")


class _CollectOutput(TraitedSpec):
    summary = File(exists=True)


class Collect(Step):
    """Write one summary of a participant's files and measures, from which they are published."""

    input_spec, output_spec = _CollectInput, _CollectOutput

    def _run_interface(self, runtime: Any) -> Any:
        content = {
            name: value for name, value in self.inputs.get().items() if isdefined(value) and name not in ("version",)
        }
        path = Path(runtime.cwd) / "summary.json"
        path.write_text(json.dumps(content, default=list, indent=1), encoding="utf-8")
        self.keep({"summary": path})
        return runtime
