"""What was played in runs: their events, by the rules that are for them, on the run's clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ban_bids.bids.metadata import Companions
from ban_bids.bids.names import entities, entity
from ban_bids.errors import DataError, UnfitRun
from ban_bids.inputs.events import Table, TableReader, misspelt, misspelt_text
from ban_bids.inputs.missing import NotThere
from ban_bids.inputs.played import Setting, played, presentations, rows_of
from ban_bids.inputs.rules import Quantity, Rule, repetition_time_of
from ban_bids.inputs.starting_rule import nothing_heard, starting_rule
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import HeardRun

_NO_SECONDS = re.compile(
    r"(milli|micro|nano|[mµμun])-?(s|secs?|seconds?)|min(ute)?s?|h(our)?s?|trs?|volumes?|scans?|samples?|frames?",
    re.IGNORECASE,
)
"""Units of a column of times that are told, and are none that a column without a unit is read in."""

_NO_TABLES = (".csv", ".tsv.gz", ".txt", ".xlsx", ".xls", ".mat", ".TSV")
"""Endings of what stands in the place of a table of events, and is none of BIDS's."""

RunIdentity = tuple[tuple[str, str], ...]
"""Entities that tell runs apart."""


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key under which ``run-2`` comes before ``run-10``."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def run_identity(path: Path) -> RunIdentity:
    """What tells one run's images from another's: not its echo, nor its phase or reconstruction."""
    return tuple((key, label) for key, label in entities(path) if key not in ("echo", "part", "rec"))


def run_orders(images: Iterable[Path]) -> tuple[dict[RunIdentity, int], dict[str, str]]:
    """Place of each run among the runs of its task, from 1, in natural order over sessions.

    Parameters
    ----------
    images : iterable of Path
        All BOLD images of a participant, chosen or not.

    Returns
    -------
    orders : dict
        By the entities that tell runs apart.
    gaps : dict of str to str
        A note on each task whose runs are not numbered through: a run that was lost changes the place of later ones.
    """
    orders: dict[RunIdentity, int] = {}
    labels: dict[str, list[str]] = {}
    for path in sorted(images, key=natural):
        task, identity = entity(path, "task") or "", run_identity(path)
        if identity not in orders:
            labels.setdefault(task, []).append(entity(path, "run") or "")
            orders[identity] = len(labels[task])
    return orders, {task: _note_on_gaps(task, numbers) for task, numbers in labels.items() if _has_gaps(numbers)}


def _has_gaps(labels: Sequence[str]) -> bool:
    """Whether runs are numbered, each by a number of its own, and not all in a row."""
    numbers = sorted(int(label) for label in labels if label.isdigit())
    of_its_own = len(set(numbers)) == len(labels)
    return of_its_own and numbers[-1] - numbers[0] + 1 != len(numbers)


def _note_on_gaps(task: str, labels: Sequence[str]) -> str:
    return (
        f"task-{task}: runs are counted in the order {', '.join(labels)}, whose numbers leave gaps; if a run is "
        "missing, those after it get another's sound: name the files by {run} in the rule"
    )


def _plain(path: Path) -> list[tuple[str, str]]:
    """Entities of a name, however its labels are written: with zeros, in capitals."""
    return [(key, label.lstrip("0").casefold()) for key, label in entities(path)]


@dataclass(frozen=True)
class Heard:
    """What became of some images.

    Parameters
    ----------
    runs : tuple of HeardRun
        In which something was played, in natural order.
    unfit : tuple of (HeardRun, str)
        Whose events cannot be used, and why.
    reasons : tuple of str
        Why other images are left out: no events, no sound in them, no rule for them.
    unknown : tuple of str
        Images of runs of which nothing is known, for files are missing.
    """

    runs: tuple[HeardRun, ...]
    unfit: tuple[tuple[HeardRun, str], ...]
    reasons: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """One note per image left out; those that no rule is for have one together."""
        unfit = (f"left out: {run.bold.name}: {why}" for run, why in self.unfit)
        later = f"not known until missing files are there: what was played in {', '.join(self.unknown)}"
        return (*(f"left out: {reason}" for reason in self.reasons), *unfit, *((later,) if self.unknown else ()))


