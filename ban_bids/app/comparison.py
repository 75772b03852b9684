"""Comparison of the models of one output directory: paired differences with interval and p, and ranks.

Participant level and group level are one procedure: over one person, or over several. Everything is read from the
derivatives, so that models are compared whenever they were run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.app.comparable import Entry, conflict, entries, largest_class
from ban_bids.derivatives.comparisons import COLUMNS, write_comparison
from ban_bids.derivatives.read import load_derivatives
from ban_bids.scoring.bas import CLIPS, bas_score
from ban_bids.scoring.bootstrap import Estimate, with_interval
from ban_bids.scoring.comparison import PEOPLE_AND_CLIPS, THESE_PEOPLE, paired_difference, people_draws
from ban_bids.scoring.cortical import FEW_CLIPS, FEWEST_CLIPS
from ban_bids.scoring.differences import max_t, ranks, two_sided_p
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)

_UNTRAINED = re.compile(r"untrained\d+$")

Kind = tuple[str, str]
"""Row and region of what is compared."""


def compare_participant(root: Path, participant: str, task: str, settings: Settings) -> Path:
    """Compare all models of a participant that lie in an output directory, those of earlier days too.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    participant, task : str
    settings : Settings
        Its ``n_bootstrap`` and ``random_seed`` are used.

    Returns
    -------
    Path
        ``sub-<label>_task-<task>_comparison.tsv``.
    """
    out = load_derivatives(root)
    n_draws, seed = settings.encoding.n_bootstrap, settings.compute.random_seed
    scores, files = (table[table["task"] == task] for table in (out.scores(participant), out.draw_files(participant)))
    compared = Compared(entries(scores, files, n_draws=n_draws, seed=seed), task, n_draws, seed, of_one=True)
    compared.log()
    return write_comparison(root, _table(compared.rows()), facts(compared), participant=participant, task=task)


def _of(table: pd.DataFrame, participant: str) -> pd.DataFrame:
    return table[table["participant"] == participant]


def compare_group(scores: pd.DataFrame, draw_files: pd.DataFrame, *, n_draws: int, seed: int) -> pd.DataFrame:
    """Compare models over participants, then once more in each of them.

    Parameters
    ----------
    scores : DataFrame
        Score tables of all members.
    draw_files : DataFrame
        Of the members.
    n_draws, seed : int

    Returns
    -------
    DataFrame
        Columns :data:`ban_bids.derivatives.comparisons.COLUMNS`.
    """
    rows: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for task, of_task in scores.groupby("task", sort=False):
        files = draw_files[draw_files["task"] == task]
        group = Compared(entries(of_task, files, n_draws=n_draws, seed=seed), str(task), n_draws, seed)
        group.log()
        rows += group.rows()
        clips = group.clips
        for label in group.people:
            found = [one for one in group.found if one.participant == label]
            if frozenset[str]().union(*(one.clips for one in found)) != clips:  # else they are in the same draws
                found = entries(_of(of_task, label), _of(files, label), n_draws=n_draws, seed=seed)
            own += Compared(found, str(task), n_draws, seed, of_one=True).rows()
    return _table([*rows, *own])


def _table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def facts(compared: Compared) -> dict[str, Any]:
    """Keys of the JSON file of a comparison."""
    return {"Models": list(compared.models), "NumberOfDraws": compared.n_draws, "RandomSeed": compared.seed}


@dataclass(frozen=True, eq=False)
class Compared:
    """Models to compare in one task.

    Parameters
    ----------
    found : sequence of Entry
        Of every participant and model.
    task : str
    n_draws, seed : int
    of_one : bool
        Whether the rows are those of one participant, not of a group.
    """

    found: Sequence[Entry]
    task: str
    n_draws: int
    seed: int
    of_one: bool = False
    _conflicts: dict[tuple[str, str, str, str], str] = field(default_factory=dict, repr=False)
    _differences: dict[tuple[str, str, Kind], _Difference] = field(default_factory=dict, repr=False)

    @cached_property
    def people(self) -> tuple[str, ...]:
        """Labels of the participants, in order."""
        return tuple(sorted({one.participant for one in self.found}))

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Scored models, in order of the alphabet."""
        return tuple(sorted({one.model for one in self.found}))

    @cached_property
    def entry(self) -> dict[tuple[str, str], Entry]:
        """By participant and model."""
        return {(one.participant, one.model): one for one in self.found}

    @cached_property
    def clips(self) -> frozenset[str]:
        """Distinct repeated clips of everyone."""
        return frozenset[str]().union(*(one.clips for one in self.found))

    def _n_clips(self, people: Iterable[str], models: Iterable[str]) -> int:
        """Distinct repeated clips of some models in some people: others may have been run with other clips."""
        wanted = product(people, models)
        return len(frozenset[str]().union(*(self.entry[key].clips for key in wanted)))

    @cached_property
    def _place(self) -> dict[str, int]:
        return {label: k for k, label in enumerate(self.people)}

    @cached_property
    def weights(self) -> np.ndarray:
        """Random weights of the people."""
        return people_draws(self.n_draws, len(self.people), self.seed)

    @cached_property
    def kinds(self) -> list[Kind]:
        """Everything that is compared: C, each region, B, BAS."""
        tables = [one.table for one in self.found]
        regions = dict.fromkeys(region for table in tables for region in table.loc[table["row"] == "region", "region"])
        return [("C", ""), *(("region", str(region)) for region in regions), ("B", ""), ("BAS", "")]

    def log(self) -> None:
        """Warn of models that are not compared."""
        for label in self.people:
            for pair in combinations(self.models, 2):
                both = [self.entry.get((label, model)) for model in pair]
                whys = {self._conflict(both[0], both[1], row) for row in ("C", "B")} if both[0] and both[1] else set()
                for why in sorted(whys - {""}):
                    _LOG.warning("sub-%s: %s and %s are not compared: %s", label, *pair, why)

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table: pairs of models, models and their controls, ranks."""
        pairs = [(first, second) for first, second in combinations(self.models, 2)]
        controls = [(model, control) for model in self.models for control in self._controls(model)]
        rows: list[dict[str, Any]] = []
        for kind, family, compared in (("models", pairs, self.kinds), ("control", controls, self.kinds[:-2])):
            for row in dict.fromkeys(row for row, _ in compared):
                cells = [(pair, region) for pair in family for name, region in compared if name == row]
                found = [self._difference(*pair, (row, region), control=kind == "control") for pair, region in cells]
                corrected = max_t([one.estimate for one in found])
                rows += [
                    {**self._row(kind, pair, (row, region)), **one.columns(self, row), "p_corrected": p}
                    for (pair, region), one, p in zip(cells, found, corrected, strict=True)
                ]
        return rows + [line for compared in self.kinds for line in self._ranks(compared)]

    def _row(self, kind: str, pair: tuple[str, str | None], compared: Kind) -> dict[str, Any]:
        return {
            "level": "participant" if self.of_one else "group",
            "participant": self.people[0] if self.of_one else None,
            "task": self.task,
            "kind": kind,
            "model": pair[0],
            "other": pair[1],
            "row": compared[0],
            "region": compared[1] or None,
        }

    def _controls(self, model: str) -> list[str]:
        """Controls of a model that were scored, and the mean over its untrained networks."""
        names = dict.fromkeys(name for one in self.found if one.model == model for name in one.rho if name != model)
        untrained = [name for name in names if _UNTRAINED.search(name)]
        return [*names, *([f"{model}untrained"] if len(untrained) > 1 else [])]

    def _score(self, one: Entry, name: str, compared: Kind) -> np.ndarray | str:
        """Score of a model or control in draws; the mean over untrained networks where it is none of them."""
        if name != one.model and name not in one.rho and name == f"{one.model}untrained":
            found = [one.score(seed, *compared) for seed in one.rho if _UNTRAINED.search(seed)]
            lacking = [why for why in found if isinstance(why, str)]
            return "; ".join(lacking) or np.mean([draws for draws in found if not isinstance(draws, str)], axis=0)
        return one.score(name, *compared)

    def _pair(self, label: str, first: str, second: str, compared: Kind, *, control: bool) -> _Pair | str:
        """Scores of both in one participant, or why not."""
        one, other = self.entry.get((label, first)), self.entry.get((label, first if control else second))
        if one is None or other is None:
            return f"{first if one is None else second} was not scored"
        row = compared[0]
        why = "" if control else self._conflict(one, other, row)
        if why:
            return why
        of_c = ("C", "") if row == "BAS" else compared
        scores = [] if row == "B" else [self._score(one, first, of_c), self._score(other, second, of_c)]
        behaviors = [one.behavior(), other.behavior()] if row in ("B", "BAS") else []
        lacking = list(dict.fromkeys(part for part in (*scores, *behaviors) if isinstance(part, str)))
        if lacking:
            return "; ".join(lacking)
        return _Pair(
            [part for part in scores if not isinstance(part, str)],
            [part for part in behaviors if not isinstance(part, str)],
        )

    def _conflict(self, one: Entry, other: Entry, row: str) -> str:
        """As :func:`conflict`; BOLD of two models is looked at once, not in each of their rows."""
        key = (one.participant, one.model, other.model, "C" if row == "region" else row)
        if key not in self._conflicts:
            self._conflicts[key] = conflict(one, other, row)
        return self._conflicts[key]

    def _difference(
        self, first: str, second: str, compared: Kind, *, control: bool = False, people: Sequence[str] | None = None
    ) -> _Difference:
        """First less second over the people that have both; ranks ask for those of everyone again."""
        people = self.people if people is None else people
        if control or len(people) < len(self.people):
            return self._differing(first, second, compared, control=control, people=people)
        key = (first, second, compared)
        if key not in self._differences:
            self._differences[key] = self._differing(first, second, compared, control=False, people=self.people)
        return self._differences[key]

    def _differing(
        self, first: str, second: str, compared: Kind, *, control: bool, people: Sequence[str]
    ) -> _Difference:
        found = {label: self._pair(label, first, second, compared, control=control) for label in people}
        pairs = {label: pair for label, pair in found.items() if not isinstance(pair, str)}
        lacking = {label: why for label, why in found.items() if isinstance(why, str)}
        if not pairs:
            return _Difference(Estimate(), 0, lacking)
        behavior = _of_behavior(list(pairs.values()))
        if isinstance(behavior, str):
            return _Difference(Estimate(), 0, {**lacking, **dict.fromkeys(pairs, behavior)})
        if compared[0] == "B":
            return _Difference(behavior, len(pairs), lacking, of_behavior=self._reach(next(iter(pairs)), first))
        a, b = (np.stack([pair.scores[k] for pair in pairs.values()], axis=1) for k in (0, 1))
        columns = [self._place[label] for label in pairs]
        n_clips = self._n_clips(pairs, [first] if control else [first, second])
        estimate = paired_difference(
            a[0], b[0], a[1:], b[1:], n_clips, seed=self.seed, weights=self.weights[:, columns]
        )
        difference = bas_score(estimate, behavior) if compared[0] == "BAS" else estimate
        return _Difference(difference, len(pairs), lacking, n_clips=n_clips)

    def _reach(self, label: str, model: str) -> str:
        """What the draws of B of a model speak of."""
        draws = self.entry[label, model].draws
        stated = draws.behavior_conditions.get("IntervalOver") if draws else None
        return PEOPLE_AND_CLIPS if stated == PEOPLE_AND_CLIPS else THESE_PEOPLE

    def _ranks(self, compared: Kind) -> Iterator[dict[str, Any]]:
        """Ranks of the models that most participants have, over the participants that have all of them."""
        if len(self.models) < 2:
            return
        usable = {label: self._usable(label, compared) for label in self.people}
        n_people = {model: sum(model in own for own in usable.values()) for model in self.models}
        most = max(n_people.values())
        ranked = [model for model in self.models if most and n_people[model] == most]
        people = [label for label, own in usable.items() if set(ranked) <= set(own)]
        found: dict[str, dict[str, Any]] = {}
        if len(ranked) > 1 and people:
            pairs = {
                (i, j): self._difference(ranked[i], ranked[j], compared, people=people)
                for i, j in combinations(range(len(ranked)), 2)
            }
            estimates = {key: one.estimate for key, one in pairs.items()}
            mark = next(iter(pairs.values())).columns(self, compared[0])
            for model, rank in zip(ranked, ranks(len(ranked), estimates), strict=True):
                of_rank = {"value": rank.value, "ci_low": rank.ci_low, "ci_high": rank.ci_high, "first": rank.first}
                found[model] = {**mark, **of_rank, "p": np.nan}
        for model in self.models:
            nothing = {"n": 0, "reason": self._unranked(model, compared, most, n_people[model])}
            yield {**self._row("rank", (model, None), compared), **found.get(model, nothing)}

    def _usable(self, label: str, compared: Kind) -> list[str]:
        """Models that have the score in a participant and may be compared with one another."""
        there = [
            model
            for model in self.models
            if not isinstance(self._pair(label, model, model, compared, control=True), str)
        ]
        pairs = combinations(there, 2)
        conflicts = {(a, b): self._conflict(self.entry[label, a], self.entry[label, b], compared[0]) for a, b in pairs}
        return largest_class(there, conflicts)

    def _unranked(self, model: str, compared: Kind, most: int, n: int) -> str:
        """Why a model has no rank."""
        if 0 < n < most:
            return f"has the score in {n} participants, the ranked models in {most}"
        return _said({label: self._apart(label, model, compared) for label in self.people}, self.of_one)

    def _apart(self, label: str, model: str, compared: Kind) -> str:
        """Why a model is not ranked among the others of a participant."""
        own = self._pair(label, model, model, compared, control=True)
        if isinstance(own, str):
            return own
        others = [other for other in self.models if other != model and (label, other) in self.entry]
        pairs = [sorted((model, other)) for other in others]
        whys = [self._conflict(self.entry[label, a], self.entry[label, b], compared[0]) for a, b in pairs]
        return next(filter(None, whys), "no other model has the score")


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both models in one participant: C or rho in draws, B."""

    scores: list[np.ndarray]
    behaviors: list[Estimate]


