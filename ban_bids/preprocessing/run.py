"""Preprocessing of all participants in one Nipype workflow, or fMRIPrep's derivatives instead."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib

from ban_bids.errors import BanBidsError, DataError
from ban_bids.files.locks import file_locks
from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.atlases import find_atlas
from ban_bids.preprocessing.checks import check_confounds
from ban_bids.preprocessing.distortion import check_phase_encoding
from ban_bids.preprocessing.fmriprep.ingest import ingest
from ban_bids.preprocessing.publish import publish, read_summary
from ban_bids.preprocessing.regions import read_atlas
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE, check_space, resolution_mm
from ban_bids.preprocessing.strategies import with_strategy
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)
_WORKFLOW = "preprocessing"
_WORKER_GB = 0.4  # an idle worker with its libraries
_BRAIN_MM3 = 1.9e6
_FEWEST_VOLUMES = 5  # after --dummy-scans
_ERROR_LINE = re.compile(r"^\s*(?:[\w.]*\.)?(\w*(?:Error|Exception|NotComputable)\w*): (.*)$")

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
        An option cannot be used (space, resolution, confounds, plugin file).
    DataError
        The atlas cannot be used.
    """
    check_space(settings.preprocessing.space)
    check_confounds(settings.preprocessing)
    read_atlas(find_atlas(settings.preprocessing.atlas, settings.compute.work_dir / "atlases"))
    outcome: Outcome = {}
    usable = []
    for participant in participants:
        error = _refusal(participant, settings)
        if error is not None:
            outcome[participant.label] = error
        else:
            usable.append(participant)
    folder = dict(settings.preprocessing.derivatives).get("fmriprep")
    if folder is not None:
        for participant in usable:
            try:
                outcome[participant.label] = ingest(participant, folder, settings)
            except DataError as error:
                outcome[participant.label] = error
    else:
        outcome |= _preprocess_raw(usable, settings)
    return {label: _with_confounds(done, settings) for label, done in outcome.items()}


def _with_confounds(
    done: PreprocessedParticipant | BanBidsError, settings: Settings
) -> PreprocessedParticipant | BanBidsError:
    if isinstance(done, BanBidsError):
        return done
    try:
        return with_strategy(done, settings.preprocessing.confounds)
    except DataError as error:
        return error


def _refusal(participant: Participant, settings: Settings) -> BanBidsError | None:
    if participant.failure is not None:
        return DataError(participant.failure)
    if not participant.runs:
        return DataError(f"sub-{participant.label}: no run to preprocess")
    shortest = min(participant.runs, key=lambda run: run.n_volumes)
    if shortest.n_volumes - (settings.preprocessing.dummy_scans or 0) < _FEWEST_VOLUMES:
        return DataError(
            f"{shortest.bold}: --dummy-scans {settings.preprocessing.dummy_scans} leaves fewer than {_FEWEST_VOLUMES} "
            f"of {shortest.n_volumes} volumes; give a smaller number"
        )
    return None


def _preprocess_raw(participants: Sequence[Participant], settings: Settings) -> Outcome:
    outcome: Outcome = {}
    for participant in participants:
        try:
            _check_images(participant, settings.preprocessing.space)
            if settings.preprocessing.use_syn_sdc:
                check_phase_encoding(participant)
        except DataError as error:
            outcome[participant.label] = error
    rest = [p for p in participants if p.label not in outcome]
    if not rest:
        return outcome
    base = settings.compute.work_dir / "nipype"
    _environment(base)
    # the second of two runs on one participant finds the first one's finished nodes
    with file_locks(base / f"sub-{participant.label}.lock" for participant in rest):
        return outcome | _run_and_publish(rest, settings, base)


def _run_and_publish(participants: Sequence[Participant], settings: Settings, base: Path) -> Outcome:
    outcome: Outcome = {}
    crashes = _run_workflow(participants, settings, base)
    for participant in participants:
        name = f"sub_{participant.label}"
        summary = base / _WORKFLOW / name / "collect" / "summary.json"
        if name in crashes:
            outcome[participant.label] = crashes[name]
        elif not summary.is_file() or (crashes and settings.compute.stop_on_first_crash):
            outcome[participant.label] = DataError(f"{name}: preprocessing was stopped before its end; run again")
        else:
            outcome[participant.label] = publish(participant, read_summary(summary), settings)
    return outcome


def _check_images(participant: Participant, space: str) -> None:
    """Refuse T1w space without T1w image, and a run whose header cannot be read.

    Raises
    ------
    DataError
    """
    if not participant.t1w and space == NATIVE:
        raise DataError(f"sub-{participant.label}: --space {NATIVE} without a T1w image; add one, or take {TEMPLATE}")
    for run in participant.runs:
        try:
            nib.load(run.bold)
        except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
            raise DataError(f"{run.bold}: cannot be read ({error}); fetch the file again") from error


