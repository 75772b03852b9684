"""Components and their masks against nipype's CompCor and brute force."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.algorithms.confounds import TCompCor, compute_noise_components

from ban_bids.preprocessing.compcor import (
    MOST,
    compcor,
    components,
    cosines,
    most_variable,
    noise_covariance,
    noise_mask,
)

N, TR, SKIP = 120, 2.0, 3


def noise(n_voxels: int = 600) -> np.ndarray:
    """A few shared time courses, drifts and noise of differing size; bright leading volumes."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(N, 4)) @ rng.normal(size=(4, n_voxels)) * 6
    drift = np.linspace(-30, 30, N)[:, None] * rng.normal(size=n_voxels)
    series = 1000 + drift + shared + rng.normal(size=(N, n_voxels)) * rng.uniform(2, 12, n_voxels)
    series[:SKIP] += 300
    return series.astype(np.float32)


def as_image(series: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(series.T).reshape(10, 10, -1, len(series))


def test_components_are_nipypes() -> None:
    series = noise()
    csf, white = np.arange(600) < 80, np.arange(600) > 300
    columns, metadata = compcor(series, white, csf, SKIP, TR)
    for prefix, name, mask in (("c", "CSF", csf), ("w", "WM", white), ("a", "combined", csf | white)):
        image = nib.Nifti1Image(mask.reshape(10, 10, -1).astype(np.uint8), np.eye(4))
        expected, basis, facts = compute_noise_components(
            as_image(series[SKIP:]).astype(np.float64), [image], 0.5, "cosine", 0, 128, TR
        )
        keys = [key for key in columns if key.startswith(f"{prefix}_comp_cor_")]
        assert keys == [f"{prefix}_comp_cor_{k:02d}" for k in range(expected.shape[1])]
        found = np.column_stack([columns[key] for key in keys])
        assert not found[:SKIP].any()
        likeness = np.abs((found[SKIP:] * expected).sum(0))
        np.testing.assert_allclose(likeness, 1, atol=1e-5)
        np.testing.assert_allclose(
            [metadata[key]["SingularValue"] for key in keys], facts["singular_value"][: len(keys)], rtol=1e-5
        )
        np.testing.assert_allclose(
            [metadata[key]["CumulativeVarianceExplained"] for key in keys],
            facts["cumulative_variance_explained"][: len(keys)],
            rtol=1e-5,
        )
        assert {metadata[key]["Mask"] for key in keys} == {name}
        np.testing.assert_allclose(cosines(N - SKIP, TR), basis, atol=1e-12)


def test_temporal_components_are_nipypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # nipype writes its masks here
    series = noise()
    nib.save(nib.Nifti1Image(as_image(series), np.eye(4)), "bold.nii")
    nib.save(nib.Nifti1Image(np.ones((10, 10, 6), np.uint8), np.eye(4)), "mask.nii")
    TCompCor(
        realigned_file="bold.nii",
        mask_files="mask.nii",
        percentile_threshold=0.02,
        pre_filter="cosine",
        repetition_time=TR,
        variance_threshold=0.5,
        ignore_initial_volumes=SKIP,
        components_file="t.tsv",
    ).run(cwd=str(tmp_path))
    expected = np.loadtxt("t.tsv", skiprows=1, ndmin=2)
    used = np.asarray(nib.load("mask_000.nii.gz").dataobj).ravel() > 0
    assert np.array_equal(most_variable(series, SKIP), used)
    columns, metadata = compcor(series, np.zeros(600, bool), np.zeros(600, bool), SKIP, TR)
    assert set(columns) == {f"t_comp_cor_{k:02d}" for k in range(expected.shape[1])}
    found = np.column_stack(list(columns.values()))
    np.testing.assert_allclose(np.abs((found * expected).sum(0)), 1, atol=1e-5)
    assert "Mask" not in metadata["t_comp_cor_00"]


def test_a_planted_course_is_found_and_slow_drifts_are_not() -> None:
    rng = np.random.default_rng(1)
    planted = rng.normal(size=N)
    drift = np.cos(np.pi * (np.arange(N) + 0.5) / N)
    weights = rng.normal(size=(2, 500)) + 3
    series = (weights.T @ [planted, 20 * drift] + rng.normal(size=(500, N))).T.astype(np.float32)
    found = components(noise_covariance(series, np.ones(500, bool), 0, TR), 0)
    assert found.values.shape[1] == 1
    basis = np.column_stack([np.ones(N), cosines(N, TR)])
    rest = planted - basis @ np.linalg.lstsq(basis, planted)[0]
    assert abs(np.corrcoef(found.values[:, 0], rest)[0, 1]) > 0.99
    assert abs(np.corrcoef(found.values[:, 0], drift)[0, 1]) < 1e-3
    assert found.values[np.abs(found.values[:, 0]).argmax(), 0] > 0


def test_slabs_and_disjoint_masks_add_up() -> None:
    series = np.random.default_rng(2).normal(size=(30, 9000)).astype(np.float32)
    first = np.arange(9000) % 3 == 0
    parts = [noise_covariance(series, mask, 0, TR) for mask in (first, ~first)]
    z = series.astype(float) - series.mean(0, dtype=float)
    z /= z.std(0)
    np.testing.assert_allclose(sum(parts), z @ z.T, atol=1e-6)


def test_number_of_components_is_bounded() -> None:
    found = components(np.eye(300), 2)
    assert found.values.shape == (302, MOST)
    assert components(np.zeros((20, 20)), 2).values.shape == (22, 0)


def test_noise_masks_are_eroded_where_enough_is_left() -> None:
    brain = np.ones((12, 12, 12), bool)
    brain[0] = False
    inside = np.zeros(brain.shape, np.float32)
    inside[2:9, 2:9, 2:9] = 1
    every = np.arange(brain.sum())
    expected = np.zeros(brain.shape, bool)
    expected[3:8, 3:8, 3:8] = True
    assert np.array_equal(noise_mask(inside[brain], brain, every), expected[brain])
    half = every[::2]
    small = noise_mask(inside[brain], brain, half)
    assert np.array_equal(small, (inside[brain] > 0)[half]), "62 voxels after erosion are too few"
    unsure = np.linspace(0, 0.9, len(every)).astype(np.float32)
    assert np.flatnonzero(noise_mask(unsure, brain, every)).tolist() == every[-10:].tolist()
    assert not noise_mask(unsure * 0.5, brain, every).any()
