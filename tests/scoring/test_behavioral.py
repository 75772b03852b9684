"""Behavioural score on simulated people and models with a known shared structure, and against loops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import multinomial, norm
from sklearn.metrics import cohen_kappa_score

from ban_bids.inputs.events import plain_label
from ban_bids.inputs.types import Clip
from ban_bids.scoring.behavioral import (
    KAPPAS,
    BehavioralScore,
    behavioral_score,
    majority_of_others,
    mean_kappa,
    no_behavior,
    over_people_and_clips,
    pair_kappas,
    spread,
)
from ban_bids.scoring.bootstrap import resample_counts
from ban_bids.scoring.i2n import (
    compare_patterns,
    consistency,
    expected_pattern,
    halvings,
    hit_pattern,
    usable_clips,
)
from ban_bids.scoring.responses import Responses, match_responses

GENRES = ("blues", "hip-hop", "jazz", "metal", "pop")


@dataclass(frozen=True)
class Heard:
    audio: Path
    start: float = 0.0
    duration: float = 5.0


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def population(n_clips: int, seed: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """True genres, and the probabilities with which a population answers."""
    rng = np.random.default_rng(seed)
    true = np.arange(n_clips) % len(GENRES)
    logits = spread * rng.standard_normal((n_clips, len(GENRES)))
    logits[np.arange(n_clips), true] += 1.5
    return true, softmax(logits)


def answers(true: np.ndarray, probabilities: np.ndarray, n_people: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (
            f"{p:02d}",
            f"/a/{c}.wav",
            0.0,
            5.0,
            GENRES[true[c]],
            GENRES[rng.choice(len(GENRES), p=probabilities[c])],
        )
        for p in range(n_people)
        for c in range(len(true))
    ]
    return pd.DataFrame(rows, columns=["participant", "audio", "start", "duration", "true_genre", "response"])


def clips(n: int) -> list[Heard]:
    return [Heard(Path(f"/a/{c}.wav")) for c in range(n)]


def run(choices: pd.DataFrame, probabilities: np.ndarray, **more: object) -> BehavioralScore:
    options = {"n_bootstrap": 100, "n_splits": 20, **more}
    return behavioral_score(choices, clips(len(probabilities)), probabilities, genres=GENRES, **options)  # type: ignore[arg-type]


def draw(true: np.ndarray, p: np.ndarray, n_people: np.ndarray | int, seed: int) -> Responses:
    """One answer of each person to the clips that the person heard."""
    most = int(np.max(n_people))
    rng = np.random.default_rng(seed)
    answer = (p.cumsum(axis=1) < rng.random((most, len(p), 1))).sum(axis=2)
    heard = np.arange(most)[:, None] < np.broadcast_to(n_people, len(true))
    counts = (answer[..., None] == np.arange(p.shape[1])) & heard[..., None]
    return Responses(counts.astype(int), heard.astype(int), true, p, GENRES, 0)


def b_of(responses: Responses, model: np.ndarray, seed: int = 0) -> float:
    keep, half = usable_clips(responses.heard.sum(axis=0), responses.true)
    used = replace(responses, probabilities=model).of(keep)
    return float(consistency(compare_patterns(used, half, 20, seed=seed), np.ones((1, keep.sum())))[0][0])


@pytest.mark.parametrize("noise", [0.0, 0.4])
@pytest.mark.parametrize(("n_people", "tolerance"), [(4, 0.05), (20, 0.02)])
def test_the_peoples_own_probabilities_have_b_1_whatever_their_noise_and_number(
    noise: float, n_people: int, tolerance: float
) -> None:
    found = []
    for seed in range(10):
        true, p = population(200, seed)
        p = (1 - noise) * p + noise / len(GENRES)
        found.append(b_of(draw(true, p, n_people, seed), p))
    assert np.mean(found) == pytest.approx(1, abs=tolerance)


def test_a_half_right_model_has_the_same_b_whatever_the_noise() -> None:
    found = {0.0: [], 0.5: []}  # type: dict[float, list[float]]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        true = np.arange(200) % len(GENRES)
        people, other = rng.standard_normal((2, 200, len(GENRES)))
        people[np.arange(200), true] += 1.5
        other[np.arange(200), true] += 1.5
        for noise, values in found.items():
            p, model = ((1 - noise) * softmax(x) + noise / len(GENRES) for x in (people, (people + other) / 2**0.5))
            values.append(b_of(draw(true, p, 10, seed), model))
    assert np.mean(found[0.5]) == pytest.approx(np.mean(found[0.0]), abs=0.04)


def test_unequal_numbers_of_answers_make_no_model_consistent() -> None:
    """Where few answered, rates lie nearer to 1/2; a model must not gain by that."""
    found = []
    for seed in range(20):
        true, p = population(100, seed)
        _, stranger = population(100, seed + 50)
        few = np.where(np.arange(100) // 5 % 2, 4, 24)
        found.append(b_of(draw(true, p, few, seed), stranger))
    assert np.mean(found) == pytest.approx(0, abs=0.05)


def test_expected_pattern_is_the_mean_over_all_outcomes() -> None:
    rng = np.random.default_rng(0)
    true = np.array([0, 2, 1])
    p = np.vstack([rng.dirichlet(np.ones(3), 2), [0.0, 1.0, 0.0]])
    outcomes = [(a, b, 4 - a - b) for a in range(5) for b in range(5 - a)]
    found = expected_pattern(p, true, 4)
    for i, t in enumerate(true):
        assert found[i, t] == 0
        for d in set(range(3)) - {t}:
            mean = sum(multinomial.pmf(k, 4, p[i]) * norm.ppf((k[t] + 0.5) / (k[t] + k[d] + 1)) for k in outcomes)
            assert found[i, d] == pytest.approx(mean)
    counts = rng.multinomial(4, p[0], 20_000)
    drawn = hit_pattern(counts, np.zeros(20_000, dtype=int)).mean(axis=0)
    np.testing.assert_allclose(found[0], drawn, atol=0.02)


def test_consistency_equals_pearson_of_the_normalised_entries_of_each_draw() -> None:
    """Of one halving; on the full clips and on a draw with repeated clips."""
    true = np.array([0, 0, 0, 1, 1, 2, 2])
    people = np.random.default_rng(1).dirichlet(np.ones(3), 7)
    responses = draw(true, people, 6, 1)
    counts = np.array([[1, 1, 1, 1, 1, 1, 1], [2, 0, 1, 1, 1, 0, 2]])
    [halving] = halvings(responses, 3, 1, 5)
    one, other = halving.chosen.sum(axis=1)
    x = expected_pattern(people, true, 3)
    found = consistency(compare_patterns(responses, 3, 1, seed=5), counts.astype(float))
    for draw_, value, rho, reliability in zip(counts, *found):
        entries = []
        for t in range(3):
            members = [i for i in range(7) if true[i] == t for _ in range(draw_[i])]
            for d in set(range(3)) - {t}:
                z = np.array([x[members, d], *(hit_pattern(h, true)[members, d] for h in (one, other))])
                entries.append(z - z.mean(axis=1, keepdims=True))
        m, a, b = np.concatenate(entries, axis=1)
        half = (a @ a + b @ b) / 2
        assert rho == pytest.approx(m @ (a + b) / 2 / np.sqrt(m @ m * half))
        assert reliability == pytest.approx(a @ b / half)
        assert (np.isnan(value) and a @ b < 0) or value == pytest.approx(rho / np.sqrt(reliability))


def test_halves_hold_equally_many_people_and_nobody_twice() -> None:
    rng = np.random.default_rng(3)
    # every person answers with a genre of their own, four of them three times
    counts = np.zeros((5, 6, 5), dtype=int)
    counts[np.arange(5), :, np.arange(5)] = np.array([1, 3, 3, 3, 3])[:, None]
    counts[4, 0] = 0
    responses = Responses(counts, counts.sum(2), np.zeros(6, dtype=int), rng.dirichlet(np.ones(5), 6), GENRES, 0)
    keep, half = usable_clips(responses.heard.sum(0), responses.true)
    assert half == 2 and keep.all()
    split = list(halvings(responses, half, 60, 0))
    one, other = np.moveaxis([halving.chosen.sum(axis=1) for halving in split], 1, 0)
    assert (one.sum(-1) == 2).all() and (other.sum(-1) == 2).all()
    assert ((one + other) <= 1).all()
    assert not (one + other)[:, 0, 4].any()  # did not judge the first clip
    # everybody else is drawn equally often, however many answers they gave
    np.testing.assert_allclose((one + other)[:, 1:].mean((0, 1)), 0.8, atol=0.1)
    # with whoever judged everything the halves are the same people for all clips, and in the other half of none
    assert all((halving.person[:, :, 1:] == halving.person[:, :, 1:2]).all() for halving in split)
    assert all(halving.apart(5)[1:, 1:].all() for halving in split)


def test_clips_of_other_judges_are_compared_only_where_nobody_stands_in_both_halves() -> None:
    """Judges 0 and 1 of one clip, 1 and 2 of the other: where the order is 2, 1, 0 the first meets herself."""
    counts = np.zeros((3, 2, 5), dtype=int)
    counts[[0, 1], 0, 0] = counts[[1, 2], 1, 0] = 1
    responses = Responses(counts, counts.sum(2), np.zeros(2, dtype=int), np.full((2, 5), 0.2), GENRES, 0)
    for halving in halvings(responses, 1, 40, 0):
        (a, b), (c, d) = halving.person[:, 0]
        np.testing.assert_array_equal(halving.apart(3), [[a != c, a != d], [b != c, b != d]])
        assert a != c and b != d
    met = [not halving.apart(3)[0, 1] for halving in halvings(responses, 1, 600, 0)]
    assert np.mean(met) == pytest.approx(1 / 6, abs=0.06)


def test_the_number_per_half_is_the_one_that_uses_most_answers() -> None:
    true = np.zeros(8, dtype=int)
    keep, half = usable_clips(np.array([20, 20, 20, 20, 21, 20, 3, 2]), true)
    assert half == 10 and keep.sum() == 6
    assert usable_clips(np.ones(8, dtype=int), true)[1] == 0


def test_kappa_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.random((2, 4, 40)) < 0.7).astype(float)
    common = rng.random((4, 40)) < 0.8
    common[3] = False
    expected = np.mean([cohen_kappa_score(a[k, common[k]], b[k, common[k]]) for k in range(3)])
    assert mean_kappa(a, b, common, np.ones((1, 40)))[0] == pytest.approx(expected)


def test_kappa_of_repeated_answers_equals_that_of_all_pairs_of_answers() -> None:
    """Every pair of answers to a clip, each clip with the same total weight: Cohen's kappa with weights."""
    rng = np.random.default_rng(5)
    answers_ = [[rng.random(rng.integers(1, 5)) < 0.7 for _ in range(12)] for _ in range(2)]
    pairs = [(x, y, 1 / (len(one) * len(other))) for one, other in zip(*answers_) for x in one for y in other]
    x, y, weight = map(np.array, zip(*pairs))
    expected = cohen_kappa_score(x, y, sample_weight=weight)
    shares = [np.array([[clip.mean() for clip in person]]) for person in answers_]
    found = pair_kappas(*shares, np.ones((1, 12), dtype=bool), np.ones((1, 12)))
    assert found[0, 0] == pytest.approx(expected)


