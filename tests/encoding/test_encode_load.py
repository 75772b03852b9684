from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from listening import make_run

from ban_bids.encoding import bold as participant_module
from ban_bids.encoding.bold import load_participant
from ban_bids.encoding.cleaning import clean, nuisance_basis
from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.settings import Encoding

SHAPE = (4, 5, 3)
N = 40


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(values, np.diag([2, 2, 2, 1.0]) if affine is None else affine), path)
    return path


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreprocessedParticipant:
    """Two runs on a small grid; the confounds are two random columns a run."""
    rng = np.random.default_rng(0)
    cortex = np.zeros(SHAPE, np.uint8)
    cortex[1:3, 1:4] = 1
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16) % 5
    runs = []
    for name in ("a", "b"):
        run = make_run(name, ["x", "y"], tr=2.0, n_volumes=N, lead_in=name == "a")
        bold = (900 + 30 * rng.standard_normal((*SHAPE, N))).astype(np.int16)
        path = write(tmp_path / f"{name}.nii.gz", bold)
        runs.append(PreprocessedRun(run, path, path, tmp_path / f"{name}.tsv", 1.0, 2, (7,)))
    tables = {run.confounds: rng.standard_normal((N, 2)) for run in runs}
    monkeypatch.setattr(participant_module, "regressors", lambda run: tables[run.confounds])
    (tmp_path / "dseg.tsv").write_text("index\tname\treason\n1\tA1\tn/a\nn/a\tPB\tatlas small has no region PB\n")
    return PreprocessedParticipant(
        Participant("01", (), tuple(run.run for run in runs)),
        "MNI",
        tuple(runs),
        write(tmp_path / "cortex.nii.gz", cortex),
        write(tmp_path / "dseg.nii.gz", labels),
        tmp_path / "dseg.tsv",
        "ban-bids",
    )


def test_images_become_cleaned_rows(images: PreprocessedParticipant, tmp_path: Path) -> None:
    data = load_participant(images, Encoding(), tmp_path)
    mask = nib.load(images.cortex).get_fdata() > 0
    assert data.bold.shape == (2 * N, mask.sum())
    assert np.array_equal(data.mask, mask)
    assert np.array_equal(data.region, nib.load(images.dseg).get_fdata()[mask])
    assert data.absent == {"PB": "atlas small has no region PB"}
    assert [clip.track for clip in data.clips] == ["x", "y"]
    assert data.runs[0].rows.times[:2].tolist() == [1.0, 3.0]
    assert not data.runs[0].rows.scored[[0, 1, 7]].any()
    for r, run in enumerate(images.runs):
        confounds = participant_module.regressors(run)
        nuisance = nuisance_basis(confounds, 2.0, 200.0, keep=data.runs[r].rows.scored)
        raw = nib.load(run.bold).get_fdata()[mask].T.astype(np.float32)
        assert np.allclose(data.bold[r * N : (r + 1) * N], clean(raw, nuisance)[0], atol=1e-5)
    assert data.notes == ()


def test_bold_on_disk_is_the_same(
    images: PreprocessedParticipant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = load_participant(images, Encoding(), tmp_path)
    monkeypatch.setattr(participant_module, "_IN_MEMORY_BYTES", 0)
    disk = load_participant(images, Encoding(), tmp_path / "scratch")
    assert isinstance(disk.bold, np.memmap)
    assert np.array_equal(disk.bold, memory.bold)
    assert not any((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("which", [0, 1])
def test_voxels_unusable_in_one_run_are_noted(which: int, images: PreprocessedParticipant, tmp_path: Path) -> None:
    image = nib.load(images.runs[which].bold)
    values = image.get_fdata(dtype=np.float32)
    values[1, 1, 0] = np.nan
    values[1, 1, 1] = 5
    path = write(tmp_path / "broken.nii.gz", values)
    runs = list(images.runs)
    runs[which] = replace(runs[which], bold=path)
    data = load_participant(replace(images, runs=tuple(runs)), Encoding(), tmp_path)
    assert int((~data.usable).sum()) == 2
    assert np.all(data.bold[:, ~data.usable] == 0)
    assert np.isfinite(data.bold).all()
    assert "2 voxels" in data.notes[0]


def test_a_run_without_a_single_usable_voxel_is_named(images: PreprocessedParticipant, tmp_path: Path) -> None:
    broken = write(tmp_path / "broken.nii.gz", np.full((*SHAPE, N), np.nan, np.float32))
    runs = (images.runs[0], replace(images.runs[1], bold=broken))
    with pytest.raises(DataError, match="broken.nii.gz: no voxel of the cortex is finite"):
        load_participant(replace(images, runs=runs), Encoding(), tmp_path)


def test_what_does_not_fit_is_named(images: PreprocessedParticipant, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    short = write(tmp_path / "short.nii.gz", rng.standard_normal((*SHAPE, N - 1)).astype(np.float32))
    flat = write(tmp_path / "flat.nii.gz", rng.standard_normal(SHAPE).astype(np.float32))
    moved = write(tmp_path / "moved.nii.gz", rng.standard_normal((*SHAPE, N)).astype(np.float32), 3 * np.eye(4))
    (tmp_path / "text.nii.gz").write_text("no image")
    for name, path in (("short", short), ("flat", flat), ("grid", moved), ("text", tmp_path / "text.nii.gz")):
        runs = (replace(images.runs[0], bold=path), images.runs[1])
        with pytest.raises(DataError, match=name):
            load_participant(replace(images, runs=runs), Encoding(), tmp_path)
    runs = (replace(images.runs[0], non_steady=N - 2), images.runs[1])
    with pytest.raises(DataError, match="fewer than 3 volumes"):
        load_participant(replace(images, runs=runs), Encoding(), tmp_path)
    empty = write(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(DataError, match="no voxel of cortex"):
        load_participant(replace(images, cortex=empty), Encoding(), tmp_path)
