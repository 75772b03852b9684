"""Who holds which link and what was answered, on the disk: one file per answer, whole or absent, never overwritten."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.files.atomic import atomic_path, write_once
from ban_bids.files.json import read_json
from ban_bids.files.locks import file_lock
from ban_bids.listen.experiment import Experiment, Layout, Trial

_NAME = re.compile(r"\d{4,}\.json")
_CHANGING = threading.Lock()
_REMEDY = "restore the file, or delete it: it is then asked for again"

GIVEN = ("response", "confidence", "response_time_ms", "plays")
"""Fields of an answer that the browser gives; the others are the schedule's, and the time of arrival."""


@dataclass(frozen=True)
class Session:
    """Which browser holds a personal link.

    Parameters
    ----------
    key : str
        Known to that browser only.
    language : str
        Of the texts.
    begun : str
        UTC, ISO 8601.
    finished : str or None
        Likewise, once the last answer is there.
    """

    key: str
    language: str
    begun: str
    finished: str | None = None


def now() -> str:
    """Time of day for a file: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def open_session(layout: Layout, participant: str, session: Session) -> bool:
    """Give a link to the browser that comes first.

    Returns
    -------
    bool
        False where somebody holds it.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    return write_once(layout.session(participant), _text(asdict(session)))


def read_session(layout: Layout, participant: str) -> Session | None:
    """Who holds a link; None where nobody does.

    Raises
    ------
    DataError
        The file is damaged.
    """
    path = layout.session(participant)
    if not path.exists():
        return None
    found = read_json(path, remedy="delete it, and the link is free again")
    texts = all(isinstance(found.get(name), str) for name in ("key", "language", "begun"))
    if not texts or not isinstance(found.get("finished"), str | None):
        raise DataError(f"{path}: not a session; delete it, and the link is free again")
    return Session(found["key"], found["language"], found["begun"], found.get("finished"))


def change_session(
    layout: Layout, participant: str, *, language: str | None = None, finished: str | None = None
) -> Session:
    """Note another language, or the end; the first end stays.

    Raises
    ------
    DataError
        There is no session, or its file is damaged.
    OSError
        The file cannot be written.
    """
    path = layout.session(participant)
    # between threads by the first lock, between processes by the second: nobody's end is lost to a language
    with _CHANGING, file_lock(path.with_name(".lock")):
        session = read_session(layout, participant)
        if session is None:
            raise DataError(f"{path}: is gone; open the personal link again")
        session = replace(session, language=language or session.language, finished=session.finished or finished)
        with atomic_path(path, durable=True) as temporary:
            temporary.write_text(_text(asdict(session)), encoding="utf-8")
    return session


def _file(layout: Layout, participant: str, number: int) -> Path:
    return layout.answers(participant) / f"{number:04d}.json"


def asked(experiment: Experiment, trial: Trial) -> dict[str, Any]:
    """What an answer's file says about the question: number, kind, clip and, of the clip, file, excerpt and genre."""
    clip = next(one for one in (*experiment.practice, *experiment.clips) if one.id == trial.clip)
    return {
        "number": trial.number,
        "kind": trial.kind,
        "clip": trial.clip,
        "stim_file": clip.stim_file,
        "start": clip.start,
        "duration": clip.duration,
        "genre": clip.genre,
        "expected": trial.expected,
    }


def keep_answer(layout: Layout, participant: str, question: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Keep an answer; on the disk when this returns.

    Parameters
    ----------
    layout : Layout
    participant : str
        Label without ``sub-``.
    question : mapping
        As :func:`asked`.
    given : mapping
        Fields :data:`GIVEN`.

    Returns
    -------
    bool
        False where this trial has an answer already; that one stays.

    Raises
    ------
    OSError
        The file cannot be written; nothing is left behind.
    """
    content = {**question, **{name: given[name] for name in GIVEN}, "received": now()}
    return write_once(_file(layout, participant, question["number"]), _text(content))


def answered(layout: Layout, participant: str) -> tuple[int, ...]:
    """Numbers of the trials that have an answer, ascending."""
    folder = layout.answers(participant)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return tuple(sorted(int(name.removesuffix(".json")) for name in names if _NAME.fullmatch(name)))


def read_answer(layout: Layout, participant: str, number: int) -> dict[str, Any]:
    """Read the answer to one trial.

    Raises
    ------
    DataError
        The file is missing, damaged, or of another trial.
    """
    path = _file(layout, participant, number)
    found = read_json(path, remedy=_REMEDY)
    missing = [name for name in (*GIVEN, "received", "clip", "kind") if name not in found]
    if missing or found.get("number") != number:
        raise DataError(
            f"{path}: not the answer to trial {number} (no {', '.join(missing) or 'such number'}); {_REMEDY}"
        )
    return found


def read_answers(layout: Layout, participant: str) -> tuple[dict[str, Any], ...]:
    """All answers of one person in the order of the trials.

    Raises
    ------
    DataError
        As :func:`read_answer`.
    """
    return tuple(read_answer(layout, participant, number) for number in answered(layout, participant))


def check_answers(layout: Layout, participant: str, questions: Mapping[int, Mapping[str, Any]]) -> None:
    """Check that answers are to the questions of today's schedule.

    Parameters
    ----------
    layout : Layout
    participant : str
    questions : mapping of int to mapping
        :func:`asked` for each number.

    Raises
    ------
    DataError
        The experiment was changed after somebody had answered: numbers would lead to other clips.
    """
    for answer in read_answers(layout, participant):
        number = answer["number"]
        question = questions.get(number, {})
        differing = [name for name in question if answer.get(name) != question[name]]
        if differing or not question:
            raise DataError(
                f"{_file(layout, participant, number)}: answers another question than {layout.experiment.name} asks "
                f"now ({', '.join(differing) or 'no such trial'}); restore that file, or make a new experiment"
            )
