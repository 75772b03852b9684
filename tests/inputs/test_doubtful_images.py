"""Images of unusual shape, in two forms, of doubtful orientation or of several makings: one choice, and a word."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from small_datasets import Toy, notes_of, write_bold

from ban_bids.inputs.read import read_dataset


def anat(toy: Toy, name: str = "T1w.nii.gz") -> Path:
    return toy.root / "sub-01" / "anat" / f"sub-01_{name}"


def used(toy: Toy, **changes: object) -> tuple[list[str], list[str]]:
    """Names of the T1w images of sub-01 that are used, and its notes."""
    person = read_dataset(toy.settings(**changes)).participants[0]
    assert person.failure is None, person.failure
    return [path.name for path in person.t1w], list(person.notes)


@pytest.mark.parametrize("shape", [(4, 4, 4, 1), (4, 4, 4, 1, 1)])
def test_empty_axes_of_a_t1w_do_no_harm(toy: Toy, shape: tuple[int, ...]) -> None:
    write_bold(anat(toy), shape)
    assert used(toy)[0] == ["sub-01_T1w.nii.gz"]


@pytest.mark.parametrize(
    ("shape", "said"), [((4, 4, 4, 2), "2 volumes in one file"), ((4, 4, 4, 1, 3), "3 volumes"), ((4, 4), "no volume")]
)
def test_several_volumes_are_no_t1w(toy: Toy, shape: tuple[int, ...], said: str) -> None:
    write_bold(anat(toy), shape)
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and said in failure and "restore" not in failure


def test_an_empty_axis_behind_the_volumes_is_named(toy: Toy) -> None:
    """It is the run itself, and whole: only the axis is to be left out."""
    write_bold(toy.func(1, "bold.nii.gz"), (2, 2, 2, 10, 1))
    (note,) = read_dataset(toy.settings()).participants[0].notes
    assert "empty axis" in note and "-axes 0,1,2,3" in note and "give the BOLD run itself" not in note


def test_volumes_on_the_fifth_axis_are_named(toy: Toy) -> None:
    path = toy.func(1, "bold.nii.gz")
    write_bold(path, (2, 2, 2, 1, 10))
    person = read_dataset(toy.settings()).participants[0]
    assert "volumes on the fifth axis" in " ".join([str(person.failure), *person.notes])


@pytest.mark.parametrize(
    "other",
    ["desc-defaced_T1w", "acq-defaced_T1w", "rec-norm_T1w", "mod-T1w_T1w", "run-1_desc-x_T1w"],
)
def test_an_image_and_what_was_made_of_it_are_not_averaged(toy: Toy, other: str) -> None:
    write_bold(anat(toy, f"{other}.nii.gz"), (2, 2, 2))
    names, notes = used(toy)
    assert names == ["sub-01_T1w.nii.gz"]
    assert any(f"sub-01_{other}.nii.gz left out (--bids-filter-file chooses)" in note for note in notes)


def test_the_defaced_image_serves_where_the_original_was_never_shared(toy: Toy) -> None:
    anat(toy).unlink()
    anat(toy).symlink_to("../../.git/annex/objects/nowhere")
    write_bold(anat(toy, "desc-defaced_T1w.nii.gz"), (2, 2, 2))
    assert used(toy)[0] == ["sub-01_desc-defaced_T1w.nii.gz"]


def test_runs_of_one_kind_are_averaged(toy: Toy) -> None:
    anat(toy).unlink()
    for run in (1, 2):
        write_bold(anat(toy, f"acq-x_run-{run}_T1w.nii.gz"), (2, 2, 2))
    assert used(toy)[0] == [f"sub-01_acq-x_run-{run}_T1w.nii.gz" for run in (1, 2)]


def test_an_image_in_two_forms_counts_once(toy: Toy) -> None:
    write_bold(anat(toy, "T1w.nii"), (2, 2, 2))
    write_bold(toy.func(1, "bold.nii"), (2, 2, 2, 10))
    names, notes = used(toy)
    assert names == ["sub-01_T1w.nii.gz"]
    (note,) = [note for note in notes if "is used, not" in note]
    assert "2 images" in note
    run = read_dataset(toy.settings()).participants[0].runs[0]
    assert run.bold == toy.func(1, "bold.nii.gz")


def test_the_filter_decides_between_two_forms(toy: Toy, tmp_path: Path) -> None:
    write_bold(anat(toy, "T1w.nii"), (3, 3, 3))
    person = read_dataset(toy.settings()).participants[0]
    assert person.failure is not None and "--bids-filter-file" in person.failure
    instead = read_dataset(toy.settings(derivatives=(("fmriprep", tmp_path),))).participants[0]
    assert instead.failure is None  # its voxels are not used
    chosen = tmp_path / "filter.json"
    chosen.write_text(json.dumps({"t1w": {"extension": ".nii"}}))
    assert used(toy, bids_filter_file=chosen)[0] == ["sub-01_T1w.nii"]


def test_a_filter_that_leaves_no_run_is_named(toy: Toy, tmp_path: Path) -> None:
    chosen = tmp_path / "filter.json"
    chosen.write_text(json.dumps({"bold": {"run": 7}}))
    with pytest.raises(Exception, match="--bids-filter-file, .* leave out all 3 BOLD images"):
        read_dataset(toy.settings(bids_filter_file=chosen))


def without_orientation(path: Path) -> None:
    image = nibabel.load(path)
    bare = nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    bare.header["sform_code"] = bare.header["qform_code"] = 0
    nibabel.save(bare, path)


def mirrored(path: Path) -> None:
    image = nibabel.load(path)
    image.header.set_sform(np.diag([-1.0, 1, 1, 1]) @ image.affine, code=1)
    image.header.set_qform(image.affine, code=1)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)


@pytest.mark.parametrize(("spoil", "said"), [(without_orientation, "both codes 0"), (mirrored, "mirror image")])
def test_doubts_about_left_and_right_are_told_once_per_kind(toy: Toy, spoil, said: str) -> None:
    assert not any("left and right" in note for note in notes_of(read_dataset(toy.settings())))
    spoil(anat(toy))
    for run in (1, 2):
        spoil(toy.func(run, "bold.nii.gz"))
    dataset = read_dataset(toy.settings())
    told = [note for note in dataset.participants[0].notes if said in note]
    assert sum("T1w" in note for note in told) == 1 and len(told) == 2
    assert any("2 of 3 runs" in note for note in told)
    assert not any(said in note for note in dataset.participants[1].notes)


def test_what_was_passed_over_is_told_of_whom_it_concerns(toy: Toy) -> None:
    for name in ("sub-01_old", "sub-01/old"):
        (toy.root / name / "func").mkdir(parents=True)
    dataset = read_dataset(toy.settings())
    assert [person.label for person in dataset.participants] == ["01", "02"]
    assert any("sub-01_old" in note for note in dataset.notes)
    assert any("sub-01/old" in note for note in dataset.participants[0].notes)
    assert not any("old" in note for note in dataset.participants[1].notes)


def test_a_run_under_a_name_that_is_none_is_told_where_none_is_left(toy: Toy) -> None:
    for run in (1, 2, 3):
        toy.func(run, "bold.nii.gz").rename(toy.func(run, "x-_bold.nii.gz"))
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and "no BOLD image" in failure and "no BIDS name" in failure
