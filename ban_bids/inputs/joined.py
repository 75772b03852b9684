"""A table that a rule joins to the events: its columns become those of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ban_bids.errors import DataError
from ban_bids.inputs.events import Row, Table

Cells = Mapping[str, str | None]

_TIMES = frozenset({"stim_start", "duration"})
"""Columns that say nothing of which stimulus it was."""


def _same(text: str) -> str:
    """Text under which keys are compared: ``01`` and ``1`` are one."""
    return str(int(text)) if text.isascii() and text.isdigit() else text


@dataclass
class Joined:
    """A table to look rows up in.

    Parameters
    ----------
    table : Table
    on : tuple of str
        Columns of both; empty for all names that the table shares with a row.
    where : str
        The rule, for messages.
    """

    table: Table
    on: tuple[str, ...]
    where: str
    _found: dict[tuple[str, ...], dict[tuple[str, ...], Row]] = field(default_factory=dict, repr=False)

    def cells(self, row: Row) -> Cells:
        """Cells of the table's row that a row names.

        Returns
        -------
        Mapping
            All n/a where a key of the row is n/a; empty where the table has no such row.

        Raises
        ------
        DataError
            Nothing to join by, or two rows of the table with one key.
        """
        on = self.on or tuple(name for name in self.table.columns if name in row.cells)
        absent = [name for name in on if name not in self.table.columns or name not in row.cells]
        if absent or not on:
            what = f"no column {absent[0]!r} in both" if absent else "no column in common"
            raise DataError(
                f"{self.table.path}: {what} (events: {', '.join(row.cells)}; table: {', '.join(self.table.columns)}); "
                f"correct table in {self.where}"
            )
        key = [row.text(name) for name in on]
        if None in key:
            return dict.fromkeys(self.table.columns)
        found = self._index(on).get(tuple(_same(text) for text in key if text is not None))
        return found.cells if found is not None else {}

    def can_join(self, row: Row) -> bool:
        """Whether a row has the columns by which it is joined; where none are named, more than times of an excerpt."""
        shared = {name for name in self.table.columns if name in row.cells}
        return set(self.on) <= shared if self.on else bool(shared - _TIMES)

    def _index(self, on: tuple[str, ...]) -> dict[tuple[str, ...], Row]:
        if on not in self._found:
            index: dict[tuple[str, ...], Row] = {}
            for row in self.table.rows:
                key = tuple(_same(row.text(name) or "") for name in on)
                first = index.setdefault(key, row)
                if first is not row:
                    raise DataError(
                        f"{row.where}: {', '.join(on)} {', '.join(key)} is in line {first.line} too; each may be there "
                        "once, or name more columns to join by (on)"
                    )
            self._found[on] = index
        return self._found[on]

    def missing(self, row: Row) -> DataError:
        """What to say where the table has no row for one of the events' and a column of it is needed."""
        on = self.on or tuple(name for name in self.table.columns if name in row.cells)
        key = ", ".join(f"{name} {row.text(name)!r}" for name in on)
        return DataError(f"{row.where}: {key} is not in {self.table.path}; add it there, or leave the row out by rows")
