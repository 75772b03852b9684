"""What was played in a run: its rows, by the rules that fit, on the run's clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from ban_bids.errors import DataError, UnfitRun
from ban_bids.inputs.events import Row, Table
from ban_bids.inputs.excerpts import PAST_END, start_of
from ban_bids.inputs.missing import NotThere
from ban_bids.inputs.rules import RepetitionTime, Rule
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import Clip, Presentation
from ban_bids.inputs.unheard import Unheard, notes_on

OVERLAP = 0.1
"""Seconds by which a clip may begin before the last one ended: jitter of measured onsets."""

_SAME_TIME = 0.01
"""Seconds by which two rows' time lines of one file may differ and still be one: rounding of onsets and starts."""

_OTHER_DURATION = 0.5
"""Seconds from which two rows on one file differ by more than how they were measured."""


@dataclass(frozen=True)
class Setting:
    """What rows of a run know beside their cells.

    Parameters
    ----------
    labels : Mapping of str to str
        Entities of the run, and ``order`` where it is known.
    repetition_time : callable
        Seconds, or None.
    """

    labels: Mapping[str, str]
    repetition_time: RepetitionTime


@dataclass(frozen=True)
class Played:
    """A row that was heard.

    Parameters
    ----------
    row : Row
    clip : Clip
    onset : float
        Seconds on the run's clock.
    stated : bool
        Whether the row, or the rule, says where in the file it begins.
    """

    row: Row
    clip: Clip
    onset: float
    stated: bool

    @property
    def end(self) -> float:
        """Seconds on the run's clock."""
        return self.onset + self.clip.duration

    def overlaps_itself(self, later: Played) -> bool:
        """Whether a later row begins before this one ends, in the same file on the same time line."""
        if later.onset >= self.end or not (self.stated and later.stated):  # nearly always: what follows costs more
            return False
        apart = (self.onset - self.clip.start) - (later.onset - later.clip.start)
        return abs(apart) < _SAME_TIME and self.clip.audio == later.clip.audio

    def until(self, end: float) -> Played:
        """The same row with an earlier end."""
        duration = round(end - self.onset, 6)
        file_end = self.clip.file_end
        inside = file_end is None or self.clip.start + duration <= file_end
        return replace(self, clip=replace(self.clip, duration=duration, file_end=None if inside else file_end))


def played(
    rows: Sequence[Row], rules: Sequence[Rule], stimuli: Stimuli, setting: Setting
) -> tuple[tuple[Played, ...], tuple[str, ...]]:
    """Rows that were heard in a run, in order of onset.

    Parameters
    ----------
    rows : sequence of Row
        Of its table; where the rule needs none, one row without cells.
    rules : sequence of Rule
        That fit the run; the first whose ``rows`` fits a row wins.
    stimuli : Stimuli
    setting : Setting

    Returns
    -------
    played : tuple of Played
    notes : tuple of str
        What was passed over or goes on after its file, counted.

    Raises
    ------
    UnfitRun
        An onset is not given, or clips overlap.
    DataError
        A sound does not fit, a duration is not given, or two rows on one file contradict each other.
    """
    table = _Table(rules, stimuli, setting)
    table.check_columns(rows)
    heard: list[Played] = []
    passed_over: list[Unheard] = []
    unknown: list[NotThere] = []
    begun = table.first_onsets(rows)
    for plain in rows:
        row, rule = table.chosen(plain)
        found = None if rule is None else stimuli.find(row, rule)
        if isinstance(found, Unheard):
            passed_over.append(found)
        if rule is not None and isinstance(found, Path):
            try:
                heard.append(table.heard(row, rule, found, begun))
            except NotThere as error:  # go on: all missing sounds are told at once
                unknown.append(error)
    if unknown:
        raise unknown[0]
    heard.sort(key=lambda item: (item.onset, item.row.line))
    heard, more = _one_after_another(heard)
    _refuse_overlaps(heard)
    _refuse_two_starts(heard, stimuli)
    return tuple(heard), (*notes_on(passed_over), *_notes_on_silence(heard), *more)


def presentations(items: Sequence[Played]) -> tuple[Presentation, ...]:
    """Rows that were heard, as a run keeps them."""
    return tuple(Presentation(item.clip, item.onset) for item in items)


@dataclass
class _Table:
    """The rules of a run at work on its rows."""

    rules: Sequence[Rule]
    stimuli: Stimuli
    setting: Setting
    _rows: dict[tuple[int, int], Row] = field(default_factory=dict)

    def extended(self, plain: Row, number: int) -> Row:
        """A row as one of the rules sees it."""
        key = (plain.line, number)
        if key not in self._rows:
            self._rows[key] = self.stimuli.extended(plain, self.rules[number], self.setting.labels)
        return self._rows[key]

    def check_columns(self, rows: Sequence[Row]) -> None:
        """Refuse rules that name what is not there."""
        for rule in self.rules if rows else ():
            more = self.stimuli.joined(rule).table.columns if rule.table is not None else ()
            rule.check_columns({*rows[0].cells, *self.setting.labels, *more}, str(rows[0].path))

    def chosen(self, plain: Row) -> tuple[Row, Rule | None]:
        """The first rule that takes a row, and the row as it sees it."""
        for number, rule in enumerate(self.rules):
            row = self.extended(plain, number)
            if rule.fits_row(row):
                return row, rule
        return plain, None

    def first_onsets(self, rows: Sequence[Row]) -> Mapping[Path, float]:
        """When each file began that goes on from row to row: rows that are left out count as well."""
        begun: dict[Path, float] = {}
        for number, rule in enumerate(self.rules):
            for plain in rows if rule.start == "continue" else ():
                row = self.extended(plain, number)
                try:
                    found = self.stimuli.find(row, rule)
                    onset = rule.onset.seconds(row, self.setting.repetition_time)
                except DataError:
                    continue  # where the row is used, the same is said again
                if isinstance(found, Path) and onset is not None:
                    begun[found] = min(onset, begun.get(found, onset))
        return begun

    def heard(self, row: Row, rule: Rule, audio: Path, begun: Mapping[Path, float]) -> Played:
        """What a row played, and when."""
        time = self.setting.repetition_time
        onset = _onset(row, rule, time)
        if onset is None:
            raise UnfitRun(f"{row.where}: onset of {audio.name} is not given; write it in seconds")
        if rule.start == "continue":
            start, stated = onset - begun[audio], True
        else:
            start, stated = start_of(row, rule, time)
        clip = self.stimuli.excerpts.clip(row, rule, audio, start=start, repetition_time=time)
        return Played(row, clip, onset, stated)


