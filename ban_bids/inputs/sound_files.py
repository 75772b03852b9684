"""Find a sound by the name that a row gives it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ban_bids.errors import DataError
from ban_bids.inputs.events import Row

_LONGEST_NAME, _LONGEST_PATH = 255, 2000
"""Bytes of a file's name, and of a path below a folder of stimuli, that file systems take."""

_OF_THIS_DATASET = "bids::"
"""How a BIDS URI begins that names a file of the dataset it stands in."""

_DEEPEST = 32
"""Folders in each other below a folder of stimuli that are looked into."""


def _safe_relative(text: str, row: Row) -> PurePosixPath:
    """Path of a name below a folder of stimuli.

    Raises
    ------
    DataError
        It leads out of it, names no file, or is none that a file system takes.
    """
    path = PurePosixPath(text.removeprefix(_OF_THIS_DATASET).replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{row.where}: stimulus {text!r} must be a path inside the stimuli folder")
    if _too_long(path):
        raise DataError(f"{row.where}: stimulus {text[:40]!r}… is a name of {len(text)} characters; correct it")
    if not path.name or "\0" in text:
        raise DataError(f"{row.where}: stimulus {text!r} names no file; correct it")
    return PurePosixPath(*path.parts[1:]) if len(path.parts) > 1 and path.parts[0] == "stimuli" else path


def _too_long(path: PurePosixPath) -> bool:
    """Whether no file system takes it; accents that are signs of their own make names longer."""
    lengths = [len(part.encode("utf-8", "surrogatepass")) for part in path.parts]
    return max(lengths, default=0) > _LONGEST_NAME or sum(lengths) + len(lengths) > _LONGEST_PATH


def _is_file(path: Path) -> bool:
    try:
        return path.is_symlink() or path.is_file()
    except OSError:  # a path that is too long
        return False


def files_below(root: Path) -> list[Path]:
    """Files of a folder and its subfolders, sorted; links count, also those to files that were not fetched.

    Folders that cannot be listed are passed over, and none is entered by a link.
    """
    found: list[Path] = []
    for folder, inner, names in os.walk(root):
        place = Path(folder)
        found += filter(_is_file, (place / name for name in (*inner, *names)))
        if len(place.parts) - len(root.parts) >= _DEEPEST:
            inner.clear()
    return sorted(found)


def _files_by_name(paths: Iterable[Path]) -> dict[str, list[Path]]:
    index: dict[str, list[Path]] = {}
    for path in paths:
        index.setdefault(path.name, []).append(path)
    return index


def _plain(name: str) -> str:
    """Letters and digits of a name: without case, signs, percent codes and other ways to write the same."""
    text = unicodedata.normalize("NFKC", unquote(name)).casefold()
    return "".join(filter(str.isalnum, text))


def _files_by_plain_name(paths: Sequence[Path]) -> dict[str, Path]:
    """One file of each plain name, with its ending and without."""
    return {_plain(path.stem): path for path in paths} | {_plain(path.name): path for path in paths}


def _suffixes_by_stem(paths: Iterable[Path]) -> dict[str, set[str]]:
    suffixes: dict[str, set[str]] = {}
    for path in paths:
        suffixes.setdefault(path.stem, set()).add(path.suffix)
    return suffixes


@dataclass
class SoundFiles:
    """Folders of stimuli, which are listed only where that is needed.

    Parameters
    ----------
    folders : sequence of Path
        In order of preference.
    """

    folders: Sequence[Path]

    def __post_init__(self) -> None:
        below = cache(files_below)
        self._by_name = cache(lambda root: _files_by_name(below(root)))
        self._by_plain_name = cache(lambda root: _files_by_plain_name(below(root)))
        self._suffixes = cache(lambda root: _suffixes_by_stem(below(root)))

    def suffixes(self, stem: str) -> set[str]:
        """Suffixes of the files of any folder that have this name without their suffix."""
        return set().union(*(self._suffixes(root).get(stem, ()) for root in self.folders))

    def holds(self, name: str, suffixes: Sequence[str] = ("",)) -> bool:
        """Whether some folder holds a file of this name, wherever it lies."""
        names = {PurePosixPath(name).name + end for end in suffixes}
        return any(not names.isdisjoint(self._by_name(root)) for root in self.folders)

    def search(self, row: Row, name: str, suffixes: Sequence[str], inner: Sequence[str]) -> Path | DataError:
        """Find a file as it is named; one named without a folder, by the row or the rule, may lie in any.

        Parameters
        ----------
        row : Row
            That names it, for messages.
        name : str
            Relative path without its suffix.
        suffixes, inner : sequence of str
            Suffixes, and folders under each folder of stimuli, in the order in which they are tried.

        Returns
        -------
        Path or DataError
            The error that says what was looked for where no file is found.

        Raises
        ------
        DataError
            The name leads out of the folders, or several files have it.
        """
        relative = _safe_relative(name, row)
        wanted = [relative.with_name(relative.name + suffix) for suffix in suffixes]
        # accents may be signs of their own (names from a Mac): the same text in other bytes
        spelled = (unicodedata.normalize(form, str(path)) for form in ("NFC", "NFD") for path in wanted)
        ways = [path for path in dict.fromkeys((*wanted, *map(PurePosixPath, spelled))) if not _too_long(path)]
        for path in _asked_for(self.folders, inner, ways):
            # links stay unresolved: datalad's lead to files without the track's name
            if path.exists() or path.is_symlink():
                return path
        if "/" not in name.replace("\\", "/") and _may_lie_anywhere(inner):
            for root in self.folders:
                if found := self._anywhere(row, root, ways):
                    return found
        return self._not_found(row, inner, wanted)

    def expected(self, row: Row, name: str, end: str) -> Path:
        """Where a file should lie that is nowhere."""
        first = self.folders[0] if self.folders else Path("stimuli")
        return first / f"{_safe_relative(name, row)}{end}"

    def _anywhere(self, row: Row, root: Path, wanted: Sequence[PurePosixPath]) -> Path | None:
        """The one file of a bare name in a folder and its subfolders."""
        for path in wanted:
            matches = self._by_name(root).get(path.name, [])
            if len(matches) > 1:
                raise DataError(
                    f"{row.where}: several files are called {path.name} ({matches[0]}, {matches[1]}); "
                    "name it with its folder"
                )
            if matches:
                return matches[0]
        return None

    def _not_found(self, row: Row, inner: Sequence[str], wanted: Sequence[PurePosixPath]) -> DataError:
        """The error for a file that is not there, with what is called nearly so."""
        searched = ", ".join(str(root) for root in self.folders) or "no folder"
        places = (
            wanted
            if _may_lie_anywhere(inner)
            else [folder / path for folder in map(PurePosixPath, inner) for path in wanted]
        )
        files = " or ".join(map(str, places))
        paths = list(_asked_for(self.folders, inner, wanted))
        names = {path.name.lower() for path in paths}
        near = [
            path
            for root in self.folders
            for name, found in self._by_name(root).items()
            if name.lower() in names
            for path in found
        ]
        lower = {str(path).lower() for path in paths}
        hint = "; give --stimuli-dir"
        if written := next((path for path in near if str(path).lower() in lower), None):
            hint = f"; there is {written}: write small and capital letters alike"
        elif near:
            hint = f"; {near[0]} has this name, but is not in the folder that is asked for: correct one of them"
        elif alike := self._alike(wanted):
            asked = ascii(" or ".join(path.name for path in wanted))
            hint = f"; in {alike.parent} is {ascii(alike.name)}, asked for is {asked}: correct one of them"
        return DataError(f"{row.where}: stimulus {files} not found under {searched}{hint}")

    def _alike(self, wanted: Sequence[PurePosixPath]) -> Path | None:
        """A file that is called nearly so: with other signs, or another ending."""
        names = [_plain(name) for path in wanted for name in (path.name, path.stem)]
        found = (self._by_plain_name(root).get(name) for root in self.folders for name in names if name)
        return next((path for path in found if path is not None), None)


def _may_lie_anywhere(inner: Sequence[str]) -> bool:
    """Whether a rule names the folder of stimuli itself, and so none in it that a file must lie in."""
    return PurePosixPath() in map(PurePosixPath, inner)


def _asked_for(roots: Sequence[Path], inner: Sequence[str], wanted: Sequence[PurePosixPath]) -> Iterator[Path]:
    """Where a file should be, in order of preference; a root may be the folder that the name begins with."""
    for root in roots:
        for folder in inner:
            yield from (root / folder / path for path in wanted)
        yield from (root.joinpath(*path.parts[1:]) for path in wanted if path.parts[0] == root.name and path.parts[1:])
