"""The participant level: the whole order, from the dataset to every participant's page; nothing else knows it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ban_bids.app.candidates import PreparedModel, prepare_models
from ban_bids.app.comparison import compare_participant
from ban_bids.app.disk_need import check_room
from ban_bids.app.ended import KILLED, NOTHING, Ended
from ban_bids.app.kept import conditions, kept_draws
from ban_bids.app.least_memory import check_memory
from ban_bids.app.outcome import Outcome, failure_logged, show_table
from ban_bids.app.scored import ceiling_maps, prepare_participant, score_control, score_model
from ban_bids.app.summary import (
    ParticipantInput,
    ScoredCandidate,
    model_facts,
    model_summary,
    participant_facts,
    participant_summary,
)
from ban_bids.app.work_folder import held
from ban_bids.audio.sameness import recordings
from ban_bids.bids.names import bas_name
from ban_bids.derivatives.confusions import write_confusions
from ban_bids.derivatives.dataset import source_dataset, write_dataset_files
from ban_bids.derivatives.draws import write_draws
from ban_bids.derivatives.maps import write_maps
from ban_bids.derivatives.provenance import Status, write_provenance, write_status
from ban_bids.derivatives.quality import write_quality
from ban_bids.derivatives.read import load_derivatives, remove_stale_maps
from ban_bids.derivatives.summaries import log_label, write_summary
from ban_bids.derivatives.tables import write_table
from ban_bids.encoding.bold import load_participant
from ban_bids.encoding.design import design as make_design
from ban_bids.encoding.finished import forget
from ban_bids.encoding.fit import Fitting
from ban_bids.encoding.ridge.backend import choose_engine
from ban_bids.errors import BanBidsError, DataError, DiskFull, NotComputable
from ban_bids.files.memory import give_back, keep_little
from ban_bids.files.progress import StageClock, progress
from ban_bids.files.room import told_when_full
from ban_bids.inputs.derivatives import check_derivatives
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Dataset, Participant
from ban_bids.models.candidate import Candidate
from ban_bids.preprocessing.checks import runs_here
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.run import preprocess
from ban_bids.reports.citation import CITATION, write_citation
from ban_bids.reports.participant import render_participant
from ban_bids.scoring.bas import COLUMNS, ModelScores, score_table
from ban_bids.scoring.cortical import CorticalScore
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)


def participant_level(settings: Settings, models: Sequence[Candidate] = (), *, ended: Ended = NOTHING) -> int:
    """Run the participant level: every participant with every model that was asked for.

    Parameters
    ----------
    settings : Settings
    models : sequence of Candidate
        Scored after those that the settings ask for.
    ended : Ended
        Participants that an earlier process of this call was killed at fail by name; those that it finished are done.

    Returns
    -------
    int
        0, or 1 where a participant or a model in it failed; the others are finished and the table says who and
        why.

    Raises
    ------
    BanBidsError
        Something that concerns every participant.
    """
    torch.set_num_threads(settings.compute.omp_nthreads)
    keep_little()
    if settings.output.reports_only:
        return _reports_only(settings)
    clock = StageClock()
    with clock.stage("reading the dataset"):
        dataset = read_dataset(settings)
        problems = check_derivatives(dataset, settings)
        check_memory([person for person in dataset.usable if person.label not in problems], dataset, settings)
    prepare_output(dataset, settings)
    prepared: tuple[PreparedModel, ...] = ()
    if len(problems) < len(dataset.usable):  # else preprocessing says why, and no model need be trained before
        with clock.stage("models"):
            prepared = prepare_models(dataset, settings, models)
    root = settings.output.output_dir
    outcomes, usable = _left_to_do(dataset, root, ended, stop=settings.compute.stop_on_first_crash)
    if prepared:
        check_room(usable, prepared, settings)
    with held([person.label for person in usable], settings.compute.work_dir, root) as stale:
        outcomes += [Outcome(label, failure=why) for label, why in stale.items()]  # whose status is not ours to write
        usable = [person for person in usable if person.label not in stale]
        with clock.stage("preprocessing"):
            preprocessed = _preprocessed(usable, settings, ended)
        give_back()
        for person in usable:
            ended.begin(person.label)
            own_clock = StageClock(list(clock.stages))
            own = _finish(person, preprocessed[person.label], dataset, prepared, settings=settings, clock=own_clock)
            outcomes += ended.end(person.label, _write_statuses(root, own))
    _cite(root, outcomes)
    show_table(sorted(outcomes, key=lambda outcome: outcome.participant))
    return int(any(outcome.failure for outcome in outcomes))


def _cite(root: Path, outcomes: Sequence[Outcome]) -> None:
    """Write what to cite of all in the folder, if a page was made that links to it; scores stand, whatever hinders."""
    if any(outcome.report for outcome in outcomes):
        with failure_logged(root / "logs", "citation", stop=False):
            write_citation(root)


def _preprocessed(
    usable: Sequence[Participant], settings: Settings, ended: Ended
) -> dict[str, PreprocessedParticipant | BanBidsError]:
    """All participants together; one after the other where a step's want of memory would be this process's end."""
    if not runs_here(settings.compute):
        return preprocess(usable, settings)
    found: dict[str, PreprocessedParticipant | BanBidsError] = {}
    for person in usable:
        ended.begin(person.label)
        found |= preprocess([person], settings)
        ended.leave(person.label)
    return found


def _left_to_do(dataset: Dataset, root: Path, ended: Ended, *, stop: bool) -> tuple[list[Outcome], list[Participant]]:
    """Participants that cannot be used or that ended in a process of this call before this one, and all others."""
    outcomes = [Outcome(person.label, failure=person.failure) for person in dataset.participants if person.failure]
    refused = {person.label: why for person in dataset.usable if (why := other_sessions(root, person))}
    killed = {label: f"sub-{label}: {KILLED}" for label in ended.killed()}
    if killed and stop:
        raise DataError("; ".join(killed.values()))
    done = [person.label for person in dataset.usable if ended.outcomes(person.label)]
    outcomes += [Outcome(label, failure=why) for label, why in {**refused, **killed}.items() if label not in done]
    outcomes = _write_statuses(root, outcomes)
    outcomes += [outcome for label in done for outcome in ended.outcomes(label)]
    ended_already = {outcome.participant for outcome in outcomes}
    return outcomes, [person for person in dataset.usable if person.label not in ended_already]


def prepare_output(dataset: Dataset, settings: Settings) -> None:
    """Write what describes the output directory as a dataset."""
    root, work_dir = settings.output.output_dir, settings.compute.work_dir
    sources = [source_dataset(dataset.root, dataset.doi)]
    sources += [source_dataset(path) for _, path in settings.preprocessing.derivatives]
    ignored = (str(work_dir.relative_to(root)),) if work_dir.is_relative_to(root) else ()
    write_dataset_files(root, sources, ignored=ignored)


def other_sessions(root: Path, person: Participant) -> str | None:
    """Say why a participant whose scores pool other sessions is refused: images and scores would be mixed.

    Returns
    -------
    str or None
        Names a table, and both lists of sessions; None where the sessions are the same or there is no table.
    """
    files = load_derivatives(root).score_files(person.label)
    for path, sessions in files[["path", "sessions"]].itertuples(index=False):
        if sessions != person.sessions:
            return (
                f"{Path(path).name}: holds scores of sessions {', '.join(sessions) or 'none'}, not of "
                f"{', '.join(person.sessions) or 'none'}; scores pool sessions: name all with --session-id, or give "
                "another OUTPUT_DIR"
            )
    return None


def _write_statuses(root: Path, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Status of every participant, and of every model in it; where it cannot be kept, the outcome is a failure."""
    kept = []
    for outcome in outcomes:
        status: Status = "failed" if outcome.failure else "done"
        try:
            if outcome.model is not None:
                write_status(root, outcome.participant, "done")
            write_status(root, outcome.participant, status, outcome.failure, model=outcome.model)
        except DiskFull as error:  # the others go on
            _LOG.error("sub-%s: how it ended is not kept for the group level: %s", outcome.participant, error)
            outcome = replace(outcome, failure=outcome.failure or str(error))
        kept.append(outcome)
    return kept


