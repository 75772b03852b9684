"""What the pages say of one model: headlines, scores, the bars of its controls, its layers and regions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.reports.figures import Bars, confusion_figure, matrix_figure
from ban_bids.reports.page import Block, Figure, Headline, Headlines, Pair, Table, format_number

TOTALS = ("C", "B", "BAS")
"""Rows of the score tables that sum a model up."""

NUMBERS = ["value", "ci_low", "ci_high"]
"""Columns of a score and its interval."""

_RHO = ["rho", "rho_ci_low", "rho_ci_high"]
_OF_LAYERS = ["rho", "committed", "mapped", "p_sound", "p_specific", "mean_r", "unnormalised", "n_voxels", "reason"]
_MANY_ROWS = 24
_MANY_LAYERS = 8

MEANING = {
    "C": "cortical score: correlation relative to its ceiling, mean over regions",
    "B": "behavioural score: consistency with people's genre choices (of the dataset)",
    "BAS": "brain-like auditory score: (C + B) / 2",
}


def scored_rows(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of a scored model, without those of its controls."""
    return scores[(scores["role"] == "scored") & (scores["model"] == model)]


def people_of_models(scores: pd.DataFrame) -> dict[str, int]:
    """How many participants have C, by scored model of the group; empty where all have the same, or rows are of one."""
    known = people_with(scores, "C")
    return known if len(set(known.values())) > 1 else {}


def people_with(scores: pd.DataFrame, total: str) -> dict[str, int]:
    """How many participants have C, B or BAS, by scored model of the group; empty where rows are of one participant."""
    if "n" not in scores:
        return {}
    rows = scores[(scores["role"] == "scored") & (scores["row"] == total)].drop_duplicates("model")
    return {str(model): int(n) for model, n in zip(rows["model"], rows["n"], strict=True)}


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


def bars_of(name: str, rows: pd.DataFrame) -> list[Bars]:
    """A series of bars, one per row; none where no row has a number."""
    values, low, high = rows[NUMBERS].to_numpy(dtype=float).T
    return [Bars(name, values, low, high)] if np.isfinite(values).any() else []


def control_bars(scores: pd.DataFrame, model: str, regions: list[str]) -> list[Bars]:
    """Rho of a model's and its controls' committed layers; untrained networks of several seeds are one series.

    Parameters
    ----------
    scores : DataFrame
        Rows of one participant and task.
    model : str
    regions : list of str

    Returns
    -------
    list of Bars
        One value per region; those series that have a number.
    """
    rows = scores[(scores["model"].eq(model) & scores["role"].eq("scored")) | scores["control_of"].eq(model)]
    rows = rows[rows["row"] == "region"]
    kinds = rows["model"].str.replace(r"untrained\d+$", "untrained", regex=True)
    series = []
    for kind, alike in rows.groupby(kinds, sort=False):
        seeds = [own.set_index("region").reindex(regions) for _, own in alike.groupby("model", sort=False)]
        values, low, high = (np.array([own[column] for own in seeds], dtype=float) for column in _RHO)
        if len(seeds) == 1:
            bars = Bars(str(kind), values[0], low[0], high[0])
        else:
            bars = Bars(f"{kind} ({len(seeds)} seeds)", values.mean(axis=0), values.min(axis=0), values.max(axis=0))
        if np.isfinite(bars.values).any():
            series.append(bars)
    return series


