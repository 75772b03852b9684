"""BIDS tables that ban-bids writes, and reads back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text

_LABELS = ("participant", "session", "task", "space", "name", "abbreviation")


def write_tsv(path: Path, table: pd.DataFrame) -> Path:
    """Write a BIDS table atomically: tabs, a header, ``n/a`` for what is missing.

    Parameters
    ----------
    path : Path
        Target.
    table : DataFrame
        Its index is not written. Booleans become ``true`` and ``false``; tabs and line ends within
        a cell become spaces.

    Returns
    -------
    Path
        The target.
    """
    text = table.astype(object).map(_cell).to_csv(sep="\t", index=False, lineterminator="\n")
    return write_text(path, text)


def _cell(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return NOT_AVAILABLE
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return " ".join(value.split()) if isinstance(value, str) else value


def read_tsv(path: Path, *, foreign: bool = False) -> pd.DataFrame:
    """Read a table that :func:`write_tsv` wrote; ``n/a`` becomes missing, labels such as ``01`` stay text.

    Parameters
    ----------
    path : Path
        Table.
    foreign : bool
        Others may have written it: blank cells, ``NaN`` and the like are missing as well.

    Returns
    -------
    DataFrame
        Columns whose every value is a number are numeric, but for labels such as ``participant``.

    Raises
    ------
    DataError
        The file is missing, empty or no table.
    """
    remedy = "restore it, or preprocess that run again" if foreign else "run the participant level again"
    labels = dict.fromkeys(_LABELS, str)
    try:
        return pd.read_csv(path, sep="\t", dtype=labels, na_values=[NOT_AVAILABLE], keep_default_na=foreign)
    except (OSError, ValueError) as error:  # pandas' own errors and those of decoding are ValueErrors
        raise DataError(f"{path}: not a readable table ({error}); {remedy}") from error
