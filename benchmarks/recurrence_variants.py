"""BANs that stand beside the reference in the recurrence study, and what one step of their training costs.

Importing this module makes them known by name in this process, as presets are; they are no presets of the package.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from ban_bids.models.config import BANConfig, NetworkConfig
from ban_bids.models.presets import PRESETS, build, preset
from ban_bids.training.evaluate import crop_length
from ban_bids.training.settings import TrainingSettings, precision

WIDE_CHANNELS = (24, 56, 112, 200)
"""Of a BAN without recurrence that has as many parameters as BAN within a hundredth."""

UNROLLINGS = ((1, 1, 2, 3), (1, 2, 2, 3), (2, 2, 2, 2), (1, 1, 1, 3), (1, 1, 2, 2))
"""Steps of A1, Belt, PB and T2T3; BAN makes (3, 3, 3, 3)."""


def _channels(config: BANConfig, channels: tuple[int, ...]) -> BANConfig:
    return replace(config, areas=tuple(replace(area, channels=n) for area, n in zip(config.areas, channels)))


def _steps(config: BANConfig, steps: tuple[int, ...]) -> BANConfig:
    return replace(config, areas=tuple(replace(area, steps=n) for area, n in zip(config.areas, steps)))


def unrolling_name(steps: tuple[int, ...]) -> str:
    """``ban-steps-1223``."""
    return f"ban-steps-{''.join(map(str, steps))}"


def variants() -> dict[str, BANConfig]:
    """Name -> configuration of every variant."""
    base = BANConfig()
    wide = replace(_channels(base, WIDE_CHANNELS), name="banwide", recurrence=False)
    unrolled = {
        unrolling_name(steps): replace(_steps(base, steps), name=f"bansteps{''.join(map(str, steps))}")
        for steps in UNROLLINGS
    }
    return {"ban-wide": wide, **unrolled}


PRESETS.update(variants())


def step_cost(name: str, n_genres: int = 10, repeats: int = 15) -> dict[str, float]:
    """Processor milliseconds of one training step on one thread, in the precision that training takes here.

    Parameters
    ----------
    name : str
        A preset or a variant.
    n_genres : int
    repeats : int
        Steps; medians are given.

    Returns
    -------
    dict
        ``forward_ms``, ``backward_ms``: a batch of crops of the default size; no optimiser, no crops.
    """
    settings = TrainingSettings()
    network = build(preset(name), n_genres, 0).train()
    crops, targets = _batch(network.config, n_genres, crop_length(network, settings.crop_seconds), settings.batch_size)
    mixed = precision("cpu") == "bf16-mixed"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    forward, backward = [], []
    try:
        for _ in range(repeats + 2):
            started = time.process_time()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                logits, _ = network.from_frames(crops)
            loss = torch.nn.functional.cross_entropy(logits.float(), targets)
            half = time.process_time()
            loss.backward()
            forward.append(half - started)
            backward.append(time.process_time() - half)
    finally:
        torch.set_num_threads(before)
    of = {"forward_ms": forward[2:], "backward_ms": backward[2:]}  # the first two warm up
    return {key: round(1000 * float(np.median(seconds)), 1) for key, seconds in of.items()}


def _batch(config: NetworkConfig, n_genres: int, n_frames: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    crops = torch.randn((size, 1, config.front_end.n_mels, n_frames), generator=generator)
    return crops, torch.randint(n_genres, (size,), generator=generator)
