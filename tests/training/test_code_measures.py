"""Measures of the code against planted truth, closed forms, brute force and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.types import Clip
from ban_bids.models.ban import BAN
from ban_bids.models.low_level import ModulationModel
from ban_bids.models.network import NetworkModel
from ban_bids.models.presets import preset
from ban_bids.training.code_measures import ridge
from ban_bids.training.code_measures.dimension import Scatter, effective_dimension, participation_ratio
from ban_bids.training.code_measures.measure import measure_code
from ban_bids.training.code_measures.probes import classification, nested_probabilities, probe_layer, regression
from ban_bids.training.code_measures.ridge import cross_validated, dealt
from ban_bids.training.code_measures.sounds import HeldOutSounds, Sound, common_frames, held_out

RATE = 22_050


def dimensions(frames: np.ndarray, n_parts: int = 1) -> tuple[float, float]:
    scatter = Scatter()
    for part in np.array_split(frames, n_parts):
        scatter.add(part)
    found = effective_dimension(scatter)
    return found.raw, found.zscored


def test_participation_ratio_is_that_of_eigenvalues() -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20)) + 100 * rng.normal(size=20)
    for covariance, found in zip((np.cov(frames.T), np.corrcoef(frames.T)), dimensions(frames, n_parts=7)):
        values = np.linalg.eigvalsh(covariance)
        assert found == pytest.approx(values.sum() ** 2 / (values**2).sum())
    # clip by clip is the same as all at once, whatever the clips' lengths and however different their means
    drifting = np.concatenate([frames[:10], frames[10:] + 5])
    assert dimensions(drifting, 1) == pytest.approx(dimensions(drifting, 13))


@given(st.integers(1, 8))
def test_k_equal_directions_have_dimension_k(k: int) -> None:
    rng = np.random.default_rng(k)
    directions = np.linalg.qr(rng.normal(size=(30, k)))[0]
    codes = rng.normal(size=(200, k))
    codes -= codes.mean(axis=0)
    codes = np.linalg.qr(codes)[0]  # uncorrelated, equal variances, mean 0
    assert dimensions(3 + codes @ directions.T)[0] == pytest.approx(k, rel=1e-6)


def test_dimension_of_scaled_and_constant_features() -> None:
    rng = np.random.default_rng(3)
    frames = rng.normal(size=(5000, 4)) * [100, 1, 1, 1]
    raw, zscored = dimensions(frames)
    assert raw == pytest.approx(1, abs=0.01)
    assert zscored == pytest.approx(4, abs=0.02)
    assert dimensions(np.hstack([frames, np.full((5000, 3), 0.1)]).astype(np.float32)) == pytest.approx(
        (raw, zscored), rel=1e-3
    )
    with pytest.raises(NotComputable, match="constant"):
        dimensions(np.full((50, 3), 0.1, np.float32))
    with pytest.raises(NotComputable, match="constant"):
        participation_ratio(np.zeros((3, 3)))
    assert participation_ratio(1e-200 * np.eye(3)) == pytest.approx(3)


def test_common_frames_are_averages_by_overlap() -> None:
    rng = np.random.default_rng(0)
    fine = rng.normal(size=(100, 3))  # 50 per second: five each
    np.testing.assert_allclose(common_frames(fine, 50.0, 20, 10.0), fine.reshape(20, 5, 3).mean(axis=1))
    coarse = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])  # 12.5 per second: [0, .08), [.08, .16) …
    expected = [0.02 / 0.1, (0.06 * 1 + 0.04 * 2) / 0.1]
    np.testing.assert_allclose(common_frames(coarse, 12.5, 4, 10.0)[:2, 0], expected)
    np.testing.assert_allclose(common_frames(coarse, 1.0, 20, 10.0)[:, 0], np.repeat([0.0, 1.0], 10))  # slower ones
    np.testing.assert_allclose(common_frames(coarse, 10.0, 8, 10.0)[:, 0], [0, 1, 2, 3, 4, 4, 4, 4])  # a short layer


def planted(n_recordings: int = 12, n: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets that are slow in time and differ between recordings, a noisy linear map of them, and recordings."""
    rng = np.random.default_rng(seed)
    recordings = np.repeat(np.arange(n_recordings), n)
    targets = rng.normal(size=(n_recordings, 3))[recordings] + rng.normal(size=(len(recordings), 3))
    return targets, targets @ rng.normal(size=(3, 20)), recordings


