"""Files for ``--use-plugin``: which Nipype plugin runs the nodes, and with what arguments."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml

from ban_bids.errors import UsageError


def read_plugin_file(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a plugin's name and arguments.

    Parameters
    ----------
    path : Path
        YAML, JSON or TOML with ``plugin`` and ``plugin_args``, as for fMRIPrep.

    Raises
    ------
    UsageError
        The file cannot be read, or names no plugin.
    """
    content = _content(path)
    if not isinstance(content, dict) or not isinstance(content.get("plugin"), str):
        raise UsageError(f"--use-plugin {path}: an entry 'plugin' with a name is needed, e.g. plugin: SLURM")
    arguments = content.get("plugin_args") or {}
    if not isinstance(arguments, dict):
        raise UsageError(f"--use-plugin {path}: plugin_args must be names with values")
    return content["plugin"], arguments


def _content(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix == ".json":
            return json.loads(text)
        return yaml.safe_load(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"--use-plugin {path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--use-plugin {path}: not YAML ({error})") from error
