"""Events that cannot be understood: the message has a rule for their columns, which works."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import Toy, write_audio

from ban_bids.errors import DataError
from ban_bids.inputs.events import parse_table
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.rule_files import read_rules
from ban_bids.inputs.starting_rule import starting_rule
from ban_bids.inputs.stimuli import Stimuli


def written(message: str, path: Path) -> Path:
    """The line of the message, as a file of rules."""
    assert "\n" not in message
    path.parent.mkdir(exist_ok=True)
    path.write_text(message[message.index("rule = [{") :].partition(" (and ")[0])
    return path


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("onset\tduration\ttrial_type\tstim", "{}.wav"),
        ("onset\tduration\tsound\tblock", "{}.wav"),
        ("onset\tduration\ttrial_type\tclip", "{}"),  # as files are called, without their suffix
        ("onset\tduration\tgenre\tSound.File", "stimuli/{}.wav"),
    ],
)
def test_the_proposed_rule_works(toy: Toy, header: str, cell: str) -> None:
    names = header.split("\t")
    for sub in ("01", "02"):
        for run, genre in enumerate(("blues", "disco", "rock"), start=1):
            rows = []
            for number in (0, 1):
                file = cell.format(f"{genre}.0000{number}")
                values = {"onset": str(8 * number), "duration": "8", "trial_type": genre, "genre": genre, "block": "1"}
                rows.append("\t".join(values.get(name, file) for name in names))
            toy.events(run, "\n".join(rows) + "\n", sub, header=f"{header}\n")
    with pytest.raises(DataError) as error:
        read_dataset(toy.settings())
    assert f"its columns are {', '.join(names)}" in str(error.value)
    written(str(error.value), toy.root / "code" / "ban-bids.toml")
    dataset = read_dataset(toy.settings())
    assert [len(person.runs) for person in dataset.usable] == [3, 3]
    tracks = [item.clip.track for item in dataset.usable[0].runs[0].presentations]
    assert tracks == ["blues.00000", "blues.00001"]


def test_pictures_do_not_make_a_column_the_sounds(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", 2.0)
    rows = [f"{k}\t1\tface{k}.png\t{'a.wav' if k % 2 else 'Rien'}" for k in range(10)]
    table = parse_table(Path("events.tsv"), ["onset\tduration\tpicture\theard", *rows])
    assert '{ file = "{heard}" }' in starting_rule(table, Stimuli([tmp_path]))


def test_where_no_column_names_files_that_is_said(tmp_path: Path) -> None:
    table = parse_table(Path("events.tsv"), ["begin\tkind", "1\tx", "2\ty"])
    message = starting_rule(table, Stimuli([tmp_path]))
    assert "no column looks like names of sounds" in message
    (rule,) = read_rules(written(message, tmp_path / "code" / "rules.toml")).rules
    assert rule.onset.number == 0.0 and rule.duration == "file"


def test_any_columns_make_a_file_of_rules(tmp_path: Path) -> None:
    table = parse_table(Path("events.tsv"), ['onset\tduration\tä b\tx"y\tq{z}\t__w__\tc\\d', "1\t2\ta\tb\tc\td\te"])
    assert read_rules(written(starting_rule(table, Stimuli([tmp_path])), tmp_path / "code" / "rules.toml"))
