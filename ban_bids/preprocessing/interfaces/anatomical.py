"""Interfaces of the anatomy: preparation, normalisation, output grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, TraitedSpec, isdefined, traits

from ban_bids.preprocessing import anatomy
from ban_bids.preprocessing.average import average_t1w
from ban_bids.preprocessing.interfaces.base import InputSpec, Step
from ban_bids.preprocessing.targets import make_target
from ban_bids.preprocessing.without_t1w import WARNING, anatomy_from_bold


class _PrepareT1wInput(InputSpec):
    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="raw T1w images")


class _T1wOutput(TraitedSpec):
    t1w = File(exists=True, desc="bias-corrected, RAS")
    mask = File(exists=True, desc="brain")
    csf = File(exists=True)
    gm = File(exists=True)
    wm = File(exists=True)
    used = traits.List(traits.Int(), desc="numbers, from 0, of the raw images that went into it")
    notes = traits.List(traits.Str())


class PrepareT1w(Step):
    """Average of several images, conform, N4, brain mask, tissue probabilities."""

    input_spec, output_spec = _PrepareT1wInput, _T1wOutput

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        paths = [Path(path) for path in self.inputs.in_files]
        image, used, notes = average_t1w(paths, folder)
        files = anatomy.prepare_t1w(image, folder)
        self.keep({**files, "used": [paths.index(path) for path in used], "notes": list(notes)})
        return runtime


class _NormalizeInput(InputSpec):
    t1w = File(exists=True, mandatory=True)
    mask = File(exists=True, mandatory=True)


class _NormalizeOutput(TraitedSpec):
    affine = File(exists=True, desc="template world to T1w world, RAS, text")
    warp = File(exists=True)
    inverse_warp = File(exists=True)
    warped = File(exists=True, desc="T1w brain on the template at 2 mm")
    to_template = File(exists=True, desc="ITK composite, T1w image to template")
    from_template = File(exists=True, desc="ITK composite, template to T1w image")
    correlation = traits.Float(desc="with the template inside its mask")


class NormalizeT1w(Step):
    """Affine + SyN to MNI152NLin2009cAsym."""

    input_spec, output_spec = _NormalizeInput, _NormalizeOutput

    def _run_interface(self, runtime: Any) -> Any:
        files, correlation = anatomy.normalize_t1w(Path(self.inputs.t1w), Path(self.inputs.mask), Path(runtime.cwd))
        self.keep({**files, "correlation": correlation})
        return runtime


class _FromBoldInput(InputSpec):
    in_file = File(exists=True, mandatory=True, desc="first raw BOLD run")
    dummy_scans = traits.Int(desc="volumes before the steady state; detected where not given")


class _FromBoldOutput(_T1wOutput, _NormalizeOutput):
    reference = File(exists=True, desc="on the run's grid")
    matrix = File(exists=True, desc="identity, text")


class AnatomyFromBold(Step):
    """Without T1w image: the first BOLD reference normalised itself, tissues from the template."""

    input_spec, output_spec = _FromBoldInput, _FromBoldOutput

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs.dummy_scans
        files, correlation = anatomy_from_bold(
            Path(self.inputs.in_file), Path(runtime.cwd), given if isdefined(given) else None
        )
        wanted = {name: path for name, path in files.items() if name in self.output_spec().get()}
        self.keep({**wanted, "correlation": correlation, "used": [], "notes": [WARNING]})
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
