"""The model answers what people were asked: genres that nobody could choose, and models that do not choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ban_bids.inputs.types import Clip
from ban_bids.scoring.behavioral import BehavioralScore, behavioral_score

ASKED = ("blues", "jazz", "pop")
MORE = ("country", "disco", "metal", "reggae")


@pytest.fixture(scope="module")
def people() -> tuple[pd.DataFrame, list[Clip], np.ndarray]:
    """Twelve people's choices on 30 clips, and the probabilities behind them."""
    rng = np.random.default_rng(0)
    clips = [Clip(Path(f"/a/{k}.wav"), 0.0, 5.0, str(k)) for k in range(30)]
    true = np.arange(30) % 3
    logits = 1.2 * rng.standard_normal((30, 3))
    logits[np.arange(30), true] += 1.0
    among = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = [
        (f"{person}", clip.audio, 0.0, 5.0, ASKED[genre], ASKED[rng.choice(3, p=p)])
        for person in range(12)
        for clip, genre, p in zip(clips, true, among, strict=True)
    ]
    columns = ["participant", "audio", "start", "duration", "true_genre", "response"]
    return pd.DataFrame(rows, columns=columns), clips, among


def scored(choices: pd.DataFrame, clips: list[Clip], model: np.ndarray, genres: tuple[str, ...]) -> BehavioralScore:
    return behavioral_score(choices, clips, model, genres=genres, n_bootstrap=20, n_splits=20)


def of_all(among: np.ndarray, seed: int) -> np.ndarray:
    """The same odds of the genres asked for, with up to 95 % for others."""
    rng = np.random.default_rng(seed)
    elsewhere = rng.uniform(0, 0.95, (len(among), 1))
    return np.hstack([among * (1 - elsewhere), elsewhere * rng.dirichlet(np.full(len(MORE), 0.5), len(among))])


def test_what_a_model_thinks_of_genres_that_nobody_could_choose_counts_for_nothing(
    people: tuple[pd.DataFrame, list[Clip], np.ndarray],
) -> None:
    choices, clips, among = people
    alone = scored(choices, clips, among, ASKED)
    assert alone.value == pytest.approx(1, abs=0.1)
    with_more = scored(choices, clips, of_all(among, 1), ASKED + MORE)
    assert with_more.value == pytest.approx(alone.value)
    assert with_more.kappa_model_person.value == pytest.approx(alone.kappa_model_person.value)
    assert with_more.conditions == alone.conditions  # the two models are compared
    assert any("country, disco, metal, reggae" in note for note in with_more.notes)
    assert not any("answers among" in note for note in alone.notes)


def test_a_genre_that_somebody_chose_stays(people: tuple[pd.DataFrame, list[Clip], np.ndarray]) -> None:
    choices, clips, among = people
    once = choices.copy()
    once.loc[0, "response"] = "metal"
    score = scored(once, clips, of_all(among, 1), ASKED + MORE)
    assert set(score.confusion["answer"]) == {*ASKED, "metal", "other"}


def test_a_model_that_thinks_of_no_genre_that_was_asked_for_can_only_guess(
    people: tuple[pd.DataFrame, list[Clip], np.ndarray],
) -> None:
    choices, clips, among = people
    elsewhere = np.zeros((30, 7))
    elsewhere[:, 3] = 1
    score = scored(choices, clips, elsewhere, ASKED + MORE)
    assert np.isnan(score.value) and "constant" in score.reason
    assert score.confusion["model_share"].unique() == pytest.approx([1 / 3, 0])


@pytest.mark.parametrize("n_people", [8, 12, 15])
@pytest.mark.parametrize("n_genres", [3, 7])
def test_a_model_that_answers_all_genres_alike_has_no_b(n_genres: int, n_people: int) -> None:
    """Rounding made a pattern of it: B was .2, with an interval above 0."""
    rng = np.random.default_rng(n_genres * 100 + n_people)
    names = [f"g{k}" for k in range(n_genres)]
    true = np.arange(6 * n_genres) % n_genres
    clips = [Clip(Path(f"/a/{k}.wav"), 0.0, 5.0, str(k)) for k in range(len(true))]
    odds = 0.7 * rng.dirichlet(np.full(n_genres, 0.3), len(true)) + 0.3 * np.eye(n_genres)[true]
    rows = [
        (f"{person}", clip.audio, 0.0, 5.0, names[genre], names[rng.choice(n_genres, p=p)])
        for person in range(n_people)
        for clip, genre, p in zip(clips, true, odds, strict=True)
    ]
    choices = pd.DataFrame(rows, columns=["participant", "audio", "start", "duration", "true_genre", "response"])
    alike = np.full((len(true), n_genres), 1 / n_genres)
    score = scored(choices, clips, alike, tuple(names))
    assert np.isnan(score.value) and score.reason == "the model's pattern over clips is constant"
    assert np.isfinite(scored(choices, clips, 0.999 * alike + 0.001 * odds, tuple(names)).value)
