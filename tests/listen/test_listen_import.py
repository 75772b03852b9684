"""Answers of an experiment's folder come into the dataset whole, valid, and are read back as they were given."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_listening
from answers_by_hand import GENRES, Folder, choices_of, make_dataset, read_back, snapshot, write_json
from hypothesis import given, settings
from hypothesis import strategies as st

from ban_bids.cli.listen import main
from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.events import clean_cell, plain_label
from ban_bids.inputs.read import read_dataset
from ban_bids.listen.experiment import Layout, read_experiment
from ban_bids.listen.importing import import_answers
from ban_bids.listen.make import Request, make_experiment
from ban_bids.listen.plan import make_world, simulate
from ban_bids.listen.schedule import trials
from ban_bids.listen.store import asked, keep_answer
from ban_bids.scoring.responses import match_responses
from ban_bids.settings import Settings

ALL = ("jazz", "blues", "jazz", "classical", "jazz", "jazz", "blues", "blues", "jazz")
SOME = ("blues", "blues", "blues", "blues")


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "bids")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "study")
    made.session("listener01", ALL)
    return made


def imported(answers: Path, bids: Path, **options: Any) -> str:
    return import_answers(answers, bids, **{"columns": None, "task": None, "replace": False, **options})


def beh(bids: Path, label: str = "listener01", task: str = "genre") -> Path:
    return bids / f"sub-{label}" / "beh" / f"sub-{label}_task-{task}_beh.tsv"


def test_what_was_answered_is_read_back(folder: Folder, bids: Path) -> None:
    folder.session("listener02", SOME)
    imported(folder.root, bids)
    assert read_back(bids) == folder.scored("listener01", ALL) + folder.scored("listener02", SOME)


def test_table(folder: Folder, bids: Path) -> None:
    imported(folder.root, bids)
    lines = [line.split("\t") for line in beh(bids).read_text().splitlines()]
    assert lines[0] == ["trial", "stim_file", "stim_start", "duration", "genre", "response", "confidence",
                        "response_time", "presentation", "kind"]  # fmt: skip
    number, clip = next((trial.number, clip) for trial, clip in folder.trials("listener01") if trial.kind == "repeat")
    again = next(line for line in lines if line[0] == str(number))
    assert again == [str(number), clip["stim_file"], "1.5", "8.0", clip["genre"], ALL[number - 1],
                     str(1 + number % 4), str((1000 + 7 * number) / 1000), "2", "repeat"]  # fmt: skip
    assert [row[-2:] for row in lines[1:] if row is not again] == [["1", "main"]] * 6
    kinds = [trial.kind for trial, _ in folder.trials("listener01")]  # neither practice nor checks are there
    assert [int(row[0]) for row in lines[1:]] == [n for n, kind in enumerate(kinds, 1) if kind in ("main", "repeat")]
    sidecar = json.loads(beh(bids).with_suffix(".json").read_text())
    assert set(lines[0]) <= set(sidecar)
    assert list(sidecar["response"]["Levels"]) == list(GENRES)


def test_columns_that_nobody_has_are_left_out_and_a_missing_value_is_not_available(folder: Folder, bids: Path) -> None:
    for number, response in enumerate(ALL, start=1):
        folder.answer("listener01", number, response, confidence=None, response_time_ms=None if number == 2 else 1014)
    imported(folder.root, bids)
    table = pd.read_csv(beh(bids), sep="\t", keep_default_na=False)
    assert "confidence" not in table
    assert table["response_time"].tolist()[:2] == ["n/a", "1.014"]


def test_answers_are_kept_as_they_came_without_what_opens_a_session(folder: Folder, bids: Path) -> None:
    imported(folder.root, bids)
    kept = bids / "sourcedata" / "listen" / "task-genre"
    assert snapshot(kept / "answers") == snapshot(folder.root / "answers")
    assert (kept / "experiment.json").read_bytes() == (folder.root / "experiment.json").read_bytes()
    session = json.loads((kept / "sessions" / "listener01.json").read_text())
    assert session.keys() == {"language", "begun", "finished"}
    assert not any(b"secret" in content for content in snapshot(bids).values())


def test_participants_are_added_and_others_stay_as_they_are(folder: Folder, bids: Path) -> None:
    (bids / "participants.tsv").write_text('participant_id\tage\tremark\nsub-01\t031\t"said ""no"""\n')
    write_json(bids / "participants.json", {"age": {"Units": "year"}})
    check = next(trial for trial, _ in folder.trials("listener01") if trial.kind == "check")
    folder.answer("listener01", check.number, next(name for name in GENRES if name != check.expected))
    folder.session("01", ALL)
    report = imported(folder.root, bids)
    assert (bids / "participants.tsv").read_text().splitlines() == [
        "participant_id\tage\tremark\tgenre_checks_passed",
        'sub-01\t031\t"said ""no"""\t1',
        "sub-listener01\tn/a\tn/a\t0",
    ]
    assert json.loads((bids / "participants.json").read_text()).keys() == {"age", "genre_checks_passed"}
    assert "failed by listener01 (0 of 1 passed)" in report and "01 (1 of 1" not in report
    assert "note: participants of the dataset before, taken for the same people: 01\n" in report


