"""What is heard over each volume's whole lag window, and the table of held-out rows that knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ban_bids.encoding.rows import REST, HeldOutRows, Rows

_SLIVER = 0.1
"""Seconds of another sound at the far end of the lags that do not make a row's sound another."""

_TIMING = 0.05
"""Share of a volume by which logged onsets may scatter: no limit of a class lies nearer to a common fraction."""


def held_out_rows(
    runs: Sequence[Rows], held_out: Sequence[np.ndarray], *, longest_lag: float, lag_step: float
) -> HeldOutRows:
    """Put the held-out rows of all folds into one table, by run and volume.

    Parameters
    ----------
    runs : sequence of Rows
        Of every run.
    held_out : sequence of ndarray of int
        Rows that each fold holds out, counted through all runs; no row twice.
    longest_lag, lag_step : float
        Seconds, of the features.

    Returns
    -------
    HeldOutRows
    """
    first = np.concatenate([[0], np.cumsum([rows.n_volumes for rows in runs])])
    index = np.concatenate(held_out)
    order = np.argsort(index, kind="stable")
    fold = np.repeat(np.arange(len(held_out)), [len(rows) for rows in held_out])[order]
    index = index[order]
    run = np.searchsorted(first, index, side="right") - 1
    sound, begun = (
        np.concatenate(parts)[index] for parts in zip(*sounds_heard(runs, longest_lag=longest_lag, lag_step=lag_step))
    )

    def taken(name: str) -> np.ndarray:
        return np.concatenate([getattr(rows, name) for rows in runs])[index]

    return HeldOutRows(
        run=run.astype(np.int32),
        volume=(index - first[run]).astype(np.int32),
        clip=taken("clip"),
        presentation=taken("presentation"),
        position=taken("position"),
        scored=taken("scored"),
        fold=fold.astype(np.int32),
        sound=sound,
        begun=begun,
        tick=taken("tick"),
        cluster=taken("cluster"),
    )


def sounds_heard(runs: Sequence[Rows], *, longest_lag: float, lag_step: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Number what is heard over each volume's lag window, ``[t - longest_lag - width / 2, t]``.

    Two volumes have the same number where the clip that began last and how many volumes ago it did are the same, and
    also which clips, how long before it, reach into the window, lead-ins like any other. Before a run there is
    silence. Sound that begins within ``(t, t + width / 2]`` is not asked for: no response precedes its sound.

    Onsets need not lie on the grid of volumes: volumes are counted from the first one after the onset, and the
    window begins where it does for the earliest such volume of the clip, so that presentations at another phase of
    the volume are one moment. Only where volumes are far apart (sparse sampling) does their phase count, in steps of
    the width over which features are averaged. At irregular intervals, where counting volumes tells no time, the time
    since the onset counts in such steps.

    Parameters
    ----------
    runs : sequence of Rows
    longest_lag, lag_step : float
        Seconds, of the features.

    Returns
    -------
    list of (sound, begun), each of shape (n_volumes,), int32
        Per run: the number of what is heard, the same for the same in all runs, -1 for silence; the clip that began
        last, -1 for silence.
    """
    listened = [_Heard.of(rows, lag_step) for rows in runs]
    earliest: dict[_Moment, float] = {}
    for run in listened:
        for moment, since in zip(run.moment, run.since):
            earliest[moment] = min(since, earliest.get(moment, np.inf))
    numbers: dict[tuple[object, ...], int] = {}
    return [run.numbered(longest_lag + run.width / 2, earliest, numbers) for run in listened]


_Moment = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class _Heard:
    """A run's volumes, each with the presentation that began last and how long before."""

    rows: Rows
    width: float
    volume: list[int]
    presentation: list[int]
    moment: list[_Moment]
    since: list[float]

    @classmethod
    def of(cls, rows: Rows, lag_step: float) -> _Heard:
        """Lay presentations on the run's volumes."""
        width = rows.width(lag_step)
        first, step = (_on_grid if rows.regular else _between_gaps)(rows, width)
        made = cls(rows, width, [], [], [], [])
        for j, (start, stop) in enumerate(zip(first, [*first[1:], rows.n_volumes])):
            for k in range(max(start, 0), min(stop, rows.n_volumes)):
                since = float(rows.times[k] - rows.onset[j])
                counted = (int(step[j]), int(k - start)) if rows.regular else (int(np.floor(since / width + _TIMING)),)
                made.volume.append(k)
                made.presentation.append(j)
                made.moment.append((rows.repetition_time, int(rows.presented[j]), *counted))
                made.since.append(since)
        return made

    def numbered(
        self, reach: float, earliest: dict[_Moment, float], numbers: dict[tuple[object, ...], int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Number of what is heard in the last ``reach`` seconds of each volume, and the clip that began last."""
        rows = self.rows
        sound, begun = (np.full(rows.n_volumes, REST, dtype=np.int32) for _ in range(2))
        for k, j, moment in zip(self.volume, self.presentation, self.moment):
            oldest = int(np.searchsorted(rows.end, rows.onset[j] + earliest[moment] - reach + _SLIVER, side="right"))
            if oldest <= j:
                before = np.floor((rows.onset[j] - rows.onset[oldest:j]) / self.width + 0.5 + _TIMING).astype(int)
                others = tuple(zip(rows.presented[oldest:j].tolist(), before.tolist()))
                sound[k] = numbers.setdefault((moment, *others), len(numbers))
                begun[k] = rows.presented[j]
        return sound, begun


def _on_grid(rows: Rows, width: float) -> tuple[np.ndarray, np.ndarray]:
    """First volume after each onset, before, in or after the run, and seconds until then in steps of the width."""
    tr = rows.repetition_time
    begin = rows.times[0] if rows.n_volumes else 0.0
    first = np.ceil((rows.onset - begin - _TIMING * width) / tr).astype(int)
    return first, np.floor((begin + first * tr - rows.onset) / width + _TIMING).astype(int)


def _between_gaps(rows: Rows, width: float) -> tuple[np.ndarray, np.ndarray]:
    """First volume after each onset, which tells nothing of the time until then; zeros."""
    first = np.searchsorted(rows.times, rows.onset - _TIMING * width)
    return first, np.zeros_like(first)
