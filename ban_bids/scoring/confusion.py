"""Which genres are taken for which: by people and by the model, on the same clips."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ban_bids.scoring.responses import Responses

OTHER_ANSWER = "other"
"""Answers of people that are none of the model's genres; where it has a genre of this name, `NONE_OF_THEM`."""

NONE_OF_THEM = "none of these"
"""Their name beside a genre that is called other."""


def confusions(responses: Responses) -> pd.DataFrame:
    """Confusion matrices of people and model, one below the other cell by cell.

    Parameters
    ----------
    responses : Responses

    Returns
    -------
    DataFrame
        A row per genre of the judged clips and answer, both in order of the alphabet, ``other`` last: columns
        ``genre``, ``answer``, ``people_share`` (mean over people of each person's own share of answers to clips of the
        genre, all answers counted), ``model_share`` (mean probability over those clips; 0 for ``other``), ``n_people``
        (who answered to clips of the genre) and ``n_clips``.
    """
    other = NONE_OF_THEM if OTHER_ANSWER in responses.plain_genres else OTHER_ANSWER
    answers = [*responses.genres, other]
    rows = []
    for genre in np.unique(responses.true):
        clips = responses.true == genre
        given = responses.counts[:, clips].sum(axis=1)
        total = responses.n_answers[:, clips].sum(axis=1)
        given = np.column_stack([given, total - given.sum(axis=1)])[total > 0]
        people = (given / total[total > 0, None]).mean(axis=0)
        model = [*responses.probabilities[clips].mean(axis=0), 0.0]
        n_people, n_clips = len(given), int(clips.sum())
        rows += [
            (responses.genres[genre], answer, float(of_people), float(of_model), n_people, n_clips)
            for answer, of_people, of_model in zip(answers, people, model, strict=True)
        ]
    return pd.DataFrame(rows, columns=["genre", "answer", "people_share", "model_share", "n_people", "n_clips"])
