"""Interface of the measures of quality and their pictures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from nipype.interfaces.base import File, InputMultiObject, TraitedSpec, traits

from ban_bids.preprocessing import quality
from ban_bids.preprocessing.files import load_image
from ban_bids.preprocessing.interfaces.base import InputSpec, Step
from ban_bids.preprocessing.quality_figures import quality_pictures
from ban_bids.preprocessing.space.template import Grid


class _QualityInput(InputSpec):
    names = traits.List(traits.Str(), mandatory=True)
    sessions = traits.List(traits.Str(), mandatory=True, desc="one per run, empty where there is none")
    repetition_times = traits.List(traits.Float(), mandatory=True)
    non_steady = InputMultiObject(traits.Int(), mandatory=True)
    masks = InputMultiObject(File(exists=True), mandatory=True)
    confounds = InputMultiObject(File(exists=True), mandatory=True)
    signals = InputMultiObject(File(exists=True), mandatory=True, desc="tSNR and carpet of every run")
    references = InputMultiObject(File(exists=True), mandatory=True)
    matrices = InputMultiObject(File(exists=True), mandatory=True)
    from_t1w = traits.Bool(mandatory=True, desc="whether the anatomy is a T1w image")
    t1w_mask = File(exists=True, mandatory=True)
    correlation = traits.Float(mandatory=True, desc="with the template")
    dseg = File(exists=True, mandatory=True)
    table = File(exists=True, mandatory=True)


class _QualityOutput(TraitedSpec):
    measurements = traits.List(traits.Dict())
    tsnr = File(exists=True)
    carpets = traits.List(File(exists=True))


class Quality(Step):
    """Measures of quality of a participant, maps of signal-to-noise, carpets."""

    input_spec, output_spec = _QualityInput, _QualityOutput

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        runs = self._runs()
        labels, affine = load_image(inputs.dseg)
        auditory, t1w_mask = labels > 0, Path(inputs.t1w_mask)
        measurements = [one for run in runs for one in quality.signal_measures(run, auditory)]
        measurements += quality.match_measures(runs, t1w_mask)
        fit = "registration_correlation" if inputs.from_t1w else "bold_template_fit"
        measurements += quality.measured([(fit, inputs.correlation)])
        measurements += quality.brain_volume(t1w_mask)
        if not inputs.from_t1w:
            measurements = quality.without_t1w(measurements)
        measurements += quality.region_measures(pd.read_csv(inputs.table, sep="\t"))
        grid = Grid((labels.shape[0], labels.shape[1], labels.shape[2]), affine)
        tsnr, carpets = quality_pictures(runs, auditory, grid, Path(runtime.cwd))
        self.keep(
            {
                "measurements": [asdict(one) for one in measurements],
                "tsnr": tsnr,
                "carpets": [str(path) for path in carpets],
            }
        )
        return runtime

    def _runs(self) -> list[quality.RunFiles]:
        inputs = self.inputs
        columns = (
            inputs.names, inputs.sessions, inputs.masks, inputs.confounds, inputs.signals, inputs.non_steady,
            inputs.repetition_times, inputs.references, inputs.matrices,
        )  # fmt: skip
        return [
            quality.RunFiles(name, session, Path(mask), Path(table), Path(signal), skip, tr, Path(ref), Path(matrix))
            for name, session, mask, table, signal, skip, tr, ref, matrix in zip(*columns, strict=True)
        ]
