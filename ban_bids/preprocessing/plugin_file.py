"""Files for ``--use-plugin``: which Nipype plugin runs the nodes, and with what arguments.

Apart from :mod:`ban_bids.preprocessing.execution`, because the command line checks the file before Nipype may be
imported.
"""

from __future__ import annotations

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
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"--use-plugin {path}: cannot be read ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("plugin"), str):
        raise UsageError(f"--use-plugin {path}: an entry 'plugin' with a name is needed, e.g. plugin: SLURM")
    arguments = content.get("plugin_args") or {}
    if not isinstance(arguments, dict):
        raise UsageError(f"--use-plugin {path}: plugin_args must be names with values")
    return content["plugin"], arguments