def test_a_table_of_participants_with_quotes_is_read_as_others_are(folder: Folder, bids: Path) -> None:
    # as R writes it
    path = bids / "participants.tsv"
    path.write_text('"participant_id"\t"age"\n"sub-listener01"\t"33"\n"sub-01"\t"7"\n')
    imported(folder.root, bids)
    imported(folder.root, bids, replace=True)
    checks = path.read_text().splitlines()[1].split("\t")[2]
    assert float(checks) <= 1
    assert path.read_text() == (
        f'"participant_id"\t"age"\tgenre_checks_passed\n"sub-listener01"\t"33"\t{checks}\n"sub-01"\t"7"\tn/a\n'
    )


def test_participants_where_there_was_no_table(folder: Folder, bids: Path) -> None:
    imported(folder.root, bids)
    assert (bids / "participants.tsv").read_text().splitlines()[1:] == ["sub-01\tn/a", "sub-listener01\t1"]


def test_report_says_who_and_how_much_and_what_comes_next(folder: Folder, bids: Path) -> None:
    folder.session("listener03", SOME)
    lines = imported(folder.root, bids).splitlines()
    assert lines[0].startswith("10 answers of 2 people on 6 clips")
    assert "note: listener03 did not finish: 4 of 9 trials are answered, and imported" in lines
    assert "note: no answers of listener02" in lines
    assert "note: in sourcedata only: 2 trials of kind practice, 1 trials of kind check" in lines
    assert not any("listener01" in line for line in lines)
    assert lines[-1] == f"next: ban-bids {bids} OUT participant --model ban=WEIGHTS"


def test_a_table_that_is_there_is_replaced_only_when_told(folder: Folder, bids: Path) -> None:
    imported(folder.root, bids)
    folder.answer("listener01", 2, "jazz")
    before = snapshot(bids)
    with pytest.raises(DataError, match="listener01_task-genre_beh.tsv: there already; give --replace"):
        imported(folder.root, bids)
    assert snapshot(bids) == before
    imported(folder.root, bids, replace=True)
    assert read_back(bids) == folder.scored("listener01", ("jazz", "jazz", *ALL[2:]))
    imported(folder.root, bids, task="again")  # another task is another table
    assert beh(bids, task="again").is_file()


def test_a_table_of_the_same_person_and_task_under_another_name_would_count_twice(folder: Folder, bids: Path) -> None:
    other = bids / "sub-listener01" / "ses-1" / "beh" / "sub-listener01_ses-1_task-genre_beh.tsv"
    other.parent.mkdir(parents=True)
    other.write_text("stim_file\tgenre\tresponse\n")
    with pytest.raises(DataError, match="ses-1_task-genre_beh.tsv: holds choices of this person"):
        imported(folder.root, bids, replace=True)
    other.rename(other.with_name("sub-listener01_ses-1_task-memory_beh.tsv"))
    imported(folder.root, bids)


def test_answers_kept_of_another_import_are_not_overwritten(folder: Folder, bids: Path) -> None:
    imported(folder.root, bids)
    shutil.rmtree(bids / "sub-listener01")
    folder.answer("listener01", 1, "blues")
    with pytest.raises(DataError, match="sourcedata.*0001.json: there from another import"):
        imported(folder.root, bids)
    imported(folder.root, bids, replace=True)


