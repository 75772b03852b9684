"""fMRIPrep's images: the same measures, or the reason why one is missing; a series is read once."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ban_bids.inputs.types import Run
from ban_bids.preprocessing.fmriprep.quality import Anatomy, assess_derivatives
from ban_bids.preprocessing.publish import Picture
from ban_bids.preprocessing.quality import DEFINITIONS, Measurement, temporal_snr
from ban_bids.preprocessing.quality_figures import TISSUES
from ban_bids.preprocessing.regions import RegionMaps
from ban_bids.preprocessing.result import PreprocessedRun
from ban_bids.preprocessing.space.template import Grid

SHAPE = (14, 16, 12)
GRID = Grid(SHAPE, np.array([[4.0, 0, 0, -60], [0, 4, 0, -70], [0, 0, 4, -20], [0, 0, 0, 1]]))
N = 20
TABLE = pd.DataFrame({"name": ["A1"], "n_voxels": [30], "n_voxels_atlas": [40]})
LABELS = np.zeros(SHAPE, bool)
LABELS[4:7, 5:8, 4:7] = True


def write(path: Path, data: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, GRID.affine), path)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> tuple[PreprocessedRun, ...]:
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:-2, 2:-2, 2:-2] = 1
    base = rng.uniform(800, 1200, SHAPE)[..., None]
    found = []
    for name, noise in (("1", 20.0), ("2", 80.0)):
        series = (base + rng.normal(0, noise, (*SHAPE, N))).astype(np.float32)
        series[..., 0] *= 1.5
        bold = write(tmp_path / f"run-{name}_bold.nii.gz", series)
        table = tmp_path / f"run-{name}_confounds.tsv"
        columns = {"framewise_displacement": np.r_[np.nan, np.full(N - 1, 0.1)]}
        pd.DataFrame(columns).to_csv(table, sep="\t", index=False, na_rep="n/a")
        entities = (("sub", "01"), ("task", "music"), ("run", name))
        run = Run("01", None, "music", name, entities, bold, bold, 2.0, N, None, "k", None, ())
        brain = write(tmp_path / f"run-{name}_mask.nii.gz", mask)
        found.append(PreprocessedRun(run, bold, brain, table, 1.0, 1))
    return tuple(found)


def assessed(
    runs: tuple[PreprocessedRun, ...], anatomy: Anatomy, folder: Path
) -> tuple[tuple[Measurement, ...], list[Picture]]:
    (folder / "work").mkdir(exist_ok=True)
    maps = RegionMaps(LABELS.astype(np.uint8), LABELS, TABLE, ())
    return assess_derivatives(runs, anatomy, maps, grid=GRID, template_points=GRID.points(), work=folder / "work")


def test_every_measure_is_there_or_has_its_reason(runs: tuple[PreprocessedRun, ...], tmp_path: Path) -> None:
    measurements, pictures = assessed(runs, Anatomy(), tmp_path)
    optional = {"bold_template_fit"}  # of our own preprocessing without T1w image
    assert {one.measure for one in measurements} == set(DEFINITIONS) - optional
    found = {(one.measure, one.run): one for one in measurements}
    series = np.asarray(nib.load(runs[0].bold).dataobj)[..., 1:]
    expected = temporal_snr(series[LABELS].T)
    assert found["tsnr_auditory", "task-music_run-1"].value == pytest.approx(np.median(expected), rel=1e-5)
    assert found["fd_mean", "task-music_run-1"].value == pytest.approx(0.1)
    correlation = found["run_to_session_correlation", "task-music_run-2"].value
    inside = np.asarray(nib.load(runs[0].mask).dataobj) > 0
    means = [np.asarray(nib.load(run.bold).dataobj)[..., 1:].mean(3)[inside] for run in runs]
    assert correlation == pytest.approx(np.corrcoef(means)[0, 1], abs=1e-6)
    for name in ("tsnr_ratio", "bold_t1w_dice"):
        assert np.isnan(found[name, "task-music_run-1"].value)
        assert found[name, "task-music_run-1"].reason
    assert "no T1w image" in str(found["registration_correlation", None].reason)
    for one in measurements:
        assert np.isfinite(one.value) != bool(one.reason), one
    assert [Path(path).is_file() for _, path, _, _ in pictures] == [True] * 3
    assert [(desc, run and run.name) for _, _, desc, run in pictures] == [
        ("tsnr", None), ("carpet", "task-music_run-1"), ("carpet", "task-music_run-2")
    ]  # fmt: skip
    with np.load(next((tmp_path / "work").glob("task-music_run-1_quality-*.npz"))) as stored:
        assert {TISSUES[kind] for kind in stored["tissue"]} == {"brain"}, "no tissue is known"


def test_anatomy_that_is_there_is_used(runs: tuple[PreprocessedRun, ...], tmp_path: Path) -> None:
    brain = np.asarray(nib.load(runs[0].mask).dataobj).copy()
    brain[:, :, 8:] = 0
    t1w = np.asarray(nib.load(runs[0].bold).dataobj)[..., 3]
    mask = write(tmp_path / "brain.nii.gz", brain)
    anatomy = Anatomy(write(tmp_path / "t1w.nii.gz", t1w), mask, native_mask=mask)
    found = {(one.measure, one.run): one.value for one in assessed(runs, anatomy, tmp_path)[0]}
    kept, whole = int(brain.sum()), int((np.asarray(nib.load(runs[0].mask).dataobj)).sum())
    assert found["bold_t1w_dice", "task-music_run-1"] == pytest.approx(2 * kept / (kept + whole))
    assert found["t1w_brain_volume", None] == pytest.approx(kept * 64 / 1000)
    assert np.isfinite(found["registration_correlation", None])


def test_a_series_is_read_again_only_when_it_changed(runs: tuple[PreprocessedRun, ...], tmp_path: Path) -> None:
    assessed(runs, Anatomy(), tmp_path)
    kept = sorted((tmp_path / "work").glob("*_quality-*.npz"))
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    assessed(runs, Anatomy(), tmp_path)
    assert [path.stat().st_mtime_ns for path in kept] == before
    write(runs[1].bold, np.asarray(nib.load(runs[1].bold).dataobj)[..., ::-1].copy())
    assessed(runs, Anatomy(), tmp_path)
    after = sorted((tmp_path / "work").glob("*_quality-*.npz"))
    assert len(after) == 2
    assert len(set(after) & set(kept)) == 1
