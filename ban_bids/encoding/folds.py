"""Outer folds and inner folds without any recording on both sides; each side is cleaned on its own rows.

`ban_bids.encoding.planned.participant_folds` makes them once per participant: every model meets the same.

Which recordings are the same is told by their sound (`ban_bids.audio.sameness`): here a recording is a *unit* that is
never split over both sides. A row belongs to what was heard within its lags. Held-out rows either are those of whole
runs, whose recordings train nothing; or, where runs share recordings, the rows that heard recordings of one group and
no others: they may then train nothing, and rows that heard both groups are on neither side.

Rows of all runs are counted through: row ``offset[r] + k`` is volume k of run r.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ban_bids.encoding.cleaning import Nuisance, Side, side_of
from ban_bids.encoding.rows import RunRows, offsets
from ban_bids.encoding.sounds import Sounds, heard_again, sounds_of, stretches, stretches_of_files
from ban_bids.errors import NotComputable

_MOST_GROUPS = 5
_LEAST_SHARE = 0.25
"""Of the rows that heard something, so many must still train when those of held-out recordings are dropped."""

_LEAST_UNITS = 2
_FEWEST_ROWS = 1.5
_GOOD_ROWS = 2.0
"""Rows of a part per nuisance column: under `_FEWEST_ROWS` little would be left of it; `_GOOD_ROWS` are aimed at."""

_FEW_SHARED = 0.1
"""Share of training rows that may be dropped so that inner folds are whole runs."""


@dataclass(frozen=True, eq=False)
class InnerFold:
    """Rows that fit and rows that judge a choice; both count through the outer fold's training rows."""

    training: Side
    validation: Side


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows that fit a model and rows that it predicts.

    Parameters
    ----------
    training_side, held_out_side : Side
        Rows, counted through all runs.
    inner : tuple of InnerFold
    whole_runs : bool
        Whether inner folds leave out whole runs, on which nothing else depends: what is clean in the outer fold is
        then clean in the inner ones. Otherwise inner folds are to be given features that nothing was regressed
        out of.
    dropped : int
        Training rows left out because a recording of the held-out rows was heard within their lags.
    """

    training_side: Side
    held_out_side: Side
    inner: tuple[InnerFold, ...]
    whole_runs: bool
    dropped: int = 0

    @property
    def training(self) -> np.ndarray:
        """Rows that train."""
        return self.training_side.rows

    @property
    def held_out(self) -> np.ndarray:
        """Rows that are predicted."""
        return self.held_out_side.rows

    @property
    def groups(self) -> np.ndarray:
        """Inner fold of each training row: where every row is left out in one of them."""
        groups = np.full(len(self.training), -1, dtype=np.intp)
        for i, fold in enumerate(self.inner):
            groups[fold.validation.rows] = i
        return groups

    @property
    def sides(self) -> tuple[tuple[Side, Side], ...]:
        """Training and validation rows of inner folds."""
        return tuple((fold.training, fold.validation) for fold in self.inner)


@dataclass(frozen=True, eq=False)
class FoldMaker:
    """Runs, what is regressed out of them and what counts as one recording.

    Parameters
    ----------
    runs : sequence of RunRows
    nuisance : sequence of Nuisance
    longest_lag : float
        Seconds.
    least : int
        Rows that heard something that a fold must train on.
    recording : mapping of Path to Path
    """

    runs: Sequence[RunRows]
    nuisance: Sequence[Nuisance]
    longest_lag: float
    least: int
    recording: Mapping[Path, Path] = field(default_factory=dict)

    @cached_property
    def first(self) -> np.ndarray:
        """First row of each run."""
        return offsets(self.runs)

    @cached_property
    def run(self) -> np.ndarray:
        """Run of each row."""
        return np.repeat(np.arange(len(self.runs)), np.diff(self.first))

    @cached_property
    def scored(self) -> np.ndarray:
        """Rows that may train and be scored."""
        return np.concatenate([run.rows.scored for run in self.runs])

    @cached_property
    def few_recordings(self) -> bool:
        """Whether runs have one or two recordings together, each a file of its own: fewer than folds need."""
        files = {item.clip.audio for run in self.runs for item in run.presentations}
        return 0 < len(files) <= _LEAST_UNITS and len({self.recording.get(file, file) for file in files}) == len(files)

    @cached_property
    def sounds(self) -> tuple[Sounds, ...]:
        """Pieces of sound of each run; one or two long recordings are cut into stretches."""
        sounds = sounds_of(self.runs, self.recording)
        if len(sounds) > 1 and self.few_recordings:
            return stretches_of_files(sounds, self.runs, _MOST_GROUPS)
        if len(sounds) == 1 and len(sounds[0].unit) and not _enough_units(sounds[0].unit):
            again = heard_again(sounds[0], self.runs[0].presentations)
            return sounds if again else (stretches(sounds[0], _MOST_GROUPS),)
        return sounds

    @cached_property
    def heard(self) -> np.ndarray:
        """Whether each unit was heard within the lags of each row: (n_rows, n_units), bool."""
        n_units = 1 + max((int(item.unit.max(initial=-1)) for item in self.sounds), default=-1)
        table = np.zeros((len(self.run), n_units), dtype=bool)
        for r, (run, sounds) in enumerate(zip(self.runs, self.sounds)):
            reach = sounds.reach(run.rows, self.longest_lag)
            for piece, unit in enumerate(sounds.unit):
                table[self.first[r] : self.first[r + 1], unit] |= reach[:, piece]
        return table

    @cached_property
    def latest(self) -> np.ndarray:
        """Unit that began last at each row."""
        return np.concatenate([sounds.latest(run.rows) for run, sounds in zip(self.runs, self.sounds)])

    def folds(
        self, planned: Sequence[tuple[Sequence[int], Sequence[int]]], *, in_turn: bool
    ) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
        """Turn held-out runs into folds of rows.

        Parameters
        ----------
        planned : sequence of (held-out run indices, training run indices)
            One pair per fold.
        in_turn : bool
            Whether each fold's held-out runs train the other folds: all are then divided anew, by groups of
            recordings, where runs share so many that too few rows would train.

        Returns
        -------
        folds : tuple of Fold
        notes : tuple of str

        Raises
        ------
        NotComputable
            No split leaves enough training rows.
        """
        whole = [self._whole(held_out, training) for held_out, training in planned]
        if len(self.runs) > 1 and all(self._enough(fold, training) for fold, (_, training) in zip(whole, planned)):
            told = f"two recordings only: each is cut into {_MOST_GROUPS} stretches that count as recordings"
            return self._finished(whole, (told,) if self.few_recordings else ())
        if in_turn:
            planned = [(sorted({r for some, _ in planned for r in some}), range(len(self.runs)))]
        folds: list[_Rows] = []
        notes: list[str] = []
        for held_out, training in planned:
            split, note = self._by_groups(held_out, training)
            folds += split
            notes.append(note)
        return self._finished(folds, tuple(notes))

    def _whole(self, held_out: Sequence[int], training: Sequence[int]) -> _Rows:
        """Rows of whole runs; what they heard trains nothing."""
        predicted = np.isin(self.run, held_out)
        touched = self._any(self._units(predicted))
        may = np.isin(self.run, training) & self.scored & ~predicted
        return self._rows(may & ~touched, predicted, dropped=int((may & touched).sum()))

    def _by_groups(self, held_out: Sequence[int], training: Sequence[int]) -> tuple[list[_Rows], str]:
        """Rows that heard recordings of one group only, group by group; as many groups as leave enough rows."""
        names = ", ".join(self.runs[r].name for r in held_out)
        units = self._units(np.isin(self.run, held_out))
        most = min(_MOST_GROUPS, len(units))
        tried = {n: self._groups(units, n, held_out, training) for n in range(2, most + 1)}
        enough = [n for n, folds in tried.items() if folds and all(self._enough(fold, training) for fold in folds)]
        if not enough:
            raise NotComputable(
                f"held-out {names}: fewer than {self.least} training rows heard other recordings than the held-out "
                "ones, or one recording only, or every row heard recordings of several groups; use runs with more "
                "recordings, fewer --confounds, or hold out other runs (--test-runs)"
            )
        good = [n for n in enough if all(self._plenty(fold.held_out) for fold in tried[n])]
        chosen = max(good) if good else min(enough)
        folds = tried[chosen]
        out = int(
            sum(self.scored[np.isin(self.run, held_out)]) - sum(self.scored[fold.held_out].sum() for fold in folds)
        )
        why = "one run only" if len(self.runs) == 1 else "recordings are shared by runs"
        if len(self.runs) > 1 and self.few_recordings:
            why = f"one or two recordings only, cut into {_MOST_GROUPS} stretches each"
        note = f"held-out {names}: {why}, so rows are held out by {chosen} groups of recordings"
        return folds, f"{note}; {out} rows that heard several groups are not scored" if out else note

    def _groups(
        self, units: np.ndarray, n_groups: int, held_out: Sequence[int], training: Sequence[int]
    ) -> list[_Rows]:
        may_train, may_test = (np.isin(self.run, some) for some in (training, held_out))
        folds = []
        for group in np.array_split(units, n_groups):
            within, touched = self._within(group)
            predicted = may_test & within
            may = may_train & self.scored & ~predicted
            folds.append(self._rows(may & ~touched, predicted, dropped=int((may & touched).sum())))
        return [fold for fold in folds if len(fold.held_out)]

    def _within(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows that heard, or heard last, recordings of a group alone; and rows that heard any of it."""
        touched, others = self._any(group), self._any(np.delete(np.arange(self.heard.shape[1]), group))
        return np.isin(self.latest, group) & ~others, touched

    def _any(self, units: np.ndarray) -> np.ndarray:
        """Whether each row heard one of some units."""
        return np.asarray(self.heard[:, units].any(axis=1))

    def _units(self, rows: np.ndarray) -> np.ndarray:
        """Units heard within the lags of some rows, in order of first presentation."""
        return np.flatnonzero(self.heard[rows].any(axis=0))

    def _rows(self, training: np.ndarray, held_out: np.ndarray, *, dropped: int) -> _Rows:
        """Both sides as rows, without runs of which too little is left to regress the nuisance out."""
        rows = [self._not_too_few(np.flatnonzero(side)) for side in (training, held_out)]
        return _Rows(rows[0], rows[1], dropped)

    def _not_too_few(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.isin(self.run[rows], [r for r, n in self._sizes(rows).items() if n >= _FEWEST_ROWS])]

    def _plenty(self, rows: np.ndarray) -> bool:
        return min(self._sizes(rows).values(), default=0.0) >= _GOOD_ROWS

    def _sizes(self, rows: np.ndarray) -> dict[int, float]:
        """Rows that can be fitted per nuisance column, by run; infinite where all of a run are there."""
        sizes = {}
        for r in np.unique(self.run[rows]):
            n, nuisance = int(self.scored[rows][self.run[rows] == r].sum()), self.nuisance[r]
            sizes[int(r)] = np.inf if n >= nuisance.keep.sum() else n / max(1, nuisance.basis.shape[1])
        return sizes

    def _enough(self, fold: _Rows, training: Sequence[int]) -> bool:
        """Whether enough rows train that heard something, of several recordings."""
        sounding = self._any(np.arange(self.heard.shape[1]))
        n = int(sounding[fold.training].sum())
        there = int((sounding & self.scored & np.isin(self.run, training)).sum())
        several = len(self._units(fold.training)) >= min(_LEAST_UNITS, self.heard.shape[1])
        return len(fold.held_out) > 0 and several and n >= self.least and n >= _LEAST_SHARE * there

    def _finished(self, folds: Iterable[_Rows], notes: tuple[str, ...]) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
        """Add inner folds and what each side is cleaned by; say what was dropped."""
        made, told = [], list(notes)
        for fold in folds:
            rows, inner, whole_runs = self._inner(fold.training)
            names = ", ".join(self.runs[r].name for r in np.unique(self.run[fold.held_out]))
            if fold.dropped:
                told.append(f"held-out {names}: {fold.dropped} training rows dropped that heard one of its recordings")
            if len(rows) < len(fold.training):
                again = len(fold.training) - len(rows)
                told.append(f"held-out {names}: {again} training rows dropped that heard a recording of another run")
            training, held_out = (side_of(side, self.first, self.nuisance) for side in (rows, fold.held_out))
            made.append(Fold(training, held_out, inner, whole_runs, fold.dropped))
        return tuple(made), tuple(dict.fromkeys(told))

    def _inner(self, training: np.ndarray) -> tuple[np.ndarray, tuple[InnerFold, ...], bool]:
        """Inner folds of training rows: their runs, if these share few recordings; else groups of recordings.

        Returns
        -------
        training : ndarray
            The rows, without the few that heard a recording of an earlier run, where inner folds are runs.
        inner : tuple of InnerFold
        whole_runs : bool
        """
        alone = training[~self._heard_before(training)]
        if len(np.unique(self.run[alone])) > 1 and len(alone) >= (1 - _FEW_SHARED) * len(training):
            run = self.run[alone]
            leave = [np.flatnonzero(run == r) for r in np.unique(run)]
            everything = np.arange(len(alone))
            inner = tuple(InnerFold(Side(np.delete(everything, rows)), Side(rows)) for rows in leave)
            return alone, inner, True
        return training, self._inner_groups(training), False

    def _heard_before(self, rows: np.ndarray) -> np.ndarray:
        """Whether each row heard a recording that an earlier run has among the rows, too."""
        again, known = np.zeros(len(rows), dtype=bool), np.zeros(self.heard.shape[1], dtype=bool)
        for r in np.unique(self.run[rows]):
            here = self.run[rows] == r
            again[here] = self.heard[rows[here]][:, known].any(axis=1)
            known |= self.heard[rows[here]].any(axis=0)
        return again

    def _inner_groups(self, training: np.ndarray) -> tuple[InnerFold, ...]:
        units = self._units(training)
        inner = []
        for group in np.array_split(units, min(_MOST_GROUPS, max(1, len(units)))):
            within, touched = self._within(group)
            validation, fitted = training[within[training]], training[~within[training] & ~touched[training]]
            if len(validation) and self.heard[fitted].any() and self.heard[validation].any():
                inner.append(InnerFold(*(self._inner_side(training, rows) for rows in (fitted, validation))))
        if len(inner) < 2:
            raise NotComputable(
                f"only {len(units)} recordings are left to train on, or each row heard all of them: penalties cannot "
                "be chosen; use runs with more recordings, or hold out other runs (--test-runs)"
            )
        return tuple(inner)

    def _inner_side(self, training: np.ndarray, rows: np.ndarray) -> Side:
        side = side_of(rows, self.first, self.nuisance, raw=True, fewest=_GOOD_ROWS)
        return Side(np.searchsorted(training, rows), side.parts)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Both sides of a fold to be."""

    training: np.ndarray
    held_out: np.ndarray
    dropped: int


def _enough_units(units: Collection[int] | np.ndarray) -> bool:
    """Whether recordings can be divided so that several are on each side."""
    return len(np.unique(np.asarray(units))) >= 2 * _LEAST_UNITS
