"""The group level: means over participants, from their derivatives alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ban_bids.app.comparison import compare_group
from ban_bids.bids.names import draws_name, sidecar
from ban_bids.constants import SMALL_DATA
from ban_bids.derivatives.comparisons import write_group_comparison
from ban_bids.derivatives.draws import read_clips, read_draws
from ban_bids.derivatives.group_maps import check_maps, write_group_maps
from ban_bids.derivatives.provenance import read_statuses, write_provenance
from ban_bids.derivatives.quality import with_outliers, write_group_quality
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.derivatives.tables import write_table
from ban_bids.errors import DataError, UsageError
from ban_bids.reports.group import render_group
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
from ban_bids.settings import Selection, Settings

_LOG = logging.getLogger(__name__)

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
    "reason": {"Description": "Why something is n/a, or who lacks the score"},
}  # fmt: skip
"""Columns of ``group_bas.tsv``."""

_SAME = 1e-4  # what tables and draws may differ by: a table's digits


@dataclass(frozen=True)
class Members:
    """Who is in the group, and who is not and why.

    Parameters
    ----------
    labels : tuple of str
        Participants with a score table.
    missing : tuple of (str, str)
        Participant, and why it, or one model in it, is not in the group.
    files : DataFrame
        The score tables that are taken, see
        :meth:`ban_bids.derivatives.read.Derivatives.score_files`.
    """

    labels: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]
    files: pd.DataFrame


def group_level(output_dir: Path, settings: Settings) -> int:
    """Run the group level.

    Parameters
    ----------
    output_dir : Path
        Derivatives of the participant level; the raw dataset is not read.
    settings : Settings
        ``participant_labels`` and ``task_ids`` narrow what is taken; ``session_ids`` must be those that the
        scores pool.

    Returns
    -------
    int
        0; participants that are missing are listed, not an error.

    Raises
    ------
    DataError
        Nobody finished, or participants were scored with different weights, sessions, atlases, features,
        spaces or grids.
    UsageError
        A chosen participant is unknown.
    """
    with threadpool_limits(1):  # its matrices are small: more threads wait for each other longer than they work
        return _group_level(output_dir, settings)


def _group_level(output_dir: Path, settings: Settings) -> int:
    out = load_derivatives(output_dir)
    members = find_members(out, settings.selection)
    maps = _taken(out.maps(stat="r"), members)
    # everything that can be refused is refused before the first file is written
    check_sessions(members.files, settings.selection.session_ids)
    check_same(members.files)
    check_maps(maps, members.labels)
    draw_files = _taken(out.draw_files(), members)
    scores, n_draws, seed = _taken(out.scores(), members), settings.encoding.n_bootstrap, settings.compute.random_seed
    table = group_table(scores, draw_files, n_draws=n_draws, seed=seed)
    write_table(output_dir / "group_bas.tsv", table, COLUMNS, _table_facts(members))
    compared = compare_group(scores, draw_files, n_draws=n_draws, seed=seed)
    write_group_comparison(output_dir, compared, _table_facts(members))
    quality = out.quality()
    write_group_quality(output_dir, with_outliers(quality[quality["participant"].isin(members.labels)]))
    written, notes = write_group_maps(output_dir, maps, members.labels)
    for stale in set(output_dir.glob("group_*_statmap.nii.gz")) - set(written):
        # of an earlier group with other members or models: its maps would be taken for this one's
        sidecar(stale).unlink(missing_ok=True)
        stale.unlink(missing_ok=True)
    used = [*members.files["path"], *draw_files["path"], *maps["path"]]
    write_provenance(output_dir, "group", settings, used, {"Participants": members.labels})
    notes = (*notes, *weights_notes(members.files))
    page = render_group(out, table, members.labels, members.missing, notes=notes, settings=settings, files=used)
    for label, reason in members.missing:
        _LOG.warning("sub-%s is not in the group: %s", label, reason)
    _LOG.info("group of %d: %s", len(members.labels), page)
    return 0


def find_members(out: Derivatives, selection: Selection) -> Members:
    """Tell participants with a finished score table from those without, and say why.

    Parameters
    ----------
    out : Derivatives
    selection : Selection
        ``participant_labels`` and ``task_ids`` narrow the group.

    Returns
    -------
    Members

    Raises
    ------
    UsageError
        A chosen participant left no trace in the derivatives.
    DataError
        Nobody has a score table.
    """
    statuses = read_statuses(out.root)
    known = sorted({*out.participants, *(participant for participant, _ in statuses)})
    unknown = sorted(set(selection.participant_labels) - set(known))
    if unknown:
        raise UsageError(
            f"--participant-label {' '.join(unknown)}: not in {out.root}, which has {', '.join(known) or 'nobody'}"
        )
    files = out.score_files()
    if selection.task_ids:
        files = files[files["task"].isin(selection.task_ids)]
    failed = {key: reason for key, (status, reason) in statuses.items() if status == "failed"}
    pairs = zip(files["participant"], files["model"], strict=True)
    finished = [(label, None) not in failed and (label, model) not in failed for label, model in pairs]
    taken = files[np.array(finished, dtype=bool)]
    wanted = selection.participant_labels or known
    labels = [label for label in wanted if label in set(taken["participant"])]
    missing = []
    for label in wanted:
        tables = files[files["participant"] == label]
        faults = {model: reason for (participant, model), reason in failed.items() if participant == label}
        for model, reason in faults.items():
            older = tables if model is None else tables[tables["model"] == model]
            whose = "" if model is None else f"model {model} "
            left_out = "; an older score table is left out" if len(older) else ""
            missing.append((label, f"{whose}failed: {reason or 'no reason was recorded'}{left_out}"))
        if label not in labels and not faults:
            missing.append((label, "no score table: participant level not finished"))
    if not labels:
        why = "; ".join(f"sub-{label}: {reason}" for label, reason in missing) or "no participant at all"
        raise DataError(f"{out.root}: nobody to make a group of ({why}); run the participant level first")
    return Members(tuple(labels), tuple(missing), taken[taken["participant"].isin(labels)].reset_index(drop=True))


def _taken(table: pd.DataFrame, members: Members) -> pd.DataFrame:
    """Rows of scores or maps that belong to the members' score tables; those of controls go with their model."""
    keys = pd.MultiIndex.from_frame(members.files[["participant", "task", "model"]])
    rows = pd.MultiIndex.from_frame(table[["participant", "task"]].assign(model=_owner(table)))
    return table[rows.isin(keys)].reset_index(drop=True)


