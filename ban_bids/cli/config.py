"""Configuration files: the long options in TOML, and knobs of the encoding in a table ``[encoding]``."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from ban_bids.cli.options import make_parser
from ban_bids.errors import UsageError
from ban_bids.settings import Encoding

_NOT_IN_FILES = frozenset({"help", "version", "config-file"})
_DUMMY = ("bids", "out", "participant")


def _long_options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {
        option[2:]: action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option[2:] not in _NOT_IN_FILES
    }


def _tokens(key: str, value: Any, action: argparse.Action, source: Path) -> list[str]:
    """Write a key as the command line would have it."""
    option = f"--{key}"
    if action.nargs == 0:
        if isinstance(action, argparse._CountAction) and type(value) is int and value >= 0:
            return [option] * value
        if not isinstance(value, bool):
            raise UsageError(f"--config-file {source}: {key} must be true or false")
        return [option] if value else []
    if isinstance(value, Mapping) and key == "derivatives":
        value = [f"{name}={path}" for name, path in value.items()]
    items = value if isinstance(value, list) else [value]
    if not items or any(isinstance(item, bool | dict | list) for item in items):
        raise UsageError(f"--config-file {source}: {key} = {value!r} is not a text, a number or a list of them")
    if action.nargs is None and len(items) > 1 and not isinstance(action, argparse._AppendAction):
        raise UsageError(f"--config-file {source}: {key} takes one value")
    if action.nargs == "+":
        return [option, *map(str, items)]
    return [f"{option}={item}" for item in items]


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Parameters
    ----------
    path : Path
        TOML; keys are long options with ``-`` or ``_``, and a table ``[encoding]``.

    Returns
    -------
    options : dict
        Parsed as on the command line, under the parser's names; those of the table ``[encoding]`` under the names
        of its fields.

    Raises
    ------
    UsageError
        Not TOML, an unknown key (those known are listed) or a value that cannot be used.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--config-file {path}: not readable TOML ({error})") from error
    encoding = encoding_options(data.pop("encoding", {}), path)
    parser = make_parser("")
    options = _long_options(parser)
    tokens: list[str] = []
    for key, value in data.items():
        name = key.replace("_", "-")
        if name not in options:
            raise UsageError(
                f"--config-file {path}: unknown key {key!r}; known: {', '.join(sorted(options))}, encoding"
            )
        tokens += _tokens(name, value, options[name], path)

    def fail(message: str) -> NoReturn:
        raise UsageError(f"--config-file {path}: {message}")

    parser.error = fail  # type: ignore[method-assign]
    found = vars(parser.parse_args([*_DUMMY, *tokens]))
    for positional in ("bids_dir", "output_dir", "level"):
        found.pop(positional)
    return encoding | found


def encoding_options(table: Any, source: Path) -> dict[str, Any]:
    """Options of the encoding from a table ``[encoding]``.

    Parameters
    ----------
    table : Mapping
        Keys are the fields of ``Encoding``, with ``-`` or ``_``.
    source : Path
        Named in messages.

    Returns
    -------
    dict
        Fields of ``Encoding`` that the table names.

    Raises
    ------
    UsageError
        An unknown key or a value of another kind.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"--config-file {source}: encoding must be a table [encoding]")
    defaults = Encoding()
    known = {item.name: getattr(defaults, item.name) for item in fields(Encoding) if item.name != "solver"}
    changes: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise UsageError(f"--config-file {source}: unknown key {key!r} in [encoding]; known: {sorted(known)}")
        changes[name] = _like(known[name], value, f"--config-file {source}: [encoding] {key}")
    return changes


def _like(default: Any, value: Any, where: str) -> Any:
    """Value of the same kind as the default, and positive like all of them."""
    items = value if isinstance(default, tuple) and isinstance(value, list) else [value]
    sample = default[0] if isinstance(default, tuple) else default
    kinds = (int,) if isinstance(sample, int) else (int, float)
    if not items or any(isinstance(item, bool) or not isinstance(item, kinds) or item < 0 for item in items):
        raise UsageError(f"{where} = {value!r}: write {'whole ' if kinds == (int,) else ''}numbers from 0")
    if isinstance(default, tuple):
        return tuple(float(item) for item in items)
    return type(default)(items[0])
