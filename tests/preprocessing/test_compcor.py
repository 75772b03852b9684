"""Columns of nipype's CompCor: our use of it against brute force, nipype's own interface and planted truth."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.algorithms.confounds import TCompCor

from ban_bids.preprocessing.confounds import (
    MOST_COMPONENTS,
    compcor,
    cosines,
    most_variable,
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


def masks(n_voxels: int, **given: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of all names, empty where not given; ``variable`` stands for the empty name."""
    names = {"": "variable", "CSF": "CSF", "WM": "WM", "combined": "combined"}
    return {name: given.get(key, np.zeros(n_voxels, bool)) for name, key in names.items()}


def test_cosines_are_those_of_the_formula() -> None:
    n = N - SKIP
    order = int(np.floor(2 * n * TR / 128))  # the constant is counted among them
    phase = np.pi * (np.arange(n) + 0.5) / n
    expected = np.sqrt(2 / n) * np.cos(phase[:, None] * np.arange(1, order))
    np.testing.assert_allclose(cosines(n, TR), expected, atol=1e-12)
    assert cosines(20, TR).shape == (20, 0), "too short for one"


def test_components_are_those_of_the_covariance() -> None:
    series = noise()
    csf, white = np.arange(600) < 80, np.arange(600) > 300
    columns, metadata = compcor(series, masks(600, CSF=csf, WM=white, combined=csf | white), SKIP, TR)
    assert not [key for key in columns if key.startswith("t_comp")], "an empty mask gives no component"
    for prefix, name, mask in (("c", "CSF", csf), ("w", "WM", white), ("a", "combined", csf | white)):
        steady = series[SKIP:, mask].astype(float)
        basis = np.column_stack([np.ones(N - SKIP), cosines(N - SKIP, TR)])
        left = steady - basis @ np.linalg.lstsq(basis, steady)[0]
        left /= left.std(0)
        values, vectors = np.linalg.eigh(left @ left.T)
        values, vectors = values[::-1], vectors[:, ::-1]
        share = values / values.sum()
        k = int(np.searchsorted(np.cumsum(share), 0.5)) + 1
        keys = [key for key in columns if key.startswith(f"{prefix}_comp_cor_")]
        assert keys == [f"{prefix}_comp_cor_{number:02d}" for number in range(k)]
        components = np.column_stack([columns[key] for key in keys])
        assert not components[:SKIP].any()
        np.testing.assert_allclose(np.abs((components[SKIP:] * vectors[:, :k]).sum(0)), 1, atol=1e-5)
        assert (components[np.abs(components).argmax(0), range(k)] > 0).all()
        for key, expected in (
            ("SingularValue", np.sqrt(values[:k])),
            ("VarianceExplained", share[:k]),
            ("CumulativeVarianceExplained", np.cumsum(share)[:k]),
        ):
            np.testing.assert_allclose([metadata[column][key] for column in keys], expected, rtol=1e-5)
        assert {metadata[key]["Mask"] for key in keys} == {name}


def test_temporal_components_are_nipypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # nipype writes its masks here
    series = noise()
    image = np.ascontiguousarray(series.T).reshape(10, 10, -1, N)
    nib.save(nib.Nifti1Image(image, np.eye(4)), "bold.nii")
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
    variable = most_variable(series[SKIP:])
    assert np.array_equal(variable, used)
    columns, metadata = compcor(series, masks(600, variable=variable), SKIP, TR)
    assert set(columns) == {f"t_comp_cor_{k:02d}" for k in range(expected.shape[1])}
    components = np.column_stack(list(columns.values()))
    np.testing.assert_allclose(np.abs((components * expected).sum(0)), 1, atol=1e-5)
    assert "Mask" not in metadata["t_comp_cor_00"]


def test_a_planted_course_is_found_and_slow_drifts_are_not() -> None:
    rng = np.random.default_rng(1)
    planted = rng.normal(size=N)
    drift = np.cos(np.pi * (np.arange(N) + 0.5) / N)
    weights = rng.normal(size=(2, 500)) + 3
    series = (weights.T @ [planted, 20 * drift] + rng.normal(size=(500, N))).T.astype(np.float32)
    columns, _ = compcor(series, masks(500, CSF=np.ones(500, bool)), 0, TR)
    (component,) = columns.values()
    basis = np.column_stack([np.ones(N), cosines(N, TR)])
    rest = planted - basis @ np.linalg.lstsq(basis, planted)[0]
    assert abs(np.corrcoef(component, rest)[0, 1]) > 0.99
    assert abs(np.corrcoef(component, drift)[0, 1]) < 1e-3
    assert component[np.abs(component).argmax()] > 0


def test_variable_voxels_are_found_slab_by_slab() -> None:
    series = np.random.default_rng(2).normal(size=(30, 9000)).astype(np.float32)
    time = np.linspace(-1, 1, 30)
    left = series - np.polynomial.polynomial.polyval(time, np.polynomial.polynomial.polyfit(time, series, 2)).T
    expected = left.std(0) >= np.percentile(left.std(0), 98)
    assert np.array_equal(most_variable(series), expected)


def test_number_of_components_is_bounded_and_masks_may_be_large() -> None:
    n_voxels = 40_000  # more than one side of a NIfTI-1 image can have
    series = np.random.default_rng(3).normal(size=(130, n_voxels)).astype(np.float32)
    columns, _ = compcor(series, masks(n_voxels, WM=np.ones(n_voxels, bool)), 0, 0.1)
    assert len(columns) == MOST_COMPONENTS


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


CLUSTERED = (np.arange(24)[:, None] * 13.5 + np.arange(5) * 1.5).ravel()  # 120 volumes, gaps of 7.5 s


def test_cosines_at_irregular_times_are_those_of_time() -> None:
    mean = CLUSTERED[-1] / (N - 1)
    found = cosines(N, mean, CLUSTERED)
    lasts = CLUSTERED[-1] + mean
    assert found.shape == cosines(N, mean).shape == (N, int(2 * lasts / 128) - 1)
    for k, column in enumerate(found.T, start=1):
        np.testing.assert_allclose(column, np.sqrt(2 / N) * np.cos(np.pi * k * (CLUSTERED + mean / 2) / lasts))
    regular = TR * np.arange(N)
    np.testing.assert_allclose(cosines(N, TR, regular), cosines(N, TR), atol=1e-12)


def test_components_know_no_drift_of_time() -> None:
    """A drift that is slow in time and in all voxels is no component, whenever volumes were taken."""
    rng = np.random.default_rng(0)
    drift = np.cos(np.pi * 3 * (CLUSTERED + 1.35) / (CLUSTERED[-1] + 2.7))
    shared = rng.normal(size=N)
    series = (1000 + 40 * drift[:, None] + 5 * shared[:, None] + rng.normal(size=(N, 500))).astype(np.float32)
    everywhere = masks(500, CSF=np.ones(500, bool))
    columns, _ = compcor(series, everywhere, SKIP, CLUSTERED[-1] / (N - 1), times=CLUSTERED)
    first = columns["c_comp_cor_00"][SKIP:]
    assert abs(np.corrcoef(first, drift[SKIP:])[0, 1]) < 0.1
    assert abs(np.corrcoef(first, shared[SKIP:])[0, 1]) > 0.9
    grid = TR * np.arange(N)
    one, other = compcor(series, everywhere, SKIP, TR, times=grid)[0], compcor(series, everywhere, SKIP, TR)[0]
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=1e-3)
