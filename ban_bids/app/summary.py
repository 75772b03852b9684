"""What was computed for a participant and a model, and its facts for sidecars, pages and methods."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids import __version__
from ban_bids.app.candidates import PreparedModel
from ban_bids.app.scored import PreparedParticipant
from ban_bids.constants import JOINT, REGIONS
from ban_bids.derivatives.summaries import ModelSummary, ParticipantSummary
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.permutation import QUESTIONS
from ban_bids.files.json import read_json
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Dataset
from ban_bids.preprocessing.atlases import atlas_of, citations
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.reports.methods import methods_text
from ban_bids.scoring.cortical import CorticalScore
from ban_bids.scoring.voxels import HeldOutTests, ScoredModel
from ban_bids.settings import Settings


@dataclass(frozen=True, eq=False)
class ParticipantInput:
    """What every model of a participant meets, and where it comes from.

    Parameters
    ----------
    pre : PreprocessedParticipant
    dataset : Dataset
    prepared : PreparedParticipant
        Cleaned BOLD, folds, repeats, permutations.
    """

    pre: PreprocessedParticipant
    dataset: Dataset
    prepared: PreparedParticipant

    @property
    def data(self) -> ParticipantData:
        """Cleaned BOLD."""
        return self.prepared.data

    @property
    def plan(self) -> HeldOutPlan:
        """Which runs are held out."""
        return self.prepared.plan

    @property
    def tests(self) -> HeldOutTests:
        """Repeats and permutations, or why there are none."""
        return self.prepared.tests

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings of reading, preprocessing, cleaning, folds and what the held-out rows allow."""
        parts = (self.pre.participant, self.pre, self.data, self.prepared.folds, self.tests)
        return tuple(dict.fromkeys(note for part in parts for note in part.notes))


@dataclass(frozen=True, eq=False)
class ScoredCandidate:
    """Everything that was computed for one model in one participant.

    Parameters
    ----------
    prepared : PreparedModel
    scores : ScoredModel
    controls : tuple of CorticalScore
    dimensions : dict of str to int
        Components or features of each layer.
    design_notes : tuple of str
        Layers of different dimensions.
    """

    prepared: PreparedModel
    scores: ScoredModel
    controls: tuple[CorticalScore, ...]
    dimensions: dict[str, int]
    design_notes: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings that concern this model's scores."""
        return tuple(dict.fromkeys((*self.design_notes, *self.scores.cortical.notes, *self.scores.penalties.notes)))

    def files(self, shared: ParticipantInput) -> list[Path]:
        """Exactly the files that its scores rest on."""
        weights = self.prepared.weights
        return [*shared.dataset.files_of(shared.data.label), *([weights] if weights else [])]


def participant_facts(shared: ParticipantInput, settings: Settings) -> dict[str, Any]:
    """Facts for JSON files that hold for every model of a participant."""
    tests, images = shared.tests, [run.bold for run in shared.pre.runs]
    root = settings.output.output_dir
    return {
        "Sources": [f"bids::{p.relative_to(root)}" if p.is_relative_to(root) else str(p) for p in images],
        "Sessions": shared.pre.participant.sessions,
        "HeldOutRule": shared.plan.rule,
        "HeldOutRuns": [name for fold in shared.plan.folds for name in fold],
        "PermutationTests": {
            question: tests.plans[question].n_permutations
            if question in tests.plans
            else f"n/a: {tests.reasons[f'p{question}']}"
            for question in QUESTIONS
        },
        "RandomSeed": settings.compute.random_seed,
        "PreprocessedBy": shared.pre.source,
        "ConfoundsStrategy": settings.preprocessing.confounds,
        "ConfoundsRegressed": sorted({name for run in shared.pre.runs for name in run.regressors}),
        "VolumesScrubbed": {run.run.name: len(run.scrubbed) for run in shared.pre.runs if run.scrubbed},
        "Atlas": atlas_of(settings.preprocessing.atlas).title,
    }


