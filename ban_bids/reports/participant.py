"""The page of one participant, ``sub-<label>.html``: every model that was scored, from the derivatives alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from ban_bids.constants import JOINT
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.derivatives.summaries import ModelSummary, ParticipantSummary, log_label, read_summaries
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json
from ban_bids.reports.figures import bar_figure, map_figure
from ban_bids.reports.models import (
    brief_scores,
    by_score,
    control_bars,
    headlines,
    layer_blocks,
    models_figure,
    models_table,
    scored_rows,
)
from ban_bids.reports.page import Block, Bullets, Facts, Figure, Listing, Paragraphs, Section, Table, render_page
from ban_bids.reports.quality import quality_figures, quality_tables

_CLIPS = "Intervals: bootstrap over clips."


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
        The page: one self-contained HTML file.

    Raises
    ------
    DataError
        The participant level did not finish for this participant.
    """
    out = load_derivatives(root)
    scores = out.scores(participant)
    if scores.empty:
        raise DataError(f"sub-{participant}: no score table in {root}; run the participant level first")
    participants, models = read_summaries(root, participant)
    sections: list[Section] = []
    for summary in participants:
        of_task = [model for model in models if model.task == summary.task]
        sections += _task_sections(out, summary, of_task, scores[scores["task"] == summary.task], len(participants) > 1)
    sections += [
        Section(
            "Preprocessing quality", [*quality_tables(out.quality(participant)), *_quality_figures(root, participants)]
        ),
        Section("Warnings", _warnings(participants, models), "No stage had anything to warn of."),
        Section("Methods", _methods(models)),
        Section("Provenance", _provenance(root, models)),
    ]
    names = ", ".join(dict.fromkeys(model.model for model in models))
    tasks = ", ".join(summary.task for summary in participants)
    status = f"finished: models {names}; held-out task {tasks}; space {participants[0].space}"
    page = render_page(f"Brain-like auditory score: sub-{participant}", status, sections)
    return write_text(root / f"sub-{participant}.html", page)


def _task_sections(
    out: Derivatives,
    summary: ParticipantSummary,
    models: Sequence[ModelSummary],
    scores: pd.DataFrame,
    several_tasks: bool,
) -> list[Section]:
    """Summary, one section per model, and the noise ceiling, for one held-out task."""
    suffix = f", task {summary.task}" if several_tasks else ""
    names = [name for name in by_score(scores) if name in {model.model for model in models}]
    by_name = {model.model: model for model in models}
    large: dict[str, list[Block]] = {name: [headlines(scores, name)] for name in names}
    top = large.pop(names[0]) if len(names) == 1 else []  # once on the page: at its top where there is one model
    top += [models_table(scores, _CLIPS), *models_figure(scores, f"C of every model. {_CLIPS}")]
    return [
        Section(f"Summary{suffix}", [*top, Facts(summary.facts)]),
        *(
            Section(f"Model {name}{suffix}", large.get(name, []) + _model_blocks(out, summary, by_name[name], scores))
            for name in names
        ),
        Section(
            f"Noise ceiling{suffix}", _ceiling(out, summary), summary.reasons.get("Noise ceiling", "Nothing to show.")
        ),
    ]


def _model_blocks(
    out: Derivatives, summary: ParticipantSummary, model: ModelSummary, scores: pd.DataFrame
) -> list[Block]:
    """Everything about one model: scores, layers and regions, controls, maps, significance."""
    definitions = out.score_definitions()
    rows = scored_rows(scores, model.model)
    blocks: list[Block] = [Facts(model.facts)]
    blocks += _score_tables("Scores", rows, definitions)
    blocks += layer_blocks(rows)
    blocks += _controls(scores, model, definitions)
    blocks += _maps(out, summary, model, list(dict.fromkeys(rows["layer"].dropna())))
    missing = [f"{title}: {why}" for title, why in summary.reasons.items() if title.startswith("Significance")]
    if missing:
        blocks.append(Paragraphs(missing))
    return blocks


def _score_tables(title: str, scores: pd.DataFrame, definitions: Mapping[str, str]) -> list[Block]:
    """Rows of the scored model, or of its controls: what matters in sight, the other columns folded away."""
    if scores.empty:
        return []
    shown = scores.drop(columns=["participant", "task", "control_of"])
    shown = shown.astype(dict.fromkeys([c for c in shown if str(c).startswith("n_")], "Int64"))
    return [Table(title, brief_scores(scores)), Table(f"{title}: all columns", shown, definitions, folded=True)]


