"""Noise that hears nothing: p values of the whole engine are flat, in both layouts, with both kinds of folds.

Here a few simulations; ``benchmarks/calibration.py`` does hundreds of each.
"""

from __future__ import annotations

import numpy as np
import pytest
from listening import ToyStore
from nulls import fixed_or_crossed, p_values
from scipy import stats

from ban_bids.encoding import design as design_module


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


@pytest.mark.parametrize(
    ("layout", "crossed", "n"),
    [("back-to-back", False, 80), ("back-to-back", True, 50), ("on-off", False, 50), ("on-off", True, 25)],
)
def test_p_is_flat_where_nothing_is_heard(layout: str, crossed: bool, n: int) -> None:
    setting = fixed_or_crossed(layout, crossed)
    p = np.array([p_values(seed, setting) for seed in range(n)])
    for values in p.T:
        assert stats.kstest(values, "uniform").pvalue > 1e-3
        assert stats.binomtest(int(np.sum(values < 0.05)), n, 0.05, "greater").pvalue > 1e-3


@pytest.mark.parametrize("crossed", [False, True], ids=["fixed", "leave-one-run-out"])
def test_a_response_to_sound_is_found_where_there_is_rest(crossed: bool) -> None:
    setting = fixed_or_crossed("on-off", crossed, hearing=3.0)
    p = np.array([p_values(seed, setting) for seed in range(4)])
    assert p.max() < 0.05
    assert p[:, 0].max() < 0.01
