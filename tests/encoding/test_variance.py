"""Whose variance is it? Shares and unique variance where one layer drives a voxel, and where layers agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant

from ban_bids.encoding import design as design_module
from ban_bids.encoding import folds as folds_module
from ban_bids.encoding.fit import Encoded, Fitting, encode
from ban_bids.encoding.folds import offsets, training_rows
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


def driven(overlap: bool, seed: int, height: float) -> tuple[Encoded, float]:
    """Voxels that the third layer alone drives; returns what is found and the R² of the truth."""
    training = [make_run(f"train{r}", [f"t{r}{i}" for i in range(12)], n_volumes=125) for r in range(4)]
    runs = [*training, make_run("test", [f"x{i}" for i in range(12)], n_volumes=125)]
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((5 * 125, N_VOXELS))
    model = Agreeing(n_features=4)
    model.overlap = overlap
    empty = participant(runs, noise)
    made = design(empty, model, PLAN, SETTINGS, Path("unused"))
    fold, first = made.folds[0], offsets(empty.runs)
    features, held_out, *_ = fold.matrices(AREAS[2], empty.nuisance, first)
    weights = rng.standard_normal((features.shape[1], N_VOXELS))
    heard = np.concatenate([features @ weights, held_out @ weights])
    heard /= heard.std(axis=0)
    signal = np.zeros_like(noise)
    signal[np.r_[fold.fold.training, fold.fold.held_out]] = height * heard
    data = participant(runs, signal + noise)
    return encode(data, made, Fitting(SETTINGS)), height**2 / (1 + height**2)


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def test_the_layer_that_drives_a_voxel_has_its_share_and_its_unique_variance() -> None:
    found, truth = driven(overlap=False, seed=0, height=1.5)
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
    found, _ = driven(overlap=True, seed=1, height=0.8)
    rsquare = found.rsquare["Joint"]
    np.testing.assert_allclose(sum(found.share.values()), rsquare, atol=1e-5)
    shares = np.stack([found.share[layer] for layer in AREAS])
    assert shares.mean(axis=1).argmax() == 2
    # Belt and T2T3 hold half of what PB does: what is PB's alone is less than its share
    assert np.mean(found.unique[AREAS[2]]) < np.mean(shares[2])
    assert np.abs(found.unique["A1"]).mean() < 0.05
    assert (shares < 0).any()


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
        monkeypatch.setattr(
            folds_module,
            "training_rows",
            lambda runs, training, tracks, longest_lag: training_rows(runs, training, (), longest_lag=longest_lag),
        )
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
