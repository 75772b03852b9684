"""Which solver runs, and with what: the closed form on a CPU, himalaya on a GPU or where it is asked for.

himalaya's own backend is global: it is set for a block of code and put back after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

import himalaya.backend

from ban_bids.encoding.limits import Limits
from ban_bids.errors import UsageError

CLOSED_FORM = "closed-form"
"""Name of our own solver; every other name is one of himalaya's backends."""


@dataclass(frozen=True)
class Engine:
    """A solver's name, and what it may take.

    Parameters
    ----------
    name : str
        ``"closed-form"``, or himalaya's backend: ``"numpy"``, ``"torch"`` or ``"torch_cuda"``.
    limits : Limits
    """

    name: str = CLOSED_FORM
    limits: Limits = field(default_factory=Limits)


def choose_engine(device: str, solver: str = "auto", mem_mb: int | None = None) -> Engine:
    """Return the solver for a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where torch finds it.
    solver : {"auto", "closed-form", "himalaya"}
        ``auto`` is the closed form on a CPU and himalaya on CUDA.
    mem_mb : int, optional
        Most memory of the process, MB.

    Returns
    -------
    Engine

    Raises
    ------
    UsageError
        CUDA is asked for and torch finds none.
    """
    limits = Limits() if mem_mb is None else Limits(mem_mb * 2**20)
    if solver == CLOSED_FORM:
        return Engine(CLOSED_FORM, limits)
    cuda = device != "cpu" and _has_cuda()
    if device == "cuda" and not cuda:
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    if cuda:
        return Engine("torch_cuda", limits)
    return Engine("numpy" if solver == "himalaya" else CLOSED_FORM, limits)


def _has_cuda() -> bool:
    import torch  # only needed to look for CUDA

    return bool(torch.cuda.is_available())


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
        yield himalaya.backend.set_backend(name)
    finally:
        himalaya.backend.set_backend(former)
