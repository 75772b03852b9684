"""Which runs are held out for scoring, and which tracks the model may therefore not have trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ban_bids.errors import BanBidsError, DataError, UsageError
from ban_bids.inputs.missing import missing_message
from ban_bids.inputs.notes import some
from ban_bids.inputs.types import Clip, Dataset, Listener, Listening, Participant
from ban_bids.settings import Selection

_ALL = "all"
_FAIR_SHARE = 0.25
"""Share of a run's sound that must be repeated; by the share alone one clip would do in a run of four."""

_FEWEST_CLIPS = 2
_FEWEST_TRAINING_RUNS = 2
_MORE_OFTEN = 2
"""Held-out runs are heard so many times as often as those that train, at least."""


@dataclass(frozen=True)
class HeldOutPlan:
    """Folds of held-out runs.

    Parameters
    ----------
    folds : tuple of tuple of str
        Names of the held-out runs of every fold (``Run.name``).
    rule : str
        Sentence saying which rule chose them.
    task_label : str
        Alphanumeric label of the held-out task, for the ``task-`` entity of outputs.
    leave_one_out : bool
        Whether all runs are held out in turn: other folds' runs train a fold.
    """

    folds: tuple[tuple[str, ...], ...]
    rule: str
    task_label: str
    leave_one_out: bool = False

    @property
    def held_out(self) -> frozenset[str]:
        """Names of the runs held out in any fold."""
        return frozenset(name for fold in self.folds for name in fold)

    def training(self, fold: int, runs: Sequence[Listening]) -> tuple[str, ...]:
        """Names of a fold's training runs, in the order of ``runs``.

        With leave-one-run-out these are all other runs; else all runs that no fold holds out.
        """
        out = frozenset(self.folds[fold]) if self.leave_one_out else self.held_out
        return tuple(run.name for run in runs if run.name not in out)


def times_heard(run: Listening, runs: Sequence[Listening]) -> int:
    """How often a fair share of a run's sound is heard, over all runs and sessions, lead-ins aside.

    Parameters
    ----------
    run : Listening
    runs : sequence of Listening
        The participant's, the run among them.

    Returns
    -------
    int
        The largest n for which clips that are heard n times or more make up a quarter of the run's sound, and are two
        different ones at least. One clip alone counts where it is all that the run holds, and then as often as it is
        heard in runs that hold nothing else. 0 for a run of lead-ins.
    """
    numbers: dict[Clip, int] = {}
    played = [_played(other, numbers) for other in runs]
    return _times_heard(_played(run, numbers), played, _total(played), list(numbers))


def _times_heard(mine: Counter[int], played: Sequence[Counter[int]], total: Counter[int], clips: Sequence[Clip]) -> int:
    """As :func:`times_heard`, of the clips (by number) that were played in one run, in each, and in all."""
    if not mine:
        return 0
    counts = total if len(mine) > 1 else _total(one for one in played if one.keys() == mine.keys())
    needed = _FAIR_SHARE * sum(clips[clip].duration * n for clip, n in mine.items())
    seconds, different = 0.0, 0
    for clip in sorted(mine, key=lambda clip: -counts[clip]):
        seconds, different = seconds + clips[clip].duration * mine[clip], different + 1
        if seconds >= needed and different >= min(_FEWEST_CLIPS, len(mine)):
            return counts[clip]
    return counts[clip]


def _played(run: Listening, numbers: dict[Clip, int]) -> Counter[int]:
    """How often each clip was played, clips by number: comparing two of them costs more than all the rest."""
    return Counter(numbers.setdefault(item.clip, len(numbers)) for item in run.presentations if not item.lead_in)