def _finish(
    person: Participant,
    pre: PreprocessedParticipant | BanBidsError,
    dataset: Dataset,
    models: tuple[PreparedModel, ...],
    *,
    settings: Settings,
    clock: StageClock,
) -> list[Outcome]:
    """Score a participant with every model; a failure is reported and stops neither other models nor others."""
    logs, stop = settings.output.output_dir / "logs", settings.compute.stop_on_first_crash
    folders = (settings.output.output_dir, settings.compute.work_dir)
    outcomes: list[Outcome] = []
    with failure_logged(logs, f"sub-{person.label}", stop) as failure, told_when_full(*folders):
        if isinstance(pre, BanBidsError):
            raise pre
        write_quality(settings.output.output_dir, person.label, pre.quality, pre.source)
        shared = read_participant(pre, dataset, settings, clock=clock)
        with clock.stage(f"sub-{person.label}: noise ceiling"):
            _write_ceiling(shared, settings)
        known: dict[str, CorticalScore] = {}
        for prepared in models:
            label = log_label(person.label, shared.plan.task_label, prepared.name)
            with failure_logged(logs, label, stop) as model_failure, told_when_full(*folders):
                own_clock = StageClock(list(clock.stages))
                outcomes.append(_score_and_write(shared, prepared, settings, own_clock, known))
            if model_failure:
                outcomes.append(Outcome(person.label, prepared.name, failure=model_failure[0]))
        outcomes = _write_statuses(settings.output.output_dir, outcomes)  # before the page, which tells of them
        if any(outcome.failure is None for outcome in outcomes):
            compare_participant(settings.output.output_dir, person.label, shared.plan.task_label, settings)
            page = render_participant(settings.output.output_dir, person.label)
            outcomes = [outcome if outcome.failure else replace(outcome, report=page) for outcome in outcomes]
            if not (settings.output.output_dir / CITATION).is_file():  # the call may not come to its end
                _cite(settings.output.output_dir, outcomes)
        if not any(outcome.failure for outcome in outcomes):
            forget(_batches(settings, person.label))
        return outcomes
    return [Outcome(person.label, failure=failure[0])]


