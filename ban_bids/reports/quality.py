"""Quality of preprocessing on the pages: tables with marked warnings, pictures with captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.derivatives.quality import OUTLIER_RULE
from ban_bids.preprocessing.quality.definitions import DEFINITIONS
from ban_bids.reports.page import Figure, Table

MARK = "⚠"
"""Before a value beyond its threshold: colour alone is not seen by everyone."""

_SHOWN_CARPETS = 2
_MATCH = (
    "mask_volume",
    "bold_t1w_dice",
    "bold_t1w_nmi",
    "run_to_session_correlation",
    *(name for name in DEFINITIONS if name.startswith("distortion_")),
)
_CAPTIONS = {
    "_desc-anatomy.": "The outline should follow the brain's surface, without skull and without holes.",
    "_desc-normalization.": "The outlines should follow the brain's edge and its white matter.",
    "_desc-coregistration.": "One row a run. The outlines of the T1w image should follow what is seen of the "
    "BOLD image; gaps at the frontal and temporal poles are signal dropout.",
    "_desc-distortion": "Above as acquired, below with its distortion reduced. The outlines of the T1w "
    "image should fit better below, above all at the frontal and temporal poles and along the midline.",
    "_desc-motion.": "Displacement relative to each run's reference; FD: framewise displacement.",
    "_desc-regions.": "Regions after clipping to grey matter and to the voxels of every run.",
    "_desc-tsnr.": "Mean over standard deviation in time about a line, unsmoothed; one row a run, axial "
    "slices through the auditory regions. It grows with the voxels; dark patches are dropout or moved edges.",
    "_desc-carpet.": "Above, framewise displacement with a line at 0.5 mm, and the global signal. Below, the "
    "brain's voxels sorted by tissue (grey matter, white matter, cerebrospinal fluid), averaged to a few "
    "hundred rows, each without its line and in its own "
    "standard deviations. Stripes over all tissues tell of motion or breathing.",
}


def quality_tables(table: pd.DataFrame) -> list[Table]:
    """Tables of a participant's measures: runs, then participant and regions.

    Parameters
    ----------
    table : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.quality`.
    """
    found = []
    match = table["measure"].isin(_MATCH)
    for scope, key, title, chosen in (
        ("run", "run", "Runs: signal and head motion", ~match),
        ("run", "run", "Runs: mask and match of images", match),
        ("participant", "participant", "Anatomy", ~match),
        ("region", "region", "Auditory regions", ~match),
    ):
        mine = table[(table["scope"] == scope) & chosen]
        if not mine.empty:
            found.append(_wide(mine, key, title))
    return found


def _wide(mine: pd.DataFrame, key: str, title: str) -> Table:
    """A row a run (or region), a column a measure; values in text with as many digits as they deserve."""
    names = [name for name in DEFINITIONS if (mine["measure"] == name).any()]
    rows: list[dict[str, str]] = []
    styles: dict[tuple[int, str], str] = {}
    for number, (label, own) in enumerate(mine.groupby(key, sort=False)):
        row = {key: f"sub-{label}" if key == "participant" else str(label)}
        styles[number, key] = "name"
        for name, value, warning in zip(own["measure"], own["value"], own["warning"].astype(bool)):
            heading = _heading(name)
            row[heading] = _value(value, name, warning)
            missing = " missing" if row[heading] == NOT_AVAILABLE else ""
            styles[number, heading] = "number" + (" warned" if warning else missing)
        rows.append(row)
    frame = pd.DataFrame(rows, columns=[key, *(_heading(name) for name in names)])
    definitions = {_heading(name): _definition(name, mine) for name in names}
    return Table(title, frame, definitions, _note(mine), drop_empty=False, styles=styles)


def _heading(measure: str) -> str:
    known = DEFINITIONS[measure]
    return known.title if known.unit in ("1", "count") else f"{known.title}, {known.unit}"


def _value(value: float, measure: str, warning: bool) -> str:
    if not np.isfinite(value):
        return NOT_AVAILABLE
    text = f"{value:.0f}" if DEFINITIONS[measure].unit == "count" or abs(value) >= 100 else f"{value:.2f}"
    return f"{MARK} {text}" if warning else text


def _definition(measure: str, mine: pd.DataFrame) -> str:
    threshold = mine.loc[mine["measure"] == measure, "threshold"].iloc[0]
    warns = f" Marked where {threshold}." if isinstance(threshold, str) else ""
    return f"{DEFINITIONS[measure].description} ({DEFINITIONS[measure].source}).{warns}"


def _note(mine: pd.DataFrame) -> str:
    """How many values are marked, and why others are missing."""
    beyond = int(mine["warning"].astype(bool).sum())
    parts = []
    if beyond:
        values = "value lies" if beyond == 1 else "values lie"
        parts.append(f"{MARK} {beyond} {values} beyond a threshold: what to do stands under Warnings.")
    reasons = mine.loc[mine["reason"].notna(), ["measure", "reason"]].drop_duplicates()
    for reason, own in reasons.groupby("reason", sort=False):
        names = ", ".join(DEFINITIONS[name].title for name in own["measure"])
        parts.append(f"n/a, {names}: {reason}.")
    return " ".join(parts)


def quality_figures(pictures: Sequence[tuple[str, Path]]) -> list[Figure]:
    """Pictures with their captions; carpets after the second one are folded away.

    Parameters
    ----------
    pictures : sequence of (str, Path)
        Title and file.
    """
    figures, carpets = [], 0
    for title, path in pictures:
        caption = next((text for part, text in _CAPTIONS.items() if part in path.name), "")
        carpets += "_desc-carpet." in path.name
        figures.append(Figure(title, path, caption, folded=carpets > _SHOWN_CARPETS and "_desc-carpet." in path.name))
    return figures


def group_quality_tables(table: pd.DataFrame) -> list[Table]:
    """Outliers and warnings of the group, then each participant's measures, runs by their median.

    Parameters
    ----------
    table : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.group_quality`.
    """
    if table.empty:
        return []
    beyond = table["warning"].astype(bool)
    marked = table[beyond | table["outlier"].notna()]
    found = []
    if not marked.empty:
        frame = pd.DataFrame(
            {
                "participant": [f"sub-{label}" for label in marked["participant"]],
                "run or region": marked["run"].where(marked["run"].notna(), marked["region"]),
                "measure": [_heading(name) for name in marked["measure"]],
                "value": [_value(x, name, False) for x, name in zip(marked["value"], marked["measure"])],
                "threshold": [
                    f"{MARK} {text}" if warning else None
                    for text, warning in zip(marked["threshold"], marked["warning"].astype(bool))
                ],
                "in the group": marked["outlier"],
            }
        )
        found.append(Table("Outliers and warnings", frame, note=f"{OUTLIER_RULE}."))
    found.append(_people(table))
    return found


def _people(table: pd.DataFrame) -> Table:
    own = table[table["scope"] != "region"]
    names = [name for name in DEFINITIONS if (own["measure"] == name).any()]
    rows: list[dict[str, str]] = []
    styles: dict[tuple[int, str], str] = {}
    for number, (label, mine) in enumerate(own.groupby("participant", sort=False)):
        row = {"participant": f"sub-{label}"}
        styles[number, "participant"] = "name"
        for name in names:
            values = mine.loc[mine["measure"] == name]
            warned = bool(values["warning"].astype(bool).any())
            row[_heading(name)] = _value(_worst(values["value"], name), name, warned)
            styles[number, _heading(name)] = "number warned" if warned else "number"
        rows.append(row)
    note = f"Of several runs the worst value; where no side is bad, the median. {MARK}: beyond a threshold."
    return Table("Each participant", pd.DataFrame(rows), note=note, drop_empty=False, styles=styles)


def _worst(values: pd.Series[float], measure: str) -> float:
    worse = DEFINITIONS[measure].worse
    return float({"low": values.min, "high": values.max}.get(worse, values.median)())
