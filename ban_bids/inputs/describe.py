"""What ``--dry-run`` prints: what would be used and why, what was passed over, and which files are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ban_bids.errors import BanBidsError
from ban_bids.inputs.fetch import describe_missing
from ban_bids.inputs.heldout import HeldOutPlan, held_out_plan, held_out_tracks
from ban_bids.inputs.missing import missing_message
from ban_bids.inputs.notes import row_notes, some
from ban_bids.inputs.types import Clip, Dataset, HeardRun, Participant, Presentation, Run
from ban_bids.settings import Models

_FIRST_CLIPS = 3
_SHOWN_WHOLE = 3
_FEW_FILES = 200


def why_unusable(person: Participant, dataset: Dataset) -> str | None:
    """Why a participant cannot be scored; None for one who can."""
    if person.failure is not None:
        return person.failure
    try:
        held_out_plan(person, dataset.selection)
    except BanBidsError as error:
        return str(error)
    return None


def describe_files(dataset: Dataset, models: Models, *, everything: bool = False) -> str:
    """Describe what would be used and how, for people; writes nothing.

    Parameters
    ----------
    dataset : Dataset
    models : Models
        Which model would be scored, and where its weights come from.
    everything : bool
        Whether every participant is described run by run, and every file is listed, however many there are.

    Returns
    -------
    str
        Participants with images, first clips and held-out runs; stimuli; choices; notes; files; what is missing.
    """
    lines = [f"Dataset: {dataset.name} ({dataset.root})"]
    lines += [f"DOI: {dataset.doi or 'none'}", f"Stimulus profile: {dataset.profile or 'none (stim_file)'}"]
    lines += _participants(dataset, everything)
    lines += _stimuli(dataset, everything)
    lines += _model(dataset, models)
    lines += [f"Note: {note}" for note in dataset.notes]
    lines += _files(dataset, everything)
    lines += describe_missing(dataset.missing, dataset.root, everything=everything)
    usable = sum(why_unusable(person, dataset) is None for person in dataset.participants)
    lines += ["", f"Participants that can be used: {usable} of {len(dataset.participants)}"]
    return "\n".join(lines)


def _participants(dataset: Dataset, everything: bool) -> Iterator[str]:
    """Participants in full; of many, those who are like one before or after the first few in one line."""
    seen: dict[tuple[str, ...], str] = {}
    brief: dict[str, list[str]] = {}
    whole = 0
    for person in dataset.participants:
        lines = tuple(_person(person, dataset))
        alike = tuple(line.replace(f"sub-{person.label}", "sub-*") for line in lines)
        if everything or alike not in seen and whole < _SHOWN_WHOLE:
            whole += 1
            seen[alike] = f"sub-{person.label}"
            yield from ("", f"sub-{person.label}", *lines)
        else:
            text = f"as {seen[alike]}" if alike in seen else _summary(person, dataset)
            brief.setdefault(text, []).append(f"sub-{person.label}")
    if brief:
        yield ""
    for text, labels in brief.items():
        yield f"{some(labels, 5)}: {text}"
    if brief:
        yield "(-v describes each of them)"


def _heard(person: Participant, dataset: Dataset) -> Sequence[Run | HeardRun]:
    """A participant's runs; as the events alone tell them where images could not be read."""
    if person.failure is None:
        return person.runs
    return next((one.runs for one in dataset.listeners if one.label == person.label), ())


def _summary(person: Participant, dataset: Dataset) -> str:
    """One line on a participant."""
    runs = _heard(person, dataset)
    if not runs:
        return "; ".join(f"cannot be used {why}" for why in _hindrances(person, dataset))
    played = sum(len(run.presentations) for run in runs)
    plan = _plan(person, runs, dataset)
    out = plan if isinstance(plan, str) else f"{len(plan.held_out)} held out ({plan.rule})"
    hindrances = "".join(f"; cannot be used {why}" for why in _hindrances(person, dataset))
    return f"{len(runs)} runs, {played} clips, {out}{hindrances}"


def _plan(person: Participant, runs: Sequence[Run | HeardRun], dataset: Dataset) -> HeldOutPlan | str:
    """Held-out runs, also of a participant of whom only events are known; or why there are none."""
    listener = next((one for one in dataset.listeners if one.label == person.label), None)
    try:
        return held_out_plan(person if person.failure is None or listener is None else listener, dataset.selection)
    except BanBidsError as error:
        return str(error)


def _person(person: Participant, dataset: Dataset) -> Iterator[str]:
    runs = _heard(person, dataset)
    yield from (f"  CANNOT BE USED {why}" for why in _hindrances(person, dataset))
    of_rows = set(row_notes(runs))
    yield from (f"  Note: {note}" for note in person.notes if note not in of_rows)
    yield from (f"  T1w: {_relative(path, dataset)}" for path in person.t1w)
    if not person.t1w and person.failure is None:
        yield "  T1w: none"
    if person.sessions:
        yield f"  Sessions, pooled: {', '.join(person.sessions)}"
    plan = _plan(person, runs, dataset) if runs else ""
    held_out = frozenset() if isinstance(plan, str) else plan.held_out
    for run in runs:
        yield from _run(run, run.name in held_out, dataset)
    if not isinstance(plan, str):
        yield from _held_out(plan, runs)


