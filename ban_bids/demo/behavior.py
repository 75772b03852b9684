"""Genre choices of the demo's people: what a noisy listener with the teacher's ears would answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ban_bids.bids.behavior import write_choices
from ban_bids.demo.styles import GENRES

ACCURACY = 0.7
"""Expected share of right answers: what people reach on ten genres."""

_TEMPERATURES = np.geomspace(0.1, 10, 60)

LAPSE = 0.03
"""Share of answers that are guesses."""


def write_everybodys_choices(
    bids: Path,
    people: Sequence[str],
    clips: Sequence[Path],
    teacher: npt.NDArray[np.float64],
    *,
    trials: int,
    seed: int,
) -> None:
    """Draw and write every person's answers.

    Parameters
    ----------
    bids : Path
        The dataset.
    people : sequence of str
        Labels; a person's answers depend on the place in it.
    clips : sequence of Path
        Audio files named ``<genre>.<number>.wav``.
    teacher : ndarray, shape (n_clips, n_genres)
        Softmax of the teacher.
    trials : int
        Times each clip is judged.
    seed : int
        The dataset's seed.
    """
    right = [GENRES.index(clip.name.split(".")[0]) for clip in clips]
    probabilities = choice_probabilities(teacher, human_temperature(teacher, right))
    task = "Ten-way choice of the genre of a music clip"
    for index, label in enumerate(people):
        answers = draw_choices(probabilities, clips, trials, np.random.default_rng([seed, index, 13]))
        write_choices(bids, label, answers, task="genre", choices=GENRES, description=task)


def choice_probabilities(
    teacher: npt.NDArray[np.float64], temperature: float, lapse: float = LAPSE
) -> npt.NDArray[np.float64]:
    """Turn a network's genre probabilities into those of a person.

    Parameters
    ----------
    teacher : ndarray, shape (n_clips, n_genres)
        Softmax of the teacher.
    temperature : float
        Logits are divided by it.
    lapse : float
        Share of answers drawn from all genres alike.

    Returns
    -------
    ndarray, shape (n_clips, n_genres)
        Rows sum to one.
    """
    soft = np.maximum(teacher, 1e-12) ** (1 / temperature)
    soft /= soft.sum(axis=1, keepdims=True)
    return (1 - lapse) * soft + lapse / teacher.shape[1]


def human_temperature(teacher: npt.NDArray[np.float64], right: Sequence[int], accuracy: float = ACCURACY) -> float:
    """Temperature at which a listener with the teacher's ears is about as often right as people are.

    Parameters
    ----------
    teacher : ndarray, shape (n_clips, n_genres)
        Softmax of the teacher.
    right : sequence of int
        Column of each clip's true genre.
    accuracy : float
        Share of right answers wanted.

    Returns
    -------
    float
        The nearest where the accuracy is out of the teacher's reach.
    """
    rows = np.arange(len(right))
    reached = [choice_probabilities(teacher, t)[rows, list(right)].mean() for t in _TEMPERATURES]
    return float(_TEMPERATURES[np.argmin(np.abs(np.array(reached) - accuracy))])


def draw_choices(
    probabilities: npt.NDArray[np.float64], clips: Sequence[Path], trials: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw one person's answers.

    Parameters
    ----------
    probabilities : ndarray, shape (n_clips, n_genres)
        From :func:`choice_probabilities`.
    clips : sequence of Path
        Audio files named ``<genre>.<number>.wav``.
    trials : int
        Times each clip is judged.
    rng : numpy.random.Generator
        Source of order and answers.

    Returns
    -------
    DataFrame
        Columns ``trial stim_file genre response``, in the order of the trials.
    """
    order = np.concatenate([rng.permutation(len(clips)) for _ in range(trials)])
    answers = [str(rng.choice(GENRES, p=probabilities[clip])) for clip in order]
    return pd.DataFrame(
        {
            "trial": np.arange(1, order.size + 1),
            "stim_file": [clips[clip].name for clip in order],
            "genre": [clips[clip].name.split(".")[0] for clip in order],
            "response": answers,
        }
    )
