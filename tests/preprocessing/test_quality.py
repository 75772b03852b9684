"""Measures of quality: formulas against other libraries and planted truth; thresholds against notes."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nipype.algorithms.confounds import TSNR
from PIL import Image
from scipy import ndimage

from ban_bids.preprocessing.files import save_image
from ban_bids.preprocessing.functional import _raw_tsnr
from ban_bids.preprocessing.quality import (
    DEFINITIONS,
    Measurement,
    RunFiles,
    brain_volume,
    dice,
    match_measures,
    mean_and_noise,
    measured,
    normalised_mutual_information,
    quality_notes,
    region_measures,
    signal_measures,
    temporal_snr,
    without_t1w,
)
from ban_bids.preprocessing.quality_figures import Layout, carpet, save_run_quality, tsnr
from ban_bids.preprocessing.regions import FEWEST_VOXELS


def series(n_volumes: int = 200, n_voxels: int = 400, tsnr: float = 50.0) -> np.ndarray:
    """Voxels of mean 1000 with white noise of a known deviation and a drift that is no noise."""
    rng = np.random.default_rng(1)
    drift = np.linspace(-1, 1, n_volumes)[:, None] * rng.uniform(-80, 80, n_voxels)
    return (1000 + drift + rng.normal(0, 1000 / tsnr, (n_volumes, n_voxels))).astype(np.float32)


def test_planted_signal_to_noise_is_found_under_a_drift() -> None:
    found = temporal_snr(series(tsnr=50.0))
    assert np.median(found) == pytest.approx(50.0, rel=0.02)
    assert np.median(series().mean(0) / series().std(0)) < 35, "the drift would count as noise"


def test_mean_and_noise_are_those_of_a_least_squares_line() -> None:
    values = series(31, 20)
    time = np.arange(len(values))
    line = np.polynomial.polynomial.polyval(time, np.polynomial.polynomial.polyfit(time, values, 1)).T
    mean, noise = mean_and_noise(iter(values))
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(noise, (values - line).std(0), rtol=1e-5)


def test_signal_to_noise_is_that_of_nipype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = series(40, 60)
    image = nib.Nifti1Image(np.ascontiguousarray(values.T).reshape(3, 4, 5, 40), np.eye(4))
    nib.save(image, tmp_path / "run.nii.gz")
    done = TSNR(in_file=str(tmp_path / "run.nii.gz"), regress_poly=1).run()
    theirs = nib.load(done.outputs.tsnr_file).get_fdata().ravel()
    np.testing.assert_allclose(temporal_snr(values), theirs, rtol=1e-4)


def test_a_voxel_that_does_not_vary_has_no_signal_to_noise() -> None:
    values = series(20, 3)
    values[:, 1] = 7
    assert np.isnan(temporal_snr(values)).tolist() == [False, True, False]


def test_raw_signal_to_noise_is_that_of_the_nearest_voxel() -> None:
    data = series(30, 4 * 5 * 6).T.reshape(4, 5, 6, 30)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = -5, 7, 1
    index = np.array([[0, 3, 1], [4, 0, 2], [5, 3, 0]])
    points = affine[:3, :3] @ (index + 0.3) + affine[:3, 3:]
    voxels = data[tuple(index)]
    time = np.arange(30)
    line = np.array([np.polyval(np.polyfit(time, v, 1), time) for v in voxels])
    expected = voxels.mean(1) / (voxels - line).std(1)
    np.testing.assert_allclose(_raw_tsnr(data, affine, points), expected, rtol=1e-4)


def test_mutual_information_is_that_of_the_joint_histogram() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=4000)
    other = one**2 + 0.3 * rng.normal(size=4000)
    joint = np.histogram2d(*(np.clip(v, *np.percentile(v, [0.5, 99.5])) for v in (one, other)), bins=32)[0] / 4000

    def entropy(share: np.ndarray) -> float:
        return float(-(share[share > 0] * np.log(share[share > 0])).sum())

    expected = (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)
    assert normalised_mutual_information(one, other) == pytest.approx(expected, abs=1e-9)
    assert normalised_mutual_information(one, one) == pytest.approx(2.0)
    assert normalised_mutual_information(one, rng.permutation(other)) < expected - 0.05


def test_dice_of_overlapping_boxes() -> None:
    one, other = np.zeros(10, bool), np.zeros(10, bool)
    one[:6], other[4:] = True, True
    assert dice(one, other) == pytest.approx(2 * 2 / 12)
    assert math.isnan(dice(np.zeros(3, bool), np.zeros(3, bool)))


def test_signal_and_motion_of_a_run(tmp_path: Path) -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[:2] = True
    auditory = np.zeros_like(mask)
    auditory[1:] = True
    after = np.where(auditory[mask], 30.0, 50.0)
    np.savez(tmp_path / "q.npz", after=np.append(after[:-1], np.nan), before=np.full(after.shape, 20.0))
    table = pd.DataFrame({"framewise_displacement": [np.nan, 0.2, 0.7, 0.1, 0.6]})
    table.to_csv(tmp_path / "c.tsv", sep="\t", index=False, na_rep="n/a")
    save_image(tmp_path / "m.nii.gz", mask, np.eye(4))
    run = RunFiles("r", "", tmp_path / "m.nii.gz", tmp_path / "c.tsv", tmp_path / "q.npz", 1, 2.0)
    found = {one.measure: one.value for one in signal_measures(run, auditory)}
    assert found == pytest.approx(
        {
            "tsnr_brain": 50.0,
            "tsnr_auditory": 30.0,
            "tsnr_ratio": 2.5,
            "fd_mean": 0.4,
            "fd_high_share": 50.0,
            "non_steady_volumes": 1.0,
        }
    )


def test_matching_of_runs_sees_a_shift(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = np.indices((40, 40, 40)) - 20
    brain = (x**2).sum(0) < 14**2
    texture = ndimage.gaussian_filter(rng.normal(size=brain.shape), 2) * 20
    bold = np.where(brain, 1000 - 200 * texture, 10.0).astype(np.float32)
    affine = np.diag([3.0, 3, 3, 1])
    t1w_mask = save_image(tmp_path / "m.nii.gz", brain, affine)
    reference = save_image(tmp_path / "ref.nii.gz", bold, affine)
    moved = np.eye(4)
    moved[0, 3] = 12.0
    runs = []
    for name, matrix in (("run-1", np.eye(4)), ("run-2", moved)):
        np.savetxt(tmp_path / f"{name}.txt", matrix)
        none = tmp_path / "none"
        runs.append(RunFiles(name, "", none, none, none, 0, 2.0))
    matrices = [tmp_path / f"{run.name}.txt" for run in runs]
    found = {(m.measure, m.run): m.value for m in match_measures(runs, [reference] * 2, matrices, t1w_mask)}
    assert found["bold_t1w_dice", "run-1"] > 0.95
    shifted = np.zeros_like(brain)
    shifted[:-4] = brain[4:]
    assert found["bold_t1w_dice", "run-2"] == pytest.approx(dice(brain, shifted), abs=0.02)
    assert math.isnan(found["run_to_session_correlation", "run-1"])
    assert found["run_to_session_correlation", "run-2"] < 0.5


def test_volume_of_the_brain_mask(tmp_path: Path) -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[2:7, 2:7, 2:7] = True
    (found,) = brain_volume(save_image(tmp_path / "m.nii.gz", mask, np.diag([2.0, 2, 3, 1])))
    assert found.measure == "t1w_brain_volume"
    assert found.value == pytest.approx(125 * 12 / 1000)


def test_regions_tell_their_coverage() -> None:
    counts = {"n_voxels": [30, 0, None], "n_voxels_atlas": [120, 0, None]}
    table = pd.DataFrame({"name": ["A1", "PB", "Belt"], **counts}).astype(dict.fromkeys(counts, "Int64"))
    found = {(m.measure, m.region): m for m in region_measures(table)}
    assert found["region_voxels", "A1"].value == 30
    assert found["region_coverage", "A1"].value == 25.0
    for name in ("PB", "Belt"):
        assert math.isnan(found["region_voxels", name].value)
        assert found["region_coverage", name].reason == f"the atlas has no voxel of {name} on the output grid"
    assert len(quality_notes(found.values())) == 1, "coverage of A1; what the atlas lacks does not warn"


def test_rows_of_a_carpet_average_voxels_of_one_tissue(tmp_path: Path) -> None:
    n = 500
    white, csf = np.zeros(n), np.zeros(n)
    white[::4], csf[1::10] = 0.9, 0.8
    layout = Layout.of(n, (white, csf))
    assert sorted(layout.order) == list(range(n))
    assert (np.diff(layout.tissue) >= 0).all()
    kind = np.where(white > 0, 1, np.where(csf > 0, 2, 0))
    np.testing.assert_allclose(layout.rows(kind.astype(np.float32)), layout.tissue)
    volumes = series(30, n)
    path = save_run_quality(tmp_path / "q.npz", None, iter(volumes), layout, 3)
    with np.load(path) as stored:
        np.testing.assert_allclose(stored["after"], temporal_snr(volumes[3:]))
        first = layout.order[: layout.starts[1]]
        np.testing.assert_allclose(stored["carpet"][:, 0], volumes[:, first].mean(1), rtol=1e-6)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), float)


@pytest.mark.parametrize("tissue", [[0, 1, 2], [0, 2], [3]])
def test_a_carpet_shows_rows_without_their_line(tmp_path: Path, tissue: list[int]) -> None:
    n = 60
    kinds = np.repeat(tissue, 20)
    rng = np.random.default_rng(0)
    wave = np.where(np.arange(n) < 30, 1.0, -1.0)  # first bright, then dark, under a steep drift
    rows = 500 + 40 * np.arange(n)[:, None] + 30 * wave[:, None] + rng.normal(0, 3, (n, len(kinds)))
    table = pd.DataFrame({"framewise_displacement": np.full(n, 0.1)})
    shown = pixels(carpet(rows, kinds, table, 2.0, tmp_path / "c.png"))
    columns = shown[200:330].mean((0, 2))
    start, before, after, end = (columns[first : first + 40].mean() for first in (100, 420, 500, 820))
    assert start < 130, "a step under its line begins low"
    assert before > 1.5 * start
    assert after < 0.5 * before
    assert end > 1.5 * after


def test_signal_to_noise_is_shown_where_it_is(tmp_path: Path) -> None:
    values = np.zeros((20, 24, 20), np.float32)
    values[2:10, 2:22, 2:18], values[10:18, 2:22, 2:18] = 80, 20  # the left hemisphere is the better one
    outlines = np.zeros(values.shape, np.uint8)
    outlines[8:12, 10:14, 8:12] = 1
    affine = np.array([[4.0, 0, 0, -40], [0, 4, 0, -40], [0, 0, 4, -40], [0, 0, 0, 1]])
    flipped = affine @ np.array([[-1, 0, 0, 19], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for data, own in ((values, affine), (values[::-1], flipped)):
        images = {name: nib.Nifti1Image(data, own) for name in ("run-1", "run-2")}
        shown = pixels(tsnr(images, nib.Nifti1Image(outlines, affine), tmp_path / "t.png"))
        assert shown[90:115, 45:70].mean() > 2 * shown[90:115, 95:120].mean(), "left is left"


GOOD = {
    "tsnr_brain": 45.0,
    "tsnr_ratio": 1.1,
    "fd_mean": 0.2,
    "fd_high_share": 3.0,
    "bold_t1w_dice": 0.9,
    "run_to_session_correlation": 0.97,
    "registration_correlation": 0.8,
    "t1w_brain_volume": 1400.0,
    "region_voxels": 60.0,
    "region_coverage": 80.0,
}


@pytest.mark.parametrize(
    ("measure", "value", "start"),
    [
        ("tsnr_brain", 12.34, "r: tSNR, brain 12.3, under 20; "),
        ("tsnr_ratio", 0.8, "r: tSNR after / before 0.8, under 0.95; "),
        ("fd_mean", 0.81, "r: mean FD 0.81 mm, above 0.5 mm; "),
        ("fd_high_share", 31.0, "r: volumes over 0.5 mm FD 31 %, above 20 %; "),
        ("bold_t1w_dice", 0.5, "r: overlap with the T1w mask 0.5, under 0.7; "),
        ("run_to_session_correlation", 0.4, "r: fit to the session's first run 0.4, under 0.85; "),
        ("registration_correlation", 0.3, "fit to the template 0.3, under 0.6; "),
        ("t1w_brain_volume", 523.4, "T1w brain mask 523 mL, under 800 mL; "),
        ("t1w_brain_volume", 2400.0, "T1w brain mask 2400 mL, above 2000 mL; "),
        ("region_voxels", 7.0, "region A1: voxels 7, under 20; "),
        ("region_coverage", 20.0, "region A1: share of the atlas's voxels 20 %, under 50 %; "),
    ],
)
def test_one_bad_value_is_one_note(measure: str, value: float, start: str) -> None:
    def at(name: str, number: float) -> Measurement:
        scope = DEFINITIONS[name].scope
        return Measurement(name, number, "r" if scope == "run" else None, "A1" if scope == "region" else None)

    assert quality_notes([at(name, number) for name, number in GOOD.items()]) == ()
    notes = quality_notes([at(name, number) for name, number in {**GOOD, measure: value}.items()])
    assert len(notes) == 1
    assert notes[0].startswith(start)
    assert notes[0].removeprefix(start) == DEFINITIONS[measure].remedy


def test_what_is_not_available_does_not_warn_but_says_why() -> None:
    (missing,) = measured({"fd_mean": math.nan}, "r")
    assert quality_notes([missing]) == ()
    assert missing.reason


def test_thresholds_are_on_the_bad_side_and_come_with_a_remedy() -> None:
    warning = {one.name for one in DEFINITIONS.values() if one.threshold}
    assert warning == set(GOOD)
    assert DEFINITIONS["region_voxels"].low == FEWEST_VOXELS
    for one in DEFINITIONS.values():
        assert one.low is None or one.worse in ("low", "both")
        assert one.high is None or one.worse in ("high", "both")
        assert bool(one.remedy) == bool(one.threshold), f"{one.name} warns and says not what to do"


def test_without_t1w_image_what_tells_of_it_is_not_available() -> None:
    given = [
        Measurement("t1w_brain_volume", 1500.0),
        Measurement("bold_t1w_dice", 0.2, "r"),
        Measurement("fd_mean", 0.9, "r"),
    ]
    found = without_t1w(given)
    assert [math.isnan(one.value) for one in found] == [True, True, False]
    assert found[1].run == "r"
    assert found[0].reason == "there is no T1w image"
    assert [note.startswith("r: mean FD") for note in quality_notes(found)] == [True]
