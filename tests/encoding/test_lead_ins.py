"""Lead-ins: their volumes neither train nor are scored, but later volumes heard them; features' reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, listen, make_run, participant

from ban_bids.encoding import design as design_module
from ban_bids.encoding.design import bin_run
from ban_bids.encoding.fit import Fitting, encode
from ban_bids.encoding.timeline import lags
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Run
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_components=3, n_band_weights=3, alphas=(1.0,))
PLAN = HeldOutPlan((("task-test",),), "named", "test")


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def plain(run: Run) -> Run:
    """The same run with no lead-in."""
    return replace(run, presentations=tuple(replace(item, lead_in=False) for item in run.presentations))


@pytest.mark.parametrize("tr", [1.5, 2.5])
def test_later_volumes_hear_a_lead_in_through_their_lags(tr: float) -> None:
    run = make_run("a", ["x", "y", "z"], tr=tr, n_volumes=int(50 / tr), lead_in=True)
    clips = tuple(item.clip for item in run.presentations)
    store = ToyStore(ToyModel(loudness=2.0), Path("unused"))
    delays = lags(tr, 9.0, 2.0)
    with_it, without = (
        bin_run(listen(r, clips, tr / 2), store, "Belt", delays=delays).lagged() for r in (run, plain(run))
    )
    np.testing.assert_array_equal(with_it, without)
    silent = replace(run, presentations=run.presentations[1:])
    alone = bin_run(listen(silent, clips, tr / 2), store, "Belt", delays=delays).lagged()
    after = listen(run, clips, tr / 2).rows.presentation == 1
    assert np.abs(with_it[after] - alone[after]).max() > 0.5


def test_volumes_of_lead_ins_teach_nothing_and_are_not_scored() -> None:
    names = [[f"t{r}{i}" for i in range(6)] for r in range(2)]
    runs = [make_run(f"train{r}", names[r], n_volumes=60, lead_in=True) for r in range(2)]
    runs.append(make_run("test", [f"x{i}" for i in range(6)], n_volumes=60, lead_in=True))
    bold = np.random.default_rng(0).standard_normal((180, 3))
    data = participant(runs, bold)
    made = design(data, ToyModel(), PLAN, SETTINGS, Path("unused"))
    lead = np.concatenate([run.rows.lead_in for run in data.runs])
    assert lead.sum() == 30
    assert not np.isin(made.folds[0].fold.training, np.flatnonzero(lead)).any()
    assert not made.rows.scored[lead[made.index]].any() and made.rows.scored.sum() == 50
    # other BOLD there changes no prediction and no score
    other = data.bold.copy()
    other[lead] = 9.0
    was, now = (encode(d, made, Fitting(SETTINGS)) for d in (data, replace(data, bold=other)))
    for name, prediction in was.held_out.prediction.items():
        np.testing.assert_array_equal(prediction, now.held_out.prediction[name])
        np.testing.assert_array_equal(was.rsquare[name], now.rsquare[name])


def test_features_are_laid_at_the_slice_timing_reference() -> None:
    # a reference 1 s later is the same as clips that begin 1 s earlier
    clips_at = [make_run("a", ["x", "y"], tr=2.5, n_volumes=20, first=first) for first in (5.0, 4.0)]
    clips = tuple(item.clip for item in clips_at[0].presentations)
    store = ToyStore(ToyModel(), Path("unused"))
    delays = lags(2.5, 9.0, 2.0)
    late = bin_run(listen(clips_at[0], clips, 1.75), store, "A1", delays=delays).lagged()
    early = bin_run(listen(clips_at[1], clips, 0.75), store, "A1", delays=delays).lagged()
    np.testing.assert_allclose(late, early, atol=1e-5)
    unmoved = bin_run(listen(clips_at[0], clips, 0.75), store, "A1", delays=delays).lagged()
    assert np.abs(late - unmoved).max() > 0.1
