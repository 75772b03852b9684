"""Answers in tables that other programs exported (jsPsych, PsychoPy, survey services), by a map of their columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ban_bids.bids.names import alphanumeric
from ban_bids.errors import DataError, UsageError
from ban_bids.listen.answers import Answer, Collected
from ban_bids.listen.columns import CLIP, ColumnMap
from ban_bids.listen.records import Record, outer_column, read_records

_IMPORT_ID = '{"ImportId"'


def read_tables(answers: Path, columns: ColumnMap) -> Collected:
    """Read the answers of exported tables.

    Parameters
    ----------
    answers : Path
        A ``.csv``, ``.tsv`` or ``.json`` file, or a folder of them.
    columns : ColumnMap
        What is where.

    Returns
    -------
    Collected
        ``stim_file`` is the clip as exported, unless a table of clips names its file; ``raw`` holds the named columns
        only, for others may tell who people are.

    Raises
    ------
    DataError
        A table cannot be read, lacks a column, or holds something that cannot be understood.
    UsageError
        There is no table.
    """
    tables = {path: read_records(path)[columns.header_lines :] for path in _paths(answers)}
    lacking = {path: _absent(records, columns) for path, records in tables.items()}
    usable = [path for path, absent in lacking.items() if not absent]
    if not usable:
        path = next(iter(tables))
        there = ", ".join(dict.fromkeys(name for record in tables[path] for name in record.cells)) or "nothing"
        raise DataError(f"{path}: no column {lacking[path][0]} (there is: {there}); correct {columns.source}")
    notes = [f"{path.name} left out: no column {absent[0]}" for path, absent in lacking.items() if absent]
    counts: Counter[str] = Counter()
    found = [answer for path in usable for answer in _numbered(tables[path], columns, counts)]
    if not found:
        left = "; ".join(f"{n} {what}" for what, n in counts.items())
        raise DataError(f"{answers}: no answer ({left or 'no rows'}); correct {columns.source}")
    found = _labelled(found, columns)
    raw = {f"{path.stem if path.suffix == '.csv' else path.name}.csv": _kept(tables[path], columns) for path in usable}
    return Collected(
        answers=tuple(found),
        choices=tuple(dict.fromkeys(columns.answers.values())),
        raw=raw | {path.name: path.read_bytes() for path in columns.files},
        notes=(*notes, *(f"{n} {what}" for what, n in counts.items())),
        excerpt=columns.excerpt,
    )


def _paths(answers: Path) -> list[Path]:
    known = (".csv", ".tsv", ".json")
    if answers.is_dir():
        paths = sorted(path for path in answers.iterdir() if path.suffix.lower() in known and path.stat().st_size > 0)
    else:
        paths = [answers] if answers.is_file() and answers.suffix.lower() in known else []
    if not paths:
        raise UsageError(f"{answers}: no table; give a .csv, .tsv or .json file, or a folder of them")
    return paths


def _absent(records: Sequence[Record], columns: ColumnMap) -> list[str]:
    """Columns that a table lacks."""
    known = {name for record in records for name in record.cells}
    absent = []
    for name in columns.columns:
        if CLIP in name:
            there = any(_pattern(name).fullmatch(column) for column in known)
        else:
            there = name in known or outer_column(name, known)[0] in known
        absent += [] if there else [name]
    return absent


def _pattern(name: str) -> re.Pattern[str]:
    before, after = name.split(CLIP)
    return re.compile(f"{re.escape(before)}(.+){re.escape(after)}")


def _numbered(records: Sequence[Record], columns: ColumnMap, counts: Counter[str]) -> Iterator[Answer]:
    """Answers of one table, numbered within each person; what is passed over is counted."""
    for record in records[:2]:
        if (record.text(columns.participant) or "").startswith(_IMPORT_ID):
            raise DataError(f"{record.where}: a second header line; write header_lines = 2 in {columns.source}")
    read = _wide if columns.wide else _long
    numbers: Counter[str] = Counter()
    seen: dict[str, Record] = {}
    for record in records:
        if not _wanted(record, columns):
            counts["rows left out by only and not"] += 1
            continue
        person = record.text(columns.participant)
        if columns.wide and person is not None and not columns.sessions and seen.setdefault(person, record) != record:
            raise DataError(
                f"{record.where}: {columns.participant} {person} is in line {seen[person].line} too; keep one row, "
                f"or write sessions = true in {columns.source} where one person answered twice"
            )
        for answer in read(record, columns, counts):
            if person is None:
                raise DataError(f"{record.where}: an answer without {columns.participant}; add who gave it")
            numbers[person] += 1
            yield replace(answer, participant=person, number=numbers[person])


def _wanted(record: Record, columns: ColumnMap) -> bool:
    def has(column: str, values: tuple[str, ...]) -> bool:
        return (record.text(column) or "").lower() in values

    only = all(has(column, values) for column, values in columns.only.items())
    return only and not any(has(column, values) for column, values in columns.without.items())


def _long(record: Record, columns: ColumnMap, counts: Counter[str]) -> Iterator[Answer]:
    """Answer of a row that is a trial."""
    clip = record.text(columns.clip)
    if clip is None:
        counts["rows that name no clip"] += 1
        return
    yield from _answer(record, columns, counts, clip, (columns.response, columns.confidence, columns.response_time))


def _wide(record: Record, columns: ColumnMap, counts: Counter[str]) -> Iterator[Answer]:
    """Answers of a row that is a person."""
    others = [_pattern(name) for name in (columns.confidence, columns.response_time) if name is not None]
    for name in record.cells:
        match = _pattern(columns.response).fullmatch(name)
        if match is None or any(other.fullmatch(name) for other in others):
            continue
        clip = match.group(1)
        confidence, time = (part and part.replace(CLIP, clip) for part in (columns.confidence, columns.response_time))
        yield from _answer(record, columns, counts, clip, (name, confidence, time))


def _answer(
    record: Record, columns: ColumnMap, counts: Counter[str], clip: str, names: tuple[str, str | None, str | None]
) -> Iterator[Answer]:
    response, confidence, time = names
    text = record.text(response)
    if text is None:
        counts["clips without an answer"] += 1
        return
    if columns.answers and text not in columns.answers:
        known = ", ".join(columns.answers)
        raise DataError(f"{record.where}: {response} is {text!r}, not among answers ({known}) of {columns.source}")
    known_clip = _known_clip(clip, columns, record)
    seconds = record.number(time)
    if seconds is not None and seconds < 0:
        raise DataError(f"{record.where}: {time} is {seconds:g}; write a time after the start of the sound")
    yield Answer(
        participant="",
        number=0,
        kind="main",
        stim_file=known_clip["stim_file"] or clip,
        response=columns.answers.get(text, text),
        source=record.path,
        line=record.line,
        genre=record.text(columns.genre) or known_clip["genre"],
        start=_seconds(known_clip, "start", columns),
        duration=_seconds(known_clip, "duration", columns),
        confidence=record.number(confidence),
        response_time=None if seconds is None else round(seconds * columns.seconds, 6),
    )


def _known_clip(clip: str, columns: ColumnMap, record: Record) -> Mapping[str, str | None]:
    """Row of the table of clips, by the exported name or its last part."""
    if not columns.clips:
        return {"stim_file": None, "genre": None, "start": None, "duration": None}
    found = columns.clips.get(clip) or columns.clips.get(PurePosixPath(clip.replace("\\", "/")).name)
    if found is None:
        raise DataError(f"{record.where}: clip {clip!r} is not in {columns.files[-1]}; add it, or leave it out by not")
    return found


def _seconds(clip: Mapping[str, str | None], name: str, columns: ColumnMap) -> float | None:
    return Record(columns.files[-1], 1, clip).number(name)


def _labelled(answers: Sequence[Answer], columns: ColumnMap) -> list[Answer]:
    """Answers by person, under labels that BIDS allows; numbers go on over files of one person."""
    labels: dict[str, str] = {}
    files: dict[str, dict[Path, None]] = {}
    for answer in answers:
        if "@" in answer.participant:
            raise DataError(f"{answer.where}: {columns.participant} is an e-mail address; replace it by a code")
        labels[answer.participant] = _label(answer)
        files.setdefault(answer.participant, {})[answer.source] = None
    # some file systems do not tell capital letters from small ones
    twice = [label for label, n in Counter(map(str.lower, labels.values())).items() if n > 1]
    if twice:
        alike = ", ".join(name for name, label in labels.items() if label.lower() == twice[0])
        raise DataError(
            f"{columns.participant}: {alike} would have the same label; tell people apart by letters and digits"
        )
    for person, paths in files.items():
        if len(paths) > 1 and not columns.sessions:
            first, second, *_ = paths
            raise DataError(
                f"{second}: {columns.participant} {person} is in {first.name} too; keep one file, or write "
                f"sessions = true in {columns.source} where one person answered in several"
            )
    by_person: dict[str, list[Answer]] = {labels[person]: [] for person in sorted(labels)}
    for answer in answers:
        own = by_person[labels[answer.participant]]
        own.append(replace(answer, participant=labels[answer.participant], number=len(own) + 1))
    return [answer for own in by_person.values() for answer in own]


def _label(answer: Answer) -> str:
    try:
        return alphanumeric(answer.participant.removeprefix("sub-"))
    except UsageError as error:
        raise DataError(f"{answer.where}: participant {answer.participant!r}: name people by letters and digits") from (
            error
        )


def _kept(records: Sequence[Record], columns: ColumnMap) -> bytes:
    """The named columns of a table, as CSV."""
    known = dict.fromkeys(name for record in records for name in record.cells)
    patterns = [_pattern(name) for name in columns.columns if CLIP in name]
    named = {name if name in known else outer_column(name, known)[0] for name in columns.columns}
    kept = [name for name in known if name in named or any(pattern.fullmatch(name) for pattern in patterns)]
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(kept)
    writer.writerows([record.cells.get(name) or "n/a" for name in kept] for record in records)
    return stream.getvalue().encode()
