"""What fixes one training, apart from the data."""

from __future__ import annotations

from dataclasses import dataclass, field

from ban_bids.settings import DEFAULT_SEED
from ban_bids.training.augmentation import Augmentation


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training; all of them are stored in the checkpoint's card.

    Parameters
    ----------
    preset : str
        Architecture, see :data:`ban_bids.models.config.PRESETS`.
    split : str
        See :func:`ban_bids.training.splits.split_tracks`.
    seed : int
        Weights, split, crops, dropout.
    epochs : int
        Passes in which every track gives one crop.
    max_minutes : float or None
        The schedule is shortened to end by then; the result then depends on the machine's speed. The budget
        covers the steps and the crops they see; reading the tracks before, and measuring the normalisation
        and the accuracy after, lie outside it.
    budget_clock : str
        How ``max_minutes`` are measured, see :data:`ban_bids.training.clock.CLOCKS`: ``wall``, or ``cpu``.
    crop_seconds : float
    batch_size : int
    learning_rate, weight_decay : float
        Of AdamW.
    label_smoothing : float
    ema : float
        Decay of the average of the weights, a step.
    augmentation : Augmentation
    """

    preset: str = "ban"
    split: str = "fault-filtered"
    seed: int = DEFAULT_SEED
    epochs: int = 200
    max_minutes: float | None = None
    budget_clock: str = "wall"
    crop_seconds: float = 5.12
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    ema: float = 0.98
    augmentation: Augmentation = field(default_factory=Augmentation)
