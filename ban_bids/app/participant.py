"""The whole order of the app, participant and group level; nothing else knows it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ban_bids.app.outcome import Outcome, feature_reduction, show_table, summarise
from ban_bids.app.scored import mapping_by_name, prepare_participant, score_control, score_model
from ban_bids.audio.waveforms import audio_hash, render_clip
from ban_bids.derivatives.dataset import source_dataset, write_dataset_files
from ban_bids.derivatives.participant import Labels, write_maps, write_scores, write_summary
from ban_bids.derivatives.provenance import write_provenance, write_status
from ban_bids.derivatives.quality import write_quality
from ban_bids.encoding.bold import ParticipantData, load_participant
from ban_bids.encoding.design import design as make_design
from ban_bids.encoding.execute import Fitting
from ban_bids.encoding.finished import forget
from ban_bids.encoding.ridge.backend import choose_engine
from ban_bids.errors import BanBidsError, DataError, NotComputable
from ban_bids.files.locks import file_lock
from ban_bids.files.progress import StageClock, progress
from ban_bids.inputs.heldout import HeldOutPlan, held_out_plan, held_out_tracks
from ban_bids.inputs.types import Dataset, Participant, read_dataset
from ban_bids.models.candidate import AudioModel
from ban_bids.models.checkpoint import check_no_overlap
from ban_bids.models.controls import control_models
from ban_bids.models.presets import LOW_LEVEL, PRESETS
from ban_bids.models.registry import load_model
from ban_bids.preprocessing.atlases import atlas_of
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.run import preprocess
from ban_bids.reports.participant import render_participant
from ban_bids.scoring.bas import COLUMNS, ModelScores, score_table
from ban_bids.scoring.behavioral import BehavioralScore, behavioral_score, no_behavior
from ban_bids.scoring.cortical import CorticalScore
from ban_bids.scoring.voxels import HeldOutTests, ScoredModel
from ban_bids.settings import Settings
from ban_bids.training.lock import train_once
from ban_bids.training.settings import TrainingSettings

_LOG = logging.getLogger(__name__)

TRAINED_CONTROLS: tuple[str, ...] = ("ban-feedforward", "deepcnn")
"""Presets that ``--controls full`` trains beside the scored model."""


@dataclass(frozen=True, eq=False)
class Network:
    """The model that is scored, its controls, and what it knows of the stimuli.

    Parameters
    ----------
    model : AudioModel
    controls : tuple of AudioModel
    missing : tuple of (str, str)
        Controls that cannot run, and why.
    weights : Path or None
    overlap : str
        ``none``, ``unknown`` (weights without a card), or the held-out tracks that the model knows.
    behavior : BehavioralScore
        B of the dataset; the same for all participants.
    """

    model: AudioModel
    controls: tuple[AudioModel, ...]
    missing: tuple[tuple[str, str], ...]
    weights: Path | None
    overlap: str
    behavior: BehavioralScore


@dataclass(frozen=True, eq=False)
class ParticipantScores:
    """Everything that was computed for one participant."""

    pre: PreprocessedParticipant
    data: ParticipantData
    plan: HeldOutPlan
    tests: HeldOutTests
    scores: ScoredModel
    controls: tuple[CorticalScore, ...]
    dimensions: dict[str, int]
    notes: tuple[str, ...]


def participant(settings: Settings) -> int:
    """Run the participant level.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    int
        0, or 1 where a participant failed; the others are finished and the table says who and why.

    Raises
    ------
    BanBidsError
        Something that concerns every participant.
    """
    torch.set_num_threads(settings.compute.omp_nthreads)
    if settings.output.reports_only:
        return _reports_only(settings)
    clock = StageClock()
    with clock.stage("reading the dataset"):
        dataset = read_dataset(settings)
    prepare_output(dataset, settings)
    outcomes = [Outcome(p.label, failure=p.failure) for p in dataset.participants if p.failure]
    with clock.stage("model"):
        network = prepare_network(dataset, settings)
    usable = list(dataset.usable)
    with ExitStack() as stack:
        for person in usable:  # sorted by label, so that two calls cannot wait for each other in a circle
            stack.enter_context(file_lock(settings.compute.work_dir / "locks" / f"sub-{person.label}.lock"))
        with clock.stage("preprocessing"):
            preprocessed = preprocess(usable, settings)
        for person in usable:
            own = StageClock(list(clock.stages))
            outcomes.append(_finish(person, preprocessed[person.label], dataset, network, settings, own))
    for outcome in outcomes:
        write_status(
            settings.output.output_dir, outcome.label, "failed" if outcome.failure else "done", outcome.failure
        )
    show_table(sorted(outcomes, key=lambda o: o.label))
    return int(any(outcome.failure for outcome in outcomes))


def group(settings: Settings) -> int:
    """Run the group level, from the derivatives alone; see :func:`ban_bids.app.group.run_group`."""
    from ban_bids.app.group import run_group

    return run_group(settings.output.output_dir, settings)


def prepare_output(dataset: Dataset, settings: Settings) -> None:
    """Write what describes the output directory as a dataset."""
    sources = [source_dataset(dataset.root, dataset.doi)]
    sources += [source_dataset(path) for _, path in settings.preprocessing.derivatives]
    inside = settings.compute.work_dir.is_relative_to(settings.output.output_dir)
    ignored = (str(settings.compute.work_dir.relative_to(settings.output.output_dir)),) if inside else ()
    write_dataset_files(settings.output.output_dir, sources, ignored=ignored)


def prepare_network(dataset: Dataset, settings: Settings) -> Network:
    """Load or train the model, refuse leaks, score behaviour once.

    Raises
    ------
    LeakError
        The model was trained or validated on held-out tracks.
    """
    held_out = held_out_tracks(dataset, settings)
    weights = settings.models.weights or _trained(dataset, settings, settings.models.model)
    model = load_model(settings.models.model, weights, settings.compute.device, settings.compute.random_seed)
    overlap = check_no_overlap(model.card, held_out, settings.models.allow_overlap)
    known = str(len(overlap)) if overlap else "none" if model.card else "unknown"
    trained, missing = _trained_controls(dataset, settings, model.name)
    controls = [*control_models(model, settings.compute.random_seed), *trained]
    return Network(
        model,
        tuple(controls),
        missing,
        weights,
        known,
        score_behavior(dataset, model, settings),
    )


def _trained_controls(
    dataset: Dataset, settings: Settings, model: str
) -> tuple[list[AudioModel], tuple[tuple[str, str], ...]]:
    """Networks trained as the scored one is, and those that were not asked for, with the reason."""
    controls: list[AudioModel] = []
    missing = []
    for preset in TRAINED_CONTROLS:
        name = PRESETS[preset].name
        if name == model:  # no control of itself
            continue
        weights = _trained(dataset, settings, preset) if settings.models.controls == "full" else None
        if weights is None:
            missing.append((name, "a trained control: give --gtzan-dir and --controls full"))
        else:
            controls.append(load_model(preset, weights, settings.compute.device))
    return controls, tuple(missing)


def _trained(dataset: Dataset, settings: Settings, preset: str) -> Path | None:
    """Train a model of ours once for all participants, without tracks of held-out runs and judged clips."""
    if settings.models.gtzan_dir is None or preset not in (*PRESETS, *LOW_LEVEL):
        return None
    judged = () if dataset.choices is None else (clip.audio for clip in dataset.choices.clips)
    return train_once(
        settings.models.gtzan_dir,
        settings.compute.work_dir / "models" / f"{preset}.safetensors",
        held_out_tracks(dataset, settings).union(judged),
        TrainingSettings(preset=preset, seed=settings.compute.random_seed),
        nthreads=settings.compute.omp_nthreads,
        device=settings.compute.device,
    )


def score_behavior(dataset: Dataset, model: AudioModel, settings: Settings) -> BehavioralScore:
    """Behavioural score of the model on the dataset's human choices, or the reason for its absence."""
    if dataset.choices is None:
        return no_behavior()
    clips = dataset.choices.clips
    if model.card is None:
        excluded = np.zeros(len(clips), dtype=bool)
    else:
        seen = set(model.card.training_hashes.values()) | set(model.card.validation_hashes.values())
        excluded = np.array([audio_hash(clip.audio) in seen for clip in clips], dtype=bool)
    try:
        heard = [render_clip(clip) for clip in progress(clips, "clips that people judged")]
        probabilities = model.genre_probabilities(heard)
    except NotComputable as why:
        return no_behavior(str(why))
    return behavioral_score(
        dataset.choices.table,
        clips,
        probabilities,
        genres=model.genres,
        excluded=excluded,
        n_bootstrap=settings.encoding.n_bootstrap,
        seed=settings.compute.random_seed,
    )