def _total(played: Iterable[Counter[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for one in played:
        total.update(one)
    return total


def _index(label: str) -> str:
    """Index of a run, whatever zeros it is written with."""
    return str(int(label)) if label.isdigit() else label


def _matches(run: Listening, label: str) -> bool:
    if label in (run.name, f"sub-{run.participant}_{run.name}"):
        return True
    return run.run is not None and _index(label.removeprefix("run-")) == _index(run.run)


def _known(runs: Sequence[Listening]) -> str:
    return ", ".join(run.name for run in runs)


def _select(runs: Sequence[Listening], selection: Selection) -> list[Listening]:
    """Runs that --test-task and --test-runs name, in the order of ``runs``."""
    tasks = sorted({run.task for run in runs})
    unknown = [task for task in selection.test_tasks if task not in tasks]
    if unknown:
        raise UsageError(f"--test-task {' '.join(unknown)}: no such task; there are: {', '.join(tasks)}")
    chosen = [run for run in runs if not selection.test_tasks or run.task in selection.test_tasks]
    labels = tuple(label for label in selection.test_runs if label != _ALL)
    missing = [label for label in labels if not any(_matches(run, label) for run in chosen)]
    if missing:
        raise UsageError(f"--test-runs {' '.join(missing)}: no such run; there are: {_known(chosen)}")
    return [run for run in chosen if not labels or any(_matches(run, label) for label in labels)]


def check_test_options(runs: Sequence[Listening], selection: Selection) -> None:
    """Check that --test-task and --test-runs name something among all participants' runs.

    Raises
    ------
    UsageError
        An unknown label; the message lists those there.
    """
    if _ALL in selection.test_runs and len(selection.test_runs) > 1:
        raise UsageError("--test-runs all goes alone: it holds out every run in turn")
    _select(list({run.name: run for run in runs}.values()), selection)


def check_left_out(runs: Sequence[Listening], left_out: Sequence[tuple[Listening, str]], selection: Selection) -> None:
    """Refuse to leave out runs that the options name, and more than can be spared.

    Parameters
    ----------
    runs : sequence of Listening
        What is left of a participant's.
    left_out : sequence of (Listening, str)
        Runs that cannot be used, and why.
    selection : Selection
        ``test_tasks`` and ``test_runs`` are used.

    Raises
    ------
    DataError
        No run is left, or --test-runs names one of those left out, or no run of --test-task is left, or none that
        would train.
    """
    if not left_out:
        return
    first, reason = left_out[0]
    if not runs:
        raise DataError(reason + (f" (and {len(left_out) - 1} more runs cannot be used)" if len(left_out) > 1 else ""))
    tasks = {run.task for run in runs}.intersection(selection.test_tasks)
    labels = [label for label in selection.test_runs if label != _ALL]
    for run, why in left_out:
        asked = not selection.test_tasks or run.task in selection.test_tasks
        if asked and any(_matches(run, label) for label in labels):
            raise DataError(f"{why} (--test-runs names this run: mend it, or name others)")
        if asked and selection.test_tasks and not tasks:
            raise DataError(f"{why} (no run of --test-task {' '.join(selection.test_tasks)} is left)")
    try:
        _choose(first.participant, runs, selection, None)
    except UsageError as error:
        raise DataError(f"{reason} (this run is left out, and then {error})") from error


def held_out_plan(
    participant: Participant | Listener,
    selection: Selection,
    declared: Mapping[str, Sequence[str]] | None = None,
) -> HeldOutPlan:
    """Choose a participant's held-out runs.

    Given by ``--test-task`` and ``--test-runs`` (``all``: every run in turn); or else declared by the dataset's rules;
    or else the runs a fair share of whose sound – a quarter, and two clips or all of it – is heard at least twice as
    often, counted over all runs and sessions, as that of the other runs, if two of those remain to train on; or else
    every run in turn. Which rows of them train which fold, `ban_bids.encoding.folds` decides.

    Parameters
    ----------
    participant : Participant or Listener
    selection : Selection
        ``test_tasks`` and ``test_runs`` are used.
    declared : mapping of str to sequence of str, optional
        Entity (``task``, ``run``, ``ses``, ``acq``, …) to patterns (``*``, ``?``): a run is held out where a pattern
        fits its label in each of them; a label that is absent is the empty text.

    Returns
    -------
    HeldOutPlan
        One fold with all held-out runs, or one fold per run (``leave_one_out``); its ``rule`` says why these.

    Raises
    ------
    UsageError
        The options name runs that are not there, or leave none to train on.
    DataError
        The participant has no run.
    """
    runs: Sequence[Listening] = participant.runs
    if not runs:
        raise DataError(f"sub-{participant.label}: no run to score; check --task-id and --session-id")
    check_test_options(runs, selection)
    return _choose(participant.label, runs, selection, declared)


def _choose(
    label: str, runs: Sequence[Listening], selection: Selection, declared: Mapping[str, Sequence[str]] | None
) -> HeldOutPlan:
    if _ALL in selection.test_runs:
        return _plan(_select(runs, selection), "--test-runs all: every run is held out in turn", in_turn=True)
    if selection.test_tasks or selection.test_runs:
        chosen = _select(runs, selection)
        if len(chosen) == len(runs):
            raise UsageError(
                f"--test-task/--test-runs hold out every run of sub-{label} ({_known(runs)}); "
                "leave some to train on, or give --test-runs all"
            )
        return _plan(chosen, "named by --test-task/--test-runs")
    if declared is None:
        return _by_repeats(runs, "")
    chosen = [run for run in runs if _declared(run, declared)]
    asked = ", ".join(f"{key}-{pattern}" for key, patterns in declared.items() for pattern in _several(patterns))
    if 0 < len(chosen) < len(runs):
        return _plan(chosen, f"declared by the dataset's rules ({asked})")
    return _by_repeats(
        runs, f"the dataset's rules ({asked}) hold out {'every run' if chosen else 'none of the runs'}; "
    )


def _several(patterns: Sequence[str]) -> Sequence[str]:
    return (patterns,) if isinstance(patterns, str) else patterns


def _declared(run: Listening, declared: Mapping[str, Sequence[str]]) -> bool:
    """Whether each entity's label fits one of its patterns; ``run-1`` is ``run-01``."""
    labels = dict(run.entities)
    return all(
        any(
            fnmatchcase(labels.get(key, ""), pattern) or _index(labels.get(key, "")) == _index(pattern)
            for pattern in some
        )
        for key, some in ((key, _several(patterns)) for key, patterns in declared.items())
    )


def _by_repeats(runs: Sequence[Listening], before: str) -> HeldOutPlan:
    """Runs that are heard more often than the others; or all in turn."""
    numbers: dict[Clip, int] = {}
    played = [_played(run, numbers) for run in runs]
    total, clips = _total(played), list(numbers)
    times = [_times_heard(mine, played, total, clips) for mine in played]
    for often in sorted(set(times)):
        others = [n for n in times if n < often]
        if len(others) >= _FEWEST_TRAINING_RUNS and often >= _MORE_OFTEN * max(1, *others):
            chosen = [run for run, n in zip(runs, times) if n >= often]
            heard = f"{_times(often)}{' or more' * (often < max(times))} over all runs"
            why = f"a quarter or more of their sound is heard {heard}, that of the others {_times(max(others))}"
            return _plan(chosen, before + why)
    why = "fewer than two training runs would remain" if max(times) > 1 else "no run repeats clips"
    if len(runs) == 1:
        why = "one run only"
    return _plan(runs, f"{before}{why}: all is held out in turn", in_turn=True)


def _times(n: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n} times")


def _plan(runs: Sequence[Listening], rule: str, *, in_turn: bool = False) -> HeldOutPlan:
    names = tuple(run.name for run in runs)
    task_label = "".join(dict.fromkeys(run.task for run in runs))
    return HeldOutPlan(tuple((name,) for name in names) if in_turn else (names,), rule, task_label, in_turn)


def held_out_tracks(dataset: Dataset) -> frozenset[Path]:
    """Audio files heard in any held-out run of any participant of the dataset, lead-ins included.

    All participants count, not only those chosen: the model is trained once for all of them, also when every
    participant is a job of its own. Where a run of a chosen one was left out for its image, both what is held out with
    it and what is held out without it count.

    Parameters
    ----------
    dataset : Dataset
        Its ``listeners`` are everyone, whoever was chosen.

    Returns
    -------
    frozenset of Path
        Files that must not train or validate the model.
    """
    people: list[Listener | Participant] = [*dataset.listeners, *dataset.usable]
    tracks: set[Path] = set()
    for person in people:
        found = _held_out_sounds(person, dataset.selection, dataset.held_out)
        if not isinstance(found, str):
            tracks |= found - {file.path for file in person.missing}
    return frozenset(tracks)


def _held_out_sounds(
    person: Participant | Listener, selection: Selection, declared: Mapping[str, Sequence[str]] | None
) -> frozenset[Path] | str:
    """Audio files of a person's held-out runs, or why they are unknown."""
    if person.failure is not None:
        return person.failure
    try:
        held_out = held_out_plan(person, selection, declared).held_out
    except BanBidsError as error:
        return str(error)
    return frozenset(item.clip.audio for run in person.runs if run.name in held_out for item in run.presentations)


def unknown_tracks(
    listeners: Sequence[Listener],
    chosen: Container[str],
    selection: Selection,
    declared: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Say whose held-out tracks are not all known, so that no model is checked against them.

    Parameters
    ----------
    listeners : sequence of Listener
        Everyone.
    chosen : container of str
        Labels of those asked for; what is wrong with them is told elsewhere.
    selection : Selection
    declared : mapping of str to sequence of str, optional
        As of :func:`held_out_plan`.

    Returns
    -------
    list of str
        One sentence, or none where all is known.
    """
    unknown: dict[str, str] = {}
    for person in listeners:
        found = _held_out_sounds(person, selection, declared)
        if isinstance(found, str):
            unknown[person.label] = found
        elif lost := [file for file in person.missing if file.kind != "sounds" or file.path in found]:
            unknown[person.label] = missing_message(lost)
    if not unknown:
        return []
    labels = [f"sub-{label}" for label in unknown]
    reasons = [f" (sub-{label}: {why})" for label, why in unknown.items() if label not in chosen][:1]
    counted = "1 participant" if len(labels) == 1 else f"{len(labels)} participants"
    told = f"held-out tracks of {counted} are not all known, so no model is checked against them: {some(labels)}"
    return [told + "".join(reasons)]
