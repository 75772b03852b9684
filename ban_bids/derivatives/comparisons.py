"""Tables that compare models: paired differences and ranks, of a participant and of the group, in one schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.bids.names import comparison_name
from ban_bids.derivatives.tables import write_table

GROUP_FILE = "group_comparison.tsv"

COLUMNS: dict[str, dict[str, str]] = {
    "level": {"Description": "group: over participants; participant: one participant's own row"},
    "participant": {"Description": "Label of the participant; n/a in rows of the group"},
    "task": {"Description": "Held-out task"},
    "kind": {"Description": "models: one scored model less another, in order of the alphabet; control: a scored model "
             "less one of its own controls, or less the mean over its untrained networks; rank: rank of a model among "
             "the scored ones"},
    "model": {"Description": "Name of the scored model"},
    "other": {"Description": "What it is compared with: a scored model, or a control of the model; n/a for ranks"},
    "row": {"Description": "What is compared: C, region (rho of the region's committed layer), B or BAS"},
    "region": {"Description": "Region of the brain; n/a but for rows region"},
    "value": {"Description": "models, control: score of the model less that of the other, in the group the mean over "
              "participants; of correlations relative to their ceilings (C, rho of a region, B, BAS). rank: rank of "
              "the model, 1 is the best, equal ones share the mean of their ranks", "Units": "arbitrary"},
    "ci_low": {"Description": "95 % interval, lower limit; generalises_to says what was drawn. rank: 1 and the "
               "models that are better by a max-T test of the model's own pairs", "Units": "arbitrary"},
    "ci_high": {"Description": "95 % interval, upper limit. rank: all models less those that are worse",
                "Units": "arbitrary"},
    "generalises_to": {"Description": "What interval and p speak of. people and clips: other people, other clips; "
                       "clips (these people): the same people, other clips; clips: this participant, other clips"},
    "p": {"Description": "Two-sided p value of no difference, from the draws of the interval; n/a for ranks"},
    "p_corrected": {"Description": "The same, corrected for all pairs of this kind, task and row (of rows region: all "
                    "regions' too) by the largest standardised difference of each joint draw (single-step max-T)"},
    "first": {"Description": "rank: share of the draws in which the model is the best; equal ones share it"},
    "n": {"Description": "Participants that have both scores", "Units": "count"},
    "reason": {"Description": "Why something is n/a, or which marks apply"},
}  # fmt: skip
"""Columns of ``group_comparison.tsv`` and of participants' ``_comparison.tsv``."""


def write_comparison(
    root: Path, table: pd.DataFrame, metadata: Mapping[str, Any] | None = None, *, participant: str, task: str
) -> Path:
    """Write a participant's comparison of models, ``sub-<label>_task-<task>_comparison.tsv``.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    table : DataFrame
        Columns `COLUMNS`.
    metadata : mapping, optional
        Further keys of the JSON file.
    participant, task : str

    Returns
    -------
    Path
    """
    return write_table(comparison_name(participant, task).path(root), table, COLUMNS, metadata)


def write_group_comparison(root: Path, table: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write the group's comparison of models, ``group_comparison.tsv``; see `write_comparison`."""
    return write_table(root / GROUP_FILE, table, COLUMNS, metadata)
