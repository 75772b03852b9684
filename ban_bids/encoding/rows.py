"""Which volume of a run heard what: the rows that encoding trains and scores on, and which of them repeat.

A *row* is one volume of one run. All arrays here are parallel, one entry per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ban_bids.encoding.cleaning import Nuisance
from ban_bids.encoding.noise import LayoutNoise, layout_noise
from ban_bids.errors import NotComputable
from ban_bids.inputs.timing import clusters, heard_by
from ban_bids.inputs.types import Clip, Run

REST = -1
"""Entry of ``clip``, ``presentation`` and ``position`` for volumes outside every clip."""

_EDGE = 1e-6
"""Seconds of tolerance at a clip's edges, so that rounding never moves a volume over them."""

_SLIVER = 0.1
"""Seconds of another sound at the far end of the lags that do not make a row's sound another."""

_FEWEST = 0.05
"""Share of the volumes of repeated clips; fewer are repeats by chance."""

_TIMING = 0.05
"""Share of a volume by which logged onsets may scatter: no limit of a class lies nearer to a common fraction."""


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
        From `sounds_heard`: equal where the same is heard over the whole lag window, -1 for silence. None where no
        repeats are looked for.
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


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows over whose whole lag window the same was heard.

    Parameters
    ----------
    index : ndarray of shape (n_unique, n_repeats), int
        ``index[u, i]`` is the row of repeat i of unique moment u; ordered by clip, then by what was heard.
    clip : ndarray of shape (n_unique,), int
        Clip that began last in each unique moment's lag window.
    notes : tuple of str
        What was left out and why.
    noise : LayoutNoise or None
        From `with_noise`; None also where noise feigns no signal power.
    """

    index: np.ndarray
    clip: np.ndarray
    notes: tuple[str, ...] = ()
    noise: LayoutNoise | None = None

    @property
    def n_repeats(self) -> int:
        """Number of repeats N of every unique row."""
        return int(self.index.shape[1])


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


def repeat_rows(rows: HeldOutRows) -> Repeats:
    """Find the held-out rows that repeat: what is heard over the whole lag window is the same.

    Only scored rows count, so lead-ins never become repeats; rest repeats as long as a clip is within its lags. A
    moment is a repeat where more than half of its clip's presentations agree in it: in random order the first
    seconds of a clip follow other clips each time, and those few that follow the same one by chance are left out
    too. N is the number that leaves most pairs of repeats, among those that every repeated clip has in some moment.
    Moments with more keep their first N in order of time; moments with fewer (after scrubbed volumes, or at the start
    of a run) are left out.

    Parameters
    ----------
    rows : HeldOutRows
        The n held-out rows, with ``sound`` and ``begun``.

    Returns
    -------
    Repeats

    Raises
    ------
    NotComputable
        If no clip is repeated, or none after the same sounds.
    """
    if rows.sound is None or rows.begun is None:
        raise ValueError("rows do not say which sounds were heard: make them with held_out_rows")
    used = np.flatnonzero(rows.scored & (rows.sound >= 0))
    used = used[np.lexsort((used, rows.sound[used], rows.begun[used]))]
    first = np.flatnonzero(np.r_[True, np.diff(rows.sound[used]) != 0]) if used.size else used
    counts = np.diff(np.r_[first, used.size])
    clip = rows.begun[used[first]]
    presented = _presentations(rows, clip, counts)
    agree = (counts >= 2) & (2 * counts > presented)
    _require_repeats(counts, agree, presented)
    most = [int(counts[agree & (clip == c)].max()) for c in np.unique(clip[agree])]
    n_repeats = max(range(2, min(most) + 1), key=lambda n: (np.sum(agree & (counts >= n)) * n * (n - 1), n))
    full = agree & (counts >= n_repeats)
    index = used[first[full][:, None] + np.arange(n_repeats)]
    once = len(np.unique(clip[presented < 2]))
    differs = (presented >= 2) & ~agree
    lost = int(counts[differs].sum()), int(counts[presented >= 2].sum())
    notes = _repeat_notes(max(most), n_repeats, once=once, differ=lost, lack=int(np.sum(agree & ~full)))
    return Repeats(index=index, clip=clip[full], notes=notes)


def _require_repeats(counts: np.ndarray, agree: np.ndarray, presented: np.ndarray) -> None:
    """Refuse where no clip is repeated, or hardly a volume after the same sounds."""
    again = int(counts[presented >= 2].sum())
    if not again:
        raise NotComputable("no clip is repeated in the held-out runs, so there is no noise ceiling")
    same = int(counts[agree].sum())
    if same < _FEWEST * again:
        raise NotComputable(
            f"clips are repeated in the held-out runs, but only {same} of their {again} volumes after the same sounds "
            "(each time other sounds are heard within the lags before), so there is no noise ceiling; a fixed order, "
            "pauses or longer clips would give one"
        )


def _presentations(rows: HeldOutRows, clip: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How often each moment's clip was presented, or heard within the lags where no volume fell into it."""
    heard = rows.scored & (rows.clip >= 0)
    distinct = np.unique(np.stack([rows.clip[heard], rows.run[heard], rows.presentation[heard]]), axis=1)[0]
    number = np.bincount(distinct, minlength=int(clip.max(initial=-1)) + 1)
    np.maximum.at(number, clip, counts)
    return number[clip]


