"""The demo's result in one table: every model's scores, and how far BAN is above it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.derivatives.read import load_derivatives

ROWS = ("C", "B", "BAS")
_FIRST = "ban"


def story(out: Path) -> pd.DataFrame:
    """Scores of every model with 95 % intervals, and C of BAN less that of the model.

    Parameters
    ----------
    out : Path
        Derivatives with a group level; with a single participant its own rows stand for the group's.

    Returns
    -------
    DataFrame
        Text; columns ``model``, ``C``, ``B``, ``BAS`` and ``C of ban less its C``, the highest C first.
    """
    derivatives = load_derivatives(out)
    scores = _whole(derivatives.group_scores())
    scores = scores[(scores["role"] == "scored") & scores["row"].isin(ROWS)]
    pairs = _whole(derivatives.group_comparison())
    pairs = pairs[(pairs["kind"] == "models") & (pairs["row"] == "C") & (pairs["model"] == _FIRST)]
    table = []
    for model, own in scores.groupby("model"):
        by_row = {str(one["row"]): one for one in own.to_dict("records")}
        lead = pairs[pairs["other"] == model].to_dict("records")
        told = {row: _spelled(by_row[row], "{:.2f}") if row in by_row else "n/a" for row in ROWS}
        less = _spelled(lead[0], "{:+.2f}") if lead else ""
        table.append({"order": by_row["C"]["value"], "model": model, **told, f"C of {_FIRST} less its C": less})
    return pd.DataFrame(table).sort_values("order", ascending=False, ignore_index=True).drop(columns="order")


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the group; of the participants where there is none."""
    group = table[table["level"] == "group"]
    return group if len(group) else table


def _spelled(row: Mapping[Hashable, Any], form: str) -> str:
    """A value with its interval; ``n/a`` where it could not be computed."""
    value, low, high = (row[name] for name in ("value", "ci_low", "ci_high"))
    if pd.isna(value):
        return "n/a"
    return form.format(value) + ("" if pd.isna(low) else f" [{form.format(low)}, {form.format(high)}]")
