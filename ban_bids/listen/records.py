"""Rows of tables of any program: text with tabs or commas, or JSON; cells as text."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.files.reading import check_content, read_bytes, text_of
from ban_bids.inputs.events import clean_cell

_LARGEST = 200_000_000


@dataclass(frozen=True)
class Record:
    """A row of a table.

    Parameters
    ----------
    path : Path
    line : int
        From 1.
    cells : mapping of str to str or None
        By column; None for n/a.
    """

    path: Path
    line: int
    cells: Mapping[str, str | None]

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.line}"

    def text(self, column: str | None) -> str | None:
        """Cell of a column, or of ``column.key`` where the column holds JSON objects; None for n/a."""
        if column is None or column in self.cells:
            return None if column is None else self.cells[column]
        outer, key = outer_column(column, self.cells)
        try:
            inner = json.loads(self.cells.get(outer) or "null")
        except (ValueError, RecursionError):
            return None
        return cell_text(inner.get(key)) if isinstance(inner, dict) else None

    def number(self, column: str | None) -> float | None:
        """Cell as a number; None for n/a.

        Raises
        ------
        DataError
            It is none.
        """
        text = self.text(column)
        try:
            value = None if text is None else float(text)
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise DataError(f"{self.where}: {column} is {text!r}; write a number with a decimal point, or leave it out")
        return value


def outer_column(column: str, known: Mapping[str, object] | set[str]) -> tuple[str, str]:
    """Split ``response.Q0`` after the longest beginning that is a column."""
    parts = column.split(".")
    for n in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:n]) in known:
            return ".".join(parts[:n]), ".".join(parts[n:])
    return column, ""


def cell_text(value: object) -> str | None:
    """Cell as text: numbers without needless zeros, objects as JSON; None for any spelling of n/a."""
    if value is None or isinstance(value, str):
        bare = clean_cell(value or "")
        return re.sub(r"^([+-]?\d+)\.0+$", r"\1", bare) if bare is not None else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return cell_text(repr(value))
    return json.dumps(value, ensure_ascii=False)


def read_records(path: Path) -> list[Record]:
    """Rows of a ``.json`` file, or of one with tabs or commas.

    Raises
    ------
    DataError
        It is too large or cannot be read.
    """
    text = text_of(read_bytes(path, _LARGEST), path)
    try:
        rows = _json_rows(text, path) if path.suffix.lower() == ".json" else _csv_rows(text, path)
        return [Record(path, line, {name: cell_text(cell) for name, cell in row.items()}) for line, row in rows]
    except (ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"{path}: not a readable table ({error}); export it again as UTF-8") from error


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Objects of a JSON array, of arrays in it, or of one array or object per line."""
    try:
        content = json.loads(text)
    except ValueError:
        content = [json.loads(line) for line in text.splitlines() if line.strip()]
    check_content(content)
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
