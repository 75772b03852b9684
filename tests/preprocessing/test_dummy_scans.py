"""Volumes before the steady state: detected, or given."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_realign import AFFINE, head

from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.functional import reference_and_motion
from ban_bids.preprocessing.run import preprocess
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
