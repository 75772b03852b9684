"""Which file a row means: never one of the same name in another folder than the one that is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_datasets import Toy, write_audio

from ban_bids.errors import DataError
from ban_bids.inputs.events import read_table
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import Clip


def _asked(root: Path, name: str, *folders: str) -> Clip | None:
    """What a row of one clip names, the sounds being in the dataset's folder and others."""
    table = root / "events.tsv"
    table.write_text(f"onset\tduration\tstim_file\n0\t2\t{name}\n")
    row = read_table(table).rows[0]
    return Stimuli([root / folder for folder in (*folders, "stimuli")]).clip(row)


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("jazz/01.wav", "rock/01.wav"),
        ("sub-02/song.wav", "sub-01/song.wav"),
        ("01.wav", "rock/01.wav"),
        ("old/rock/01.wav", "rock/01.wav"),
        ("jazz/01.wav", "stimuli/01.wav"),
        ("jazz/01.wav", "stimuli/rock/01.wav"),
        ("jazz/01.wav", "rock\\01.wav"),
        ("a/b/01.wav", "a/01.wav"),
        ("jazz/01.wav", "bids::stimuli/rock/01.wav"),
    ],
)
def test_a_file_of_another_folder_is_not_taken(tmp_path: Path, there: str, asked: str) -> None:
    write_audio(tmp_path / "stimuli" / there)
    wanted = asked.replace("\\", "/").removeprefix("bids::").removeprefix("stimuli/")
    with pytest.raises(DataError, match=rf"line 2: stimulus {re.escape(wanted)} not found under .*stimuli; ") as caught:
        _asked(tmp_path, asked)
    assert str(tmp_path / "stimuli" / there) in str(caught.value)


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("rock/01.wav", "rock/01.wav"),
        ("rock/01.wav", "stimuli/rock/01.wav"),
        ("rock/01.wav", "rock\\01.wav"),
        ("rock/01.wav", "01.wav"),
        ("a/b/c/01.wav", "01.wav"),
        ("01.wav", "stimuli/01.wav"),
        ("rock/01.wav", "bids::stimuli/rock/01.wav"),
    ],
)
def test_the_file_that_is_asked_for_is(tmp_path: Path, there: str, asked: str) -> None:
    write_audio(tmp_path / "stimuli" / there)
    clip = _asked(tmp_path, asked)
    assert clip is not None and clip.audio == tmp_path / "stimuli" / there


@pytest.mark.parametrize(("folders", "found"), [('["rock"]', False), ('["rock", "."]', True), ('["jazz"]', True)])
def test_a_folder_that_a_rule_names_is_the_one(toy: Toy, folders: str, found: bool) -> None:
    write_audio(toy.root / "stimuli" / "jazz" / "01.wav", 12.0)
    (toy.root / "code").mkdir()
    rule = f'[[rule]]\nfile = "{{stim}}"\nsuffixes = ".wav"\nfolders = {folders}\nruns = {{ run = 1 }}\n'
    (toy.root / "code" / "ban-bids.toml").write_text(rule)
    for sub in ("01", "02"):
        toy.events(1, "0\t8\t01\n", sub, header="onset\tduration\tstim\n")
    first = read_dataset(toy.settings(), keep_unusable=True).participants[0]
    if found:
        assert [clip.audio for clip in first.runs[0].clips] == [toy.root / "stimuli" / "jazz" / "01.wav"]
    else:
        assert "stimulus rock/01.wav not found" in str(first.failure) and "jazz/01.wav has this name" in str(
            first.failure
        )


def test_the_folder_given_may_be_the_one_that_is_named(tmp_path: Path) -> None:
    write_audio(tmp_path / "elsewhere/rock/01.wav")
    (tmp_path / "stimuli").mkdir()
    clip = _asked(tmp_path, "rock/01.wav", "elsewhere/rock")
    assert clip is not None and clip.audio == tmp_path / "elsewhere/rock/01.wav"
    with pytest.raises(DataError, match="jazz/01.wav not found"):
        _asked(tmp_path, "jazz/01.wav", "elsewhere/rock")


def test_other_letters_are_told(tmp_path: Path) -> None:
    write_audio(tmp_path / "stimuli/clip0.wav")
    if (tmp_path / "stimuli/Clip0.WAV").exists():
        pytest.skip("this disk does not tell small letters from capitals")
    with pytest.raises(DataError, match=r"Clip0.WAV not found .*there is .*stimuli/clip0.wav: write small"):
        _asked(tmp_path, "Clip0.WAV")


def test_odd_headers_are_notes(toy: Toy) -> None:
    path = toy.root / "stimuli/pipe.wav"
    write_audio(path)
    raw = bytearray(path.read_bytes())
    raw[4:8] = b"\xff\xff\xff\xff"
    at = raw.index(b"data") + 4
    raw[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(raw))
    toy.events(1, "0\t8\trock\tpipe.wav\t0\n")
    notes = [note for note in read_dataset(toy.settings()).notes if "pipe.wav" in note]
    assert len(notes) == 1 and "does not tell its length" in notes[0]
