"""Run Lightning: quietly, leaving nothing behind but the state of an unfinished training."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from ban_bids.errors import UsageError
from ban_bids.models.network import AuditoryNetwork, resolve_device
from ban_bids.training.callbacks import KeepState, LogLines
from ban_bids.training.crops import BatchOrder, CropBatches
from ban_bids.training.hardware import Parallel, precision, reason_not_to_compile
from ban_bids.training.module import BANTraining
from ban_bids.training.resume import ResumeState
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.stopping import EarlyStopping

_LOG = logging.getLogger(__name__)
_LOOKS_WITHIN_PATIENCE = 10


def fit(
    network: AuditoryNetwork,
    make_batches: Callable[[torch.device], CropBatches],
    inner: Sequence[tuple[Tensor, Tensor]],
    settings: TrainingSettings,
    state: ResumeState,
    *,
    device: str,
    parallel: Parallel,
    progress: bool,
) -> tuple[BANTraining, bool]:
    """Train a network in place.

    Parameters
    ----------
    network : AuditoryNetwork
    make_batches : callable
        What an epoch shows it, on a device.
    inner : sequence of (Tensor, Tensor)
        Crops and targets by which early stopping judges; unused without it.
    settings : TrainingSettings
    state : ResumeState
        Where an interrupted training left off, and where this one would.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    parallel : Parallel
    progress : bool
        Show a bar on a terminal and a log line a minute elsewhere.

    Returns
    -------
    module : BANTraining
        Holds the averaged weights.
    is_first : bool
        Whether this is the first of the processes, the one that evaluates and writes.

    Raises
    ------
    UsageError
        For a strategy that Lightning does not know or cannot use here.
    """
    with _quiet_lightning(), TemporaryDirectory(prefix="ban-bids-train-") as folder:
        trainer = _trainer(settings, state, device, parallel, progress, folder)
        batches = make_batches(trainer.strategy.root_device)
        n_steps = max(1, settings.epochs * len(batches) // trainer.world_size)
        stopping = None
        if settings.patience is not None:
            patience = max(1, settings.patience * len(batches) // trainer.world_size)
            between = max(1, patience // _LOOKS_WITHIN_PATIENCE)
            stopping = EarlyStopping(network, inner, between, patience)
        module = BANTraining(network, settings, n_steps, stopping, _compiled(device, parallel))
        order = BatchOrder(len(batches), n_steps, lambda: module.steps_done, trainer.global_rank, trainer.world_size)
        loader = DataLoader(batches, batch_size=None, sampler=order)
        with _interruptible(trainer):
            trainer.fit(module, loader, ckpt_path=state.find(), weights_only=True)
    return module, trainer.is_global_zero


def _trainer(
    settings: TrainingSettings,
    state: ResumeState,
    device: str,
    parallel: Parallel,
    progress: bool,
    folder: str,
) -> pl.Trainer:
    on_terminal = progress and sys.stderr.isatty()
    lines = [LogLines()] if progress and not on_terminal else []
    try:
        return pl.Trainer(
            accelerator="gpu" if resolve_device(device).type == "cuda" else "cpu",
            devices=parallel.devices,
            num_nodes=parallel.num_nodes,
            strategy=parallel.strategy,
            precision=precision(device),
            max_epochs=1,  # one pass over the batches of all epochs
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=on_terminal,
            callbacks=[*lines, KeepState(state)],
            gradient_clip_val=settings.clip_gradient,
            use_distributed_sampler=False,  # our order divides the batches
            # a single process stays single inside a batch job of a cluster; several are found by Lightning
            plugins=[LightningEnvironment()] if parallel.n_processes == 1 else None,
        )
    except (ValueError, MisconfigurationException, RuntimeError) as err:
        raise UsageError(
            f"--devices {parallel.devices} --num-nodes {parallel.num_nodes} --strategy {parallel.strategy}: "
            f"Lightning refuses ({str(err).splitlines()[0]}); correct them"
        ) from err


def _compiled(device: str, parallel: Parallel) -> bool:
    reason = reason_not_to_compile(device) if parallel.compile else None
    if reason is not None:
        _LOG.warning("--compile: not used, for %s", reason)
    return parallel.compile and reason is None


@contextmanager
def _interruptible(trainer: Any) -> Iterator[None]:
    """Turn Lightning's exit after Ctrl-C back into KeyboardInterrupt, and let the signal act again."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit_:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from exit_


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's tips and hardware lines off the screen; its errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
