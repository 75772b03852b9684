"""Splits against torchaudio's lists, by track and without leaks."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.datasets.gtzan import filtered_test, filtered_train, filtered_valid

from ban_bids.errors import DataError, UsageError
from ban_bids.training.datasets import Track
from ban_bids.training.splits import FMRI_TWINS, fmri_tracks, split_tracks

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


def test_fmri_safe_leaves_415_and_181() -> None:
    split = split_tracks(_gtzan(), "fmri-safe", seed=0)
    assert (len(split.training), len(split.validation)) == (415, 181)
    assert not _names((*split.training, *split.validation)) & (fmri_tracks() | FMRI_TWINS.keys())


@pytest.mark.parametrize("per_genre", [100, 80])  # the lists, and the split that takes their place
def test_fmri_safe_bars_the_twins_of_what_was_heard(per_genre: int) -> None:
    tracks = _gtzan(per_genre)
    kept = sorted(set(filtered_train) - fmri_tracks() - FMRI_TWINS.keys())[0]
    # a track under which a collection has put one that was heard, because it is the same recording
    tracks = [replace(t, others=("jazz.00059",)) if t.name == kept else t for t in tracks]
    split = split_tracks(tracks, "fmri-safe", seed=0)
    used = _names((*split.training, *split.validation))
    assert not used & {"jazz.00043", "jazz.00067", "jazz.00070", "jazz.00071", "reggae.00044", "reggae.00058", kept}
    assert not used & {"reggae.00096", "disco.00074"}
    assert set(FMRI_TWINS.values()) <= fmri_tracks()
    assert FMRI_TWINS.keys().isdisjoint(fmri_tracks())


def test_excluded_tracks_do_not_change_which_split_is_used() -> None:
    tracks = _gtzan()
    listed = [t for t in tracks if t.name in set(filtered_train)]
    kept, excluded = [t for t in tracks if t not in listed[:300]], listed[:300]
    split = split_tracks(kept, "fault-filtered", seed=0, excluded=excluded)
    assert split.name == "fault-filtered"
    assert len(split.training) == 143


def test_all_tracks_may_train_and_the_note_says_what_that_costs() -> None:
    tracks = _gtzan(7)
    split = split_tracks(tracks, "all", seed=0)
    assert _names(split.training) == _names(tuple(tracks)) and not split.validation
    assert "accuracy of these weights is not known" in split.notes[0]
    with pytest.raises(DataError, match="0 training and 0 validation"):
        split_tracks([], "all", seed=0)


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


SETS = st.lists(st.integers(2, 12), min_size=2, max_size=6)
"""Tracks of each genre."""


def _set(sizes: list[int]) -> list[Track]:
    names = [(f"g{g}", f"{k}") for g, size in enumerate(sizes) for k in range(size)]
    return [Track(Path(f"{g}/{k}.wav"), f"{g}.{k}", g, f"{g} {k}") for g, k in names]


@settings(max_examples=60, deadline=None)
@given(
    SETS,
    st.integers(0, 2**32),
    st.sampled_from(["stratified", "random", "kfold-1-of-3", "fmri-safe"]),
    st.randoms(),
)
def test_no_track_is_on_both_sides_and_none_is_lost(sizes: list[int], seed: int, name: str, shuffle: Random) -> None:
    tracks = _set(sizes)
    split = split_tracks(tracks, name, seed)
    assert not _names(split.training) & _names(split.validation)
    assert _names(split.training) | _names(split.validation) == _names(tuple(tracks))
    assert len(split.training) + len(split.validation) == len(tracks)
    shuffle.shuffle(tracks)  # neither time nor the order of files matters
    again = split_tracks(tracks, name, seed)
    assert _names(again.validation) == _names(split.validation)
    assert any("artist" in note for note in split.notes)


@settings(max_examples=60, deadline=None)
@given(SETS, st.integers(2, 4), st.integers(0, 2**32))
def test_folds_partition_the_tracks_evenly(sizes: list[int], n_folds: int, seed: int) -> None:
    tracks = _set(sizes)
    held = [split_tracks(tracks, f"kfold-{k}-of-{n_folds}", seed).validation for k in range(n_folds)]
    assert sorted(t.name for fold in held for t in fold) == sorted(t.name for t in tracks)
    assert max(map(len, held)) - min(map(len, held)) <= 1
    for genre in {t.genre for t in tracks}:
        counts = [sum(t.genre == genre for t in fold) for fold in held]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["fault-filtered", "fmri-safe"]),
    st.sets(st.sampled_from([t.name for t in _gtzan()]), max_size=99),
)
def test_lists_lose_what_is_not_there_and_nothing_else(name: str, gone: set[str]) -> None:
    split = split_tracks([t for t in _gtzan() if t.name not in gone], name, seed=0)
    barred = gone | (fmri_tracks() | FMRI_TWINS.keys() if name == "fmri-safe" else set())
    assert _names(split.training) == set(filtered_train) - barred
    assert _names(split.validation) == set(filtered_valid) - barred
    assert not (_names(split.training) | _names(split.validation)) & set(filtered_test)


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
