"""BIDS tables that ban-bids writes, and reads back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from packaging.version import Version

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text
from ban_bids.files.reading import MIB, check_fetched, opened, too_large
from ban_bids.files.shown import shown

_LARGEST = 256 * MIB
_LONGEST_HEADER = MIB
_MOST_COLUMNS = 10_000
# from 3.1 on pandas reads numbers exactly, and warns of the option
_EXACTLY: dict[str, Any] = {} if Version(pd.__version__) >= Version("3.1") else {"float_precision": "round_trip"}
_LABELS = ("participant", "session", "task", "space", "name", "abbreviation")
_OWN_LABELS = ("model", "control_of", "other", "layer", "region", "run", "genre", "answer")
"""Of our tables alone: networks call layers ``0`` and ``01``, and such a column has cells without any."""


def write_tsv(path: Path, table: pd.DataFrame) -> Path:
    """Write a BIDS table atomically: tabs, a header, ``n/a`` for what is missing.

    Parameters
    ----------
    path : Path
        Target.
    table : DataFrame
        Its index is not written. Booleans become ``true`` and ``false``; tabs and line ends within
        a cell or name become spaces, other control characters escapes.

    Returns
    -------
    Path
        The target.
    """
    text = table.astype(object).map(_cell).rename(columns=_cell).to_csv(sep="\t", index=False, lineterminator="\n")
    return write_text(path, text)


def _cell(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return NOT_AVAILABLE
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return shown(" ".join(value.split())) if isinstance(value, str) else value


def read_tsv(path: Path, *, foreign: bool = False, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table that :func:`write_tsv` wrote; ``n/a`` becomes missing, labels such as ``01`` stay text.

    Parameters
    ----------
    path : Path
        Table.
    foreign : bool
        Others may have written it: blank cells, ``NaN`` and the like are missing as well.
    numbers : sequence of str
        Columns that hold numbers where they are there.

    Returns
    -------
    DataFrame
        Columns whose every value is a number are numeric, but for labels such as ``participant`` and ``layer``.

    Raises
    ------
    DataError
        The file is missing, empty or no table, or holds text in place of numbers, as decimal commas are.
    """
    remedy = "restore it, or preprocess that run again" if foreign else "run the participant level again"
    labels = dict.fromkeys(_LABELS if foreign else (*_LABELS, *_OWN_LABELS), str)
    table = read_frame(path, remedy, dtype=labels, na_values=[NOT_AVAILABLE], keep_default_na=foreign)
    for column in table.columns.intersection(list(numbers)):
        found = pd.to_numeric(table[column], errors="coerce")
        text = table.loc[found.isna() & table[column].notna(), column]
        if len(text):
            raise DataError(f"{path}: {text.iloc[0]!r} in column {column} is no number; {remedy}")
        table[column] = found  # a table without rows has columns of no type
    return table


def read_frame(path: Path, remedy: str, *, sep: str = "\t", **options: Any) -> pd.DataFrame:
    """Read a table as pandas does, with one message whatever is wrong with it.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte-order mark.
    remedy : str
        End of the message.
    sep : str
        Between cells.
    **options
        Of :func:`pandas.read_csv`.

    Raises
    ------
    DataError
        The file is missing, no ordinary one, larger than 256 MiB, empty or no table.
    """
    with opened(path, remedy=remedy) as stream:
        size, header = os.fstat(stream.fileno()).st_size, stream.readline(_LONGEST_HEADER)
    check_fetched(path, header)
    if size > _LARGEST:
        raise too_large(path, size, _LARGEST)
    if header.count(sep.encode()) >= _MOST_COLUMNS:
        raise DataError(f"{path}: more than {_MOST_COLUMNS} columns; leave out those that are not needed")
    try:
        return pd.read_csv(path, sep=sep, encoding="utf-8-sig", **_EXACTLY, **options)
    except (OSError, ValueError, OverflowError) as error:  # pandas' own errors and those of decoding are ValueErrors
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable table ({reason}); {remedy}") from error
