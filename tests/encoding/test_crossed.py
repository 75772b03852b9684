"""Leave-one-run-out: the crossing factor against relabelling and refitting, and one case by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, folds_of, make_run, participant
from nulls import ALPHAS, Setting, laid_out, roi_null, runs_of

from ban_bids.app.scored import prepare_participant, score_model
from ban_bids.constants import AREAS, JOINT
from ban_bids.encoding import design as design_module
from ban_bids.encoding import execute
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.crossed import CrossingFactor, _longest_clip, crossing_factors, folds_cross, shifted_voxels
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import Fitting, encode, slab_size
from ban_bids.encoding.permutation import CROSSED, SPECIFIC, PermutationPlan, permutation_plan
from ban_bids.encoding.ridge.backend import Engine
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.significance import relative_distance, roi_p, voxel_p
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Run
from ban_bids.models.candidate import mapping_by_name
from ban_bids.settings import Encoding


def factor_of(
    data: ParticipantData, made: Design, plan: PermutationPlan, fitting: Fitting, **more: int
) -> CrossingFactor:
    """The factor of the first layer."""
    return crossing_factors(data, made, {plan.question: plan}, fitting=fitting, **more)[plan.question, "A1"]


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def relabelled(run: Run, rng: np.random.Generator) -> Run:
    """The run's clips in another order: the same where the run trains and where it is held out."""
    clips = [run.presentations[i].clip for i in rng.permutation(len(run.presentations))]
    return replace(
        run,
        presentations=tuple(replace(item, clip=clip) for item, clip in zip(run.presentations, clips)),
    )


def test_with_the_factor_five_percent_of_relabellings_with_refits_have_p_under_05() -> None:
    setting = Setting(n_voxels=200, n_runs=3, n_permutations=500)
    data, made, plan = laid_out(0, setting)
    factor = factor_of(data, made, plan, Fitting(setting.encoding, 0)).voxels
    rng = np.random.default_rng(1)
    new, old, none = [], [], []
    for _ in range(20):
        runs = [relabelled(run, rng) for run in data.sources]
        moved = replace(participant(runs, data.bold), bold=data.bold, nuisance=data.nuisance)
        plan_of_runs = HeldOutPlan(tuple((run.name,) for run in runs), "named", "t", True)
        refit = design(moved, setting.model, plan_of_runs, setting.encoding, Path("unused"))
        held = encode(moved, refit, Fitting(setting.encoding), joint=False).held_out
        for shares, tried in ((new, factor), (old, CROSSED), (none, 1.0)):
            shares.append(np.mean(voxel_p(plan, held.specific["A1"], held.bold, factor=tried) < 0.05))
    assert CROSSED + 0.03 < factor < 0.95
    assert np.mean(new) == pytest.approx(0.05, abs=0.013)
    assert np.mean(old) < 0.036
    assert np.mean(none) > 0.075


def one_parameter(n_runs: int) -> tuple[ParticipantData, Design, PermutationPlan, Encoding]:
    """One feature, one lag: a fold's prediction is that feature, up or down."""
    settings = Encoding(n_components=1, alphas=(1.0,), lag_max=0.1)
    runs = runs_of("back-to-back", n_runs)
    n = sum(run.n_volumes for run in runs)
    data = participant(runs, np.random.default_rng(0).standard_normal((n, 300)))
    held_out = HeldOutPlan(tuple((run.name,) for run in runs), "named", "t", True)
    made = design(data, ToyModel(layers=("A1",), n_features=1), held_out, settings, Path("unused"))
    return data, made, permutation_plan(made.rows, 1000, 0, question=SPECIFIC, crossed=True), settings


@pytest.mark.parametrize("n_runs", [3, 6])
def test_one_parameter_has_the_factor_of_sums_of_signed_normals(n_runs: int) -> None:
    data, made, plan, settings = one_parameter(n_runs)
    factor = factor_of(data, made, plan, Fitting(settings, 0), n_shifted=4000).voxels
    # fold r's statistic is b_r times the sign of the other runs' sum; permuted, it is normal
    slopes = np.random.default_rng(1).standard_normal((400_000, n_runs))
    others = slopes.sum(axis=1, keepdims=True) - slopes
    pooled = np.sum(slopes * np.sign(others), axis=1)
    expected = 1.6449 * np.sqrt(n_runs) / np.quantile(pooled, 0.95)
    assert factor == pytest.approx(expected, abs=0.04)


