"""What a listening experiment asks about which clips, and where its files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ban_bids.errors import DataError
from ban_bids.files.json import read_json, write_json

VERSION = 1
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
        The file is missing or not of this version.
    """
    if not layout.experiment.is_file():
        raise DataError(f"{layout.experiment}: not there; make the experiment with ban-bids-listen make")
    found = read_json(layout.experiment)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise DataError(f"{layout.experiment}: not of version {VERSION}; make the experiment again")
    parts: dict[str, Any] = {one.name: found.get(one.name) for one in fields(Experiment)}
    for name in ("clips", "practice"):
        parts[name] = tuple(_clip(one, layout) for one in parts[name] or ())
    return Experiment(**{**parts, "choices": tuple(parts["choices"] or ())})


def _clip(found: Mapping[str, Any], layout: Layout) -> ListeningClip:
    try:
        return ListeningClip(**found)
    except TypeError as error:
        raise DataError(f"{layout.experiment}: clip {found}: {error}; make the experiment again") from error
