"""What must not matter does not: order of runs, other runs' clips, level and scale of features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant

from ban_bids.encoding import design as design_module
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.fit import Encoded, Fitting, encode
from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import offsets
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Clip, Run
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_components=4, n_band_weights=8, alphas=(0.01, 0.1, 1.0, 10.0))
PLAN = HeldOutPlan((("task-test",),), "named", "test")
AREAS = ("A1", "Belt")


class Altered(ToyModel):
    """The toy model's features, one of them on another level and scale, and more that are flat."""

    level: float = 0.0
    scale: float = 1.0
    flat: int = 0

    def frames(self, clip: Clip | None, layer: str) -> np.ndarray:
        made = super().frames(clip, layer)
        made[:, 1] = self.level + self.scale * made[:, 1]
        return np.hstack([made, np.full((len(made), self.flat), 7.0, dtype=np.float32)])


def model(**changes: float) -> Altered:
    made = Altered(layers=AREAS)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def runs(test: list[str]) -> list[Run]:
    """The held-out run stands between the training runs."""
    first, second = ([f"t{r}{i}" for i in range(6)] for r in range(2))
    return [
        make_run("train0", first, n_volumes=62),
        make_run("test", test, n_volumes=85),
        make_run("train1", second, n_volumes=62),
    ]


HEARD = ["x0", "x1", "x2", "x3"] * 2


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def data_of(made: list[Run]) -> ParticipantData:
    """Noise, with a part that lasts, so that penalties and predictions are more than accidents."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((sum(run.n_volumes for run in made), 6))
    return participant(made, white + np.roll(white, 1, axis=0))


def encoded(data: ParticipantData, heard: Altered) -> Encoded:
    made = design(data, heard, PLAN, SETTINGS, Path("unused"))
    return encode(data, made, Fitting(SETTINGS), repeats=repeat_rows(made.rows))


def same(one: Encoded, other: Encoded) -> None:
    for name, prediction in one.held_out.prediction.items():
        np.testing.assert_allclose(prediction, other.held_out.prediction[name], atol=1e-4)
        np.testing.assert_allclose(one.held_out.specific[name], other.held_out.specific[name], atol=1e-4)
        np.testing.assert_array_equal(one.alpha[name], other.alpha[name])
        np.testing.assert_allclose(one.inner[name], other.inner[name], atol=1e-5)
        np.testing.assert_allclose(one.rsquare[name], other.rsquare[name], atol=1e-4)
    for layer in AREAS:
        np.testing.assert_allclose(one.share[layer], other.share[layer], atol=1e-4)
        np.testing.assert_allclose(one.unique[layer], other.unique[layer], atol=1e-4)


def test_the_order_of_runs_changes_nothing() -> None:
    data = data_of(runs(HEARD))
    first, order = offsets(data.runs), [2, 1, 0]
    rows = np.concatenate([np.arange(first[r], first[r + 1]) for r in order])
    shuffled = replace(
        data,
        sources=tuple(data.sources[r] for r in order),
        runs=tuple(data.runs[r] for r in order),
        nuisance=tuple(data.nuisance[r] for r in order),
        bold=data.bold[rows],
    )
    same(encoded(data, model()), encoded(shuffled, model()))


def test_level_and_scale_of_a_feature_and_flat_features_change_nothing() -> None:
    data = data_of(runs(HEARD))
    plain = encoded(data, model())
    assert all(np.abs(prediction).max() > 0.01 for prediction in plain.held_out.prediction.values())
    same(plain, encoded(data, model(level=30.0)))
    same(plain, encoded(data, model(scale=-12.0)))
    same(plain, encoded(data, model(flat=3)))
    # the comparison can fail: what changes a feature's course changes what is predicted
    with pytest.raises(AssertionError):
        same(plain, encoded(data, Altered(layers=AREAS, loudness=2.0)))


def test_lags_never_cross_runs() -> None:
    data, other = (data_of(runs(test)) for test in (HEARD, ["y0", "y1", "y2", "y3"] * 2))
    first = offsets(data.runs)
    found = [design(d, model(), PLAN, SETTINGS, Path("unused")).folds[0] for d in (data, other)]
    for layer in AREAS:
        # the first volumes of the run after the held-out one have lags that reach back into it
        was, now = (fold.reduced[layer][2] for fold in found)
        np.testing.assert_array_equal(was.lagged(), now.lagged())
        before, after = (fold.matrices(layer, data.nuisance, first) for fold in found)
        np.testing.assert_array_equal(before[0], after[0])
        assert not np.allclose(before[1], after[1])
        # before a run begins there is silence: all lags of its first volume but the latest are alike
        n = was.lagged().shape[1] // was.index.shape[1]
        start = was.lagged()[0].reshape(-1, n)
        np.testing.assert_allclose(start[2:], np.tile(start[1], (len(start) - 2, 1)), atol=1e-6)


def test_a_dead_voxel_leaves_the_others_alone() -> None:
    data = data_of(runs(HEARD))
    plain = encoded(data, model())
    bold, usable = data.bold.copy(), data.usable.copy()
    bold[:, 3], usable[3] = 0, False
    dead = encoded(replace(data, bold=bold, usable=usable), model())
    for name in plain.rsquare:
        assert np.isnan(dead.rsquare[name][3])
        np.testing.assert_allclose(np.delete(dead.rsquare[name], 3), np.delete(plain.rsquare[name], 3), atol=1e-4)
