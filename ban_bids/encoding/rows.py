"""Which volume of a run heard what: the rows that encoding trains and scores on.

A *row* is one volume of one run. All arrays here are parallel, one entry per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ban_bids.inputs.timing import clusters, heard_by
from ban_bids.inputs.types import Clip, Presentation, Run

REST = -1
"""Entry of ``clip``, ``presentation`` and ``position`` for volumes outside every clip."""

_EDGE = 1e-6
"""Seconds of tolerance at a clip's edges, so that rounding never moves a volume over them."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Volumes of one run and what was heard during each.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,), float64
        Seconds on the run's clock to which each volume's samples refer (``k * TR + t_ref``; where volumes come at
        irregular intervals, as long after ``t_ref`` as they began after the first one).
    clip : ndarray of shape (n_volumes,), int32
        Index into the participant's clips, -1 for rest.
    presentation : ndarray of shape (n_volumes,), int32
        Index of the presentation within the run, in order of onset; -1 for rest.
    position : ndarray of shape (n_volumes,), int32
        0, 1, ... counting volumes since the presentation began, also before the run's first one (at irregular
        intervals: whole repetition times since its onset); -1 for rest.
    lead_in : ndarray of shape (n_volumes,), bool
        Volumes within a lead-in presentation.
    keep : ndarray of shape (n_volumes,), bool
        False for non-steady-state and scrubbed volumes.
    repetition_time : float
        Seconds between volumes; at irregular intervals, within clusters.
    acquisition_time : float or None
        Seconds that taking a volume lasts; None: the repetition time.
    presented : ndarray of shape (n_presentations,), int32
        Clip of each presentation, in order of onset, whether or not a volume falls into it.
    onset, end : ndarray of shape (n_presentations,), float64
        Seconds on the run's clock.
    regular : bool
        Whether volumes come at constant intervals.
    """

    times: np.ndarray
    clip: np.ndarray
    presentation: np.ndarray
    position: np.ndarray
    lead_in: np.ndarray
    keep: np.ndarray
    repetition_time: float
    acquisition_time: float | None
    presented: np.ndarray
    onset: np.ndarray
    end: np.ndarray
    regular: bool = True

    @property
    def tick(self) -> np.ndarray:
        """Each volume's place on a line with one place per repetition time: its number at constant intervals."""
        number = np.arange(self.n_volumes)
        if self.regular:
            return number
        nearest = np.rint((self.times - self.times[0]) / self.repetition_time).astype(int)
        return np.asarray(np.maximum.accumulate(nearest - number) + number)

    @property
    def cluster(self) -> np.ndarray:
        """Number of the cluster of volumes, with gaps between them, that each volume is of; 0 at constant intervals."""
        if self.regular:
            return np.zeros(self.n_volumes, dtype=int)
        return clusters(self.times, self.repetition_time)

    def width(self, lag_step: float) -> float:
        """Seconds over which features are averaged: the time in which a volume is taken, or a lag's step.

        With volumes back to back that is the repetition time. With silence between them (sparse sampling) it
        is shorter, so that the lags still tell one moment before a volume from the next.
        """
        duration = self.acquisition_time or self.repetition_time
        return min(self.repetition_time, max(duration, lag_step))

    @property
    def n_volumes(self) -> int:
        """Number of volumes in the run."""
        return len(self.times)

    @property
    def scored(self) -> np.ndarray:
        """Rows that may train and be scored: kept, and not within a lead-in presentation."""
        return self.keep & ~self.lead_in


@dataclass(frozen=True, eq=False)
class RunRows:
    """What one run heard: its rows and its presentations in order of onset."""

    name: str
    rows: Rows
    presentations: tuple[Presentation, ...]


def offsets(runs: Sequence[RunRows]) -> np.ndarray:
    """Return the first row of each run, and the total number of rows at the end."""
    return np.concatenate([[0], np.cumsum([run.rows.n_volumes for run in runs])])


