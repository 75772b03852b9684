"""The card says everything that a reader of the scores should know, inside the checkpoint and beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import pytest
from short_trainings import QUICK

from ban_bids import __version__
from ban_bids.audio.waveforms import audio_hash
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.training.datasets import read_collection
from ban_bids.training.train import train_collection

SETTINGS = replace(QUICK, split="stratified", epochs=3, patience=1, learning_rate=1e-9, max_minutes=60.0)


@pytest.fixture(scope="module")
def data(genres: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three genres with a replica and a file that is no audio."""
    root = tmp_path_factory.mktemp("faulty") / "genres"
    shutil.copytree(genres, root)
    shutil.copy(root / "high" / "high.00001.wav", root / "high" / "high.00009.wav")
    (root / "low" / "low.00009.wav").write_bytes(b"not audio")
    return root


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "w.safetensors"
    collection = read_collection(data, [data / "low" / "low.00002.wav"])
    return train_collection(collection, path, SETTINGS, device="cpu", extra={"fingerprint": "abc"})


@pytest.fixture(scope="module")
def card(out: Path) -> ModelCard:
    card = load_checkpoint(out)[1]
    assert card is not None
    return card


def test_what_was_trained_on(card: ModelCard, data: Path) -> None:
    every = {path.stem: audio_hash(path) for path in data.glob("*/*.wav") if path.stem != "low.00009"}
    left_out = {"low.00002", "high.00009"}
    assert card.training_hashes | card.validation_hashes == {
        name: digest for name, digest in every.items() if name not in left_out
    }
    assert not set(card.training_hashes) & set(card.validation_hashes)
    assert sorted(name.split(".")[0] for name in card.validation_hashes) == ["high", "low", "pulsed"]
    assert card.genres == ("high", "low", "pulsed")
    assert card.split == "by track, stratified by genre"
    assert card.excluded == {"low.00002": every["low.00002"]}
    assert card.unreadable == ("low/low.00009.wav",)


def test_card_knows_its_tracks_by_their_sound(card: ModelCard, data: Path, tmp_path: Path) -> None:
    assert card.hashes == card.training_hashes | card.validation_hashes
    assert card.fingerprints.keys() == card.hashes.keys()
    assert card.knows_sounds
    other_name = shutil.copy(data / "high" / "high.00009.wav", tmp_path / "x.wav")  # a replica of high.00001
    assert card.knows(Path(other_name))
    assert all(card.knows(data / name.split(".")[0] / f"{name}.wav") for name in card.validation_hashes)
    assert not card.knows(data / "low" / "low.00002.wav")  # it was excluded


def test_how_it_was_trained(card: ModelCard, out: Path) -> None:
    assert card.settings == json.loads(json.dumps({**asdict(SETTINGS), "fingerprint": "abc"}))
    assert card.settings["seed"] == 1
    assert card.config == json.loads(json.dumps(load_checkpoint(out)[0].config.to_dict()))
    for name, stored in card.versions.items():
        assert stored == (__version__ if name == "ban-bids" else version(name))
    assert {"ban-bids", "torch", "torchaudio", "lightning", "numpy", "soundfile"} <= set(card.versions)


def test_figures(card: ModelCard) -> None:
    figures = card.metrics
    low, high = figures["track_accuracy_ci95"]
    assert 0 <= low <= figures["track_accuracy"] <= high <= 1
    names = ("n_training", "n_validation", "n_excluded", "n_replicas", "n_versions", "n_unreadable")
    assert [figures[name] for name in names] == [14, 3, 1, 1, 0, 1]
    # 11 tracks train, the patience of an epoch is 2 steps; some weights are better than none
    assert 2 < figures["steps"] <= 6
    assert 0 < figures["budget_minutes_used"] <= figures["minutes"] + 0.01
    assert figures["resumed_after_steps"] == []


def test_notes(card: ModelCard) -> None:
    notes = "\n".join(card.notes)
    assert "repeat other tracks and were left out: 1" in notes
    assert "cannot be decoded and were skipped: 1" in notes
    assert "early stopping held out 3 of the training tracks" in notes
    assert "interrupted" not in notes


def test_copy_beside_the_checkpoint(card: ModelCard, out: Path) -> None:
    beside = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert ModelCard.from_dict(beside) == card
