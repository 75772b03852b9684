"""BAN as a Lightning module: loss, optimiser, schedule under a time budget, averaged weights."""

from __future__ import annotations

import math
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.clock import BudgetClock
from ban_bids.training.settings import TrainingSettings

_WARM_UP = 0.05
_EMA_RAMP = 10.0


class BANTraining(pl.LightningModule):
    """Train a BAN on crops of log-mel frames.

    Parameters
    ----------
    network : AuditoryNetwork
        Trained in place.
    settings : TrainingSettings
    n_steps : int
        Steps that the epochs amount to.
    """

    def __init__(self, network: AuditoryNetwork, settings: TrainingSettings, n_steps: int) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.n_steps = n_steps
        self.average = AveragedModel(network, multi_avg_fn=self._blend)
        self.steps_done = 0
        self.out_of_time = False
        self.clock = BudgetClock(settings.budget_clock)

    def on_fit_start(self) -> None:
        """Start the clock of the time budget."""
        self.clock = BudgetClock(self.settings.budget_clock)

    def done(self) -> float:
        """Share of the training behind us, by steps or by the clock, whichever is further on."""
        share = self.steps_done / self.n_steps
        if self.settings.max_minutes is not None:
            share = max(share, self.clock.used() / (60.0 * self.settings.max_minutes))
        return min(share, 1.0)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy with label smoothing on one batch of crops and (mixed) targets."""
        crops, targets = batch
        logits, _ = self.network.from_frames(self.network.front_end.standardise(crops))
        return torch.nn.functional.cross_entropy(
            logits.float(), targets, label_smoothing=self.settings.label_smoothing
        )

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Set the learning rate: a short warm-up, then half a cosine down to zero."""
        share = self.done()
        warm = min(1.0, (self.steps_done + 1) / max(1.0, _WARM_UP * self.n_steps), (share + 0.01) / _WARM_UP)
        rate = self.settings.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * share))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Average the weights; stop when the time is up."""
        self.steps_done += 1
        self.average.update_parameters(self.network)
        if self.settings.max_minutes is not None and self.done() >= 1.0 and self.steps_done < self.n_steps:
            self.out_of_time = True
            self.trainer.should_stop = True

    def averaged_network(self) -> AuditoryNetwork:
        """The network with averaged weights; its normalisation has not been measured yet."""
        return cast(AuditoryNetwork, self.average.module)

    def _blend(self, average: Any, current: Any, n_averaged: Any) -> None:
        # a short memory at first: the random start must not linger in the average
        decay = min(self.settings.ema, (1.0 + float(n_averaged)) / (_EMA_RAMP + float(n_averaged)))
        torch._foreach_lerp_(list(average), list(current), 1.0 - decay)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; normalisation and biases are not decayed."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate)
