"""Files that the dataset names and that are not there: gathered, so that all are told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ban_bids.errors import DataError
from ban_bids.files.fetched import absence

KINDS = ("tables", "sidecars", "images", "sounds")
"""Kinds of files in the order in which they are needed."""

_NAMED = 3


class NotThere(DataError):
    """What was played is unknown as long as files are missing: tables, or a sound without a duration."""


@dataclass(frozen=True, order=True)
class MissingFile:
    """A file that is not there.

    Parameters
    ----------
    path : Path
        Where it should lie.
    reason : str
        One sentence with the path and the remedy.
    fetch : str
        Command that brings its content: ``datalad get``, ``git lfs pull``; empty where it is not in the dataset.
    """

    path: Path
    reason: str = field(compare=False)
    fetch: str = field(default="", compare=False)

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        name = self.path.name.lower()
        if name.endswith((".nii", ".nii.gz")):
            return "images"
        return {".tsv": "tables", ".json": "sidecars"}.get(self.path.suffix.lower(), "sounds")


def missing_file(path: Path) -> MissingFile | None:
    """What is told of a file that is not there; None for one that is."""
    how = absence(path)
    if how is None:
        return None
    if how == "annex":
        return MissingFile(path, f"{path}: link to a file that is not there; fetch it (datalad get)", "datalad get")
    if how == "lfs":
        return MissingFile(path, f"{path}: not fetched; fetch it (git lfs pull)", "git lfs pull")
    if how == "link":
        return MissingFile(path, f"{path}: link to a file that is not there ({path.readlink()}); restore that file")
    return MissingFile(path, f"{path}: no such file; restore it")


@dataclass
class Missing:
    """Gathers missing files while one participant after the other is read; each file is looked up once."""

    _known: dict[Path, MissingFile | None] = field(default_factory=dict)
    _asked: dict[Path, MissingFile] = field(default_factory=dict)

    def lacks(self, path: Path) -> bool:
        """Whether a file is not there; it is gathered."""
        try:  # one look: with the rows of a thousand people it is asked 200 000 times
            gone = self._known[path]
        except KeyError:
            gone = self._known[path] = missing_file(path)
        if gone is not None:
            self._asked[path] = gone
        return gone is not None

    def absent(self, path: Path, reason: str) -> Path:
        """Gather a file that was looked for and not found, under the path that it should have."""
        self._known[path] = MissingFile(path, reason)
        return path

    def taken(self) -> tuple[MissingFile, ...]:
        """What was gathered since the last call, sorted."""
        gathered, self._asked = tuple(sorted(self._asked.values())), {}
        return gathered


def missing_message(files: Sequence[MissingFile]) -> str:
    """One line on missing files: the reason of a single one; of several the first three and the count.

    Parameters
    ----------
    files : sequence of MissingFile
        At least one.

    Returns
    -------
    str
        With the remedies.
    """
    if len(files) == 1:
        return files[0].reason
    named = ", ".join(str(one.path) for one in files[:_NAMED])
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    commands = sorted({one.fetch for one in files if one.fetch})
    remedies = [f"fetch them ({' and '.join(commands)})"] if commands else []
    remedies += [one.reason for one in files if not one.fetch][:1]
    return f"{len(files)} files are missing ({named}{more}): {'; '.join(remedies)}; --dry-run lists all"