def _onset(row: Row, rule: Rule, repetition_time: RepetitionTime) -> float | None:
    """Onset of a row, seconds; a cell that is no number makes the run unfit."""
    try:
        return rule.onset.seconds(row, repetition_time)
    except DataError as error:
        raise UnfitRun(str(error)) from error


def _one_after_another(heard: Sequence[Played]) -> tuple[list[Played], tuple[str, ...]]:
    """End rows where the next one goes on in the same file, on the same time line: it is one sound.

    Parameters
    ----------
    heard : sequence of Played
        In order of onset.

    Returns
    -------
    heard : list of Played
        Without rows that lie in others.
    notes : tuple of str
        Which rows end earlier.
    """
    kept: list[Played] = []
    cut: list[Played] = []
    for item in heard:
        before = kept[-1] if kept else None
        if before is None or not before.overlaps_itself(item):
            kept.append(item)
            continue
        cut.append(before)
        if item.end > before.end:
            kept[-1:] = [before.until(item.onset), item] if item.onset > before.onset else [item]
    if not cut:
        return kept, ()
    files = ", ".join(dict.fromkeys(item.clip.audio.name for item in cut))
    what = "1 row overlaps" if len(cut) == 1 else f"{len(cut)} rows overlap"
    return kept, (f"{what} the next one on the same stretch of one file ({files}): taken once",)


def _refuse_overlaps(heard: Sequence[Played]) -> None:
    for before, after in zip(heard, heard[1:]):
        if after.onset < before.end - OVERLAP:
            raise UnfitRun(
                f"{after.row.where}: a clip begins at {after.onset:g} s while the one before lasts to "
                f"{before.end:g} s; overlapping clips are not supported: correct the times, or leave one of the rows "
                "out by a rule's rows"
            )


def _refuse_two_starts(heard: Sequence[Played], stimuli: Stimuli) -> None:
    """Refuse rows on one file that cannot all be its start, where nothing says where they begin."""
    open_rows = sorted((item for item in heard if not item.stated), key=lambda item: str(item.clip.audio))
    for audio, group in groupby(open_rows, key=lambda item: item.clip.audio):
        items, length = list(group), stimuli.excerpts.seconds(audio)
        pair = None if math.isinf(length) else _unlike(items, length) or _filling(items, length)
        if pair is not None:
            first, second = pair
            raise DataError(
                f"{second.row.where}: {audio.name} is named by line {first.row.line} too, for "
                f"{first.clip.duration:g} s and {second.clip.duration:g} s of its {length:g} s, and nothing says where "
                'in it they begin; add stim_start, or a rule with start = "continue" (it goes on) or start = 0 (it '
                "begins anew)"
            )


def _unlike(items: Sequence[Played], length: float) -> tuple[Played, Played] | None:
    """Two rows of different durations that the file can hold one after the other."""
    shortest, longest = (pick(items, key=lambda item: item.clip.duration) for pick in (min, max))
    for item in items:
        for other in (shortest, longest):
            unlike = abs(item.clip.duration - other.clip.duration) > _OTHER_DURATION
            if unlike and item.clip.duration + other.clip.duration <= length + PAST_END:
                first, second = sorted((item, other), key=lambda one: one.onset)
                return first, second
    return None


def _filling(items: Sequence[Played], length: float) -> tuple[Played, Played] | None:
    """The first two of several rows that follow one another without a gap, and fill the file together."""
    ordered = sorted(items, key=lambda item: item.onset)
    gapless = all(abs(after.onset - before.end) <= _OTHER_DURATION for before, after in zip(ordered, ordered[1:]))
    together = sum(item.clip.duration for item in ordered)
    if len(ordered) > 1 and gapless and abs(together - length) <= _OTHER_DURATION:
        return ordered[0], ordered[1]
    return None


def _notes_on_silence(heard: Sequence[Played]) -> tuple[str, ...]:
    late = [item.clip for item in heard if item.clip.silence]
    if not late:
        return ()
    files = list(dict.fromkeys(clip.audio.name for clip in late))
    shown = ", ".join(files[:2]) + (", ..." if len(files) > 2 else "")
    longest = max(clip.silence for clip in late)
    what = "1 row goes" if len(late) == 1 else f"{len(late)} rows go"
    return (f"{what} on after the end of the file ({shown}; by up to {longest:.2f} s): taken as silence",)


def rows_of(table: Table | None, image: Path) -> tuple[Row, ...]:
    """Rows of a table, or the one row of a run that needs none."""
    return (Row(image, 0, {}),) if table is None else table.rows
