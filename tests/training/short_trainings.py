"""Trainings of seconds, in processes of their own that may be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ban_bids.training.crops import Augmentation
from ban_bids.training.datasets import Data, read_collection
from ban_bids.training.settings import CLOCKS, TrainingSettings

QUICK = TrainingSettings(
    preset="ban-small", seed=1, epochs=20, crop_seconds=0.96, batch_size=4,
    augmentation=Augmentation(stretch=0.05, shift=0.5, frequency_mask=2, time_mask=4, mixup=0.0),
)  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """When a training kills itself: before, in or after a step, or while it writes its state."""

    step: int
    where: str = "training_step"
    by: signal.Signals = signal.SIGKILL


def train(genres: Path | Data, out: Path, settings: TrainingSettings, kill: Kill | None = None) -> None:
    """Train in a fresh process, and see that it ended as it should."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ban_bids.training.train", "ban_bids.training.fit"])
    process = context.Process(target=_train, args=(genres, out, settings, kill))
    process.start()
    process.join()
    assert process.exitcode == (0 if kill is None else -kill.by if kill.by == signal.SIGKILL else 128 + kill.by)


def _train(genres: Path | Data, out: Path, settings: TrainingSettings, kill: Kill | None) -> None:
    def end(number: int, _: object) -> None:
        raise _Ended(128 + number)

    from ban_bids.training import fit
    from ban_bids.training.train import train_collection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "SECONDS_BETWEEN_STATES", 0.0)
        patch.setattr(fit, "STEPS_BETWEEN_LOOKS", 3)
        if settings.max_minutes is not None:
            seconds = count()  # a clock that shows a second more whenever it is read
            patch.setitem(CLOCKS, settings.budget_clock, lambda: float(next(seconds)))
        if kill is not None:
            _kill(patch, kill)
        signal.signal(signal.SIGTERM, end)
        try:
            train_collection(read_collection(genres), out, settings, device="cpu", progress=False)
        except _Ended as ended:
            sys.exit(ended.args[0])


class _Ended(BaseException):
    """As a command that is watched ends after a signal."""


def _kill(patch: pytest.MonkeyPatch, kill: Kill) -> None:
    from ban_bids.training.fit import BANTraining, KeepState
    from ban_bids.training.records import ResumeState

    def die(*_: Any) -> None:
        os.kill(os.getpid(), kill.by)

    def half(path: Path) -> None:
        path.write_bytes(b"half a st")
        die()

    def write(callback: KeepState, trainer: Any, module: BANTraining, *rest: Any) -> None:
        if module.steps_done == kill.step:
            patch.setattr(ResumeState, "write", lambda state, save, replace: whole(state, half, replace))
        keep(callback, trainer, module, *rest)

    def step(module: BANTraining, *args: Any, **kwargs: Any) -> Any:
        if module.steps_done == kill.step:
            die()  # a signal that waits for the step's end returns
        return original(module, *args, **kwargs)

    if kill.where == "write":
        whole, keep = ResumeState.write, KeepState.on_train_batch_end
        patch.setattr(KeepState, "on_train_batch_end", write)
    else:
        original = getattr(BANTraining, kill.where)
        patch.setattr(BANTraining, kill.where, step)
