"""Files that are not there are gathered: events are understood without them, and all are told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_datasets import Toy, write_audio

from ban_bids.errors import DataError
from ban_bids.inputs.heldout import held_out_plan, held_out_tracks
from ban_bids.inputs.missing import missing_message
from ban_bids.inputs.read import read_dataset

BOLD, EVENTS = "bold.nii.gz", "events.tsv"


def unfetch(path: Path) -> Path:
    """As datalad leaves a file whose content was not fetched."""
    path.unlink()
    path.symlink_to(f"../../.git/annex/objects/9k/Q1/MD5E-s12--0/{path.name}")
    return path


def of_nobody_else(toy: Toy) -> None:
    """The first participant hears a sound of its own."""
    write_audio(toy.root / "stimuli" / "own.wav", 12.0)
    toy.events(2, "0\t8\tx\town.wav\t0\n8\t8\trock\trock.00000.wav\t0\n")


@pytest.mark.parametrize(
    "path",
    [
        "sub-01/func/sub-01_task-music_run-2_bold.nii.gz",
        "sub-01/func/sub-01_task-music_run-2_events.tsv",
        "sub-01/func/sub-01_task-music_run-2_bold.json",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "stimuli/own.wav",
    ],
)
def test_one_missing_file_is_the_failure_of_one_participant(toy: Toy, path: str) -> None:
    of_nobody_else(toy)
    toy.sidecar(2, RepetitionTime=2.0)
    assert not read_dataset(toy.settings()).missing
    gone = unfetch(toy.root / path)
    dataset = read_dataset(toy.settings())
    first, second = dataset.participants
    assert [file.path for file in first.missing] == [gone] == [file.path for file in dataset.missing]
    assert first.failure is not None and str(gone) in first.failure and "datalad get" in first.failure
    assert second.failure is None and not second.missing
    pytest.raises(DataError, lambda: read_dataset(toy.settings(participant_labels=("01",)))).match("datalad get")


def test_with_events_alone_all_that_they_tell_is_known(toy: Toy) -> None:
    before = read_dataset(toy.settings())
    images = sorted(toy.root.rglob("*.nii.gz"))
    sounds = sorted(toy.root.rglob("*.wav"))
    for path in (*images, *sounds):
        unfetch(path)
    after = read_dataset(toy.settings(dry_run=True), keep_unusable=True)
    assert not after.usable
    assert [file.path for file in after.missing] == sorted([*images, *sounds])
    assert {file.kind for file in after.missing} == {"images", "sounds"}
    selection = after.selection
    for known, listener, person in zip(before.participants, after.listeners, after.participants):
        assert listener.failure is None
        assert [run.presentations for run in listener.runs] == [run.presentations for run in known.runs]
        assert held_out_plan(listener, selection) == held_out_plan(known, selection)
        assert person.failure == missing_message(person.missing)
        own = [path for path in images if f"sub-{person.label}" in str(path)]
        assert [file.path for file in person.missing] == sorted([*own, *sounds])


def test_a_real_run_names_the_first_three_and_the_count(toy: Toy) -> None:
    paths = [unfetch(toy.func(run, kind)) for run in (1, 2) for kind in (BOLD, EVENTS)]
    [own, _] = read_dataset(toy.settings()).participants
    # without a table it is not known whether the image is needed
    tables = [path for path in paths if path.suffix == ".tsv"]
    assert [file.path for file in own.missing] == tables
    for run in (1, 2, 3):
        toy.events(run, "0\t8\trock\trock.00000.wav\t0\n") if not toy.func(run, EVENTS).is_symlink() else None
    for table in tables:
        table.unlink()
        table.write_text("onset\tduration\tstim_file\n0\t8\trock.00000.wav\n")
    unfetch(toy.func(3, BOLD))
    unfetch(toy.root / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and failure.startswith("4 files are missing (") and " and 1 more)" in failure
    assert failure.count("_bold.nii.gz") == 2 and failure.endswith("fetch them (datalad get); --dry-run lists all")


def test_damage_is_the_failure_and_what_is_missing_is_told_as_well(toy: Toy) -> None:
    (toy.root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"")
    gone = unfetch(toy.func(3, BOLD))
    spoil_events(toy, "02")
    lost = unfetch(toy.root / "stimuli" / "disco.00001.wav")
    first, second = read_dataset(toy.settings(dry_run=True), keep_unusable=True).participants
    assert first.failure is not None and "T1w.nii.gz: empty file" in first.failure
    assert {file.path for file in first.missing} >= {gone, lost}
    assert second.failure is not None and "onset is 'zero'" in second.failure


def test_a_sound_that_lies_nowhere_is_gathered_under_the_path_it_should_have(toy: Toy) -> None:
    toy.events(1, "0\t4\tx\tnowhere.wav\t0\n4\t4\tx\tneither.wav\t0\n8\t4\trock\trock.00000.wav\t0\n")
    first, second = read_dataset(toy.settings()).participants
    assert [file.path.name for file in first.missing] == ["neither.wav", "nowhere.wav"]
    assert all(file.fetch == "" and "--stimuli-dir" in file.reason for file in first.missing)
    assert first.failure is not None and "line 3: stimulus neither.wav not found" in first.failure
    assert second.failure is None


def test_an_excerpt_of_a_missing_sound_is_no_reason_to_call_it_too_long(toy: Toy) -> None:
    of_nobody_else(toy)
    toy.events(1, "0\t8\tx\town.wav\t100\n8\t8\trock\trock.00000.wav\t0\n")
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and "lies outside" in failure
    unfetch(toy.root / "stimuli" / "own.wav")
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and "link to a file that is not there" in failure


CHOICES = "stim_file\tresponse\tgenre\nrock.00001.wav\trock\trock\n{}\tdisco\tdisco\n"


def test_choices_are_used_whole_or_not_at_all(toy: Toy, tmp_path: Path) -> None:
    own = write_choices(toy, "disco.00009.wav")
    write_audio(toy.root / "stimuli" / "disco.00009.wav", 12.0)
    choices = read_dataset(toy.settings()).choices
    assert choices is not None and len(choices.table) == 2
    gone = unfetch(toy.root / "stimuli" / "disco.00009.wav")
    dataset = read_dataset(toy.settings())  # nobody heard it in the scanner: all can be used
    assert [person.failure for person in dataset.participants] == [None, None]
    assert dataset.choices is None and [file.path for file in dataset.missing] == [gone]
    [note] = dataset.notes
    assert str(gone) in note and "the behavioural score is n/a" in note
    # who asks for a table means it
    asked = tmp_path / own.name  # which tells who answered
    asked.write_text(own.read_text())
    own.unlink()
    with pytest.raises(DataError, match="disco.00009.wav"):
        read_dataset(toy.settings(behavior=asked))
    assert read_dataset(toy.settings(behavior=asked, dry_run=True)).choices is None


def write_choices(toy: Toy, other: str) -> Path:
    path = toy.root / "sub-01" / "beh" / "sub-01_task-genre_beh.tsv"
    path.parent.mkdir()
    path.write_text(CHOICES.format(other))
    return path


def test_others_cost_one_line_and_hold_nobody_up(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    for run in (1, 2, 3):
        unfetch(toy.func(run, EVENTS, "02"))
        unfetch(toy.func(run, BOLD, "02"))
    dataset = read_dataset(toy.settings(participant_labels=("01",), test_runs=("2",)))
    assert dataset.participants[0].failure is None and not dataset.missing
    notes = [note for note in dataset.notes if note.startswith("held-out tracks")]
    assert len(notes) == 1 and "of 1 participant " in notes[0] and "3 files are missing" in notes[0]
    assert {path.stem for path in held_out_tracks(dataset)} == {"disco.00000", "disco.00001"}
    assert len([record for record in caplog.records if "sub-02" in record.getMessage()]) == len(dataset.notes)


@pytest.mark.parametrize(("run", "told"), [(2, True), (1, False)])
def test_only_held_out_sounds_of_others_matter(toy: Toy, run: int, told: bool) -> None:
    write_audio(toy.root / "stimuli" / "theirs.wav", 12.0)
    toy.events(run, "0\t8\tx\ttheirs.wav\t0\n8\t8\trock\trock.00000.wav\t0\n", sub="02")
    settings = toy.settings(participant_labels=("01",), test_runs=("2",))
    assert ("theirs" in {path.stem for path in held_out_tracks(read_dataset(settings))}) == told
    unfetch(toy.root / "stimuli" / "theirs.wav")
    dataset = read_dataset(settings)
    # what is not there cannot be compared by its sound: that is told, not an error
    assert "theirs" not in {path.stem for path in held_out_tracks(dataset)}
    assert any("held-out tracks of 1 participant" in note for note in dataset.notes) == told
    assert dataset.participants[0].failure is None


def spoil_events(toy: Toy, sub: str) -> None:
    for run in (1, 2, 3):
        toy.events(run, "zero\t8\trock\trock.00000.wav\t0\n", sub=sub)


def spoil_t1w(toy: Toy, sub: str) -> None:
    (toy.root / f"sub-{sub}" / "anat" / f"sub-{sub}_T1w.nii.gz").write_bytes(b"")


@pytest.mark.parametrize("spoil", [spoil_events, spoil_t1w])
def test_the_same_failure_of_many_is_told_once(
    toy: Toy, spoil: Callable[[Toy, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3, 13):
        folder = toy.root / f"sub-{number:02d}"
        for path in sorted((toy.root / "sub-01").rglob("*.*")):
            copy = folder / path.relative_to(toy.root / "sub-01").parent / path.name.replace("sub-01", folder.name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        spoil(toy, f"{number:02d}")
    dataset = read_dataset(toy.settings())
    assert [person.label for person in dataset.usable] == ["01", "02"]
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told.startswith("sub-03 and 9 more cannot be used: ")
    caplog.clear()
    with pytest.raises(DataError, match=r"sub-03.*\(and 9 more participants cannot be used\)"):
        read_dataset(toy.settings(participant_labels=tuple(f"{number:02d}" for number in range(3, 13))))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
