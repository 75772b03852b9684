"""The choice of what is planted, and the people's answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tool_scripts import load

from ban_bids.constants import REGIONS
from ban_bids.demo.behavior import choice_probabilities, draw_choices, human_temperature
from ban_bids.demo.planting import DIRECTIONS, TEACHER, Listening, follow, read_directions
from ban_bids.demo.styles import GENRES
from ban_bids.demo.truth import with_ceilings
from ban_bids.models.checkpoint import load_checkpoint

maker = load("make_demo_teacher")


def test_directions_are_those_that_only_the_own_area_explains():
    # Six independent candidates of unit variance; residual variances say who explains which.
    own = np.diag([0.1, 0.1, 0.9, 0.1, 0.1, 0.9])
    near = np.diag([0.1, 0.9, 0.9, 0.9, 0.1, 0.9])
    far = np.diag([0.9, 0.9, 0.9, 0.9, 0.9, 0.1])
    found = maker.specific_directions(np.eye(6), own, [near, far], 2)
    energy = np.sum(found**2, axis=1) / np.sum(found**2)
    assert energy[[1, 3]].sum() > 0.98


def _listening(rng, shared, own, noise):
    """A network whose areas hold all shared sources and, each, sources of its own."""
    features = {}
    for area in REGIONS:
        sources = np.concatenate([shared, own[area]], axis=-1)
        mixing = rng.standard_normal((sources.shape[-1], 40))
        values = sources @ mixing
        features[area] = (values + noise * rng.standard_normal(values.shape)).astype(np.float32)
    return Listening(features, {area: np.zeros(40, dtype=np.float32) for area in REGIONS})


def test_planted_components_are_the_areas_own_and_shared_by_seeds():
    rng = np.random.default_rng(0)
    shared = 3 * rng.standard_normal((120, 18, 4))
    own = {area: rng.standard_normal((120, 18, 2)) for area in REGIONS}
    teacher, *references = (_listening(rng, shared, own, 0.3) for _ in range(3))
    planted = maker.choose(teacher, references, 2)
    courses = follow(teacher, planted)
    assert courses.n_components == 2
    for area in REGIONS:
        followed = np.concatenate(courses.clips[area])
        np.testing.assert_allclose(followed.std(axis=0), 1, rtol=1e-3)
        assert len(courses.clips[area]) == 120
        truth = own[area].reshape(-1, 2)
        weights = np.linalg.lstsq(truth, followed, rcond=None)[0]
        explained = 1 - np.var(followed - truth @ weights, axis=0)
        assert explained.min() > 0.6


def test_what_comes_with_the_package_fits_the_teacher():
    network, card = load_checkpoint(TEACHER)
    planted = read_directions()
    assert list(planted) == list(REGIONS) and card.genres == GENRES
    for area, own in planted.items():
        width = network.config.areas[REGIONS.index(area)].channels
        assert own.mean.shape == own.directions.shape[:1] and own.mean.size % width == 0
    assert all(path.stat().st_size < 2e6 for path in (TEACHER, DIRECTIONS))


def test_ceiling_is_that_of_simulated_repeats():
    table = with_ceilings(pd.DataFrame({"signal_variance": [0.5], "noise_variance": [1.0]}), 4)
    rng = np.random.default_rng(1)
    signal = np.sqrt(0.5) * rng.standard_normal(100_000)
    noisy = signal + rng.standard_normal((4, signal.size))
    assert table["ceiling_single"][0] == pytest.approx(np.corrcoef(signal, noisy[0])[0, 1], abs=0.01)
    mean = noisy.mean(axis=0)
    assert table["ceiling_repeat_mean"][0] == pytest.approx(np.corrcoef(signal, mean)[0, 1], abs=0.01)


def test_choice_probabilities_soften_and_lapse():
    teacher = np.array([[0.9] + [0.1 / 9] * 9, [0.1] * 10])
    people = choice_probabilities(teacher, temperature=2.0, lapse=0.1)
    np.testing.assert_allclose(people.sum(axis=1), 1)
    np.testing.assert_allclose(people[1], 0.1)
    assert 0.1 < people[0, 0] < 0.9
    np.testing.assert_allclose(choice_probabilities(teacher, 1.0, 0.0), teacher)


def test_people_are_as_often_right_as_wanted_where_the_teacher_allows_it():
    rng = np.random.default_rng(5)
    right = rng.integers(0, 10, 80)
    logits = rng.standard_normal((80, 10)) + 3.0 * np.eye(10)[right]
    teacher = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    temperature = human_temperature(teacher, right, 0.5)
    reached = choice_probabilities(teacher, temperature)[np.arange(80), right].mean()
    assert reached == pytest.approx(0.5, abs=0.03)


def test_answers_follow_the_probabilities():
    clips = [Path("blues.00060.wav"), Path("rock.00061.wav")]
    probabilities = np.vstack([np.eye(10)[0], np.full(10, 0.1)])
    table = draw_choices(probabilities, clips, 2000, np.random.default_rng(0))
    assert list(table.columns) == ["trial", "stim_file", "genre", "response"]
    assert len(table) == 4000
    assert set(table.loc[table["genre"] == "blues", "response"]) == {"blues"}
    rock = table.loc[table["genre"] == "rock", "response"].value_counts(normalize=True)
    np.testing.assert_allclose(rock[list(GENRES)], 0.1, atol=0.03)
