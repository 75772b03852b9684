"""The page of one participant, ``sub-<label>.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.outputs.writers import NOT_AVAILABLE, write_text
from ban_bids.reports.figures import alignment_figure
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

SECTIONS = (
    "Summary",
    "Areas and regions",
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
    """Scores of every model area in every region.

    Parameters
    ----------
    values, low, high : ndarray of shape (n_areas, n_regions)
        Score and its 95 % confidence interval; NaN where not computable.
    areas, regions : tuple of str
        Labels.
    label : str
        What the numbers are.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    areas: tuple[str, ...]
    regions: tuple[str, ...]
    label: str = "share of explainable variance"

    def table(self) -> pd.DataFrame:
        """Rows of model areas, columns of regions, cells ``0.31 [0.20, 0.42]``."""
        rows = [
            [area, *(self._cell(i, j) for j in range(len(self.regions)))] for i, area in enumerate(self.areas)
        ]
        return pd.DataFrame(rows, columns=["model area", *self.regions])

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
        Matrix of areas by regions.
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


_BRIEF = ("model", "row", "area", "region", "value", "ci_low", "ci_high", "p", "mean_r", "n_voxels", "reason")
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
    elif title == "Areas and regions" and content.alignment is not None:
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
        alignment.values, alignment.low, alignment.high, alignment.areas, alignment.regions, alignment.label
    )
    caption = (
        f"{alignment.label.capitalize()} that each area of the model predicts in each region, with 95 % "
        "confidence intervals. Frames mark each area's own region; hatched cells are not available."
    )
    size = f"{len(alignment.areas)} model areas by {len(alignment.regions)} regions"
    alt = f"Matrix of {size}; the table below repeats its numbers."
    return [
        Figure("Alignment of model areas and regions", picture, caption, alt),
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
