"""TOML files, read with one message whatever is wrong with them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.files.reading import DEEPEST, MIB, check_content, read_bytes, text_of

_LARGEST = MIB
# possessive: a long line is gone through once
_PART = r"[ \t]*+(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+"
_DEEP_KEY = re.compile(rf"(?m)^[ \t]*+\[*+(?:{_PART}\.){{{DEEPEST}}}")
"""A key of many parts: parsing takes time by the square of their number."""


def read_toml(path: Path, *, remedy: str = "correct the file") -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path
        UTF-8 or UTF-16, with or without a byte-order mark; line ends of any kind.
    remedy : str
        End of the message where it cannot be read.

    Returns
    -------
    dict of str to object

    Raises
    ------
    DataError
        It is missing, no ordinary file, larger than 1 MiB, damaged, nested too deep or holds too large an integer.
    """
    text = text_of(read_bytes(path, _LARGEST, remedy=remedy), path)
    try:
        if _DEEP_KEY.search(text):
            raise ValueError(f"keys nested more than {DEEPEST} deep")
        content = tomllib.loads(text.replace("\r\n", "\n").replace("\r", "\n"))
        check_content(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable TOML ({' '.join(str(error).split())}); {remedy}") from error
    return content
