from __future__ import annotations

import himalaya.backend
import numpy as np
import pytest
from himalaya.scoring import r2_score, r2_score_split
from sklearn.linear_model import Ridge

from ban_bids.constants import JOINT
from ban_bids.encoding.ridge.backend import CLOSED_FORM, CPU, HIMALAYA, Engine, choose_engine, himalaya_backend
from ban_bids.encoding.ridge.bands import FeatureBands
from ban_bids.encoding.ridge.hyperparameters import Choice, Hyperparameters, band_weights
from ban_bids.encoding.ridge.solvers import BandedRidge, predict_without
from ban_bids.encoding.rows import HeldOut, HeldOutRows
from ban_bids.encoding.variance import variances
from ban_bids.errors import UsageError

ALPHAS = (1e-3, 1e-1, 1.0, 10.0, 1e3)
AREAS = ("A1", "Belt", "PB", "T2T3")


def problem(
    n: int = 90, p: int = 12, n_voxels: int = 9, seed: int = 0
) -> tuple[FeatureBands, FeatureBands, np.ndarray, np.ndarray]:
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
        FeatureBands([(x / scale[layer]).astype(np.float32) for layer, x in training.items()]),
        FeatureBands([(x / np.float32(scale[layer])).astype(np.float32) for layer, x in held_out.items()]),
        (bold / bold.std(axis=0)).astype(np.float32),
        groups,
    )


def fit_joint(
    training: FeatureBands, bold: np.ndarray, groups: np.ndarray, grid: np.ndarray, engine: Engine = CPU
) -> BandedRidge:
    return BandedRidge(Hyperparameters(ALPHAS, grid), engine).fit(training, bold, groups)


def without(
    i: int,
    joint: Choice,
    problem: tuple[FeatureBands, FeatureBands, np.ndarray, np.ndarray],
    whole: np.ndarray,
    solver: BandedRidge,
) -> np.ndarray:
    """Predict without a layer by a search of its own, as that of the joint model."""
    training, held_out, bold, groups = problem
    reduced = BandedRidge(solver.hyperparameters.without(i), solver.engine)
    common = {"bold": bold, "inner": groups, "joint": joint, "whole": whole}
    return predict_without(reduced, training, held_out, left_out=i, **common)


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
    x, z = training.parts[1], held_out.parts[1]
    model = BandedRidge(Hyperparameters(ALPHAS), Engine(solver, backend)).fit(FeatureBands([x]), bold, groups)
    prediction, found = model.predict(FeatureBands([z])), model.choice_
    scores = np.stack([brute_score(x, bold, groups, alpha) for alpha in ALPHAS])
    chosen = np.asarray(ALPHAS)[scores.argmax(axis=0)]
    assert len(set(chosen)) > 1
    assert np.allclose(found.alpha, chosen)
    assert np.allclose(found.score, scores.max(axis=0), atol=1e-4)
    for v, alpha in enumerate(chosen):
        ridge = Ridge(alpha=alpha, fit_intercept=False).fit(x.astype(float), bold[:, v].astype(float))
        tolerance = 1e-4 if solver == CLOSED_FORM else 1e-2  # himalaya solves in float32
        assert np.allclose(prediction[:, v], ridge.predict(z.astype(float)), atol=tolerance)


def test_joint_is_himalayas() -> None:
    made = training, held_out, bold, groups = problem(p=30)
    grid = band_weights(4, 9, 0)
    ours, theirs = (fit_joint(training, bold, groups, grid, Engine(solver)) for solver in (CLOSED_FORM, HIMALAYA))
    assert np.allclose(ours.choice_.weights, theirs.choice_.weights, atol=1e-5)
    assert np.array_equal(ours.choice_.alpha, theirs.choice_.alpha)
    assert np.allclose(ours.choice_.score, theirs.choice_.score, atol=1e-4)
    assert np.allclose(ours.split(held_out), theirs.split(held_out), atol=2e-3)
    whole = ours.predict(held_out)
    for i in range(4):
        rest = [without(i, ours.choice_, made, whole, solver) for solver in (ours, theirs)]
        assert np.allclose(*rest, atol=2e-3)


