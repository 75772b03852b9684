"""Distortion planted along one axis is found again, and nothing moves along the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline.engine import Workflow
from nipype.pipeline.engine.utils import generate_expanded_graph
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.distortion import (
    Distortion,
    ToReference,
    check_phase_encoding,
    find_distortion,
    working_grid,
)
from ban_bids.preprocessing.files import save_image
from ban_bids.preprocessing.masks import epi_mask
from ban_bids.preprocessing.regions import HCP_MMP
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.template import template_brain
from ban_bids.preprocessing.space.transforms import Displacement, apply_affine, sample
from ban_bids.preprocessing.workflows.participant import init_participant_wf
from ban_bids.settings import Preprocessing

AXIS = 1
VOXEL = 4.0
PEAK = 7.0  # mm


@dataclass(frozen=True)
class Planted:
    """Where points of the T1w brain went in the BOLD reference."""

    files: tuple[Path, Path, Path, Path]
    matrix: np.ndarray
    affine: np.ndarray
    points: np.ndarray
    shift: np.ndarray


def distorted(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Move signal from q to q + shift(q) along the axis, piled up where it is squeezed (shift in voxels)."""
    source = np.indices(image.shape).astype(float)
    place = source[AXIS].copy()
    for _ in range(25):
        source[AXIS] = place - ndimage.map_coordinates(shift, source, order=1, mode="nearest")
    density = 1 / (1 + np.gradient(shift, axis=AXIS))
    return ndimage.map_coordinates(image * density, source, order=3)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("distortion")
    rng = np.random.default_rng(0)
    image = nib.load(template_brain())
    brain, affine = image.get_fdata(dtype=np.float32), image.affine
    t1w_affine = affine @ np.diag([2.0, 2, 2, 1])
    t1w = ndimage.gaussian_filter(brain, 0.7)[::2, ::2, ::2]
    inverted = ndimage.gaussian_filter(np.where(brain > 1, 130.0 - brain, 0).clip(0), 1.2)[::4, ::4, ::4] * 8
    # the person lies obliquely, turned against the T1w image
    matrix = rigid_matrix(np.array([6.0, -4, 9, 0.2, -0.1, 0.15]), np.zeros(3))
    bold_affine = matrix @ affine @ np.diag([VOXEL, VOXEL, VOXEL, 1])
    field = ndimage.gaussian_filter(rng.normal(size=inverted.shape), 6.0)
    field *= PEAK / np.abs(field[inverted > 100]).max()
    reference = distorted(inverted, field / VOXEL) + rng.normal(0, 5, inverted.shape)
    reference = reference.astype(np.float32)
    files = (
        save_image(folder / "reference.nii.gz", reference, bold_affine),
        save_image(folder / "reference_mask.nii.gz", epi_mask(reference), bold_affine),
        save_image(folder / "t1w.nii.gz", t1w, t1w_affine),
        save_image(folder / "t1w_mask.nii.gz", t1w > 5, t1w_affine),
    )
    inside = ndimage.binary_erosion(t1w > 5)
    points = apply_affine(t1w_affine, np.argwhere(inside).T.astype(float))
    there = sample(field.astype(np.float32), bold_affine, apply_affine(matrix, points))
    return Planted(files, matrix, bold_affine, points, there)


