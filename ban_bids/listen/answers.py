"""Answers as people gave them, and those that lie in an experiment's folder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ban_bids.errors import DataError
from ban_bids.files.json import read_json
from ban_bids.inputs.events import read_table
from ban_bids.listen.experiment import Experiment, Kind, Layout, ListeningClip, read_experiment

CONFIDENCES = (1, 2, 3, 4)
"""What can be answered to "how sure are you?"; the last is the surest."""

_CLIP = ("stim_file", "start", "duration", "genre")
_KEYS = (
    "number",
    "kind",
    "clip",
    *_CLIP,
    "expected",
    "response",
    "confidence",
    "response_time_ms",
    "plays",
    "received",
)
_ANSWER = re.compile(r"\d{4,}\.json")
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
    people = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = {person: read for person in people if (read := _Session.read(layout, experiment, person)).answers}
    if not found:
        raise DataError(f"{folder}: no answers; run ban-bids-listen serve {layout.root} and send out the links")
    raw = {path.name: path.read_bytes() for path in (layout.experiment, layout.texts) if path.is_file()}
    for session in found.values():
        raw |= session.raw
    notes = [note for session in found.values() for note in session.notes]
    unused = _without_answers(layout, set(found))
    if unused:
        notes.append(f"no answers of {', '.join(unused)}")
    return Collected(
        answers=tuple(answer for session in found.values() for answer in session.answers),
        choices=experiment.choices,
        raw=raw,
        notes=tuple(notes),
        task=experiment.task,
    )


def _without_answers(layout: Layout, found: set[str]) -> list[str]:
    """People with a personal link of whom there is no answer."""
    if not layout.people.is_file():
        return []
    labels = (row.text("participant_id") for row in read_table(layout.people).rows)
    return [label for label in labels if label is not None and label.removeprefix("sub-") not in found]


@dataclass(frozen=True)
class _Session:
    """One person's part of the experiment's folder."""

    answers: tuple[Answer, ...] = ()
    raw: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, layout: Layout, experiment: Experiment, person: str) -> _Session:
        folder, session = layout.answers(person), layout.session(person)
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        answers = sorted((_read_answer(path, experiment, person) for path in paths), key=lambda answer: answer.number)
        raw = {str(path.relative_to(layout.root)): path.read_bytes() for path in paths}
        known = read_json(session) if session.is_file() else {}
        # the key opens the session in a browser: it stays in the experiment's folder
        shown = {name: value for name, value in known.items() if name != "key"}
        raw[str(session.relative_to(layout.root))] = (json.dumps(shown, indent=2) + "\n").encode()
        asked = len(experiment.practice) + len(experiment.clips) + experiment.repeats + experiment.checks
        unfinished = f"{person} did not finish: {len(answers)} of {asked} trials are answered, and imported"
        return cls(tuple(answers), raw, (unfinished,) if len(answers) < asked else ())


def _read_answer(path: Path, experiment: Experiment, person: str) -> Answer:
    found = read_json(path, remedy=_REMEDY)
    problem = _problem(found, path, experiment)
    if problem:
        raise DataError(f"{path}: damaged answer: {problem}; {_REMEDY}")
    time = found["response_time_ms"]
    return Answer(
        participant=person,
        number=found["number"],
        kind=found["kind"],
        source=path,
        response_time=None if time is None else time / 1000,
        **{name: found[name] for name in (*_CLIP, "expected", "response", "confidence")},
    )


def _problem(found: Mapping[str, Any], path: Path, experiment: Experiment) -> str | None:
    """What is wrong with an answer, or None."""
    absent = [name for name in _KEYS if name not in found]
    if absent:
        return f"{', '.join(absent)} missing"
    number, time, confidence = (found[name] for name in ("number", "response_time_ms", "confidence"))
    if not _ANSWER.fullmatch(path.name) or type(number) is not int or number != int(path.stem):
        return f"number is {number!r} in a file of that name"
    if found["kind"] not in get_args(Kind):
        return f"kind is {found['kind']!r}"
    if found["response"] not in experiment.choices:
        return f"response {found['response']!r} is none of the choices"
    if found["kind"] == "check" and found["expected"] not in experiment.choices:
        return f"expected answer {found['expected']!r} is none of the choices"
    if time is not None and not (_is_number(time) and math.isfinite(time) and time >= 0):
        return f"response_time_ms is {time!r}"
    if confidence is not None and not (_is_number(confidence) and confidence in CONFIDENCES):
        return f"confidence is {confidence!r}"
    return None if found["kind"] == "check" else _other_clip(found, experiment)


def _other_clip(found: Mapping[str, Any], experiment: Experiment) -> str | None:
    """In what the clip of an answer differs from the experiment's of that name, or None."""
    clips: dict[str, ListeningClip] = {clip.id: clip for clip in (*experiment.clips, *experiment.practice)}
    clip = clips.get(str(found["clip"]))
    if clip is None:
        return f"clip {found['clip']!r} is none of the experiment's"
    differing = [name for name in _CLIP if found[name] != getattr(clip, name)]
    return f"{', '.join(differing)} not as the experiment has it for clip {clip.id}" if differing else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
