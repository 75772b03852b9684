"""How much memory and how many threads a solver may take, and going on where memory runs out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_info

from ban_bids.errors import MemoryLimitError
from ban_bids.files.memory import taken

_LOG = logging.getLogger(__name__)
_LEAST = 16
_FLOOR_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Limits:
    """What a solver may take.

    Parameters
    ----------
    memory : int
        Bytes of all processes of the run together (``--mem``).
    threads : int or None
        Factorisations at a time; as many as BLAS has threads by default.
    """

    memory: int = 4 * 2**30
    threads: int | None = None

    def left(self) -> int:
        """Return bytes that may still be taken; at least 128 MiB, or nothing could be computed."""
        return max(_FLOOR_BYTES, self.memory - taken())

    def workers(self) -> int:
        """Return how many factorisations may run at a time, if memory allows."""
        if self.threads is not None:
            return self.threads
        pools = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]
        return max(1, min(max(pools, default=1), os.cpu_count() or 1))


def in_batches(n: int, size: int, work: Callable[[slice], None]) -> None:
    """Work through n voxels in batches; where memory runs out the batch is halved and done again.

    Parameters
    ----------
    n : int
    size : int
        Voxels of a batch at first.
    work : callable
        Takes a slice of the voxels; may be called again for the same ones.

    Raises
    ------
    MemoryLimitError
        There is not enough for 16 voxels.
    """
    first = 0
    while first < n:
        last = min(first + size, n)
        try:
            work(slice(first, last))
        except (MemoryError, torch.OutOfMemoryError) as error:
            size = (last - first) // 2
            if size < _LEAST:
                raise MemoryLimitError(
                    f"out of memory with {last - first} voxels at a time: give more (--mem)"
                ) from error
            _LOG.warning("out of memory: going on with %d voxels at a time", size)
            continue
        first = last
