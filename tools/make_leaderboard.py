#!/usr/bin/env python3
"""Write a page that ranks the models of an output directory.

    python tools/make_leaderboard.py OUTPUT_DIR [--dataset NAME] [--out docs/leaderboard.md]

Numbers are those of ``group_bas.tsv`` and ``group_comparison.tsv``; without a group, those of the only participant.
Models stand in order of BAS where all of them have one, else in order of C.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.constants import REGIONS
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.errors import DataError
from ban_bids.files.json import read_json
from ban_bids.files.tsv import read_tsv

LIBRARIES = ("ban-bids", "torch", "numpy")
"""Whose versions are told."""

_DASH = "–"


@dataclass(frozen=True)
class Scores:
    """What the page is made of.

    Parameters
    ----------
    table : DataFrame
        Rows of the group, or of the only participant: ``task``, ``model``, ``role``, ``control_of``, ``row``,
        ``value``, ``ci_low``, ``ci_high``, ``generalises_to``, ``reason``.
    comparisons : DataFrame
        Paired differences and ranks of the same level; empty where there are none.
    layers : DataFrame
        Rows of participants' tables with the layers that were committed.
    n_people : int
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    layers: pd.DataFrame
    n_people: int


def read_scores(out: Derivatives) -> Scores:
    """Read the group's tables, or those of the only participant.

    Raises
    ------
    DataError
        No model is scored, or there are several participants and no group.
    """
    people, each = out.participants, out.scores()
    if each.empty:
        raise DataError(f"{out.root}: no model is scored there; run the participant level")
    if (out.root / "group_bas.tsv").is_file():
        level, table = "group", out.group_scores()
        # others may lie in the folder that failed, or were not asked for
        people = tuple(table.loc[table["level"] == "participant", "participant"].unique())
        each, table = each[each["participant"].isin(people)], table[table["level"] == "group"]
        files = [out.root / "group_comparison.tsv"]
    elif len(people) == 1:
        level, table = "participant", each
        files = sorted(out.root.glob("sub-*/func/sub-*_comparison.tsv"))
    else:
        raise DataError(f"{out.root}: {len(people)} participants and no group_bas.tsv; run the group level first")
    found = [read_tsv(path) for path in files if path.is_file()]
    comparisons = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["level"])
    committed = each[(each["row"] == "layer") & (each["role"] == "scored") & (each["committed"] > 0)]
    return Scores(table, comparisons[comparisons["level"] == level], committed, len(people))


def page(out: Derivatives, dataset: str | None = None) -> str:
    """Make the page.

    Parameters
    ----------
    out : Derivatives
    dataset : str, optional
        Name to print; else what the directory says of its source.

    Returns
    -------
    str
        Markdown.
    """
    scores = read_scores(out)
    blocks = ["# Leaderboard", _introduction(out, scores, dataset or _dataset(out))]
    tasks = sorted(scores.table["task"].unique())
    for task in tasks:
        blocks += [f"## Task {task}"] if len(tasks) > 1 else []
        blocks += list(_task(scores, task))
    blocks.append(f"This page is made by `python tools/make_leaderboard.py`. {_versions(out)}")
    return "\n\n".join(block if block.startswith("|") else textwrap.fill(block, 116) for block in blocks) + "\n"


def _introduction(out: Derivatives, scores: Scores, dataset: str) -> str:
    people = f"{scores.n_people} people" if scores.n_people > 1 else "one person"
    return (
        f"Models scored on {dataset}, {people}. C is the mean over the regions of the correlation of the committed "
        "layer's prediction with their responses, relative to its ceiling; B the agreement with people's choices, "
        "relative to theirs; BAS the mean of both ([method](method.md)). In brackets: 95 % intervals."
    )


def _task(scores: Scores, task: str) -> Iterator[str]:
    table = scores.table[(scores.table["task"] == task) & (scores.table["role"] == "scored")]
    totals = {row: table[table["row"] == row].set_index("model") for row in ("C", "B", "BAS")}
    models = list(dict.fromkeys(table["model"]))
    by = "BAS" if totals["BAS"]["value"].reindex(models).notna().all() else "C"
    values = totals[by]["value"].reindex(models)
    order = list(values.sort_values(ascending=False, na_position="last", kind="stable").index)
    speaks = sorted({str(text) for text in totals["C"]["generalises_to"].dropna()})
    yield f"In order of {by}." + (f" The intervals generalise to {' or '.join(speaks)}." if speaks else "")
    head = ["", "model", "BAS", "C", "B", "C less its best control", f"rank in {by}", *REGIONS]
    rows = [head, ["---"] * len(head)]
    for place, model in enumerate(order, 1):
        cells = [_figure(_row(totals[row], model)) for row in ("BAS", "C", "B")]
        compared = [_control(scores, task, model), _rank(scores, task, model, by)]
        layers = [_committed(scores.layers, task, model, region) for region in REGIONS]
        rows.append([str(place) if pd.notna(values[model]) else _DASH, f"`{model}`", *cells, *compared, *layers])
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
    yield from _reasons(totals, order)
    yield (
        "Under each region: the layer that its voxels' training data chose"
        + (", with how many people's did." if scores.n_people > 1 else ".")
    )


