"""How missing files are listed and got: few patterns that name exactly these files, in a line to paste."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from ban_bids.files.fetched import absence
from ban_bids.inputs.missing import KINDS, MissingFile

_SHORT = 3
_LISTED = 20
_TASK = re.compile(r"_task-[0-9A-Za-z+]+")
_LABEL = re.compile(r"^(sub|ses)-[^_/]+")


def _patterns(relative: Path) -> tuple[str, ...]:
    """Patterns that a file fits, the widest first: over participants and sessions, in its folder; of its task."""
    parts = [glob.escape(part) for part in relative.parts[:-1]]
    places = dict.fromkeys(("/".join(_LABEL.sub(r"\1-*", part) for part in parts), "/".join(parts)))
    stem, dot, extension = relative.name.partition(".")
    names = [f"*{glob.escape(relative.suffix)}"]
    if relative.name.startswith("sub-"):
        suffix = glob.escape(stem.rpartition("_")[2] + dot + extension)
        task = _TASK.search(stem)
        names = [f"*_{suffix}", *([f"*{task.group()}_*{suffix}"] if task else [])]
    return tuple(f"{place}/{name}".lstrip("/") for place in places for name in names)


def compact(files: Sequence[Path], root: Path) -> list[tuple[str, int]]:
    """Patterns relative to a folder that together fit exactly these of its missing files.

    Parameters
    ----------
    files : sequence of Path
        Under ``root``; all missing.
    root : Path

    Returns
    -------
    list of (str, int)
        Pattern or name (wildcards escaped where they are part of a name), and how many of the files it fits, in
        order of the files. A pattern may fit files that are there, for those need nothing.
    """
    left = dict.fromkeys(sorted(files))
    wanted, found = set(left), []
    refused: set[str] = set()
    while left:
        first = next(iter(left))
        relative = first.relative_to(root)
        choice, covered = glob.escape(str(relative)), [first]
        for pattern in _patterns(relative) if len(left) > _SHORT else ():
            if pattern in refused:
                continue
            fitting = _fitting(root, pattern, wanted)
            if len(fitting) > 1 and first in fitting:
                choice, covered = pattern, fitting
                break
            refused.add(pattern)
        found.append((choice, len(covered)))
        for path in covered:
            left.pop(path, None)
    return found


def _fitting(root: Path, pattern: str, wanted: Container[Path]) -> list[Path]:
    """Those of the wanted files that a pattern fits; none where it fits another missing file."""
    fitting = []
    for path in root.glob(pattern):
        if path in wanted:
            fitting.append(path)
        elif absence(path) is not None:
            return []
    return fitting


def shell_word(pattern: str) -> str:
    """Quote a pattern for a shell, all but its wildcards."""
    pieces = re.split(r"(\*)", re.sub(r"\[([*?[])\]", lambda found: f"\0{ord(found[1])}\0", pattern))
    plain = [re.sub(r"\0(\d+)\0", lambda found: chr(int(found[1])), piece) for piece in pieces]
    return "".join(piece if piece == "*" else shlex.quote(text) if text else "" for piece, text in zip(pieces, plain))


def fetch_commands(files: Iterable[MissingFile], root: Path) -> list[str]:
    """Lines to paste into a shell that bring the content of missing files.

    Parameters
    ----------
    files : iterable of MissingFile
        Those that were not fetched are used.
    root : Path
        The dataset; commands run in it, files outside it are fetched in their own folder.

    Returns
    -------
    list of str
        One line per folder and program; empty where nothing can be fetched.
    """
    by_command: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        if file.fetch:
            place = root if file.path.is_relative_to(root) else _dataset_of(file.path)
            by_command.setdefault((place, file.fetch), []).append(file.path)
    return [
        f"cd {shlex.quote(str(place))} && {_command(fetch, [pattern for pattern, _ in compact(paths, place)])}"
        for (place, fetch), paths in by_command.items()
    ]


def _dataset_of(path: Path) -> Path:
    """Folder of the repository in which a file lies, or else its own."""
    return next((folder for folder in path.parents if (folder / ".git").exists()), path.parent)


def _command(fetch: str, patterns: Sequence[str]) -> str:
    if fetch == "git lfs pull":  # has patterns of its own, separated by commas
        return f"{fetch} --include={shlex.quote(','.join(patterns))}"
    return " ".join([fetch, *map(shell_word, patterns)])


def describe_missing(files: Sequence[MissingFile], root: Path, *, everything: bool = False) -> Iterator[str]:
    """Lines on all missing files: by kind, with what fetches them; those that nothing fetches apart.

    Parameters
    ----------
    files : sequence of MissingFile
    root : Path
        The dataset.
    everything : bool
        Whether every file is named; else patterns and the first ones.

    Yields
    ------
    str
        Nothing where nothing is missing.
    """
    if not files:
        return
    yield ""
    yield f"Missing files: {len(files)}"
    unfetched, absent = [file for file in files if file.fetch], [file for file in files if not file.fetch]
    for kind in KINDS:
        own = [file.path for file in unfetched if file.kind == kind]
        if own:
            yield f"  {kind}, not fetched ({len(own)}):"
            yield from (f"    {line}" for line in _listed(own, root, everything))
    commands = fetch_commands(unfetched, root)
    if commands:
        yield "  To fetch them:"
        yield from (f"    {line}" for line in commands)
    for kind in KINDS:
        lost = [file for file in absent if file.kind == kind]
        if lost:
            yield f"  {kind}, not in the dataset ({len(lost)}):"
            yield f"    {lost[0].reason}"
            yield from (f"    {line}" for line in _named([file.path for file in lost[1:]], root, everything))


def _named(paths: Sequence[Path], root: Path, everything: bool) -> Iterator[str]:
    """Names relative to the dataset, all or the first ones."""
    shown = paths if everything or len(paths) <= _LISTED else paths[:_LISTED]
    yield from (str(path.relative_to(root) if path.is_relative_to(root) else path) for path in shown)
    if len(shown) < len(paths):
        yield f"and {len(paths) - len(shown)} more (-v lists all)"


def _listed(paths: Sequence[Path], root: Path, everything: bool) -> Iterator[str]:
    """Every file, or patterns with the number of files that each stands for; relative to the dataset."""
    inside = [path for path in paths if path.is_relative_to(root)]
    outside = [str(path) for path in paths if not path.is_relative_to(root)]
    if everything:
        yield from (*(str(path.relative_to(root)) for path in inside), *outside)
        return
    lines = [
        f"{shell_word(pattern)} ({n} files)" if n > 1 else shell_word(pattern) for pattern, n in compact(inside, root)
    ]
    lines += outside
    yield from lines[:_LISTED]
    if len(lines) > _LISTED:
        yield f"and {len(lines) - _LISTED} more (-v lists all)"
