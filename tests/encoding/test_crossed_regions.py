"""With leave-one-run-out a region's statistic is drawn towards its expectation, as computed by hand."""

from __future__ import annotations

import numpy as np
from nulls import roi_null

from ban_bids.encoding.permutation import permutation_plan
from ban_bids.encoding.rows import HeldOutRows

RUNS, CLIPS, LENGTH = 3, 6, 4


def test_a_regions_distance_from_its_expectation_is_multiplied_by_the_root_of_a_half() -> None:
    n = RUNS * CLIPS * LENGTH
    run = np.repeat(np.arange(RUNS), CLIPS * LENGTH).astype(np.int32)
    clip = np.repeat(np.arange(RUNS * CLIPS), LENGTH).astype(np.int32)
    position = np.tile(np.arange(LENGTH), RUNS * CLIPS).astype(np.int32)
    volume = np.tile(np.arange(CLIPS * LENGTH), RUNS).astype(np.int32)
    rows = HeldOutRows(run, volume, clip, clip, position, np.ones(n, dtype=bool), run)
    plan = permutation_plan(rows, 1000, 0, crossed=True)
    rng = np.random.default_rng(0)
    bold = rng.standard_normal((n, 5)).astype(np.float32)
    prediction = bold + 2 * rng.standard_normal((n, 5)).astype(np.float32)
    prediction[run == 1] *= 50  # no fold counts more for the size of its predictions
    observed = np.zeros((2, 5))
    for v in range(5):
        for r in range(RUNS):
            x, y = (a[run == r, v].astype(float).reshape(CLIPS, LENGTH) for a in (prediction, bold))
            x, y = x - x.mean(), y - y.mean()
            inner = (x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)).T
            observed[:, v] += np.trace(inner) / RUNS, inner.sum() / CLIPS / RUNS
    true, expected = observed.mean(axis=1)
    found, null = roi_null(plan, prediction, bold, labels=np.ones(5, dtype=int))
    assert abs(true - expected) > 0.1
    np.testing.assert_allclose(found, expected + np.sqrt(0.5) * (true - expected), atol=1e-5)
    np.testing.assert_allclose(null.mean(), expected, atol=0.02)
