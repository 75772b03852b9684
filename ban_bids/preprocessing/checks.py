"""Checks of preprocessing's options that need no image: light enough for the command line, before Nipype's import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ban_bids.constants import AROMA, CONFOUNDS
from ban_bids.errors import DataError, UsageError
from ban_bids.files.sharing import no_semaphores
from ban_bids.files.toml import read_toml
from ban_bids.files.yaml import read_yaml
from ban_bids.settings import Compute, Preprocessing

_FMRIPREP = "fmriprep"
"""Name of the derivatives that take the place of our own preprocessing."""


def check_confounds(preprocessing: Preprocessing) -> None:
    """Check that the strategy for confounds exists, and that its files can.

    Parameters
    ----------
    preprocessing : Preprocessing

    Raises
    ------
    UsageError
        Names the choices.
    """
    name = preprocessing.confounds
    if name not in CONFOUNDS:
        raise UsageError(f"--confounds {name}: choose one of {', '.join(CONFOUNDS)}")
    if name == AROMA and _FMRIPREP not in dict(preprocessing.derivatives):
        others = ", ".join(other for other in CONFOUNDS if other != name)
        raise UsageError(
            f"--confounds {name}: needs ICA-AROMA images of fMRIPrep; give them with -d fmriprep=DIR, or "
            f"choose one of {others}"
        )


def check_names(preprocessing: Preprocessing) -> None:
    """Check that derivatives are of a kind that is taken: else raw ones would be preprocessed instead, in silence.

    Others that stand beside fMRIPrep's are passed over with a note.

    Parameters
    ----------
    preprocessing : Preprocessing

    Raises
    ------
    UsageError
        None of them is called ``fmriprep``, or several are.
    """
    folders = [path for name, path in preprocessing.derivatives if name == _FMRIPREP]
    if len(folders) > 1:
        raise UsageError(f"--derivatives: {' and '.join(map(str, folders))} are both called {_FMRIPREP}; give one")
    if preprocessing.derivatives and not folders:
        name, path = preprocessing.derivatives[0]
        raise UsageError(
            f"--derivatives {name}={path}: images are taken from fMRIPrep's derivatives alone, by that name; write "
            f"{_FMRIPREP}={path}, or leave the option out"
        )


def read_plugin_file(path: Path) -> tuple[str, dict[str, Any]]:
    """Read from the file of ``--use-plugin`` which Nipype plugin runs the nodes, and with what arguments.

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
        content = read_toml(path) if path.suffix == ".toml" else read_yaml(path)  # JSON is YAML
    except DataError as error:
        raise UsageError(f"--use-plugin {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("plugin"), str):
        raise UsageError(f"--use-plugin {path}: an entry 'plugin' with a name is needed, e.g. plugin: SLURM")
    arguments = content.get("plugin_args") or {}
    if not isinstance(arguments, dict):
        raise UsageError(f"--use-plugin {path}: plugin_args must be names with values")
    return content["plugin"], arguments


def runs_here(compute: Compute) -> bool:
    """Whether the steps of preprocessing run in this process, so that what kills one kills all."""
    return compute.use_plugin is None and (compute.nprocs <= 1 or bool(no_semaphores()))
