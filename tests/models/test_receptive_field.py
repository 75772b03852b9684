"""Receptive fields are those that a network with other weights and a changed sample show, and that the page states."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch

from ban_bids.constants import AREAS
from ban_bids.models.ban import BAN, receptive_fields
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


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def positive(request: pytest.FixtureRequest) -> BAN:
    """A network in which nothing cancels and no unit is silent: whatever is connected has an effect."""
    config = CONFIGS[request.param]
    areas = tuple(replace(area, channels=2) for area in config.areas)  # channels move no border
    network = BAN(replace(config, areas=areas), n_genres=2, seed=0).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5 if parameter.ndim > 1 else 1.0)
    return network


def _history(network: BAN, frames: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    return network.from_frames(frames)[1]


def test_gradients_reach_as_far_as_stated(positive: BAN) -> None:
    """Time: over all phases of frames at the end of the sound. Frequency: over all positions."""
    bands = positive.config.front_end.n_mels
    for label, fields in receptive_fields(positive.config).items():
        n_positions = bands // prod(a.stride[0] for a in positive.config.areas[: AREAS.index(label) + 1])
        stride = round(positive.front_end.config.frame_rate / positive.frame_rates[label])
        for step, field in enumerate(fields):
            assert field.frames < _FRAMES - positive.config.time_stride  # nothing is cut off
            reached = []
            for back in range(positive.config.time_stride // stride):
                frames = torch.ones(n_positions, 1, bands, _FRAMES, dtype=torch.float64, requires_grad=True)
                state = _history(positive, frames)[label][step]
                k = state.shape[3] - 1 - back
                torch.stack([state[j, :, j, k].sum() for j in range(n_positions)]).sum().backward()
                heard = frames.grad[:, 0] != 0
                last = heard.any(dim=1).nonzero()[:, 1].max()
                assert last == (k + 1) * stride - 1  # the frame's own end, and nothing later
                first = heard.any(dim=1).nonzero()[:, 1].min()
                reached.append((int(last - first) + 1, int(_extent(heard.any(dim=2)).max())))
            assert max(n for n, _ in reached) == field.frames, (label, step)
            assert max(n for _, n in reached) == field.mel_bands, (label, step)


def _extent(heard: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(heard.shape[1])
    low = torch.where(heard, positions, heard.shape[1]).amin(dim=1)
    return torch.where(heard, positions, -1).amax(dim=1) - low + 1


def test_a_changed_sample_is_heard_inside_the_field_only(positive: BAN) -> None:
    config = positive.config.front_end
    positive.front_end.mean.fill_(-50.0)  # log-mel frames are positive then
    sound = torch.randn(1, _FRAMES * config.hop, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = receptive_fields(positive.config)
    with torch.no_grad():
        before = _history(positive, positive.front_end(sound))
        for label, fields in measured.items():
            stride = round(config.frame_rate / positive.frame_rates[label])
            for step, field in enumerate(fields):
                ends = range(before[label][step].shape[3] - positive.config.time_stride // stride, _FRAMES // stride)
                heard = []
                for k in ends:
                    first = (k + 1) * stride * config.hop - field.samples
                    for start in (first - config.hop, first + 1):  # the window itself begins with a zero
                        after = sound.clone()
                        after[:, start : start + config.hop - 1] += 1.0
                        changed = _history(positive, positive.front_end(after))[label][step][..., k]
                        heard.append((start > first, bool((changed != before[label][step][..., k]).any())))
                assert not any(is_heard for inside, is_heard in heard if not inside), (label, step)
                assert any(is_heard for inside, is_heard in heard if inside), (label, step)


def test_seconds_are_samples_and_steps_are_all_there() -> None:
    for config in CONFIGS.values():
        measured = receptive_fields(config)
        for label, steps in zip(AREAS, config.steps):
            fields = measured[label]
            assert len(fields) == steps
            assert all(f.seconds == f.samples / config.front_end.sampling_rate for f in fields)
    first = BAN(PRESETS["ban"]).receptive_fields["A1"][0]
    assert (first.frames, first.samples, first.mel_bands) == (5, 4 * 441 + 1024, 5)


def test_the_table_in_the_docs_is_what_is_measured() -> None:
    text = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
    rows = re.findall(r"^\| `(ban[a-z-]*)` \| (\w+) \| ([\d.]+) \| ([\d, ]+) \| ([\d, ]+) \|$", text, re.M)
    expected = [row for name, config in PRESETS.items() for row in _rows(name, config)]
    table = "\n".join(f"| `{name}` | {' | '.join(cells)} |" for name, *cells in expected)
    assert rows == expected, f"docs/method.md should have\n{table}"


def _rows(name: str, config: BANConfig) -> list[tuple[str, ...]]:
    return [
        (
            name,
            label,
            f"{config.frame_rates[label]:g}",
            ", ".join(f"{1000 * field.seconds:.0f}" for field in fields),
            ", ".join(str(field.mel_bands) for field in fields),
        )
        for label, fields in receptive_fields(config).items()
    ]
