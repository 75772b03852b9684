from __future__ import annotations

import numpy as np
import pytest
from himalaya.kernel_ridge import MultipleKernelRidgeCV
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import PredefinedSplit

from ban_bids.encoding.ridge.backend import CLOSED_FORM, HIMALAYA, Engine
from ban_bids.encoding.ridge.bands import FeatureBands, KernelBands
from ban_bids.encoding.ridge.hyperparameters import Hyperparameters, band_weights
from ban_bids.encoding.ridge.solvers import BandedRidge, predict_without

ALPHAS = np.logspace(-2, 3, 6)
GRID = band_weights(3, 8, 0)
SEARCH = Hyperparameters(ALPHAS, GRID)
P = 70


@pytest.fixture(scope="module")
def layers() -> np.ndarray:
    """Three correlated layers, (n_layers, n, p), their training kernels of mean diagonal 1."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((260, P))
    x = np.stack([0.5 * shared + rng.standard_normal(shared.shape) for _ in range(3)])
    return x / np.sqrt(np.mean((x[:, :180] ** 2).sum(axis=2), axis=1))[:, None, None]


@pytest.fixture(scope="module")
def bold(layers: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(2)
    drawn = rng.dirichlet(np.ones(3), 24).T
    signal = sum(x[:180] @ rng.standard_normal((P, 24)) * w for x, w in zip(layers, drawn))
    return signal * np.linspace(0, 1.5, 24) + rng.standard_normal(signal.shape)


GROUPS = np.random.default_rng(3).permutation(np.arange(180) * 6 // 180)  # no fold's rows stand together


def kernels_of(layers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    training, new = layers[:, :180], layers[:, 180:]
    return training @ training.transpose(0, 2, 1), new @ training.transpose(0, 2, 1)


def bands_of(layers: np.ndarray) -> list[tuple[FeatureBands, FeatureBands] | tuple[KernelBands, KernelBands]]:
    """Training and new rows, as features and as kernels."""
    training, new = kernels_of(layers)
    features = FeatureBands(layers[:, :180]), FeatureBands(layers[:, 180:])
    return [features, (KernelBands(training), KernelBands(new))]


@pytest.mark.parametrize("solver", [CLOSED_FORM, HIMALAYA])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-4), (np.float64, 1e-8)])
def test_kernels_give_what_their_features_give(
    layers: np.ndarray, bold: np.ndarray, solver: str, dtype: type, tolerance: float
) -> None:
    (x, new_x), (kernels, new) = bands_of(layers.astype(dtype))
    y = bold.astype(dtype)
    plain = BandedRidge(SEARCH, Engine(solver)).fit(x, y, GROUPS)
    ours = clone(plain).fit(kernels, y, GROUPS)
    assert len(np.unique(ours.choice_.alpha)) > 2
    assert len(np.unique(ours.choice_.weights, axis=1).T) > 4
    np.testing.assert_array_equal(ours.choice_.alpha, plain.choice_.alpha)
    np.testing.assert_allclose(ours.choice_.weights, plain.choice_.weights, atol=1e-6)
    np.testing.assert_allclose(ours.choice_.score, plain.choice_.score, rtol=tolerance)
    assert ours.coef_.shape == y.shape
    for part, expected in zip(ours.split(new), plain.split(new_x), strict=True):
        assert part.dtype == dtype
        np.testing.assert_allclose(part, expected, atol=tolerance * 10)
    np.testing.assert_allclose(ours.predict(new), sum(ours.split(new)), atol=tolerance)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_himalayas_estimator_agrees(layers: np.ndarray, bold: np.ndarray, backend: str) -> None:
    kernels, new = kernels_of(layers)
    ours = BandedRidge(SEARCH, Engine(backend=backend)).fit(KernelBands(kernels), bold, GROUPS)
    theirs = MultipleKernelRidgeCV(
        kernels="precomputed",
        solver="random_search",
        solver_params={"n_iter": GRID.astype(float), "alphas": ALPHAS, "progress_bar": False},
        cv=PredefinedSplit(GROUPS),
    ).fit(kernels, bold)
    np.testing.assert_allclose(ours.choice_.score, theirs.cv_scores_.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose(ours.predict(KernelBands(new)), theirs.predict(new), atol=1e-6)
    np.testing.assert_allclose(ours.split(KernelBands(new)), theirs.predict(new, split=True), atol=1e-6)


def test_one_kernel_is_scikit_learns_kernel_ridge(layers: np.ndarray, bold: np.ndarray) -> None:
    kernels, new = (both[:1] for both in kernels_of(layers))
    ours = BandedRidge(Hyperparameters((0.3,))).fit(KernelBands(kernels), bold, GROUPS)
    theirs = KernelRidge(alpha=0.3, kernel="precomputed").fit(kernels[0], bold)
    np.testing.assert_allclose(ours.coef_, theirs.dual_coef_, atol=1e-8)
    np.testing.assert_allclose(ours.predict(KernelBands(new)), theirs.predict(new[0]), atol=1e-8)


@pytest.mark.parametrize("solver", [CLOSED_FORM, HIMALAYA])
def test_models_without_a_layer_take_kernels(layers: np.ndarray, bold: np.ndarray, solver: str) -> None:
    outcomes = []
    for training, new in bands_of(layers):
        joint = BandedRidge(SEARCH, Engine(solver)).fit(training, bold, GROUPS)
        alone = BandedRidge(Hyperparameters(ALPHAS), Engine(solver))
        common = {"bold": bold, "inner": GROUPS, "joint": joint.choice_, "whole": joint.predict(new)}
        others = [BandedRidge(SEARCH.without(i), Engine(solver)) for i in range(3)]
        rest = [predict_without(other, training, new, left_out=i, **common) for i, other in enumerate(others)]
        alone.fit(training.without(0).without(1), bold, GROUPS)
        outcomes.append([*rest, alone.predict(new.without(0).without(1))])
    for was, now in zip(*outcomes, strict=True):
        assert np.abs(was).max() > 0.1
        np.testing.assert_allclose(now, was, atol=1e-5)


def test_choices_made_before_give_the_same_models(layers: np.ndarray, bold: np.ndarray) -> None:
    training, new = bands_of(layers)[1]
    solver = BandedRidge(Hyperparameters(ALPHAS, GRID, refine=4))
    whole = clone(solver).fit(training, bold, GROUPS).predict(new)
    joint = solver.choose(training, bold, GROUPS)
    np.testing.assert_allclose(solver.fit(training, bold, GROUPS, choice=joint).predict(new), whole, atol=1e-10)


def test_kernels_of_other_shapes_are_refused(layers: np.ndarray, bold: np.ndarray) -> None:
    kernels, new = (KernelBands(both) for both in kernels_of(layers))
    with pytest.raises(ValueError, match=r"\(n, n\) for each band"):
        BandedRidge(Hyperparameters(ALPHAS)).fit(new, bold, GROUPS)
    with pytest.raises(ValueError, match="one column for each of 2 bands"):
        BandedRidge(SEARCH).fit(kernels.without(0), bold, GROUPS)
