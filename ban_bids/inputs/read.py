"""Read a BIDS dataset of music listening, once: events of everyone, images of the participants asked for."""

from __future__ import annotations

import gc
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.bids.fmriprep_index import with_derivatives
from ban_bids.bids.index import Index, build_index, chosen_labels
from ban_bids.bids.listing import list_dataset
from ban_bids.bids.names import entity
from ban_bids.errors import DataError, UsageError, one_reason
from ban_bids.files.fetched import absence
from ban_bids.files.json import read_json
from ban_bids.files.progress import progress
from ban_bids.inputs.anatomy import read_anatomy
from ban_bids.inputs.derivatives import name_as_fmriprep, take_derivatives
from ban_bids.inputs.events import Tables, read_table
from ban_bids.inputs.heldout import check_test_options, unknown_tracks
from ban_bids.inputs.images import read_images
from ban_bids.inputs.missing import Missing, MissingFile, NotThere, missing_message
from ban_bids.inputs.notes import grouped, row_notes, told_once
from ban_bids.inputs.people import given_choices, read_choices
from ban_bids.inputs.rule_files import choose_rules
from ban_bids.inputs.runs import hear_runs, mark_lead_ins
from ban_bids.inputs.stimuli import SAME_DURATION, Stimuli
from ban_bids.inputs.types import Dataset, HeardRun, HumanChoices, Listener, Participant, Run
from ban_bids.settings import Selection, Settings

_LOG = logging.getLogger(__name__)
_DESCRIPTION = "dataset_description.json"


@dataclass(frozen=True)
class _Source:
    """What reading one participant needs."""

    index: Index
    stimuli: Stimuli
    read: Tables
    settings: Settings
    missing: Missing

    @property
    def raw_images(self) -> bool:
        """Whether the raw images themselves are read; fMRIPrep's stand for them."""
        return "fmriprep" not in dict(self.settings.preprocessing.derivatives)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector of garbage from looking for any.

    All that is read is kept. With the events of a thousand people, looking through it took a fifth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_uncollected()
def read_dataset(settings: Settings, *, keep_unusable: bool = False) -> Dataset:
    """Read the chosen participants, their runs, clips and choices, and what everybody else heard.

    Parameters
    ----------
    settings : Settings
        What the command line asked for: selection, preprocessing, the folder of music (where stimuli may lie)
        and whether anything may be written.
    keep_unusable : bool
        Whether a dataset of which nobody can be used is returned all the same, for people to see why.

    Returns
    -------
    Dataset
        A participant that cannot be used carries its ``failure``.

    Raises
    ------
    UsageError
        The dataset is missing or empty, or an option names something that is not there.
    DataError
        Something that concerns every participant cannot be used, or none of them.
    """
    selection = settings.selection
    root = selection.bids_dir
    listing = list_dataset(root)
    labels = chosen_labels(listing, selection.participant_labels)
    description, notes = _description(selection)
    name, doi = str(description.get("Name") or root.name), description.get("DatasetDOI")
    folders = [
        folder
        for folder in (selection.stimuli_dir, root / "stimuli", settings.models.gtzan_dir)
        if folder is not None and folder.is_dir()
    ]
    rules = choose_rules(name, str(doi) if doi else None, root=root, folders=folders, given=selection.rules)
    notes += [] if rules.note is None else [f"{rules.name}: {rules.note}"]
    missing = Missing()
    stimuli, read = Stimuli(folders, rules, root, missing), Tables(read_table)
    outside = listing.outside_scanner - set(labels)
    everyone = [label for label in listing.labels if label not in outside]
    without = f"{len(outside)} participants have no func folder: of them only choices are read"
    notes += [*listing.notes(), *([without] if outside else [])]
    index = with_derivatives(build_index(selection, listing, everyone, save=not settings.output.dry_run), settings)
    notes += index.notes
    _check_filters(index, labels, selection)
    source = _Source(index, stimuli, read, settings, missing)
    heard = _listeners(everyone, labels, source)
    people = tuple(_participant(heard[label], source) for label in progress(labels, "Reading images"))
    if not keep_unusable:
        _check_some_usable(people)
    choices, unheard, more = _choices(source, told=_said(people))
    notes += (*more, *sorted(stimuli.remarks), *_snapped(stimuli))
    if any(person.failure is None for person in people):
        notes += unknown_tracks(tuple(heard.values()), set(labels), selection, rules.held_out)
    if not settings.output.dry_run:  # which shows them beside what they are on
        _log_notes(notes, people)
    return Dataset(
        selection=selection,
        name=name,
        doi=str(doi) if doi else None,
        profile=rules.name,
        participants=people,
        listeners=tuple(heard.values()),
        notes=tuple(notes),
        shared_files=_shared_files(root, stimuli, choices),
        choices=choices,
        held_out=rules.held_out,
        missing=tuple(sorted({*unheard}.union(*(person.missing for person in people)))),
    )