def _reasons(totals: dict[str, pd.DataFrame], models: list[str]) -> Iterator[str]:
    """Why totals are missing."""
    lacking: dict[str, list[str]] = {}
    for model in models:
        for row, table in totals.items():
            found = _row(table, model)
            if found is None or pd.isna(found["value"]):
                reason = "not in the tables" if found is None or pd.isna(found.get("reason")) else str(found["reason"])
                lacking.setdefault(reason.rstrip("."), []).append(f"{row} of `{model}`")
    for reason, which in lacking.items():
        yield f"n/a: {', '.join(which)} ({reason})."


def _row(table: pd.DataFrame, model: str) -> pd.Series | None:
    return table.loc[model] if model in table.index else None


def _figure(row: Any, sign: str = "") -> str:
    if row is None or pd.isna(row["value"]):
        return "n/a"
    bounds = [row["ci_low"], row["ci_high"]]
    interval = (
        "" if any(pd.isna(bound) for bound in bounds) else " [" + ", ".join(f"{b:{sign}.3f}" for b in bounds) + "]"
    )
    return f"{row['value']:{sign}.3f}{interval}"


def _comparison(scores: Scores, task: str, model: str, **wanted: str) -> pd.DataFrame:
    found = scores.comparisons
    if found.empty:
        return found
    for column, value in {"task": task, "model": model, **wanted}.items():
        found = found[found[column] == value]
    return found[found["value"].notna()]


def _control(scores: Scores, task: str, model: str) -> str:
    """The smallest difference to a control of its own: paired where it was compared, else of the totals."""
    paired = _comparison(scores, task, model, kind="control", row="C")
    if not paired.empty:
        closest = paired.loc[paired["value"].idxmin()]
        p = "" if pd.isna(closest["p_corrected"]) else f", p {_p(closest['p_corrected'])}"
        return f"{_figure(closest, '+')}{p} (`{closest['other']}`)"
    table = scores.table[(scores.table["task"] == task) & (scores.table["row"] == "C")]
    own = table[(table["role"] == "scored") & (table["model"] == model)]["value"]
    controls = table[(table["control_of"] == model) & table["value"].notna()]
    if controls.empty or own.isna().all():
        return "n/a"
    best = controls.loc[controls["value"].idxmax()]
    return f"{own.iloc[0] - best['value']:+.3f} (`{best['model']}`)"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _rank(scores: Scores, task: str, model: str, by: str) -> str:
    ranks = _comparison(scores, task, model, kind="rank", row=by)
    if ranks.empty:
        return "n/a"
    rank = ranks.iloc[0]
    return f"{rank['value']:g}" if pd.isna(rank["ci_low"]) else f"{rank['ci_low']:g} to {rank['ci_high']:g}"


def _committed(layers: pd.DataFrame, task: str, model: str, region: str) -> str:
    """The layer that was committed most, over people and folds."""
    mine = layers[(layers["task"] == task) & (layers["model"] == model) & (layers["region"] == region)]
    if mine.empty:
        return "n/a"
    first = mine.loc[mine.groupby("participant")["committed"].idxmax()]
    (layer, count), *_ = Counter(first["layer"].astype(str)).most_common()
    return f"{layer} ({count}/{len(first)})" if len(first) > 1 else layer


def _dataset(out: Derivatives) -> str:
    """DOI or folder of the source."""
    sources = read_json(out.root / "dataset_description.json").get("SourceDatasets", [])
    names = [source.get("DOI") or Path(source.get("URL", "")).name for source in sources]
    return " and ".join(name for name in names if name) or "an unnamed dataset"


def _versions(out: Derivatives) -> str:
    found: dict[str, set[str]] = {}
    for path in sorted((out.root / "logs").glob("*_versions.json")):
        for name, version in json.loads(path.read_text(encoding="utf-8")).items():
            found.setdefault(name, set()).add(str(version))
    told = [f"{name} {' and '.join(sorted(found[name]))}" for name in LIBRARIES if name in found]
    return f"Versions: {', '.join(told)}." if told else "Versions are not known."


def main() -> None:
    """Parse the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--dataset", help="name to print")
    parser.add_argument("--out", type=Path, default=Path("docs/leaderboard.md"))
    options = parser.parse_args()
    options.out.write_text(page(load_derivatives(options.output_dir), options.dataset), encoding="utf-8")


if __name__ == "__main__":
    main()
