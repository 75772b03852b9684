"""The map of columns (TOML) that says what is where in tables of other programs; ``exported`` reads them by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ban_bids.errors import DataError
from ban_bids.files.toml import read_toml
from ban_bids.inputs.events import clean_cell
from ban_bids.listen.records import cell_text, read_records

EXCERPTS = ("events", "whole")
"""Where people heard a file that the dataset plays in part: the same part, or all of it."""

CLIP = "{clip}"
"""In a name of columns: where they tell the clip."""

_UNITS = {"s": 1.0, "ms": 0.001}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "participant": str, "clip": str, "response": str, "genre": str, "confidence": str,
    "response_time": str, "response_time_unit": str, "header_lines": int, "answers": (dict, list),
    "answers_from": int, "clips": str, "excerpt": str, "sessions": bool, "only": dict, "not": dict,
}  # fmt: skip
_AS_GIVEN = ("participant", "response", "clip", "genre", "confidence", "response_time", "header_lines", "excerpt",
             "sessions")  # fmt: skip


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
        return CLIP in self.response

    @property
    def columns(self) -> tuple[str, ...]:
        """Names and patterns of all columns that are read."""
        given = (self.participant, self.clip, self.response, self.genre, self.confidence, self.response_time)
        return tuple(dict.fromkeys([*filter(None, given), *self.only, *self.without]))


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
        given = read_toml(path)
    except DataError as error:
        raise DataError(f"--columns {error}") from error
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
        values[column] = tuple((cell_text(one) or "").lower() for one in several)
    return values


def _clips(path: Path) -> dict[str, dict[str, str | None]]:
    """Table of clips, by the name that is exported (column ``clip``), or else by that of the file."""
    records = read_records(path)
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
            f"--columns {found.source}: response has {CLIP}, so columns are clips; leave clip and genre out "
            "(genres come from the dataset's events or from a table named by clips)"
        )
    if not found.wide and found.clip is None:
        raise DataError(
            f"--columns {found.source}: clip missing; name the column of the clips' files, or write {CLIP} in "
            "response where there is one column per clip"
        )
    if any(name.count(CLIP) != found.wide for name in parts):
        raise DataError(
            f"--columns {found.source}: {CLIP} must stand once in each of response, confidence and response_time, "
            "or in none"
        )
