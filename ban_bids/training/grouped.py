"""Which tracks validate when a split must not divide groups of them, such as the recordings of one speaker."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ban_bids.errors import DataError
from ban_bids.training.tracks import Track

_SHARES = 6
"""A sixth validates, as in the splits by track."""
_NAMED = 3
"""Groups that are named where no more of them validate."""


def group_of(track: Track) -> str:
    """Its group; a track without one is its own."""
    return track.group or track.name


def held_out_sixth(tracks: Sequence[Track], seed: int) -> set[str]:
    """Groups with about a sixth of the tracks, of all classes alike as far as whole groups allow; at least one.

    Raises
    ------
    DataError
        For fewer than two groups.
    """
    _check(tracks, 2, "a split needs two; choose a split without --group, or add recordings of other groups")
    return _stratified_folds(tracks, min(_SHARES, len(_groups(tracks))), seed)[0]


def held_out_fold(tracks: Sequence[Track], index: int, n_folds: int, seed: int) -> set[str]:
    """Groups of one of several folds; with as many folds as groups each is one group, in the order of their names.

    Raises
    ------
    DataError
        For fewer groups than folds.
    """
    groups = _groups(tracks)
    _check(tracks, n_folds, f"{n_folds} folds need as many; choose kfold-I-of-N with N up to {max(2, len(groups))}")
    return {groups[index]} if len(groups) == n_folds else _stratified_folds(tracks, n_folds, seed)[index]


def held_out_at_random(tracks: Sequence[Track], seed: int) -> set[str]:
    """A sixth of the groups, whatever they hold; at least one.

    Raises
    ------
    DataError
        For fewer than two groups.
    """
    _check(tracks, 2, "a split needs two; choose a split without --group, or add recordings of other groups")
    groups = np.random.default_rng(seed).permutation(_groups(tracks)).tolist()
    return set(groups[: max(1, round(len(groups) / _SHARES))])


def in_words(tracks: Sequence[Track], held_out: set[str]) -> str:
    """Which groups validate, for a card."""
    if len(held_out) <= _NAMED:
        return f"by group: {', '.join(sorted(held_out))}"
    return f"by group: {len(held_out)} of {len(_groups(tracks))}"


def _groups(tracks: Sequence[Track]) -> list[str]:
    return sorted({group_of(track) for track in tracks})


def _check(tracks: Sequence[Track], n_needed: int, remedy: str) -> None:
    groups = _groups(tracks)
    if len(groups) < n_needed:
        raise DataError(f"--group: there are {len(groups)} groups ({', '.join(groups)}); {remedy}")


def _stratified_folds(tracks: Sequence[Track], n_folds: int, seed: int) -> list[set[str]]:
    """Groups of each fold; none is empty, for scikit-learn gives a group to an empty fold before any other."""
    tracks = sorted(tracks, key=lambda track: track.name)  # the order of files must not matter
    labels = [track.genre for track in tracks]
    if max(Counter(labels).values()) < n_folds:  # nothing to stratify, which scikit-learn refuses
        labels = ["" for _ in tracks]
    groups = [group_of(track) for track in tracks]
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=state)
    with warnings.catch_warnings():  # small classes cannot be in every fold
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return [{groups[k] for k in held_out} for _, held_out in folds.split(labels, labels, groups)]
