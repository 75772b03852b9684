"""A whole model in one participant whose atlas lacks a region."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, make_run, participant

from ban_bids.encoding import design as design_module
from ban_bids.encoding.design import design
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.scoring.cortical import CorticalScore
from ban_bids.scoring.participant import ScoredModel, held_out_tests, score_control, score_model
from ban_bids.settings import REGIONS, EncodingSettings

SETTINGS = EncodingSettings(
    n_components=4, n_band_weights=3, alphas=(0.1, 10.0), n_permutations=1000, n_bootstrap=20
)
PLAN = HeldOutPlan((("task-test",),), "named", "test")
WHY = {"PB": "atlas juelich has no region PB"}


def scored(absent: dict[str, str]) -> tuple[ScoredModel, CorticalScore]:
    """Three voxels a region, two of none; the absent region's voxels belong to none as well."""
    runs = [make_run(f"train{r}", [f"t{r}{i}" for i in range(12)], n_volumes=125) for r in range(2)]
    runs.append(make_run("test", [f"x{i}" for i in range(8)] * 2, n_volumes=165))
    n_rows = sum(run.n_volumes for run in runs)
    data = participant(runs, np.random.default_rng(1).standard_normal((n_rows, 14)))
    region = np.repeat([1, 2, 3, 4, 0], [3, 3, 3, 3, 2]).astype(np.int16)
    region[np.isin(region, [REGIONS.index(name) + 1 for name in absent])] = 0
    data = replace(data, region=region, absent=absent)
    laid = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    tests = held_out_tests(laid.rows, SETTINGS, 0)
    assert tests.permutations is not None and tests.repeats is not None
    return score_model(data, laid, tests, SETTINGS, 0), score_control(data, laid, tests, SETTINGS, 0)


def test_an_absent_region_has_no_p_and_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)
    (whole, _), (part, control) = scored({}), scored(WHY)
    for cortical in (part.cortical, control):
        assert WHY["PB"] in cortical.reason
        assert np.isnan(cortical.value)
    pairs = [(test.area, test.region) for test in part.tests]
    assert pairs == [(area, region) for area in REGIONS for region in REGIONS]
    for before, after in zip(whole.tests, part.tests):
        if after.region == "PB":
            assert np.isnan([after.mean_r, after.p, after.p_fwer]).all()
            continue
        assert (after.mean_r, after.p) == (before.mean_r, before.p)
        # fewer regions, a smaller maximum
        assert after.p <= after.p_fwer <= before.p_fwer
    for key, values in whole.maps.items():
        np.testing.assert_array_equal(part.maps[key], values)