@dataclass(frozen=True, eq=False)
class _Difference:
    """A difference, over how many people and clips, and why others have none; of B, what its draws speak of."""

    estimate: Estimate
    n: int
    lacking: dict[str, str]
    n_clips: int = 0
    of_behavior: str = ""

    def columns(self, compared: Compared, row: str) -> dict[str, Any]:
        """Cells of the table."""
        found, reasons = self.estimate, [_said(self.lacking, compared.of_one)] if self.lacking else []
        there = np.isfinite(found.ci_low)
        if self.n and not there:
            few = row != "B" and self.n_clips < FEWEST_CLIPS
            reasons.insert(0, f"no interval: {'too few clips' if few else 'too few draws have a score'}")
        elif self.n and row != "B" and self.n_clips < FEW_CLIPS:
            reasons.append(f"only {self.n_clips} clips are repeated: the interval is rough")
        of_c = CLIPS if compared.of_one else THESE_PEOPLE if self.n == 1 else PEOPLE_AND_CLIPS
        return {
            "value": found.value,
            "ci_low": found.ci_low,
            "ci_high": found.ci_high,
            "generalises_to": (self.of_behavior or of_c) if there else None,
            "p": two_sided_p(found),
            "first": np.nan,
            "n": self.n,
            "reason": "; ".join(reasons) or None,
        }


def _of_behavior(pairs: Sequence[_Pair]) -> Estimate | str:
    """Difference of B, which is the dataset's: the same in all participants, or the reason why there is none."""
    if not pairs[0].behaviors:
        return Estimate()
    one, other = pairs[0].behaviors
    values = np.array([[b.value for b in pair.behaviors] for pair in pairs])
    if not np.isclose(values, [one.value, other.value]).all():
        return "participants' tables disagree on B: run the participant level of all again"
    n = min(len(one.draws), len(other.draws))
    return Estimate(**with_interval(one.value - other.value, one.draws[:n] - other.draws[:n]))


def _said(lacking: dict[str, str], of_one: bool) -> str:
    """Reasons, each once with the participants that it holds for."""
    if of_one:
        return "; ".join(dict.fromkeys(lacking.values()))
    people: dict[str, list[str]] = {}
    for label, why in lacking.items():
        people.setdefault(why, []).append(f"sub-{label}")
    return "; ".join(f"{', '.join(labels)}: {why}" for why, labels in people.items())
