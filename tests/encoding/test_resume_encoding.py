"""A run that is killed in the middle of encoding goes on after the last finished slab, to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant

import ban_bids.app.scored as app
from ban_bids.app.scored import (
    PreparedParticipant,
    finished_batches,
    prepare_participant,
    score_control,
)
from ban_bids.constants import JOINT
from ban_bids.encoding import design as design_module
from ban_bids.encoding import execute
from ban_bids.encoding import fit as fit_module
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.design import Design
from ban_bids.encoding.finished import Finished, forget
from ban_bids.encoding.fit import Fitting, FoldModels, choose_models, encode
from ban_bids.encoding.ridge.backend import Engine
from ban_bids.encoding.ridge.bands import FeatureBands
from ban_bids.encoding.ridge.closed_form import Problem
from ban_bids.encoding.ridge.hyperparameters import Hyperparameters
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.ridge.solvers import BandedRidge
from ban_bids.files.hashing import digest
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.models.candidate import mapping_by_name
from ban_bids.scoring.voxels import ScoredModel
from ban_bids.settings import Encoding

SETTINGS = Encoding(
    n_components=3, n_band_weights=3, alphas=(0.1, 10.0), n_permutations=200, n_bootstrap=20, slab=256, joint=True
)  # fmt: skip
"""With ``joint`` all voxels are fitted in one pass."""

PLAN = HeldOutPlan((("task-test",),), "named", "test")
N_VOXELS = 600  # three slabs


class Killed(Exception):
    """Stands for a process that is killed."""


def listened() -> ParticipantData:
    runs = [make_run(f"train{r}", [f"t{r}{i}" for i in range(5)], n_volumes=55) for r in range(2)]
    runs.append(make_run("test", [f"x{i}" for i in range(7)] * 2, n_volumes=145))
    n_rows = sum(run.n_volumes for run in runs)
    data = participant(runs, np.random.default_rng(1).standard_normal((n_rows, N_VOXELS)))
    region = np.random.default_rng(2).integers(0, 5, N_VOXELS).astype(np.int16)
    usable = np.ones(N_VOXELS, dtype=bool)
    usable[300] = False
    return replace(data, region=region, usable=usable)


def prepared(
    folder: Path | None, fingerprint: int = 0, settings: Encoding = SETTINGS
) -> tuple[PreparedParticipant, Design]:
    """Arguments of `score_model`; ``fingerprint`` changes the model's features."""
    data = listened()
    laid = design(data, ToyModel(n_features=6 + fingerprint), PLAN, settings, Path("unused"))
    return prepare_participant(data, PLAN, Fitting(settings, 0), folder=folder), laid


