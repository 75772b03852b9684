"""Human genre choices: what people answered when they heard a clip."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ban_bids.bids.names import entity
from ban_bids.errors import DataError
from ban_bids.inputs.events import Row, Table, TableReader, plain_label
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import COLUMNS, Clip, HumanChoices

_LOG = logging.getLogger(__name__)

_PARTICIPANT = ("participant_id", "participant", "subject")


def _person(row: Row) -> str:
    for column in _PARTICIPANT:
        text = row.text(column)
        if text is not None:
            return text.removeprefix("sub-")
    return entity(row.path, "sub") or "n/a"


def _choices(table: Table, stimuli: Stimuli) -> Iterator[tuple[Clip, dict[str, object]]]:
    """Rows of one table that hold a choice on a clip, with a true genre."""
    for row in table.rows:
        response = row.text("response")
        if response is None:
            continue
        clip = stimuli.clip(row, whole_file=True)
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


def _with_choices(tables: Sequence[Table], stimuli: Stimuli) -> list[Table]:
    """Tables that name clips, their true genres and answers, of tasks in which some answer is one of the genres.

    A ``response`` column of another task (button presses) is told apart by its answers: no answer is a genre. All
    tables of a task are taken together: one person's answers may all be other than the genres of their clips.
    """
    named = [table for table in tables if "response" in table.columns and stimuli.describes_clips(table.columns)]
    genres: dict[str | None, set[str]] = {}
    answers: dict[str | None, set[str]] = {}
    for table in named:
        task, genre = entity(table.path, "task"), "genre" if "genre" in table.columns else "trial_type"
        genres.setdefault(task, set()).update(_labels(table, genre))
        answers.setdefault(task, set()).update(_labels(table, "response"))
    return [table for table in named if genres[entity(table.path, "task")] & answers[entity(table.path, "task")]]


def _labels(table: Table, column: str) -> set[str]:
    return {plain_label(text) for row in table.rows if (text := row.text(column)) is not None}


def _candidates(root: Path, pattern: str) -> list[Path]:
    return sorted([*root.glob(f"sub-*/{pattern}"), *root.glob(f"sub-*/ses-*/{pattern}")])


def _collect(tables: Sequence[Table], stimuli: Stimuli) -> HumanChoices | None:
    rows = [item for table in tables for item in _choices(table, stimuli)]
    if not rows:
        return None
    files = tuple(table.path for table in tables)
    source = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    _LOG.info("Human genre choices: %d, from %s", len(rows), source)
    frame = pd.DataFrame([row for _, row in rows], columns=list(COLUMNS))
    return HumanChoices(frame, source, tuple(dict.fromkeys(clip for clip, _ in rows)), files)


def read_choices(root: Path, behavior: Path | None, *, stimuli: Stimuli, read: TableReader) -> HumanChoices | None:
    """Read human genre choices of all the dataset's participants, also of those not chosen.

    Parameters
    ----------
    root : Path
        The BIDS folder.
    behavior : Path or None
        Table given by ``--behavior``, instead of the dataset's own.
    stimuli : Stimuli
        Resolves rows to clips.
    read : callable
        Reads a table, once.

    Returns
    -------
    HumanChoices or None
        From ``--behavior``; else from ``sub-*/[ses-*/]beh/*_beh.tsv``; else from a ``response`` column of
        events; else None.

    Raises
    ------
    DataError
        A table that holds choices cannot be used.
    """
    if behavior is not None:
        table = read(behavior)
        if not _with_choices([table], stimuli):
            raise DataError(
                f"--behavior {behavior}: needs columns stim_file, response and genre (or trial_type), "
                f"with answers among the genres; it has {list(table.columns)}"
            )
        return _collect([table], stimuli)
    for pattern in ("beh/*_beh.tsv", "func/*_events.tsv"):
        answers = [read(path) for path in _candidates(root, pattern) if path.stat().st_size > 0]
        choices = _collect(_with_choices(answers, stimuli), stimuli)
        if choices is not None:
            return choices
    return None
