"""``--mem`` reaches whatever sizes batches by it, and every batch of voxels gives the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant

from ban_bids.app.scored import prepare_participant, score_control, score_model
from ban_bids.encoding import design as design_module
from ban_bids.encoding import execute
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import Fitting, slab_size
from ban_bids.encoding.ridge import solvers as solvers_module
from ban_bids.encoding.ridge.backend import HIMALAYA, Engine
from ban_bids.encoding.ridge.bands import FeatureBands
from ban_bids.encoding.ridge.hyperparameters import Hyperparameters
from ban_bids.encoding.ridge.limits import Limits, in_batches
from ban_bids.encoding.ridge.solvers import BandedRidge
from ban_bids.files.hashing import digest
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.models.candidate import mapping_by_name
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_components=3, n_band_weights=3, alphas=(0.1, 10.0), n_permutations=200, n_bootstrap=20)
PLAN = HeldOutPlan((("task-test",),), "named", "test")
N_VOXELS = 700


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def prepared() -> tuple[ParticipantData, Design]:
    runs = [make_run(f"train{r}", [f"t{r}{i}" for i in range(5)], n_volumes=55) for r in range(2)]
    runs.append(make_run("test", [f"x{i}" for i in range(7)] * 2, n_volumes=145))
    n_rows = sum(run.n_volumes for run in runs)
    data = participant(runs, np.random.default_rng(1).standard_normal((n_rows, N_VOXELS)))
    data = replace(data, region=(1 + np.arange(N_VOXELS) % 4).astype(np.int16))
    return data, design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))


def test_slabs_shrink_with_the_memory_and_rows() -> None:
    _, laid = prepared()
    sizes = [slab_size(laid, SETTINGS, Limits(memory)) for memory in (2**34, 2**27, 2**24, 2**10)]
    assert sizes[0] == SETTINGS.slab and sizes[-1] == 256
    assert sizes[0] > sizes[1] > sizes[2] >= sizes[3]
    # twelve arrays of held-out rows are alive at the least
    assert 12 * 4 * len(laid.index) * sizes[1] < 2**27


def test_little_memory_means_more_slabs_for_model_and_controls_and_the_same_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, laid = prepared()
    original, sizes = execute.encode, []

    def encode(data: ParticipantData, laid: Design, fitting: Fitting, *, voxels: slice, **more: Any) -> object:
        sizes.append(len(np.arange(N_VOXELS)[voxels]))
        return original(data, laid, fitting, voxels=voxels, **more)

    monkeypatch.setattr(execute, "encode", encode)
    found = []
    for memory, expected in ((2**32, [700]), (2**21, [256, 256, 188])):
        engine = Engine(limits=Limits(memory))
        sizes.clear()
        ready = prepare_participant(data, PLAN, Fitting(SETTINGS, 0, engine))
        whole = score_model(ready, laid, mapping_by_name(laid.layers))
        assert sizes == expected
        sizes.clear()
        control = score_control(ready, laid)
        assert sizes == expected
        found.append((whole, control))
    for (layer, stat), values in found[0][0].maps.items():
        np.testing.assert_allclose(found[1][0].maps[layer, stat], values, atol=1e-4, err_msg=f"{layer} {stat}")
    for few, many in zip(found[0][1].layers, found[1][1].layers):
        assert many.mean_r == pytest.approx(few.mean_r, abs=1e-4)


def test_only_the_auditory_voxels_of_bold_are_copied_for_the_cortical_score() -> None:
    data, laid = prepared()
    region = np.where(np.arange(N_VOXELS) % 7 == 3, data.region, 0).astype(np.int16)
    data = replace(data, region=region)
    ready = prepare_participant(data, PLAN, Fitting(SETTINGS, 0))

    class Rows(np.ndarray):
        """BOLD on disk: taking many of its rows at once would read them all into memory."""

        def __getitem__(self, key: object) -> np.ndarray:
            assert np.ndim(key) == 0 or not isinstance(key, np.ndarray)  # type: ignore[arg-type]
            return np.asarray(super().__getitem__(key))  # type: ignore[index]

    watched = score_control(replace(ready, data=replace(data, bold=data.bold.view(Rows))), laid)
    assert digest(watched) == digest(score_control(ready, laid))


def test_limits_reach_both_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, asked = Limits(12345678), []

    def left(self: Limits) -> int:
        asked.append(self)
        return 2**30

    monkeypatch.setattr(Limits, "left", left)
    x, y = np.random.default_rng(0).standard_normal((2, 40, 5))
    for name in ("closed-form", HIMALAYA):
        asked.clear()
        BandedRidge(engine=Engine(name, limits=limits)).fit(FeatureBands([x]), y, np.repeat([0, 1], 20))
        assert asked and all(one == limits for one in asked)


def test_what_the_processes_hold_already_counts() -> None:
    process = psutil.Process()
    held = sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True)))
    left = Limits(held + 2**31).left()
    assert abs(left - 2**31) < 2**27
    assert Limits(held // 2).left() == 128 * 2**20


def test_himalaya_is_given_batches_by_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    taken: list[int] = []

    def solve(*args: object, **options: int) -> None:
        taken.append(options["n_targets_batch"])
        assert options["n_targets_batch_refit"] == taken[-1]
        raise Enough

    monkeypatch.setattr(solvers_module, "solve_multiple_kernel_ridge_random_search", solve)
    x, y = np.random.default_rng(0).standard_normal((2, 40, 5))
    solver = BandedRidge(Hyperparameters((1.0, 10.0)), Engine(HIMALAYA))
    for left in (2**34, 2**23, 0):
        monkeypatch.setattr(Limits, "left", lambda self, left=left: left)
        with pytest.raises(Enough):
            solver.fit(FeatureBands([x]), y, np.repeat([0, 1], 20))
    assert taken[0] > taken[1] == 2**23 // 32 // (8 * 40 * 2) and taken[2] == 64


def test_a_batch_that_never_fits_ends_the_search_for_smaller_ones() -> None:
    tried: list[int] = []

    def work(batch: slice) -> None:
        tried.append(batch.stop - batch.start)
        assert len(tried) < 50
        if tried[-1] > 40:
            raise MemoryError

    in_batches(200, 200, work)
    assert tried == [200, 100, 50, *[25] * 8]
