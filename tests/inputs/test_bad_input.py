"""Bad input gets one line that names the file and the remedy, with the right exit status."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_datasets import HEADER, Toy, write_audio, write_bold

from ban_bids.errors import BanBidsError, DataError, UsageError
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.read import read_dataset

BOLD = "bold.nii.gz"


def no_folder(toy: Toy) -> None:
    shutil.rmtree(toy.root)


def no_participants(toy: Toy) -> None:
    for folder in toy.root.glob("sub-*"):
        shutil.rmtree(folder)


def no_description(toy: Toy) -> None:
    (toy.root / "dataset_description.json").unlink()


def broken_description(toy: Toy) -> None:
    (toy.root / "dataset_description.json").write_text('{"Name": ')


def derivative(toy: Toy) -> None:
    (toy.root / "dataset_description.json").write_text('{"Name": "x", "DatasetType": "derivative"}')


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (no_folder, UsageError, "no such folder"),
        (no_participants, UsageError, r"no sub-\* folder"),
        (no_description, DataError, "--skip-bids-validation"),
        (broken_description, DataError, "dataset_description.json: not readable JSON"),
        (derivative, DataError, "-d fmriprep=PATH"),
    ],
)
def test_whole_dataset(toy: Toy, spoil: Callable[[Toy], None], error: type[BanBidsError], text: str) -> None:
    spoil(toy)
    with pytest.raises(error, match=text) as caught:
        read_dataset(toy.settings())
    assert str(toy.root) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"participant_labels": ("99",)}, "--participant-label 99: not in .*; there are: 01, 02"),
        ({"task_ids": ("rest",)}, "--task-id rest: .*there are: music"),
        ({"session_ids": ("1",)}, "--session-id 1: .*there are: none"),
        ({"test_tasks": ("Test",)}, "--test-task Test: no such task; there are: music"),
        ({"test_runs": ("7",)}, "--test-runs 7: no such run; there are: task-music_run-1, "),
        ({"test_runs": ("all", "1")}, "all goes alone"),
    ],
)
def test_options_that_name_nothing(toy: Toy, changes: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read_dataset(toy.settings(**changes))


def no_stim_file(toy: Toy) -> None:
    for run in (1, 2, 3):
        toy.events(run, "0\t8\tblues\n", header="onset\tduration\ttrial_type\n")


def stimulus_missing(toy: Toy) -> None:
    toy.events(1, "0\t8\tblues\tnowhere.wav\t0\n")


def stimulus_outside(toy: Toy) -> None:
    toy.events(1, "0\t8\tblues\t../secret.wav\t0\n")


def stimulus_twice(toy: Toy) -> None:
    for folder in ("a", "b"):
        write_audio(toy.root / "stimuli" / folder / "twin.wav")
    toy.events(1, "0\t8\tblues\ttwin.wav\t0\n")


def spoilt_audio(content: bytes | None) -> Callable[[Toy], None]:
    def spoil(toy: Toy) -> None:
        path = toy.root / "stimuli" / "own.wav"
        write_audio(path)
        path.write_bytes(path.read_bytes()[:40_000] if content is None else content)
        toy.events(1, "0\t8\tblues\town.wav\t0\n")

    return spoil


def zero_length(toy: Toy) -> None:
    write_audio(toy.root / "stimuli" / "own.wav", 0.0)
    toy.events(1, "0\t8\tblues\town.wav\t0\n")


def past_end(toy: Toy) -> None:
    toy.events(1, "0\t8\tblues\tblues.00000.wav\t6.2\n")


def no_duration(toy: Toy) -> None:
    toy.events(1, "0\tn/a\tblues\tblues.00000.wav\t0\n")


def no_onset(toy: Toy) -> None:
    toy.events(1, "n/a\t8\tblues\tblues.00000.wav\t0\n")


def comma_onset(toy: Toy) -> None:
    toy.events(1, "1,5\t8\tblues\tblues.00000.wav\t0\n")


def overlap(toy: Toy) -> None:
    toy.events(1, "0\t8\tblues\tblues.00000.wav\t0\n7.5\t8\tblues\tblues.00001.wav\t0\n")


def short_bold(toy: Toy) -> None:
    toy.events(1, "0\t8\tblues\tblues.00000.wav\t0\n40\t8\tblues\tblues.00001.wav\t0\n80\t8\trock\trock.00000.wav\t0\n")


def given_up(toy: Toy) -> None:
    write_bold(toy.func(1, BOLD), (2, 2, 2, 4))


def deaf(toy: Toy) -> None:
    # volumes at 1, 11, ..., 91 s
    write_bold(toy.func(1, BOLD), (2, 2, 2, 10), tr=10.0)
    toy.sidecar(1, RepetitionTime=10.0, DelayTime=8.0)
    toy.events(1, "92.5\t7\tblues\tblues.00000.wav\t1.5\n")


def slow(toy: Toy) -> None:
    write_bold(toy.func(1, BOLD), (2, 2, 2, 10), tr=2.5)
    toy.sidecar(1, RepetitionTime=2.5)


def flat_bold(toy: Toy) -> None:
    write_bold(toy.func(1, BOLD), (2, 2, 2))


def not_nifti(toy: Toy) -> None:
    toy.func(1, BOLD).write_bytes(b"not an image at all")


def empty_bold(toy: Toy) -> None:
    toy.func(1, BOLD).write_bytes(b"")


def dangling_bold(toy: Toy) -> None:
    toy.func(1, BOLD).unlink()
    toy.func(1, BOLD).symlink_to("nowhere/annex/object")


def truncated_bold(toy: Toy) -> None:
    toy.func(1, BOLD).unlink()
    path = toy.func(1, "bold.nii")
    write_bold(path, (2, 2, 2, 10))
    path.write_bytes(path.read_bytes()[:-20])


def no_tr(toy: Toy) -> None:
    (toy.root / "task-music_bold.json").unlink()


def other_tr(toy: Toy) -> None:
    toy.sidecar(1, RepetitionTime=2.2)


def tr_in_milliseconds(toy: Toy) -> None:
    toy.sidecar(1, RepetitionTime=2000)


def broken_sidecar(toy: Toy) -> None:
    toy.func(1, "bold.json").write_text("{")


def sparse(toy: Toy) -> None:
    toy.sidecar(1, VolumeTiming=[0, 3, 6])


def resolutions(toy: Toy) -> None:
    import nibabel
    import numpy as np

    image = nibabel.Nifti1Image(np.zeros((2, 2, 2, 10), np.uint8), np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_zooms((3.0, 3.0, 3.0, 2.0))
    nibabel.save(image, toy.func(2, BOLD))


def echoes(toy: Toy) -> None:
    for echo in (1, 2):
        write_bold(toy.func(1, f"echo-{echo}_{BOLD}"), (2, 2, 2, 10))
    toy.func(1, BOLD).unlink()


def bad_t1w(toy: Toy) -> None:
    (toy.root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"")


def no_bold(toy: Toy) -> None:
    for run in (1, 2, 3):
        toy.func(run, BOLD).unlink()


PERSONAL = [
    (dangling_bold, "link to a file that is not there"),
    (no_stim_file, "events.tsv: no column stim_file and no rules for this dataset; its columns are onset, duration"),
    (stimulus_missing, "events.tsv, line 2: stimulus nowhere.wav not found .*--stimuli-dir"),
    (stimulus_outside, "inside the stimuli folder"),
    (stimulus_twice, "several files are called twin.wav"),
    (spoilt_audio(b""), "own.wav: stimulus is an empty file"),
    (spoilt_audio(None), "own.wav: stimulus is truncated"),
    (spoilt_audio(b"<html>404</html>" * 9), "own.wav: stimulus is not audio"),
    (zero_length, "own.wav: stimulus has zero length"),
    (past_end, "excerpt 6.2 to 14.2 s lies outside"),
    (no_duration, "line 2: duration of blues.00000.wav is not given"),
    (echoes, "multi-echo series.*--bids-filter-file"),
    (bad_t1w, "T1w.nii.gz: empty file"),
    (no_bold, "sub-01: no BOLD image"),
]


@pytest.mark.parametrize(("spoil", "text"), PERSONAL, ids=lambda item: getattr(item, "__name__", None))
def test_one_participant_fails_and_the_others_go_on(toy: Toy, spoil: Callable[[Toy], None], text: str) -> None:
    spoil(toy)
    dataset = read_dataset(toy.settings())
    first, second = dataset.participants
    assert first.failure is not None and "\n" not in first.failure
    assert not first.runs
    pytest.raises(DataError, lambda: read_dataset(toy.settings(participant_labels=("01",)))).match(text)
    assert second.failure is None and len(second.runs) == 3
    assert [person.label for person in dataset.usable] == ["02"]
    assert not any("sub-01" in str(path) for path in dataset.files)


UNFIT = [
    (no_onset, "line 2: onset of blues.00000.wav is not given"),
    (comma_onset, "onset is '1,5'; write a number"),
    (overlap, "line 3: a clip begins at 7.5 s .* overlapping"),
    (short_bold, "BOLD lasts 20 s .* events last to 88 s"),
    (flat_bold, "is not a series of volumes"),
    (not_nifti, "cannot be read .*not a gzip file"),
    (empty_bold, "empty file"),
    (truncated_bold, "truncated"),
    (other_tr, "RepetitionTime 2.2 s in the JSON sidecar, 2 s in the image header"),
    (tr_in_milliseconds, "RepetitionTime is 2000"),
    (broken_sidecar, "bold.json: not readable JSON"),
    (sparse, "VolumeTiming"),
    (resolutions, "resolutions are not mixed"),
    (given_up, "4 volumes, and 5 are needed"),
    (deaf, "no volume is taken while a clip plays"),
    (slow, r"RepetitionTime 2.5 s, but 2 s in .*_run-2_bold.nii.gz; they are not mixed \(2 runs\)"),
]


@pytest.mark.parametrize(("spoil", "text"), UNFIT, ids=lambda item: getattr(item, "__name__", None))
def test_one_run_is_left_out_and_the_participant_goes_on(toy: Toy, spoil: Callable[[Toy], None], text: str) -> None:
    spoil(toy)
    run = 2 if spoil is resolutions else 1
    first, second = read_dataset(toy.settings()).participants
    assert first.failure is None
    assert [int(one.run or 0) for one in first.runs] == [one for one in (1, 2, 3) if one != run]
    note, *others = (note for note in first.notes if note.startswith("left out: "))
    assert not others
    assert re.fullmatch(rf"left out: sub-01_task-music_run-{run}_bold.nii(.gz)?: .*{text}.*", note), note
    assert len(second.runs) == 3 and not second.notes
    # what the options name is not left out: the person fails, the others go on
    first, second = read_dataset(toy.settings(test_runs=(str(run),))).participants
    assert (
        first.failure is not None and re.search(text, first.failure) and "--test-runs names this run" in first.failure
    )
    assert second.failure is None
    # without it the others are scored, as long as one of them can train
    assert read_dataset(toy.settings(test_runs=("3",))).participants[0].failure is None


@pytest.mark.parametrize(
    "spoil", [spoil for spoil, _ in UNFIT if spoil not in (resolutions, slow)], ids=lambda f: f.__name__
)
def test_the_only_run_of_a_participant_is_not_left_out(toy: Toy, spoil: Callable[[Toy], None]) -> None:
    spoil(toy)
    for run in (2, 3):
        toy.func(run, BOLD).unlink()
    first, second = read_dataset(toy.settings()).participants
    assert first.failure is not None and not first.runs
    assert second.failure is None


def test_what_would_leave_nothing_to_train_on_is_refused_with_the_reason(toy: Toy) -> None:
    empty_bold(toy)
    toy.func(2, BOLD).write_bytes(b"")
    first, second = read_dataset(toy.settings(test_runs=("3",))).participants
    assert first.failure is not None and "empty file" in first.failure and "hold out every run" in first.failure
    assert second.failure is None
    assert len(read_dataset(toy.settings()).participants[0].runs) == 1


def test_a_test_task_without_a_run_that_can_be_used(toy: Toy) -> None:
    for run in (1, 2):
        for end in ("bold.nii.gz", "events.tsv"):
            path = toy.func(run, end)
            path.rename(path.with_name(path.name.replace("music", "exam")))
    (toy.root / "task-exam_bold.json").write_text('{"RepetitionTime": 2.0}')
    exam = toy.func(1, BOLD).with_name("sub-01_task-exam_run-1_bold.nii.gz")
    exam.write_bytes(b"")
    for run in (4, 5):
        write_bold(toy.func(run, BOLD), (2, 2, 2, 10))
        toy.events(run, "0\t8\trock\trock.00000.wav\t0\n")
    labels = {"participant_labels": ("01",), "test_tasks": ("exam",)}
    assert len(read_dataset(toy.settings(**labels)).participants[0].runs) == 4
    exam.with_name(exam.name.replace("run-1", "run-2")).write_bytes(b"")
    with pytest.raises(DataError, match="no run of --test-task exam is left"):
        read_dataset(toy.settings(**labels))


def test_resolutions_without_a_majority_are_refused(toy: Toy) -> None:
    resolutions(toy)
    toy.func(3, BOLD).unlink()
    first, second = read_dataset(toy.settings()).participants
    assert first.failure is not None
    assert "neither is that of most runs: choose with --bids-filter-file" in first.failure
    assert second.failure is None


@pytest.mark.parametrize(
    ("volumes", "rows", "clips", "notes"),
    [
        (9, [(0, 8), (8, 8)], 2, []),  # a clip may go on for a repetition time after the end
        (8, [(0, 8), (8, 8)], 2, []),
        (6, [(0, 8), (8, 8)], 2, ["1 clip goes on after the image's end at 12 s"]),
        (8, [(0, 8), (8, 8), (16, 8)], 2, ["1 clip begins after the image's end at 16 s: dropped"]),
        (8, [(0, 8), (9, 7), (17, 5), (22, 3)], 2, ["2 clips begin after the image's end at 16 s: dropped"]),
        (8, [(0, 8), (11, 10), (21, 1)], 2, ["1 clip begins after", "1 clip goes on after"]),
    ],
)
def test_a_short_image_keeps_the_clips_that_it_heard(
    toy: Toy, volumes: int, rows: list[tuple[int, int]], clips: int, notes: list[str]
) -> None:
    write_bold(toy.func(1, BOLD), (2, 2, 2, volumes))
    toy.events(1, "".join(f"{onset}\t{length}\tx\tblues.00000.wav\t0\n" for onset, length in rows))
    run = read_dataset(toy.settings()).participants[0].runs[0]
    assert [(item.onset, item.clip.duration) for item in run.presentations] == rows[:clips]
    assert len(run.row_notes) == len(notes)
    assert all(note.startswith(begin) for note, begin in zip(run.row_notes, notes))


def numbered(toy: Toy, key: str, labels: tuple[str, str, str], run: bool) -> None:
    """Give the three runs of the first participant labels, with or without the number of the run."""
    for number, label in enumerate(labels, start=1):
        for end in (BOLD, "events.tsv"):
            path = toy.func(number, end)
            entity = f"{key}-{label}_" if label else ""
            path.rename(path.with_name(f"sub-01_task-music_{entity}{f'run-{number}_' if run else ''}{end}"))


@pytest.mark.parametrize("key", ["acq", "rec", "ce", "dir"])
@pytest.mark.parametrize(
    ("labels", "run"), [(("1", "2", "3"), True), (("01", "02", "03"), False), (("", "fast", "fast"), True)]
)
def test_labels_that_only_number_scans_are_taken(toy: Toy, key: str, labels: tuple[str, str, str], run: bool) -> None:
    numbered(toy, key, labels, run)
    first = read_dataset(toy.settings()).participants[0]
    assert first.failure is None and len({one.name for one in first.runs}) == 3
    assert sum(f"several {key}- labels" in note for note in first.notes) == 1


def test_labels_of_another_grid_are_left_out_or_refused(toy: Toy) -> None:
    numbered(toy, "acq", ("fast", "fast", "slow"), True)
    path = toy.root / "sub-01" / "func" / f"sub-01_task-music_acq-slow_run-3_{BOLD}"
    write_bold(path, (2, 3, 2, 10))
    first = read_dataset(toy.settings()).participants[0]
    assert len(first.runs) == 2 and "2 x 3 x 2 voxels, but 2 x 2 x 2" in first.notes[0]
    (path.parent / f"sub-01_task-music_acq-fast_run-2_{BOLD}").unlink()
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and "acquisitions are not mixed" in failure and "--bids-filter-file" in failure


@pytest.mark.parametrize(
    ("key", "labels", "same"),
    [
        ("acq", ("mb", "sb"), False),  # no numbers
        ("rec", ("dico", ""), False),
        ("rec", ("1", "2"), True),  # the same sounds at the same times: one scan, reconstructed twice
    ],
)
def test_two_images_of_one_run_are_refused(toy: Toy, key: str, labels: tuple[str, str], same: bool) -> None:
    numbered(toy, key, (*labels, "9"), False)
    if same:
        func = toy.root / "sub-01" / "func"
        tables = [func / f"sub-01_task-music_{key}-{label}_events.tsv" for label in labels]
        tables[1].write_text(tables[0].read_text())
    first, second = read_dataset(toy.settings()).participants
    assert first.failure is not None and f"several images of one run ({key}- differs)" in first.failure
    assert second.failure is None


@pytest.mark.parametrize(
    ("more", "choice"),
    [
        ("chunk-1", '{"bold": {"chunk": null}}'),
        ("rec-norm", '{"bold": {"reconstruction": null}}'),
        ("part-mag", '{"bold": {"part": null}}'),
        ("desc-old", None),
        ("split-1", None),
    ],
)
def test_the_filter_that_is_proposed_leaves_the_other_runs_in(
    toy: Toy, tmp_path: Path, more: str, choice: str | None
) -> None:
    """One image was kept beside another one; all other runs, and other people, have none of its entity."""
    write_bold(toy.func(1, f"{more}_{BOLD}"), (2, 2, 2, 10))
    failure = str(read_dataset(toy.settings()).participants[0].failure)
    assert "several images of one run" in failure
    if choice is None:  # an entity that filters do not know
        assert "rename one of them" in failure and "--bids-filter-file" not in failure
        return
    assert failure.endswith(f"choose with --bids-filter-file, e.g. {choice}")
    (tmp_path / "filter.json").write_text(choice)
    dataset = read_dataset(toy.settings(bids_filter_file=tmp_path / "filter.json"))
    assert [(one.failure, len(one.runs)) for one in dataset.participants] == [(None, 3), (None, 3)]


@pytest.mark.parametrize("name", ["sub-01_task-music_run-01", "sub-01_run-1_task-music"])
def test_two_spellings_of_one_name_are_not_told_apart_by_a_filter(toy: Toy, name: str) -> None:
    """To pybids they are alike, and a filter that leaves one in leaves out the other runs or takes both."""
    write_bold(toy.func(1, BOLD).with_name(f"{name}_{BOLD}"), (2, 2, 2, 10))
    toy.func(1, BOLD).with_name(f"{name}_events.tsv").write_text(toy.func(1, "events.tsv").read_text())
    failure = str(read_dataset(toy.settings()).participants[0].failure)
    assert "several images of one run" in failure and "rename one of them" in failure
    assert "--bids-filter-file" not in failure and "extension" not in failure


def test_two_images_with_one_run_number_are_refused(toy: Toy) -> None:
    numbered(toy, "acq", ("1", "", ""), True)
    write_bold(toy.root / "sub-01" / "func" / f"sub-01_task-music_acq-2_run-1_{BOLD}", (2, 2, 2, 10))
    toy.root.joinpath("sub-01", "func", "sub-01_task-music_acq-2_run-1_events.tsv").write_text(
        HEADER + "0\t8\trock\trock.00000.wav\t0\n"
    )
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and "several images of one run (acq- differs)" in failure


def test_no_repetition_time_anywhere(toy: Toy) -> None:
    no_tr(toy)
    with pytest.raises(DataError, match=r"RepetitionTime is missing.*\(and 1 more"):
        read_dataset(toy.settings())


def test_one_echo_may_be_chosen(toy: Toy, tmp_path: Path) -> None:
    for sub in ("01", "02"):
        for run in (1, 2, 3):
            for echo in (1, 2):
                write_bold(toy.func(run, f"echo-{echo}_{BOLD}", sub), (2, 2, 2, 10))
            toy.func(run, BOLD, sub).unlink()
    chosen = tmp_path / "filter.json"
    chosen.write_text(json.dumps({"bold": {"echo": 2}}))
    dataset = read_dataset(toy.settings(bids_filter_file=chosen))
    assert [run.bold.name for run in dataset.participants[0].runs] == [
        f"sub-01_task-music_run-{run}_echo-2_bold.nii.gz" for run in (1, 2, 3)
    ]
    assert dataset.participants[0].runs[0].events.name == "sub-01_task-music_run-1_events.tsv"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not readable JSON"), ('{"bald": {}}', "unknown .'bald'."), ('{"bold": 3}', "write ")],
)
def test_filter_file_that_cannot_be_used(toy: Toy, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "filter.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_dataset(toy.settings(bids_filter_file=path))


def test_clips_may_touch_within_the_jitter(toy: Toy) -> None:
    toy.events(1, "0\t8\tblues\tblues.00000.wav\t0\n7.95\t8\tblues\tblues.00001.wav\t0\n", header=HEADER)
    assert read_dataset(toy.settings()).participants[0].failure is None


def test_one_run_alone_is_read_and_held_out_part_by_part(toy: Toy) -> None:
    for run in (2, 3):
        toy.func(run, BOLD).unlink()
    person = read_dataset(toy.settings(participant_labels=("01",))).usable[0]
    assert len(person.runs) == 1
    plan = held_out_plan(person, toy.settings().selection)
    assert plan.leave_one_out and plan.rule.startswith("one run only")
