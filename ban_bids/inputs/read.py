"""Read a BIDS dataset of music listening, once: events of everyone, images of the participants asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ban_bids.bids.fmriprep_index import with_derivatives
from ban_bids.bids.index import Index, build_index, chosen_labels, outside_scanner, participant_labels
from ban_bids.bids.metadata import load_header
from ban_bids.bids.names import entities, entity
from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.files.progress import progress
from ban_bids.inputs.derivatives import folder_of, name_as_fmriprep, take_derivatives
from ban_bids.inputs.events import TableReader, read_table
from ban_bids.inputs.heldout import check_test_options
from ban_bids.inputs.people import read_choices
from ban_bids.inputs.rules import Profile, choose_profile
from ban_bids.inputs.runs import hear_runs, mark_lead_ins, read_images
from ban_bids.inputs.stimuli import SAME_DURATION, Stimuli
from ban_bids.inputs.types import Dataset, HumanChoices, Listener, Participant, Run
from ban_bids.settings import Selection, Settings

_LOG = logging.getLogger(__name__)
_DESCRIPTION = "dataset_description.json"
_ONE_T1W = ("acq", "ce", "rec", "echo", "inv")


@dataclass(frozen=True)
class _Source:
    """What reading one participant needs."""

    index: Index
    stimuli: Stimuli
    read: TableReader
    settings: Settings


def read_dataset(settings: Settings) -> Dataset:
    """Read the chosen participants, their runs, clips and choices, and what everybody else heard.

    Parameters
    ----------
    settings : Settings
        What the command line asked for: selection, preprocessing, the folder of music (where stimuli may lie)
        and whether anything may be written.

    Returns
    -------
    Dataset
        A participant that cannot be used carries its ``failure``.

    Raises
    ------
    UsageError
        The dataset is missing or empty, or an option names something that is not there.
    DataError
        Something that concerns every participant cannot be used.
    """
    selection = settings.selection
    root = selection.bids_dir
    labels = chosen_labels(root, selection.participant_labels)
    description, notes = _description(selection)
    name, doi = str(description.get("Name") or root.name), description.get("DatasetDOI")
    folders = [
        folder
        for folder in (selection.stimuli_dir, root / "stimuli", settings.models.gtzan_dir)
        if folder is not None and folder.is_dir()
    ]
    profile = choose_profile(name, str(doi) if doi else None, [*folders, root / "code"])
    stimuli, read = Stimuli(folders, profile), cache(read_table)
    outside = outside_scanner(root) - set(labels)
    everyone = [label for label in participant_labels(root) if label not in outside]
    if outside:
        notes.append(f"{len(outside)} participants have no func folder: of them only choices are read")
    index = build_index(selection, everyone, save=not settings.output.dry_run)
    index = with_derivatives(index, settings.preprocessing)
    _check_filters(index, labels, selection)
    source = _Source(index, stimuli, read, settings)
    heard = {label: _listen(label, source) for label in progress(everyone, "Reading events")}
    people = tuple(_participant(heard[label], source) for label in progress(labels, "Reading images"))
    _check_some_usable(people)
    check_test_options([run for person in people for run in person.runs], selection)
    choices = read_choices(root, selection.behavior, stimuli=stimuli, read=read)
    if stimuli.snapped:
        notes.append(
            f"durations of excerpts from {len(stimuli.snapped)} files differ by up to {SAME_DURATION:g} s "
            "between presentations; each excerpt is taken as one clip"
        )
    for note in (*notes, *(f"sub-{person.label}: {note}" for person in people for note in person.notes)):
        _LOG.warning("%s", note)
    return Dataset(
        selection=selection,
        name=name,
        doi=str(doi) if doi else None,
        profile=profile.name if profile else None,
        participants=people,
        listeners=tuple(heard.values()),
        notes=tuple(notes),
        shared_files=_shared_files(root, profile, choices),
        choices=choices,
    )


def _description(selection: Selection) -> tuple[dict[str, Any], list[str]]:
    path = selection.bids_dir / _DESCRIPTION
    if not path.is_file():
        if not selection.skip_bids_validation:
            raise DataError(f"{path}: missing; add it, or give --skip-bids-validation")
        return {}, [f"{_DESCRIPTION} is missing; the dataset is called {selection.bids_dir.name}"]
    description = read_json(path)
    if description.get("DatasetType") == "derivative":
        raise DataError(f"{path}: this is a derivative dataset; give the raw one, and this one with -d NAME=PATH")
    absent = [key for key in ("Name", "BIDSVersion") if not description.get(key)]
    if absent and not selection.skip_bids_validation:
        raise DataError(f"{path}: {' and '.join(absent)} missing; add it, or give --skip-bids-validation")
    return description, []


def _check_filters(index: Index, labels: Sequence[str], selection: Selection) -> None:
    """Check that --session-id and --task-id name something that is there."""
    if not selection.session_ids and not selection.task_ids:
        return
    images = [path for label in labels for path in index.images("bold", label)]
    for option, key, wanted in (
        ("--session-id", "ses", selection.session_ids),
        ("--task-id", "task", selection.task_ids),
    ):
        there = sorted({label for path in images if (label := entity(path, key)) is not None})
        unknown = [label for label in wanted if label not in there]
        if unknown and images:
            raise UsageError(
                f"{option} {' '.join(unknown)}: no such BOLD image; there are: {', '.join(there) or 'none'}"
            )


def _listen(label: str, source: _Source) -> Listener:
    """What a participant heard, from events alone; what makes them unusable becomes the ``failure``."""
    stimuli = source.stimuli
    try:
        runs, notes = hear_runs(
            label, index=source.index, stimuli=stimuli, read=source.read, selection=source.settings.selection
        )
        runs, more = mark_lead_ins(runs, stimuli.profile.lead_in if stimuli.profile else "none")
        runs, echoes = name_as_fmriprep(runs, source.index)
    except DataError as error:
        return Listener(label, (), failure=str(error))
    return Listener(label, runs, notes=(*notes, *more, *echoes))


def _participant(heard: Listener, source: _Source) -> Participant:
    """Read a participant's images; what makes them unusable becomes the ``failure``."""
    label, notes = heard.label, list(heard.notes)
    if heard.failure is not None:
        return Participant(label, (), (), failure=heard.failure)
    try:
        taken, left_out = take_derivatives(heard, source.index, source.settings)
        notes += left_out
        t1w = _anatomy(label, source, notes)
        runs, more = read_images(taken, source.index.companions, source.settings.preprocessing)
        notes += more
    except DataError as error:
        return Participant(label, (), (), failure=str(error), notes=tuple(notes))
    notes += _field_map_notes(label, source)
    return Participant(label, t1w, runs, notes=tuple(notes), files=_files_of(t1w, runs, source.index))


