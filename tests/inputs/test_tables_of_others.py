"""A table that nobody asked for never stops a call; one that was asked for says what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_datasets import HEADER, Toy, notes_of

from ban_bids.errors import DataError
from ban_bids.inputs.events import read_columns, read_table
from ban_bids.inputs.read import read_dataset

ROWS = HEADER + "0\t8\tblues\tblues.00000.wav\t1.5\n"
CHOICES = "stim_file\tgenre\tresponse\nblues.00000.wav\tblues\tblues\n"


def apple(path: Path) -> None:
    path.with_name("._" + path.name).write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + b"\xb0\xff" * 40)
    path.with_name(".DS_Store").write_bytes(b"\0\0\0\1Bud1")


def latin(path: Path) -> None:
    path.write_bytes("onset\tduration\ttrial_type\n0\t1\tMüller\n".encode("latin-1"))


def nameless_column(path: Path) -> None:
    path.write_text("\tonset\tduration\n0\t0\t1\n")


def too_many_cells(path: Path) -> None:
    path.write_text("item\tanswer\n1\tyes\tand more\n")


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def empty(path: Path) -> None:
    path.touch()


QUIET = [apple, latin, nameless_column, too_many_cells, folder, pipe, empty]


def latin_header(path: Path) -> None:
    path.write_bytes("onset\tlänge\tresponse\n".encode("latin-1"))


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def nowhere(path: Path) -> None:
    path.symlink_to("../../.git/annex/objects/xx/yy.tsv")


def to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def to_a_folder(path: Path) -> None:
    path.symlink_to(".")


def answers_that_break_off(path: Path) -> None:
    path.write_text("stim_file\tgenre\tresponse\nblues.00000.wav\tblues\tblues\tand\tmore\n")


def answers_in_latin(path: Path) -> None:
    path.write_bytes((CHOICES + "blues.00000.wav\tblues\tMüll\n").encode("latin-1"))


TOLD = [latin_header, binary, nowhere, to_a_pipe, to_a_folder, answers_that_break_off, answers_in_latin]


@pytest.mark.parametrize("name", ["func/sub-02_task-rest_events.tsv", "beh/sub-02_task-form_beh.tsv"])
@pytest.mark.parametrize("spoil", [*QUIET, *TOLD], ids=lambda item: item.__name__)
def test_tables_of_others(toy: Toy, spoil, name: str) -> None:
    path = toy.root / "sub-02" / name
    path.parent.mkdir(exist_ok=True)
    spoil(path)
    dataset = read_dataset(toy.settings(participant_labels=("01",), task_ids=("music",)))
    assert dataset.choices is None and len(dataset.participants[0].runs) == 3
    notes = [note for note in notes_of(dataset) if "cannot be read" in note]
    assert len(notes) == (spoil in TOLD), notes
    assert all(str(path) in note for note in notes)


def test_many_tables_are_one_note_and_the_others_choices_count(toy: Toy) -> None:
    for number in range(5):
        path = toy.root / f"sub-02/beh/sub-02_task-genre_run-{number}_beh.tsv"
        path.parent.mkdir(exist_ok=True)
        nowhere(path) if number else path.write_text(CHOICES)
    dataset = read_dataset(toy.settings(participant_labels=("01",)))
    assert dataset.choices is not None and len(dataset.choices.table) == 1
    (note,) = [note for note in dataset.notes if "passed over" in note]
    assert note.startswith("4 tables that may hold choices cannot be read") and "run-1_beh.tsv" in note


def test_a_stimulus_that_people_judged_and_that_is_missing_stops_nobody(toy: Toy) -> None:
    path = toy.root / "sub-02/beh/sub-02_task-genre_beh.tsv"
    path.parent.mkdir()
    path.write_text("stim_file\tgenre\tresponse\nnowhere.wav\tblues\tblues\n")
    dataset = read_dataset(toy.settings(participant_labels=("01",)))
    assert dataset.choices is None and dataset.participants[0].failure is None
    assert any("nowhere.wav" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("sign", "name"), [(",", "commas"), (";", "semicolons"), (" ", "blanks"), ("    ", "blanks"), ("|", "bars")]
)
def test_other_signs_than_tabs_are_named(toy: Toy, sign: str, name: str) -> None:
    path = toy.func(1, "events.tsv")
    path.write_text(ROWS.replace("\t", sign))
    with pytest.raises(DataError, match=f"{path}: cells are separated by {name}"):
        read_table(path)
    first = read_dataset(toy.settings()).participants[0]
    assert f"separated by {name}" in " ".join([str(first.failure), *first.notes])


@pytest.mark.parametrize("end", [".csv", ".tsv.gz", ".xlsx"])
def test_a_table_of_another_kind_is_named(toy: Toy, end: str) -> None:
    path = toy.func(1, "events.tsv")
    path.rename(path.with_name(path.stem + end))
    (note,) = read_dataset(toy.settings()).participants[0].notes
    assert f"there is {path.stem}{end}: save it with tabs as {path.name}" in note


@pytest.mark.parametrize("header", ["onset", "my own words", "a, b and c", "duration "])
def test_one_column_is_a_table(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x_beh.tsv"
    path.write_text(f"{header}\n1\n")
    assert read_table(path).columns == (header.strip(),)


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")


@given(
    encoding=st.sampled_from(ENCODINGS),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cells=st.lists(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=9), min_size=1, max_size=5),
)
def test_any_unicode_and_any_line_end_is_one_table(tmp_path_factory, encoding, end, cells) -> None:
    path = tmp_path_factory.mktemp("tables") / "x_events.tsv"
    path.write_bytes(
        end.join(["onset\ttrial_type", *(f"{k}\t'{cell}'" for k, cell in enumerate(cells))]).encode(encoding)
    )
    table = read_table(path)
    assert read_columns(path) == table.columns == ("onset", "trial_type")
    missing = {"", "n/a", "na", "nan", "none", "null"}
    assert [row.text("trial_type") for row in table.rows] == [None if c.lower() in missing else c for c in cells]


def test_the_columns_are_read_from_the_beginning_alone(tmp_path: Path) -> None:
    path = tmp_path / "x_events.tsv"
    path.write_bytes(b"onset\tresponse\n" + "0\tä\n".encode() * 30_000 + b"\xff")
    assert read_columns(path) == ("onset", "response")
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_table(path)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-32"])
def test_sidecars_in_any_unicode(toy: Toy, encoding: str) -> None:
    (toy.root / "task-music_bold.json").write_bytes('{"RepetitionTime": 2.0, "TaskName": "Müsik"}'.encode(encoding))
    assert read_dataset(toy.settings()).participants[0].failure is None


def test_a_table_that_a_participants_failure_names_is_not_told_twice(toy: Toy) -> None:
    path = toy.func(1, "events.tsv")
    path.write_bytes("onset\tlänge\tresponse\n".encode("latin-1"))
    dataset = read_dataset(toy.settings())
    said = [str(person.failure) for person in dataset.participants] + notes_of(dataset)
    assert sum(path.name in text for text in said) == 1, said
