"""SHA-256 of values: by what finished work is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.files.memory import forget_pages

_BYTES = 2**26
"""Of an array at a time: one on disk is not to be in memory as a whole."""


def json_digest(value: Any) -> str:
    """SHA-256 of a value of JSON's types, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest(value: object) -> str:
    """SHA-256 of nested dataclasses, mappings, sequences, arrays, numbers, text and paths.

    Raises
    ------
    TypeError
        For any other type: leaving it out would let different inputs pass for the same.
    """
    hashed = hashlib.sha256()
    _feed(hashed, value)
    return hashed.hexdigest()


def _feed(hashed: hashlib._Hash, value: object) -> None:
    """Add a value with its type and size, so that no two values give the same bytes."""
    if isinstance(value, np.ndarray):
        _feed_array(hashed, value)
        return
    hashed.update(f"{type(value).__name__}:".encode())
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            hashed.update(f"{field.name}=".encode())
            _feed(hashed, getattr(value, field.name))
    elif isinstance(value, Mapping):
        hashed.update(f"{len(value)}".encode())
        for key, item in value.items():
            _feed(hashed, key)
            _feed(hashed, item)
    elif isinstance(value, list | tuple):
        hashed.update(f"{len(value)}".encode())
        for item in value:
            _feed(hashed, item)
    elif value is None or isinstance(value, str | bytes | bool | int | float | slice | np.generic | Path):
        text = repr(value).encode()
        hashed.update(f"{len(text)}".encode() + text)
    else:
        raise TypeError(f"{type(value).__name__} cannot be hashed for resuming")


def _feed_array(hashed: hashlib._Hash, array: np.ndarray) -> None:
    """Add an array, in memory or on disk alike; BOLD, which may be larger than memory, is contiguous: not copied."""
    if array.dtype.hasobject:
        raise TypeError("arrays of objects cannot be hashed for resuming")
    hashed.update(f"array:{array.dtype.str}{array.shape}".encode())
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for first in range(0, len(flat), _BYTES):
        hashed.update(flat[first : first + _BYTES].data)
        forget_pages(array)
