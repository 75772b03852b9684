"""Notes that say the same of many runs or participants are told once, with a count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ban_bids.inputs.types import Listening

_BIDS_NAME = re.compile(r"(?<![\w-])(?:[\w.+/-]*/)?(?:sub|ses|task|run)-[\w.+/-]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NAMED = 5


def some(names: Sequence[str], most: int = _NAMED) -> str:
    """Names in a row, the first ``most`` of them, and how many more there are."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def _kind(note: str) -> str:
    """What a note says, whatever file and number it says it of."""
    return _NUMBER.sub("0", _BIDS_NAME.sub("*", note))


def _named(note: str) -> str | None:
    """The file or run that a note is on."""
    found = _BIDS_NAME.search(note)
    return None if found is None else found.group().rpartition("/")[2].rstrip(".")


def grouped(items: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Group notes that say the same of several owners.

    Parameters
    ----------
    items : iterable of (str, str)
        Owner (``sub-01``) and note.

    Returns
    -------
    list of (list of str, str)
        Owners without repetition, and the first one's note, in order of first mention.
    """
    found: dict[str, tuple[list[str], str]] = {}
    for owner, note in items:
        owners, _ = found.setdefault(_kind(note), ([], note))
        if owner not in owners[-1:]:
            owners.append(owner)
    return list(found.values())


def told_once(notes: Iterable[str]) -> list[str]:
    """Notes of one participant, those on several runs or files as one.

    Parameters
    ----------
    notes : iterable of str

    Returns
    -------
    list of str
        The first of each kind; it names the files that others of its kind are on.
    """
    kinds: dict[str, list[str]] = {}
    for note in dict.fromkeys(notes):
        kinds.setdefault(_kind(note), []).append(note)
    told = []
    for first, *others in kinds.values():
        names = list(dict.fromkeys(name for note in others if (name := _named(note)) is not None))
        also = f" (and {len(others)} more: {some(names)})" if names else f" (and {len(others)} more like it)"
        told.append(first + (also if others else ""))
    return told


def row_notes(runs: Sequence[Listening]) -> list[str]:
    """What runs' notes say of their rows, with the runs' names, each kind once."""
    return told_once(f"{run.name}: {note}" for run in runs for note in run.row_notes)
