"""Which files lie where BIDS wants them: participants, images, what stands beside them, tables of answers.

Only a file's place below the dataset counts, never the folders above it. Everything that is passed over although it
looks like a participant's is told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ban_bids.bids.ignored import ignores
from ban_bids.bids.names import entity, file_suffix, is_bids_name
from ban_bids.errors import DataError
from ban_bids.files.fetched import absence

_SUFFIXES = frozenset(
    ("T1w", "bold", "events", "epi", "phasediff", "phase1", "phase2", "fieldmap")
    + ("magnitude", "magnitude1", "magnitude2")
)
IMAGES = (".nii", ".nii.gz")
"""Extensions of images."""

_BESIDE = (".json", ".tsv")
_READ = ("anat", "func", "fmap")
_OTHER = ("beh", "dwi", "eeg", "emg", "ieeg", "meg", "micr", "motion", "mrs", "nirs", "perf", "pet")
_LABEL = r"[0-9a-zA-Z+]+"
_NEARLY = re.compile(r".*_(bold|t1w)\b[^_]*\.nii(\.gz)?", re.IGNORECASE)
"""Names of images that were meant to be taken: in capitals, with another sign before the ending."""
_SHOWN = 3


@dataclass
class Person:
    """What lies in one participant's folder.

    Parameters
    ----------
    label : str
        Without ``sub-``.
    images : list of Path
        Of ``anat``, ``func`` and ``fmap``; links count, wherever they lead.
    beside : list of Path
        Sidecars and tables of events, of any level.
    answers : list of Path
        ``beh/*_beh.tsv``.
    kinds : set of str
        Folders that are there in any session (``func``, ``beh``).
    passed_over : list of str
        Folders and files that look like data and are not read, from the dataset's folder on, with the reason.
    ignored : list of str
        Images that ``.bidsignore`` names, from the dataset's folder on.
    """

    label: str
    images: list[Path] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    answers: list[Path] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    passed_over: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Listing:
    """The files of a dataset that may be of use.

    Parameters
    ----------
    root : Path
        The dataset, absolute.
    people : Mapping of str to Person
        By label, sorted.
    beside : tuple of Path
        Sidecars and tables that lie in the dataset's folder itself.
    passed_over : tuple of str
        Names that begin like a participant's folder and are none, with the reason.
    """

    root: Path
    people: Mapping[str, Person]
    beside: tuple[Path, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the dataset's participants, sorted, without ``sub-``."""
        return tuple(self.people)

    @property
    def outside_scanner(self) -> frozenset[str]:
        """Labels of participants of whom there are choices (``beh``) and no ``func`` folder in any session."""
        return frozenset(one.label for one in self.people.values() if "beh" in one.kinds and "func" not in one.kinds)

    def notes(self, label: str | None = None) -> list[str]:
        """What was passed over in a participant's folder, or (None) beside the participants; what was not."""
        passed = self.passed_over if label is None else self.people[label].passed_over
        notes = [f"passed over: {_some(passed)}"] if passed else []
        if label is not None and (ignored := self.people[label].ignored):
            notes.append(
                f".bidsignore names {len(ignored)} images that are used all the same ({ignored[0]}): it is the "
                "validator's (--participant-label and --bids-filter-file leave out)"
            )
        return notes


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def participant_labels(root: Path) -> tuple[str, ...]:
    """Labels of the dataset's participants, sorted, without ``sub-``; none where the folder is not there."""
    entries = _entries(root) if root.is_dir() else []
    return tuple(entry.name[4:] for entry in entries if _is_participant(entry))


def list_dataset(root: Path) -> Listing:
    """List the files of every participant of a dataset; nothing is opened.

    Parameters
    ----------
    root : Path
        The BIDS folder.

    Returns
    -------
    Listing
        Without participants where there is no such folder. Hidden files, pipes and the like are left out.

    Raises
    ------
    DataError
        The folder may not be listed.
    """
    root = root.absolute()
    if not root.is_dir():
        return Listing(root, {})
    try:
        entries = _entries(root)
    except OSError as error:
        raise DataError(f"{root}: cannot be listed ({error.strerror}); give yourself the right to read it") from error
    people = {entry.name[4:]: _person(entry) for entry in entries if _is_participant(entry)}
    named = ignores(root)
    for person in people.values():
        person.ignored += filter(named, (path.relative_to(root).as_posix() for path in person.images))
    passed = [f"{entry.name} ({_why_no_participant(entry)})" for entry in entries if _nearly_participant(entry)]
    return Listing(root, people, tuple(_beside(entries, None, None)), tuple(passed))


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted, without hidden files."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link wherever it leads: images that were not fetched are links to nowhere."""
    return entry.is_symlink() or entry.is_file(follow_symlinks=False)


def _is_participant(entry: os.DirEntry[str]) -> bool:
    return re.fullmatch(f"sub-{_LABEL}", entry.name) is not None and _is_folder(entry)


def _nearly_participant(entry: os.DirEntry[str]) -> bool:
    looks = entry.name.lower().startswith(("sub-", "sub_"))
    return (
        looks and not _is_participant(entry) and (_is_folder(entry) or (entry.is_symlink() and "." not in entry.name))
    )


def _why_no_participant(entry: os.DirEntry[str]) -> str:
    if not _is_folder(entry):
        return "a link to a folder that is not there"
    return "no participant's name: sub- and then letters, digits and + only"


def _person(entry: os.DirEntry[str]) -> Person:
    person = Person(entry.name[4:])
    for session, place, inside in _levels(entry, person):
        person.beside += _beside(inside, person.label, session)
        for kind in inside:
            if kind.name in (*_READ, *_OTHER):
                if _is_folder(kind):
                    person.kinds.add(kind.name)
                    _read_folder(kind, person, session, f"{place}/{kind.name}")
            elif _is_folder(kind) and not (session is None and _session(kind)):
                person.passed_over.append(f"{place}/{kind.name} (no BIDS folder)")
    return person


def _session(entry: os.DirEntry[str]) -> str | None:
    found = re.fullmatch(f"ses-({_LABEL})", entry.name)
    return found[1] if found and _is_folder(entry) else None


def _levels(entry: os.DirEntry[str], person: Person) -> Iterator[tuple[str | None, str, list[os.DirEntry[str]]]]:
    """A participant's folder and those of the sessions: session, place below the dataset, what lies there."""
    own = _listed(entry, person, entry.name)
    yield None, entry.name, own
    for folder in own:
        if session := _session(folder):
            place = f"{entry.name}/{folder.name}"
            yield session, place, _listed(folder, person, place)


def _listed(entry: os.DirEntry[str], person: Person, place: str) -> list[os.DirEntry[str]]:
    try:
        return _entries(entry)
    except OSError as error:
        person.passed_over.append(f"{place} (cannot be listed: {error.strerror})")
        return []


def _read_folder(folder: os.DirEntry[str], person: Person, session: str | None, place: str) -> None:
    """Sort the files of one folder of images or answers."""
    if folder.name not in (*_READ, "beh"):
        return
    entries = _listed(folder, person, place)
    if folder.name == "beh":
        person.answers += [Path(one.path) for one in entries if one.name.endswith("_beh.tsv") and _is_file(one)]
        return
    person.beside += _beside(entries, person.label, session)
    for entry in entries:
        image = Path(entry.path) if _is_file(entry) else None
        if image is None:
            if _is_folder(entry):
                person.passed_over.append(f"{place}/{entry.name} (a folder among images)")
        elif entry.name.endswith(IMAGES) and file_suffix(image) in _SUFFIXES:
            why = _misnamed(image, person.label, session)
            if why is None:
                person.images.append(image)
            else:
                person.passed_over.append(f"{place}/{entry.name} ({why})")
        elif _NEARLY.fullmatch(entry.name):
            person.passed_over.append(f"{place}/{entry.name} (no image's name ends so: _bold.nii.gz or _T1w.nii.gz)")


def _misnamed(image: Path, label: str, session: str | None) -> str | None:
    """Why an image's name does not fit its place; None where it does."""
    if not is_bids_name(image.name):
        return "no BIDS name: entities are key-label, each once, labels of letters, digits and +; rename it"
    if entity(image, "sub") != label:
        return f"its name does not say sub-{label}; rename or move it"
    if entity(image, "ses") != session:
        return f"its name does not say {'no session' if session is None else f'ses-{session}'}; rename or move it"
    return None


def _beside(entries: list[os.DirEntry[str]], label: str | None, session: str | None) -> Iterator[Path]:
    """Sidecars and tables among files; names may leave out the participant and session, but not name others."""
    for entry in entries:
        name = entry.name
        if not name.endswith(_BESIDE) or not _is_file(entry):
            continue
        path = Path(entry.path)
        if file_suffix(path) in _SUFFIXES and is_bids_name(name):
            same = label is None or entity(path, "sub") in (None, label)
            if same and (session is None or entity(path, "ses") in (None, session)):
                yield path


def is_empty(folder: Path) -> str:
    """That a folder is empty and what may fill it, as the end of a sentence; empty where it is not."""
    try:
        inside = next(folder.iterdir(), None)
    except OSError:
        return ""
    return f"the folder is empty (of a DataLad dataset: datalad get -n {folder})" if inside is None else ""


def one_form_each(paths: Iterable[Path]) -> tuple[list[Path], dict[Path, Path]]:
    """Of an image in two forms the ``.nii.gz``, unless only the other is fetched; and what was not taken.

    Parameters
    ----------
    paths : iterable of Path
        Images; other files are taken as they are.

    Returns
    -------
    taken : list of Path
        In their order.
    twins : dict of Path to Path
        Of an image that is there as ``.nii`` and ``.nii.gz``: the one that is taken, and the other.
    """
    forms: dict[Path, list[Path]] = {}
    for path in paths:
        plain = path.with_suffix("") if path.name.endswith(IMAGES[1]) else path
        forms.setdefault(plain, []).append(path)
    double = {}
    for several in forms.values():
        if len(several) > 1:
            several.sort(key=lambda path: (absence(path) is not None, path.suffix == IMAGES[0]))
            double[several[0]] = several[1]
    return [several[0] for several in forms.values()], double
