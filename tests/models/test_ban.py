"""BAN: causal in time, weights shared over steps, the switches, rates, sizes, determinism."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from noise import hear_noise

from ban_bids.constants import AREAS
from ban_bids.errors import UsageError
from ban_bids.models.ban import BAN, CausalConv2d
from ban_bids.models.config import PRESETS, BANConfig
from ban_bids.models.presets import preset

RATE = 22_050


@pytest.fixture(scope="module", params=sorted(PRESETS))
def network(request: pytest.FixtureRequest) -> BAN:
    ban = BAN(PRESETS[request.param], n_genres=10, seed=3)
    hear_noise(ban)
    return ban


def _sound(seconds: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=generator)


def _areas(network: BAN, sound: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return network(sound, return_areas=True)[1]


@pytest.mark.parametrize("moment", [0.8, 1.13, 1.6])
def test_the_future_does_not_change_the_past(network: BAN, moment: float) -> None:
    before = _sound(2.4)
    after = before.clone()
    first = round(moment * RATE)
    after[:, first:] += _sound(2.4, seed=9)[:, first:]
    a, b = _areas(network, before), _areas(network, after)
    for label in AREAS:
        rate = network.frame_rates[label]
        n_past = int(np.floor(moment * rate + 1e-9))  # frames that end at or before the moment
        torch.testing.assert_close(a[label][..., :n_past], b[label][..., :n_past], rtol=0, atol=0)
        changed = (a[label] - b[label]).abs().amax(dim=(0, 1, 2)) > 0
        assert int(changed.nonzero()[0]) == n_past  # and the very next frame hears it


def test_frame_rates_and_shapes(network: BAN) -> None:
    areas = _areas(network, _sound(4.0))
    n_bins = network.config.front_end.n_mels
    for area, (label, activation) in zip(network.config.areas, areas.items(), strict=True):
        n_bins //= area.stride[0]
        assert activation.shape[3] == 4.0 * network.frame_rates[label]
        assert activation.shape[2] == n_bins
    assert network.frame_rates["T2T3"] >= 10.0
    assert list(areas) == list(AREAS)


def test_at_most_five_million_parameters(network: BAN) -> None:
    assert sum(p.numel() for p in network.parameters()) <= 5_000_000


def test_every_step_on_request(network: BAN) -> None:
    sound = _sound(1.0)
    with torch.no_grad():
        logits, steps = network(sound, every_step=True)
        _, last = network(sound, return_areas=True)
        torch.testing.assert_close(network(sound), logits, rtol=0, atol=0)
    for label, n_steps in zip(AREAS, network.config.steps):
        assert steps[label].shape[1] == n_steps
        torch.testing.assert_close(steps[label][:, -1], last[label], rtol=0, atol=0)


def test_same_seed_same_network() -> None:
    sound = _sound(1.0)
    one, two, other = (BAN(seed=s).eval() for s in (5, 5, 6))
    with torch.no_grad():
        torch.testing.assert_close(one(sound), two(sound), rtol=0, atol=0)
        torch.testing.assert_close(one(sound), one(sound), rtol=0, atol=0)
        assert not torch.equal(one(sound), other(sound))


def test_weights_of_a_seed_do_not_depend_on_the_memory_format() -> None:
    one, two = BAN(seed=5), BAN(seed=6).to(memory_format=torch.contiguous_format)
    two.reset_weights(5)
    weight = one.areas["Belt"].lateral.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert two.areas["Belt"].lateral.conv.weight.is_contiguous()
    for a, b in zip(one.parameters(), two.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_more_than_five_million_parameters_are_refused() -> None:
    wide = tuple(replace(area, channels=512) for area in BANConfig().areas)
    with pytest.raises(UsageError, match="5,000,000"):
        BAN(replace(BANConfig(), areas=wide))


def test_steps_may_differ_between_areas() -> None:
    """Against the definition written out, every area listening anew at every step."""
    steps = (2, 4, 1, 3)
    areas = tuple(replace(area, steps=n) for area, n in zip(BANConfig().areas, steps))
    ban = BAN(replace(BANConfig(), areas=areas, feedback=True), seed=2)
    hear_noise(ban)
    with torch.no_grad():
        frames = ban.front_end(_sound(1.0))
        _, history = ban.from_frames(frames)
        for i, label in enumerate(AREAS):
            assert len(history[label]) == steps[i]
            for t in range(steps[i]):
                below = history[AREAS[i - 1]][min(t, steps[i - 1] - 1)] if i else frames
                above = history[AREAS[i + 1]][min(t - 1, steps[i + 1] - 1)] if i < 3 and t else None
                own = history[label][t - 1] if t else None
                expected = ban.areas[label](ban.areas[label].hear(below), own, above, t)
                torch.testing.assert_close(history[label][t], expected, rtol=0, atol=0)


def test_building_a_network_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    BAN(seed=7)
    assert torch.equal(torch.rand(3), expected)


def test_weights_are_shared_over_steps_and_normalisation_is_not() -> None:
    def count(steps: int, what: str) -> int:
        areas = tuple(replace(a, steps=steps) for a in BANConfig().areas)
        named = BAN(replace(BANConfig(), areas=areas)).named_parameters()
        return sum(p.numel() for name, p in named if (".norms." in name) == (what == "norms"))

    assert count(2, "weights") == count(5, "weights")
    assert 2 * count(5, "norms") == 5 * count(2, "norms")


def test_recurrence_written_out_by_hand() -> None:
    ban = BAN(PRESETS["ban-feedback"], seed=2)
    hear_noise(ban)
    with torch.no_grad():
        frames = ban.front_end(_sound(1.0))
        _, history = ban.from_frames(frames)
        a1 = ban.areas["A1"]
        belt_before = history["Belt"][0]
        up = torch.zeros_like(history["A1"][0])
        for k in range(up.shape[3]):  # a Belt frame covers two of A1's and is heard when both are over
            for f in range(up.shape[2]):
                if k >= 1:
                    up[..., f, k] = a1.feedback(belt_before)[..., f // 2, (k - 1) // 2]
        drive = a1.bottom_up(frames) + a1.lateral(history["A1"][0]) + up
        expected = torch.relu(a1.norms[1](drive) + a1.skip(a1.pool(frames)))
    torch.testing.assert_close(history["A1"][1], expected, rtol=1e-4, atol=1e-5)


def test_recurrence_off_is_one_step_of_the_recurrent_network() -> None:
    full = BAN(PRESETS["ban"], seed=4).eval()
    off = BAN(PRESETS["ban-feedforward"], seed=0).eval()
    shared = {k: v for k, v in full.state_dict().items() if k in off.state_dict()}
    off.load_state_dict(shared, strict=True)
    assert off.config.steps == (1, 1, 1, 1)
    assert not any("lateral" in name for name in off.state_dict())
    sound = _sound(1.0)
    with torch.no_grad():
        first = full(sound, every_step=True)[1]
        only = off(sound, return_areas=True)[1]
    for label in AREAS:
        torch.testing.assert_close(only[label], first[label][:, 0], rtol=0, atol=0)


def test_feedback_reaches_an_area_one_step_late() -> None:
    ban = BAN(PRESETS["ban-feedback"], seed=4)
    hear_noise(ban)
    sound = _sound(1.0)
    with torch.no_grad():
        before = ban(sound, every_step=True)[1]
        ban.areas["T2T3"].bottom_up.conv.weight.mul_(2.0)
        after = ban(sound, every_step=True)[1]
    # T2T3 changes at step 0, PB hears it at step 1, Belt at step 2, A1 would at step 3
    heard = {label: [bool((a != b).any()) for a, b in zip(before[label][0], after[label][0])] for label in AREAS}
    assert heard == {
        "A1": [False, False, False],
        "Belt": [False, False, True],
        "PB": [False, True, True],
        "T2T3": [True, True, True],
    }


def test_causal_convolution_against_its_definition() -> None:
    conv = CausalConv2d(1, 1, (1, 3), (1, 2))
    x = torch.arange(1.0, 9.0).reshape(1, 1, 1, 8)
    with torch.no_grad():
        conv.conv.weight.copy_(torch.tensor([1.0, 10.0, 100.0]).reshape(1, 1, 1, 3))
        y = conv(x)[0, 0, 0]
    padded = [0.0, *range(1, 9)]
    expected = [padded[2 * j] + 10 * padded[2 * j + 1] + 100 * padded[2 * j + 2] for j in range(4)]
    assert y.tolist() == expected


def test_unknown_preset_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="ban-feedforward"):
        preset("bann")
