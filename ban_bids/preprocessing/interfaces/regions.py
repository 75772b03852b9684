"""Interface of the regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, TraitedSpec, traits

from ban_bids.preprocessing.interfaces.base import InputSpec, Step
from ban_bids.preprocessing.regions import AtlasFiles
from ban_bids.preprocessing.targets import make_regions


class _RegionsInput(InputSpec):
    target = File(exists=True, mandatory=True)
    t1w = File(exists=True, mandatory=True)
    gm = File(exists=True, mandatory=True)
    masks = InputMultiObject(File(exists=True), mandatory=True)
    affine = File(exists=True, mandatory=True)
    warp = File(exists=True, mandatory=True)
    inverse_warp = File(exists=True, mandatory=True)
    space = traits.Str(mandatory=True)
    atlas = File(exists=True, mandatory=True, desc="label image; hashed by content, as its table is")
    atlas_table = File(exists=True, mandatory=True)
    atlas_name = traits.Str(mandatory=True)


class _RegionsOutput(TraitedSpec):
    dseg = File(exists=True)
    table = File(exists=True)
    cortex = File(exists=True)
    t1w_in_space = File(exists=True)
    measures = traits.Dict()
    notes = traits.List(traits.Str())


class Regions(Step):
    """Auditory regions and cortex of a participant on the output grid."""

    input_spec, output_spec = _RegionsInput, _RegionsOutput

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs
        names = ("target", "t1w", "gm", "affine", "warp", "inverse_warp")
        files, measures, notes = make_regions(
            {name: Path(getattr(given, name)) for name in names},
            [Path(mask) for mask in given.masks],
            given.space,
            AtlasFiles(given.atlas_name, Path(given.atlas), Path(given.atlas_table)),
            Path(runtime.cwd),
        )
        self.keep({**files, "measures": measures, "notes": list(notes)})
        return runtime
