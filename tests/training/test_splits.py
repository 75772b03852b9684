"""Splits against torchaudio's lists, by track and without leaks."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
from torchaudio.datasets.gtzan import filtered_train, filtered_valid

from ban_bids.errors import DataError, UsageError
from ban_bids.training.datasets import Track
from ban_bids.training.splits import fmri_tracks, split_tracks

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def _gtzan(per_genre: int = 100) -> list[Track]:
    names = [f"{genre}.{k:05d}" for genre in GENRES for k in range(per_genre)]
    return [Track(Path(f"{n}.wav"), n, n.split(".")[0], f"digest of {n}") for n in names]


def _names(tracks: tuple[Track, ...]) -> set[str]:
    return {t.name for t in tracks}


def test_fault_filtered_is_torchaudios() -> None:
    split = split_tracks(_gtzan(), "fault-filtered", seed=0)
    assert _names(split.training) == set(filtered_train)
    assert _names(split.validation) == set(filtered_valid)
    assert split.name == "fault-filtered"


def test_fmri_safe_leaves_421_and_182() -> None:
    split = split_tracks(_gtzan(), "fmri-safe", seed=0)
    assert (len(split.training), len(split.validation)) == (421, 182)
    assert not _names((*split.training, *split.validation)) & fmri_tracks()


def test_excluded_tracks_do_not_change_which_split_is_used() -> None:
    tracks = _gtzan()
    listed = [t for t in tracks if t.name in set(filtered_train)]
    kept, excluded = [t for t in tracks if t not in listed[:300]], listed[:300]
    split = split_tracks(kept, "fault-filtered", seed=0, excluded=excluded)
    assert split.name == "fault-filtered"
    assert len(split.training) == 143


def test_shipped_list_is_what_the_test_runs_played(shared_data: Path) -> None:
    heard = set()
    for events in (shared_data / "ds003720").rglob("*task-Test*events.tsv"):
        with events.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                heard.add(f"{row['genre'].strip(chr(39))}.{int(row['track']):05d}")
    assert fmri_tracks() == heard
    assert len(heard) == 60


def test_other_data_is_stratified_by_track_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = split_tracks(_gtzan(7), "fault-filtered", seed=1)
    assert "stratified" in split.name
    assert "in place of fault-filtered" in split.name
    assert split.notes
    assert split.notes[0] in caplog.text
    assert not _names(split.training) & _names(split.validation)
    for genre in GENRES:
        assert sum(t.genre == genre for t in split.validation) == 1
    assert split == split_tracks(_gtzan(7), "fault-filtered", seed=1)
    assert split != split_tracks(_gtzan(7), "fault-filtered", seed=2)


def test_kfold_covers_every_track_once() -> None:
    tracks = _gtzan(7)
    folds = [split_tracks(tracks, f"kfold-{k}-of-5", seed=3) for k in range(5)]
    held = [name for fold in folds for name in _names(fold.validation)]
    assert sorted(held) == sorted(t.name for t in tracks)
    for fold in folds:
        assert _names(fold.training) == {t.name for t in tracks} - _names(fold.validation)
        assert len(fold.validation) == 14


def test_random_warns_that_it_leaks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = split_tracks(_gtzan(), "random", seed=0)
    assert "too high" in caplog.text
    assert len(split.validation) == 167


@pytest.mark.parametrize("name", ["fault_filtered", "kfold-5-of-5", "kfold-0-of-1", "kfold-a-of-b", ""])
def test_unknown_splits(name: str) -> None:
    with pytest.raises(UsageError, match="unknown"):
        split_tracks(_gtzan(2), name, seed=0)


def test_a_side_without_tracks_is_an_error() -> None:
    with pytest.raises(DataError, match="0 validation"):
        split_tracks(_gtzan(1), "stratified", seed=0)