def _batches(settings: Settings, label: str) -> Path:
    """Where finished batches of a participant's voxels are kept until all is written."""
    return settings.compute.work_dir / "encoding" / f"sub-{label}"


def read_participant(
    pre: PreprocessedParticipant, dataset: Dataset, settings: Settings, *, clock: StageClock
) -> ParticipantInput:
    """Read and clean a participant's BOLD once, for all models.

    Raises
    ------
    DataError
        No auditory region overlaps the cortex.
    """
    plan = held_out_plan(pre.participant, settings.selection, dataset.held_out)
    label, compute, encoding = pre.participant.label, settings.compute, settings.encoding
    with clock.stage(f"sub-{label}: reading BOLD"):
        data = load_participant(pre, encoding, compute.work_dir / "tmp")
    if not np.any(data.region > 0):
        raise DataError(f"{pre.dseg}: no auditory region overlaps the cortex mask; check the registration")
    engine = choose_engine(compute.device, encoding.solver, compute.mem_mb)
    fitting = Fitting(encoding, compute.random_seed, engine)
    with clock.stage(f"sub-{label}: recordings, folds, repeats, permutations"):
        recording = recordings([clip.audio for clip in data.clips])
        prepared = prepare_participant(data, plan, fitting, folder=_batches(settings, label), recording=recording)
    shared = ParticipantInput(pre, dataset, prepared)
    for note in shared.notes:
        if note not in pre.participant.notes:  # said when the dataset was read
            _LOG.warning("sub-%s: %s", label, note)
    return shared


def score_candidate(
    shared: ParticipantInput,
    prepared: PreparedModel,
    settings: Settings,
    *,
    clock: StageClock,
    known: dict[str, CorticalScore] | None = None,
) -> ScoredCandidate:
    """Encode and score one participant with one model and its controls.

    Parameters
    ----------
    shared : ParticipantInput
    prepared : PreparedModel
    settings : Settings
    clock : StageClock
    known : dict of fingerprint to CorticalScore, optional
        Controls of models that were scored before: those that models share are scored once. New ones are added.
    """
    known = {} if known is None else known
    data, folds, label = shared.data, shared.prepared.folds, shared.data.label
    n_components, cache = settings.encoding.n_components, settings.compute.work_dir / "features"
    with clock.stage(f"sub-{label}: features of {prepared.name}"):
        design = make_design(data, prepared.model, folds, n_components=n_components, cache=cache)
    with clock.stage(f"sub-{label}: encoding and significance of {prepared.name}"):
        scores = score_model(shared.prepared, design, prepared.model.mapping)
    controls, missing = [], list(prepared.missing)
    with clock.stage(f"sub-{label}: controls of {prepared.name}"):
        for control in progress(prepared.controls, f"sub-{label}: controls of {prepared.name}"):
            try:
                if control.fingerprint not in known:
                    control_design = make_design(data, control, folds, n_components=n_components, cache=cache)
                    known[control.fingerprint] = score_control(shared.prepared, control_design, control.mapping)
                # of equal weights under another name too: rows stand under the name of this model's control
                controls.append(replace(known[control.fingerprint], model=control.name))
            except NotComputable as reason:  # of this control: the model's own scores stand
                missing.append((control.name, str(reason)))
    prepared = replace(prepared, missing=tuple(missing))
    scored = ScoredCandidate(prepared, scores, tuple(controls), design.dimensions, design.notes)
    for note in scored.notes:
        if note not in shared.notes:  # said once for all models
            _LOG.warning("sub-%s, %s: %s", label, prepared.name, note)
    return scored


