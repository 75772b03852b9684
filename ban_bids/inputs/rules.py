"""Rules: how the events of a dataset become clips. Types and what they decide; no file is opened here.

``ban_bids.inputs.rule_files`` reads them from TOML, and ``docs/rules.md`` describes every key.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

from ban_bids.errors import DataError
from ban_bids.files.reading import as_number, as_numbers
from ban_bids.inputs.events import Row, clean_cell

LEAD_IN_RULES = ("none", "first-repeats-last")
UNITS: Mapping[str, float] = {"s": 1.0, "ms": 1e-3}
"""Seconds per unit; the third unit, ``TR``, differs between runs."""

RepetitionTime = Callable[[], float | None]
"""Tells a run's repetition time in seconds, None where its sidecar does not: looked up only where it is needed."""

Patterns = Mapping[str, tuple[str, ...]]
"""Entities or columns, each with the globs of which one must fit."""

_NAME = re.compile(r"(?!_)[^\W\d][\w \-]*(\.(?!_)[\w \-]+)*")
_FORM = re.compile(r"(0?[0-9]{1,2})?d|")


def template_fields(template: str) -> dict[str, str]:
    """Columns and entities that a template needs, each with how it is written (``05d``, or nothing).

    Raises
    ------
    ValueError
        Not a template of ``{name}`` and ``{name:05d}`` only: attributes, indices, conversions and other forms are none.
    """
    fields: dict[str, str] = {}
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if conversion or not _NAME.fullmatch(name) or not _FORM.fullmatch(form or ""):
            raise ValueError("may hold only {column} or {column:05d}")
        fields[name] = form or fields.get(name, "")
    return fields


def fill(template: str, row: Row) -> str | None:
    """Write a row's cells into a template.

    Parameters
    ----------
    template : str
        As :func:`template_fields` takes it.
    row : Row

    Returns
    -------
    str or None
        None where one of the cells is ``n/a``.

    Raises
    ------
    DataError
        A cell that is to be written as a number is no whole one.
    """
    parts: list[str] = []
    for literal, name, form, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name is None:
            continue
        text = row.text(name)
        if text is None:
            return None
        if form:
            number = row.number(name)
            if number is None or number != int(number):
                raise DataError(f"{row.where}: {name} is {text!r}; the template {template!r} needs a whole number")
            text = format(int(number), form)
        parts.append(text)
    return "".join(parts) or None


def fits(label: str | None, patterns: Iterable[str]) -> bool:
    """Whether a label or cell fits one of some globs; numbers fit by value (``1`` and ``01``), n/a as ``n/a``.

    A label that a name lacks is the empty text, which only ``*`` fits.
    """
    text = "n/a" if label is None else label
    for pattern in patterns:
        if fnmatchcase(text, pattern) or (label is None and clean_cell(pattern) is None):
            return True
        if _is_number(text) and _is_number(pattern) and float(text) == float(pattern):
            return True
    return False


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


@dataclass(frozen=True)
class Quantity:
    """A time: a number, or a column that holds it.

    Parameters
    ----------
    column : str or None
        Column or entity; None for a number.
    number : float or None
        Seconds, where there is no column.
    shift : float
        Added to every cell, in ``unit``.
    unit : {"s", "ms", "TR"}
        What the cells count.
    """

    column: str | None = None
    number: float | None = None
    shift: float = 0.0
    unit: str = "s"

    def seconds(self, row: Row, repetition_time: RepetitionTime) -> float | None:
        """Seconds that a row states; None for ``n/a``.

        Raises
        ------
        DataError
            The cell is no number, or the unit is TR and the run's repetition time is not known.
        """
        value = self.number if self.column is None else row.number(self.column)
        if value is None:
            return None
        second = UNITS.get(self.unit) or repetition_time()
        if second is None:
            raise DataError(
                f"{row.where}: {self.column} counts TRs, but RepetitionTime is missing; add it to the JSON sidecar of "
                "the run's image, in seconds"
            )
        return (value + self.shift) * second