def test_clips_must_be_in_the_dataset(folder: Folder, bids: Path) -> None:
    (bids / "stimuli" / "jazz" / "jazz.00001.wav").unlink()
    before = snapshot(bids)
    with pytest.raises(DataError, match=r"json, line 1: clip 'jazz/jazz.00001.wav' is not under .*stimuli; correct"):
        imported(folder.root, bids)
    assert snapshot(bids) == before


def test_sounds_may_lie_elsewhere(folder: Folder, bids: Path, tmp_path: Path) -> None:
    (bids / "stimuli").rename(tmp_path / "music")
    with pytest.raises(UsageError, match="stimuli: not there; give --stimuli-dir"):
        imported(folder.root, bids)
    report = imported(folder.root, bids, stimuli_dir=tmp_path / "music")
    assert report.endswith(f"ban-bids {bids} OUT participant --model ban=WEIGHTS --stimuli-dir {tmp_path / 'music'}")
    choices = choices_of(bids, tmp_path / "music")
    assert choices is not None and choices.table["response"].tolist() == [
        row[-1] for row in folder.scored("listener01", ALL)
    ]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"response": "polka"}, "response 'polka' is none"),
        ({"response": ["blues"]}, "response .* is none"),
        ({"confidence": 5}, "confidence is 5"),
        ({"confidence": True}, "confidence is True"),
        ({"response_time_ms": -1}, "response_time_ms is -1"),
        ({"response_time_ms": "12"}, "response_time_ms is '12'"),
        ({"number": 4}, "not the answer to trial 3"),
        ({"kind": "practice"}, "answers another question .*kind"),
        ({"genre": "polka"}, "answers another question .*genre"),
        ({"start": 0.0, "duration": 4.0}, "answers another question .*start, duration"),
        ({"clip": {}}, "answers another question .*clip"),
        ({"expected": "blues"}, "answers another question .*expected"),
    ],
)
def test_damaged_answers_are_named(folder: Folder, bids: Path, change: dict[str, Any], what: str) -> None:
    folder.answer("listener01", 3, "blues", **change)
    before = snapshot(bids)
    with pytest.raises(DataError, match=f"answers/listener01/0003.json: .*{what}.*; restore"):
        imported(folder.root, bids)
    assert snapshot(bids) == before


def test_answers_cut_off_or_without_a_field_are_named_and_unfinished_files_are_no_answers(
    folder: Folder, bids: Path
) -> None:
    path = folder.root / "answers" / "listener01" / "0003.json"
    whole = path.read_text()
    path.write_text(whole[:-9])
    with pytest.raises(DataError, match="0003.json: not readable JSON"):
        imported(folder.root, bids)
    path.write_text(json.dumps({key: value for key, value in json.loads(whole).items() if key != "received"}))
    with pytest.raises(DataError, match="0003.json: not the answer to trial 3 .no received"):
        imported(folder.root, bids)
    path.write_text(whole)
    path.with_name(".tmp-12-0004.json").write_text(whole[:-9])
    imported(folder.root, bids)
    assert read_back(bids) == folder.scored("listener01", ALL)


def test_practice_alone_is_no_answer(tmp_path: Path, bids: Path) -> None:
    folder = Folder(tmp_path / "study")
    with pytest.raises(DataError, match="answers: no answers; run ban-bids-listen serve"):
        imported(folder.root, bids)
    folder.session("listener01", ALL[:1])
    with pytest.raises(DataError, match="nothing but practice and checks"):
        imported(folder.root, bids)


