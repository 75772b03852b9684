"""Find the audio file that a row names, and check that it can be played from start to end of its excerpt."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import soundfile

from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.inputs.events import Row
from ban_bids.inputs.rules import Profile, choose_profile, read_profile
from ban_bids.inputs.types import Clip

PAST_END = 0.1
"""Seconds by which an excerpt may end after its file: rounding, filled with silence by the audio stage."""

SAME_DURATION = 0.05
"""Seconds by which measured durations of one excerpt may differ and still be the same clip."""

_UNKNOWN_SIZE = (0, 0x7FFFFFFF, 0xFFFFFFFF)


def _declared_bytes(head: bytes) -> int | None:
    """File size that a WAV or AU header declares; None where it tells none."""
    if len(head) >= 12 and head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        size = int(struct.unpack("<I", head[4:8])[0])
        return None if size in _UNKNOWN_SIZE else size + 8
    if len(head) >= 12 and head[:4] == b".snd":
        offset, size = struct.unpack(">II", head[4:12])
        return None if size in _UNKNOWN_SIZE else int(offset + size)
    return None


def audio_seconds(path: Path) -> float:
    """Length of an audio file from its header.

    Parameters
    ----------
    path : Path
        Audio file that libsndfile can read.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    DataError
        The file is missing, empty, truncated, of zero length or not audio.
    """
    remedy = "put the original file there"
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError as error:
        raise DataError(f"{path}: stimulus cannot be read ({error.strerror}); {remedy}") from error
    if size == 0:
        raise DataError(f"{path}: stimulus is an empty file; {remedy}")
    declared = _declared_bytes(head)
    # one byte of padding is commonly left out
    if declared is not None and size < declared - 1:
        raise DataError(f"{path}: stimulus is truncated ({size} of {declared} bytes); {remedy}")
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: stimulus is not audio that can be read ({error.error_string}); {remedy}") from error
    if info.frames <= 0 or info.samplerate <= 0:
        raise DataError(f"{path}: stimulus has zero length; {remedy}")
    return float(info.frames / info.samplerate)


def _safe_relative(text: str, row: Row) -> PurePosixPath:
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{row.where}: stimulus {text!r} must be a path inside the stimuli folder")
    return PurePosixPath(*path.parts[1:]) if len(path.parts) > 1 and path.parts[0] == "stimuli" else path


def _files_by_name(root: Path) -> dict[str, list[Path]]:
    """Files of a folder and its subfolders by name; links count, also those to files that were not fetched."""
    index: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() or path.is_symlink():
            index.setdefault(path.name, []).append(path)
    return index


@dataclass
class Stimuli:
    """Resolver from rows of events to clips; remembers what it has looked up.

    Parameters
    ----------
    folders : sequence of Path
        Stimulus folders in order of preference; those that do not exist are passed over.
    profile : Profile or None
        How the dataset describes its excerpts.
    snapped : set of Path
        Audio files with excerpts whose measured durations differed a little and were taken as one.
    """

    folders: Sequence[Path]
    profile: Profile | None = None
    _audio: dict[str, Path] = field(default_factory=dict, repr=False)
    _durations: dict[tuple[Path, float], list[float]] = field(default_factory=dict, repr=False)
    snapped: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._seconds, self._by_name = cache(audio_seconds), cache(_files_by_name)

    def describes_clips(self, columns: Sequence[str]) -> bool:
        """Whether a table with these columns names stimuli."""
        if "stim_file" in columns:
            return True
        needed = self.profile.path_columns if self.profile else ()
        return bool(needed) and set(needed) <= set(columns)

    def clip(self, row: Row, *, whole_file: bool = False) -> Clip | None:
        """Clip that a row names.

        Parameters
        ----------
        row : Row
            A row of events, or of responses.
        whole_file : bool
            Whether ``n/a`` in ``duration`` means "to the end of the file" (tables of responses).

        Returns
        -------
        Clip or None
            None for a row without a stimulus.

        Raises
        ------
        DataError
            The file is missing, ambiguous or not audio, or the excerpt does not fit into it.
        """
        audio = self.audio(row)
        if audio is None:
            return None
        length = self._seconds(audio)
        start = self._start(row)
        duration = row.number("duration")
        if duration is None and whole_file:
            duration = length - start
        if duration is None or duration <= 0:
            raise DataError(f"{row.where}: duration of {audio.name} is not given; write its length in seconds")
        if start < 0 or start + duration > length + PAST_END:
            raise DataError(
                f"{row.where}: excerpt {start:g} to {start + duration:g} s lies outside {audio}, "
                f"which lasts {length:.2f} s; correct the start or the duration, or restore the whole file"
            )
        profile = self.profile
        return Clip(
            audio=audio,
            # a microsecond: numbers written differently are the same excerpt
            start=round(start, 6),
            duration=self._one_duration(audio, round(start, 6), round(duration, 6)),
            track=audio.stem,
            genre=self._genre(row),
            fade=profile.fade if profile else 0.0,
            rms=profile.rms if profile else None,
        )

    def _genre(self, row: Row) -> str | None:
        """True genre by the profile's column, or by ours in tables that lack it."""
        own = self.profile.genre if self.profile is not None else None
        if own is not None and own in row.cells:
            return row.text(own)
        return row.text("genre") or row.text("trial_type")

    def _one_duration(self, audio: Path, start: float, duration: float) -> float:
        """Duration of the excerpt as it was first read, where it differs by measuring only."""
        known = self._durations.setdefault((audio, start), [])
        for first in known:
            if abs(first - duration) <= SAME_DURATION:
                if first != duration:
                    self.snapped.add(audio)
                return first
        known.append(duration)
        return duration

    def _start(self, row: Row) -> float:
        start, profile = row.number("stim_start"), self.profile
        if start is not None or profile is None or profile.start is None:
            return start or 0.0
        start, duration = row.number(profile.start), row.number("duration")
        end = row.number(profile.end) if profile.end is not None else None
        # ends are rounded to hundredths in ds003720: 9.59 to 24.58 lasts 15 s
        if None not in (start, end, duration) and abs(end - start - duration) > PAST_END:  # type: ignore[operator]
            raise DataError(f"{row.where}: excerpt {start:g} to {end:g} s, but duration {duration:g} s; correct one")
        return start or 0.0

    def audio(self, row: Row) -> Path | None:
        """Audio file that a row names, or None for a row without one."""
        name = row.text("stim_file")
        suffixes: tuple[str, ...] = ("",)
        folders: tuple[str, ...] = (".",)
        if "stim_file" not in row.cells and self.profile is not None and self.profile.path is not None:
            name, suffixes, folders = self.profile.stem(row), self.profile.suffixes, self.profile.folders
        if name is None:
            return None
        if name not in self._audio:
            self._audio[name] = self._search(row, name, suffixes, folders)
        return self._audio[name]

    def _search(self, row: Row, name: str, suffixes: Sequence[str], inner: Sequence[str]) -> Path:
        relative = _safe_relative(name, row)
        wanted = [relative.with_name(relative.name + suffix) for suffix in suffixes]
        for root in self.folders:
            for folder in inner:
                for path in wanted:
                    # links stay unresolved: datalad's lead to files without the track's name
                    if (root / folder / path).exists() or (root / folder / path).is_symlink():
                        return root / folder / path
        for root in self.folders:
            for path in wanted:
                matches = self._by_name(root).get(path.name, [])
                if len(matches) > 1:
                    raise DataError(
                        f"{row.where}: several files are called {path.name} ({matches[0]}, {matches[1]}); "
                        "name it with its folder"
                    )
                if matches:
                    return matches[0]
        searched = ", ".join(str(root) for root in self.folders) or "no folder"
        files = " or ".join(str(path) for path in wanted)
        raise DataError(f"{row.where}: stimulus {files} not found under {searched}; give --stimuli-dir")


