"""Which images are asked for: those of a dataset by their place, and a pybids index's answer to filter files.

pybids keeps the index (SQLite) and answers ``--bids-filter-file``, with the entities that it knows. It is not left to
walk the dataset: it matches whole paths, so that a folder above the dataset called ``func`` or ``sub-99`` would change
what a file is, and it takes half a minute for a thousand participants. ``listing`` says what is there, and each path is
matched from the dataset's folder on. Where nobody filters and no index is to be kept, folder and suffix say the same.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bids.layout import BIDSLayout, Query
from bids.layout.models import BIDSFile, Tag
from sqlalchemy.exc import SQLAlchemyError

from ban_bids.bids.images import same_image
from ban_bids.bids.listing import IMAGES, Listing, is_empty, one_form_each
from ban_bids.bids.metadata import Companions
from ban_bids.bids.names import file_suffix
from ban_bids.errors import DataError, DiskFull, UsageError
from ban_bids.files.fetched import absence
from ban_bids.files.json import read_json
from ban_bids.files.room import told_when_full
from ban_bids.settings import Selection

_DATABASE = "layout_index.sqlite"
_OURS = "ban-bids 1 "  # before the fingerprint in the name of the index's configuration; the number is the layout's
_FMRIPREP_KEYS = frozenset({"bold", "t1w", "t2w", "flair", "sbref", "fmap", "roi", "events"})
_QUERIES: Mapping[str, Mapping[str, Any]] = {
    "bold": {"datatype": "func", "suffix": "bold"},
    "t1w": {"datatype": "anat", "suffix": "T1w"},
    "fmap": {"datatype": "fmap"},
}
_OPTIONS = ("regex_search", "scope")
_FILTER_EXAMPLE = 'write {"bold": {"task": "music"}, "t1w": {}}'

_Found = Mapping[str, Mapping[str, Sequence[Path]]]


def chosen_labels(listing: Listing, wanted: Sequence[str]) -> tuple[str, ...]:
    """Labels asked for, checked against those there; by default all but those outside the scanner.

    Raises
    ------
    UsageError
        The dataset holds no participant, or not the one asked for.
    """
    there, root = listing.labels, listing.root
    if not there:
        passed = "".join(f" ({note})" for note in listing.notes())
        raise UsageError(f"BIDS_DIR {root}: no such folder, or no sub-* folder in it{passed}; give a BIDS dataset")
    unknown = [label for label in wanted if label not in there]
    if unknown:
        raise UsageError(f"--participant-label {' '.join(unknown)}: not in {root}; there are: {', '.join(there)}")
    if wanted:
        return tuple(label for label in there if label in wanted)
    return tuple(label for label in there if label not in listing.outside_scanner) or there


@dataclass(frozen=True)
class Index:
    """The images of a dataset that its participants, and the filter file, leave in.

    Parameters
    ----------
    listing : Listing
        All files.
    companions : Companions
        Sidecars and tables of all images.
    found : Mapping of str to Mapping of str to sequence of Path
        Images by kind (``bold``, ``t1w``, ``fmap``) and participant, sorted; of an image in two forms, one.
    twins : Mapping of Path to Path
        Of an image that lies there as ``.nii`` and ``.nii.gz``: the one that is used, and the other.
    notes : tuple of str
        What happened to a saved index.
    """

    listing: Listing
    companions: Companions
    found: _Found
    twins: Mapping[Path, Path]
    notes: tuple[str, ...] = ()

    def images(self, kind: str, label: str) -> list[Path]:
        """Images of a participant, sorted; ``kind`` is ``bold``, ``t1w`` or ``fmap``."""
        return list(self.found[kind].get(label, ()))

    def every_bold(self, label: str) -> list[Path]:
        """All BOLD images of a participant, also those that the filter file leaves out."""
        listed = self.listing.people[label].images
        there, _ = one_form_each(path for path in listed if path.parent.name == "func" and file_suffix(path) == "bold")
        return sorted(there)

    def no_bold(self, label: str) -> str:
        """Why a participant has no BOLD image here, for an error."""
        there = self.every_bold(label)
        if there:
            return f"sub-{label}: --bids-filter-file, --session-id or --task-id leave out all {len(there)} BOLD images"
        passed = "".join(f" ({note})" for note in self.listing.notes(label))
        pattern = f"sub-{label}/[ses-*/]func/sub-{label}_*_bold.nii[.gz]"
        folder = self.listing.root / f"sub-{label}"
        remedy = "give the right to list it" if "cannot be listed" in passed else is_empty(folder) or "add it"
        return f"sub-{label}: no BOLD image {pattern}{passed}; {remedy}"

    def check_twins(self, images: Iterable[Path]) -> list[str]:
        """Compare images that lie there as ``.nii`` and ``.nii.gz`` with their other form.

        Returns
        -------
        list of str
            One note where there are any.

        Raises
        ------
        DataError
            The two are not the same image.
        """
        double = [(image, self.twins[image]) for image in images if image in self.twins]
        for image, other in double:
            if absence(other) is None and not same_image(image, other):
                kind = "t1w" if image.parent.name == "anat" else "bold"
                remedy = f'{{"{kind}": {{"extension": ".nii.gz"}}}}'
                raise DataError(
                    f"{image}: not the same image as {other.name}; delete the wrong one, or choose with "
                    f"--bids-filter-file, e.g. {remedy}"
                )
        first = double[0] if double else None
        return [] if first is None else [f"{first[0].name} is used, not {first[1].name} ({len(double)} images so)"]


def filters(path: Path | None) -> dict[str, dict[str, Any]]:
    """Queries of ``--bids-filter-file``, fMRIPrep's format, over our own."""
    queries = {kind: {"extension": list(IMAGES), **query} for kind, query in _QUERIES.items()}
    if path is None:
        return queries
    try:
        filters = read_json(path, remedy=_FILTER_EXAMPLE)
    except DataError as error:
        raise UsageError(f"--bids-filter-file {error}") from error
    if not all(isinstance(query, dict) for query in filters.values()):
        raise UsageError(f"--bids-filter-file {path}: {_FILTER_EXAMPLE}")
    unknown = sorted(set(filters) - _FMRIPREP_KEYS)
    if unknown:
        raise UsageError(f"--bids-filter-file {path}: unknown {unknown}; known: {sorted(_FMRIPREP_KEYS)}")
    for kind in set(filters) & set(queries):
        queries[kind] |= {key: _query_value(value) for key, value in filters[kind].items()}
    return queries


