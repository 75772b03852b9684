"""Reading rules from TOML, and which file is the dataset's.

In order: ``--rules FILE``; the dataset's ``code/ban-bids.toml``; a profile of earlier versions,
``ban_bids_profile.toml``, in ``--stimuli-dir``, in the dataset's ``stimuli/`` or in its ``code/``; those that ship, by
DOI or name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ban_bids.errors import DataError
from ban_bids.files.fetched import absence
from ban_bids.files.reading import as_number
from ban_bids.files.toml import read_toml
from ban_bids.inputs.rules import LEAD_IN_RULES, UNITS, Join, Patterns, Quantity, Rule, RuleFile, template_fields

OWN_RULES = "ban-bids.toml"
"""File name of the rules that a dataset brings in its ``code/``."""

OWN_PROFILE = "ban_bids_profile.toml"
"""File name of a profile of earlier versions."""

ENTITIES = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run", "mod",
    "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res", "den",
    "label", "desc",
)  # fmt: skip
"""Short names of BIDS's entities; ``order`` and columns stand beside them in templates only."""

_KEYS: Mapping[str, frozenset[str]] = {
    "": frozenset({"name", "note", "match", "rule", "stimuli", "lead_in", "held_out"}),
    "match": frozenset({"doi", "name"}),
    "stimuli": frozenset({"path", "suffixes", "folders", "genre", "start", "end", "fade", "rms"}),
    "lead_in": frozenset({"rule"}),
    "held_out": frozenset({"runs"}),
    "rule": frozenset(
        {"runs", "events", "rows", "file", "suffixes", "folders", "onset", "start", "end", "duration", "pad", "genre",
         "fade", "rms", "table", "of"}
    ),
    "rows": frozenset({"only", "not"}),
    "time": frozenset({"column", "shift", "unit"}),
    "table": frozenset({"file", "on"}),
}  # fmt: skip


def normal_doi(doi: str) -> str:
    """Bare lower-case DOI: without ``doi:`` or resolver address."""
    return re.sub(r"^(https?://(dx\.)?doi\.org/|doi:\s*)+", "", doi.strip().lower())


@dataclass(frozen=True)
class _Part:
    """A table of the file: what is in it, and what it is called in messages."""

    cells: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, cells: object, where: str, kind: str) -> _Part:
        """A table with known keys only."""
        if not isinstance(cells, Mapping):
            raise DataError(f"{where} must be a table; it is {cells!r}")
        unknown = sorted(set(cells) - _KEYS[kind])
        if unknown:
            raise DataError(f"{where}: unknown keys {unknown}; known: {sorted(_KEYS[kind])}")
        return cls(cells, where)

    def wrong(self, key: str, what: str) -> DataError:
        return DataError(f"{self.where}: {key} must be {what}; it is {self.cells[key]!r}")

    def part(self, key: str, kind: str | None = None) -> _Part:
        """A table inside this one; empty where it is not there."""
        return _Part.of(self.cells.get(key, {}), f"{self.where}, {key}", kind or key)

    def text(self, key: str, default: str | None = None) -> str | None:
        value = self.cells.get(key, default)
        if value is not None and (not isinstance(value, str) or not value.strip() or not value.isprintable()):
            raise self.wrong(key, "text")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self.cells.get(key, list(default))
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) and item.isprintable() for item in items):
            raise self.wrong(key, "text or a list of texts")
        return tuple(items)

    def number(self, key: str, default: float | None, *, above: float = 0.0, or_equal: bool = True) -> float | None:
        value = self.cells.get(key, default)
        if value is None:
            return None
        number = as_number(value)
        if number is None or number < above or (number == above and not or_equal):
            raise self.wrong(key, f"a number {'from' if or_equal else 'above'} {above:g}")
        return number

    def patterns(self, key: str, known: Sequence[str] = ()) -> Patterns:
        """Entities or columns with one glob or several; numbers stand for their text."""
        value = self.cells.get(key, {})
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a table of names with globs")
        found: dict[str, tuple[str, ...]] = {}
        for name, globs in value.items():
            if known and name not in known:
                raise DataError(f"{self.where}: unknown entity {name!r} in {key}; known: {', '.join(known)}")
            items = globs if isinstance(globs, list) else [globs]
            if not items or not all(isinstance(item, str | int | float) and item is not True for item in items):
                raise self.wrong(key, f"a table of names with globs ({name} is none)")
            found[name] = tuple(str(item).removeprefix(f"{name}-" if known else "") for item in items)
        return found

    def template(self, key: str, default: str) -> str:
        text = self.text(key, default) or default
        try:
            template_fields(text)
        except ValueError as error:
            raise DataError(f"{self.where}: {key} {text!r} is not a template ({error})") from error
        return text

    def time(self, key: str) -> Quantity | str | None:
        """A number, a column, or a table of column, shift and unit."""
        value = self.cells.get(key)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        if isinstance(value, Mapping):
            part = self.part(key, "time")
            column, unit = part.text("column"), part.text("unit", "s") or "s"
            if column is None:
                raise DataError(f"{part.where}: column is missing; name the column that holds the {key}")
            if unit not in (*UNITS, "TR"):
                raise part.wrong("unit", "s, ms or TR")
            return Quantity(column, shift=part.number("shift", 0.0, above=-math.inf) or 0.0, unit=unit)
        number = as_number(value)
        if number is None:
            raise self.wrong(key, "a column, a number of seconds or a table {column, shift, unit}")
        if key != "onset" and number < 0:
            raise self.wrong(key, "a number of seconds from 0")
        return Quantity(number=number)


