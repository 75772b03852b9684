"""What people read, in every language of an experiment."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.files.toml import read_toml

_LOG = logging.getLogger(__name__)

TEXTS = Path(__file__).with_name("texts.toml")
"""Those that ship; an experiment's folder holds a copy to be changed."""

NAMES = "genres"
"""Table of the choices' names, by language; also the key under which a language's texts hold them."""

_PLACES_OF_THE_PAGE = frozenset({"count", "number", "done", "first", "last", "choice", "message"})


def read_texts(path: Path) -> dict[str, dict[str, Any]]:
    """Read the texts of an experiment and check them against those that ship.

    Parameters
    ----------
    path : Path
        TOML: one table per language, ``[genres.<language>]`` with the names of choices.

    Returns
    -------
    dict of str to dict
        Language to texts by key; under :data:`NAMES` what the choices are called, where that differs from
        themselves.

    Raises
    ------
    DataError
        Not TOML, no language, or a language lacks texts.
    """
    tables, wanted = _read(path), _read(TEXTS)["en"]
    names = tables.pop(NAMES, {})
    if not tables:
        raise DataError(f"{path}: no language; add a table such as [en], or copy {TEXTS.name} of ban-bids again")
    for language, texts in tables.items():
        missing = [key for key in wanted if not isinstance(texts, Mapping) or not isinstance(texts.get(key), str)]
        if missing:
            raise DataError(f"{path}: [{language}] lacks {', '.join(missing)}; add them, as text")
    found = {language: {**texts, NAMES: _names(names, language, path)} for language, texts in tables.items()}
    open_places = {place for texts in tables.values() for place in re.findall(r"\{(\w+)\}", " ".join(_plain(texts)))}
    if open_places := open_places - _PLACES_OF_THE_PAGE:
        _LOG.warning("%s: still to be filled in: %s", path, ", ".join(f"{{{place}}}" for place in sorted(open_places)))
    return found


def _plain(texts: Mapping[str, Any]) -> list[str]:
    return [text for text in texts.values() if isinstance(text, str)]


def _names(names: Any, language: str, path: Path) -> dict[str, str]:
    found = names.get(language, {}) if isinstance(names, Mapping) else None
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found.values()):
        raise DataError(f'{path}: [{NAMES}.{language}] must give names of choices, such as classical = "Klassik"')
    return dict(found)


def _read(path: Path) -> dict[str, Any]:
    return read_toml(path, remedy="correct it, or make the experiment again")
