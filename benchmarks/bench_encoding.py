"""The main kernels of encoding under pytest-benchmark, at a moderate size; run by naming this file.

python -m pytest benchmarks/bench_encoding.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from encoding_data import Data, Size, load, simulate
from permutation_speed import held_out_rows
from threadpoolctl import threadpool_limits

from ban_bids.encoding.permutation import permutation_plan
from ban_bids.encoding.ridge.backend import CLOSED_FORM, HIMALAYA, Engine
from ban_bids.encoding.ridge.bands import Basis, FeatureBands
from ban_bids.encoding.ridge.closed_form import LeftOut, Problem, refit
from ban_bids.encoding.ridge.hyperparameters import Choice, Hyperparameters, band_weights
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.ridge.solvers import BandedRidge
from ban_bids.encoding.significance import voxel_p

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is absent: pip install ban-bids[bench]")

SIZE = Size(voxels=1000, runs=8, volumes=150, held_out_runs=1, components=16)
EQUAL = np.full(SIZE.layers, 1 / SIZE.layers)
ALPHAS = tuple(np.logspace(-4, 5, 10))
GRID = band_weights(SIZE.layers, 5, 0)[:2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder: Path = tmp_path_factory.mktemp("encoding")
    simulate(SIZE, folder)
    return load(SIZE, folder)


def bands_of(data: Data) -> FeatureBands:
    return FeatureBands(np.split(data.x, np.cumsum(SIZE.widths)[:-1], axis=1))


@pytest.fixture(scope="module")
def problem(data: Data) -> Problem:
    return Problem(bands_of(data), data.y, data.groups, engine=Engine(limits=Limits(threads=2)))


@pytest.fixture(scope="module")
def basis(problem: Problem) -> Basis:
    return problem.bands.basis(EQUAL)


def test_decomposition(benchmark, problem: Problem) -> None:
    found = benchmark(problem.bands.basis, EQUAL)
    assert len(found.values) == SIZE.columns


def test_left_out_blocks(benchmark, problem: Problem, basis: Basis) -> None:
    def blocks() -> int:
        return len(LeftOut(basis, problem.folds, problem.bold.dtype).blocks(1.0))

    assert benchmark(blocks) == SIZE.runs


def test_left_out_losses(benchmark, problem: Problem, basis: Basis) -> None:
    left = LeftOut(basis, problem.folds, problem.bold.dtype)
    left.blocks(1.0)
    loss = benchmark(lambda: left.loss(1.0, problem.bold, left.project(problem.bold)))
    assert np.isfinite(loss).all()


def test_refit(benchmark, problem: Problem) -> None:
    alpha = np.array(ALPHAS)[np.arange(SIZE.voxels) % len(ALPHAS)]
    choice = Choice(np.repeat(EQUAL[:, None], SIZE.voxels, axis=1), alpha, np.zeros(SIZE.voxels))
    coefficients = benchmark(refit, problem, choice, Hyperparameters(ALPHAS))
    assert coefficients.shape == (SIZE.columns, SIZE.voxels)


def test_voxel_p_of_1000_voxels(benchmark) -> None:
    rows = held_out_rows()
    plan = permutation_plan(rows, 1000, seed=0, question="specific")
    prediction, bold = np.random.default_rng(0).standard_normal((2, len(rows), 1000), dtype=np.float32)
    p = benchmark.pedantic(voxel_p, (plan, prediction, bold), rounds=3)
    assert 0.02 < np.mean(p < 0.05) < 0.09


@pytest.mark.parametrize("solver", [CLOSED_FORM, HIMALAYA])
def test_search_over_two_weightings(benchmark, data: Data, solver: str) -> None:
    model = BandedRidge(Hyperparameters(ALPHAS, GRID, exhaustive=True), Engine(solver, limits=Limits(threads=2)))
    with threadpool_limits(2):
        benchmark.pedantic(model.fit, (bands_of(data), data.y, data.groups), rounds=2)
    assert np.isfinite(model.choice_.score).all()
