"""Human genre choices as arrays: who answered what to which clip, beside the model's probabilities."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ban_bids.errors import NotComputable
from ban_bids.inputs.events import plain_label
from ban_bids.inputs.notes import some
from ban_bids.inputs.types import Clip

_LOG = logging.getLogger(__name__)

OTHER = -1
"""Response that is none of the model's genres (never right), or no response."""

_SUMS = 1e-3


@dataclass(frozen=True, eq=False)
class Responses:
    """Choices of P people on C clips among G genres.

    Parameters
    ----------
    counts : ndarray of shape (P, C, G), int
        How often each person gave each answer.
    n_answers : ndarray of shape (P, C), int
        All answers of each person, with those that are no genre of the model.
    true : ndarray of shape (C,), int
        True genre.
    probabilities : ndarray of shape (C, G)
        The model's.
    genres : tuple of str
        In order of the alphabet, so that draws of clips within genres are the same for all models.
    n_excluded : int
        Clips left out because the model was trained or validated on their tracks.
    notes : tuple of str
    clip : ndarray of shape (C,), int, optional
        Index of each clip in the dataset's list.
    """

    counts: np.ndarray
    n_answers: np.ndarray
    true: np.ndarray
    probabilities: np.ndarray
    genres: tuple[str, ...]
    n_excluded: int
    notes: tuple[str, ...] = ()
    clip: np.ndarray | None = None

    def of(self, clips: np.ndarray) -> Responses:
        """Return the same for some clips."""
        return replace(
            self,
            counts=self.counts[:, clips],
            n_answers=self.n_answers[:, clips],
            true=self.true[clips],
            probabilities=self.probabilities[clips],
            clip=None if self.clip is None else self.clip[clips],
        )

    def of_judges(self) -> Responses:
        """Return the same without people who gave none of the genres to any clip: nothing of B rests on them."""
        judges = self.counts.any(axis=(1, 2))
        return replace(self, counts=self.counts[judges], n_answers=self.n_answers[judges])

    @property
    def plain_genres(self) -> list[str]:
        """Genres in the spelling in which they are compared."""
        return [plain_label(genre) for genre in self.genres]

    @property
    def heard(self) -> np.ndarray:
        """Whether each person answered to each clip: (P, C), bool."""
        return self.n_answers > 0

    @property
    def right(self) -> np.ndarray:
        """Share of each person's answers to each clip that are right: (P, C); 0 where there is none."""
        right = self.counts[:, np.arange(len(self.true)), self.true]
        return right / np.maximum(self.n_answers, 1)


def _key(audio: object, start: object, duration: object) -> tuple[str, int, int]:
    return str(audio), round(1000 * float(str(start))), round(1000 * float(str(duration)))


def match_responses(
    choices: pd.DataFrame,
    clips: Sequence[Clip],
    probabilities: np.ndarray,
    *,
    genres: Sequence[str],
    excluded: np.ndarray | None = None,
) -> Responses:
    """Lay human choices and the model's probabilities side by side.

    Parameters
    ----------
    choices : DataFrame
        Columns participant, audio, start, duration, true_genre, response; one row per choice.
    clips : sequence of Clip
        Of the rows of ``probabilities``; matched by audio, start and duration.
    probabilities : ndarray of shape (n_clips, G)
    genres : sequence of str
        Genres of the columns. Those that no clip is of and nobody answered are left out, and the probabilities of the
        others divided by their sum.
    excluded : ndarray of shape (n_clips,), bool, optional
        Clips whose tracks the model was trained or validated on.

    Returns
    -------
    Responses

    Raises
    ------
    NotComputable
        If nothing is left to compare, two of the model's genres have one name, or a probability is none.
    """
    _check_model(probabilities, genres)
    known_clips = {_key(clip.audio, clip.start, clip.duration): i for i, clip in enumerate(clips)}
    genres, probabilities, unasked = _asked(choices, genres, np.asarray(probabilities, dtype=float))
    known_genres = {plain_label(genre): i for i, genre in enumerate(genres)}
    keys = zip(choices["audio"], choices["start"], choices["duration"])
    clip = np.array([known_clips.get(_key(*key), OTHER) for key in keys], dtype=int)
    true, answer = (
        np.array([known_genres.get(plain_label(name), OTHER) for name in choices[column]], dtype=int)
        for column in ("true_genre", "response")
    )
    out = np.zeros(len(clips), dtype=bool) if excluded is None else np.asarray(excluded, dtype=bool)
    known = (clip >= 0) & (true >= 0)
    trained = known & out[np.maximum(clip, 0)]
    keep = known & ~trained & choices["response"].notna().to_numpy()
    if not keep.any():
        if trained.any():
            raise NotComputable("the model was trained or validated on the track of every clip that people judged")
        raise NotComputable("no human choice is on a clip and genre of the model")
    others = Counter(choices["response"][keep & (answer < 0)].astype(str).tolist())
    answered, true, answer = clip[keep], true[keep], answer[keep]
    people, p = np.unique(choices["participant"][keep].astype(str).to_numpy(), return_inverse=True)
    used, first_row, c = np.unique(answered, return_index=True, return_inverse=True)
    counts = np.zeros((len(people), len(used), len(genres)), dtype=np.int64)
    np.add.at(counts, (p[answer >= 0], c[answer >= 0], answer[answer >= 0]), 1)
    n_answers = np.zeros((len(people), len(used)), dtype=np.int64)
    np.add.at(n_answers, (p, c), 1)
    true_genres = true[first_row]
    never = [genres[g] for g in np.unique(true_genres) if not counts[:, :, g].any()]
    return Responses(
        counts=counts,
        n_answers=n_answers,
        true=true_genres,
        probabilities=probabilities[used],
        genres=tuple(genres),
        clip=used,
        n_excluded=len(np.unique(clip[trained])),
        notes=(*unasked, *_other_answers(others, never), *_notes(int(np.sum(~known)), answered, true)),
    )


