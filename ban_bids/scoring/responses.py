"""Human genre choices as arrays: who answered what to which clip, beside the model's probabilities."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from ban_bids.errors import NotComputable

logger = logging.getLogger(__name__)

OTHER = -1
"""Response that is none of the model's genres (never right), or no response."""


class ClipLike(Protocol):
    """What identifies a clip (`ban_bids.inputs.dataset.Clip` has it)."""

    @property
    def audio(self) -> Path: ...  # noqa: D102

    @property
    def start(self) -> float: ...  # noqa: D102

    @property
    def duration(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Responses:
    """Choices of P people on C clips among G genres.

    Parameters
    ----------
    counts : ndarray of shape (P, C, G), int
        How often each person gave each answer.
    first : ndarray of shape (P, C), int
        First answer of each person, ``OTHER`` for one that is no genre of the model.
    heard : ndarray of shape (P, C), bool
        Whether the person answered.
    true : ndarray of shape (C,), int
        True genre.
    probabilities : ndarray of shape (C, G)
        The model's.
    genres : tuple of str
    n_excluded : int
        Clips left out because the model was trained or validated on their tracks.
    notes : tuple of str
    """

    counts: np.ndarray
    first: np.ndarray
    heard: np.ndarray
    true: np.ndarray
    probabilities: np.ndarray
    genres: tuple[str, ...]
    n_excluded: int
    notes: tuple[str, ...] = ()


def _plain(genre: object) -> str:
    """Spelling in which genres are compared: ``Hip-Hop``, ``hip hop`` and ``hiphop`` are one."""
    return re.sub(r"[^a-z0-9]", "", str(genre).lower())


def _key(audio: object, start: object, duration: object) -> tuple[str, int, int]:
    return str(audio), round(1000 * float(str(start))), round(1000 * float(str(duration)))


def match_responses(
    choices: pd.DataFrame,
    clips: Sequence[ClipLike],
    probabilities: np.ndarray,
    genres: Sequence[str],
    excluded: np.ndarray | None = None,
) -> Responses:
    """Lay human choices and the model's probabilities side by side.

    Parameters
    ----------
    choices : DataFrame
        Columns participant, audio, start, duration, true_genre, response; one row a choice.
    clips : sequence
        Clips of the rows of ``probabilities``; matched by audio, start and duration.
    probabilities : ndarray of shape (n_clips, G)
    genres : sequence of str
        Genres of the columns.
    excluded : ndarray of shape (n_clips,), bool, optional
        Clips whose tracks the model was trained or validated on.

    Returns
    -------
    Responses

    Raises
    ------
    NotComputable
        If nothing is left to compare.
    """
    codes = _Codes(clips, genres)
    clip = codes.clips(choices)
    true = codes.genres(choices["true_genre"])
    out = np.zeros(len(clips), dtype=bool) if excluded is None else np.asarray(excluded, dtype=bool)
    known = (clip >= 0) & (true >= 0)
    trained = known & out[np.maximum(clip, 0)]
    keep = known & ~trained & choices["response"].notna().to_numpy()
    if not keep.any():
        if trained.any():
            raise NotComputable("the model was trained or validated on the track of every clip that people judged")
        raise NotComputable("no human choice is on a clip and genre of the model")
    return _tabulate(
        choices["participant"][keep].astype(str).to_numpy(),
        clip[keep],
        true[keep],
        codes.genres(choices["response"][keep]),
        np.asarray(probabilities, dtype=float),
        tuple(genres),
        len(np.unique(clip[trained])),
        _notes(int(np.sum(~known)), clip[keep], true[keep]),
    )


class _Codes:
    """Indices of clips and genres as the model knows them; ``OTHER`` for the rest."""

    def __init__(self, clips: Sequence[ClipLike], genres: Sequence[str]) -> None:
        self._clips = {_key(c.audio, c.start, c.duration): i for i, c in enumerate(clips)}
        self._genres = {_plain(genre): i for i, genre in enumerate(genres)}

    def clips(self, choices: pd.DataFrame) -> np.ndarray:
        keys = zip(choices["audio"], choices["start"], choices["duration"])
        return np.array([self._clips.get(_key(*key), OTHER) for key in keys], dtype=int)

    def genres(self, names: Iterable[object]) -> np.ndarray:
        return np.array([self._genres.get(_plain(name), OTHER) for name in names], dtype=int)


def _notes(n_unknown: int, clip: np.ndarray, true: np.ndarray) -> tuple[str, ...]:
    notes = []
    if n_unknown:
        notes.append(f"{n_unknown} choices are on clips or true genres that the model does not know")
    conflicting = int((pd.Series(true).groupby(clip).nunique() > 1).sum())
    if conflicting:
        notes.append(f"{conflicting} clips have several true genres; the first of each is taken")
    for note in notes:
        logger.warning(note)
    return tuple(notes)


def _tabulate(
    person: np.ndarray,
    clip: np.ndarray,
    true: np.ndarray,
    answer: np.ndarray,
    probabilities: np.ndarray,
    genres: tuple[str, ...],
    n_excluded: int,
    notes: tuple[str, ...],
) -> Responses:
    people, p = np.unique(person, return_inverse=True)
    used, first_row, c = np.unique(clip, return_index=True, return_inverse=True)
    counts = np.zeros((len(people), len(used), len(genres)), dtype=np.int64)
    np.add.at(counts, (p[answer >= 0], c[answer >= 0], answer[answer >= 0]), 1)
    first = np.full((len(people), len(used)), OTHER)
    heard = np.zeros(first.shape, dtype=bool)
    # Written backwards, so that the first of several answers stays.
    first[p[::-1], c[::-1]] = answer[::-1]
    heard[p, c] = True
    return Responses(counts, first, heard, true[first_row], probabilities[used], genres, n_excluded, notes)