def _listeners(everyone: Sequence[str], labels: Sequence[str], source: _Source) -> dict[str, Listener]:
    """What everybody heard, with a bar where everybody was asked for.

    In one order, whoever was asked for: a clip is what it was when it was first read.

    Raises
    ------
    UsageError
        --test-task or --test-runs names none of the runs of those asked for.
    """
    shown = progress(everyone, "Reading events") if len(labels) == len(everyone) else everyone
    heard = {label: _listen(label, source) for label in shown}
    _check_test_options([heard[label] for label in labels], source.settings.selection)
    return heard


def _check_test_options(heard: Sequence[Listener], selection: Selection) -> None:
    """Check --test-task and --test-runs as soon as the runs of the chosen are known, before images are opened."""
    runs = [run for listener in heard for run in listener.runs]
    all_known = not any(listener.failure or listener.missing for listener in heard)
    try:
        if runs:
            check_test_options(runs, selection)
    except UsageError:
        if all_known:  # else it may name one of the others, and each participant is told
            raise


def _choices(
    source: _Source, told: Collection[str]
) -> tuple[HumanChoices | None, tuple[MissingFile, ...], tuple[str, ...]]:
    """People's choices, of ``--behavior`` or the dataset's own, sounds of theirs that are missing, and notes.

    Where some are missing there are no choices: on a part of the clips the score would be another one.

    Raises
    ------
    DataError
        Some are missing, and the choices were asked for by --behavior.
    """
    behavior, stimuli, read = source.settings.selection.behavior, source.stimuli, source.read
    notes: tuple[str, ...] = ()
    if behavior is not None:
        choices = given_choices(behavior, stimuli=stimuli, read=read)
    else:
        choices, notes = read_choices(source.index.listing, stimuli=stimuli, read=read, told=told)
    unheard = source.missing.taken()
    if not unheard:
        return choices, (), notes
    problem = f"sounds of people's genre choices: {missing_message(unheard)}"
    if behavior is not None and not source.settings.output.dry_run:
        raise DataError(problem)
    return None, unheard, (*notes, f"{problem}; until then no choices are used and the behavioural score is n/a")


def _said(people: Sequence[Participant]) -> list[str]:
    """Everything that is told of the participants asked for, and the paths of files that they miss."""
    paths = (str(file.path) for one in people for file in one.missing)
    return [*paths, *(text for one in people for text in (*one.notes, str(one.failure)))]


def _snapped(stimuli: Stimuli) -> list[str]:
    if not stimuli.snapped:
        return []
    return [
        f"durations of excerpts from {len(stimuli.snapped)} files differ by up to {SAME_DURATION:g} s "
        "between presentations; each excerpt is taken as one clip"
    ]


def _log_notes(notes: Sequence[str], people: Sequence[Participant]) -> None:
    """Warn of everything that was left out or assumed, each kind once."""
    for note in notes:
        _LOG.warning("%s", note)
    for owners, note in grouped((f"sub-{person.label}", note) for person in people for note in person.notes):
        _LOG.warning("%s: %s", _first_of(owners), note)


def _first_of(owners: Sequence[str]) -> str:
    return owners[0] + (f" and {len(owners) - 1} more" if len(owners) > 1 else "")


