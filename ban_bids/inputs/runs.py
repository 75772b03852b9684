"""One participant's runs: which BOLD images are used, and which clips were played in them when."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ban_bids.bids.index import Index
from ban_bids.bids.metadata import Companions
from ban_bids.bids.names import entities, entity
from ban_bids.errors import DataError
from ban_bids.inputs.events import TableReader
from ban_bids.inputs.played import Setting, played, presentations, rows_of
from ban_bids.inputs.rules import Rule, repetition_time_of
from ban_bids.inputs.starting_rule import nothing_heard, starting_rule
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.timing import read_run
from ban_bids.inputs.types import HeardRun, Run
from ban_bids.settings import Preprocessing, Selection

Heard = TypeVar("Heard", HeardRun, Run)

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
        Natural order; never two images of one run, nor two acquisitions.
    notes : tuple of str
        Images left out, and why.

    Raises
    ------
    DataError
        None is left, several echoes, acquisitions or reconstructions would be mixed, events cannot be used, or a
        name has no task.
    """
    images = index.images("bold", label)
    notes = [
        f"{path.name}: part-{entity(path, 'part')} left out; magnitude images are used"
        for path in images
        if wanted(path, selection) and entity(path, "part") in _PARTS_LEFT_OUT
    ]
    whole = [path for path in images if entity(path, "part") not in _PARTS_LEFT_OUT]
    orders, more = run_orders(_every_image(index, label)) if stimuli.rules.needs_order else ({}, ())
    hearing = Hearing(index.companions, stimuli, read, orders)
    runs, reasons = hearing.of([path for path in whole if wanted(path, selection)])
    if not runs:
        pattern = f"sub-{label}/[ses-*/]func/sub-{label}_*_bold.nii[.gz]"
        raise DataError(reasons[0] if reasons else f"sub-{label}: no BOLD image {pattern}; add it")
    _refuse_mixtures([run.bold for run in runs], label)
    return runs, (*notes, *more, *(f"left out: {reason}" for reason in reasons))


def _every_image(index: Index, label: str) -> list[Path]:
    """All BOLD images of a participant: a filter must not change the place of those that it leaves in."""
    return replace(index, queries={"bold": {"datatype": "func", "suffix": "bold"}}).images("bold", label)


def run_identity(path: Path) -> tuple[tuple[str, str], ...]:
    """What tells one run's images from another's: not its echo, nor its phase or reconstruction."""
    return tuple((key, label) for key, label in entities(path) if key not in ("echo", "part", "rec"))


def run_orders(images: Iterable[Path]) -> tuple[dict[tuple[tuple[str, str], ...], int], tuple[str, ...]]:
    """Place of each run among the runs of its task, from 1, in natural order over sessions.

    Parameters
    ----------
    images : iterable of Path
        All BOLD images of a participant, chosen or not.

    Returns
    -------
    orders : dict
        By the entities that tell runs apart.
    notes : tuple of str
        Tasks whose runs are not numbered through, for a run that was lost changes the place of those after it.
    """
    orders: dict[tuple[tuple[str, str], ...], int] = {}
    labels: dict[str | None, list[str]] = {}
    for path in sorted(images, key=_natural):
        task, identity = entity(path, "task"), run_identity(path)
        if identity not in orders:
            labels.setdefault(task, []).append(entity(path, "run") or "")
            orders[identity] = len(labels[task])
    notes = []
    for task, numbers in labels.items():
        found = [int(number) for number in numbers if number.isdigit()]
        rising = sorted(set(found)) == sorted(found) and len(found) == len(numbers) > 0
        if rising and max(found) - min(found) + 1 != len(found):
            notes.append(
                f"task-{task}: runs are counted in the order {', '.join(numbers)}, whose numbers leave gaps; if a run "
                "is missing, those after it get another's sound: name the files by {run} in the rule"
            )
    return orders, tuple(notes)


