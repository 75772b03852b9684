"""Finished work on disk, so that a run that was killed goes on after the last of it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ban_bids import __version__
from ban_bids.files.hashing import digest
from ban_bids.files.npz import read_arrays, write_arrays

_LOG = logging.getLogger(__name__)


class Finished:
    """Arrays of finished batches, each under a hash of everything that decides them.

    Parameters
    ----------
    folder : Path
        The participant's own: one process at a time works on a participant.
    *decides : object
        What the results depend on, see `ban_bids.files.hashing.digest`. The version of ban-bids is added.
    """

    def __init__(self, folder: Path, *decides: object) -> None:
        self.folder = folder
        self._digest = digest((__version__, decides))

    def narrowed(self, *decides: object) -> Finished:
        """Return the same store for batches that depend on more; what is here already is not hashed again."""
        return Finished(self.folder, self._digest, decides)

    def _path(self, batch: object) -> Path:
        return self.folder / f"{digest((self._digest, batch))}.npz"

    def load(self, batch: object) -> dict[str, np.ndarray] | None:
        """Return a finished batch's arrays; None without one, or where its file is damaged (logged)."""
        arrays = read_arrays(self._path(batch))
        if arrays is not None:
            _LOG.info("%s: finished before; used again", self._path(batch))
        return arrays

    def save(self, batch: object, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep a finished batch, atomically."""
        write_arrays(self._path(batch), arrays)


def kept(
    finished: Finished | None, batch: object, compute: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """Return what an earlier run finished, or compute and keep it."""
    arrays: Mapping[str, np.ndarray] | None = None if finished is None else finished.load(batch)
    if arrays is None:
        arrays = compute()
        if finished is not None:
            finished.save(batch, arrays)
    return arrays


def forget(folder: Path) -> None:
    """Remove all finished batches of a participant: its derivatives are written."""
    if folder.exists():
        shutil.rmtree(folder)