def test_kappa_of_the_majority_leaves_the_person_out_and_divides_ties() -> None:
    true = np.array([0, 0, 0, 1, 1, 1])
    counts = np.zeros((3, 6, 5), dtype=int)
    for person, given in enumerate([(0, 0, 1, 1, 1, 0), (0, 1, 1, 1, 0, 0), (0, 2, 0, 1, 1, 4)]):
        counts[person, np.arange(6), given] = 1
    counts[2, 3, 1] = 7  # many answers, one vote
    responses = Responses(counts, counts.sum(2), true, np.full((6, 5), 0.2), GENRES, 0)
    right, voted = majority_of_others(responses)
    np.testing.assert_allclose(right[0], [1, 0, 0.5, 1, 0.5, 0])
    np.testing.assert_allclose(right[1], [1, 0.5, 0.5, 1, 1, 0])
    np.testing.assert_allclose(right[2], [1, 0.5, 0, 1, 0.5, 0])
    assert voted.all()
    alone = majority_of_others(replace(responses, counts=counts[:1], n_answers=counts[:1].sum(2)))
    assert not alone[1].any()


def test_the_model_is_compared_with_the_majority_on_the_same_clips() -> None:
    true, p = population(60, 8)
    score = run(answers(true, p, 7, 8), p)
    majority = score.kappa_majority
    assert majority.value == pytest.approx(majority.raw - majority.people)
    assert majority.raw == pytest.approx(score.kappa_model_person.value)  # everybody judged everything
    assert majority.ci_low < majority.value < majority.ci_high
    # the majority of two is the other one
    two = run(answers(true, p, 2, 8), p)
    assert two.kappa_majority.people == pytest.approx(two.kappa_person_person.value)


