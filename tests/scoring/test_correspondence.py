"""Layers and regions: a planted preference is found, shuffled layers have none; depth against depth."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from ban_bids.scoring.correspondence import hierarchy_index, layer_preference

ORDER = np.eye(4)


def draws_of(c: np.ndarray, rng: np.random.Generator, spread: float = 0.05) -> np.ndarray:
    return c + spread * rng.standard_normal((1000, *c.shape))


def test_the_index_is_the_lead_at_home_less_the_lead_abroad() -> None:
    rng = np.random.default_rng(0)
    c = rng.standard_normal((3, 4))
    own = [2, 0, 0, 1]
    leads = np.array([[c[a, g] - np.delete(c[:, g], a).mean() for g in range(4)] for a in range(3)])
    expected = np.mean([leads[a, g] - np.delete(leads[a], g).mean() for g, a in enumerate(own)])
    committed = np.eye(3)[:, own]
    assert layer_preference(c, draws_of(c, rng), committed).value == pytest.approx(expected)


def test_a_planted_preference_is_found_and_none_under_shuffled_layers() -> None:
    rng = np.random.default_rng(1)
    p_planted, p_shuffled = [], []
    for _ in range(200):
        truth = 0.3 + 0.1 * ORDER + rng.standard_normal((4, 1)) + rng.standard_normal((1, 4))
        c = truth + 0.05 * rng.standard_normal((4, 4))
        p_planted.append(layer_preference(c, draws_of(c, rng), ORDER).p)
        flat = c - 0.1 * ORDER  # layers and regions differ, but no region has a layer of its own
        p_shuffled.append(layer_preference(flat, draws_of(flat, rng), ORDER[rng.permutation(4)]).p)
    assert np.mean(np.array(p_planted) < 0.05) > 0.9
    assert 0.01 < np.mean(np.array(p_shuffled) < 0.05) < 0.1
    assert np.mean(p_shuffled) == pytest.approx(0.5, abs=0.07)


def test_a_layer_that_is_best_everywhere_is_no_preference() -> None:
    rng = np.random.default_rng(2)
    c = np.array([[0.5, 0.2, 0.9], [0.1, 0.1, 0.1]])  # the better layer leads by more where more is explained
    found = layer_preference(c, draws_of(c, rng), np.array([[1.0, 1, 1], [0, 0, 0]]))
    assert found.value == 0 and found.p == 1


def test_folds_that_differ_count_by_their_share() -> None:
    rng = np.random.default_rng(3)
    c = rng.standard_normal((4, 4))
    draws = draws_of(c, rng)
    one, other = ORDER, ORDER[[1, 0, 2, 3]]
    both = [layer_preference(c, draws, committed).value for committed in (one, other)]
    assert layer_preference(c, draws, (one + other) / 2).value == pytest.approx(np.mean(both))


def test_one_layer_or_one_region_has_nothing_to_compare() -> None:
    table = np.zeros((1, 4))
    assert layer_preference(table, table[None], table).reason == "the model has one layer only"
    assert layer_preference(table.T, table.T[None], table.T).reason == "fewer than two regions have scores"


def test_a_planted_hierarchy_has_the_correlation_of_scipy_and_the_smallest_p() -> None:
    rng = np.random.default_rng(4)
    region = np.repeat([1, 2, 3, 4], [20, 50, 30, 90])
    depth = np.clip(3 * region + rng.integers(-4, 5, len(region)), 0, 15)
    found = hierarchy_index(depth, region, 16)
    assert found.value == pytest.approx(spearmanr(depth, region).statistic) and found.value > 0.5
    assert found.p == pytest.approx(1 / 24)
    assert np.isnan(found.ci_low)
    backwards = hierarchy_index(15 - depth, region, 16)
    assert backwards.value == pytest.approx(-found.value) and backwards.p == 1
    perfect = hierarchy_index(region, region, 5)
    assert perfect.value == pytest.approx(1)


def test_p_counts_the_orders_of_whole_regions_so_that_many_voxels_do_not_make_it_small() -> None:
    region = np.repeat([1, 2, 3, 4], 1000)
    level = np.array([2, 1, 3, 4])  # one pair of neighbours the wrong way round
    found = hierarchy_index(level[region - 1], region, 6)
    indices = [spearmanr(level[region - 1], np.array(order)[region - 1]).statistic for order in permutations(range(4))]
    assert found.p == pytest.approx(np.mean(np.array(indices) >= found.value - 1e-9)) and found.p > 1 / 24
    rng = np.random.default_rng(5)
    null = [hierarchy_index(rng.integers(0, 6, 4)[region - 1], region, 6) for _ in range(300)]
    p = np.array([one.p for one in null if np.isfinite(one.value)])
    assert np.mean(p < 0.05) < 0.09


def test_hierarchy_is_not_available_without_layers_regions_or_differences() -> None:
    region = np.repeat([1, 2], 5)
    assert hierarchy_index(np.zeros(10), region, 1).reason == "the model has one layer only"
    assert hierarchy_index(np.arange(10), np.ones(10), 10).reason == "fewer than two regions have scores"
    assert "every voxel" in hierarchy_index(np.zeros(10), region, 4).reason
