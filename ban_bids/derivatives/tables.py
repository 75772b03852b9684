"""Tables with their data dictionary: one TSV file and one JSON file that explains each column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.bids.names import sidecar
from ban_bids.errors import DataError
from ban_bids.files.json import write_json
from ban_bids.files.tsv import write_tsv


def write_table(
    path: Path,
    table: pd.DataFrame,
    columns: Mapping[str, str | Mapping[str, Any]],
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a table and the JSON file that defines its columns.

    Parameters
    ----------
    path : Path
        Target, ``.tsv``.
    table : DataFrame
        Every column must be defined.
    columns : mapping
        Column -> its definition, a sentence or an object of BIDS keys (``Description``, ``Units``,
        ``Levels``). Definitions of columns that the table lacks are left out.
    metadata : mapping, optional
        Further keys of the JSON file: ``Model``, ``ModelFingerprint``, ``Sources``, ...

    Returns
    -------
    Path
        The target.

    Raises
    ------
    DataError
        A column has no definition: nobody could cite its numbers.
    """
    undefined = [str(name) for name in table.columns if name not in columns]
    if undefined:
        raise DataError(f"{path.name}: no definition for column {', '.join(undefined)}")
    defined = {name: _definition(columns[name]) for name in table.columns}
    # the table first: readers take a table without its JSON file as unfinished, never the other way round
    write_tsv(path, table)
    write_json(sidecar(path), {**(metadata or {}), **defined})
    return path


def _definition(value: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"Description": value} if isinstance(value, str) else dict(value)
