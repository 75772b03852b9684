"""Read-outs beside the main one: what they are, what they are trained by, and how well they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.evaluate import segment_probabilities
from ban_bids.training.scores import Answers, score
from ban_bids.training.tracks import Collection, Task, Track


def heads_of(network: AuditoryNetwork, tasks: Sequence[Task], seed: int) -> nn.ModuleList:
    """A linear read-out per task, of what the network's own gets; drawn as that one is.

    Parameters
    ----------
    network : AuditoryNetwork
    tasks : sequence of Task
        Those beside the main one.
    seed : int
        Of the weights.
    """
    heads = [nn.Linear(network.readout.in_features, len(task.classes)) for task in tasks]
    generator = torch.Generator().manual_seed(seed)
    for head in heads:
        nn.init.normal_(head.weight, std=0.02, generator=generator)
        nn.init.zeros_(head.bias)
    return nn.ModuleList(heads)


def task_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of one task on crops that may say little or nothing of it.

    Parameters
    ----------
    logits : Tensor, (batch, n_classes)
    targets : Tensor, (batch, n_classes)
        Each row sums to the share of the crop of which the task is known: 0, 1, or after mixup in between.
    label_smoothing : float
        Share of each row that is spread evenly over the classes.

    Returns
    -------
    Tensor
        Mean over the crops, each with the weight of its sum; 0 where all sums are 0.
    """
    known = targets.sum(dim=1)
    smooth = targets * (1 - label_smoothing) + known[:, None] * (label_smoothing / targets.shape[1])
    losses = -(smooth * logits.log_softmax(dim=1)).sum(dim=1)
    return losses.sum() / known.sum().clamp(min=1e-6)


def evaluate_heads(
    network: AuditoryNetwork,
    heads: nn.ModuleList,
    collection: Collection,
    sides: tuple[Sequence[Track], Sequence[Track]],
    frames: Sequence[np.ndarray],
    *,
    crop_frames: int,
) -> dict[str, Any]:
    """How well the tasks beside the main one are answered.

    Parameters
    ----------
    network : AuditoryNetwork
        In evaluation mode.
    heads : ModuleList
        Of the tasks beside the main one, in their order.
    collection : Collection
        Holds the tasks.
    sides : pair of sequences of Track
        Those that trained, those that validate.
    frames : sequence of ndarray, (n_mels, n_frames)
        Log-mel frames of the latter.
    crop_frames : int
        Length of a segment.

    Returns
    -------
    dict
        Task -> its classes, the number of its training and validation tracks, and the accuracy on the latter with
        its 95 % interval. Tracks whose class never trained, as the speakers of a split by speaker, do not count;
        without any other the accuracy is None, and ``reason`` says why.
    """
    return {
        task.name: _evaluated(network, head, task, sides, frames, crop_frames)
        for task, head in zip(collection.further, heads, strict=True)
    }


def _evaluated(
    network: AuditoryNetwork,
    head: nn.Module,
    task: Task,
    sides: tuple[Sequence[Track], Sequence[Track]],
    frames: Sequence[np.ndarray],
    crop_frames: int,
) -> dict[str, Any]:
    trained, validated = ([t.answers.get(task.name) for t in side] for side in sides)
    counts = {
        "classes": list(task.classes),
        "n_training": sum(answer is not None for answer in trained),
        "n_validation": sum(answer is not None for answer in validated),
    }
    asked = [(task.classes.index(a), f) for a, f in zip(validated, frames) if a is not None and a in trained]
    if not asked:
        reason = "no class of its validation tracks trained" if counts["n_validation"] else "no track validates it"
        return {**counts, "n_tracks": 0, "track_accuracy": None, "reason": reason}
    segments = [segment_probabilities(network, f, crop_frames, readout=head) for _, f in asked]
    accuracy = score(Answers(np.array([label for label, _ in asked]), segments)).track_accuracy
    interval = [round(end, 4) for end in accuracy.interval]
    return {
        **counts,
        "n_tracks": len(asked),
        "track_accuracy": round(accuracy.value, 4),
        "track_accuracy_ci95": interval,
    }
