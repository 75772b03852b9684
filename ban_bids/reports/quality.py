"""Quality of preprocessing on the pages: tables with marked warnings, pictures with captions."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ban_bids.bids.names import entity
from ban_bids.constants import NOT_AVAILABLE
from ban_bids.derivatives.quality import OUTLIER_RULE
from ban_bids.preprocessing.quality import DEFINITIONS
from ban_bids.reports.page import Figure, Table

MARK = "⚠"
"""Before a value beyond its threshold: colour alone is not seen by everyone."""

_SHOWN_CARPETS = 2
_MANY_ROWS = 24
_CAPTIONS = tomllib.loads(Path(__file__).with_name("captions.toml").read_text(encoding="utf-8"))


def quality_tables(table: pd.DataFrame) -> list[Table]:
    """Tables of a participant's measures: runs, then participant and regions.

    Parameters
    ----------
    table : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.quality`.
    """
    known = table[table["measure"].isin(list(DEFINITIONS))]  # a table of an earlier version may hold others
    return [
        _wide(known[known["scope"] == scope], scope, title)
        for scope, title in (("run", "Runs"), ("participant", "Anatomy"), ("region", "Auditory regions"))
        if (known["scope"] == scope).any()
    ]


def _wide(rows: pd.DataFrame, key: str, title: str) -> Table:
    """One row per run (or region), one column per measure, with definitions and notes."""
    frame, styles, names = _spread(rows, key)
    definitions = {_heading(name): _definition(name, rows) for name in names}
    return Table(title, frame, definitions, _note(rows), drop_empty=False, styles=styles)


def _spread(rows: pd.DataFrame, key: str) -> tuple[pd.DataFrame, dict[tuple[int, str], str], list[str]]:
    """Measures in columns, as text; a cell's style; the measures' names. Of several values, the worst."""
    names = [name for name in DEFINITIONS if (rows["measure"] == name).any()]
    columns = [key, *(_heading(name) for name in names)]
    texts: list[dict[str, str]] = []
    styles: dict[tuple[int, str], str] = {}
    for number, (label, values_of) in enumerate(rows.groupby(key, sort=False)):
        cells = {key: f"sub-{label}" if key == "participant" else str(label)}
        styles[number, key] = "name"
        for name, values in values_of.groupby("measure", sort=False):
            heading, warned = _heading(str(name)), bool(values["warning"].astype(bool).any())
            cells[heading] = _value(_worst(values["value"], str(name)), str(name), warned)
            styles[number, heading] = "number" + " missing" * (cells[heading] == NOT_AVAILABLE) + " warned" * warned
        texts.append(cells)
    return pd.DataFrame(texts, columns=columns).fillna(NOT_AVAILABLE), styles, names


def _heading(measure: str) -> str:
    known = DEFINITIONS[measure]
    return known.title if known.unit in ("1", "count") else f"{known.title}, {known.unit}"


def _value(value: float, measure: str, warning: bool) -> str:
    if not np.isfinite(value):
        return NOT_AVAILABLE
    text = f"{value:.0f}" if DEFINITIONS[measure].unit == "count" or abs(value) >= 100 else f"{value:.2f}"
    return f"{MARK} {text}" if warning else text


def _definition(measure: str, rows: pd.DataFrame) -> str:
    threshold = rows.loc[rows["measure"] == measure, "threshold"].iloc[0]
    warns = f" Marked where {threshold}." if isinstance(threshold, str) else ""
    return f"{DEFINITIONS[measure].description} ({DEFINITIONS[measure].source}).{warns}"


def _note(rows: pd.DataFrame) -> str:
    """How many values are marked, and why others are missing."""
    beyond = int(rows["warning"].astype(bool).sum())
    parts = []
    if beyond:
        values = "value lies" if beyond == 1 else "values lie"
        parts.append(f"{MARK} {beyond} {values} beyond a threshold: what to do stands under Warnings.")
    reasons = rows.loc[rows["reason"].notna(), ["measure", "reason"]].drop_duplicates()
    for reason, measures in reasons.groupby("reason", sort=False):
        names = ", ".join(DEFINITIONS[name].title for name in measures["measure"])
        parts.append(f"n/a, {names}: {reason}.")
    return " ".join(parts)


def quality_figures(pictures: Sequence[tuple[str, Path]]) -> list[Figure]:
    """Pictures with their captions; carpets after the second one are folded away.

    Parameters
    ----------
    pictures : sequence of (str, Path)
        Title and file.
    """
    figures, carpets = [], 0
    for title, path in pictures:
        kind = (entity(path, "desc") or "").rstrip("0123456789")
        carpets += kind == "carpet"
        folded = kind == "carpet" and carpets > _SHOWN_CARPETS
        figures.append(Figure(title, path, _CAPTIONS.get(kind, ""), folded=folded))
    return figures


def group_quality_tables(table: pd.DataFrame) -> list[Table]:
    """Outliers and warnings of the group, then each participant's measures, runs by the worst.

    Parameters
    ----------
    table : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.group_quality`.
    """
    table = table[table["measure"].isin(list(DEFINITIONS))]
    if table.empty:
        return []
    beyond = table["warning"].astype(bool)
    marked = table[beyond | table["outlier"].notna()]
    tables = []
    if not marked.empty:
        frame = pd.DataFrame(
            {
                "participant": [f"sub-{label}" for label in marked["participant"]],
                "run or region": marked["run"].where(marked["run"].notna(), marked["region"]),
                "measure": [_heading(name) for name in marked["measure"]],
                "value": [_value(x, name, False) for x, name in zip(marked["value"], marked["measure"])],
                "threshold": [
                    f"{MARK} {text}" if warning else None
                    for text, warning in zip(marked["threshold"], marked["warning"].astype(bool))
                ],
                "in the group": marked["outlier"],
            }
        )
        folded = len(frame) > _MANY_ROWS
        tables.append(Table("Outliers and warnings", frame, note=f"{OUTLIER_RULE}.", folded=folded))
    people, styles, _ = _spread(table[table["scope"] != "region"], "participant")
    note = f"Of several runs the worst value; where both sides are bad, the median. {MARK}: beyond a threshold."
    folded = len(people) > _MANY_ROWS
    return [*tables, Table("Each participant", people, note=note, drop_empty=False, styles=styles, folded=folded)]


def _worst(values: pd.Series[float], measure: str) -> float:
    worse = DEFINITIONS[measure].worse
    return float({"low": values.min, "high": values.max}.get(worse, values.median)())
