from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from ban_bids.encoding.ridge import solvers
from ban_bids.encoding.ridge.backend import CLOSED_FORM, HIMALAYA, Engine, exact_products
from ban_bids.encoding.ridge.bands import FeatureBands
from ban_bids.encoding.ridge.closed_form import LeftOut, NarrowLeftOut, Problem, inner_folds
from ban_bids.encoding.ridge.hyperparameters import (
    Choice,
    Hyperparameters,
    band_weights,
    lattice,
    lattice_order,
    neighbours,
)
from ban_bids.encoding.ridge.limits import Limits, in_batches
from ban_bids.encoding.ridge.search import _Search, choose, choose_nested
from ban_bids.encoding.ridge.solvers import BandedRidge
from ban_bids.errors import MemoryLimitError

ALPHAS = np.logspace(-2, 3, 6)
GRID = band_weights(3, 8, 0)
SEARCH = Hyperparameters(ALPHAS, GRID)


def problem(
    n: int = 240, p: int = 20, n_voxels: int = 40, dtype: type = np.float64, n_groups: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three correlated layers side by side, their kernels of mean diagonal 1; voxels; inner folds."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((n, p))
    layers = [0.5 * shared + rng.standard_normal((n, p)) for _ in range(3)]
    x = np.hstack([layer / np.sqrt(np.mean((layer**2).sum(axis=1))) for layer in layers])
    drawn = rng.dirichlet(np.ones(3), n_voxels).T
    signal = sum(a @ rng.standard_normal((p, n_voxels)) * w for a, w in zip(layers, drawn))
    y = signal / signal.std(axis=0) * np.linspace(0, 1.5, n_voxels) + rng.standard_normal((n, n_voxels))
    groups = np.arange(n) * n_groups // n
    return x.astype(dtype), (y / y.std(axis=0)).astype(dtype), groups


def bands(x: np.ndarray) -> FeatureBands:
    return FeatureBands(np.split(x, 3, axis=1))


def refitted(x: np.ndarray, y: np.ndarray, groups: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """Mean over inner folds of the mean squared error, each model fitted anew, in float64."""
    scaled = x.astype(np.float64) * np.repeat(np.sqrt(weights.astype(np.float64)), x.shape[1] // 3)
    losses = []
    for g in np.unique(groups):
        fit, left = groups != g, groups == g
        model = Ridge(alpha=alpha, fit_intercept=False, solver="svd").fit(scaled[fit], y[fit].astype(np.float64))
        losses.append(np.mean((y[left] - model.predict(scaled[left])) ** 2, axis=0))
    return np.mean(losses, axis=0)


def assert_same_choice(ours: Choice, theirs: Choice, rtol: float) -> None:
    assert ours.weights.dtype == theirs.weights.dtype == ours.score.dtype == theirs.score.dtype
    positions = (SEARCH.position(choice.alpha) for choice in (ours, theirs))
    assert np.array_equal(*positions)
    assert np.allclose(ours.alpha, theirs.alpha, rtol=1e-6, atol=0)
    assert np.allclose(ours.weights, theirs.weights, atol=1e-6)
    assert np.allclose(ours.score, theirs.score, rtol=rtol, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-8)])
@pytest.mark.parametrize(("p", "n_groups", "primal"), [(20, 6, True), (20, 2, True), (110, 6, False), (45, 2, False)])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_left_out_losses_are_those_of_refitting(
    dtype: type, tolerance: float, p: int, n_groups: int, primal: bool, backend: str
) -> None:
    x, y, groups = problem(p=p, dtype=dtype, n_groups=n_groups)
    groups = np.random.default_rng(0).permutation(groups)  # rows of a fold need not be neighbours
    made = Problem(bands(x), y, groups, engine=Engine(backend=backend))
    assert made.bands.primal == primal
    bold = made.responses(slice(None))
    for weights in GRID[[0, 1, 5]]:
        basis = made.bands.basis(weights)
        for kind in (LeftOut, *([] if basis.complete else [NarrowLeftOut])):
            left = kind(basis, inner_folds(made.inner), y.dtype, backend)
            seen = left.project(bold)
            for alpha in ALPHAS:
                loss = left.loss(alpha, bold, seen)
                assert np.allclose(loss, refitted(x, y, groups, weights, alpha), rtol=tolerance, atol=0)


def test_a_basis_hardly_wider_than_an_inner_fold_takes_one_product() -> None:
    x, y, groups = problem(p=20, dtype=np.float64, n_groups=6)
    fewest = int(np.bincount(groups).min())
    kinds = set()
    for p in (1, fewest, int(1.25 * fewest), int(1.25 * fewest) + 2):
        made = Problem(FeatureBands([np.random.default_rng(p).standard_normal((len(y), p))]), y, groups)
        narrow = isinstance(made.left_out(made.decompose(np.ones(1))), NarrowLeftOut)
        assert narrow == (p <= 1.25 * fewest)
        kinds.add(narrow)
    assert kinds == {True, False}


def test_left_out_losses_at_real_size_solve_their_equations() -> None:
    # nearly singular kernels, a tiny penalty, runs of 400 rows, two threads of BLAS at work
    rng = np.random.default_rng(4)
    x = rng.standard_normal((1600, 150)) * np.logspace(0, -6, 150)
    x /= np.sqrt(np.mean((x**2).sum(axis=1)))
    y = x @ rng.standard_normal((150, 3)) + 0.1 * rng.standard_normal((1600, 3))
    groups, one = np.repeat(np.arange(4), 400), np.ones(1)
    for dtype, tolerance in ((np.float32, 1e-4), (np.float64, 1e-7)):
        made = Problem(FeatureBands([x]), y.astype(dtype), groups)
        basis = made.bands.basis(one)
        losses = []
        for kind in (LeftOut, NarrowLeftOut):
            left = kind(basis, inner_folds(made.inner), made.bold.dtype)
            losses.append(left.loss(1e-4, made.bold, left.project(made.bold)))
        expected = np.zeros(3)
        for g in range(4):
            fit, left = groups != g, groups == g
            gram = x[fit].T @ x[fit] + 1e-4 * np.eye(150)
            beta = np.linalg.solve(gram, x[fit].T @ y[fit])
            expected += np.mean((y[left] - x[left] @ beta) ** 2, axis=0) / 4
        assert np.allclose(losses, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-8)])
