"""Which file of features belongs to which sound: by names in a folder, or by its table ``clips.tsv``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.errors import DataError
from ban_bids.files.fetched import absence
from ban_bids.files.tsv import read_frame
from ban_bids.inputs.stimuli import SAME_DURATION
from ban_bids.inputs.types import Clip

_SUFFIXES = (".npz", ".h5", ".hdf5")
SILENCES = tuple(f"silence{suffix}" for suffix in _SUFFIXES)
"""Names of the file that is the response to silence, and to no clip."""

_START = re.compile(r"(.+)_start-(\d+(?:\.\d+)?)")
_SAME_START = 1e-3


class Entry(NamedTuple):
    """A file of features, and the sound that it stands for.

    Parameters
    ----------
    path : Path
    audio : tuple of str
        End of the audio file's path: with suffix where a table says so, else without.
    start : float
        Seconds.
    duration : float or None
        Seconds; None: a clip that starts there, or to the recording's end.
    """

    path: Path
    audio: tuple[str, ...]
    start: float
    duration: float | None

    def is_of(self, clip: Clip) -> bool:
        """Whether it was made of this very clip."""
        same_end = self.duration is None or abs(self.duration - clip.duration) <= SAME_DURATION
        return abs(self.start - clip.start) <= _SAME_START and same_end

    def contains(self, clip: Clip) -> bool:
        """Whether the clip is an excerpt of it: of a whole recording, or of what a table says."""
        if self.duration is None:
            return self.start == 0
        late = clip.start + clip.duration - self.start - self.duration
        return clip.start >= self.start - _SAME_START and late <= SAME_DURATION


def entries_by_name(folder: Path) -> list[Entry]:
    """Files by their names; one that ends in ``_start-N`` may also belong to an audio file of that very name.

    Raises
    ------
    DataError
        Two files stand for one sound.
    """
    entries: dict[tuple[tuple[str, ...], float], Entry] = {}
    for path in _files(folder):
        inner = path.relative_to(folder).with_suffix("").parts
        if path.name in SILENCES and len(inner) == 1:
            continue
        keys = [(inner, 0.0)]
        if match := _START.fullmatch(inner[-1]):
            keys.append(((*inner[:-1], match[1]), float(match[2])))
        for key in keys:
            if key in entries:
                raise DataError(f"{path}: stands for the same sound as {entries[key].path}; remove one")
            entries[key] = Entry(path, *key, None)
    return list(entries.values())


def entries_of_table(path: Path) -> list[Entry]:
    """Files as ``clips.tsv`` lists them.

    Raises
    ------
    DataError
        The table is no table, lacks a column, or a row names no file of features, no audio or no seconds.
    """
    table = read_frame(path, "write tabs between its columns", dtype=str, keep_default_na=False)
    if lacks := [column for column in ("file", "features") if column not in table]:
        raise DataError(f"{path}: lacks the column {lacks[0]!r}; write file, features and, if need be, start, duration")
    return [_entry_of(path, number, row) for number, row in enumerate(table.to_dict("records"), 2)]


def _entry_of(table: Path, line: int, row: Mapping[Any, str]) -> Entry:
    inner = PurePosixPath(row["features"].strip())
    path = table.parent / inner
    if inner.is_absolute() or ".." in inner.parts or path.suffix not in _SUFFIXES or absence(path) == "absent":
        raise DataError(f"{table}, line {line}: {row['features']!r} is no .npz or .h5 inside {table.parent}")
    audio = PurePosixPath(row["file"].strip()).parts
    if not audio:
        raise DataError(f"{table}, line {line}: names no audio file; write its name with its suffix")
    start, duration = (_seconds(table, line, row, column) for column in ("start", "duration"))
    if duration == 0:
        raise DataError(f"{table}, line {line}: duration is 0; write seconds, or n/a for the rest of the recording")
    return Entry(path, audio, start or 0.0, duration)


def _seconds(table: Path, line: int, row: Mapping[Any, str], column: str) -> float | None:
    text = row.get(column, "").strip()
    if text in ("", NOT_AVAILABLE):
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not isfinite(value) or value < 0:
        raise DataError(f"{table}, line {line}: {column} is {text!r}; write seconds, or n/a")
    return value


def _files(folder: Path) -> Iterator[Path]:
    """Files of features of a folder and its subfolders, sorted; hidden ones are none."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
