"""Interfaces of one BOLD run: motion, coregistration, resampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, isdefined, traits

from ban_bids.preprocessing import functional
from ban_bids.preprocessing.distortion import ToReference
from ban_bids.preprocessing.interfaces.base import InputSpec, Step
from ban_bids.preprocessing.space.transforms import Displacement


class _ReferenceInput(InputSpec):
    in_file = File(exists=True, mandatory=True, desc="raw BOLD run")
    dummy_scans = traits.Int(desc="volumes before the steady state; detected where not given")


class _ReferenceOutput(TraitedSpec):
    reference = File(exists=True)
    mask = File(exists=True)
    motion = File(exists=True)
    non_steady = traits.Int()
    notes = traits.List(traits.Str())


class ReferenceAndMotion(Step):
    """Steady state, two-pass realignment, reference, rough mask."""

    input_spec, output_spec = _ReferenceInput, _ReferenceOutput

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs.dummy_scans
        files, non_steady, notes = functional.reference_and_motion(
            Path(self.inputs.in_file), Path(runtime.cwd), given if isdefined(given) else None
        )
        self.keep({**files, "non_steady": non_steady, "notes": list(notes)})
        return runtime


class _MatrixOutput(TraitedSpec):
    matrix = File(exists=True, desc="T1w world to BOLD reference world, RAS, text")
    notes = traits.List(traits.Str())


class _CoregisterInput(InputSpec):
    reference = File(exists=True, mandatory=True)
    reference_mask = File(exists=True, mandatory=True)
    t1w = File(exists=True, mandatory=True)
    t1w_mask = File(exists=True, mandatory=True)


class Coregister(Step):
    """Rigid registration of a session's first BOLD reference to the T1w image."""

    input_spec, output_spec = _CoregisterInput, _MatrixOutput

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        matrix = functional.coregister_session(
            Path(given.reference), Path(given.reference_mask), Path(given.t1w), Path(given.t1w_mask), folder
        )
        np.savetxt(folder / "matrix.txt", matrix, fmt="%.10f")
        self.keep({"matrix": folder / "matrix.txt", "notes": []})
        return runtime


class _RunToSessionInput(InputSpec):
    reference = File(exists=True, mandatory=True)
    session_reference = File(exists=True, mandatory=True)
    session_matrix = File(exists=True, mandatory=True)


class RunToSession(Step):
    """Compose a run's alignment to its session's first run with that run's coregistration."""

    input_spec, output_spec = _RunToSessionInput, _MatrixOutput

    def _run_interface(self, runtime: Any) -> Any:
        matrix = functional.run_to_session(Path(self.inputs.reference), Path(self.inputs.session_reference))
        path = Path(runtime.cwd) / "matrix.txt"
        np.savetxt(path, matrix @ np.loadtxt(self.inputs.session_matrix), fmt="%.10f")
        self.keep({"matrix": path, "notes": []})
        return runtime


class _ResampleInput(InputSpec):
    in_file = File(exists=True, mandatory=True)
    motion = File(exists=True, mandatory=True)
    matrix = File(exists=True, mandatory=True)
    target = File(exists=True, mandatory=True)
    non_steady = traits.Int(mandatory=True)
    repetition_time = traits.Float(mandatory=True)
    slice_timing = traits.List(traits.Float())
    direction = traits.Str("k", usedefault=True)
    field = File(exists=True, desc="distortion of the session's first run")
    session_matrix = File(exists=True, desc="of the run with that field")


class _ResampleOutput(TraitedSpec):
    bold = File(exists=True)
    mask = File(exists=True)
    confounds = File(exists=True)
    quality = File(exists=True, desc="temporal signal-to-noise and carpet, npz")


class Resample(Step):
    """Slice timing, one spatial interpolation, mask, confounds."""

    input_spec, output_spec = _ResampleInput, _ResampleOutput

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs
        timing = functional.Timing(
            given.repetition_time,
            tuple(given.slice_timing) if isdefined(given.slice_timing) and given.slice_timing else None,
            given.direction,
        )
        files = functional.resample_to_target(
            Path(given.in_file),
            Path(given.motion),
            self._map(),
            functional.Target.load(given.target),
            timing,
            given.non_steady,
            Path(runtime.cwd),
        )
        self.keep(dict(files))
        return runtime

    def _map(self) -> ToReference:
        matrix = np.loadtxt(self.inputs.matrix)
        if not isdefined(self.inputs.field):
            return ToReference(matrix)
        session = np.loadtxt(self.inputs.session_matrix)
        return ToReference(matrix, session, Displacement.load(self.inputs.field))
