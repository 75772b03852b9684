"""Confusion matrices of people and models, against counts by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ban_bids.scoring.confusion import confusions
from ban_bids.scoring.responses import Responses


def responses(genres: tuple[str, ...] = ("blues", "jazz", "pop")) -> Responses:
    """Two people, two clips of blues and one of pop; nobody judged jazz.

    The first answers blues, jazz to one blues clip and polka to the other, the second blues to one; to pop the first
    says pop three times and blues once.
    """
    counts = np.zeros((2, 3, 3), dtype=int)
    counts[0, 0] = [1, 1, 0]
    counts[1, 1] = [1, 0, 0]
    counts[0, 2] = [1, 0, 3]
    n_answers = counts.sum(axis=2)
    n_answers[0, 1] += 1
    probabilities = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.2, 0.2, 0.6]])
    return Responses(counts, n_answers, np.array([0, 0, 2]), probabilities, genres, 0)


def cells(table: pd.DataFrame, column: str) -> dict[tuple[str, str], float]:
    return {(row.genre, row.answer): getattr(row, column) for row in table.itertuples()}


def test_shares_are_means_over_people_of_all_their_answers() -> None:
    table = confusions(responses())
    people, model = cells(table, "people_share"), cells(table, "model_share")
    # the first: 1 blues, 1 jazz, 1 other; the second: blues
    assert people["blues", "blues"] == pytest.approx((1 / 3 + 1) / 2)
    assert people["blues", "jazz"] == people["blues", "other"] == pytest.approx(1 / 6)
    assert people["pop", "pop"] == 0.75 and people["pop", "blues"] == 0.25  # who said nothing has no part in it
    assert model["blues", "blues"] == pytest.approx(0.7) and model["blues", "jazz"] == pytest.approx(0.2)
    assert model["blues", "other"] == 0 and model["pop", "pop"] == 0.6
    for column in ("people_share", "model_share"):
        np.testing.assert_allclose(table.groupby("genre")[column].sum(), 1)
    assert dict(zip(table["genre"], zip(table["n_people"], table["n_clips"]))) == {"blues": (2, 2), "pop": (1, 1)}


def test_rows_and_columns_have_the_same_order_with_other_last() -> None:
    table = confusions(responses())
    assert list(dict.fromkeys(table["genre"])) == ["blues", "pop"]
    assert list(dict.fromkeys(table["answer"])) == ["blues", "jazz", "pop", "other"]


def test_a_genre_called_other_is_not_taken_for_answers_that_are_none() -> None:
    table = confusions(responses(("blues", "Other", "pop")))
    assert list(dict.fromkeys(table["answer"])) == ["blues", "Other", "pop", "none of these"]
    assert not table.duplicated(["genre", "answer"]).any()
