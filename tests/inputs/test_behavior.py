"""Human genre choices are found wherever BIDS lets people put them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import Toy

from ban_bids.errors import DataError
from ban_bids.inputs.people import COLUMNS
from ban_bids.inputs.read import read_dataset

ROWS = (
    "stim_file\tstim_start\tduration\tgenre\tresponse\n"
    "blues.00000.wav\t1.5\t8\tblues\t'disco'\n"
    "blues.00000.wav\t1.5\t8\tblues\tblues\n"
    "rock.00001.wav\tn/a\tn/a\trock\trock\n"
    "rock.00000.wav\t0\t5\trock\tn/a\n"
)


def write_beh(toy: Toy, sub: str, text: str = ROWS) -> Path:
    path = toy.root / f"sub-{sub}" / "beh" / f"sub-{sub}_task-genre_beh.tsv"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_no_choices(toy: Toy) -> None:
    assert read_dataset(toy.settings()).choices is None


def test_beh_files_of_everybody_whoever_is_chosen(toy: Toy) -> None:
    files = (write_beh(toy, "01"), write_beh(toy, "02"))
    dataset = read_dataset(toy.settings(participant_labels=("02",)))
    choices = dataset.choices
    assert choices is not None
    assert choices.files == files and set(files) <= set(dataset.files)
    table = choices.table
    assert tuple(table.columns) == COLUMNS
    assert table["participant"].tolist() == ["01"] * 3 + ["02"] * 3
    assert table["response"].tolist() == ["disco", "blues", "rock"] * 2
    assert table["true_genre"].tolist() == ["blues", "blues", "rock"] * 2
    assert table["duration"].tolist() == [8.0, 8.0, 12.0] * 2
    assert [clip.track for clip in choices.clips] == ["blues.00000", "rock.00001"]
    # the excerpt that was rated is the one that was played in the scanner
    assert choices.clips[0] == dataset.participants[0].runs[0].presentations[0].clip


@pytest.mark.parametrize("session", ["", "ses-home/"])
def test_people_outside_the_scanner_only_add_their_choices(toy: Toy, session: str) -> None:
    answers = toy.root / f"sub-99/{session}beh/sub-99_task-genre_beh.tsv"
    answers.parent.mkdir(parents=True)
    answers.write_text(ROWS)
    before = read_dataset(toy.settings())
    assert "99" not in [person.label for person in (*before.participants, *before.listeners)]
    assert before.choices is not None and set(before.choices.table["participant"]) == {"99"}
    assert any("1 participants have no func folder" in note for note in before.notes)
    # asked for by name, their images are missed; so are those of people without choices
    asked = read_dataset(toy.settings(participant_labels=("01", "99")))
    assert {person.label: person.failure is None for person in asked.participants} == {"01": True, "99": False}
    (toy.root / "sub-98").mkdir()
    assert "98" in [person.label for person in read_dataset(toy.settings()).participants]


def test_column_of_events(toy: Toy) -> None:
    toy.events(
        1,
        "0\t8\tblues\tblues.00000.wav\tblues\n8\t8\tdisco\tdisco.00001.wav\tblues\n",
        header="onset\tduration\ttrial_type\tstim_file\tresponse\n",
    )
    choices = read_dataset(toy.settings()).choices
    assert choices is not None
    assert choices.table[["true_genre", "response"]].values.tolist() == [
        ["blues", "blues"],
        ["disco", "blues"],
    ]


def test_button_presses_are_no_choices(toy: Toy) -> None:
    toy.events(1, "0\t8\tblues\tblues.00000.wav\t3\n", header="onset\tduration\ttrial_type\tstim_file\tresponse\n")
    assert read_dataset(toy.settings()).choices is None


def test_given_file_comes_first(toy: Toy, tmp_path: Path) -> None:
    write_beh(toy, "01")
    path = tmp_path / "answers.tsv"
    path.write_text("participant_id\tstim_file\ttrial_type\tresponse\nsub-7\trock.00000.wav\trock\tdisco\n"
                    "sub-8\trock.00000.wav\trock\trock\n")  # fmt: skip
    choices = read_dataset(toy.settings(behavior=path)).choices
    assert choices is not None
    assert choices.table["participant"].tolist() == ["7", "8"]
    assert choices.source == str(path)


@pytest.mark.parametrize("text", ["stim_file\tgenre\nblues.00000.wav\tblues\n", "genre\tresponse\nblues\tblues\n"])
def test_given_file_without_choices(toy: Toy, tmp_path: Path, text: str) -> None:
    path = tmp_path / "answers.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match="--behavior .*answers.tsv: needs columns"):
        read_dataset(toy.settings(behavior=path))


def test_choice_without_truth(toy: Toy) -> None:
    path = write_beh(
        toy, "01", "stim_file\tgenre\tresponse\nblues.00000.wav\tblues\tblues\nrock.00000.wav\tn/a\trock\n"
    )
    other = write_beh(toy, "02")
    dataset = read_dataset(toy.settings())
    assert dataset.choices is not None and dataset.choices.files == (other,)
    assert any(f"{path}, line 3: response without the true genre" in note for note in dataset.notes)
    # what was asked for by name is no matter for a note
    with pytest.raises(DataError, match=f"{path}, line 3: response without the true genre"):
        read_dataset(toy.settings(behavior=path))


def test_our_own_column_of_genres_serves_where_the_profile_s_is_not(toy: Toy) -> None:
    (toy.root / "stimuli" / "ban_bids_profile.toml").write_text('[stimuli]\ngenre = "style"\n')
    write_beh(toy, "01")
    write_beh(toy, "02", "stim_file\tstyle\tgenre\tresponse\nrock.00000.wav\tblues\trock\trock\n")
    choices = read_dataset(toy.settings()).choices
    assert choices is not None
    assert choices.table["true_genre"].tolist() == ["blues", "blues", "rock", "blues"]


def test_a_task_of_which_one_table_holds_a_genre_is_read_whole(toy: Toy) -> None:
    write_beh(toy, "01", "stim_file\tgenre\tresponse\nblues.00000.wav\tblues\tblues\n")
    write_beh(toy, "02", "stim_file\tgenre\tresponse\nrock.00000.wav\trock\tdisco\n")
    presses = toy.root / "sub-02" / "beh" / "sub-02_task-presses_beh.tsv"
    presses.write_text("stim_file\tgenre\tresponse\nrock.00000.wav\trock\t1\n")
    choices = read_dataset(toy.settings()).choices
    assert choices is not None
    assert choices.table["response"].tolist() == ["blues", "disco"]


def write_rules(toy: Toy, text: str) -> None:
    path = toy.root / "code" / "ban-bids.toml"
    path.parent.mkdir()
    path.write_text(f'[[rule]]\nfile = "{{stim_file}}"\nstart = "stim_start"\n{text}')


@pytest.mark.parametrize("given", [False, True])
def test_the_true_genre_may_stand_where_the_rules_say(toy: Toy, given: bool) -> None:
    """A column of another name, in the table itself or in one that is joined to it."""
    write_rules(toy, 'genre = "style"\ntable = { file = "code/sounds.tsv", on = ["stim_file"] }\n')
    genres = ("blues", "disco", "rock")
    sounds = [f"{genre}.0000{n}.wav\t{genre}" for genre in genres for n in range(2)]
    (toy.root / "code" / "sounds.tsv").write_text("\n".join(["stim_file\tstyle", *sounds]) + "\n")
    path = write_beh(toy, "01", "stim_file\tresponse\nrock.00000.wav\tdisco\nblues.00000.wav\tblues\n")
    own = write_beh(toy, "02", "stim_file\tresponse\tstyle\nrock.00000.wav\tdisco\trock\n")
    choices = read_dataset(toy.settings(**{"behavior": path} if given else {})).choices
    assert choices is not None and choices.files == ((path,) if given else (path, own))
    assert choices.table["true_genre"].tolist() == ["rock", "blues", "rock"][: 2 if given else 3]


@pytest.mark.parametrize("table", ['{ file = "code/sounds.tsv", on = ["item"] }', '"code/sounds.tsv"'])
def test_answers_need_no_column_by_which_a_rule_joins_events(toy: Toy, table: str) -> None:
    # what ban-bids-listen writes: the file, the excerpt and the genre themselves
    write_rules(toy, f"table = {table}\n")
    sounds = [f"{genre}{n}\t{genre}\t8" for genre in ("blues", "disco", "rock") for n in range(2)]
    (toy.root / "code" / "sounds.tsv").write_text("\n".join(["item\tgenre\tduration", *sounds]) + "\n")
    for sub in ("01", "02"):
        for run, genre in enumerate(("blues", "disco", "rock"), start=1):
            toy.events(run, f"0\t8\t{genre}.00000.wav\t1.5\t{genre}0\n", sub,
                       header="onset\tduration\tstim_file\tstim_start\titem\n")  # fmt: skip
    write_beh(toy, "01")
    dataset = read_dataset(toy.settings())
    assert dataset.choices is not None, dataset.notes
    assert dataset.choices.table["true_genre"].tolist() == ["blues", "blues", "rock"]
    assert dataset.choices.clips[0] == dataset.participants[0].runs[0].presentations[0].clip


def test_answers_take_the_excerpt_from_the_table_that_a_rule_joins(toy: Toy) -> None:
    """Also where they have the genre themselves: without it they would be of the whole file."""
    write_rules(toy, 'table = { file = "code/sounds.tsv", on = ["stim_file"] }\n')
    names = [f"{genre}.0000{n}.wav" for genre in ("blues", "disco", "rock") for n in range(2)]
    rows = "".join(f"{name}\t1.5\t8\n" for name in names)
    (toy.root / "code" / "sounds.tsv").write_text(f"stim_file\tstim_start\tduration\n{rows}")
    write_beh(toy, "01", "stim_file\tgenre\tresponse\nrock.00000.wav\trock\trock\n")
    choices = read_dataset(toy.settings()).choices
    assert choices is not None and [(clip.start, clip.duration) for clip in choices.clips] == [(1.5, 8.0)]


def test_answers_of_which_none_is_a_genre_are_told(toy: Toy) -> None:
    """Another language, or numbers: else people look for a fault where none is."""
    for sub in ("01", "02"):
        write_beh(toy, sub, "stim_file\tgenre\tresponse\nrock.00000.wav\trock\tSchlager\nblues.00000.wav\tblues\tn/a\n")
    # buttons pressed in the scanner are told by nobody as genres
    toy.events(1, "0\t8\tblues\tblues.00000.wav\t3\n", header="onset\tduration\ttrial_type\tstim_file\tresponse\n")
    dataset = read_dataset(toy.settings())
    assert dataset.choices is None
    (note,) = [note for note in dataset.notes if "Schlager" in note]
    assert note.startswith("2 tables of choices cannot be used") and "(rock, blues)" in note
    assert not any("events.tsv" in note for note in dataset.notes)


def test_choices_of_several_tasks_are_told(toy: Toy) -> None:
    # a pilot that was imported under another --task counts as well
    path = write_beh(toy, "01")
    assert not any("tasks" in note for note in read_dataset(toy.settings()).notes)
    path.with_name("sub-01_task-pilot_beh.tsv").write_text(ROWS)
    dataset = read_dataset(toy.settings())
    assert dataset.choices is not None and len(dataset.choices.table) == 6
    assert any("genre choices of 2 tasks (genre, pilot) count as those of one" in note for note in dataset.notes)


@pytest.mark.parametrize("header", ["participant_id", "worker"])
def test_answers_of_nobody_are_refused(toy: Toy, tmp_path: Path, header: str) -> None:
    # taken for one person's they would be a person who gave many answers to every clip
    path = tmp_path / "answers.tsv"
    path.write_text(f"{header}\tstim_file\tgenre\tresponse\nsub-7\trock.00000.wav\trock\trock\n"
                    "n/a\trock.00000.wav\trock\tdisco\n")  # fmt: skip
    with pytest.raises(DataError, match=r"line [23]: .*participant_id"):
        read_dataset(toy.settings(behavior=path))
