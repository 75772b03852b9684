"""How long does all that is done for one model in one participant take, stage by stage, and in what memory?

    python benchmarks/scoring_speed.py --voxels 50000 [--permutations 10000] [--out docs/speed.json]

ds003720's layout: 12 training runs of 40 clips and 6 held-out runs that cycle 10 clips 4 times, TR 1.5 s, 400
volumes each. BOLD lies on disk as the app's does. Fits single-layer models, the joint model and the models
without a layer, takes scores and ceilings, and permutes; a tenth of the voxels belongs to a region. Features
are a toy's: no network runs. The defaults are a trial's.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from encoding_speed import put, told
from measuring import Found, Watch, hardware, in_child, parser, scratch_folder
from scipy.signal import lfilter

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "encoding"))

from listening import ToyModel, ToyStore, make_run, participant  # noqa: E402

from ban_bids.app import scored as scored_module  # noqa: E402
from ban_bids.constants import JOINT, REGIONS  # noqa: E402
from ban_bids.encoding import design as design_module  # noqa: E402
from ban_bids.encoding.bold import ParticipantData  # noqa: E402
from ban_bids.encoding.fit import Fitting, FoldModels, slab_size  # noqa: E402
from ban_bids.encoding.ridge.backend import Engine  # noqa: E402
from ban_bids.encoding.ridge.limits import Limits  # noqa: E402
from ban_bids.inputs.heldout import HeldOutPlan  # noqa: E402
from ban_bids.inputs.types import Run  # noqa: E402
from ban_bids.models.candidate import mapping_by_name  # noqa: E402
from ban_bids.scoring import voxels as voxels_module  # noqa: E402
from ban_bids.settings import Encoding

_VOLUMES_A_CLIP, _AT_ONCE, _LATENT = 10, 1000, 4


def parsed() -> argparse.Namespace:
    numbers = {
        "voxels": 500, "runs": 12, "held-out-runs": 6, "clips": 40, "components": 64, "permutations": 1000,
        "threads": 2, "mem-mb": 4096,
    }  # fmt: skip
    options = parser(__doc__, numbers)
    options.add_argument("--backend", default="numpy", help="numpy, torch or torch_cuda")
    return options.parse_args()


def main() -> int:
    """Measure and print; exit status 1 where it failed or took more memory than it was given."""
    given = parsed()
    with scratch_folder(given.scratch) as folder:
        in_child(prepare, given, folder)
        found = in_child(scored, given, folder, threads=given.threads)
    print(json.dumps(found))
    if given.out:
        sizes = (
            "voxels",
            "runs",
            "held_out_runs",
            "clips",
            "components",
            "permutations",
            "mem_mb",
            "backend",
        )
        put(given.out, "pipeline", {
            "command": f"python benchmarks/scoring_speed.py {shlex.join(told(sys.argv[1:]))}".strip(),
            "hardware": hardware(given.threads, given.backend),
            **{name: getattr(given, name) for name in sizes}, "found": found,
        })  # fmt: skip
    return int("failed" in found or found["own_peak_mb"] > given.mem_mb)


def runs_of(given: argparse.Namespace) -> list[Run]:
    volumes = given.clips * _VOLUMES_A_CLIP
    training = [
        make_run(f"train{r}", [f"t{r}_{i}" for i in range(given.clips)], n_volumes=volumes) for r in range(given.runs)
    ]
    held_out = [
        make_run(f"test{r}", [f"x{r}_{i % (given.clips // 4)}" for i in range(given.clips)], n_volumes=volumes)
        for r in range(given.held_out_runs)
    ]
    return training + held_out


def model_of(given: argparse.Namespace) -> ToyModel:
    return ToyModel(n_features=max(given.components * 3 // 2, _LATENT))


def prepare(given: argparse.Namespace, folder: Path) -> Found:
    """Write BOLD: autocorrelated noise, and in it what some features do three volumes later."""
    runs, model = runs_of(given), model_of(given)
    latent = []
    for run in runs:
        clips = []
        for item in run.presentations:
            frames = [model.frames(item.clip, layer)[:, :_LATENT] for layer in model.layers]
            cut = [[part.mean(axis=0) for part in np.array_split(x, _VOLUMES_A_CLIP)] for x in frames]
            clips.append(np.hstack(cut))
        latent.append(np.roll(np.vstack(clips), 3, axis=0))
    signal = np.vstack(latent)
    shape = (len(signal), given.voxels)
    bold = np.lib.format.open_memmap(folder / "bold.npy", "w+", np.float32, shape)
    rng = np.random.default_rng(0)
    for first in range(0, given.voxels, _AT_ONCE):
        width = min(_AT_ONCE, given.voxels - first)
        noise = lfilter([1], [1, -0.4], rng.standard_normal((len(signal), width)), axis=0)
        some = noise + 0.2 * signal @ rng.standard_normal((signal.shape[1], width))
        by_run = some.reshape(len(runs), -1, width)
        by_run = (by_run - by_run.mean(axis=1, keepdims=True)) / by_run.std(axis=1, keepdims=True)
        bold[:, first : first + width] = by_run.reshape(len(signal), width)
    return {}


def data_of(given: argparse.Namespace, folder: Path) -> ParticipantData:
    runs = runs_of(given)
    bold = np.load(folder / "bold.npy", mmap_mode="r")
    one = participant(runs, np.array(bold[:, :1]))
    voxels = np.arange(given.voxels)
    return replace(
        one, bold=bold, mask=np.ones((given.voxels, 1, 1), dtype=bool),
        usable=np.ones(given.voxels, dtype=bool),
        region=np.where(voxels % 10 == 0, 1 + voxels // 10 % len(REGIONS), 0).astype(np.int16),
    )  # fmt: skip


def scored(given: argparse.Namespace, folder: Path) -> Found:
    """Design, encode and score; wall seconds of the whole and of each stage."""
    design_module.FeatureCache = ToyStore  # type: ignore[misc, assignment]
    data, stages = data_of(given, folder), staged()
    settings = Encoding(n_components=given.components, n_permutations=given.permutations)
    held_out = tuple(run.name for run in data.sources if run.name.startswith("task-test"))
    plan = HeldOutPlan((held_out,), "named", "test")
    engine = Engine(backend=given.backend, limits=Limits(given.mem_mb * 2**20, given.threads))
    with Watch() as design_watch:
        prepared = scored_module.prepare_participant(data, plan, Fitting(settings, 0, engine))
        laid = design_module.design(
            data, model_of(given), prepared.folds, n_components=settings.n_components, cache=folder
        )
    with Watch() as watch:
        found = scored_module.score_model(prepared, laid, mapping_by_name(laid.layers))
    told_of = {name: round(seconds, 2) for name, seconds in stages.items()}
    told_of["other"] = round(watch.wall - sum(stages.values()), 2)
    return {
        **watch.found(), "design_wall_s": round(design_watch.wall, 2), "stages_wall_s": told_of,
        "rows": sum(len(fold.fold.training) for fold in laid.folds), "columns": int(
            given.components * len(prepared.folds.delays) * len(laid.layers)
        ),
        "mean_r": float(np.nanmean(found.maps[JOINT, "r"])),
        "slabs": -(-given.voxels // slab_size(laid, settings, engine.limits)),
    }  # fmt: skip


def staged() -> dict[str, float]:
    """Time the stages of `score_model` wherever they are called, for the life of this process."""
    stages: dict[str, float] = defaultdict(float)

    def timed(holder: Any, name: str, stage: Callable[..., str]) -> None:
        inner = getattr(holder, name)

        @functools.wraps(inner)
        def outer(*args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **more)
            finally:
                stages[stage(*args)] += time.perf_counter() - start

        setattr(holder, name, outer)

    def kind(name: str) -> str:
        return "joint" if name == JOINT else "single"

    timed(FoldModels, "choose", lambda _, name: f"{kind(name)}: search")
    timed(FoldModels, "fit", lambda _, name, *__: f"{kind(name)}: refit and prediction")
    timed(FoldModels, "predict_without", lambda *_: "unique: refit and prediction")
    timed(scored_module, "_cortical", lambda *_: "cortical score and its intervals")
    for name in ("voxel_p", "roi_sums", "fdr_bh", "null_from_sums", "max_statistic_p"):
        timed(voxels_module, name, lambda *_: "permutations")
    for name in ("noise_ceiling", "voxel_correlation", "cc_norm"):
        timed(voxels_module, name, lambda *_: "scores and ceiling")
    return stages


if __name__ == "__main__":
    sys.exit(main())
