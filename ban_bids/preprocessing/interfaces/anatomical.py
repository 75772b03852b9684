"""Interfaces of the T1w image: preparation, normalisation, output grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from ban_bids.preprocessing import anatomy
from ban_bids.preprocessing.interfaces.base import InputSpec, Step
from ban_bids.preprocessing.targets import make_target


class _PrepareT1wInput(InputSpec):
    in_file = File(exists=True, mandatory=True, desc="raw T1w image")


class _T1wOutput(TraitedSpec):
    t1w = File(exists=True, desc="bias-corrected, RAS")
    mask = File(exists=True, desc="brain")
    csf = File(exists=True)
    gm = File(exists=True)
    wm = File(exists=True)


class PrepareT1w(Step):
    """Conform, N4, brain mask, tissue probabilities."""

    input_spec, output_spec = _PrepareT1wInput, _T1wOutput

    def _run_interface(self, runtime: Any) -> Any:
        self.keep(dict(anatomy.prepare_t1w(Path(self.inputs.in_file), Path(runtime.cwd))))
        return runtime


class _NormalizeInput(InputSpec):
    t1w = File(exists=True, mandatory=True)
    mask = File(exists=True, mandatory=True)


class _NormalizeOutput(TraitedSpec):
    affine = File(exists=True, desc="template world to T1w world, RAS, text")
    warp = File(exists=True)
    inverse_warp = File(exists=True)
    warped = File(exists=True, desc="T1w brain on the template at 2 mm")
    correlation = traits.Float(desc="with the template inside its mask")


class NormalizeT1w(Step):
    """Affine + SyN to MNI152NLin2009cAsym."""

    input_spec, output_spec = _NormalizeInput, _NormalizeOutput

    def _run_interface(self, runtime: Any) -> Any:
        files, correlation = anatomy.normalize_t1w(
            Path(self.inputs.t1w), Path(self.inputs.mask), Path(runtime.cwd)
        )
        self.keep({**files, "correlation": correlation})
        return runtime


class _TargetInput(InputSpec):
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


class MakeTarget(Step):
    """Output grid, brain voxels, their T1w coordinates and tissues."""

    input_spec, output_spec = _TargetInput, _TargetOutput

    def _run_interface(self, runtime: Any) -> Any:
        names = ("mask", "csf", "wm", "affine", "warp", "inverse_warp")
        target = make_target(
            {name: Path(getattr(self.inputs, name)) for name in names},
            self.inputs.space,
            self.inputs.resolution,
        )
        self.keep({"target": target.save(Path(runtime.cwd) / "target.npz")})
        return runtime
