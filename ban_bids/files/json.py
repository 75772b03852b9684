"""JSON objects: written atomically, read with one message whatever is wrong with the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object atomically.

    Parameters
    ----------
    path : Path
        Target.
    content : mapping
        May hold numpy numbers and arrays, paths, tuples and sets; numbers that are not finite become
        ``"n/a"``, for JSON has none.

    Returns
    -------
    Path
        The target.
    """
    text = json.dumps(content, default=_plain)
    plain = json.loads(text, parse_constant=lambda not_finite: NOT_AVAILABLE)
    return write_text(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """JSON's types for numpy's, for sets, and for paths and whatever else has a text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def read_json(path: Path, *, remedy: str = "correct the file, or make it anew") -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.
    remedy : str
        End of the message where it cannot be read.

    Returns
    -------
    dict of str to object

    Raises
    ------
    DataError
        The file is missing, damaged or holds no object.
    """
    try:
        content = json.loads(path.read_bytes())  # finds out which of Unicode's encodings it is
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable JSON ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object; {remedy}")
    return content
