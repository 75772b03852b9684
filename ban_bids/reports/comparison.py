"""Several models beside each other, on both pages: table, forest plot, layers against depth, differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.reports.model_figures import (
    SEEDS,
    SIGNIFICANT,
    Lane,
    control_kind,
    depth_figure,
    difference_figure,
    forest_figure,
)
from ban_bids.reports.models import MEANING, NUMBERS, TOTALS, interval, people_with, scored_rows
from ban_bids.reports.page import Block, Bullets, Figure, Table, format_number

_DIFFERENCE = ["value", "ci_low", "ci_high", "p_corrected"]
NO_COMPARISON = "There is no table that compares these models: run the level that made this page again."

_COMPARED = (
    "P(first): share of the draws in which the model is the best. "
    "Better than its controls: yes (worse) where C lies above (below) that of its best control, corrected p under .05; "
    "otherwise it was not shown."
)

_OTHER_PEOPLE = (
    "Models were not all scored in the same participants, or not all of these have BAS: C and BAS are means over as "
    "many as the column participants says, differences and ranks over those who have both."
)


def ranking(scores: pd.DataFrame) -> tuple[list[str], str]:
    """Names of scored models, the best first, and the score that sorts them.

    Parameters
    ----------
    scores : DataFrame
        Columns ``model``, ``role``, ``row``, ``value``.

    Returns
    -------
    names : list of str
        Those without the score come last, in the order of the table.
    row : {"C", "BAS"}
        BAS where every model that has C has B too.
    """
    scored = scores[scores["role"] == "scored"]
    names = list(dict.fromkeys(scored["model"].astype(str)))
    totals = {row: _total(scored, row) for row in TOTALS}
    with_c = totals["C"].dropna().index
    row = "BAS" if len(with_c) and totals["B"].reindex(with_c).notna().all() else "C"
    values = totals[row].reindex(names).fillna(-np.inf)
    return sorted(names, key=lambda name: -values[name]), row


def _total(scored: pd.DataFrame, row: str) -> pd.Series[float]:
    rows = scored[scored["row"] == row].drop_duplicates("model")
    return rows.set_index("model")["value"].astype(float)


def comparison_blocks(scores: pd.DataFrame, compared: pd.DataFrame, note: str) -> list[Block]:
    """Table and forest plot of all models, best first.

    Parameters
    ----------
    scores : DataFrame
        Rows of one participant and task, or of the group.
    compared : DataFrame
        Their comparison, columns of :data:`ban_bids.derivatives.comparisons.COLUMNS`; may be empty.
    note : str
        What the intervals are.

    Returns
    -------
    list of Block
        The figure only where there are several models and one of them has C.
    """
    names, row = ranking(scores)
    if not names:
        return []
    blocks: list[Block] = [_models_table(scores, compared, names, row, note)]
    lanes = [_lane(scores, name) for name in names]
    if len(names) > 1 and np.isfinite([lane.value for lane in lanes]).any():
        caption = (
            "C of every model, in the order of the table and with its intervals. Grey marks: C of the model's own "
            "controls. Dashed line: the ceiling, where all explainable variance is predicted."
        )
        image = forest_figure(lanes, f"C, {MEANING['C']}")
        alt = f"Forest plot of C of {len(names)} models; the table above repeats its numbers."
        blocks.append(Figure("Cortical score of every model", image, caption, alt))
    return blocks


def _lane(scores: pd.DataFrame, model: str) -> Lane:
    own = scored_rows(scores, model)
    numbers = own.loc[own["row"] == "C", NUMBERS].astype(float).to_numpy()
    value, low, high = numbers[0] if len(numbers) else (np.nan,) * 3
    return Lane(model, value, low, high, _controls(scores, model))


def _controls(scores: pd.DataFrame, model: str) -> dict[str, float]:
    """C of those controls of a model that have it."""
    rows = scores[(scores["control_of"] == model) & (scores["row"] == "C") & scores["value"].notna()]
    return dict(zip(rows["model"].astype(str), rows["value"].astype(float), strict=True))


def _models_table(scores: pd.DataFrame, compared: pd.DataFrame, names: Sequence[str], row: str, note: str) -> Table:
    lines, reasons, people = [], [], _people(scores)
    for name in names:
        rows = scored_rows(scores, name)
        line: dict[str, object] = {"model": name, **_rank(compared, name, row)}
        if people:
            line["participants"] = people.get(name, 0)
        for total in TOTALS:
            of_total = rows[rows["row"] == total]
            numbers = of_total[NUMBERS].astype(float).to_numpy()
            line[f"{total} [interval]"] = _score(*numbers[0]) if len(numbers) else NOT_AVAILABLE
            if len(numbers) and np.isnan(numbers[0][0]) and isinstance(of_total["reason"].iloc[0], str):
                reasons.append((total, of_total["reason"].iloc[0], name))
        lines.append({**line, **_against_controls(scores, compared, name)})
    title = "Models, by brain-like auditory score BAS" if row == "BAS" else "Models, by cortical score C"
    parts = [note, _OTHER_PEOPLE if people else "", _reasons(reasons), "" if compared.empty else _COMPARED]
    if compared.empty and len(names) > 1:
        parts.append(NO_COMPARISON)
    return Table(title, pd.DataFrame(lines), note=" ".join(filter(None, parts)), drop_empty=False)


def _people(scores: pd.DataFrame) -> dict[str, int | str]:
    """Over how many participants C of each model is, and BAS where that differs; empty where it is the same in all."""
    of_c, of_bas = people_with(scores, "C"), people_with(scores, "BAS")
    people: dict[str, int | str] = {}
    for model, n in of_c.items():
        fewer = of_bas.get(model, 0)
        people[model] = n if fewer in (0, n) else f"{n} (BAS: {fewer})"
    return people if set(people.values()) - {next(iter(of_c.values()), 0)} else {}


def _score(value: float, low: float, high: float) -> str:
    """As :func:`interval`, without a line's break within the brackets."""
    return interval(value, low, high).replace(", ", ",\N{NO-BREAK SPACE}")


