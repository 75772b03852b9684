from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, folds_of, make_run, participant, voxel_scores

from ban_bids.encoding import design as design_module
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import Fitting, encode, slab_size
from ban_bids.encoding.matrices import fit_reduction
from ban_bids.encoding.planned import plan_indices
from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import offsets
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Run
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_components=6, n_band_weights=12, alphas=tuple(10.0**e for e in range(-3, 4)))
AREAS = ToyModel().layers


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def music_runs() -> list[Run]:
    """Three training runs and one that plays four clips three times."""
    training = [make_run(f"train{r}", [f"t{r}{i}" for i in range(12)], n_volumes=125) for r in range(3)]
    return [*training, make_run("test", [f"x{i}" for i in range(4)] * 3, n_volumes=125)]


PLAN = HeldOutPlan((("task-test",),), "named", "test")


def planted(runs: list[Run], snr: float, seed: int = 0) -> tuple[ParticipantData, np.ndarray]:
    """Voxel i responds to layer i through the lagged design itself; voxel 4 to nothing.

    Returns the participant and the variance of the signal among kept rows (1 unless silent).
    """
    rng = np.random.default_rng(seed)
    n_rows = sum(run.n_volumes for run in runs)
    noise = rng.standard_normal((n_rows, 5))
    empty = participant(runs, noise)
    made = design(empty, ToyModel(), PLAN, SETTINGS, Path("unused"))
    first = offsets(empty.runs)
    signal = np.zeros((n_rows, 5))
    for i, layer in enumerate(AREAS):
        fold = made.folds[0]
        training, held_out, *_ = fold.matrices(layer, empty.nuisance, first)
        weights = rng.standard_normal(training.shape[1])
        signal[fold.fold.training, i] = training @ weights
        signal[fold.fold.held_out, i] = held_out @ weights
        signal[:, i] /= signal[:, i].std()
    return participant(runs, signal * np.sqrt(snr) + noise), signal


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return music_runs()


def fitted(data: ParticipantData, made: Design, **options: object) -> dict[str, np.ndarray]:
    found = encode(data, made, SETTINGS, **options)
    return found.held_out.prediction


def test_planted_signal_is_recovered(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=4.0)
    made = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    assert made.dimensions == dict.fromkeys(AREAS, 6)
    found = encode(data, made, Fitting(SETTINGS))
    r, rsquare = {}, {}
    for name, prediction in found.held_out.prediction.items():
        r[name], rsquare[name] = voxel_scores(prediction, found.held_out.bold, made.rows, None)
        assert np.allclose(found.rsquare[name], rsquare[name], atol=1e-5)
    for i, layer in enumerate(AREAS):
        # a perfect prediction correlates by sqrt(4 / 5) = .89; 42 weights learnt from 375 rows cost some
        assert 0.75 < r[layer][i] < 0.95
        assert r["Joint"][i] > 0.7
        assert max(abs(r[other][i]) for other in AREAS if other != layer) < 0.45
        assert abs(r[layer][4]) < 0.3
        assert max(found.inner, key=lambda name: found.inner[name].mean(axis=0)[i] if name in AREAS else -9.0) == layer


def test_shares_sum_and_unique_variance_is_the_planted_layers(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=4.0)
    made = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    for repeats in (None, repeat_rows(made.rows)):
        found = encode(data, made, Fitting(SETTINGS), repeats=repeats)
        assert np.allclose(sum(found.share.values()), found.rsquare["Joint"], atol=1e-5)
        theirs = voxel_scores(found.held_out.prediction["Joint"], found.held_out.bold, made.rows, repeats)[1]
        assert np.allclose(found.rsquare["Joint"], theirs, atol=1e-5)
        for i, layer in enumerate(AREAS):
            assert found.unique[layer][i] > 0.4
            assert found.share[layer][i] > 0.4
            for other in set(AREAS) - {layer}:
                assert abs(found.unique[other][i]) < 0.05
        assert found.weights is not None
        assert found.weights.shape == (1, 4, 5)


