from __future__ import annotations

import himalaya.backend
import numpy as np
import pytest
from ban_bids.encoding.models import Joint, fit_joint, fit_single, fit_without
from ban_bids.encoding.ridge.weights import band_weights
from himalaya.scoring import r2_score_split
from sklearn.linear_model import Ridge

from ban_bids.encoding.ridge.backend import CLOSED_FORM, HIMALAYA, Engine, choose_engine, himalaya_backend
from ban_bids.errors import UsageError

ALPHAS = (1e-3, 1e-1, 1.0, 10.0, 1e3)
AREAS = ("A1", "Belt", "PB", "T2T3")


def problem(
    n: int = 90, p: int = 12, n_voxels: int = 9, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Centred features of four layers (training, held out), BOLD with several signal strengths, groups."""
    rng = np.random.default_rng(seed)
    training = {layer: rng.standard_normal((n, p)) for layer in AREAS}
    held_out = {layer: rng.standard_normal((40, p)).astype(np.float32) for layer in AREAS}
    strength = np.linspace(0, 2, n_voxels)
    bold = rng.standard_normal((n, n_voxels))
    for i, layer in enumerate(AREAS):
        bold += training[layer] @ rng.standard_normal((p, n_voxels)) * strength * (i == 1)
    groups = np.repeat([0, 1, 2], [n // 3 - 5, n // 3, n - 2 * (n // 3) + 5])
    scale = {layer: np.sqrt(np.mean((x**2).sum(axis=1))) for layer, x in training.items()}
    return (
        {layer: (x / scale[layer]).astype(np.float32) for layer, x in training.items()},
        {layer: (x / np.float32(scale[layer])).astype(np.float32) for layer, x in held_out.items()},
        (bold / bold.std(axis=0)).astype(np.float32),
        groups,
    )


def brute_score(features: np.ndarray, bold: np.ndarray, groups: np.ndarray, alpha: float) -> np.ndarray:
    """Minus the mean over inner folds of the mean squared error, by an explicit loop with scikit-learn."""
    losses = []
    for g in np.unique(groups):
        fit, left = groups != g, groups == g
        model = Ridge(alpha=alpha, fit_intercept=False, solver="cholesky")
        model.fit(features[fit].astype(float), bold[fit].astype(float))
        losses.append(np.mean((bold[left] - model.predict(features[left].astype(float))) ** 2, axis=0))
    return -np.mean(losses, axis=0)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("solver", [CLOSED_FORM, HIMALAYA])
@pytest.mark.parametrize("p", [12, 200])
def test_single_layer_is_scikit_learns_ridge_with_the_brute_force_alpha(solver: str, backend: str, p: int) -> None:
    training, held_out, bold, groups = problem(p=p)
    x, z = training["Belt"], held_out["Belt"]
    found = fit_single(x, bold, z, groups, ALPHAS, Engine(solver, backend))
    scores = np.stack([brute_score(x, bold, groups, alpha) for alpha in ALPHAS])
    chosen = np.asarray(ALPHAS)[scores.argmax(axis=0)]
    assert len(set(chosen)) > 1
    assert np.allclose(found.alpha, chosen)
    assert np.allclose(found.inner, scores.max(axis=0), atol=1e-4)
    for v, alpha in enumerate(chosen):
        model = Ridge(alpha=alpha, fit_intercept=False).fit(x.astype(float), bold[:, v].astype(float))
        tolerance = 1e-4 if solver == CLOSED_FORM else 1e-2  # himalaya solves in float32
        assert np.allclose(found.prediction[:, v], model.predict(z.astype(float)), atol=tolerance)


def test_joint_is_himalayas() -> None:
    training, held_out, bold, groups = problem(p=30)
    grid = band_weights(4, 9, 0)
    ours = fit_joint(training, bold, held_out, groups, ALPHAS, grid)
    theirs = fit_joint(training, bold, held_out, groups, ALPHAS, grid, Engine(HIMALAYA))
    assert np.allclose(ours.weights, theirs.weights, atol=1e-5)
    assert np.array_equal(ours.alpha, theirs.alpha)
    assert np.allclose(ours.inner, theirs.inner, atol=1e-4)
    for layer in AREAS:
        assert np.allclose(ours.parts[layer], theirs.parts[layer], atol=2e-3)
        without = [
            fit_without(layer, ours, training, bold, held_out, groups, ALPHAS, Engine(solver))
            for solver in (CLOSED_FORM, HIMALAYA)
        ]
        assert np.allclose(*without, atol=2e-3)


def test_joint_with_all_weight_on_one_layer_is_the_single_layer_model() -> None:
    training, held_out, bold, groups = problem()
    for i, layer in enumerate(AREAS):
        joint = fit_joint(training, bold, held_out, groups, ALPHAS, np.eye(4, dtype=np.float32)[[i]])
        single = fit_single(training[layer], bold, held_out[layer], groups, ALPHAS)
        assert np.allclose(joint.prediction, single.prediction, atol=1e-5)
        assert np.array_equal(joint.alpha, single.alpha)


def test_joint_prefers_the_planted_layer() -> None:
    training, held_out, bold, groups = problem(n=300, n_voxels=6)
    joint = fit_joint(training, bold, held_out, groups, ALPHAS, band_weights(4, 20, 0))
    assert np.all(joint.weights[1, 2:] >= 0.5)
    assert joint.weights[1, 2:].mean() > 0.8
    assert np.allclose(joint.weights.sum(axis=0), 1, atol=1e-6)


def test_joint_equals_ridge_on_scaled_features() -> None:
    training, held_out, bold, groups = problem()
    grid = np.array([[0.1, 0.6, 0.3, 0.0]], dtype=np.float32)
    joint = fit_joint(training, bold, held_out, groups, (1.0,), grid)
    x, z = (np.hstack([side[layer] * np.sqrt(w) for layer, w in zip(AREAS, grid[0])]) for side in (training, held_out))
    model = Ridge(alpha=1.0, fit_intercept=False).fit(x.astype(float), bold.astype(float))
    assert np.allclose(joint.prediction, model.predict(z.astype(float)), atol=1e-4)


def test_leaving_one_layer_out_renormalises_and_chooses_alpha_anew() -> None:
    training, held_out, bold, groups = problem(seed=5)
    weights = np.tile(np.array([[0.5], [0.2], [0.3], [0.0]], dtype=np.float32), (1, bold.shape[1]))
    weights[:, 0] = [0, 1, 0, 0]
    parts = {layer: np.zeros((40, bold.shape[1]), np.float32) for layer in AREAS}
    joint = Joint(parts, weights, np.ones(bold.shape[1]), np.zeros(bold.shape[1]))
    found = fit_without("Belt", joint, training, bold, held_out, groups, ALPHAS)
    others = [layer for layer in AREAS if layer != "Belt"]
    grid = np.array([[0.625, 0.375, 0.0]], dtype=np.float32)
    expected = fit_joint(
        {layer: training[layer] for layer in others},
        bold,
        {layer: held_out[layer] for layer in others},
        groups,
        ALPHAS,
        grid,
    ).prediction
    assert np.all(found[:, 0] == 0)
    assert np.allclose(found[:, 1:], expected[:, 1:], atol=1e-4)


def test_leaving_out_an_idle_layer_changes_nothing() -> None:
    training, held_out, bold, groups = problem(n=300)
    joint = fit_joint(training, bold, held_out, groups, ALPHAS, band_weights(4, 5, 0))
    for layer, weights in zip(AREAS, joint.weights):
        idle = weights == 0
        found = fit_without(layer, joint, training, bold, held_out, groups, ALPHAS)
        assert np.array_equal(found[:, idle], joint.prediction[:, idle])
        assert not np.any(np.all(found[:, ~idle] == joint.prediction[:, ~idle], axis=0))


def test_shares_follow_himalayas_definition() -> None:
    training, held_out, bold, groups = problem()
    joint = fit_joint(training, bold, held_out, groups, ALPHAS, band_weights(4, 9, 0))
    measured = np.random.default_rng(0).standard_normal(joint.prediction.shape)
    measured -= measured.mean(axis=0)
    parts = np.stack(list(joint.parts.values()))
    ours = np.einsum("aij,ij->aj", parts, 2 * measured - joint.prediction) / (measured**2).sum(axis=0)
    with himalaya_backend("numpy"):
        assert np.allclose(ours, r2_score_split(measured, parts), atol=1e-5)


def test_band_weights_are_a_fixed_grid_on_the_simplex() -> None:
    grid = band_weights(4, 20, 7)
    assert grid.shape == (20, 4)
    assert np.allclose(grid.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(grid[0], 0.25)
    assert np.array_equal(grid[1:5], np.eye(4))
    assert np.array_equal(grid, band_weights(4, 20, 7))
    assert not np.array_equal(grid, band_weights(4, 20, 8))
    assert band_weights(1, 20, 0).tolist() == [[1.0]]


def test_backend_is_put_back() -> None:
    before = himalaya.backend.get_backend().name
    with pytest.raises(RuntimeError), himalaya_backend("torch") as backend:
        assert backend.name == "torch"
        raise RuntimeError
    assert himalaya.backend.get_backend().name == before


def test_engine_follows_device_and_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_engine("cpu").name == choose_engine("auto").name == "closed-form (numpy)"
    assert choose_engine("auto", "himalaya").name == "himalaya (numpy)"
    assert choose_engine("cpu", mem_mb=3000).limits.memory == 3000 * 2**20
    with pytest.raises(UsageError, match="--device cuda"):
        choose_engine("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_engine("auto").name == "closed-form (torch_cuda)"
    assert choose_engine("cpu", "himalaya").name == "himalaya (numpy)"
    assert choose_engine("cuda", "himalaya").name == "himalaya (torch_cuda)"
