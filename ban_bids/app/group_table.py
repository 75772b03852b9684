"""The table of the group: mean, spread and interval of every score, over people and clips where draws were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.bids.names import draws_name
from ban_bids.derivatives.draws import read_clips, read_draws
from ban_bids.errors import DataError
from ban_bids.scoring.bas import bas_score
from ban_bids.scoring.bootstrap import Estimate
from ban_bids.scoring.comparison import (
    PEOPLE,
    PEOPLE_AND_CLIPS,
    THESE_PEOPLE,
    Cell,
    clip_draws,
    over_people,
    over_people_alone,
)
from ban_bids.scoring.cortical import FEW_CLIPS

KEYS = ("task", "model", "role", "control_of", "row", "layer", "region", "belongs_to")
"""Columns that together name a row of the participants' score tables."""

COLUMNS: dict[str, dict[str, str]] = {
    "level": {"Description": "group: over participants; participant: one participant's own row again"},
    "participant": {"Description": "Label of the participant; n/a in rows of the group"},
    "task": {"Description": "Held-out task"},
    "model": {"Description": "Name of the model"},
    "role": {"Description": "scored, or control"},
    "control_of": {"Description": "Scored model beside which a control stands; n/a for scored models"},
    "row": {"Description": "Kind of row, as in the participants' tables: layer, region, C, C_mapped, R2, B, BAS, ..."},
    "layer": {"Description": "Layer of the model"},
    "region": {"Description": "Region of the brain"},
    "belongs_to": {"Description": "participant, or dataset: the same for all, so that it is not averaged"},
    "value": {"Description": "Score; in rows of the group its mean over participants", "Units": "arbitrary"},
    "rho": {"Description": "layer, region: c as a correlation, sgn(c) sqrt(|c|); in rows of the group its mean over "
            "participants", "Units": "arbitrary"},
    "sd": {"Description": "Standard deviation over participants, divisor n - 1", "Units": "arbitrary"},
    "ci_low": {"Description": "95 % interval, lower limit; generalises_to says what was drawn. Where people are drawn "
               "alone: mean -/+ t(0.975, n - 1) sd / sqrt(n)", "Units": "arbitrary"},
    "ci_high": {"Description": "95 % interval, upper limit", "Units": "arbitrary"},
    "generalises_to": {"Description": "What the interval speaks of. people and clips: other people, other clips; "
                       "clips (these people): the same people, other clips; clips: this participant, other clips; "
                       "people: other people, the same clips (no draws of clips were kept for this row)"},
    "n": {"Description": "Participants that have the score", "Units": "count"},
    "readout": {"Description": "B, kappa, BAS: whose read-out of genres answered, as in the participants' tables"},
    "track_overlap": {"Description": "Held-out tracks that trained or validated the model: none, unknown or a number, "
                      "as in the participants' tables"},
    "reason": {"Description": "Why something is n/a, or who lacks the score"},
}  # fmt: skip
"""Columns of ``group_bas.tsv``."""

_SAME = 1e-4  # what tables and draws may differ by: a table's digits
_NOTHING = {"level": "group", "value": np.nan, "sd": np.nan, "ci_low": np.nan, "ci_high": np.nan}
_MOST_NAMED = 10
_DISAGREE = "participants' tables disagree on it: run the participant level of all again"


def owner_of(table: pd.DataFrame) -> pd.Series:
    """The scored model of each row; that of a control is the one beside which it stands."""
    own = table["model"].rename("owner")
    return table["control_of"].where(table["control_of"].notna(), own).rename("owner") if "control_of" in table else own


def group_table(scores: pd.DataFrame, draw_files: pd.DataFrame, *, n_draws: int, seed: int) -> pd.DataFrame:
    """Mean, standard deviation and interval of every score, then the participants' own rows.

    Parameters
    ----------
    scores : DataFrame
        Score tables of all members, with the columns :data:`KEYS`, ``participant``, ``value``, ``ci_low``,
        ``ci_high`` and ``reason``.
    draw_files : DataFrame
        Of the members, columns ``path``, ``task``, ``model``. Scores that they hold have intervals over people and
        clips jointly, the others over people alone.
    n_draws, seed : int
        Draws of clips.

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS`.

    Raises
    ------
    DataError
        A participant has a row twice, or its draws are those of other scores than its table's.
    """
    keys = list(KEYS)
    twice = scores[scores.duplicated([*keys, "participant"])]
    if not twice.empty:
        who = ", ".join(f"sub-{label}" for label in sorted(set(twice["participant"])))
        raise DataError(
            f"{who}: several rows of one model and task in its score tables; run the participant level again"
        )
    rows: list[dict[str, Any]] = []
    everyone = {str(task): list(dict.fromkeys(own)) for task, own in scores.groupby("task")["participant"]}
    # sort=False keeps the order of the participants' tables, dropna=False the rows without layer
    for (task, owner), table in scores.groupby(["task", owner_of(scores)], sort=False, dropna=False):
        mine = draw_files[(draw_files["task"] == task) & (draw_files["model"] == owner)]
        samples = sample([Path(path) for path in mine["path"]], n_draws, seed=seed)
        for model, of_model in table.groupby("model", sort=False):
            sampled, agreed = samples.of_model(str(model)), _agree(of_model.loc[of_model["row"] == "B", "value"])
            for key, members in of_model.groupby(keys, sort=False, dropna=False):
                found = _over_everyone(members, sampled, agreed, everyone=everyone[str(task)])
                rows.append({**dict(zip(keys, key, strict=True)), **found})
    people = scores.assign(level="participant", n=scores["value"].notna().astype(int))
    both = pd.concat([pd.DataFrame(rows).astype(object), people.astype(object)], ignore_index=True)
    return both.reindex(columns=list(COLUMNS)).infer_objects()