def test_slabs_change_nothing(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=1.0)
    made = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    whole = encode(data, made, Fitting(SETTINGS))
    for voxels in (slice(1, 3), np.array([4, 0, 2])):
        part = encode(data, made, Fitting(SETTINGS), voxels=voxels)
        columns = np.arange(5)[voxels]
        for name, prediction in whole.held_out.prediction.items():
            assert np.allclose(part.held_out.prediction[name], prediction[:, columns], atol=1e-5)
            assert np.allclose(part.rsquare[name], whole.rsquare[name][columns], atol=1e-5)
    assert slab_size(made, SETTINGS) == SETTINGS.slab


def test_single_layer_only(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=1.0)
    made = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    both, single = encode(data, made, Fitting(SETTINGS)), encode(data, made, Fitting(SETTINGS), joint=False)
    assert set(single.held_out.prediction) == set(AREAS)
    assert not single.share and not single.unique and single.weights is None
    for layer in AREAS:
        assert np.array_equal(single.held_out.prediction[layer], both.held_out.prediction[layer])
    lone = ToyModel(layers=("Belt",))
    alone = encode(data, design(data, lone, PLAN, SETTINGS, Path("unused")), Fitting(SETTINGS))
    assert set(alone.held_out.prediction) == {"Belt"}


def test_matrices_are_centred_cleaned_and_of_unit_trace(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=1.0)
    made = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    for layer in AREAS:
        training, held_out, *_ = made.folds[0].matrices(layer, data.nuisance, offsets(data.runs))
        assert training.shape == (375, 6 * 7)
        assert np.trace(training @ training.T) / 375 == pytest.approx(1, rel=1e-4)
        assert np.abs(data.nuisance[3].basis.T @ held_out).max() < 1e-4
        assert np.abs(training[:125].mean(axis=0)).max() < 1e-5


def test_width_of_an_layer_does_not_matter_for_its_dimension() -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((40, 100)).astype(np.float32)
    reduction = fit_reduction(wide, 8)
    assert reduction.axes.shape == (100, 8)
    assert np.allclose(reduction.axes.T @ reduction.axes, np.eye(8), atol=1e-8)
    scores = reduction.apply(wide)
    scaled = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    expected = np.linalg.svd(scaled)[1][:8]
    assert np.allclose(np.linalg.norm(scores, axis=0), expected, rtol=1e-4)
    flat = np.hstack([wide[:, :3], np.ones((40, 4), np.float32)])
    assert fit_reduction(flat, 8).axes.shape[1] == 3
    assert fit_reduction(np.ones((40, 4), np.float32), 8).axes.shape[1] == 0


def test_a_deaf_layer_is_refused(runs: list[Run]) -> None:
    class Deaf(ToyModel):
        def frames(self, clip: object, layer: str) -> np.ndarray:
            return np.zeros((50, 3), np.float32)

    with pytest.raises(NotComputable, match="A1 do not vary"):
        design(participant(runs, np.ones((500, 1))), Deaf(), PLAN, SETTINGS, Path("unused"))


def test_held_out_bold_and_features_never_reach_the_fit(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=1.0)
    made = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    before = encode(data, made, Fitting(SETTINGS))
    # other BOLD in the held-out run: not one prediction changes
    bold = data.bold.copy()
    bold[375:] = np.random.default_rng(9).standard_normal((125, 5))
    after = encode(replace(data, bold=bold), made, Fitting(SETTINGS))
    for name, prediction in before.held_out.prediction.items():
        assert np.array_equal(prediction, after.held_out.prediction[name])
        assert np.array_equal(before.alpha[name], after.alpha[name])
    # other clips in the held-out run: training features, penalties and weights stay as they are
    swapped = [*runs[:3], make_run("test", [f"other{i}" for i in range(4)] * 3, n_volumes=125)]
    other, _ = planted(swapped, snr=1.0)
    other = replace(other, bold=data.bold, nuisance=data.nuisance)
    remade = design(other, ToyModel(), PLAN, SETTINGS, Path("unused"))
    first = offsets(data.runs)
    for layer in AREAS:
        was, now = (d.folds[0].matrices(layer, data.nuisance, first) for d in (made, remade))
        assert np.array_equal(was[0], now[0])
        assert not np.allclose(was[1], now[1])
    refit = encode(other, remade, Fitting(SETTINGS))
    for name in before.alpha:
        assert np.array_equal(before.alpha[name], refit.alpha[name])
    assert np.array_equal(before.weights, refit.weights)


