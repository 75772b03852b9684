"""Confound columns against independent formulas."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nipype.algorithms import confounds as nipype_confounds

from ban_bids.preprocessing.confounds import (
    confound_table,
    dvars,
    framewise_displacement,
    rms_displacement,
    write_confounds,
)
from ban_bids.preprocessing.masks import count_non_steady, tissue_probabilities

TR = 2.0


def table(n: int = 30, non_steady: int = 2) -> tuple[pd.DataFrame, dict, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    motion = np.cumsum(rng.normal(0, 0.05, (n, 6)), 0) * [1, 1, 1, 0.02, 0.02, 0.02]
    motion[20:] += [0.6, 0, 0, 0, 0, 0]
    series = rng.normal(1000, 20, (n, 50)).astype(np.float32)
    series[10] += 60 * (-1) ** np.arange(50)
    white, csf = np.arange(50) < 10, np.arange(50) > 44
    done, metadata = confound_table(motion, series, white, csf, non_steady, TR)
    return done, metadata, motion, series


def test_framewise_displacement_is_powers(tmp_path: Path) -> None:
    motion = table()[2]
    np.savetxt(tmp_path / "motion.txt", motion)  # SPM's order: translations, then rotations
    done = nipype_confounds.FramewiseDisplacement(
        in_file=str(tmp_path / "motion.txt"), parameter_source="SPM", out_file=str(tmp_path / "fd.txt")
    ).run()
    expected = np.loadtxt(done.outputs.out_file, skiprows=1)
    found = framewise_displacement(motion)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], expected, rtol=1e-6)


def test_rms_displacement_is_that_of_a_ball_of_points() -> None:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(3)
    motion = rng.normal(0, 1, (4, 6)) * [2, 2, 2, 0.1, 0.1, 0.1]
    points = rng.uniform(-80, 80, (400_000, 3))
    points = points[np.linalg.norm(points, axis=1) < 80]
    seen = [Rotation.from_euler("xyz", row[3:]).apply(points) + row[:3] for row in motion]
    found = rms_displacement(motion)
    assert np.isnan(found[0])
    for k in (1, 2, 3):
        # where the ball of the volume before has gone: its points are asked for in their new places
        turn = Rotation.from_euler("xyz", motion[k, 3:]) * Rotation.from_euler("xyz", motion[k - 1, 3:]).inv()
        moved = turn.apply(points - motion[k - 1, :3]) + motion[k, :3]
        assert found[k] == pytest.approx(np.sqrt(((moved - points) ** 2).sum(1).mean()), rel=5e-3)
        assert np.allclose(turn.apply(seen[k - 1][:5] - motion[k - 1, :3]) + motion[k, :3], seen[k][:5])


def test_dvars_is_nipypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def yule_walker(x: np.ndarray, order: int) -> np.ndarray:  # nipype takes it from nitime, often absent
        assert order == 1
        return np.array([np.correlate(x[1:], x[:-1])[0] / np.correlate(x, x)[0]])

    monkeypatch.setattr(nipype_confounds, "_AR_est_YW", yule_walker)
    rng = np.random.default_rng(4)
    series = 500 + 30 * np.cumsum(rng.normal(size=(61, 5000)), 0) * rng.uniform(0.1, 1, 5000)
    series[:, 7] = 400
    series = series.astype(np.float32)
    nib.save(nib.Nifti1Image(series.T.reshape(50, 10, 10, 61), np.eye(4)), tmp_path / "bold.nii")
    nib.save(nib.Nifti1Image(np.ones((50, 10, 10), np.uint8), np.eye(4)), tmp_path / "mask.nii")
    standard, plain, _ = nipype_confounds.compute_dvars(
        tmp_path / "bold.nii", tmp_path / "mask.nii", remove_zerovariance=True
    )
    found = dvars(series)
    assert np.isnan(found[0][0]) and np.isnan(found[1][0])  # noqa: PT018
    np.testing.assert_allclose(found[0][1:], plain, rtol=2e-5)
    np.testing.assert_allclose(found[1][1:], standard, rtol=2e-5)


def test_dvars_of_noise_is_one_and_of_nothing_absent() -> None:
    noise = np.random.default_rng(5).normal(1000, 20, (400, 2000)).astype(np.float32)
    assert np.nanmean(dvars(noise)[1]) == pytest.approx(1, abs=0.02)
    assert np.isnan(dvars(np.ones((5, 3), np.float32))[1]).all()


def test_columns_equal_plain_formulas() -> None:
    columns, _, motion, series = table()
    np.testing.assert_allclose(columns["white_matter"], series[:, :10].mean(1), rtol=1e-6)
    np.testing.assert_allclose(columns["csf"], series[:, 45:].mean(1), rtol=1e-6)
    np.testing.assert_allclose(columns["csf_wm"], series[:, [*range(10), *range(45, 50)]].mean(1), rtol=1e-6)
    np.testing.assert_allclose(columns["global_signal"], series.mean(1), rtol=1e-6)
    np.testing.assert_allclose(columns["rot_y_derivative1"][1:], np.diff(motion[:, 4]))
    np.testing.assert_allclose(columns["trans_z_power2"], motion[:, 2] ** 2)
    np.testing.assert_allclose(columns["csf_derivative1_power2"][1:], np.diff(columns["csf"]) ** 2)
    assert columns["non_steady_state_outlier01"].tolist() == [0.0, 1.0] + [0.0] * 28
    spikes = columns.filter(like="motion_outlier")
    assert spikes.to_numpy().argmax(0).tolist() == [10, 11, 20]
    assert (spikes.sum() == 1).all()


def test_every_column_is_described(tmp_path: Path) -> None:
    columns, metadata, _, _ = table()
    write_confounds(columns, tmp_path / "c.tsv", metadata)
    written = json.loads((tmp_path / "c.json").read_text())
    assert list(written) == list(columns)
    assert all("Description" in entry or "Method" in entry for entry in written.values())
    assert "first difference" in written["csf_derivative1"]["Description"]
    assert written["csf_wm"]["Description"].startswith("Mean in the voxels of csf and")
    assert written["rot_x_power2"]["Description"].endswith("square")
    assert written["white_matter"]["Method"] == "Mean"
    assert "n/a" in (tmp_path / "c.tsv").read_text()


def test_absent_tissues_give_no_values() -> None:
    rng = np.random.default_rng(6)
    none = np.zeros(40, bool)
    series = rng.normal(1000, 20, (25, 40)).astype(np.float32)
    columns, _ = confound_table(rng.normal(0, 0.01, (25, 6)), series, none, none, 0, TR)
    assert columns[["csf", "white_matter", "csf_wm"]].isna().all(axis=None)
    assert not [name for name in columns if name.startswith(("a_comp", "c_comp", "w_comp"))]
    assert [name for name in columns if name.startswith("t_comp")]


@pytest.mark.parametrize("leading", [0, 1, 3])
def test_bright_leading_volumes_are_counted(leading: int) -> None:
    signal = np.random.default_rng(0).normal(1000, 2, 100)
    signal[:leading] += 200 / 2.0 ** np.arange(leading)
    assert count_non_steady(signal) == leading


def test_three_tissues_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (20, 20, 20))
    image = (np.array([250.0, 600, 900])[truth] + rng.normal(0, 30, truth.shape)).astype(np.float32)
    probabilities = tissue_probabilities(image, np.ones(truth.shape, bool))
    assert (np.argmax(probabilities, 0) == truth).mean() > 0.98
