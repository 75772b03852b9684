"""Models by name: BAN, entry points of other packages, or any ``package.module:factory``."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ban_bids.errors import UsageError
from ban_bids.models.architectures import PRESETS, preset_name
from ban_bids.models.base import AudioModel, NetworkModel
from ban_bids.models.checkpoint import load_checkpoint

GROUP = "ban_bids.models"
"""Entry-point group; each entry is a factory ``(weights: Path | None, device: str) -> AudioModel``."""

_NAME = re.compile(r"[a-z][a-z0-9]*")
_MEMBERS = ("name", "areas", "frame_rate", "genres", "card", "fingerprint", "features", "genre_probabilities")


def load_model(name: str, weights: Path | None, device: str = "cpu") -> AudioModel:
    """Load a model.

    Parameters
    ----------
    name : str
        ``ban`` (any preset: the checkpoint says which), the name of an entry point in the group
        ``ban_bids.models``, or ``package.module:factory``.
    weights : Path or None
        Weights file; BAN needs one.
    device : str
        ``cpu``, ``cuda`` or ``auto``.

    Returns
    -------
    AudioModel

    Raises
    ------
    UsageError
        For an unknown name, a factory that cannot be imported or gives no model, or BAN without weights.
    CheckpointError
        For weights that cannot be used.
    """
    if name in PRESETS:
        return _network(name, weights, device)
    if ":" in name:
        factory = _import(EntryPoint(name=name, value=name, group=GROUP))
    else:
        known = {entry.name: entry for entry in entry_points(group=GROUP)}
        if name not in known:
            names = ", ".join([*PRESETS, *sorted(known)])
            raise UsageError(
                f"--model {name}: unknown; choose one of {names}, or give package.module:factory"
            )
        factory = _import(known[name])
    model = factory(weights, device)
    missing = [member for member in _MEMBERS if not hasattr(model, member)]
    fault = f"lacks {', '.join(missing)}" if missing else ""
    if not fault and not _NAME.fullmatch(model.name):
        fault = f"name {model.name!r} is not of the form [a-z][a-z0-9]*"
    if fault:
        raise UsageError(
            f"--model {name}: the factory's result is not a model for ban-bids ({fault}); "
            "see ban_bids.models.base.AudioModel"
        )
    return model


def _network(name: str, weights: Path | None, device: str) -> NetworkModel:
    if weights is None:
        raise UsageError(
            f"--model {name} needs weights: give --weights FILE, or --gtzan-dir DIR to train them"
        )
    network, card = load_checkpoint(weights)
    # "ban" stands for the family; a preset's own name must be what the file holds
    if name not in ("ban", preset_name(network.config)):
        raise UsageError(
            f"--model {name}: {weights} holds {network.config.name!r}; drop --model or give its own weights"
        )
    return NetworkModel(network, card.genres if card else (), card, device=device)


def _import(entry: EntryPoint) -> Callable[[Path | None, str], AudioModel]:
    module, _, attribute = entry.value.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as err:
        raise UsageError(
            f"--model {entry.name}: cannot be imported ({err}); check the name and PYTHONPATH"
        ) from err
