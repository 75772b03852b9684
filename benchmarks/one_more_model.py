"""What does one more model cost in one participant, beside its features?

    python benchmarks/one_more_model.py --voxels 5000 [--layers 12] [--controls 5] [--out FILE]

ds003720's layout as in ``scoring_speed.py``; all voxels lie in the auditory regions. A model without a mapping: every
layer is fitted by itself, tested with ``--permutations`` arrangements, and its regions are scored; controls are fitted
and scored. Features are a toy's: no network runs. What models share (BOLD, folds, repeats, arrangements) is made
before. The defaults are a trial's.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import Found, Watch, in_child, parser, scratch_folder
from scoring_speed import data_of, prepare, staged

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "encoding"))

from listening import ToyModel, ToyStore  # noqa: E402

from ban_bids.app import scored as scored_module  # noqa: E402
from ban_bids.constants import REGIONS  # noqa: E402
from ban_bids.encoding import design as design_module  # noqa: E402
from ban_bids.encoding.fit import Fitting  # noqa: E402
from ban_bids.encoding.ridge.backend import Engine  # noqa: E402
from ban_bids.encoding.ridge.limits import Limits  # noqa: E402
from ban_bids.inputs.heldout import HeldOutPlan  # noqa: E402
from ban_bids.settings import Encoding  # noqa: E402


def main() -> int:
    """Measure and print; exit status 1 where it failed."""
    numbers = {
        "voxels": 500, "runs": 12, "held-out-runs": 6, "clips": 40, "components": 64, "permutations": 1000,
        "threads": 2, "mem-mb": 4096, "layers": 12, "controls": 5,
    }  # fmt: skip
    given = parser(__doc__, numbers).parse_args()
    with scratch_folder(given.scratch) as folder:
        in_child(prepare, given, folder)
        found = in_child(one_more, given, folder, threads=given.threads)
    print(json.dumps(found, indent=1))
    if given.out:
        Path(given.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int("failed" in found)


def one_more(given: argparse.Namespace, folder: Path) -> Found:
    """Wall and processor seconds of a model's design and scores, and of its controls'."""
    design_module.FeatureCache = ToyStore  # type: ignore[misc, assignment]
    data, stages = data_of(given, folder), staged()
    data = replace(data, region=(1 + np.arange(given.voxels) % len(REGIONS)).astype(np.int16))
    settings = Encoding(n_components=given.components, n_permutations=given.permutations)
    held_out = tuple(run.name for run in data.sources if run.name.startswith("task-test"))
    engine = Engine(limits=Limits(given.mem_mb * 2**20, given.threads))
    prepared = scored_module.prepare_participant(
        data, HeldOutPlan((held_out,), "named", "test"), Fitting(settings, 0, engine)
    )
    names = tuple(f"L{k:02d}" for k in range(given.layers))
    model = ToyModel(layers=names, frame_rate=dict.fromkeys(names, 10.0), n_features=given.components * 3 // 2)
    parts: dict[str, Found] = {}
    for name in ("model", *(f"control {k + 1}" for k in range(given.controls))):
        stages.clear()
        with Watch() as watch_design:
            laid = design_module.design(data, model, prepared.folds, n_components=settings.n_components, cache=folder)
        with Watch() as watch:
            score = scored_module.score_model if name == "model" else scored_module.score_control
            score(prepared, laid)
        parts[name] = {
            "design": watch_design.found(), "scores": watch.found(),
            "stages_wall_s": {stage: round(seconds, 1) for stage, seconds in stages.items()},
        }  # fmt: skip
    return {"layers": given.layers, "voxels": given.voxels, "parts": parts}


if __name__ == "__main__":
    sys.exit(main())
