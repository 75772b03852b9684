"""Head motion put into an image is found again."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.preprocessing.space.realign import align_images, realign, rigid_matrix, rigid_parameters

AFFINE = np.array([[-3.5, 0, 0, 70.0], [0, 3.5, 0, -80.0], [0, 0, 3.5, -50.0], [0, 0, 0, 1]])


def head(shape: tuple[int, int, int] = (40, 46, 32)) -> NDArray[np.float64]:
    """An ellipsoid with structure inside and noise-free air outside."""
    rng = np.random.default_rng(3)
    index = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    radius = np.sqrt(sum((part / (0.36 * n)) ** 2 for part, n in zip(index, shape)))
    inside = 1 / (1 + np.exp((radius - 1) * 12))
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 1.6)
    return 1000 * inside * (1 + 2 * texture)


def moved(
    volume: NDArray[np.float64], matrix: NDArray[np.float64], affine: NDArray[np.float64] = AFFINE
) -> NDArray[np.float64]:
    """The head moved by ``matrix`` (old world → new world)."""
    pull = np.linalg.inv(affine) @ np.linalg.inv(matrix) @ affine
    return ndimage.affine_transform(volume, pull[:3, :3], pull[:3, 3], order=3, mode="nearest")


def corners() -> NDArray[np.float64]:
    return np.array([[60, 0, 0], [-60, 0, 0], [0, 60, 0], [0, -60, 0], [0, 0, 50], [0, 0, -40.0]]).T


@pytest.mark.parametrize(("size", "tolerance"), [(0.3, 0.05), (3.0, 0.15)])
def test_injected_motion_is_recovered(size: float, tolerance: float) -> None:
    rng = np.random.default_rng(1)
    volume, centre = head(), np.zeros(3)
    true = [
        rigid_matrix(np.r_[rng.uniform(-size, size, 3), rng.uniform(-size, size, 3) / 50] * (k > 0), centre)
        for k in range(14)
    ]
    series = np.stack([moved(volume, matrix) + rng.normal(0, 10, volume.shape) for matrix in true], -1)
    found = realign(series.astype(np.float32), AFFINE).matrices
    assert errors(found, true) <= tolerance, errors(found, true)


def errors(found: NDArray[np.float64], true: list[NDArray[np.float64]]) -> float:
    """Root mean square distance, mm, at points around the head; motion relative to the first volume."""
    points = np.vstack([corners(), np.ones(6)])
    gone = [(here @ np.linalg.inv(found[0]) - there) @ points for here, there in zip(found, true)]
    return float(np.sqrt(np.mean([(part[:3] ** 2).sum(0).mean() for part in gone])))


@pytest.mark.parametrize(("size", "tolerance"), [(0.3, 0.05), (3.0, 0.15)])
def test_motion_injected_into_a_real_volume_is_recovered(shared_data: Path, size: float, tolerance: float) -> None:
    image = nib.load(shared_data / "studyforrest/sub-02/func/sub-02_task-oneback_run-1_bold.nii.gz")
    volume = np.asarray(image.dataobj[..., 20:40], np.float32).mean(3)
    rng, centre = (
        np.random.default_rng(2),
        image.affine[:3, :3] @ (np.array(volume.shape) / 2) + image.affine[:3, 3],
    )
    true = [
        rigid_matrix(np.r_[rng.uniform(-size, size, 3), rng.uniform(-size, size, 3) / 50] * (k > 0), centre)
        for k in range(8)
    ]
    noise = 0.02 * float(np.percentile(volume, 98))
    series = np.stack([moved(volume, matrix, image.affine) + rng.normal(0, noise, volume.shape) for matrix in true], -1)
    found = realign(series.astype(np.float32), image.affine).matrices
    assert errors(found, true) <= tolerance, errors(found, true)


def test_gain_is_not_taken_for_motion() -> None:
    volume = head()
    series = np.stack([volume * gain for gain in (1, 1.05, 0.95, 1.1, 1, 1)], -1).astype(np.float32)
    motion = realign(series, AFFINE).parameters
    assert np.abs(motion[:, :3]).max() < 0.02
    assert np.abs(motion[:, 3:]).max() < 4e-4


def test_matrix_and_parameters_are_inverse() -> None:
    parameters, centre = np.array([1.0, -2, 0.5, 0.1, -0.05, 0.2]), np.array([3.0, -20, 11])
    np.testing.assert_allclose(rigid_parameters(rigid_matrix(parameters, centre), centre), parameters, atol=1e-12)


def test_large_offset_between_runs_is_found() -> None:
    volume, true = head(), rigid_matrix(np.array([6.0, -5, 4, 0.06, -0.04, 0.05]), np.zeros(3))
    other = (1.3 * moved(volume, true)).astype(np.float32)
    found = align_images(other, AFFINE, volume.astype(np.float32), AFFINE)
    points = np.vstack([corners(), np.ones(6)])
    assert np.sqrt((((found - true) @ points)[:3] ** 2).sum(0).mean()) < 0.15