def test_all_answers_count_in_whatever_order() -> None:
    true, p = population(60, 9)
    choices = pd.concat([answers(true, p, 6, 9), answers(true, p, 6, 10)], ignore_index=True)
    one, other = run(choices, p), run(choices.iloc[::-1], p)
    assert one.value == pytest.approx(other.value)
    for name in KAPPAS:
        assert getattr(one, name).value == pytest.approx(getattr(other, name).value)
    assert abs(run(answers(true, p, 6, 9), p).kappa_person_person.value - one.kappa_person_person.value) > 1e-4


def test_tracks_that_the_model_knows_are_left_out_and_counted() -> None:
    true, p = population(60, 4)
    choices = answers(true, p, 6, 4)
    excluded = np.arange(60) >= 50
    result = run(choices, p, excluded=excluded)
    shorter = choices[choices.audio.isin([f"/a/{c}.wav" for c in range(50)])]
    assert (result.n_clips, result.n_excluded) == (50, 10)
    assert result.value == pytest.approx(run(shorter, p).value)
    nothing = run(choices, p, excluded=np.ones(60, dtype=bool))
    assert np.isnan(nothing.value) and "trained or validated" in nothing.reason and nothing.n_excluded == 60


def test_spelling_of_genres_and_order_of_clips_do_not_matter_and_unknown_ones_are_noted() -> None:
    true, p = population(40, 5)
    choices = answers(true, p, 5, 5)
    plain = run(choices, p)
    other = choices.replace({"hip-hop": "Hip Hop"}).sample(frac=1, random_state=0)
    # Order of a person's rows only matters for a clip judged twice.
    assert run(other, p).value == pytest.approx(plain.value)
    more = pd.concat([choices, choices.iloc[:3].assign(true_genre="polka")], ignore_index=True)
    result = run(more, p)
    assert result.value == pytest.approx(plain.value) and "3 choices" in result.notes[0]
    wrong = choices.assign(response="polka")
    responses = match_responses(wrong, clips(40), p, genres=GENRES)
    assert responses.heard.all() and not responses.right.any()


