"""Answers are kept once and whole, whoever writes at the same time and whatever happens to the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier as ProcessBarrier
from pathlib import Path
from threading import Barrier

import pytest
from made_experiments import CODES, experiment, write

from ban_bids.errors import DataError
from ban_bids.files.atomic import write_once
from ban_bids.listen.experiment import Layout, read_experiment, read_people
from ban_bids.listen.schedule import trials
from ban_bids.listen.store import (
    Session,
    answered,
    asked,
    change_session,
    check_answers,
    keep_answer,
    open_session,
    read_answer,
    read_answers,
    read_session,
)

GIVEN = {"response": "rock", "confidence": 3, "response_time_ms": 812.5, "plays": 1}
QUESTION = asked(experiment(), trials(experiment(), "anna")[0])


def numbered(number: int) -> dict[str, object]:
    return {**QUESTION, "number": number}


def test_an_answer_comes_back_as_it_was_given(tmp_path: Path) -> None:
    layout, made = Layout(tmp_path), experiment()
    check = next(trial for trial in trials(made, "anna") if trial.kind == "check")
    assert keep_answer(layout, "anna", asked(made, check), GIVEN)
    assert [path.name for path in layout.answers("anna").iterdir()] == [f"{check.number:04d}.json"]
    found = read_answer(layout, "anna", check.number)
    clip = next(one for one in (*made.clips, *made.practice) if one.id == check.clip)
    assert found.pop("received").endswith("+00:00")
    assert found == {
        "number": check.number, "kind": "check", "clip": clip.id, "stim_file": clip.stim_file, "start": clip.start,
        "duration": clip.duration, "genre": clip.genre, "expected": check.expected, **GIVEN,
    }  # fmt: skip


def test_an_answer_is_never_overwritten(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert keep_answer(layout, "anna", QUESTION, GIVEN)
    before = (layout.answers("anna") / "0001.json").read_bytes()
    assert not keep_answer(layout, "anna", QUESTION, {**GIVEN, "response": "blues"})
    assert (layout.answers("anna") / "0001.json").read_bytes() == before
    assert keep_answer(layout, "ben", QUESTION, {**GIVEN, "response": "blues"})
    assert answered(layout, "anna") == answered(layout, "ben") == (1,)


def test_one_of_many_threads_wins_each_trial(tmp_path: Path) -> None:
    layout, together = Layout(tmp_path), Barrier(8)

    def race(who: int) -> list[int]:
        won = []
        for number in range(1, 26):
            together.wait()
            won += [number] if keep_answer(layout, "anna", numbered(number), {**GIVEN, "plays": who}) else []
        return won

    with ThreadPoolExecutor(8) as pool:
        won = dict(enumerate(pool.map(race, range(8))))
    assert sorted(number for numbers in won.values() for number in numbers) == list(range(1, 26))
    assert answered(layout, "anna") == tuple(range(1, 26))
    winner = {number: who for who, numbers in won.items() for number in numbers}
    assert {one["number"]: one["plays"] for one in read_answers(layout, "anna")} == winner
    assert len(list(layout.answers("anna").iterdir())) == 25, "something half-written was left behind"


def race_of_processes(folder: str, who: int, together: ProcessBarrier) -> list[int]:
    won = []
    for number in range(1, 16):
        together.wait()
        won += [number] if keep_answer(Layout(Path(folder)), "anna", numbered(number), {**GIVEN, "plays": who}) else []
    return won


def _report(folder: str, who: int, together: ProcessBarrier) -> None:
    won = race_of_processes(folder, who, together)
    (Path(folder) / f"won-{who}.json").write_text(json.dumps(won))


def test_one_of_several_processes_wins_each_trial(tmp_path: Path) -> None:
    context = get_context("fork")
    together = context.Barrier(3)
    running = [context.Process(target=_report, args=(str(tmp_path), who, together)) for who in range(3)]
    for one in running:
        one.start()
    for one in running:
        one.join(60)
        assert one.exitcode == 0
    won = {who: json.loads((tmp_path / f"won-{who}.json").read_text()) for who in range(3)}
    assert sorted(number for numbers in won.values() for number in numbers) == list(range(1, 16))
    winner = {number: who for who, numbers in won.items() for number in numbers}
    assert {one["number"]: one["plays"] for one in read_answers(Layout(tmp_path), "anna")} == winner


KILLED_BEFORE = {
    "written": "import os; os.fsync = lambda handle: os.kill(os.getpid(), 9)",
    "linked": "import os; os.link = lambda *names: os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("moment", KILLED_BEFORE)
def test_a_process_killed_on_the_way_leaves_no_answer_and_no_obstacle(tmp_path: Path, moment: str) -> None:
    code = (
        f"{KILLED_BEFORE[moment]}; import sys; from pathlib import Path; from ban_bids.files.atomic import write_once; "
        "write_once(Path(sys.argv[1]), '{}')"
    )
    path = Layout(tmp_path).answers("anna") / "0001.json"
    killed = subprocess.run(
        [sys.executable, "-c", code, str(path)], env={"PYTHONPATH": ":".join(filter(None, sys.path))}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(path.parent.iterdir())) == 1, "the test means to leave a half-written file"
    assert list(path.parent.glob("*.json")) == [], "nobody must take it for an answer"
    assert answered(Layout(tmp_path), "anna") == ()
    assert keep_answer(Layout(tmp_path), "anna", QUESTION, GIVEN)
    assert read_answers(Layout(tmp_path), "anna")[0]["response"] == "rock"


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space"):
            keep_answer(Layout(tmp_path), "anna", QUESTION, GIVEN)
    assert list(Layout(tmp_path).answers("anna").iterdir()) == []
    assert keep_answer(Layout(tmp_path), "anna", QUESTION, GIVEN)


def test_a_link_whose_reply_was_lost_counts_as_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", link)
    assert write_once(tmp_path / "new", "mine")
    assert (tmp_path / "new").read_text() == "mine"


def test_a_session_belongs_to_the_first(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert read_session(layout, "anna") is None
    assert open_session(layout, "anna", Session("first", "de", "2026-01-01"))
    assert not open_session(layout, "anna", Session("second", "en", "2026-01-02"))
    assert read_session(layout, "anna") == Session("first", "de", "2026-01-01")
    changed = change_session(layout, "anna", language="en")
    assert changed == read_session(layout, "anna") == Session("first", "en", "2026-01-01")
    assert change_session(layout, "anna", finished="2026-01-03").finished == "2026-01-03"
    # the first end stays, also through another language
    change_session(layout, "anna", finished="2026-01-09")
    assert change_session(layout, "anna", language="de") == Session("first", "de", "2026-01-01", "2026-01-03")


def test_no_end_is_lost_to_a_change_of_language(tmp_path: Path) -> None:
    layout, together = Layout(tmp_path), Barrier(6)
    open_session(layout, "anna", Session("key", "de", "2026-01-01"))

    def change(who: int) -> None:
        together.wait()
        change_session(layout, "anna", **({"finished": "2026-01-02"} if who == 3 else {"language": f"l{who}"}))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(change, range(6)))
    session = read_session(layout, "anna")
    assert session is not None
    assert session.finished == "2026-01-02"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1, "language": "de", "begun": ""}', '{"key": "k'])
def test_a_damaged_session_is_named(tmp_path: Path, text: str) -> None:
    path = Layout(tmp_path).session("anna")
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(DataError, match=r"anna\.json.*delete it"):
        read_session(Layout(tmp_path), "anna")


@pytest.mark.parametrize("text", ["", "{}", '{"number": 2}'])
def test_a_damaged_answer_is_named(tmp_path: Path, text: str) -> None:
    path = Layout(tmp_path).answers("anna") / "0001.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(DataError, match=r"0001\.json"):
        read_answers(Layout(tmp_path), "anna")


def test_answers_to_another_experiment_are_told_apart(tmp_path: Path) -> None:
    layout, made = Layout(tmp_path), experiment()
    questions = {trial.number: asked(made, trial) for trial in trials(made, "anna")}
    for number in (1, 2, 3):
        keep_answer(layout, "anna", questions[number], GIVEN)
    check_answers(layout, "anna", questions)
    changed = experiment(seed=8)
    with pytest.raises(DataError, match=r"000\d\.json: answers another question"):
        check_answers(layout, "anna", {one.number: asked(changed, one) for one in trials(changed, "anna")})
    with pytest.raises(DataError, match=r"0003\.json.*no such trial"):
        check_answers(layout, "anna", {1: questions[1], 2: questions[2]})


def test_an_experiment_comes_back(tmp_path: Path) -> None:
    layout = write(tmp_path, experiment())
    assert read_experiment(layout) == experiment()
    assert read_people(layout) == CODES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version"),
        ({"more": 1}, "fields"),
        ({"repeats": True}, "repeats is True"),
        ({"repeats": 5}, "5 repeats"),
        ({"checks": -1}, "-1 checks"),
        ({"clips": []}, "no clip"),
        ({"clips": [{"id": "a"}]}, "fields"),
        ({"task": "../genre"}, "task"),
        ({"choices": ["blues"]}, "choices"),
        ({"choices": ["blues", "rock", "hip hop", "rock"]}, "choices"),
        ({"choices": ["blues", "rock", "hip hop", "n/a"]}, "choices"),
        ({"choices": ["blues", "rock", "hip hop", "a\tb"]}, "choices"),
        ({"choices": ["blues", "rock", "hip hop", 3]}, "choices"),
        ({"choices": ["blues", "hip hop"]}, "'rock' cannot be chosen"),
    ],
)
def test_a_damaged_experiment_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    layout = write(tmp_path, experiment())
    content = json.loads(layout.experiment.read_text())
    layout.experiment.write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=message) as caught:
        read_experiment(layout)
    assert "experiment.json" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "../people"}, "identifiers"),
        ({"id": "clip-1"}, "identifiers"),
        ({"id": "soundcheck"}, "soundcheck"),
        ({"start": -1.0}, "no excerpt"),
        ({"start": float("nan")}, "no excerpt"),
        ({"duration": 0}, "no excerpt"),
        ({"duration": "2"}, "duration is '2'"),
    ],
)
def test_a_damaged_clip_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    layout = write(tmp_path, experiment())
    content = json.loads(layout.experiment.read_text())
    content["clips"][0] |= change
    layout.experiment.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_experiment(layout)


@pytest.mark.parametrize(
    "row",
    ["../x\tcode-of-somebody", "carl\tshort", "carl\tcode/of/somebody", "anna\tcode-of-somebody",
     "ANNA\tcode-of-somebody", "carl\tcode-of-anna-0001", "n/a\tcode-of-somebody"],
)  # fmt: skip
def test_people_who_cannot_be_served_are_refused(tmp_path: Path, row: str) -> None:
    layout = write(tmp_path, experiment())
    with layout.people.open("a") as stream:
        stream.write(row + "\n")
    with pytest.raises(DataError, match=r"people\.tsv, line 4"):
        read_people(layout)


def test_people_may_be_added(tmp_path: Path) -> None:
    layout = write(tmp_path, experiment())
    with layout.people.open("a") as stream:
        stream.write("sub-03\t123456789012\n")
    assert read_people(layout) == {**CODES, "03": "123456789012"}


def test_no_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ban-bids-listen make"):
        read_experiment(Layout(tmp_path))


def test_numbers_are_written_as_json_has_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        keep_answer(Layout(tmp_path), "anna", QUESTION, {**GIVEN, "response_time_ms": float("nan")})
    assert answered(Layout(tmp_path), "anna") == ()
