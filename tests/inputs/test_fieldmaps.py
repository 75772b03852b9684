"""Field maps are found, reported once per participant, and left alone."""

from __future__ import annotations

from pathlib import Path

from small_datasets import Toy, write_bold

from ban_bids.inputs.read import read_dataset


def add(toy: Toy, name: str, folder: str = "sub-01/fmap") -> Path:
    path = toy.root / folder / f"sub-01_{name}.nii.gz"
    write_bold(path, (2, 2, 2))
    return path


def notes(toy: Toy, **changes: object) -> list[str]:
    dataset = read_dataset(toy.settings(**changes))
    assert all(person.failure is None for person in dataset.participants)
    assert not any("fmap" in str(path) for path in dataset.files)
    assert not any("field map" in note for note in dataset.participants[1].notes)
    return [note for note in dataset.participants[0].notes if "field map" in note]


def test_what_is_found_is_reported_once_with_the_remedy(toy: Toy) -> None:
    for name in ("phasediff", "magnitude1", "magnitude2", "TB1map"):
        add(toy, name)
    (note,) = notes(toy)
    assert note.startswith("field maps (3 images) found but not used")
    assert "-d fmriprep=PATH" in note
    (note,) = notes(toy, use_syn_sdc=True)
    assert "-d fmriprep" not in note


def test_a_damaged_sidecar_of_what_is_not_used_stops_nobody(toy: Toy) -> None:
    add(toy, "dir-AP_epi").with_name("sub-01_dir-AP_epi.json").write_text("{")
    assert len(notes(toy)) == 1


def test_other_sessions_do_not_count(toy: Toy) -> None:
    for sub in ("01", "02"):
        for run in (1, 2, 3):
            folder = toy.root / f"sub-{sub}" / "ses-1" / "func"
            folder.mkdir(parents=True, exist_ok=True)
            for end in ("bold.nii.gz", "events.tsv"):
                toy.func(run, end, sub).rename(folder / f"sub-{sub}_ses-1_task-music_run-{run}_{end}")
    add(toy, "ses-2_phasediff", "sub-01/ses-2/fmap")
    assert notes(toy, session_ids=("1",)) == []
    assert len(notes(toy)) == 1


def test_silence(toy: Toy, tmp_path: Path) -> None:
    assert notes(toy) == []
    add(toy, "phasediff")
    assert len(notes(toy)) == 1
    assert notes(toy, ignore=("fieldmaps",)) == []
    assert notes(toy, derivatives=(("fmriprep", tmp_path),)) == []
