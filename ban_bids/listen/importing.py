"""Answers into the dataset: tables of people's choices, participants, and the answers as they came."""

from __future__ import annotations

import dataclasses
import re
import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas as pd

from ban_bids.bids.behavior import choices_path, write_choices
from ban_bids.bids.listing import participant_labels
from ban_bids.bids.names import entity
from ban_bids.constants import NOT_AVAILABLE
from ban_bids.errors import DataError, UsageError
from ban_bids.files.atomic import write_bytes, write_text
from ban_bids.files.json import read_json, write_json
from ban_bids.files.reading import MIB, read_bytes, text_of
from ban_bids.inputs.events import Row, clean_cell, plain_label, read_table
from ban_bids.inputs.stimuli import PAST_END, Stimuli, stimuli_of
from ban_bids.inputs.types import Clip
from ban_bids.listen.answers import Answer, Collected, read_answers
from ban_bids.listen.columns import EXCERPTS, read_map
from ban_bids.listen.experiment import Layout
from ban_bids.listen.exported import read_tables
from ban_bids.listen.heard import heard_runs

TASK = "genre"
"""Task label of tables where none is given."""

_DESCRIPTION = "The person heard clips of music and chose the genre of each"
_TABLES = ("sub-{label}/beh/sub-{label}_*_beh.tsv", "sub-{label}/ses-*/beh/sub-{label}_*_beh.tsv")
_SUFFIXES = (".wav", ".au", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".webm", ".aif", ".aiff")
_OPTIONAL = ("confidence", "response_time")


def import_answers(
    answers: Path,
    bids_dir: Path,
    *,
    columns: Path | None,
    task: str | None,
    replace: bool,
    stimuli_dir: Path | None = None,
) -> str:
    """Write people's answers into a dataset as ``sub-*/beh/*_beh.tsv``.

    Everybody's answers are written, also those of people who did not finish or failed checks of attention: who is to
    be left out is decided by the experimenter, and before scores are seen. The share of checks that each person
    passed becomes a column of ``participants.tsv``. Practice and checks are kept in ``sourcedata`` only.

    Parameters
    ----------
    answers : Path
        An experiment's folder; or a table, or a folder of tables, that another program exported.
    bids_dir : Path
        The dataset. Nothing is written unless everything can be.
    columns : Path or None
        Map of the columns of exported tables, see `ban_bids.listen.columns.read_map`.
    task : str or None
        Label of the task; None: the experiment's, or ``genre``.
    replace : bool
        Whether tables of an earlier import are replaced.
    stimuli_dir : Path, optional
        Where the audio files are, if not in the dataset's ``stimuli/``.

    Returns
    -------
    str
        What was imported, what is missing or was left out, and the next command.

    Raises
    ------
    DataError
        An answer or a table is damaged, a clip is not in the dataset, or a table is there already.
    UsageError
        The options do not fit the answers.
    """
    collected = _collected(answers, columns)
    task = task or collected.task or TASK
    dataset = _Dataset.open(bids_dir, stimuli_dir)
    judged = [dataset.judged(answer, collected.excerpt) for answer in collected.answers if answer.scored]
    _check_judged(judged, answers)
    if collected.task is None:  # choices of an experiment's folder hold its genres
        _check_named(judged, answers)
    tables = _tables(judged)
    raw = {bids_dir / "sourcedata" / "listen" / f"task-{task}" / name: file for name, file in collected.raw.items()}
    _refuse_existing(bids_dir, tables, task, replace=replace)
    _refuse_other(raw, replace=replace)
    others = _others(bids_dir, tables, task)
    known = sorted(set(tables).intersection(participant_labels(bids_dir)))
    people = _Participants.read(bids_dir, list(tables), _checks(collected.answers), task)
    responses = dict.fromkeys(item.answer.response for item in judged)
    choices = tuple(dict.fromkeys([*collected.choices, *sorted(set(responses) - set(collected.choices))]))
    for path, content in raw.items():
        write_bytes(path, content)
    people.write()
    for label, table in tables.items():
        write_choices(bids_dir, label, table, task=task, choices=choices, description=_DESCRIPTION)
    notes = (*_known(known), *others, *_notes(collected, judged))
    return "\n".join([*_summary(bids_dir, task, judged), *notes, _next(bids_dir, stimuli_dir)])


def _collected(answers: Path, columns: Path | None) -> Collected:
    layout = Layout(answers)
    if layout.experiment.is_file():
        if columns is not None:
            raise UsageError(f"--columns: {answers} is an experiment's folder, whose files need no map; leave it out")
        return read_answers(layout)
    if columns is None:
        raise UsageError(f"{answers}: no experiment.json there; for tables of other programs give --columns FILE")
    return read_tables(answers, read_map(columns))


