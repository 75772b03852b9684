from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, folds_of, make_run, participant

from ban_bids.app.scored import prepare_participant, score_model
from ban_bids.encoding import design as design_module
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.cleaning import nuisance_basis
from ban_bids.encoding.design import Design, bin_run
from ban_bids.encoding.fit import Fitting, choose_models, encode, slab_size
from ban_bids.encoding.matrices import KernelFold
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.rows import offsets
from ban_bids.encoding.timeline import lags
from ban_bids.errors import DiskFull, NotComputable
from ban_bids.files.hashing import digest
from ban_bids.files.npz import scratch_array
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.models.candidate import mapping_by_name
from ban_bids.settings import Encoding

KERNELS = Encoding(n_components=0, n_band_weights=9, alphas=tuple(10.0**e for e in range(-2, 4)))
AREAS = ToyModel().layers
PLAN = HeldOutPlan((("task-test",),), "named", "test")
EACH = HeldOutPlan((("task-test",), ("task-train0",)), "all", "test", leave_one_out=True)


class Uneven(ToyModel):
    """Each layer with a feature more than the one before it, of different spreads, one of them flat."""

    def frames(self, clip: object, layer: str) -> np.ndarray:
        whole = super().frames(clip, layer) * np.arange(1, self.n_features + 1)
        whole[:, 1] = 3.0
        return whole[:, : 3 + self.layers.index(layer)].astype(np.float32)


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def listened(tr: float = 1.5, test: str = "x", gap: float = 0.0, n_voxels: int = 3) -> ParticipantData:
    """Two training runs and one to be held out; lead-ins, a track on both sides, volumes left out."""
    kinds = {"tr": tr, "gap": gap, "lead_in": True, "n_volumes": int(7 * (15 + gap) / tr)}
    runs = [make_run(f"train{r}", [f"t{r}{i}" for i in range(7)], **kinds) for r in range(2)]
    runs[1] = make_run("train1", ["t10", f"{test}1", *[f"t1{i}" for i in range(2, 7)]], **kinds)
    runs.append(make_run("test", [f"{test}{i}" for i in (2, 0, 1, 2, 0, 1)], **kinds))
    rng = np.random.default_rng(3)
    data = participant(runs, rng.standard_normal((sum(run.n_volumes for run in runs), n_voxels)))
    keep = np.ones(runs[0].n_volumes, dtype=bool)
    keep[[0, 1, 17, 18, 40]] = False
    heard = replace(data.runs[0], rows=replace(data.runs[0].rows, keep=keep))
    cleaned = nuisance_basis(rng.standard_normal((len(keep), 4)), tr, 200.0, keep=keep)
    return replace(data, runs=(heard, *data.runs[1:]), nuisance=(cleaned, *data.nuisance[1:]))


def made_of(data: ParticipantData, settings: Encoding = KERNELS, plan: HeldOutPlan = PLAN, **model: object) -> Design:
    return design(data, Uneven(**model), plan, settings, Path("unused"))


def laid_out(
    data: ParticipantData, fold: KernelFold, layer: str, lag_step: float = KERNELS.lag_step
) -> list[np.ndarray]:
    """Lagged, cleaned and scaled features as they were before there were kernels, float64, by other means."""
    store = ToyStore(Uneven(), Path())
    delays = lags(data.runs[0].rows.repetition_time, KERNELS.lag_max, lag_step)
    binned = [bin_run(run, store, layer, delays=delays) for run in data.runs]
    common = [bin_run(run, store, layer, delays=delays, mean_clip=True) for run in data.runs]
    now = np.vstack([run.bins[run.index[:, 0]] for run in binned]).astype(float)[fold.fold.training]
    varies = now.std(axis=0) > 1e-6
    mean, spread = now.mean(axis=0)[varies], now.std(axis=0)[varies]
    lagged, specific = [], []
    for r, run in enumerate(binned):
        z = (run.bins[:, varies] - mean) / spread
        lagged.append(z[run.index].reshape(len(run.index), -1))
        own = (run.bins - common[r].bins)[:, varies] / spread
        specific.append(own[run.index].reshape(len(run.index), -1))
    whole, only = np.vstack(lagged), np.vstack(specific)
    training = cleaned_alone(data, whole, fold.fold.training)
    scale = np.sqrt(np.mean((training**2).sum(axis=1)))
    held_out = fold.fold.held_out
    rows = [training, cleaned_alone(data, whole, held_out), whole[held_out], only[held_out], whole[fold.fold.training]]
    return [values / scale for values in rows]


