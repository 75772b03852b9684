"""A full disk is one line, whichever library meets it, and leaves nothing half; other errors are left as they are."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from ban_bids.errors import BanBidsError, DataError, DiskFull, UsageError
from ban_bids.files import room
from ban_bids.files.atomic import atomic_path, place, write_bytes
from ban_bids.files.json import write_json
from ban_bids.files.npz import GrowingRows, scratch_array, write_arrays
from ban_bids.files.room import disk_full, folder_bytes, free_bytes, told_size, told_when_full
from ban_bids.files.tsv import write_tsv
from ban_bids.models.checkpoint import save_tensors
from ban_bids.preprocessing.space.register import ants_folder
from ban_bids.preprocessing.space.transforms import Displacement, write_composite

NOISE = np.random.default_rng(0).normal(size=300_000).astype(np.float32)
SIZE = 256 * 1024
WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes.bin": lambda path: path.write_bytes(NOISE.tobytes()),
    "image.nii.gz": lambda path: nib.save(nib.Nifti1Image(NOISE.reshape(100, 100, 30), np.eye(4)), path),
    "image.nii": lambda path: nib.save(nib.Nifti1Image(NOISE.reshape(100, 100, 30), np.eye(4)), path),
    "array.npy": lambda path: np.save(path, NOISE),
    "arrays.npz": lambda path: np.savez(path, noise=NOISE),
    "table.tsv": lambda path: pd.DataFrame(NOISE).to_csv(path, sep="\t"),
    "sound.wav": lambda path: soundfile.write(path, NOISE, 8000),
    "sound.flac": lambda path: soundfile.write(path, NOISE / 10, 8000),
    "weights.pt": lambda path: torch.save({"noise": torch.from_numpy(NOISE)}, path),
    "picture.png": lambda path: picture(path),
    "transform.h5": lambda path: transform(path),
    "index.sqlite": lambda path: index(path),
}
"""Whatever library writes, it is more than :data:`SIZE`."""


def picture(path: Path) -> None:
    figure = Figure(figsize=(8, 8))
    figure.add_subplot().imshow(NOISE.reshape(600, 500), cmap="nipy_spectral", interpolation="nearest")
    figure.savefig(path, dpi=150)


def transform(path: Path) -> None:
    write_composite(path, [Displacement(NOISE.reshape(3, 100, 100, 10), np.eye(4))])


def index(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE files (content BLOB)")
        connection.execute("INSERT INTO files VALUES (?)", (NOISE.tobytes(),))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of a quarter of a megabyte."""
    folder = tmp_path_factory.mktemp("small")
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("file systems are mounted by root only")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this root may mount nothing (a container without the right to)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_every_library_that_meets_a_full_disk_is_one_line(small: Path, name: str) -> None:
    with pytest.raises(DiskFull) as told, atomic_path(small / name) as temporary:
        WRITERS[name](temporary)
    line = str(told.value)
    assert line.startswith(f"{small / name}: the disk is full")
    assert "bytes free" in line or "bytes (" in line
    assert "\n" not in line and told.value.exit_status == 1
    assert not [path for path in small.iterdir() if not path.name.endswith("-journal")]


@pytest.mark.parametrize("name", WRITERS)
def test_what_fits_is_written(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        WRITERS[name](temporary)
    assert (tmp_path / name).stat().st_size > SIZE


def test_writers_of_the_house_leave_the_old_file(small: Path, tmp_path: Path) -> None:
    long = "word " * SIZE
    tensors = {"noise": torch.from_numpy(NOISE)}
    writers: list[tuple[str, Callable[[Path], object]]] = [
        ("a.json", lambda path: write_json(path, {"text": long})),
        ("a.tsv", lambda path: write_tsv(path, pd.DataFrame({"text": [long]}))),
        ("a.npz", lambda path: write_arrays(path, {"noise": NOISE})),
        ("a.safetensors", lambda path: save_tensors(path, tensors, "none", None)),
        ("a.bin", lambda path: place(write_bytes(tmp_path / "source.bin", NOISE.tobytes()), path)),
    ]
    for name, write in writers:
        path = small / name
        path.write_bytes(b"old")
        with pytest.raises(DiskFull, match=name):
            write(path)
        assert path.read_bytes() == b"old"
        path.unlink()
    assert not list(small.iterdir())


def test_arrays_on_a_full_disk_are_refused_before_they_are_touched(small: Path) -> None:
    with pytest.raises(DiskFull, match="1.0 MiB wanted"):
        scratch_array((1024, 256), small, in_memory=0)
    assert scratch_array((16, 256), small, in_memory=0).sum() == 0
    with pytest.raises(DiskFull):
        GrowingRows(small, in_memory=0).add(NOISE.reshape(1000, 300))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_system_says_so(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskFull) as told, told_when_full(tmp_path):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in str(told.value)


def test_what_an_error_came_from_counts(tmp_path: Path) -> None:
    with pytest.raises(DiskFull), told_when_full(tmp_path):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise UsageError("--work-dir x: change its rights") from error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError("3 requested and 4 read"),
        DataError("run.nii.gz: damaged"),
        BanBidsError("a report that quotes: No space left on device"),
        RuntimeError("shapes differ"),
        AssertionError("not so"),
    ],
    ids=repr,
)
def test_other_errors_are_left_as_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as told, told_when_full(tmp_path):
        raise error
    assert told.value is error


def test_a_library_without_words_is_believed_where_nothing_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: SimpleNamespace(total=1 << 40, free=100))
    with pytest.raises(DiskFull, match="100 bytes free"), told_when_full(tmp_path):
        raise AssertionError
    with pytest.raises(KeyError), told_when_full(tmp_path):
        raise KeyError("a fault of ours stays one")
    with pytest.raises(FileNotFoundError), told_when_full(tmp_path):
        (tmp_path / "none").read_bytes()


def test_a_file_system_that_does_not_tell_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: SimpleNamespace(total=0, free=0))
    with pytest.raises(EOFError), told_when_full(tmp_path):
        raise EOFError


def test_a_file_that_itk_cut_short_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EOFError), ants_folder(tmp_path):
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: SimpleNamespace(total=1 << 40, free=100))
    with pytest.raises(DiskFull, match="100 bytes free"), ants_folder(tmp_path):
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")
    assert not list(tmp_path.iterdir())


def test_the_file_is_named_among_several_folders(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFull, match=f"^{tmp_path}/work/a.npz: "),
        told_when_full(tmp_path / "out", tmp_path / "work"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "work/a.npz"))


def test_room_is_measured_where_a_path_would_lie(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    (tmp_path / "a").write_bytes(b"x" * 10_000)
    assert folder_bytes(tmp_path) >= 8192
    assert [told_size(size) for size in (12, 2048, 3.4 * 2**30)] == ["12 bytes", "2.0 KiB", "3.4 GiB"]
    assert "3.0 KiB wanted" in str(disk_full(tmp_path, wanted=3072))
