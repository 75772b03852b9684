"""How many people and clips are needed: simulated answers, scored as real ones are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from ban_bids.errors import UsageError
from ban_bids.files.progress import progress
from ban_bids.scoring.behavioral import score_responses
from ban_bids.scoring.i2n import centred, expected_pattern
from ban_bids.scoring.responses import Responses

B_TRUE = 0.6
"""Correlation of the simulated model's pattern with people's, without sampling noise."""

GENRE_SD, CLIP_SD = 0.8, 1.2
"""Spread of the preferences (logits) that people have in common: by genre and choice, by clip and choice."""

LIKING_SD, PERSON_SD = 0.5, 0.8
"""Spread of each person's own preferences: by choice, whatever is heard, and by clip and choice."""

_HALF = 10
_CLIPS_FOR_ACCURACY, _CLIPS_FOR_B = 1000, 3000
_DRAWS, _HALVINGS = 400, 50
_SPAN = 40.0
_STEPS = 14


@dataclass(frozen=True)
class World:
    """What all simulations share.

    Parameters
    ----------
    genres : ndarray of shape (G, G)
        Preference for each choice where the true genre is that of the row; the right one is raised until people are
        right as often as asked.
    shared : float
        Correlation of the model's preferences by clip with people's, at which B is `B_TRUE`.
    """

    genres: np.ndarray
    shared: float

    def preferences(self, true: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Preferences (logits) that people have in common, and those of the model: (C, G) each."""
        own, other = CLIP_SD * rng.standard_normal((2, len(true), len(self.genres)))
        mixed = self.shared * own + np.sqrt(1 - self.shared**2) * other
        return self.genres[true] + own, self.genres[true] + mixed


def plan_table(
    people: Sequence[int], clips: Sequence[int], *, n_choices: int, accuracy: float, n_simulations: int, seed: int
) -> pd.DataFrame:
    """How surely the behavioural score B would be known from so many people and clips.

    Parameters
    ----------
    people, clips : sequence of int
        Numbers to be tried, each with each. Everybody judges every clip once.
    n_choices : int
        Genres; clips are spread evenly over them.
    accuracy : float
        Share of right answers of the mean person, above chance and below 1.
    n_simulations : int
        Of each pair of numbers.
    seed : int
        Of everything that is drawn.

    Returns
    -------
    DataFrame
        Columns ``people``, ``clips``, ``computable`` (share of simulations in which people agree on which clips are
        hard, so that there is a B), and medians over these: ``half_width`` of the 95 % interval of B, ``B`` itself,
        and over all ``reliability`` (correlation of two halves of the people). NaN where none is computable.

    Raises
    ------
    UsageError
        No such accuracy, or numbers with which nothing can be simulated.

    Notes
    -----
    A person's preference for a choice (a logit) is the sum of four normal parts: of the clip's genre (standard
    deviation 0.8; the same in all simulations), of the clip (1.2; common to all people), of this person whatever is
    heard (0.5), and of this person with this clip (0.8); the right choice is preferred by as much as the accuracy
    needs. Answers are drawn from their softmax, independently. The model has the genres' part and preferences by clip
    whose correlation with people's makes its B, without sampling noise, 0.6. Real people may agree more or less than
    that.
    """
    if min(*people, *clips, n_simulations, n_choices - 1) < 1 or not 1 / n_choices < accuracy < 1:
        raise UsageError(
            f"--accuracy {accuracy:g} with --choices {n_choices}: give a share of right answers above chance "
            f"({1 / n_choices if n_choices else 1:g}) and below 1, and numbers of at least 1 (2 choices)"
        )
    world = make_world(n_choices, accuracy, seed)
    cells = list(product(people, clips))
    return pd.DataFrame([_row(world, cell, n_simulations, seed) for cell in progress(cells, "Simulating people")])


def _row(world: World, cell: tuple[int, int], n_simulations: int, seed: int) -> dict[str, float]:
    n_people, n_clips = cell
    scores = []
    for k in range(n_simulations):
        responses = simulate(world, n_people, n_clips, np.random.default_rng([seed, n_people, n_clips, k]))
        scores.append(score_responses(responses, n_bootstrap=_DRAWS, n_splits=_HALVINGS, seed=seed + k))
    known = [score for score in scores if np.isfinite(score.value)]
    return {
        "people": n_people,
        "clips": n_clips,
        "computable": round(len(known) / n_simulations, 2),
        "half_width": _median([(score.ci_high - score.ci_low) / 2 for score in known]),
        "B": _median([score.value for score in known]),
        "reliability": _median([score.people for score in scores if np.isfinite(score.people)]),
    }


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 2) if values else float("nan")


def simulate(world: World, n_people: int, n_clips: int, rng: np.random.Generator) -> Responses:
    """One answer of every person to every clip, beside the model's probabilities."""
    n_genres = len(world.genres)
    true = np.arange(n_clips) % n_genres
    common, model = world.preferences(true, rng)
    own = _own(common, n_people, rng)
    # the highest of preferences with Gumbel noise is a draw from their softmax
    answers = (own + rng.gumbel(size=own.shape)).argmax(axis=2)
    return Responses(
        counts=(answers[..., None] == np.arange(n_genres)).astype(np.int64),
        n_answers=np.ones((n_people, n_clips), dtype=np.int64),
        true=true,
        probabilities=_softmax(model),
        genres=tuple(f"{k:02d}" for k in range(n_genres)),
        n_excluded=0,
    )


def _own(common: np.ndarray, n_people: int, rng: np.random.Generator) -> np.ndarray:
    """Preferences of each of some people: (P, C, G)."""
    liking = LIKING_SD * rng.standard_normal((n_people, 1, common.shape[1]))
    return common + liking + PERSON_SD * rng.standard_normal((n_people, *common.shape))


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _mean_person(common: np.ndarray, n_people: int, rng: np.random.Generator) -> np.ndarray:
    """Mean over people of the probabilities of their answers: (C, G)."""
    return np.mean([_softmax(_own(common, 1, rng)[0]) for _ in range(n_people)], axis=0)


def make_world(n_choices: int, accuracy: float, seed: int) -> World:
    """Preferences by genre with which the mean person is right as often as asked, and a model whose B is known."""
    true = np.arange(_CLIPS_FOR_ACCURACY) % n_choices
    genres = GENRE_SD * np.random.default_rng([seed, 0]).standard_normal((n_choices, n_choices))
    np.fill_diagonal(genres, 0)

    def right(by: float) -> float:
        rng = np.random.default_rng([seed, 1])
        common, _ = World(genres + by * np.eye(n_choices), 0.0).preferences(true, rng)
        return float(_mean_person(common, 30, rng)[np.arange(len(true)), true].mean())

    genres = genres + _where(right, accuracy, -_SPAN, _SPAN) * np.eye(n_choices)
    return World(genres, _where(true_b(genres, seed), B_TRUE, 0.0, 1.0))


def true_b(genres: np.ndarray, seed: int) -> Callable[[float], float]:
    """B without sampling noise as a function of `World.shared`, from very many clips.

    It is the correlation of the patterns that model and people are expected to show, less their genres' means.
    """
    true = np.arange(_CLIPS_FOR_B) % len(genres)
    common, _ = World(genres, 0.0).preferences(true, np.random.default_rng([seed, 2]))
    people = centred(expected_pattern(_mean_person(common, 100, np.random.default_rng([seed, 3])), true, _HALF), true)

    def correlation(shared: float) -> float:
        _, preferences = World(genres, shared).preferences(true, np.random.default_rng([seed, 2]))
        model = centred(expected_pattern(_softmax(preferences), true, _HALF), true)
        return float((model * people).sum() / np.sqrt((model * model).sum() * (people * people).sum()))

    return correlation


def _where(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a rising function has a value, by halving."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2
