"""Which solver runs: the closed form on a CPU, himalaya on a GPU.

himalaya's own backend is global: it is set for a block of code and put back after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import himalaya.backend

from ban_bids.errors import UsageError

CLOSED_FORM = "closed-form"
"""Name of our own solver; every other name is one of himalaya's backends."""


def backend_name(device: str) -> str:
    """Return the solver for a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where torch finds it.

    Returns
    -------
    str
        ``"closed-form"``, or ``"torch_cuda"`` for himalaya on that backend.

    Raises
    ------
    UsageError
        CUDA is asked for and torch finds none.
    """
    if device == "cpu":
        return CLOSED_FORM
    import torch  # only needed to look for CUDA

    if torch.cuda.is_available():
        return "torch_cuda"
    if device == "cuda":
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    return CLOSED_FORM


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
