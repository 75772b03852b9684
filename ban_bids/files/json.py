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
from ban_bids.files.reading import MIB, check_content, read_bytes

_LARGEST = 16 * MIB
_SHOWN = 40


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
        The file is missing, no ordinary one, larger than 16 MiB, damaged, nested too deep, holds too large an integer,
        or no object.
    """
    content = parse_json(read_bytes(path, _LARGEST, remedy=remedy), path, remedy=remedy)
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object; {remedy}")
    return content


def parse_json(raw: str | bytes, path: Path, *, remedy: str = "correct the file, or make it anew") -> Any:
    """Parse what was read of a file.

    Parameters
    ----------
    raw : str or bytes
        JSON of any kind; of bytes it is found out which of Unicode's encodings they are in.
    path : Path
        For messages.
    remedy : str
        Their end.

    Raises
    ------
    DataError
        It is damaged, nested too deep, or holds too large an integer.
    """
    try:
        content = json.loads(raw, object_pairs_hook=_once)
        check_content(content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not readable JSON ({reason}); {remedy}") from error
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that is there twice, with different values, holds a text that says so.

    Python takes the last value, other programs the first. Whoever wants a number there refuses the text; a key that
    nobody reads does no harm.
    """
    last = dict(pairs)
    if len(last) == len(pairs):
        return last
    twice = {key: value for key, value in pairs if value != last[key]}
    told = "there twice, with different values ({}, {})"
    return last | {key: told.format(_short(value), _short(last[key])) for key, value in twice.items()}


def _short(value: object) -> str:
    return repr(value)[:_SHOWN]