def _finish(
    person: Participant,
    pre: PreprocessedParticipant | BanBidsError,
    dataset: Dataset,
    network: Network,
    settings: Settings,
    clock: StageClock,
) -> Outcome:
    """Score and write one participant; a failure is told in the table and does not stop the others."""
    with _failures_logged(settings, person.label) as failure:
        if isinstance(pre, BanBidsError):
            raise pre
        write_quality(settings.output.output_dir, pre.participant.label, pre.quality, pre.source)
        computed = score_participant(person, pre, network, settings, clock)
        outcome = write_participant(computed, dataset, network, settings, clock)
        forget(_batches(settings, person.label))
        return outcome
    return Outcome(person.label, failure=failure[0])


def _batches(settings: Settings, label: str) -> Path:
    """Where finished batches of a participant's voxels are kept until all is written."""
    return settings.compute.work_dir / "encoding" / f"sub-{label}"


@contextmanager
def _failures_logged(settings: Settings, label: str) -> Iterator[list[str]]:
    """Turn an exception into one line, its traceback into ``logs/sub-<label>_crash.txt``."""
    reason: list[str] = []
    try:
        yield reason
    except (
        BanBidsError, OSError, ValueError, RuntimeError, ArithmeticError, LookupError, MemoryError
    ) as error:  # fmt: skip
        if settings.compute.stop_on_first_crash:
            raise
        crash = settings.output.output_dir / "logs" / f"sub-{label}_crash.txt"
        crash.parent.mkdir(parents=True, exist_ok=True)
        crash.write_text(traceback.format_exc(), encoding="utf-8")
        known = isinstance(error, BanBidsError)
        reason.append(str(error) if known else f"{type(error).__name__}: {error} (see {crash})")
        _LOG.error("sub-%s failed: %s", label, reason[0])


