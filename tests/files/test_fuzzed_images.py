"""Fuzzing the readers of images: whatever the bytes, voxels or one line of ours."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutated import bounded_memory, damaged, fuzzed, told

from ban_bids.bids.images import orientation_notes
from ban_bids.bids.metadata import load_header
from ban_bids.files.images import read_through
from ban_bids.inputs.timing import header_tr


def _image(kind: type, dtype: str, extended: bool = False) -> bytes:
    data = np.arange(2 * 3 * 2 * 6).reshape(2, 3, 2, 6).astype(dtype)
    image = kind(data, np.diag([2.0, 2.0, 2.5, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(image.affine, 1)
    if extended:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"made by a test"))
    return image.to_bytes()


_PLAIN = (
    _image(nibabel.Nifti1Image, "i2"),
    _image(nibabel.Nifti1Image, "f4", extended=True),
    _image(nibabel.Nifti2Image, "u1"),
)
_PACKED = tuple(gzip.compress(raw, mtime=0) for raw in _PLAIN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with bounded_memory():
        yield tmp_path_factory.mktemp("fuzzed")


def _read(path: Path) -> None:
    image = told(lambda: load_header(path))
    if image is not None:
        orientation_notes(image)
        header_tr(image)

    def voxels() -> None:
        with read_through(path) as opened:
            if np.prod(opened.shape) < 2**20:  # more is read slab by slab
                np.asarray(opened.dataobj)

    told(voxels)


@fuzzed(700)
@given(raw=damaged(_PLAIN))
def test_plain_images(folder: Path, raw: bytes) -> None:
    path = folder / "sub-01_task-music_bold.nii"
    path.write_bytes(raw)
    _read(path)


@fuzzed(500)
@given(raw=damaged(_PACKED))
def test_damaged_compression(folder: Path, raw: bytes) -> None:
    path = folder / "sub-01_task-music_bold.nii.gz"
    path.write_bytes(raw)
    _read(path)


@fuzzed(600)
@given(raw=damaged(_PLAIN), fields=st.integers(0, 3))
def test_damage_under_sound_compression(folder: Path, raw: bytes, fields: int) -> None:
    path = folder / "sub-02_task-music_bold.nii.gz"
    squeeze = zlib.compressobj(fields, zlib.DEFLATED, 31)
    path.write_bytes(squeeze.compress(raw) + squeeze.flush())
    _read(path)
