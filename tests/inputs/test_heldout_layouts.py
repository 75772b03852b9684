"""What is held out by default in layouts of published datasets, planted, and in some that only look like them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ban_bids.errors import UsageError
from ban_bids.inputs.heldout import held_out_plan, times_heard
from ban_bids.inputs.types import Clip, HeardRun, Listener, Presentation
from ban_bids.settings import Selection

SELECTION = Selection(Path("/in"))
Played = tuple[str, str | None, str | None, Sequence[str]]


def heard(task: str, session: str | None, run: str | None, sounds: Sequence[str], seconds: float = 10.0) -> HeardRun:
    labels = (("sub", "01"), ("ses", session), ("task", task), ("run", run))
    entities = tuple((key, label) for key, label in labels if label is not None)
    played = tuple(
        Presentation(Clip(Path(f"{sound}.wav"), 0.0, seconds, sound), seconds * n) for n, sound in enumerate(sounds)
    )
    return HeardRun("01", session, task, run, entities, Path("bold"), Path("events.tsv"), played)


def person(*runs: Played) -> Listener:
    return Listener("01", tuple(heard(*run) for run in runs))


def clips(start: int, count: int) -> list[str]:
    return [f"c{number}" for number in range(start, start + count)]


def huth(*others: Played) -> tuple[Listener, list[str]]:
    """One story a run, each once, over five sessions; one story in every session."""
    runs = list(others)
    for session in range(1, 6):
        runs.append(("wheretheressmoke", str(session), None, ["wheretheressmoke"]))
        runs += [(f"story{session}{n}", str(session), None, [f"story{session}{n}"]) for n in range(3)]
    tests = [f"ses-{session}_task-wheretheressmoke" for session in range(1, 6)]
    return person(*runs), tests


def test_the_test_story_heard_in_every_session() -> None:
    who, tests = huth()
    plan = held_out_plan(who, SELECTION)
    assert plan.folds == (tuple(tests),)
    assert plan.rule == "a quarter or more of their sound is heard 5 times over all runs, that of the others once"
    assert plan.task_label == "wheretheressmoke"
    assert len(plan.training(0, who.runs)) == 15


@pytest.mark.parametrize("sounds", ["abca", "aba", "abcdd", "abcda"])
def test_an_accidental_repeat_in_a_localizer_changes_nothing(sounds: str) -> None:
    who, tests = huth(("localizer", "1", None, sounds))
    assert held_out_plan(who, SELECTION).folds == (tuple(tests),)
    once = person(("localizer", None, None, sounds), *((f"s{n}", None, None, [f"s{n}"]) for n in range(6)))
    assert held_out_plan(once, SELECTION).leave_one_out


def test_a_localizer_whose_only_sound_is_one_of_a_run_is_no_test_run() -> None:
    who = person(
        ("localizer", None, None, "a"), ("x", None, "1", "abc"), ("x", None, "2", "def"), ("x", None, "3", "gh")
    )
    assert held_out_plan(who, SELECTION).leave_one_out


def test_one_clip_of_two_that_happens_to_be_in_another_run() -> None:
    who = person(*(("x", None, str(n), sounds) for n, sounds in enumerate(["ab", "bc", "de", "fg", "hi"])))
    plan = held_out_plan(who, SELECTION)
    assert plan.leave_one_out and plan.rule.startswith("no run repeats clips")


def test_one_accidental_repeat_does_not_add_a_run_to_the_test_runs() -> None:
    runs: list[Played] = [("x", None, "1", "abcd"), ("x", None, "2", "efgh"), ("x", None, "4", "klmnlkmn")]
    plan = held_out_plan(person(*runs, ("x", None, "3", "ijka")), SELECTION)
    assert "task-x_run-4" in plan.held_out and "task-x_run-1" not in plan.held_out
    plan = held_out_plan(person(*runs, ("x", None, "3", "ijaj")), SELECTION)  # two clips of three
    assert plan.held_out == {"task-x_run-3", "task-x_run-4"}
    plan = held_out_plan(person(*runs, ("x", None, "3", "ijji")), SELECTION)
    assert plan.held_out == {"task-x_run-3", "task-x_run-4"}
    plan = held_out_plan(person(*runs, ("x", None, "3", "iojq")), SELECTION)
    assert plan.held_out == {"task-x_run-4"}
    plan = held_out_plan(person(*runs, ("x", None, "3", "iojb")), SELECTION)
    assert plan.held_out == {"task-x_run-4"}


def test_ds003720_training_runs_begin_with_the_last_clip_of_another() -> None:
    runs: list[Played] = []
    for run in range(12):
        mine = clips(40 * run, 40)
        runs.append(("Training", None, f"{run + 1:02d}", [clips(40 * ((run - 1) % 12), 40)[-1], *mine]))
    for run in range(6):
        ten = [f"t{10 * run + n}" for n in range(10)]
        runs.append(("Test", None, f"{run + 1:02d}", [ten[-1], *ten * 4]))
    plan = held_out_plan(person(*runs), SELECTION)
    assert plan.folds == (tuple(f"task-Test_run-{n:02d}" for n in range(1, 7)),)
    assert "heard 4 times" in plan.rule or "heard 5 times" in plan.rule


@pytest.mark.parametrize("lost", [0, 3, 20])
def test_studyforrest_where_all_runs_hold_the_same_clips(lost: int) -> None:
    """Eight runs of the same 25 clips in other orders; one may have been given up early."""
    orders = [clips(0, 25)[n:] + clips(0, 25)[:n] for n in range(8)]
    orders[4] = orders[4][: 25 - lost]
    plan = held_out_plan(person(*(("music", None, str(n), order) for n, order in enumerate(orders))), SELECTION)
    assert plan.leave_one_out and len(plan.folds) == 8
    assert "fewer than two training runs" in plan.rule


def test_narratives_where_every_story_is_heard_once() -> None:
    plan = held_out_plan(person(*((f"story{n}", None, None, [f"m{n}", f"s{n}"]) for n in range(5))), SELECTION)
    assert plan.leave_one_out and plan.rule == "no run repeats clips: all is held out in turn"


def test_training_runs_heard_twice_and_test_runs_ten_times() -> None:
    runs: list[Played] = [("train", ses, str(n), clips(5 * n, 5)) for ses in ("1", "2") for n in range(8)]
    runs += [("test", str(ses), None, [f"t{n}" for n in range(5)]) for ses in range(1, 11)]
    plan = held_out_plan(person(*runs), SELECTION)
    assert plan.held_out == {f"ses-{ses}_task-test" for ses in range(1, 11)}
    assert plan.rule.endswith("heard 10 times over all runs, that of the others twice")


def test_repeats_within_a_run_and_over_runs_count_alike() -> None:
    base: list[Played] = [("x", None, str(n), clips(4 * n, 4)) for n in range(4)]
    for tests in (
        [("y", "1", None, "pqpqpq")],
        [("y", "1", None, "pqr"), ("y", "2", None, "rqp"), ("y", "3", None, "qrp")],
        [("y", "1", None, "pqpq"), ("y", "2", None, "qp")],
    ):
        who = person(*base, *tests)
        assert held_out_plan(who, SELECTION).held_out == {run.name for run in who.runs if run.task == "y"}


DECLARED = person(
    *(("story", str(session), f"0{run}", [f"s{session}{run}"]) for session in (1, 2) for run in (1, 2)),
    ("probe", None, None, "ab"),
)


@pytest.mark.parametrize(
    ("declared", "held_out"),
    [
        ({"task": ("probe",)}, ["task-probe"]),
        ({"task": "pro*"}, ["task-probe"]),
        ({"ses": ("2",), "run": ("1", "2")}, ["ses-2_task-story_run-01", "ses-2_task-story_run-02"]),
        ({"run": ("02",)}, ["ses-1_task-story_run-02", "ses-2_task-story_run-02"]),
        (
            {"task": ("story", "probe"), "acq": ("*",), "run": ("?1",)},
            ["ses-1_task-story_run-01", "ses-2_task-story_run-01"],
        ),
    ],
)
def test_runs_that_the_rules_declare(declared: dict[str, Sequence[str]], held_out: list[str]) -> None:
    plan = held_out_plan(DECLARED, SELECTION, declared)
    assert plan.folds == (tuple(held_out),)
    assert plan.rule.startswith("declared by the dataset's rules (")
    # options come before them
    assert held_out_plan(DECLARED, Selection(Path("/in"), test_tasks=("probe",)), declared).folds == (("task-probe",),)


@pytest.mark.parametrize(
    ("declared", "text"), [({"task": ("rest",)}, "none of the runs"), ({"task": ("*",)}, "every run")]
)
def test_what_rules_declare_in_vain_is_told(declared: dict[str, Sequence[str]], text: str) -> None:
    plan = held_out_plan(DECLARED, SELECTION, declared)
    assert plan.leave_one_out
    assert text in plan.rule and "no run repeats clips" in plan.rule
    with pytest.raises(UsageError, match="no such task"):
        held_out_plan(DECLARED, Selection(Path("/in"), test_tasks=("rest",)), declared)


SOUNDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8)


@given(st.lists(SOUNDS, min_size=1, max_size=6))
def test_a_plan_always_leaves_something_to_train_on(played: list[list[str]]) -> None:
    who = person(*(("x", None, str(n), sounds) for n, sounds in enumerate(played)))
    plan = held_out_plan(who, SELECTION)
    assert plan.held_out <= {run.name for run in who.runs}
    if plan.leave_one_out:
        assert len(plan.folds) == len(played)
    else:
        times = {run.name: times_heard(run, who.runs) for run in who.runs}
        others = [n for name, n in times.items() if name not in plan.held_out]
        assert len(others) >= 2
        assert min(times[name] for name in plan.held_out) >= 2 * max(1, *others)


@given(SOUNDS, st.lists(SOUNDS, max_size=4))
def test_times_heard_by_brute_force(sounds: list[str], others: list[list[str]]) -> None:
    runs = [heard("x", None, str(n), some) for n, some in enumerate([sounds, *others])]
    alike = [some for some in [sounds, *others] if len(set(sounds)) > 1 or set(some) == set(sounds)]
    everything = [sound for some in alike for sound in some]
    found = 1
    for n in range(1, len(everything) + 1):
        often = [sound for sound in sounds if everything.count(sound) >= n]
        if len(often) >= len(sounds) / 4 and len(set(often)) >= min(2, len(set(sounds))):
            found = n
    assert times_heard(runs[0], runs) == found