def _query_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_query_value(item) for item in value]
    if value is None or value == "Query.NONE":
        return Query.NONE
    return Query.ANY if value in ("*", "Query.ANY") else value


def _fill(layout: BIDSLayout, images: Sequence[Path], root: Path) -> None:
    """Tell pybids of images and their entities, matched from the dataset's folder on."""
    entities = [entity for config in layout.config.values() for entity in config.entities.values()]
    tags = []
    for path in images:
        inside = SimpleNamespace(path=f"/{path.relative_to(root).as_posix()}")
        for entity in entities:
            value = entity.match_file(inside)
            if value is not None:
                tags.append(
                    {"file_path": str(path), "entity_name": entity.name, "_value": str(value), "_dtype": entity._dtype}
                )
    files = [
        {"path": str(path), "filename": path.name, "dirname": str(path.parent), "is_dir": False, "class_": "file"}
        for path in images
    ]
    layout.session.bulk_insert_mappings(BIDSFile, files)
    layout.session.bulk_insert_mappings(Tag, tags)
    layout.session.commit()


def _paths(layout: BIDSLayout, query: Mapping[str, Any]) -> list[Path]:
    return [Path(name) for name in layout.get(return_type="filename", **query)]


def _ask(layout: BIDSLayout, queries: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Path]]:
    """Images of every kind.

    Raises
    ------
    UsageError
        A query cannot be answered.
    """
    found = {}
    known = {*layout.get_entities(), *_OPTIONS}
    for kind, query in queries.items():
        unknown = sorted(set(query) - known)
        if unknown:
            raise UsageError(
                f"--bids-filter-file: {kind}: unknown {', '.join(unknown)}; entities have their long names: "
                f"{', '.join(sorted(known))}"
            )
        try:
            found[kind] = [path for path in _paths(layout, query) if path.name.endswith(IMAGES)]
        except (ValueError, TypeError, KeyError, AttributeError, SQLAlchemyError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"--bids-filter-file: cannot select {kind} images by {query} ({reason})") from error
    return found


def _new(
    root: Path, images: Sequence[Path], queries: Mapping[str, Mapping[str, Any]], database: Path | None
) -> dict[str, list[Path]]:
    """Answers of an index in memory, or of one to keep: that is moved into place whole, as calls may run at once."""
    config = ["bids", {"name": _name(root, images)}]
    folder: AbstractContextManager[str | None] = nullcontext()
    if database is not None:
        database.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=database)
    with folder as place:
        fill: Callable[[BIDSLayout], None] = lambda layout: _fill(layout, images, root)  # noqa: E731
        layout = BIDSLayout(str(root), validate=False, config=config, database_path=place, indexer=fill)
        found = _ask(layout, queries)
        if database is not None and place is not None:
            (Path(place) / _DATABASE).replace(database / _DATABASE)
    return found


