"""Confound columns against independent formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ban_bids.errors import DataError
from ban_bids.inputs.dataset import Run
from ban_bids.preprocessing.confounds import (
    CHOSEN,
    confound_table,
    framewise_displacement,
    reconstructed_confounds,
    write_confounds,
)
from ban_bids.preprocessing.masks import count_non_steady, tissue_probabilities
from ban_bids.preprocessing.result import PreprocessedRun


def make_run(n_volumes: int) -> Run:
    entities = (("sub", "01"), ("task", "music"))
    none = Path("none")
    return Run("01", None, "music", None, entities, none, none, 2.0, n_volumes, None, "k", None, ())


def table(n: int = 30, non_steady: int = 2) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    motion = np.cumsum(rng.normal(0, 0.05, (n, 6)), 0) * [1, 1, 1, 0.02, 0.02, 0.02]
    series = rng.normal(1000, 20, (n, 50)).astype(np.float32)
    white, csf = np.arange(50) < 10, np.arange(50) > 44
    return confound_table(motion, series, white, csf, non_steady), motion, series


def test_framewise_displacement_is_powers(tmp_path: Path) -> None:
    from nipype.algorithms.confounds import FramewiseDisplacement

    _, motion, _ = table()
    np.savetxt(tmp_path / "motion.txt", motion)  # SPM's order: translations, then rotations
    done = FramewiseDisplacement(
        in_file=str(tmp_path / "motion.txt"), parameter_source="SPM", out_file=str(tmp_path / "fd.txt")
    ).run()
    expected = np.loadtxt(done.outputs.out_file, skiprows=1)
    found = framewise_displacement(motion)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], expected, rtol=1e-6)


def test_columns_equal_plain_formulas() -> None:
    columns, motion, series = table()
    np.testing.assert_allclose(columns["white_matter"], series[:, :10].mean(1), rtol=1e-6)
    np.testing.assert_allclose(columns["csf"], series[:, 45:].mean(1), rtol=1e-6)
    np.testing.assert_allclose(columns["global_signal"], series.mean(1), rtol=1e-6)
    np.testing.assert_allclose(
        columns["dvars"][1:], np.sqrt((np.diff(series.astype(float), axis=0) ** 2).mean(1)), rtol=1e-5
    )
    np.testing.assert_allclose(columns["rot_y_derivative1"][1:], np.diff(motion[:, 4]))
    np.testing.assert_allclose(columns["trans_z_power2"], motion[:, 2] ** 2)
    assert columns["non_steady_state_outlier01"].tolist() == [0.0, 1.0] + [0.0] * 28


def test_choice_for_encoding(tmp_path: Path) -> None:
    columns, motion, _ = table()
    columns["cosine00"] = np.cos(np.arange(30))
    write_confounds(columns, tmp_path / "c.tsv")
    assert "n/a" in (tmp_path / "c.tsv").read_text()
    pre = PreprocessedRun(make_run(30), tmp_path, tmp_path, tmp_path / "c.tsv", 1.0, 2)
    values, names = reconstructed_confounds(pre)
    assert tuple(names) == CHOSEN
    assert values.shape == (30, 14)
    assert np.isfinite(values).all()
    assert (values[0, 6:12] == 0).all()
    np.testing.assert_allclose(values[:, :6], motion, atol=1e-8)


def test_table_of_another_run_is_refused(tmp_path: Path) -> None:
    write_confounds(table()[0], tmp_path / "c.tsv")
    pre = PreprocessedRun(make_run(31), tmp_path, tmp_path, tmp_path / "c.tsv", 1.0, 0)
    with pytest.raises(DataError, match="30 rows for 31 volumes"):
        reconstructed_confounds(pre)


def test_columns_without_values_are_left_out(tmp_path: Path) -> None:
    columns, _, _ = table()
    columns["csf"] = np.nan
    write_confounds(columns, tmp_path / "c.tsv")
    pre = PreprocessedRun(make_run(30), tmp_path, tmp_path, tmp_path / "c.tsv", 1.0, 0)
    values, names = reconstructed_confounds(pre)
    assert "csf" not in names
    assert values.shape == (30, 13)


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
