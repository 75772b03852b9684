"""Tables of events as people really write them: quotes, byte-order marks, mixed line ends, n/a cells."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from ban_bids.errors import DataError
from ban_bids.files.reading import MIB, check_fetched, opened, read_bytes, text_of

_MISSING = frozenset({"", "n/a", "na", "nan", "none", "null"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SEPARATORS = {"commas": ",", "semicolons": ";", "bars": "|", "blanks": None}
_KNOWN = frozenset({"onset", "duration", "stim_file", "response"})
_BEGINNING = 1 << 16
_LARGEST = 64 * MIB
_MOST_LINES = 250_000
_MOST_CELLS = 4_000_000
_ANSWERS = "response"
_LATEST = 64
_SHORT = 64
"""Characters of a cell that is looked up rather than read again; long ones would fill the memory."""
_LINE_ENDS = re.compile(r"\r\n|\n|\r")
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_AROUND = "'\"\u2018\u2019\u201c\u201d" + _INVISIBLE + "".join(filter(str.isspace, map(chr, range(0x3001))))
"""Quotes and blanks of all kinds, also those of no width: a second byte-order mark, what a web page left behind."""
_UNIT = re.compile(r"\s*[(\[](.*)[)\]]$")
_SECONDS = ("s", "sec", "secs", "second", "seconds")
_OF_BIDS = ("onset", "duration", "stim_file", "stim_start", "stim_id")
_OF_ANSWERS = (*_OF_BIDS[1:], "response", "genre")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Parameters
    ----------
    path : Path
        The table.
    line : int
        Line number in the file, counted from 1; 0 for a run that has no table.
    cells : Mapping of str to str or None
        Column to text without quotes; None for ``n/a``.
    """

    path: Path
    line: int
    cells: Mapping[str, str | None]

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.line}" if self.line else str(self.path)

    def text(self, column: str) -> str | None:
        """Text of a column; None where it is ``n/a`` or the column is absent."""
        return self.cells.get(column)

    def number(self, column: str) -> float | None:
        """Read a column as a finite number; None where it is ``n/a`` or the column is absent.

        Raises
        ------
        DataError
            The cell is neither a number with a decimal point nor ``n/a``.
        """
        text = self.text(column)
        if text is None:
            return None
        value = _number(text) if len(text) <= _SHORT else _number.__wrapped__(text)
        if not math.isfinite(value):
            raise DataError(f"{self.where}: {column} is {text!r}; write a number with a decimal point, or n/a")
        return value


@lru_cache(maxsize=2**16)
def _number(text: str) -> float:
    """A number with a decimal point; NaN for anything else."""
    return float(text) if _NUMBER.fullmatch(text) else math.nan


