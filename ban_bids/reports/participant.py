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
from ban_bids.reports.answer import answer
from ban_bids.reports.citation import CITATION
from ban_bids.reports.comparison import NO_COMPARISON, comparison_blocks, depth_blocks, difference_blocks, ranking
from ban_bids.reports.failures import error_sections, failures_of
from ban_bids.reports.figures import bar_figure, map_figure
from ban_bids.reports.models import (
    brief_scores,
    confusion_blocks,
    control_bars,
    headlines,
    layer_blocks,
    scored_rows,
)
from ban_bids.reports.page import (
    Block,
    Bullets,
    Facts,
    Figure,
    Link,
    Links,
    Listing,
    Paragraphs,
    Section,
    Table,
    render_page,
)
from ban_bids.reports.quality import quality_figures, quality_tables

GROUP_PAGE = "group.html"
LINKS = (Link("All participants: the group's page", GROUP_PAGE),)
"""From a participant's page to the group's."""

_CLIPS = "Intervals: 95 %, bootstrap over clips; of B over the people who chose, too, if they are three or more."
_MANY_MAPS = 6
_FEW_MODELS = 3


def render_participant(root: Path, participant: str) -> Path:
    """Write ``sub-<label>.html`` from the participant's derivatives; nobody else's files are opened.

    What to cite stands in a file of all participants, to which it links:
    :func:`ban_bids.reports.citation.write_citation`.

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
    shown = {model.model for model in models} & set(scores["model"])
    sections = error_sections(root, failures_of(root, participant, shown))
    for summary in participants:
        of_task = [model for model in models if model.task == summary.task]
        sections += _task_sections(
            out, summary, of_task, scores[scores["task"] == summary.task], suffix=_suffix(summary, participants)
        )
    sections += [
        Section(
            "Preprocessing quality", [*quality_tables(out.quality(participant)), *_quality_figures(root, participants)]
        ),
        Section("Warnings", _warnings(participants, models), "No stage had anything to warn of."),
        Section("Methods", _methods(models)),
        Section("Provenance", _provenance(root, models)),
    ]
    links = LINKS if (root / GROUP_PAGE).is_file() else ()
    title = f"Brain-like auditory score: sub-{participant}"
    page = render_page(title, _status(root, participants, models), sections, links)
    return write_text(root / f"sub-{participant}.html", page)


def _status(root: Path, participants: Sequence[ParticipantSummary], models: Sequence[ModelSummary]) -> str:
    """One line: what is on the page, and whether something failed."""
    names = list(dict.fromkeys(model.model for model in models))
    what = f"model {names[0]}" if len(names) == 1 else f"{len(names)} models"
    tasks = ", ".join(summary.task for summary in participants)
    n_failed = len(failures_of(root, participants[0].participant))
    failed = f"; {n_failed} failed, see Errors" if n_failed else ""
    return f"finished: {what}; held-out task {tasks}; space {participants[0].space}{failed}"


def _suffix(summary: ParticipantSummary, participants: Sequence[ParticipantSummary]) -> str:
    return f", task {summary.task}" if len(participants) > 1 else ""


def _task_sections(
    out: Derivatives,
    summary: ParticipantSummary,
    models: Sequence[ModelSummary],
    scores: pd.DataFrame,
    *,
    suffix: str,
) -> list[Section]:
    """Summary, comparison, one section per model, and the noise ceiling, for one held-out task."""
    by_name = {model.model: model for model in models}
    names = [name for name in ranking(scores)[0] if name in by_name]
    compared = out.comparisons(summary.participant, task=summary.task)
    large: dict[str, list[Block]] = {name: [headlines(scores, name)] for name in names}
    top = large.pop(names[0]) if len(names) == 1 else []  # once on the page: at its top where there is one model
    top += comparison_blocks(scores, compared, _CLIPS)
    several = [*difference_blocks(scores, compared), *depth_blocks(scores, f"of sub-{summary.participant}")]
    folded = len(names) > _FEW_MODELS
    return [
        Section(f"Summary{suffix}", [*answer(scores, compared), *top, Facts(summary.facts)]),
        *([Section(f"Comparison of models{suffix}", several, NO_COMPARISON)] if len(names) > 1 else []),
        *(
            Section(
                f"Model {name}{suffix}",
                large.get(name, []) + _model_blocks(out, summary, by_name[name], scores, folded=folded),
                group="Models" if folded else "",
            )
            for name in names
        ),
        Section(
            f"Noise ceiling{suffix}", _ceiling(out, summary), summary.reasons.get("Noise ceiling", "Nothing to show.")
        ),
    ]


def _model_blocks(
    out: Derivatives, summary: ParticipantSummary, model: ModelSummary, scores: pd.DataFrame, *, folded: bool
) -> list[Block]:
    """Everything about one model: scores, layers and regions, controls, maps, significance."""
    definitions = out.score_definitions(summary.participant)
    rows = scored_rows(scores, model.model)
    blocks: list[Block] = [Facts(model.facts)]
    blocks += _score_tables("Scores", rows, definitions)
    blocks += layer_blocks(rows)
    blocks += _controls(scores, model, definitions)
    blocks += confusion_blocks(out.confusions(summary.participant, task=summary.task, model=model.model))
    blocks += _maps(out, summary, model, rows, folded=folded)
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


def _maps(
    out: Derivatives, summary: ParticipantSummary, model: ModelSummary, rows: pd.DataFrame, *, folded: bool
) -> list[Block]:
    """Maps of r, one per layer in the model's order, and of all layers together; of many layers the committed ones."""
    maps = out.maps(
        participant=summary.participant, task=summary.task, space=summary.space, model=model.model, stat="r"
    ).set_index("layer")["path"]
    layers = list(dict.fromkeys((*rows["layer"].dropna(), *maps.index.drop(JOINT, errors="ignore"))))
    layers = [layer for layer in layers if layer in maps.index]
    wanted = set(rows.loc[rows["committed"].astype(float) > 0, "layer"]) if len(layers) > _MANY_MAPS else set(layers)
    figures: list[Block] = []
    for layer in (*(layer for layer in layers if layer in wanted), *([JOINT] if JOINT in maps.index else [])):
        name = "all layers together" if layer == JOINT else layer
        caption = f"Correlation of held-out BOLD with the prediction from {name}."
        image = map_figure(Path(maps[layer]), label="correlation r")
        figures.append(Figure(f"r, {name}", image, caption, folded=folded))
    if len(layers) > len(wanted):
        text = f"Maps of the {len(wanted)} committed of {len(layers)} layers; those of the others lie in the folder."
        return [Paragraphs([text]), *figures]
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
    """Paragraphs of all models' methods, each once, and where it says what to cite."""
    texts = dict.fromkeys(paragraph for model in models for paragraph in model.methods)
    return [Paragraphs(list(texts)), Links((Link("What to cite", CITATION),))]


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
