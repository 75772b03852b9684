"""A run as a picture: its brain voxels in rows, sorted by tissue and averaged to few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ban_bids.preprocessing.quality.measures import mean_and_noise, ratio
from ban_bids.typing import Floats

TISSUES = ("grey matter", "white matter", "CSF", "brain")
"""The last one where tissues are not known."""

_LIKELY = 0.5
_ROWS = 240
"""Rows of the whole carpet; each tissue has its share, at least a few."""

_FEWEST_ROWS = 20


@dataclass(frozen=True, eq=False)
class Layout:
    """Which voxels each row of a carpet averages.

    Parameters
    ----------
    order : ndarray of int, shape (n_chosen,)
        Voxels, sorted by tissue, in their spatial order within a tissue.
    starts : ndarray of int, shape (n_rows,)
        Where in ``order`` each row begins.
    tissue : ndarray of int, shape (n_rows,)
        Index into :data:`TISSUES`.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    tissue: NDArray[np.intp]

    @classmethod
    def of(cls, white_matter: Floats, csf: Floats) -> Layout:
        """Sort voxels; grey matter is what is likely neither white matter nor CSF.

        Parameters
        ----------
        white_matter, csf : ndarray, shape (n_voxels,)
            Probabilities.
        """
        return cls._sorted(np.where(white_matter > _LIKELY, 1, np.where(csf > _LIKELY, 2, 0)))

    @classmethod
    def unsorted(cls, n_voxels: int) -> Layout:
        """Voxels in their spatial order, where tissues are not known."""
        return cls._sorted(np.full(n_voxels, len(TISSUES) - 1))

    @classmethod
    def _sorted(cls, kind: NDArray[np.intp]) -> Layout:
        order, starts, tissue, begin = [], [], [], 0
        for number in range(len(TISSUES)):
            mine = np.flatnonzero(kind == number)
            if not mine.size:
                continue
            share = round(_ROWS * mine.size / len(kind))
            rows = min(mine.size, max(_FEWEST_ROWS, share))
            order.append(mine)
            starts.append(begin + (np.arange(rows) * mine.size) // rows)
            tissue.append(np.full(rows, number))
            begin += mine.size
        none = np.zeros(0, np.intp)
        parts = (np.concatenate([none, *part]) for part in (order, starts, tissue))
        return cls(*parts)

    def rows(self, volume: Floats) -> NDArray[np.float32]:
        """Mean of each row's voxels in one volume, shape (n_rows,)."""
        sums = np.add.reduceat(volume[self.order], self.starts, dtype=float)
        return (sums / np.diff([*self.starts, len(self.order)])).astype(np.float32)

    def watched(self, volumes: Iterable[Floats], into: list[NDArray[np.float32]]) -> Iterator[Floats]:
        """Pass volumes on, keeping each one's rows: one pass serves the carpet and other measures."""
        for volume in volumes:
            into.append(self.rows(volume))
            yield volume


def save_run_quality(
    path: Path, before: Floats | None, volumes: Iterable[Floats], layout: Layout, non_steady: int
) -> Path:
    """Write what is kept of a run for its measures and its carpet.

    Parameters
    ----------
    path : Path
        npz: ``before``, ``after``, ``mean`` (n_voxels,), ``carpet`` (n_volumes, n_rows), ``tissue``
        (n_rows,).
    before : ndarray, shape (n_voxels,), or None
        Temporal signal-to-noise before preprocessing; None: the raw run is not at hand.
    volumes : iterable of ndarray, shape (n_voxels,)
        All volumes of the run, read once.
    layout : Layout
    non_steady : int
        Leading volumes that do not count for the signal-to-noise ratio.
    """
    rows: list[NDArray[np.float32]] = []
    stream = layout.watched(volumes, rows)
    for _ in islice(stream, non_steady):
        pass
    mean, noise = mean_and_noise(stream)
    np.savez(
        path,
        before=np.full_like(mean, np.nan) if before is None else before,
        after=ratio(mean, noise),
        mean=mean,
        carpet=np.array(rows),
        tissue=layout.tissue,
    )
    return path


def standardised(rows: Floats, non_steady: int = 0) -> NDArray[np.float32]:
    """Rows without their linear trend, in standard deviations of the steady volumes.

    Parameters
    ----------
    rows : ndarray, shape (n_volumes, n_rows)
    non_steady : int
        Leading volumes that set neither trend nor scale.

    Returns
    -------
    ndarray of float32, shape (n_rows, n_volumes)
    """
    time = np.arange(len(rows), dtype=float)
    steady = rows[non_steady:].astype(float)
    slope, level = np.polyfit(time[non_steady:], steady, 1)
    left = rows - (time[:, None] * slope + level)
    spread = left[non_steady:].std(0)
    return (left / np.where(spread > 0, spread, 1.0)).T.astype(np.float32)
