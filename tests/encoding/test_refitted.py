"""Inner folds on their own rows: errors are those of brute force, and what is chosen is what is best there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant

from ban_bids.encoding import design as design_module
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.cleaning import Part, Side
from ban_bids.encoding.fit import Fitting, choose_models, encode
from ban_bids.encoding.ridge.backend import HIMALAYA, Engine
from ban_bids.encoding.ridge.bands import Bands, FeatureBands, KernelBands
from ban_bids.encoding.ridge.closed_form import Problem
from ban_bids.encoding.ridge.hyperparameters import Hyperparameters
from ban_bids.encoding.ridge.refitted import OwnRows
from ban_bids.encoding.ridge.solvers import BandedRidge
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.settings import Encoding

ALPHAS = (0.1, 1.0, 10.0)
N = 90


def orthonormal(rng: np.random.Generator, rows: int, k: int = 3) -> np.ndarray:
    return np.linalg.qr(np.column_stack([np.ones(rows), rng.standard_normal((rows, k))]))[0]


def sides() -> tuple[tuple[Side, Side], ...]:
    """Three inner folds of two runs' rows, each side with a basis of its own in each run."""
    rng = np.random.default_rng(5)
    folds = []
    for g in range(3):
        validation = np.r_[15 * g : 15 * g + 12, 45 + 15 * g : 45 + 15 * g + 12]
        training = np.setdiff1d(np.arange(N), np.r_[15 * g : 15 * g + 15, 45 + 15 * g : 45 + 15 * g + 15])
        pair = []
        for rows in (training, validation):
            half = len(rows) // 2
            parts = [Part(s, orthonormal(rng, half), half - 4) for s in (slice(0, half), slice(half, 2 * half))]
            pair.append(Side(rows, tuple(parts)))
        folds.append((pair[0], pair[1]))
    return tuple(folds)


def own(values: np.ndarray, side: Side, scale: bool = False) -> np.ndarray:
    out = values[side.rows].copy()
    for part in side.parts:
        rows = out[part.place]
        rows -= part.basis @ np.linalg.lstsq(part.basis, rows, rcond=None)[0]
        if scale:
            rows /= np.sqrt((rows**2).sum(axis=0) / part.degrees)
    return out


def brute_errors(layers: list[np.ndarray], weights: np.ndarray, alpha: float, bold: np.ndarray) -> np.ndarray:
    loss = np.zeros(bold.shape[1])
    for training, validation in sides():
        x, new = (np.hstack([own(a, s) * np.sqrt(w) for a, w in zip(layers, weights)]) for s in (training, validation))
        solved = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ own(bold, training, scale=True))
        loss += np.mean((own(bold, validation, scale=True) - new @ solved) ** 2, axis=0) / 3
    return loss


@pytest.mark.parametrize(("kernel", "p"), [(False, 4), (False, 60), (True, 10)], ids=["primal", "dual", "kernels"])
def test_errors_are_those_of_brute_force(kernel: bool, p: int) -> None:
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((N, p)) for _ in range(2)]
    bold = rng.standard_normal((N, 7)) + layers[0][:, :1] * 2
    bands: Bands = KernelBands([a @ a.T for a in layers]) if kernel else FeatureBands(layers)
    problem = Problem(bands, bold, OwnRows(bands, sides()))
    for weights in (np.array([0.5, 0.5]), np.array([1.0, 0.0])):
        left = problem.left_out(problem.decompose(weights))
        for alpha in ALPHAS:
            found = left.loss(alpha, bold, left.project(bold))
            np.testing.assert_allclose(found, brute_errors(layers, weights, alpha, bold), rtol=1e-8)


