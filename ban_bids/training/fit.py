"""Run Lightning: quietly, in one process, leaving nothing behind."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader

from ban_bids.models.base import resolve_device
from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.crops import BatchOrder, CropBatches
from ban_bids.training.module import BANTraining
from ban_bids.training.settings import TrainingSettings

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 60.0


def fit(
    network: AuditoryNetwork, batches: CropBatches, settings: TrainingSettings, device: str, progress: bool
) -> BANTraining:
    """Train a network in place and return the module that holds its averaged weights.

    Parameters
    ----------
    network : AuditoryNetwork
    batches : CropBatches
        What an epoch shows it.
    settings : TrainingSettings
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    progress : bool
        Show a bar on a terminal and a log line a minute elsewhere.
    """
    module = BANTraining(network, settings, settings.epochs * len(batches))
    on_terminal = progress and sys.stderr.isatty()
    with _quiet_lightning(), TemporaryDirectory(prefix="ban-bids-train-") as folder:
        trainer = pl.Trainer(
            accelerator="gpu" if resolve_device(device).type == "cuda" else "cpu",
            devices=1,
            precision=_precision(device),
            max_epochs=settings.epochs,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=on_terminal,
            callbacks=[_LogLines()] if progress and not on_terminal else [],
            gradient_clip_val=1.0,
            plugins=[LightningEnvironment()],  # one process, also inside a batch job of a cluster
        )
        trainer.fit(module, DataLoader(batches, batch_size=None, sampler=BatchOrder(len(batches))))
    return module


def _precision(device: str) -> Any:
    """bfloat16 where hardware multiplies it faster: CUDA, and CPUs with AMX."""
    if resolve_device(device).type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16"):
        return "bf16-mixed"
    return "32-true"


class _LogLines(pl.Callback):
    """A log line a minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES and isinstance(pl_module, BANTraining):
            self._last = time.monotonic()
            _LOG.info("training: %.0f %% done, loss %.2f", 100 * pl_module.done(), float(outputs["loss"]))


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's tips and hardware lines off the screen; its errors still come through."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        logger.setLevel(level)
