"""Which sound a row names, by the rules of its dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ban_bids.bids.names import entities, file_suffix
from ban_bids.errors import DataError, UsageError
from ban_bids.files.fetched import absence
from ban_bids.files.json import read_json
from ban_bids.inputs.events import Row, Table, read_table
from ban_bids.inputs.excerpts import PAST_END, SAME_DURATION, Excerpts, start_of, true_genre
from ban_bids.inputs.joined import Joined
from ban_bids.inputs.missing import Missing, NotThere
from ban_bids.inputs.rule_files import choose_rules
from ban_bids.inputs.rules import Join, Rule, RuleFile, fill
from ban_bids.inputs.sound_files import SoundFiles
from ban_bids.inputs.stim_ids import COLUMN, StimIds
from ban_bids.inputs.types import Clip
from ban_bids.inputs.unheard import FILMS, PICTURES, Unheard, is_placeholder, suffix

__all__ = ["PAST_END", "SAME_DURATION", "Stimuli", "stimuli_of"]


@dataclass
class Stimuli:
    """Resolver from rows of tables to sounds and clips; remembers what it has looked up.

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
    """

    folders: Sequence[Path]
    rules: RuleFile = RuleFile()
    root: Path | None = None
    missing: Missing | None = None
    _audio: dict[tuple[str, ...], Path] = field(default_factory=dict, repr=False)
    _joined: dict[Join, Joined] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.excerpts = Excerpts(self.missing)
        self._files, self._ids = SoundFiles(self.folders), StimIds(self.folders)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of rules, and the tables that were joined so far."""
        own = () if self.rules.source is None else (Path(self.rules.source),)
        catalog = () if self._ids.path is None else (self._ids.path,)
        return (*own, *catalog, *(joined.table.path for joined in self._joined.values()))

    @property
    def snapped(self) -> set[Path]:
        """Audio files with excerpts whose measured durations differed a little and were taken as one."""
        return self.excerpts.snapped

    @property
    def remarks(self) -> set[str]:
        """What is odd about audio files that can be used, one sentence each."""
        return self.excerpts.remarks

    def lacks(self, path: Path) -> bool:
        """Whether a file is not there and was gathered; without a gatherer reading it is the error."""
        return self.missing is not None and self.missing.lacks(path)

    def describes_clips(self, columns: Sequence[str]) -> bool:
        """Whether a table with these columns names stimuli."""
        if "stim_file" in columns or COLUMN in columns:
            return True
        return any(rule.file_columns and set(rule.file_columns) <= set(columns) for rule in self.rules.rules)

    def suffixes(self, stem: str) -> set[str]:
        """Suffixes of the files in stimulus folders that have this name without their suffix."""
        return self._files.suffixes(stem)

    def clip(self, row: Row) -> Clip | None:
        """Clip that a row with an answer names: by the rules in events, by BIDS's own columns first elsewhere.

        Outside events, ``n/a`` in ``duration`` means "to the end of the file".

        Parameters
        ----------
        row : Row
            A row of events, or of responses.

        Returns
        -------
        Clip or None
            None for a row without a stimulus, and where it goes on in a file from row to row.

        Raises
        ------
        DataError
            The file is missing, ambiguous or not audio, or the excerpt does not fit into it.
        NotThere
            The file was gathered as missing, and the row does not tell how long it was played.
        """
        labels, rules = self._rules_for(row.path)
        for rule, extended in self._readings(row, labels, rules):
            audio = self.find(extended, rule)
            if not isinstance(audio, Path) or rule.start == "continue":
                return None
            start, _ = start_of(extended, rule, _no_time)
            whole_file = rule.bids or file_suffix(row.path) != "events"
            return self.excerpts.clip(
                extended, rule, audio, start=start, repetition_time=_no_time, whole_file=whole_file
            )
        return None

    def genres(self, table: Table) -> list[str]:
        """True genres of a table's rows, by the rules by which :meth:`clip` reads them; no sound is looked for.

        Raises
        ------
        DataError
            A table that is joined cannot be read, or there is nothing to join it by.
        """
        labels, rules = self._rules_for(table.path)
        first = (next(self._readings(row, labels, rules), None) for row in table.rows)
        return [genre for found in first if found is not None and (genre := true_genre(found[1], found[0])) is not None]

    def _rules_for(self, path: Path) -> tuple[Mapping[str, str], Sequence[Rule]]:
        """Entities of a table with answers, and the rules for it: as they are for events, as BIDS's own elsewhere."""
        labels = dict(entities(path))
        if file_suffix(path) == "events":
            return labels, self.rules.of(labels)
        return labels, [rule.as_bids() for rule in (self.rules.of(labels) or self.rules.rules)[:1]]

    def _readings(self, row: Row, labels: Mapping[str, str], rules: Sequence[Rule]) -> Iterator[tuple[Rule, Row]]:
        """Rules that take a row, each with the row as it sees it."""
        events = file_suffix(row.path) == "events"
        for rule in rules:
            extended = self.extended(row, rule, labels)
            if not events or rule.fits_row(extended):
                yield rule, extended

    def extended(self, row: Row, rule: Rule, labels: Mapping[str, str | None]) -> Row:
        """The row with the columns of joined tables, and with entities; of equal names the row's own wins."""
        cells = {**labels, **row.cells}
        if rule.table is not None and self._needs_table(Row(row.path, row.line, cells), rule):
            cells = {**labels, **self.joined(rule).cells(Row(row.path, row.line, cells)), **row.cells}
        elif rule.bids and row.text(COLUMN) is not None:
            self._need(self._ids.place)
            cells = {**labels, **self._ids.cells(row), **row.cells}
        return Row(row.path, row.line, cells)

    def _needs_table(self, row: Row, rule: Rule) -> bool:
        """Whether a row is joined to the rule's table: of answers that name their file, where they can be.

        They need not have the columns by which events are joined: ``ban-bids-listen import`` writes none. Where the
        rule names no columns, a genre that many rows share is no reason to join.
        """
        if not rule.bids or "stim_file" not in row.cells:
            return True
        named = rule.table is not None and bool(rule.table.on)
        lacks_genre = not {rule.genre, "genre", "trial_type"} & row.cells.keys()
        return (named or lacks_genre) and self.joined(rule).can_join(row)

    def joined(self, rule: Rule) -> Joined:
        """The table that a rule joins.

        Raises
        ------
        DataError
            It is not there or cannot be read.
        NotThere
            It was not fetched, and was gathered.
        """
        if rule.table is None:
            raise ValueError("the rule joins no table")
        if rule.table not in self._joined:
            source = None if self.rules.source is None else Path(self.rules.source).parent
            places = [folder / rule.table.file for folder in (self.root, source) if folder is not None]
            path = next((path for path in places if absence(path) != "absent"), None)
            if path is None:
                looked = " or ".join(map(str, places))
                raise DataError(f"{rule.where}: table {rule.table.file}: no file {looked}; correct the path")
            self._need(path)
            self._joined[rule.table] = Joined(read_table(path), rule.table.on, rule.where)
        return self._joined[rule.table]

    def _need(self, table: Path | None) -> None:
        """Refuse a table that is not there and was gathered: without it rows say something else."""
        if table is not None and self.lacks(table):
            raise NotThere(f"{table}: not there; fetch or restore the table")

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
            The path that a missing sound should have, where such sounds are gathered.

        Raises
        ------
        DataError
            A sound that is missing, or several files of its name.
        """
        own = row.text("stim_file") if rule.bids else None
        if rule.bids and own is None and row.text(COLUMN) is not None:
            return self._gathered(row, f"{row.text(COLUMN)}_audio", ".wav", self._ids.find(row))
        if own is not None or (rule.bids and "stim_file" in row.cells):
            return self._found(row, own, ("",), (".",), columns=("stim_file",))
        return self._found(row, self._filled(row, rule), rule.suffixes, rule.folders, columns=rule.file_columns)

    def _found(
        self, row: Row, name: str | None, suffixes: Sequence[str], folders: Sequence[str], *, columns: Sequence[str]
    ) -> Path | Unheard | None:
        """What a name made of some columns stands for."""
        if name is None:
            return None
        key = (name, *columns, "", *suffixes, "", *folders)
        if key in self._audio:
            return self._audio[key]
        if suffix(name) in PICTURES:
            return Unheard(name)
        if suffix(name) in FILMS and not self._is_sound(row, name, folders):
            return Unheard(name, "film")
        if is_placeholder(row.text(column) for column in columns) and not self._files.holds(name, suffixes):
            return Unheard(name)
        found = self._gathered(row, name, suffixes[0], self._files.search(row, name, suffixes, folders))
        if isinstance(found, Path):
            self._audio[key] = found
        return found

    def _gathered(
        self, row: Row, name: str, end: str, found: Path | DataError | Unheard | None
    ) -> Path | Unheard | None:
        """What was found; a sound that lies nowhere is gathered, or else an error."""
        if not isinstance(found, DataError):
            return found
        if self.missing is None:
            raise found
        return self.missing.absent(self._files.expected(row, name, end), str(found))

    def _filled(self, row: Row, rule: Rule) -> str | None:
        """Name that the template gives; an error where a joined table lacks the row that it needs."""
        if rule.table is not None and any(column not in row.cells for column in rule.file_columns):
            raise self.joined(rule).missing(row)
        return fill(rule.file, row)

    def _is_sound(self, row: Row, name: str, folders: Sequence[str]) -> bool:
        """Whether a file with a film's suffix holds what libsndfile reads."""
        found = self._files.search(row, name, ("",), folders) if self._files.holds(name) else None
        if not isinstance(found, Path) or not found.exists():
            return False
        try:
            return self.excerpts.seconds(found) > 0
        except DataError:
            return False


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
    description = read_json(path) if profile is None and absence(path) != "absent" else {}
    name, doi = str(description.get("Name") or bids_dir.name), description.get("DatasetDOI")
    rules = choose_rules(name, str(doi) if doi else None, root=bids_dir, folders=folders, given=profile)
    return Stimuli(folders, rules, bids_dir)
