"""An arrangement that ties with the true one counts against it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ban_bids.encoding.permutation import SPECIFIC, permutation_plan
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.significance import voxel_p


def test_ties_count_against_the_prediction() -> None:
    cycle = np.tile(np.repeat(np.arange(7), 9), 2)
    clip = np.concatenate([cycle, cycle + 7]).astype(np.int32)
    n = len(clip)
    volume = np.arange(n, dtype=np.int32) % 126
    run = np.repeat([0, 1], 126).astype(np.int32)
    scored = np.ones(n, dtype=bool)
    rows = HeldOutRows(run, volume, clip, volume // 9, volume % 9, scored, np.zeros(n, np.int32))
    plan = permutation_plan(rows, 1000, seed=0, question=SPECIFIC)
    rng = np.random.default_rng(0)
    bold = rng.standard_normal((n, 200)).astype(np.float32)
    prediction = bold + rng.standard_normal((n, 200)).astype(np.float32)
    # each run plays its cycle twice: to move it by a whole cycle is a tie, whatever the order of summation
    prediction[63:126], prediction[189:] = prediction[:63], prediction[126:189]
    assert np.all(voxel_p(plan, prediction, bold) < 0.05)
    same = replace(plan, order=np.tile(np.array([[63, 0], [0, 63]], dtype=np.int32), (500, 1)))
    assert np.all(voxel_p(same, prediction, bold) == 1)