def score_participant(
    person: Participant,
    pre: PreprocessedParticipant,
    network: Network,
    settings: Settings,
    clock: StageClock,
) -> ParticipantScores:
    """Encode and score one participant with the model and its controls."""
    encoding, seed = settings.encoding, settings.compute.random_seed
    plan = held_out_plan(person, settings)
    engine = choose_engine(settings.compute.device, settings.encoding.solver, settings.compute.mem_mb)
    cache = settings.compute.work_dir / "features"
    with clock.stage(f"sub-{person.label}: reading BOLD"):
        data = load_participant(pre, encoding, settings.compute.work_dir / "tmp")
    if not np.any(data.region > 0):
        raise DataError(f"{pre.dseg}: no auditory region overlaps the cortex mask; check the registration")
    folder, n_components = _batches(settings, person.label), encoding.n_components
    with clock.stage(f"sub-{person.label}: features"):
        prepared = prepare_participant(data, plan, Fitting(encoding, seed, engine), folder=folder)
        main = make_design(data, network.model, prepared.folds, n_components=n_components, cache=cache)
    with clock.stage(f"sub-{person.label}: encoding and significance"):
        scores = score_model(prepared, main, mapping_by_name(main.layers))
    controls = []
    with clock.stage(f"sub-{person.label}: controls"):
        for control in progress(network.controls, f"sub-{person.label}: controls"):
            design = make_design(data, control, prepared.folds, n_components=n_components, cache=cache)
            controls.append(score_control(prepared, design, mapping_by_name(design.layers)))
    tests = prepared.tests
    reported = (prepared.folds.notes, main.notes, tests.notes, scores.cortical.notes)
    notes = (*person.notes, *pre.notes, *data.notes, *(note for part in reported for note in part))
    for note in dict.fromkeys(notes):
        _LOG.warning("sub-%s: %s", person.label, note)
    return ParticipantScores(
        pre, data, plan, tests, scores, tuple(controls), main.dimensions, tuple(dict.fromkeys(notes))
    )


