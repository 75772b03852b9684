"""Several T1w images: aligned and averaged; the damaged and the unlike are left out, and it is said."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.preprocessing import anatomy
from ban_bids.preprocessing.anatomy import average_t1w
from ban_bids.preprocessing.files import load_image, save_image
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.template import template_brain
from ban_bids.preprocessing.space.transforms import apply_affine, sample

NOISE = 4.0
AFFINE = nib.load(template_brain()).affine @ np.diag([3.0, 3, 3, 1])


def head(path: Path, pose: np.ndarray, gain: float, seed: int) -> Path:
    """The template's brain in a skull, seen from another pose: its image's world point p shows pose(p)."""
    image, affine = load_image(template_brain())
    outside = ndimage.distance_transform_edt(image[::2, ::2, ::2] <= 1, sampling=2.0)
    skull = np.zeros_like(image)
    shell = ((outside > 8) & (outside < 14)).astype(np.float32) * 80
    skull[: 2 * shell.shape[0], : 2 * shell.shape[1], : 2 * shell.shape[2]] = (
        shell.repeat(2, 0).repeat(2, 1).repeat(2, 2)[: skull.shape[0], : skull.shape[1], : skull.shape[2]]
    )
    smooth = ndimage.gaussian_filter(image + skull, 1.2)
    shape = tuple(n // 3 for n in image.shape)
    points = apply_affine(pose @ AFFINE, np.indices(shape).reshape(3, -1).astype(float))
    values = sample(smooth, affine, points).reshape(shape)
    noise = np.random.default_rng(seed).normal(0, NOISE, shape)
    return save_image(path, (gain * (values + noise)).astype(np.float32), AFFINE)


def test_images_are_aligned_and_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "_WORKING", 5.0)
    move = rigid_matrix(np.array([5.0, -8, 6, 0.1, -0.06, 0.12]), np.zeros(3))
    still = np.eye(4)
    images = [
        head(tmp_path / f"sub-01_run-{number}_T1w.nii.gz", pose, gain, number)
        for number, (pose, gain) in enumerate(((still, 1.0), (move, 1.7), (still, 0.6)), 1)
    ]
    damaged = tmp_path / "sub-01_run-4_T1w.nii.gz"
    damaged.write_bytes(images[0].read_bytes()[:5000])
    blobs = ndimage.gaussian_filter(np.random.default_rng(9).normal(size=(64, 76, 64)), 4) ** 2
    unlike = save_image(tmp_path / "sub-01_run-5_T1w.nii.gz", (blobs / blobs.max() * 100), AFFINE)
    path, used, notes = average_t1w([*images, damaged, unlike], tmp_path)
    assert used == tuple(images)
    assert any(damaged.name in note and "cannot be read" in note for note in notes)
    assert any(unlike.name in note and "does not fit sub-01_run-1" in note for note in notes)
    assert any("average of 3" in note for note in notes)
    result, affine = load_image(path)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
    truth, _ = load_image(head(tmp_path / "truth.nii.gz", still, 1.0, 1))
    truth = truth - np.random.default_rng(1).normal(0, NOISE, truth.shape)
    brain = truth > 40
    # three independent noises: the error must fall towards 1/√3; misalignment or a wrong gain would raise it
    assert (result - truth)[brain].std() < 0.75 * NOISE
    assert abs((result / truth)[brain].mean() - 1) < 0.02


def test_one_image_is_taken_as_it_is_and_none_is_an_error(tmp_path: Path) -> None:
    only = tmp_path / "only.nii.gz"
    assert average_t1w([only], tmp_path) == (only, (only,), ())
    bad = [tmp_path / f"{n}.nii.gz" for n in (1, 2)]
    for path in bad:
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="1.nii.gz: cannot be read"):
        average_t1w(bad, tmp_path)
    good = head(tmp_path / "good.nii.gz", np.eye(4), 1.0, 0)
    path, used, notes = average_t1w([bad[0], good], tmp_path)
    assert (path, used) == (good, (good,)) and "left out" in notes[0]