def _quantity(part: _Part, key: str, default: Quantity | None) -> Quantity | None:
    value = part.time(key)
    return Quantity(value) if isinstance(value, str) else value or default


def _start(part: _Part) -> Quantity | Literal["continue"] | None:
    return "continue" if part.time("start") == "continue" else _quantity(part, "start", None)


def _duration(part: _Part, default: Quantity | Literal["file"]) -> Quantity | Literal["file"]:
    if part.time("duration") in (None, "file"):
        return "file" if "duration" in part.cells else default
    found = _quantity(part, "duration", None)
    if found is None or found.number == 0:
        raise part.wrong("duration", "above 0 s")
    return found


def _join(part: _Part) -> Join | None:
    value = part.cells.get("table")
    if value is None:
        return None
    inner = _Part.of({"file": value} if isinstance(value, str) else value, f"{part.where}, table", "table")
    file = inner.text("file")
    if file is None or ".." in Path(file).parts:
        raise part.wrong("table", "the path of a table inside the dataset, or a table {file, on}")
    return Join(file, inner.texts("on"))


def _count(part: _Part) -> int | None:
    value = part.number("of", None, above=1.0)
    if value is None:
        return None
    if value != int(value):
        raise part.wrong("of", "a whole number of runs")
    if "order" not in template_fields(part.text("file") or ""):
        raise DataError(f"{part.where}: of counts runs for {{order}}, which file does not use; leave it out")
    return int(value)


def _rule(cells: object, where: str) -> Rule:
    part = _Part.of(cells, where, "rule")
    events = part.text("events", "table")
    if events not in ("table", "none"):
        raise part.wrong("events", "table or none")
    if events == "none" and "file" not in part.cells:
        raise DataError(f'{where}: file is missing; without events it says what was played, e.g. file = "{{task}}"')
    if events == "none" and "rows" in part.cells:
        raise DataError(f"{where}: rows says nothing where events is none; leave it out")
    rows = part.part("rows")
    alone = events == "none"
    return Rule(
        where=where,
        runs=part.patterns("runs", ENTITIES),
        events="none" if alone else "table",
        only=rows.patterns("only"),
        skip=rows.patterns("not"),
        file=part.template("file", "{stim_file}"),
        suffixes=part.texts("suffixes") or ("",),
        folders=part.texts("folders") or (".",),
        onset=_quantity(part, "onset", None) or (Quantity(number=0.0) if alone else Quantity("onset")),
        start=_start(part) or (Quantity(number=0.0) if alone else None),
        end=_quantity(part, "end", None),
        duration=_duration(part, "file" if alone else Quantity("duration")),
        pad=part.number("pad", None),
        genre=part.text("genre"),
        fade=part.number("fade", 0.0) or 0.0,
        rms=part.number("rms", None, or_equal=False),
        table=_join(part),
        of=_count(part),
    )