def _owner(table: pd.DataFrame) -> pd.Series:
    """The scored model of each row; that of a control is the one beside which it stands."""
    own = table["model"].rename("owner")
    return table["control_of"].where(table["control_of"].notna(), own).rename("owner") if "control_of" in table else own


def check_sessions(files: pd.DataFrame, session_ids: Sequence[str]) -> None:
    """Refuse a group whose members' scores pool other sessions than those that were asked for.

    Participants may differ in the sessions that they have; scores pool sessions and cannot be taken apart.

    Raises
    ------
    DataError
        Names the participants and their sessions.
    """
    if not session_ids:
        return
    pooled = zip(files["participant"], files["model"], files["sessions"], strict=True)
    other = [
        f"sub-{participant} {model}: {', '.join(sessions)}"
        for participant, model, sessions in pooled
        if not set(sessions) <= set(session_ids)
    ]
    if other:
        raise DataError(
            f"--session-id {' '.join(session_ids)}: scores pool other sessions too ({'; '.join(other)}); "
            "run the participant level with the same --session-id in another OUTPUT_DIR"
        )


def check_same(files: pd.DataFrame) -> None:
    """Refuse a group whose members were scored with different weights of one model, regions or features.

    Parameters
    ----------
    files : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.score_files`.

    Raises
    ------
    DataError
        Names the participants and the beginning of their weights' fingerprints, their atlases, or what their
        features were reduced to.
    """
    fingerprints = files["model_fingerprint"].map(lambda text: text[:12], na_action="ignore")
    known = files.assign(model_fingerprint=fingerprints)
    alike = [
        (f"model {model} has different weights", "model_fingerprint", "--weights", rows)
        for model, rows in known.groupby("model")
    ]
    alike += [
        ("regions of different atlases", "atlas", "--atlas", known),
        ("features reduced in different ways", "feature_reduction", "--n-components", known),
    ]
    for what, column, option, rows in alike:
        values = rows[column].astype(object).where(rows[column].notna(), "unknown")
        if values.nunique() > 1:
            who = ", ".join(f"sub-{label} {value}" for label, value in zip(rows["participant"], values, strict=True))
            raise DataError(f"{what} in the group ({who}); run the participant level of all with the same {option}")


