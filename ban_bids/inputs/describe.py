"""What ``--dry-run`` prints: exactly which files would be used, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ban_bids.errors import BanBidsError
from ban_bids.inputs.heldout import held_out_plan, held_out_tracks
from ban_bids.inputs.types import Dataset, Participant, Run
from ban_bids.settings import Models, Selection


def describe_files(dataset: Dataset, models: Models, problems: Mapping[str, str] = MappingProxyType({})) -> str:
    """Describe which files would be used, for people; writes nothing.

    Parameters
    ----------
    dataset : Dataset
    models : Models
        Which model would be scored, and where its weights come from.
    problems : mapping of str to str
        By label, why fMRIPrep's output cannot be used for a participant.

    Returns
    -------
    str
        Participants with images, events, clips and held-out runs; stimuli; choices; notes; every file.
    """
    lines = [f"Dataset: {dataset.name} ({dataset.root})"]
    lines += [f"DOI: {dataset.doi or 'none'}", f"Stimulus profile: {dataset.profile or 'none (stim_file)'}"]
    for person in dataset.participants:
        lines += _person(person, dataset.selection, problems.get(person.label))
    lines += _stimuli(dataset)
    lines += _model(dataset, models)
    lines += [f"Note: {note}" for note in dataset.notes]
    lines += ["", f"Files ({len(dataset.files)}):", *(f"  {path}" for path in dataset.files)]
    return "\n".join(lines)


def _person(person: Participant, selection: Selection, problem: str | None) -> Iterator[str]:
    yield ""
    yield f"sub-{person.label}"
    yield from (f"  Note: {note}" for note in person.notes)
    if failure := person.failure or problem:
        yield f"  CANNOT BE USED: {failure}"
        return
    try:
        plan = held_out_plan(person, selection)
    except BanBidsError as error:
        yield f"  CANNOT BE USED: {error}"
        return
    yield from (f"  T1w: {path}" for path in person.t1w)
    if not person.t1w:
        yield "  T1w: none"
    if person.sessions:
        yield f"  Sessions, pooled: {', '.join(person.sessions)}"
    for run in person.runs:
        yield from _run(run, run.name in plan.held_out)
    yield f"  Held out: {plan.rule}"
    for number, fold in enumerate(plan.folds):
        trained = plan.training(number, person.runs)
        yield f"  Fold {number + 1}: tests on {', '.join(fold)}; trains on {len(trained)} runs"


def _run(run: Run, held_out: bool) -> Iterator[str]:
    lead_ins = sum(item.lead_in for item in run.presentations)
    yield f"  {run.name}{' [held out]' if held_out else ''}"
    length = f"{run.n_volumes} volumes, TR {run.repetition_time:g} s"
    if run.derivative is None:
        yield f"    BOLD: {run.bold} ({length})"
    else:
        yield f"    fMRIPrep's series: {run.derivative.bold} ({length})"
        yield f"    mask, confounds: {run.derivative.mask.name}, {run.derivative.confounds.name}"
    yield f"    events: {run.events}"
    yield (
        f"    clips: {len(run.presentations)} played, {len(run.clips)} distinct"
        + (f", {lead_ins} lead-in" if lead_ins else "")
    )


def _stimuli(dataset: Dataset) -> Iterator[str]:
    runs = [run for person in dataset.participants for run in person.runs]
    clips = {clip for run in runs for clip in run.clips}
    excerpts = Counter(str(clip.audio) for clip in clips)
    yield ""
    yield f"Stimuli: {len(clips)} excerpts from {len(excerpts)} audio files"
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
