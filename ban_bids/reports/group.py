"""The page of the group, ``group.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.constants import AREAS, JOINT
from ban_bids.derivatives.provenance import settings_toml, versions
from ban_bids.derivatives.read import Derivatives
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json
from ban_bids.reports.figures import Bars, bar_figure, map_figure
from ban_bids.reports.page import (
    Block,
    Bullets,
    Facts,
    Figure,
    Headline,
    Headlines,
    Paragraphs,
    Section,
    render_page,
)
from ban_bids.reports.page import Table as PageTable
from ban_bids.reports.participant import provenance_blocks
from ban_bids.reports.quality import group_quality_tables
from ban_bids.settings import Settings


@dataclass(frozen=True, eq=False)
class GroupReport:
    """Everything that the page of the group says: plain data.

    Parameters
    ----------
    status : str
        One line: how many participants, who is missing.
    headlines : sequence of Headline
        C, B, BAS over participants.
    facts : sequence of (str, value)
        Numbers of participants, model, weights, space.
    group_scores, participant_scores : DataFrame
        Means over participants, and their own scores.
    missing : sequence of (str, str)
        Participant and why it is not in the group.
    figures : sequence of (str, Figure)
        Section and figure.
    notes : sequence of str
        Warnings.
    quality : sequence of Table
        Measures of quality of preprocessing.
    methods : sequence of str
        Paragraphs.
    definitions : mapping of str to str
        Column -> meaning.
    versions, settings, files
        Provenance.
    """

    status: str
    headlines: Sequence[Headline]
    facts: Sequence[tuple[str, Any]]
    group_scores: pd.DataFrame
    participant_scores: pd.DataFrame
    missing: Sequence[tuple[str, str]]
    figures: Sequence[tuple[str, Figure]] = ()
    notes: Sequence[str] = ()
    quality: Sequence[PageTable] = ()
    methods: Sequence[str] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    files: Sequence[str] = ()


def write_group_report(path: Path, content: GroupReport) -> Path:
    """Write the page, atomically, as one self-contained HTML file.

    Parameters
    ----------
    path : Path
        ``OUTPUT_DIR/group.html``.
    content : GroupReport
        What it says.

    Returns
    -------
    Path
        The page.
    """
    missing = pd.DataFrame(list(content.missing), columns=["participant", "reason"])
    blocks: dict[str, list[Block]] = {
        "Summary": [Headlines(tuple(content.headlines)), Facts(tuple(content.facts))],
        "Missing participants": [] if missing.empty else [PageTable("Not in the group, and why", missing)],
        "Scores of the group": [PageTable("Over participants", content.group_scores, content.definitions)],
        "Scores of participants": [
            PageTable("Each participant", content.participant_scores, note=_WIDE, drop_empty=False)
        ],
        "Maps": [],
        "Preprocessing quality": list(content.quality),
        "Warnings": [Bullets(tuple(content.notes), alert=True)] if content.notes else [],
        "Methods": [Paragraphs(tuple(content.methods))],
        "Provenance": provenance_blocks(content.versions, content.settings, content.files),
    }
    for section, figure in content.figures:
        blocks[section].append(figure)
    sections = [Section(title, items, _EMPTY.get(title, "Nothing to show.")) for title, items in blocks.items()]
    return write_text(path, render_page("Brain-like auditory score: group", content.status, sections))


_WIDE = "c: share of explainable variance in a region. Intervals and reasons for n/a stand in group_bas.tsv."

_EMPTY = {
    "Missing participants": "None: every participant with derivatives is in the group.",
    "Warnings": "The group level had nothing to warn of.",
    "Preprocessing quality": "No participant has a table of measures; run the participant level again.",
    "Maps": "No maps of correlation were found.",
}


_MEANING = {
    "C": "cortical score, mean over participants",
    "B": "behavioural score, of the dataset",
    "BAS": "brain-like auditory score, (C + B) / 2, mean over participants",
}
_METHODS = (
    "Scores are averaged over participants with 95 % intervals from Student's t, n - 1 degrees of freedom. B "
    "belongs to the dataset and is not averaged: its interval is over clips, and the interval of BAS over "
    "participants reflects C alone.",
    "Maps: Fisher's z = atanh(r) of each participant, in voxels where r is computable in all; mean (shown as "
    "tanh of the mean z), one-sample t from two participants on, one-sided p from three on, uncorrected.",
    "Network and score are a reconstruction from the public description of BAN (arXiv:2502.15503).",
)


def group_report(
    out: Derivatives,
    table: pd.DataFrame,
    labels: Sequence[str],
    missing: Sequence[tuple[str, str]],
    notes: Sequence[str],
    settings: Settings,
    files: Sequence[str],
) -> GroupReport:
    """Gather the content of ``group.html``.

    Parameters
    ----------
    out : Derivatives
        Group tables and maps are already there.
    table : DataFrame
        ``group_bas.tsv``.
    labels : sequence of str
        Participants in the group.
    missing : sequence of (str, str)
        Participants that are not, and why.
    notes : sequence of str
        Warnings.
    settings : Settings
    files : sequence of str
        Files that were read.

    Returns
    -------
    GroupReport
    """
    group = table[table["level"] == "group"]
    own = table[table["level"] == "participant"]
    scored = group[group["role"] == "scored"]
    models = [str(model) for model in dict.fromkeys(scored["model"])]
    count = f"{len(labels)} participant{'s' if len(labels) > 1 else ''}"
    return GroupReport(
        status=f"{count} ({', '.join(labels)}); {len(missing)} missing",
        headlines=[_headline(scored, model, name, len(models) > 1) for model in models for name in _MEANING],
        facts=_facts(out, models, labels),
        group_scores=group.drop(columns=["level", "participant"]),
        participant_scores=_wide(own[own["role"] == "scored"]),
        missing=missing,
        figures=[*_score_figures(group, own, models), *_map_figures(out, models)],
        notes=notes,
        quality=group_quality_tables(out.group_quality()),
        methods=_METHODS,
        definitions=_definitions(out),
        versions=versions(),
        settings=settings_toml(settings),
        files=list(files),
    )


def _definitions(out: Derivatives) -> dict[str, str]:
    facts = read_json(out.root / "group_bas.json")
    return {name: text.get("Description", "") for name, text in facts.items() if isinstance(text, dict)}


def _headline(scored: pd.DataFrame, model: str, name: str, several: bool) -> Headline:
    rows = scored[(scored["model"] == model) & (scored["row"] == name)]
    title = f"{name} of {model}" if several else name
    if rows.empty:
        return Headline(title, _MEANING[name], reason="not in the score tables")
    row = rows.iloc[0]
    reason = row["reason"] if isinstance(row["reason"], str) else None
    return Headline(title, _MEANING[name], row["value"], row["ci_low"], row["ci_high"], reason)


def _wide(own: pd.DataFrame) -> pd.DataFrame:
    """One line a participant, model and task; a column a score; all numbers stand in ``group_bas.tsv``."""
    lines = []
    for (label, model, task), mine in own.groupby(["participant", "model", "task"], sort=False, dropna=False):
        line: dict[str, object] = {"participant": label, "model": model, "task": task}
        for row in mine.itertuples():
            name = f"c in {row.region}" if row.row == "layer" else str(row.row)
            line[name] = row.value
        lines.append(line)
    return pd.DataFrame(lines)


def _facts(out: Derivatives, models: Sequence[str], labels: Sequence[str]) -> list[tuple[str, str]]:
    maps = out.group_maps()
    prints = read_json(out.root / "group_bas.json")["ModelFingerprint"]
    return [
        ("Participants", ", ".join(labels)),
        ("Models scored", ", ".join(models) or "none"),
        ("Weights", ", ".join(f"{model}: {prints.get(model) or 'unknown'}" for model in models)),
        ("Spaces of the maps", ", ".join(sorted(set(maps["space"]))) or "no maps"),
    ]


def _score_figures(group: pd.DataFrame, own: pd.DataFrame, models: Sequence[str]) -> list[tuple[str, Figure]]:
    figures = []
    cortical = group[group["row"] == "C"]
    if np.isfinite(cortical["value"].astype(float)).any():
        bars = Bars("C", *(cortical[column].astype(float).tolist() for column in ("value", "ci_low", "ci_high")))
        image = bar_figure([str(model) for model in cortical["model"]], [bars], "C, mean over participants")
        caption = "Cortical score of the model and its controls, mean over participants with 95 % t intervals."
        figures.append(("Scores of the group", Figure("The model and its controls", image, caption)))
    for model in models:
        mine = own[own["model"] == model]
        people = list(dict.fromkeys(mine["participant"]))
        series = [found for name in ("C", "BAS") if (found := _bars(mine, name, people)) is not None]
        if series:
            image = bar_figure([f"sub-{label}" for label in people], series, "score")
            caption = f"Scores of {model} in each participant, with 95 % bootstrap intervals over clips."
            figures.append(("Scores of participants", Figure(f"Each participant, {model}", image, caption)))
    return figures


def _bars(mine: pd.DataFrame, name: str, people: list[str]) -> Bars | None:
    rows = mine[mine["row"] == name].drop_duplicates("participant").set_index("participant").reindex(people)
    numbers = rows[["value", "ci_low", "ci_high"]].astype(float)
    if not np.isfinite(numbers["value"]).any():
        return None
    return Bars(name, numbers["value"].tolist(), numbers["ci_low"].tolist(), numbers["ci_high"].tolist())


def _map_figures(out: Derivatives, models: Sequence[str]) -> list[tuple[str, Figure]]:
    figures = []
    maps = out.group_maps(model=list(models), stat="mean")
    order = {layer: position for position, layer in enumerate((*AREAS, JOINT))}
    for row in maps.sort_values("layer", key=lambda layers: layers.map(order), kind="stable").itertuples():
        image = map_figure(Path(str(row.path)), label="mean r over participants")
        source = f"{row.model}, {row.layer}"
        caption = f"Mean correlation of held-out BOLD with the prediction from {source}; space {row.space}."
        figures.append(("Maps", Figure(f"Mean r, {row.model}, {row.layer}", image, caption)))
    return figures
