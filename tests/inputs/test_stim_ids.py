"""BIDS's stim_id with stimuli.tsv (BEP044) is read without any rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import Toy, notes_of, write_audio

from ban_bids.errors import DataError
from ban_bids.inputs.events import Row
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.rules import RuleFile
from ban_bids.inputs.stim_ids import StimIds
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.unheard import Unheard

CATALOG = """stimulus_id\ttype\tURL\tpresent\tgenre
stim-tone01\taudio\tn/a\ttrue\trock
stim-tone02\taudio\tn/a\ttrue\tjazz
stim-face01\timage\tn/a\ttrue\tn/a
stim-mute01\tvideo\tn/a\ttrue\tn/a
stim-gone01\taudio\tn/a\tfalse\trock
stim-parts1\taudio\tn/a\ttrue\trock
stim-movie1\taudiovideo\tn/a\tfalse\tn/a
"""


@pytest.fixture
def stimuli(tmp_path: Path) -> Path:
    folder = tmp_path / "stimuli"
    write_audio(folder / "stim-tone01_audio.wav", 12.0)
    write_audio(folder / "deep" / "stim-tone02_audio.flac", 12.0)
    write_audio(folder / "deep" / "stim-tone02_audio.aiff", 12.0)
    for part in (1, 2):
        write_audio(folder / f"stim-parts1_part-{part}_audio.wav", 12.0)
    (folder / "stim-face01_image.png").write_bytes(b"")
    (folder / "stim-tone01_audio.json").write_text("{}")
    (folder / "stim-tone01_annot-x_events.tsv").write_text("onset\tduration\n")
    (folder / "stimuli.tsv").write_text(CATALOG)
    return folder


def row(identifier: str | None) -> Row:
    return Row(Path("events.tsv"), 2, {"stim_id": identifier})


def test_what_an_identifier_is(stimuli: Path) -> None:
    ids = StimIds([stimuli])
    assert ids.find(row("stim-tone01")) == ids.find(row("tone01")) == stimuli / "stim-tone01_audio.wav"
    assert ids.find(row("stim-tone02")) == stimuli / "deep" / "stim-tone02_audio.flac"
    assert ids.find(row("stim-face01")) == Unheard("stim-face01")
    assert ids.find(row("stim-mute01")) == Unheard("stim-mute01")
    assert ids.find(row(None)) is None


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("stim-unknown", "stim_id stim-unknown is not in .*stimuli.tsv"),
        ("stim-gone01", "no stim-gone01_audio.wav .*--stimuli-dir"),
        ("stim-parts1", "has several parts .*part-1.*part-2.*docs/rules.md"),
        ("stim-movie1", "no stim-movie1_audio.wav"),
    ],
)
def test_what_cannot_be_heard_is_no_silence(stimuli: Path, identifier: str, message: str) -> None:
    with pytest.raises(DataError, match=f"events.tsv, line 2: .*{message}"):
        Stimuli([stimuli]).find(row(identifier), RuleFile().rules[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [("name\ttype\nx\taudio\n", "no column stimulus_id"), ("stimulus_id\nstim-a\na\n", "line 3: .*there twice")],
)
def test_catalogs_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "stimuli.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        StimIds([tmp_path]).find(row("a"))


def test_a_dataset_by_identifiers(toy: Toy, stimuli: Path) -> None:
    for path in list(stimuli.rglob("*.*")):
        target = toy.root / "stimuli" / path.relative_to(stimuli)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    for sub in ("01", "02"):
        for run in (1, 2, 3):
            rows = "0\t1\tface01\tn/a\n1\t8\ttone01\t2\n9\t8\tstim-tone02\tn/a\n"
            toy.events(run, rows, sub, header="onset\tduration\tstim_id\tstim_start\n")
    dataset = read_dataset(toy.settings())
    run = dataset.usable[0].runs[0]
    assert [(item.onset, item.clip.track, item.clip.start, item.clip.genre) for item in run.presentations] == [
        (1.0, "stim-tone01_audio", 2.0, "rock"), (9.0, "stim-tone02_audio", 0.0, "jazz"),
    ]  # fmt: skip
    assert run.row_notes == ("1 row names no sound (face01): passed over",)
    assert dataset.profile is None and toy.root / "stimuli" / "stimuli.tsv" in dataset.shared_files
    assert not [note for note in notes_of(dataset) if "left out" in note]


def test_stim_file_wins_where_it_is_given(toy: Toy, stimuli: Path) -> None:
    (stimuli / "stim-tone01_audio.wav").rename(toy.root / "stimuli" / "stim-tone01_audio.wav")
    header = "onset\tduration\tstim_id\tstim_file\n"
    toy.events(1, "0\t8\ttone01\tblues.00000.wav\n8\t8\ttone01\tn/a\n", header=header)
    run = read_dataset(toy.settings()).usable[0].runs[0]
    assert [item.clip.track for item in run.presentations] == ["blues.00000", "stim-tone01_audio"]
