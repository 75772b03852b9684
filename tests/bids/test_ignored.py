"""What ``.bidsignore`` names is known as git knows it, and told where it is used."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ban_bids.bids.ignored import ignores
from ban_bids.bids.listing import list_dataset

PATHS = (
    "sub-02/func/sub-02_task-a_run-3_bold.nii.gz",
    "sub-02/anat/sub-02_T1w.nii.gz",
    "sub-03/ses-1/func/sub-03_ses-1_task-b_bold.nii.gz",
    "sub-12/func/sub-12_task-a_run-3_bold.nii",
)
LINES = (
    "sub-02", "sub-02/", "/sub-02/", "sub-0?/", "sub-0[13]", "sub-0[!2]",
    "*_bold.nii.gz", "**/*run-3*", "sub-*/anat", "func/", "**/func", "sub-03/**",
    "sub-*/**/*task-b*", "*.nii", "nothing", "# sub-02", "", "sub-02/func/*\n!**/*run-3*",
    "a[", "**", "ses-1/func", "/*/anat/*", "sub-02/**/*.gz",
)  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="git says what is right")
@pytest.mark.parametrize("text", LINES)
def test_as_git_does(tmp_path: Path, text: str) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in (".gitignore", ".bidsignore"):
        (tmp_path / name).write_text(f"{text}\n")
    named = ignores(tmp_path)
    for path in PATHS:
        by_git = subprocess.run(["git", "-C", tmp_path, "check-ignore", "-q", "--no-index", path]).returncode == 0
        assert named(path) == by_git, path


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", bytes(2**17)])
def test_a_file_that_cannot_be_read_names_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / ".bidsignore").write_bytes(content)
    assert not ignores(tmp_path)(PATHS[0])


def test_images_that_are_used_all_the_same_are_told(tmp_path: Path) -> None:
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert not any(list_dataset(tmp_path).notes(label) for label in ("02", "03", "12"))
    (tmp_path / ".bidsignore").write_text("sub-02/\n*_events.tsv\n")
    listing = list_dataset(tmp_path)
    (note,) = listing.notes("02")
    assert note.startswith(".bidsignore names 2 images") and PATHS[1] in note
    assert listing.notes("03") == []