def test_joint_with_all_weight_on_one_layer_is_the_single_layer_model() -> None:
    training, held_out, bold, groups = problem()
    for i in range(4):
        joint = fit_joint(training, bold, groups, np.eye(4, dtype=np.float32)[[i]])
        single = fit_joint(FeatureBands([training.parts[i]]), bold, groups, np.ones((1, 1)))
        prediction = single.predict(FeatureBands([held_out.parts[i]]))
        assert np.allclose(joint.predict(held_out), prediction, atol=1e-5)
        assert np.array_equal(joint.choice_.alpha, single.choice_.alpha)


def test_joint_prefers_the_planted_layer() -> None:
    training, _, bold, groups = problem(n=300, n_voxels=6)
    weights = fit_joint(training, bold, groups, band_weights(4, 20, 0)).choice_.weights
    assert np.all(weights[1, 2:] >= 0.5)
    assert weights[1, 2:].mean() > 0.8
    assert np.allclose(weights.sum(axis=0), 1, atol=1e-6)


def test_joint_equals_ridge_on_scaled_features() -> None:
    training, held_out, bold, groups = problem()
    grid = np.array([[0.1, 0.6, 0.3, 0.0]], dtype=np.float32)
    joint = BandedRidge(Hyperparameters((1.0,), grid)).fit(training, bold, groups)
    x, z = (np.hstack([part * np.sqrt(w) for part, w in zip(side.parts, grid[0])]) for side in (training, held_out))
    model = Ridge(alpha=1.0, fit_intercept=False).fit(x.astype(float), bold.astype(float))
    assert np.allclose(joint.predict(held_out), model.predict(z.astype(float)), atol=1e-4)


def test_leaving_one_layer_out_is_the_model_of_the_others() -> None:
    made = training, held_out, bold, groups = problem(seed=5, n=300)
    solver = BandedRidge(Hyperparameters(ALPHAS, band_weights(4, 21, 0), refine=6))
    joint, *reduced = solver.choose_nested(training, bold, groups)
    whole = solver.fit(training, bold, groups, choice=joint).predict(held_out)
    assert np.all(joint.weights[1, 4:] > 0.8)
    for i, choice in enumerate(reduced):
        common = {"bold": bold, "inner": groups, "joint": joint, "whole": whole, "choice": choice}
        rest = predict_without(solver, training, held_out, left_out=i, **common)
        # by scikit-learn, at the weights and penalties that were chosen
        for v in range(bold.shape[1]):
            root = np.sqrt(choice.weights[:, v])
            x, z = (np.hstack([p * r for p, r in zip(side.without(i).parts, root)]) for side in (training, held_out))
            model = Ridge(alpha=float(choice.alpha[v]), fit_intercept=False).fit(x.astype(float), bold[:, v])
            assert np.allclose(rest[:, v], model.predict(z.astype(float)), atol=1e-4)
        idle = joint.weights[i] == 0
        assert np.array_equal(rest[:, idle], whole[:, idle])
        assert not np.any(np.all(rest[:, ~idle] == whole[:, ~idle], axis=0))
        # a search of its own over the whole grid finds as good ones
        own = without(i, joint, made, whole, BandedRidge(solver.hyperparameters))
        assert np.mean(np.square(own - rest)) < 0.01 * np.mean(np.square(whole))


def test_shares_follow_himalayas_definition() -> None:
    training, held_out, bold, groups = problem()
    joint = fit_joint(training, bold, groups, band_weights(4, 9, 0))
    parts = np.stack(joint.split(held_out))
    parts -= parts.mean(axis=1, keepdims=True)
    whole = parts.sum(axis=0)
    measured = np.random.default_rng(0).standard_normal(whole.shape).astype(np.float32)
    measured -= measured.mean(axis=0)
    zeros = np.zeros(len(whole), dtype=np.int32)
    rows = HeldOutRows(*[zeros] * 5, scored=np.ones(len(whole), dtype=bool), fold=zeros)
    held = HeldOut(rows, measured, {JOINT: whole}, {}, {})
    usable = np.arange(whole.shape[1]) != 3
    share, _, rsquare = variances(held, dict(zip(AREAS, parts)), {}, repeats=None, usable=usable)
    with himalaya_backend("numpy"):
        theirs = [*r2_score_split(measured, parts), r2_score(measured, whole)]
    for ours, expected in zip([*share.values(), rsquare[JOINT]], theirs, strict=True):
        assert np.array_equal(np.isnan(ours), ~usable)
        assert np.allclose(ours[usable], expected[usable], atol=1e-5)


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