def _repeat_notes(most: int, n_repeats: int, *, once: int, differ: tuple[int, int], lack: int) -> tuple[str, ...]:
    notes = []
    if once:
        notes.append(
            f"{once} held-out clips are heard once only and enter neither the noise ceiling nor the repeat-mean scores"
        )
    if differ[0]:
        notes.append(
            f"{differ[0]} of {differ[1]} volumes of repeated clips are no repeats: other sounds are heard within the "
            "lags before"
        )
    if most > n_repeats:
        notes.append(f"clips are repeated up to {most} times; the first {n_repeats} repeats of each are used")
    if lack:
        notes.append(f"{lack} moments of repeated clips lack one of the {n_repeats} repeats and are left out")
    return tuple(notes)


def with_noise(repeats: Repeats, rows: HeldOutRows, nuisance: Sequence[Nuisance]) -> Repeats:
    """Add what the repeats' layout makes of noise that was cleaned as the rows were.

    Parameters
    ----------
    repeats : Repeats
    rows : HeldOutRows
        Rows of one run and fold were cleaned together.
    nuisance : sequence of Nuisance
        Of every run.

    Returns
    -------
    Repeats
    """
    made = layout_noise(repeats.index, rows.run, rows.fold, volume=rows.volume, nuisance=nuisance, moment=rows.moment)
    return replace(repeats, noise=made)


def mean_over_repeats(values: np.ndarray, repeats: Repeats) -> np.ndarray:
    """Average an (n, V) array over repeats: (n_unique, V), without a copy of every repeat at once."""
    total = np.zeros((len(repeats.index), values.shape[1]), dtype=np.float64)
    for column in repeats.index.T:
        total += values[column]
    return total / repeats.n_repeats


def compared(
    values: np.ndarray, rows: HeldOutRows, repeats: Repeats | None, dtype: type[np.floating] = np.float32
) -> np.ndarray:
    """Return held-out values as they are compared: repeat means, or scored rows, less their mean in each run.

    Parameters
    ----------
    values : ndarray of shape (n, n_voxels)
        Of all held-out rows.
    rows : HeldOutRows
        The n rows; only scored ones enter.
    repeats : Repeats or None
    dtype : type
        Of the result; without repeats also of the sums.

    Returns
    -------
    ndarray of shape (n_unique or n_scored, n_voxels)
        Linear in ``values``; columns have mean 0.
    """
    if repeats is not None:
        means = mean_over_repeats(values, repeats)
        return (means - means.mean(axis=0)).astype(dtype, copy=False)
    chosen, run = values[rows.scored].astype(dtype, copy=False), rows.run[rows.scored]
    for r in np.unique(run):
        chosen[run == r] -= chosen[run == r].mean(axis=0)
    return chosen
