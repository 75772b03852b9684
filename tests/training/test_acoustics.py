"""Rooms and noise on log-mel frames: the powers that they add are those that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ban_bids.errors import UsageError
from ban_bids.training.acoustics import in_noise, in_room
from ban_bids.training.crops import PLAIN, Augmentation, CropBatches

_SILENCE = 1e-9


def _click(n_frames: int, at: int) -> torch.Tensor:
    power = torch.full((2, 3, n_frames), _SILENCE)
    power[:, :, at] = 1.0
    return power.log()


def test_a_room_adds_as_much_power_again_and_it_decays_by_60_db() -> None:
    heard = in_room(_click(200, 10), torch.tensor([30.0, 0.0])).exp().double().numpy()
    frames = np.arange(1, 31)
    tail = 10.0 ** (-6.0 * frames / 30.0)
    np.testing.assert_allclose(heard[0, :, 10], 1.0, rtol=1e-5)
    np.testing.assert_allclose(heard[0, 1, 11:41], tail / tail.sum(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(heard[0].sum(axis=1), 2.0, rtol=1e-4)
    np.testing.assert_allclose(heard[0, :, :10], 2 * _SILENCE, rtol=0.6)  # nothing sounds before the click
    np.testing.assert_allclose(heard[1], np.exp(_click(200, 10).double().numpy()[1]), rtol=1e-4)


def test_a_room_longer_than_the_crop_is_heard_as_far_as_the_crop_goes() -> None:
    heard = in_room(_click(8, 0), torch.tensor([500.0, 500.0]))
    assert heard.shape == (2, 3, 8)
    assert torch.isfinite(heard).all()


@pytest.mark.parametrize("tilt", [-6.0, 0.0, 2.0])
def test_noise_has_the_ratio_that_was_asked_for(tilt: float) -> None:
    crops = torch.randn((3, 64, 256), generator=torch.Generator().manual_seed(0)) * 2 - 3
    snr = torch.tensor([0.0, 10.0, torch.inf])
    heard = in_noise(crops, snr, torch.full((3,), tilt), torch.Generator().manual_seed(1))
    sound, noise = crops.double().exp(), heard.double().exp() - crops.double().exp()
    measured = 10 * torch.log10(sound.mean(dim=(1, 2)) / noise.mean(dim=(1, 2)))
    np.testing.assert_allclose(measured[:2], snr[:2], atol=0.05)
    torch.testing.assert_close(heard[2], crops[2], rtol=1e-5, atol=1e-5)
    slope = np.polyfit(np.linspace(0, 1, 64), np.log(noise[0].mean(dim=1)), 1)[0]
    assert slope == pytest.approx(tilt, abs=0.15)


def _batches(augmentation: Augmentation, seed: int = 3, *, with_sounds: bool = False) -> CropBatches:
    rng = np.random.default_rng(0)
    frames = [rng.normal(-3, 2, (64, 300)) for _ in range(8)]
    return CropBatches(
        frames,
        np.eye(2)[[0, 1] * 4],
        n_frames=128,
        batch_size=8,
        augmentation=augmentation,
        seed=seed,
        with_sounds=with_sounds,
    )


def test_crops_in_noise_and_rooms_follow_from_the_seed_and_only_a_share_is_changed() -> None:
    some = Augmentation(**{**vars(PLAIN), "noise": 0.5, "reverberation": 0.5})
    (once, _), (again, _), (plain, _) = (_batches(a)[7, 0] for a in (some, some, PLAIN))
    torch.testing.assert_close(once, again, rtol=0, atol=0)
    changed = (once - plain).abs().amax(dim=(1, 2)) > 1e-3
    assert 0 < int(changed.sum()) < len(changed)
    assert (once >= plain - 1e-4).all()  # power is added, never taken away
    assert not torch.equal(_batches(some, seed=4)[7, 0][0], once)


@pytest.mark.parametrize("wrong", [{"noise": 1.5}, {"reverberation": -0.1}, {"decay": (0.0, 3.0)}])
def test_shares_and_decays_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Augmentation(**wrong)  # type: ignore[arg-type]


def test_the_sounds_beside_the_crops_are_what_was_there_before_noise_rooms_and_masks() -> None:
    straying = {"stretch": 0.1, "shift": 1.5, "gain": 1.0, "mixup": 0.3}
    hiding = {"noise": 1.0, "reverberation": 1.0, "time_masks": 1, "time_mask": 40}
    masked, hidden = (
        Augmentation(**{**vars(PLAIN), **straying, **hiding, **more})  # noise and rooms are drawn last
        for more in ({"noise": 0.0, "reverberation": 0.0}, {})
    )
    in_part, targets, expected = _batches(masked, with_sounds=True)[1, 0]
    heard, same_targets, sounds = _batches(hidden, with_sounds=True)[1, 0]
    torch.testing.assert_close(sounds, expected)
    torch.testing.assert_close(same_targets, targets)
    assert not torch.allclose(heard, sounds, atol=0.1)
    assert 0.3 < float(torch.isclose(in_part, sounds).float().mean()) < 1.0