@dataclass(frozen=True)
class Join:
    """A table whose columns become those of the rows.

    Parameters
    ----------
    file : str
        Path from the dataset's folder, or else from that of the rule file.
    on : tuple of str
        Columns of both, or entities; empty for all names that both have.
    """

    file: str
    on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """How rows of some runs become clips; the keys of ``[[rule]]`` in ``docs/rules.md``.

    Parameters
    ----------
    where : str
        File and number of the rule, for messages.
    runs : Mapping of str to tuple of str
        Entities with globs; a run must fit all of them.
    events : {"table", "none"}
        ``none``: one clip per run, without any table.
    only, skip : Mapping of str to tuple of str
        Columns with globs: rows must fit all of ``only``, and none of ``skip``. ``file`` is what the template gives
        where no column has that name.
    file : str
        Template of the audio file over columns and entities.
    suffixes : tuple of str
        Tried in order after ``file``.
    folders : tuple of str
        Folders under the stimulus folder that are tried in order.
    onset : Quantity
    start : Quantity, "continue" or None
        Where in the file a row begins; None: ``stim_start`` where the table has it.
    end : Quantity or None
        Where in the file it ends: checked against start and duration.
    duration : Quantity or "file"
        ``file``: up to the file's end.
    pad : float or None
        Seconds that a row may go on after its file; None for one repetition time.
    genre : str or None
        Column or entity of the genre; None: ``genre`` or else ``trial_type``, where they are there.
    fade : float
        Sine fade in and out, seconds.
    rms : float or None
        Root mean square to which clips are scaled.
    table : Join or None
        Further columns.
    of : int or None
        Number of runs of their task that participants must have: with others, ``{order}`` does not tell what was heard.
    bids : bool
        Whether ``stim_file``, ``stim_start`` and ``stim_id`` win where a table has them: so it is without a rule of
        the dataset's own, in profiles of earlier versions and in tables of answers.
    """

    where: str = "the default rule"
    runs: Patterns = field(default_factory=dict)
    events: Literal["table", "none"] = "table"
    only: Patterns = field(default_factory=dict)
    skip: Patterns = field(default_factory=dict)
    file: str = "{stim_file}"
    suffixes: tuple[str, ...] = ("",)
    folders: tuple[str, ...] = (".",)
    onset: Quantity = Quantity("onset")
    start: Quantity | Literal["continue"] | None = None
    end: Quantity | None = None
    duration: Quantity | Literal["file"] = Quantity("duration")
    pad: float | None = None
    genre: str | None = None
    fade: float = 0.0
    rms: float | None = None
    table: Join | None = None
    of: int | None = None
    bids: bool = False

    def fits_run(self, labels: Mapping[str, str]) -> bool:
        """Whether the rule is for a run with these entities."""
        return all(fits(labels.get(key, ""), patterns) for key, patterns in self.runs.items())

    def fits_row(self, row: Row) -> bool:
        """Whether ``only`` and ``skip`` leave a row in."""
        return all(fits(self._cell(row, key), globs) for key, globs in self.only.items()) and not any(
            fits(self._cell(row, key), globs) for key, globs in self.skip.items()
        )

    def _cell(self, row: Row, key: str) -> str | None:
        return fill(self.file, row) if key == "file" and key not in row.cells else row.text(key)

    @property
    def file_columns(self) -> tuple[str, ...]:
        """Columns and entities that the template of the file needs."""
        return tuple(template_fields(self.file))

    @property
    def columns(self) -> dict[str, str]:
        """Columns and entities that the rule needs, each with the key that names it."""
        times = {"onset": self.onset, "start": self.start, "end": self.end, "duration": self.duration}
        needed = {value.column: key for key, value in times.items() if isinstance(value, Quantity) and value.column}
        needed |= dict.fromkeys(self.file_columns, "file")
        needed |= {key: "rows" for key in (*self.only, *self.skip) if key != "file"}
        return needed | ({self.genre: "genre"} if self.genre else {})

    def check_columns(self, there: Iterable[str], where: str) -> None:
        """Check that columns and entities that the rule names are there.

        Raises
        ------
        DataError
            One is not; the message names the key and the columns of the table.
        """
        known = sorted(there)
        for column, key in self.columns.items():
            if column not in known and not self.bids:
                raise DataError(
                    f"{where}: no column or entity {column!r}, which {key} in {self.where} names; there are "
                    f"{', '.join(known) or 'none'}"
                )

    def as_bids(self) -> Rule:
        """The rule for a table of answers: fades, level and genre stay, BIDS's own columns win."""
        start = None if self.start == "continue" else self.start
        return replace(self, bids=True, start=start, duration=Quantity("duration"))


@dataclass(frozen=True)
class RuleFile:
    """The rules of a dataset.

    Parameters
    ----------
    rules : tuple of Rule
        The first that fits a run, then a row, wins.
    name : str or None
        Shown in reports; None where the dataset has no rules of its own.
    source : str or None
        Where they came from; None for the default rule.
    dois, names : tuple of str
        Datasets that they are for.
    lead_in : str
        One of ``LEAD_IN_RULES``.
    held_out : Mapping of str to tuple of str, or None
        Entities with globs of the runs that are held out, where no option says otherwise.
    note : str or None
        What users must know, told in log and report.
    """

    rules: tuple[Rule, ...] = (Rule(bids=True),)
    name: str | None = None
    source: str | None = None
    dois: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    lead_in: str = "none"
    held_out: Patterns | None = None
    note: str | None = None

    def of(self, labels: Mapping[str, str]) -> tuple[Rule, ...]:
        """Rules for a run with these entities, in order: one without events stands alone, and ends the list."""
        fitting = [rule for rule in self.rules if rule.fits_run(labels)]
        if fitting and fitting[0].events == "none":
            return (fitting[0],)
        return tuple(rule for rule in fitting if rule.events == "table")

    @property
    def needs_order(self) -> bool:
        """Whether some rule asks for the place of a run among those of its task."""
        return any("order" in rule.columns for rule in self.rules)

    def counts(self, labels: Mapping[str, str]) -> bool:
        """Whether a rule for a run with these entities asks for its place."""
        return any("order" in rule.columns for rule in self.of(labels))


def repetition_time_of(metadata: Mapping[str, object]) -> float | None:
    """Repetition time that a sidecar states, or the usual step of its ``VolumeTiming``; None where it tells neither."""
    stated = as_number(metadata.get("RepetitionTime"))
    if stated is not None and stated > 0:
        return stated
    starts = as_numbers(metadata.get("VolumeTiming"))
    if starts is not None and len(starts) > 1:
        steps = sorted(after - before for before, after in zip(starts, starts[1:]))
        return steps[len(steps) // 2] if steps[len(steps) // 2] > 0 else None
    return None