def _name(root: Path, images: Sequence[Path]) -> str:
    """Name of an index of exactly these images."""
    text = "\n".join([str(root), *(str(path) for path in images)])
    return _OURS + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _saved(
    root: Path, images: Sequence[Path], queries: Mapping[str, Mapping[str, Any]], *, database: Path, save: bool
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Answers of a saved index where it is one of exactly these images, else of a new one that takes its place."""
    if not (database / _DATABASE).is_file():
        return _kept(root, images, queries, database=database, save=save)
    name, before = _held(database / _DATABASE)
    if name == _name(root, images):
        return _ask(BIDSLayout(str(root), validate=False, database_path=str(database)), queries), ()
    if not name.startswith(_OURS):
        why = "not an index of this version of ban-bids; it is left as it is and not used: name another folder"
        return _new(root, images, queries, None), (f"--bids-database-dir {database}: {why}",)
    gone, more = len(before.difference(images)), len(set(images) - before)
    what = f"the index lacked {more} images that are there and held {gone} that are not; the dataset is indexed anew"
    found, notes = _kept(root, images, queries, database=database, save=save)
    return found, (f"--bids-database-dir {database}: {what}", *notes)


def _kept(
    root: Path, images: Sequence[Path], queries: Mapping[str, Mapping[str, Any]], *, database: Path, save: bool
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Answers of a new index that is kept where that is wanted and its folder can be written."""
    if not save:
        return _new(root, images, queries, None), ()
    try:
        with told_when_full(database):
            return _new(root, images, queries, database), ()
    except (OSError, DiskFull) as error:
        why = error.strerror if isinstance(error, OSError) else error
        note = f"--bids-database-dir {database}: the index cannot be kept ({why})"
        return _new(root, images, queries, None), (note,)


def _held(database: Path) -> tuple[str, set[Path]]:
    """Name of a saved index, and its files; read without pybids, which wants the old dataset to be there."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM configs") if name.startswith(_OURS)]
        paths = {Path(path) for (path,) in connection.execute("SELECT path FROM files")}
    return (names[0] if names else ""), paths


def build_index(selection: Selection, listing: Listing, labels: Sequence[str], *, save: bool = True) -> Index:
    """Index participants' images; with pybids where there is a filter file, or an index to keep.

    With ``--bids-database-dir`` an index that lies there is used where it holds exactly the images that are there;
    else it is made anew, of every participant, so that it serves all later calls.

    Parameters
    ----------
    selection : Selection
        ``bids_database_dir`` and ``bids_filter_file`` are used.
    listing : Listing
        The dataset's files.
    labels : sequence of str
        Participants.
    save : bool
        Whether a new index is kept in ``bids_database_dir``.

    Returns
    -------
    Index
        Ready to be asked.

    Raises
    ------
    DataError
        The saved index cannot be used.
    UsageError
        The filter file cannot be used.
    """
    queries = filters(selection.bids_filter_file)
    root, database = listing.root, selection.bids_database_dir
    notes: tuple[str, ...] = ()
    whose = listing.people if database is not None else labels
    images = sorted(path for label in whose for path in listing.people[label].images)
    try:
        if database is None:
            unfiltered = selection.bids_filter_file is None
            found = _by_place(images) if unfiltered else _new(root, images, queries, None)
        else:
            found, notes = _saved(root, images, queries, database=database, save=save)
    except (OSError, ValueError, KeyError, TypeError, SQLAlchemyError, sqlite3.Error) as error:
        where, remedy = f"{root}", "correct it"
        if database is not None:
            where, remedy = f"--bids-database-dir {database}", "name another folder"
            if (database / _DATABASE).is_file():
                remedy = f"delete {database / _DATABASE}, and it is made anew"
        raise DataError(f"{where}: no index of the dataset ({' '.join(str(error).split())}); {remedy}") from error
    beside = [*listing.beside, *(path for label in labels for path in listing.people[label].beside)]
    chosen = {kind: one_form_each(paths) for kind, paths in found.items()}
    by_label = {kind: _by_label(root, paths) for kind, (paths, _) in chosen.items()}
    twins = {path: other for _, pairs in chosen.values() for path, other in pairs.items()}
    return Index(listing, Companions.of(beside), by_label, twins, notes)


def _by_place(images: Iterable[Path]) -> dict[str, list[Path]]:
    """What our own queries find, by folder and suffix alone: an index of 10 000 images takes longer than their events.

    ``listing`` lets through only names that are BIDS names in folders that are BIDS folders.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in _QUERIES}
    for path in images:
        for kind, query in _QUERIES.items():
            if path.parent.name == query["datatype"] and query.get("suffix") in (None, file_suffix(path)):
                found[kind].append(path)
    return found


def _by_label(root: Path, paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        found.setdefault(path.relative_to(root).parts[0].removeprefix("sub-"), []).append(path)
    return found
