"""Inputs that were once misread without a word are told, or read as what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_catalogue import Case, import_all, run_case
from hostile_readings import readings
from small_datasets import make_toy

from ban_bids.inputs.events import misspelt, misspelt_text
from ban_bids.inputs.read import read_dataset


def _one_of_each_answer() -> list[Case]:
    """``benchmarks/hostile_inputs.py`` runs all."""
    return list({(case.kind, case.told, case.read): case for case in reversed(readings())}.values())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import_all()
    return make_toy(tmp_path_factory.mktemp("good") / "bids").root


@pytest.mark.parametrize("case", _one_of_each_answer(), ids=str)
def test_it_is_told_or_read(case: Case, template: Path, tmp_path: Path) -> None:
    outcome = run_case(case, template, tmp_path / "case")
    assert outcome.good, f"{outcome.what}: {outcome.message}"


@pytest.mark.parametrize("name", ["told", "read"])
def test_the_runner_tells_what_is_read_in_silence(name: str, template: Path, tmp_path: Path) -> None:
    wanted = {name: "nobody says this"}
    case = Case("made", name, lambda toy: None, lambda toy: read_dataset(toy.settings()), **wanted)
    assert run_case(case, template, tmp_path / name).what == "silent"


@pytest.mark.parametrize(
    ("columns", "answers", "found"),
    [
        (("onset", "duration", "stim_file", "stim_start"), False, {}),
        (
            ("Onset", "DURATION", "stim file"),
            False,
            {"Onset": "onset", "DURATION": "duration", "stim file": "stim_file"},
        ),
        (("onset (s)", "duration [ms]"), False, {"onset (s)": "onset", "duration [ms]": "duration"}),
        (("onset", "Onset", "duration"), False, {}),  # the right one is there: the other is somebody's own
        (("stim_file", "StimID"), False, {}),  # which of two names counts is no question of spelling
        (("StimID",), False, {"StimID": "stim_id"}),
        (("onset_ms", "stim_onset", "duration2", "Response"), False, {}),
        (("stim_file", "Response", "Onset"), True, {"Response": "response"}),
    ],
)
def test_columns_that_are_nearly_those_of_bids(columns: tuple[str, ...], answers: bool, found: dict[str, str]) -> None:
    assert misspelt(columns, answers=answers) == found


@pytest.mark.parametrize("own", ["Duration", "onset (TR)", "Onset", "StimID", "Response", "Genre"])
def test_columns_of_ones_own_beside_those_of_bids_are_passed_over(own: str, tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "bids")
    rows = "0\t8\tblues.00000.wav\tblues\t7\n"
    toy.events(1, rows, header=f"onset\tduration\tstim_file\ttrial_type\t{own}\n")
    dataset = read_dataset(toy.settings())
    assert len(dataset.participants[0].runs) == 3
    assert not any("spelled" in note or "choices" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("onset (TR)", "write a rule with onset = { column = 'onset (TR)', unit = … }"),
        ("onset (ms)", "write a rule with onset"),
        ("onset (s)", "rename 'onset (s)' to onset"),
        ("Onset", "rename 'Onset' to onset"),
    ],
)
def test_a_column_of_another_unit_is_not_to_be_renamed(column: str, told: str) -> None:
    text = misspelt_text(Path("events.tsv"), misspelt((column, "duration")))
    assert told in text
    assert ("write a rule" in text) == ("write a rule" in told)


@pytest.mark.parametrize("name", ["각" * 30 + "-각", "é" * 84])
def test_a_name_that_is_too_long_with_its_accents_apart_is_not_found(name: str, tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "bids")
    toy.events(1, f"0\t8\t{name}.wav\n", header="onset\tduration\tstim_file\n")
    assert ["not found" in file.reason for file in read_dataset(toy.settings()).missing] == [True]


def test_a_rule_may_name_columns_as_they_are_spelled(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "bids")
    for sub in ("01", "02"):
        for run in (1, 2, 3):
            toy.events(run, "0\t8\tblues.00000.wav\n", sub, header="Onset\tDuration\tStim_File\n")
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nfile = "{Stim_File}"\nonset = "Onset"\nduration = "Duration"\n')
    for person in read_dataset(toy.settings(rules=rules)).participants:
        assert [len(run.presentations) for run in person.runs] == [1, 1, 1]


def test_units_of_a_sidecar_are_a_rules_to_say(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "bids")
    rows = "0\t8\tblues.00000.wav\n8000\t8\tblues.00001.wav\n"
    toy.events(1, rows, header="onset\tduration\tstim_file\n")
    (toy.root / "sub-01/func/sub-01_task-music_run-1_events.json").write_text('{"onset": {"Units": "ms"}}')
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nruns = { sub = "01", run = "1" }\nfile = "{stim_file}"\n'
        'onset = { column = "onset", unit = "ms" }\n[[rule]]\nfile = "{stim_file}"\n'
    )
    run = read_dataset(toy.settings(rules=rules)).participants[0].runs[0]
    assert [item.onset for item in run.presentations] == [0, 8]
