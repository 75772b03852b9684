"""One interpolation through composed transforms, slice timing, and the streamed image."""

from __future__ import annotations

from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy import ndimage
from test_realign import AFFINE, head

from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.types import Run
from ban_bids.preprocessing.functional import _covered
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.register import from_ants, to_ants
from ban_bids.preprocessing.space.resample import (
    correct_slice_timing,
    inside_image,
    load_run,
    resample_run,
    write_series,
)
from ban_bids.preprocessing.space.template import Grid, mask_grid, resolution_mm, template_grid
from ban_bids.preprocessing.space.transforms import Displacement, apply_affine, itk_affine
from ban_bids.preprocessing.workflows import bold


def test_composed_resampling_equals_each_transform_in_turn() -> None:
    volume = head()
    motion = rigid_matrix(np.array([1.0, 0.5, -0.7, 0.02, 0.01, -0.03]), np.zeros(3))
    coregistration = rigid_matrix(np.array([-2.0, 3, 1, 0.05, -0.02, 0.01]), np.zeros(3))
    points = np.random.default_rng(0).uniform(-25, 25, (3, 500))
    stepwise = apply_affine(np.linalg.inv(AFFINE), apply_affine(motion, apply_affine(coregistration, points)))
    expected = ndimage.map_coordinates(volume, stepwise, order=3, mode="mirror")
    rows = resample_run(
        volume[..., None].astype(np.float32), AFFINE, motion[None], apply_affine(coregistration, points)
    )
    np.testing.assert_allclose(next(iter(rows)), expected, atol=0.05)


def test_slice_timing_moves_a_sine_to_the_reference_time() -> None:
    tr, n, times = 2.0, 60, tuple(np.arange(8) * 0.25)
    seconds = np.arange(n) * tr
    data = np.stack([np.sin(2 * np.pi * (seconds + time) / 30) for time in times])
    data = np.broadcast_to(data, (3, 2, 8, n)).astype(np.float32).copy()
    run = Run("01", None, "x", None, (), Path(), Path(), tr, n, times, "k", None, (), first_volume=5.0)
    target = bold._timing(run)["middle"]
    assert target == pytest.approx(0.875)
    correct_slice_timing(data, times, "k", tr, target)
    expected = np.sin(2 * np.pi * (seconds + target) / 30)
    np.testing.assert_allclose(data[1, 1, :, 4:-4], np.broadcast_to(expected, (8, n))[:, 4:-4], atol=2e-3)


def test_reversed_slice_direction_reads_times_from_the_last_slice() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 2, 4, 20)).astype(np.float32)
    flipped = data[:, :, ::-1].copy()
    correct_slice_timing(data, (0.0, 0.5, 1.0, 1.5), "k", 2.0, 0.75)
    correct_slice_timing(flipped, (0.0, 0.5, 1.0, 1.5), "k-", 2.0, 0.75)
    np.testing.assert_allclose(flipped[:, :, ::-1], data, atol=1e-6)
    with pytest.raises(DataError, match="3 values for 4 slices"):
        correct_slice_timing(data, (0.0, 0.5, 1.0), "k", 2.0, 0.75)


def test_streamed_image_reads_back(tmp_path: Path) -> None:
    grid = template_grid(6.0)
    rng = np.random.default_rng(0)
    mask = rng.random(grid.shape) > 0.7
    rows = rng.normal(size=(5, int(mask.sum()))).astype(np.float32)
    write_series(tmp_path / "x.nii.gz", grid, mask, rows, 1.5)
    image = nib.load(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32)[mask].T, rows)
    np.testing.assert_allclose(image.affine, grid.affine)
    assert image.header.get_zooms()[3] == pytest.approx(1.5)
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_missing_values_do_not_spread(tmp_path: Path) -> None:
    data = np.repeat(head()[..., None], 6, -1).astype(np.float32)
    data += np.random.default_rng(0).normal(size=data.shape).astype(np.float32)
    data[20, 20, 15, 3] = np.nan
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "bold.nii")
    filled, _, missing, notes = load_run(tmp_path / "bold.nii")
    assert np.isfinite(filled).all()
    assert np.argwhere(missing).tolist() == [[20, 20, 15]]
    assert "1 voxels" in notes[0]


