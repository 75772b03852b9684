"""Everybody hears every clip once, some twice and far apart, in an order of their own that stays the same."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_experiments import experiment

from ban_bids.listen.experiment import Experiment, Trial
from ban_bids.listen.schedule import trials


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    n_clips = draw(st.integers(1, 40))
    return experiment(
        n_clips,
        practice=draw(st.integers(0, 3)),
        repeats=draw(st.integers(0, n_clips)),
        checks=draw(st.integers(0, n_clips)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


labels = st.text("abcXYZ019", min_size=1, max_size=8)


def judged(asked: tuple[Trial, ...]) -> list[Trial]:
    return [trial for trial in asked if trial.kind in ("main", "repeat")]


@settings(max_examples=60, deadline=None)
@given(experiments(), labels)
def test_every_clip_once_and_repeats_once_more(made: Experiment, label: str) -> None:
    asked = trials(made, label)
    assert [trial.number for trial in asked] == list(range(1, len(asked) + 1))
    kinds = Counter(trial.kind for trial in asked)
    wanted = {"practice": len(made.practice), "main": len(made.clips), "repeat": made.repeats, "check": made.checks}
    assert kinds == {kind: count for kind, count in wanted.items() if count}
    # practice first, in the experiment's order
    assert [trial.clip for trial in asked[: len(made.practice)]] == [clip.id for clip in made.practice]
    main = Counter(trial.clip for trial in asked if trial.kind == "main")
    assert main == Counter(clip.id for clip in made.clips)
    assert max(Counter(trial.clip for trial in asked if trial.kind == "repeat").values(), default=1) == 1


@settings(max_examples=60, deadline=None)
@given(experiments(), labels)
def test_repeats_come_after_their_first_and_far_from_it(made: Experiment, label: str) -> None:
    heard = judged(trials(made, label))
    apart = min(10, len(heard) // 2)
    first = {trial.clip: slot for slot, trial in enumerate(heard) if trial.kind == "main"}
    gaps = [slot - first[trial.clip] for slot, trial in enumerate(heard) if trial.kind == "repeat"]
    assert all(gap >= apart for gap in gaps)


@settings(max_examples=60, deadline=None)
@given(experiments(), labels)
def test_checks_ask_for_another_choice_than_the_genre_and_are_spread_out(made: Experiment, label: str) -> None:
    asked = trials(made, label)
    genres = {clip.id: clip.genre for clip in (*made.clips, *made.practice)}
    practised = {clip.id for clip in made.practice}
    for slot, trial in enumerate(asked):
        if trial.kind != "check":
            assert trial.expected is None
            continue
        assert trial.expected in made.choices
        assert trial.expected != genres[trial.clip]
        # no clip is heard in a check before it is judged
        before, after = ({one.clip for one in judged(part)} for part in (asked[:slot], asked[slot:]))
        assert trial.clip in (practised or before)
        # nor between its two judgements, where another clip can be taken
        assert not before - after or trial.clip not in after
    heard, count = judged(asked), 0
    slots = []
    for trial in asked:
        count += trial.kind in ("main", "repeat")
        slots += [count] if trial.kind == "check" else []
    assert 0 not in slots
    apart = len(heard) // (2 * made.checks) if made.checks else 0
    assert all(later - earlier >= apart for earlier, later in zip(slots, slots[1:]))


@settings(max_examples=60, deadline=None)
@given(experiments(), labels)
def test_the_same_person_meets_the_same_order(made: Experiment, label: str) -> None:
    assert trials(made, label) == trials(made, label)


def test_the_order_is_the_same_in_another_process() -> None:
    # a hash that differs between processes would show here
    code = (
        "from made_experiments import experiment; from ban_bids.listen.schedule import trials; "
        "print(*(one.clip for one in trials(experiment(12), 'anna')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert found.stdout.split() == [one.clip for one in trials(experiment(12), "anna")]


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": "5"}


@pytest.mark.parametrize("change", ["person", "seed"])
def test_other_people_and_other_seeds_meet_other_orders(change: str) -> None:
    made = experiment(12)
    other = dataclasses.replace(made, seed=made.seed + (change == "seed"))
    orders = {tuple(one.clip for one in trials(made, f"p{k}")) for k in range(20)}
    others = {tuple(one.clip for one in trials(other, f"p{k + 20 * (change == 'person')}")) for k in range(20)}
    assert len(orders | others) == 40


def test_no_clip_is_favoured() -> None:
    """Over 600 people each of 6 clips is heard first, and is repeated, about as often as any other."""
    made = experiment(6, practice=0, repeats=2, checks=0)
    orders = [trials(made, f"p{k}") for k in range(600)]
    first = Counter(asked[0].clip for asked in orders)
    repeated = Counter(one.clip for asked in orders for one in asked if one.kind == "repeat")
    # binomial: 100 ± 9.1 and 200 ± 11.5; five standard deviations
    assert all(abs(first[clip.id] - 100) < 46 for clip in made.clips)
    assert all(abs(repeated[clip.id] - 200) < 58 for clip in made.clips)
