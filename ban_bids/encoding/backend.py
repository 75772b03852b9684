"""The array library under himalaya: chosen by device, set for a block of code, then put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import himalaya.backend

from ban_bids.errors import UsageError


def backend_name(device: str) -> str:
    """Return himalaya's backend for a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where torch finds it.

    Returns
    -------
    str
        ``"numpy"`` or ``"torch_cuda"``.

    Raises
    ------
    UsageError
        CUDA is asked for and torch finds none.
    """
    if device == "cpu":
        return "numpy"
    import torch  # only needed to look for CUDA

    if torch.cuda.is_available():
        return "torch_cuda"
    if device == "cuda":
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    return "numpy"


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
