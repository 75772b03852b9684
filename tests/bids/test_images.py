"""What an image's header leaves in doubt is told; what it settles is not."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ban_bids.bids.images import orientation_notes
from ban_bids.bids.metadata import load_header
from ban_bids.errors import DataError

SHIFT = np.array([-30.0, -40.0, -20.0])


def affine(turn: float = 0.0, zoom: float = 2.0, flip: bool = False, shift: np.ndarray = SHIFT) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3] = Rotation.from_euler("z", turn, degrees=True).as_matrix() * zoom
    made[:3, 3] = shift
    if flip:
        made[:3, 0] *= -1
    return made


def image(sform: np.ndarray | None, qform: np.ndarray | None, kind: type = nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    made = kind(np.zeros((20, 30, 10), np.int16), None)
    made.header.set_zooms((2.0, 2.0, 2.0))
    made.set_sform(sform, code=int(sform is not None))
    made.set_qform(qform, code=int(qform is not None))
    return made


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_an_image_that_says_nothing_is_told(kind: type) -> None:
    (note,) = orientation_notes(image(None, None, kind=kind))
    assert "both codes 0" in note and "left and right are unknown" in note


@pytest.mark.parametrize(
    ("sform", "qform", "said"),
    [
        (affine(flip=True), affine(), "mirror image"),
        (affine(), affine(flip=True), "mirror image"),
        (affine(turn=180), affine(), "half a voxel"),
        (affine(turn=5), affine(), "half a voxel"),
        (affine(shift=SHIFT + [3, 0, 0]), affine(), "half a voxel"),
        (affine(zoom=2.2), affine(), "half a voxel"),
    ],
)
def test_contradictions_are_told(sform: np.ndarray, qform: np.ndarray, said: str) -> None:
    (note,) = orientation_notes(image(sform, qform))
    assert said in note and "contradict" in note


@pytest.mark.parametrize(
    ("sform", "qform"),
    [
        (affine(), affine()),
        (affine(), None),
        (None, affine()),
        (affine(turn=30), affine(turn=30)),
        (affine(flip=True), affine(flip=True)),
        (affine(shift=SHIFT + [0.3, 0, 0]), affine()),
    ],
)
def test_agreement_and_one_statement_alone_are_not(sform: np.ndarray | None, qform: np.ndarray | None) -> None:
    assert orientation_notes(image(sform, qform)) == ()


def test_an_image_without_a_place_in_space_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    made = image(affine(), affine())
    made.header["srow_x"] = 0
    nibabel.save(nibabel.Nifti1Image(np.asarray(made.dataobj), None, made.header), path)
    with pytest.raises(DataError, match="no place in space"):
        load_header(path)


def packed(tmp_path: Path) -> tuple[Path, bytes]:
    path = tmp_path / "x.nii.gz"
    values = np.random.default_rng(0).integers(0, 999, (9, 9, 9, 20)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path, path.read_bytes()


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_compressed_image_that_is_cut_short_is_found_by_its_end(tmp_path: Path, kept: float) -> None:
    path, content = packed(tmp_path)
    assert load_header(path).shape == (9, 9, 9, 20)
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match="damaged .*fetch the image again"):
        load_header(path)


def test_what_follows_a_compressed_image_is_found(tmp_path: Path) -> None:
    path, content = packed(tmp_path)
    path.write_bytes(content + b"<html>404</html>")
    with pytest.raises(DataError, match="damaged"):
        load_header(path)


def test_a_whole_stream_of_too_few_voxels_is_found(tmp_path: Path) -> None:
    path, content = packed(tmp_path)
    path.write_bytes(gzip.compress(gzip.decompress(content)[:-100]))
    with pytest.raises(DataError, match="truncated"):
        load_header(path)


def test_parts_and_padding_are_no_damage(tmp_path: Path) -> None:
    path, content = packed(tmp_path)
    plain = gzip.decompress(content)
    for whole in (
        gzip.compress(plain[:500]) + gzip.compress(plain[500:]),
        content + b"\0" * 512,
        gzip.compress(plain + b"more"),
    ):
        path.write_bytes(whole)
        assert load_header(path).shape == (9, 9, 9, 20)
