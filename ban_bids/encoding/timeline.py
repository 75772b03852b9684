"""Features of clips laid on a run's clock and averaged over volumes and lags.

A run's features are a step function of time: constant over each frame of each clip, the response to
silence everywhere else, also before the run begins. Its integral is piecewise linear, so the mean over any
interval is exact for every frame rate, TR and onset; nothing is rounded to a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ban_bids.errors import DataError
from ban_bids.inputs.played import OVERLAP

_EDGE = 1e-9
_COLUMNS_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Binned:
    """Features of one layer in one run, averaged over every interval that some lag of some volume needs.

    Parameters
    ----------
    bins : ndarray of shape (n_bins, n_features), float32
        Means over the distinct intervals.
    index : ndarray of shape (n_volumes, n_lags), intp
        Row of ``bins`` for each volume and lag; lags that fall on the TR grid share bins.
    """

    bins: np.ndarray
    index: np.ndarray

    def lagged(self) -> np.ndarray:
        """Return every lag side by side: (n_volumes, n_lags * n_features), lag after lag."""
        n_volumes, n_lags = self.index.shape
        return self.bins[self.index].reshape(n_volumes, n_lags * self.bins.shape[1])


def lags(repetition_time: float, lag_max: float, lag_step: float) -> np.ndarray:
    """Return the lags 0, s, 2s, ... up to ``lag_max`` seconds, with ``s = min(TR, lag_step)``.

    Parameters
    ----------
    repetition_time, lag_max, lag_step : float
        Seconds.

    Returns
    -------
    ndarray of shape (n_lags,), float64
        Seconds.
    """
    step = min(repetition_time, lag_step)
    return np.arange(int(np.floor(lag_max / step + _EDGE)) + 1) * step


def steps(
    onsets: Sequence[float],
    durations: Sequence[float],
    frames: Sequence[np.ndarray],
    *,
    rate: float,
    silence: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Describe a run's features as a step function of time.

    Parameters
    ----------
    onsets, durations : sequence of float
        Clips in order of onset, seconds on the run's clock; they do not overlap but for the jitter of measured
        onsets, in which the earlier one is heard.
    frames : sequence of ndarray of shape (n_frames, n_features)
        Features of each clip; frame k covers ``[k, k + 1) / rate`` seconds after the onset. Frames beyond
        the clip's duration are cut; if they end earlier, the last one is held.
    rate : float
        Frames a second.
    silence : ndarray of shape (n_features,)
        The model's response to silence.

    Returns
    -------
    edges : ndarray of shape (n_steps + 1,), float64
        From minus to plus infinity's stand-ins: the first and last step are silence.
    values : ndarray of shape (n_steps, n_features), float32
        Height of each step.

    Raises
    ------
    DataError
        Clips overlap.
    """
    edges = [np.array([-np.inf])]
    values = [silence[None]]
    end = -np.inf
    for onset, duration, clip in zip(onsets, durations, frames):
        if onset < end - OVERLAP - _EDGE:
            raise DataError(f"clips overlap at {onset:.3f} s of the run: give events that do not overlap")
        starts = onset + np.arange(len(clip)) / rate
        inside = starts < onset + duration - _EDGE
        first = max(onset, end)
        end = max(onset + duration, first)
        edges += [np.maximum(starts[inside], first), np.array([end])]
        values += [clip[inside], silence[None]]
    edges.append(np.array([np.inf]))
    return np.concatenate(edges), np.concatenate(values).astype(np.float32)


def interval_means(edges: np.ndarray, values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return the mean of a step function over intervals.

    Parameters
    ----------
    edges : ndarray of shape (n_steps + 1,)
        Ascending; the first and last may be infinite.
    values : ndarray of shape (n_steps, n_features)
        Height of each step.
    start, stop : ndarray of shape (n_intervals,)
        Ends of the intervals, ``start < stop``.

    Returns
    -------
    ndarray of shape (n_intervals, n_features), float32
        ``(F(stop) - F(start)) / (stop - start)`` with F the integral, summed in float64.
    """
    finite = edges.copy()
    finite[0] = min(edges[1], start.min()) - 1.0
    finite[-1] = max(edges[-2], stop.max()) + 1.0
    widths = np.diff(finite)
    points = np.concatenate([start, stop])
    step = np.clip(np.searchsorted(finite, points, side="right") - 1, 0, len(values) - 1)
    beyond = (points - finite[step])[:, None]
    means = np.empty((len(start), values.shape[1]), dtype=np.float32)
    for first in range(0, values.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(first, first + _COLUMNS_AT_ONCE)
        heights = values[:, columns].astype(np.float64)
        integral = np.vstack([np.zeros(heights.shape[1]), np.cumsum(heights * widths[:, None], axis=0)])
        at = integral[step] + beyond * heights[step]
        means[:, columns] = (at[len(start) :] - at[: len(start)]) / (stop - start)[:, None]
    return means


def lay_features(
    edges: np.ndarray, values: np.ndarray, times: np.ndarray, *, width: float, delays: np.ndarray
) -> Binned:
    """Average a run's features over each volume, at each lag.

    Parameters
    ----------
    edges, values : ndarray
        The run's features as made by `steps`.
    times : ndarray of shape (n_volumes,)
        Reference time of each volume, seconds.
    width : float
        Of the averaged interval, seconds: the repetition time but in sparse sampling (``Rows.width``).
    delays : ndarray of shape (n_lags,)
        Seconds.

    Returns
    -------
    Binned
        Volume k at lag l is the mean over ``[t_k - l - width/2, t_k - l + width/2]``, inside this run only.
    """
    centres = np.round(times[:, None] - delays[None, :], 9)
    distinct, inverse = np.unique(centres, return_inverse=True)
    half = width / 2
    bins = interval_means(edges, values, distinct - half, distinct + half)
    return Binned(bins, inverse.reshape(centres.shape))
