"""Human genre choices: what people answered when they heard a clip."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ban_bids.bids.listing import Listing
from ban_bids.bids.names import entity
from ban_bids.errors import DataError
from ban_bids.inputs.events import Row, Table, TableReader, Tables, misspelt, misspelt_text, plain_label
from ban_bids.inputs.missing import NotThere
from ban_bids.inputs.notes import some
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import COLUMNS, Clip, HumanChoices

_LOG = logging.getLogger(__name__)

_PARTICIPANT = ("participant_id", "participant", "subject")


def _person(row: Row) -> str:
    for column in _PARTICIPANT:
        text = row.text(column)
        if text is not None:
            return text.removeprefix("sub-")
    person = entity(row.path, "sub")
    if person is None:
        raise DataError(f"{row.where}: does not say who answered; add a column participant_id, and a code in each row")
    return person


def _choices(table: Table, stimuli: Stimuli) -> Iterator[tuple[Clip, dict[str, object]]]:
    """Rows of one table that hold a choice on a clip, with a true genre."""
    for row in table.rows:
        response = row.text("response")
        if response is None:
            continue
        try:
            clip = stimuli.clip(row)
        except NotThere:  # its file was gathered as missing, so that the choices will not be used
            continue
        if clip is None:
            continue
        if clip.genre is None:
            raise DataError(f"{row.where}: response without the true genre; add a column genre or trial_type")
        yield (
            clip,
            {
                "participant": _person(row),
                "audio": str(clip.audio),
                "start": clip.start,
                "duration": clip.duration,
                "track": clip.track,
                "true_genre": clip.genre,
                "response": response,
            },
        )


@dataclass
class _Labels:
    """What stands in a task's tables: genres of clips, and answers; in the spelling in which they are compared."""

    tables: list[Table] = field(default_factory=list)
    genres: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)

    def add(self, table: Table, stimuli: Stimuli) -> None:
        """Add a table; nothing of one whose genres cannot be looked up."""
        self.genres |= {plain_label(text): text for text in stimuli.genres(table)}
        self.answers |= {plain_label(text): text for row in table.rows if (text := row.text("response")) is not None}
        self.tables.append(table)

    @property
    def are_choices(self) -> bool:
        """Whether some answer is a genre."""
        return not self.genres.keys().isdisjoint(self.answers)

    @property
    def fault(self) -> str:
        """What to say where none is."""
        answers, genres = (some([*labels.values()]) for labels in (self.answers, self.genres))
        return f"no answer ({answers}) is a genre of the clips ({genres}); write the genres themselves as response"


def _with_choices(tables: Sequence[Table], stimuli: Stimuli) -> tuple[list[Table], list[DataError], list[DataError]]:
    """Tables that name clips, their true genres and answers, of tasks in which some answer is one of the genres.

    A ``response`` column of another task (button presses) is told apart by its answers: no answer is a genre. All
    tables of a task are taken together: one person's answers may all be other than the genres of their clips.

    Returns
    -------
    tables : list of Table
    unread : list of DataError
        Of tables whose genres cannot be looked up.
    others : list of DataError
        Of tables of answers with a column of genres, of tasks in which no answer is a genre.
    """
    tasks: dict[str | None, _Labels] = {}
    unread: list[DataError] = []
    for table in tables:
        if _may_hold_choices(table.columns, stimuli):
            try:
                tasks.setdefault(entity(table.path, "task"), _Labels()).add(table, stimuli)
            except DataError as error:
                unread.append(error)
    others = [
        DataError(f"{table.path}: {task.fault}")
        for task in tasks.values()
        for table in task.tables
        if task.genres and task.answers and not task.are_choices and _is_of_genres(table, stimuli)
    ]
    usable = {table.path for task in tasks.values() if task.are_choices for table in task.tables}
    return [table for table in tables if table.path in usable], unread, others


def _is_of_genres(table: Table, stimuli: Stimuli) -> bool:
    """Whether a table of answers has a column of genres: button presses in the scanner stand beside any column."""
    genres = {"genre", *(rule.genre for rule in stimuli.rules.rules)}
    return not table.path.name.endswith("_events.tsv") and not genres.isdisjoint(table.columns)


def _may_hold_choices(columns: Sequence[str], stimuli: Stimuli) -> bool:
    return "response" in columns and stimuli.describes_clips(columns)


def _readable(paths: Sequence[Path], stimuli: Stimuli, read: Tables) -> tuple[list[Table], dict[Path, DataError]]:
    """Tables that may hold choices by their columns, and what hinders reading those and their columns.

    In events only what is called ``response`` is one: other tasks have buttons under ``Response``.
    """
    tables: list[Table] = []
    faults: dict[Path, DataError] = {}
    for path in paths:
        try:
            columns = read.columns(path)
            events = path.name.endswith("_events.tsv")
            wrong = {} if events and "response" not in columns else _misspelt(columns, stimuli)
            if not _may_hold_choices([wrong.get(name, name) for name in columns], stimuli):
                continue
            if wrong:
                raise DataError(misspelt_text(path, wrong))
            tables.append(read(path))
        except DataError as error:
            faults[path] = error
    return tables, faults


