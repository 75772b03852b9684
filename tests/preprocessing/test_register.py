"""Transforms that others read, held against antspyx; the same bytes twice."""

from __future__ import annotations

from pathlib import Path

import ants
import numpy as np
import pytest

from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.register import from_ants, normalize, resample_to, to_ants
from ban_bids.preprocessing.space.template import template_brain
from ban_bids.preprocessing.space.transforms import (
    Normalization,
    apply_affine,
    itk_affine,
    itk_parameters,
    itk_text,
    sample,
)

POSE = rigid_matrix(np.array([4.0, -6, 8, 0.05, 0.03, -0.04]), np.zeros(3))
ITERATIONS = (20, 10)  # coarse levels only: enough to bend


def grid_points(image: ants.ANTsImage) -> np.ndarray:
    return apply_affine(from_ants(image)[1], np.indices(image.shape).reshape(3, -1).astype(float))


@pytest.fixture(scope="module")
def template() -> ants.ANTsImage:
    return resample_to(ants.image_read(str(template_brain())), 5.0)


@pytest.fixture(scope="module")
def brain(template: ants.ANTsImage) -> ants.ANTsImage:
    """The template in another pose, stretched, with a lump taken out."""
    data, affine = from_ants(template)
    data = data.copy()
    data[20:26, 14:20, 16:22] *= 0.3
    return to_ants(data, POSE @ np.diag([1.06, 0.97, 1.03, 1.0]) @ affine)


@pytest.fixture(scope="module")
def found(template: ants.ANTsImage, brain: ants.ANTsImage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return normalize(brain, template, tmp_path_factory.mktemp("first"), reg_iterations=ITERATIONS)


def test_published_composites_do_what_our_own_composition_does(
    template: ants.ANTsImage, brain: ants.ANTsImage, found: dict[str, Path]
) -> None:
    own = Normalization.load(found["normalization"])
    assert np.abs(own.warp.field).max() > 1.0, "a warp that bends nothing shows nothing"
    for fixed, moving, name, back in (
        (template, brain, "to_template", own.template_to_t1w),
        (brain, template, "from_template", own.t1w_to_template),
    ):
        by_ants = ants.apply_transforms(fixed, moving, [str(found[name])]).numpy().ravel()
        by_us = sample(*from_ants(moving), back(grid_points(fixed)))
        # at the image's edge the two differ by half a voxel: look at the brain
        inside = fixed.numpy().ravel() > 1
        assert np.corrcoef(by_ants[inside], by_us[inside])[0, 1] > 0.9999
        assert np.abs(by_ants - by_us)[inside].max() < 0.005 * by_us.max()


def test_normalising_twice_gives_the_same_bytes(
    template: ants.ANTsImage, brain: ants.ANTsImage, found: dict[str, Path], tmp_path: Path
) -> None:
    again = normalize(brain, template, tmp_path, reg_iterations=ITERATIONS)
    for name, path in found.items():
        assert path.read_bytes() == again[name].read_bytes(), name


def test_itk_text_of_an_affine_is_what_antspyx_applies(tmp_path: Path, template: ants.ANTsImage) -> None:
    path = tmp_path / "xfm.txt"
    path.write_text(itk_text([POSE]))
    data, affine = from_ants(template)
    over_brain = np.array([[4.5, 0, 0, -65], [0, 4.5, 0, -90], [0, 0, 4.5, -50], [0, 0, 0, 1]])
    target = to_ants(np.zeros((30, 32, 28), np.float32), over_brain)
    by_ants = ants.apply_transforms(target, template, [str(path)]).numpy().ravel()
    by_us = sample(data, affine, apply_affine(POSE, grid_points(target)))
    assert by_us.max() > 50
    np.testing.assert_allclose(by_ants, by_us, atol=0.01 * by_us.max())


def test_itk_text_holds_one_transform_a_volume(tmp_path: Path) -> None:
    matrices = [rigid_matrix(np.array([n, -n, 0.5, 0.01 * n, 0, 0.02]), np.ones(3) * 9) for n in range(4)]
    blocks = itk_text(matrices).split("#Transform ")[1:]
    assert len(blocks) == 4
    point = np.array([10.0, 20, 30])
    for number, (block, matrix) in enumerate(zip(blocks, matrices)):
        path = tmp_path / f"{number}.txt"
        path.write_text("#Insight Transform File V1.0\n#Transform 0\n" + block.split("\n", 1)[1])
        moved = ants.read_transform(str(path)).apply_to_point(point * (-1, -1, 1)) * np.array([-1, -1, 1])
        np.testing.assert_allclose(moved, apply_affine(matrix, point[:, None])[:, 0], atol=1e-4)
        np.testing.assert_allclose(itk_affine(itk_parameters(matrix), np.zeros(3)), matrix, atol=1e-12)