def test_ridge_is_scikit_learns() -> None:
    """The same folds and penalties with Ridge and StandardScaler on rows."""
    targets, clean, recordings = planted()
    features = clean + np.random.default_rng(1).normal(size=clean.shape)
    found = cross_validated(features, targets, recordings, seed=5)
    fold = dealt(recordings, 5)

    def predicted(train: np.ndarray, test: np.ndarray, penalty: float) -> np.ndarray:
        scaler = StandardScaler().fit(features[train])
        fit = Ridge(alpha=penalty * train.sum()).fit(scaler.transform(features[train]), targets[train])
        return fit.predict(scaler.transform(features[test]))

    error, spread = np.zeros(3), np.zeros(3)
    for k in range(ridge.N_FOLDS):
        losses = np.zeros((len(ridge.PENALTIES), 3))
        for j in set(range(ridge.N_FOLDS)) - {k}:
            train, test = (fold != k) & (fold != j), fold == j
            for i, penalty in enumerate(ridge.PENALTIES):
                losses[i] += ((targets[test] - predicted(train, test, penalty)) ** 2).sum(axis=0)
        penalties = ridge.PENALTIES[losses.argmin(axis=0)]
        size = targets.std(axis=0)
        np.testing.assert_array_equal(penalties, found.penalties[k])
        for t, penalty in enumerate(penalties):
            answer = predicted(fold != k, fold == k, penalty)[:, t]
            error[t] += (((targets[fold == k, t] - answer) / size[t]) ** 2).sum()
        spread += (((targets[fold == k] - targets[fold != k].mean(axis=0)) / size) ** 2).sum(axis=0)
    np.testing.assert_allclose(found.r2, 1 - error / spread, rtol=1e-6)


def test_folds_keep_a_recording_on_one_side() -> None:
    recordings = np.random.default_rng(0).integers(0, 13, 500)
    fold = dealt(recordings, 3)
    assert all(len(np.unique(fold[recordings == r])) == 1 for r in np.unique(recordings))
    assert sorted(np.unique(fold)) == list(range(ridge.N_FOLDS))
    # a code of each recording's number alone knows all about its frames, and nothing of other recordings'
    rng = np.random.default_rng(1)
    recordings = np.repeat(np.arange(20), 30)
    identity = np.eye(20)[recordings]
    targets = rng.normal(size=(20, 4))[recordings]
    known = cross_validated(identity, targets, np.arange(len(recordings)), seed=0)  # every row for itself: a leak
    assert known.mean_r2(0).value > 0.95
    assert cross_validated(identity, targets, recordings, seed=0).mean_r2(0).value < 0.05


def test_independent_layers_know_nothing() -> None:
    values = []
    for seed in range(6):
        targets, _, recordings = planted(seed=seed)
        noise = np.random.default_rng(100 + seed).normal(size=(12, 40))[recordings]  # slow: one value per recording
        noise = noise + np.random.default_rng(200 + seed).normal(size=noise.shape)
        values.append(cross_validated(noise, targets, recordings, seed=seed).mean_r2(0).value)
    assert max(values) < 0.05
    assert min(values) > -0.5


def test_targets_that_do_not_vary_and_too_few_recordings() -> None:
    targets, features, recordings = planted()
    one_flat = np.column_stack([targets, np.full(len(targets), 7.0)])
    found = cross_validated(features, one_flat, recordings, seed=0)
    assert np.isnan(found.r2[3])
    assert found.mean_r2(0).value == pytest.approx(cross_validated(features, targets, recordings, seed=0).r2.mean())
    assert found.mean_r2(0).value > 0.99
    with pytest.raises(NotComputable, match="does not vary"):
        cross_validated(features, one_flat[:, 3:], recordings, seed=0).mean_r2(0)
    with pytest.raises(NotComputable, match="4 recordings"):
        cross_validated(features[:200], targets[:200], recordings[:200], seed=0)
    assert cross_validated(features[:250], targets[:250], recordings[:250], seed=0).n_rows == 250  # five do
    with pytest.raises(NotComputable, match="constant"):
        cross_validated(np.ones((600, 4)), targets, recordings, seed=0)
    # missing targets are left out, recordings without any do not count
    targets[recordings > 4] = np.nan
    assert regression("pitch", features, targets[:, :1], recordings, seed=0).n_recordings == 5