def _anatomy(label: str, source: _Source, notes: list[str]) -> tuple[Path, ...]:
    """T1-weighted images: of the chosen sessions where there are any, of one acquisition."""
    images = [path for path in source.index.images("t1w", label) if entity(path, "part") in (None, "mag")]
    sessions = source.settings.selection.session_ids
    chosen = [path for path in images if not sessions or entity(path, "ses") in (None, *sessions)]
    if images and not chosen:
        notes.append(f"no T1w in session {', '.join(sessions)}; those of other sessions are used")
        chosen = images
    if not chosen:
        if source.settings.preprocessing.derivatives:
            notes.append("no T1w image; the derivatives' anatomy is used")
        return ()  # preprocessing does without, and says so
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path in chosen:
        labels = dict(entities(path))
        groups.setdefault(tuple(labels.get(key, "") for key in _ONE_T1W), []).append(path)
    first = groups[min(groups)]
    if folder_of(source.settings.preprocessing) is not None:
        return _if_readable(first, notes)
    if len(groups) > 1:
        left = ", ".join(path.name for path in chosen if path not in first)
        notes.append(f"several T1w acquisitions: {first[0].name} is used, {left} left out (--bids-filter-file chooses)")
    return _readable(first, notes)


def _readable(paths: Sequence[Path], notes: list[str]) -> tuple[Path, ...]:
    """Images whose header is sound; of several, the others are left out.

    Raises
    ------
    DataError
        None is.
    """
    sound, errors = [], []
    for path in paths:
        try:
            if len(load_header(path).shape) != 3:
                raise DataError(f"{path}: T1w image is not 3-D; restore the image")
            sound.append(path)
        except DataError as error:
            errors.append(error)
    if not sound:
        raise errors[0]
    notes += [f"T1w image left out: {error}" for error in errors]
    return tuple(sound)


def _if_readable(paths: Sequence[Path], notes: list[str]) -> tuple[Path, ...]:
    """Images whose header is sound, none being needed: fMRIPrep's anatomy is used."""
    try:
        return _readable(paths, notes)
    except DataError as error:
        notes.append(f"raw T1w image not read ({error}): not needed, the derivatives' anatomy is used")
        return ()


def _field_map_notes(label: str, source: _Source) -> list[str]:
    """Say that field maps are there and not used, unless nobody would use them anyway."""
    preprocessing, sessions = source.settings.preprocessing, source.settings.selection.session_ids
    if "fieldmaps" in preprocessing.ignore or "fmriprep" in dict(preprocessing.derivatives):
        return []
    images = source.index.images("fmap", label)
    images = [path for path in images if not sessions or entity(path, "ses") in (None, *sessions)]
    if not images:
        return []
    remedy = "" if preprocessing.use_syn_sdc else " (-d fmriprep=PATH takes images corrected with them)"
    return [f"field maps ({len(images)} images) found but not used: distortion is not corrected with them{remedy}"]


def _check_some_usable(people: Sequence[Participant]) -> None:
    """Report who cannot be used; raise where nobody can: then it is the dataset's trouble."""
    failed = [person for person in people if person.failure is not None]
    first = failed[0].failure if len(failed) == len(people) else None
    for person in failed if first is None else failed[1:]:
        _LOG.error("sub-%s cannot be used: %s", person.label, person.failure)
    if first is not None:
        others = f" (and {len(failed) - 1} more participants cannot be used)" if len(failed) > 1 else ""
        raise DataError(f"{first}{others}")


def _files_of(t1w: Sequence[Path], runs: Sequence[Run], index: Index) -> tuple[Path, ...]:
    """Images, sidecars, events and audio of one participant, sorted."""
    files: set[Path] = set()
    for image in t1w:
        files.update((image, *index.companions.inherited(image, "T1w.json")))
    for run in runs:
        made = run.derivative
        images = (run.bold,) if made is None else (made.bold, made.mask, made.confounds)
        files.update((*images, run.events, *index.companions.inherited(run.bold, "bold.json")))
        files.update(clip.audio for clip in run.clips)
    return tuple(sorted(files))


def _shared_files(root: Path, profile: Profile | None, choices: HumanChoices | None) -> tuple[Path, ...]:
    """Files that are used for every participant, sorted."""
    files = {root / _DESCRIPTION} if (root / _DESCRIPTION).is_file() else set()
    if profile is not None:
        files.add(Path(profile.source))
    if choices is not None:
        files.update(choices.files)
        files.update(clip.audio for clip in choices.clips)
    return tuple(sorted(files))
