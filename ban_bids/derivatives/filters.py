"""Which rows of a table are asked for, by column = value or list of values; and which files may hold such rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ban_bids.bids.names import DerivativeName
from ban_bids.errors import UsageError


def filtered(table: pd.DataFrame, filters: Mapping[str, Any], participant: str | None = None) -> pd.DataFrame:
    """Rows that pass all filters.

    Parameters
    ----------
    table : DataFrame
    filters : mapping
        Column to value or list of values; None asks for rows without one.
    participant : str, optional
        Label, with or without ``sub-``: one more filter.

    Raises
    ------
    UsageError
        A filter is no column.
    """
    if participant is not None:
        filters = {**filters, "participant": participant.removeprefix("sub-")}
    keep = pd.Series(True, index=table.index)
    for column, wanted in filters.items():
        if column not in table:
            raise UsageError(f"'{column}' is no column to filter by: choose from {', '.join(map(str, table.columns))}")
        values = _values(wanted)
        match = table[column].isin([value for value in values if value is not None])
        if any(value is None for value in values):
            match |= table[column].isna()
        keep &= match
    return table[keep].reset_index(drop=True)


def may_match(name: DerivativeName, filters: Mapping[str, Any]) -> bool:
    """Whether a map may be asked for, by its name alone: of model and layer it holds the letters and digits.

    What the JSON file beside it says decides; of those that this rules out it need not be read.
    """
    own = {"participant": name.participant, "task": name.task, "space": name.space, "stat": name.stat}
    if any(value not in _values(filters[column]) for column, value in own.items() if column in filters):
        return False
    desc = name.desc or ""
    ends = (("model", desc.startswith), ("layer", desc.endswith))
    return all(
        holds(re.sub("[^0-9a-zA-Z]", "", filters[column])) for column, holds in ends
        if isinstance(filters.get(column), str)
    )  # fmt: skip


def _values(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
