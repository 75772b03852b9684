"""Where torch computes: on which device, and on how many threads of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ban_bids.errors import UsageError


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Let torch use this many CPU threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_device(device: str) -> torch.device:
    """``auto`` takes a GPU where there is one.

    Raises
    ------
    UsageError
        For ``cuda`` where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA GPU here; choose --device cpu or auto")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
