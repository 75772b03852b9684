"""Tables of people's choices, ``sub-*/beh/*_beh.tsv``: written here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.bids.names import DerivativeName, sidecar
from ban_bids.files.json import write_json
from ban_bids.files.tsv import write_tsv

_DESCRIPTIONS: Mapping[str, Mapping[str, Any]] = {
    "trial": {"Description": "Number of the trial, in the order in which the person was asked"},
    "stim_file": {"Description": "Audio file that was played, under stimuli/"},
    "stim_start": {"Description": "Where in the file the clip starts", "Units": "s"},
    "duration": {"Description": "Length of the clip", "Units": "s"},
    "genre": {"Description": "True genre of the clip"},
    "response": {"Description": "Genre that the person chose"},
    "confidence": {"Description": "How sure the person was, on the scale of the experiment; higher is surer"},
    "response_time": {"Description": "Time from the start of the sound to the choice", "Units": "s"},
    "presentation": {"Description": "How often the person had been asked about the clip, this time included"},
    "kind": {
        "Description": "Why the clip was played",
        "Levels": {"main": "To be judged for the first time", "repeat": "To be judged again, for the reliability"},
    },
}


def choices_path(root: Path, label: str, task: str) -> Path:
    """Table of one person's choices: ``sub-<label>/beh/sub-<label>_task-<task>_beh.tsv``.

    Raises
    ------
    UsageError
        A label holds more than letters and digits.
    """
    return DerivativeName("beh", ".tsv", label, task=task).path(root, "beh")


def write_choices(
    root: Path, label: str, table: pd.DataFrame, *, task: str, choices: Sequence[str], description: str
) -> Path:
    """Write the table of one person's choices, and its sidecar.

    Parameters
    ----------
    root : Path
        The dataset.
    label : str
        Person, without ``sub-``.
    table : DataFrame
        Columns among ``trial stim_file stim_start duration genre response confidence response_time presentation
        kind``; one row per choice.
    task : str
        Label of the task.
    choices : sequence of str
        What could be answered.
    description : str
        The task in one sentence.

    Returns
    -------
    Path
        The table.
    """
    path = choices_path(root, label, task)
    columns = {name: dict(_DESCRIPTIONS[name]) for name in table.columns}
    columns["response"]["Levels"] = {choice: f"The person called the clip {choice}" for choice in choices}
    write_json(sidecar(path), {"TaskName": task, "TaskDescription": description, **columns})
    return write_tsv(path, table)