def weights_notes(files: pd.DataFrame) -> list[str]:
    """Say of which models few tracks have trained the weights, each once."""
    known = files[files["weights"].astype(str).str.contains(SMALL_DATA, regex=False)]
    return [f"{model}: weights {text}" for model, text in dict(zip(known["model"], known["weights"])).items()]


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
    # sort=False keeps the order of the participants' tables, dropna=False the rows without layer
    for (task, owner), table in scores.groupby(["task", _owner(scores)], sort=False, dropna=False):
        mine = draw_files[(draw_files["task"] == task) & (draw_files["model"] == owner)]
        samples = sample([Path(path) for path in mine["path"]], n_draws, seed=seed)
        for model, of_model in table.groupby("model", sort=False):
            sampled = samples.of_model(str(model))
            for key, members in of_model.groupby(keys, sort=False, dropna=False):
                rows.append({**dict(zip(keys, key, strict=True)), **_over_members(members, sampled)})
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
                file = draws_name(label, members["task"].iloc[0], _owner(members).iloc[0])
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
        behavior = draws.behavior if behavior is None else behavior
        for model, kept in draws.scores.items():
            scores.setdefault(model, {})[draws.participant] = kept.scores(drawn)
    return Samples(scores, behavior or Estimate(), len({clip for own in clips for clip in own}), seed)


def _over_members(scores: pd.DataFrame, sampled: Sampled) -> dict[str, Any]:
    """One row of the group; ``scores`` has one row per participant."""
    values = scores["value"].to_numpy(dtype=float)
    there = np.isfinite(values)
    n = int(there.sum())
    nothing = {"level": "group", "n": n, "value": np.nan, "sd": np.nan, "ci_low": np.nan, "ci_high": np.nan}
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
        "readout": _readout(scores),
        "reason": "; ".join(lacking) or None,
    }


def _readout(scores: pd.DataFrame) -> str | None:
    """Whose read-out answered in participants' rows; all where they differ."""
    names = list(scores["readout"].dropna().astype(str).unique()) if "readout" in scores else []
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
    if not np.allclose(scores["value"].to_numpy(dtype=float), scores["value"].iloc[0]):
        return {"reason": "participants' tables disagree on it: run the participant level of all again"}
    own = scores[["value", "ci_low", "ci_high"]].iloc[0]
    stated = scores["generalises_to"].iloc[0] if "generalises_to" in scores else None
    reach = PEOPLE_AND_CLIPS if stated == PEOPLE_AND_CLIPS else THESE_PEOPLE
    generalises_to = reach if np.isfinite(own["ci_low"]) else None
    facts = {"generalises_to": generalises_to, "readout": _readout(scores), "reason": "of the dataset; not averaged"}
    return {**own, **facts}


def _reasons(lacking: pd.DataFrame) -> list[str]:
    """Why participants lack a score, each reason once with those that it holds for."""
    reasons = lacking["reason"].astype(object).where(lacking["reason"].notna(), "no reason was recorded")
    people = lacking["participant"].groupby(reasons, sort=False)
    return [f"{', '.join(f'sub-{p}' for p in labels)}: {reason}" for reason, labels in people]


def _table_facts(members: Members) -> dict[str, Any]:
    known = members.files.drop_duplicates("model").set_index("model")
    prints, weights = (
        {str(model): None if pd.isna(value) else value for model, value in known[column].items()}
        for column in ("model_fingerprint", "weights")
    )
    return {
        "Participants": members.labels,
        "MissingParticipants": [{"participant": p, "reason": why} for p, why in members.missing],
        "ModelFingerprint": prints,
        "Weights": weights,
    }
