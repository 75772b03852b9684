"""Pieces of sound in runs, and what counts as one recording: a unit that no fold has on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ban_bids.encoding.rows import Rows, RunRows
from ban_bids.inputs.played import OVERLAP
from ban_bids.inputs.types import Presentation


@dataclass(frozen=True, eq=False)
class Sounds:
    """Pieces of sound in a run, in order of onset, and the unit that each belongs to.

    Parameters
    ----------
    onset, stop : ndarray of shape (n_pieces,), float64
        Seconds on the run's clock.
    unit : ndarray of shape (n_pieces,), int
        Recording; or, where a run is one long recording, stretch of it.
    """

    onset: np.ndarray
    stop: np.ndarray
    unit: np.ndarray

    def reach(self, rows: Rows, longest_lag: float) -> np.ndarray:
        """Tell which pieces enter the lagged features of which volumes.

        Parameters
        ----------
        rows : Rows
        longest_lag : float
            Seconds.

        Returns
        -------
        ndarray of shape (n_volumes, n_pieces), bool
            True where the piece overlaps ``[t - longest_lag - TR/2, t + TR/2]``.
        """
        half = rows.repetition_time / 2
        begin, end = (rows.times - longest_lag - half)[:, None], (rows.times + half)[:, None]
        return (self.onset < end - 1e-6) & (self.stop > begin + 1e-6)

    def latest(self, rows: Rows) -> np.ndarray:
        """Unit of the piece that began last, for each volume (of the first one before it began); -1 without any."""
        if not len(self.onset):
            return np.full(rows.n_volumes, -1)
        return self.unit[np.maximum(np.searchsorted(self.onset, rows.times + 1e-6, side="right") - 1, 0)]


def sounds_of(runs: Sequence[RunRows], recording: Mapping[Path, Path]) -> tuple[Sounds, ...]:
    """Number the recordings of all runs in order of their first presentation."""
    number: dict[Path, int] = {}
    sounds = []
    for run in runs:
        heard = [recording.get(item.clip.audio, item.clip.audio) for item in run.presentations]
        unit = np.array([number.setdefault(path, len(number)) for path in heard], dtype=int)
        onset = np.array([item.onset for item in run.presentations], dtype=float)
        sounds.append(Sounds(onset, onset + [item.clip.duration for item in run.presentations], unit))
    return tuple(sounds)


def stretches(sounds: Sounds, n_stretches: int) -> Sounds:
    """Cut a run's sound into stretches of equal length, each a unit of its own."""
    edges = np.linspace(sounds.onset.min(), sounds.stop.max(), n_stretches + 1)[1:-1]
    pieces = []
    for onset, stop in zip(sounds.onset, sounds.stop):
        cuts = [onset, *edges[(edges > onset) & (edges < stop)], stop]
        pieces += list(zip(cuts[:-1], cuts[1:]))
    begin, end = np.array(pieces).T
    return Sounds(begin, end, np.searchsorted(edges, begin, side="right"))


def heard_again(sounds: Sounds, presentations: Sequence[Presentation]) -> bool:
    """Whether any moment of a recording is heard twice in a run, or may be: stretches of time would share it.

    Parameters
    ----------
    sounds : Sounds
        From `sounds_of`, of the run.
    presentations : sequence of Presentation
        Of the run, in the same order.

    Returns
    -------
    bool
        True where a clip comes twice, where excerpts of one file overlap by more than rounding does, or by half of the
        shorter; and where a recording is in two files, for nothing is known of where one of them lies in the other.
    """
    for unit in np.unique(sounds.unit):
        clips = [item.clip for own, item in zip(sounds.unit, presentations) if own == unit]
        begin, end = np.array(sorted((clip.start, clip.start + clip.duration) for clip in clips)).T
        overlap = np.maximum.accumulate(end)[:-1] - begin[1:]
        allowed = min(OVERLAP, *(clip.duration / 2 for clip in clips))
        if len({clip.audio for clip in clips}) > 1 or len(set(clips)) < len(clips) or (overlap > allowed).any():
            return True
    return False


def stretches_of_files(sounds: Sequence[Sounds], runs: Sequence[RunRows], n_stretches: int) -> tuple[Sounds, ...]:
    """Cut recordings into stretches of equal length, each a unit of its own: the same one wherever it is heard.

    Parameters
    ----------
    sounds : sequence of Sounds
        From `sounds_of`; each unit is one file.
    runs : sequence of RunRows
    n_stretches : int
        Of each recording, between the first and the last moment of it that is heard in any run.

    Returns
    -------
    tuple of Sounds
    """
    heard = [
        (int(unit), item.clip) for one, run in zip(sounds, runs) for unit, item in zip(one.unit, run.presentations)
    ]
    edges = {}
    for unit in {unit for unit, _ in heard}:
        begin = min(clip.start for other, clip in heard if other == unit)
        end = max(clip.start + clip.duration for other, clip in heard if other == unit)
        edges[unit] = np.linspace(begin, end, n_stretches + 1)
    cut = []
    for one, run in zip(sounds, runs):
        pieces = []
        for unit, item in zip(one.unit, run.presentations):
            begin, end = item.clip.start, item.clip.start + item.clip.duration
            inner = edges[int(unit)][1:-1]
            places = np.r_[begin, inner[(inner > begin) & (inner < end)], end]
            number = unit * n_stretches + np.searchsorted(inner, places[:-1], side="right")
            pieces.append(np.stack([item.onset - begin + places[:-1], item.onset - begin + places[1:], number]))
        onset, stop, number = np.concatenate(pieces, axis=1) if pieces else np.zeros((3, 0))
        cut.append(Sounds(onset, stop, number.astype(int)))
    return tuple(cut)
