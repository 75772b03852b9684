"""The script that makes the weights that ship: which tracks train, what the card says, the same bytes again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest
from short_trainings import QUICK
from tool_scripts import load

from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.training.train import train_collection

NAMES = {"high": "disco", "low": "jazz", "pulsed": "rock"}
LEFT_OUT = {"disco.00000", "disco.00004"}
"""Of those, what ds003720's Test runs play."""


@pytest.fixture(scope="module")
def data(genres: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three genres under names of GTZAN's."""
    root = tmp_path_factory.mktemp("gtzan") / "genres"
    for genre, name in NAMES.items():
        (root / name).mkdir(parents=True)
        for track in (genres / genre).iterdir():
            shutil.copy(track, root / name / track.name.replace(genre, name))
    return root


def test_what_ships_is_trained_on_all_that_may_and_is_the_same_every_time(data: Path, tmp_path: Path) -> None:
    tool = load("train_shipped_weights")
    recipe = tool.Recipe(replace(QUICK, epochs=2))
    first = tool.ship(data, tmp_path / "a.safetensors", tmp_path / "first", recipe, 2)
    card = load_checkpoint(first)[1]
    assert card is not None
    assert set(card.excluded) == LEFT_OUT
    assert set(card.training_hashes) == {path.stem for path in data.glob("*/*.wav")} - LEFT_OUT
    assert not card.validation_hashes
    assert card.small_data is not None and "trained on 16 tracks (GTZAN)" in card.small_data
    assert "GTZAN (Tzanetakis and Cook 2002): no licence stated" in card.sources[0]
    assert card.split.startswith("16 tracks of GTZAN, without those of ds003720's Test runs")
    assert not {"minutes", "budget_minutes_used", "track_accuracy"} & set(card.metrics)
    folds = [load_checkpoint(tmp_path / "first" / f"fold-{k}.safetensors")[1] for k in range(2)]
    figures = [fold.metrics for fold in folds if fold is not None]
    right = sum(round(one["track_accuracy"] * one["n_tracks"]) for one in figures)
    assert sum(one["n_tracks"] for one in figures) == 16
    low, high = binomtest(right, 16).proportion_ci(method="wilson")
    assert (
        f"2 folds by track, trained alike: {right} of 16 tracks, {right / 16:.2f} [{low:.2f}, {high:.2f}]"
        in (card.notes[1])
    )
    assert not any("kept apart" in note for note in card.notes)
    again = tool.ship(data, tmp_path / "b.safetensors", tmp_path / "second", recipe, 2)
    assert again.read_bytes() == first.read_bytes()


def test_a_second_call_goes_on_with_what_was_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = load("train_shipped_weights")
    recipe = tool.Recipe(replace(QUICK, epochs=1))
    first = tool.ship(data, tmp_path / "a.safetensors", tmp_path, recipe)
    card = load_checkpoint(first)[1]
    assert card is not None and "accuracy of these weights is not known" in card.notes[1]
    trained: list[Path] = []
    monkeypatch.setattr(
        "ban_bids.training.train.train_collection",
        lambda collection, out, *a, **b: trained.append(out) or train_collection(collection, out, *a, **b),
    )
    assert tool.ship(data, tmp_path / "b.safetensors", tmp_path, recipe).read_bytes() == first.read_bytes()
    assert trained == []
    other = replace(recipe, settings=replace(recipe.settings, seed=2))
    assert tool.ship(data, tmp_path / "b.safetensors", tmp_path, other).read_bytes() != first.read_bytes()
    assert trained == [tmp_path / "all.safetensors"]
