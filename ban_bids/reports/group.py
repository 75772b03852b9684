"""The page of the group, ``group.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.outputs.writers import write_text
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
    sections = [
        Section(title, items, _EMPTY.get(title, "Nothing to show.")) for title, items in blocks.items()
    ]
    return write_text(path, render_page("Brain-like auditory score: group", content.status, sections))


_WIDE = "c: share of explainable variance in a region. Intervals and reasons for n/a stand in group_bas.tsv."

_EMPTY = {
    "Missing participants": "None: every participant with derivatives is in the group.",
    "Warnings": "The group level had nothing to warn of.",
    "Preprocessing quality": "No participant has a table of measures; run the participant level again.",
    "Maps": "No maps of correlation were found.",
}