def _reasons(found: Sequence[tuple[str, str, str]]) -> str:
    """Why totals are n/a, each reason once, with those that it holds for."""
    models: dict[tuple[str, str], list[str]] = {}
    for total, reason, model in found:
        if total != "BAS":  # it repeats those of its parts
            models.setdefault((total, reason), []).append(model)
    return " ".join(f"{total} of {', '.join(own)} is n/a: {reason}." for (total, reason), own in models.items())


def _rank(compared: pd.DataFrame, model: str, row: str) -> dict[str, object]:
    if compared.empty or (compared["kind"] == "rank").sum() < 2:
        return {}
    rows = _rows(compared, "rank", model, row)
    rank, first = NOT_AVAILABLE, NOT_AVAILABLE
    if len(rows) and pd.notna(rows["value"].iloc[0]):
        value, low, high = rows[NUMBERS].astype(float).to_numpy()[0]
        rank = f"{value:g}" + (f" [{low:g},\N{NO-BREAK SPACE}{high:g}]" if np.isfinite((low, high)).all() else "")
        first = _percent(float(rows["first"].iloc[0]))
    return {"rank [interval]": rank, "P(first)": first}


def _percent(share: float) -> str:
    if not np.isfinite(share):
        return NOT_AVAILABLE
    return "<1 %" if 0 < share < 0.01 else ">99 %" if 0.99 < share < 1 else f"{share:.0%}".replace("%", " %")


def _rows(compared: pd.DataFrame, kind: str, model: str, row: str) -> pd.DataFrame:
    return compared[(compared["kind"] == kind) & (compared["model"] == model) & (compared["row"] == row)]


def _against_controls(scores: pd.DataFrame, compared: pd.DataFrame, model: str) -> dict[str, object]:
    """Best control and its C; differences to it and to the mean over untrained networks, where they were computed."""
    controls = _controls(scores, model)
    best = max(controls, key=lambda name: controls[name], default="")
    line: dict[str, object] = {"best control": NOT_AVAILABLE}
    if best:
        line["best control"] = f"{best.removeprefix(model)} {format_number(controls[best])}"
    if compared.empty:
        return line
    rows = _rows(compared, "control", model, "C").drop_duplicates("other").set_index("other")
    untrained = [name for name in controls if control_kind(name) == SEEDS]
    mean = untrained[0] if len(untrained) == 1 else f"{model}untrained"  # one is its own mean, and has no row of it
    differences = rows.reindex([best, mean])[_DIFFERENCE].astype(float)
    less_best, less_mean = differences.iloc[0], differences.iloc[1]
    return {
        "better than its controls?": _verdict(less_best["value"], less_best["p_corrected"]),
        **line,
        "C less its best control's": _score(*less_best[NUMBERS]),
        "C less its untrained mean": _score(*less_mean[NUMBERS]),
    }