@dataclass(frozen=True, eq=False)
class Samples:
    """Scores of a scored model and its controls in draws of clips that are the same for all members.

    Parameters
    ----------
    scores : dict of model to dict of participant to dict of (row, layer, region) to ndarray of shape (1 + n_draws,)
    behavior, n_clips, seed
        As of :class:`Sampled`.
    """

    scores: dict[str, dict[str, dict[Cell, np.ndarray]]]
    behavior: Estimate
    n_clips: int
    seed: int

    def of_model(self, name: str) -> Sampled:
        """Those of the model or of one of its controls; empty where no draws of it were kept."""
        return Sampled(self.scores.get(name, {}), self.behavior, self.n_clips, self.seed)


@dataclass(frozen=True, eq=False)
class Sampled:
    """Scores of one model in draws of clips that are the same for all members.

    Parameters
    ----------
    scores : dict of participant to dict of (row, layer, region) to ndarray of shape (1 + n_draws,)
        Entry 0 is the score itself.
    behavior : Estimate
        B of the dataset with its draws.
    n_clips : int
        Distinct clips of all members.
    seed : int
    """

    scores: dict[str, dict[Cell, np.ndarray]]
    behavior: Estimate
    n_clips: int
    seed: int

    def of(self, members: pd.DataFrame, cell: Cell) -> np.ndarray | None:
        """Score of each member in every draw, (1 + n_draws, n_members); None unless all have been kept.

        Raises
        ------
        DataError
            A member's table has another score than its draws.
        """
        columns = [self.scores.get(label, {}).get(cell) for label in members["participant"]]
        there = [column for column in columns if column is not None]
        if len(there) < len(columns) or not there:
            return None
        for label, value, column in zip(members["participant"], members["value"], there, strict=True):
            if not np.isclose(column[0], value, rtol=_SAME, atol=_SAME):
                what = " ".join(filter(None, (*cell, "of", members["model"].iloc[0])))
                file = draws_name(label, members["task"].iloc[0], owner_of(members).iloc[0])
                raise DataError(
                    f"sub-{label}: {what} is {value:.4f} in its score table and {column[0]:.4f} by its draws ({file}); "
                    "run the participant level of this model again"
                )
        return np.stack(there, axis=1)


def sample(paths: Sequence[Path], n_draws: int, *, seed: int) -> Samples:
    """Score a model and its controls in draws of clips that are the same for all members.

    Parameters
    ----------
    paths : sequence of Path
        Draws of a scored model, one file per member; one is read after the other, for its statistics are large.
    n_draws, seed : int

    Returns
    -------
    Samples
    """
    clips = [read_clips(path) for path in paths]
    scores: dict[str, dict[str, dict[Cell, np.ndarray]]] = {}
    behavior: Estimate | None = None
    for path, drawn in zip(paths, clip_draws(clips, n_draws, seed), strict=True):
        draws = read_draws(path)
        if behavior is None or not np.isfinite(behavior.value):  # some may have been scored before people chose
            behavior = draws.behavior
        for model, kept in draws.scores.items():
            scores.setdefault(model, {})[draws.participant] = kept.scores(drawn)
    return Samples(scores, behavior or Estimate(), len({clip for own in clips for clip in own}), seed)


def _over_everyone(members: pd.DataFrame, sampled: Sampled, agreed: bool, *, everyone: Sequence[str]) -> dict[str, Any]:
    """One row of the group, with who has no such row; ``agreed``: tables have one B, which enters BAS."""
    if members["row"].iloc[0] == "BAS" and not agreed:
        n = int(members["value"].notna().sum())
        overlap = _told(members, "track_overlap")
        found: dict[str, Any] = {**_NOTHING, "n": n, "track_overlap": overlap, "reason": f"B is n/a: {_DISAGREE}"}
    else:
        found = _over_members(members, sampled)
    if absent := sorted(set(everyone) - set(members["participant"])):
        found["reason"] = "; ".join(filter(None, (found["reason"], f"{_some(absent)}: not scored")))
    return found


