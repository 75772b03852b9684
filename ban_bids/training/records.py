"""What is kept of a training: what fixes it, the card beside its weights, and the state of an unfinished one."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ban_bids.files.atomic import atomic_path, remove_with_leftovers
from ban_bids.files.hashing import json_digest
from ban_bids.files.room import disk_full, free_bytes
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import library_versions
from ban_bids.models.low_level import MODELS
from ban_bids.models.presets import LOW_LEVEL, preset
from ban_bids.training.datasets import Collection
from ban_bids.training.scores import Evaluation
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import Split

_LOG = logging.getLogger(__name__)
_KEY = "ban_bids"


@dataclass(frozen=True, eq=False)
class Trained:
    """What came out of a training, whatever the model is.

    Parameters
    ----------
    config : dict
        Of the architecture, plain values.
    evaluation : Evaluation or None
        On the validation tracks, if there are any.
    save : callable
        Writes the weights with their card to a path.
    settings : dict
        What fixed the training, plain values.
    metrics : dict
        What is known beside the evaluation.
    notes : tuple of str
        What a reader of the scores should know of this training, beside its tracks.
    """

    config: dict[str, Any]
    evaluation: Evaluation | None
    save: Callable[[Path, ModelCard], Path]
    settings: dict[str, Any]
    metrics: dict[str, Any]
    notes: tuple[str, ...] = ()


def training_card(trained: Trained, collection: Collection, split: Split) -> ModelCard:
    """The card of a checkpoint: on which tracks, how and with which libraries it was trained, and how well it does."""
    notes = [*split.notes]
    if collection.replicas:
        notes.append(f"files that repeat other tracks and were left out: {len(collection.replicas)}")
    if collection.versions:
        notes.append(
            f"files that are the same recording as other tracks by their sound and were left out: "
            f"{len(collection.versions)}"
        )
    if collection.shared:
        notes.append(
            f"recordings that two collections hold and that were used once, for both: {len(collection.shared)}"
        )
    if collection.unreadable:
        notes.append(f"files that cannot be decoded and were skipped: {len(collection.unreadable)}")
    counts = {
        "n_training": len(split.training),
        "n_validation": len(split.validation),
        "n_excluded": len(collection.excluded),
        "n_replicas": len(collection.replicas),
        "n_versions": len(collection.versions),
        "n_unreadable": len(collection.unreadable),
    }
    return ModelCard(
        config=trained.config,
        genres=collection.genres,
        split=split.name,
        training_hashes={t.name: t.digest for t in split.training},
        validation_hashes={t.name: t.digest for t in split.validation},
        fingerprints={t.name: str(t.fingerprint) for t in (*split.training, *split.validation)},
        excluded={t.name: t.digest for t in collection.excluded},
        unreadable=collection.unreadable,
        notes=(*notes, *trained.notes),
        metrics={**(trained.evaluation.to_dict() if trained.evaluation else {}), **counts, **trained.metrics},
        settings=trained.settings,
        versions=library_versions(),
    )


def training_fingerprint(collection: Collection, settings: TrainingSettings) -> str:
    """SHA-256 over every track's content, classes and group, the excluded tracks, the model and the settings."""
    name = settings.preset  # what it stands for may change
    network = asdict(MODELS[name]().config) if name in LOW_LEVEL else preset(name).to_dict()  # type: ignore[call-arg]
    parts = {
        "tracks": [(t.name, t.genre, t.digest, t.group, sorted(t.answers.items())) for t in collection.tracks],
        "tasks": [asdict(task) for task in collection.further],
        "excluded": sorted(t.digest for t in collection.excluded),
        "settings": asdict(settings),
        "network": network,
    }
    return json_digest(parts)


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
            OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError
        ) as err:  # fmt: skip
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

    def check_room(self, network: torch.nn.Module) -> None:
        """Refuse a training whose checkpoint does not fit, before hours are spent on it.

        Where its state does not fit beside it, the training goes on without, and says so.

        Raises
        ------
        DiskFull
        """
        wanted = sum(tensor.nbytes for tensor in network.state_dict().values())
        there = self.path.stat().st_size if self.path.exists() else 0
        if free_bytes(self.path) + there < wanted:
            raise disk_full(self.path, "the checkpoint of a training will not fit", wanted)

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
