"""Random networks whose normalisation fits something, for tests that need living activations only."""

from __future__ import annotations

import torch

from ban_bids.models.network import AuditoryNetwork
from ban_bids.models.normalisation import measure_normalisation


def hear_noise(network: AuditoryNetwork, seed: int = 0) -> None:
    """Measure the normalisation on smooth noise of zero mean and unit variance."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(8, 1, network.config.front_end.n_mels + 2, 512 + 3, generator=generator)
    noise = torch.nn.functional.avg_pool2d(noise, (3, 4), stride=1)
    measure_normalisation(network, [noise / noise.std()], network.from_frames)
