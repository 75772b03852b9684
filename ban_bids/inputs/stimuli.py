"""Find the audio file that a row names, and check that it can be played from start to end of its excerpt."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import soundfile

from ban_bids.bids.names import entities
from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.inputs.events import Row, read_table
from ban_bids.inputs.joined import Joined
from ban_bids.inputs.missing import Missing, NotThere
from ban_bids.inputs.rule_files import choose_rules
from ban_bids.inputs.rules import Join, Quantity, RepetitionTime, Rule, RuleFile, fill
from ban_bids.inputs.stim_ids import COLUMN, StimIds
from ban_bids.inputs.types import Clip
from ban_bids.inputs.unheard import FILMS, PICTURES, Unheard, is_placeholder, suffix

PAST_END = 0.1
"""Seconds by which an excerpt may end after its file: rounding, filled with silence by the audio stage."""

SAME_DURATION = 0.05
"""Seconds by which measured durations of one excerpt may differ and still be the same clip."""

_LONGEST_NAME = 255
_ROUNDING = 1e-6
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
    rules : RuleFile
        How the dataset describes its excerpts.
    root : Path or None
        The dataset, where tables lie that rules join.
    missing : Missing or None
        Gathers sounds that are not there, of which clips are then made as far as rows tell; None: they are errors.
    snapped : set of Path
        Audio files with excerpts whose measured durations differed a little and were taken as one.
    """

    folders: Sequence[Path]
    rules: RuleFile = RuleFile()
    root: Path | None = None
    missing: Missing | None = None
    _audio: dict[tuple[str, ...], Path] = field(default_factory=dict, repr=False)
    _durations: dict[tuple[Path, float], list[float]] = field(default_factory=dict, repr=False)
    _joined: dict[Join, Joined] = field(default_factory=dict, repr=False)
    snapped: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._seconds, self._by_name = cache(audio_seconds), cache(_files_by_name)
        self._ids = StimIds(self.folders, self.missing)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of rules, and the tables that were joined so far."""
        own = () if self.rules.source is None else (Path(self.rules.source),)
        catalog = () if self._ids.path is None else (self._ids.path,)
        return (*own, *catalog, *(joined.table.path for joined in self._joined.values()))

    def lacks(self, path: Path) -> bool:
        """Whether a file is not there and was gathered; without a gatherer reading it is the error."""
        return self.missing is not None and self.missing.lacks(path)

    def describes_clips(self, columns: Sequence[str]) -> bool:
        """Whether a table with these columns names stimuli."""
        if "stim_file" in columns or COLUMN in columns:
            return True
        return any(rule.file_columns and set(rule.file_columns) <= set(columns) for rule in self.rules.rules)

    def clip(self, row: Row) -> Clip | None:
        """Clip that a row of a table of answers names, by BIDS's own columns or by those of the rules.

        ``n/a`` in ``duration`` means "to the end of the file".

        Parameters
        ----------
        row : Row

        Returns
        -------
        Clip or None
            None for a row without a stimulus.

        Raises
        ------
        DataError
            The file is missing, ambiguous or not audio, or the excerpt does not fit into it.
        NotThere
            The file was gathered as missing, and the row does not tell how long it was played.
        """
        labels = dict(entities(row.path))
        rule = (self.rules.of(labels) or self.rules.rules)[0].as_bids()
        row = self.extended(row, rule, labels)
        audio = self.find(row, rule)
        if not isinstance(audio, Path):
            return None
        start, _ = self.start(row, rule, _no_time)
        return self.excerpt(row, rule, audio, start=start, repetition_time=_no_time, whole_file=True)

    def extended(self, row: Row, rule: Rule, labels: Mapping[str, str | None]) -> Row:
        """The row with the columns of joined tables, and with entities; of equal names the row's own wins."""
        cells = {**labels, **row.cells}
        if rule.table is not None:
            cells = {**labels, **self.joined(rule).cells(Row(row.path, row.line, cells)), **row.cells}
        elif rule.bids and row.text(COLUMN) is not None:
            cells = {**labels, **self._ids.cells(row), **row.cells}
        return Row(row.path, row.line, cells)

    def joined(self, rule: Rule) -> Joined:
        """The table that a rule joins.

        Raises
        ------
        DataError
            It is not there or cannot be read.
        """
        if rule.table is None:
            raise ValueError("the rule joins no table")
        if rule.table not in self._joined:
            source = None if self.rules.source is None else Path(self.rules.source).parent
            places = [folder / rule.table.file for folder in (self.root, source) if folder is not None]
            path = next((path for path in places if path.is_file()), None)
            if path is None and any(self.lacks(path) for path in places if path.is_symlink()):
                raise NotThere(f"{rule.where}: table {rule.table.file} is not there; fetch it")
            if path is None:
                looked = " or ".join(map(str, places))
                raise DataError(f"{rule.where}: table {rule.table.file}: no file {looked}; correct the path")
            self._joined[rule.table] = Joined(read_table(path), rule.table.on, rule.where)
        return self._joined[rule.table]

    def find(self, row: Row, rule: Rule) -> Path | Unheard | None:
        """What a row names: a sound, something that is none, or nothing at all.

        Parameters
        ----------
        row : Row
            :meth:`extended` by the rule.
        rule : Rule

        Returns
        -------
        Path, Unheard or None

        Raises
        ------
        DataError
            A sound that is missing, or several files of its name.
        """
        suffixes, folders, columns = rule.suffixes, rule.folders, rule.file_columns
        if rule.bids and row.text("stim_file") is not None:
            name, suffixes, folders, columns = row.text("stim_file"), ("",), (".",), ("stim_file",)
        elif rule.bids and row.text(COLUMN) is not None:
            return self._ids.find(row)
        elif rule.bids and "stim_file" in row.cells:
            name = None
        else:
            name = self._filled(row, rule)
        if name is None:
            return None
        if suffix(name) in PICTURES:
            return Unheard(name)
        if suffix(name) in FILMS and not self._is_sound(row, name, folders):
            return Unheard(name, "film")
        if is_placeholder(row.text(column) for column in columns) and not self._is_there(name, suffixes):
            return Unheard(name)
        key = (name, *suffixes, "", *folders)
        if key not in self._audio:
            self._audio[key] = self._search(row, name, suffixes, folders)
        return self._audio[key]

    def _filled(self, row: Row, rule: Rule) -> str | None:
        """Name that the template gives; an error where a joined table lacks the row that it needs."""
        if rule.table is not None and any(column not in row.cells for column in rule.file_columns):
            raise self.joined(rule).missing(row)
        name = fill(rule.file, row)
        if name is not None and any(len(part.encode()) > _LONGEST_NAME for part in name.split("/")):
            raise DataError(f"{row.where}: file in {rule.where} gives a name of {len(name)} characters; correct it")
        return name

    def _is_there(self, name: str, suffixes: Sequence[str]) -> bool:
        """Whether some folder holds a file of this name."""
        names = {PurePosixPath(name).name + end for end in suffixes}
        return any(not names.isdisjoint(self._by_name(root)) for root in self.folders)

    def _is_sound(self, row: Row, name: str, folders: Sequence[str]) -> bool:
        """Whether a file with a film's suffix holds what libsndfile reads."""
        if not self._is_there(name, ("",)):
            return False
        try:
            return self._seconds(self._search(row, name, ("",), folders)) > 0
        except DataError:
            return False

    def start(self, row: Row, rule: Rule, repetition_time: RepetitionTime) -> tuple[float, bool]:
        """Where in the file a row begins, and whether anything states it.

        ``start = "continue"`` is not decided by a row alone: that is done where the run is known.

        Raises
        ------
        DataError
            No number, or start, end and duration contradict each other.
        """
        own = row.number("stim_start") if rule.bids or rule.start is None else None
        if own is not None or not isinstance(rule.start, Quantity):
            return own or 0.0, own is not None
        start = rule.start.seconds(row, repetition_time)
        end = None if rule.end is None else rule.end.seconds(row, repetition_time)
        duration = None if rule.duration == "file" else rule.duration.seconds(row, repetition_time)
        # ends are rounded to hundredths in ds003720: 9.59 to 24.58 lasts 15 s
        if start is not None and end is not None and duration is not None and abs(end - start - duration) > PAST_END:
            raise DataError(f"{row.where}: excerpt {start:g} to {end:g} s, but duration {duration:g} s; correct one")
        return start or 0.0, start is not None

    def excerpt(
        self,
        row: Row,
        rule: Rule,
        audio: Path,
        *,
        start: float,
        repetition_time: RepetitionTime,
        whole_file: bool = False,
    ) -> Clip:
        """Make a clip of a file.

        Parameters
        ----------
        row : Row
            :meth:`extended` by the rule.
        rule : Rule
        audio : Path
        start : float
            Seconds in the file.
        repetition_time : callable
            Of the run: the longest silence after the file, where the rule does not say.
        whole_file : bool
            Whether ``n/a`` in the duration means "to the end of the file" (tables of answers).

        Returns
        -------
        Clip

        Raises
        ------
        DataError
            The file is not audio, or the excerpt does not fit into it.
        NotThere
            The file was gathered as missing, and only its length would tell how long it was played.
        """
        length = math.inf if self.lacks(audio) else self._seconds(audio)
        duration = length - start if rule.duration == "file" else rule.duration.seconds(row, repetition_time)
        if duration is None and whole_file:
            duration = length - start
        if duration is not None and math.isinf(duration):
            raise NotThere(f"{row.where}: {audio} is missing, and only its length tells how long it was played")
        if duration is None or (duration <= 0 and rule.duration != "file"):
            raise DataError(
                f"{row.where}: duration of {audio.name} is not given; write its length in seconds, or duration = "
                '"file" in a rule'
            )
        over = start + duration - length
        if start < 0 or start >= length or over > PAST_END:
            self._check_silence(row, rule, audio, (start, duration, length), repetition_time)
        return Clip(
            audio=audio,
            # a microsecond: numbers written differently are the same excerpt
            start=round(start, 6),
            duration=self._one_duration(audio, round(start, 6), round(duration, 6)),
            track=audio.stem,
            genre=_genre(row, rule),
            fade=rule.fade,
            rms=rule.rms,
            file_end=length if over > PAST_END else None,
        )

    def _check_silence(
        self, row: Row, rule: Rule, audio: Path, times: tuple[float, float, float], repetition_time: RepetitionTime
    ) -> None:
        """Refuse an excerpt that lies outside its file by more than the silence that may follow it."""
        start, duration, length = times
        if any(abs(known - duration) <= SAME_DURATION for known in self._durations.get((audio, round(start, 6)), ())):
            return  # a table of answers on a clip of the events
        pad = rule.pad if rule.pad is not None else repetition_time()
        if 0 <= start < length and start + duration <= length + max(pad or 0.0, PAST_END) + _ROUNDING:
            return
        if pad is None:
            allowed = "RepetitionTime is not in the sidecar, so that no silence may follow the file"
        else:
            allowed = f"a clip may go on for {pad:g} s after its file (pad in a rule; by default one TR)"
        raise DataError(
            f"{row.where}: excerpt {start:g} to {start + duration:g} s lies outside {audio}, which lasts {length:.2f} s; "
            f"{allowed}: correct the start or the duration, or restore the whole file"
        )

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

    def seconds(self, audio: Path) -> float:
        """Length of a file, read once."""
        return self._seconds(audio)

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
        return self._not_found(row, wanted)

    def _not_found(self, row: Row, wanted: Sequence[PurePosixPath]) -> Path:
        """Gather a sound that lies nowhere, under the path that it should have; without a gatherer it is an error."""
        searched = ", ".join(str(root) for root in self.folders) or "no folder"
        files = " or ".join(str(path) for path in wanted)
        problem = f"{row.where}: stimulus {files} not found under {searched}; give --stimuli-dir"
        if self.missing is None:
            raise DataError(problem)
        return self.missing.absent((self.folders[0] if self.folders else Path("stimuli")) / wanted[0], problem)


def _genre(row: Row, rule: Rule) -> str | None:
    """True genre by the rule's column, or by BIDS's and ours in tables that lack it."""
    if rule.genre is not None and (rule.genre in row.cells or not rule.bids):
        return row.text(rule.genre)
    return row.text("genre") or row.text("trial_type")


def _no_time() -> None:
    """Repetition time of a table that belongs to no run."""
    return


def stimuli_of(bids_dir: Path, stimuli_dir: Path | None = None, profile: Path | None = None) -> Stimuli:
    """Resolver of a dataset's sounds, where no image of it is needed.

    Parameters
    ----------
    bids_dir : Path
        The dataset.
    stimuli_dir : Path, optional
        Where the audio files are, if not in the dataset's ``stimuli/``.
    profile : Path, optional
        How to read events, instead of the dataset's own rules or some that ship.

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
    path = bids_dir / "dataset_description.json"
    description = read_json(path) if profile is None and path.is_file() else {}
    name, doi = str(description.get("Name") or bids_dir.name), description.get("DatasetDOI")
    rules = choose_rules(name, str(doi) if doi else None, root=bids_dir, folders=folders, given=profile)
    return Stimuli(folders, rules, bids_dir)
