"""What a listening experiment asks about which clips, and where its files lie."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ban_bids.errors import DataError
from ban_bids.files.json import read_json, write_json
from ban_bids.files.tsv import write_tsv
from ban_bids.inputs.events import clean_cell, read_table

VERSION = 1
SOUND_CHECK = "soundcheck"
"""Identifier of the sound by which people set their volume."""

LABEL = re.compile(r"[A-Za-z0-9+]+")
"""What participants and tasks may be called."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9-]+")
_CODE = re.compile(r"[A-Za-z0-9_-]{12,64}")
Kind = Literal["practice", "main", "repeat", "check"]


@dataclass(frozen=True)
class ListeningClip:
    """A clip that people judge.

    Parameters
    ----------
    id : str
        Letters, digits and hyphens; ``clips/<id>.wav`` in the experiment's folder is what is played.
    stim_file : str
        Audio file as the dataset names it, below its ``stimuli/``.
    start, duration : float
        Stretch of the file, seconds.
    genre : str
        The true one.
    """

    id: str
    stim_file: str
    start: float
    duration: float
    genre: str


@dataclass(frozen=True)
class Trial:
    """One question to one person.

    Parameters
    ----------
    number : int
        From 1, in the order in which they are asked; practice included.
    kind : str
        ``practice`` (not evaluated), ``main``, ``repeat`` (a clip that was heard before) or ``check`` (of attention).
    clip : str
        Identifier of the clip.
    expected : str or None
        Answer that a check asks for.
    """

    number: int
    kind: Kind
    clip: str
    expected: str | None = None


@dataclass(frozen=True)
class Experiment:
    """Everything that is the same for all people.

    Parameters
    ----------
    task : str
        Label of the BIDS files that are made of the answers.
    choices : tuple of str
        What can be answered, in the order of the buttons.
    clips : tuple of ListeningClip
        Judged by everybody.
    practice : tuple of ListeningClip
        Judged before, not evaluated.
    repeats : int
        Clips that everybody judges twice, for the reliability.
    checks : int
        Trials that ask for a given answer.
    confidence : bool
        Whether a confidence is asked for after each choice.
    seed : int
        Of the orders; a person's order follows from it and from the person's label.
    """

    task: str
    choices: tuple[str, ...]
    clips: tuple[ListeningClip, ...]
    practice: tuple[ListeningClip, ...] = ()
    repeats: int = 0
    checks: int = 0
    confidence: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Layout:
    """Where the files of an experiment lie.

    Parameters
    ----------
    root : Path
        The experiment's folder.
    """

    root: Path

    @property
    def experiment(self) -> Path:
        """The :class:`Experiment`."""
        return self.root / "experiment.json"

    @property
    def people(self) -> Path:
        """Table of ``participant_id`` and ``code``: who gets which personal link."""
        return self.root / "people.tsv"

    @property
    def texts(self) -> Path:
        """Texts in all languages, to be changed by the experimenter."""
        return self.root / "texts.toml"

    def clip(self, clip: str) -> Path:
        """Sound of a clip."""
        return self.root / "clips" / f"{clip}.wav"

    def session(self, participant: str) -> Path:
        """Who holds the link: ``key``, ``language``, ``begun`` and, at the end, ``finished``."""
        return self.root / "sessions" / f"{participant}.json"

    def answers(self, participant: str) -> Path:
        """Folder of one file per answered trial, ``<number>.json``."""
        return self.root / "answers" / participant


def write_experiment(layout: Layout, experiment: Experiment) -> None:
    """Write the experiment."""
    write_json(layout.experiment, {"version": VERSION, **asdict(experiment)})


def read_experiment(layout: Layout) -> Experiment:
    """Read the experiment.

    Raises
    ------
    DataError
        The file is missing, not of this version, or holds what no experiment can.
    """
    path = layout.experiment
    if not path.is_file():
        raise DataError(f"{path}: not there; make the experiment with ban-bids-listen make")
    found = read_json(path)
    if found.pop("version", None) != VERSION:
        raise DataError(f"{path}: not of version {VERSION}; make the experiment again")
    parts = _typed(found, _EXPERIMENT, path)
    for name in ("clips", "practice"):
        parts[name] = tuple(ListeningClip(**_typed(one, _CLIP, path)) for one in parts[name])
    experiment = Experiment(**{**parts, "choices": tuple(parts["choices"])})
    wrong = next(faults(experiment), None)
    if wrong is not None:
        raise DataError(f"{path}: {wrong}; make the experiment again")
    return experiment


