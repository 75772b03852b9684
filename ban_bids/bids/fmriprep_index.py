"""A dataset's BOLD runs where fMRIPrep's output stands for the images: echoes are one run, and no image is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids.layout import Query

from ban_bids.bids.fmriprep import DROPPED, Output, identity, may_be, series_tail
from ban_bids.bids.index import Index, filters
from ban_bids.bids.names import LONG_NAMES, entities, entity
from ban_bids.settings import Settings

_EVENTS = "events.tsv"
_QUERY_NAMES = {key: LONG_NAMES[key] for key in ("ses", "acq", "ce", "rec", "dir", "run", "task")}


@dataclass(frozen=True, kw_only=True)
class FmriprepIndex(Index):
    """An index whose BOLD images are the runs that fMRIPrep had: one path for all echoes of a run, and one for a run
    of which only events or fMRIPrep's series are there (the path that its image would have).

    Parameters
    ----------
    fmriprep : Path
        fMRIPrep's output.
    tail : str
        End of the names of the series in use.
    query : Mapping
        What selects BOLD images.
    """

    fmriprep: Path
    tail: str
    query: Mapping[str, Any]

    def output(self, label: str) -> Output:
        """A participant's files in fMRIPrep's output."""
        return Output.of(self.fmriprep, label)

    def images(self, kind: str, label: str) -> list[Path]:
        """Images of a participant, sorted; of BOLD one path for each run, whether the image is there or not."""
        images = super().images(kind, label)
        if kind != "bold":
            return images
        without = (path for path in self._without_image(label) if _passes(path, self.query))
        return sorted(_first_echoes([*images, *without]))

    def every_bold(self, label: str) -> list[Path]:
        """All runs of a participant, also those that the filter file leaves out."""
        return sorted(_first_echoes([*self.raw_names(label), *self._without_image(label)]))

    def raw_names(self, label: str) -> list[Path]:
        """All BOLD images of the raw dataset, every echo, whatever the filter file leaves in."""
        return super().every_bold(label)

    def _without_image(self, label: str) -> list[Path]:
        """Where the images of runs would lie that are known from events or from fMRIPrep's series only."""
        output = self.output(label)
        made = {identity(entities(path)): path for path in output.ending(self.tail)}
        if not made:
            return []
        raw = self.raw_names(label)
        tables = {_image_of(table): table for table in self._tables(label, raw)}
        found = [path for path in tables if any(may_be(identity(entities(path)), its) for its in made)]
        known = [identity(entities(path)) for path in (*raw, *found)]
        root = self.listing.root
        found += [_raw_path(root, label, path) for its, path in made.items() if not any(may_be(o, its) for o in known)]
        # a table that belongs to none of these is of a run without a series: the caller says so
        used = {table for image in found for table in self.companions.inherited(image, _EVENTS)}
        found += [path for path, table in tables.items() if table not in used]
        return found

    def _tables(self, label: str, raw: Iterable[Path]) -> list[Path]:
        """A participant's own tables of events that belong to no image that is there."""
        used = {table for image in raw for table in self.companions.inherited(image, _EVENTS)}
        own = [path for path in self.listing.people[label].beside if path.parent.name == "func"]
        return [path for path in own if path.name.endswith(f"_{_EVENTS}") and path not in used]


def with_derivatives(index: Index, settings: Settings) -> Index:
    """The index to read a dataset with: where ``-d fmriprep=PATH`` is given, its runs are those of fMRIPrep."""
    folder = dict(settings.preprocessing.derivatives).get("fmriprep")
    if folder is None:
        return index
    tail, query = series_tail(settings.preprocessing.confounds), filters(settings.selection.bids_filter_file)["bold"]
    return FmriprepIndex(**vars(index), fmriprep=folder, tail=tail, query=query)


def _image_of(table: Path) -> Path:
    """Where the image of a table of events would lie."""
    return table.with_name(table.name.removesuffix(_EVENTS) + "bold.nii.gz")


def _raw_path(root: Path, label: str, made: Path) -> Path:
    """Path of the image that a derivative was made from."""
    pairs = [("sub", label), *(pair for pair in entities(made) if identity([pair]))]
    session = entity(made, "ses")
    folder = root / f"sub-{label}" / (f"ses-{session}" if session else "") / "func"
    return folder / ("_".join(f"{key}-{value}" for key, value in pairs) + "_bold.nii.gz")


def _first_echoes(images: Iterable[Path]) -> list[Path]:
    """Of images that differ in their echo alone the first, by number."""
    groups: dict[tuple[Path, tuple[tuple[str, str], ...], str], list[Path]] = {}
    for path in images:
        others = tuple(pair for pair in entities(path) if pair[0] != DROPPED[0])
        groups.setdefault((path.parent, others, path.name.partition(".")[2]), []).append(path)
    return [min(group, key=_echo) for group in groups.values()]


def _echo(path: Path) -> tuple[int, str]:
    label = entity(path, DROPPED[0]) or ""
    return (int(label) if label.isdigit() else 0, label)


def _passes(path: Path, query: Mapping[str, Any]) -> bool:
    """Whether ``--bids-filter-file`` leaves in a run of which there is no image."""
    labels = dict(entities(path))
    return all(_fits(labels.get(key), query[name]) for key, name in _QUERY_NAMES.items() if name in query)


def _fits(label: str | None, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_fits(label, one) for one in wanted)
    if wanted in (Query.NONE, Query.ANY):
        return (label is None) == (wanted is Query.NONE)
    return label is not None and label.lstrip("0") == str(wanted).lstrip("0")