def _controls(scores: pd.DataFrame, model: ModelSummary, definitions: Mapping[str, str]) -> list[Block]:
    rows = scored_rows(scores, model.model)
    regions = list(rows.loc[rows["row"] == "region", "region"])
    bars = control_bars(scores, model.model, regions)
    blocks: list[Block] = []
    if bars:
        caption = (
            "rho of the layer that is committed to each region, whose mean is C, for the model and its controls, with "
            "95 % bootstrap intervals over clips; of several seeds, the mean and the range."
        )
        image = bar_figure(regions, bars, "rho, correlation relative to its ceiling")
        blocks.append(Figure("The model and its controls", image, caption))
    return blocks + _score_tables("Scores of the controls", scores[scores["control_of"] == model.model], definitions)


def _maps(out: Derivatives, summary: ParticipantSummary, model: ModelSummary, layers: Sequence[str]) -> list[Block]:
    """Maps of r, one per layer in the model's order, and of all layers together."""
    maps = out.maps(
        participant=summary.participant, task=summary.task, space=summary.space, model=model.model, stat="r"
    ).set_index("layer")["path"]
    figures: list[Block] = []
    for layer in (*dict.fromkeys((*layers, *maps.index.drop(JOINT, errors="ignore"))), JOINT):
        if layer in maps.index:
            name = "all layers together" if layer == JOINT else layer
            caption = f"Correlation of held-out BOLD with the prediction from {name}."
            figures.append(Figure(f"r, {name}", map_figure(Path(maps[layer]), label="correlation r"), caption))
    return figures


def _ceiling(out: Derivatives, summary: ParticipantSummary) -> list[Block]:
    maps = out.maps(participant=summary.participant, task=summary.task, space=summary.space, stat="ccmax")
    caption = "Largest correlation that any model can reach with the mean over repeats."
    return [
        Figure("CCmax", map_figure(Path(path), label="CCmax", symmetric=False), caption) for path in maps["path"][:1]
    ]


def _quality_figures(root: Path, participants: Sequence[ParticipantSummary]) -> list[Figure]:
    pictures = dict.fromkeys((title, root / path) for summary in participants for title, path in summary.figures)
    return quality_figures([(title, path) for title, path in pictures if path.exists()])


def _warnings(participants: Sequence[ParticipantSummary], models: Sequence[ModelSummary]) -> list[Block]:
    notes = [note for summary in participants for note in summary.notes]
    notes += [f"{model.model}: {note}" for model in models for note in model.notes if note not in notes]
    return [Bullets(list(dict.fromkeys(notes)), alert=True)] if notes else []


def _methods(models: Sequence[ModelSummary]) -> list[Block]:
    """Paragraphs of all models' methods, each once."""
    return [Paragraphs(list(dict.fromkeys(paragraph for model in models for paragraph in model.methods)))]


def _provenance(root: Path, models: Sequence[ModelSummary]) -> list[Block]:
    """Time, settings, versions and files of the call that scored each model."""
    blocks: list[Block] = []
    for model in models:
        label = log_label(model.participant, model.task, model.model)
        if model.stages:
            blocks.append(Table(f"{model.model}: time and memory", pd.DataFrame(list(model.stages)), folded=True))
        blocks += provenance_blocks(
            read_json(root / "logs" / f"{label}_versions.json"),
            (root / "logs" / f"{label}_settings.toml").read_text(encoding="utf-8"),
            model.files,
            whose=f"{model.model}: ",
        )
    return blocks


def provenance_blocks(versions: Mapping[str, str], settings: str, files: Iterable[str], whose: str = "") -> list[Block]:
    """Software, settings and files, as every page ends.

    Parameters
    ----------
    versions : mapping of str to str
        Package -> version.
    settings : str
        TOML.
    files : iterable of str
        Files that were read.
    whose : str
        Before each title.

    Returns
    -------
    list of Block
    """
    names = list(files)
    listings = {
        "versions": "\n".join(f"{name} {version}" for name, version in versions.items()),
        "settings": settings,
        f"files used ({len(names)})": "\n".join(names),
    }
    return [Listing(f"{whose}{title}", text) for title, text in listings.items() if text]
