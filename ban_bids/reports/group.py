"""The page of the group, ``group.html``: every model over participants, from the derivatives alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ban_bids.constants import JOINT
from ban_bids.derivatives.comparisons import COLUMNS, GROUP_FILE
from ban_bids.derivatives.provenance import settings_toml, versions
from ban_bids.derivatives.read import Derivatives
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json
from ban_bids.reports.answer import answer
from ban_bids.reports.citation import CITATION, write_citation
from ban_bids.reports.comparison import NO_COMPARISON, comparison_blocks, depth_blocks, difference_blocks, ranking
from ban_bids.reports.failures import error_sections, with_models
from ban_bids.reports.figures import bar_figure, map_figure
from ban_bids.reports.models import NUMBERS, bars_of, headlines, interval
from ban_bids.reports.page import (
    Block,
    Bullets,
    Facts,
    Figure,
    Link,
    Links,
    Paragraphs,
    Section,
    Table,
    add_links,
    format_number,
    render_page,
)
from ban_bids.reports.participant import GROUP_PAGE, LINKS, provenance_blocks
from ban_bids.reports.quality import group_quality_tables
from ban_bids.settings import Settings

_MANY_ROWS = 24
_FEW_MODELS = 3
_MOST_BARS = 60
"""Participants beside each other in a picture; of 500 it would be wider than pictures can be."""

_WIDE = (
    "c: share of explainable variance that a region's committed layer predicts. Intervals and reasons for n/a stand in "
    "group_bas.tsv."
)
_PEOPLE = (
    "Means over participants with 95 % intervals over people and clips jointly, where draws of clips were kept; B "
    "belongs to the dataset, with its interval over clips and the people who chose. Column generalises_to of "
    "group_bas.tsv says what each interval speaks of."
)
_METHODS = (
    "Scores are averaged over participants. Their 95 % intervals draw clips, the same for all, and people: "
    "deviations of the mean over participants in draws of clips, widened to Student's t with K - 1 degrees of freedom, "
    "plus draws of t with n - 1 degrees of freedom times the standard error over participants; what one person's "
    "response to one clip adds to both is taken off once. With one participant clips alone are drawn. B belongs to the "
    "dataset and is not averaged; BAS joins draw k of C with draw k of B, so that its interval holds the uncertainty "
    "of both. Scores without draws (generalises_to: people) have a t interval over people, which takes the clips as "
    "they are.",
    "Maps: Fisher's z = atanh(r) of each participant, in voxels where r is computable in all; mean (shown as "
    "tanh of the mean z), one-sample t from two participants on, one-sided p from three on, uncorrected.",
    "Network and score are a reconstruction from the public description of BAN (arXiv:2502.15503).",
)


def render_group(
    out: Derivatives,
    table: pd.DataFrame,
    labels: Sequence[str],
    missing: Sequence[tuple[str, str]],
    *,
    notes: Sequence[str],
    settings: Settings,
    files: Sequence[str],
) -> Path:
    """Write ``group.html``.

    Parameters
    ----------
    out : Derivatives
        Group tables and maps are already there.
    table : DataFrame
        ``group_bas.tsv``.
    labels : sequence of str
        Participants in the group.
    missing : sequence of (str, str)
        Participants, or models in them, that are not, and why.
    notes : sequence of str
        Warnings.
    settings : Settings
    files : sequence of str
        Files that were read.

    Returns
    -------
    Path
        The page: one self-contained HTML file.
    """
    group = table[table["level"] == "group"]
    people = table[(table["level"] == "participant") & (table["role"] == "scored")]
    models, _ = ranking(group)
    compared = _comparison(out, group)
    sections = [
        *error_sections(out.root, with_models(out.root, missing)),
        Section("Summary", _summary(out, group, compared, labels)),
        *(
            [Section("Comparison of models", _compared(out, group, people, compared), NO_COMPARISON)]
            * (len(models) > 1)
        ),
        Section("Scores of the group", _group_scores(out, group)),
        Section("Scores of participants", _participant_scores(people, models)),
        Section("Maps", _maps(out, models), "No maps of correlation were found."),
        Section(
            "Preprocessing quality",
            list(group_quality_tables(out.group_quality())),
            "No participant has a table of measures; run the participant level again.",
        ),
        Section("Warnings", [Bullets(notes, alert=True)] if notes else [], "The group level had nothing to warn of."),
        Section("Methods", _methods(out.root)),
        Section("Provenance", provenance_blocks(versions(), settings_toml(settings), files)),
    ]
    count = f"{len(labels)} participant{'s' if len(labels) > 1 else ''}"
    errors = f"; {len(missing)} missing, see Errors" if missing else "; nobody is missing"
    status = f"{count}, {len(models)} model{'s' if len(models) > 1 else ''}{errors}"
    pages = [(label, out.root / f"sub-{label}.html") for label in labels]
    links = [Link(f"sub-{label}", page.name) for label, page in pages if page.is_file()]
    text = render_page("Brain-like auditory score: group", status, sections, links)
    written = write_text(out.root / GROUP_PAGE, text)
    for _, page in pages:
        if page.is_file():
            add_links(page, LINKS)
    return written


def _comparison(out: Derivatives, group: pd.DataFrame) -> pd.DataFrame:
    """The group's own rows of its comparison of models, none where there is no such table."""
    if not (out.root / GROUP_FILE).is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    table = out.group_comparison()
    return table[(table["level"] == "group") & table["task"].isin(set(group["task"]))].reset_index(drop=True)


