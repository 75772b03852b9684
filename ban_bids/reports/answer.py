"""The sentences on which a page opens: how much the best model predicts, and against what."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ban_bids.reports.comparison import ranking
from ban_bids.reports.models import NUMBERS, interval, people_of_models, scored_rows
from ban_bids.reports.page import Block, Paragraphs

_CHANCE = 0.05


def answer(scores: pd.DataFrame, compared: pd.DataFrame) -> list[Block]:
    """Say in words what the table of models says of the best one.

    Parameters
    ----------
    scores : DataFrame
        Rows of one participant and task, or of the group.
    compared : DataFrame
        Their comparison, columns of :data:`ban_bids.derivatives.comparisons.COLUMNS`; may be empty.

    Returns
    -------
    list of Block
        One paragraph; none without models.

    Notes
    -----
    The share is the mean over regions of c, the explained share of explainable variance of the committed layer.
    """
    names, _ = ranking(scores)
    if not names:
        return []
    best = names[0]
    rows = scored_rows(scores, best)
    numbers, why = _numbers(rows[rows["row"] == "C"])
    if np.isnan(numbers[0]):
        return [Paragraphs([f"Nothing can be said of how well {best} predicts auditory cortex: {why}."], lead=True)]
    people = people_of_models(scores)
    where = f" of the {_participants(people[best])} in whom it was scored" if people else ""
    sentences = [f"{best} predicts {_share(rows)} in auditory cortex{where} (C = {interval(*numbers)}; 1 is perfect)."]
    differences = compared[compared["row"] == "C"]
    own = differences[(differences["kind"] == "control") & (differences["model"] == best)]
    sentences += _less(own[own["other"] == f"{best}untrained"], "the mean of its untrained networks")
    if len(names) > 1:
        sentences += _less(_pair(differences, best, names[1]), f"the next model, {names[1]}")
    return [Paragraphs([" ".join(sentences)], lead=True)]


def _participants(n: int) -> str:
    return "one participant" if n == 1 else f"{n} participants"


def _numbers(rows: pd.DataFrame) -> tuple[tuple[float, float, float], str]:
    """Value and interval of the first row, and the reason where there is no value."""
    if rows.empty:
        return (np.nan, np.nan, np.nan), "it has no cortical score"
    value, low, high = rows[NUMBERS].astype(float).to_numpy()[0]
    reason = rows["reason"].iloc[0]
    return (value, low, high), reason if isinstance(reason, str) else "no reason was recorded"


def _share(rows: pd.DataFrame) -> str:
    share = float(rows.loc[rows["row"] == "region", "value"].astype(float).mean())
    return f"{100 * share:.0f} % of the explainable variance" if share >= 0.005 else "none of the explainable variance"


def _pair(differences: pd.DataFrame, best: str, other: str) -> pd.DataFrame:
    """Row of two models, the best one first."""
    models = differences[differences["kind"] == "models"]
    found = models[(models["model"] == best) & (models["other"] == other)]
    turned = models[(models["model"] == other) & (models["other"] == best)].copy()
    turned[["value", "ci_low", "ci_high"]] = -turned[["value", "ci_high", "ci_low"]].astype(float).to_numpy()
    return pd.concat([found, turned])


def _less(rows: pd.DataFrame, whose: str) -> list[str]:
    """Difference in C to another model, and whether it may be chance."""
    if rows.empty or not np.isfinite(float(rows["value"].iloc[0])):
        return []
    value, low, high = rows[["value", "ci_low", "ci_high"]].astype(float).to_numpy()[0]
    if value < 0:
        where, value, low, high = "below", -value, -high, -low
    else:
        where = "above"
    p = float(rows["p_corrected"].iloc[0])
    chance = "" if p < _CHANCE else "; that may be chance"
    told = "no p" if not np.isfinite(p) else "corrected p < 0.001" if p < 0.0005 else f"corrected p = {p:.3f}"
    return [f"Its C is {interval(value, low, high)} {where} that of {whose} ({told}{chance})."]
