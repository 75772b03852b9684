"""The source distribution holds what git holds, and the wheel every file of the packages, weights and atlas too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE_BY_SETUPTOOLS = ("PKG-INFO", "setup.cfg", "ban_bids.egg-info")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = {name for name in done.stdout.split("\0") if (ROOT / name).is_file()}
    if done.returncode or "pyproject.toml" not in names:
        pytest.skip("no repository of the project here")
    return names


def build(source: Path, kind: str, out: Path) -> Path:
    """Build without fetching anything, into a folder."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", BUILD, f"build_{kind}", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has, and a stray file that Python leaves."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "ban_bids" / "__pycache__").mkdir()
    (folder / "ban_bids" / "__pycache__" / "errors.cpython-311.pyc").touch()
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    # the container builds without the manifest of the source distribution
    (source / "MANIFEST.in").rename(source / "aside")
    made = build(source, "wheel", tmp_path_factory.mktemp("wheel"))
    (source / "aside").rename(source / "MANIFEST.in")
    shutil.rmtree(source / "build")
    return zipfile.ZipFile(made)


def test_the_source_distribution_is_what_git_has(source: Path, tracked: set[str], tmp_path: Path) -> None:
    with tarfile.open(build(source, "sdist", tmp_path)) as archive:
        names = {str(PurePosixPath(*PurePosixPath(file.name).parts[1:])) for file in archive if file.isfile()}
    assert tracked - names == set()
    assert {name for name in names - tracked if not name.startswith(MADE_BY_SETUPTOOLS)} == set()


def test_the_wheel_has_every_file_of_the_packages(wheel: zipfile.ZipFile, tracked: set[str]) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in tracked if name.startswith(("ban_bids/", "bids_app/"))}


def test_the_metadata_is_complete(wheel: zipfile.ZipFile) -> None:
    inside = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata: Message = Parser().parsestr(wheel.read(inside).decode())
    for field in ("Summary", "Author", "Keywords", "License-Expression", "License-File", "Project-URL", "Classifier"):
        assert metadata[field], field
    assert metadata["Description-Content-Type"] == "text/markdown" and "# ban-bids" in metadata.get_payload()
    programs = wheel.read(inside.replace("METADATA", "entry_points.txt")).decode()
    assert all(f"{name} = " in programs for name in ("ban-bids", "ban-bids-train", "ban-bids-demo", "ban-bids-listen"))
