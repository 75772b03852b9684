"""Splits that keep groups whole: no group on both sides, every group held out once, few groups refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.datasets.gtzan import filtered_train, filtered_valid

from ban_bids.errors import DataError, UsageError
from ban_bids.training.splits import Split, inner_split, split_tracks
from ban_bids.training.tracks import Track

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def _track(name: str, genre: str, group: str, home: str = "") -> Track:
    return Track(Path(f"{home}/{genre}/{name}.wav"), f"{home}:{name}" if home else name, genre, name, home=home,
                 answers={home: genre} if home else {}, group=group)  # fmt: skip


def _digits(takes: int = 5, home: str = "") -> list[Track]:
    return [
        _track(f"{digit}_{speaker}_{take}", str(digit), f"speaker {speaker}", home)
        for digit in range(10) for speaker in SPEAKERS for take in range(takes)
    ]  # fmt: skip


def _groups(tracks: tuple[Track, ...] | list[Track]) -> set[str]:
    return {track.group for track in tracks}


def test_as_many_folds_as_speakers_leave_one_out_in_their_order() -> None:
    tracks = _digits()
    for k, speaker in enumerate(SPEAKERS):
        split = split_tracks(tracks, f"kfold-{k}-of-6", seed=k)
        assert split.name == f"fold {k} of 6 by group: speaker {speaker}"
        assert _groups(split.validation) == {f"speaker {speaker}"}
        assert len(split.validation) == 50 and len(split.training) == 250
        assert split.notes == ()  # no word of artists on both sides


@pytest.mark.parametrize("name", ["stratified", "fault-filtered", "fmri-safe"])
def test_a_sixth_of_alike_speakers_is_one_of_them(name: str) -> None:
    split = split_tracks(_digits(), name, seed=1)
    assert len(_groups(split.validation)) == 1
    assert Counter(t.genre for t in split.validation) == dict.fromkeys(map(str, range(10)), 5)
    assert "stratified by genre, by group: speaker" in split.name
    assert not any("artist" in note for note in split.notes)


SIZES = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=6, max_size=12)
"""Tracks of three classes of each group."""


def _set(sizes: list[list[int]]) -> list[Track]:
    rows = [(g, c, k) for g, counts in enumerate(sizes) for c, n in enumerate(counts) for k in range(n)]
    return [_track(f"{g}-{c}-{k}", "abc"[c], f"group {g:02d}") for g, c, k in rows]


def _whole(split: Split, tracks: list[Track]) -> None:
    assert not _groups(split.training) & _groups(split.validation)
    assert split.training and split.validation
    assert Counter(t.name for t in (*split.training, *split.validation)) == Counter(t.name for t in tracks)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(0, 2**40), st.sampled_from(["stratified", "random", "kfold-1-of-3"]), st.randoms())
def test_no_group_is_on_both_sides(sizes: list[list[int]], seed: int, name: str, shuffle: Random) -> None:
    tracks = _set(sizes)
    if len(_groups(tracks)) < 3:
        with pytest.raises(DataError, match="--group|--split"):
            split_tracks(tracks, "kfold-0-of-3", seed)
        return
    split = split_tracks(tracks, name, seed)
    _whole(split, tracks)
    shuffle.shuffle(tracks)  # the order of files must not matter
    assert _groups(split_tracks(tracks, name, seed).validation) == _groups(split.validation)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(2, 6), st.integers(0, 2**32))
def test_folds_hold_out_every_group_once(sizes: list[list[int]], n_folds: int, seed: int) -> None:
    tracks = _set(sizes)
    if len(_groups(tracks)) < n_folds:
        return
    folds = [split_tracks(tracks, f"kfold-{k}-of-{n_folds}", seed) for k in range(n_folds)]
    for fold in folds:
        _whole(fold, tracks)
    held = [group for fold in folds for group in _groups(fold.validation)]
    assert sorted(held) == sorted(_groups(tracks))


def test_too_few_groups_are_refused_with_the_remedy() -> None:
    with pytest.raises(DataError, match="there are 6 groups.*7 folds need as many; choose.*N up to 6"):
        split_tracks(_digits(), "kfold-0-of-7", seed=0)
    one = [track for track in _digits() if track.group == "speaker theo"]
    for name in ("stratified", "random", "fault-filtered"):
        with pytest.raises(DataError, match=r"there are 1 groups \(speaker theo\).*choose a split without --group"):
            split_tracks(one, name, seed=0)
    two = [track for track in _digits() if track.group in ("speaker theo", "speaker lucas")]
    assert len(split_tracks(two, "kfold-1-of-2", seed=0).validation) == 50
    with pytest.raises(DataError, match="--early-stopping holds out a sixth.*there are 1 groups"):
        inner_split(split_tracks(two, "kfold-1-of-2", seed=0).training, seed=0)


def test_lists_of_tracks_cannot_keep_groups_whole() -> None:
    names = [*filtered_train, *filtered_valid]
    listed = [_track(name, name.split(".")[0], f"artist {k % 50}") for k, name in enumerate(names)]
    with pytest.raises(UsageError, match="the lists of --split fault-filtered are by track; choose stratified"):
        split_tracks(listed, "fault-filtered", seed=0)
    _whole(split_tracks(listed, "stratified", seed=0), listed)


def test_a_class_that_one_group_has_alone_is_told() -> None:
    tracks = [_track(f"{g}{k}", "xyz"[g], f"group {g}") for g in range(3) for k in range(4)]
    split = split_tracks(tracks, "kfold-1-of-3", seed=0)
    assert any("no track of y trains" in note for note in split.notes)


def test_early_stopping_keeps_groups_whole_too() -> None:
    training, inner = inner_split(_digits(), seed=3)
    assert len(_groups(inner)) == 1 and not _groups(inner) & _groups(training)
    assert len(training) + len(inner) == 300


def test_a_group_is_on_one_side_in_all_folders() -> None:
    main, further = _digits(2), _digits(3, "words")
    split = split_tracks([*main, *further], "kfold-2-of-6", seed=0)
    assert _groups(split.validation) == {"speaker lucas"}
    assert len(split.validation) == 20 + 30 and len(split.training) == 100 + 150
    assert split.name == "fold 2 of 6 by group: speaker lucas; words: with the same groups"
    alone = split_tracks(main, "kfold-2-of-6", seed=0)  # the main folder is divided as it is without others
    assert [t for t in split.validation if not t.home] == list(alone.validation)
    inner = inner_split(split.training, seed=0)[1]
    assert inner and not any(t.home for t in inner)
    assert not _groups(inner) & _groups(inner_split(split.training, seed=0)[0])


def test_a_further_folder_is_divided_by_itself() -> None:
    main = [_track(f"{genre}{k}", genre, "") for genre in "ab" for k in range(6)]
    split = split_tracks([*main, *_digits(2, "digits")], "kfold-0-of-6", seed=0)
    assert _groups(split.validation) == {"", "speaker george"}
    assert sum(not t.home for t in split.validation) == 2
    assert any("artist" in note for note in split.notes)  # of the main folder, which has no groups
    few = [t for t in _digits(2, "digits") if t.group in ("speaker theo", "speaker lucas")]
    split = split_tracks([*main, *few], "kfold-0-of-6", seed=0)
    assert not any(t.home for t in split.validation)  # two speakers cannot be divided into six: all of them train
    assert "digits: too few to divide, so all train" in split.name


def test_gtzan_as_a_further_folder_keeps_its_lists(caplog: pytest.LogCaptureFixture) -> None:
    names = [*filtered_train, *filtered_valid]
    gtzan = [_track(name, name.split(".")[0], "", "music") for name in names]
    main = [replace(track, group="") for track in _digits(2)]
    split = split_tracks([*main, *gtzan], "fmri-safe", seed=0)
    kept = {t.name for t in (*split.training, *split.validation)}
    assert "music:jazz.00043" not in kept  # a twin of what was heard
    validated = {t.name.removeprefix("music:") for t in split.validation if t.home}
    assert validated and validated <= set(filtered_valid)