def _misspelt(columns: Sequence[str], stimuli: Stimuli) -> dict[str, str]:
    """Columns that are not read for their spelling, without those that a rule reads."""
    named = {column for rule in stimuli.rules.rules for column in rule.columns}
    return {name: right for name, right in misspelt(tuple(columns), answers=True).items() if name not in named}


def _collect(tables: Sequence[Table], stimuli: Stimuli) -> tuple[HumanChoices | None, list[DataError]]:
    """Choices of all tables that can be used; a table is taken whole or not at all."""
    rows: list[tuple[Clip, dict[str, object]]] = []
    files: list[Path] = []
    faults: list[DataError] = []
    for table in tables:
        try:
            more = list(_choices(table, stimuli))
        except DataError as error:
            faults.append(error)
            continue
        rows += more
        files.append(table.path)
    if not rows:
        return None, faults
    source = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    _LOG.info("Human genre choices: %d, from %s", len(rows), source)
    frame = pd.DataFrame([row for _, row in rows], columns=list(COLUMNS))
    return HumanChoices(frame, source, tuple(dict.fromkeys(clip for clip, _ in rows)), tuple(files)), faults


def given_choices(path: Path, *, stimuli: Stimuli, read: TableReader) -> HumanChoices | None:
    """Read the human genre choices of ``--behavior``.

    Parameters
    ----------
    path : Path
        Table of one or many people.
    stimuli : Stimuli
        Resolves rows to clips.
    read : callable
        Reads a table, once.

    Returns
    -------
    HumanChoices or None

    Raises
    ------
    DataError
        The table cannot be read, holds no choices, or has a row that cannot be used.
    """
    table = read(path)
    if wrong := _misspelt(table.columns, stimuli):
        raise DataError(f"--behavior {misspelt_text(path, wrong)}")
    usable, unread, others = _with_choices([table], stimuli)
    if not usable:
        needs = DataError(
            f"--behavior {path}: needs columns stim_file, response and genre (or trial_type), "
            f"with answers among the genres; it has {list(table.columns)}"
        )
        raise next(iter((*unread, *others)), needs)
    choices, faults = _collect(usable, stimuli)
    if faults:
        raise faults[0]
    return choices


def read_choices(
    listing: Listing, *, stimuli: Stimuli, read: Tables, told: Collection[str] = ()
) -> tuple[HumanChoices | None, tuple[str, ...]]:
    """Read human genre choices of all the dataset's participants, also of those not chosen.

    Tables without a column of answers are not read further than their first line; one that cannot be read or used
    costs its own answers only.

    Parameters
    ----------
    listing : Listing
        The dataset's files.
    stimuli : Stimuli
        Resolves rows to clips.
    read : Tables
        Reads a table, once.
    told : collection of str
        Sentences that were told already: a table that they name is not told again.

    Returns
    -------
    choices : HumanChoices or None
        From ``sub-*/[ses-*/]beh/*_beh.tsv``; else from a ``response`` column of events; else None.
    notes : tuple of str
        Tables that were passed over.
    """
    notes: list[str] = []
    people = listing.people.values()
    answers = [path for one in people for path in one.answers]
    events = [path for one in people for path in one.beside if path.name.endswith("_events.tsv")]
    for paths in (answers, events):
        there = sorted(path for path in paths if not _is_empty(path))
        tables, unread = _readable(there, stimuli, read)
        usable, without_genres, others = _with_choices(tables, stimuli)
        choices, unused = _collect(usable, stimuli)
        new = [fault for path, fault in unread.items() if not any(path.name in text for text in told)]
        new += [fault for fault in without_genres if not any(str(fault) in text for text in told)]
        notes += _counted(new, "that may hold choices cannot be read")
        notes += _counted([*unused, *others], "of choices cannot be used")
        if choices is not None:
            return choices, (*notes, *(_several_tasks(choices) if paths is answers else ()))
    return None, tuple(notes)


def _several_tasks(choices: HumanChoices) -> tuple[str, ...]:
    """Say that tables of several tasks are taken together: a pilot, or another question with other choices."""
    tasks = sorted({entity(path, "task") or "n/a" for path in choices.files})
    if len(tasks) < 2:
        return ()
    return (
        f"genre choices of {len(tasks)} tasks ({some(tasks)}) count as those of one; where they were not asked alike, "
        "keep the tables of one under */beh/, or give --behavior",
    )


def _is_empty(path: Path) -> bool:
    """Whether a table has no bytes: a person without answers. One that cannot be looked at is told by its reader."""
    try:
        return not path.is_symlink() and path.stat().st_size == 0
    except OSError:
        return False


def _counted(faults: Sequence[DataError], what: str) -> list[str]:
    """One note for many tables."""
    if not faults:
        return []
    several = "1 table" if len(faults) == 1 else f"{len(faults)} tables"
    return [f"{several} {what}: passed over ({faults[0]})"]