def model_facts(shared: ParticipantInput, scored: ScoredCandidate, settings: Settings) -> dict[str, Any]:
    """Facts for the JSON file of every map and table of a model."""
    return {
        **participant_facts(shared, settings),
        "Model": scored.prepared.name,
        "ModelFingerprint": scored.prepared.model.fingerprint,
        "Weights": scored.prepared.origin,
        "TracksKnownToModel": scored.prepared.overlap,
        "Readout": scored.prepared.compared.readout,
        "CrossingFactors": {
            question: {
                layer: asdict(factor) for (asked, layer), factor in scored.scores.factors.items() if asked == question
            }
            for question in shared.tests.plans
        },
        "Solver": shared.prepared.fitting.engine.name,
        **scored.scores.penalties.facts,
        "FeatureReduction": feature_reduction(settings.encoding.n_components),
        "FeatureDimensions": scored.dimensions,
        "DefinitionsVersion": definitions_version(),
    }


def definitions_version() -> str:
    """First two numbers of the version, with which definitions of scores may change."""
    return ".".join(__version__.split(".")[:2])


def participant_summary(shared: ParticipantInput, settings: Settings) -> ParticipantSummary:
    """What the page says of a participant, whatever the model."""
    root, tests = settings.output.output_dir, shared.tests
    reasons = {}
    if "ceiling" in tests.reasons:
        reasons["Noise ceiling"] = f"n/a: {tests.reasons['ceiling']}"
    for question in QUESTIONS:
        if f"p{question}" in tests.reasons:
            reasons[f"Significance, {QUESTIONS[question]}"] = f"n/a: {tests.reasons[f'p{question}']}"
    if tests.plans and shared.data.absent:
        reasons["Significance"] = f"n/a where {'; '.join(shared.data.absent.values())}"
    return ParticipantSummary(
        participant=shared.data.label,
        task=shared.plan.task_label,
        space=shared.pre.space,
        facts=_participant_rows(shared),
        notes=list(dict.fromkeys((*shared.dataset.notes, *shared.notes))),
        reasons=reasons,
        figures=[
            (title, str(path.relative_to(root) if path.is_relative_to(root) else path))
            for title, path in shared.pre.figures
        ],
        ran=_participant_ran(shared, settings),
    )


def _participant_ran(shared: ParticipantInput, settings: Settings) -> dict[str, Any]:
    """What is to be cited of a participant's data and preprocessing."""
    dataset = shared.dataset
    description = dataset.root / "dataset_description.json"
    authors = read_json(description).get("Authors") if description.is_file() else None
    return {
        "preprocessed_by": shared.pre.source,
        "space": shared.pre.space,
        "confounds": settings.preprocessing.confounds,
        "atlas_references": list(citations(settings.preprocessing.atlas)),
        "dataset": {
            "name": dataset.name,
            "doi": dataset.doi,
            "authors": [str(name) for name in authors] if isinstance(authors, list) else [],
        },
    }


def _model_ran(shared: ParticipantInput, scored: ScoredCandidate) -> dict[str, Any]:
    """What is to be cited of a model and of how it was scored."""
    model, card = scored.prepared.model, scored.prepared.model.card
    references = (*(card.references if card else ()), *getattr(model, "references", ()))
    return {
        "solver": shared.prepared.fitting.engine.solver,
        "joint": (JOINT, "r") in scored.scores.maps,
        "ceiling": scored.scores.cortical.n_repeats > 1,
        "behavior": bool(scored.prepared.behavior.n_clips),
        "trained": bool(card and card.hashes) or scored.prepared.compared.readout["Kind"] == "linear",
        "references": list(dict.fromkeys(references)),
    }


def _participant_rows(shared: ParticipantInput) -> list[tuple[str, str | int | float]]:
    data, tests = shared.data, shared.tests
    regions = [
        f"{name} {'n/a' if name in data.absent else int(np.sum(data.region == k))}" for k, name in enumerate(REGIONS, 1)
    ]
    return [
        ("Dataset", shared.dataset.name),
        ("Runs", len(shared.pre.runs)),
        ("Sessions", ", ".join(shared.pre.participant.sessions) or "none"),
        ("Held-out runs", shared.plan.rule),
        ("Held-out volumes scored", int(tests.rows.scored.sum())),
        ("Repeats of each held-out clip", tests.repeats.n_repeats if tests.repeats else "none"),
        ("Voxels of cortex", len(data.region)),
        ("Voxels of regions", ", ".join(regions)),
        *(
            (f"Arrangements, {title}", tests.plans[question].n_permutations if question in tests.plans else "n/a")
            for question, title in QUESTIONS.items()
        ),
        ("Preprocessing", shared.pre.source),
        ("Space", shared.pre.space),
    ]