@pytest.mark.parametrize("solver", ["closed-form", HIMALAYA])
def test_the_choice_is_the_best_of_brute_force(solver: str) -> None:
    rng = np.random.default_rng(1)
    layers = [rng.standard_normal((N, 6)) for _ in range(2)]
    bold = rng.standard_normal((N, 9)) + layers[0][:, :1] * rng.uniform(0, 2, 9)
    grid = np.array([[0.5, 0.5], [1, 0], [0, 1]])
    bands = FeatureBands(layers)
    ridge = BandedRidge(Hyperparameters(ALPHAS, grid, exhaustive=True), Engine(solver))
    choice = ridge.fit(bands, bold, OwnRows(bands, sides())).choice_
    points = list(itertools.product(grid, ALPHAS))
    table = np.stack([brute_errors(layers, weights, alpha, bold) for weights, alpha in points])
    np.testing.assert_allclose(choice.score, -table.min(axis=0), rtol=1e-8)
    for v, best in enumerate(table.argmin(axis=0)):
        np.testing.assert_allclose(choice.weights[:, v], points[best][0])
        assert choice.alpha[v] == pytest.approx(points[best][1])


def shared(seed: int = 0, n_voxels: int = 12) -> ParticipantData:
    """The same ten clips in both runs, in other orders; voxels have a response of their own to every clip."""
    rng = np.random.default_rng(seed)
    runs = [make_run(f"r{r}", [f"t{i}" for i in rng.permutation(10)], n_volumes=100) for r in range(2)]
    tracks = sorted({item.clip.track for run in runs for item in run.presentations})
    response = {track: rng.standard_normal((10, n_voxels)) for track in tracks}
    signal = np.concatenate([response[item.clip.track] for run in runs for item in run.presentations])
    return participant(runs, 2 * signal + rng.standard_normal((200, n_voxels)))


SETTINGS = Encoding(n_components=6, n_band_weights=9, alphas=tuple(10.0**e for e in range(-2, 5)))
EACH = HeldOutPlan((("task-r0",), ("task-r1",)), "all", "r", leave_one_out=True)


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def test_unrelated_features_explain_nothing_of_left_out_rows() -> None:
    # BOLD of both runs agrees, features know nothing of it: an inner error under that of predicting 0 is a leak
    errors = []
    for seed in range(8):
        data = shared(seed)
        made = design(data, ToyModel(name=f"toy{seed}", layers=("A1",)), EACH, SETTINGS, Path("unused"))
        assert not any(fold.fold.whole_runs for fold in made.folds)
        zero = []
        for fold in made.folds:
            side = fold.fold.training_side
            bold = side.standardise(data.bold[side.rows])
            zero += [np.mean(judged.standardise(bold[judged.rows]) ** 2) for _, judged in fold.fold.sides]
        errors.append(-encode(data, made, Fitting(SETTINGS)).inner["A1"].mean() / np.mean(zero))
    # the best of seven penalties: a little under 1 by choosing, .83 where the sides were cleaned together
    assert np.mean(errors) > 0.95


def test_held_out_rows_change_neither_choice_nor_prediction() -> None:
    data = shared()
    model = ToyModel(layers=("A1", "Belt"))
    made = design(data, model, EACH, SETTINGS, Path("unused"))
    before = encode(data, made, Fitting(SETTINGS))
    bold = data.bold.copy()
    held_out = made.folds[0].fold.held_out
    bold[held_out] += np.random.default_rng(9).standard_normal((len(held_out), bold.shape[1])).astype(np.float32)
    changed = ParticipantData(**{**vars(data), "bold": bold})
    after = encode(changed, made, Fitting(SETTINGS))
    rows = np.flatnonzero(made.rows.fold == 0)
    for name in ("A1", "Belt", "Joint"):
        np.testing.assert_allclose(after.inner[name][0], before.inner[name][0], rtol=1e-6)
        np.testing.assert_array_equal(after.alpha[name][0], before.alpha[name][0])
        there, was = (found.held_out.prediction[name][rows] for found in (after, before))
        np.testing.assert_allclose(there, was, atol=1e-5)
    assert not np.allclose(after.held_out.bold[rows], before.held_out.bold[rows], atol=0.1)


def test_choosing_for_all_voxels_at_once_changes_nothing() -> None:
    data = shared()
    made = design(data, ToyModel(layers=("A1", "Belt")), EACH, SETTINGS, Path("unused"))
    choices = choose_models(data, made, Fitting(SETTINGS), voxels=np.arange(data.bold.shape[1]))
    one, other = (encode(data, made, Fitting(SETTINGS), choices=c) for c in (None, choices))
    for name, prediction in one.held_out.prediction.items():
        np.testing.assert_allclose(other.held_out.prediction[name], prediction, atol=1e-5)
