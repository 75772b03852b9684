"""The page of one participant, ``sub-<label>.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.constants import AREAS, JOINT, NOT_AVAILABLE
from ban_bids.derivatives.participant import Summary, read_summary
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json
from ban_bids.reports.figures import Bars, alignment_figure, bar_figure, map_figure
from ban_bids.reports.page import (
    Block,
    Bullets,
    Facts,
    Figure,
    Headline,
    Headlines,
    Listing,
    Paragraphs,
    Section,
    Table,
    render_page,
)
from ban_bids.reports.quality import quality_figures, quality_tables

SECTIONS = (
    "Summary",
    "Layers and regions",
    "Controls",
    "Maps",
    "Noise ceiling",
    "Significance",
    "Preprocessing quality",
    "Warnings",
    "Methods",
    "Provenance",
)
"""Sections of the page in their order; figures and tables name the one that they belong to."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Scores of every model layer in every region.

    Parameters
    ----------
    values, low, high : ndarray of shape (n_layers, n_regions)
        Score and its 95 % confidence interval; NaN where not computable.
    layers, regions : tuple of str
        Labels.
    label : str
        What the numbers are.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    layers: tuple[str, ...]
    regions: tuple[str, ...]
    label: str = "share of explainable variance"

    def table(self) -> pd.DataFrame:
        """Rows of model layers, columns of regions, cells ``0.31 [0.20, 0.42]``."""
        rows = [[layer, *(self._cell(i, j) for j in range(len(self.regions)))] for i, layer in enumerate(self.layers)]
        return pd.DataFrame(rows, columns=["model layer", *self.regions])

    def _cell(self, i: int, j: int) -> str:
        if not np.isfinite(self.values[i, j]):
            return NOT_AVAILABLE
        interval = (self.low[i, j], self.high[i, j])
        text = f"{self.values[i, j]:.3f}"
        return f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]" if np.isfinite(interval).all() else text


@dataclass(frozen=True, eq=False)
class ParticipantReport:
    """Everything that the page of one participant says: plain data.

    Parameters
    ----------
    title : str
        Heading, e.g. ``Brain-like auditory score: sub-01``.
    status : str
        One line: done, or failed and why.
    headlines : sequence of Headline
        C, B and BAS.
    scores : DataFrame
        Score table as written; empty where there is none.
    alignment : Alignment, optional
        Matrix of layers by regions.
    facts : sequence of (str, value)
        Summary: runs, rows, repeats, voxels, held-out rule, ...
    warnings : sequence of str
        All notes of all stages.
    figures : sequence of (str, Figure)
        Section (one of :data:`SECTIONS`) and figure.
    tables : sequence of (str, Table)
        Section and table.
    reasons : mapping of str to str
        Section -> why it is empty or what is n/a in it.
    methods : sequence of str
        Paragraphs, see :func:`ban_bids.reports.methods.methods_text`.
    versions : mapping of str to str
        Software.
    definitions : mapping of str to str
        Column of the score table -> meaning.
    settings : str
        TOML.
    files : sequence of str
        Exactly the files that were used.
    """

    title: str
    status: str
    headlines: Sequence[Headline] = ()
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    alignment: Alignment | None = None
    facts: Sequence[tuple[str, Any]] = ()
    warnings: Sequence[str] = ()
    figures: Sequence[tuple[str, Figure]] = ()
    tables: Sequence[tuple[str, Table]] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    methods: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    files: Sequence[str] = ()

    def __post_init__(self) -> None:
        named = {section for section, _ in (*self.figures, *self.tables)} | set(self.reasons)
        unknown = sorted(named - set(SECTIONS))
        if unknown:
            raise ValueError(f"no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")


def write_participant_report(path: Path, content: ParticipantReport) -> Path:
    """Write the page, atomically, as one self-contained HTML file.

    Parameters
    ----------
    path : Path
        ``OUTPUT_DIR/sub-<label>.html``.
    content : ParticipantReport
        What it says.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    DataError
        A figure's file is missing or is no image.
    """
    sections = []
    for title in SECTIONS:
        blocks = _own_blocks(title, content)
        blocks += [table for section, table in content.tables if section == title]
        blocks += [figure for section, figure in content.figures if section == title]
        reason = content.reasons.get(title)
        if reason and blocks:
            blocks.append(Paragraphs((reason,)))
        sections.append(Section(title, blocks, reason or _EMPTY.get(title, "Nothing to show.")))
    return write_text(path, render_page(content.title, content.status, sections))


_BRIEF = ("model", "row", "layer", "region", "value", "ci_low", "ci_high", "p", "mean_r", "n_voxels", "reason")
"""Columns of the score table that the page shows at once."""

_EMPTY = {"Warnings": "No stage had anything to warn of."}


