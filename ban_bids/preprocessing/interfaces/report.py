"""Interfaces of the pictures and of the summary that everything is published from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    DynamicTraitedSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits

from ban_bids.preprocessing import figures
from ban_bids.preprocessing.interfaces.base import Step


class Figures(Step, files="anatomy normalization coregistration motion regions"):
    """Pictures for the report."""

    @staticmethod
    def compute(
        *,
        t1w: Path,
        mask: Path,
        warped: Path,
        references: list[Path],
        matrices: list[Path],
        confounds: list[Path],
        names: list[str],
        wm: Path,
        t1w_in_space: Path,
        dseg: Path,
        folder: Path,
    ) -> dict[str, Any]:
        """Draw them; ``names`` are the runs'."""
        coregistration = figures.coregistration(
            [str(path) for path in references], [str(path) for path in matrices], names, str(mask), str(wm), folder
        )
        return {
            "anatomy": figures.anatomy(str(t1w), str(mask), folder),
            "normalization": figures.normalization(str(warped), folder),
            "coregistration": coregistration,
            "motion": figures.motion([str(path) for path in confounds], names, folder),
            "regions": figures.regions(str(t1w_in_space), str(dseg), folder),
        }


class _Fields(DynamicTraitedSpec, BaseInterfaceInputSpec):
    pass


class _Summary(TraitedSpec):
    summary = File(exists=True)


class Collect(SimpleInterface):
    """Write one summary of the fields that it is given, from which a participant is published."""

    input_spec, output_spec = _Fields, _Summary

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__()
        self._fields = tuple(fields)
        add_traits(self.inputs, self._fields, traits.Any)

    def _run_interface(self, runtime: Any) -> Any:
        values = {name: getattr(self.inputs, name) for name in self._fields}
        path = Path(runtime.cwd) / "summary.json"
        path.write_text(json.dumps({name: value for name, value in values.items() if isdefined(value)}, indent=1))
        self._results["summary"] = str(path)
        return runtime