def test_missing_parts_have_reasons_and_the_others_are_still_reported() -> None:
    true, p = population(60, 6)
    alone = run(answers(true, p, 1, 6), p)
    assert np.isnan(alone.value) and "two people" in alone.reason and "two people" in alone.kappa_majority.reason
    assert np.isfinite(alone.kappa_model_person.value) and alone.kappa_person_person.reason
    uniform = np.full_like(p, 0.2)
    chance = run(answers(true, uniform, 6, 6), p)
    assert "cannot be told from chance" in chance.reason and np.isnan(chance.value)
    assert np.isfinite(chance.kappa_person_person.value)
    few = run(answers(true[:5], p[:5], 6, 6), p[:5])
    assert "too few clips" in few.reason
    nothing = no_behavior()
    assert np.isnan(nothing.value) and "no human genre choices" in nothing.reason
    flat = run(answers(true, p, 12, 6), uniform)
    assert "constant" in flat.reason and np.isfinite(flat.kappa_person_person.value) and np.isnan(flat.value)


def test_answers_that_are_no_genre_of_the_model_are_said_and_leave_b_to_the_others() -> None:
    """People with a choice more, taken at random by some: B of their own probabilities stays 1."""
    found = []
    for seed in range(6):
        true, p = population(150, seed)
        choices = answers(true, p, 12, seed)
        unknown = np.random.default_rng(seed).random(len(choices)) < 0.15
        choices.loc[unknown, "response"] = "polka"
        result = run(choices, p)
        found.append(result.value)
        told = f"{unknown.sum()} answers are none of the model's genres (polka {unknown.sum()})"
        assert any(told in note and "nobody chose" not in note for note in result.notes)
    assert np.mean(found) == pytest.approx(1, abs=0.04)
    assert not any("none of the model" in note for note in run(answers(true, p, 4, 0), p).notes)


def test_a_genre_that_people_called_otherwise_is_named() -> None:
    """Another language: all answers to its clips would be wrong, and only their number was told."""
    true, p = population(60, 0)
    choices = answers(true, p, 4, 0)
    genre = str(choices["true_genre"].iloc[0])
    choices["response"] = choices["response"].replace(genre, "Klassik")
    (note,) = [note for note in run(choices, p).notes if "none of the model" in note]
    assert f"(Klassik {(choices['response'] == 'Klassik').sum()})" in note and f"nobody chose {genre}:" in note


