"""Configuration files: the long options in TOML, and knobs of the encoding in a table ``[encoding]``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import Any, NoReturn

from ban_bids.cli.options import make_parser
from ban_bids.errors import DataError, UsageError
from ban_bids.files.toml import read_toml
from ban_bids.settings import Encoding

_NOT_IN_FILES = frozenset({"--help", "--version", "--config-file"})
_PLACES = ("bids", "out", "participant")  # of the command line, which replaces them
_MAY_BE_ZERO = frozenset({"n_components", "lag_max", "ev_floor", "min_training_rows"})
"""Numbers of ``[encoding]`` that mean something at 0; at others nothing could be divided, drawn or fitted."""


def _tokens(option: str, value: Any, action: argparse.Action, *, where: str) -> list[str]:
    """Write a key as the command line would have it; ``where`` begins messages."""
    if action.nargs == 0:
        kinds = (bool, int) if isinstance(action, argparse._CountAction) else (bool,)
        if type(value) not in kinds or value < 0:
            raise UsageError(f"{where} must be true or false")
        return [option] * value
    if isinstance(value, Mapping) and option == "--derivatives":
        value = [f"{name}={path}" for name, path in value.items()]
    items = value if isinstance(value, list) else [value]
    if not items or any(isinstance(item, bool | dict | list) for item in items):
        raise UsageError(f"{where} = {value!r} is not a text, a number or a list of them")
    if action.nargs == "+":
        return [option, *map(str, items)]
    if len(items) > 1 and not isinstance(action, argparse._AppendAction):
        raise UsageError(f"{where} takes one value")
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
        Parsed as on the command line, under the names of the settings; the positional arguments are placeholders.

    Raises
    ------
    UsageError
        Not TOML, an unknown key (those known are listed) or a value that cannot be used.
    """
    parser = make_parser("")

    def fail(message: str) -> NoReturn:
        raise UsageError(f"--config-file {path}: {message}")

    parser.error = fail  # type: ignore[method-assign]
    try:
        data = read_toml(path)
    except DataError as error:
        raise UsageError(f"--config-file {error}") from error
    known = {name: action for name, action in parser._option_string_actions.items() if name.startswith("--")}
    for name in _NOT_IN_FILES:
        del known[name]
    encoding = _encoding(data.pop("encoding", {}), f"--config-file {path}:")
    tokens: list[str] = []
    for key, value in data.items():
        option = f"--{key.replace('_', '-')}"
        if option not in known:
            fail(f"unknown key {key!r}; known: {', '.join(name[2:] for name in sorted(known))}, encoding")
        tokens += _tokens(option, value, known[option], where=f"--config-file {path}: {key}")
    return encoding | vars(parser.parse_args([*_PLACES, *tokens]))


def _encoding(table: Any, where: str) -> dict[str, Any]:
    """Fields of ``Encoding`` that a table ``[encoding]`` names, with ``-`` or ``_``."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} encoding must be a table [encoding]")
    # names and switches are options alone
    defaults = {item.name: item.default for item in fields(Encoding) if not isinstance(item.default, str | bool)}
    changes: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in defaults:
            known = f"known: {sorted(defaults)}; options stand outside of the table"
            raise UsageError(f"{where} unknown key {key!r} in [encoding]; {known}")
        changes[name] = _like(defaults[name], value, f"{where} [encoding] {key}", above=name not in _MAY_BE_ZERO)
    return changes


def _like(default: Any, value: Any, where: str, *, above: bool) -> Any:
    """Value of the same kind as the default: from 0, or above it."""
    several = isinstance(default, tuple)
    items = value if several and isinstance(value, list) else [value]
    kind = type(default[0] if several else default)
    if not items or any(
        type(item) not in (int, kind) or not 0 <= item < inf or (above and item == 0) for item in items
    ):
        least = "above 0" if above else "from 0"
        raise UsageError(f"{where} = {value!r}: write {'whole ' * (kind is int)}numbers {least}")
    values = tuple(map(kind, items))
    return values if several else values[0]
