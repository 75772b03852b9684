"""Notes that say the same of many runs or people are told once, and nothing that differs is lost."""

from __future__ import annotations

from ban_bids.inputs.notes import grouped, some, told_once


def left_out(run: int, why: str = "empty file") -> str:
    return f"left out: /data/sub-01/func/sub-01_task-music_run-{run}_bold.nii.gz: {why}"


def test_one_note_for_three_hundred_runs() -> None:
    [note] = told_once(left_out(run) for run in range(1, 301))
    assert note.startswith(left_out(1)) and "(and 299 more: " in note
    assert "run-6_bold.nii.gz, and 294 more" in note


def test_reasons_stay_apart() -> None:
    notes = [left_out(1), left_out(2, "truncated"), "field maps (2 images) found but not used", left_out(3)]
    first, second, third = told_once(notes)
    assert "run-1" in first and "run-3" in first and "run-2" not in first
    assert (second, third) == (notes[1], notes[2])


def test_one_alone_stays_as_it_is() -> None:
    assert told_once([left_out(1), left_out(1)]) == [left_out(1)]
    assert told_once(["--ignore slicetiming: slice timing is not corrected"]) == [
        "--ignore slicetiming: slice timing is not corrected"
    ]
    # options are no file names
    assert len(told_once(["leave it out by --task-id", "leave it out by --session-id"])) == 2


def test_owners_of_the_same_failure() -> None:
    failures = [
        (f"sub-{n:02d}", f"/data/sub-{n:02d}/func/sub-{n:02d}_task-x_events.tsv, line {n}: bad") for n in range(40)
    ]
    failures.insert(1, ("sub-99", "/data/sub-99/anat/sub-99_T1w.nii.gz: empty file; restore the image"))
    (many, first), (alone, second) = grouped(failures)
    assert len(many) == 40 and first == failures[0][1]
    assert (alone, second) == (["sub-99"], failures[1][1])


def test_some() -> None:
    assert some(["a", "b"], 2) == "a, b"
    assert some(["a", "b", "c"], 2) == "a, b, and 1 more"
