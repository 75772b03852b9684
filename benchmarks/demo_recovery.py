"""How often does the demo find what it planted? The demo's design over many seeds, without images.

    python benchmarks/demo_recovery.py [--seeds 20] [--people 2] [--jobs 2] [--explained 0.6]

Everything but the images is the demo's: music, teacher, the training of BAN, runs and clips, responses with each
voxel's own haemodynamics. Motion, registration and resampling are left out; what they cost is in the share of variance
that a voxel's response has after preprocessing (``--explained``). Encoding and the choice of layers are the package's
public functions. Printed: per seed and region the layer committed by each person, and the share of regions, and of
whole datasets, in which it is the planted one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

os.environ.setdefault("OMP_NUM_THREADS", "1")

from simulated_listening import ParticipantData, participant  # noqa: E402

from ban_bids.app.scored import Fitting, prepare_participant, score_control  # noqa: E402
from ban_bids.constants import REGIONS  # noqa: E402
from ban_bids.demo.build import listen_to, stimulus_tracks, training_tracks  # noqa: E402
from ban_bids.demo.networks import TrainingJob, train_network  # noqa: E402
from ban_bids.demo.plan import SIZES, DemoSize, PlannedRun, plan_runs  # noqa: E402
from ban_bids.demo.planting import TEACHER, Excerpt, follow, read_directions  # noqa: E402
from ban_bids.demo.responses import Courses, VoxelPlan, run_signals  # noqa: E402
from ban_bids.demo.styles import GENRES  # noqa: E402
from ban_bids.encoding.design import design  # noqa: E402
from ban_bids.inputs.heldout import held_out_plan  # noqa: E402
from ban_bids.inputs.types import Clip, Participant, Presentation, Run  # noqa: E402
from ban_bids.models.checkpoint import load_checkpoint  # noqa: E402
from ban_bids.models.network import NetworkModel  # noqa: E402
from ban_bids.settings import Encoding, Selection  # noqa: E402

_VOXELS = 60
"""Per region; the demo's smallest has about 45."""


def run_of(planned: PlannedRun, tracks: list[Path], size: DemoSize) -> Run:
    """A run of the demo as it would be read."""
    scan = size.scan(len(planned.heard))
    heard = tuple(
        Presentation(Clip(tracks[one.clip], size.start, size.clip, tracks[one.clip].stem), one.onset)
        for one in planned.heard
    )
    number = str(planned.number)
    entities = (("sub", "01"), ("task", "music"), ("run", number))
    times = tuple(float(time) for time in scan.slice_times)
    return Run(
        "01", None, "music", number, entities, Path("b"), Path("e"), scan.repetition_time, scan.n_volumes, times, "k",
        None, heard,
    )  # fmt: skip


def data_of(runs: list[Run], planned: tuple[PlannedRun, ...], source: Courses, size: DemoSize, *, seed: int,
            explained: float) -> ParticipantData:  # fmt: skip
    """One person's BOLD: responses of the demo's kind, and autocorrelated noise."""
    rng = np.random.default_rng([seed, 23])
    n = _VOXELS * len(REGIONS)
    plan = VoxelPlan(
        voxels=np.arange(n),
        region=np.repeat(np.arange(1, len(REGIONS) + 1), _VOXELS).astype(np.uint8),
        weights=rng.standard_normal((n, source.n_components)),
        delay=rng.uniform(4.3, 6.3, n),
        width=rng.uniform(0.8, 1.2, n),
    )
    scans = [replace(size.scan(len(run.heard)), shape=(n, 1, 1), multiband=1) for run in planned]
    signals = run_signals(source, plan, [run.heard for run in planned], scans)
    rows = np.concatenate([one.signal[:, :, 0].T for one in signals])
    rows = rows / rows.std(axis=0)
    noise = rng.standard_normal(rows.shape)
    for row in range(1, len(noise)):
        noise[row] = 0.3 * noise[row - 1] + np.sqrt(1 - 0.3**2) * noise[row]
    bold = np.sqrt(explained) * rows + np.sqrt(1 - explained) * noise
    # slices at the start of each volume: what the samples refer to
    made = participant([replace(run, slice_timing=None) for run in runs], bold, 0.0, seed)
    return replace(made, region=plan.region.astype(np.int16))


def dataset(seed: int, *, size: DemoSize, people: int, explained: float, folder: Path | None = None) -> pd.DataFrame:
    """Committed layers of one dataset."""
    with tempfile.TemporaryDirectory() as scratch:
        root = folder / str(seed) if folder else Path(scratch)
        os.environ["BAN_BIDS_CACHE"] = str(root / "audio")
        weights = root / "ban.safetensors"
        tracks = stimulus_tracks(root, size, seed)
        if not weights.is_file():
            training_tracks(root, size, seed)
            train_network(TrainingJob(root / "genres", weights, seed, size.epochs))
        excerpts = [Excerpt(path, size.start, size.clip) for path in tracks]
        source = follow(listen_to(TEACHER, excerpts, ())[0], read_directions())
        planned = plan_runs(size, len(tracks), seed)
        model = NetworkModel(load_checkpoint(weights)[0], GENRES)
        runs = [run_of(one, tracks, size) for one in planned]
        plan = held_out_plan(Participant("01", (), tuple(runs)), Selection(Path()))
        rows = []
        for person in range(people):
            data = data_of(runs, planned, source, size, seed=100 * seed + person, explained=explained)
            fitting = Fitting(Encoding(n_permutations=100), seed)
            ready = prepare_participant(data, plan, fitting, regions=REGIONS)
            score = score_control(ready, design(data, model, ready.folds, n_components=64, cache=root / "features"))
            for region in REGIONS:
                committed = max(score.committed[region], key=lambda layer: score.committed[region][layer])
                rows.append({"seed": seed, "person": person, "region": region, "committed": committed})
    return pd.DataFrame(rows).assign(found=lambda table: table["region"] == table["committed"])


def main() -> None:
    """Print one row per seed and person, and the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--explained", type=float, default=0.6)
    parser.add_argument("--keep", type=Path, help="keep music and networks of every seed here, for another call")
    given = parser.parse_args()
    one = partial(dataset, size=SIZES["full"], people=given.people, explained=given.explained, folder=given.keep)
    seeds = range(given.first, given.first + given.seeds)
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        table = pd.concat(list(pool.map(one, seeds)))
    shown = table.pivot(index=["seed", "person"], columns="region", values="committed")[list(REGIONS)]
    print(shown.to_string())
    whole = table.groupby("seed")["found"].all()
    by_region = table.groupby("region")["found"].mean()[list(REGIONS)]
    print("\nfound:", ", ".join(f"{region} {share:.2f}" for region, share in by_region.items()))
    print(f"regions of people found: {table['found'].mean():.3f} of {len(table)}")
    print(f"datasets in which all are found: {whole.mean():.2f} of {len(whole)}")


if __name__ == "__main__":
    main()
