"""Rows of events that name no sound: pictures, films and placeholders are passed over, and counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Literal

PICTURES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".svg", ".tif", ".tiff", ".webp",
    ".pcx", ".heic", ".heif", ".avif", ".ico", ".psd", ".tga", ".eps", ".ps", ".ppm", ".pgm",
    ".txt", ".pdf", ".html", ".htm", ".md", ".doc", ".docx", ".ppt", ".pptx",
})  # fmt: skip
"""Suffixes of what is seen and read: still pictures and text."""

FILMS = frozenset({".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".m4v", ".ogv"})
"""Suffixes of films. ``.mp4`` is none of them: it is as often sound alone, so that its rows are never passed over."""

PLACEHOLDERS = frozenset(
    {"rien", "none", "null", "nil", "nothing", "empty", "blank", "rest", "silence", "fixation", "cross", "iti", "isi"}
    | {"baseline", "-", "--"}
)
"""Whole cells, in any case, that stand for no sound where no folder holds a file of that name."""


@dataclass(frozen=True)
class Unheard:
    """What a row names instead of a sound.

    Parameters
    ----------
    name : str
        As the rule gives it.
    kind : {"film", "other"}
        Films may have had a sound.
    """

    name: str
    kind: Literal["film", "other"] = "other"


@lru_cache(maxsize=4096)
def suffix(name: str) -> str:
    """Last suffix of a file's name, in small letters."""
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()


def is_placeholder(cells: Iterable[str | None]) -> bool:
    """Whether one of the cells that make a file's name is a word for nothing."""
    return any(cell is not None and cell.strip().casefold() in PLACEHOLDERS for cell in cells)


def notes_on(passed_over: Sequence[Unheard]) -> tuple[str, ...]:
    """One sentence per kind, with a count.

    Parameters
    ----------
    passed_over : sequence of Unheard
        Of one run.

    Returns
    -------
    tuple of str
    """
    notes = []
    for kind, what in (("other", "name{s} no sound"), ("film", "name{s} a film")):
        names = [item.name for item in passed_over if item.kind == kind]
        if names:
            one = len(names) == 1
            distinct = list(dict.fromkeys(names))
            shown = ", ".join(distinct[:2]) + (", ..." if len(distinct) > 2 else "")
            remedy = "; where its sound was heard, convert it to .wav or .flac" if kind == "film" else ""
            rows = f"{len(names)} row{'' if one else 's'} {what.format(s='s' if one else '')}"
            notes.append(f"{rows} ({shown}): passed over{remedy}")
    return tuple(notes)