@dataclass(frozen=True)
class _Judged:
    """An answer, and the dataset's clip that it is on."""

    answer: Answer
    clip: Clip
    stim_file: str


@dataclass(frozen=True)
class _Dataset:
    """The dataset's sounds, and what its events say of them."""

    root: Path
    stimuli: Stimuli

    @classmethod
    def open(cls, root: Path, stimuli_dir: Path | None) -> _Dataset:
        stimuli = stimuli_of(root, stimuli_dir)
        if not (root / "dataset_description.json").is_file():
            raise UsageError(f"BIDS_DIR {root}: no dataset_description.json there; give a BIDS dataset")
        if not stimuli.folders:
            raise UsageError(f"{root / 'stimuli'}: not there; give --stimuli-dir")
        return cls(root, stimuli)

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """Audio files by name and by name without suffix; of the first folder that has any of a name."""
        index: dict[str, list[Path]] = {}
        for folder in reversed(self.stimuli.folders):
            here: dict[str, list[Path]] = {}
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in _SUFFIXES and (path.is_file() or path.is_symlink()):
                    for name in (path.name, path.stem):
                        here.setdefault(name, []).append(path)
            index |= here
        return index

    @cached_property
    def _heard(self) -> dict[Path, tuple[Clip, ...]]:
        """Distinct clips of all runs, by their file."""
        heard: dict[Path, dict[Clip, None]] = {}
        for label in participant_labels(self.root):
            for run in heard_runs(label, self.root, self.stimuli):
                for clip in run.clips:
                    heard.setdefault(clip.audio, {})[clip] = None
        return {audio: tuple(clips) for audio, clips in heard.items()}

    def heard(self, audio: Path) -> tuple[Clip, ...]:
        """Clips of a file that the events play."""
        return self._heard.get(audio, ())

    def judged(self, answer: Answer, excerpt: str | None) -> _Judged:
        """Find the clip that an answer is on, with its true genre.

        Parameters
        ----------
        answer : Answer
        excerpt : str or None
            Where the file was heard if the answer does not say.
        """
        audio = self._audio(answer)
        start, duration, genre = answer.start, answer.duration, answer.genre
        if start is None and duration is None:
            start, duration = self._stretch(answer, audio, excerpt)
        if genre is None:
            genre = _one_genre(answer, audio, self.heard(audio))
        return _Judged(answer, self._clip(answer, audio, (start, duration), genre), self._name(audio))

    def _name(self, audio: Path) -> str:
        folder = next(folder for folder in self.stimuli.folders if audio.is_relative_to(folder))
        return audio.relative_to(folder).as_posix()

    def _clip(self, answer: Answer, audio: Path, stretch: tuple[float | None, float | None], genre: str | None) -> Clip:
        start, duration = (None if value is None else repr(float(value)) for value in stretch)
        cells = {"stim_file": self._name(audio), "stim_start": start, "duration": duration}
        row = Row(answer.source, answer.line, cells)
        try:
            clip = self.stimuli.clip(row)
        except DataError:
            self.heard(audio)  # a clip of the events may go on after its file: once they are read, that is known
            clip = self.stimuli.clip(row)
        if clip is None:
            raise DataError(f"{answer.where}: no audio file named; correct the row")
        return dataclasses.replace(clip, genre=genre)

    def _audio(self, answer: Answer) -> Path:
        """File of an answer: as named under ``stimuli/``, or the only one of that name, perhaps in another format."""
        named = PurePosixPath(answer.stim_file.replace("\\", "/"))
        relative = named.relative_to("stimuli") if named.parts[:1] == ("stimuli",) else named
        for folder in () if ".." in named.parts or named.is_absolute() else self.stimuli.folders:
            if (folder / relative).is_file() or (folder / relative).is_symlink():
                return folder / relative
        name = named.name.partition("?")[0]
        without = PurePosixPath(name).stem if PurePosixPath(name).suffix.lower() in _SUFFIXES else name
        found = self._files.get(name) or self._files.get(without) or []
        if len(found) > 1:
            raise DataError(
                f"{answer.where}: several files are called {name} ({found[0]}, {found[1]}); name it with its folder"
            )
        if not found:
            raise DataError(
                f"{answer.where}: clip {answer.stim_file!r} is not under "
                f"{' or '.join(map(str, self.stimuli.folders))}; correct the name, or give --stimuli-dir"
            )
        return found[0]

    def _stretch(self, answer: Answer, audio: Path, excerpt: str | None) -> tuple[float | None, float | None]:
        """Start and duration of a file of which the answer tells no stretch."""
        heard = self.heard(audio)
        whole = self._clip(answer, audio, (None, None), None)
        in_part = [clip for clip in heard if clip.start > PAST_END or whole.duration - clip.duration > PAST_END]
        if in_part and excerpt is None:
            clip = in_part[0]
            raise DataError(
                f"{answer.where}: the events play {self._name(audio)} from {clip.start:g} to "
                f"{clip.start + clip.duration:g} s; say what people heard: write excerpt = "
                f"{' or '.join(map(repr, EXCERPTS))} in the map of columns, or start and duration in a table of clips"
            )
        if excerpt == "events" and len(heard) != 1:
            raise DataError(
                f"{answer.where}: the events play {len(heard)} excerpts of {self._name(audio)}; name a table of clips "
                "with start and duration in the map of columns"
            )
        if len(heard) == 1 and (excerpt == "events" or not in_part):
            return heard[0].start, heard[0].duration
        return None, None


