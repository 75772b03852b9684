"""Read a BIDS dataset of music listening: from folders to participants, runs and clips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.bids.index import Index, build_index, chosen_labels, entities, read_json
from ban_bids.errors import DataError, UsageError
from ban_bids.files.progress import progress
from ban_bids.inputs.fieldmaps import field_map_notes
from ban_bids.inputs.heldout import check_test_options
from ban_bids.inputs.people import HumanChoices, read_choices
from ban_bids.inputs.rules import Profile, choose_profile
from ban_bids.inputs.runs import find_runs, mark_lead_ins, read_runs
from ban_bids.inputs.stimuli import SAME_DURATION, Stimuli
from ban_bids.inputs.timing import load_header
from ban_bids.inputs.types import Dataset, Participant
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)
_DESCRIPTION = "dataset_description.json"


@dataclass(frozen=True)
class _Source:
    """What reading one participant needs."""

    index: Index
    stimuli: Stimuli
    profile: Profile | None
    settings: Settings


def read(settings: Settings) -> Dataset:
    """Read a dataset; see ``ban_bids.inputs.types.read_dataset``."""
    root = settings.selection.bids_dir
    labels = chosen_labels(root, settings.selection.participant_labels)
    description, notes = _description(root, settings)
    name, doi = str(description.get("Name") or root.name), description.get("DatasetDOI")
    folders = _stimulus_folders(root, settings)
    profile = choose_profile(name, str(doi) if doi else None, [*folders, root / "code"])
    stimuli = Stimuli(folders, profile)
    index = build_index(root, labels, settings)
    _check_filters(index, labels, settings)
    source = _Source(index, stimuli, profile, settings)
    people = tuple(_participant(label, source) for label in progress(labels, "Reading participants"))
    _check_some_usable(people)
    check_test_options([run for person in people for run in person.runs], settings)
    choices = read_choices(root, settings.selection.behavior, stimuli)
    if stimuli.snapped:
        notes.append(
            f"durations of excerpts from {len(stimuli.snapped)} files differ by up to {SAME_DURATION:g} s "
            "between presentations; each excerpt is taken as one clip"
        )
    for person in people:
        notes += [f"sub-{person.label}: {note}" for note in person.notes]
    for note in notes:
        _LOG.warning("%s", note)
    return Dataset(
        root=root,
        name=name,
        doi=str(doi) if doi else None,
        profile=profile.name if profile else None,
        participants=people,
        notes=tuple(notes),
        files=_files_used(root, people, index, choices),
        choices=choices,
    )


def _description(root: Path, settings: Settings) -> tuple[dict[str, Any], list[str]]:
    path = root / _DESCRIPTION
    if not path.is_file():
        if not settings.selection.skip_bids_validation:
            raise DataError(f"{path}: missing; add it, or give --skip-bids-validation")
        return {}, [f"{_DESCRIPTION} is missing; the dataset is called {root.name}"]
    description = read_json(path)
    if description.get("DatasetType") == "derivative":
        raise DataError(f"{path}: this is a derivative dataset; give the raw one, and this one with -d NAME=PATH")
    absent = [key for key in ("Name", "BIDSVersion") if not description.get(key)]
    if absent and not settings.selection.skip_bids_validation:
        raise DataError(f"{path}: {' and '.join(absent)} missing; add it, or give --skip-bids-validation")
    return description, []


def _stimulus_folders(root: Path, settings: Settings) -> list[Path]:
    candidates = (settings.selection.stimuli_dir, root / "stimuli", settings.models.gtzan_dir)
    return [folder for folder in candidates if folder is not None and folder.is_dir()]


def _check_filters(index: Index, labels: Sequence[str], settings: Settings) -> None:
    """Check that --session-id and --task-id name something that is there."""
    found = [dict(entities(path)) for label in labels for path in index.images("bold", label)]
    for option, key, wanted in (
        ("--session-id", "ses", settings.selection.session_ids),
        ("--task-id", "task", settings.selection.task_ids),
    ):
        there = sorted({own[key] for own in found if key in own})
        unknown = [label for label in wanted if label not in there]
        if unknown and found:
            raise UsageError(
                f"{option} {' '.join(unknown)}: no such BOLD image; there are: {', '.join(there) or 'none'}"
            )


def _participant(label: str, source: _Source) -> Participant:
    """Read a participant; what makes it unusable becomes its ``failure``."""
    notes: list[str] = []
    try:
        t1w = _anatomy(label, source, notes)
        files = find_runs(label, source.index, source.stimuli, source.settings)
        runs = read_runs(files, source.index, source.stimuli, source.settings)
        notes += files.notes
        runs, more = mark_lead_ins(runs, source.profile.lead_in if source.profile else "none")
        notes += more
        notes += field_map_notes(label, runs, source.index, source.settings, source.settings.selection.bids_dir)
        if len(runs) < 2:
            raise DataError(f"{runs[0].bold}: the only run of sub-{label}; held-out scoring needs two or more")
    except DataError as error:
        return Participant(label, (), (), failure=str(error), notes=tuple(notes))
    return Participant(label, t1w, runs, notes=tuple(notes))


def _anatomy(label: str, source: _Source, notes: list[str]) -> tuple[Path, ...]:
    """T1-weighted images: of the chosen sessions where there are any, of one acquisition."""
    found = source.index.images("t1w", label)
    found = [path for path in found if dict(entities(path)).get("part") in (None, "mag")]
    sessions = source.settings.selection.session_ids
    chosen = [path for path in found if not sessions or dict(entities(path)).get("ses") in (None, *sessions)]
    if found and not chosen:
        notes.append(f"no T1w in session {', '.join(sessions)}; those of other sessions are used")
        chosen = found
    if not chosen:
        if source.settings.preprocessing.derivatives:
            notes.append("no T1w image; the derivatives' anatomy is used")
        return ()  # preprocessing does without, and says so
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path in chosen:
        own = dict(entities(path))
        groups.setdefault(tuple(own.get(key, "") for key in ("acq", "ce", "rec", "echo", "inv")), []).append(path)
    first = groups[min(groups)]
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
    found, errors = [], []
    for path in paths:
        try:
            if len(load_header(path).shape) != 3:
                raise DataError(f"{path}: T1w image is not 3-D; restore the image")
            found.append(path)
        except DataError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    notes += [f"T1w image left out: {error}" for error in errors]
    return tuple(found)


def _check_some_usable(people: Sequence[Participant]) -> None:
    """Tell who cannot be used; raise where nobody can: then it is the dataset's trouble."""
    failed = [person for person in people if person.failure is not None]
    first = failed[0].failure if len(failed) == len(people) else None
    for person in failed if first is None else failed[1:]:
        _LOG.error("sub-%s cannot be used: %s", person.label, person.failure)
    if first is not None:
        others = f" (and {len(failed) - 1} more participants cannot be used)" if len(failed) > 1 else ""
        raise DataError(f"{first}{others}")


def _files_used(
    root: Path, people: Sequence[Participant], index: Index, choices: HumanChoices | None
) -> tuple[Path, ...]:
    """Exactly the files that are used, sorted."""
    files: set[Path] = set()
    if (root / _DESCRIPTION).is_file():
        files.add(root / _DESCRIPTION)
    for person in people:
        for image in person.t1w:
            files.update((image, *index.inherited(image, "T1w", ".json")))
        for run in person.runs:
            files.update((run.bold, run.events, *index.inherited(run.bold, "bold", ".json")))
            files.update(clip.audio for clip in run.clips)
    if choices is not None:
        files.update(choices.files)
        files.update(clip.audio for clip in choices.clips)
    return tuple(sorted(files))
