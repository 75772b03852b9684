"""Whose variance is it? Shares and unique variance where one layer drives a voxel, and where layers agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant

from ban_bids.encoding import design as design_module
from ban_bids.encoding.fit import Encoded, Fitting, encode
from ban_bids.encoding.folds import FoldMaker
from ban_bids.encoding.rows import offsets
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Clip, Run
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_components=4, n_band_weights=30, alphas=tuple(10.0**e for e in range(-3, 3)))
PLAN = HeldOutPlan((("task-test",),), "named", "test")
AREAS = ToyModel().layers
N_VOXELS = 12


class Agreeing(ToyModel):
    """Neighbouring layers have two of four features in common (``overlap``), or none."""

    overlap: bool = False

    def frames(self, clip: Clip | None, layer: str) -> np.ndarray:
        own = super().frames(clip, layer)
        if not self.overlap:
            return own
        number = self.layers.index(layer)
        other = super().frames(clip, self.layers[max(0, number - 1)])
        rate = self.frame_rate[layer] / self.frame_rate[self.layers[max(0, number - 1)]]
        index = np.minimum((np.arange(len(own)) / rate).astype(int), len(other) - 1)
        return np.hstack([own[:, :2], other[index][:, :2]])


class Sharing(ToyModel):
    """Every layer holds the same sounds, but for a share of its variance that is its own."""

    own: dict[str, float]

    def frames(self, clip: Clip | None, layer: str) -> np.ndarray:
        alone = super().frames(clip, layer)
        common = (
            super().frames(clip, AREAS[0]) if clip is None else super().frames(replace(clip, start=900.0), AREAS[0])
        )
        rate = self.frame_rate[layer] / self.frame_rate[AREAS[0]]
        index = np.minimum((np.arange(len(alone)) / rate).astype(int), len(common) - 1)
        return np.sqrt(1 - self.own[layer]) * common[index] + np.sqrt(self.own[layer]) * alone


def driven(
    model: ToyModel, seed: int, height: float, driver: ToyModel | None = None, settings: Encoding = SETTINGS
) -> tuple[Encoded, float]:
    """Voxels that the third layer (of the driver) alone drives; returns what is found and the R² of the truth."""
    training = [make_run(f"train{r}", [f"t{r}{i}" for i in range(12)], n_volumes=125) for r in range(4)]
    runs = [*training, make_run("test", [f"x{i}" for i in range(12)], n_volumes=125)]
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((5 * 125, N_VOXELS))
    empty = participant(runs, noise)
    made = design(empty, driver or model, PLAN, settings, Path("unused"))
    fold, first = made.folds[0], offsets(empty.runs)
    matrices = fold.matrices(AREAS[2], empty.nuisance, first)
    weights = rng.standard_normal((matrices.training.shape[1], N_VOXELS))
    heard = np.concatenate([matrices.training @ weights, matrices.held_out @ weights])
    heard /= heard.std(axis=0)
    signal = np.zeros_like(noise)
    signal[np.r_[fold.fold.training, fold.fold.held_out]] = height * heard
    data = participant(runs, signal + noise)
    found = encode(data, design(data, model, PLAN, settings, Path("unused")), Fitting(settings))
    return found, height**2 / (1 + height**2)


def agreeing(overlap: bool) -> Agreeing:
    model = Agreeing(n_features=4)
    model.overlap = overlap
    return model


def sharing(**own: float) -> Sharing:
    model = Sharing(n_features=4)
    model.own = dict.fromkeys(AREAS, 0.05) | own
    return model


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def test_the_layer_that_drives_a_voxel_has_its_share_and_its_unique_variance() -> None:
    found, truth = driven(agreeing(False), seed=0, height=1.5)
    rsquare = found.rsquare["Joint"]
    np.testing.assert_allclose(sum(found.share.values()), rsquare, atol=1e-5)
    assert np.all(rsquare < truth + 0.1) and rsquare.mean() > 0.75 * truth
    for layer in AREAS:
        share, unique = found.share[layer] / rsquare, found.unique[layer] / rsquare
        if layer == AREAS[2]:
            assert share.min() > 0.85 and unique.min() > 0.85
        else:
            assert np.abs(share).max() < 0.1 and np.abs(unique).max() < 0.1


def test_with_correlated_layers_shares_still_sum_and_negative_ones_are_kept() -> None:
    found, _ = driven(agreeing(True), seed=1, height=0.8)
    rsquare = found.rsquare["Joint"]
    np.testing.assert_allclose(sum(found.share.values()), rsquare, atol=1e-5)
    shares = np.stack([found.share[layer] for layer in AREAS])
    assert shares.mean(axis=1).argmax() == 2
    # Belt and T2T3 hold half of what PB does: what is PB's alone is less than its share
    assert np.mean(found.unique[AREAS[2]]) < np.mean(shares[2])
    assert np.abs(found.unique["A1"]).mean() < 0.05
    assert (shares < 0).any()


def test_nothing_is_unique_to_a_layer_that_others_can_replace() -> None:
    # the first layer is what drives the voxels, and all have 95 % of it: the joint model takes the first alone
    common = sharing(**dict.fromkeys(AREAS, 0.0))
    found, truth = driven(sharing(A1=0.0), seed=3, height=1.5, driver=common)
    assert found.weights is not None and np.mean(found.weights[0, 0] == 1) > 0.5
    assert found.rsquare["Joint"].mean() > 0.75 * truth
    for layer in AREAS:
        assert abs(found.unique[layer].mean()) < 0.04
        assert np.abs(found.unique[layer]).max() < 0.1


def test_what_one_layer_holds_alone_is_its_unique_variance() -> None:
    model = sharing(PB=0.5)
    found, truth = driven(model, seed=2, height=1.5)
    # half of the signal is in every layer
    assert found.unique["PB"].mean() == pytest.approx(0.5 * truth, abs=0.06)
    for layer in set(AREAS) - {"PB"}:
        assert abs(found.unique[layer].mean()) < 0.02


class Copying(ToyModel):
    """One feature of the held-out clips is a copy of a voxel's held-out responses; noise in training."""

    copied: np.ndarray = np.zeros(0)
    run: Run | None = None

    def frames(self, clip: Clip | None, layer: str) -> np.ndarray:
        made = super().frames(clip, layer)
        if clip is None or self.run is None:
            return made
        onsets = [p.onset for p in self.run.presentations if p.clip == clip]
        if onsets:
            times = onsets[0] + np.arange(len(made)) / self.frame_rate[layer]
            made[:, 0] = self.copied[np.minimum((times / 1.5).astype(int), len(self.copied) - 1)]
        return made


