"""Tables of which genres people, and a model, take for which: the confusion matrices, one line per cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.bids.names import confusion_name, sidecar
from ban_bids.derivatives.tables import write_table

COLUMNS: dict[str, dict[str, str]] = {
    "genre": {"Description": "True genre of the clips"},
    "answer": {"Description": "Genre that was answered; other: none of the model's genres (people only)"},
    "people_share": {"Description": "Share of people's answers to clips of the genre: each person's own share, all "
                     "answers counted, mean over people", "Units": "arbitrary"},
    "model_share": {"Description": "Probability that the model gives the answer, mean over the clips of the genre that "
                    "people judged", "Units": "arbitrary"},
    "n_people": {"Description": "People who answered to clips of the genre", "Units": "count"},
    "n_clips": {"Description": "Clips of the genre that people judged and whose tracks the model does not know",
                "Units": "count"},
}  # fmt: skip
"""Columns of ``_confusion.tsv``."""


def write_confusions(
    root: Path,
    table: pd.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    *,
    participant: str,
    task: str,
    model: str,
) -> Path | None:
    """Write what people and a model answered, ``sub-<label>_task-<task>_desc-<model>_confusion.tsv``.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    table : DataFrame
        Columns `COLUMNS`, as `ban_bids.scoring.confusion.confusions` makes them; without rows nothing is written, and
        what an earlier call wrote is removed.
    metadata : mapping, optional
        Further keys of the JSON file.
    participant, task, model : str

    Returns
    -------
    Path or None
    """
    path = confusion_name(participant, task, model).path(root)
    if table.empty:
        for file in (sidecar(path), path):
            file.unlink(missing_ok=True)
        return None
    return write_table(path, table, COLUMNS, metadata)
