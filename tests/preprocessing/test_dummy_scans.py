"""Volumes before the steady state: detected, or given."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_realign import AFFINE, head

from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.distortion import ToReference
from ban_bids.preprocessing.functional import Timing, reference_and_motion, resample_to_target
from ban_bids.preprocessing.run import preprocess
from ban_bids.preprocessing.space.template import Target
from ban_bids.settings import Settings

SMALL = (20, 22, 16)


@pytest.fixture
def bold(tmp_path: Path) -> Path:
    volume = head(SMALL)
    gains = np.array([1.6, 1.3, *[1.0] * 10])
    data = volume[..., None] * gains + np.random.default_rng(0).normal(0, 2, (*SMALL, 12))
    path = tmp_path / "sub-01_bold.nii"
    nib.save(nib.Nifti1Image(data.astype(np.float32), AFFINE), path)
    return path


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [(None, 2, "2 volumes before"), (0, 0, "detected: 2"), (4, 4, "--dummy-scans 4"), (2, 2, "2 volumes")],
)
def test_dummy_scans_override_detection(
    bold: Path, tmp_path: Path, given: int | None, expected: int, said: str
) -> None:
    files, non_steady, notes = reference_and_motion(bold, tmp_path, given)
    assert non_steady == expected
    assert len(notes) == 1 and said in notes[0]
    with np.load(files["motion"]) as stored:
        assert len(stored["matrices"]) == 12


def test_too_many_dummy_scans_are_refused(bold: Path, tmp_path: Path) -> None:
    run = Run("01", None, "x", None, (), bold, bold, 2.0, 12, None, "k", None, ())
    settings = Settings.of(tmp_path, tmp_path / "out", "participant", work_dir=tmp_path / "work", dummy_scans=8)
    refused = preprocess([Participant("01", (), (run,))], settings)["01"]
    assert isinstance(refused, DataError)
    assert "--dummy-scans 8 leaves fewer than 5 of 12 volumes" in str(refused)


@pytest.mark.parametrize(("slices", "volume"), [(slice(None), 11), (slice(6, None), 11), (slice(6, None), 5)])
def test_a_blank_volume_is_named(bold: Path, tmp_path: Path, slices: slice, volume: int) -> None:
    data = np.array(nib.load(bold).dataobj)
    data[:, :, slices, volume] = 0
    nib.save(nib.Nifti1Image(data, AFFINE), bold)
    with pytest.raises(DataError, match=f"volume {volume + 1} of 12 holds less than 70 %.*--bids-filter-file"):
        reference_and_motion(bold, tmp_path)


def test_a_blank_volume_before_the_steady_state_is_a_dummy(bold: Path, tmp_path: Path) -> None:
    """Some scanners store a first volume that is blank or a calibration: it is no row, and stops nothing."""
    data = np.array(nib.load(bold).dataobj)
    data[..., 0] = 0
    nib.save(nib.Nifti1Image(data, AFFINE), bold)
    with pytest.raises(DataError, match="volume 1 of 12 .*give --dummy-scans 2, or leave"):
        reference_and_motion(bold, tmp_path)
    with pytest.raises(DataError, match="volume 1 of 12"):
        reference_and_motion(bold, tmp_path, 0)
    files, non_steady, _ = reference_and_motion(bold, tmp_path, 2)
    assert non_steady == 2
    with np.load(files["motion"]) as stored:
        np.testing.assert_allclose(stored["parameters"][0], stored["parameters"][2], atol=1e-5)
        assert np.abs(stored["parameters"]).max() < 0.1
    data[..., 11] = 0
    nib.save(nib.Nifti1Image(data, AFFINE), bold)
    with pytest.raises(DataError, match="volume 12 of 12 .*cut it off"):
        reference_and_motion(bold, tmp_path, 2)


def test_bright_volumes_do_not_leak_into_steady_ones_by_slice_timing(tmp_path: Path) -> None:
    n, tr, times, dark = 40, 2.0, (0.0, 1.0, 0.5, 1.5, 0.25, 1.25, 0.75, 1.75), 3
    affine, shape = np.diag([3.0, 3.0, 3.0, 1.0]), (6, 7, 8)

    def course(time: float) -> np.ndarray:
        return 1000 + 10 * np.sin(2 * np.pi * (np.arange(n) * tr + time) / 30)

    slices = np.stack([course(time) for time in times])
    slices[:, :dark] *= [1.6, 1.2, 1.1]
    bold = tmp_path / "bold.nii"
    nib.save(nib.Nifti1Image(np.broadcast_to(slices, (*shape, n)).astype(np.float32), affine), bold)
    np.savez(tmp_path / "motion.npz", matrices=np.stack([np.eye(4)] * n), parameters=np.zeros((n, 6)))
    brain = np.zeros(shape, bool)
    brain[1:-1, 1:-1, 1:-1] = True
    points = affine[:3, :3] @ np.array(np.nonzero(brain), float)
    target = Target(affine, brain, points, *np.zeros((2, points.shape[1]), np.float32))
    files = resample_to_target(
        bold, tmp_path / "motion.npz", ToReference(np.eye(4)),
        target=target, timing=Timing(tr, times, "k", 0.875), non_steady=dark, folder=tmp_path,
    )  # fmt: skip
    found = nib.load(files["bold"]).get_fdata()[brain]
    assert np.abs(found[:, dark:] - course(0.875)[dark:]).max() < 3, "of a level of 1000; each slice had its own time"
    assert found[:, 0].min() > 1500
