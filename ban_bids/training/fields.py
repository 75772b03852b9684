"""Fields of a recording (speaker, take, instrument, …): from a template of its name, or from a table."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Formatter

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.errors import DataError, UsageError

FieldReader = Callable[[Path], Mapping[str, str]]
"""Gives the fields of one of a collection's files; those that are not known are absent."""


def field_reader(folder: Path, files: Sequence[Path], template: str = "", table: Path | None = None) -> FieldReader:
    """How the fields of a collection's files are found.

    Parameters
    ----------
    folder : Path
        Of the collection.
    files : sequence of Path
        Its audio files.
    template : str
        Of the stems, see :func:`fields_of_name`.
    table : Path, optional
        See :func:`read_table`. Without template and table there are no fields.

    Returns
    -------
    FieldReader
        Raises DataError, with the file as an example, where a name does not fit or the table lacks a file.
    """
    if table is not None:
        return _from_table(folder, files, table)
    if template:
        name_fields(template)  # a bad template is told before a name that does not fit it
        return lambda file: fields_of_name(template, file)
    return lambda file: {}


def name_fields(template: str) -> list[str]:
    """Names of a template's fields.

    Raises
    ------
    UsageError
        For a template without fields, with a field that has no name, a format or a twin, or with two fields between
        which nothing stands.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as err:
        raise UsageError(f"--names {template}: {err}; write fields as {{speaker}}") from err
    names = [name for _, name, _, _ in parts if name is not None]
    plain = all(not form and not conversion for _, _, form, conversion in parts)
    if not names or not plain or not all(map(str.isidentifier, names)) or len(set(names)) < len(names):
        raise UsageError(f"--names {template}: give fields with names of their own, such as {{digit}}_{{speaker}}")
    if any(not between for between, name, _, _ in parts[1:] if name is not None):
        raise UsageError(f"--names {template}: two fields need something between them by which they are told apart")
    return names


def fields_of_name(template: str, file: Path) -> dict[str, str]:
    """Fields of a file by its name.

    Parameters
    ----------
    template : str
        Of the name without its suffix, such as ``{digit}_{speaker}_{take}``; a field is one character or more.
    file : Path

    Returns
    -------
    dict
        Field -> its text.

    Raises
    ------
    DataError
        When the name does not fit, or fits in several ways.
    """
    # lazy fields make the first as short as can be, greedy ones as long: where both agree there is no third way
    shortest, longest = (_pattern(template, repeat).fullmatch(file.stem) for repeat in ("+?", "+"))
    if shortest is None or longest is None:
        why = "does not fit"
    elif shortest.groupdict() != longest.groupdict():
        one, other = (", ".join(f"{k} {v}" for k, v in m.groupdict().items()) for m in (shortest, longest))
        why = f"fits in several ways ({one}; {other})"
    else:
        return shortest.groupdict()
    raise DataError(f"{file}: the name {file.stem!r} {why} --names {template}; correct the template, or give --table")


def _pattern(template: str, repeat: str) -> re.Pattern[str]:
    parts = Formatter().parse(template)
    fields = (re.escape(text) + (f"(?P<{name}>.{repeat})" if name else "") for text, name, _, _ in parts)
    return re.compile("".join(fields), re.DOTALL)


def read_table(table: Path) -> dict[str, dict[str, str]]:
    """Rows of a table of fields.

    Parameters
    ----------
    table : Path
        Tab-separated text with a header. Its column ``file`` holds paths relative to the collection's folder,
        class/name, or the name alone, with or without the suffix; every other column is a field. Empty cells and
        ``n/a`` are not known.

    Returns
    -------
    dict of dict
        File, as it is written -> field -> text.

    Raises
    ------
    UsageError
        When the table cannot be read, lacks the column, or says different things of one file.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            header, *lines = list(csv.reader(stream, delimiter="\t")) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise UsageError(f"--table {table}: cannot be read ({err}); give a tab-separated text") from err
    if "file" not in header or len(header) < 2 or len(set(header)) < len(header):
        raise UsageError(f"--table {table}: needs a header with the column file and fields, each once, between tabs")
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, 2):
        if not any(line):
            continue
        if len(line) != len(header):
            raise UsageError(f"--table {table}: line {number} has {len(line)} cells, the header {len(header)}")
        cells = {name: cell.strip() for name, cell in zip(header, line)}
        file = cells.pop("file")
        known = {name: cell for name, cell in cells.items() if cell not in ("", NOT_AVAILABLE)}
        if rows.setdefault(file, known) != known:
            raise UsageError(f"--table {table}: line {number} contradicts an earlier one on {file}; keep one")
    return rows


def _from_table(folder: Path, files: Sequence[Path], table: Path) -> FieldReader:
    rows = read_table(table)
    homes = defaultdict(set)
    for file in files:
        homes[file.stem].add(file.parent)

    def fields(file: Path) -> Mapping[str, str]:
        whole, within = file.relative_to(folder), Path(file.parent.name, file.name)
        spelled = [str(name) for path in (whole, within) for name in (path, path.with_name(path.stem))]
        bare = [name for name in (file.name, file.stem) if name in rows]
        found = next((rows[name] for name in spelled if name in rows), None)
        if found is None and bare and len(homes[file.stem]) > 1:
            one, other, *_ = sorted(homes[file.stem])
            raise UsageError(
                f"--table {table}: {bare[0]} may be the one in {one.name} or in {other.name}; write {within}"
            )
        if found is None and not bare:
            raise DataError(f"{file}: --table {table} has no line for it; add one ({within}), or take the file away")
        return rows[bare[0]] if found is None else found

    return fields
