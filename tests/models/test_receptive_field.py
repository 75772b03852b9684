"""Receptive fields of BAN's areas: gradients measure them, perturbations confirm them, the method page states them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from ban_bids.constants import AREAS
from ban_bids.models.ban import BAN
from ban_bids.models.config import PRESETS, AreaConfig, BANConfig

_FRAMES = 64
_UNEVEN = BANConfig(
    name="uneven",
    areas=(
        AreaConfig(2, kernel=(1, 2), stride=(1, 1), lateral_kernel=(1, 2), steps=2),
        AreaConfig(2, kernel=(7, 4), stride=(4, 2), lateral_kernel=(5, 1), steps=4),
        AreaConfig(2, kernel=(3, 2), stride=(1, 2), steps=1),
        AreaConfig(2, kernel=(3, 3), stride=(2, 1), lateral_kernel=(1, 3), steps=3),
    ),
    feedback=True,
)
CONFIGS = {**PRESETS, "uneven": _UNEVEN, "no laterals": replace(_UNEVEN, recurrence=False)}


@cache
def _positive(name: str) -> BAN:
    """A network in which nothing cancels and no unit is silent: whatever is connected has an effect."""
    config = CONFIGS[name]
    areas = tuple(replace(area, channels=2) for area in config.areas)  # channels move no border
    network = BAN(replace(config, areas=areas), n_genres=2, seed=0).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5 if parameter.ndim > 1 else 1.0)
        network.front_end.mean.fill_(-50.0)  # log-mel frames are positive then
    return network


def _history(network: BAN, frames: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    return network.from_frames(frames)[1]


@cache
def _fields(name: str) -> dict[str, list[tuple[int, int]]]:
    """Area -> log-mel frames and mel bands that gradients reach, after each of its steps.

    Time: the largest over all phases of frames at the end of the sound. Frequency: the largest over all positions.
    """
    network = _positive(name)
    bands, slowest = network.config.front_end.n_mels, network.config.time_stride
    fields: dict[str, list[tuple[int, int]]] = {}
    for label, steps in zip(AREAS, network.config.steps):
        stride = round(network.front_end.config.frame_rate / network.frame_rates[label])
        for step in range(steps):
            reached = []
            for back in range(slowest // stride):
                frames = torch.ones(bands, 1, bands, _FRAMES, dtype=torch.float64, requires_grad=True)
                state = _history(network, frames)[label][step]
                k = state.shape[3] - 1 - back
                torch.stack([state[j, :, j, k].sum() for j in range(state.shape[2])]).sum().backward()
                heard = frames.grad[: state.shape[2], 0] != 0
                times = heard.any(dim=1).nonzero()[:, 1]
                assert times.max() == (k + 1) * stride - 1  # the frame's own end, and nothing later
                reached.append((int(times.max() - times.min()) + 1, int(_extent(heard.any(dim=2)).max())))
            longest = max(n for n, _ in reached)
            assert longest < _FRAMES - slowest, (label, step)  # nothing is cut off
            fields.setdefault(label, []).append((longest, max(n for _, n in reached)))
    return fields


def _samples(config: BANConfig, n_frames: int) -> int:
    """Samples of so many log-mel frames: the windows overlap."""
    return (n_frames - 1) * config.front_end.hop + config.front_end.n_fft


def _extent(heard: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(heard.shape[1])
    low = torch.where(heard, positions, heard.shape[1]).amin(dim=1)
    return torch.where(heard, positions, -1).amax(dim=1) - low + 1


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_changed_sample_is_heard_inside_the_field_only(name: str) -> None:
    network, measured = _positive(name), _fields(name)
    config = network.config.front_end
    sound = torch.randn(1, _FRAMES * config.hop, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        before = _history(network, network.front_end(sound))
        for label, fields in measured.items():
            stride = round(config.frame_rate / network.frame_rates[label])
            for step, (n_frames, _) in enumerate(fields):
                ends = range(before[label][step].shape[3] - network.config.time_stride // stride, _FRAMES // stride)
                heard = []
                for k in ends:
                    first = (k + 1) * stride * config.hop - _samples(network.config, n_frames)
                    for start in (first - config.hop, first + 1):  # the window itself begins with a zero
                        after = sound.clone()
                        after[:, start : start + config.hop - 1] += 1.0
                        changed = _history(network, network.front_end(after))[label][step][..., k]
                        heard.append((start > first, bool((changed != before[label][step][..., k]).any())))
                assert not any(is_heard for inside, is_heard in heard if not inside), (label, step)
                assert any(is_heard for inside, is_heard in heard if inside), (label, step)


def test_the_first_area_hears_its_own_kernel() -> None:
    (n_frames, n_bands), *_ = _fields("ban")["A1"]
    assert (n_frames, _samples(PRESETS["ban"], n_frames), n_bands) == (5, 4 * 441 + 1024, 5)


def test_the_table_in_the_docs_is_what_is_measured() -> None:
    text = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
    rows = re.findall(r"^\| `(ban[a-z-]*)` \| (\w+) \| ([\d.]+) \| ([\d, ]+) \| ([\d, ]+) \|$", text, re.M)
    expected = [row for name, config in PRESETS.items() for row in _rows(name, config)]
    table = "\n".join(f"| `{name}` | {' | '.join(cells)} |" for name, *cells in expected)
    assert rows == expected, f"docs/method.md should have\n{table}"


def _rows(name: str, config: BANConfig) -> list[tuple[str, ...]]:
    rate = config.front_end.sampling_rate
    return [
        (
            name,
            label,
            f"{config.frame_rates[label]:g}",
            ", ".join(f"{1000 * _samples(config, n_frames) / rate:.0f}" for n_frames, _ in fields),
            ", ".join(str(n_bands) for _, n_bands in fields),
        )
        for label, fields in _fields(name).items()
    ]