def model_summary(shared: ParticipantInput, scored: ScoredCandidate, settings: Settings) -> ModelSummary:
    """What the page says of one model in a participant."""
    prepared = scored.prepared
    notes = [*scored.notes, *prepared.notes, *prepared.behavior.notes, *prepared.compared.notes]
    if prepared.overlap != "none":
        notes.insert(0, f"held-out tracks that trained or validated the model: {prepared.overlap}")
    return ModelSummary(
        participant=shared.data.label,
        task=shared.plan.task_label,
        model=prepared.name,
        fingerprint=prepared.model.fingerprint,
        facts=[
            ("Weights", prepared.origin),
            ("Held-out tracks known to the model", prepared.overlap),
            ("Read-out of genres", prepared.compared.sentence),
            ("Features of each layer", ", ".join(f"{layer} {n}" for layer, n in scored.dimensions.items())),
        ],
        notes=list(dict.fromkeys(notes)),
        methods=methods_text(_methods(shared, scored, settings), settings.encoding),
        files=[str(path) for path in scored.files(shared)],
        ran=_model_ran(shared, scored),
    )


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
        f"All features that vary were used ({widths}), z-scored on training volumes, as a linear kernel per "
        "layer; kernels were scaled to mean diagonal 1 on training volumes."
    )


def fitted_voxels(inner: Mapping[str, np.ndarray], layers: Sequence[str]) -> str:
    """Return in how many voxels layers were fitted: those that stand for no region are fitted in fewer than others.

    Parameters
    ----------
    inner : mapping of str to ndarray of shape (n_voxels,)
        Scores on inner folds, NaN where a layer was not fitted.
    layers : sequence of str
    """
    counts = [int(np.isfinite(inner[layer]).sum()) for layer in layers]
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def _methods(shared: ParticipantInput, scored: ScoredCandidate, settings: Settings) -> dict[str, Any]:
    """Facts for :func:`ban_bids.reports.methods.methods_text`."""
    plan, tests = shared.plan, shared.tests
    behavior, card = scored.prepared.behavior, scored.prepared.model.card
    atlas = atlas_of(settings.preprocessing.atlas)
    return {
        "model": scored.prepared.name,
        **_participant_ran(shared, settings),
        **_model_ran(shared, scored),
        "held_out_rule": plan.rule,
        "n_runs": len(shared.pre.runs),
        "n_held_out_runs": len(plan.held_out),
        "n_folds": len(shared.prepared.folds.folds),
        "n_repeats": scored.scores.cortical.n_repeats,
        "dimensions": dimensions_sentence(scored.dimensions, settings.encoding.n_components),
        "n_voxels": fitted_voxels(scored.scores.inner, scored.scores.layers),
        "permutations": " ".join(
            f"The test that a voxel {title} rests on {tests.plans[question].n_permutations} arrangements"
            f"{' of clips' if tests.plans[question].classes else ''}."
            if question in tests.plans
            else f"Whether a voxel {title} could not be tested: {tests.reasons[f'p{question}']}."
            for question, title in QUESTIONS.items()
        ),
        "behavior": (
            f"Behaviour was compared on {behavior.n_clips} clips judged by {behavior.n_people} people; read-out of the "
            f"model's genres: {scored.prepared.compared.sentence}."
            if behavior.n_clips
            else f"The behavioural score is not available: {behavior.reason}."
        ),
        "genre_split": "unknown" if card is None else card.split,
        "confounds_sentence": confounds_sentence(shared.pre.runs, settings.preprocessing.confounds),
        "regions": atlas.regions,
        "acknowledgement": atlas.acknowledgement,
    }
