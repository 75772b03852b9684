"""Which files are the dataset's, and which only look so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ban_bids.bids.listing import list_dataset, participant_labels


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def images(root: Path, label: str = "01") -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_dataset(root).people[label].images]


RIGHT = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/func/sub-01_task-a+b_run-01_bold.nii",
    "sub-01/ses-1+2/func/sub-01_ses-1+2_task-x_bold.nii.gz",
    "sub-01/ses-1+2/fmap/sub-01_ses-1+2_dir-AP_epi.nii.gz",
)


def test_images_where_bids_wants_them(tmp_path: Path) -> None:
    touch(tmp_path, *RIGHT, "task-x_bold.json", "sub-01/sub-01_task-x_events.tsv", "sub-01/beh/sub-01_task-x_beh.tsv")
    listing = list_dataset(tmp_path)
    assert listing.labels == ("01",)
    assert sorted(images(tmp_path)) == sorted(RIGHT)
    person = listing.people["01"]
    assert [path.name for path in listing.beside] == ["task-x_bold.json"]
    assert [path.name for path in person.beside] == ["sub-01_task-x_events.tsv"]
    assert [path.name for path in person.answers] == ["sub-01_task-x_beh.tsv"]
    assert listing.notes() == [] and listing.notes("01") == []
    assert listing.outside_scanner == frozenset()


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/func/._sub-01_task-x_bold.nii.gz",
        "sub-01/func/.DS_Store",
        ".hidden/sub-02/func/sub-02_task-x_bold.nii.gz",
        "sourcedata/sub-02/func/sub-02_task-x_bold.nii.gz",
        "derivatives/sub-02/func/sub-02_task-x_bold.nii.gz",
        "code/sub-02/func/sub-02_task-x_bold.nii.gz",
        "sub-99.txt",
        "sub-99_T1w.nii.gz",
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "sub-01/eeg/old/sub-01_task-x_eeg.fif",
        "sub-01/sub-01_scans.tsv",
        "sub-01/func/sub-01_task-x_sbref.nii.gz",
    ],
)
def test_what_belongs_to_others_changes_nothing_and_needs_no_word(tmp_path: Path, name: str) -> None:
    touch(tmp_path, *RIGHT, name)
    listing = list_dataset(tmp_path)
    assert listing.labels == participant_labels(tmp_path) == ("01",)
    assert sorted(images(tmp_path)) == sorted(RIGHT)
    assert listing.notes() == [] and listing.notes("01") == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sub-01/old/func/sub-01_task-x_bold.nii.gz", "sub-01/old "),
        ("sub-01/ses-1+2/old/func/sub-01_ses-1+2_task-x_run-2_bold.nii.gz", "sub-01/ses-1+2/old "),
        ("sub-01/ses-1 copy/func/sub-01_ses-1_task-x_bold.nii.gz", "sub-01/ses-1 copy "),
        ("sub-01/derivatives/sub-01/func/sub-01_task-x_bold.nii.gz", "sub-01/derivatives "),
        ("sub-01/func/old/sub-01_task-x_bold.nii.gz", "sub-01/func/old "),
        ("sub-01/func/sub-01_task-x_events.tsv/more", "sub-01/func/sub-01_task-x_events.tsv (a folder"),
        ("sub-01/func/sub-02_task-x_bold.nii.gz", "does not say sub-01"),
        ("sub-01/func/sub-01_ses-9_task-x_bold.nii.gz", "does not say no session"),
        ("sub-01/ses-1+2/func/sub-01_task-x_bold.nii.gz", "does not say ses-1+2"),
        ("sub-01/func/sub-01_task-rest-1_bold.nii.gz", "no BIDS name"),
        ("sub-01/func/sub-01_task-x_run-1 (1)_bold.nii.gz", "no BIDS name"),
    ],
)
def test_what_looks_like_a_participants_data_is_passed_over_and_told(tmp_path: Path, name: str, told: str) -> None:
    touch(tmp_path, *RIGHT, name)
    listing = list_dataset(tmp_path)
    assert sorted(images(tmp_path)) == sorted(RIGHT)
    (note,) = listing.notes("01")
    assert told in note


def test_folders_beside_the_participants(tmp_path: Path) -> None:
    names = ("sub-01_old", "sub-01 copy", "sub-", "Sub-02", "sub_03", "sub-CON_04")
    touch(tmp_path, *RIGHT, *(f"{name}/func/sub-01_task-x_bold.nii.gz" for name in names))
    (tmp_path / "sub-05").symlink_to("nowhere")
    (tmp_path / "sub-06.zip").touch()
    listing = list_dataset(tmp_path)
    assert listing.labels == ("01",)
    (note,) = listing.notes()
    assert len(listing.passed_over) == 7 and "4 more" in note
    assert any("sub-05 (a link to a folder that is not there)" in one for one in listing.passed_over)


def test_links_count_wherever_they_lead_and_pipes_do_not(tmp_path: Path) -> None:
    touch(tmp_path, "store/sub-01/func/sub-01_task-x_bold.nii.gz", "bids/sub-02/func/x")
    root = tmp_path / "bids"
    (root / "sub-01").symlink_to("../store/sub-01")
    (root / "sub-02/func/sub-02_task-x_bold.nii.gz").symlink_to("../../.git/annex/objects/not/fetched")
    os.mkfifo(root / "sub-02/func/sub-02_task-x_run-2_bold.nii.gz")
    os.mkfifo(root / "sub-02/func/sub-02_task-x_events.tsv")
    (root / "sub-03").symlink_to("sub-03")
    assert images(root) == ["sub-01/func/sub-01_task-x_bold.nii.gz"]
    assert images(root, "02") == ["sub-02/func/sub-02_task-x_bold.nii.gz"]
    assert list_dataset(root).people["02"].beside == []
    assert list_dataset(root).labels == ("01", "02")


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be read")
def test_a_folder_that_may_not_be_read_is_its_owners_trouble(tmp_path: Path) -> None:
    touch(tmp_path, *RIGHT, "sub-02/func/sub-02_task-x_bold.nii.gz")
    (tmp_path / "sub-02/func").chmod(0)
    listing = list_dataset(tmp_path)
    (tmp_path / "sub-02/func").chmod(0o755)
    assert sorted(images(tmp_path)) == sorted(RIGHT)
    assert "cannot be listed" in listing.notes("02")[0]


def test_no_folder_no_participants(tmp_path: Path) -> None:
    assert list_dataset(tmp_path / "nowhere").labels == participant_labels(tmp_path / "nowhere") == ()