def _verdict(value: float, p: float) -> str:
    if not np.isfinite((value, p)).all():
        return NOT_AVAILABLE
    return "not shown" if p >= SIGNIFICANT else "yes" if value > 0 else "worse"


def depth_blocks(scores: pd.DataFrame, note: str) -> list[Block]:
    """Layers of all models against their depth, one panel per region.

    Parameters
    ----------
    scores : DataFrame
        Rows of one participant and task, or of the group, with the column ``committed``.
    note : str
        Whose rho it is.

    Returns
    -------
    list of Block
        None where no model has several layers with a rho.
    """
    layers = scores[(scores["role"] == "scored") & (scores["row"] == "layer")]
    several = layers.groupby("model")["layer"].nunique() > 1
    drawn = layers[layers["model"].isin(several[several].index)]
    if not drawn["rho"].notna().any():
        return []
    names = [name for name in ranking(scores)[0] if layers.loc[layers["model"] == name, "rho"].notna().any()]
    points = layers.assign(value=layers["rho"].astype(float))
    caption = (
        f"rho = sgn(c) √|c| of every layer, {note}, against the layer's place in its model. Rings: layers that inner "
        "folds of the training rows committed to the region; their rho enters C. Dotted: models of one layer. "
        "The numbers stand in each model's table of layers."
    )
    image = depth_figure(points, names, "rho, correlation relative to its ceiling")
    alt = f"Curves of rho against layer depth in {layers['region'].nunique()} regions for {len(names)} models."
    return [Figure("Layers against depth", image, caption, alt)]


def difference_blocks(scores: pd.DataFrame, compared: pd.DataFrame) -> list[Block]:
    """Differences of all pairs of models in C: picture, reasons for what is n/a, and all rows as a table.

    Parameters
    ----------
    scores : DataFrame
        Rows of one participant and task, or of the group.
    compared : DataFrame
        Their comparison.

    Returns
    -------
    list of Block
        None without comparisons of models.
    """
    if compared.empty or not (compared["kind"] == "models").any():
        return []
    pairs = compared[(compared["kind"] == "models")]
    of_c = pairs[pairs["row"] == "C"]
    known = {*of_c["model"].astype(str), *of_c["other"].astype(str)}
    names = [*(name for name in ranking(scores)[0] if name in known)]
    names += sorted(known - set(names))
    blocks: list[Block] = []
    if len(names) > 1:
        caption = (
            "C of the model of the row less C of the model of the column. Bold with a star: corrected p under .05 "
            "(max-T over all pairs). Hatched cells are not available."
        )
        alt = f"Matrix of differences in C between {len(names)} models; the table below repeats its numbers."
        image = difference_figure(*_matrices(of_c, names), "difference in C")
        blocks.append(Figure("Differences in C", image, caption, alt))
    lacking = of_c[of_c["value"].isna()]
    if len(lacking):
        reasons = lacking["reason"].fillna("no reason was recorded")
        blocks.append(Bullets([
            f"n/a, {'; '.join(f'{a} and {b}' for a, b in own[['model', 'other']].to_numpy())}: {why}"
            for why, own in lacking.groupby(reasons, sort=False)
        ]))  # fmt: skip
    table = _pairs_table(compared[compared["kind"] != "rank"])
    return [*blocks, Table("All differences: C, regions, B and BAS; models and controls", table, folded=True)]


def _matrices(pairs: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values, row less column, and corrected p; each pair fills both of its cells."""
    values, p = (np.full((len(names), len(names)), np.nan) for _ in range(2))
    place = {name: k for k, name in enumerate(names)}
    numbers = pairs[["value", "p_corrected"]].to_numpy(dtype=float)
    for (a, b), (value, corrected) in zip(pairs[["model", "other"]].astype(str).to_numpy(), numbers, strict=True):
        i, j = place[a], place[b]
        values[i, j], values[j, i] = value, -value
        p[i, j] = p[j, i] = corrected
    index = pd.Index(list(names))
    return pd.DataFrame(values, index=index, columns=index), pd.DataFrame(p, index=index, columns=index)


def _pairs_table(rows: pd.DataFrame) -> pd.DataFrame:
    shown = rows[["model", "other", "row", "region"]].rename(columns={"other": "less"})
    shown["difference [95 % interval]"] = [interval(*numbers) for numbers in rows[NUMBERS].astype(float).to_numpy()]
    for name in ("p", "p_corrected"):
        shown[name] = rows[name].astype(float).map(format_number)
    return shown.join(rows[["generalises_to", "n", "reason"]].astype({"n": "Int64"}))