@dataclass(frozen=True)
class Table:
    """A tab-separated table: its file, columns in order and rows in order."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


TableReader = Callable[[Path], Table]
""":func:`read_table`, or :class:`Tables`, which remembers what it has read."""


def clean_cell(text: str) -> str | None:
    """Strip blanks and quotes, also a quote on one side only; None for any spelling of ``n/a``.

    Parameters
    ----------
    text : str
        A cell as written (``'metal'``, ``metal'``, ``" 3 "``).

    Returns
    -------
    str or None
        The bare text.
    """
    return _cleaned(text) if len(text) <= _SHORT else _cleaned.__wrapped__(text)


@lru_cache(maxsize=2**16)  # the same names and times stand in the tables of a thousand people
def _cleaned(text: str) -> str | None:
    bare = text.strip(_AROUND)
    return None if bare.lower() in _MISSING else bare


def plain_label(genre: object) -> str:
    """Return the spelling in which genres are compared: ``Hip-Hop``, ``hip hop`` and ``hiphop`` are one.

    Letters (with their marks) and digits of any script are kept; what has none stays as it is.
    """
    text = unicodedata.normalize("NFKC", str(genre)).casefold()
    return "".join(sign for sign in text if unicodedata.category(sign)[0] in "LMN") or text.strip()


@lru_cache(maxsize=2**10)  # thousands of tables have the same columns
def misspelt(columns: tuple[str, ...], *, answers: bool = False) -> Mapping[str, str]:
    """Find columns that are nearly BIDS's, which a table lacks: they would not be read, and nothing would tell.

    Parameters
    ----------
    columns : tuple of str
        Names of a table's columns.
    answers : bool
        Whether it holds people's answers.

    Returns
    -------
    dict of str to str
        Name as it is written to its right spelling: small and capital letters, blanks and hyphens for underscores, a
        unit behind the name.
    """
    instead = {"stim_id": "stim_file", "genre": "trial_type"}
    known = [name for name in (_OF_ANSWERS if answers else _OF_BIDS) if instead.get(name) not in columns]
    wanted = {name.replace("_", ""): name for name in known}
    plain = {name: "".join(filter(str.isalnum, _UNIT.sub("", name).casefold())) for name in columns}
    near = {name: wanted[text] for name, text in plain.items() if text in wanted}
    return MappingProxyType({name: right for name, right in near.items() if right not in columns})


def misspelt_text(path: Path, names: Mapping[str, str]) -> str:
    """What to say of columns that :func:`misspelt` found."""
    columns = " and ".join(f"{name!r} to {right}" for name, right in names.items())
    units = {name: found[1] for name in names if (found := _UNIT.search(name)) and found[1].strip().casefold()}
    other = next((name for name, unit in units.items() if unit.strip().casefold() not in _SECONDS), None)
    remedy = f"rename {columns}"
    if other is not None:  # under BIDS's name its cells would be read in seconds
        key = names[other]
        remedy = f"write a rule with {key} = {{ column = {other!r}, unit = … }} (s, ms or TR; docs/rules.md), or " + (
            f"convert it to seconds and {remedy}"
        )
    return f"{path}: columns that are not read, as they are not spelled as in BIDS: {remedy}"


def parse_table(path: Path, lines: Sequence[str]) -> Table:
    """Parse lines of a tab-separated table with a header.

    Parameters
    ----------
    path : Path
        Named in messages and kept in every row.
    lines : sequence of str
        Lines without their ends; blank lines are passed over.

    Returns
    -------
    Table
        Short rows are filled with ``n/a``, as spreadsheets leave out trailing empty cells.

    Raises
    ------
    DataError
        No header, a column named twice, a row with more cells than columns, or one whose cells are not separated by
        tabs, or lie on several lines.
    """
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise DataError(f"{path}: empty table; write a header and rows, or delete the file")
    columns = _columns(path, numbered[0][1])
    if len(columns) * len(numbered) > _MOST_CELLS:
        raise DataError(
            f"{path}: {len(columns)} columns of {len(numbered) - 1} rows, and at most {_MOST_CELLS} cells are read; "
            "leave out what is not needed"
        )
    if len(set(columns)) < len(columns) or "" in columns:
        raise DataError(f"{path}: columns {list(columns)}; give every column one name of its own")
    rows = []
    for number, line in numbered[1:]:
        written = line.split("\t")
        cells = [clean_cell(cell) for cell in written]
        if any(cell is not None for cell in cells[len(columns) :]):
            under = f"{len(cells)} cells under {len(columns)} columns"
            remedy = "separate cells by one tab" if len(columns) > 1 else f"leave out line {numbered[0][0]}, no header"
            raise DataError(f"{path}, line {number}: {under}; {remedy}")
        if len(cells) < len(columns):
            _check_short(f"{path}, line {number}", written, len(columns))
        cells += [None] * (len(columns) - len(cells))
        rows.append(Row(path, number, dict(zip(columns, cells))))
    return Table(path, columns, tuple(rows))


def _check_short(where: str, cells: Sequence[str], n_columns: int) -> None:
    """Refuse a row of too few cells of which the others are not left out, but written otherwise: it would be lost.

    Raises
    ------
    DataError
    """
    if cells[-1].lstrip().startswith('"') and cells[-1].count('"') % 2:
        raise DataError(f"{where}: a cell in quotes goes on in the next line; write every row in one line")
    for name, sign in _SEPARATORS.items():
        if len(cells) == 1 and len(cells[0].split(sign)) == n_columns > 1:
            raise DataError(f"{where}: cells are separated by {name}; separate them by tabs, as in the header")


def _columns(path: Path, header: str) -> tuple[str, ...]:
    """Names of the columns; refuses a header whose names are separated by something else than tabs."""
    if "\t" not in header:
        for name, sign in _SEPARATORS.items():
            names = {clean_cell(cell) for cell in header.split(sign)}
            if len(names) > 1 and names & _KNOWN:
                raise DataError(f"{path}: cells are separated by {name}; BIDS wants tabs: save the table with tabs")
    columns = [clean_cell(cell) or "" for cell in header.split("\t")]
    while columns and not columns[-1]:
        del columns[-1]
    return tuple(columns)


def read_columns(path: Path) -> tuple[str, ...]:
    """Names of a table's columns, from its beginning alone.

    Raises
    ------
    DataError
        As :func:`read_table`, as far as the first line tells.
    """
    with opened(path) as file:
        beginning = file.read(_BEGINNING)
    check_fetched(path, beginning)
    text = text_of(beginning, path, whole=False)
    header = next((line for line in _LINE_ENDS.split(text) if line.strip()), "")
    if "\ufffd" in header:
        raise DataError(f"{path}: not UTF-8 text; save the table as UTF-8")
    return _columns(path, header)


def read_table(path: Path) -> Table:
    """Read a table of events or responses.

    Parameters
    ----------
    path : Path
        A ``.tsv`` file.

    Returns
    -------
    Table
        Cells without quotes, n/a as None.

    Raises
    ------
    DataError
        The file cannot be read, is not such a table, or has more than 64 MiB or 250 000 lines.
    """
    text = text_of(read_bytes(path, _LARGEST), path)
    lines = _LINE_ENDS.split(text)
    if len(lines) > _MOST_LINES:
        raise DataError(
            f"{path}: {len(lines)} lines, and at most {_MOST_LINES} are read of a table; leave out of it what are no "
            "events (frames of a film, samples of a recording)"
        )
    return parse_table(path, lines)


@dataclass
class Tables:
    """Reads each table once, and keeps what may be asked for again: a thousand people's tables whole fill the memory.

    Whole ones are kept where they hold a column of answers, and the latest ones, which several runs may share; of the
    others the columns.

    Parameters
    ----------
    read : callable
        As :func:`read_table`.
    """

    read: TableReader
    _latest: dict[Path, Table] = field(default_factory=dict, repr=False)
    _answers: dict[Path, Table] = field(default_factory=dict, repr=False)
    _columns: dict[Path, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def __call__(self, path: Path) -> Table:
        """The table; see :func:`read_table`."""
        if path in self._answers:
            return self._answers[path]
        table = self._latest.pop(path, None) or self.read(path)
        self._columns[path] = table.columns
        if _ANSWERS in table.columns:
            self._answers[path] = table
        else:
            self._latest[path] = table
            if len(self._latest) > _LATEST:
                del self._latest[next(iter(self._latest))]
        return table

    def columns(self, path: Path) -> tuple[str, ...]:
        """Names of its columns; of a table that was not read, from its beginning alone."""
        return self._columns[path] if path in self._columns else read_columns(path)