def _environment(base: Path) -> None:
    """Keep Nipype off the network and off the home folder; must precede its import."""
    os.environ.setdefault("NO_ET", "1")
    os.environ.setdefault("NIPYPE_NO_ET", "1")
    os.environ.setdefault("LOGNAME", "ban-bids")  # names of cluster jobs; containers leave it out
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    os.environ.setdefault("NIPYPE_CONFIG_DIR", str(base / "config"))
    base.mkdir(parents=True, exist_ok=True)


def _voxel_sizes(path: Path) -> tuple[float, ...]:
    return tuple(float(size) for size in nib.load(path).header.get_zooms()[:3])


def _memory_gb(participant: Participant, resolution: float) -> float:
    """Peak of the largest run's steps: the series as float32, twice the resampled one, working space."""
    needs = []
    for run in participant.runs:
        shape = nib.load(run.bold).header["dim"][1:5].astype(float)
        needs.append(1.4 * shape.prod() + 2 * shape[3] * _BRAIN_MM3 / resolution**3)
    return round(_WORKER_GB + 4 * max(needs) / 1e9, 2)


def _run_workflow(participants: Sequence[Participant], settings: Settings, base: Path) -> dict[str, BanBidsError]:
    """Build and run; crashes by workflow name (``sub_<label>``)."""
    from nipype.pipeline.engine import Workflow

    from ban_bids.preprocessing.plugin import plugin_of
    from ban_bids.preprocessing.workflows.participant import init_participant_wf

    crash_dir = base / "crash"
    crash_dir.mkdir(parents=True, exist_ok=True)
    seen = set(crash_dir.iterdir())
    _configure(settings, crash_dir)
    wf = Workflow(name=_WORKFLOW, base_dir=str(base))
    atlas = find_atlas(settings.preprocessing.atlas, settings.compute.work_dir / "atlases")
    needed = 0.0
    for participant in participants:
        resolution = resolution_mm(settings.preprocessing.res, _voxel_sizes(participant.runs[0].bold))
        needed = max(needed, memory := _memory_gb(participant, resolution))
        wf.add_nodes([init_participant_wf(participant, settings, resolution, atlas, memory)])
    plugin, arguments = plugin_of(settings)
    name = plugin if isinstance(plugin, str) else type(plugin).__name__
    _LOG.info("preprocessing %d participant(s) with %s", len(participants), name)
    if not isinstance(plugin, str) and needed > plugin.memory_gb:
        _LOG.warning(
            "a run's steps need about %.1f GB and nodes may have %.1f; they run one at a time and may be "
            "killed: raise --mem, or lower the resolution with --res",
            needed,
            plugin.memory_gb,
        )
    try:
        wf.run(plugin=plugin, plugin_args=arguments)
    except RuntimeError as error:
        _LOG.debug("Nipype: %s", error)
        crashes = _read_crashes(sorted(set(crash_dir.iterdir()) - seen))
        if not crashes:
            raise DataError(f"preprocessing failed without a crash file: {error}") from error
        return crashes
    return {}


def _configure(settings: Settings, crash_dir: Path) -> None:
    from nipype import config
    from nipype import logging as nipype_logging

    # nipype writes every node's start and end to stdout, where the score table goes
    level = "INFO" if settings.output.verbosity else "WARNING"
    config.update_config(
        {
            "execution": {
                "crashdump_dir": str(crash_dir),
                "crashfile_format": "txt",
                "hash_method": "content",
                "use_relative_paths": "true",
                "stop_on_first_crash": str(settings.compute.stop_on_first_crash).lower(),
                "remove_unnecessary_outputs": "false",
                "create_report": "false",
                "check_version": "false",
                "poll_sleep_duration": "0.2",
            },
            "logging": {
                "log_to_file": "false",
                **dict.fromkeys(("workflow_level", "interface_level", "utils_level"), level),
            },
        }
    )
    nipype_logging.update_logging(config)
    # nodes run in processes of their own, which read their configuration from a file
    levels = "".join(f"{name}_level = {level}\n" for name in ("workflow", "interface", "utils"))
    folder = Path(os.environ["NIPYPE_CONFIG_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nipype.cfg").write_text(f"[logging]\n{levels}", encoding="utf-8")


def _read_crashes(files: Sequence[Path]) -> dict[str, BanBidsError]:
    """First crash of each participant as one line: what is wrong, the step, the crash file."""
    crashes: dict[str, BanBidsError] = {}
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        node = re.search(r"^Node: (\S+)", text, re.MULTILINE)
        parts = node.group(1).split(".") if node else []
        name = parts[1] if len(parts) > 1 else "unknown"
        step = ".".join(parts[2:]) or "unknown"
        found = [match for line in text.splitlines() if (match := _ERROR_LINE.match(line))]
        kind, message = found[-1].groups() if found else ("", "see the crash file")
        if kind not in ("DataError", "UsageError", "KilledError"):
            message = f"{name.replace('_', '-', 1)}: {kind} {message}"
        crashes.setdefault(name, DataError(f"{message} (step {step}; details in {path})"))
    return crashes
