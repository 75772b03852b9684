"""Chosen penalties are kept and counted; an edge of the grid is told where it matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant

from ban_bids.app.scored import prepare_participant, score_model
from ban_bids.constants import JOINT
from ban_bids.encoding import design as design_module
from ban_bids.encoding.fit import Fitting
from ban_bids.encoding.penalties import Penalties, penalty_counts
from ban_bids.encoding.rows import offsets
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.models.candidate import mapping_by_name
from ban_bids.scoring.voxels import ScoredModel
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_components=4, n_band_weights=5, n_permutations=200, n_bootstrap=20)
RUNS = [make_run(f"run{r}", [f"t{r}{i}" for i in range(8)], n_volumes=85) for r in range(3)]
PLAN = HeldOutPlan(tuple((run.name,) for run in RUNS), "all", "run", leave_one_out=True)


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def scored(alphas: tuple[float, ...], signal: float, slab: int = 1000) -> ScoredModel:
    """Three folds, 40 voxels (one not usable) that the first layer drives, more than noise does by ``signal``."""
    settings = replace(SETTINGS, alphas=alphas, slab=slab)
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((3 * 85, 40))
    model = ToyModel(layers=("A1", "Belt"), n_features=4)
    empty = participant(RUNS, noise)
    made = design(empty, model, PLAN, settings, Path("unused")).folds[0]
    matrices = made.matrices("A1", empty.nuisance, offsets(empty.runs))
    heard = np.zeros_like(noise)
    rows = np.concatenate([made.fold.training, made.fold.held_out])
    features = np.concatenate([matrices.training, matrices.held_out])
    heard[rows] = features @ rng.standard_normal((features.shape[1], 40))
    data = participant(RUNS, signal * heard / heard.std(axis=0) + noise)
    usable = np.arange(40) != 7
    data = replace(data, usable=usable, region=(np.arange(40) % 5).astype(np.int16))
    ready = prepare_participant(data, PLAN, Fitting(settings))
    laid = design(data, model, PLAN, settings, Path("unused"))
    return score_model(ready, laid, mapping_by_name(model.layers))


def test_counts_are_those_of_the_grid() -> None:
    chosen = np.array([[10, 0.1, 1, 1], [10, 10, 0.1, 10]], dtype=np.float32)
    zero = np.full((2, 4), -2.0)
    score = np.array([[-1.99, -1.0, -2.5, -1.0], [-2.01, -1.9, -1.97, -1.0]])
    found = penalty_counts((1, 10, 0.1), chosen=chosen, score=score, zero=zero, usable=np.array([1, 1, 1, 0], bool))
    assert found.tolist() == [[2, 1, 3], [2, 1, 1]]


def test_penalties_of_all_voxels_and_folds_are_kept_with_their_mean() -> None:
    alphas = (100.0, 0.01, 1.0)
    found = scored(alphas, signal=1.0)
    assert found.penalties.alphas == (0.01, 1, 100)
    assert set(found.penalties.counts) == {"A1", "Belt", JOINT}
    for name, counts in found.penalties.counts.items():
        # layers are fitted together in the regions only: 32 of 40 voxels, of which one is not usable
        assert counts[0].sum() == 3 * (31 if name == JOINT else 39) and np.all(counts[1] <= counts[0])
        logs = np.log10(found.maps[name, "alpha"])
        assert np.isnan(logs[7])
        # geometric means over folds: over voxels they say what the counts say
        assert np.nansum(3 * logs) == pytest.approx(counts[0] @ [-2, 0, 2], abs=1e-3)
    facts = found.penalties.facts
    assert facts["PenaltiesChosen"]["A1"] == dict(zip(("0.01", "1", "100"), found.penalties.counts["A1"][0].tolist()))
    assert facts["PenaltiesChosenNotShrunk"][JOINT].keys() == {"0.01", "1", "100"}


def test_slabs_change_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored((0.1, 10.0), signal=1.0)
    monkeypatch.setattr("ban_bids.encoding.execute.slab_size", lambda *_: 15)
    slabs = scored((0.1, 10.0), signal=1.0)
    for name, counts in whole.penalties.counts.items():
        np.testing.assert_array_equal(slabs.penalties.counts[name], counts)


def test_an_edge_is_told_where_the_grid_ends_too_early_and_not_where_nothing_is_heard() -> None:
    default = Encoding().alphas
    noise = scored(default, signal=0.0)
    assert noise.penalties.counts["A1"][0][-1] > 0.4 * 3 * 39  # shrunk to 0, and rightly
    assert noise.penalties.notes == ()
    # the same voxels: no penalty is large enough for voxels that hear nothing
    low = scored((1e-4, 1e-3, 1e-2), signal=0.0)
    assert any("Belt" in note and "largest penalty, 0.01" in note for note in low.penalties.notes)
    # clear signals: no penalty is small enough
    high = scored((1e2, 1e3, 1e4), signal=3.0)
    assert any("A1" in note and "smallest penalty, 100" in note for note in high.penalties.notes)
    assert scored(default, signal=3.0).penalties.notes == ()


def test_shares_up_to_five_percent_are_silent_and_a_single_penalty_has_no_edge() -> None:
    at = np.array([[50, 0, 950], [5, 95, 0]])
    over = np.array([[0, 0, 10], [4, 60, 6]])
    notes = Penalties((1.0, 2.0, 3.0), {"quiet": at, "loud": over}).notes
    assert len(notes) == 2
    assert notes[0].startswith("loud: 6%") and "smallest penalty, 1;" in notes[0]
    assert notes[1].startswith("loud: 9%") and "largest penalty, 3;" in notes[1] and "--config-file" in notes[1]
    assert Penalties((1.0,), {"given": np.ones((2, 1))}).notes == ()
