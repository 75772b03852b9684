"""How long does preprocessing take on a participant of ds003720's size, and how much memory?

    python benchmarks/preprocessing_time.py FOLDER [--runs 2] [--of 18] [--space ...] [--nprocs 2]

Simulates a T1w image (1 mm) and runs of 96 x 96 x 72 voxels (2 mm) with 410 volumes, a moving head and slice
times, preprocesses them as the app does, and prints the seconds of every step, the peak memory of all
processes together (sampled; shared pages counted once) and the time of a participant with 18 runs:
steps of the anatomy once, steps of a run times 18, over the processes used.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pandas as pd
import psutil
from nipype.pipeline.engine.utils import load_resultfile
from scipy import ndimage

from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.run import preprocess
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.template import template_brain
from ban_bids.settings import Settings

SHAPE, N_VOLUMES, TR, MULTIBAND = (96, 96, 72), 410, 1.5, 3
POSE = np.array([2.0, -4, 5, 0.04, 0.02, -0.03])  # mm, radians


def simulate(folder: Path, n_runs: int) -> Participant:
    """Write a T1w image and BOLD runs with head motion; nothing is done where they exist."""
    brain = ants.image_read(str(template_brain())).numpy()
    affine = nib.load(template_brain()).affine
    pose = rigid_matrix(POSE, np.zeros(3))
    outside = ndimage.distance_transform_edt(brain[::2, ::2, ::2] <= 1, sampling=2.0)
    skull = ndimage.zoom(np.where((outside > 8) & (outside < 12), 80.0, 0.0), 2, order=1)
    skull = skull[tuple(slice(n) for n in brain.shape)]
    head = brain[tuple(slice(n) for n in skull.shape)] + skull
    rng = np.random.default_rng(0)
    t1w = folder / "sub-01_T1w.nii"
    if not t1w.exists():
        noisy = (head + rng.normal(0, 2, head.shape)).clip(0)
        nib.save(nib.Nifti1Image((10 * noisy).astype(np.int16), pose @ affine), t1w)
    contrast = ndimage.gaussian_filter(np.where(brain > 1, 140.0 - brain, 0), 1.0).astype(np.float32)
    runs = tuple(_simulate_run(folder, number, contrast, affine, pose) for number in range(1, n_runs + 1))
    return Participant("01", (t1w,), runs)


def _simulate_run(folder: Path, number: int, contrast: np.ndarray, affine: np.ndarray, pose: np.ndarray) -> Run:
    path = folder / f"sub-01_task-music_run-{number}_bold.nii"
    centred = np.diag([2.0, 2, 2, 1])
    centred[:3, 3] = -np.array(SHAPE) + (0, -18, 10)
    per_band = SHAPE[2] // MULTIBAND
    timing = tuple((k % per_band) * TR / per_band for k in range(SHAPE[2]))
    if not path.exists():
        rng = np.random.default_rng(number)
        steps = rng.normal(0, 0.03, (N_VOLUMES, 6)) * ([1] * 3 + [1 / 50] * 3)
        series = np.empty((*SHAPE, N_VOLUMES), np.int16)
        for t, moved in enumerate(np.cumsum(steps, axis=0)):
            pull = np.linalg.inv(affine) @ np.linalg.inv(rigid_matrix(moved, np.zeros(3))) @ centred
            volume = ndimage.affine_transform(contrast, pull[:3, :3], pull[:3, 3], SHAPE, order=1)
            series[..., t] = 8 * volume + rng.normal(20, 8, SHAPE)
        nib.save(nib.Nifti1Image(series, pose @ centred), path)
    entities = (("sub", "01"), ("task", "music"), ("run", str(number)))
    return Run("01", None, "music", str(number), entities, path, folder, TR, N_VOLUMES, timing, "k", None, ())


class MemoryPeak:
    """Largest proportional set size of this process and its children, sampled twice a second; GiB."""

    def __init__(self) -> None:
        self.gib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._stop.wait(0.5):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.gib = max(self.gib, total / 1024**3)


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
    with MemoryPeak() as memory:
        outcome = preprocess([participant], settings)["01"]
    wall = time.perf_counter() - start
    if isinstance(outcome, Exception):
        raise SystemExit(str(outcome))
    times = step_times(settings.compute.work_dir / "nipype")
    of_run = times["step"].str.contains("run_")
    print(times[times["seconds"] > 0.5].to_string(index=False))
    whole = times.loc[~of_run, "seconds"].sum() + options.of * times.loc[of_run, "seconds"].sum() / options.runs
    print(f"wall {wall / 60:.1f} min for {options.runs} runs; peak {memory.gib:.2f} GiB (all processes)")
    print(
        f"{options.of} runs: {whole / 60:.1f} processor-minutes, {whole / 60 / options.nprocs:.1f} min on "
        f"{options.nprocs} processes (extrapolated)"
    )


if __name__ == "__main__":
    main()