def _score_and_write(
    shared: ParticipantInput,
    prepared: PreparedModel,
    settings: Settings,
    clock: StageClock,
    known: dict[str, CorticalScore],
) -> Outcome:
    root, label = settings.output.output_dir, shared.data.label
    path = bas_name(label, shared.plan.task_label, prepared.name).path(root)
    scored = score_candidate(shared, prepared, settings, clock=clock, known=known)
    table = table_of(scored)
    with clock.stage(f"sub-{label}: writing {prepared.name}"):
        _write_model(shared, scored, settings)
        facts = model_facts(shared, scored, settings)
        write_draws(root, kept_draws(shared, scored, conditions(shared, settings)), facts)
        whose = {"participant": label, "task": shared.plan.task_label, "model": prepared.name}
        write_confusions(root, prepared.behavior.confusion, facts, **whose)
        write_table(path, table, COLUMNS, facts)
        write_provenance(
            root,
            log_label(label, shared.plan.task_label, prepared.name),
            settings,
            scored.files(shared),
            {"WeightsFingerprint": prepared.model.fingerprint},
        )
    write_summary(root, participant_summary(shared, settings))
    stages = [asdict(stage) for stage in clock.stages]
    write_summary(root, replace(model_summary(shared, scored, settings), stages=stages))
    return Outcome(label, prepared.name, table=table)


def _map_labels(shared: ParticipantInput) -> dict[str, str]:
    """Labels of the names of a participant's maps."""
    return {"participant": shared.data.label, "task": shared.plan.task_label, "space": shared.pre.space}


def _repeats_used(shared: ParticipantInput) -> dict[str, Any]:
    """Facts of every map."""
    repeats = shared.tests.repeats.n_repeats if shared.tests.repeats else 0
    used = f"mean of {repeats} repeats of each clip" if repeats > 1 else "single presentations"
    return {"NumberOfRepeats": repeats, "RepeatsUsed": used}


def _write_ceiling(shared: ParticipantInput, settings: Settings) -> None:
    """Write the maps of the noise ceiling."""
    facts = {key: fact for key, fact in participant_facts(shared, settings).items() if "Permutation" not in key}
    ceilings = {(None, stat): values for stat, values in ceiling_maps(shared.prepared).items()}
    data, metadata = shared.data, {**facts, **_repeats_used(shared)}
    root, labels = settings.output.output_dir, _map_labels(shared)
    write_maps(root, ceilings, mask=data.mask, affine=data.affine, metadata=metadata, **labels)


def _write_model(shared: ParticipantInput, scored: ScoredCandidate, settings: Settings) -> None:
    """Write the maps of one model."""
    root, data, labels = settings.output.output_dir, shared.data, _map_labels(shared)
    metadata = {**model_facts(shared, scored, settings), **_repeats_used(shared)}
    written = write_maps(
        root, scored.scores.maps, mask=data.mask, affine=data.affine, metadata=metadata,
        layers=scored.scores.layers, model=scored.prepared.name, **labels,
    )  # fmt: skip
    remove_stale_maps(root, written, model=scored.prepared.name, **labels)


def table_of(scored: ScoredCandidate) -> pd.DataFrame:
    """Score table: the model, then its controls, then the controls that could not run."""
    model = ModelScores(
        scored.prepared.name,
        "scored",
        scored.scores.cortical,
        scored.prepared.behavior,
        scored.scores.tests,
        scored.prepared.overlap,
    )
    controls = [ModelScores(control.model, "control", control) for control in scored.controls]
    absent = [ModelScores(name, "control", None, reason=reason) for name, reason in scored.prepared.missing]
    return score_table([model, *controls, *absent])


def _reports_only(settings: Settings) -> int:
    """Make the reports anew from the derivatives."""
    root = settings.output.output_dir
    outcomes = []
    for label in settings.selection.participant_labels or load_derivatives(root).participants:
        outcomes.append(Outcome(label, report=render_participant(root, label)))
        _LOG.info("sub-%s: %s", label, outcomes[-1].report)
    _cite(root, outcomes)
    return 0
