"""Interface of the distortion that is found by registration to the T1w image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits

from ban_bids.preprocessing import figures
from ban_bids.preprocessing.distortion import Distortion, ToReference, find_distortion, save_field
from ban_bids.preprocessing.interfaces.base import InputSpec, Step


class _DistortionInput(InputSpec):
    reference = File(exists=True, mandatory=True)
    reference_mask = File(exists=True, mandatory=True)
    t1w = File(exists=True, mandatory=True)
    t1w_mask = File(exists=True, mandatory=True)
    wm = File(exists=True, mandatory=True)
    matrix = File(exists=True, mandatory=True, desc="T1w world to BOLD reference world")
    axis = traits.Str(mandatory=True, desc="PhaseEncodingDirection")
    name = traits.Str(mandatory=True, desc="of the run")


class _DistortionOutput(TraitedSpec):
    field = File(exists=True, desc="ITK displacement field in BOLD reference world")
    measures = traits.Dict(desc="name of the run, and its measures")
    notes = traits.List(traits.Str())
    figure = File(exists=True)


class FindDistortion(Step):
    """Distortion of a session's first BOLD reference along its phase-encoding axis."""

    input_spec, output_spec = _DistortionInput, _DistortionOutput

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        matrix = np.loadtxt(given.matrix)
        found = find_distortion(
            Path(given.reference),
            Path(given.reference_mask),
            Path(given.t1w),
            Path(given.t1w_mask),
            matrix,
            given.axis,
            folder,
        )
        maps = (ToReference(matrix), ToReference(matrix, matrix, found.field))
        before, after = found.information
        measures = {"distortion_nmi_before": before, "distortion_nmi_after": after}
        self.keep(
            {
                "field": save_field(found.field, folder / "distortion.nii.gz"),
                "measures": {"run": given.name, **measures, "distortion_shift": found.shift},
                "notes": [f"{given.name}: --use-syn-sdc: {_told(found, given.axis[0])}"],
                "figure": figures.distortion(
                    given.reference, maps, given.t1w_mask, given.wm, folder / "distortion.png"
                ),
            }
        )
        return runtime


def _told(found: Distortion, axis: str) -> str:
    """What was done, for the notes."""
    before, after = found.information
    if not after > before:
        return "registration to the T1w image found no distortion; images are left as they are"
    return (
        f"distortion along {axis} reduced by registration to the T1w image (normalised mutual information "
        f"{before:.3f} before, {after:.3f} after; 95 % of shifts under {found.shift:.1f} mm); later runs of "
        "the session with this phase encoding use the field through their alignment to this one"
    )
