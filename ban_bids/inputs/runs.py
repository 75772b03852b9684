"""One participant's runs: which BOLD images there are, and which clips were played in them when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ban_bids.bids.index import Index
from ban_bids.bids.names import entities, entity
from ban_bids.errors import DataError, UnfitRun
from ban_bids.inputs.events import Row, Table, TableReader
from ban_bids.inputs.heldout import check_left_out
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import Clip, HeardRun, Listening, Presentation, Run
from ban_bids.settings import Selection

Heard = TypeVar("Heard", HeardRun, Run)

OVERLAP = 0.1
"""Seconds by which a clip may begin before the last one ended: jitter of measured onsets."""

_PARTS_LEFT_OUT = ("phase", "real", "imag")
_IDENTITY = ("ses", "task", "run", "dir")
_REMEDY = 'choose with --bids-filter-file, e.g. {"bold": {"%s": %s}}'


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key under which ``run-2`` comes before ``run-10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def wanted(path: Path, selection: Selection) -> bool:
    """Whether --session-id and --task-id leave an image in."""
    return (not selection.session_ids or entity(path, "ses") in selection.session_ids) and (
        not selection.task_ids or entity(path, "task") in selection.task_ids
    )


def hear_runs(
    label: str, *, index: Index, stimuli: Stimuli, read: TableReader, selection: Selection
) -> tuple[tuple[HeardRun, ...], tuple[str, ...]]:
    """Choose a participant's BOLD images in which clips were played, and say what was played, from events alone.

    Parameters
    ----------
    label : str
        Participant.
    index : Index
        The dataset's files.
    stimuli : Stimuli
        Resolves rows of events to clips.
    read : callable
        Reads a table, once.
    selection : Selection
        Session and task filters.

    Returns
    -------
    runs : tuple of HeardRun
        Natural order; never two images of one run.
    notes : tuple of str
        Images left out, and why.

    Raises
    ------
    DataError
        None is left, or one that the options name cannot be used, several echoes would be mixed or are several
        images of one run, a sound cannot be used, or a name has no task.
    """
    chosen: list[tuple[Path, Table]] = []
    notes: list[str] = []
    reasons: list[str] = []
    for bold in sorted((path for path in index.images("bold", label) if wanted(path, selection)), key=_natural):
        part = entity(bold, "part")
        if part in _PARTS_LEFT_OUT:
            notes.append(f"{bold.name}: part-{part} left out; magnitude images are used")
            continue
        events = index.companions.inherited(bold, "events.tsv")
        table = read(events[0]) if events else None
        if table is None:
            reasons.append(f"{bold}: no events.tsv for this run; add it beside the image")
        elif not stimuli.describes_clips(table.columns):
            reasons.append(
                f"{table.path}: no column stim_file and no stimulus profile for this dataset; "
                "add stim_file (and stim_start), or a profile as stimuli/ban_bids_profile.toml"
            )
        elif not any(stimuli.audio(row) for row in table.rows):
            reasons.append(f"{table.path}: stim_file is n/a in every row; name the clips that were played")
        else:
            chosen.append((bold, table))
    if not chosen:
        pattern = f"sub-{label}/[ses-*/]func/sub-{label}_*_bold.nii[.gz]"
        raise DataError(reasons[0] if reasons else f"sub-{label}: no BOLD image {pattern}; add it")
    runs, unfit = _understood(chosen, stimuli, selection)
    _refuse_mixtures(runs, label)
    return runs, (*notes, *(f"left out: {reason}" for reason in reasons), *unfit)


def _understood(
    chosen: Sequence[tuple[Path, Table]], stimuli: Stimuli, selection: Selection
) -> tuple[tuple[HeardRun, ...], tuple[str, ...]]:
    """Runs whose events can be laid on the run's clock, and a note on each of the others.

    Raises
    ------
    DataError
        There is none, or the options name one of the others.
    """
    runs: list[HeardRun] = []
    unfit: list[tuple[Listening, UnfitRun]] = []
    for bold, table in chosen:
        try:
            runs.append(heard_run(bold, table, stimuli))
        except UnfitRun as error:
            unfit.append((_unheard(bold, table), error))
    check_left_out(runs, [(run, str(error)) for run, error in unfit], selection)
    return tuple(runs), tuple(f"left out: {run.bold.name}: {error}" for run, error in unfit)


def heard_run(bold: Path, table: Table, stimuli: Stimuli) -> HeardRun:
    """Describe a run by its events.

    Parameters
    ----------
    bold : Path
        Image, for its name only.
    table : Table
        Events.
    stimuli : Stimuli
        Resolves rows to clips.

    Returns
    -------
    HeardRun

    Raises
    ------
    DataError
        As :func:`presentations`, or the name has no task.
    """
    return replace(_unheard(bold, table), presentations=presentations(table, stimuli))


def _unheard(bold: Path, table: Table) -> HeardRun:
    """Describe a run by its name."""
    labels = dict(entities(bold))
    if "task" not in labels:
        raise DataError(f"{bold}: no task- in the file name; rename the file")
    return HeardRun(
        participant=labels["sub"],
        session=labels.get("ses"),
        task=labels["task"],
        run=labels.get("run"),
        entities=entities(bold),
        bold=bold,
        events=table.path,
        presentations=(),
    )


def _refuse_mixtures(runs: Sequence[HeardRun], label: str) -> None:
    """Refuse several images of one run, and several echoes over the runs."""
    seen: dict[tuple[object, ...], HeardRun] = {}
    for run in runs:
        other = seen.setdefault(_identity(run), run)
        if other is run:
            continue
        labels, others = dict(run.entities), dict(other.entities)
        key = next((key for key in (*labels, *others) if labels.get(key) != others.get(key)), "extension")
        kind = "multi-echo series" if key == "echo" else f"several images of one run ({key}- differs)"
        remedy = _REMEDY % (_LONG.get(key, key), '"' + str(labels.get(key)) + '"')
        raise DataError(f"sub-{label}: {kind}, {other.bold.name} and {run.bold.name}, are not mixed; {remedy}")
    several = sorted({entity(run.bold, "echo") or "(none)" for run in runs})
    if len(several) > 1:
        raise DataError(
            f"sub-{label}: BOLD runs with several echo- labels ({', '.join(several)}) are not mixed; "
            + _REMEDY % ("echo", f'"{several[-1]}"')
        )


def _identity(run: HeardRun) -> tuple[object, ...]:
    """What two images of one run share.

    Where no ``run-`` numbers the scans, numbers under ``acq-``, ``rec-`` or ``ce-`` may do so. Two reconstructions of
    one scan may carry them, too: those have the same events.
    """
    labels = dict(run.entities)
    identity = tuple(labels.get(key) for key in _IDENTITY)
    numbers = {key: labels[key] for key in ("acq", "rec", "ce") if labels.get(key, "").isdigit()}
    if run.run is not None or not numbers:
        return identity
    return (*identity, numbers.get("acq"), None if "acq" in numbers else run.presentations)


_LONG = {"acq": "acquisition", "rec": "reconstruction", "ce": "ceagent", "echo": "echo"}


def _onset(row: Row, clip: Clip) -> float:
    """Onset of a row's clip, seconds.

    Raises
    ------
    UnfitRun
    """
    try:
        onset = row.number("onset")
    except DataError as error:
        raise UnfitRun(str(error)) from error
    if onset is None:
        raise UnfitRun(f"{row.where}: onset of {clip.audio.name} is not given; write it in seconds")
    return onset


def presentations(table: Table, stimuli: Stimuli) -> tuple[Presentation, ...]:
    """Clips played in a run, in order of onset.

    Parameters
    ----------
    table : Table
        Events.
    stimuli : Stimuli
        Resolves rows to clips.

    Returns
    -------
    tuple of Presentation
        Rows without a stimulus are passed over.

    Raises
    ------
    UnfitRun
        No onset for a clip, or overlapping clips.
    DataError
        A clip's sound, or what is played of it, cannot be used.
    """
    played: list[tuple[float, int, Presentation]] = []
    for row in table.rows:
        clip = stimuli.clip(row)
        if clip is None:
            continue
        onset = _onset(row, clip)
        played.append((onset, row.line, Presentation(clip, onset)))
    played.sort(key=lambda item: item[:2])
    for (_, _, before), (onset, line, _) in zip(played, played[1:]):
        if onset < before.end - OVERLAP:
            raise UnfitRun(
                f"{table.path}, line {line}: a clip begins at {onset:g} s while the one before lasts to "
                f"{before.end:g} s; overlapping clips are not supported"
            )
    return tuple(item for _, _, item in played)


def mark_lead_ins(runs: Sequence[Heard], rule: str) -> tuple[tuple[Heard, ...], tuple[str, ...]]:
    """Mark the lead-in clips that a profile declares.

    Parameters
    ----------
    runs : sequence of HeardRun or of Run
        One participant's.
    rule : str
        ``first-repeats-last``: a run's first clip is a lead-in where it equals the last clip of the same run
        or of another run of the same task. ``none``: there are none.

    Returns
    -------
    runs : tuple of Run
        With ``Presentation.lead_in`` set.
    notes : tuple of str
        Runs in which the rule does not hold; their first clip is used like any other.
    """
    if rule == "none":
        return tuple(runs), ()
    marked: list[Heard] = []
    notes: list[str] = []
    for run in runs:
        first, *rest = run.presentations
        others = {other.presentations[-1].clip for other in runs if other.task == run.task}
        if rest and first.clip in others:
            first = replace(first, lead_in=True)
        else:
            notes.append(
                f"{run.events.name}: the first clip ({first.clip.track}) ends no run read here, "
                "so it is no lead-in and its rows are used"
            )
        marked.append(replace(run, presentations=(first, *rest)))
    return tuple(marked), tuple(notes)
