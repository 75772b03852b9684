"""Every trainable network by name: BAN's presets and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ban_bids.errors import CheckpointError, UsageError
from ban_bids.models import conventional
from ban_bids.models.ban import BAN
from ban_bids.models.config import PRESETS as _BAN_PRESETS
from ban_bids.models.config import BANConfig, NetworkConfig
from ban_bids.models.network import AuditoryNetwork

_NETWORKS: dict[type[NetworkConfig], type[AuditoryNetwork]] = {
    BANConfig: BAN,
    conventional.DeepCNNConfig: conventional.DeepCNN,
    conventional.AlexNetConfig: conventional.AlexNet,
    conventional.VGGConfig: conventional.VGG,
    conventional.CRNNConfig: conventional.CRNN,
}
_CONFIGS = {network.architecture: config for config, network in _NETWORKS.items()}

PRESETS: dict[str, NetworkConfig] = {**_BAN_PRESETS, **conventional.PRESETS}
"""Configurations by the name that ``--preset`` and ``--model`` take."""


LOW_LEVEL: tuple[str, ...] = ("logmel", "modulation")
"""Models without trained layers, see :mod:`ban_bids.models.low_level`; they have no network configuration."""


def preset(name: str) -> NetworkConfig:
    """Return the configuration with this name.

    Raises
    ------
    UsageError
        When there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"--preset {name}: unknown; choose one of {', '.join([*PRESETS, *LOW_LEVEL])}")
    return PRESETS[name]


def preset_name(config: NetworkConfig) -> str:
    """Name by which a configuration is asked for: ``ban-small`` for ``bansmall``."""
    return next((name for name, known in PRESETS.items() if known.name == config.name), config.name)


def build(config: NetworkConfig, n_genres: int, seed: int = 0) -> AuditoryNetwork:
    """Make the network of a configuration, with random weights.

    Parameters
    ----------
    config : NetworkConfig
        Its class decides the architecture.
    n_genres : int
        Width of the read-out.
    seed : int
        Of the weights.
    """
    return _NETWORKS[type(config)](config, n_genres, seed)


def build_stored(architecture: str, config: Mapping[str, Any], n_genres: int) -> AuditoryNetwork:
    """Make the network that a checkpoint's card describes; its weights are filled in by the caller.

    Raises
    ------
    CheckpointError
        For an architecture or a configuration that this version does not have.
    """
    if architecture in LOW_LEVEL:
        raise CheckpointError(
            f"holds the read-out of the low-level model {architecture!r}, not a network; "
            f"ask for it by --model {architecture}"
        )
    if architecture not in _CONFIGS:
        raise CheckpointError(
            f"holds a network of architecture {architecture!r}; this version has {', '.join(_CONFIGS)}"
        )
    return build(_CONFIGS[architecture].from_dict(config), n_genres)
