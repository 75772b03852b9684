"""Which runs are held out, by every rule of the design."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
from small_datasets import Toy

from ban_bids.cli import train
from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.heldout import held_out_plan, held_out_tracks
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.runs import mark_lead_ins
from ban_bids.inputs.types import Clip, Participant, Presentation, Run
from ban_bids.settings import Selection


def make_run(task: str, run: str | None, tracks: str) -> Run:
    entities = (("sub", "01"), ("task", task)) + ((("run", run),) if run else ())
    presentations = tuple(
        Presentation(Clip(Path(f"{track}.wav"), 0.0, 10.0, track), 10.0 * n) for n, track in enumerate(tracks)
    )
    return Run(
        "01",
        None,
        task,
        run,
        entities,
        Path("bold"),
        Path("events.tsv"),
        2.0,
        100,
        None,
        "k",
        None,
        presentations,
    )


def person(*runs: tuple[str, str | None, str]) -> Participant:
    return Participant("01", (), tuple(make_run(*run) for run in runs))


def selection(**changes: object) -> Selection:
    return Selection(Path("/in"), **changes)  # type: ignore[arg-type]


def test_runs_that_repeat_a_clip() -> None:
    who = person(("x", "1", "abc"), ("x", "2", "def"), ("x", "3", "ghgh"))
    plan = held_out_plan(who, selection())
    assert plan.folds == (("task-x_run-3",),)
    assert plan.training(0, who.runs) == ("task-x_run-1", "task-x_run-2")
    assert (plan.task_label, plan.leave_one_out) == ("x", False)


def test_without_training_runs_that_are_left_every_run_is_held_out_in_turn() -> None:
    plan = held_out_plan(person(("x", "1", "abc"), ("x", "2", "abc"), ("x", "3", "abc")), selection())
    assert plan.folds == (("task-x_run-1",), ("task-x_run-2",), ("task-x_run-3",))
    assert plan.leave_one_out


def test_runs_that_repeat_each_other_are_held_out_together() -> None:
    runs = (("x", "1", "abc"), ("x", "2", "def"), ("x", "3", "ghi"), ("x", "4", "igh"))
    plan = held_out_plan(person(*runs), selection())
    assert plan.folds == (("task-x_run-3", "task-x_run-4"),)
    assert plan.rule == "a quarter or more of their sound is heard twice over all runs, that of the others once"
    assert not plan.leave_one_out


@pytest.mark.parametrize(("tracks", "held_out"), [("gghhijklmnopqrst", True), ("gghhijklmnopqrstu", False)])
def test_a_quarter_must_be_repeats(tracks: str, held_out: bool) -> None:
    plan = held_out_plan(person(("x", "1", "abc"), ("x", "2", "def"), ("x", "3", tracks)), selection())
    assert plan.leave_one_out is not held_out
    assert (plan.folds == (("task-x_run-3",),)) is held_out


def test_with_one_training_run_left_every_run_is_held_out_in_turn() -> None:
    who = person(("x", "1", "abc"), ("x", "2", "aba"), ("x", "3", "ghgh"))
    plan = held_out_plan(who, selection())
    assert len(plan.folds) == 3
    assert "fewer than two training runs" in plan.rule
    assert plan.training(1, who.runs) == ("task-x_run-1", "task-x_run-3")


def test_a_lead_in_is_no_repeat() -> None:
    runs = person(("x", "1", "cc"), ("x", "2", "ff"), ("x", "3", "ihgihgi")).runs
    marked, notes = mark_lead_ins(runs, "first-repeats-last")
    assert not notes
    plan = held_out_plan(Participant("01", (), marked), selection())
    assert plan.folds == (("task-x_run-3",),)
    assert len(held_out_plan(Participant("01", (), runs), selection()).folds) == 3


def test_lead_in_rule_that_does_not_hold_is_noted() -> None:
    runs = person(("x", "1", "cab"), ("x", "2", "bca"), ("y", "1", "bcd")).runs
    marked, notes = mark_lead_ins(runs, "first-repeats-last")
    assert [run.presentations[0].lead_in for run in marked] == [False, True, False]
    assert len(notes) == 2
    assert mark_lead_ins(runs, "none") == (runs, ())


NAMED = person(
    ("Train", "01", "ab"), ("Train", "02", "cd"), ("Test", "01", "ee"), ("Test", "02", "ff"), ("z", None, "h")
)


@pytest.mark.parametrize(
    ("changes", "held_out", "label"),
    [
        ({"test_tasks": ("Test",)}, ["task-Test_run-01", "task-Test_run-02"], "Test"),
        ({"test_tasks": ("Test",), "test_runs": ("2",)}, ["task-Test_run-02"], "Test"),
        ({"test_runs": ("1",)}, ["task-Train_run-01", "task-Test_run-01"], "TrainTest"),
        ({"test_runs": ("run-02",)}, ["task-Train_run-02", "task-Test_run-02"], "TrainTest"),
        ({"test_runs": ("task-Train_run-02",)}, ["task-Train_run-02"], "Train"),
        ({"test_runs": ("sub-01_task-z",)}, ["task-z"], "z"),
    ],
)
def test_named_runs(changes: dict[str, object], held_out: list[str], label: str) -> None:
    plan = held_out_plan(NAMED, selection(**changes))
    assert plan.folds == (tuple(held_out),)
    assert plan.training(0, NAMED.runs) == tuple(r.name for r in NAMED.runs if r.name not in held_out)
    assert plan.task_label == label


def test_all_is_leave_one_run_out() -> None:
    plan = held_out_plan(NAMED, selection(test_runs=("all",)))
    assert plan.folds == tuple((run.name,) for run in NAMED.runs)
    assert all(len(plan.training(n, NAMED.runs)) == 4 for n in range(5))
    plan = held_out_plan(NAMED, selection(test_runs=("all",), test_tasks=("Test",)))
    assert plan.folds == (("task-Test_run-01",), ("task-Test_run-02",))
    assert plan.training(0, NAMED.runs)[-2:] == ("task-Test_run-02", "task-z")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"test_tasks": ("rest",)}, "there are: Test, Train, z"),
        ({"test_runs": ("3",)}, "there are: task-Train_run-01, "),
        (
            {"test_tasks": ("Test",), "test_runs": ("task-z",)},
            "there are: task-Test_run-01, task-Test_run-02",
        ),
        ({"test_tasks": ("Test", "Train", "z")}, "hold out every run"),
    ],
)
def test_what_cannot_be_held_out(changes: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        held_out_plan(NAMED, selection(**changes))


def test_one_run_is_held_out_part_by_part() -> None:
    plan = held_out_plan(person(("x", "1", "abab")), selection())
    assert plan.folds == (("task-x_run-1",),)
    assert plan.leave_one_out
    assert "one run only" in plan.rule
    with pytest.raises(DataError, match="no run"):
        held_out_plan(person(), selection())


def test_tracks_of_all_participants_are_held_out_whoever_is_chosen(toy: Toy) -> None:
    toy.events(2, "0\t8\trock\trock.00000.wav\t0\n", sub="02")
    for labels in ((), ("01",), ("02",)):
        chosen = toy.settings(participant_labels=labels, test_runs=("2",))
        tracks = held_out_tracks(read_dataset(chosen))
        assert {path.stem for path in tracks} == {"disco.00000", "disco.00001", "rock.00000"}


def test_the_trainer_leaves_out_what_scoring_holds_out(toy: Toy) -> None:
    options = Namespace(exclude_stimuli=toy.root, data=[str(toy.root)], test_task=[], test_runs=["2"])
    stimuli = toy.root / "stimuli"
    assert train._excluded(options) == [stimuli / "disco.00000.wav", stimuli / "disco.00001.wav"]
    choices = "stim_file\tresponse\ttrial_type\nrock.00001.wav\trock\trock\n"
    (toy.root / "sub-01" / "beh").mkdir()
    (toy.root / "sub-01" / "beh" / "sub-01_task-genre_beh.tsv").write_text(choices)
    assert stimuli / "rock.00001.wav" in train._excluded(options)
