"""Make a clip of a file: where it starts in it, how long it lasts, and whether it can be played so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ban_bids.errors import DataError
from ban_bids.files.sounds import sound_info
from ban_bids.inputs.events import Row
from ban_bids.inputs.missing import Missing, NotThere
from ban_bids.inputs.rules import Quantity, RepetitionTime, Rule
from ban_bids.inputs.types import Clip

PAST_END = 0.1
"""Seconds by which an excerpt may end after its file: rounding, filled with silence by the audio stage."""

SAME_DURATION = 0.05
"""Seconds by which measured durations of one excerpt may differ and still be the same clip."""

_SHORTEST = 0.01
"""Seconds that a sound lasts at least: events of no length mark moments, and say nothing of what was heard."""

_ROUNDING = 1e-6


def start_of(row: Row, rule: Rule, repetition_time: RepetitionTime) -> tuple[float, bool]:
    """Where in the file a row begins, and whether anything states it.

    ``start = "continue"`` is not decided by a row alone: that is done where the run is known.

    Raises
    ------
    DataError
        No number, or start, end and duration contradict each other.
    """
    own = row.number("stim_start") if rule.bids or rule.start is None else None
    if own is not None or not isinstance(rule.start, Quantity):
        return own or 0.0, own is not None
    start = rule.start.seconds(row, repetition_time)
    end = None if rule.end is None else rule.end.seconds(row, repetition_time)
    duration = None if rule.duration == "file" else rule.duration.seconds(row, repetition_time)
    # ends are rounded to hundredths in ds003720: 9.59 to 24.58 lasts 15 s
    if start is not None and end is not None and duration is not None and abs(end - start - duration) > PAST_END:
        raise DataError(f"{row.where}: excerpt {start:g} to {end:g} s, but duration {duration:g} s; correct one")
    return start or 0.0, start is not None


@dataclass
class Excerpts:
    """Maker of clips; remembers what it has measured and made.

    Parameters
    ----------
    missing : Missing or None
        Gathers sounds that are not there, of which clips are then made as far as rows tell; None: they are errors.
    snapped : set of Path
        Audio files with excerpts whose measured durations differed a little and were taken as one.
    remarks : set of str
        What is odd about audio files that can be used, one sentence each.
    """

    missing: Missing | None = None
    snapped: set[Path] = field(default_factory=set)
    remarks: set[str] = field(default_factory=set)
    _durations: dict[tuple[Path, float], list[float]] = field(default_factory=dict, repr=False)
    _made: dict[tuple[object, ...], Clip] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._measure = cache(self._measured)

    def seconds(self, audio: Path) -> float:
        """Length of a file, read once; infinite for one that is missing, which is gathered.

        Raises
        ------
        DataError
            It cannot be read.
        """
        # gathered at each call: every participant has a list of its own
        return math.inf if self.missing is not None and self.missing.lacks(audio) else self._measure(audio)

    def _measured(self, audio: Path) -> float:
        info = sound_info(audio)
        if info.note:
            self.remarks.add(info.note)
        return info.seconds

    def clip(
        self,
        row: Row,
        rule: Rule,
        audio: Path,
        *,
        start: float,
        repetition_time: RepetitionTime,
        whole_file: bool = False,
    ) -> Clip:
        """Make a clip of a file.

        Parameters
        ----------
        row : Row
            With the columns of joined tables.
        rule : Rule
        audio : Path
        start : float
            Seconds in the file.
        repetition_time : callable
            Of the run: the longest silence after the file, where the rule does not say.
        whole_file : bool
            Whether ``n/a`` in the duration means "to the end of the file" (tables of answers).

        Returns
        -------
        Clip

        Raises
        ------
        DataError
            The file is not audio, or the excerpt does not fit into it.
        NotThere
            The file was gathered as missing, and the row does not tell how long it was played.
        """
        length = self.seconds(audio)
        written = row.text(rule.duration.column or "") if isinstance(rule.duration, Quantity) else None
        genre = true_genre(row, rule)
        key = (audio, start, rule.duration, written, whole_file, genre, rule.fade, rule.rms)
        if key in self._made and length < math.inf:
            return self._made[key]
        stated = None if rule.duration == "file" else rule.duration.seconds(row, repetition_time)
        to_the_end = rule.duration == "file" or (stated is None and whole_file)
        duration = _rest(row, audio, length - start) if to_the_end else _played(row, audio, stated)
        over = start + duration - length
        outside = start < 0 or start >= length or over > PAST_END
        if outside:
            self._check_silence(row, rule, audio, (start, duration, length), repetition_time)
        clip = Clip(
            audio=audio,
            # a microsecond: numbers written differently are the same excerpt
            start=round(start, 6),
            duration=self._one_duration(audio, round(start, 6), round(duration, 6)),
            track=audio.stem,
            genre=genre,
            fade=rule.fade,
            rms=rule.rms,
            file_end=length if over > PAST_END else None,
        )
        if not outside and (rule.duration == "file" or rule.duration.unit != "TR"):
            self._made[key] = clip  # of others the run's repetition time decides
        return clip

    def _check_silence(
        self, row: Row, rule: Rule, audio: Path, times: tuple[float, float, float], repetition_time: RepetitionTime
    ) -> None:
        """Refuse an excerpt that lies outside its file by more than the silence that may follow it."""
        start, duration, length = times
        if any(abs(known - duration) <= SAME_DURATION for known in self._durations.get((audio, round(start, 6)), ())):
            return  # a table of answers on a clip of the events
        pad = rule.pad if rule.pad is not None else repetition_time()
        if 0 <= start < length and start + duration <= length + max(pad or 0.0, PAST_END) + _ROUNDING:
            return
        if pad is None:
            allowed = "RepetitionTime is not in the sidecar, so that no silence may follow the file"
        else:
            allowed = f"a clip may go on for {pad:g} s after its file (pad in a rule; by default one TR)"
        raise DataError(
            f"{row.where}: excerpt {start:g} to {start + duration:g} s lies outside {audio}, which lasts "
            f"{length:.2f} s; {allowed}: correct the start or the duration, or restore the whole file"
        )

    def _one_duration(self, audio: Path, start: float, duration: float) -> float:
        """Duration of the excerpt as it was first read, where it differs by measuring only."""
        known = self._durations.setdefault((audio, start), [])
        for first in known:
            if abs(first - duration) <= SAME_DURATION:
                if first != duration:
                    self.snapped.add(audio)
                return first
        known.append(duration)
        return duration


def _rest(row: Row, audio: Path, seconds: float) -> float:
    """Seconds to the end of a file, which must be there."""
    if math.isinf(seconds):
        raise NotThere(f"{row.where}: {audio} is missing, and no duration is given")
    return seconds


def _played(row: Row, audio: Path, stated: float | None) -> float:
    """Seconds that a row states, which must be long enough for a sound."""
    if stated is None or stated < _SHORTEST:
        what = "is not given" if stated is None else f"is {stated:g} s, and no sound is so short"
        raise DataError(
            f'{row.where}: duration of {audio.name} {what}; write its length in seconds, or duration = "file" in a rule'
        )
    return stated


def true_genre(row: Row, rule: Rule) -> str | None:
    """True genre by the rule's column, or by BIDS's and ours in tables that lack it."""
    if rule.genre is not None and (rule.genre in row.cells or not rule.bids):
        return row.text(rule.genre)
    return row.text("genre") or row.text("trial_type")
