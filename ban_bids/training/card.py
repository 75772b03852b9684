"""The card of a checkpoint that a training writes, and its copy for people beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import library_versions
from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.datasets import Collection
from ban_bids.training.evaluation_scores import Evaluation
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import Split


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Parameters
    ----------
    network : AuditoryNetwork
        In evaluation mode, on the CPU.
    evaluation : Evaluation
        On the validation tracks.
    steps : int
    budget_minutes : float
        Used of the budget, on its clock.
    ended : str or None
        Why before the last step: ``time``, ``stopping``.
    resumed : tuple of int
        After which steps it was taken up again.
    n_inner : int
        Training tracks by which early stopping judged.
    best_step : int or None
        Whose weights early stopping took.
    """

    network: AuditoryNetwork
    evaluation: Evaluation
    steps: int
    budget_minutes: float
    ended: str | None
    resumed: tuple[int, ...]
    n_inner: int
    best_step: int | None


def training_card(
    done: Trained,
    collection: Collection,
    split: Split,
    settings: TrainingSettings,
    minutes: float,
    extra: dict[str, Any],
) -> ModelCard:
    """Everything a reader of the scores should know of the weights.

    Parameters
    ----------
    done : Trained
    collection : Collection
    split : Split
    settings : TrainingSettings
    minutes : float
        From the first track read to the last evaluated, since the training was started or taken up again.
    extra : dict
        Written among the settings.
    """
    spent = {
        "steps": done.steps,
        "minutes": round(minutes, 2),
        "budget_minutes_used": round(done.budget_minutes, 3),
        "resumed_after_steps": list(done.resumed),
    }
    return ModelCard(
        config=done.network.config.to_dict(),
        **origin(collection, split),
        notes=(*track_notes(collection, split), *_notes(done, settings)),
        metrics={**done.evaluation.to_dict(), **track_counts(collection, split), **spent},
        settings={**asdict(settings), **extra},
    )


def origin(collection: Collection, split: Split) -> dict[str, Any]:
    """Fields of a card that say on which tracks, and with which libraries, any model was fitted."""
    return {
        "genres": collection.genres,
        "split": split.name,
        "training_hashes": {t.name: t.digest for t in split.training},
        "validation_hashes": {t.name: t.digest for t in split.validation},
        "excluded": {t.name: t.digest for t in collection.excluded},
        "unreadable": collection.unreadable,
        "versions": library_versions(),
    }


def track_counts(collection: Collection, split: Split) -> dict[str, int]:
    """How many tracks did what, among a card's metrics."""
    return {
        "n_training": len(split.training),
        "n_validation": len(split.validation),
        "n_excluded": len(collection.excluded),
        "n_replicas": len(collection.replicas),
        "n_unreadable": len(collection.unreadable),
    }


def track_notes(collection: Collection, split: Split) -> list[str]:
    """What a reader of a card should know of its tracks."""
    notes = [*split.notes]
    if collection.replicas:
        notes.append(f"files that repeat other tracks and were left out: {len(collection.replicas)}")
    if collection.unreadable:
        notes.append(f"files that cannot be decoded and were skipped: {len(collection.unreadable)}")
    return notes


def _notes(done: Trained, settings: TrainingSettings) -> list[str]:
    notes = []
    if done.ended == "time":
        kind = "processor" if settings.budget_clock == "cpu" else "wall-clock"
        notes.append(f"the time budget of {settings.max_minutes} {kind} minutes ended the training")
    if done.best_step is not None:
        how = "ended the training" if done.ended == "stopping" else "did not end the training"
        notes.append(
            f"early stopping held out {done.n_inner} of the training tracks, {how} and took the weights of "
            f"step {done.best_step}"
        )
    if done.resumed and settings.max_minutes is not None:
        steps = ", ".join(str(step) for step in done.resumed)
        notes.append(
            f"the training was interrupted and taken up again after step {steps}; under a time budget the "
            "result then differs from that of an uninterrupted one"
        )
    return notes


def write_card(path: Path, card: ModelCard) -> Path:
    """Write the card as JSON, whole or not at all; the one inside the checkpoint is the one that counts."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(asdict(card), indent=2, sort_keys=True) + "\n", "utf-8")
    return temporary.replace(path)
