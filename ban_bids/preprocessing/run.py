"""Preprocessing of all participants in one Nipype workflow, or fMRIPrep's derivatives instead."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ban_bids.bids.fmriprep_folder import check_folder
from ban_bids.errors import BanBidsError, DataError, DiskFull
from ban_bids.files.images import open_image, voxel_sizes
from ban_bids.files.json import read_json
from ban_bids.files.room import told_when_full
from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.atlases import find_atlas
from ban_bids.preprocessing.checks import check_confounds, check_names
from ban_bids.preprocessing.distortion import check_phase_encoding
from ban_bids.preprocessing.files import participant_node, participant_of
from ban_bids.preprocessing.fmriprep.ingest import ingest
from ban_bids.preprocessing.on_disk import BRAIN_MM3
from ban_bids.preprocessing.publish import publish
from ban_bids.preprocessing.regions import AtlasFiles, read_atlas
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE, check_space, resolution_mm
from ban_bids.preprocessing.strategies import with_strategy
from ban_bids.settings import Preprocessing, Settings

_WORKFLOW = "preprocessing"
_WORKER_GB = 0.4  # an idle worker with its libraries
_FEWEST_VOLUMES = 5  # after --dummy-scans

_UNFORESEEN = (OSError, EOFError, ValueError, RuntimeError, ArithmeticError, LookupError, TypeError, MemoryError)

Outcome = dict[str, PreprocessedParticipant | BanBidsError]


def preprocess(participants: Sequence[Participant], settings: Settings) -> Outcome:
    """Bring participants' BOLD runs to the output space.

    Parameters
    ----------
    participants : sequence of Participant
    settings : Settings
        ``derivatives`` with a name ``fmriprep`` takes that folder's images instead of making them.

    Returns
    -------
    dict
        By label: what was made, or why it could not be.

    Raises
    ------
    UsageError
        An option cannot be used (space, resolution, confounds, plugin file, a folder that is not fMRIPrep's output).
    DataError
        The atlas cannot be used.
    """
    options, work_dir = settings.preprocessing, settings.compute.work_dir
    check_space(options.space)
    check_names(options)
    check_confounds(options)
    atlas = find_atlas(options.atlas, work_dir / "atlases")
    read_atlas(atlas)
    folder = dict(options.derivatives).get("fmriprep")
    whole = {participant.label: participant for participant in participants}
    each = partial(_each, stop=settings.compute.stop_on_first_crash, folders=(settings.output.output_dir, work_dir))
    outcome = each(whole, partial(_check if folder else _check_raw, options=options))
    if folder is not None:
        output = settings.output.output_dir
        take = partial(ingest, folder=folder, options=options, atlas=atlas, output_dir=output, work_dir=work_dir)
        check_folder(folder, list(whole), settings.selection.bids_dir)
        outcome = each(outcome, take)
    else:
        outcome |= _preprocess_raw([one for one in outcome.values() if isinstance(one, Participant)], settings, atlas)
    return each(outcome, partial(with_strategy, strategy=options.confounds))


def _each(
    subjects: Mapping[str, Any], work: Callable[[Any], Any], *, folders: Sequence[Path], stop: bool = False
) -> dict[str, Any]:
    """Do work for every participant without an error; one that fails keeps its error, and the others go on."""
    outcome = dict(subjects)
    for label, subject in subjects.items():
        if not isinstance(subject, BanBidsError):
            try:
                with told_when_full(*folders):
                    outcome[label] = work(subject)
            except (DataError, DiskFull) as error:
                outcome[label] = error
            except _UNFORESEEN as error:  # of this one's files: where they came from, the log says
                if stop:
                    raise
                outcome[label] = DataError(f"sub-{label}: preprocessing failed, {type(error).__name__}: {error}")
                outcome[label].__cause__ = error
    return outcome


def _check(participant: Participant, options: Preprocessing) -> Participant:
    """Refuse a participant without usable runs.

    Raises
    ------
    DataError
    """
    if participant.failure is not None:
        raise DataError(participant.failure)
    if not participant.runs:
        raise DataError(f"sub-{participant.label}: no run to preprocess")
    shortest = min(participant.runs, key=lambda run: run.n_volumes)
    if shortest.n_volumes - (options.dummy_scans or 0) < _FEWEST_VOLUMES:
        raise DataError(
            f"{shortest.bold}: --dummy-scans {options.dummy_scans} leaves fewer than {_FEWEST_VOLUMES} "
            f"of {shortest.n_volumes} volumes; give a smaller number"
        )
    return participant


def _check_raw(participant: Participant, options: Preprocessing) -> Participant:
    """Refuse T1w space without T1w image, and runs whose header cannot be read or lacks what an option needs.

    Raises
    ------
    DataError
    """
    _check(participant, options)
    if not participant.t1w and options.space == NATIVE:
        raise DataError(f"sub-{participant.label}: --space {NATIVE} without a T1w image; add one, or take {TEMPLATE}")
    for run in participant.runs:
        open_image(run.bold)
    if options.use_syn_sdc:
        check_phase_encoding(participant)
    return participant


def _preprocess_raw(participants: Sequence[Participant], settings: Settings, atlas: AtlasFiles) -> Outcome:
    if not participants:
        return {}
    base, output = settings.compute.work_dir / "nipype", settings.output.output_dir
    set_environment(base)
    for participant in participants:  # of an earlier call: what goes wrong now must not pass for done
        _summary(base, participant.label).unlink(missing_ok=True)
    crashes = _run_workflow(participants, settings, atlas=atlas, base=base)
    stopped = bool(crashes) and settings.compute.stop_on_first_crash

    def finish(participant: Participant) -> PreprocessedParticipant:
        name, summary = participant_node(participant.label), _summary(base, participant.label)
        if name in crashes:
            raise crashes[name]
        if stopped or not summary.is_file():
            raise DataError(f"{participant_of(name)}: preprocessing was stopped before its end; run again")
        return publish(
            participant,
            read_json(summary),
            settings.preprocessing,
            bids_dir=settings.selection.bids_dir,
            output_dir=output,
        )

    everybody = {participant.label: participant for participant in participants}
    return _each(everybody, finish, folders=(output, base), stop=settings.compute.stop_on_first_crash)


def _summary(base: Path, label: str) -> Path:
    """What a participant's workflow writes at its end."""
    return base / _WORKFLOW / participant_node(label) / "collect" / "summary.json"


def set_environment(base: Path) -> None:
    """Keep Nipype off the network and off the home folder; must precede its import."""
    os.environ.setdefault("NO_ET", "1")
    os.environ.setdefault("NIPYPE_NO_ET", "1")
    os.environ.setdefault("LOGNAME", "ban-bids")  # names of cluster jobs; containers leave it out
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    os.environ.setdefault("NIPYPE_CONFIG_DIR", str(base / "config"))
    base.mkdir(parents=True, exist_ok=True)


def _run_workflow(
    participants: Sequence[Participant], settings: Settings, *, atlas: AtlasFiles, base: Path
) -> dict[str, BanBidsError]:
    """Build and run; crashes by workflow name (``sub_<label>``)."""
    from nipype.pipeline.engine import Workflow

    from ban_bids.preprocessing.execution import configure, run_workflow
    from ban_bids.preprocessing.workflows.participant import init_participant_wf

    crash_dir = base / "crash"
    crash_dir.mkdir(parents=True, exist_ok=True)
    configure(
        crash_dir, verbose=bool(settings.output.verbosity), stop_on_first_crash=settings.compute.stop_on_first_crash
    )
    options = settings.preprocessing
    wf = Workflow(name=_WORKFLOW, base_dir=str(base))
    needed = []
    for participant in participants:
        resolution = _resolution(participant, options)
        needed.append(memory_gb(participant, options))
        part = init_participant_wf(participant, options, resolution=resolution, atlas=atlas, mem_gb=needed[-1])
        wf.add_nodes([part])
    return run_workflow(wf, settings.compute, needed_gb=max(needed), crash_dir=crash_dir)


def _resolution(participant: Participant, options: Preprocessing) -> float:
    """Size of the output's voxels, mm."""
    return resolution_mm(options.res, voxel_sizes(open_image(participant.runs[0].bold)))


def memory_gb(participant: Participant, options: Preprocessing) -> float:
    """GB at the peak of the largest run's steps: the series as float32, twice the resampled one, working space.

    Parameters
    ----------
    participant : Participant
    options : Preprocessing
        Its resolution.
    """
    resolution, needs = _resolution(participant, options), []
    for run in participant.runs:
        shape = open_image(run.bold).header["dim"][1:5].astype(float)
        needs.append(1.4 * shape.prod() + 2 * shape[3] * BRAIN_MM3 / resolution**3)
    return round(_WORKER_GB + 4 * max(needs) / 1e9, 2)
