"""Batches of crops: brute force with loops, plain crops bit for bit, a function of seed, epoch and number."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ban_bids.errors import UsageError
from ban_bids.training.crops import PLAIN, Augmentation, BatchOrder, CropBatches, Draws

EVERYTHING = Augmentation(
    stretch=0.2, shift=3.0, gain=1.0, eq=1.5, eq_knots=4, frequency_masks=2, frequency_mask=9, time_masks=3,
    time_mask=12, mixup=0.4,
)  # fmt: skip


def _tracks(lengths: list[int], n_mels: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n_mels, n)).astype(np.float16) for n in lengths]


def _batches(
    augmentation: Augmentation, lengths: tuple[int, ...] = (200, 150, 97, 30, 180), seed: int = 1, **rest: int
) -> CropBatches:
    options = {"n_frames": 50, "batch_size": 4, "crops_per_track": 3, **rest}
    targets = np.eye(3)[[k % 3 for k in range(len(lengths))]]
    return CropBatches(
        _tracks(list(lengths)), targets, augmentation=augmentation, seed=seed, **options  # type: ignore[arg-type]
    )  # fmt: skip


def _of(tracks: list[np.ndarray], n_frames: int, augmentation: Augmentation) -> CropBatches:
    """One batch per epoch with a crop of every track."""
    return CropBatches(
        tracks,
        np.ones((len(tracks), 1)),
        n_frames=n_frames,
        batch_size=len(tracks),
        augmentation=augmentation,
        seed=0,
    )


def _by_hand(track: np.ndarray, draws: Draws, i: int, n_frames: int) -> np.ndarray:
    """One crop, value by value, in double precision; everything but mixup."""
    n_mels, length = track.shape
    piece = np.empty((n_mels, n_frames))
    for band in range(n_mels):
        place = min(max(band + float(draws.shift[i]), 0.0), n_mels - 1.0)
        below = int(np.floor(place))
        above = min(below + 1, n_mels - 1)
        for t in range(n_frames):
            time = float(draws.start[i]) + t * float(draws.pace[i])
            low = int(np.floor(time))
            value = {}
            for b in (below, above):
                one, two = float(track[b, low % length]), float(track[b, (low + 1) % length])
                value[b] = one + (time - low) * (two - one)
            piece[band, t] = value[below] + (place - below) * (value[above] - value[below])
        piece[band] += float(draws.level[i, band])
    mean = piece.mean()
    for first, last in draws.bands[i].tolist():
        piece[first:last] = mean
    for first, last in draws.frames[i].tolist():
        piece[:, first:last] = mean
    return piece


def test_every_augmentation_together_is_what_loops_make() -> None:
    batches = _batches(EVERYTHING)
    tracks = _tracks([200, 150, 97, 30, 180])
    draws = batches.draws(3)
    for k in range(len(batches)):
        crops, targets = batches[3, k]
        rows = range(4 * k, 4 * k + 4)
        alone = [_by_hand(tracks[int(draws.track[i])], draws, i, 50) for i in rows]
        label = [np.eye(3)[int(draws.track[i]) % 3] for i in rows]
        for j, i in enumerate(rows):
            share, partner = float(draws.share[i]), int(draws.partner[i])
            expected = share * alone[j] + (1 - share) * alone[partner]
            np.testing.assert_allclose(crops[j], expected, atol=2e-4)
            np.testing.assert_allclose(targets[j], share * label[j] + (1 - share) * label[partner], atol=1e-6)


def test_without_augmentation_crops_are_slices_bit_for_bit() -> None:
    batches = _batches(PLAIN)
    tracks = [np.tile(t, (1, 4)).astype(np.float32) for t in _tracks([200, 150, 97, 30, 180])]
    draws = batches.draws(0)
    crops, targets = (torch.cat(parts) for parts in zip(*batches.epoch(0)))
    assert crops.dtype == targets.dtype == torch.float32
    assert crops.is_contiguous()
    for i, crop in enumerate(crops):
        track, start = int(draws.track[i]), int(draws.start[i])
        np.testing.assert_array_equal(crop, tracks[track][:, start : start + 50])
        assert start + 50 <= (200, 150, 97, 30, 180)[track] or track == 3  # only the short one is repeated
    np.testing.assert_array_equal(targets, np.eye(3)[draws.track.numpy() % 3])


@pytest.mark.parametrize("name", ["stretch", "shift", "gain", "eq", "frequency_mask", "time_mask", "mixup"])
def test_an_augmentation_of_no_size_changes_no_bit(name: str) -> None:
    off = {"frequency_mask": {"frequency_masks": 2}, "time_mask": {"time_masks": 2}}.get(name, {name: 1e-30})
    for (plain, _), (crops, _) in zip(_batches(PLAIN).epoch(2), _batches(replace(PLAIN, **off)).epoch(2)):
        # a tiny alpha of mixup gives weights of zero or one, so crops may change places but not values
        rows = [p for p in plain] if name == "mixup" else None
        if rows is None:
            assert torch.equal(crops, plain)
        else:
            assert all(any(torch.equal(crop, row) for row in rows) for crop in crops)


def test_stretch_changes_pace_within_bounds() -> None:
    ramp = [np.tile(np.arange(400, dtype=np.float16), (8, 1))] * 50
    crops, _ = _of(ramp, 100, replace(PLAIN, stretch=0.2))[0, 0]
    steps = np.diff(crops[:, 0], axis=1)
    np.testing.assert_allclose(steps, np.broadcast_to(steps.mean(axis=1, keepdims=True), steps.shape), atol=1e-3)
    assert 0.8 <= steps.mean(axis=1).min() < 0.83
    assert 1.17 < steps.mean(axis=1).max() <= 1.2001


def test_shift_of_one_band_moves_a_line_by_one_band() -> None:
    line = np.zeros((16, 60), np.float16)
    line[7] = 1.0
    batches = _of([line] * 20, 40, replace(PLAIN, shift=2.0))
    draws = batches.draws(0)
    for wanted in (1.0, -1.0, 2.0):
        draws.shift.fill_(wanted)
        crops, _ = batches[0, 0]
        expected = np.zeros((16, 40))
        expected[7 - int(wanted)] = 1.0
        np.testing.assert_array_equal(crops[0], expected)
    draws.shift.fill_(0.25)
    np.testing.assert_allclose(batches[0, 0][0][0, 6:8, 0], [0.25, 0.75])


def test_equaliser_runs_through_its_knots_and_not_beyond() -> None:
    batches = _of([np.zeros((61, 50), np.float16)] * 200, 50, replace(PLAIN, eq=2.0, eq_knots=4))
    curve = batches[0, 0][0][:, :, 0].numpy()
    assert 1.9 < np.abs(curve).max() <= 2.0
    knots = curve[:, ::20]
    halfway = 0.5 * (knots[:, 1:] + knots[:, :-1])
    np.testing.assert_allclose(curve[:, 10::20], halfway, atol=1e-6)
    inner = np.diff(curve.reshape(200, 61)[:, :21], axis=1) * np.sign(knots[:, 1:2] - knots[:, :1])
    assert (inner >= -1e-6).all()  # from knot to knot without turning
    assert np.abs(np.corrcoef(knots.T) - np.eye(4)).max() < 0.25
    assert knots.std() == pytest.approx(2.0 / np.sqrt(3), rel=0.1)


def test_gain_is_one_number_for_all_bands() -> None:
    flat = [np.zeros((8, 50), np.float16)] * 100
    crops, _ = _of(flat, 20, replace(PLAIN, gain=0.7))[0, 0]
    assert torch.equal(crops, crops[:, :1, :1].expand_as(crops))
    assert 0.65 < crops.abs().max() <= 0.7


def test_masks_are_at_most_so_many_stripes_of_the_mean() -> None:
    masks = replace(PLAIN, frequency_masks=2, frequency_mask=8, time_masks=3, time_mask=10)
    widths = []
    for (plain, _), (crops, _) in zip(_batches(PLAIN).epoch(1), _batches(masks).epoch(1)):
        for original, crop in zip(plain.numpy(), crops.numpy()):
            changed = crop != original
            bands, times = changed.all(axis=1), changed.all(axis=0)
            np.testing.assert_array_equal(changed, bands[:, None] | times[None, :])
            np.testing.assert_allclose(crop[changed], original.mean(), atol=1e-6)
            assert (np.diff(np.r_[0, bands, 0]) == 1).sum() <= 2
            assert (np.diff(np.r_[0, times, 0]) == 1).sum() <= 3
            widths.append((bands.sum(), times.sum()))
    assert 8 < max(w for w, _ in widths) <= 16
    assert 10 < max(w for _, w in widths) <= 30


def test_mixup_pairs_every_crop_once_as_partner_with_weights_of_its_own() -> None:
    batches = _batches(replace(PLAIN, mixup=0.4), crops_per_track=400)
    draws = batches.draws(0)
    for partners in draws.partner.reshape(-1, 4):
        assert sorted(partners.tolist()) == [0, 1, 2, 3]
    assert len(set(draws.share.tolist())) > 1500
    # variance of Beta(a, a)
    assert draws.share.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.1)
    _, targets = batches[0, 5]
    np.testing.assert_allclose(targets.sum(dim=1), 1.0, atol=1e-6)


def test_every_track_gives_its_crops_before_any_gives_another() -> None:
    batches = _batches(PLAIN, crops_per_track=4)
    for passing in batches.draws(0).track.reshape(4, 5):
        assert sorted(passing.tolist()) == [0, 1, 2, 3, 4]
    assert not torch.equal(batches.draws(0).track, batches.draws(1).track)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=6))
def test_a_batch_is_a_function_of_seed_epoch_and_number(seed: int, asked: list[tuple[int, int]]) -> None:
    used = _batches(EVERYTHING, seed=seed, n_frames=10)
    for index in asked:  # in any order, with others before
        for one, two in zip(used[index], _batches(EVERYTHING, seed=seed, n_frames=10)[index]):
            assert torch.equal(one, two)


def test_seeds_epochs_and_batches_differ() -> None:
    crops = [_batches(EVERYTHING, seed=s)[e, k][0] for s in (1, 2) for e in (0, 1) for k in (0, 1)]
    assert not any(torch.equal(a, b) for i, a in enumerate(crops) for b in crops[:i])


def test_order_goes_on_where_it_stopped_and_divides_among_processes() -> None:
    whole = [(epoch, k) for epoch in range(3) for k in range(7)]
    assert list(BatchOrder(7, 21)) == whole
    order = BatchOrder(7, 21, done=lambda: 12)
    assert (len(order), list(order)) == (21, whole[12:])
    parts = [list(BatchOrder(7, 10, lambda: 0, rank=rank, world=2)) for rank in (0, 1)]
    assert [pair[i] for pair in zip(*parts) for i in (0, 1)] == whole[:20]


def test_a_batch_that_is_not_there() -> None:
    with pytest.raises(IndexError, match="batch 3 of an epoch of 3"):
        _batches(PLAIN)[0, 3]


def test_small_sets_still_make_a_batch() -> None:
    batches = CropBatches(_tracks([200, 200]), np.eye(2), n_frames=40, batch_size=16, augmentation=PLAIN, seed=0)
    assert len(batches) == 1
    assert batches[0, 0][0].shape == (2, 64, 40)


@pytest.mark.parametrize("change", [{"stretch": 0.6}, {"eq_knots": 1}, {"mixup": -0.1}, {"time_masks": -1}])
def test_augmentations_that_make_no_sense(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        Augmentation(**{**asdict(Augmentation()), **change})  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_shows_the_same_crops() -> None:
    frames = _tracks([200, 150, 97, 30, 180])
    there, here = (
        CropBatches(
            frames,
            np.eye(3)[[0, 1, 2, 0, 1]],
            n_frames=50,
            batch_size=4,
            augmentation=EVERYTHING,
            seed=0,
            crops_per_track=3,
            device=device,
        )  # fmt: skip
        for device in ("cuda", "cpu")
    )
    for epoch in range(3):
        for (a, b), (c, d) in zip(there.epoch(epoch), here.epoch(epoch)):
            torch.testing.assert_close(a.cpu(), c, atol=1e-4, rtol=0)
            torch.testing.assert_close(b.cpu(), d, atol=1e-6, rtol=0)