def _own_blocks(title: str, content: ParticipantReport) -> list[Block]:
    """What a section holds apart from the figures and tables that name it."""
    blocks: list[Block] = []
    if title == "Summary":
        if content.headlines:
            blocks.append(Headlines(tuple(content.headlines)))
        if content.facts:
            blocks.append(Facts(tuple(content.facts)))
        blocks += _score_blocks(content, "scored", "Scores")
    elif title == "Layers and regions" and content.alignment is not None:
        blocks += _alignment_blocks(content.alignment)
    elif title == "Controls":
        blocks += _score_blocks(content, "control", "Scores of the controls")
    elif title == "Warnings" and content.warnings:
        blocks.append(Bullets(tuple(content.warnings), alert=True))
    elif title == "Methods" and content.methods:
        blocks.append(Paragraphs(tuple(content.methods)))
    elif title == "Provenance":
        blocks += provenance_blocks(content.versions, content.settings, content.files)
    return blocks


def _score_blocks(content: ParticipantReport, role: str, title: str) -> list[Block]:
    """Rows of the scored model, or of the controls: what matters in sight, the other columns folded away."""
    scores = content.scores
    if "role" in scores:
        scores = scores[scores["role"] == role]
    elif role == "control":
        return []
    if scores.empty:
        return []
    brief = [column for column in _BRIEF if column in scores]
    if not {"row", "value"} <= set(brief):
        return [Table(title, scores, content.definitions)]
    return [
        Table(title, scores[brief]),
        Table(f"{title}: all columns", scores, content.definitions, folded=True),
    ]


def _alignment_blocks(alignment: Alignment) -> list[Block]:
    picture = alignment_figure(
        alignment.values, alignment.low, alignment.high, alignment.layers, alignment.regions, alignment.label
    )
    caption = (
        f"{alignment.label.capitalize()} that each layer of the model predicts in each region, with 95 % "
        "confidence intervals. Frames mark each layer's own region; hatched cells are not available."
    )
    size = f"{len(alignment.layers)} model layers by {len(alignment.regions)} regions"
    alt = f"Matrix of {size}; the table below repeats its numbers."
    return [
        Figure("Alignment of model layers and regions", picture, caption, alt),
        Table(f"Alignment: {alignment.label} [95 % interval]", alignment.table(), drop_empty=False),
    ]


def provenance_blocks(versions: Mapping[str, str], settings: str, files: Sequence[str]) -> list[Block]:
    """Software, settings and files, as every page ends.

    Parameters
    ----------
    versions : mapping of str to str
        Package -> version.
    settings : str
        TOML.
    files : sequence of str
        Files that were read.

    Returns
    -------
    list of Block
    """
    blocks: list[Block] = []
    if versions:
        blocks.append(Listing("Versions", "\n".join(f"{k} {v}" for k, v in versions.items())))
    if settings:
        blocks.append(Listing("Settings", settings))
    if files:
        blocks.append(Listing(f"Files used ({len(files)})", "\n".join(files)))
    return blocks


_QUALITY = "Preprocessing quality"
_MEANING = {
    "C": "cortical score: share of explainable variance, mean over the four layers",
    "B": "behavioural score: agreement with people's genre choices (of the dataset)",
    "BAS": "brain-like auditory score: (C + B) / 2",
}


def render_participant(root: Path, participant: str) -> Path:
    """Write ``sub-<label>.html`` from the participant's derivatives.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    participant : str
        Label without ``sub-``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    DataError
        The participant level did not finish for this participant.
    """
    out = load_derivatives(root)
    summary = read_summary(root, participant)
    scores = out.scores(participant, task=summary.task)
    if scores.empty:
        raise DataError(f"sub-{participant}: no score table in {root}; run the participant level first")
    headlines = [_headline(scores, name) for name in _MEANING]
    report = ParticipantReport(
        title=f"Brain-like auditory score: sub-{participant}",
        status=f"finished: model {summary.model}, held-out task {summary.task}, space {summary.space}",
        headlines=headlines,
        scores=_shown(scores),
        alignment=_alignment(summary),
        facts=[(name, value) for name, value in summary.facts],
        warnings=summary.notes,
        figures=[*_map_figures(out, summary), *_control_figure(scores), *_quality(root, summary)],
        tables=[*_tables(summary), *_quality_tables(out, participant)],
        reasons=_reasons(summary, headlines),
        methods=summary.methods,
        versions=read_json(root / "logs" / f"sub-{participant}_versions.json"),
        definitions=_definitions(out),
        settings=(root / "logs" / f"sub-{participant}_settings.toml").read_text(encoding="utf-8"),
        files=summary.files,
    )
    return write_participant_report(root / f"sub-{participant}.html", report)


def _definitions(out: Derivatives) -> dict[str, str]:
    return {
        name: text.get("Description", "") for name, text in out.score_definitions().items() if isinstance(text, dict)
    }


def _shown(scores: pd.DataFrame) -> pd.DataFrame:
    """The score table without the columns that are the same in every row of the page."""
    shown = scores.drop(columns=[c for c in ("participant", "session", "task") if c in scores])
    counts = [c for c in shown if str(c).startswith("n_")]
    return shown.astype(dict.fromkeys(counts, "Int64"))


