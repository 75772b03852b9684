"""Models by name: this package's, entry points of other packages, or any ``package.module:factory``."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ban_bids.constants import DEFAULT_SEED
from ban_bids.errors import UsageError
from ban_bids.models.candidate import AudioModel, NetworkModel, untrained_model
from ban_bids.models.checkpoint import ModelCard, load_checkpoint
from ban_bids.models.low_level import MODELS, LowLevelModel, load_low_level
from ban_bids.models.presets import LOW_LEVEL, PRESETS, build, preset_name

GROUP = "ban_bids.models"
"""Entry-point group; each entry is a factory ``(weights: Path | None, device: str) -> AudioModel``."""

UNTRAINED = "-untrained"
"""Behind a preset's name: the network with random weights, which needs no file."""

_NAME = re.compile(r"[a-z][a-z0-9]*")
_MEMBERS = ("name", "layers", "frame_rate", "genres", "card", "fingerprint", "features", "genre_probabilities")


def load_model(name: str, weights: Path | None, device: str = "cpu", seed: int = DEFAULT_SEED) -> AudioModel:
    """Load a model.

    Parameters
    ----------
    name : str
        A preset (``ban`` stands for any network: the checkpoint says which), a preset followed by
        ``-untrained``, ``logmel``, ``modulation``, the name of an entry point in the group
        ``ban_bids.models``, or ``package.module:factory``.
    weights : Path or None
        Weights file; presets need one, low-level models do only for their read-out.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    seed : int
        Of an untrained network's weights.

    Returns
    -------
    AudioModel

    Raises
    ------
    UsageError
        For an unknown name, a factory that cannot be imported or gives no model, a preset without weights,
        weights of another model, or an untrained network with weights.
    CheckpointError
        For weights that cannot be used.
    """
    if name in PRESETS:
        return _network(name, weights, device)
    if name in LOW_LEVEL:
        return _low_level(name, weights)
    if name.removesuffix(UNTRAINED) in PRESETS:
        return _untrained(name, weights, device, seed)
    return _foreign(name, weights, device)


def _foreign(name: str, weights: Path | None, device: str) -> AudioModel:
    """A model that another package makes."""
    if ":" in name:
        factory = _import(EntryPoint(name=name, value=name, group=GROUP))
    else:
        known = {entry.name: entry for entry in entry_points(group=GROUP)}
        if name not in known:
            names = ", ".join([*PRESETS, f"ban{UNTRAINED}", *LOW_LEVEL, *sorted(known)])
            raise UsageError(f"--model {name}: unknown; choose one of {names}, or give package.module:factory")
        factory = _import(known[name])
    model = factory(weights, device)
    missing = [member for member in _MEMBERS if not hasattr(model, member)]
    fault = f"lacks {', '.join(missing)}" if missing else ""
    if not fault and not _NAME.fullmatch(model.name):
        fault = f"name {model.name!r} is not of the form [a-z][a-z0-9]*"
    if fault:
        raise UsageError(
            f"--model {name}: the factory's result is not a model for ban-bids ({fault}); "
            "see ban_bids.models.candidate.AudioModel"
        )
    return model


def _network(name: str, weights: Path | None, device: str) -> NetworkModel:
    if weights is None:
        raise UsageError(f"--model {name} needs weights: give --weights FILE, or --gtzan-dir DIR to train them")
    network, card = load_checkpoint(weights)
    # "ban" stands for the family; a preset's own name must be what the file holds
    if name not in ("ban", preset_name(network.config)):
        raise UsageError(
            f"--model {name}: {weights} holds {network.config.name!r}; drop --model or give its own weights"
        )
    return NetworkModel(network, card.genres if card else (), card, device=device)


def _low_level(name: str, weights: Path | None) -> LowLevelModel:
    if weights is None:
        nothing = ModelCard({"name": name}, (), split="nothing is trained")
        return MODELS[name](card=nothing)  # type: ignore[call-arg]
    model = load_low_level(weights)
    if model.name != name:
        raise UsageError(
            f"--model {name}: {weights} holds {model.name!r}; give --model {model.name} or its own weights"
        )
    return model


def _untrained(name: str, weights: Path | None, device: str, seed: int) -> NetworkModel:
    if weights is not None:
        raise UsageError(f"--model {name} has random weights; drop --weights {weights}")
    config = PRESETS[name.removesuffix(UNTRAINED)]
    model = untrained_model(build(config, 2), seed, name=f"{config.name}untrained", device=device)
    # an empty card, not none: that nothing was trained on is known
    model.card = ModelCard(config.to_dict(), (), split="nothing is trained", settings={"seed": seed})
    return model


def _import(entry: EntryPoint) -> Callable[[Path | None, str], AudioModel]:
    module, _, attribute = entry.value.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as err:
        raise UsageError(f"--model {entry.name}: cannot be imported ({err}); check the name and PYTHONPATH") from err
