"""The real events and sidecars of ds003720 are understood, clip for clip."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from small_datasets import Skeleton, notes_of

from ban_bids.inputs.heldout import held_out_plan, held_out_tracks
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Dataset, Run


@pytest.fixture(scope="module")
def dataset(skeleton: Skeleton) -> Dataset:
    return read_dataset(skeleton.settings())


def used_rows(run: Run) -> list[tuple[Path, float, int]]:
    """(audio, start, volume within the clip) of every volume that hears a clip, lead-ins aside."""
    rows = []
    for volume in range(run.n_volumes):
        time = volume * run.repetition_time
        for item in run.presentations:
            if item.onset <= time < item.end and not item.lead_in:
                rows.append((item.clip.audio, item.clip.start, round((time - item.onset) / run.repetition_time)))
    return rows


def test_every_run_is_found(dataset: Dataset) -> None:
    assert dataset.profile == "ds003720"
    assert [person.label for person in dataset.participants] == ["001", "002", "003", "004", "005"]
    assert not notes_of(dataset)
    for person in dataset.participants:
        assert person.failure is None
        assert Counter(run.task for run in person.runs) == {"Test": 6, "Training": 12}
        for run in person.runs:
            assert (run.repetition_time, run.n_volumes, len(run.presentations)) == (1.5, 410, 41)
            assert run.slice_timing is not None and len(run.slice_timing) == 68


def test_every_clip_is_the_right_file_and_excerpt(dataset: Dataset, skeleton: Skeleton) -> None:
    for person in dataset.participants:
        for run in person.runs:
            found = [(item.onset, item.clip.track, item.clip.start) for item in run.presentations]
            assert found == skeleton.rows[run.events.name]
            for clip in run.clips:
                assert clip.audio.parent.name == clip.genre == clip.track.split(".")[0]
                assert clip.audio.is_file()
                assert (clip.duration, clip.fade, clip.rms) == (15.0, 2.0, 0.13210295550519335)


def test_lead_ins_and_clips(dataset: Dataset) -> None:
    for person in dataset.participants:
        clips: dict[str, Counter[object]] = {"Training": Counter(), "Test": Counter()}
        for run in person.runs:
            assert [item.lead_in for item in run.presentations] == [True] + [False] * 40
            clips[run.task].update(item.clip for item in run.presentations if not item.lead_in)
        assert (len(clips["Training"]), set(clips["Training"].values())) == (480, {1})
        assert (len(clips["Test"]), set(clips["Test"].values())) == (60, {4})
        assert len({clip.audio for run in person.runs for clip in run.clips}) == 540


def test_rows_of_training_and_held_out_runs(dataset: Dataset, skeleton: Skeleton) -> None:
    for person in dataset.participants:
        plan = held_out_plan(person, skeleton.settings().selection)
        assert plan.task_label == "Test"
        assert plan.folds == (tuple(f"task-Test_run-0{n}" for n in range(1, 7)),)
        training = plan.training(0, person.runs)
        assert training == tuple(f"task-Training_run-{n:02d}" for n in range(1, 13))
        assert sum(len(used_rows(run)) for run in person.runs if run.name in training) == 4800
        held_out = Counter(row for run in person.runs if run.name in plan.folds[0] for row in used_rows(run))
        assert (len(held_out), set(held_out.values())) == (600, {4})


@pytest.mark.parametrize("labels", [(), ("003",)])
def test_sixty_tracks_are_kept_from_training(skeleton: Skeleton, labels: tuple[str, ...]) -> None:
    settings = skeleton.settings(participant_labels=labels)
    tracks = held_out_tracks(read_dataset(settings))
    expected = {track for name, rows in skeleton.rows.items() if "Test" in name for _, track, _ in rows}
    assert {path.stem for path in tracks} == expected
    assert len(tracks) == 60


def test_one_participant_only_uses_its_own_files(skeleton: Skeleton) -> None:
    dataset = read_dataset(skeleton.settings(participant_labels=("002",)))
    inside = [path for path in dataset.files if skeleton.root in path.parents]
    assert {path.parts[len(skeleton.root.parts)] for path in inside} == {
        "dataset_description.json",
        "sub-002",
    }
    assert len(inside) == 1 + 2 + 18 * 3


def test_without_the_sounds_the_remedy_is_named(skeleton: Skeleton) -> None:
    from ban_bids.errors import DataError

    with pytest.raises(DataError, match="--stimuli-dir"):
        read_dataset(skeleton.settings(gtzan_dir=None))
