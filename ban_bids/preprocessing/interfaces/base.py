"""What every typed interface shares: its version and how results are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, traits

VERSION = "4"
"""Part of every node's hash: raise it when a step's result changes, so that cached nodes are done again."""


class InputSpec(BaseInterfaceInputSpec):
    """Inputs of a step."""

    version = traits.Str(VERSION, usedefault=True, desc="version of the step")


class Step(SimpleInterface):
    """A step with its results by name; it writes into its node's folder only."""

    def keep(self, results: dict[str, Any]) -> None:
        """Take the results over as outputs; paths as text."""
        for name, value in results.items():
            self._results[name] = str(value) if isinstance(value, Path) else value