def _description(selection: Selection) -> tuple[dict[str, Any], list[str]]:
    path = selection.bids_dir / _DESCRIPTION
    if absence(path) == "absent":
        if not selection.skip_bids_validation:
            raise DataError(f"{path}: missing; add it, or give --skip-bids-validation")
        return {}, [f"{_DESCRIPTION} is missing; the dataset is called {selection.bids_dir.name}"]
    description = read_json(path)
    kind = description.get("DatasetType") or ("derivative" if description.get("PipelineDescription") else "raw")
    if str(kind).strip().casefold() == "derivative":  # versions before BIDS 1.4 tell by their pipeline only
        raise DataError(f"{path}: this is a derivative dataset; give the raw one, and fMRIPrep's with -d fmriprep=PATH")
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
    stimuli, missing = source.stimuli, source.missing
    try:
        runs, notes = hear_runs(
            label, index=source.index, stimuli=stimuli, read=source.read, selection=source.settings.selection
        )
        runs, more = mark_lead_ins(runs, stimuli.rules.lead_in)
        runs, echoes = name_as_fmriprep(runs, source.index)
    except NotThere:
        gone = missing.taken()
        return Listener(label, (), failure=missing_message(gone), missing=gone)
    except (DataError, PermissionError) as error:
        return Listener(label, (), failure=one_reason(error), missing=missing.taken())
    return Listener(label, runs, notes=(*notes, *more, *echoes), missing=missing.taken())


def _participant(heard: Listener, source: _Source) -> Participant:
    """Read a participant's images; what makes them unusable becomes the ``failure``."""
    label, missing, settings = heard.label, set(heard.missing), source.settings
    notes = [*source.index.listing.notes(label), *heard.notes]
    try:
        if heard.failure is not None:
            raise DataError(heard.failure)
        missing |= _missing_images(heard.runs, source)
        t1w, anatomical = read_anatomy(label, source.index, settings, source.missing)
        notes += anatomical
        missing |= set(source.missing.taken())
        if missing:
            raise DataError(missing_message(sorted(missing)))
        if source.raw_images:  # else raw voxels are not used
            notes += source.index.check_twins([*t1w, *(run.bold for run in heard.runs)])
        taken, left_out = take_derivatives(heard, source.index, settings, source.stimuli.rules.held_out)
        notes += left_out
        runs, more = read_images(taken, source.index.companions, settings.preprocessing, settings.selection)
    except (DataError, PermissionError) as error:
        missing.update(source.missing.taken())
        told = tuple(told_once(notes))
        return Participant(label, (), (), failure=one_reason(error), notes=told, missing=tuple(sorted(missing)))
    notes += (*more, *row_notes(runs), *_field_map_notes(label, source))
    return Participant(label, t1w, runs, notes=tuple(told_once(notes)), files=_files_of(t1w, runs, source.index))


def _missing_images(runs: Sequence[HeardRun], source: _Source) -> set[MissingFile]:
    """Images of runs and their sidecars that are not there."""
    for run in runs:
        files = [run.bold] if source.raw_images else []
        for path in (*files, *source.index.companions.inherited(run.bold, "bold.json")):
            source.missing.lacks(path)
    return set(source.missing.taken())


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
    kinds = grouped((f"sub-{person.label}", str(person.failure)) for person in failed)
    nobody = len(failed) == len(people)
    for owners, failure in kinds[1:] if nobody else kinds:
        _LOG.error("%s cannot be used: %s", _first_of(owners), failure)
    if nobody:
        several = "1 more participant" if len(failed) == 2 else f"{len(failed) - 1} more participants"
        others = f" (and {several} cannot be used)" if len(failed) > 1 else ""
        raise DataError(f"{failed[0].failure}{others}")


def _files_of(t1w: Sequence[Path], runs: Sequence[Run], index: Index) -> tuple[Path, ...]:
    """Images, sidecars, events and audio of one participant, sorted."""
    files: set[Path] = set()
    for image in t1w:
        files.update((image, *index.companions.inherited(image, "T1w.json")))
    for run in runs:
        made = run.derivative
        files.update((run.bold,) if made is None else (made.bold, made.mask, made.confounds))
        files.update(index.companions.inherited(run.bold, "bold.json"))
        files.update(path for path in (run.events,) if path is not None)
        files.update(clip.audio for clip in run.clips)
    return tuple(sorted(files))


def _shared_files(root: Path, stimuli: Stimuli, choices: HumanChoices | None) -> tuple[Path, ...]:
    """Files that are used for every participant, sorted."""
    files = {root / _DESCRIPTION} if (root / _DESCRIPTION).is_file() else set()
    files.update(stimuli.files)
    if choices is not None:
        files.update(choices.files)
        files.update(clip.audio for clip in choices.clips)
    return tuple(sorted(files))
