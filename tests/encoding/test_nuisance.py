from __future__ import annotations

import numpy as np
import pytest
from nilearn.glm.first_level.design_matrix import create_cosine_drift

from ban_bids.encoding.cleaning import clean, cosine_drifts, crowding, nuisance_basis


def test_cosines_span_what_nilearn_makes() -> None:
    times = np.arange(410) * 1.5
    theirs = create_cosine_drift(1 / 200.0, times)
    ours = np.hstack([cosine_drifts(1.5 * np.arange(410), 1.5, 200.0), np.ones((410, 1))])
    assert ours.shape == theirs.shape
    both = np.linalg.matrix_rank(np.hstack([ours, theirs]))
    assert both == ours.shape[1]


def test_residual_is_that_of_explicit_least_squares() -> None:
    rng = np.random.default_rng(0)
    n = 120
    confounds = rng.standard_normal((n, 5)) * [1, 1e3, 1e-3, 1, 1]
    keep = np.ones(n, dtype=bool)
    keep[[0, 1, 40]] = False
    data = (1000 + rng.standard_normal((n, 7)) * 20).astype(np.float32)
    cleaned, usable = clean(data, nuisance_basis(confounds, 1.5, 100.0, keep=keep))
    columns = np.hstack(
        [np.ones((n, 1)), np.arange(n)[:, None], cosine_drifts(1.5 * np.arange(n), 1.5, 100.0), confounds]
    )
    fitted = np.linalg.lstsq(columns[keep], data[keep].astype(float), rcond=None)[0]
    residual = data[keep] - columns[keep] @ fitted
    residual /= residual.std(axis=0)
    assert usable.all()
    assert np.allclose(cleaned[keep], residual, atol=1e-3)
    assert np.all(cleaned[~keep] == 0)
    assert cleaned.dtype == np.float32


def test_drift_trend_and_confounds_are_gone() -> None:
    rng = np.random.default_rng(1)
    n, tr = 200, 1.5
    confounds = rng.standard_normal((n, 3))
    times = np.arange(n) * tr
    slow = np.cos(np.pi * 2 * (np.arange(n) + 0.5) / n)  # 300-s period
    nuisance = nuisance_basis(confounds, tr, 200.0)
    removed = np.stack([slow, times, confounds[:, 1], np.ones(n)], axis=1)
    assert np.abs(nuisance.project(removed)).max() < 1e-8 * np.abs(removed).max()
    fast = np.sin(2 * np.pi * times / 30.0)[:, None]
    assert nuisance.project(fast).std() > 0.95 * fast.std()


def test_features_and_bold_are_projected_alike() -> None:
    # a response that is linear in the features stays so after the same projection
    rng = np.random.default_rng(2)
    nuisance = nuisance_basis(rng.standard_normal((80, 4)), 2.0, 100.0)
    features, weights = rng.standard_normal((80, 6)), rng.standard_normal((6, 3))
    assert np.allclose(nuisance.project(features @ weights), nuisance.project(features) @ weights)


def test_missing_values_and_dependent_columns() -> None:
    rng = np.random.default_rng(3)
    motion = rng.standard_normal((60, 2))
    difference = np.vstack([[np.nan, np.nan], np.diff(motion, axis=0)])
    doubled = np.hstack([motion, difference, motion[:, :1], np.zeros((60, 1))])
    nuisance = nuisance_basis(doubled, 2.0, 1e6)
    assert nuisance.basis.shape[1] == 2 + 4
    assert np.allclose(nuisance.basis.T @ nuisance.basis, np.eye(6), atol=1e-12)


def test_unusable_voxels_are_named_and_zero() -> None:
    rng = np.random.default_rng(4)
    data = (5000 + rng.standard_normal((50, 6))).astype(np.float32)
    data[7, 0] = np.nan
    data[:, 1] = 5000
    data[:, 2] = 0
    data[:, 3] = np.linspace(10, 4000, 50)
    data[9, 4] = np.inf
    cleaned, usable = clean(data, nuisance_basis(np.zeros((50, 0)), 2.0, 200.0))
    assert usable.tolist() == [False, False, False, False, False, True]
    assert np.isfinite(cleaned).all()
    assert np.all(cleaned[:, ~usable] == 0)


def test_a_large_mean_costs_no_precision() -> None:
    rng = np.random.default_rng(5)
    signal = rng.standard_normal((300, 4)) * 5
    nuisance = nuisance_basis(rng.standard_normal((300, 6)), 1.5, 200.0)
    raised, _ = clean((signal + 20000).astype(np.float32), nuisance)
    exact = nuisance.project(signal)
    exact /= exact.std(axis=0)
    assert np.abs(raised - exact).max() < 2e-3


def test_crowding_warns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    rng = np.random.default_rng(6)
    assert crowding("run", nuisance_basis(rng.standard_normal((60, 3)), 1.0, 1e4)) == ()
    note = crowding("run", nuisance_basis(rng.standard_normal((60, 30)), 1.0, 1e4))
    assert "32 nuisance columns for 60 volumes" in note[0]
    assert note[0] in caplog.text
