"""What a training leaves beside its output so that the same command goes on after a kill."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ban_bids.files.atomic import atomic_path, remove_with_leftovers
from ban_bids.files.hashing import json_digest
from ban_bids.models.checkpoint import library_versions
from ban_bids.models.low_level import MODELS
from ban_bids.models.presets import LOW_LEVEL, preset
from ban_bids.training.datasets import Collection
from ban_bids.training.settings import TrainingSettings

_LOG = logging.getLogger(__name__)
_KEY = "ban_bids"


def training_fingerprint(collection: Collection, settings: TrainingSettings) -> str:
    """SHA-256 over every track's content and genre, the excluded tracks, the model and the settings."""
    parts = {
        "tracks": [(t.name, t.genre, t.digest) for t in collection.tracks],
        "excluded": sorted(t.digest for t in collection.excluded),
        "settings": asdict(settings),
        "network": _configuration(settings.preset),  # what a name stands for may change
    }
    return json_digest(parts)


def _configuration(name: str) -> dict[str, Any]:
    """Of a network, or of the model whose read-out is fitted."""
    if name in LOW_LEVEL:
        return asdict(MODELS[name]().config)  # type: ignore[call-arg]
    return preset(name).to_dict()


def state_path(out: Path) -> Path:
    """Where the state of an unfinished training lies: a hidden file beside its output."""
    return out.with_name(f".{out.name}.resume")


class ResumeState:
    """State of an unfinished training: written whole or not at all, read without running anything in it.

    It is Lightning's checkpoint (network, averaged weights, optimiser, progress) with a fingerprint of data,
    settings, library versions and number of processes. A state of another training is left alone until this
    one writes its own.

    Parameters
    ----------
    out : Path
        Checkpoint that the training will write.
    training : str
        :func:`training_fingerprint`.
    n_processes : int
        Of the training; the steps differ with it.
    """

    def __init__(self, out: Path, training: str, n_processes: int) -> None:
        self.path = state_path(out)
        self.fingerprint = json_digest([training, n_processes, library_versions()])

    def find(self) -> Path | None:
        """The state, if there is one and it is of this training."""
        if not self.path.exists():
            return None
        try:
            # as everywhere: nothing that is loaded may run code
            about = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)[_KEY]
            same, step = about["fingerprint"] == self.fingerprint, int(about["step"])
        except (
            OSError,
            RuntimeError,
            ValueError,
            TypeError,
            KeyError,
            EOFError,
            pickle.UnpicklingError,
        ) as err:
            _LOG.warning("%s: damaged (%s); training starts anew", self.path, str(err).split("\n")[0])
            return None
        if not same:
            _LOG.warning(
                "%s: of a training on other tracks, with other settings, libraries or processes; "
                "training starts anew", self.path,
            )  # fmt: skip
            return None
        _LOG.info("%s: an interrupted training goes on after step %d", self.path, step)
        return self.path

    def about(self, step: int) -> dict[str, Any]:
        """What is added to Lightning's checkpoint."""
        return {_KEY: {"fingerprint": self.fingerprint, "step": step}}

    def write(self, save: Callable[[Path], None], replace: bool) -> None:
        """Save in place of the old state; of several processes, all take part and one, ``replace``, writes."""
        if not replace:
            save(self.path)
            return
        with atomic_path(self.path, durable=True) as temporary:
            save(temporary)

    def remove(self) -> None:
        """Leave nothing behind."""
        remove_with_leftovers(self.path)