@pytest.fixture(scope="module")
def found(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Distortion:
    folder = tmp_path_factory.mktemp("found")
    *files, t1w_mask = planted.files
    distortion = find_distortion(*files, t1w_mask=t1w_mask, matrix=planted.matrix, axis="j-", folder=folder)
    assert not list(folder.iterdir())
    return distortion


def test_planted_distortion_is_found(planted: Planted, found: Distortion) -> None:
    axis = planted.affine[:3, AXIS] / VOXEL
    undistorted = apply_affine(planted.matrix, planted.points)
    moved = ToReference(planted.matrix, planted.matrix, found.field)(planted.points) - undistorted
    error = axis @ moved - planted.shift
    before, after = np.sqrt(np.mean(planted.shift**2)), np.sqrt(np.mean(error**2))
    assert before > 1.5
    assert after < 0.5 * before, f"{before:.2f} mm before, {after:.2f} mm after"
    assert np.percentile(np.abs(error), 95) < 0.5 * np.percentile(np.abs(planted.shift), 95)
    others = moved - axis[:, None] * (axis @ moved)
    assert np.abs(others).max() < 1e-3
    assert found.information[1] - 1 > 1.1 * (found.information[0] - 1)
    assert found.shift == pytest.approx(np.percentile(np.abs(planted.shift), 95), rel=0.4)


def test_the_field_survives_its_file(found: Distortion, tmp_path: Path) -> None:
    back = Displacement.load(found.field.save(tmp_path / "field.nii.gz"))
    np.testing.assert_array_equal(back.field, found.field.field)
    np.testing.assert_allclose(back.affine, found.field.affine, atol=1e-5)


def test_later_runs_go_through_the_first_runs_field(found: Distortion, planted: Planted) -> None:
    to_run = rigid_matrix(np.array([1.0, 2, -1, 0.02, 0, 0.01]), np.zeros(3))
    later = ToReference(to_run @ planted.matrix, planted.matrix, found.field)
    first = ToReference(planted.matrix, planted.matrix, found.field)
    points = planted.points[:, ::500]
    np.testing.assert_allclose(later(points), apply_affine(to_run, first(points)), atol=1e-6)
    plain = ToReference(later.matrix)
    np.testing.assert_allclose(plain(points), apply_affine(later.matrix, points))


def test_the_working_grid_covers_the_mask_on_the_images_axes(planted: Planted) -> None:
    mask = np.zeros((40, 50, 20), bool)
    mask[10:30, 5:45, :] = True
    affine = planted.affine @ np.diag([0.5, 0.75, 1.25, 1.0])  # voxels of 2, 3 and 5 mm
    grid = working_grid(mask.shape, affine, mask)
    np.testing.assert_allclose(grid.affine[:3, :3] / 3.0, affine[:3, :3] / [2.0, 3.0, 5.0], atol=1e-9)
    corners = apply_affine(np.linalg.inv(grid.affine), apply_affine(affine, np.array([[10, 29], [5, 44], [0, 19]])))
    assert (corners[:, 0] > -1e-6).all() and (corners[:, 1] < np.array(grid.shape)).all()
    # from 20 - 12 to 58 + 12 mm, from 15 - 12 to 132 + 12 mm, and from the first slice to the last, 95 mm
    assert grid.shape == (21, 48, 32)


def test_the_axis_must_be_known(tmp_path: Path) -> None:
    runs = [
        Run("01", None, "x", None, (), tmp_path / name, tmp_path, 2.0, 9, None, "k", None, (), None, 0.0, axis)
        for name, axis in (("a_bold.nii", "j"), ("b_bold.nii", None))
    ]
    check_phase_encoding(Participant("01", (tmp_path,), tuple(runs[:1])))
    with pytest.raises(DataError, match="b_bold.nii: no PhaseEncodingDirection .*--use-syn-sdc.*leave"):
        check_phase_encoding(Participant("01", (tmp_path,), tuple(runs)))
    with pytest.raises(DataError, match="sub-01: --use-syn-sdc without a T1w image"):
        check_phase_encoding(Participant("01", (), tuple(runs[:1])))


def names_of(workflow: Workflow) -> set[str]:
    return {name for name in workflow.list_node_names() if name.endswith(".distortion")}


def test_the_step_stands_after_the_coregistration_of_first_runs(tmp_path: Path) -> None:
    for name in ("T1w.nii", "a.nii", "b.nii", "c.nii"):
        (tmp_path / name).touch()
    runs = tuple(
        Run("01", None, name, None, (("sub", "01"), ("task", name)), tmp_path / f"{name}.nii", tmp_path, 2.0,
            9, None, "k", None, (), None, 0.0, axis)
        for name, axis in (("a", "j-"), ("b", "j-"), ("c", "j"))
    )  # fmt: skip
    person = Participant("01", (tmp_path / "T1w.nii",), runs)

    def workflow_with(options: Preprocessing) -> Workflow:
        return init_participant_wf(person, options, resolution=4.0, atlas=HCP_MMP, mem_gb=1.0)

    assert not names_of(workflow_with(Preprocessing()))
    workflow = workflow_with(Preprocessing(use_syn_sdc=True))
    # the opposite polarity distorts the other way: a coregistration and a field of its own
    assert names_of(workflow) == {"task_a.distortion", "task_c.distortion"}
    sources = {}
    for source, target, edge in generate_expanded_graph(workflow._create_flat_graph()).edges(data=True):
        for output, field in edge["connect"]:
            if target.name == "resample" and field in ("field", "session_matrix"):
                sources[target._hierarchy[-6:], field] = (source._hierarchy[-6:], source.name, output)
    run_a, run_c = ("task_a", "distortion", "field"), ("task_c", "distortion", "field")
    assert {key: value for key, value in sources.items() if key[1] == "field"} == {
        ("task_a", "field"): run_a,
        ("task_b", "field"): run_a,
        ("task_c", "field"): run_c,
    }
    matrices = {key[0]: value for key, value in sources.items() if key[1] == "session_matrix"}
    assert matrices["task_a"] == matrices["task_b"] == ("task_a", "coregister", "matrix")
    assert matrices["task_c"] == ("task_c", "coregister", "matrix")