def write_participant(
    computed: ParticipantScores,
    dataset: Dataset,
    network: Network,
    settings: Settings,
    clock: StageClock,
) -> Outcome:
    """Write a participant's maps, table, provenance and report."""
    root, label = settings.output.output_dir, computed.data.label
    labels = Labels(label, computed.plan.task_label, computed.pre.space)
    facts = metadata(computed, network, settings)
    table = table_of(computed, network)
    with clock.stage(f"sub-{label}: writing"):
        write_maps(root, labels, computed.data, computed.scores, facts)
        write_scores(root, labels, computed.scores.model, table, COLUMNS, facts)
        used = [*dataset.files, *([network.weights] if network.weights else [])]
        more = {"WeightsFingerprint": network.model.fingerprint}
        write_provenance(root, f"sub-{label}", settings, used, more)
    summary = summarise(computed, dataset, network, settings, labels, used)
    # the report names its own minutes only after it is made: written twice, rendered once
    write_summary(root, replace(summary, stages=[asdict(stage) for stage in clock.stages]))
    page = render_participant(root, label)
    return Outcome(label, table=table, report=page)


def table_of(computed: ParticipantScores, network: Network) -> pd.DataFrame:
    """Score table: the model, then its controls, then the controls that could not run."""
    p = {(test.layer, test.region): test.p_fwer for test in computed.scores.tests}
    alone = {(test.layer, test.region): test.p for test in computed.scores.tests}
    scored = ModelScores(
        computed.scores.model, "scored", computed.scores.cortical, network.behavior, p, alone, network.overlap
    )
    controls = [ModelScores(control.model, "control", control) for control in computed.controls]
    absent = [ModelScores(name, "control", None, reason=why) for name, why in network.missing]
    return score_table([scored, *controls, *absent])


def metadata(computed: ParticipantScores, network: Network, settings: Settings) -> Mapping[str, Any]:
    """Facts for the JSON file of every map and table."""
    permutations = computed.tests.permutations
    images = [run.bold for run in computed.pre.runs]
    root = settings.output.output_dir
    return {
        "Sources": [f"bids::{p.relative_to(root)}" if p.is_relative_to(root) else str(p) for p in images],
        "ModelFingerprint": network.model.fingerprint,
        "TracksKnownToModel": network.overlap,
        "HeldOutRule": computed.plan.rule,
        "HeldOutRuns": [name for fold in computed.plan.folds for name in fold],
        "Permutations": permutations.n_permutations if permutations else 0,
        "PermutationTests": "whole prediction" if permutations and permutations.rests else "clip-specific prediction",
        "CrossingFactors": computed.scores.factors,
        "RandomSeed": settings.compute.random_seed,
        "Solver": computed.scores.backend,
        "FeatureReduction": feature_reduction(settings.encoding.n_components),
        "FeatureDimensions": computed.dimensions,
        "PreprocessedBy": computed.pre.source,
        "ConfoundsStrategy": settings.preprocessing.confounds,
        "ConfoundsRegressed": sorted({name for run in computed.pre.runs for name in run.regressors}),
        "VolumesScrubbed": {run.run.name: len(run.scrubbed) for run in computed.pre.runs if run.scrubbed},
        "Atlas": atlas_of(settings.preprocessing.atlas).title,
    }


def _reports_only(settings: Settings) -> int:
    """Make the reports anew from the derivatives."""
    from ban_bids.derivatives.read import load_derivatives

    found = load_derivatives(settings.output.output_dir).participants
    wanted = settings.selection.participant_labels or found
    for label in wanted:
        page = render_participant(settings.output.output_dir, label)
        _LOG.info("sub-%s: %s", label, page)
    return 0
