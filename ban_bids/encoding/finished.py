"""Finished work on disk, so that a run that was killed goes on after the last of it."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np

from ban_bids import __version__
from ban_bids.files.arrays import read_arrays, write_arrays

_LOG = logging.getLogger(__name__)
_BYTES_AT_ONCE = 2**26


class Finished:
    """Arrays of finished batches, each under a hash of everything that decides them.

    Parameters
    ----------
    folder : Path
        The participant's own: one process at a time works on a participant.
    *decides : object
        What the results depend on, see `digest`. The version of ban-bids is added.
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


def digest(value: object) -> str:
    """SHA-256 of nested dataclasses, mappings, sequences, arrays, numbers, text and paths.

    Raises
    ------
    TypeError
        For any other type: leaving it out would let different inputs pass for the same.
    """
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha: hashlib._Hash, value: object) -> None:
    """Add a value with its type and size, so that no two values give the same bytes."""
    if isinstance(value, np.ndarray):  # in memory or on disk alike
        sha.update(f"array:{value.dtype.str}{value.shape}".encode())
        _feed_array(sha, value)
        return
    sha.update(f"{type(value).__name__}:".encode())
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            sha.update(f"{field.name}=".encode())
            _feed(sha, getattr(value, field.name))
    elif isinstance(value, Mapping | list | tuple):
        sha.update(f"{len(value)}".encode())
        for item in value.items() if isinstance(value, Mapping) else value:
            _feed(sha, item)
    elif value is None or isinstance(value, str | bytes | bool | int | float | np.generic | Path):
        text = repr(value).encode()
        sha.update(f"{len(text)}".encode() + text)
    else:
        raise TypeError(f"{type(value).__name__} cannot be hashed for resuming")


def _feed_array(sha: hashlib._Hash, array: np.ndarray) -> None:
    """Add an array's bytes, some rows at a time: BOLD may lie on disk and be larger than memory."""
    if array.dtype.hasobject:
        raise TypeError("arrays of objects cannot be hashed for resuming")
    if array.ndim == 0 or array.nbytes <= _BYTES_AT_ONCE:
        sha.update(np.ascontiguousarray(array).tobytes())
        return
    step = max(1, _BYTES_AT_ONCE // (array.nbytes // len(array)))
    for first in range(0, len(array), step):
        sha.update(np.ascontiguousarray(array[first : first + step]).view(np.uint8).data)
