"""Bad input gets one line that names the file and the remedy, with the right exit status."""

from __future__ import annotations

import json
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
        (derivative, DataError, "-d NAME=PATH"),
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
    write_bold(toy.func(1, BOLD), (2, 2, 2, 6))


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


def acquisitions(toy: Toy) -> None:
    path = toy.root / "sub-01" / "func" / f"sub-01_task-music_acq-fast_run-1_{BOLD}"
    toy.func(1, BOLD).rename(path)
    toy.func(1, "events.tsv").rename(path.with_name("sub-01_task-music_acq-fast_run-1_events.tsv"))


def bad_t1w(toy: Toy) -> None:
    (toy.root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"")


def no_bold(toy: Toy) -> None:
    for run in (1, 2, 3):
        toy.func(run, BOLD).unlink()


PERSONAL = [
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
    (no_onset, "line 2: onset of blues.00000.wav is not given"),
    (comma_onset, "onset is '1,5'; write a number"),
    (overlap, "line 3: a clip begins at 7.5 s .* overlapping"),
    (short_bold, "BOLD lasts 12 s .* events last to 16 s"),
    (flat_bold, "is not a series of volumes"),
    (not_nifti, "not a NIfTI image"),
    (empty_bold, "empty file"),
    (dangling_bold, "link to a file that is not there"),
    (truncated_bold, "truncated"),
    (other_tr, "RepetitionTime 2.2 s in the JSON sidecar, 2 s in the image header"),
    (tr_in_milliseconds, "RepetitionTime is 2000"),
    (broken_sidecar, "bold.json: not readable JSON"),
    (sparse, "VolumeTiming"),
    (resolutions, "resolutions are not mixed"),
    (echoes, "multi-echo series.*--bids-filter-file"),
    (acquisitions, r"several acq- labels \(\(none\), fast\).*--bids-filter-file"),
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
