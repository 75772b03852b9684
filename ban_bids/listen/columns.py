"""Answers in tables that other programs exported (jsPsych, PsychoPy, survey services), by a map of their columns."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ban_bids.bids.names import alphanumeric
from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.events import clean_cell
from ban_bids.listen.answers import Answer, Collected

EXCERPTS = ("events", "whole")
"""Where people heard a file that the dataset plays in part: the same part, or all of it."""

_CLIP = "{clip}"
_LARGEST = 200_000_000
_UNITS = {"s": 1.0, "ms": 0.001}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "participant": str, "clip": str, "response": str, "genre": str, "confidence": str,
    "response_time": str, "response_time_unit": str, "header_lines": int, "answers": (dict, list),
    "answers_from": int, "clips": str, "excerpt": str, "sessions": bool, "only": dict, "not": dict,
}  # fmt: skip
_AS_GIVEN = ("participant", "response", "clip", "genre", "confidence", "response_time", "header_lines", "excerpt",
             "sessions")  # fmt: skip
_IMPORT_ID = '{"ImportId"'


@dataclass(frozen=True)
class ColumnMap:
    """Which columns of a table hold what; one with ``{clip}`` in its name is one column per clip.

    Parameters
    ----------
    source : Path
        The TOML file.
    participant, response : str
        Columns.
    clip, genre, confidence, response_time : str or None
        Columns, where there are any.
    seconds : float
        Of one unit of the response time.
    header_lines : int
        Lines after the header that are no answers.
    answers : mapping of str to str
        From what is exported to the choice that it stands for; empty where the choice itself is exported.
    clips : mapping of str to mapping
        Columns ``stim_file``, ``genre``, ``stim_start`` and ``duration`` of a table of clips, by the exported name.
    excerpt : str or None
        One of ``EXCERPTS``.
    sessions : bool
        Whether a person may come in several files, or several rows of a table with one column per clip.
    only, without : mapping of str to tuple of str
        Rows are taken whose cells have one of these values, and none of those.
    files : tuple of Path
        The TOML file and the table of clips.
    """

    source: Path
    participant: str
    response: str
    clip: str | None = None
    genre: str | None = None
    confidence: str | None = None
    response_time: str | None = None
    seconds: float = 1.0
    header_lines: int = 0
    answers: Mapping[str, str] = field(default_factory=dict)
    clips: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    excerpt: str | None = None
    sessions: bool = False
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @property
    def wide(self) -> bool:
        """Whether a row is a person."""
        return _CLIP in self.response

    @property
    def columns(self) -> tuple[str, ...]:
        """Names and patterns of all columns that are read."""
        given = (self.participant, self.clip, self.response, self.genre, self.confidence, self.response_time)
        return tuple(dict.fromkeys([*filter(None, given), *self.only, *self.without]))


@dataclass(frozen=True)
class _Record:
    path: Path
    line: int
    cells: Mapping[str, str | None]

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.line}"

    def text(self, column: str | None) -> str | None:
        """Cell of a column, or of ``column.key`` where the column holds JSON objects; None for n/a."""
        if column is None or column in self.cells:
            return None if column is None else self.cells[column]
        outer, key = _outer(column, self.cells)
        try:
            inner = json.loads(self.cells.get(outer) or "null")
        except ValueError:
            return None
        return _text(inner.get(key)) if isinstance(inner, dict) else None

    def number(self, column: str | None) -> float | None:
        text = self.text(column)
        try:
            value = None if text is None else float(text)
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise DataError(f"{self.where}: {column} is {text!r}; write a number with a decimal point, or leave it out")
        return value


def _outer(column: str, known: Mapping[str, object] | set[str]) -> tuple[str, str]:
    """Split ``response.Q0`` after the longest beginning that is a column."""
    parts = column.split(".")
    for n in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:n]) in known:
            return ".".join(parts[:n]), ".".join(parts[n:])
    return column, ""


def _text(value: object) -> str | None:
    """Cell as text: numbers without needless zeros, objects as JSON; None for any spelling of n/a."""
    if value is None or isinstance(value, str):
        bare = clean_cell(value or "")
        return re.sub(r"^([+-]?\d+)\.0+$", r"\1", bare) if bare is not None else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _text(repr(value))
    return json.dumps(value, ensure_ascii=False)


def read_map(path: Path) -> ColumnMap:
    """Read a map of columns.

    Parameters
    ----------
    path : Path
        TOML with the keys ``participant``, ``response`` and ``clip`` (unless ``response`` has ``{clip}`` in it), and
        perhaps ``genre``, ``confidence``, ``response_time`` with ``response_time_unit``, ``header_lines``,
        ``answers`` (a table, or a list with ``answers_from``), ``clips``, ``excerpt``, ``sessions``, ``only``
        and ``not``.

    Returns
    -------
    ColumnMap

    Raises
    ------
    DataError
        Not TOML, a key that is unknown, missing or of another type, or keys that exclude each other.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"--columns {path}: not readable TOML ({error}); correct the file") from error
    _check_keys(given, path)
    clips = path.parent / given["clips"] if "clips" in given else None
    found = ColumnMap(
        source=path,
        **{key: given[key] for key in _AS_GIVEN if key in given},
        seconds=_UNITS[given.get("response_time_unit", "s")],
        answers=_answers(given, path),
        clips={} if clips is None else _clips(clips),
        only=_values(given.get("only", {}), path),
        without=_values(given.get("not", {}), path),
        files=(path,) if clips is None else (path, clips),
    )
    _check_patterns(found)
    return found