def test_options_that_do_not_fit_the_answers(folder: Folder, bids: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--columns: .*leave it out"):
        imported(folder.root, bids, columns=tmp_path / "columns.toml")
    with pytest.raises(UsageError, match="no experiment.json there; for tables of other programs give --columns"):
        imported(folder.root / "answers", bids)
    with pytest.raises(UsageError, match="task-my task"):
        imported(folder.root, bids, task="my task")
    with pytest.raises(UsageError, match="elsewhere: no such folder; give a BIDS dataset"):
        imported(folder.root, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="study: no dataset_description.json there; give a BIDS dataset"):
        imported(folder.root, folder.root)


def test_command_line(folder: Folder, bids: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", str(folder.root), str(bids), "--task", "style"]
    assert main(command) == 0
    assert "7 answers of 1 people on 6 clips" in capsys.readouterr().out
    assert beh(bids, task="style").is_file()
    assert main(command) == 65
    message = capsys.readouterr().err.strip()
    assert message.endswith("there already; give --replace to replace it, or another --task")
    assert "\n" not in message


def test_tables_of_others_stay_and_are_reported(folder: Folder, bids: Path) -> None:
    imported(folder.root, bids)
    shutil.rmtree(folder.root / "answers")
    folder.session("listener02", SOME)
    report = imported(folder.root, bids, replace=True)
    assert "note: people whose tables of this task were there before stay in: listener01" in report
    assert {row[0] for row in read_back(bids)} == {"listener01", "listener02"}


def test_nobody_is_lost_whose_answers_are_all_wrong(folder: Folder, bids: Path) -> None:
    genres = {clip["genre"] for trial, clip in folder.trials("listener02")[:3] if trial.kind == "main"}
    wrong = next(name for name in GENRES if name not in genres)
    folder.session("listener02", [wrong] * 3)
    imported(folder.root, bids)
    assert read_back(bids)[7:] == folder.scored("listener02", [wrong] * 3)


def test_choices_spelled_otherwise_than_the_genres_are_found(bids: Path) -> None:
    beh(bids).parent.mkdir(parents=True)
    beh(bids).write_text("stim_file\tgenre\tresponse\njazz.00001.wav\tjazz\tJazz!\njazz.00000.wav\tjazz\tRock\n")
    assert [row[4:] for row in read_back(bids)] == [("jazz", "Jazz!"), ("jazz", "Rock")]


@pytest.mark.parametrize("name", ["none", "n/a", 'rock "n" roll', "'quoted'", "two  blanks"])
def test_choices_that_tables_cannot_hold_are_refused(tmp_path: Path, bids: Path, name: str) -> None:
    Folder(tmp_path / "study", choices=(*GENRES, name))
    with pytest.raises(DataError, match="experiment.json: choices .* are not two or more different names"):
        imported(tmp_path / "study", bids)


def _writable(text: str) -> bool:
    return '"' not in text and clean_cell(" ".join(text.split())) == text


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
CHOICES = st.lists(NAMES.filter(_writable), min_size=3, max_size=6, unique_by=plain_label)
PEOPLE = st.lists(st.from_regex(r"[0-9a-zA-Z]{1,8}", fullmatch=True), min_size=1, max_size=4, unique_by=str.lower)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), choices=CHOICES, people=PEOPLE)
def test_any_answers_survive(data: st.DataObject, choices: list[str], people: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        bids, folder = make_dataset(Path(name) / "bids"), Folder(Path(name) / "study", choices, choices[:3])
        answers = {person: data.draw(st.lists(st.sampled_from(choices), min_size=2, max_size=9)) for person in people}
        answers[people[0]][1] = folder.trials(people[0])[1][1]["genre"]  # else there is nothing to be scored
        for person, responses in answers.items():
            folder.session(person, responses)
        imported(folder.root, bids)
        assert read_back(bids) == [row for person in sorted(people) for row in folder.scored(person, answers[person])]


def test_what_is_scored_is_what_was_answered(tmp_path: Path) -> None:
    # people of a simulation: counts before and after a way through answer files, tables and reading
    bids, folder = make_dataset(tmp_path / "bids"), Folder(tmp_path / "study", others=0)
    simulated = simulate(make_world(3, 0.6, 0), 5, 6, np.random.default_rng(1))
    clips = [f"{GENRES[genre]}-{k // 3}" for k, genre in enumerate(simulated.true)]
    for person, counts in enumerate(simulated.counts):
        for trial, _ in folder.trials(f"p{person}"):
            folder.answer(f"p{person}", trial.number, GENRES[counts[clips.index(trial.clip)].argmax()])
    imported(folder.root, bids)
    choices = choices_of(bids)
    assert choices is not None
    names = [Path(clip.audio).name for clip in choices.clips]
    order = [names.index(Path(folder.clips[clip]["stim_file"]).name) for clip in clips]
    matched = match_responses(choices.table, choices.clips, simulated.probabilities, genres=GENRES).of(np.array(order))
    np.testing.assert_array_equal(matched.counts, simulated.counts)
    np.testing.assert_array_equal(matched.true, simulated.true)


def test_from_a_dataset_to_an_experiment_and_back(tmp_path: Path) -> None:
    bids = small_listening.make_dataset(tmp_path / "bids", images=True)
    layout = Layout(tmp_path / "study")
    make_experiment(bids, layout.root, Request(people=2, repeats=2, checks=1, practice=1, confidence=True))
    experiment = read_experiment(layout)
    given_answers = []
    for k, person in enumerate(("listener01", "listener02")):
        for trial in trials(experiment, person):
            question = asked(experiment, trial)
            response = trial.expected or experiment.choices[(trial.number * (k + 1)) % 3]
            answer = {"response": response, "confidence": 2, "response_time_ms": 1500, "plays": 1}
            assert keep_answer(layout, person, question, answer)
            if trial.kind in ("main", "repeat"):
                given_answers.append((person, Path(question["stim_file"]).stem, question["genre"], response))
    imported(layout.root, bids)
    dataset = read_dataset(Settings.of(bids, tmp_path / "out", "participant", work_dir=tmp_path / "work"))
    assert dataset.choices is not None
    columns = ["participant", "track", "true_genre", "response"]
    assert list(dataset.choices.table[columns].itertuples(index=False, name=None)) == given_answers
    # what people judged are the very clips of the held-out run: features are computed once
    (heard,) = (run.clips for run in dataset.participants[0].runs if run.run == "3")
    assert set(dataset.choices.clips) == set(heard)


def test_there_and_back_where_rules_join_a_table(tmp_path: Path) -> None:
    """Events name items, a table their sounds: answers name the sounds themselves."""
    bids, layout = small_listening.make_dataset(tmp_path / "bids", images=True), Layout(tmp_path / "study")
    items: dict[str, str] = {}
    for events in sorted(bids.glob("sub-01/func/*_events.tsv")):
        rows = [line.split("\t") for line in events.read_text().splitlines()[1:]]
        named = [(*row[:2], items.setdefault(row[2], f"i{len(items)}")) for row in rows]
        events.write_text("\n".join("\t".join(row) for row in [("onset", "duration", "item"), *named]) + "\n")
    table = [f"{item}\t{sound}\t0.5\t{sound.split('.')[0]}" for sound, item in items.items()]
    (bids / "code").mkdir()
    (bids / "code" / "sounds.tsv").write_text("\n".join(["item\tsound\tfrom\tgenre", *table]) + "\n")
    rule = '[[rule]]\nfile = "{sound}"\nstart = "from"\ntable = { file = "code/sounds.tsv", on = ["item"] }\n'
    (bids / "code" / "ban-bids.toml").write_text(rule)
    make_experiment(bids, layout.root, Request(people=1, repeats=0, checks=0, practice=0))
    experiment = read_experiment(layout)
    for trial in trials(experiment, "listener01"):
        response = experiment.choices[trial.number % 3]
        answer = {"response": response, "confidence": None, "response_time_ms": 9, "plays": 1}
        assert keep_answer(layout, "listener01", asked(experiment, trial), answer)
    imported(layout.root, bids)
    dataset = read_dataset(Settings.of(bids, tmp_path / "out", "participant", work_dir=tmp_path / "work"))
    assert dataset.choices is not None
    (heard,) = (run.clips for run in dataset.participants[0].runs if run.run == "3")
    assert set(dataset.choices.clips) == set(heard) and len(dataset.choices.table) == 3


def _validator() -> str | None:
    return shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
        "bids-validator-deno"
    )


@pytest.mark.skipif(_validator() is None, reason="bids-validator-deno is not installed")
def test_the_official_validator_finds_no_error(folder: Folder, bids: Path) -> None:
    shutil.rmtree(bids / "sub-01")  # a run without its image is no valid one
    imported(folder.root, bids)
    run = subprocess.run([str(_validator()), str(bids), "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    undescribed = [issue for issue in issues if "COLUMN" in issue["code"].upper()]
    assert undescribed == [], undescribed
