"""One participant's runs: which BOLD images there are, and which clips were played in them when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ban_bids.bids.index import Index
from ban_bids.bids.names import LONG_NAMES, entity
from ban_bids.errors import DataError
from ban_bids.inputs.events import TableReader
from ban_bids.inputs.hearing import Hearing, run_orders
from ban_bids.inputs.heldout import check_left_out
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import HeardRun, Run
from ban_bids.settings import Selection

Heard = TypeVar("Heard", HeardRun, Run)

_PARTS_LEFT_OUT = ("phase", "real", "imag")
_IDENTITY = ("ses", "task", "run", "dir")
_MULTI_ECHO = (
    "sub-%s: multi-echo series, %s and %s, are not combined here: fMRIPrep combines echoes, so give its output with "
    '-d fmriprep=PATH; or take one echo by --bids-filter-file with {"bold": {"echo": 2}}'
)
_REMEDY = 'choose with --bids-filter-file, e.g. {"bold": {"%s": %s}}'


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
    images = [path for path in index.images("bold", label) if wanted(path, selection)]
    parts = [path for path in images if entity(path, "part") in _PARTS_LEFT_OUT]
    notes = [f"{path.name}: part-{entity(path, 'part')} left out; magnitude images are used" for path in parts]
    orders, gaps = run_orders(_every_image(index, label)) if stimuli.rules.needs_order else ({}, {})
    hearing = Hearing(index.companions, stimuli, read, orders)
    heard = hearing.of(path for path in images if path not in parts)
    if not heard.runs and not heard.unfit:
        raise DataError(heard.reasons[0] if heard.reasons else index.no_bold(label))
    check_left_out(heard.runs, heard.unfit, selection)
    _refuse_mixtures(heard.runs, label)
    tasks = {run.task for run in heard.runs if stimuli.rules.counts(dict(run.entities))}
    return heard.runs, (*notes, *(note for task, note in gaps.items() if task in tasks), *heard.notes)


def _every_image(index: Index, label: str) -> list[Path]:
    """All BOLD images of a participant: a filter must not change the place of those that it leaves in."""
    return index.every_bold(label)


def _refuse_mixtures(runs: Sequence[HeardRun], label: str) -> None:
    """Refuse several images of one run, and several echoes over the runs."""
    seen: dict[tuple[object, ...], HeardRun] = {}
    for run in runs:
        other = seen.setdefault(_identity(run), run)
        if other is run:
            continue
        labels, others = dict(run.entities), dict(other.entities)
        key = next((key for key in (*labels, *others) if labels.get(key) != others.get(key)), "")
        if key == "echo":
            raise DataError(_MULTI_ECHO % (label, other.bold.name, run.bold.name))
        kind = "several images of one run" + (f" ({key}- differs)" if key else "")
        remedy = _choice_of(key, (labels.get(key), others.get(key)), runs)
        raise DataError(f"sub-{label}: {kind}, {other.bold.name} and {run.bold.name}, are not mixed; {remedy}")
    several = sorted({entity(run.bold, "echo") or "(none)" for run in runs})
    if len(several) > 1:
        raise DataError(
            f"sub-{label}: BOLD runs with several echo- labels ({', '.join(several)}) are not mixed; "
            + _REMEDY % ("echo", f'"{several[-1]}"')
        )


def _choice_of(key: str, labels: Sequence[str | None], runs: Sequence[HeardRun]) -> str:
    """How to choose between two images of one run: the filter that leaves in most of the others."""
    if key not in LONG_NAMES or key == "run":  # to a filter run-1 is run-01, and all other runs are left out
        return "rename one of them, or move it out of the folder"
    there = [dict(run.entities).get(key) for run in runs]
    most = max(labels, key=lambda label: (there.count(label), label is not None))
    return _REMEDY % (LONG_NAMES[key], json.dumps(most))


def _identity(run: HeardRun) -> tuple[object, ...]:
    """What two images of one run share.

    Where no ``run-`` numbers the scans, numbers under ``acq-``, ``rec-`` or ``ce-`` may do so. Two reconstructions of
    one scan may carry them, too: those have the same events.
    """
    labels = dict(run.entities)
    labels |= {"run": labels["run"].lstrip("0")} if "run" in labels else {}  # run-1 and run-01 are one
    identity = tuple(labels.get(key) for key in _IDENTITY)
    numbers = {key: labels[key] for key in ("acq", "rec", "ce") if labels.get(key, "").isdigit()}
    if run.run is not None or not numbers:
        return identity
    return (*identity, numbers.get("acq"), None if "acq" in numbers else run.presentations)


def mark_lead_ins(runs: Sequence[Heard], rule: str) -> tuple[tuple[Heard, ...], tuple[str, ...]]:
    """Mark the lead-in clips that the dataset's rules declare.

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
                f"{run.played_by.name}: the first clip ({first.clip.track}) ends no run read here, "
                "so it is no lead-in and its rows are used"
            )
        marked.append(replace(run, presentations=(first, *rest)))
    return tuple(marked), tuple(notes)
