"""BIDS's proposal BEP044: events name a ``stim_id``, ``stimuli/stimuli.tsv`` says what it is.

A stimulus is a file ``stim-<label>[_part-<label>]_<suffix>.<extension>`` under ``stimuli/``; the suffix of a sound is
``audio``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ban_bids.bids.names import entity, file_suffix
from ban_bids.errors import DataError
from ban_bids.files.fetched import absence
from ban_bids.inputs.events import Row, read_table
from ban_bids.inputs.sound_files import files_below
from ban_bids.inputs.unheard import Unheard

CATALOG = "stimuli.tsv"
COLUMN = "stim_id"
_KEYS = ("stimulus_id", "stim_id")
_FORMATS = (".wav", ".flac", ".aiff", ".au", ".ogg", ".opus", ".mp3")


def _bare(identifier: str) -> str:
    return identifier.removeprefix("stim-")


@dataclass
class StimIds:
    """Sounds by their identifiers.

    Parameters
    ----------
    folders : sequence of Path
        Folders of stimuli in order of preference; the first ``stimuli.tsv`` counts.
    path : Path or None
        That table, once it was needed.
    """

    folders: Sequence[Path]
    _files: dict[str, list[Path]] = field(default_factory=dict, repr=False)

    path: Path | None = None

    @cached_property
    def place(self) -> Path | None:
        """The table, which may be a link to what was not fetched; None where there is none."""
        paths = (folder / CATALOG for folder in self.folders)
        return next((path for path in paths if absence(path) != "absent"), None)

    @cached_property
    def catalog(self) -> Mapping[str, Row]:
        """Rows of ``stimuli.tsv`` by identifier; empty where there is none."""
        path = self.place
        if path is None:
            return {}
        self.path, table = path, read_table(path)
        column = next((name for name in _KEYS if name in table.columns), None)
        if column is None:
            raise DataError(f"{path}: no column stimulus_id; add it, with the names that stim_id has in the events")
        rows: dict[str, Row] = {}
        for row in table.rows:
            identifier = _bare(row.text(column) or "")
            if identifier and rows.setdefault(identifier, row) is not row:
                raise DataError(f"{row.where}: {column} {identifier} is there twice; keep one row")
        return rows

    def cells(self, row: Row) -> Mapping[str, str | None]:
        """Further columns of a row's stimulus, such as ``genre``."""
        found = self.catalog.get(_bare(row.text(COLUMN) or ""))
        return {} if found is None else found.cells

    def find(self, row: Row) -> Path | Unheard | DataError | None:
        """Audio file of the stimulus that a row names.

        Parameters
        ----------
        row : Row

        Returns
        -------
        Path, Unheard, DataError or None
            Unheard for a picture or a silent film; None for a row without ``stim_id``; the error that says what was
            looked for where there is no audio file.

        Raises
        ------
        DataError
            The identifier is not in ``stimuli.tsv``, or it has several parts.
        """
        text = row.text(COLUMN)
        if text is None:
            return None
        listed = self.catalog.get(_bare(text))
        if listed is None and self.catalog:
            raise DataError(f"{row.where}: stim_id {text} is not in {self.path}; add it there, or correct it")
        kind = None if listed is None else listed.text("type")
        files = self._of(_bare(text))
        if kind in ("image", "video"):
            return Unheard(text)
        sounds = [path for path in files if file_suffix(path) == "audio" and path.suffix != ".json"]
        if not sounds and kind is None and any(file_suffix(path) in ("image", "video") for path in files):
            return Unheard(text)
        return self._one(row, text, sounds)

    def _one(self, row: Row, text: str, sounds: Sequence[Path]) -> Path | DataError:
        """The one file of a stimulus; of several formats, the one nearest to what was recorded."""
        wanted = f"stim-{_bare(text)}_audio.wav"
        if not sounds:
            where = " or ".join(str(folder) for folder in self.folders) or "no folder"
            return DataError(
                f"{row.where}: no {wanted} (nor .flac, .mp3, .ogg) under {where}; put it there, or give --stimuli-dir"
            )
        first = [path for path in sounds if self._folder(path) == min(map(self._folder, sounds))]
        parts = {entity(path, "part") for path in first}
        if len(parts) > 1:
            raise DataError(
                f"{row.where}: stim_id {text} has several parts ({', '.join(sorted(path.name for path in first))}); "
                "say by a rule which of them is played (docs/rules.md)"
            )
        rank = {end: place for place, end in enumerate(_FORMATS)}
        return min(first, key=lambda path: (rank.get(path.suffix.lower(), len(rank)), path))

    def _folder(self, path: Path) -> int:
        return next(place for place, folder in enumerate(self.folders) if folder in path.parents)

    def _of(self, label: str) -> list[Path]:
        if not self._files:
            for folder in self.folders:
                for path in files_below(folder):
                    own = entity(path, "stim") if path.name.startswith("stim-") else None
                    if own is not None:
                        self._files.setdefault(own, []).append(path)
        return self._files.get(label, [])
