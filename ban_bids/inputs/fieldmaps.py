"""Field maps of a dataset: which runs they are meant for. They are told of, not used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.bids.index import Index, entities, file_suffix
from ban_bids.inputs.types import Run
from ban_bids.settings import Settings

_SUFFIXES = {
    "epi": "epi",
    **dict.fromkeys(("phasediff", "phase1", "phase2", "fieldmap"), "phase"),
    **dict.fromkeys(("magnitude", "magnitude1", "magnitude2"), "phase"),
}
_WITHIN_ONE = ("dir", "echo", "part")  # entities that differ between the images of one field map


@dataclass(frozen=True)
class FieldMap:
    """Images that make one field map (a pair of opposed EPIs; phase difference and magnitudes).

    Parameters
    ----------
    images : tuple of Path
    session : str or None
    identifiers : frozenset of str
        ``B0FieldIdentifier``.
    intended : frozenset of str
        ``IntendedFor`` as paths inside the dataset.
    """

    images: tuple[Path, ...]
    session: str | None
    identifiers: frozenset[str]
    intended: frozenset[str]

    def applies(self, run: Run, sources: Iterable[str], root: Path) -> bool:
        """Whether it is meant for a run: by B0 field, by ``IntendedFor``, or with neither by session.

        Parameters
        ----------
        run : Run
        sources : iterable of str
            The run's ``B0FieldSource``.
        root : Path
            The BIDS folder.
        """
        if self.identifiers.intersection(sources):
            return True
        if self.intended:
            return any(root / place == run.bold for place in self.intended)
        return not self.identifiers and self.session == run.session


def _texts(value: Any) -> tuple[str, ...]:
    """A field that holds one text or a list of them."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str) and item)


def _inside(text: str, label: str) -> str:
    """Path inside the dataset of an ``IntendedFor``: a BIDS URI, or a path from the participant's folder."""
    if text.startswith("bids:"):
        return text.split(":", 2)[-1].lstrip("/")
    return f"sub-{label}/{text.lstrip('/')}"


def find_field_maps(label: str, index: Index) -> tuple[FieldMap, ...]:
    """Field maps in a participant's ``fmap`` folders.

    Parameters
    ----------
    label : str
        Participant.
    index : Index

    Returns
    -------
    tuple of FieldMap
        Images that differ in phase-encoding direction, echo or part only belong to one.

    Raises
    ------
    DataError
        A sidecar is not JSON.
    """
    groups: dict[tuple[object, ...], list[Path]] = {}
    for path in index.images("fmap", label):
        kind = _SUFFIXES.get(file_suffix(path))
        if kind is not None:
            rest = tuple(item for item in entities(path) if item[0] not in _WITHIN_ONE)
            groups.setdefault((path.parent, kind, rest), []).append(path)
    return tuple(_field_map(paths, label, index) for paths in groups.values())


def _field_map(paths: Sequence[Path], label: str, index: Index) -> FieldMap:
    sidecars: list[Mapping[str, Any]] = [index.metadata(path) for path in paths]
    return FieldMap(
        tuple(paths),
        dict(entities(paths[0])).get("ses"),
        frozenset(text for fields in sidecars for text in _texts(fields.get("B0FieldIdentifier"))),
        frozenset(_inside(text, label) for fields in sidecars for text in _texts(fields.get("IntendedFor"))),
    )


def field_map_notes(label: str, runs: Sequence[Run], index: Index, settings: Settings, root: Path) -> tuple[str, ...]:
    """One note where field maps apply to a participant's runs: they are found, and not used.

    Parameters
    ----------
    label : str
        Participant.
    runs : sequence of Run
    index : Index
    settings : Settings
        No note with ``--ignore fieldmaps``, nor where fMRIPrep's derivatives are taken.
    root : Path
        The BIDS folder.

    Raises
    ------
    DataError
        A sidecar is not JSON.
    """
    if "fieldmaps" in settings.preprocessing.ignore or "fmriprep" in dict(settings.preprocessing.derivatives):
        return ()
    maps = find_field_maps(label, index)
    sources = [_texts(index.metadata(run.bold).get("B0FieldSource")) for run in runs]
    pairs = [(run, field) for run, source in zip(runs, sources) for field in maps if field.applies(run, source, root)]
    if not pairs:
        return ()
    found, names = {field.images for _, field in pairs}, list(dict.fromkeys(run.name for run, _ in pairs))
    which = "every run" if len(names) == len(runs) else ", ".join(names)
    remedy = "" if settings.preprocessing.use_syn_sdc else " (-d fmriprep=PATH takes images corrected with them)"
    return (
        f"{len(found)} field map{'s' * (len(found) > 1)} for {which} ({len(names)} of {len(runs)} runs) "
        f"found but not used: distortion is not corrected with field maps{remedy}",
    )
