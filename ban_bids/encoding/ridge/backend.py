"""Which solver runs, with what arrays and on what device.

himalaya's own backend is global: it is set for a block of code and put back after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import himalaya.backend
import torch

from ban_bids.encoding.ridge.limits import Limits
from ban_bids.errors import UsageError
from ban_bids.files.memory import there_is

CLOSED_FORM = "closed-form"
"""Name of our own solver."""

HIMALAYA = "himalaya"
"""Name of himalaya's random search."""

_CUDA = "torch_cuda"
_OF_FREE = 0.8
"""Share of a GPU's free memory that is planned with."""

_OF_ALL = 0.9
"""Share of the memory of the machine, or of the job, that is planned with where no ``--mem`` is given."""


@dataclass(frozen=True)
class Engine:
    """A solver, the arrays that it works on, and what it may take.

    Parameters
    ----------
    solver : {"closed-form", "himalaya"}
    backend : str
        himalaya's name of the arrays: ``"numpy"``, ``"torch"`` or ``"torch_cuda"``.
    limits : Limits
    """

    solver: str = CLOSED_FORM
    backend: str = "numpy"
    limits: Limits = Limits()

    @property
    def name(self) -> str:
        """What the sidecars call it."""
        return f"{self.solver} ({self.backend})"


CPU = Engine()
"""The closed form on numpy's arrays."""


def choose_engine(device: str, solver: str = "auto", mem_mb: int | None = None) -> Engine:
    """Return the solver for a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where torch finds it.
    solver : {"auto", "closed-form", "himalaya"}
        ``auto`` is the closed form.
    mem_mb : int, optional
        Most memory of the run, MB.

    Returns
    -------
    Engine

    Raises
    ------
    UsageError
        CUDA is asked for and torch finds none.
    """
    cuda = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    limits = Limits(min(Limits.memory, int(_OF_ALL * there_is()))) if mem_mb is None else Limits(mem_mb * 2**20)
    return Engine(HIMALAYA if solver == HIMALAYA else CLOSED_FORM, _CUDA if cuda else "numpy", limits)


@contextmanager
def himalaya_backend(name: str) -> Iterator[ModuleType]:
    """Set himalaya's global backend inside a ``with`` block and restore the former one after it.

    Parameters
    ----------
    name : str
        ``"numpy"``, ``"torch"`` or ``"torch_cuda"``.

    Yields
    ------
    module
        The backend.
    """
    former = himalaya.backend.get_backend()
    try:
        with exact_products():
            yield himalaya.backend.set_backend(name)
    finally:
        himalaya.backend.set_backend(former)


def arrays_of(name: str) -> ModuleType:
    """Return himalaya's backend of that name without making it the global one."""
    return import_module(f"himalaya.backend.{name}")


def free_on_device(name: str) -> int | None:
    """Return bytes of a GPU to plan with; None where arrays lie in the process's own memory."""
    return int(_OF_FREE * torch.cuda.mem_get_info()[0]) if name == _CUDA else None


@contextmanager
def exact_products() -> Iterator[None]:
    """Make torch multiply float32 as float32 inside a ``with`` block, whatever a model's code has set."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former)