def test_names_of_any_script_are_told_apart_and_equal_ones_refused() -> None:
    assert plain_label("Hip-Hop") == plain_label("hip hop") == "hiphop"
    assert len({plain_label(name) for name in ("爵士", "摇滚", "Übung", "ubung", "?", "!")}) == 6
    assert plain_label("e\u0301") == plain_label("\u00e9")
    true, p = population(40, 2)
    choices = answers(true, p, 4, 2)
    same = behavioral_score(choices, clips(40), p, genres=("blues", "hip-hop", "jazz", "hip hop", "pop"))  # type: ignore[arg-type]
    assert "hip hop, hip-hop have one name" in same.reason and np.isnan(same.value)


@pytest.mark.parametrize("wrong", [np.nan, 2.0, -0.5])
def test_probabilities_that_are_none_are_refused(wrong: float) -> None:
    true, p = population(40, 2)
    bad = p.copy()
    bad[3, 1] = wrong
    assert "not finite, or do not sum to 1" in run(answers(true, p, 4, 2), bad).reason
    assert np.isfinite(run(answers(true, p, 4, 2), p.astype(np.float32)).raw)


def test_a_missing_response_is_as_if_the_row_were_not_there() -> None:
    true, p = population(60, 3)
    choices = answers(true, p, 6, 3)
    gone = choices.index % 7 == 0
    result = run(choices.assign(response=choices.response.where(~gone)), p)
    assert result.value == run(choices[~gone], p).value and result.n_people == 6


def test_one_answer_per_clip_has_no_ceiling() -> None:
    true, p = population(60, 3)
    choices = answers(true, p, 6, 3)
    one = choices[choices.participant.astype(int) == choices.audio.str.extract(r"(\d+)", expand=False).astype(int) % 6]
    result = run(one, p)
    assert len(one) == 60 and np.isnan(result.value) and "two people judged" in result.reason
    assert not result.confusion.empty