_NUMBER = (int, float)
_EXPERIMENT: Mapping[str, tuple[type, ...]] = {
    "task": (str,), "choices": (list,), "clips": (list,), "practice": (list,), "repeats": (int,), "checks": (int,),
    "confidence": (bool,), "seed": (int,),
}  # fmt: skip
_CLIP: Mapping[str, tuple[type, ...]] = {
    "id": (str,), "stim_file": (str,), "start": _NUMBER, "duration": _NUMBER, "genre": (str,),
}  # fmt: skip


def _typed(found: Any, kinds: Mapping[str, tuple[type, ...]], path: Path) -> dict[str, Any]:
    """Check that an object of JSON has exactly these fields, of these types."""
    if not isinstance(found, dict) or set(found) != set(kinds):
        raise DataError(f"{path}: needs the fields {', '.join(kinds)}, not {found!s:.200}; make the experiment again")
    # type, not isinstance: true is no number
    wrong = [name for name, kind in kinds.items() if type(found[name]) not in kind]
    if wrong:
        raise DataError(f"{path}: {wrong[0]} is {found[wrong[0]]!r:.200}; make the experiment again")
    return dict(found)


def faults(experiment: Experiment) -> Iterator[str]:
    """What is wrong with an experiment, in sentences without their end; nothing where it can be run."""
    choices, clips = experiment.choices, (*experiment.clips, *experiment.practice)
    if not LABEL.fullmatch(experiment.task):
        yield f"task {experiment.task!r} is not a label of letters and digits"
    # the answer is read back from a table: what would be another text there cannot be told from it
    bad = [
        one
        for one in choices
        if type(one) is not str or clean_cell(one) != one or '"' in one or len(one.split()) != 1 + one.count(" ")
    ]
    if len(choices) < 2 or len(set(map(str, choices))) < len(choices) or bad:
        yield f"choices {list(choices)} are not two or more different names without quotes, tabs and outer blanks"
    identifiers = [clip.id for clip in clips]
    if len(set(identifiers)) < len(identifiers) or not all(map(_IDENTIFIER.fullmatch, identifiers)):
        yield "identifiers of clips are not different, or not of letters, digits and hyphens"
    if SOUND_CHECK in identifiers:
        yield f"a clip is called {SOUND_CHECK}"
    yield from (
        f"clip {clip.id}: {clip.start} s, lasting {clip.duration} s, is no excerpt"
        for clip in clips
        if not (0 <= clip.start < math.inf and 0 < clip.duration < math.inf)
    )
    yield from (
        f"{clip.stim_file}: its genre {clip.genre!r} cannot be chosen" for clip in clips if clip.genre not in choices
    )
    if not experiment.clips:
        yield "no clip is judged"
    most = len(experiment.clips)
    if not (0 <= experiment.repeats <= most and 0 <= experiment.checks <= most and experiment.seed >= 0):
        yield f"{experiment.repeats} repeats and {experiment.checks} checks among {most} clips"


def write_people(layout: Layout, codes: Mapping[str, str]) -> None:
    """Write who gets which personal link.

    Parameters
    ----------
    layout : Layout
    codes : mapping of str to str
        Participant's label, without ``sub-``, to the code in the link.
    """
    write_tsv(layout.people, pd.DataFrame({"participant_id": list(codes), "code": list(codes.values())}))


def read_people(layout: Layout) -> dict[str, str]:
    """Read who has which personal link; the table may be edited: people may be added.

    Returns
    -------
    dict of str to str
        Participant's label, without ``sub-``, to the code in the link.

    Raises
    ------
    DataError
        A label or a code cannot be used, or stands there twice.
    """
    table, codes = read_table(layout.people), dict[str, str]()
    for row in table.rows:
        label, code = (row.text("participant_id") or "").removeprefix("sub-"), row.text("code") or ""
        if not LABEL.fullmatch(label) or not _CODE.fullmatch(code):
            raise DataError(
                f"{row.where}: needs participant_id, letters and digits, and code, 12 to 64 of A-Z a-z 0-9 _ -"
            )
        # some file systems do not tell capital letters from small ones
        if label.lower() in map(str.lower, codes) or code in codes.values():
            raise DataError(
                f"{row.where}: {label} or its code stands there twice; give each person one row and one code"
            )
        codes[label] = code
    return codes
