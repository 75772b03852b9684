"""How long does preprocessing take on a participant of ds003720's size, and how much memory?

    python benchmarks/preprocessing_time.py FOLDER [--runs 2] [--of 18] [--space ...] [--nprocs 2]

Simulates a T1w image (1 mm) and runs of 96 x 96 x 72 voxels (2 mm) with 410 volumes, a moving head and slice
times, preprocesses them as the app does, and prints the seconds of every step, the peak memory of all
processes together (sampled; shared pages counted once) and the time of a participant with 18 runs:
steps of the anatomy once, steps of a run times 18, over the processes used.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import pandas as pd
from measuring import ProcessTree
from nipype.pipeline.engine.utils import load_resultfile
from simulated_head import Head

from ban_bids.demo.phantom import Scan
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.run import preprocess
from ban_bids.settings import Settings

SCAN = Scan((96, 96, 72), 2.0, n_volumes=410, multiband=3)


def simulate(folder: Path, n_runs: int) -> Participant:
    """Write a T1w image and BOLD runs with head motion; nothing is done where they exist."""
    head, t1w = Head.load(), folder / "sub-01_T1w.nii"
    head.write_t1w(t1w)
    timing, runs = tuple(map(float, SCAN.slice_times)), []
    for number in range(1, n_runs + 1):
        path = folder / f"sub-01_task-music_run-{number}_bold.nii"
        head.write_run(path, SCAN, number)
        entities = (("sub", "01"), ("task", "music"), ("run", str(number)))
        facts = (SCAN.repetition_time, SCAN.n_volumes, timing, "k", None, ())
        runs.append(Run("01", None, "music", str(number), entities, path, folder, *facts))
    return Participant("01", (t1w,), tuple(runs))


def step_times(work: Path) -> pd.DataFrame:
    """Seconds of every node that ran, from Nipype's result files."""
    rows = []
    for path in sorted(work.rglob("result_*.pklz")):
        seconds = getattr(load_resultfile(str(path)).runtime, "duration", None)
        if seconds is not None:
            parts = path.parent.relative_to(work).parts
            rows.append({"step": "/".join(parts[2:]), "seconds": float(seconds)})
    return pd.DataFrame(rows)


def main() -> None:
    """Simulate, preprocess, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--of", type=int, default=18, help="runs of the participant extrapolated to")
    parser.add_argument("--space", default="MNI152NLin2009cAsym")
    parser.add_argument("--nprocs", type=int, default=2)
    options = parser.parse_args()
    raw, out = options.folder / "raw", options.folder / f"out-{options.space}"
    raw.mkdir(parents=True, exist_ok=True)
    participant = simulate(raw, options.runs)
    settings = Settings.of(raw, out, "participant", space=options.space, work_dir=out / "work", nprocs=options.nprocs)
    start = time.perf_counter()
    with ProcessTree(os.getpid()) as watched:
        outcome = preprocess([participant], settings)["01"]
    wall = time.perf_counter() - start
    if isinstance(outcome, Exception):
        raise SystemExit(str(outcome))
    times = step_times(settings.compute.work_dir / "nipype")
    of_run = times["step"].str.contains("run_")
    print(times[times["seconds"] > 0.5].to_string(index=False))
    whole = times.loc[~of_run, "seconds"].sum() + options.of * times.loc[of_run, "seconds"].sum() / options.runs
    print(f"wall {wall / 60:.1f} min for {options.runs} runs; peak {watched.peak_gib():.2f} GiB (all processes)")
    print(
        f"{options.of} runs: {whole / 60:.1f} processor-minutes, {whole / 60 / options.nprocs:.1f} min on "
        f"{options.nprocs} processes (extrapolated)"
    )


if __name__ == "__main__":
    main()