def cleaned_alone(data: ParticipantData, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Least squares on some rows, run by run; 0 where rows are not fitted."""
    out, first = np.zeros_like(values), offsets(data.runs)
    for r, nuisance in enumerate(data.nuisance):
        here = rows[(rows >= first[r]) & (rows < first[r + 1])]
        here = here[nuisance.keep[here - first[r]]]
        basis = nuisance.basis[here - first[r]]
        out[here] = values[here] - basis @ np.linalg.lstsq(basis, values[here], rcond=None)[0]
    return out[rows]


@pytest.mark.parametrize(
    ("tr", "lag_step", "plan"),
    [(1.5, 2.0, PLAN), (2.5, 2.0, PLAN), (2.5, 0.7, PLAN), (1.5, 2.0, EACH)],
    ids=["lags on the grid", "lags off the grid", "lags finer than a TR", "two folds"],
)
def test_kernels_of_shifts_are_products_of_lagged_features(tr: float, lag_step: float, plan: HeldOutPlan) -> None:
    data = listened(tr)
    settings = replace(KERNELS, lag_step=lag_step)
    made = made_of(data, settings, plan)
    assert len(made.folds) == len(plan.folds)
    assert any("rows dropped" in note for note in folds_of(data, plan, settings).notes)
    for fold in made.folds:
        assert isinstance(fold, KernelFold)
        for layer in (AREAS[0], AREAS[3]):
            found = fold.matrices(layer, data.nuisance, offsets(data.runs))
            training, *others, raw = laid_out(data, fold, layer, lag_step)
            assert (found.inner is None) == fold.fold.whole_runs
            if found.inner is not None:
                np.testing.assert_allclose(found.inner, raw @ raw.T, atol=1e-4)
            for kernel, rows in zip(found, [training, *others]):
                expected = rows @ training.T
                assert kernel.dtype == np.float32
                assert np.linalg.norm(kernel - expected) < 1e-6 * np.linalg.norm(expected)
            assert np.trace(found[0], dtype=float) / len(training) == pytest.approx(1, abs=1e-6)
            assert not np.allclose(found.held_out, found.specific, atol=0.01)
            assert not np.allclose(found.whole, found.specific, atol=0.01)


def test_tracks_of_one_run_on_both_sides_and_rest_between_clips() -> None:
    runs = [make_run(f"r{r}", [f"t{i}" for i in range(6)], n_volumes=120, gap=15.0) for r in range(2)]
    data = participant(runs, np.random.default_rng(0).standard_normal((240, 2)))
    plan = HeldOutPlan((("task-r0",), ("task-r1",)), "all", "r", leave_one_out=True)
    made = made_of(data, replace(KERNELS, min_training_rows=60), plan)
    assert len(made.folds) > 2
    for fold in made.folds:
        rows = laid_out(data, fold, "PB")
        kernels = fold.matrices("PB", data.nuisance, offsets(data.runs))
        for kernel, laid in zip(kernels[:4], rows[:4], strict=True):
            np.testing.assert_allclose(kernel, laid @ rows[0].T, atol=1e-5)
        np.testing.assert_allclose(kernels.inner, rows[4] @ rows[4].T, atol=1e-4)


@pytest.mark.parametrize("plan", [PLAN, EACH], ids=["one fold", "two folds"])
def test_predictions_are_those_of_all_components(plan: HeldOutPlan) -> None:
    data = listened(n_voxels=6)
    # a rotation of all features changes no kernel
    features, kernels = (
        design(data, ToyModel(), plan, replace(KERNELS, n_components=k), Path("unused")) for k in (6, 0)
    )
    assert features.dimensions == kernels.dimensions == dict.fromkeys(AREAS, 6)
    assert features.notes == kernels.notes
    was, now = (encode(data, made, Fitting(KERNELS)) for made in (features, kernels))
    for name in (*AREAS, "Joint"):
        assert np.abs(was.held_out.prediction[name]).max() > 0.01
        np.testing.assert_array_equal(now.alpha[name], was.alpha[name])
        np.testing.assert_allclose(now.inner[name], was.inner[name], rtol=1e-4)
        np.testing.assert_allclose(now.held_out.prediction[name], was.held_out.prediction[name], atol=2e-4)
        np.testing.assert_allclose(now.held_out.specific[name], was.held_out.specific[name], atol=2e-4)
    assert was.weights is not None and now.weights is not None
    np.testing.assert_allclose(now.weights, was.weights, atol=1e-6)
    for layer in AREAS:
        np.testing.assert_allclose(now.share[layer], was.share[layer], atol=1e-4)
        np.testing.assert_allclose(now.unique[layer], was.unique[layer], atol=1e-4)


def test_choices_for_all_voxels_and_slabs_change_nothing() -> None:
    data = listened(n_voxels=6)
    made = made_of(data)
    whole = encode(data, made, Fitting(KERNELS))
    choices = choose_models(data, made, Fitting(KERNELS), voxels=np.arange(6))
    own = [{name: choice.of(slice(2, 5)) for name, choice in fold.items()} for fold in choices]
    some = encode(data, made, Fitting(KERNELS), voxels=slice(2, 5), choices=own)
    for name, prediction in whole.held_out.prediction.items():
        np.testing.assert_allclose(some.held_out.prediction[name], prediction[:, 2:5], atol=1e-5)
    for layer in AREAS:
        np.testing.assert_allclose(some.unique[layer], whole.unique[layer][2:5], atol=1e-5)
    n = len(made.folds[0].fold.training)
    memory = 2**24
    assert slab_size(made, KERNELS, Limits(memory)) == memory // 4 // (4 * (25 * 70 + n) + 16 * n)


def test_held_out_clips_change_no_training_kernel() -> None:
    training = [make_run(f"train{r}", [f"t{r}{i}" for i in range(7)], n_volumes=70) for r in range(2)]
    found = []
    for test in ("x", "longer"):
        runs = [*training, make_run("test", [f"{test}{i}" for i in range(3)] * 2, n_volumes=70)]
        data = participant(runs, np.ones((210, 1)))
        fold = made_of(data).folds[0]
        assert len(fold.fold.training) == 140
        found.append([fold.matrices(layer, data.nuisance, offsets(data.runs)) for layer in AREAS])
    for before, after in zip(*found):
        np.testing.assert_array_equal(before[0], after[0])
        assert not np.allclose(before[1], after[1], atol=0.01)


def test_kernels_on_disk_are_those_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = listened()
    in_memory = made_of(data)
    monkeypatch.setattr(design_module, "_IN_MEMORY_BYTES", 0)
    on_disk = design(data, Uneven(), PLAN, KERNELS, tmp_path)
    assert list(tmp_path.iterdir()) == []  # their file has no name
    for layer in AREAS:
        was, now = (made.folds[0].matrices(layer, (), np.zeros(0)) for made in (in_memory, on_disk))
        assert [type(kernel) for kernel in now[:4]] == [np.memmap] * 4
        assert all(np.array_equal(a, b) for a, b in zip(was[:4], now[:4]))
    # resuming rests on a hash of the design: it holds the kernels
    assert digest(in_memory) == digest(on_disk)
    on_disk.folds[0].matrices("A1", (), np.zeros(0))[0][3, 4] += 0.01
    assert digest(in_memory) != digest(on_disk)


def test_a_full_disk_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DiskFull, match=f"{tmp_path}: the disk is full .*No space left.* 186.9 MiB wanted"):
        scratch_array((7000, 7000), tmp_path, 2**20)


def test_scores_are_those_of_all_components_and_are_kept(tmp_path: Path) -> None:
    data = listened(n_voxels=8)
    data = replace(data, region=np.repeat(np.arange(1, 5, dtype=np.int16), 2))
    found = []
    for n_components in (6, 0):
        settings = replace(KERNELS, n_components=n_components, n_permutations=1000, n_bootstrap=20)
        laid = design(data, ToyModel(), PLAN, settings, Path("unused"))
        ready = prepare_participant(data, PLAN, Fitting(settings, 0), folder=tmp_path)
        found.append(score_model(ready, laid, mapping_by_name(laid.layers)))
        kept = {path.name for path in tmp_path.iterdir()}
        again = score_model(ready, laid, mapping_by_name(laid.layers))
        assert {path.name for path in tmp_path.iterdir()} == kept
        assert digest(again.maps) == digest(found[-1].maps)
    assert found[0].maps.keys() == found[1].maps.keys()
    for name, values in found[0].maps.items():
        if name[1] in ("r", "rsquare", "share", "unique", "pspecific"):
            np.testing.assert_allclose(found[1].maps[name], values, atol=1e-3)


def test_layers_of_different_dimension_are_told_of() -> None:
    data = listened()
    made = made_of(data)
    assert made.dimensions == {"A1": 2, "Belt": 3, "PB": 4, "T2T3": 5}  # less the flat one
    assert "not matched in number (A1 2, Belt 3, PB 4, T2T3 5); --n-components N matches" in made.notes[-1]
    matched = made_of(data, replace(KERNELS, n_components=64))
    assert matched.dimensions == dict.fromkeys(AREAS, 2)
    assert not any("matched" in note for note in matched.notes)
    assert (
        "reduced to 2 of 64 components, for A1 has no more" in matched.notes[0] and "leave A1 out" in matched.notes[0]
    )
    assert made_of(data, replace(KERNELS, n_components=2)).notes == ()  # as was asked for
    assert made_of(data, replace(KERNELS, n_components=3)).notes == ()  # little is lost


def test_a_deaf_layer_is_refused() -> None:
    class Deaf(ToyModel):
        def frames(self, clip: object, layer: str) -> np.ndarray:
            return np.zeros((50, 3), np.float32)

    with pytest.raises(NotComputable, match="A1 do not vary"):
        design(listened(), Deaf(), PLAN, KERNELS, Path("unused"))