@dataclass(frozen=True)
class Hearing:
    """What finding out what was played in runs needs.

    Parameters
    ----------
    companions : Companions
        Finds events and sidecars.
    stimuli : Stimuli
    read : callable
        Reads a table, once.
    orders : Mapping
        Of :func:`run_orders`; empty where no rule asks for it.
    """

    companions: Companions
    stimuli: Stimuli
    read: TableReader
    orders: Mapping[RunIdentity, int] = field(default_factory=dict)

    def of(self, images: Iterable[Path]) -> Heard:
        """Find out what was played in runs.

        Parameters
        ----------
        images : iterable of Path
            They need not be there: their names count.

        Returns
        -------
        Heard

        Raises
        ------
        DataError
            A sound, or what is played of it, cannot be used, or a name has no task.
        NotThere
            Files are missing without which nothing is known of any run.
        """
        runs: list[HeardRun] = []
        gone: list[tuple[str, NotThere]] = []
        unfit: list[tuple[HeardRun, str]] = []
        reasons: list[str] = []
        unruled: list[str] = []
        for bold in sorted(images, key=natural):
            rules = self.stimuli.rules.of(dict(entities(bold)))
            if not rules:
                unruled.append(bold.name)
                continue
            try:
                run, table, reason = self._run(bold, rules)
                run = self._played(run, table, rules) if reason is None else run
            except UnfitRun as error:
                unfit.append((run, str(error)))
                continue
            except NotThere as error:  # go on: all missing files are told at once
                gone.append((bold.name, error))
                continue
            if run.presentations:
                runs.append(run)
            else:
                reasons.append(reason or nothing_heard(run, rules))
        if gone and not runs and not unfit:
            raise gone[0][1]
        unknown = tuple(name for name, _ in gone)
        return Heard(tuple(runs), tuple(unfit), (*reasons, *self._note_on_unruled(unruled)), unknown)

    def _note_on_unruled(self, names: Sequence[str]) -> tuple[str, ...]:
        if not names:
            return ()
        shown = ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
        what = "1 run" if len(names) == 1 else f"{len(names)} runs"
        return (f"{what} that no rule in {self.stimuli.rules.source} is for ({shown}); see runs in its rules",)

    def _run(self, bold: Path, rules: Sequence[Rule]) -> tuple[HeardRun, Table | None, str | None]:
        """A run by its name, its table, and why nothing can be played in it."""
        labels = dict(entities(bold))
        if "task" not in labels:
            raise DataError(f"{bold}: no task- in the file name; rename the file")
        table, reason = None, None
        if rules[0].events == "table":
            table, reason = self._table(bold, rules)
        run = HeardRun(
            participant=labels["sub"],
            session=labels.get("ses"),
            task=labels["task"],
            run=labels.get("run"),
            entities=entities(bold),
            bold=bold,
            events=None if table is None else table.path,
            presentations=(),
        )
        return run, table, reason

    def _table(self, bold: Path, rules: Sequence[Rule]) -> tuple[Table | None, str | None]:
        """Events of a run, and why they cannot be used."""
        path = self.companions.table(bold)
        if path is None:
            return None, f"{bold}: no events.tsv for this run{self._other_table(bold)}"
        if self.stimuli.lacks(path):
            raise NotThere(f"{path}: not there; fetch or restore the table")
        table = self.read(path)
        if wrong := misspelt(table.columns):
            named = {column for rule in rules for column in rule.columns}
            wrong = {name: right for name, right in wrong.items() if name not in named}
        if wrong and all(rule.bids for rule in rules):
            return table, misspelt_text(path, wrong)
        if all(rule.bids for rule in rules) and not self.stimuli.describes_clips(table.columns):
            return table, starting_rule(table, self.stimuli)
        return table, None

    def _other_table(self, bold: Path) -> str:
        """What to do about a missing table: there may be one that is named nearly so."""
        wanted = _plain(bold)
        there = (path for path, _ in self.companions.files.get((bold.parent, "events.tsv"), ()))
        near = next((path.name for path in there if _plain(path) == wanted), None)
        if near is not None:
            return f"; there is {near}: name it as the image is named"
        stem = bold.name.partition(".")[0].removesuffix("bold") + "events"
        other = next((f"{stem}{end}" for end in _NO_TABLES if (bold.parent / f"{stem}{end}").exists()), None)
        return "; add it beside the image" if other is None else f"; there is {other}: save it with tabs as {stem}.tsv"

    def _played(self, run: HeardRun, table: Table | None, rules: Sequence[Rule]) -> HeardRun:
        """The run with what was played in it."""
        labels, order = dict(run.entities), self.orders.get(run_identity(run.bold))
        self._check_number(labels, rules)
        setting = Setting(
            labels if order is None else {**labels, "order": str(order)},
            lambda: repetition_time_of(self.companions.metadata(run.bold)),
        )
        notes = () if table is None else self._check_units(run.bold, table, rules)
        items, more = played(rows_of(table, run.bold), rules, self.stimuli, setting)
        return replace(run, presentations=presentations(items), row_notes=(*notes, *more))

    def _check_units(self, bold: Path, table: Table, rules: Sequence[Rule]) -> tuple[str, ...]:
        """Refuse columns of which their sidecar says that they are not in seconds, and nothing else says so.

        Raises
        ------
        UnfitRun
        """
        try:
            described = self.companions.metadata(bold, "events")
        except DataError as error:
            return (
                f"what describes the columns of {table.path.name} is not read, they are taken in seconds ({error})",
            )
        if not described:
            return ()
        times = [value for rule in rules for value in (rule.onset, rule.start, rule.end, rule.duration)]
        columns = {
            value.column for value in times if isinstance(value, Quantity) and value.column and value.unit == "s"
        }
        for column in ({*columns, "stim_start"} if any(rule.bids for rule in rules) else columns) & {*table.columns}:
            about = described.get(column)
            unit = about.get("Units") if isinstance(about, dict) else None
            if isinstance(unit, str) and _NO_SECONDS.fullmatch(unit.strip()):
                raise UnfitRun(
                    f"{table.path}: {column} is in {unit} by its JSON sidecar, and read in seconds; correct one of "
                    f'them, or write a rule with {{ column = "{column}", unit = … }} (ms or TR; docs/rules.md)'
                )
        return ()

    def _check_number(self, labels: Mapping[str, str], rules: Sequence[Rule]) -> None:
        """Refuse other numbers of runs than a rule's ``of``: every later run would get another's sound."""
        n_runs = sum(("task", labels["task"]) in identity for identity in self.orders)
        for rule in rules:
            if rule.of is not None and n_runs != rule.of:
                raise DataError(
                    f"sub-{labels['sub']} has {n_runs} runs of task-{labels['task']} where {rule.where} needs "
                    f"{rule.of} to tell which file each heard; fetch all of them, or give --rules with the files' names"
                )
