"""Field maps are found, told of once a participant, and left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_datasets import Toy, write_bold

from ban_bids.inputs.types import read_dataset


def add(toy: Toy, name: str, folder: str = "sub-01/fmap", **sidecar: object) -> Path:
    path = toy.root / folder / f"sub-01_{name}.nii.gz"
    write_bold(path, (2, 2, 2))
    if sidecar:
        path.with_name(f"sub-01_{name}.json").write_text(json.dumps(sidecar))
    return path


def notes(toy: Toy, **changes: object) -> list[str]:
    dataset = read_dataset(toy.settings(**changes))
    assert all(person.failure is None for person in dataset.participants)
    assert not any("fmap" in str(path) for path in dataset.files)
    assert not any("field map" in note for note in dataset.participants[1].notes)
    return [note for note in dataset.participants[0].notes if "field map" in note]


def bold(run: int) -> str:
    return f"func/sub-01_task-music_run-{run}_bold.nii.gz"


@pytest.mark.parametrize(
    "intended",
    [bold(2), [bold(2)], f"bids::sub-01/{bold(2)}", [f"bids:raw:sub-01/{bold(2)}", "anat/sub-01_T1w.nii.gz"]],
)
def test_intended_for_in_either_form(toy: Toy, intended: object) -> None:
    add(toy, "phasediff", IntendedFor=intended, EchoTime1=0.004, EchoTime2=0.006)
    for name in ("magnitude1", "magnitude2"):
        add(toy, name)
    (note,) = notes(toy)
    assert note.startswith("1 field map for task-music_run-2 (1 of 3 runs) found but not used")


def test_b0_fields_win_over_intended_for(toy: Toy) -> None:
    toy.sidecar(1, B0FieldSource="pepolar")
    toy.sidecar(3, B0FieldSource=["other", "pepolar"])
    for direction in ("AP", "PA"):
        add(toy, f"dir-{direction}_epi", B0FieldIdentifier="pepolar", IntendedFor=bold(2))
    (note,) = notes(toy)
    # run 2 stands in IntendedFor all the same
    assert note.startswith("1 field map for every run (3 of 3 runs)")
    toy.func(3, "bold.json").unlink()
    for path in (toy.root / "sub-01" / "fmap").glob("*.json"):
        path.write_text('{"B0FieldIdentifier": ["pepolar", "x"]}')
    (note,) = notes(toy)
    assert "for task-music_run-1 (1 of 3 runs)" in note


def test_without_either_the_session_decides(toy: Toy) -> None:
    for run in (1, 2, 3):
        folder = toy.root / "sub-01" / f"ses-{1 if run < 3 else 2}" / "func"
        folder.mkdir(parents=True, exist_ok=True)
        for end in ("bold.nii.gz", "events.tsv"):
            session = "ses-1" if run < 3 else "ses-2"
            toy.func(run, end).rename(folder / f"sub-01_{session}_task-music_run-{run}_{end}")
    for number in (1, 2):
        add(toy, f"ses-1_run-{number}_phasediff", "sub-01/ses-1/fmap")
        add(toy, f"ses-1_run-{number}_magnitude1", "sub-01/ses-1/fmap")
    add(toy, "ses-1_TB1map", "sub-01/ses-1/fmap")
    (note,) = notes(toy)
    assert note.startswith("2 field maps for ses-1_task-music_run-1, ses-1_task-music_run-2 (2 of 3 runs)")


def test_inherited_sidecars_count(toy: Toy) -> None:
    add(toy, "dir-AP_epi")
    (toy.root / "sub-01" / "fmap" / "sub-01_epi.json").write_text(json.dumps({"IntendedFor": [bold(1)]}))
    (note,) = notes(toy)
    assert "for task-music_run-1 (1 of 3" in note


def test_silence(toy: Toy, tmp_path: Path) -> None:
    assert notes(toy) == []
    add(toy, "phasediff", IntendedFor="func/sub-01_task-other_bold.nii.gz")
    assert notes(toy) == []
    add(toy, "phasediff")
    (toy.root / "sub-01" / "fmap" / "sub-01_phasediff.json").unlink()
    assert len(notes(toy)) == 1
    assert notes(toy, ignore=("fieldmaps",)) == []
    assert notes(toy, derivatives=(("fmriprep", tmp_path),)) == []
