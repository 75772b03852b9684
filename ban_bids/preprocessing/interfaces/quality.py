"""Interface of the measures of quality and their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.interfaces.base import File, InputMultiObject, TraitedSpec, isdefined, traits

from ban_bids.preprocessing.files import load_image
from ban_bids.preprocessing.interfaces.base import InputSpec, Step
from ban_bids.preprocessing.quality import assess
from ban_bids.preprocessing.quality.thresholds import Measurement, measured
from ban_bids.preprocessing.space.template import Grid

_TISSUES = ("csf", "gm", "wm")


def _of_distortion(values: Mapping[str, Any]) -> list[Measurement]:
    """Measures of one run's distortion."""
    return measured([(name, float(value)) for name, value in values.items() if name != "run"], values["run"])


class _QualityInput(InputSpec):
    names = traits.List(traits.Str(), mandatory=True)
    sessions = traits.List(traits.Str(), mandatory=True, desc="one a run, empty where there is none")
    repetition_times = traits.List(traits.Float(), mandatory=True)
    non_steady = InputMultiObject(traits.Int(), mandatory=True)
    masks = InputMultiObject(File(exists=True), mandatory=True)
    confounds = InputMultiObject(File(exists=True), mandatory=True)
    signals = InputMultiObject(File(exists=True), mandatory=True, desc="tSNR and carpet of every run")
    references = InputMultiObject(File(exists=True), mandatory=True)
    matrices = InputMultiObject(File(exists=True), mandatory=True)
    from_t1w = traits.Bool(mandatory=True, desc="whether the anatomy is a T1w image")
    t1w = File(exists=True, mandatory=True)
    t1w_mask = File(exists=True, mandatory=True)
    csf = File(exists=True, mandatory=True)
    gm = File(exists=True, mandatory=True)
    wm = File(exists=True, mandatory=True)
    correlation = traits.Float(mandatory=True, desc="with the template")
    dseg = File(exists=True, mandatory=True)
    table = File(exists=True, mandatory=True)
    region_measures = traits.Dict(mandatory=True)
    distortions = traits.List(traits.Dict(), desc="with --use-syn-sdc, of the runs with a field of their own")


class _QualityOutput(TraitedSpec):
    measurements = traits.List(traits.Dict())
    tsnr = File(exists=True)
    carpets = traits.List(File(exists=True))


class Quality(Step):
    """Measures of quality of a participant, maps of signal-to-noise, carpets."""

    input_spec, output_spec = _QualityInput, _QualityOutput

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs
        runs = self._runs()
        labels, affine = load_image(given.dseg)
        auditory, volume = labels > 0, float(abs(np.linalg.det(affine[:3, :3])))
        found = [one for run in runs for one in assess.signal_measures(run, auditory, volume)]
        found += assess.match_measures(runs, Path(given.t1w), Path(given.t1w_mask))
        if isdefined(given.distortions):
            found += [one for values in given.distortions for one in _of_distortion(values)]
        fit = "registration_correlation" if given.from_t1w else "bold_template_fit"
        found += measured([(fit, given.correlation)])
        tissues = [Path(getattr(given, name)) for name in _TISSUES]
        found += assess.tissue_measures(Path(given.t1w_mask), tissues)
        if not given.from_t1w:
            found = assess.without_t1w(found)
        found += measured([("cortex_voxels", float(given.region_measures["cortex_voxels"]))])
        found += assess.region_measures(pd.read_csv(given.table, sep="\t"))
        grid = Grid((labels.shape[0], labels.shape[1], labels.shape[2]), affine)
        tsnr, carpets = assess.quality_pictures(runs, auditory, grid, Path(runtime.cwd))
        self.keep(
            {
                "measurements": [asdict(one) for one in found],
                "tsnr": tsnr,
                "carpets": [str(path) for path in carpets],
            }
        )
        return runtime

    def _runs(self) -> list[assess.RunFiles]:
        given = self.inputs
        columns = (
            given.names, given.sessions, given.masks, given.confounds, given.signals, given.non_steady,
            given.repetition_times, given.references, given.matrices,
        )  # fmt: skip
        return [
            assess.RunFiles(name, session, Path(mask), Path(table), Path(signal), skip, tr, Path(ref), Path(m))
            for name, session, mask, table, signal, skip, tr, ref, m in zip(*columns, strict=True)
        ]
