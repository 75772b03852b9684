"""Crops: plain ones are slices, augmented ones stray as far as they may, seeds fix them."""

from __future__ import annotations

import numpy as np
import pytest

from ban_bids.training.crops import Augmentation, CropBatches, crop

PLAIN = Augmentation(stretch=0, shift=0, gain=0, tilt=0, frequency_mask=0, time_mask=0, mixup=0)


def _frames(n: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(64, n)).astype(np.float16)


def test_plain_crop_is_a_slice() -> None:
    frames = _frames()
    piece = crop(frames, 50, PLAIN, np.random.default_rng(1))
    assert piece.dtype == np.float32
    matches = [k for k in range(151) if np.array_equal(piece, frames[:, k : k + 50].astype(np.float32))]
    assert len(matches) == 1


def test_short_track_is_repeated() -> None:
    frames = _frames(20)
    piece = crop(frames, 50, PLAIN, np.random.default_rng(1))
    np.testing.assert_array_equal(piece[:, :20], piece[:, 20:40])


def test_stretch_changes_pace_within_bounds() -> None:
    ramp = np.tile(np.arange(400, dtype=np.float16), (64, 1))
    paces = []
    for seed in range(50):
        piece = crop(ramp, 100, Augmentation(0.2, 0, 0, 0, 0, 0, 0), np.random.default_rng(seed))
        steps = np.diff(piece[0])
        np.testing.assert_allclose(steps, steps.mean(), atol=1e-3)
        paces.append(steps.mean())
    assert 0.8 <= min(paces) < 0.85
    assert 1.15 < max(paces) <= 1.2


def test_shift_moves_bands() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float16)[:, None], (1, 100))
    piece = crop(ramp, 50, Augmentation(0, 3.0, 0, 0, 0, 0, 0), np.random.default_rng(0))
    moved = piece[20:40, 0] - np.arange(20, 40)
    np.testing.assert_allclose(moved, moved[0], atol=1e-5)
    assert 0 < abs(moved[0]) <= 3.0


def test_masks_are_stripes_of_the_mean() -> None:
    frames = _frames()
    piece = crop(frames, 50, Augmentation(0, 0, 0, 0, 8, 20, 0), np.random.default_rng(3))
    original = next(
        part
        for part in (frames[:, k : k + 50].astype(np.float32) for k in range(151))
        if (part == piece).mean() > 0.3
    )
    changed = piece != original
    bands, times = changed.all(axis=1), changed.all(axis=0)
    np.testing.assert_array_equal(changed, bands[:, None] | times[None, :])
    assert bands.sum() <= 8
    assert times.sum() <= 20


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_batches_are_fixed_by_seed_and_epoch(mixup: float) -> None:
    def batches(seed: int) -> CropBatches:
        frames = [_frames(seed=k) for k in range(10)]
        return CropBatches(frames, [k % 3 for k in range(10)], 3, 40, 4, Augmentation(mixup=mixup), seed)

    one, two = batches(1), batches(1)
    first = list(one)
    assert len(first) == len(one) == 2
    for (a, ta), (b, tb) in zip(first, two):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(ta, tb)
        assert a.shape == (4, 64, 40)
        np.testing.assert_allclose(ta.sum(dim=1), 1.0, atol=1e-6)
    assert not np.array_equal(next(iter(one))[0], first[0][0])  # another epoch, other crops
    assert not np.array_equal(next(iter(batches(2)))[0], first[0][0])


def test_small_sets_still_make_a_batch() -> None:
    batches = CropBatches([_frames(), _frames(seed=1)], [0, 1], 2, 40, 16, PLAIN, 0)
    assert len(batches) == 1
    assert next(iter(batches))[0].shape[0] == 2
