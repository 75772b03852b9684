from __future__ import annotations

import numpy as np
import pytest
from ban_bids.encoding.models import choose_joint, choose_without, fit_joint, fit_single, fit_without
from ban_bids.encoding.ridge.weights import band_weights
from himalaya.kernel_ridge import MultipleKernelRidgeCV
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import PredefinedSplit

from ban_bids.encoding.ridge.backend import CLOSED_FORM, HIMALAYA, Engine
from ban_bids.encoding.ridge.solvers import PRECOMPUTED, BandedRidge, HimalayaBandedRidge

ALPHAS = np.logspace(-2, 3, 6)
GRID = band_weights(3, 8, 0)
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


@pytest.mark.parametrize("solver", [BandedRidge, HimalayaBandedRidge])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-4), (np.float64, 1e-8)])
def test_kernels_give_what_their_features_give(
    layers: np.ndarray, bold: np.ndarray, solver: type, dtype: type, tolerance: float
) -> None:
    x, y = layers.astype(dtype), bold.astype(dtype)
    kernels, new = kernels_of(x)
    given = {"alphas": ALPHAS, "grid": GRID}
    plain = solver(**given, widths=[P] * 3).fit(np.hstack(x[:, :180]), y, GROUPS)
    ours = clone(solver(**given, kernel=PRECOMPUTED)).fit(kernels, y, GROUPS)
    assert len(np.unique(ours.alpha_)) > 2
    assert len(np.unique(ours.weights_, axis=1).T) > 4
    np.testing.assert_array_equal(ours.alpha_, plain.alpha_)
    np.testing.assert_allclose(ours.weights_, plain.weights_, atol=1e-6)
    np.testing.assert_allclose(ours.cv_score_, plain.cv_score_, rtol=tolerance)
    assert ours.dual_coef_.shape == y.shape
    for mine, theirs in zip(ours.split(new), plain.split(np.hstack(x[:, 180:])), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, theirs, atol=tolerance * 10)
    np.testing.assert_allclose(ours.predict(list(new)), sum(ours.split(new)), atol=tolerance)
    np.testing.assert_allclose(ours.score(kernels, y), plain.score(np.hstack(x[:, :180]), y), atol=1e-3)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_himalayas_estimator_agrees(layers: np.ndarray, bold: np.ndarray, backend: str) -> None:
    kernels, new = kernels_of(layers)
    ours = BandedRidge(ALPHAS, grid=GRID, backend=backend, kernel=PRECOMPUTED).fit(kernels, bold, GROUPS)
    theirs = MultipleKernelRidgeCV(
        kernels=PRECOMPUTED,
        solver="random_search",
        solver_params={"n_iter": GRID.astype(float), "alphas": ALPHAS, "progress_bar": False},
        cv=PredefinedSplit(GROUPS),
    ).fit(kernels, bold)
    np.testing.assert_allclose(ours.cv_score_, theirs.cv_scores_.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose(ours.predict(new), theirs.predict(new), atol=1e-6)
    np.testing.assert_allclose(ours.split(new), theirs.predict(new, split=True), atol=1e-6)


def test_one_kernel_is_scikit_learns_kernel_ridge(layers: np.ndarray, bold: np.ndarray) -> None:
    kernels, new = (both[:1] for both in kernels_of(layers))
    ours = BandedRidge([0.3], kernel=PRECOMPUTED).fit(kernels, bold, GROUPS)
    theirs = KernelRidge(alpha=0.3, kernel=PRECOMPUTED).fit(kernels[0], bold)
    np.testing.assert_allclose(ours.dual_coef_, theirs.dual_coef_, atol=1e-8)
    np.testing.assert_allclose(ours.predict(new), theirs.predict(new[0]), atol=1e-8)


@pytest.mark.parametrize("solver", [CLOSED_FORM, HIMALAYA])
def test_models_of_layers_take_kernels(layers: np.ndarray, bold: np.ndarray, solver: str) -> None:
    names, engine = ("a", "b", "c"), Engine(solver)
    features = [dict(zip(names, part)) for part in (layers[:, :180], layers[:, 180:])]
    kernels = [dict(zip(names, part)) for part in kernels_of(layers)]
    common = (GROUPS, tuple(ALPHAS), GRID, engine)

    def fitted(given: list[dict[str, np.ndarray]], kernel: str) -> list[np.ndarray]:
        training, held_out = given
        joint = fit_joint(training, bold, held_out, *common, kernel=kernel)
        alone = fit_single(training["b"], bold, held_out["b"], GROUPS, tuple(ALPHAS), engine, kernel=kernel)
        rest = [
            fit_without(a, joint, training, bold, held_out, GROUPS, tuple(ALPHAS), engine, kernel=kernel) for a in names
        ]
        return [*joint.parts.values(), alone.prediction, *rest]

    for was, now in zip(fitted(features, "linear"), fitted(kernels, PRECOMPUTED), strict=True):
        assert np.abs(was).max() > 0.1
        np.testing.assert_allclose(now, was, atol=1e-5)


def test_choices_made_before_give_the_same_models(layers: np.ndarray, bold: np.ndarray) -> None:
    training, held_out = (dict(zip("abc", part)) for part in kernels_of(layers))
    common = (GROUPS, tuple(ALPHAS))
    joint = fit_joint(training, bold, held_out, *common, GRID, refine=4, kernel=PRECOMPUTED)
    chosen = choose_joint(training, bold, *common, GRID, refine=4, kernel=PRECOMPUTED)
    again = fit_joint(training, bold, held_out, *common, GRID, chosen=chosen, kernel=PRECOMPUTED)
    np.testing.assert_allclose(again.prediction, joint.prediction, atol=1e-10)
    rest = choose_without("b", chosen, training, bold, *common, kernel=PRECOMPUTED)
    given = (training, bold, held_out, *common)
    np.testing.assert_allclose(
        fit_without("b", joint, *given, chosen=rest, kernel=PRECOMPUTED),
        fit_without("b", joint, *given, kernel=PRECOMPUTED),
        atol=1e-6,
    )


def test_kernels_of_other_shapes_are_refused(layers: np.ndarray, bold: np.ndarray) -> None:
    kernels, new = kernels_of(layers)
    with pytest.raises(ValueError, match=r"\(n, n\) for each layer"):
        BandedRidge(ALPHAS, kernel=PRECOMPUTED).fit(new, bold, GROUPS)
    with pytest.raises(ValueError, match="one column for each of 2 layers"):
        BandedRidge(ALPHAS, grid=GRID, kernel=PRECOMPUTED).fit(kernels[:2], bold, GROUPS)