def brief_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Regions and totals of a model, or C and R2 of its controls, as text; nothing where a column does not apply."""
    of_controls = bool((scores["role"] == "control").all())
    rows = scores[scores["row"].isin(["C", "R2"]) if of_controls else scores["row"] != "layer"]
    score = [interval(*numbers) for numbers in rows[NUMBERS].astype(float).to_numpy()]
    known = {
        "model": rows["model"] if of_controls else None,
        "row": rows["row"],
        "region": rows["region"],
        "committed layer": rows["region"].map(_committed(scores)),
        "score [95 % interval]": score,
        **{name: rows[name].map(format_number, na_action="ignore") for name in ("rho", "p")},
        "reason": rows["reason"],
    }
    return pd.DataFrame({name: values for name, values in known.items() if values is not None})


def _committed(scores: pd.DataFrame) -> dict[str, str]:
    """Names of the layers that are committed to each region, with their share of the folds where they differ."""
    rows = scores[(scores["row"] == "layer") & (scores["committed"].astype(float) > 0)]
    names: dict[str, list[str]] = {}
    for row in rows.itertuples():
        share = "" if row.committed == 1 else f" ({row.committed:.0%} of folds)"
        names.setdefault(str(row.region), []).append(f"{row.layer}{share}")
    return {region: ", ".join(own) for region, own in names.items()}


def layer_blocks(scores: pd.DataFrame) -> list[Block]:
    """Every layer of one model in every region, as a picture and as text.

    Parameters
    ----------
    scores : DataFrame
        Rows of the scored model in one participant and task.

    Returns
    -------
    list of Block
        No picture where c is nowhere to be had; nothing without rows of layers.
    """
    rows = scores[scores["row"] == "layer"]
    if rows.empty:
        return []
    blocks: list[Block] = []
    if rows["value"].notna().any():
        layers, regions = (list(dict.fromkeys(rows[name])) for name in ("layer", "region"))
        caption = (
            "c, share of explainable variance that each layer predicts in each region, with 95 % bootstrap intervals "
            "over clips. Solid frames: the layer that inner folds of the training rows commit to the region, which "
            "enters C. Dashed frames: the model's own mapping. Hatched cells are not available."
        )
        if len(layers) > _MANY_LAYERS:
            caption = caption.replace(
                "with 95 % bootstrap intervals over clips", "with its intervals in the table below"
            )
        size = f"{len(layers)} model layers by {len(regions)} regions"
        alt = f"Matrix of {size}; the table below repeats its numbers."
        image = matrix_figure(*(_matrix(rows, name) for name in (*NUMBERS, "committed", "mapped")))
        blocks.append(Figure("Layers and regions", image, caption, alt))
    return [*blocks, Table("Every layer in every region", _layer_table(rows), folded=len(rows) > _MANY_ROWS)]


def _matrix(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column by layer and region, as floats, in the order of the table."""
    layers, regions = (list(dict.fromkeys(rows[name])) for name in ("layer", "region"))
    cells = rows.assign(cell=rows[column].astype(float)).pivot(index="layer", columns="region", values="cell")
    return cells.reindex(index=layers, columns=regions)


def _layer_table(rows: pd.DataFrame) -> pd.DataFrame:
    c = [interval(*numbers) for numbers in rows[NUMBERS].astype(float).to_numpy()]
    shown = rows.reindex(columns=["layer", "region", *_OF_LAYERS]).copy()
    if rows["value"].notna().any():
        shown = shown.drop(columns="unnormalised")
        shown.insert(2, "c [95 % interval]", c)
    else:
        shown = shown.drop(columns="rho")
    if rows["reason"].nunique(dropna=False) == 1:
        shown = shown.drop(columns="reason")  # said once, of C
    return shown.astype({"n_voxels": "Int64"})


def confusion_blocks(table: pd.DataFrame) -> list[Block]:
    """Which genres people and the model take for which, side by side in the same order and colours.

    Parameters
    ----------
    table : DataFrame
        Of one model in one participant and task, see
        :meth:`ban_bids.derivatives.read.Derivatives.confusions`.

    Returns
    -------
    list of Block
        Nothing without rows.
    """
    if table.empty:
        return []
    n_people, n_clips = int(table["n_people"].max()), int(table.drop_duplicates("genre")["n_clips"].sum())
    of_people = (
        f"Answers of {n_people} people to {n_clips} clips, per cent of each row: each person's own share, all answers "
        "counted, mean over people; the last column: none of the model's genres."
    )
    of_model = (
        f"Probabilities that the model gives to the same {n_clips} clips, per cent, mean over the clips of each row."
    )
    figures = (
        _confusion_picture(table, "people_share", "Genres that people choose", "answer of people", of_people),
        _confusion_picture(table, "model_share", "Genres that the model gives", "answer of the model", of_model),
    )
    cells = table[["genre", "answer", "people_share", "model_share"]]
    return [Pair(*figures), Table("Genres chosen by people and by the model, as shares", cells, folded=True)]


def _confusion_picture(table: pd.DataFrame, column: str, title: str, xlabel: str, caption: str) -> Figure:
    genres, answers = (list(dict.fromkeys(table[name])) for name in ("genre", "answer"))
    shares = table.pivot(index="genre", columns="answer", values=column).reindex(index=genres, columns=answers)
    right = table.loc[table["genre"] == table["answer"], column].mean()
    alt = f"{title}: confusion matrix of {len(genres)} genres; the table below repeats its numbers."
    image = confusion_figure(shares, xlabel)
    return Figure(title, image, f"{caption} Framed: the true genre, {100 * right:.0f} % on average.", alt)
