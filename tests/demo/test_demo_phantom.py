"""The phantom: signals of the stated strength, slices at their own times, motion that moves tissue."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from ban_bids.constants import REGIONS
from ban_bids.demo.anatomy import (
    centred_affine,
    grid_points,
    head_template,
    random_warp,
    rigid,
    sample,
    write_t1w,
)
from ban_bids.demo.participants import planted_variance
from ban_bids.demo.phantom import (
    Planted,
    Scan,
    Tissue,
    add_noise,
    head_motion,
    moving_tissue,
    responsive_in_mni,
    still_tissue,
)
from ban_bids.demo.responses import Courses, Heard, VoxelPlan, haemodynamic_response, run_signals


@pytest.fixture(scope="module")
def scan():
    return Scan((30, 36, 28), 6.0, n_volumes=60)


@pytest.fixture(scope="module")
def tissue(scan):
    rng = np.random.default_rng(2)
    responsive = responsive_in_mni(head_template(), 0.75, 1)
    return still_tissue(scan, random_warp(rng), responsive, np.eye(4), rng)


def _toy(scan, n=40):
    """Signals in n voxels of an imaginary grid, driven by noise of unit variance."""
    rng = np.random.default_rng(4)
    clips = {a: [rng.standard_normal((12, 3)) for _ in range(5)] for a in REGIONS}
    source = Courses(clips, {a: np.zeros(3) for a in REGIONS}, step=0.5)
    voxels = rng.choice(np.prod(scan.shape), n, replace=False)
    plan = VoxelPlan(
        voxels=voxels,
        region=rng.integers(1, 5, n).astype(np.uint8),
        weights=rng.standard_normal((n, 3)),
        delay=rng.uniform(4.5, 6, n),
        width=rng.uniform(0.8, 1.2, n),
    )
    runs = [[Heard(k, 6.2 + 6.0 * k) for k in range(5)], [Heard(4 - k, 6.2 + 6.0 * k) for k in range(5)]]
    return source, plan, runs


def test_slices_are_interleaved_and_multiband():
    scan = Scan((4, 4, 12), 3.0, repetition_time=1.5, multiband=2)
    times = scan.slice_times
    np.testing.assert_allclose(times[:6], times[6:])
    np.testing.assert_allclose(np.sort(times[:6]), np.arange(6) * 0.25)
    assert np.all(np.diff(times[:6:2]) > 0)
    assert times.max() < scan.repetition_time


def test_planted_variance_is_the_stated_snr(scan):
    source, plan, runs = _toy(scan)
    signals = run_signals(source, plan, runs, [scan, replace(scan, n_volumes=50)])
    np.testing.assert_allclose(planted_variance(signals, scan), scan.snr * scan.noise**2, rtol=1e-4)


def test_response_peaks_at_its_delay():
    for delay in (4.5, 5.5, 6.5):
        response = haemodynamic_response(delay, 1.0)
        assert 0.1 * np.argmax(response) == pytest.approx(delay, abs=0.4)
        assert response.min() < -0.05 * response.max()
        assert np.sum(response**2) == pytest.approx(1)


def test_signal_is_the_drive_through_the_response_at_the_time_of_each_slice(scan):
    source, plan, runs = _toy(scan, 3)
    run = runs[0]
    planted = run_signals(source, plan, [run], [scan])[0]
    times = np.unique(scan.slice_times)
    for v in range(3):
        line = np.zeros(2000)
        course = source.clips[REGIONS[plan.region[v] - 1]]
        for heard in run:
            first = round(heard.onset / 0.1)
            line[first : first + 60] = np.repeat(course[heard.clip] @ plan.weights[v], 5)
        bold = np.convolve(line, haemodynamic_response(plan.delay[v], plan.width[v]))
        for slot in (0, len(times) - 1):
            expected = np.interp(np.arange(60) * 1.5 + times[slot], np.arange(bold.size) * 0.1, bold)
            found = planted.signal[v, :, slot]
            assert np.corrcoef(found, expected)[0, 1] > 0.99999


def test_still_head_shows_each_slice_at_its_own_time(scan, tissue):
    voxels = np.flatnonzero(tissue.labels > 0)[:25]
    n_slots = np.unique(scan.slice_times).size
    rng = np.random.default_rng(1)
    signal = 0.02 * rng.standard_normal((voxels.size, scan.n_volumes, n_slots)).astype(np.float32)
    images = moving_tissue(scan, tissue, Planted(voxels, signal), np.zeros((scan.n_volumes, 6)))
    slot = np.unique(scan.slice_times, return_inverse=True)[1][np.unravel_index(voxels, scan.shape)[2]]
    expected = tissue.base.ravel()[voxels] * (1 + signal[np.arange(voxels.size), :, slot].T)
    np.testing.assert_allclose(images[:, voxels], expected, rtol=2e-4)


def test_motion_by_a_whole_voxel_moves_image_and_signal_by_one(scan, tissue):
    few = replace(scan, n_volumes=2)
    voxels = np.flatnonzero(tissue.labels > 0)
    signal = np.full((voxels.size, 2, np.unique(scan.slice_times).size), 0.3, dtype=np.float32)
    motion = np.zeros((2, 6))
    motion[1, 0] = scan.voxel
    still, moved = (i.reshape(scan.shape) for i in moving_tissue(few, tissue, Planted(voxels, signal), motion))
    inner = np.zeros(scan.shape, dtype=bool)
    inner[8:-8, 8:-8, 8:-8] = True
    np.testing.assert_allclose(moved[inner], np.roll(still, 1, axis=0)[inner], rtol=1e-3)


def test_noise_has_stated_size_and_autocorrelation(scan):
    quiet = Scan((20, 20, 20), 6.0, n_volumes=150)
    base = np.full(quiet.shape, 1000, dtype=np.float32)
    labels = np.zeros(quiet.shape, dtype=np.uint8)
    tissue = Tissue(base, np.eye(4), labels, labels > 0)
    images = add_noise(quiet, tissue, np.zeros((150, base.size), dtype=np.float32), np.random.default_rng(0))
    # Differences over one and two volumes are free of drift: var = 2 s²(1 − ρ) and 2 s²(1 − ρ²).
    one, two = (np.var(images[lag:] - images[:-lag]) / 2 for lag in (1, 2))
    rho = two / one - 1
    assert rho == pytest.approx(0.3, abs=0.06)
    assert np.sqrt(one / (1 - rho)) == pytest.approx(quiet.noise * 1000, rel=0.1)


def test_motion_stays_within_bounds(scan):
    motion = head_motion(scan, np.random.default_rng(0))
    assert motion.shape == (60, 6)
    assert np.abs(motion[:, :3]).max() < 1.3 * scan.motion
    assert np.rad2deg(np.abs(motion[:, 3:])).max() < 1.3 * scan.motion
    assert motion.std(axis=0).min() > 0


def test_rigid_matrix_is_a_rotation_and_a_shift():
    matrix = rigid(np.array([1.0, 2.0, 3.0, 0.1, -0.2, 0.3]))
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix[:3, 3], [1, 2, 3])


def test_regions_lie_where_the_true_transform_says(scan, tissue):
    rng = np.random.default_rng(2)
    warp = random_warp(rng)
    head = head_template()
    affine = centred_affine(scan.shape, scan.voxel, (0.0, -16.0, 2.0))
    mni = warp(grid_points(scan.shape, affine)[:, np.flatnonzero(tissue.labels)])
    assert np.mean(sample((head.labels > 0).astype(np.float32), head.affine, mni, order=0)) > 0.3
    assert np.median(np.abs(mni[0])) == pytest.approx(55, abs=10)
    assert tissue.responsive[tissue.labels > 0].mean() == pytest.approx(0.75, abs=0.2)
    assert not tissue.responsive[tissue.labels == 0].any()


def test_responsive_share_in_mni():
    head = head_template()
    chosen = responsive_in_mni(head, 0.75, 3)
    for label in range(1, 5):
        assert chosen[head.labels == label].mean() == pytest.approx(0.75, abs=0.01)
    assert not chosen[head.labels == 0].any()


def test_t1w_shows_a_head(tmp_path):
    rng = np.random.default_rng(3)
    write_t1w(tmp_path / "t1w.nii.gz", random_warp(rng), 4.0, rng)
    image = nib.load(tmp_path / "t1w.nii.gz")
    data = np.asarray(image.dataobj)
    assert data.dtype == np.int16
    assert data.shape == (46, 57, 51)
    # scalp is bright, air and skull are dark
    assert 0.25 < np.mean(data > 150) < 0.6
    assert image.get_sform(coded=True)[1] == 1