def _check_keys(given: Mapping[str, Any], path: Path) -> None:
    unknown = sorted(set(given) - set(_TYPES))
    if unknown:
        raise DataError(f"--columns {path}: unknown keys {', '.join(unknown)}; known: {', '.join(_TYPES)}")
    for key, value in given.items():
        # a bool is an int for Python, not for us
        if not isinstance(value, _TYPES[key]) or (isinstance(value, bool) and _TYPES[key] is not bool) or value == "":
            raise DataError(f"--columns {path}: {key} is {value!r}; write {_kind(key)}")
    absent = [key for key in ("participant", "response") if key not in given]
    if absent:
        raise DataError(f"--columns {path}: {' and '.join(absent)} missing; name the column")
    if ("response_time" in given) != ("response_time_unit" in given):
        raise DataError(f"--columns {path}: response_time and response_time_unit go together; write both or none")
    for key, known in (("response_time_unit", tuple(_UNITS)), ("excerpt", EXCERPTS), ("answers_from", (0, 1))):
        if key in given and given[key] not in known:
            raise DataError(f"--columns {path}: {key} is {given[key]!r}; write one of {known}")
    if given.get("header_lines", 0) < 0:
        raise DataError(f"--columns {path}: header_lines is {given['header_lines']}; write 0 or more")


def _kind(key: str) -> str:
    kinds = {str: "the name as text", int: "a whole number", bool: "true or false", dict: f"a table [{key}]"}
    return "a table [answers], or a list" if key == "answers" else kinds[_TYPES[key]]  # type: ignore[index]


def _answers(given: Mapping[str, Any], path: Path) -> dict[str, str]:
    answers = given.get("answers", {})
    if isinstance(answers, list) != ("answers_from" in given):
        raise DataError(
            f"--columns {path}: answers as a list and answers_from go together; answers_from is the number "
            "(0 or 1) that is exported for the first"
        )
    if isinstance(answers, list):
        answers = {str(n): name for n, name in enumerate(answers, start=given["answers_from"])}
    if not all(isinstance(name, str) and clean_cell(name) == name for name in answers.values()):
        raise DataError(f"--columns {path}: answers are {answers}; write the name of each choice as text")
    return answers


def _values(given: Mapping[str, Any], path: Path) -> dict[str, tuple[str, ...]]:
    values = {}
    for column, wanted in given.items():
        several = wanted if isinstance(wanted, list) else [wanted]
        if not several or not all(isinstance(one, str | int | float) for one in several):
            raise DataError(f"--columns {path}: {column} is {wanted!r}; write the cell's value, or a list of values")
        values[column] = tuple((_text(one) or "").lower() for one in several)
    return values


def _clips(path: Path) -> dict[str, dict[str, str | None]]:
    """Table of clips, by the name that is exported (column ``clip``), or else by that of the file."""
    records = _records(path)
    known = {name for record in records for name in record.cells}
    if "stim_file" not in known:
        raise DataError(f"{path}: no column stim_file; add the clips' audio files, and perhaps clip, genre, start, "
                        "duration")  # fmt: skip
    clips: dict[str, dict[str, str | None]] = {}
    for record in records:
        cells = {name: record.text(name) for name in ("stim_file", "genre", "duration")}
        cells["start"] = record.text("start") or record.text("stim_start")
        name = record.text("clip") or PurePosixPath(cells["stim_file"] or "").name
        if not name or cells["stim_file"] is None or name in clips:
            raise DataError(f"{record.where}: clip {name} without a file, or twice; correct the row")
        clips[name] = cells
    return clips


def _check_patterns(found: ColumnMap) -> None:
    parts = [name for name in (found.response, found.confidence, found.response_time) if name is not None]
    if found.wide and (found.clip is not None or found.genre is not None):
        raise DataError(
            f"--columns {found.source}: response has {_CLIP}, so columns are clips; leave clip and genre out "
            "(genres come from the dataset's events or from a table named by clips)"
        )
    if not found.wide and found.clip is None:
        raise DataError(
            f"--columns {found.source}: clip missing; name the column of the clips' files, or write {_CLIP} in "
            "response where there is one column per clip"
        )
    if any(name.count(_CLIP) != found.wide for name in parts):
        raise DataError(
            f"--columns {found.source}: {_CLIP} must stand once in each of response, confidence and response_time, "
            "or in none"
        )


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
    tables = {path: _records(path)[columns.header_lines :] for path in _paths(answers)}
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


