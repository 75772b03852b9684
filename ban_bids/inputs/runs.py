"""One participant's runs: which BOLD images are used, and which clips were played in them when."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ban_bids.bids.index import Index
from ban_bids.bids.metadata import Companions
from ban_bids.bids.names import entities, entity
from ban_bids.errors import DataError
from ban_bids.inputs.derivatives import header_of
from ban_bids.inputs.events import Table, TableReader
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.timing import read_run
from ban_bids.inputs.types import HeardRun, Presentation, Run
from ban_bids.settings import Preprocessing, Selection

Heard = TypeVar("Heard", HeardRun, Run)

OVERLAP = 0.1
"""Seconds by which a clip may begin before the last one ended: jitter of measured onsets."""

_PARTS_LEFT_OUT = ("phase", "real", "imag")
_IDENTITY = ("ses", "task", "run", "dir")
_MULTI_ECHO = (
    "sub-%s: multi-echo series, %s and %s, are not combined here: fMRIPrep combines echoes, so give its output with "
    '-d fmriprep=PATH; or take one echo by --bids-filter-file with {"bold": {"echo": 2}}'
)
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
        Natural order; never two images of one run, nor two acquisitions.
    notes : tuple of str
        Images left out, and why.

    Raises
    ------
    DataError
        None is left, several echoes, acquisitions or reconstructions would be mixed, events cannot be used, or a
        name has no task.
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
    _refuse_mixtures([bold for bold, _ in chosen], label)
    runs = tuple(heard_run(bold, table, stimuli) for bold, table in chosen)
    return runs, (*notes, *(f"left out: {reason}" for reason in reasons))


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
        presentations=presentations(table, stimuli),
    )


def _refuse_mixtures(images: Sequence[Path], label: str) -> None:
    """Refuse several images of one run, and several acquisitions over the runs."""
    seen: dict[tuple[str | None, ...], Path] = {}
    for path in images:
        labels = dict(entities(path))
        other = seen.setdefault(tuple(labels.get(key) for key in _IDENTITY), path)
        if other is path:
            continue
        others = dict(entities(other))
        key = next((key for key in (*labels, *others) if labels.get(key) != others.get(key)), "extension")
        if key == "echo":
            raise DataError(_MULTI_ECHO % (label, other.name, path.name))
        kind = f"several images of one run ({key}- differs)"
        remedy = _REMEDY % (_LONG.get(key, key), '"' + str(labels.get(key)) + '"')
        raise DataError(f"sub-{label}: {kind}, {other.name} and {path.name}, are not mixed; {remedy}")
    for key in ("acq", "rec", "ce", "echo"):
        several = sorted({entity(path, key) or "(none)" for path in images})
        if len(several) > 1:
            raise DataError(
                f"sub-{label}: BOLD runs with several {key}- labels ({', '.join(several)}) are not mixed; "
                + _REMEDY % (_LONG[key], f'"{several[-1]}"')
            )


_LONG = {"acq": "acquisition", "rec": "reconstruction", "ce": "ceagent", "echo": "echo"}


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
    DataError
        No onset or duration for a clip, or overlapping clips.
    """
    played: list[tuple[float, int, Presentation]] = []
    for row in table.rows:
        clip = stimuli.clip(row)
        if clip is None:
            continue
        onset = row.number("onset")
        if onset is None:
            raise DataError(f"{row.where}: onset of {clip.audio.name} is not given; write it in seconds")
        played.append((onset, row.line, Presentation(clip, onset)))
    played.sort(key=lambda item: item[:2])
    for (_, _, before), (onset, line, _) in zip(played, played[1:]):
        if onset < before.end - OVERLAP:
            raise DataError(
                f"{table.path}, line {line}: a clip begins at {onset:g} s while the one before lasts to "
                f"{before.end:g} s; overlapping clips are not supported"
            )
    return tuple(item for _, _, item in played)


