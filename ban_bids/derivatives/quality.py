"""Table of the measures of quality: one file per participant, and the group's with its outliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.bids.names import DerivativeName
from ban_bids.derivatives.tables import write_table
from ban_bids.preprocessing.quality import DEFINITIONS, Measurement

COLUMNS: dict[str, str] = {
    "participant": "Label of the participant",
    "scope": "What the value belongs to: run, participant or region",
    "run": "Run, by the entities of its name",
    "region": "Auditory region",
    "measure": "Name of the measure; 'Measures' in this file defines each",
    "value": "Its value, in the unit of the row; n/a with a reason",
    "unit": "Unit; 1: none",
    "threshold": "When the value becomes a warning; n/a: never",
    "warning": "Whether it lies beyond the threshold",
    "reason": "Why the value is not available",
    "outlier": "Whether it is far on the bad side of the group's values of the measure, low or high",
}
"""Columns of ``_qc.tsv`` (the first and the last one: only of ``group_quality.tsv``)."""

_SCOPES = ("run", "participant", "region")
OUTLIER_SCORE = 3.5
_FEWEST = 5
OUTLIER_RULE = (
    f"Modified z-score 0.6745 (x - median) / MAD beyond {OUTLIER_SCORE} on the bad side, over all rows of "
    f"the measure (and region) in the group; from {_FEWEST} values on (Iglewicz & Hoaglin 1993)"
)


def quality_path(root: Path, participant: str) -> Path:
    """Where a participant's table lies: ``sub-01/sub-01_desc-quality_qc.tsv``."""
    name = DerivativeName("qc", ".tsv", participant, desc="quality")
    return root / f"sub-{participant}" / str(name)


def quality_table(measurements: Sequence[Measurement]) -> pd.DataFrame:
    """One row per value, runs first, with its threshold and whether it lies beyond it.

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS` from ``scope`` to ``reason``.
    """
    rows = [
        asdict(one)
        | {"scope": one.definition.scope, "unit": one.definition.unit}
        | {"threshold": one.definition.threshold, "warning": one.beyond is not None}
        for one in _in_order(measurements)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)[1:-1])


def _in_order(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Runs, then the participant, then regions; each in its first place, measures as they are defined."""
    order = list(DEFINITIONS)
    owners = list(dict.fromkeys((one.run, one.region) for one in measurements))
    return sorted(
        measurements,
        key=lambda one: (
            _SCOPES.index(one.definition.scope),
            owners.index((one.run, one.region)),
            order.index(one.measure),
        ),
    )


def write_quality(root: Path, participant: str, measurements: Sequence[Measurement], source: str) -> Path:
    """Write a participant's table and the JSON file that defines every measure.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    participant : str
        Label without ``sub-``.
    measurements : sequence of Measurement
    source : str
        Who preprocessed.

    Returns
    -------
    Path
        The table.
    """
    facts = {"PreprocessedBy": source, "Measures": measure_definitions()}
    return write_table(quality_path(root, participant), quality_table(measurements), COLUMNS, facts)


def measure_definitions() -> Mapping[str, Any]:
    """Every measure in BIDS keys: name, description, units, source, threshold."""
    return {
        one.name: {
            "LongName": one.title,
            "Description": one.description,
            "Units": one.unit,
            "Source": one.source,
            "Threshold": one.threshold,
        }
        for one in DEFINITIONS.values()
    }


def with_outliers(table: pd.DataFrame) -> pd.DataFrame:
    """Tables of several participants with a column ``outlier``: low, high or nothing.

    Parameters
    ----------
    table : DataFrame
        Rows of all participants, columns ``measure``, ``region``, ``value``.

    Returns
    -------
    DataFrame
        See ``OUTLIER_RULE``. Where more than half of the values are the same there is no spread to
        judge by, and no outlier.
    """
    marks = pd.Series([None] * len(table), index=table.index, dtype=object)
    known = table[table["measure"].isin(list(DEFINITIONS))]  # a table of an earlier version may hold others
    for (measure, _), rows in known.groupby(["measure", "region"], dropna=False, sort=False):
        values = rows["value"].astype(float)
        distance = values - values.median()
        spread = distance.abs().median()
        if values.notna().sum() < _FEWEST or spread == 0:
            continue
        score = 0.6745 * distance / spread
        for side, far in (("low", score < -OUTLIER_SCORE), ("high", score > OUTLIER_SCORE)):
            if DEFINITIONS[str(measure)].worse in (side, "both"):
                marks[rows.index[far]] = side
    return table.assign(outlier=marks)


def write_group_quality(root: Path, table: pd.DataFrame) -> Path:
    """Write ``group_quality.tsv`` and its JSON file.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    table : DataFrame
        From :func:`with_outliers`.
    """
    facts = {"Measures": measure_definitions(), "OutlierRule": OUTLIER_RULE}
    return write_table(root / "group_quality.tsv", table, COLUMNS, facts)