def test_memory_changes_no_factor() -> None:
    setting = Setting(n_voxels=100, n_runs=3)
    data, made, plan = laid_out(0, setting)
    little, much = (Engine(limits=Limits(memory)) for memory in (2**20, 2**32))
    assert slab_size(made, setting.encoding, little.limits) < 600
    found = [
        factor_of(data, made, plan, Fitting(setting.encoding, 0, engine), n_shifted=600).voxels
        for engine in (little, much)
    ]
    assert CROSSED < found[0] < 1
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_strong_responses_in_other_voxels_never_raise_the_factor_much() -> None:
    quiet, loud = Setting(n_voxels=100), Setting(n_voxels=100, first=70, tuned=3.0)
    found = []
    for setting in (quiet, loud):
        data, made, plan = laid_out(0, setting)
        found.append(factor_of(data, made, plan, Fitting(setting.encoding, 0)).voxels)
    assert CROSSED <= found[1] < found[0] + 0.04
    assert found[1] > CROSSED + 0.02  # nor do they spoil it: shifted, they hear nothing


def test_shifted_voxels_are_rolled_over_the_scored_rows_of_each_run() -> None:
    runs = [make_run(f"r{r}", [f"t{r}{i}" for i in range(6)], n_volumes=70, lead_in=True) for r in range(2)]
    data = participant(runs, np.random.default_rng(0).standard_normal((140, 5)))
    usable = np.array([True, True, False, True, True])
    data = replace(data, usable=usable, nuisance=tuple(replace(n, basis=n.basis[:, :0]) for n in data.nuisance))
    voxels = np.array([0, 1, 3, 4] * 3)[:11]
    shifted = shifted_voxels(data, voxels, 1, 10, np.random.default_rng(3))
    assert shifted.bold.shape == (140, 11) and shifted.usable.all() and not shifted.region.any()
    sources = []
    for r in range(2):
        scored = data.runs[r].rows.scored
        before, after = (x[70 * r : 70 * r + 70] for x in (data.bold, shifted.bold))
        for v in range(11):
            rolled = [
                (u, k)
                for u in np.flatnonzero(usable)
                for k in range(10, scored.sum() - 9)
                if np.array_equal(np.roll(before[scored, u], k), after[scored, v])
            ]
            assert len(rolled) == 1
            np.testing.assert_array_equal(after[~scored, v], before[~scored, rolled[0][0]])
            sources.append((r, v, *rolled[0]))
    assert {u for _, _, u, _ in sources} == {0, 1, 3, 4}
    assert len({k for *_, k in sources}) > 8


def test_the_longest_clip_is_of_volumes_that_were_taken() -> None:
    rows = HeldOutRows(
        run=np.array([0, 0, 0, 0, 0, 1, 1, 1]),
        volume=np.array([0, 1, 2, 3, 4, 0, 1, 2]),
        clip=np.array([0, 0, -1, 1, 1, 0, 0, 0]),
        presentation=np.array([0, 0, -1, 1, 1, 0, 0, 0]),
        position=np.array([380, 381, -1, 0, 1, 0, 1, 2]),  # the first clip began before its run
        scored=np.ones(8, bool),
        fold=np.zeros(8, int),
    )
    assert _longest_clip(rows) == 3
    assert _longest_clip(replace(rows, position=np.full(8, -1))) == 1


def test_voxels_of_a_region_are_shifted_alike() -> None:
    runs = runs_of("back-to-back", 2)
    n = sum(run.n_volumes for run in runs)
    data = participant(runs, np.repeat(np.random.default_rng(0).standard_normal((n, 1)), 6, axis=1))
    shifted = shifted_voxels(data, np.arange(6), 3, 10, np.random.default_rng(0)).bold
    for first in (0, 3):
        np.testing.assert_array_equal(shifted[:, first], shifted[:, first + 2])
    assert not np.allclose(shifted[:, 0], shifted[:, 3])


