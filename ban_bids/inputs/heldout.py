"""Which runs are held out for scoring, and which tracks the model may therefore not have trained on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ban_bids.errors import BanBidsError, DataError, UsageError
from ban_bids.inputs.types import Dataset, Listener, Listening, Participant
from ban_bids.settings import Selection

_LOG = logging.getLogger(__name__)
_ALL = "all"
_FAIR_SHARE = 0.25
_FEWEST_TRAINING_RUNS = 2


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


def repeated_share(run: Listening, heard_in: Sequence[Listening]) -> float:
    """Share of a run's sound that is presented at least twice in some runs, lead-ins aside."""
    counts = Counter(item.clip for other in heard_in for item in other.presentations if not item.lead_in)
    seconds = [(item.clip.duration, counts[item.clip] > 1) for item in run.presentations if not item.lead_in]
    total = sum(duration for duration, _ in seconds)
    return sum(duration for duration, repeated in seconds if repeated) / total if total else 0.0


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


def held_out_plan(participant: Participant | Listener, selection: Selection) -> HeldOutPlan:
    """Choose a participant's held-out runs.

    Given by ``--test-task`` and ``--test-runs`` (``all``: every run in turn); or else the runs of which a quarter or
    more is clips that are repeated, lead-ins aside, within the run or else over runs, if at least two training runs
    remain; or else every run in turn. Which rows of them train which fold, `ban_bids.encoding.folds` decides.

    Parameters
    ----------
    participant : Participant or Listener
    selection : Selection
        ``test_tasks`` and ``test_runs`` are used.

    Returns
    -------
    HeldOutPlan
        One fold with all held-out runs, or one fold per run (``leave_one_out``).

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
    if _ALL in selection.test_runs:
        return _plan(_select(runs, selection), "--test-runs all: every run is held out in turn", in_turn=True)
    if selection.test_tasks or selection.test_runs:
        chosen = _select(runs, selection)
        if len(chosen) == len(runs):
            raise UsageError(
                f"--test-task/--test-runs hold out every run of sub-{participant.label} ({_known(runs)}); "
                "leave some to train on, or give --test-runs all"
            )
        return _plan(chosen, "named by --test-task/--test-runs")
    within = [run for run in runs if repeated_share(run, [run]) >= _FAIR_SHARE]
    anywhere = [run for run in runs if repeated_share(run, runs) >= _FAIR_SHARE]
    for repeating, where in ((within, "within the run"), (anywhere, "over runs")):
        if repeating and len(runs) - len(repeating) >= _FEWEST_TRAINING_RUNS:
            return _plan(repeating, f"the runs that repeat a quarter or more of their clips {where}")
    why = "fewer than two training runs would remain" if within or anywhere else "no run repeats clips"
    if len(runs) == 1:
        why = "one run only"
    return _plan(runs, f"{why}: all is held out in turn", in_turn=True)


def _plan(runs: Sequence[Listening], rule: str, *, in_turn: bool = False) -> HeldOutPlan:
    names = tuple(run.name for run in runs)
    task_label = "".join(dict.fromkeys(run.task for run in runs))
    return HeldOutPlan(tuple((name,) for name in names) if in_turn else (names,), rule, task_label, in_turn)


def held_out_tracks(dataset: Dataset) -> frozenset[Path]:
    """Audio files heard in any held-out run of any participant of the dataset, lead-ins included.

    All participants count, not only those chosen: the model is trained once for all of them, also when every
    participant is a job of its own.

    Parameters
    ----------
    dataset : Dataset
        Its ``listeners`` are everyone, whoever was chosen.

    Returns
    -------
    frozenset of Path
        Files that must not train or validate the model.
    """
    tracks: set[Path] = set()
    n_heard = {person.label: len(person.runs) for person in dataset.listeners}
    # of whom runs were left out since: what their own plan holds out counts too
    changed = [person for person in dataset.usable if len(person.runs) != n_heard.get(person.label)]
    everyone: list[Listener | Participant] = [*dataset.listeners, *changed]
    for person in everyone:
        if person.failure is not None:
            _LOG.warning("sub-%s cannot be read, so its held-out tracks are unknown: %s", person.label, person.failure)
            continue
        try:
            held_out = held_out_plan(person, dataset.selection).held_out
        except BanBidsError as error:
            _LOG.warning("sub-%s has no held-out runs: %s", person.label, error)
            continue
        tracks.update(item.clip.audio for run in person.runs if run.name in held_out for item in run.presentations)
    return frozenset(tracks)
