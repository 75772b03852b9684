"""One call opens each table and each image once, knows what everybody heard, and whose file is whose."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import nibabel
import pytest
from small_datasets import Toy, write_bold

from ban_bids.bids import metadata
from ban_bids.errors import DataError
from ban_bids.files.json import read_json
from ban_bids.inputs import events, read
from ban_bids.inputs.describe import describe_files
from ban_bids.inputs.heldout import held_out_tracks
from ban_bids.inputs.read import read_dataset


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each table and each image was opened."""
    counts: Counter[Path] = Counter()
    read_table, load = events.read_table, nibabel.load

    def counted_table(path: Path) -> events.Table:
        counts[path] += 1
        return read_table(path)

    def counted_image(path: Path, **options: bool) -> object:
        counts[path] += 1
        return load(path, **options)

    monkeypatch.setattr(read, "read_table", counted_table)
    monkeypatch.setattr(nibabel, "load", counted_image)
    return counts


@pytest.mark.parametrize("answers", [False, True])
@pytest.mark.parametrize("labels", [(), ("01",)])
def test_everything_is_opened_once(toy: Toy, opened: Counter[Path], labels: tuple[str, ...], answers: bool) -> None:
    shared = toy.root / "task-music_events.tsv"  # one table for three runs of two people
    for sub in ("01", "02"):
        toy.func(3, "events.tsv", sub).unlink()
        write_bold(toy.func(4, "bold.nii.gz", sub), (2, 2, 2, 10))
    shared.write_text("onset\tduration\tgenre\tstim_file\n0\t8\trock\trock.00000.wav\n")
    if answers:
        header = "onset\tduration\tgenre\tstim_file\tresponse\n"
        toy.events(1, "0\t8\trock\trock.00000.wav\trock\n", header=header)
    settings = toy.settings(participant_labels=labels, test_runs=("2",))
    dataset = read_dataset(settings)
    # all that a call asks of it
    held_out_tracks(dataset)
    describe_files(dataset, settings.models)
    tables = {toy.func(run, "events.tsv", sub) for sub in ("01", "02") for run in (1, 2)} | {shared}
    images = {path for sub in labels or ("01", "02") for path in (toy.root / f"sub-{sub}").rglob("*.nii.gz")}
    assert set(opened) == tables | images
    assert set(opened.values()) == {1}
    assert (dataset.choices is not None) == answers


def test_images_of_others_are_not_opened_and_their_damage_changes_nothing(toy: Toy) -> None:
    toy.events(2, "0\t8\trock\trock.00000.wav\t0\n", sub="02")
    settings = toy.settings(participant_labels=("01",), test_runs=("2",))
    whole = held_out_tracks(read_dataset(settings))
    for path in (toy.root / "sub-02").rglob("*.nii.gz"):
        path.write_bytes(b"")
    dataset = read_dataset(settings)
    assert held_out_tracks(dataset) == whole
    assert {path.stem for path in whole} == {"disco.00000", "disco.00001", "rock.00000"}
    # a participant who fails on an image is still known to have heard the tracks
    both = read_dataset(toy.settings(test_runs=("2",)))
    assert [person.failure is None for person in both.participants] == [True, False]
    assert held_out_tracks(both) == whole


def test_events_of_others_that_cannot_be_read_are_reported_and_stop_nobody(
    toy: Toy, caplog: pytest.LogCaptureFixture
) -> None:
    toy.events(2, "zero\t8\trock\trock.00000.wav\t0\n", sub="02")
    dataset = read_dataset(toy.settings(participant_labels=("01",), test_runs=("2",)))
    assert {path.stem for path in held_out_tracks(dataset)} == {"disco.00000", "disco.00001"}
    [note] = dataset.notes
    assert note.startswith("held-out tracks of 1 participant are not all known") and "onset is 'zero'" in note
    assert caplog.text.count("sub-02_task-music_run-2_events.tsv") == 1
    assert dataset.participants[0].failure is None


def test_each_participant_has_its_own_files(toy: Toy) -> None:
    for run in (1, 2, 3):
        toy.events(run, "0\t8\trock\trock.00001.wav\t0\n", sub="02")
    (toy.root / "sub-02" / "sub-02_T1w.json").write_text("{}")
    (toy.root / "sub-02" / "beh").mkdir()
    choices = toy.root / "sub-02" / "beh" / "sub-02_task-genre_beh.tsv"
    choices.write_text("stim_file\tresponse\ttrial_type\ndisco.00001.wav\tdisco\tdisco\n")
    (toy.root / "code").mkdir()
    profile = toy.root / "code" / "ban_bids_profile.toml"
    profile.write_text('name = "mine"\n')
    dataset = read_dataset(toy.settings())
    shared = {toy.root / "dataset_description.json", profile, choices, toy.root / "stimuli" / "disco.00001.wav"}
    for sub, tracks in (
        ("01", [f"{genre}.0000{n}" for genre in ("blues", "disco", "rock") for n in (0, 1)]),
        ("02", ["rock.00001"]),
    ):
        expected = {toy.func(run, end, sub) for run in (1, 2, 3) for end in ("bold.nii.gz", "events.tsv")}
        expected |= {toy.root / f"sub-{sub}" / "anat" / f"sub-{sub}_T1w.nii.gz", toy.root / "task-music_bold.json"}
        expected |= {toy.root / "stimuli" / f"{track}.wav" for track in tracks} | shared
        if sub == "02":
            expected.add(toy.root / "sub-02" / "sub-02_T1w.json")
        assert set(dataset.files_of(sub)) == expected
    assert set(dataset.files) == {*dataset.files_of("01"), *dataset.files_of("02")}


