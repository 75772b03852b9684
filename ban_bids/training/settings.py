"""What fixes one training apart from the data, and on what it runs: budget, precision, several GPUs and nodes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch

from ban_bids.constants import DEFAULT_SEED
from ban_bids.errors import UsageError
from ban_bids.models.devices import resolve_device
from ban_bids.training.crops import Augmentation

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.monotonic, "cpu": time.process_time}
"""Clocks of a time budget: ``wall``, time that passes; ``cpu``, processor time of this process.

``cpu`` gives two trainings the same work whatever else runs on the machine. It counts every thread of the process, so
also those that cut and augment crops in it.
"""

_SHARDING = ("fsdp", "deepspeed")


@dataclass(frozen=True)
class Objective:
    """What a training asks for beside the right answers: weights of the losses in ``code_losses``; 0 leaves one out.

    The defaults keep the last area's code rich: trained on genres alone, it is sparse and of few directions, and what
    it says of sounds that it has not heard is worth less than what random weights say (see docs/method.md).

    Parameters
    ----------
    prediction : float
        Predict the sound from each frame of the last area, now and ahead.
    ahead : int
        Frames of the last area that are predicted after the present one.
    dimension : float
        Raise the logarithm of the last area's effective dimension.
    contrast : float
        Tell the second half of a crop, by the first, from those of other crops.
    auxiliary : float
        Answer the main task from each of the other areas as well.
    """

    prediction: float = 1.0
    ahead: int = 2
    dimension: float = 0.1
    contrast: float = 0.0
    auxiliary: float = 0.0


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training; all of them are stored in the checkpoint's card.

    Parameters
    ----------
    preset : str
        Architecture, see :data:`ban_bids.models.presets.PRESETS`.
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
        How ``max_minutes`` are measured, see :data:`CLOCKS`.
    crop_seconds : float
    batch_size : int
    learning_rate, weight_decay : float
        Of AdamW.
    warm_up : float
        Share of the training over which the learning rate rises linearly, at most 100 steps.
    plateau : float or None
        End when the training loss has stopped falling, see :class:`ban_bids.training.schedule.Schedule`: when it fell
        by less than this share of its whole fall. ``epochs`` and ``max_minutes`` then are the most. None: the rate
        falls over all of these.
    clip_gradient : float
        Largest norm of the gradient.
    label_smoothing : float
    ema : float
        Decay of the average of the weights per step.
    patience : int or None
        Early stopping: hold out a sixth of the *training* tracks, of each genre alike, look at their loss ten
        times within so many epochs, stop when it has not fallen over all of them, and take the averaged
        weights with the lowest. The tracks whose accuracy is reported play no part in it. Off by default: the
        schedule ends with a learning rate of zero, so a loss that rises midway says little of the last
        weights, and the held-out sixth is missing from the training.
    augmentation : Augmentation
    objective : Objective
    controls : bool
        Measure the normalisation of the network's random controls on the training tracks, to be kept with the
        weights; some seconds, wasted where no such control will be scored.
    """

    preset: str = "ban"
    split: str = "fault-filtered"
    seed: int = DEFAULT_SEED
    epochs: int = 1000
    max_minutes: float | None = None
    budget_clock: str = "wall"
    crop_seconds: float = 5.12
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    plateau: float | None = 0.03
    clip_gradient: float = 1.0
    label_smoothing: float = 0.1
    ema: float = 0.98
    patience: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    objective: Objective = Objective()
    controls: bool = True


def check_settings(settings: TrainingSettings) -> None:
    """Refuse values with which no training is possible.

    Raises
    ------
    UsageError
        Naming the option.
    """
    s, minutes, clocks = settings, settings.max_minutes, ", ".join(CLOCKS)
    rules = (
        (s.epochs >= 1 and (minutes is None or minutes > 0), "--epochs and --max-minutes must be above zero"),
        (s.budget_clock in CLOCKS, f"--budget-clock {s.budget_clock}: unknown; choose one of {clocks}"),
        (s.batch_size >= 2, f"--batch-size {s.batch_size}: normalisation over a batch needs at least two crops"),
        (0.2 <= s.crop_seconds <= 600, f"--crop-seconds {s.crop_seconds:g}: must lie within 0.2 and 600"),
        (0 < s.learning_rate < 10, f"--learning-rate {s.learning_rate:g}: must lie within 0 and 10"),
        (s.plateau is None or 0 < s.plateau < 1, f"--plateau {s.plateau}: must lie within 0 and 1"),
        (s.patience is None or s.patience >= 1, f"--early-stopping {s.patience}: must be one epoch or more"),
        (s.seed >= 0, f"--seed {s.seed}: must not be negative"),
    )
    for is_met, otherwise in rules:
        if not is_met:
            raise UsageError(otherwise)


@dataclass(frozen=True)
class Parallel:
    """How the devices are used; what they are is ``device`` (``cpu``, ``cuda``, ``auto``).

    Parameters
    ----------
    devices : int
        Processes per node: GPUs, or processes on its CPU.
    num_nodes : int
        Nodes; Lightning finds them through SLURM, torchrun or its own environment variables.
    strategy : str
        Name of a Lightning strategy that keeps whole weights in every process: ``auto``, ``ddp``, …
    compile : bool
        ``torch.compile`` on CUDA. It pays from some thousands of steps.
    """

    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    compile: bool = False

    @property
    def n_processes(self) -> int:
        """Processes of all nodes."""
        return self.devices * self.num_nodes


ONE_PROCESS = Parallel()


def check_hardware(device: str, parallel: Parallel) -> None:
    """Refuse what this machine does not have.

    Raises
    ------
    UsageError
        Naming the option.
    """
    if parallel.devices < 1 or parallel.num_nodes < 1:
        raise UsageError("--devices and --num-nodes must be above zero")
    if parallel.strategy.startswith(_SHARDING):
        raise UsageError(
            f"--strategy {parallel.strategy}: divides the weights, of which every process averages all; "
            "choose auto or ddp"
        )
    if resolve_device(device).type == "cuda" and parallel.devices > torch.cuda.device_count():
        raise UsageError(
            f"--devices {parallel.devices}: torch finds {torch.cuda.device_count()} CUDA GPU(s) here; ask for fewer"
        )


def precision(device: str) -> Any:
    """bfloat16 where hardware multiplies it faster: CUDA, and CPUs with AMX or AVX-512's dot products."""
    on_cpu = torch.cpu.get_capabilities()
    if resolve_device(device).type == "cuda" or on_cpu.get("amx_bf16") or on_cpu.get("avx512_bf16"):
        return "bf16-mixed"
    return "32-true"


def reason_not_to_compile(device: str) -> str | None:
    """Why ``torch.compile`` cannot be used, or None where it can."""
    if resolve_device(device).type != "cuda":
        return "it is meant for CUDA"
    if find_spec("triton") is None:
        return "the package triton is missing"
    compiler = os.environ.get("CC", "")
    if not any(shutil.which(name) for name in (compiler, "cc", "gcc", "clang") if name):
        return "no C compiler is found (cc, gcc, clang, or the variable CC)"
    return None