def test_a_feature_that_comes_alive_in_one_recording_is_not_blown_up(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, clean, recordings = planted()
    rare = 1e-4 * np.random.default_rng(5).normal(size=(len(clean), 5))
    rare[recordings == 3] *= 1e4
    features = np.hstack([clean + np.random.default_rng(1).normal(size=clean.shape), rare])
    assert cross_validated(features, targets, recordings, seed=0).mean_r2(0).value > 0.5
    monkeypatch.setattr(ridge, "LEAST_DEVIATION", 1e-5)  # plain z-scores
    assert cross_validated(features, targets, recordings, seed=0).mean_r2(0).value < 0


def labelled(n_recordings: int, seed: int, signal: float) -> tuple[np.ndarray, list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    recordings = np.repeat(np.arange(n_recordings), 2)
    labels = [f"class {r % 3}" for r in recordings]
    x = signal * np.eye(3)[recordings % 3] @ rng.normal(size=(3, 30)) + rng.normal(size=(len(recordings), 30))
    return x + 3 * rng.normal(size=(n_recordings, 30))[recordings], labels, recordings


def test_classification_finds_classes_and_no_recordings() -> None:
    x, labels, recordings = labelled(30, 0, 6.0)
    probe = classification("genre", x, labels, recordings, seed=0)
    assert probe.value > 0.9
    assert probe.chance == pytest.approx(1 / 3)
    assert (probe.n_recordings, probe.n_rows) == (30, 60)
    # recordings are easily told apart (two rows each, alike); labels that are permuted over them stay at chance
    rng = np.random.default_rng(2)
    values = []
    for _ in range(4):
        turned = rng.permutation(30)
        values.append(classification("g", x, [f"c{turned[r] % 3}" for r in recordings], recordings, seed=0).value)
    assert np.mean(values) == pytest.approx(1 / 3, abs=0.12)


def test_classes_that_are_too_small_are_left_out_and_said() -> None:
    x, labels, recordings = labelled(30, 1, 6.0)
    labels = ["rare" if r in (0, 1) else label for r, label in zip(recordings, labels)]
    labels = [None if r == 2 else label for r, label in zip(recordings, labels)]
    probe = classification("genre", x, labels, recordings, seed=0)
    assert probe.n_rows == 54
    assert "rare" in probe.reason
    with pytest.raises(NotComputable, match="1 classes have 3 recordings"):
        classification("genre", x[:8], ["a"] * 6 + ["b"] * 2, recordings[:8], seed=0)
    with pytest.raises(NotComputable, match="constant"):
        classification("genre", np.ones_like(x), labels, recordings, seed=0)


def test_recordings_of_several_classes() -> None:
    """A group such as a speaker says every digit: it is on one side all the same."""
    rng = np.random.default_rng(0)
    speaker, digit = np.repeat(np.arange(6), 8), np.tile(np.arange(4), 12)
    x = 4 * np.eye(4)[digit] @ rng.normal(size=(4, 10)) + rng.normal(size=(48, 10))
    assert classification("digit", x, [str(d) for d in digit], speaker, seed=0).value > 0.9
    lonely = np.where(digit == 3, 2, digit)
    lonely[:24] = np.where(speaker[:24] < 3, 3, lonely[:24])
    with pytest.raises(NotComputable, match="several classes"):
        nested_probabilities(x, np.where(speaker == 0, 3, lonely % 3), speaker, seed=0)


class Mapped:
    """Layers that are a random linear map of modulation energies, that hear nothing, and that are constant."""

    name = "mapped"
    layers = ("Linear", "Noise", "Flat")
    sampling_rate = RATE
    mapping = None
    genres = ()
    card = None
    fingerprint = "mapped"

    def __init__(self) -> None:
        self.inner = ModulationModel()
        rate = self.inner.frame_rate[self.inner.layer]
        self.frame_rate = dict.fromkeys(self.layers, rate)
        self.map = np.random.default_rng(0).normal(size=(60, 100))

    def features(self, clips: list[HeardClip]) -> list[dict[str, np.ndarray]]:
        heard = []
        for clip in clips:
            energies = self.inner.features([clip])[0][self.inner.layer]
            seed = int(np.abs(clip.waveform).sum() * 1e3) % 2**31
            noise = np.random.default_rng(seed).normal(size=(len(energies), 50))
            heard.append({"Linear": energies @ self.map, "Noise": noise, "Flat": np.ones((len(energies), 5))})
        return heard


def test_measures_of_planted_layers(pieces: HeldOutSounds) -> None:
    found = measure_code(Mapped(), pieces)  # type: ignore[arg-type]
    assert len(pieces.row_recordings) == 300
    probes = found.probes.set_index(["layer", "target"])
    assert probes.loc[("Linear", "modulation"), "value"] > 0.95
    assert probes.loc[("Linear", "loudness class"), "value"] > 0.7
    for target in ("modulation", "loudness", "pitch"):
        assert -0.3 < probes.loc[("Noise", target), "value"] < 0.05
        assert np.isnan(probes.loc[("Flat", target), "value"])
        assert probes.loc[("Flat", target), "reason"] == "the layer is constant"
    dimension = found.dimension.set_index("layer")
    frames = np.concatenate([Mapped().features([HeardClip(s.clip, RATE)])[0]["Linear"] for s in pieces.sounds])
    values = np.linalg.eigvalsh(np.cov(frames.T))
    assert dimension.loc["Linear", "raw"] == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-5)
    assert dimension.loc["Noise", "zscored"] > 30
    assert dimension.loc["Flat", "reason"] == "the layer is constant"
    assert dimension.loc["Flat", "n_constant"] == 5
    profile = found.profile.set_index("layer")
    assert "networks of this package" in profile.loc["Linear", "reason"]
    assert "sparseness: the layer is constant" in profile.loc["Flat", "reason"]
    assert profile.loc["Noise", "timescale_s"] < 1 / 15
    plain = found.to_dict()
    assert plain["dimension"][2]["raw"] is None


def test_a_network_is_measured_and_the_seed_fixes_all(pieces: HeldOutSounds) -> None:
    model = NetworkModel(BAN(preset("ban-small"), n_genres=3, seed=0))
    unlabelled = [replace(sound, labels={}) for sound in pieces.sounds[:6]]
    first = measure_code(model, held_out(unlabelled, seed=0, max_rows=120))
    assert first.profile["receptive_field_s"].is_monotonic_increasing
    assert first.profile.drop(columns="reason").notna().all(axis=None)
    again = measure_code(model, held_out(unlabelled, seed=0, max_rows=120), profile=False)
    other = measure_code(model, held_out(unlabelled, seed=1, max_rows=120), profile=False)
    assert first.probes.equals(again.probes)
    assert not first.probes.equals(other.probes)
    assert first.dimension.equals(other.dimension)  # no draw takes part in it


def test_no_sounds_is_an_error() -> None:
    with pytest.raises(DataError, match="no held-out sound"):
        held_out([], seed=0)


def test_probe_layer_names_every_task(pieces: HeldOutSounds) -> None:
    rows = pieces.targets["modulation"]
    pooled = np.stack([rows[pieces.row_recordings == r].mean(axis=0) for r in range(15)])
    found = {probe.target: probe for probe in probe_layer(rows, pooled, pieces)}
    assert list(found) == ["modulation", "loudness", "pitch", "loudness class"]
    assert found["modulation"].value > 0.99
    assert found["modulation"].interval[0] > 0.98
    assert found["loudness"].value > 0.3


def test_paths_are_found(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        held_out([Sound(Clip(tmp_path / "none.wav", 0.0, 1.0, "none"), "none")], seed=0)
