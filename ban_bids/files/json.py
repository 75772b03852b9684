"""JSON objects: written atomically, read with one message whatever is wrong with the file."""

from __future__ import annotations

import json
import math
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
    return write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """JSON's own types for numpy's, for paths and for collections."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return NOT_AVAILABLE
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def read_json(path: Path, *, remedy: str = "correct the file, or make it anew") -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte-order mark.
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
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable JSON ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object; {remedy}")
    return content