def _hindrances(person: Participant, dataset: Dataset) -> Iterator[str]:
    """Missing files by their number, for they are listed together; what else is wrong in words."""
    unusable, missing = why_unusable(person, dataset), person.missing
    if missing:
        are = "1 missing file is" if len(missing) == 1 else f"{len(missing)} missing files are"
        yield f"until {are} there (listed at the end)"
    if unusable is not None and not (missing and unusable == missing_message(missing)):
        yield f"because of this: {unusable}"


def _held_out(plan: HeldOutPlan, runs: Sequence[Run | HeardRun]) -> Iterator[str]:
    """Which runs are held out, why, and how many train."""
    yield f"  Held out for scoring: {len(plan.held_out)} of {len(runs)} runs"
    yield f"    why: {plan.rule}"
    if plan.leave_one_out:
        yield f"    {len(plan.folds)} folds: each tests on one run and trains on the others"
        return
    for fold in range(len(plan.folds)):
        yield f"    tests on {', '.join(plan.folds[fold])}; trains on {len(plan.training(fold, runs))} runs"


def _run(run: Run | HeardRun, held_out: bool, dataset: Dataset) -> Iterator[str]:
    lead_ins = sum(item.lead_in for item in run.presentations)
    yield f"  {run.name}{' [held out]' if held_out else ''}"
    image = f"{run.n_volumes} volumes, TR {run.repetition_time:g} s" if isinstance(run, Run) else "not read"
    yield f"    BOLD: {_relative(run.bold, dataset)} ({image})"
    yield f"    events: {_relative(run.events, dataset)}"
    yield (
        f"    clips: {len(run.presentations)} played, {len(run.clips)} distinct"
        + (f", {lead_ins} lead-in" if lead_ins else "")
        + (":" if run.presentations else "")
    )
    gone = {file.path for file in dataset.missing}
    yield from (f"      {_played(item, dataset, gone)}" for item in run.presentations[:_FIRST_CLIPS])
    if len(run.presentations) > _FIRST_CLIPS:
        yield f"      and {len(run.presentations) - _FIRST_CLIPS} more, the last to {run.presentations[-1].end:g} s"
    yield from (f"    {note}" for note in run.row_notes)


def _played(item: Presentation, dataset: Dataset, gone: set[Path]) -> str:
    """Onset, file, start and end of a clip, and what else is special about it."""
    clip: Clip = item.clip
    remarks = [*(["lead-in"] if item.lead_in else []), *(["MISSING"] if clip.audio in gone else [])]
    return (
        f"at {item.onset:8.2f} s  {_relative(clip.audio, dataset)}  {clip.start:g} to {clip.start + clip.duration:g} s"
        + (f"  ({', '.join(remarks)})" if remarks else "")
    )


def _relative(path: Path, dataset: Dataset) -> Path:
    return path.relative_to(dataset.root) if path.is_relative_to(dataset.root) else path


def _stimuli(dataset: Dataset, everything: bool) -> Iterator[str]:
    runs = [run for person in dataset.participants for run in _heard(person, dataset)]
    clips = {clip for run in runs for clip in run.clips}
    excerpts = Counter(str(_relative(clip.audio, dataset)) for clip in clips)
    yield ""
    yield f"Stimuli: {len(clips)} excerpts from {len(excerpts)} audio files"
    if everything or len(excerpts) <= _FEW_FILES:
        yield from (f"  {path}: {count} excerpt{'s' * (count > 1)}" for path, count in sorted(excerpts.items()))
    if dataset.choices is None:
        yield "Human genre choices: none (the behavioural score will be n/a)"
    else:
        yield f"Human genre choices: {len(dataset.choices.table)} from {dataset.choices.source}"


def _model(dataset: Dataset, models: Models) -> Iterator[str]:
    for request in models.requests:
        if request.weights is not None:
            origin = f"weights {request.weights}"
        elif models.gtzan_dir is not None:
            origin = f"trained first on {models.gtzan_dir}, where its kind is trained"
        else:
            origin = "no weights given (--model NAME=WEIGHTS or --gtzan-dir)"
        yield f"Model: {request.name}, {origin}"
    yield f"Held-out tracks that must not train the model: {len(held_out_tracks(dataset))}"


def _files(dataset: Dataset, everything: bool) -> Iterator[str]:
    """Every file that would be used, or their number where there are many."""
    files = dataset.files
    yield ""
    if everything or len(files) <= _FEW_FILES:
        yield f"Files ({len(files)}):"
        yield from (f"  {path}" for path in files)
    else:
        yield f"Files: {len(files)} (-v lists them)"
