"""Answers as people gave them, and those that lie in an experiment's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.listen import store
from ban_bids.listen.experiment import Experiment, Kind, Layout, read_experiment, read_people
from ban_bids.listen.schedule import trials

CONFIDENCES = (1, 2, 3, 4)
"""What can be answered to "how sure are you?"; the last is the surest."""

_KEPT = ("number", "kind", "stim_file", "start", "duration", "genre", "expected", "response", "confidence")
_REMEDY = "restore it from a copy, or remove it to leave this trial out"


@dataclass(frozen=True)
class Answer:
    """What one person answered in one trial.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    number : int
        Of the trial, in the order in which the person was asked.
    kind : str
        ``practice``, ``main``, ``repeat`` or ``check``.
    stim_file : str
        Audio file as the experiment names it.
    response : str
        The choice.
    source : Path
        File of the answer, for messages.
    line : int
        Line, or number of the record, in that file.
    genre : str or None
        The true one; None where the dataset has to tell it.
    start, duration : float or None
        Stretch of the file, seconds; None where the dataset has to tell it.
    expected : str or None
        Answer that a check of attention asked for.
    confidence : float or None
        Higher is surer.
    response_time : float or None
        Seconds.
    """

    participant: str
    number: int
    kind: Kind
    stim_file: str
    response: str
    source: Path
    line: int = 1
    genre: str | None = None
    start: float | None = None
    duration: float | None = None
    expected: str | None = None
    confidence: float | None = None
    response_time: float | None = None

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.source}, line {self.line}"

    @property
    def scored(self) -> bool:
        """Whether it is a judgement of a clip, and neither practice nor a check."""
        return self.kind in ("main", "repeat")


@dataclass(frozen=True)
class Collected:
    """All answers of one experiment.

    Parameters
    ----------
    answers : tuple of Answer
        By person, in the order of the trials.
    choices : tuple of str
        What could be answered.
    raw : mapping of str to bytes
        What is kept of the answers as they came, by path under ``sourcedata``.
    notes : tuple of str
        What is missing, and what was left out.
    task : str or None
        Task label that the experiment was made with.
    excerpt : str or None
        Where files were heard of which no stretch is given: ``whole``, or as in the dataset's ``events``.
    """

    answers: tuple[Answer, ...]
    choices: tuple[str, ...]
    raw: Mapping[str, bytes]
    notes: tuple[str, ...] = ()
    task: str | None = None
    excerpt: str | None = None


def read_answers(layout: Layout) -> Collected:
    """Read all answers of an experiment's folder.

    Parameters
    ----------
    layout : Layout
        The folder; it may be of an experiment that still goes on.

    Returns
    -------
    Collected
        Personal links and keys of browsers are not in ``raw``.

    Raises
    ------
    DataError
        There is no answer, or a file is damaged or does not fit the experiment.
    """
    experiment = read_experiment(layout)
    folder = layout.answers("")
    there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    people = [person for person in there if store.answered(layout, person)]
    if not people:
        raise DataError(f"{folder}: no answers; run ban-bids-listen serve {layout.root} and send out the links")
    raw = {path.name: path.read_bytes() for path in (layout.experiment, layout.texts) if path.is_file()}
    answers: list[Answer] = []
    notes = []
    for person in people:
        asked = {trial.number: store.asked(experiment, trial) for trial in trials(experiment, person)}
        store.check_answers(layout, person, asked)
        own = [_answer(found, layout, experiment, person) for found in store.read_answers(layout, person)]
        if len(own) < len(asked):
            notes.append(f"{person} did not finish: {len(own)} of {len(asked)} trials are answered, and imported")
        raw |= {_inside(answer.source, layout): answer.source.read_bytes() for answer in own}
        raw |= _session(layout, person)
        answers += own
    invited = read_people(layout) if layout.people.is_file() else ()
    absent = [person for person in invited if person not in people]
    if absent:
        notes.append(f"no answers of {', '.join(absent)}")
    return Collected(tuple(answers), experiment.choices, raw, tuple(notes), experiment.task)


def _inside(path: Path, layout: Layout) -> str:
    return path.relative_to(layout.root).as_posix()


def _session(layout: Layout, person: str) -> dict[str, bytes]:
    """What is kept of a session: not the key, which opens it in a browser."""
    session = store.read_session(layout, person)
    shown = {name: value for name, value in asdict(session).items() if name != "key"} if session is not None else {}
    return {_inside(layout.session(person), layout): (json.dumps(shown, indent=2) + "\n").encode()} if shown else {}


def _answer(found: Mapping[str, Any], layout: Layout, experiment: Experiment, person: str) -> Answer:
    """Check what the browser gave; the question is known to be the schedule's."""
    path = layout.answers(person) / f"{found['number']:04d}.json"
    response, time, confidence = (found[name] for name in ("response", "response_time_ms", "confidence"))
    problem = ""
    if response not in experiment.choices:
        problem = f"response {response!r:.100} is none of the choices"
    elif time is not None and not (_is_number(time) and math.isfinite(time) and time >= 0):
        problem = f"response_time_ms is {time!r:.100}"
    elif confidence is not None and not (_is_number(confidence) and confidence in CONFIDENCES):
        problem = f"confidence is {confidence!r:.100}"
    if problem:
        raise DataError(f"{path}: damaged answer: {problem}; {_REMEDY}")
    seconds = None if time is None else round(time / 1000, 6)
    return Answer(person, source=path, response_time=seconds, **{name: found[name] for name in _KEPT})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