@dataclass(frozen=True)
class Hearing:
    """What finding out what was played in runs needs.

    Parameters
    ----------
    companions : Companions
        Finds events and sidecars.
    stimuli : Stimuli
    read : callable
        Reads a table, once.
    orders : Mapping
        Of :func:`run_orders`; empty where no rule asks for it.
    """

    companions: Companions
    stimuli: Stimuli
    read: TableReader
    orders: Mapping[tuple[tuple[str, str], ...], int] = field(default_factory=dict)

    def of(self, images: Iterable[Path]) -> tuple[tuple[HeardRun, ...], tuple[str, ...]]:
        """Runs in which something was played, in natural order, and why each other image is left out."""
        runs: list[HeardRun] = []
        reasons: list[str] = []
        unruled: list[str] = []
        for bold in sorted(images, key=_natural):
            found = self.run(bold)
            if isinstance(found, HeardRun):
                runs.append(found)
            elif found is None:
                unruled.append(bold.name)
            else:
                reasons.append(found)
        if unruled:
            names = ", ".join(unruled[:2]) + (", ..." if len(unruled) > 2 else "")
            what = "1 run" if len(unruled) == 1 else f"{len(unruled)} runs"
            reasons.append(f"{what} that no rule in {self.stimuli.rules.source} is for ({names}); see runs in its rules")
        return tuple(runs), tuple(reasons)

    def run(self, bold: Path) -> HeardRun | str | None:
        """What was played in a run; why it cannot be told; or None where no rule is for the run.

        Raises
        ------
        DataError
            Events cannot be used, or the name has no task.
        """
        labels, rules = dict(entities(bold)), self.stimuli.rules.of(dict(entities(bold)))
        if not rules:
            return None
        table = None
        if rules[0].events == "table":
            events = self.companions.inherited(bold, "events.tsv")
            if not events:
                return f"{bold}: no events.tsv for this run; add it beside the image"
            table = self.read(events[0])
            if all(rule.bids for rule in rules) and not self.stimuli.describes_clips(table.columns):
                return starting_rule(table, self.stimuli)
        if "task" not in labels:
            raise DataError(f"{bold}: no task- in the file name; rename the file")
        order = self.orders.get(run_identity(bold))
        self._check_number(labels, rules)
        setting = Setting(
            labels if order is None else {**labels, "order": str(order)},
            lambda: repetition_time_of(self.companions.metadata(bold)),
        )
        items, notes = played(rows_of(table, bold), rules, self.stimuli, setting)
        if not items:
            return nothing_heard(table, rules, notes) if table is not None else f"{bold}: {'; '.join(notes)}"
        return HeardRun(
            participant=labels["sub"],
            session=labels.get("ses"),
            task=labels["task"],
            run=labels.get("run"),
            entities=entities(bold),
            bold=bold,
            events=None if table is None else table.path,
            presentations=presentations(items),
            row_notes=notes,
        )

    def _check_number(self, labels: Mapping[str, str], rules: Sequence[Rule]) -> None:
        """Refuse other numbers of runs than a rule's ``of``: every later run would get another's sound."""
        n_runs = sum(("task", labels["task"]) in identity for identity in self.orders)
        for rule in rules:
            if rule.of is not None and n_runs != rule.of:
                raise DataError(
                    f"sub-{labels['sub']} has {n_runs} runs of task-{labels['task']} where {rule.where} needs "
                    f"{rule.of} to tell which file each heard; fetch all of them, or give --rules with the files' names"
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
        kind = "multi-echo series" if key == "echo" else f"several images of one run ({key}- differs)"
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


def events_name(run: HeardRun | Run) -> str:
    """Name of the table of events, or of the image where the rule needs none."""
    return (run.events or run.bold).name


def _check_fits(run: Run) -> None:
    """Refuse events that go on after the image's end, and volumes that hear nothing."""
    last = run.presentations[-1].end
    if last > run.duration + run.repetition_time:
        raise DataError(
            f"{run.bold}: BOLD lasts {run.duration:g} s ({run.n_volumes} volumes), but events last to {last:g} s "
            f"({events_name(run)}); restore the whole image or correct the events"
        )
    if (run.acquisition_time or run.repetition_time) < run.repetition_time and not _hears(run):
        raise DataError(
            f"{run.bold}: sparse sampling, and no volume is taken while a clip plays ({events_name(run)}); a "
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
        run, voxel_size, notes = read_run(before, companions.metadata(before.bold))
        slice_timing, more = _slice_timing(run.slice_timing, preprocessing)
        _check_fits(run)
        for note in (*notes, *more):
            noted.setdefault(note, []).append(run.bold.name)
        runs.append(replace(run, slice_timing=slice_timing))
        sizes.append(voxel_size)
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
                f"{events_name(run)}: the first clip ({first.clip.track}) ends no run read here, "
                "so it is no lead-in and its rows are used"
            )
        marked.append(replace(run, presentations=(first, *rest)))
    return tuple(marked), tuple(notes)
