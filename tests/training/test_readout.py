"""Linear read-outs: which layer, with what probabilities, on which tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from classes_of_music import CLASSES, RATE, TwoLayers, write_classes, write_track
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ban_bids.audio.waveforms import HeardClip, load_waveform
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.types import Clip
from ban_bids.training import readout as module
from ban_bids.training.datasets import Collection, read_collection
from ban_bids.training.readout import (
    PENALTIES,
    FittedReadout,
    Manner,
    balanced_weights,
    choose_readout,
    excerpts,
    inner_folds,
    readout_once,
)

MANNER = Manner(1.0)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def collection(classes: Path) -> Collection:
    return read_collection(classes)


def fit(model: TwoLayers, collection: Collection, folder: Path, seed: int = 1) -> FittedReadout:
    return readout_once(model, collection, CLASSES, manner=MANNER, folder=folder, seed=seed)


def planted(seed: int, n: int = 60, distance: float = 2.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three layers of which the second tells four classes of unequal size apart."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 7 % 4)
    layers = {name: rng.normal(3.0, 2.0, (n, 12)) for name in ("first", "second", "third")}
    layers["second"] += distance * rng.normal(size=(4, 12))[labels]
    return layers, labels


def pipeline(penalty: float):  # noqa: ANN201
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced", max_iter=5000))


def test_the_layer_that_holds_the_classes_is_chosen() -> None:
    layers, labels = planted(0)
    chosen = choose_readout(list(layers), layers.__getitem__, labels, np.arange(60), seed=1)
    assert chosen.layer == "second"
    assert {layer for layer, _ in chosen.of_folds} == {"second"}
    assert chosen.evaluation.track_accuracy.value > 0.9
    wanted = pipeline(chosen.penalty).fit(layers["second"], labels).predict_proba(layers["second"])
    np.testing.assert_allclose(chosen.readout.probabilities(layers["second"]), wanted, atol=1e-3)


def test_no_recording_takes_part_in_the_choice_that_answers_it() -> None:
    layers, labels = planted(3, distance=0.6)
    fold = inner_folds(labels, np.arange(60), 5)
    pairs = [(layer, penalty) for layer in layers for penalty in PENALTIES]
    given = np.empty((len(pairs), 60, 4))
    for number, (layer, penalty) in enumerate(pairs):
        for held in range(5):
            out = fold == held
            given[number, out] = (
                pipeline(penalty).fit(layers[layer][~out], labels[~out]).predict_proba(layers[layer][out])
            )
    weights = 1 / np.bincount(labels)[labels]

    def best(rows: np.ndarray) -> int:
        losses = [log_loss(labels[rows], p[rows], sample_weight=weights[rows], labels=range(4)) for p in given]
        return int(np.argmin(losses))

    right = [given[best(fold != fold[k]), k].argmax() == labels[k] for k in range(60)]
    chosen = choose_readout(list(layers), layers.__getitem__, labels, np.arange(60), seed=5)
    assert (chosen.layer, chosen.penalty) == pairs[best(np.ones(60, bool))]
    assert chosen.of_folds == tuple(pairs[best(fold != held)] for held in range(5))
    assert chosen.evaluation.track_accuracy.value == pytest.approx(np.mean(right))


def test_without_classes_in_the_features_accuracy_is_chance_also_where_recordings_lie_there_twice() -> None:
    accuracies, leaking = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        recordings = np.tile(np.arange(40), 2)
        features = {"layer": np.tile(rng.normal(size=(40, 20)), (2, 1)) + rng.normal(0, 0.01, (80, 20))}
        labels = rng.permutation(np.arange(40) % 4)[recordings]
        for rows, found in ((recordings, accuracies), (np.arange(80), leaking)):
            chosen = choose_readout(["layer"], features.__getitem__, labels, rows, seed=seed)
            found.append(chosen.evaluation.track_accuracy.value)
    assert np.mean(accuracies) == pytest.approx(0.25, abs=0.1)  # 4 SD of 240 answers
    assert np.mean(leaking) > 0.6  # the same without the recordings' numbers


def test_folds_hold_whole_recordings_and_leave_every_class_to_train() -> None:
    rng = np.random.default_rng(0)
    recordings = rng.permutation(np.repeat(np.arange(13), 3))
    labels = np.array([0, 0, 1, 1, 1, *[2] * 8])[recordings]
    fold = inner_folds(labels, recordings, 0)
    assert all(len(set(fold[recordings == name])) == 1 for name in range(13))
    assert all(set(labels[fold != held]) == {0, 1, 2} for held in range(5))
    assert set(fold) == set(range(5))
    assert set(inner_folds(np.array([0, 0, 1, 1]), np.arange(4), 0)) == set(range(4))


def test_weights_count_classes_recordings_and_rows_alike() -> None:
    recordings, labels = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(balanced_weights(labels, recordings), [0.375, 0.375, 0.75, 0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(1.0, [(0.3, 1.0), (1.5, 1.0)]), (0.5, [(0.17, 0.5), (1.05, 0.5), (1.98, 0.5)]), (9.0, [(0.0, 2.5)])],
)
def test_excerpts_lie_evenly_in_the_track(collection: Collection, seconds: float, wanted: list[object]) -> None:
    found = excerpts(collection.tracks[0], Manner(seconds, 0.1, 0.2))
    np.testing.assert_allclose([(clip.start, clip.duration) for clip in found], wanted, atol=0.2)
    assert {(clip.fade, clip.rms) for clip in found} == {(0.1, 0.2)}
    assert all(clip.start + clip.duration <= 2.5 + 1e-9 for clip in found)


def test_tracks_are_heard_as_the_clips_are() -> None:
    clips = [Clip(Path("a"), 0.0, seconds, "a", None, 2.0, level) for seconds, level in ((1, 0.1), (2, 0.1), (6, 0.1))]
    assert Manner.of(clips) == Manner(2.0, 2.0, 0.1)
    assert Manner.of([*clips, Clip(Path("a"), 0.0, 2.0, "a")]) == Manner(2.0, 0.0, None)


def test_fitted_to_a_folder_and_used_on_clips(tmp_path: Path, collection: Collection) -> None:
    model = TwoLayers()
    fitted = fit(model, collection, tmp_path)
    card = fitted.card
    assert fitted.layer == "Bands" and fitted.genres == CLASSES
    assert card.metrics["track_accuracy"] > 0.6
    assert set(card.training_hashes) == {track.name for track in collection.tracks} and not card.validation_hashes
    assert card.knows(collection.tracks[3].path)
    clips = [clip for track in collection.tracks for clip in excerpts(track, MANNER)]
    labels = [CLASSES.index(str(clip.genre)) for clip in clips]
    statistics = np.stack(
        [
            np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
            for clip in clips
            for frames in [model._features(load_waveform(clip.audio, clip.start, clip.duration, RATE))["Bands"]]
        ]
    )
    plain = pipeline(float(card.config["penalty"]) / 2)  # two excerpts count as one track
    wanted = plain.fit(statistics, labels).predict_proba(statistics)
    found = fitted.genre_probabilities([HeardClip(clip, RATE) for clip in clips])
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_what_is_known_is_not_computed_again(tmp_path: Path, collection: Collection) -> None:
    fit(first := TwoLayers(), collection, tmp_path)
    assert first.n_heard == 2 * len(collection.tracks)
    again = fit(second := TwoLayers(), collection, tmp_path)
    fit(second, collection, tmp_path, seed=2)  # other folds, the same features
    assert second.n_heard == 0
    other = fit(TwoLayers(), collection, tmp_path / "other")
    for name, tensor in other.linear.tensors.items():
        assert (tensor == again.linear.tensors[name]).all()
    assert other.card == again.card
    changed = TwoLayers()
    changed.fingerprint = "two-2"
    fit(changed, collection, tmp_path)
    assert changed.n_heard == 2 * len(collection.tracks)


def test_damaged_files_are_made_anew(tmp_path: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    known = fit(TwoLayers(), collection, tmp_path)
    (kept,) = tmp_path.glob("two-*.safetensors")
    kept.write_bytes(b"half a re")
    next(iter(sorted((tmp_path / "features").glob("*.npz")))).write_bytes(b"half")
    model = TwoLayers()
    anew = fit(model, collection, tmp_path)
    assert model.n_heard == 2
    assert anew.card == known.card
    monkeypatch.setattr(module, "choose_readout", None)  # nothing is fitted
    assert fit(TwoLayers(), collection, tmp_path).card == known.card


def test_barred_recordings_do_not_enter_under_whatever_name(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data", per_class=4)
    judged = tmp_path / "judged.ogg"
    soundfile.write(judged, 0.3 * soundfile.read(root / "dark" / "dark.00002.wav")[0][2000:], RATE)
    write_track(tmp_path / "unknown.wav", 900, 0.0)
    barred = read_collection(root, [judged, tmp_path / "unknown.wav"])
    card = fit(TwoLayers(), barred, tmp_path / "work").card
    assert list(card.excluded) == ["dark.00002"]
    assert len(card.training_hashes) == 11 and "dark.00002" not in card.training_hashes
    assert not card.knows(judged)
    free = fit(TwoLayers(), read_collection(root), tmp_path / "work").card
    assert free.knows(judged)


def test_a_class_of_one_recording_is_left_out(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data", per_class=3)
    for k in (1, 2):
        (root / "plain" / f"plain.{k:05d}.wav").unlink()
    fitted = fit(TwoLayers(), read_collection(root), tmp_path / "work")
    assert fitted.genres == ("bright", "dark")
    assert "classes with one recording, left out of the read-out: plain" in fitted.card.notes
    assert not any(name.startswith("plain") for name in fitted.card.hashes)
    for k in (1, 2):
        (root / "dark" / f"dark.{k:05d}.wav").unlink()
    with pytest.raises(NotComputable, match="two classes of two recordings.*bright 3, dark 1, plain 1"):
        fit(TwoLayers(), read_collection(root), tmp_path / "work")


def test_features_that_are_not_finite_are_refused(tmp_path: Path, collection: Collection) -> None:
    class Broken(TwoLayers):
        fingerprint = "broken"

        def _features(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
            return {**super()._features(waveform), "Noise": np.full((3, 2), np.nan, np.float32)}

    with pytest.raises(DataError, match="features of Noise are not finite"):
        fit(Broken(), collection, tmp_path)