@pytest.mark.parametrize("p", [20, 110])
def test_closed_form_is_himalaya(dtype: type, tolerance: float, p: int) -> None:
    x, y, groups = problem(p=p, dtype=dtype)
    ours, theirs = (BandedRidge(SEARCH, Engine(solver)).fit(bands(x), y, groups) for solver in (CLOSED_FORM, HIMALAYA))
    assert len(np.unique(ours.choice_.alpha)) > 2
    assert len(np.unique(ours.choice_.weights, axis=1).T) > 4
    assert_same_choice(ours.choice_, theirs.choice_, rtol=tolerance)
    assert np.allclose(ours.coef_, theirs.coef_, rtol=0, atol=tolerance * np.abs(theirs.coef_).max())
    assert np.allclose(ours.predict(bands(x)), theirs.predict(bands(x)), atol=tolerance * 10)


@pytest.mark.parametrize("free", [None, 10**9, 4 * 10**5])
@pytest.mark.parametrize("p", [20, 110])
def test_closed_form_is_the_same_on_every_backend(p: int, free: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # with a GPU responses lie there whole, or are sent batch by batch: both ways, here on the CPU
    monkeypatch.setattr("ban_bids.encoding.ridge.closed_form.free_on_device", lambda backend: free)
    x, y, groups = problem(p=p, n_voxels=300)
    made = Problem(bands(x), y, groups, engine=Engine(backend="torch"))
    assert (made._responses is None) == (free == 4 * 10**5)
    assert (made.resources(6)[1] == 64) == (free == 4 * 10**5)
    search = replace(SEARCH, refine=4)
    theirs, ours = (
        BandedRidge(search, Engine(backend=name)).fit(bands(x), y, groups).choice_ for name in ("torch", "numpy")
    )
    assert np.array_equal(ours.alpha, theirs.alpha)
    assert np.array_equal(ours.weights, theirs.weights)
    assert np.allclose(ours.score, theirs.score, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", [LeftOut, NarrowLeftOut])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_penalty_too_small_for_the_kernel_is_named(backend: str, kind: type[LeftOut]) -> None:
    x = np.vstack([np.eye(4), np.zeros((8, 4))])  # the others see nothing of what is left out
    made = Problem(FeatureBands([x]), np.ones((12, 1)), np.repeat([0, 1, 2], 4))
    left = kind(made.bands.basis(np.ones(1)), inner_folds(made.inner), np.dtype(float), backend)
    bold = left.arrays.asarray(made.bold)
    with pytest.raises(np.linalg.LinAlgError, match="1e-20"):
        left.loss(1e-20, bold, left.project(bold))


def test_float32_is_multiplied_as_float32() -> None:
    import torch

    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_coefficients_are_ridges_on_weighted_features() -> None:
    for p in (20, 110):
        x, y, _ = problem(p=p)
        prepared = bands(x).prepared(40)
        assert prepared.primal == (p == 20)
        weights = np.array([0.7, 0.0, 0.3])
        root = np.repeat(np.sqrt(weights), p)
        for alpha, found in zip((0.1, 10.0), prepared.coefficients(weights, (0.1, 10.0), (y, y[:, :3]))):
            model = Ridge(alpha=alpha, fit_intercept=False, solver="svd").fit(x * root, y[:, : found.shape[1]])
            assert np.allclose(found, model.coef_.T * root[:, None], atol=1e-9)


def test_estimators_keep_scikit_learns_conventions() -> None:
    x, y, groups = problem(n_voxels=5)
    for engine in (Engine(limits=Limits(threads=1)), Engine(HIMALAYA, "torch")):
        solver = BandedRidge(SEARCH, engine)
        again = clone(solver)
        assert again.get_params().keys() == solver.get_params().keys()
        assert again.engine == engine and again.hyperparameters.alphas is not SEARCH.alphas
        with pytest.raises(NotFittedError):
            again.predict(bands(x))
        fitted = again.fit(bands(x), y, groups)
        assert fitted is again
        assert np.allclose(sum(again.split(bands(x))), again.predict(bands(x)), atol=1e-10)
        with pytest.raises(ValueError, match="one column for each of 1 bands"):
            clone(solver).fit(FeatureBands([x]), y, groups)
    with pytest.raises(ValueError, match="the same rows"):
        FeatureBands([x, x[:-1]])
    alone = BandedRidge(Hyperparameters((0.5,))).fit(FeatureBands([x]), y, groups)
    assert np.allclose(alone.coef_, Ridge(alpha=0.5, fit_intercept=False).fit(x, y).coef_.T, atol=1e-8)


def test_bands_that_were_not_fitted_are_refused() -> None:
    x, y, groups = problem(n_voxels=5)
    fitted = BandedRidge(SEARCH).fit(bands(x), y, groups)
    for other in (bands(x).without(0), FeatureBands(np.split(x, [10, 40], axis=1)), bands(x[:, :-3])):
        with pytest.raises(ValueError, match="fitted"):
            fitted.predict(other)


def test_choice_of_equal_penalties_is_the_larger() -> None:
    made = Problem(FeatureBands([np.eye(6)]), np.zeros((6, 2), np.float32), np.repeat([0, 1], 3))
    choice = choose(made, Hyperparameters((1.0, 100.0, 10.0), np.ones((1, 1))))
    assert choice.alpha.tolist() == [100, 100]
    assert np.all(choice.score == 0)


def test_order_of_runs_and_threads_change_nothing() -> None:
    x, y, groups = problem()
    whole = BandedRidge(SEARCH, Engine(limits=Limits(threads=1))).fit(bands(x), y, groups)
    order = np.concatenate([np.flatnonzero(groups == g) for g in (3, 1, 5, 0, 2, 4)])
    other = BandedRidge(SEARCH, Engine(limits=Limits(threads=3))).fit(bands(x[order]), y[order], groups[order])
    assert np.array_equal(whole.choice_.alpha, other.choice_.alpha)
    assert np.array_equal(whole.choice_.weights, other.choice_.weights)
    assert np.allclose(whole.coef_, other.coef_, atol=1e-10)


def test_little_memory_means_small_batches_and_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, groups = problem(n_voxels=300)
    whole = BandedRidge(SEARCH).fit(bands(x), y, groups)
    made = Problem(bands(x), y, groups)
    assert made.resources(6)[1] > 300
    monkeypatch.setattr(Limits, "left", lambda self: 900_000)
    assert made.resources(6) == (1, 64)
    small = BandedRidge(SEARCH).fit(bands(x), y, groups)
    assert np.array_equal(whole.choice_.alpha, small.choice_.alpha)
    assert np.allclose(whole.coef_, small.coef_, atol=1e-12)


def test_running_out_of_memory_halves_the_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x, y, groups = problem(n_voxels=100)
    solver = BandedRidge(replace(SEARCH, exhaustive=True), Engine(limits=Limits(threads=1)))
    whole = solver.choose(bands(x), y, groups)
    sizes: list[int] = []

    compute = LeftOut.loss

    def scarce(self: LeftOut, alpha: float, bold: np.ndarray, projected: np.ndarray) -> np.ndarray:
        sizes.append(len(bold[0]))
        if alpha > 0.1 and bold.shape[1] > 30:  # some penalties are done when it happens
            raise MemoryError
        return compute(self, alpha, bold, projected)

    monkeypatch.setattr(LeftOut, "loss", scarce)
    with caplog.at_level(logging.WARNING):
        halved = solver.choose(bands(x), y, groups)
    assert sizes[0] == 100
    assert "25 voxels at a time" in caplog.text
    assert np.array_equal(halved.alpha, whole.alpha)
    assert np.allclose(halved.score, whole.score, atol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_himalaya_goes_on_with_half_the_voxels(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    x, y, groups = problem(n_voxels=64)
    solver = BandedRidge(SEARCH, Engine(HIMALAYA, backend))
    whole = clone(solver).fit(bands(x), y, groups)
    search = solvers._search_batch

    def scarce(kernels: np.ndarray, some: np.ndarray, *more: object, **named: object) -> object:
        if some.shape[1] > 32:
            raise MemoryError if backend == "numpy" else torch.OutOfMemoryError
        return search(kernels, some, *more, **named)

    monkeypatch.setattr(solvers, "_search_batch", scarce)
    halved = solver.fit(bands(x), y, groups)
    assert np.allclose(halved.coef_, whole.coef_, atol=1e-9)


def test_no_memory_at_all_is_named() -> None:
    def never(batch: slice) -> None:
        raise MemoryError

    with pytest.raises(MemoryLimitError, match="--mem"):
        in_batches(100, 40, never)


def test_a_dead_voxel_and_a_constant_feature_are_harmless() -> None:
    x, y, groups = problem(n_voxels=4)
    plain = BandedRidge(SEARCH).fit(bands(x), y, groups)
    x0 = np.insert(x, 20, 0.0, axis=1)
    y0 = np.column_stack([y, np.zeros(len(y))])
    found = BandedRidge(SEARCH).fit(FeatureBands(np.split(x0, [21, 41], axis=1)), y0, groups)
    assert np.allclose(np.delete(found.coef_, 20, axis=0)[:, :4], plain.coef_, atol=1e-10)
    assert not found.coef_[20].any()
    assert not found.coef_[:, 4].any()


def test_choice_is_the_best_of_all_candidates() -> None:
    x, y, groups = problem(n_voxels=12)
    scores = np.array([[-refitted(x, y, groups, w, a) for a in ALPHAS] for w in GRID])
    for exhaustive in (True, False):
        search = replace(SEARCH, exhaustive=exhaustive)
        choice = choose(Problem(bands(x), y, groups), search)
        assert np.allclose(choice.score, scores.max(axis=(0, 1)), atol=1e-9)
        point = [np.flatnonzero((weights == GRID).all(axis=1))[0] for weights in choice.weights.T]
        assert np.allclose(scores[point, search.position(choice.alpha), np.arange(12)], choice.score, atol=1e-9)


def test_climbing_takes_fewer_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, groups = problem(n_voxels=50)
    compute, taken = LeftOut.loss, [0]

    def counted(self: LeftOut, alpha: float, bold: np.ndarray, projected: np.ndarray) -> np.ndarray:
        taken[0] += bold.shape[1]
        return compute(self, alpha, bold, projected)

    monkeypatch.setattr(LeftOut, "loss", counted)
    search = Hyperparameters(np.logspace(-4, 5, 10), GRID)
    made = Problem(bands(x), y, groups)
    whole = choose(made, replace(search, exhaustive=True))
    assert taken[0] == 50 * 10 * len(GRID)
    taken[0] = 0
    climbed = choose(made, search)
    assert taken[0] < 0.5 * 50 * 10 * len(GRID)
    assert np.array_equal(whole.alpha, climbed.alpha)
    assert np.array_equal(whole.weights, climbed.weights)


def test_refining_only_improves_and_depends_on_the_voxel_alone() -> None:
    x, y, groups = problem(n_voxels=30)
    search = Hyperparameters(ALPHAS, band_weights(3, 7, 0))
    made = Problem(bands(x), y, groups)
    coarse, fine = (choose(made, replace(search, refine=order)) for order in (0, 2 * lattice_order(3, 7)))
    assert np.all(fine.score >= coarse.score)
    assert np.mean(fine.score > coarse.score) > 0.5
    assert np.allclose(fine.weights.sum(axis=0), 1, atol=1e-6)
    for voxels in ([3], [29, 5, 11]):
        some = choose(Problem(bands(x), y[:, voxels], groups), replace(search, refine=4))
        assert np.array_equal(some.weights, fine.weights[:, voxels])
        assert np.array_equal(some.alpha, fine.alpha[voxels])
    v = int(np.argmax(fine.score - coarse.score))
    expected = refitted(x, y, groups, fine.weights[:, v], fine.alpha[v])
    assert np.allclose(-fine.score[v], expected[v], rtol=1e-8)


def test_lattices_cover_the_simplex() -> None:
    for n_layers, order, n_points in ((4, 3, 20), (4, 6, 84), (3, 2, 6), (2, 5, 6)):
        points = lattice(n_layers, order)
        assert points.shape == (n_points, n_layers)
        assert len(np.unique(points, axis=0)) == n_points
        assert np.allclose(points.sum(axis=1), 1)
        assert np.array_equal(points[:n_layers], np.eye(n_layers))
    assert [lattice_order(4, n) for n in (3, 10, 11, 20, 21, 35, 36)] == [1, 1, 2, 2, 3, 3, 4]
    assert neighbours(np.array([1.0, 0, 0]), 6).tolist() == [[6, 0, 0], [5, 1, 0], [5, 0, 1]]
    around = neighbours(np.full(4, 0.25, dtype=np.float32), 6)
    assert around[0].tolist() == [2, 2, 1, 1]
    assert len(around) == 13
    assert np.all(around.sum(axis=1) == 6)


@pytest.mark.parametrize("order", [0, 4])
def test_the_model_without_a_band_is_a_search_of_its_own_over_the_points_that_were_tried(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, groups = problem(n_voxels=40)
    made = Problem(bands(x), y, groups)
    tried: list[tuple[np.ndarray, np.ndarray]] = []
    keep = _Search._keep

    def noted(self: _Search, weights: np.ndarray, best: tuple[np.ndarray, ...]) -> None:
        tried.append((np.asarray(weights), best[0]))
        keep(self, weights, best)

    monkeypatch.setattr(_Search, "_keep", noted)
    joint, *reduced = choose_nested(made, Hyperparameters(ALPHAS, band_weights(3, 8, 0), refine=order))
    monkeypatch.undo()
    assert [len(choice.weights) for choice in (joint, *reduced)] == [3, 2, 2, 2]
    for v in range(0, 40, 8):
        points = np.array([weights for weights, voxels in tried if v in voxels])
        own = Problem(bands(x), y[:, [v]], groups)
        whole = choose(own, Hyperparameters(ALPHAS, points, exhaustive=True))
        assert np.array_equal(joint.of(slice(v, v + 1)).weights, whole.weights)
        assert np.array_equal(joint.alpha[[v]], whole.alpha)
        for i, found in enumerate(reduced):
            rest = points[points[:, i] == 0]
            # the joint model's weights without the band are among them, as far as they were on the grid
            assert len(rest) >= (2 if order == 0 else 3)
            own = Problem(bands(x).without(i), y[:, [v]], groups)
            alone = choose(own, Hyperparameters(ALPHAS, np.delete(rest, i, axis=1), exhaustive=True))
            assert np.array_equal(found.weights[:, [v]], alone.weights)
            assert np.array_equal(found.alpha[[v]], alone.alpha)
            assert np.allclose(found.score[[v]], alone.score, rtol=1e-9, atol=0)
            assert found.score[v] <= joint.score[v]


def test_models_without_a_band_are_not_those_of_the_joint_weights() -> None:
    # noise apart, two bands are one: the joint model takes the first alone, and that without it the second
    rng = np.random.default_rng(6)
    first = rng.standard_normal((300, 8))
    parts = [first, first + 0.1 * rng.standard_normal(first.shape), rng.standard_normal((300, 8))]
    y = first @ rng.standard_normal((8, 5)) + 0.1 * rng.standard_normal((300, 5))
    groups, search = np.arange(300) // 60, Hyperparameters(ALPHAS, band_weights(3, 12, 0), refine=4)
    joint, without, *others = choose_nested(Problem(FeatureBands(parts), y, groups), search)
    assert np.all(joint.weights[0] > 0.5)
    assert np.all(without.weights[0] > 0.5)  # the second band
    assert np.all(without.score > -0.3)
    for i, found in enumerate(others, start=1):
        idle = joint.weights[i] == 0
        assert np.array_equal(found.score[idle], joint.score[idle])
        assert np.array_equal(found.weights[:, idle], np.delete(joint.weights, i, axis=0)[:, idle])


def test_the_grid_without_a_band_keeps_proportions() -> None:
    grid = np.array([[0.25, 0.25, 0.5], [1, 0, 0], [0, 0.5, 0.5], [0, 0.2, 0.8], [0.6, 0.1, 0.3], [0, 0, 1]])
    rest = [Hyperparameters(ALPHAS, grid).without(i).grid for i in range(3)]
    assert np.allclose(rest[0], [[1 / 3, 2 / 3], [0.5, 0.5], [0.2, 0.8], [0.25, 0.75], [0, 1]])
    assert np.allclose(rest[1], [[1 / 3, 2 / 3], [1, 0], [0, 1], [2 / 3, 1 / 3]])
    assert np.allclose(rest[2], [[0.5, 0.5], [1, 0], [0, 1], [6 / 7, 1 / 7]])
    assert np.allclose(Hyperparameters(ALPHAS, grid[:, :2] * [1, 0]).without(0).grid, [[1]])


def test_penalties_know_their_place_and_choices_are_cut_and_joined() -> None:
    search = Hyperparameters((10.0, 0.1, 1.0))
    assert search.penalties.tolist() == [0.1, 1, 10]
    assert search.position(np.array([10, 0.1, 1], dtype=np.float32)).tolist() == [2, 0, 1]
    choice = Choice(np.arange(10.0).reshape(2, 5), np.arange(5.0), -np.arange(5.0))
    again = Choice.joined([choice.of(slice(0, 2)), choice.of(np.array([2, 3, 4]))])
    for name, values in vars(choice).items():
        assert np.array_equal(getattr(again, name), values)
