"""What is read from datasets in their many shapes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_datasets import Toy, notes_of, write_audio, write_bold

from ban_bids.errors import DataError
from ban_bids.inputs.describe import describe_files
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Clip


def test_plain_dataset(toy: Toy) -> None:
    dataset = read_dataset(toy.settings())
    assert (dataset.name, dataset.doi, dataset.profile, dataset.choices) == ("toy", None, None, None)
    first = dataset.participants[0]
    assert [run.name for run in first.runs] == [f"task-music_run-{n}" for n in (1, 2, 3)]
    run = first.runs[0]
    assert (run.participant, run.session, run.task, run.run) == ("01", None, "music", "1")
    assert (run.repetition_time, run.n_volumes, run.duration) == (2.0, 10, 20.0)
    audio = (toy.root / "stimuli" / "blues.00000.wav").resolve()
    assert run.presentations[0].clip == Clip(audio, 1.5, 8.0, "blues.00000", "blues")
    assert run.presentations[1].clip.start == 0.0
    assert not any(item.lead_in for item in run.presentations)


def test_equal_clips_whatever_the_label() -> None:
    path = Path("a.wav")
    assert Clip(path, 0.0, 5.0, "a", "blues") == Clip(path, 0.0, 5.0, "a", None)
    assert len({Clip(path, 0.0, 5.0, "a"), Clip(path, 0.5, 5.0, "a")}) == 2


def test_files_are_those_used(toy: Toy) -> None:
    (toy.root / "sub-01" / "func" / "sub-01_task-rest_bold.json").write_text("{}")
    dataset = read_dataset(toy.settings(participant_labels=("01",)))
    names = {str(path.relative_to(toy.root)) for path in dataset.files}
    runs = {f"sub-01/func/sub-01_task-music_run-{n}_{end}" for n in (1, 2, 3) for end in ("bold.nii.gz", "events.tsv")}
    stimuli = {f"stimuli/{genre}.0000{n}.wav" for genre in ("blues", "disco", "rock") for n in (0, 1)}
    shared = {"dataset_description.json", "task-music_bold.json", "sub-01/anat/sub-01_T1w.nii.gz"}
    assert names == runs | stimuli | shared


def test_uncompressed_images(toy: Toy) -> None:
    for path in sorted(toy.root.rglob("*.nii.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert all(person.failure is None for person in read_dataset(toy.settings()).participants)


@pytest.mark.parametrize(("tr", "unit"), [(2000.0, "msec"), (2e6, "usec"), (2.0, "unknown"), (0.0, "sec")])
def test_units_of_the_header(toy: Toy, tr: float, unit: str) -> None:
    write_bold(toy.func(1, "bold.nii.gz"), (2, 2, 2, 10), tr, unit)
    assert read_dataset(toy.settings()).participants[0].runs[0].repetition_time == 2.0


def test_sidecars_are_inherited_and_the_nearest_wins(toy: Toy) -> None:
    shared = {"RepetitionTime": 2.0, "SliceTiming": [0, 1.0], "StartTime": 0.5, "TaskName": "music"}
    (toy.root / "task-music_bold.json").write_text(json.dumps(shared))
    (toy.root / "sub-01" / "sub-01_task-music_bold.json").write_text('{"SliceTiming": [1.0, 0]}')
    toy.sidecar(2, SliceTiming=[0.25, 0.75], SliceEncodingDirection="k-")
    first, second = read_dataset(toy.settings()).participants
    assert [run.slice_timing for run in first.runs] == [(1.0, 0.0), (0.25, 0.75), (1.0, 0.0)]
    assert [run.slice_encoding_direction for run in first.runs] == ["k", "k-", "k"]
    assert second.runs[0].slice_timing == (0.0, 1.0)
    assert second.runs[0].start_time == 0.5


def test_events_are_inherited(toy: Toy) -> None:
    for path in sorted(toy.root.rglob("*_events.tsv")):
        path.unlink()
    (toy.root / "task-music_events.tsv").write_text(
        "onset\tduration\tstim_file\n0\t8\tblues.00000.wav\n8\t8\trock.00001.wav\n"
    )
    runs = read_dataset(toy.settings()).participants[1].runs
    assert [run.presentations for run in runs] == [runs[0].presentations] * 3
    assert runs[0].presentations[0].clip.genre is None


def test_slice_timing_of_another_image_is_noted(toy: Toy) -> None:
    toy.sidecar(1, SliceTiming=[0, 0.5, 1.0])
    dataset = read_dataset(toy.settings())
    assert dataset.participants[0].runs[0].slice_timing is None
    assert any("SliceTiming has 3 entries for 2 slices" in note for note in notes_of(dataset))


def test_sessions(tmp_path: Path, toy: Toy) -> None:
    for session in ("a", "b"):
        base = toy.root / "sub-03" / f"ses-{session}"
        write_bold(base / "anat" / f"sub-03_ses-{session}_T1w.nii.gz", (2, 2, 2))
        for run in (1, 2, 10):
            stem = base / "func" / f"sub-03_ses-{session}_task-music_run-{run}"
            write_bold(stem.with_name(f"{stem.name}_bold.nii.gz"), (2, 2, 2, 10))
            stem.with_name(f"{stem.name}_events.tsv").write_text("onset\tduration\tstim_file\n0\t8\tblues.00000.wav\n")
    person = read_dataset(toy.settings(participant_labels=("03",))).participants[0]
    assert [run.name for run in person.runs] == [
        f"ses-{session}_task-music_run-{run}" for session in "ab" for run in (1, 2, 10)
    ]
    assert len(person.t1w) == 2
    person = read_dataset(toy.settings(participant_labels=("03",), session_ids=("b",))).participants[0]
    assert {run.session for run in person.runs} == {"b"}
    assert [path.name for path in person.t1w] == ["sub-03_ses-b_T1w.nii.gz"]


def test_other_tasks_are_left_out_and_noted(toy: Toy) -> None:
    write_bold(toy.root / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz", (2, 2, 2, 10))
    dataset = read_dataset(toy.settings())
    assert len(dataset.participants[0].runs) == 3
    assert any("task-rest" in note and "left out" in note for note in notes_of(dataset))


def test_phase_images_are_left_out_and_noted(toy: Toy) -> None:
    for run in (1, 2, 3):
        toy.func(run, "bold.nii.gz").rename(toy.func(run, "part-mag_bold.nii.gz"))
        write_bold(toy.func(run, "part-phase_bold.nii.gz"), (2, 2, 2, 10))
    dataset = read_dataset(toy.settings())
    assert [dict(run.entities)["part"] for run in dataset.participants[0].runs] == ["mag"] * 3
    [note] = notes_of(dataset)
    assert note.startswith("sub-01_task-music_run-1_part-phase_bold.nii.gz: part-phase left out")
    assert all(toy.func(run, "part-phase_bold.nii.gz").name in note for run in (2, 3))


def test_several_t1w_acquisitions_one_is_chosen_and_noted(toy: Toy) -> None:
    anat = toy.root / "sub-01" / "anat"
    write_bold(anat / "sub-01_acq-fast_T1w.nii.gz", (2, 2, 2))
    dataset = read_dataset(toy.settings())
    assert [path.name for path in dataset.participants[0].t1w] == ["sub-01_T1w.nii.gz"]
    assert any("sub-01_acq-fast_T1w.nii.gz left out" in note for note in notes_of(dataset))


def test_of_several_t1w_images_a_damaged_one_is_left_out_and_noted(toy: Toy) -> None:
    anat = toy.root / "sub-01" / "anat"
    for run in (1, 2):
        write_bold(anat / f"sub-01_run-{run}_T1w.nii.gz", (2, 2, 2))
    (anat / "sub-01_run-2_T1w.nii.gz").write_bytes(b"")
    (anat / "sub-01_T1w.nii.gz").unlink()
    dataset = read_dataset(toy.settings())
    assert [path.name for path in dataset.participants[0].t1w] == ["sub-01_run-1_T1w.nii.gz"]
    assert any("left out" in note and "run-2_T1w.nii.gz" in note for note in notes_of(dataset))


def test_no_t1w_is_left_to_preprocessing(toy: Toy) -> None:
    (toy.root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").unlink()
    person = read_dataset(toy.settings()).participants[0]
    assert person.failure is None and person.t1w == ()


def test_no_t1w_is_fine_with_derivatives(toy: Toy, tmp_path: Path) -> None:
    (toy.root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").unlink()
    dataset = read_dataset(toy.settings(derivatives=(("fmriprep", tmp_path),)))
    assert dataset.participants[0].failure is None
    assert dataset.participants[0].t1w == ()


def test_rows_without_stimulus_are_not_clips(toy: Toy) -> None:
    toy.events(1, "0\t4\trest\tn/a\tn/a\n4\t8\tblues\tblues.00000.wav\t0\n12\tn/a\tpress\tn/a\t0\n")
    run = read_dataset(toy.settings()).participants[0].runs[0]
    assert [(item.onset, item.clip.track) for item in run.presentations] == [(4.0, "blues.00000")]


def test_stimuli_dir_comes_first_and_names_are_found_in_genre_folders(toy: Toy, tmp_path: Path) -> None:
    write_audio(tmp_path / "gtzan" / "genres" / "blues" / "blues.00000.wav", 20.0)
    dataset = read_dataset(toy.settings(stimuli_dir=tmp_path / "gtzan"))
    audio = [clip.audio for clip in dataset.participants[0].runs[0].clips]
    # a path that is there in any folder wins over a name found by searching
    assert audio[0] == toy.root / "stimuli" / "blues.00000.wav"
    (toy.root / "stimuli" / "blues.00000.wav").unlink()
    dataset = read_dataset(toy.settings(stimuli_dir=tmp_path / "gtzan"))
    assert dataset.participants[0].runs[0].clips[0].audio == tmp_path / "gtzan/genres/blues/blues.00000.wav"


def test_links_keep_the_tracks_name(toy: Toy) -> None:
    stored = toy.root / ".git" / "annex" / "MD5E-s1--0.wav"
    stored.parent.mkdir(parents=True)
    link = toy.root / "stimuli" / "blues.00000.wav"
    link.rename(stored)
    link.symlink_to(stored)
    clip = read_dataset(toy.settings()).participants[0].runs[0].clips[0]
    assert (clip.track, clip.audio) == ("blues.00000", link)
    stored.unlink()
    with pytest.raises(DataError, match=f"{link}: link to a file that is not there; fetch it"):
        read_dataset(toy.settings())


def test_measured_durations_are_one_clip(toy: Toy) -> None:
    rows = [f"{8 * n}\t{length}\tblues\tblues.00000.wav\t0\n" for n, length in enumerate((5.01, 4.99, 4.0))]
    toy.events(1, "".join(rows))
    dataset = read_dataset(toy.settings())
    clips = [item.clip.duration for item in dataset.participants[0].runs[0].presentations]
    assert clips == [5.01, 5.01, 4.0]
    assert any("each excerpt is taken as one clip" in note for note in notes_of(dataset))


def test_own_profile(toy: Toy) -> None:
    (toy.root / "code").mkdir()
    profile = toy.root / "code" / "ban_bids_profile.toml"
    profile.write_text(
        'name = "mine"\n[stimuli]\npath = "{style}.{number:05d}"\nstart = "from"\n'
        'genre = "style"\nfade = 0.5\n[lead_in]\nrule = "first-repeats-last"\n'
    )
    for sub in ("01", "02"):
        for run in (1, 2, 3):
            toy.events(
                run,
                "0\t5\t'blues'\t1\t2\n5\t5\trock'\t0\t1\n10\t5\tblues\t1\t2.0\n",
                sub,
                header="onset\tduration\tstyle\tnumber\tfrom\r\n",
            )
    dataset = read_dataset(toy.settings())
    assert dataset.profile == "mine"
    run = dataset.participants[0].runs[0]
    assert [item.clip.track for item in run.presentations] == ["blues.00001", "rock.00000", "blues.00001"]
    assert [item.lead_in for item in run.presentations] == [True, False, False]
    assert run.presentations[0].clip == run.presentations[2].clip
    assert run.clips[0].fade == 0.5
    profile.write_text("[stimuli]\nptah = 3\n")
    with pytest.raises(DataError, match="unknown keys .'ptah'."):
        read_dataset(toy.settings())


def test_database_is_made_once_and_serves_every_participant(toy: Toy, tmp_path: Path) -> None:
    database = tmp_path / "index"
    read_dataset(toy.settings(bids_database_dir=database, participant_labels=("01",)))
    assert (database / "layout_index.sqlite").is_file()
    dataset = read_dataset(toy.settings(bids_database_dir=database, participant_labels=("02",)))
    assert len(dataset.participants[0].runs) == 3


@pytest.mark.parametrize("database", [False, True])
def test_describing_writes_nothing(toy: Toy, tmp_path: Path, tree: Callable[[Path], object], database: bool) -> None:
    settings = toy.settings(dry_run=True, bids_database_dir=tmp_path / "index" if database else None)
    before = tree(tmp_path)
    text = describe_files(read_dataset(settings), settings.models)
    assert tree(tmp_path) == before
    for path in read_dataset(settings).files:
        assert str(path) in text


def test_database_that_cannot_be_used(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "layout_index.sqlite").write_bytes(b"no database" * 999)
    with pytest.raises(DataError, match="--bids-database-dir .*index: .*delete .*layout_index.sqlite, and it is made"):
        read_dataset(toy.settings(bids_database_dir=tmp_path / "index"))
