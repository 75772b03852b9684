"""An arrangement that ties with the true one counts against it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ban_bids.encoding.permutation import permutation_plan
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.significance import voxel_p


def test_ties_count_against_the_prediction() -> None:
    clip = np.repeat(np.arange(12), 4).astype(np.int32)
    n = len(clip)
    zeros, volume = np.zeros(n, np.int32), np.arange(n, dtype=np.int32)
    rows = HeldOutRows(zeros, volume, clip, clip, volume % 4, np.ones(n, dtype=bool), zeros)
    plan = permutation_plan(rows, 1000, seed=0)
    rng = np.random.default_rng(0)
    bold = rng.standard_normal((n, 200)).astype(np.float32)
    prediction = bold + rng.standard_normal((n, 200)).astype(np.float32)
    assert np.all(voxel_p(plan, prediction, bold) < 0.05)
    # two clips of twelve are predicted alike: to exchange them is a tie, whatever the order of summation
    prediction[clip == 7] = prediction[clip == 2]
    swapped = np.arange(12, dtype=np.int32)
    swapped[[2, 7]] = 7, 2
    same = replace(plan, order=np.tile(swapped, (1000, 1)))
    assert np.all(voxel_p(same, prediction, bold) == 1)