@pytest.mark.parametrize(("shape", "message"), [((8, 8, 8), "5 volumes"), ((8, 8, 8, 10), "constant")])
def test_unusable_images_are_named(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), tmp_path / "bold.nii")
    with pytest.raises(DataError, match=message):
        load_run(tmp_path / "bold.nii")


def test_grids_are_those_of_templateflow() -> None:
    assert template_grid(2.0).shape == (97, 115, 97)
    np.testing.assert_array_equal(template_grid(2.0).affine[:3, 3], [-96.5, -132.5, -78.5])
    assert template_grid(1.0).shape == (193, 229, 193)
    np.testing.assert_array_equal(template_grid(1.0).affine[:3, 3], [-96, -132, -78])


def test_mask_grid_holds_the_mask_and_inside_image_its_voxels() -> None:
    mask = head() > 300
    grid = mask_grid(mask, AFFINE, 2.0, pad=4)
    corners = apply_affine(AFFINE, np.argwhere(mask).T.astype(float))
    assert inside_image(grid.shape, grid.affine, corners).all()


def test_resolutions() -> None:
    assert resolution_mm("native", (3.0, 3.0, 3.3)) == 3.0
    assert resolution_mm("2", (3.0, 3.0, 3.3)) == 2.0
    for bad in ("tiny", "0.2", "nan"):
        with pytest.raises(UsageError, match="--res"):
            resolution_mm(bad, (3.0, 3.0, 3.3))


def test_affine_equals_itk() -> None:
    rng = np.random.default_rng(0)
    parameters = np.r_[(np.eye(3) + rng.normal(0, 0.1, (3, 3))).ravel(), rng.normal(0, 5, 3)]
    fixed = rng.normal(0, 20, 3)
    transform = ants.create_ants_transform(
        "AffineTransform", precision="double", dimension=3, parameters=parameters, fixed_parameters=fixed
    )
    flip, point = np.array([-1, -1, 1]), np.array([12.0, -30, 8])
    expected = flip * np.array(transform.apply_to_point(tuple(flip * point)))
    found = apply_affine(itk_affine(parameters, fixed), point[:, None])[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_displacement_is_read_as_itk_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grid = Grid((12, 14, 10), np.array([[4.0, 0, 0, -20], [0, 4, 0, -30], [0, 0, 4, -10], [0, 0, 0, 1]]))
    field = ndimage.gaussian_filter(rng.normal(0, 30, (*grid.shape, 3)), (2, 2, 2, 0)).astype(np.float32)
    like = to_ants(np.zeros(grid.shape, np.float32), grid.affine)
    warp = ants.from_numpy(
        field, origin=like.origin, spacing=like.spacing, direction=like.direction, has_components=True
    )
    ants.image_write(warp, str(tmp_path / "warp.nii.gz"))
    transform = ants.transform_from_displacement_field(warp)
    flip, points = np.array([-1, -1, 1]), rng.uniform(-8, 12, (3, 6))
    expected = [flip * np.array(transform.apply_to_point(tuple(flip * point))) for point in points.T]
    found = Displacement.load(tmp_path / "warp.nii.gz")(points)
    np.testing.assert_allclose(found.T, expected, atol=1e-3)


def test_images_pass_through_ants_unchanged() -> None:
    data = head().astype(np.float32)
    back, affine = from_ants(to_ants(data, AFFINE))
    np.testing.assert_array_equal(back, data)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


def test_voxels_that_a_nod_moves_out_of_a_slab_are_left_out() -> None:
    shape, affine = (10, 60, 12), from_matvec(np.diag([3.0, 3, 3]), [-13.5, -88.5, -16.5])
    points = Grid.of(shape, affine).points()
    parameters = np.zeros((20, 6))
    parameters[8:12, 3] = np.radians(4)  # no shift
    parameters[5, 0] = 0.3
    matrices = np.array([rigid_matrix(row, np.zeros(3)) for row in parameters])
    missing = np.zeros(shape, bool)
    covered = _covered(missing, affine, points, matrices=matrices, parameters=parameters)
    where = np.array([apply_affine(np.linalg.inv(affine) @ matrix, points) for matrix in matrices])
    limit = np.array(shape)[:, None] - 1
    beyond = np.maximum(-where, where - limit).max((0, 1))  # voxels over the edge, in the worst volume
    assert beyond[covered].max() <= 1
    assert covered.sum() == (beyond <= 1).sum()
