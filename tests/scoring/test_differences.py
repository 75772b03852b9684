"""P of differences, max-T and ranks against explicit loops over draws and planted truth."""

from itertools import combinations

import numpy as np
import pytest

from ban_bids.scoring.bootstrap import Estimate, with_interval
from ban_bids.scoring.comparison import over_people, paired_difference, people_draws, spread_of_draws
from ban_bids.scoring.differences import max_t, ranks, two_sided_p

N_DRAWS = 400


def estimate(value: float, deviations: np.ndarray) -> Estimate:
    return Estimate(**with_interval(value, value + deviations))


@pytest.fixture
def family() -> list[Estimate]:
    """Three pairs of three models, of joint draws."""
    deviations = np.random.default_rng(0).normal(size=(3, N_DRAWS)) * np.array([0.1, 0.2, 0.1])[:, None]
    values = [0.6, 0.25, 0.3]
    return [estimate(values[i] - values[j], deviations[i] - deviations[j]) for i, j in combinations(range(3), 2)]


def test_p_counts_draws_beyond_zero_on_the_rarer_side():
    found = estimate(0.2, np.random.default_rng(1).normal(0, 0.15, N_DRAWS))
    below = sum(draw <= 0 for draw in found.draws)
    assert two_sided_p(found) == pytest.approx(2 * (1 + below) / (1 + N_DRAWS))
    assert two_sided_p(estimate(-0.2, -(found.draws - 0.2))) == two_sided_p(found)
    assert two_sided_p(estimate(9.0, np.zeros(N_DRAWS))) == pytest.approx(2 / (1 + N_DRAWS))
    assert np.isnan(two_sided_p(Estimate(value=0.3)))


@pytest.mark.parametrize("seed", range(20))
def test_p_is_under_five_percent_where_the_interval_leaves_out_zero(seed):
    found = estimate(0.2, np.random.default_rng(seed).normal(0, 0.1, N_DRAWS))
    assert (two_sided_p(found) < 0.05) == (found.ci_low > 0 or abs(two_sided_p(found) - 0.05) < 0.01 < found.ci_low)


def test_max_t_is_that_of_explicit_loops(family):
    scales = [float(spread_of_draws(one.draws)) for one in family]
    statistics = [abs(one.value) / scale for one, scale in zip(family, scales, strict=True)]
    largest = [
        max(abs(one.draws[k] - one.value) / scale for one, scale in zip(family, scales, strict=True))
        for k in range(N_DRAWS)
    ]
    expected = [
        max(two_sided_p(one), (1 + sum(m >= t for m in largest)) / (1 + N_DRAWS))
        for one, t in zip(family, statistics, strict=True)
    ]
    assert max_t(family) == pytest.approx(expected)


def test_max_t_leaves_out_what_has_no_interval_and_equal_models(family):
    alone = max_t(family)
    more = max_t([Estimate(value=0.4), *family, estimate(0.0, np.zeros(N_DRAWS))])
    assert np.isnan(more[0]) and more[1:4] == pytest.approx(alone) and more[4] == 1
    assert max_t([]).shape == (0,)


def test_max_t_holds_the_family_wise_error_over_ten_null_pairs():
    rng = np.random.default_rng(3)
    found = uncorrected = 0
    for _ in range(300):
        draws = rng.normal(size=(5, N_DRAWS))
        values = rng.normal(size=5)
        pairs = [estimate(values[i] - values[j], draws[i] - draws[j]) for i, j in combinations(range(5), 2)]
        found += (max_t(pairs) < 0.05).any()
        uncorrected += any(two_sided_p(one) < 0.05 for one in pairs)
    assert found <= 24  # 15 of 300 expected, standard error 3.8
    assert uncorrected > 50


def test_ranks_follow_loops_over_draws(family):
    found = ranks(3, dict(zip(combinations(range(3), 2), family, strict=True)))
    assert [one.value for one in found] == [1, 3, 2]
    first = np.zeros(3)
    for k in range(N_DRAWS):
        d01, d02, d12 = (one.draws[k] for one in family)
        first[0 if d01 > 0 and d02 > 0 else 1 if d01 < 0 and d12 > 0 else 2] += 1 / N_DRAWS
    assert [one.first for one in found] == pytest.approx(list(first))
    for i, one in enumerate(found):
        mine = [(pair, e) for pair, e in zip(combinations(range(3), 2), family, strict=True) if i in pair]
        p = max_t([e for _, e in mine])
        lead = [e.value if pair[0] == i else -e.value for pair, e in mine]
        better = sum(q <= 0.05 and value < 0 for q, value in zip(p, lead, strict=True))
        worse = sum(q <= 0.05 and value > 0 for q, value in zip(p, lead, strict=True))
        assert (one.ci_low, one.ci_high) == (1 + better, 3 - worse)


def test_a_rank_without_intervals_is_told_without_limits():
    first, second = ranks(2, {(0, 1): Estimate(value=0.3)})
    assert (first.value, second.value) == (1, 2)
    assert np.isnan([first.ci_low, first.ci_high, first.first]).all()


def test_a_difference_is_its_opposite_with_the_sign_turned():
    rng = np.random.default_rng(5)
    values, draws = rng.normal(size=(2, 6)), rng.normal(size=(2, N_DRAWS, 6))
    one, other = (paired_difference(values[i], values[j], draws[i], draws[j], 12, seed=1) for i, j in ((0, 1), (1, 0)))
    assert (one.value, one.ci_low, one.ci_high) == pytest.approx((-other.value, -other.ci_high, -other.ci_low))
    np.testing.assert_allclose(one.draws, -other.draws, atol=1e-12)
    assert two_sided_p(one) == two_sided_p(other)


def test_draw_k_of_several_scores_is_one_joint_draw_of_people():
    """People alone differ: draws of two scores correlate as the scores do over people, those of a subset too."""
    rng = np.random.default_rng(6)
    shared = rng.normal(size=12)
    scores = [shared + 0.3 * rng.normal(size=12) for _ in range(2)]
    still = [np.tile(values, (2000, 1)) for values in scores]
    weights = people_draws(2000, 12, seed=4)
    one, other = (
        over_people(values, draws, 20, seed=4, weights=weights) for values, draws in zip(scores, still, strict=True)
    )
    expected = np.corrcoef(*scores)[0, 1]
    assert np.corrcoef(one.draws, other.draws)[0, 1] == pytest.approx(expected, abs=0.06)
    np.testing.assert_array_equal(over_people(scores[0], still[0], 20, seed=4).draws, one.draws)
