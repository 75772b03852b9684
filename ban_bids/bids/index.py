"""Which files a dataset holds: a pybids index of the chosen participants' anat, func and fmap folders."""

from __future__ import annotations

import logging
import re
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids.layout import BIDSLayout, BIDSLayoutIndexer, Query
from sqlalchemy.exc import SQLAlchemyError

from ban_bids.bids.metadata import Companions
from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.settings import Selection

_LOG = logging.getLogger(__name__)
_DATABASE = "layout_index.sqlite"
_IMAGES = [".nii", ".nii.gz"]
_FMRIPREP_KEYS = frozenset({"bold", "t1w", "t2w", "flair", "sbref", "fmap", "roi", "events"})
_QUERIES: Mapping[str, Mapping[str, Any]] = {
    "bold": {"datatype": "func", "suffix": "bold"},
    "t1w": {"datatype": "anat", "suffix": "T1w"},
    "fmap": {"datatype": "fmap"},
}
_FILTER_EXAMPLE = 'write {"bold": {"task": "music"}, "t1w": {}}'
_SUFFIXES = "T1w|bold|events|epi|phasediff|phase1|phase2|fieldmap|magnitude[12]?"


def participant_labels(root: Path) -> tuple[str, ...]:
    """Labels of the dataset's participants, sorted, without ``sub-``."""
    return tuple(sorted(path.name[4:] for path in root.glob("sub-*") if path.is_dir() and path.name[4:]))


def outside_scanner(root: Path) -> frozenset[str]:
    """Labels of participants of whom there are choices (``beh``) and no ``func`` folder in any session."""

    def there(label: str, kind: str) -> bool:
        own = root / f"sub-{label}"
        return (own / kind).is_dir() or any(own.glob(f"ses-*/{kind}"))

    return frozenset(one for one in participant_labels(root) if there(one, "beh") and not there(one, "func"))


def chosen_labels(root: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    """Labels asked for, checked against those there; by default all but those `outside_scanner`.

    Raises
    ------
    UsageError
        The dataset holds no participant, or not the one asked for.
    """
    there = participant_labels(root)
    if not there:
        raise UsageError(f"BIDS_DIR {root}: no such folder, or no sub-* folder in it; give a BIDS dataset")
    unknown = [label for label in wanted if label not in there]
    if unknown:
        raise UsageError(f"--participant-label {' '.join(unknown)}: not in {root}; there are: {', '.join(there)}")
    if wanted:
        return tuple(label for label in there if label in wanted)
    outside = outside_scanner(root)
    return tuple(label for label in there if label not in outside) or there


def _ignored(labels: Sequence[str] | None) -> re.Pattern[str]:
    """Pattern of what is not indexed: all but images, events and sidecars of these participants."""
    subject = "[^/]+" if labels is None else f"(?:{'|'.join(map(re.escape, labels))})"
    shared = rf"[^/]*(?:{_SUFFIXES})\.(?:json|tsv)"
    image = rf"[^/]+_(?:{_SUFFIXES})\.(?:nii|nii\.gz|json|tsv)"
    inside = rf"(?:/ses-[^/]+)?(?:/(?:anat|func|fmap)(?:/{image})?|/{shared})?"
    return re.compile(rf"^/(?!(?:sub-{subject}{inside}|{shared})$)")


def _filters(path: Path | None) -> dict[str, dict[str, Any]]:
    """Queries of ``--bids-filter-file``, fMRIPrep's format, over our own."""
    queries = {kind: dict(query) for kind, query in _QUERIES.items()}
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


@dataclass(frozen=True)
class Index:
    """The indexed files of a dataset.

    Parameters
    ----------
    layout : BIDSLayout
        Over the chosen participants.
    companions : Companions
        Sidecars and tables of all images.
    queries : Mapping
        What selects ``bold``, ``t1w`` and ``fmap`` images.
    """

    layout: BIDSLayout
    companions: Companions
    queries: Mapping[str, Mapping[str, Any]]

    def images(self, kind: str, label: str, **more: Any) -> list[Path]:
        """Images of a participant, sorted; ``kind`` is ``bold``, ``t1w`` or ``fmap``."""
        query = {**more, **self.queries[kind], "subject": label, "extension": _IMAGES}
        try:
            names = self.layout.get(return_type="filename", invalid_filters="allow", **query)
        except (ValueError, TypeError, SQLAlchemyError) as error:
            raise UsageError(f"--bids-filter-file: cannot select {kind} images by {query} ({error})") from error
        return sorted(Path(name) for name in names)


def _layout(root: Path, labels: Sequence[str], database: Path | None) -> BIDSLayout:
    """Index in memory, or a saved one; a new one is moved into place whole, for calls at the same time."""
    if database is not None and (database / _DATABASE).is_file():
        return BIDSLayout(str(root), validate=False, database_path=str(database))
    ignored = _ignored(labels if database is None else None)
    indexer = BIDSLayoutIndexer(validate=False, ignore=[ignored], index_metadata=False)
    layout = BIDSLayout(str(root), validate=False, indexer=indexer)
    if database is not None:
        database.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=database) as folder:
            layout.save(folder, replace_connection=False)
            (Path(folder) / _DATABASE).replace(database / _DATABASE)
    return layout


def build_index(selection: Selection, labels: Sequence[str], *, save: bool = True) -> Index:
    """Index participants with pybids.

    With ``--bids-database-dir`` an index that lies there is used as it is; a new one holds every participant,
    so that it serves all later calls.

    Parameters
    ----------
    selection : Selection
        ``bids_dir``, ``bids_database_dir`` and ``bids_filter_file`` are used.
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
        The folder cannot be listed, or the saved index cannot be used.
    UsageError
        The filter file cannot be used.
    """
    queries = _filters(selection.bids_filter_file)
    database = selection.bids_database_dir
    if database is not None and not save and not (database / _DATABASE).is_file():
        database = None
    try:
        layout = _layout(selection.bids_dir, labels, database)
        known = set(layout.get_subjects())
        companions = layout.get(return_type="filename", extension=[".json", ".tsv"])
    except (OSError, ValueError, KeyError, TypeError, SQLAlchemyError, sqlite3.Error) as error:
        where = f"{selection.bids_dir}" if database is None else f"--bids-database-dir {database}"
        raise DataError(f"{where}: no index of the dataset ({' '.join(str(error).split())}); correct it") from error
    missing = [label for label in labels if label not in known]
    if database is not None and missing:
        _LOG.warning("Index in %s holds no files of %s; delete it to index again", database, ", ".join(missing))
    return Index(layout, Companions.of(map(Path, companions)), queries)
