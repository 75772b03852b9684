"""Models by name: this package's, entry points of other packages, or any ``package.module:factory``."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ban_bids.constants import DEFAULT_SEED
from ban_bids.errors import BanBidsError, UsageError
from ban_bids.models.bundles import load_bundle
from ban_bids.models.candidate import Candidate, ModelCard, as_candidate
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.huggingface import load_huggingface
from ban_bids.models.low_level import MODELS, load_low_level
from ban_bids.models.network import NetworkModel
from ban_bids.models.presets import LOW_LEVEL, PRESETS, build, preset_name
from ban_bids.models.shipped import shipped_weights
from ban_bids.models.stored import load_stored

_LOG = logging.getLogger(__name__)

GROUP = "ban_bids.models"
"""Entry-point group; each entry is a factory ``(weights: Path | None, device: str) -> Candidate``."""

UNTRAINED = "-untrained"
"""Behind a preset's name: the network with random weights, which needs no file."""

Loader = Callable[[str, Path | None, str, int], Candidate]
"""Name, weights, device and seed, as in :func:`load_model`, to the model."""

BY_PREFIX: Mapping[str, Loader] = {
    "hf:": load_huggingface,
    "torchaudio:": load_bundle,
    "features:": load_stored,
}
"""Kinds of models that are named by a prefix; what stands behind it is theirs to read."""

_TORCH = "torch:"
_FACTORY = re.compile(r"[\w.]+:[\w.]+")


def load_model(name: str, weights: Path | None, device: str = "cpu", seed: int = DEFAULT_SEED) -> Candidate:
    """Load a model.

    Parameters
    ----------
    name : str
        A preset (``ban`` stands for any network: the checkpoint says which), a preset followed by
        ``-untrained``, ``logmel``, ``modulation``, ``hf:FOLDER``, ``torchaudio:BUNDLE``, ``features:FOLDER``, the name
        of an entry point in the group ``ban_bids.models``, or ``package.module:factory`` (also
        ``torch:package.module:factory``).
    weights : Path or None
        Weights file. Without one ``ban`` has the weights that come with the package, and says so; other presets need
        one, low-level models do only for their read-out.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    seed : int
        Of an untrained network's weights.

    Returns
    -------
    Candidate

    Raises
    ------
    UsageError
        For an unknown name, a factory that cannot be imported or gives no candidate, a preset without weights,
        weights of another model, or an untrained network with weights.
    CheckpointError
        For weights that cannot be used.
    """
    return _loader(name)(name, weights, device, seed)


def _loader(name: str) -> Loader:
    """What loads models of this name."""
    prefix = next((prefix for prefix in BY_PREFIX if name.startswith(prefix)), None)
    if prefix:
        return BY_PREFIX[prefix]
    if name in PRESETS:
        return _network
    if name in LOW_LEVEL:
        return _low_level
    if name.removesuffix(UNTRAINED) in PRESETS:
        return _untrained
    installed = entry_points(group=GROUP).names
    if name in installed or _FACTORY.fullmatch(name.removeprefix(_TORCH)):
        return _made_elsewhere
    names = ", ".join([*PRESETS, f"ban{UNTRAINED}", *LOW_LEVEL, *sorted(installed)])
    raise UsageError(
        f"--model {name}: unknown; choose one of {names}, or give hf:FOLDER, torchaudio:BUNDLE[=FILE], features:FOLDER "
        "or package.module:factory"
    )


def _network(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    weights = weights or shipped_weights(name)
    if weights is None:
        raise UsageError(f"--model {name} needs weights: give --weights FILE, or --gtzan-dir DIR to train them")
    network, card = load_checkpoint(weights)
    if card is not None and card.small_data:
        _LOG.warning("model %s: %s", name, card.small_data)
    # "ban" stands for the family; a preset's own name must be what the file holds
    if name not in ("ban", preset_name(network.config)):
        raise UsageError(
            f"--model {name}: {weights} holds {network.config.name!r}; drop --model or give its own weights"
        )
    return NetworkModel(network, card.genres if card else (), card, device=device)


def _untrained(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    if weights is not None:
        raise UsageError(f"--model {name} has random weights; drop --weights {weights}")
    config = PRESETS[name.removesuffix(UNTRAINED)]
    # an empty card, not none: that nothing was trained on is known
    card = ModelCard(config.to_dict(), (), split="nothing is trained", settings={"seed": seed})
    # there is no training music: the caller has it measured on the clips that it is to hear
    return NetworkModel(
        build(config, 2, seed), card=card, name=f"{config.name}untrained", device=device, measured=False
    )


def _low_level(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    if weights is None:
        return MODELS[name](card=ModelCard({"name": name}, (), split="nothing is trained"))
    model = load_low_level(weights)
    if model.name != name:
        raise UsageError(
            f"--model {name}: {weights} holds {model.name!r}; give --model {model.name} or its own weights"
        )
    return model


def _made_elsewhere(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    """A model that another package makes: an entry point, or a factory by its path."""
    path = EntryPoint(name=name, value=name.removeprefix(_TORCH), group=GROUP)
    entry = path if ":" in name else entry_points(group=GROUP)[name]
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as err:
        raise UsageError(f"--model {name}: cannot be imported ({err}); check the name and PYTHONPATH") from err
    try:
        model = factory(weights, device)
    except BanBidsError:  # one line already, with its remedy
        raise
    except Exception as err:  # somebody else's code may raise anything
        _LOG.exception("--model %s: the factory raised", name)
        reason = f"{type(err).__name__}: {err}".splitlines()[0]
        raise UsageError(f"--model {name}: the factory raised {reason}; the log has the traceback") from err
    try:
        return as_candidate(model)
    except UsageError as fault:
        raise UsageError(
            f"--model {name}: the factory's result is not a model for ban-bids ({fault}); "
            "see ban_bids.models.candidate.Candidate"
        ) from fault