def stimuli_of(bids_dir: Path, stimuli_dir: Path | None = None, profile: Path | None = None) -> Stimuli:
    """Resolver of a dataset's sounds, where no image of it is needed.

    Parameters
    ----------
    bids_dir : Path
        The dataset.
    stimuli_dir : Path, optional
        Where the audio files are, if not in the dataset's ``stimuli/``.
    profile : Path, optional
        How to read events, instead of the dataset's own profile or one that ships.

    Returns
    -------
    Stimuli

    Raises
    ------
    UsageError
        A folder is not there.
    """
    if not bids_dir.is_dir():
        raise UsageError(f"BIDS_DIR {bids_dir}: no such folder; give a BIDS dataset")
    if stimuli_dir is not None and not stimuli_dir.is_dir():
        raise UsageError(f"--stimuli-dir {stimuli_dir}: no such folder")
    folders = [one for one in (stimuli_dir, bids_dir / "stimuli") if one is not None and one.is_dir()]
    if profile is not None:
        return Stimuli(folders, read_profile(profile))
    path = bids_dir / "dataset_description.json"
    description = read_json(path) if path.is_file() else {}
    name, doi = str(description.get("Name") or bids_dir.name), description.get("DatasetDOI")
    return Stimuli(folders, choose_profile(name, str(doi) if doi else None, [*folders, bids_dir / "code"]))