def _check_model(probabilities: np.ndarray, genres: Sequence[str]) -> None:
    plain = [plain_label(genre) for genre in genres]
    twice = sorted({str(genre) for genre, name in zip(genres, plain) if plain.count(name) > 1})
    if twice:
        raise NotComputable(f"the model's genres {', '.join(twice)} have one name: give its read-out different ones")
    rows = np.asarray(probabilities, dtype=float)
    if not (np.all(rows >= 0) and np.allclose(rows.sum(axis=1), 1, atol=_SUMS)):
        raise NotComputable("the model's genre probabilities are not finite, or do not sum to 1")


def _asked(
    choices: pd.DataFrame, genres: Sequence[str], probabilities: np.ndarray
) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Genres that people heard or chose, in order of the alphabet, the model's probabilities of these, and a note.

    The others are taken for genres that people were not offered, which no dataset states: a model that could answer
    them would be told apart from people by the question alone.
    """
    asked = {plain_label(name) for column in ("true_genre", "response") for name in choices[column].dropna()}
    order = sorted(range(len(genres)), key=lambda g: plain_label(genres[g]))
    kept = [g for g in order if plain_label(genres[g]) in asked]
    if len(kept) == len(genres) or not kept:
        return [genres[g] for g in order], probabilities[:, order], ()
    chosen = probabilities[:, kept]
    total = chosen.sum(axis=1, keepdims=True)
    # who thinks of none of them could only guess
    among = np.divide(chosen, total, out=np.full_like(chosen, 1 / len(kept)), where=total > 0)
    others = ", ".join(genres[g] for g in order if g not in kept)
    note = f"people neither chose nor heard {others}: the model answers among the other genres ({len(kept)})"
    _LOG.info(note)
    return [genres[g] for g in kept], among, (note,)


def _other_answers(others: Counter[str], never: Sequence[str]) -> tuple[str, ...]:
    """Name the answers that are no genre, and genres of clips that nobody chose: perhaps they were called otherwise."""
    if not others:
        return ()
    named = some([f"{name} {n}" for name, n in others.most_common()])
    note = f"{others.total()} answers are none of the model's genres ({named}): not right in kappa, passed over in B"
    if never:
        note += f"; nobody chose {', '.join(never)}: if it was called otherwise, correct the answers"
    _LOG.warning(note)
    return (note,)


def _notes(n_unknown: int, clip: np.ndarray, true: np.ndarray) -> tuple[str, ...]:
    notes = []
    if n_unknown:
        notes.append(f"{n_unknown} choices are on clips or true genres that the model does not know")
    conflicting = int((pd.Series(true).groupby(clip).nunique() > 1).sum())
    if conflicting:
        notes.append(f"{conflicting} clips have several true genres; the first of each is taken")
    for note in notes:
        _LOG.warning(note)
    return tuple(notes)
