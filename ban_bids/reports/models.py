"""What both pages say of several models: their table, their bars, the matrix of one model's layers and regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.reports.figures import Bars, alignment_figure, bar_figure
from ban_bids.reports.page import Block, Figure, Headline, Headlines, Table

TOTALS = ("C", "B", "BAS")
"""Rows of the score tables that sum a model up."""

NUMBERS = ["value", "ci_low", "ci_high"]
"""Columns of a score and its interval."""

MEANING = {
    "C": "cortical score: share of explainable variance",
    "B": "behavioural score: agreement with people's genre choices (of the dataset)",
    "BAS": "brain-like auditory score: (C + B) / 2",
}


def by_score(scores: pd.DataFrame) -> list[str]:
    """Return the names of scored models, the largest C first, those without C last.

    Parameters
    ----------
    scores : DataFrame
        Columns ``model``, ``role``, ``row``, ``value``.
    """
    scored = scores[scores["role"] == "scored"]
    names = list(dict.fromkeys(scored["model"].astype(str)))
    c = scored[scored["row"] == "C"].drop_duplicates("model").set_index("model")["value"].astype(float)
    return sorted(names, key=lambda name: -np.nan_to_num(c.get(name, np.nan), nan=-np.inf))


def scored_rows(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of a scored model, without those of its controls."""
    return scores[(scores["role"] == "scored") & (scores["model"] == model)]


def headlines(scores: pd.DataFrame, model: str) -> Headlines:
    """C, B and BAS of one model, large."""
    return Headlines(tuple(_headline(scores, model, name) for name in TOTALS))


def _headline(scores: pd.DataFrame, model: str, name: str) -> Headline:
    rows = scored_rows(scores, model)
    rows = rows[rows["row"] == name]
    if rows.empty:
        return Headline(name, MEANING[name], reason="not in the score table")
    row = rows.iloc[0]
    reason = row["reason"] if isinstance(row["reason"], str) else None
    return Headline(name, MEANING[name], row["value"], row["ci_low"], row["ci_high"], reason)


def interval(value: float, low: float, high: float) -> str:
    """Return ``0.310 [0.200, 0.420]``, without the interval where there is none, or ``n/a``."""
    if not np.isfinite(value):
        return NOT_AVAILABLE
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if np.isfinite((low, high)).all() else f"{value:.3f}"


def models_table(scores: pd.DataFrame, note: str) -> Table:
    """All scored models, the largest C first: C, B and BAS with intervals, and the best of their controls.

    Parameters
    ----------
    scores : DataFrame
        Rows of one participant and task, or of the group.
    note : str
        What the intervals are.
    """
    lines = []
    for model in by_score(scores):
        rows = scored_rows(scores, model)
        line: dict[str, object] = {"model": model}
        for name in TOTALS:
            numbers = rows.loc[rows["row"] == name, NUMBERS].astype(float).to_numpy()
            line[f"{name} [95 % interval]"] = interval(*numbers[0]) if len(numbers) else NOT_AVAILABLE
        line["best control"] = _best_control(scores[scores["control_of"] == model])
        lines.append(line)
    return Table("Models, by cortical score", pd.DataFrame(lines), note=note, drop_empty=False)


def _best_control(controls: pd.DataFrame) -> str:
    """Name and C of the control with the largest C."""
    c = controls[(controls["row"] == "C") & controls["value"].notna()]
    if c.empty:
        return NOT_AVAILABLE
    values = c["value"].to_numpy(dtype=float)
    best = int(values.argmax())
    return f"{c['model'].iloc[best]} {values[best]:.3f}"


def bars_of(name: str, rows: pd.DataFrame) -> list[Bars]:
    """A series of bars, one per row; none where no row has a number."""
    values, low, high = rows[NUMBERS].to_numpy(dtype=float).T
    return [Bars(name, values, low, high)] if np.isfinite(values).any() else []


def models_figure(scores: pd.DataFrame, caption: str) -> list[Block]:
    """Bars of C, one per model, where there are several."""
    names = by_score(scores)
    rows = scores[(scores["role"] == "scored") & (scores["row"] == "C")].drop_duplicates("model").set_index("model")
    bars = bars_of("C", rows.reindex(names))
    if len(names) < 2 or not bars:
        return []
    return [Figure("Cortical score of every model", bar_figure(names, bars, "C"), caption)]


def control_bars(scores: pd.DataFrame, model: str, regions: Sequence[str]) -> list[Bars]:
    """Scores of a model and of its controls; untrained networks of several seeds are one series.

    Parameters
    ----------
    scores : DataFrame
        Rows of one participant and task.
    model : str
    regions : sequence of str
        With several, the layer scores in them; otherwise C.

    Returns
    -------
    list of Bars
        Those that have a number.
    """
    rows = scores[(scores["model"].eq(model) & scores["role"].eq("scored")) | scores["control_of"].eq(model)]
    kinds = rows["model"].str.replace(r"untrained\d+$", "untrained", regex=True)
    series = []
    for kind, alike in rows.groupby(kinds, sort=False):
        seeds = [rows for _, rows in alike.groupby("model", sort=False)]
        values, low, high = (
            np.array([[_value(seed, region, column) for region in regions or (None,)] for seed in seeds])
            for column in NUMBERS
        )
        if len(seeds) == 1:
            bars = Bars(str(kind), values[0], low[0], high[0])
        else:
            bars = Bars(f"{kind} ({len(seeds)} seeds)", values.mean(axis=0), values.min(axis=0), values.max(axis=0))
        if np.isfinite(bars.values).any():
            series.append(bars)
    return series


def _value(rows: pd.DataFrame, region: str | None, column: str) -> float:
    """A number of the layer row of a region, or of C."""
    chosen = rows[rows["row"] == "C"] if region is None else rows[(rows["row"] == "layer") & (rows["region"] == region)]
    return float("nan") if chosen.empty else float(chosen[column].iloc[0])


def alignment_blocks(
    alignment: dict[str, np.ndarray], layers: Sequence[str], regions: Sequence[str], mapping: dict[str, str]
) -> list[Block]:
    """Matrix of one model's layers and the regions, as a picture and as text.

    Parameters
    ----------
    alignment : dict of ndarray of shape (n_layers, n_regions)
        ``values``, ``low``, ``high``: score and 95 % interval; NaN where not computable.
    layers, regions : sequence of str
    mapping : dict of str to str
        Layer -> region whose score enters C; framed in the picture.

    Returns
    -------
    list of Block
        Nothing where no number is there.
    """
    values, low, high = (alignment[name] for name in ("values", "low", "high"))
    if not np.isfinite(values).any():
        return []
    frames = " Frames mark the pairs that enter C." if mapping else ""
    caption = (
        "Share of explainable variance that each layer predicts in each region, with 95 % confidence intervals."
        f"{frames} Hatched cells are not available."
    )
    size = f"{len(layers)} model layers by {len(regions)} regions"
    cells = [
        [layer, *(interval(values[i, j], low[i, j], high[i, j]) for j in range(len(regions)))]
        for i, layer in enumerate(layers)
    ]
    table = pd.DataFrame(cells, columns=["layer", *regions])
    return [
        Figure(
            "Layers and regions",
            alignment_figure(values, low, high, layers=layers, regions=regions, mapping=mapping),
            caption,
            f"Matrix of {size}; the table below repeats its numbers.",
        ),
        Table("Share of explainable variance [95 % interval]", table, drop_empty=False),
    ]