def _summary(out: Derivatives, group: pd.DataFrame, compared: pd.DataFrame, labels: Sequence[str]) -> list[Block]:
    facts_of_table = read_json(out.root / "group_bas.json")
    weights, fingerprints = facts_of_table.get("Weights", {}), facts_of_table["ModelFingerprint"]
    maps, (models, _) = out.group_maps(), ranking(group)
    blocks: list[Block] = [headlines(group, models[0])] if len(models) == 1 else []
    facts = (
        ("Participants", ", ".join(labels)),
        ("Models scored", ", ".join(models) or "none"),
        ("Weights", "; ".join(_weights(model, weights.get(model), fingerprints.get(model)) for model in models)),
        ("Spaces of the maps", ", ".join(sorted(set(maps["space"]))) or "no maps"),
    )
    return [*answer(group, compared), *blocks, *comparison_blocks(group, compared, _PEOPLE), Facts(facts)]


def _weights(model: str, origin: str | None, fingerprint: str | None) -> str:
    """Of one model: hash, and where they come from."""
    return f"{model}: {fingerprint or 'unknown'}{f', {origin}' if origin else ''}"


def _compared(out: Derivatives, group: pd.DataFrame, people: pd.DataFrame, compared: pd.DataFrame) -> list[Block]:
    """Differences, and layers against depth; layers are marked that any member committed."""
    members = people[["participant", "task", "model"]].drop_duplicates()
    layers = out.scores(row="layer", role="scored").merge(members)
    keys = ["model", "layer", "region"]
    committed = layers.astype({"committed": float}).groupby(keys, as_index=False)["committed"].mean()
    curves = depth_blocks(group.merge(committed, on=keys, how="left"), "mean over participants")
    return [*difference_blocks(group, compared), *curves]


def _methods(root: Path) -> list[Block]:
    write_citation(root)
    cited = Link("What to cite", CITATION)
    return [Paragraphs((*_METHODS, "How each participant was analysed stands in its own page.")), Links((cited,))]


def _group_scores(out: Derivatives, group: pd.DataFrame) -> list[Block]:
    shown = group.drop(columns=["level", "participant"])
    brief = shown.loc[(shown["row"] != "layer") & (shown["role"] == "scored"), ["task", "model", "row", "region"]]
    rows = shown.loc[brief.index]
    brief["score [95 % interval]"] = [interval(*numbers) for numbers in rows[NUMBERS].astype(float).to_numpy()]
    for name in ("rho", "sd"):
        brief[name] = rows[name].map(format_number, na_action="ignore")
    brief = brief.join(rows[["n", "generalises_to", "reason"]])
    return [
        Table("Over participants", brief, folded=len(brief) > _MANY_ROWS),
        Table("Over participants: layers and controls too", shown, out.group_definitions(), folded=True),
    ]


def _participant_scores(scores: pd.DataFrame, models: Sequence[str]) -> list[Block]:
    wide, n_people = _wide(scores), scores["participant"].nunique()
    note = _WIDE if n_people <= _MOST_BARS else f"{_WIDE} Bars are drawn of up to {_MOST_BARS} participants."
    blocks: list[Block] = [Table("Each participant", wide, note=note, drop_empty=False, folded=len(wide) > _MANY_ROWS)]
    for model in models if n_people <= _MOST_BARS else ():
        rows = scores[scores["model"] == model].drop_duplicates(["row", "participant"])
        people = list(dict.fromkeys(rows["participant"]))
        by_name = {name: rows[rows["row"] == name].set_index("participant").reindex(people) for name in ("C", "BAS")}
        series = [bars for name, values in by_name.items() for bars in bars_of(name, values)]
        if series:
            image = bar_figure([f"sub-{label}" for label in people], series, "score")
            caption = f"Scores of {model} in each participant, with 95 % bootstrap intervals over clips."
            blocks.append(Figure(f"Each participant, {model}", image, caption, folded=len(models) > _FEW_MODELS))
    return blocks


def _wide(scores: pd.DataFrame) -> pd.DataFrame:
    """One line per participant, model and task; one column per score; all numbers stand in ``group_bas.tsv``."""
    lines = []
    for (label, model, task), rows in scores.groupby(["participant", "model", "task"], sort=False, dropna=False):
        line: dict[str, object] = {"participant": label, "model": model, "task": task}
        for row in rows[rows["row"] != "layer"].itertuples():
            line[f"c in {row.region}" if row.row == "region" else str(row.row)] = row.value
        lines.append(line)
    return pd.DataFrame(lines)


def _maps(out: Derivatives, models: Sequence[str]) -> list[Block]:
    figures: list[Block] = []
    maps = out.group_maps(model=list(models), stat="mean")
    for model in models:
        rows = maps[maps["model"] == model]
        for row in rows.sort_values("layer", key=lambda layers: layers == JOINT, kind="stable").itertuples():
            image = map_figure(Path(str(row.path)), label="mean r over participants")
            source, n = f"{row.model}, {row.layer}", len(read_json(Path(str(row.json))).get("Participants", ()))
            whose = f"Mean over {n} participants of the correlation" if n > 1 else "Correlation, of one participant,"
            caption = f"{whose} of held-out BOLD with the prediction from {source}; space {row.space}."
            figures.append(Figure(f"Mean r, {source}", image, caption, folded=len(models) > _FEW_MODELS))
    return figures
