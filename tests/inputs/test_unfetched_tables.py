"""Tables and descriptions that datalad or git-lfs did not fetch say so: none is read as empty, broken or not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from small_datasets import Toy, notes_of, write_audio

from ban_bids.errors import DataError
from ban_bids.inputs.read import read_dataset


def link(path: Path) -> None:
    path.symlink_to(f"../../.git/annex/objects/9k/Q1/MD5E-s12--0/{path.name}")


def annex(path: Path) -> None:
    path.write_text(f"/annex/objects/MD5E-s12--0{path.suffix}\n")  # unlocked, or on a file system without links


def elsewhere(path: Path) -> None:
    path.symlink_to("../gone/away.tsv")


def lfs(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


LEAVE: list[tuple[Callable[[Path], None], str]] = [
    (link, "datalad get"),
    (annex, "datalad get"),
    (lfs, "git lfs pull"),
    (elsewhere, "gone/away.tsv\\); restore that file"),
]
ways = pytest.mark.parametrize(("leave", "remedy"), LEAVE, ids=[make.__name__ for make, _ in LEAVE])


def left(path: Path, leave: Callable[[Path], None]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    leave(path)
    return path


@ways
@pytest.mark.parametrize("name", ["dataset_description.json", "code/ban-bids.toml"])
def test_what_concerns_everybody(toy: Toy, name: str, leave: Callable[[Path], None], remedy: str) -> None:
    gone = left(toy.root / name, leave)
    for skip in (False, True):
        with pytest.raises(DataError, match=f"{gone}: .*{remedy}"):
            read_dataset(toy.settings(skip_bids_validation=skip))


def test_a_participants_subdataset_that_is_not_there(toy: Toy) -> None:
    (toy.root / "sub-03").mkdir()
    dataset = read_dataset(toy.settings())
    assert f"datalad get -n {toy.root}/sub-03" in str(dataset.participants[2].failure)
    assert [one.failure for one in dataset.participants[:2]] == [None, None]


@ways
def test_the_table_of_stimuli(toy: Toy, leave: Callable[[Path], None], remedy: str) -> None:
    """Without it a picture would be heard, and the genres be unknown."""
    for name in ("tone01", "face01"):
        write_audio(toy.root / "stimuli" / f"stim-{name}_audio.wav", 12.0)
    for sub in ("01", "02"):
        toy.events(1, "0\t8\ttone01\n8\t8\tface01\n", sub, header="onset\tduration\tstim_id\n")
    table = toy.root / "stimuli" / "stimuli.tsv"
    table.write_text("stimulus_id\ttype\tgenre\ntone01\taudio\trock\nface01\timage\tn/a\n")
    (heard,) = read_dataset(toy.settings()).participants[0].runs[0].clips
    assert heard.genre == "rock"
    left(table, leave)
    dataset = read_dataset(toy.settings(), keep_unusable=True)
    assert [file.path for file in dataset.missing] == [table]
    assert all(re.search(f"{table}: .*{remedy}", str(one.failure)) for one in dataset.participants)


@ways
def test_a_table_that_a_rule_joins(toy: Toy, leave: Callable[[Path], None], remedy: str) -> None:
    (toy.root / "code").mkdir()
    rule = '[[rule]]\nfile = "{name}"\ntable = { file = "stimuli/list.tsv", on = ["id"] }\nruns = { run = 1 }\n'
    (toy.root / "code" / "ban-bids.toml").write_text(rule)
    for sub in ("01", "02"):
        toy.events(1, "0\t8\ta\n", sub, header="onset\tduration\tid\n")
    table = left(toy.root / "stimuli" / "list.tsv", leave)
    dataset = read_dataset(toy.settings(), keep_unusable=True)
    assert [file.path for file in dataset.missing] == [table]
    assert all(re.search(f"{table}: .*{remedy}", str(one.failure)) for one in dataset.participants)


@ways
def test_choices_are_not_lost_in_silence(toy: Toy, leave: Callable[[Path], None], remedy: str) -> None:
    gone = left(toy.root / "sub-02" / "beh" / "sub-02_task-genre_beh.tsv", leave)
    (note,) = [note for note in notes_of(read_dataset(toy.settings())) if gone.name in note]
    assert "may hold choices" in note and re.search(remedy, note)