def _profile_rule(part: _Part) -> Rule:
    """The rule that ``[stimuli]`` of an earlier version describes."""
    suffixes, folders = part.texts("suffixes", (".wav",)) or ("",), part.texts("folders", (".",))
    return Rule(
        where=part.where,
        file=part.template("path", "{stim_file}"),
        suffixes=suffixes,
        folders=folders,
        start=_quantity(part, "start", None),
        end=_quantity(part, "end", None),
        genre=part.text("genre"),
        fade=part.number("fade", 0.0) or 0.0,
        rms=part.number("rms", None, or_equal=False),
        bids=True,
    )


def _rules(top: _Part, source: str) -> tuple[Rule, ...]:
    if "rule" not in top.cells:
        return (_profile_rule(_Part.of(top.cells.get("stimuli", {}), f"{source}: [stimuli]", "stimuli")),)
    listed = top.cells["rule"]
    if "stimuli" in top.cells:
        raise DataError(f"{source}: [[rule]] and [stimuli] together; keep [[rule]]")
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{source}: rule must be a list of tables; write [[rule]] above each")
    return tuple(_rule(cells, f"{source}: [[rule]] {number}") for number, cells in enumerate(listed, start=1))


def read_rules(path: Path) -> RuleFile:
    """Read a file of rules, or a profile of an earlier version.

    Parameters
    ----------
    path : Path
        TOML file.

    Returns
    -------
    RuleFile

    Raises
    ------
    DataError
        Not TOML, unknown keys or entities, values of the wrong type, bad templates: one line with file and key.
    """
    data = read_toml(path, remedy="correct the file of rules")
    source = str(path)
    top = _Part.of(data, source, "")
    match, lead_in = top.part("match"), top.part("lead_in")
    held_out = top.part("held_out").patterns("runs", ENTITIES)
    if "held_out" in data and not held_out:
        raise DataError(f'{source}, held_out: runs is missing; name the runs, e.g. runs = {{ task = "test" }}')
    marked = lead_in.text("rule", "none")
    if marked not in LEAD_IN_RULES:
        raise DataError(f"{source}: lead-in rule {marked!r}; known: {list(LEAD_IN_RULES)}")
    return RuleFile(
        rules=_rules(top, source),
        name=top.text("name", path.stem),
        source=source,
        dois=tuple(normal_doi(doi) for doi in match.texts("doi")),
        names=match.texts("name"),
        lead_in=marked,
        held_out=held_out or None,
        note=top.text("note"),
    )


def shipped_rules() -> tuple[RuleFile, ...]:
    """Rules that come with ban-bids, sorted by file name."""
    return tuple(read_rules(path) for path in sorted((Path(__file__).parent / "shipped_rules").glob("*.toml")))


def choose_rules(
    name: str, doi: str | None, *, root: Path, folders: Iterable[Path], given: Path | None = None
) -> RuleFile:
    """Find the rules of a dataset.

    Parameters
    ----------
    name : str
        Name in the dataset's description.
    doi : str or None
        DOI of any version of the dataset.
    root : Path
        The dataset.
    folders : iterable of Path
        Folders of stimuli, where a profile of an earlier version may lie.
    given : Path, optional
        ``--rules``.

    Returns
    -------
    RuleFile
        The default rule where nothing matches: the events then carry ``stim_file`` or ``stim_id``.
    """
    if given is not None:
        return read_rules(given)
    own = [root / "code" / OWN_RULES, *(folder / OWN_PROFILE for folder in (*folders, root / "code"))]
    for path in own:
        if absence(path) != "absent":  # where that cannot be found out, reading it says why
            return read_rules(path)
    bare = normal_doi(doi) if doi else ""
    for shipped in shipped_rules():
        if any(bare == known or bare.startswith(f"{known}.") for known in shipped.dois) or name in shipped.names:
            return shipped
    return RuleFile()