def _over_members(scores: pd.DataFrame, sampled: Sampled) -> dict[str, Any]:
    """One row of the group; ``scores`` has one row per participant."""
    values = scores["value"].to_numpy(dtype=float)
    there = np.isfinite(values)
    n = int(there.sum())
    nothing = {**_NOTHING, "n": n, "track_overlap": _told(scores, "track_overlap")}
    lacking = _reasons(scores[~there])
    if n == 0:
        return {**nothing, "reason": "; ".join(lacking)}
    if scores["belongs_to"].iloc[0] == "dataset":
        return {**nothing, **_of_dataset(scores[there])}
    found, generalises_to = _interval(scores[there], sampled)
    if np.isnan(found.ci_low):
        why = (
            "one participant, and no draws of clips were kept"
            if generalises_to == PEOPLE
            else "too few draws have a score"
        )
        lacking.insert(0, f"no interval: {why}")
        generalises_to = None
    elif generalises_to == PEOPLE:
        lacking.append("no draws of clips were kept: the interval takes these clips as they are, and is too narrow")
    elif sampled.n_clips < FEW_CLIPS:
        lacking.append(f"only {sampled.n_clips} clips are repeated: the interval is rough")
    return {
        **nothing,
        "value": found.value,
        "rho": float(scores.loc[there, "rho"].mean()) if "rho" in scores else np.nan,
        "sd": float(values[there].std(ddof=1)) if n > 1 else np.nan,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "generalises_to": generalises_to,
        "readout": _told(scores, "readout"),
        "reason": "; ".join(lacking) or None,
    }


def _some(labels: Sequence[str]) -> str:
    """Names of participants, of many the first ones."""
    names = ", ".join(f"sub-{label}" for label in labels[:_MOST_NAMED])
    return names if len(labels) <= _MOST_NAMED else f"{names} and {len(labels) - _MOST_NAMED} others"


def _agree(values: pd.Series[float]) -> bool:
    """Whether all who have a score that belongs to the dataset have the same one."""
    known = values.dropna().to_numpy(dtype=float)
    return bool(np.allclose(known, known[:1]))


def _told(scores: pd.DataFrame, column: str) -> str | None:
    """What participants' rows say in a column of words; all of it where they differ."""
    names = list(scores[column].dropna().astype(str).unique()) if column in scores else []
    return "; ".join(names) or None


def _interval(scores: pd.DataFrame, sampled: Sampled) -> tuple[Estimate, str | None]:
    """Mean over members that have the score, with the widest generalisation that its draws allow."""
    values = scores["value"].to_numpy(dtype=float)
    row, layer, region = ("" if pd.isna(part) else str(part) for part in scores[["row", "layer", "region"]].iloc[0])
    behavior, with_b = sampled.behavior, row == "BAS"
    if with_b:
        # BAS = (C + B) / 2 in each member, and B is the same in all
        scores = scores.assign(value=2 * values - behavior.value)
    drawn = sampled.of(scores, ("C", "", "") if with_b else (row, layer, region))
    if drawn is None:
        return over_people_alone(values), PEOPLE
    found = over_people(drawn[0], drawn[1:], sampled.n_clips, seed=sampled.seed)
    found = bas_score(found, behavior) if with_b else found
    return replace(found, value=float(values.mean())), PEOPLE_AND_CLIPS if len(values) > 1 else THESE_PEOPLE


def _of_dataset(scores: pd.DataFrame) -> dict[str, Any]:
    """A score that all participants repeat: taken once; its interval is of the people who judged and of clips."""
    if not _agree(scores["value"]):
        return {"reason": _DISAGREE}
    own = scores[["value", "ci_low", "ci_high"]].iloc[0]
    stated = scores["generalises_to"].iloc[0] if "generalises_to" in scores else None
    reach = PEOPLE_AND_CLIPS if stated == PEOPLE_AND_CLIPS else THESE_PEOPLE
    generalises_to = reach if np.isfinite(own["ci_low"]) else None
    mark = scores["reason"].iloc[0]  # such as that the interval is rough
    facts = {
        "generalises_to": generalises_to,
        "readout": _told(scores, "readout"),
        "reason": "of the dataset; not averaged" + ("" if pd.isna(mark) else f"; {mark}"),
    }
    return {**own, **facts}


def _reasons(lacking: pd.DataFrame) -> list[str]:
    """Why participants lack a score, each reason once with those that it holds for."""
    reasons = lacking["reason"].astype(object).where(lacking["reason"].notna(), "no reason was recorded")
    people = lacking["participant"].groupby(reasons, sort=False)
    return [f"{', '.join(f'sub-{p}' for p in labels)}: {reason}" for reason, labels in people]
