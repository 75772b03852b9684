"""A participant's report, made from what the output directory holds; nothing is computed anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ban_bids.errors import DataError
from ban_bids.outputs.derivatives import Derivatives, load_derivatives
from ban_bids.outputs.participant import Summary, read_summary
from ban_bids.outputs.writers import NOT_AVAILABLE, read_json
from ban_bids.reports.figures import Bars, bar_figure, map_figure
from ban_bids.reports.page import Figure, Headline, Table
from ban_bids.reports.participant import Alignment, ParticipantReport, write_participant_report
from ban_bids.reports.quality import quality_figures, quality_tables
from ban_bids.settings import AREAS, JOINT

_QUALITY = "Preprocessing quality"
_MEANING = {
    "C": "cortical score: share of explainable variance, mean over the four areas",
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
        name: text.get("Description", "")
        for name, text in out.score_definitions().items()
        if isinstance(text, dict)
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
    return Alignment(values, low, high, tuple(found["areas"]), tuple(found["regions"]))


def _numbers(matrix: Sequence[Sequence[float | str]]) -> np.ndarray:
    """Matrix as JSON holds it, where what is not a number reads ``n/a``."""
    return np.array(
        [[np.nan if cell == NOT_AVAILABLE else cell for cell in row] for row in matrix], dtype=float
    )


def _reasons(summary: Summary, headlines: Sequence[Headline]) -> dict[str, str]:
    why = next((line.reason for line in headlines if line.name == "C"), None)
    own = {"Areas and regions": f"C: {why}"} if why else {}
    return {**own, **summary.reasons}


def _map_figures(out: Derivatives, summary: Summary) -> list[tuple[str, Figure]]:
    maps = out.maps(participant=summary.participant, task=summary.task, space=summary.space)
    mine = maps[maps["model"] == summary.model]
    figures = []
    for area in (*AREAS, JOINT):
        found = mine[(mine["area"] == area) & (mine["stat"] == "r")]
        if not found.empty:
            image = map_figure(Path(found["path"].iloc[0]), label="correlation r", threshold=None)
            name = "all areas together" if area == JOINT else area
            caption = f"Correlation of held-out BOLD with the prediction from {name}."
            figures.append(("Maps", Figure(f"r, {name}", image, caption)))
    ceiling = maps[maps["stat"] == "ccmax"]
    if not ceiling.empty:
        image = map_figure(Path(ceiling["path"].iloc[0]), label="CCmax", symmetric=False)
        caption = "Largest correlation that any model can reach with the mean over repeats."
        figures.append(("Noise ceiling", Figure("CCmax", image, caption)))
    return figures


def _control_figure(scores: pd.DataFrame) -> list[tuple[str, Figure]]:
    """Score of every area beside the same of the controls; untrained models of several seeds are one bar."""
    rows = scores[scores["row"] == "area"]
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
        "Cortical score of every area in its region, for the model and its controls, with 95 % bootstrap "
        "intervals; of several seeds, the mean and the range."
    )
    return [("Controls", Figure("The model and its controls", image, caption))]


def _one(name: str, rows: pd.DataFrame) -> Bars:
    values, low, high = ([_cell(rows, area, key) for area in AREAS] for key in ("value", "ci_low", "ci_high"))
    return Bars(name, values, low, high)


def _range(name: str, seeds: Sequence[pd.DataFrame]) -> Bars:
    values = np.array([[_cell(rows, area, "value") for area in AREAS] for rows in seeds])
    return Bars(name, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _cell(rows: pd.DataFrame, area: str, column: str) -> float:
    # the log-mel baseline has one area, which meets every region
    found = rows[rows["region"] == area]
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
        note = "p_fwer: corrected over all areas and regions (largest statistic of each permutation)."
        tables.append(("Significance", Table("Mean r of every area in every region", frame, note=note)))
    if summary.stages:
        tables.append(("Provenance", Table("Time and memory", pd.DataFrame(list(summary.stages)))))
    return tables