def run_rows(run: Run, t_ref: float, non_steady: int, *, scrubbed: Sequence[int], clips: Sequence[Clip]) -> Rows:
    """Assign every volume of a run to the clip that was heard at its reference time.

    Parameters
    ----------
    run : Run
        Gives the volumes' times and ``presentations``.
    t_ref : float
        Seconds on the run's clock to which the first volume's samples refer.
    non_steady : int
        Number of leading volumes to leave out.
    scrubbed : sequence of int
        Further volumes to leave out.
    clips : sequence of Clip
        The participant's clips; every presented clip is one of them.

    Returns
    -------
    Rows
        A volume at t (``k * TR + t_ref`` at constant intervals) hears presentation j where
        ``onset_j <= t < onset_j + duration_j``, and after a gap what was played in it, see
        `ban_bids.inputs.timing.heard_by`. A clip that the image's end cuts keeps the volumes that heard it.
    """
    n = run.n_volumes
    index_of = {clip: i for i, clip in enumerate(clips)}
    times, regular = run.since_first + t_ref, run.volume_times is None
    clip, presentation, position = (np.full(n, REST, dtype=np.int32) for _ in range(3))
    lead_in = np.zeros(n, dtype=bool)
    presentations = sorted(run.presentations, key=lambda p: p.onset)
    hearing = heard_by(replace(run, presentations=tuple(presentations)), times)
    for j, (heard, inside) in enumerate(zip(presentations, map(np.flatnonzero, hearing))):
        clip[inside] = index_of[heard.clip]
        presentation[inside] = j
        if regular:  # volumes that were not taken count too: a clip may have begun before the first one
            first = np.ceil((heard.onset - _EDGE - times[0]) / run.repetition_time)
            position[inside] = inside - first
        else:
            position[inside] = np.floor((times[inside] - heard.onset) / run.repetition_time + _EDGE)
        lead_in[inside] = heard.lead_in
    keep = np.ones(n, dtype=bool)
    keep[:non_steady] = False
    keep[np.asarray(scrubbed, dtype=np.intp)] = False
    return Rows(
        times=times,
        clip=clip,
        presentation=presentation,
        position=position,
        lead_in=lead_in,
        keep=keep,
        repetition_time=run.repetition_time,
        acquisition_time=run.acquisition_time,
        presented=np.array([index_of[heard.clip] for heard in presentations], dtype=np.int32),
        onset=np.array([heard.onset for heard in presentations], dtype=np.float64),
        end=np.array([heard.end for heard in presentations], dtype=np.float64),
        regular=regular,
    )


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """One entry per held-out volume, concatenated over folds and runs; all arrays of length n.

    Parameters
    ----------
    run : ndarray, int32
        Index of the run in the participant's list of runs.
    volume : ndarray, int32
        Index of the volume within its run.
    clip : ndarray, int32
        Index into the participant's clips, -1 for rest.
    presentation : ndarray, int32
        Index of the presentation within the run, -1 for rest.
    position : ndarray, int32
        Volume number within the presentation, -1 for rest.
    scored : ndarray, bool
        False for lead-in, non-steady-state and scrubbed volumes: they keep the clock but enter no score.
    fold : ndarray, int32
        Index of the outer fold that holds the row out.
    sound : ndarray, int32, or None
        From `ban_bids.encoding.heard.sounds_heard`: equal where the same is heard over the whole lag window, -1 for
        silence. None where no repeats are looked for.
    begun : ndarray, int32, or None
        Clip that began last within the lag window, -1 for silence.
    tick : ndarray, int, or None
        Place of the volume in time, in repetition times; None: its number.
    cluster : ndarray, int, or None
        Cluster of volumes within the run; None: there are no gaps.
    """

    run: np.ndarray
    volume: np.ndarray
    clip: np.ndarray
    presentation: np.ndarray
    position: np.ndarray
    scored: np.ndarray
    fold: np.ndarray
    sound: np.ndarray | None = None
    begun: np.ndarray | None = None
    tick: np.ndarray | None = None
    cluster: np.ndarray | None = None

    @property
    def moment(self) -> np.ndarray:
        """Place of each volume in time, in repetition times."""
        return self.volume if self.tick is None else self.tick

    def __len__(self) -> int:
        return len(self.run)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Measured and predicted BOLD of the held-out rows, for some voxels.

    Parameters
    ----------
    table : HeldOutRows
        The n rows.
    bold : ndarray of shape (n, n_voxels), float32
        Cleaned and z-scored per run.
    prediction : dict of str to ndarray of shape (n, n_voxels), float32
        By layer; also ``"Joint"`` where the joint model was fitted.
    whole : dict of str to ndarray of shape (n, n_voxels), float32
        What tests of "does the voxel follow sound" permute in blocks: the prediction with its nuisance.
    specific : dict of str to ndarray of shape (n, n_voxels), float32
        What tests of "does it follow these sounds" permute: the same less what the run's mean clip would give at
        every presentation, so that it is zero on average over all orders of the run's clips.
    """

    table: HeldOutRows
    bold: np.ndarray
    prediction: dict[str, np.ndarray]
    whole: dict[str, np.ndarray]
    specific: dict[str, np.ndarray]
