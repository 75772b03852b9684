"""Noise that hears nothing: region p values of the whole engine are flat, with both kinds of folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, make_run, participant
from scipy import signal, stats

from ban_bids.encoding import design as design_module
from ban_bids.encoding.blocks import permutation_plan
from ban_bids.encoding.design import design
from ban_bids.encoding.encode import encode
from ban_bids.encoding.significance import roi_null, roi_p, voxel_p
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.settings import EncodingSettings

SETTINGS = EncodingSettings(n_components=6, alphas=tuple(10.0**e for e in range(-2, 4)))
N_VOXELS = 20


def one(seed: int, crossed: bool) -> tuple[float, float]:
    """p of the region and of its first voxel, in autocorrelated noise that voxels share in part."""
    rng = np.random.default_rng(seed)
    n_runs = 3 if crossed else 4
    runs = [make_run(f"r{r}", [f"t{r}{i}" for i in range(7)], n_volumes=80, first=6.0) for r in range(n_runs)]
    shared, own = (
        signal.lfilter([1], [1, -0.4], rng.standard_normal((80 * n_runs, k)), axis=0) for k in (3, N_VOXELS)
    )
    data = participant(runs, shared @ rng.standard_normal((3, N_VOXELS)) + own)
    names = [run.name for run in runs]
    folds = tuple((name,) for name in names) if crossed else (tuple(names[2:]),)
    made = design(
        data, ToyModel(areas=("A1",)), HeldOutPlan(folds, "named", "t", crossed), SETTINGS, Path("unused")
    )
    held = encode(data, made, SETTINGS, joint=False).held_out
    plan = permutation_plan(made.rows, 1000, seed, crossed)
    observed, null = roi_null(plan, held.specific["A1"], held.bold, np.ones(N_VOXELS, dtype=int))
    return float(roi_p(observed, null)[0]), float(voxel_p(plan, held.specific["A1"], held.bold)[0])


@pytest.mark.parametrize("crossed", [False, True], ids=["fixed", "leave-one-run-out"])
def test_p_is_flat_where_nothing_is_heard(crossed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)
    p = np.array([one(seed, crossed) for seed in range(100)])
    for values in p.T:
        assert stats.kstest(values, "uniform").pvalue > 1e-3
        assert np.mean(values < 0.05) <= 0.12