def leaky_score(monkeypatch: pytest.MonkeyPatch, broken: bool) -> float:
    """Held-out correlation of a voxel of noise whose responses stand in a feature of the held-out clips.

    The held-out clips are heard in a training run as well, with the same noise in the voxel: the worst leak.
    """
    played = [f"x{i}" for i in range(12)]
    training = [make_run(f"train{r}", [f"t{r}{i}" for i in range(12)], n_volumes=125) for r in range(2)]
    runs = [*training, make_run("again", played, n_volumes=125), make_run("test", played, n_volumes=125)]
    rng = np.random.default_rng(0)
    bold = rng.standard_normal((4 * 125, 1))
    bold[250:375] = bold[375:]
    data = participant(runs, bold, t_ref=0.75)
    model = Copying(layers=("A1",), n_features=3)
    model.copied, model.run = bold[375:, 0], runs[3]
    if broken:

        def leaking(self: FoldMaker, held_out: list[int], training: list[int]) -> object:
            predicted = np.isin(self.run, held_out)
            return self._rows(np.isin(self.run, training) & self.scored, predicted, dropped=0)

        monkeypatch.setattr(FoldMaker, "_whole", leaking)
    made = design(data, model, PLAN, SETTINGS, Path("unused"))
    assert (made.folds[0].fold.dropped == 0) == broken
    found = encode(data, made, Fitting(SETTINGS)).held_out
    return float(np.corrcoef(found.prediction["A1"][:, 0], found.bold[:, 0])[0, 1])


def test_a_copy_of_held_out_responses_in_a_feature_predicts_nothing_unless_the_split_leaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert abs(leaky_score(monkeypatch, broken=False)) < 0.25
    # the guard can fail: without the rule that drops training rows of held-out tracks the copy is found
    assert leaky_score(monkeypatch, broken=True) > 0.6
