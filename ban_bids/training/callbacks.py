"""What happens beside the steps of a training: lines in the log, and the state from which it can go on."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning.pytorch as pl

from ban_bids.errors import UsageError
from ban_bids.training.module import BANTraining
from ban_bids.training.resume import ResumeState

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_STATES = 60.0
STEPS_BETWEEN_LOOKS = 5
"""Processes agree on the time at every so many steps only: it costs them a message."""


class LogLines(pl.Callback):
    """A log line a minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log when it is time."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES and isinstance(pl_module, BANTraining):
            self._last = time.monotonic()
            _LOG.info("training: %.0f %% done, loss %.2f", 100 * pl_module.share, float(outputs["loss"]))


class KeepState(pl.Callback):
    """Save the training's state once a minute.

    Lightning's ModelCheckpoint is not used: it writes through the system's temporary folder, so that on
    another file system a kill may leave half a file.

    Parameters
    ----------
    state : ResumeState
    """

    def __init__(self, state: ResumeState) -> None:
        self._state = state
        self._last = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say whose state it is."""
        checkpoint.update(self._state.about(trainer.global_step))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time; a training that ends with this step needs no state."""
        if trainer.global_step % STEPS_BETWEEN_LOOKS or trainer.should_stop:
            return
        due = time.monotonic() - self._last >= SECONDS_BETWEEN_STATES
        if not trainer.strategy.broadcast(due):
            return
        self._last = time.monotonic()
        try:
            self._state.write(trainer.save_checkpoint, trainer.is_global_zero)
        except (OSError, UsageError) as err:
            if trainer.world_size > 1:  # the others would wait for this process
                raise
            _LOG.warning("%s: cannot be written (%s); a kill would lose the work", self._state.path, err)
