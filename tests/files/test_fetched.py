"""A file that datalad or git-lfs has not fetched is told from one that is there, lost, or may not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ban_bids.files.fetched import absence

ANNEX = "../.git/annex/objects/4x/Zz/MD5E-s3--900150983cd24fb0d6963f7d28e17f72.wav"


def test_what_is_there(tmp_path: Path) -> None:
    for name, content in (("whole", b"abc"), ("empty", b""), ("text", b"see /annex/objects/ for more")):
        (tmp_path / name).write_bytes(content)
        assert absence(tmp_path / name) is None
    stored = tmp_path / ".git" / "annex" / "objects" / "key"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(stored)
    assert absence(tmp_path / "link") is None
    assert absence(tmp_path) is None  # a folder: its reader says so


@pytest.mark.parametrize(
    ("target", "how"),
    [
        (ANNEX, "annex"),
        (ANNEX.removeprefix("../"), "annex"),
        ("/data/.git/annex/objects/a/b/key/key", "annex"),
        ("../store/sub-01_bold.nii.gz", "link"),
        ("../annex/of/mine.wav", "link"),
    ],
)
def test_links_to_nowhere(tmp_path: Path, target: str, how: str) -> None:
    (tmp_path / "bold.nii.gz").symlink_to(target)
    assert absence(tmp_path / "bold.nii.gz") == how


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (b"/annex/objects/MD5E-s3--900150983cd24fb0d6963f7d28e17f72.wav\n", "annex"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "lfs"),
    ],
)
def test_pointers(tmp_path: Path, content: bytes, how: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert absence(tmp_path / "a.wav") == how
    (tmp_path / "a.wav").write_bytes(content + bytes(40_000))  # as long as no pointer is
    assert absence(tmp_path / "a.wav") is None


def test_nothing_at_all(tmp_path: Path) -> None:
    assert absence(tmp_path / "gone") == "absent"
    (tmp_path / "file").write_bytes(b"abc")
    assert absence(tmp_path / "file" / "below") == "absent"


def test_a_circle_of_links_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert absence(tmp_path / "a") is None