def _one_genre(answer: Answer, audio: Path, heard: Sequence[Clip]) -> str:
    """True genre of a file by the events."""
    genres = list(dict.fromkeys(clip.genre for clip in heard if clip.genre is not None))
    if len(genres) != 1:
        what = f"the events say {', '.join(genres)}" if genres else "the events do not tell it"
        raise DataError(
            f"{answer.where}: true genre of {audio.name}: {what}; name the column (genre) or a table of clips (clips) "
            "in the map of columns"
        )
    return genres[0]


def _check_judged(judged: Sequence[_Judged], answers: Path) -> None:
    """Refuse what would be read back otherwise than it was given, or could not be scored."""
    if not judged:
        raise DataError(f"{answers}: nothing but practice and checks is answered; import when people have gone on")
    genres: dict[Clip, str | None] = {}
    for item in judged:
        for text in (item.answer.response, item.clip.genre or "", item.stim_file):
            if '"' in text or clean_cell(" ".join(text.split())) != text:
                raise DataError(f"{item.answer.where}: {text!r} cannot stand in a table; rename it: no quotes, no n/a")
        if plain_label(genres.setdefault(item.clip, item.clip.genre)) != plain_label(item.clip.genre):
            raise DataError(
                f"{item.answer.where}: {item.stim_file} is {item.clip.genre} here and {genres[item.clip]} before; "
                "correct one"
            )


def _check_named(judged: Sequence[_Judged], answers: Path) -> None:
    """Refuse answers of which none names a genre: numbers of buttons, or another language."""
    genres, responses = (
        dict.fromkeys(names)
        for names in ((item.clip.genre for item in judged), (item.answer.response for item in judged))
    )
    if not {plain_label(genre) for genre in genres} & {plain_label(response) for response in responses}:
        raise DataError(
            f"{answers}: no answer ({_few(responses)}) is a genre of the clips ({_few(genres)}); say in [answers] of "
            "the map of columns what each stands for"
        )