def _headline(scores: pd.DataFrame, name: str) -> Headline:
    rows = scores[(scores["row"] == name) & (scores["role"] == "scored")]
    if rows.empty:
        return Headline(name, _MEANING[name], reason="not in the score table")
    row = rows.iloc[0]
    reason = row["reason"] if isinstance(row["reason"], str) else None
    return Headline(name, _MEANING[name], row["value"], row["ci_low"], row["ci_high"], reason)


def _alignment(summary: Summary) -> Alignment | None:
    found = summary.alignment
    if not found:
        return None
    values, low, high = (_numbers(found[key]) for key in ("values", "low", "high"))
    # without repeats there is nothing to draw: the section says why instead
    if not np.isfinite(values).any():
        return None
    return Alignment(values, low, high, tuple(found["layers"]), tuple(found["regions"]))


def _numbers(matrix: Sequence[Sequence[float | str]]) -> np.ndarray:
    """Matrix as JSON holds it, where what is not a number reads ``n/a``."""
    return np.array([[np.nan if cell == NOT_AVAILABLE else cell for cell in row] for row in matrix], dtype=float)


def _reasons(summary: Summary, headlines: Sequence[Headline]) -> dict[str, str]:
    why = next((line.reason for line in headlines if line.name == "C"), None)
    own = {"Layers and regions": f"C: {why}"} if why else {}
    return {**own, **summary.reasons}


def _map_figures(out: Derivatives, summary: Summary) -> list[tuple[str, Figure]]:
    maps = out.maps(participant=summary.participant, task=summary.task, space=summary.space)
    mine = maps[maps["model"] == summary.model]
    figures = []
    for layer in (*AREAS, JOINT):
        found = mine[(mine["layer"] == layer) & (mine["stat"] == "r")]
        if not found.empty:
            image = map_figure(Path(found["path"].iloc[0]), label="correlation r", threshold=None)
            name = "all layers together" if layer == JOINT else layer
            caption = f"Correlation of held-out BOLD with the prediction from {name}."
            figures.append(("Maps", Figure(f"r, {name}", image, caption)))
    ceiling = maps[maps["stat"] == "ccmax"]
    if not ceiling.empty:
        image = map_figure(Path(ceiling["path"].iloc[0]), label="CCmax", symmetric=False)
        caption = "Largest correlation that any model can reach with the mean over repeats."
        figures.append(("Noise ceiling", Figure("CCmax", image, caption)))
    return figures


def _control_figure(scores: pd.DataFrame) -> list[tuple[str, Figure]]:
    """Score of every layer beside the same of the controls; untrained models of several seeds are one bar."""
    rows = scores[scores["row"] == "layer"]
    kinds = rows["model"].str.replace(r"untrained\d+$", "untrained", regex=True)
    series = []
    for kind, alike in rows.groupby(kinds, sort=False):
        mine = [one for _, one in alike.groupby("model", sort=False)]
        bars = _one(str(kind), mine[0]) if len(mine) == 1 else _range(f"{kind} ({len(mine)} seeds)", mine)
        if np.isfinite(bars.values).any():
            series.append(bars)
    if not series:
        return []
    image = bar_figure(AREAS, series, "c, share of explainable variance")
    caption = (
        "Cortical score of every layer in its region, for the model and its controls, with 95 % bootstrap "
        "intervals; of several seeds, the mean and the range."
    )
    return [("Controls", Figure("The model and its controls", image, caption))]


def _one(name: str, rows: pd.DataFrame) -> Bars:
    values, low, high = ([_cell(rows, layer, key) for layer in AREAS] for key in ("value", "ci_low", "ci_high"))
    return Bars(name, values, low, high)


def _range(name: str, seeds: Sequence[pd.DataFrame]) -> Bars:
    values = np.array([[_cell(rows, layer, "value") for layer in AREAS] for rows in seeds])
    return Bars(name, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _cell(rows: pd.DataFrame, layer: str, column: str) -> float:
    # the log-mel baseline has one layer, which meets every region
    found = rows[rows["region"] == layer]
    return float("nan") if found.empty else float(found[column].iloc[0])


def _quality(root: Path, summary: Summary) -> list[tuple[str, Figure]]:
    there = [(title, root / path) for title, path in summary.figures if (root / path).exists()]
    return [(_QUALITY, figure) for figure in quality_figures(there)]


def _quality_tables(out: Derivatives, participant: str) -> list[tuple[str, Table]]:
    return [(_QUALITY, table) for table in quality_tables(out.quality(participant))]


def _tables(summary: Summary) -> Sequence[tuple[str, Table]]:
    tables = []
    if summary.tests:
        # JSON has no NaN: a region without voxels reads n/a there
        frame = pd.DataFrame(list(summary.tests)).replace(NOT_AVAILABLE, np.nan).infer_objects()
        note = "p_fwer: corrected over all layers and regions (largest statistic of each permutation)."
        tables.append(("Significance", Table("Mean r of every layer in every region", frame, note=note)))
    if summary.stages:
        tables.append(("Provenance", Table("Time and memory", pd.DataFrame(list(summary.stages)))))
    return tables