def _check_fits(run: Run) -> None:
    """Refuse events that go on after the image's end, and volumes that hear nothing."""
    last = run.presentations[-1].end
    if last > run.duration + run.repetition_time:
        raise DataError(
            f"{run.bold}: BOLD lasts {run.duration:g} s ({run.n_volumes} volumes), but events last to {last:g} s "
            f"({run.events.name}); restore the whole image or correct the events"
        )
    if (run.acquisition_time or run.repetition_time) < run.repetition_time and not _hears(run):
        raise DataError(
            f"{run.bold}: sparse sampling, and no volume is taken while a clip plays ({run.events.name}); a "
            "volume counts for the clip it hears: leave the run out by --task-id"
        )


def _hears(run: Run) -> bool:
    """Whether some volume's reference time lies within a clip."""
    times = [run.reference_time + k * run.repetition_time for k in range(run.n_volumes)]
    return any(item.onset <= time < item.end for time in times for item in run.presentations)


def read_images(
    heard: Sequence[HeardRun], companions: Companions, preprocessing: Preprocessing
) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Read the headers of runs' images; ``--ignore slicetiming`` drops slice times.

    Parameters
    ----------
    heard : sequence of HeardRun
    companions : Companions
        Finds the images' sidecars.
    preprocessing : Preprocessing
        ``ignore`` and ``derivatives`` are used.

    Returns
    -------
    runs : tuple of Run
    notes : tuple of str
        What was passed over.

    Raises
    ------
    DataError
        An image cannot be used or does not fit its events, or resolutions or repetition times differ between runs.
    """
    runs: list[Run] = []
    sizes: list[tuple[float, ...]] = []
    noted: dict[str, list[str]] = {}
    for before in heard:
        header = header_of(before, companions.metadata(before.bold))
        run, voxel_size, notes = read_run(before, header.metadata, header.path)
        slice_timing, more = _slice_timing(run.slice_timing, preprocessing)
        _check_fits(run)
        for note in (*header.notes, *notes, *more):
            noted.setdefault(note, []).append(run.bold.name)
        runs.append(replace(run, slice_timing=slice_timing))
        # fMRIPrep's series lie on a grid of their own: only raw images are compared
        sizes.append(voxel_size if header.path == before.bold else ())
    _refuse_resolutions(runs, sizes)
    return tuple(runs), tuple(f"{note} ({names[0]}, {len(names)} of {len(runs)} runs)" for note, names in noted.items())


def _slice_timing(
    times: tuple[float, ...] | None, preprocessing: Preprocessing
) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Slice times, or none where ``--ignore slicetiming`` asks for it; derivatives stay what they are."""
    if "slicetiming" not in preprocessing.ignore or not times:
        return times, ()
    if "fmriprep" in dict(preprocessing.derivatives):
        return times, ("--ignore slicetiming changes nothing in fMRIPrep's derivatives",)
    return None, ("--ignore slicetiming: slice timing is not corrected",)


def _refuse_resolutions(runs: Sequence[Run], sizes: Sequence[tuple[float, ...]]) -> None:
    """Refuse voxel sizes or repetition times that differ between runs."""
    for run, size in zip(runs, sizes):
        if any(abs(a - b) > 0.01 for a, b in zip(size, sizes[0])):
            raise DataError(
                f"{run.bold}: voxels of {_text(size)} mm, but {_text(sizes[0])} mm in {runs[0].bold.name}; "
                "resolutions are not mixed: choose with --task-id, --session-id or --bids-filter-file"
            )
        if abs(run.repetition_time - runs[0].repetition_time) > 1e-3:
            raise DataError(
                f"{run.bold}: RepetitionTime {run.repetition_time:g} s, but {runs[0].repetition_time:g} s in "
                f"{runs[0].bold.name}; they are not mixed: choose with --task-id or --session-id"
            )


def _text(size: Iterable[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in size)


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
