"""How a run ended, for people: the facts of a participant's report, and the closing table."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ban_bids.derivatives.participant import Labels, Summary
from ban_bids.inputs.types import Dataset
from ban_bids.preprocessing.atlases import atlas_of
from ban_bids.preprocessing.result import PreprocessedRun
from ban_bids.reports.methods import MethodsFacts, methods_text
from ban_bids.settings import Settings

if TYPE_CHECKING:
    from ban_bids.app.participant import Network, ParticipantScores


@dataclass(frozen=True, eq=False)
class Outcome:
    """How one participant ended.

    Parameters
    ----------
    label : str
        Without ``sub-``.
    table : DataFrame or None
        Score table of a finished participant.
    report : Path or None
    failure : str or None
        Why it failed.
    """

    label: str
    table: pd.DataFrame | None = None
    report: Path | None = None
    failure: str | None = None


def summarise(
    computed: ParticipantScores,
    dataset: Dataset,
    network: Network,
    settings: Settings,
    labels: Labels,
    used: Sequence[Path],
) -> Summary:
    """Collect what a participant's report says beside maps and scores.

    Parameters
    ----------
    computed : ParticipantScores
    dataset : Dataset
    network : Network
    settings : Settings
    labels : Labels
    used : sequence of Path
        Exactly the files that were used.

    Returns
    -------
    Summary
    """
    cortical, tests = computed.scores.cortical, computed.tests
    reasons = {}
    if "ceiling" in tests.reasons:
        reasons["Noise ceiling"] = f"n/a: {tests.reasons['ceiling']}"
    if "p" in tests.reasons:
        reasons["Significance"] = f"n/a: {tests.reasons['p']}"
    elif computed.data.absent:
        reasons["Significance"] = f"n/a where {'; '.join(computed.data.absent.values())}"
    notes = [*dataset.notes, *computed.notes, *network.behavior.notes]
    if network.overlap != "none":
        notes.insert(0, f"held-out tracks that trained or validated the model: {network.overlap}")
    return Summary(
        participant=labels.participant,
        task=labels.task,
        space=labels.space,
        model=computed.scores.model,
        fingerprint=network.model.fingerprint,
        facts=_facts(computed, dataset, network),
        notes=list(dict.fromkeys(notes)),
        reasons=reasons,
        methods=methods_text(_methods(computed, network, labels, settings), settings.encoding),
        alignment={
            "values": cortical.alignment,
            "low": cortical.alignment_low,
            "high": cortical.alignment_high,
            "layers": cortical.alignment_layers,
            "regions": cortical.alignment_regions,
        },
        tests=[asdict(test) for test in computed.scores.tests],
        figures=[(title, str(_relative(path, settings))) for title, path in computed.pre.figures],
        files=[str(path) for path in used],
    )


def _relative(path: Path, settings: Settings) -> Path:
    inside = path.is_relative_to(settings.output.output_dir)
    return path.relative_to(settings.output.output_dir) if inside else path


def _facts(computed: ParticipantScores, dataset: Dataset, network: Network) -> list[tuple[str, str | int | float]]:
    data, cortical = computed.data, computed.scores.cortical
    regions = [
        f"{name} {'n/a' if name in data.absent else int(np.sum(data.region == k + 1))}"
        for k, name in enumerate(_regions(cortical))
    ]
    permutations = computed.tests.permutations
    return [
        ("Dataset", dataset.name),
        ("Runs", len(computed.pre.runs)),
        ("Held-out runs", computed.plan.rule),
        ("Held-out volumes scored", int(computed.tests.rows.scored.sum())),
        ("Repeats of each held-out clip", cortical.n_repeats or "none"),
        ("Voxels of cortex", len(data.region)),
        ("Voxels of regions", ", ".join(regions)),
        ("Model", computed.scores.model),
        ("Weights", network.weights.name if network.weights else "none"),
        ("Held-out tracks known to the model", network.overlap),
        ("Features of each layer", ", ".join(f"{layer} {n}" for layer, n in computed.dimensions.items())),
        ("Permutations", permutations.n_permutations if permutations else "n/a"),
        ("Preprocessing", computed.pre.source),
        ("Space", computed.pre.space),
    ]


def _regions(cortical: object) -> Sequence[str]:
    return tuple(getattr(cortical, "alignment_regions", ()))


def confounds_sentence(runs: Sequence[PreprocessedRun], strategy: str) -> str:
    """Return what was regressed out of runs and how many of their volumes were scrubbed.

    Parameters
    ----------
    runs : sequence of PreprocessedRun
    strategy : str
        ``--confounds``.
    """
    families: dict[str, int] = {}
    for name in sorted({name for run in runs for name in run.regressors}):
        family = re.sub(r"^(trans|rot)_[xyz]|\d\d+$", lambda m: m.group(1) or "", name).rstrip("_")
        families[family] = families.get(family, 0) + 1
    columns = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in families.items())
    scrubbed = sum(len(run.scrubbed) for run in runs)
    volumes = sum(run.run.n_volumes for run in runs)
    left_out = f" {scrubbed} of {volumes} volumes were scrubbed: left out as rows." if scrubbed else ""
    source = "ours" if strategy == "motion12" else "of nilearn's load_confounds_strategy, without its cosines"
    return f"Confounds (strategy {strategy}, {source}): {columns or 'none'}.{left_out}"


def feature_reduction(n_components: int) -> str:
    """Return what the sidecars call ``--n-components``: participants of a group share it."""
    return f"{n_components} principal components" if n_components else "none"


def dimensions_sentence(dimensions: Mapping[str, int], n_components: int) -> str:
    """Return how many features of each layer the models were given.

    Parameters
    ----------
    dimensions : mapping of str to int
        By layer.
    n_components : int
        ``--n-components``; 0 for all features.
    """
    if n_components:
        return f"Every layer was reduced to {min(dimensions.values())} principal components."
    widths = ", ".join(f"{layer} {n}" for layer, n in dimensions.items())
    return (
        f"All features that vary were used ({widths}), z-scored on training volumes, as a linear kernel an "
        "layer; kernels were scaled to mean diagonal 1 on training volumes."
    )


def _methods(computed: ParticipantScores, network: Network, labels: Labels, settings: Settings) -> MethodsFacts:
    plan, tests = computed.plan, computed.tests
    held_out = {name for fold in plan.folds for name in fold}
    everywhere = plan.leave_one_out
    n_runs = len(computed.pre.runs)
    found = tests.permutations
    behavior, card = network.behavior, network.model.card
    return MethodsFacts(
        model=computed.scores.model,
        preprocessing=computed.pre.source,
        space=labels.space,
        held_out_rule=plan.rule,
        n_training_runs=n_runs - 1 if everywhere else n_runs - len(held_out),
        n_held_out_runs=len(held_out),
        n_repeats=computed.scores.cortical.n_repeats,
        dimensions=dimensions_sentence(computed.dimensions, settings.encoding.n_components),
        n_voxels=len(computed.data.region),
        permutations=(
            f"P values rest on {found.n_permutations} permutations of {len(found.run)} blocks."
            if found
            else f"P values are not available: {tests.reasons['p']}."
        ),
        rest=found is not None and found.rests,
        behavior=(
            f"Behaviour was compared on {behavior.n_clips} clips judged by {behavior.n_people} people."
            if behavior.n_clips
            else f"The behavioural score is not available: {behavior.reason}."
        ),
        genre_split="unknown" if card is None else card.split,
        confounds=confounds_sentence(computed.pre.runs, settings.preprocessing.confounds),
        regions=atlas_of(settings.preprocessing.atlas).regions,
        acknowledgement=atlas_of(settings.preprocessing.atlas).acknowledgement,
    )


def show_table(outcomes: Sequence[Outcome]) -> None:
    """Print the closing table: participant, status, C, B, BAS, report.

    Parameters
    ----------
    outcomes : sequence of Outcome
        One a participant.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title="ban-bids", title_justify="left")
    for column in ("participant", "status", "C", "B", "BAS"):
        table.add_column(column, no_wrap=column != "status")
    table.add_column("report, or why it failed", overflow="fold")
    for outcome in outcomes:
        done = outcome.failure is None
        cells = [_score(outcome.table, name) for name in ("C", "B", "BAS")]
        where = str(outcome.report) if done else str(outcome.failure)
        table.add_row(f"sub-{outcome.label}", "done" if done else "failed", *cells, where)
    # wide enough for a path where nobody looks at a terminal
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)


def _score(table: pd.DataFrame | None, name: str) -> str:
    if table is None:
        return "n/a"
    rows = table[(table["row"] == name) & (table["role"] == "scored")]
    if rows.empty or not np.isfinite(rows["value"].iloc[0]):
        return "n/a"
    value, low, high = rows[["value", "ci_low", "ci_high"]].iloc[0]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
