"""Fit a network with Lightning: loss, schedule under a time budget, averaged weights, early stopping, saved state.

Lightning's own callbacks are used where they do the same. These do not: its EarlyStopping judges the weights that are
trained at the end of an epoch, ours the averaged ones at steps; its EMAWeightAveraging keeps one decay, ours forgets
the random start; its ModelCheckpoint writes through the system's temporary folder, so that on another file system a
kill may leave half a file. All that is kept is part of the module's state, so a killed training goes on bit for bit.
"""

from __future__ import annotations

import copy
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ban_bids.constants import AREAS
from ban_bids.errors import DiskFull, UsageError
from ban_bids.models.devices import resolve_device
from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.auxiliary import heads_of, task_loss
from ban_bids.training.code_losses import CodeLosses
from ban_bids.training.crops import BatchOrder, CropBatches
from ban_bids.training.records import ResumeState
from ban_bids.training.schedule import BLOCK, Schedule
from ban_bids.training.settings import CLOCKS, Parallel, TrainingSettings, precision, reason_not_to_compile
from ban_bids.training.stopping import EarlyStopping
from ban_bids.training.tracks import Task, task_slices

_LOG = logging.getLogger(__name__)
_EMA_RAMP = 9.0
_SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_STATES = 60.0
STEPS_BETWEEN_LOOKS = 5
"""Processes agree on the time at every so many steps only: it costs them a message."""


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
    tasks : sequence of Task
        The main one, which the network's read-out answers, and those that get heads of their own; by default the
        main one alone.
    stopping : EarlyStopping, optional
        Ends the training early and chooses its weights.
    compiled : bool
        Run the network through ``torch.compile``.
    log_lines : bool
        Log a line per minute.

    Attributes
    ----------
    heads : ModuleList
        Read-outs of the further tasks, in their order; left behind when the training ends.
    share : float
        Share of the training behind us, by steps or by the clock, whichever is further on.
    steps_done : int
    ended : str or None
        Why the training ended before its last step: ``plateau``, ``time``, ``stopping``.
    schedule : Schedule
        Of the learning rate; holds the learning curve.
    resumed : list of int
        After which steps an interrupted training was taken up again.
    """

    def __init__(
        self,
        network: AuditoryNetwork,
        settings: TrainingSettings,
        n_steps: int,
        *,
        tasks: Sequence[Task] = (),
        stopping: EarlyStopping | None = None,
        compiled: bool = False,
        log_lines: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.n_steps = n_steps
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.task_slices = task_slices(tasks) if tasks else [slice(None)]
        self.heads = heads_of(network, tasks[1:], settings.seed)
        self.average_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.best_heads = None if stopping is None else copy.deepcopy(self.average_heads)
        self.code_losses = CodeLosses(
            network, settings.objective, n_classes=network.readout.out_features, seed=settings.seed
        )
        self.stopping = stopping
        self.steps_done = 0
        self.share = 0.0
        self.schedule = Schedule(n_steps, settings.warm_up, settings.plateau)
        self._losses: list[Tensor] = []
        self.ended: str | None = None
        self.resumed: list[int] = []
        self.log_lines = log_lines
        self._last_line = time.monotonic()
        self._now = CLOCKS[settings.budget_clock]
        self._used_before = 0.0
        self._started = self._now()
        self._from_frames = torch.compile(network.from_frames) if compiled else network.from_frames

    def seconds_used(self) -> float:
        """Seconds of the budget that have been used, also before an interruption."""
        return self._used_before + self._now() - self._started

    def on_fit_start(self) -> None:
        """Start the clock of the time budget."""
        self._started = self._now()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is in no tensor."""
        counts = {"steps_done": self.steps_done, "resumed": self.resumed}
        self._note_losses()
        checkpoint["training"] = counts | {"used": self.seconds_used(), "schedule": self.schedule.state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        stored = checkpoint["training"]
        self.steps_done = stored["steps_done"]
        self.resumed = [*stored["resumed"], self.steps_done]
        self._used_before = stored["used"]
        self.schedule.restore(stored["schedule"])

    def training_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        """Sum over the tasks of the cross-entropy with label smoothing, and the losses of the objective.

        Parameters
        ----------
        batch : tuple of Tensor
            Crops as they are heard, (mixed) targets, and where the objective asks for it the crops as they sounded.
        """
        crops, targets, *sounds = batch
        standardise = self.network.front_end.standardise
        logits, history = self._from_frames(standardise(crops))
        answers = [logits]
        if len(self.heads):
            pooled = self.network.pooled(history[AREAS[-1]][-1])
            answers += [head(self.network.dropout(pooled)) for head in self.heads]
        smoothing = self.settings.label_smoothing
        losses = [task_loss(a.float(), targets[:, where], smoothing) for a, where in zip(answers, self.task_slices)]
        loss = torch.stack(losses).sum()
        self._losses.append(loss.detach())
        sound = sounds[0] if sounds else crops
        with torch.autocast(crops.device.type, enabled=False):
            further = self.code_losses(self.network, history, standardise(sound)[:, 0], targets[:, self.task_slices[0]])
        return loss + sum(further.values())

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Set the learning rate and dropout's seed."""
        self.share = self._share()
        rate = self.settings.learning_rate * self.schedule.rate(self.steps_done, self.share)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        # a seed per step: the state of the generator need not be saved, nor what else has drawn from it
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
            if self.best_heads is not None and int(self.stopping.best_step) == self.steps_done:
                self.best_heads.load_state_dict(self.average_heads.state_dict())
        used = self._share()
        self._look(used)
        if not last and used >= 1.0:
            self._end("time")
        elif not last and self.schedule.fallen(self.steps_done, used) >= 1.0:
            # half as many steps again may be over before the budget that let the rate fall
            self._end("plateau" if self.schedule.found_plateau else "time")

    def _look(self, used: float) -> None:
        """Note the losses, and see whether the rate falls from here on; the first process decides for all."""
        if self.steps_done % BLOCK == 0:
            self._note_losses()
            self.schedule.look(self.steps_done, used)
            if self.settings.plateau is not None:
                self.schedule.falls_from = self.trainer.strategy.broadcast(self.schedule.falls_from)

    def _note_losses(self) -> None:
        """Move the losses of the last steps to the learning curve; a GPU is waited for at these moments only."""
        for loss in self._losses:
            self.schedule.curve.add(float(loss))
        self._losses.clear()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Log how far the training is, once per minute."""
        if self.log_lines and time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            _LOG.info("training: %.0f %% done, loss %.2f", 100 * self.share, float(outputs["loss"]))

    def trained_network(self) -> AuditoryNetwork:
        """The network with averaged weights; its normalisation has not been measured yet."""
        return self.average if self.stopping is None else self.stopping.best

    def trained_heads(self) -> nn.ModuleList:
        """The further tasks' read-outs that belong to :meth:`trained_network`."""
        return self.average_heads if self.best_heads is None else self.best_heads

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; normalisation and biases are not decayed."""
        parameters = [
            p
            for p in (*self.network.parameters(), *self.heads.parameters(), *self.code_losses.parameters())
            if p.requires_grad
        ]
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
            used = self.seconds_used() / (60.0 * self.settings.max_minutes)
            # processes read the clock at different times, but must take the same step
            share = max(share, self.trainer.strategy.broadcast(used))
        return min(share, 1.0)

    def _blend(self) -> None:
        """Draw the averaged weights towards those of this step."""
        # a short memory at first: the random start must not linger in the average
        decay = min(self.settings.ema, self.steps_done / (_EMA_RAMP + self.steps_done)) if self.steps_done > 1 else 0.0
        averaged, trained = (
            [*network.parameters(), *heads.parameters()]
            for network, heads in ((self.average, self.average_heads), (self.network, self.heads))
        )
        get_ema_multi_avg_fn(decay)(averaged, trained, None)


class KeepState(pl.Callback):
    """Save the training's state once per minute."""

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
        """Save when it is time, or all is to end; a training that ends with this step needs no state."""
        # several processes save together, at steps that all of them look at
        last = trainer.received_sigterm and trainer.world_size == 1
        if trainer.should_stop or (trainer.global_step % STEPS_BETWEEN_LOOKS and not last):
            return
        due = last or time.monotonic() - self._last >= SECONDS_BETWEEN_STATES
        if not trainer.strategy.broadcast(due):
            return
        self._last = time.monotonic()
        try:
            self._state.write(trainer.save_checkpoint, trainer.is_global_zero)
        except (OSError, DiskFull) as err:
            if trainer.world_size > 1:  # the others would wait for this process
                raise
            why = err if isinstance(err, DiskFull) else f"{self._state.path}: cannot be written ({err.strerror})"
            _LOG.warning("%s; training goes on, but a kill would lose the work since the last state", why)


def fit(
    network: AuditoryNetwork,
    settings: TrainingSettings,
    make_batches: Callable[[torch.device], CropBatches],
    *,
    tasks: Sequence[Task],
    inner: Sequence[tuple[Tensor, ...]],
    state: ResumeState,
    device: str,
    parallel: Parallel,
    progress: bool,
) -> tuple[BANTraining, bool]:
    """Train a network in place.

    Parameters
    ----------
    network : AuditoryNetwork
    settings : TrainingSettings
    make_batches : callable
        What an epoch shows it, on a device.
    tasks : sequence of Task
        What the targets hold side by side, the network's own task first.
    inner : sequence of (Tensor, Tensor)
        Crops and targets by which early stopping judges; unused without it.
    state : ResumeState
        Where an interrupted training left off, and where this one would.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    parallel : Parallel
    progress : bool
        Show a bar on a terminal and a log line per minute elsewhere.

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
    DiskFull
        The checkpoint does not fit where it is to be written.
    """
    state.check_room(network)
    on_terminal = progress and sys.stderr.isatty()
    with _quiet_lightning(), TemporaryDirectory(prefix="ban-bids-train-") as folder:
        trainer = _trainer(
            device, parallel, callbacks=[KeepState(state)], default_root_dir=folder,
            enable_progress_bar=on_terminal, gradient_clip_val=settings.clip_gradient,
        )  # fmt: skip
        batches = make_batches(trainer.strategy.root_device)
        n_steps = max(1, settings.epochs * len(batches) // trainer.world_size)
        stopping = None
        if settings.patience is not None:
            stopping = EarlyStopping.within(network, inner, settings.patience * len(batches) // trainer.world_size)
        module = BANTraining(
            network, settings, n_steps, tasks=tasks, stopping=stopping, compiled=_compiled(device, parallel),
            log_lines=progress and not on_terminal,
        )  # fmt: skip
        order = BatchOrder(
            len(batches), n_steps, lambda: module.steps_done, rank=trainer.global_rank, world=trainer.world_size
        )
        loader = DataLoader(batches, batch_size=None, sampler=order)
        with _interruptible(trainer):
            trainer.fit(module, loader, ckpt_path=state.find(), weights_only=True)
    return module, trainer.is_global_zero


def _trainer(device: str, parallel: Parallel, **options: Any) -> pl.Trainer:
    try:
        return pl.Trainer(
            accelerator="gpu" if resolve_device(device).type == "cuda" else "cpu",
            devices=parallel.devices,
            num_nodes=parallel.num_nodes,
            strategy=parallel.strategy,
            precision=precision(device),
            max_epochs=1,  # one pass over the batches of all epochs
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,  # our order divides the batches
            # a single process stays single inside a batch job of a cluster; several are found by Lightning
            plugins=[LightningEnvironment()] if parallel.n_processes == 1 else None,
            **options,
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
    """Let SIGTERM wait for the end of a step, and turn Lightning's exits after signals back into what they do here."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _waiting(signal.SIGTERM):
            yield
    except SystemExit as exit_:
        if trainer.received_sigterm:
            signal.raise_signal(signal.SIGTERM)
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from exit_


@contextmanager
def _waiting(number: signal.Signals) -> Iterator[None]:
    """Leave a signal to Lightning, which looks for it after every step, and take it back then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, handler)


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
