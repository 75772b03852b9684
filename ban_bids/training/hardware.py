"""On what a training runs: precision, compilation, several GPUs and nodes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from ban_bids.errors import UsageError
from ban_bids.models.network import resolve_device

_SHARDING = ("fsdp", "deepspeed")


@dataclass(frozen=True)
class Parallel:
    """How the devices are used; what they are is ``device`` (``cpu``, ``cuda``, ``auto``).

    Parameters
    ----------
    devices : int
        Processes a node: GPUs, or processes on its CPU.
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
    """Refuse what this machine has not got.

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
    """bfloat16 where hardware multiplies it faster: CUDA, and CPUs with AMX."""
    if resolve_device(device).type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16"):
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
