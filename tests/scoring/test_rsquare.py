"""Median noise-corrected R² against loops, and against planted correlations."""

from __future__ import annotations

import numpy as np
import pytest

from ban_bids.encoding.repeats import Repeats
from ban_bids.scoring.commitment import LayerChoice
from ban_bids.scoring.rsquare import noise_corrected_rsquare


def repeats_of(n_clips: int, n_repeats: int, length: int) -> Repeats:
    index = np.arange(n_clips * length * n_repeats).reshape(n_repeats, -1).T
    return Repeats(index, np.repeat(np.arange(n_clips), length))


def brute(prediction: np.ndarray, bold: np.ndarray, index: np.ndarray, floor: float) -> float:
    values, n = [], index.shape[1]
    for v in range(bold.shape[1]):
        y = [bold[rows, v] for rows in index.T]
        p, m = np.mean([prediction[rows, v] for rows in index.T], axis=0), np.mean(y, axis=0)
        total = np.mean([np.var(one, ddof=1) for one in y])
        signal = (n * np.var(m, ddof=1) - total) / (n - 1)
        if signal > 0 and signal / total >= floor:
            r = np.corrcoef(p, m)[0, 1]
            values.append(r * abs(r) * np.var(m, ddof=1) / signal)
    return float(np.median(values))


def test_it_equals_loops_in_the_estimate_and_in_a_draw_of_clips() -> None:
    rng = np.random.default_rng(0)
    repeats = repeats_of(6, 3, 5)
    prediction = rng.standard_normal((90, 300))
    bold = 0.7 * np.tile(rng.standard_normal((30, 300)), (3, 1)) + rng.standard_normal((90, 300)) + 0.2 * prediction
    counts = np.array([[1.0] * 6, [2, 0, 1, 0, 3, 0]])
    found = noise_corrected_rsquare(prediction, bold, repeats, counts=counts, ev_floor=0.05)
    drawn = np.concatenate([repeats.index[repeats.clip == clip] for clip in (0, 0, 2, 4, 4, 4)])
    assert found[0] == pytest.approx(brute(prediction, bold, repeats.index, 0.05))
    assert found[1] == pytest.approx(brute(prediction, bold, drawn, 0.05))
    assert np.isnan(noise_corrected_rsquare(prediction, bold, repeats, counts=counts, ev_floor=1.0)).all()


@pytest.mark.parametrize(("rho", "scale"), [(1.0, 1.0), (0.8, 0.1), (0.5, 3.0), (-0.6, 1.0), (0.0, 1.0)])
def test_a_planted_correlation_gives_its_square_with_its_sign_whatever_the_scale(rho: float, scale: float) -> None:
    rng = np.random.default_rng(1)
    repeats = repeats_of(40, 4, 10)
    signal, other = rng.standard_normal((2, 400, 400))
    bold = np.sqrt(0.2) * np.tile(signal, (4, 1)) + np.sqrt(0.8) * rng.standard_normal((1600, 400))
    prediction = scale * np.tile(rho * signal + np.sqrt(1 - rho**2) * other, (4, 1))
    found = noise_corrected_rsquare(prediction, bold, repeats, counts=np.ones((1, 40)), ev_floor=0.01)
    assert found[0] == pytest.approx(rho * abs(rho), abs=0.02)


def test_the_best_layer_of_a_voxel_is_chosen_in_each_fold_by_inner_scores() -> None:
    rng = np.random.default_rng(2)
    inner = {"a": rng.standard_normal((2, 7)), "b": rng.standard_normal((2, 7))}
    inner["b"][0, 3] = np.nan
    fold = np.array([0, 1, 1, 0])
    choice = LayerChoice.among(inner, fold)
    predictions = [np.full((4, 9), 10.0), np.full((4, 9), 20.0)]
    voxels = np.array([0, 3, 5, 6])
    together = choice.put_together(predictions, voxels, choice.of_voxels(voxels))
    for row, v in np.ndindex(4, 4):
        b_wins = inner["b"][fold[row], voxels[v]] > inner["a"][fold[row], voxels[v]]
        assert together[row, v] == (20 if b_wins else 10)
    means = {name: scores[:, :2].mean(axis=0) for name, scores in inner.items()}
    np.testing.assert_array_equal(choice.depth(np.array([0, 1])), means["b"] > means["a"])