def test_leave_one_run_out_fills_every_row(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=4.0)
    plan = HeldOutPlan(tuple((run.name,) for run in runs), "all", "train", leave_one_out=True)
    made = design(data, ToyModel(), plan, SETTINGS, Path("unused"))
    assert len(made.folds) == 4
    assert np.array_equal(made.index, np.arange(500))
    found = encode(data, made, Fitting(SETTINGS), joint=False)
    assert np.array_equal(found.held_out.bold, data.bold)
    for i, layer in enumerate(AREAS):
        assert voxel_scores(found.held_out.prediction[layer], data.bold, made.rows, None)[0][i] > 0.7


def test_groups_of_recordings_are_predicted() -> None:
    same = [make_run(f"r{r}", [f"t{i}" for i in range(12)], n_volumes=125) for r in range(3)]
    data = participant(same, np.random.default_rng(0).standard_normal((375, 3)))
    plan = HeldOutPlan(tuple((run.name,) for run in same), "all", "r", leave_one_out=True)
    made = design(data, ToyModel(), plan, SETTINGS, Path("unused"))
    assert any("groups of recordings" in note for note in folds_of(data, plan, SETTINGS).notes)
    found = encode(data, made, Fitting(SETTINGS))
    assert np.all(found.held_out.prediction["Joint"].std(axis=1) > 0)
    assert np.allclose(sum(found.share.values()), found.rsquare["Joint"], atol=1e-5)


def test_unusable_voxels_are_not_scored(runs: list[Run]) -> None:
    data, _ = planted(runs, snr=1.0)
    data.bold[:, 2] = 0
    data = replace(data, usable=np.array([True, True, False, True, True]))
    found = encode(data, design(data, ToyModel(), PLAN, SETTINGS, Path("unused")), Fitting(SETTINGS))
    for values in (*found.rsquare.values(), *found.share.values(), *found.unique.values()):
        assert np.array_equal(np.isnan(values), ~data.usable)
    assert np.all(found.held_out.prediction["Joint"][:, 2] == 0)


def test_plan_names_runs(runs: list[Run]) -> None:
    assert plan_indices(runs, PLAN) == [([3], [0, 1, 2])]
    with pytest.raises(DataError, match="task-missing"):
        plan_indices(runs, HeldOutPlan((("task-missing",),), "", ""))
    with pytest.raises(NotComputable, match="train"):
        plan_indices(runs, HeldOutPlan((tuple(run.name for run in runs),), "", ""))


def test_what_is_specific_to_clips_is_zero_over_all_their_orders() -> None:
    training = [make_run(f"train{r}", [f"t{r}{i}" for i in range(6)], n_volumes=65) for r in range(2)]
    noise = np.random.default_rng(0).standard_normal((2 * 65 + 38, 2))
    total, parts = 0.0, []
    for order in itertools.permutations(["x0", "x1", "x2"]):
        data = participant([*training, make_run("test", list(order), n_volumes=38)], noise)
        fold = design(data, ToyModel(), PLAN, SETTINGS, Path("unused")).folds[0]
        parts.append(fold.matrices(AREAS[0], data.nuisance, offsets(data.runs)).specific)
        total += parts[-1]
    assert np.abs(parts[0]).max() > 0.1
    np.testing.assert_allclose(total, 0, atol=1e-4)