def test_whether_folds_cross_follows_from_their_rows() -> None:
    runs = runs_of("back-to-back", 4)
    data = participant(runs, np.random.default_rng(0).standard_normal((sum(run.n_volumes for run in runs), 3)))
    names = [(run.name,) for run in runs]
    for folds, in_turn in ((tuple(names), True), ((names[0],), False), ((names[0], names[1]), False)):
        plan = HeldOutPlan(folds, "named", "t", in_turn)
        assert folds_cross(folds_of(data, plan, Encoding())) is in_turn


def test_the_unit_of_distance_is_where_p_is_five_percent() -> None:
    _, made, plan = laid_out(0, Setting(n_voxels=60))
    rng = np.random.default_rng(0)
    prediction, bold = rng.standard_normal((2, len(made.rows), 400)).astype(np.float32)
    bold[:, ::2] += 0.09 * prediction[:, ::2]
    prediction[:, 5] = 0
    distance = relative_distance(plan, prediction, bold)
    p = voxel_p(plan, prediction, bold, factor=1.0)
    assert np.isnan(distance[5]) and np.isnan(p[5])
    clear = np.isfinite(p) & (np.abs(p - 0.05) > 0.002)
    np.testing.assert_array_equal(distance[clear] > 1, p[clear] < 0.05)
    assert 40 < np.sum(p < 0.05) < 300


def test_folds_that_are_not_crossed_have_no_factor() -> None:
    setting = Setting(crossed=False, n_runs=4)
    data, made, plan = laid_out(0, setting)
    assert crossing_factors(data, made, {SPECIFIC: plan}, fitting=Fitting(setting.encoding, 0)) == {}
    held = encode(data, made, Fitting(setting.encoding), joint=False).held_out
    one, other = (voxel_p(plan, held.specific["A1"], held.bold, factor=factor) for factor in (0.1, 1.0))
    np.testing.assert_array_equal(one, other)


def test_a_scored_model_uses_the_factors_and_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Encoding(n_components=3, n_band_weights=3, alphas=ALPHAS[1::2], n_permutations=1000, n_bootstrap=20)
    runs = runs_of("back-to-back", 3)
    n = sum(run.n_volumes for run in runs)
    data = participant(runs, np.random.default_rng(0).standard_normal((n, 40)))
    data = replace(data, region=np.repeat([0, 1, 2, 3, 4], 8).astype(np.int16))
    held_out = HeldOutPlan(tuple((run.name,) for run in runs), "named", "t", True)
    laid = design(data, ToyModel(), held_out, settings, Path("unused"))
    ready = prepare_participant(data, held_out, Fitting(settings, 0), folder=tmp_path)
    tests = ready.tests
    assert set(tests.plans) == {SPECIFIC} and "rest" in tests.reasons["psound"]
    found = score_model(ready, laid, mapping_by_name(AREAS))
    assert set(found.factors) == {(SPECIFIC, layer) for layer in AREAS}
    held = encode(data, laid, Fitting(settings)).held_out
    plan = tests.plans[SPECIFIC]
    for name in (*AREAS, JOINT):
        factor = found.factors.get((SPECIFIC, name), CrossingFactor())
        p = voxel_p(plan, held.specific[name], held.bold, factor=factor.voxels)
        fitted = (data.region > 0) | (name != JOINT)  # layers are fitted together in the regions only
        assert (np.isfinite(found.maps[name, "pspecific"]) == fitted).all()
        np.testing.assert_allclose(found.maps[name, "pspecific"][fitted], p[fitted], atol=2e-3)
        if name != JOINT:
            observed, null = roi_null(plan, held.specific[name], held.bold, labels=data.region, factor=factor.regions)
            given = [test.p for test in found.tests if (test.question, test.layer) == (SPECIFIC, name)]
            np.testing.assert_allclose(given, roi_p(observed, null), atol=2e-3)

    def refuse(*_: object, **__: object) -> dict[str, float]:
        raise AssertionError("found before")

    monkeypatch.setattr(execute, "crossing_factors", refuse)
    again = score_model(ready, laid, mapping_by_name(AREAS))
    assert again.factors == found.factors
    np.testing.assert_array_equal(again.maps[JOINT, "pspecific"], found.maps[JOINT, "pspecific"])
