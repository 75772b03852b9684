"""What ``--dry-run`` prints: what would be used and why, what was passed over, and which files are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ban_bids.constants import SHIPPED, SMALL_DATA
from ban_bids.errors import BanBidsError
from ban_bids.inputs.fetch import describe_missing
from ban_bids.inputs.heldout import HeldOutPlan, held_out_plan, held_out_tracks
from ban_bids.inputs.missing import missing_message
from ban_bids.inputs.notes import row_notes, some
from ban_bids.inputs.types import Dataset, HeardRun, Listener, Participant, Presentation, Run
from ban_bids.settings import Models

_FIRST_CLIPS = 3
_SHOWN_WHOLE = 3
_FEW_SOUNDS = 30
_FEW_FILES = 200


@dataclass(frozen=True)
class _Outlook:
    """What becomes of a participant: runs, as far as the events alone tell them, the plan, and what hinders."""

    person: Participant
    runs: Sequence[Run | HeardRun]
    plan: HeldOutPlan | None
    failure: str | None

    @property
    def hindrances(self) -> list[str]:
        """Missing files by their number, for they are listed together; what else is wrong in words."""
        missing = self.person.missing
        found = []
        if missing:
            are = "1 missing file is" if len(missing) == 1 else f"{len(missing)} missing files are"
            found.append(f"until {are} there (listed at the end)")
        if self.failure is not None and not (missing and self.failure == missing_message(missing)):
            found.append(f"because of this: {self.failure}")
        return found

    @property
    def summary(self) -> str:
        """All in one line."""
        unusable = [f"cannot be used {why}" for why in self.hindrances]
        if not self.runs:
            return "; ".join(unusable)
        played = sum(len(run.presentations) for run in self.runs)
        out = [] if self.plan is None else [f"{len(self.plan.held_out)} held out ({self.plan.rule})"]
        return ", ".join([f"{len(self.runs)} runs", f"{played} clips", *out, *unusable])


def _outlook(person: Participant, listener: Listener | None, dataset: Dataset) -> _Outlook:
    known = person if person.failure is None or listener is None else listener
    if not known.runs:
        return _Outlook(person, (), None, person.failure or "no run to score")
    try:
        return _Outlook(person, known.runs, held_out_plan(known, dataset.selection, dataset.held_out), person.failure)
    except BanBidsError as error:
        return _Outlook(person, known.runs, None, person.failure or str(error))


def _outlooks(dataset: Dataset) -> Iterator[_Outlook]:
    listeners = {one.label: one for one in dataset.listeners}
    for person in dataset.participants:
        yield _outlook(person, listeners.get(person.label), dataset)


def anybody_usable(dataset: Dataset) -> bool:
    """Whether any participant asked for can be scored."""
    return any(one.failure is None for one in _outlooks(dataset))


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
    outlooks = list(_outlooks(dataset))
    lines = [f"Dataset: {dataset.name} ({dataset.root})"]
    lines += [f"DOI: {dataset.doi or 'none'}", f"Rules: {dataset.profile or 'none (stim_file)'}"]
    lines += _participants(outlooks, dataset, everything)
    lines += _stimuli(outlooks, dataset, everything)
    lines += _model(dataset, models)
    lines += [f"Note: {note}" for note in dataset.notes]
    lines += _files(dataset, everything)
    lines += describe_missing(dataset.missing, dataset.root, everything=everything)
    usable = sum(one.failure is None for one in outlooks)
    lines += ["", f"Participants that can be used: {usable} of {len(outlooks)}"]
    return "\n".join(lines)


def _participants(outlooks: Sequence[_Outlook], dataset: Dataset, everything: bool) -> Iterator[str]:
    """Participants in full; after the first few, those who are like one of them, or all there is in one line."""
    gone = {file.path for file in dataset.missing}
    seen: dict[tuple[str, ...], str] = {}
    brief: dict[str, list[str]] = {}
    for one in outlooks:
        label = f"sub-{one.person.label}"
        lines = tuple(_person(one, dataset, gone))
        alike = tuple(line.replace(label, "sub-*") for line in lines)
        if everything or (alike not in seen and len(seen) < _SHOWN_WHOLE):
            seen.setdefault(alike, label)
            yield from ("", label, *lines)
        else:
            text = f"as {seen[alike]}" if alike in seen else one.summary.replace(label, "sub-*")
            brief.setdefault(text, []).append(label)
    yield from [""] * bool(brief)
    for text, labels in brief.items():
        yield f"{some(labels, 5)}: {text}"
    yield from ["(-v describes each of them)"] * bool(brief)


def _person(one: _Outlook, dataset: Dataset, gone: Collection[Path]) -> Iterator[str]:
    person, plan = one.person, one.plan
    yield from (f"  CANNOT BE USED {why}" for why in one.hindrances)
    of_rows = set(row_notes(one.runs))  # they stand with the runs
    yield from (f"  Note: {note}" for note in person.notes if note not in of_rows)
    yield from (f"  T1w: {_relative(path, dataset)}" for path in person.t1w)
    if not person.t1w and person.failure is None:
        yield "  T1w: none"
    if person.sessions:
        yield f"  Sessions, pooled: {', '.join(person.sessions)}"
    for run in one.runs:
        yield from _run(run, plan is not None and run.name in plan.held_out, dataset, gone)
    if plan is not None:
        yield from _held_out(plan, one.runs)


def _held_out(plan: HeldOutPlan, runs: Sequence[Run | HeardRun]) -> Iterator[str]:
    """Which runs are held out, why, and how many train."""
    yield f"  Held out for scoring: {len(plan.held_out)} of {len(runs)} runs"
    yield f"    why: {plan.rule}"
    if plan.leave_one_out:
        yield f"    {len(plan.folds)} folds: each tests on one run and trains on the others"
        return
    for fold in range(len(plan.folds)):
        yield f"    tests on {', '.join(plan.folds[fold])}; trains on {len(plan.training(fold, runs))} runs"


def _run(run: Run | HeardRun, held_out: bool, dataset: Dataset, gone: Collection[Path]) -> Iterator[str]:
    lead_ins = sum(item.lead_in for item in run.presentations)
    yield f"  {run.name}{' [held out]' if held_out else ''}"
    image = f"{run.n_volumes} volumes, TR {run.repetition_time:g} s" if isinstance(run, Run) else "not read"
    if run.derivative is None:
        yield f"    BOLD: {_relative(run.bold, dataset)} ({image})"
    else:
        yield f"    fMRIPrep's series: {run.derivative.bold} ({image})"
        yield f"    mask, confounds: {run.derivative.mask.name}, {run.derivative.confounds.name}"
    yield f"    events: {'none needed' if run.events is None else _relative(run.events, dataset)}"
    yield (
        f"    clips: {len(run.presentations)} played, {len(run.clips)} distinct"
        + (f", {lead_ins} lead-in" if lead_ins else "")
        + (":" if run.presentations else "")
    )
    yield from (f"      {_played(item, dataset, gone)}" for item in run.presentations[:_FIRST_CLIPS])
    if len(run.presentations) > _FIRST_CLIPS:
        yield f"      and {len(run.presentations) - _FIRST_CLIPS} more, the last to {run.presentations[-1].end:g} s"
    yield from (f"    {note}" for note in run.row_notes)


def _played(item: Presentation, dataset: Dataset, gone: Collection[Path]) -> str:
    """Onset, file, start and end of a clip, and what else is special about it."""
    clip = item.clip
    remarks = [*(["lead-in"] if item.lead_in else []), *(["MISSING"] if clip.audio in gone else [])]
    return (
        f"at {item.onset:8.2f} s  {_relative(clip.audio, dataset)}  {clip.start:g} to {clip.start + clip.duration:g} s"
        + (f"  ({', '.join(remarks)})" if remarks else "")
    )


def _relative(path: Path, dataset: Dataset) -> Path:
    return path.relative_to(dataset.root) if path.is_relative_to(dataset.root) else path


def _stimuli(outlooks: Sequence[_Outlook], dataset: Dataset, everything: bool) -> Iterator[str]:
    clips = {item.clip for one in outlooks for run in one.runs for item in run.presentations}
    excerpts = Counter(str(_relative(clip.audio, dataset)) for clip in clips)
    yield ""
    yield f"Stimuli: {len(clips)} excerpts from {len(excerpts)} audio files"
    if everything or len(excerpts) <= _FEW_SOUNDS:
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
        elif request.name in SHIPPED:
            origin = f"{SMALL_DATA} that come with ban-bids"
        else:
            origin = "no weights given (--model NAME=WEIGHTS or --gtzan-dir)"
        yield f"Model: {request.name}, {origin}"
    more = ", and those that are missing" if dataset.missing else ""
    yield f"Held-out tracks that must not train the model: {len(held_out_tracks(dataset))}{more}"


def _files(dataset: Dataset, everything: bool) -> Iterator[str]:
    """Every file that would be used, or their number where there are many."""
    files = dataset.files
    yield ""
    if everything or len(files) <= _FEW_FILES:
        yield f"Files that would be used ({len(files)}):"
        yield from (f"  {path}" for path in files)
    else:
        yield f"Files that would be used: {len(files)} (-v lists them)"
