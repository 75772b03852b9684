"""A network as a Lightning module: loss, optimiser, schedule under a time budget, averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.clock import BudgetClock
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.stopping import EarlyStopping

_EMA_RAMP = 9.0


class BANTraining(pl.LightningModule):
    """Train a network on crops of log-mel frames.

    Everything that a step depends on is saved with the module, the optimiser and the number of the step; what
    is random about it (crops, dropout) follows from the seed and that number. So a training that goes on from
    a saved state takes the same steps as one that was never interrupted.

    Parameters
    ----------
    network : AuditoryNetwork
        Trained in place.
    settings : TrainingSettings
    n_steps : int
        Steps that the epochs amount to, in each process.
    stopping : EarlyStopping, optional
        Ends the training early and chooses its weights.
    compiled : bool
        Run the network through ``torch.compile``.

    Attributes
    ----------
    share : float
        Share of the training behind us, by steps or by the clock, whichever is further on.
    steps_done : int
    ended : str or None
        Why the training ended before its last step: ``time``, ``stopping``.
    resumed : list of int
        After which steps an interrupted training was taken up again.
    """

    def __init__(
        self,
        network: AuditoryNetwork,
        settings: TrainingSettings,
        n_steps: int,
        stopping: EarlyStopping | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.n_steps = n_steps
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.stopping = stopping
        self.steps_done = 0
        self.share = 0.0
        self.ended: str | None = None
        self.resumed: list[int] = []
        self.clock = BudgetClock(settings.budget_clock)
        self._used_before = 0.0
        self._from_frames: Callable[[Tensor], Any] = (
            torch.compile(network.from_frames) if compiled else network.from_frames
        )

    def on_fit_start(self) -> None:
        """Start the clock of the time budget, with what was used before an interruption."""
        self.clock = BudgetClock(self.settings.budget_clock, self._used_before)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is in no tensor."""
        checkpoint["training"] = {
            "steps_done": self.steps_done,
            "used": self.clock.used(),
            "resumed": self.resumed,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        stored = checkpoint["training"]
        self.steps_done = stored["steps_done"]
        self.resumed = [*stored["resumed"], self.steps_done]
        self._used_before = stored["used"]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy with label smoothing on one batch of crops and (mixed) targets."""
        crops, targets = batch
        logits, _ = self._from_frames(self.network.front_end.standardise(crops))
        return torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=self.settings.label_smoothing)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Set the learning rate (a short warm-up, then half a cosine down to zero) and dropout's seed."""
        self.share = self._share()
        warm_up = self.settings.warm_up
        warm = 1.0
        if warm_up > 0:
            # the clock reads zero at the first step, whose rate must not be zero
            warm = min(1.0, max((self.steps_done + 1) / (warm_up * self.n_steps), self.share / warm_up))
        rate = self.settings.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * self.share))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        # a seed a step: the state of the generator need not be saved, nor what else has drawn from it
        entropy = (self.settings.seed, self.steps_done, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, average the weights, and see whether it was the last.

        Here rather than in ``on_train_batch_end``, where callbacks come first: they save the state.
        """
        super().optimizer_step(*args, **kwargs)
        self.steps_done += 1
        self._blend()
        last = self.steps_done >= self.n_steps
        if self.stopping is not None and (last or self.stopping.is_due(self.steps_done)):
            # the first process decides for all: their normalisations differ
            loss = self.trainer.strategy.broadcast(self.stopping.loss(self.average, self.network))
            if self.stopping.look(self.average, loss, self.steps_done) and not last:
                self._end("stopping")
        if not last and self._share() >= 1.0:
            self._end("time")

    def trained_network(self) -> AuditoryNetwork:
        """The network with averaged weights; its normalisation has not been measured yet."""
        return self.average if self.stopping is None else self.stopping.best

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; normalisation and biases are not decayed."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate)

    def _end(self, why: str) -> None:
        self.ended = why
        self.trainer.should_stop = True

    def _share(self) -> float:
        share = self.steps_done / self.n_steps
        if self.settings.max_minutes is not None:
            used = self.clock.used() / (60.0 * self.settings.max_minutes)
            # processes read the clock at different times, but must take the same step
            share = max(share, self.trainer.strategy.broadcast(used))
        return min(share, 1.0)

    def _blend(self) -> None:
        """Draw the averaged weights towards those of this step."""
        # a short memory at first: the random start must not linger in the average
        decay = min(self.settings.ema, self.steps_done / (_EMA_RAMP + self.steps_done)) if self.steps_done > 1 else 0.0
        get_ema_multi_avg_fn(decay)(list(self.average.parameters()), list(self.network.parameters()), None)