def planted_kill(monkeypatch: pytest.MonkeyPatch, at: int) -> list[int]:
    """Count slabs that are computed; the one numbered ``at`` is not finished."""
    original, calls = execute.encode, [0]

    def encode(*args: object, **more: object) -> object:
        if calls[0] == at:
            raise Killed
        calls[0] += 1
        return original(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(execute, "encode", encode)
    return calls


def everything(found: ScoredModel) -> str:
    """Hash of every byte of the results."""
    return digest((found.model, found.layers, found.maps, found.tests, found.cortical, found.inner))


def slabs_of(ready: PreparedParticipant, laid: Design) -> Finished:
    """Where the slabs of `score_model` are kept."""
    assert ready.finished is not None
    return ready.finished.narrowed("model", laid).narrowed({}, laid.layers, N_VOXELS, True)


def score_model(ready: PreparedParticipant, laid: Design) -> ScoredModel:
    """All layers stand for regions."""
    return app.score_model(ready, laid, mapping_by_name(laid.layers))


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = everything(score_model(*prepared(None)))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        planted_kill(patch, at=2)
        score_model(*prepared(tmp_path))
    ready, laid = prepared(tmp_path)
    store = slabs_of(ready, laid)
    slabs = [store._path(np.arange(*slab)) for slab in ((0, 256), (256, 512), (512, 600))]
    assert [path.exists() for path in slabs] == [True, True, False]
    with monkeypatch.context() as patch:
        calls = planted_kill(patch, at=-1)
        assert everything(score_model(*prepared(tmp_path))) == whole
        assert calls == [1]
        # a third run computes nothing; one damaged file is noticed and done anew
        assert everything(score_model(*prepared(tmp_path))) == whole
        assert calls == [1]
        content = slabs[0].read_bytes()
        middle = len(content) // 2
        slabs[0].write_bytes(content[:middle] + b"damage" + content[middle + 6 :])
        assert everything(score_model(*prepared(tmp_path))) == whole
        assert calls == [2] and "damaged" in caplog.text
    forget(tmp_path)
    assert not tmp_path.exists()
    forget(tmp_path)


@pytest.mark.parametrize("at", [1, 2])
def test_a_run_killed_in_or_after_its_first_pass_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    # without `joint`: two slabs of the auditory regions, then one of the rest of cortex
    two_passes = replace(SETTINGS, joint=False)
    whole = everything(score_model(*prepared(None, settings=two_passes)))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        planted_kill(patch, at=at)
        score_model(*prepared(tmp_path, settings=two_passes))
    calls = planted_kill(monkeypatch, at=-1)
    assert everything(score_model(*prepared(tmp_path, settings=two_passes))) == whole
    assert calls == [3 - at]


def test_a_run_killed_while_it_chooses_goes_on_with_the_next_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = everything(score_model(*prepared(None)))
    original, done = FoldModels.choose, []

    def choose(self: FoldModels, name: str) -> object:
        if len(done) == 2:
            raise Killed
        done.append(name)
        return original(self, name)

    monkeypatch.setattr(FoldModels, "choose", choose)
    with pytest.raises(Killed):
        score_model(*prepared(tmp_path))
    first, done[:] = list(done), []
    found: list[str] = []

    def noted(self: FoldModels, name: str) -> object:
        found.append(name)
        return original(self, name)

    monkeypatch.setattr(FoldModels, "choose", noted)
    assert everything(score_model(*prepared(tmp_path))) == whole
    assert len(first) == 2 and JOINT in found and not set(first) & set(found)


@pytest.mark.parametrize("memory", [2**30, 2**19])
def test_choosing_for_all_voxels_first_changes_nothing(memory: int) -> None:
    ready, laid = prepared(None)
    data, tests, settings, seed = ready.data, ready.tests, SETTINGS, 0
    engine = Engine(limits=Limits(memory))
    assert (fit_module.search_size(110, engine.limits) < N_VOXELS) == (memory == 2**19)
    chosen = choose_models(data, laid, Fitting(settings, seed, engine), voxels=np.arange(N_VOXELS))
    for slab in (slice(0, 256), slice(300, 600)):
        own = [{name: choice.of(slab) for name, choice in fold.items()} for fold in chosen]
        whole, again = (
            encode(data, laid, Fitting(settings, seed, engine), voxels=slab, repeats=tests.repeats, choices=choices)
            for choices in (None, own)
        )
        for name, values in whole.held_out.prediction.items():
            assert np.array_equal(whole.alpha[name], again.alpha[name])
            assert np.allclose(whole.inner[name], again.inner[name], atol=1e-6)
            assert np.allclose(values, again.held_out.prediction[name], atol=1e-6)
        assert whole.weights is not None and np.array_equal(whole.weights, again.weights)
        for layer in laid.layers:
            assert np.allclose(whole.unique[layer], again.unique[layer], atol=1e-6, equal_nan=True)
            assert np.allclose(whole.share[layer], again.share[layer], atol=1e-6, equal_nan=True)


def test_a_process_killed_by_the_system_leaves_whole_slabs(tmp_path: Path) -> None:
    script = (
        f"import os, signal, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_resume_encoding as t\n"
        "t.design_module.FeatureCache = t.ToyStore\n"
        "original, calls = t.execute.encode, []\n"
        "def encode(*args, **more):\n"
        "    if calls: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    calls.append(1)\n"
        "    return original(*args, **more)\n"
        "t.execute.encode = encode\n"
        "t.score_model(*t.prepared(t.Path(sys.argv[1])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "sub-01")], capture_output=True, text=True, check=False,
        env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    ready, laid = prepared(tmp_path / "sub-01")
    store = slabs_of(ready, laid)
    assert store.load(np.arange(256)) is not None
    assert store.load(np.arange(256, 512)) is None
    assert everything(score_model(ready, laid)) == everything(score_model(*prepared(None)))


def test_what_decides_the_results_decides_which_slabs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score_model(*prepared(tmp_path))
    calls = planted_kill(monkeypatch, at=-1)
    data, laid = listened(), prepared(None)[1]

    def again(
        data: ParticipantData, laid: Design, settings: Encoding = SETTINGS, seed: int = 0, tests_seed: int = 0
    ) -> int:
        before = calls[0]
        ready = prepare_participant(data, PLAN, Fitting(settings, seed), folder=tmp_path)
        if tests_seed != seed:
            other = prepare_participant(data, PLAN, Fitting(settings, tests_seed)).tests
            finished = finished_batches(tmp_path, data, other, ready.fitting)
            ready = replace(ready, tests=other, finished=finished)
        score_model(ready, laid)
        return calls[0] - before

    assert again(data, laid) == 0
    bold = data.bold.copy()
    bold[-1, -1] += 1e-3
    assert again(replace(data, bold=bold), laid) == 3
    assert again(replace(data, region=np.roll(data.region, 1)), laid) == 3
    assert again(data, laid, replace(SETTINGS, alphas=(0.1, 11.0))) == 3
    assert again(data, laid, tests_seed=1) == 3
    assert again(data, laid, seed=1) == 3
    assert again(data, prepared(None, fingerprint=1)[1]) == 3
    assert again(data, laid, replace(SETTINGS, slab=700)) == 1


def test_memory_that_happens_to_be_free_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    # a resumed process holds less than the one that was killed, so that batches inside the solver differ
    rng = np.random.default_rng(0)
    training, held_out = (FeatureBands(rng.standard_normal((2, n, 40)).astype(np.float32)) for n in (240, 60))
    bold = rng.standard_normal((240, 500)).astype(np.float32)
    groups, grid = np.repeat(np.arange(4), 60), np.array([[0.5, 0.5], [1, 0], [0, 1], [0.3, 0.7]])
    solver = BandedRidge(Hyperparameters((0.1, 1.0, 10.0), grid))
    found, widths = set(), set()
    original = Problem.resources

    def resources(self: Problem, n_alphas: int) -> tuple[int, int]:
        got = original(self, n_alphas)
        widths.add(got[1])
        return got

    monkeypatch.setattr(Problem, "resources", resources)
    for free in (4_000_000, 5_100_000, 5_300_000, 2**30):
        monkeypatch.setattr(Limits, "left", lambda self, free=free: free)
        choice = solver.fit(training, bold, groups).choice_
        found.add(digest((solver.split(held_out), choice.weights, choice.alpha, choice.score)))
    assert len(widths) > 2 and all(width % 64 == 0 for width in widths)
    assert len(found) == 1


def test_controls_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = score_control(*prepared(tmp_path))
    calls = planted_kill(monkeypatch, at=0)
    assert digest(score_control(*prepared(tmp_path))) == digest(first)
    assert calls == [0]
    with pytest.raises(Killed):
        score_control(*prepared(tmp_path, fingerprint=1))


def test_digests_tell_values_apart() -> None:
    values = [
        1, 1.0, "1", b"1", True, None, (1,), (1, 1), [1], ((1,), 1), {"a": 1}, {"a": 2}, Path("1"),
        np.float32(1), np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.ones(2),
        ("ab", "c"), ("a", "bc"),
    ]  # fmt: skip
    assert len({digest(value) for value in values}) == len(values)
    large = np.arange(2**24, dtype=np.float64).reshape(2**12, -1)
    changed = large.copy()
    changed[-1, -1] += 1
    assert digest(large) == digest(large.copy()) != digest(changed)
    with pytest.raises(TypeError, match="object"):
        digest(object())