def _few(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def _tables(judged: Sequence[_Judged]) -> dict[str, pd.DataFrame]:
    """Table of each person, in the order of the trials."""
    rows: dict[str, list[dict[str, object]]] = {}
    presented: Counter[tuple[str, Clip]] = Counter()
    for item in judged:
        answer, clip = item.answer, item.clip
        presented[answer.participant, clip] += 1
        again = presented[answer.participant, clip] > 1
        rows.setdefault(answer.participant, []).append(
            {
                "trial": answer.number,
                "stim_file": item.stim_file,
                "stim_start": clip.start,
                "duration": clip.duration,
                "genre": clip.genre,
                "response": answer.response,
                "confidence": answer.confidence,
                "response_time": answer.response_time,
                "presentation": presented[answer.participant, clip],
                "kind": "repeat" if again else answer.kind,
            }
        )
    absent = [name for name in _OPTIONAL if all(getattr(item.answer, name) is None for item in judged)]
    return {label: pd.DataFrame(own).drop(columns=absent) for label, own in rows.items()}


def _refuse_existing(root: Path, labels: Iterable[str], task: str, *, replace: bool) -> None:
    for label in labels:
        own = choices_path(root, label, task)
        if own.exists() and not replace:
            raise DataError(f"{own}: there already; give --replace to replace it, or another --task")
        for pattern in _TABLES:
            for path in root.glob(pattern.format(label=label)):
                if path != own and entity(path, "task") == task:
                    raise DataError(f"{path}: holds choices of this person and task already; remove it, or give "
                                    "another --task")  # fmt: skip


def _others(root: Path, labels: Iterable[str], task: str) -> list[str]:
    """Note on people who have a table of this task and are not in this import: their answers count too."""
    paths = {path for pattern in _TABLES for path in root.glob(pattern.format(label="*"))}
    there = {entity(path, "sub") or "" for path in paths if entity(path, "task") == task} - set(labels)
    return [f"note: people whose tables of this task were there before stay in: {', '.join(sorted(there))}"] * bool(
        there
    )


def _known(labels: Sequence[str]) -> list[str]:
    """Note on people who are participants already: the same people, or only the same numbers?"""
    note = f"note: participants of the dataset before, taken for the same people: {', '.join(labels)}"
    return [note] * bool(labels)


def _refuse_other(files: Mapping[Path, bytes], *, replace: bool) -> None:
    for path, content in files.items():
        if not replace and path.exists() and path.read_bytes() != content:
            raise DataError(f"{path}: there from another import; give --replace to replace it, or another --task")


def _checks(answers: Sequence[Answer]) -> dict[str, tuple[int, int]]:
    """Checks of attention that each person passed, and all."""
    passed: dict[str, list[bool]] = {}
    for answer in answers:
        if answer.kind == "check":
            passed.setdefault(answer.participant, []).append(answer.response == answer.expected)
    return {label: (sum(own), len(own)) for label, own in passed.items()}


@dataclass(frozen=True)
class _Participants:
    """``participants.tsv``, its cells as they are written."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    description: dict[str, object]

    @classmethod
    def read(cls, root: Path, labels: Iterable[str], checks: Mapping[str, tuple[int, int]], task: str) -> _Participants:
        """Read the table, and add people and the share of checks that they passed."""
        path = root / "participants.tsv"
        header, rows = _cells(path) if path.is_file() else (["participant_id"], [])
        names = [clean_cell(name) for name in header]  # R writes quotes around all of them
        named = names.index("participant_id")
        known = {clean_cell(row[named]) for row in rows}
        there = () if path.is_file() else participant_labels(root)
        for name in dict.fromkeys(f"sub-{label}" for label in (*there, *labels)):
            if name not in known:
                rows.append([name if k == named else NOT_AVAILABLE for k in range(len(header))])
        column = f"{task}_checks_passed"
        description: dict[str, object] = {}
        if checks:
            description[column] = {"Description": f"Share of the checks of attention passed in task-{task}; 1 is all"}
            if column not in names:
                header, names = [*header, column], [*names, column]
                rows = [[*row, NOT_AVAILABLE] for row in rows]
            for row in rows:
                label = (clean_cell(row[named]) or "").removeprefix("sub-")
                if label in checks:
                    row[names.index(column)] = f"{checks[label][0] / checks[label][1]:.3g}"
        return cls(path, header, rows, description)

    def write(self) -> None:
        """Write the table, and describe the new column."""
        if self.description:
            sidecar = self.path.with_suffix(".json")
            write_json(sidecar, (read_json(sidecar) if sidecar.is_file() else {}) | self.description)
        write_text(self.path, "".join("\t".join(row) + "\n" for row in (self.header, *self.rows)))


def _cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table, cells as they are written."""
    if "participant_id" not in read_table(path).columns:  # it refuses what is no table
        raise DataError(f"{path}: no column participant_id; add it")
    lines = [line for line in re.split(r"\r\n|\n|\r", text_of(read_bytes(path, 64 * MIB), path)) if line.strip()]
    header, *rows = [line.split("\t") for line in lines]
    return header, [[*row, *[NOT_AVAILABLE] * (len(header) - len(row))] for row in rows]


def _summary(root: Path, task: str, judged: Sequence[_Judged]) -> list[str]:
    people, clips = {item.answer.participant for item in judged}, {item.clip for item in judged}
    where = root / "sub-*" / "beh" / f"sub-*_task-{task}_beh.tsv"
    return [f"{len(judged)} answers of {len(people)} people on {len(clips)} clips: {where}"]


def _notes(collected: Collected, judged: Sequence[_Judged]) -> Iterator[str]:
    """What is missing, was left out, or should be looked at; one line each."""
    yield from (f"note: {note}" for note in collected.notes)
    kinds = Counter(answer.kind for answer in collected.answers if not answer.scored)
    if kinds:
        yield f"note: in sourcedata only: {', '.join(f'{n} trials of kind {kind}' for kind, n in kinds.items())}"
    failed = [f"{label} ({n} of {of} passed)" for label, (n, of) in _checks(collected.answers).items() if n < of]
    if failed:
        yield (
            f"note: checks of attention failed by {', '.join(failed)}; their answers are imported; to leave people "
            "out, remove their beh table, by a rule that was set before scores are seen"
        )
    genres = {plain_label(item.clip.genre) for item in judged}
    other = Counter(item.answer.response for item in judged if plain_label(item.answer.response) not in genres)
    if other:
        counted = [f"{response} ({n})" for response, n in other.most_common()]
        yield f"note: answers that are the genre of no clip, and so never right: {_few(counted)}"
    times = [item.answer.response_time for item in judged if item.answer.response_time is not None]
    if times:
        yield f"median response time {statistics.median(times):.3g} s"


def _next(root: Path, stimuli_dir: Path | None) -> str:
    sounds = [] if stimuli_dir is None else ["--stimuli-dir", str(stimuli_dir)]
    return f"next: {shlex.join(['ban-bids', str(root), 'OUT', 'participant', '--model', 'ban=WEIGHTS', *sounds])}"