def test_sessions_that_are_pooled_are_known(toy: Toy) -> None:
    assert read_dataset(toy.settings()).participants[0].sessions == ()
    for session in ("b", "a"):
        for run in (1, 2):
            stem = toy.root / "sub-03" / f"ses-{session}" / "func" / f"sub-03_ses-{session}_task-music_run-{run}"
            write_bold(stem.with_name(f"{stem.name}_bold.nii.gz"), (2, 2, 2, 10))
            stem.with_name(f"{stem.name}_events.tsv").write_text("onset\tduration\tstim_file\n0\t8\tblues.00000.wav\n")
    settings = toy.settings(participant_labels=("03",))
    dataset = read_dataset(settings)
    assert dataset.participants[0].sessions == ("a", "b")
    assert "Sessions, pooled: a, b" in describe_files(dataset, settings.models)
    one = read_dataset(toy.settings(participant_labels=("03",), session_ids=("b",))).participants[0]
    assert one.sessions == ("b",)


def test_a_participant_without_readable_runs_is_refused_when_asked_for(toy: Toy) -> None:
    toy.func(1, "events.tsv").write_bytes(b"\xff")
    with pytest.raises(DataError, match="run-1_events.tsv: not UTF-8"):
        read_dataset(toy.settings(participant_labels=("01",)))


def test_notes_of_a_participant_stand_with_that_participant_only(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    (toy.root / "sub-02" / "fmap").mkdir()
    write_bold(toy.root / "sub-02" / "fmap" / "sub-02_phasediff.nii.gz", (2, 2, 2))
    settings = toy.settings()
    dataset = read_dataset(settings)
    first, second = dataset.participants
    assert (dataset.notes, first.notes) == ((), ())
    assert len(second.notes) == 1 and second.notes[0].startswith("field maps")
    assert f"sub-02: {second.notes[0]}" in caplog.text
    before, after = describe_files(dataset, settings.models).split("\nsub-02\n")
    assert "field maps" in after and "field maps" not in before


def test_of_people_who_are_not_asked_for_only_tables_of_events_are_opened(
    toy: Toy, opened: Counter[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecars: list[Path] = []

    def counted_json(path: Path, **options: str) -> object:
        sidecars.append(path)
        return read_json(path, **options)

    monkeypatch.setattr(metadata, "read_json", counted_json)
    for sub in ("01", "02"):
        for run in (1, 2):
            toy.func(run, "bold.json", sub).write_text('{"RepetitionTime": 2.0}')
    read_dataset(toy.settings(participant_labels=("01",), test_runs=("2",)))
    others = [path for path in (*opened, *sidecars) if "sub-02" in path.name]
    assert others and {path.name[-11:] for path in others} == {"_events.tsv"}
    assert any("sub-01" in path.name for path in sidecars)


def test_tables_are_read_once_and_not_all_kept() -> None:
    counts: Counter[Path] = Counter()

    def counted(path: Path) -> events.Table:
        counts[path] += 1
        columns = ("onset", "response") if "answers" in path.name else ("onset",)
        return events.Table(path, columns, ())

    tables = events.Tables(counted)
    shared, answers = Path("events.tsv"), Path("answers_events.tsv")
    for path in (answers, *(Path(f"{number}_events.tsv") for number in range(200))):
        tables(path)
        tables(shared)  # that every run inherits
    assert tables(answers).columns == tables.columns(answers) == ("onset", "response")
    assert set(counts.values()) == {1}
    assert tables.columns(Path("0_events.tsv")) == ("onset",)
    assert set(counts.values()) == {1}  # its columns are known still
    tables(Path("0_events.tsv"))
    assert counts[Path("0_events.tsv")] == 2


@pytest.mark.parametrize("was_on", [True, False])
@pytest.mark.parametrize("usable", [True, False])
def test_nothing_is_collected_while_reading_and_the_collector_is_as_before(
    toy: Toy, opened: Counter[Path], monkeypatch: pytest.MonkeyPatch, *, was_on: bool, usable: bool
) -> None:
    if not usable:
        (toy.root / "dataset_description.json").write_text("{")
    seen = []
    list_dataset = read.list_dataset
    monkeypatch.setattr(read, "list_dataset", lambda root: (seen.append(gc.isenabled()), list_dataset(root))[1])
    before = gc.isenabled()
    (gc.enable if was_on else gc.disable)()
    try:
        with nullcontext() if usable else pytest.raises(DataError):
            read_dataset(toy.settings())
        assert gc.isenabled() == was_on and seen == [False]
    finally:
        (gc.enable if before else gc.disable)()
