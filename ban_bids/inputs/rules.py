"""Stimulus profiles: how a dataset without ``stim_file`` describes its excerpts.

A profile is a small TOML file. Those that ship match a dataset by DOI or name; a dataset may bring its own as
``ban_bids_profile.toml`` in ``--stimuli-dir``, in its ``stimuli/`` or in its ``code/``.
"""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.inputs.events import Row

OWN_PROFILE = "ban_bids_profile.toml"
"""File name of a profile that a dataset or a folder of stimuli brings itself."""

LEAD_IN_RULES = ("none", "first-repeats-last")

_KEYS: Mapping[str, frozenset[str]] = {
    "": frozenset({"name", "match", "stimuli", "lead_in"}),
    "match": frozenset({"doi", "name"}),
    "stimuli": frozenset({"path", "suffixes", "folders", "genre", "start", "end", "fade", "rms"}),
    "lead_in": frozenset({"rule"}),
}


def _columns(template: str) -> dict[str, str]:
    """Columns that a template needs, each with how it is written (``05d``)."""
    return {name: form or "" for _, name, form, _ in string.Formatter().parse(template) if name is not None}


@dataclass(frozen=True)
class Profile:
    """How rows of events become excerpts of audio files.

    Parameters
    ----------
    name : str
        Shown in reports.
    source : str
        Where it came from, for messages.
    dois, names : tuple of str
        Datasets it is for.
    path : str or None
        Template of the audio file without suffix over the columns (``"{genre}/{genre}.{track:05d}"``); None
        where the events carry ``stim_file``.
    suffixes : tuple of str
        Suffixes tried in order.
    folders : tuple of str
        Folders under the stimulus folder that are tried in order.
    genre, start, end : str or None
        Columns of the genre and of the excerpt's start and end in the file, seconds.
    fade : float
        Sine fade in and out, seconds.
    rms : float or None
        Root mean square to which excerpts are scaled.
    lead_in : str
        One of ``LEAD_IN_RULES``.
    """

    name: str
    source: str
    dois: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    path: str | None = None
    suffixes: tuple[str, ...] = (".wav",)
    folders: tuple[str, ...] = (".",)
    genre: str | None = None
    start: str | None = None
    end: str | None = None
    fade: float = 0.0
    rms: float | None = None
    lead_in: str = "none"

    @property
    def path_columns(self) -> tuple[str, ...]:
        """Columns that the path template needs."""
        return tuple(_columns(self.path or ""))

    def stem(self, row: Row) -> str | None:
        """Relative path without suffix that a row names; None for a row that names no stimulus."""
        cells: dict[str, str | int] = {}
        for name, spec in _columns(self.path or "").items():
            text = row.text(name)
            if text is None:
                return None
            if spec.endswith("d"):
                number = row.number(name)
                if number is None or number != int(number):
                    raise DataError(f"{row.where}: {name} is {text!r}; profile {self.name} needs a whole number")
                cells[name] = int(number)
            else:
                cells[name] = text
        return (self.path or "").format(**cells) or None


def normal_doi(doi: str) -> str:
    """Bare lower-case DOI: without ``doi:`` or resolver address."""
    return re.sub(r"^(https?://(dx\.)?doi\.org/|doi:\s*)+", "", doi.strip().lower())


def _check_keys(data: Mapping[str, Any], source: str) -> None:
    for table, known in _KEYS.items():
        part = data if not table else data.get(table, {})
        if not isinstance(part, Mapping):
            raise DataError(f"{source}: [{table}] must be a table")
        unknown = sorted(set(part) - known)
        if unknown:
            raise DataError(f"{source}: unknown keys {unknown} in [{table}]; known: {sorted(known)}")


def _check_template(path: str | None, source: str) -> None:
    if path is None:
        return
    try:
        names = _columns(path)
    except ValueError as error:
        raise DataError(f"{source}: [stimuli] path {path!r} is not a template ({error})") from error
    # plain column names only: a template must not reach into attributes
    if not all(re.fullmatch(r"\w+", name) for name in names):
        raise DataError(f"{source}: [stimuli] path {path!r} may hold only {{column}} or {{column:05d}}")


def _texts(value: object, source: str, key: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DataError(f"{source}: {key} must be text or a list of texts")
    return tuple(items)


def read_profile(path: Path) -> Profile:
    """Read a stimulus profile.

    Parameters
    ----------
    path : Path
        TOML file.

    Returns
    -------
    Profile
        Checked: unknown keys and rules are errors.

    Raises
    ------
    DataError
        Not TOML, unknown keys, a bad template or an unknown lead-in rule.
    """
    source = path.name
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: not a readable TOML profile ({error})") from error
    _check_keys(data, source)
    stimuli, match = data.get("stimuli", {}), data.get("match", {})
    rule = data.get("lead_in", {}).get("rule", "none")
    if rule not in LEAD_IN_RULES:
        raise DataError(f"{source}: lead-in rule {rule!r}; known: {list(LEAD_IN_RULES)}")
    _check_template(stimuli.get("path"), source)
    numbers = {key: stimuli[key] for key in ("fade", "rms") if key in stimuli}
    if not all(isinstance(value, int | float) for value in numbers.values()):
        raise DataError(f"{source}: fade and rms must be numbers; they are {numbers}")
    columns: dict[str, Any] = {key: stimuli[key] for key in ("path", "genre", "start", "end") if key in stimuli}
    searched: dict[str, Any] = {
        key: _texts(stimuli[key], source, key) for key in ("suffixes", "folders") if key in stimuli
    }
    return Profile(
        name=str(data.get("name", path.stem)),
        source=str(path),
        dois=tuple(normal_doi(doi) for doi in _texts(match.get("doi", []), source, "doi")),
        names=_texts(match.get("name", []), source, "name"),
        lead_in=rule,
        **columns,
        **searched,
        **numbers,
    )


def shipped_profiles() -> tuple[Profile, ...]:
    """Profiles that come with ban-bids, sorted by file name."""
    return tuple(read_profile(path) for path in sorted((Path(__file__).parent / "profiles").glob("*.toml")))


def choose_profile(name: str, doi: str | None, folders: Iterable[Path]) -> Profile | None:
    """Find the profile of a dataset.

    Parameters
    ----------
    name : str
        Name in the dataset's description.
    doi : str or None
        DOI of any version of the dataset.
    folders : iterable of Path
        Where the dataset's own profile may lie; the first found wins over those that ship.

    Returns
    -------
    Profile or None
        None where nothing matches: the events then carry ``stim_file``.
    """
    for folder in folders:
        if (folder / OWN_PROFILE).is_file():
            return read_profile(folder / OWN_PROFILE)
    for profile in shipped_profiles():
        bare = normal_doi(doi) if doi else ""
        if any(bare == known or bare.startswith(f"{known}.") for known in profile.dois) or name in profile.names:
            return profile
    return None