def effects_of(people: np.ndarray, *, n_clips: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws of clips, effects of people by clip and genres: what `over_people_and_clips` takes."""
    true = np.arange(n_clips) % 4
    drawn = np.concatenate([[0.5], 0.5 + 0.1 * np.random.default_rng(1).standard_normal(4000)])
    return drawn, people, true


def test_the_interval_holds_what_other_people_would_change_and_no_chance_twice() -> None:
    rng = np.random.default_rng(0)
    # everybody has an own B, spread evenly over the clips: sd of 1.2 / sqrt(12) beside .1 of clips
    own = np.tile(rng.permutation(stats.norm.ppf((np.arange(12) + 0.5) / 12))[:, None], 40)
    own = 1.2 * own / own[:, 0].std(ddof=1) / 40
    draws, ratio = over_people_and_clips(*effects_of(own), seed=0)
    error = 1.2 / np.sqrt(12)
    expected = np.sqrt(0.1**2 + error**2 * 11 / 9)  # variance of Student's t with 11 degrees of freedom
    # its cells are as large as people's own B allows: little of the variance over people is chance of single answers
    assert draws.std() == pytest.approx(expected, rel=0.05) and ratio > 1
    # people alike, answers by chance: nothing, or little, is added
    added = []
    for seed in range(30):
        chance = 0.06 * np.random.default_rng(seed).standard_normal((12, 40))
        draws, _ = over_people_and_clips(*effects_of(chance), seed=0)
        added.append(draws.var() / 0.1**2 - 1)
    assert np.median(added) < 0.15 and 0.06**2 * 40 / 12 / 0.1**2 > 1  # twice the variance if it were counted twice
    few, ratio = over_people_and_clips(*effects_of(own[:2]), seed=0)
    assert few.std() == pytest.approx(0.1, rel=0.06) and np.isnan(ratio)


def test_two_models_have_the_same_people_in_draw_k() -> None:
    rng = np.random.default_rng(0)
    own = np.tile(rng.standard_normal((12, 1)), 40) / 40
    drawn, _, true = effects_of(own)
    one, _ = over_people_and_clips(drawn, own, true, seed=0)
    other, _ = over_people_and_clips(drawn + 0.2, 0.5 * own, true, seed=0)
    clips_alone, _ = over_people_and_clips(drawn, 0 * own, true, seed=0)
    np.testing.assert_allclose(one - clips_alone, 2 * (other - 0.2 - clips_alone), atol=1e-9)


def test_what_the_interval_of_b_speaks_of() -> None:
    true, p = population(100, 11, spread=2.5)
    assert run(answers(true, p, 3, 11), p).generalises_to == "people and clips"
    assert run(answers(true, p, 2, 11), p).generalises_to == "clips (these people)"
    assert run(answers(true, p, 3, 11), p).conditions["IntervalOver"] == "people and clips"


def test_who_judged_none_of_the_clips_of_b_is_no_person_of_its_interval() -> None:
    """Two people, and a third who never chose a genre: B and its interval are those of the two."""
    true, p = population(100, 11, spread=2.5)
    three = answers(true, p, 3, 11)
    three.loc[three["participant"] == "02", "response"] = "polka"
    found, two = run(three, p), run(answers(true, p, 2, 11), p)
    assert found.generalises_to == two.generalises_to == "clips (these people)"
    assert (found.value, found.ci_low, found.ci_high) == (two.value, two.ci_low, two.ci_high)


def test_two_people_missing_answers_and_one_genre_are_scored() -> None:
    true, p = population(200, 11, spread=2.5)
    two = run(answers(true, p, 2, 11), p)
    assert two.value == pytest.approx(1, abs=0.35) and two.n_people == 2
    all_ = answers(true, p, 10, 11)
    some = run(all_.sample(frac=0.8, random_state=0), p)
    assert some.value == pytest.approx(run(all_, p).value, abs=0.1)
    assert any("fewer than" in note for note in some.notes)
    one = run(all_[all_.true_genre == "jazz"], p)
    assert one.value == pytest.approx(1, abs=0.25) and one.n_clips == 40


def test_same_seed_same_score_and_interval_around_it() -> None:
    true, p = population(80, 7)
    choices = answers(true, p, 8, 7)
    a, b = run(choices, p, seed=3), run(choices, p, seed=3)
    assert (a.value, a.ci_low, a.ci_high) == (b.value, b.ci_low, b.ci_high)
    assert a.ci_low < a.value < a.ci_high
    assert a.draws.shape == (100,) and np.isfinite(a.draws).all()
    assert a.value == pytest.approx(a.raw / np.sqrt(a.people))
    assert not a.rough and "rough" in run(choices[choices.audio.isin([f"/a/{c}.wav" for c in range(40)])], p).rough


def test_draws_within_small_genres_are_as_wide_as_those_within_large_ones() -> None:
    """Two clips per genre: draws of a clip statistic vary by (n - 1)/n = half of what they should."""
    true = np.repeat(np.arange(20), 2)
    values = np.random.default_rng(0).standard_normal(40)
    counts = np.concatenate([np.ones((1, 40)), resample_counts(40, 4000, 1, true)])
    drawn = spread(counts @ values / 40, true)
    within = np.mean([np.var(values[true == g], ddof=1) for g in range(20)])
    assert np.var(drawn[1:]) == pytest.approx(within / 40, rel=0.1)


def test_draws_of_b_take_the_same_clips_for_all_models_whatever_the_order_of_their_genres():
    """Paired differences of B rest on it; what they rest on is told, and differs where clips are left out."""
    rng = np.random.default_rng(11)
    genres, n_clips = ("pop", "jazz", "blues"), 30
    true = [genres[k % 3] for k in range(n_clips)]
    clips = [Clip(Path(f"{k}.wav"), 0.0, 1.0, str(k), genre) for k, genre in enumerate(true)]
    lines = [
        (f"p{p}", f"{k}.wav", 0.0, 1.0, true[k], true[k] if rng.random() < 0.6 else genres[rng.integers(3)])
        for p in range(8)
        for k in range(n_clips)
    ]
    choices = pd.DataFrame(lines, columns=["participant", "audio", "start", "duration", "true_genre", "response"])
    probabilities = (rng.dirichlet(np.ones(3), n_clips) + 2 * (np.array(true)[:, None] == np.array(genres))) / 3
    order, spelled = [2, 0, 1], ("Pop", "jazz", "BLUES")
    one = behavioral_score(choices, clips, probabilities, genres=genres, n_bootstrap=50)
    other = behavioral_score(
        choices, clips, probabilities[:, order], genres=[spelled[g] for g in order], n_bootstrap=50
    )
    np.testing.assert_allclose(one.draws, other.draws)
    assert one.conditions == other.conditions and one.conditions["JudgedClips"] == n_clips
    out = np.arange(n_clips) == 3
    fewer = behavioral_score(choices, clips, probabilities, genres=genres, excluded=out, n_bootstrap=50)
    differ = {key for key in one.conditions if one.conditions[key] != fewer.conditions[key]}
    assert differ == {"JudgedClips", "Answers"}