def _records(path: Path) -> list[_Record]:
    """Rows of a table."""
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: larger than {_LARGEST // 10**6} MB; give the table of answers only")
        raw = path.read_bytes()
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        rows = _json_rows(text, path) if path.suffix.lower() == ".json" else _csv_rows(text, path)
        return [_Record(path, line, {name: _text(cell) for name, cell in row.items()}) for line, row in rows]
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"{path}: not a readable table ({error}); export it again as UTF-8") from error


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Objects of a JSON array, of arrays in it, or of one array or object per line."""
    try:
        content = json.loads(text)
    except ValueError:
        content = [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = list(_flat(content))
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: not an array of trials; export jsPsych's data with data.json()")
    yield from enumerate(rows, start=1)


def _flat(content: Any) -> Iterator[Any]:
    for item in content if isinstance(content, list) else [content]:
        yield from _flat(item) if isinstance(item, list) else [item]


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = [name.strip() for name in next(rows, [])]
    twice = [name for name, n in Counter(filter(None, header)).items() if n > 1]
    if twice:
        raise DataError(f"{path}: several columns are called {twice[0]}; give each a name of its own")
    for cells in rows:
        if any(cells[len(header) :]):
            raise DataError(f"{path}, line {rows.line_num}: {len(cells)} cells under {len(header)} columns; correct it")
        if any(cell.strip() for cell in cells):
            yield rows.line_num, dict(zip(header, [*cells, *[""] * (len(header) - len(cells))]))


def _absent(records: Sequence[_Record], columns: ColumnMap) -> list[str]:
    """Columns that a table lacks."""
    known = {name for record in records for name in record.cells}
    absent = []
    for name in columns.columns:
        if _CLIP in name:
            there = any(_pattern(name).fullmatch(column) for column in known)
        else:
            there = name in known or _outer(name, known)[0] in known
        absent += [] if there else [name]
    return absent


def _pattern(name: str) -> re.Pattern[str]:
    before, after = name.split(_CLIP)
    return re.compile(f"{re.escape(before)}(.+){re.escape(after)}")


def _numbered(records: Sequence[_Record], columns: ColumnMap, counts: Counter[str]) -> Iterator[Answer]:
    """Answers of one table, numbered within each person; what is passed over is counted."""
    for record in records[:2]:
        if (record.text(columns.participant) or "").startswith(_IMPORT_ID):
            raise DataError(f"{record.where}: a second header line; write header_lines = 2 in {columns.source}")
    read = _wide if columns.wide else _long
    numbers: Counter[str] = Counter()
    seen: dict[str, _Record] = {}
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


def _wanted(record: _Record, columns: ColumnMap) -> bool:
    def has(column: str, values: tuple[str, ...]) -> bool:
        return (record.text(column) or "").lower() in values

    only = all(has(column, values) for column, values in columns.only.items())
    return only and not any(has(column, values) for column, values in columns.without.items())


def _long(record: _Record, columns: ColumnMap, counts: Counter[str]) -> Iterator[Answer]:
    """Answer of a row that is a trial."""
    clip = record.text(columns.clip)
    if clip is None:
        counts["rows that name no clip"] += 1
        return
    yield from _answer(record, columns, counts, clip, (columns.response, columns.confidence, columns.response_time))


def _wide(record: _Record, columns: ColumnMap, counts: Counter[str]) -> Iterator[Answer]:
    """Answers of a row that is a person."""
    others = [_pattern(name) for name in (columns.confidence, columns.response_time) if name is not None]
    for name in record.cells:
        match = _pattern(columns.response).fullmatch(name)
        if match is None or any(other.fullmatch(name) for other in others):
            continue
        clip = match.group(1)
        confidence, time = (part and part.replace(_CLIP, clip) for part in (columns.confidence, columns.response_time))
        yield from _answer(record, columns, counts, clip, (name, confidence, time))


def _answer(
    record: _Record, columns: ColumnMap, counts: Counter[str], clip: str, names: tuple[str, str | None, str | None]
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


def _known_clip(clip: str, columns: ColumnMap, record: _Record) -> Mapping[str, str | None]:
    """Row of the table of clips, by the exported name or its last part."""
    if not columns.clips:
        return {"stim_file": None, "genre": None, "start": None, "duration": None}
    found = columns.clips.get(clip) or columns.clips.get(PurePosixPath(clip.replace("\\", "/")).name)
    if found is None:
        raise DataError(f"{record.where}: clip {clip!r} is not in {columns.files[-1]}; add it, or leave it out by not")
    return found


def _seconds(clip: Mapping[str, str | None], name: str, columns: ColumnMap) -> float | None:
    return _Record(columns.files[-1], 1, clip).number(name)


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


def _kept(records: Sequence[_Record], columns: ColumnMap) -> bytes:
    """The named columns of a table, as CSV."""
    known = dict.fromkeys(name for record in records for name in record.cells)
    patterns = [_pattern(name) for name in columns.columns if _CLIP in name]
    named = {name if name in known else _outer(name, known)[0] for name in columns.columns}
    kept = [name for name in known if name in named or any(pattern.fullmatch(name) for pattern in patterns)]
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(kept)
    writer.writerows([record.cells.get(name) or "n/a" for name in kept] for record in records)
    return stream.getvalue().encode()
