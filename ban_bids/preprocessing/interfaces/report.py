"""Interfaces of the pictures, and of the summary that everything is published from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import Function

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
        return {
            "anatomy": figures.anatomy(t1w, mask, folder),
            "normalization": figures.normalization(warped, folder),
            "coregistration": figures.coregistration(references, matrices, names, mask=mask, wm=wm, folder=folder),
            "motion": figures.motion(confounds, names, folder),
            "regions": figures.regions(t1w_in_space, dseg, folder),
        }


def collect(fields: Sequence[str]) -> Function:
    """Interface that writes one summary of those fields that it gets, from which a participant is published."""
    return Function(list(fields), "summary", write_summary, ["import json", "from pathlib import Path"])


def write_summary(**fields: object) -> str:
    """Write ``summary.json`` in the node's folder; Nipype runs this function's text in a namespace of its own."""
    path = Path("summary.json").resolve()
    path.write_text(json.dumps(fields, indent=1))
    return str(path)
