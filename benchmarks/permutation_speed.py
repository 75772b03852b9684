"""How long do 10 000 arrangements of 50 000 voxels take with ds003720's held-out runs, for one question?

    python benchmarks/permutation_speed.py [--voxels 5000] [--permutations 10000] [--threads 1]

Six runs of 410 volumes: a lead-in clip, then 10 clips four times over. Runs a part of the voxels, prints the
processor seconds, and scales them to 50 000 voxels on two cores (to be within two minutes).
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch

from ban_bids.encoding.permutation import SPECIFIC, permutation_plan
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.significance import voxel_p

N_RUNS, N_CLIPS, N_REPEATS, LENGTH = 6, 10, 4, 10
TARGET_VOXELS, CORES, LIMIT = 50_000, 2, 120.0


def held_out_rows() -> HeldOutRows:
    """ds003720's test runs: the lead-in keeps the clock and is not scored."""
    once = np.r_[N_CLIPS - 1, np.tile(np.arange(N_CLIPS), N_REPEATS)]
    n_blocks = len(once)
    n = N_RUNS * n_blocks * LENGTH
    presentation = np.tile(np.repeat(np.arange(n_blocks), LENGTH), N_RUNS)
    run = np.repeat(np.arange(N_RUNS), n_blocks * LENGTH)
    return HeldOutRows(
        run=run.astype(np.int32),
        volume=np.tile(np.arange(n_blocks * LENGTH), N_RUNS).astype(np.int32),
        clip=(np.tile(np.repeat(once, LENGTH), N_RUNS) + N_CLIPS * run).astype(np.int32),
        presentation=presentation.astype(np.int32),
        position=np.tile(np.arange(LENGTH), n // LENGTH).astype(np.int32),
        scored=presentation > 0,
        fold=np.zeros(n, dtype=np.int32),
    )


def main() -> int:
    """Measure and print; exit status 1 where the scaled time is over two minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=5000)
    parser.add_argument("--permutations", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = held_out_rows()
    start = time.process_time()
    plan = permutation_plan(rows, given.permutations, seed=0, question=SPECIFIC)
    planned = time.process_time() - start
    rng = np.random.default_rng(0)
    prediction, bold = rng.standard_normal((2, len(rows), given.voxels), dtype=np.float32)
    start = time.process_time()
    p = voxel_p(plan, prediction, bold)
    spent = time.process_time() - start
    scaled = spent * TARGET_VOXELS / given.voxels * given.permutations**-1 * 10_000 / CORES + planned
    print(f"{len(plan.sizes)} runs, {given.permutations} arrangements, {given.voxels} voxels: {spent:.1f} CPU s")
    print(f"plan: {planned:.1f} CPU s; share of p under .05: {np.mean(p < 0.05):.3f}")
    print(f"scaled to {TARGET_VOXELS} voxels and 10 000 arrangements on {CORES} cores: {scaled:.0f} s")
    return int(scaled > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
