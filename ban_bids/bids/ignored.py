"""Which files a dataset's ``.bidsignore`` names; the validator passes them over, programs that read BIDS do not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ban_bids.errors import DataError
from ban_bids.files.reading import read_bytes, text_of

_NAME = ".bidsignore"
_LARGEST = 2**16
_TOKENS = re.compile(r"/\*\*$|\*\*/|\*\*|\*|\?|\[!?[^]/]+\]|.")
_MEANS = {"/**": "/.*", "**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _pattern(line: str) -> re.Pattern[str]:
    """What a line of git's rules means for a path below the dataset."""
    text = line.rstrip("/")
    anchored = "/" in text
    parts = (
        _MEANS.get(token) or (token.replace("[!", "[^", 1) if len(token) > 1 else re.escape(token))
        for token in _TOKENS.findall(text.lstrip("/"))
    )
    return re.compile(f"{'' if anchored else '(?:.*/)?'}{''.join(parts)}(?:/.*)?")


def ignores(root: Path) -> Callable[[str], bool]:
    """Make a question of a dataset's ``.bidsignore``, which is written as git's are.

    Parameters
    ----------
    root : Path
        The dataset.

    Returns
    -------
    callable
        Whether it names a path, relative to the dataset with ``/``; never where there is no such file, or none that
        can be read.
    """
    try:
        lines = text_of(read_bytes(root / _NAME, _LARGEST), root / _NAME).splitlines()
        given = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        rules = [(_pattern(line.removeprefix("!")), not line.startswith("!")) for line in given]
    except (DataError, re.error):
        return lambda path: False
    return lambda path: next((named for rule, named in reversed(rules) if rule.fullmatch(path)), False)
