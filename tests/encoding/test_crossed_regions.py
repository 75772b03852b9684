"""Where folds are crossed a region's statistic is drawn towards its expectation, as computed by hand."""

from __future__ import annotations

import numpy as np
from nulls import roi_null

from ban_bids.encoding.permutation import CROSSED, SOUND, permutation_plan
from ban_bids.encoding.rows import HeldOutRows

RUNS, LENGTH = 3, 24


def test_every_fold_counts_alike_and_the_statistic_is_multiplied_by_the_factor() -> None:
    n = RUNS * LENGTH
    run = np.repeat(np.arange(RUNS), LENGTH).astype(np.int32)
    volume = np.tile(np.arange(LENGTH), RUNS).astype(np.int32)
    clip = np.where(volume // 6 % 2, -1, volume // 6).astype(np.int32)
    rows = HeldOutRows(run, volume, clip, clip, np.where(clip < 0, -1, volume % 6), np.ones(n, dtype=bool), run)
    plan = permutation_plan(rows, 1000, 0, question=SOUND, crossed=True)
    rng = np.random.default_rng(0)
    bold = rng.standard_normal((n, 5)).astype(np.float32)
    prediction = bold + 2 * rng.standard_normal((n, 5)).astype(np.float32)
    prediction[run == 1] *= 50  # no fold counts more for the size of its predictions
    fold_r = [[np.corrcoef(prediction[run == r, v], bold[run == r, v])[0, 1] for r in range(RUNS)] for v in range(5)]
    true = np.mean(fold_r)
    for factor in (CROSSED, 0.9):
        found, null = roi_null(plan, prediction, bold, labels=np.ones(5, dtype=int), factor=factor)
        np.testing.assert_allclose(found, factor * true, atol=1e-5)
        np.testing.assert_allclose(null.mean(), 0, atol=0.02)
