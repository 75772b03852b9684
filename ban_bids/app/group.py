"""The group level: means over participants, from their derivatives alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ban_bids.bids.names import sidecar
from ban_bids.derivatives.group_maps import check_maps, write_group_maps
from ban_bids.derivatives.provenance import read_statuses, write_provenance
from ban_bids.derivatives.quality import with_outliers, write_group_quality
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.derivatives.tables import write_table
from ban_bids.errors import DataError, UsageError
from ban_bids.reports.group import group_report, write_group_report
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)

KEYS = ("task", "model", "role", "row", "layer", "region", "belongs_to")
"""Columns that together name a row of the participants' score tables."""

COLUMNS: dict[str, dict[str, str]] = {
    "level": {"Description": "group: over participants; participant: one participant's own row again"},
    "participant": {"Description": "Label of the participant; n/a in rows of the group"},
    "task": {"Description": "Held-out task"},
    "model": {"Description": "Name of the model"},
    "role": {"Description": "scored, or control"},
    "row": {"Description": "layer, C, I2n, kappa, B, BAS or BAS_geometric, as in the participants' tables"},
    "layer": {"Description": "Layer of the model"},
    "region": {"Description": "Region of the brain"},
    "belongs_to": {"Description": "participant, or dataset: the same for all, so that it is not averaged"},
    "value": {"Description": "Score; in rows of the group its mean over participants", "Units": "arbitrary"},
    "sd": {"Description": "Standard deviation over participants, divisor n - 1", "Units": "arbitrary"},
    "ci_low": {"Description": "95 % interval, lower limit. Group: mean -/+ t(0.975, n - 1) sd / sqrt(n); "
               "participant, and what belongs to the dataset: bootstrap over clips", "Units": "arbitrary"},
    "ci_high": {"Description": "95 % interval, upper limit", "Units": "arbitrary"},
    "n": {"Description": "Participants that have the score", "Units": "count"},
    "reason": {"Description": "Why something is n/a, or who lacks the score"},
}  # fmt: skip
"""Columns of ``group_bas.tsv``."""

_AT_LEAST_INTERVAL = 2


@dataclass(frozen=True)
class Members:
    """Who is in the group, and who is not and why."""

    labels: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]


def run_group(output_dir: Path, settings: Settings) -> int:
    """Run the group level.

    Parameters
    ----------
    output_dir : Path
        Derivatives of the participant level; the raw dataset is not read.
    settings : Settings
        ``participant_labels``, ``task_ids`` and ``session_ids`` narrow what is taken.

    Returns
    -------
    int
        0; participants that are missing are listed, not an error.

    Raises
    ------
    DataError
        Nobody finished, or participants were scored with different weights, atlases, features,
        spaces or grids.
    UsageError
        A chosen participant is unknown.
    """
    out = load_derivatives(output_dir)
    members = find_members(out, settings)
    files = _chosen(out.score_files(), members, settings)
    maps = _chosen(out.maps(stat="r"), members, settings)
    # everything that can be refused is refused before the first file is written
    check_weights(files)
    check_same(files)
    check_maps(maps, members.labels)
    table = group_table(_chosen(out.scores(), members, settings))
    write_table(output_dir / "group_bas.tsv", table, COLUMNS, _table_facts(files, members))
    quality = out.quality()
    write_group_quality(output_dir, with_outliers(quality[quality["participant"].isin(members.labels)]))
    written, notes = write_group_maps(output_dir, maps, members.labels)
    for stale in set(output_dir.glob("group_*_statmap.nii.gz")) - set(written):
        # of an earlier group with other members or models: its maps would be taken for this one's
        sidecar(stale).unlink(missing_ok=True)
        stale.unlink(missing_ok=True)
    used = [*files["path"], *maps["path"]]
    write_provenance(output_dir, "group", settings, used, {"Participants": members.labels})
    report = group_report(out, table, members.labels, members.missing, notes, settings, used)
    page = write_group_report(output_dir / "group.html", report)
    for label, reason in members.missing:
        _LOG.warning("sub-%s is not in the group: %s", label, reason)
    _LOG.info("group of %d: %s", len(members.labels), page)
    return 0


def find_members(out: Derivatives, settings: Settings) -> Members:
    """Tell participants with a finished score table from those without, and say why.

    Parameters
    ----------
    out : Derivatives
    settings : Settings
        ``participant_labels`` narrows the group.

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
    known = sorted({*out.participants, *statuses})
    unknown = sorted(set(settings.selection.participant_labels) - set(known))
    if unknown:
        raise UsageError(
            f"--participant-label {' '.join(unknown)}: not in {out.root}, which has {', '.join(known) or 'nobody'}"
        )
    scored = set(_narrow(out.score_files(), settings)["participant"])
    labels, missing = [], []
    for label in settings.selection.participant_labels or known:
        status, reason = statuses.get(label, ("done", None))
        if status == "failed":
            older = "; an older score table is left out" if label in scored else ""
            missing.append((label, f"failed: {reason or 'no reason was recorded'}{older}"))
        elif label in scored:
            labels.append(label)
        else:
            missing.append((label, "no score table: participant level not finished"))
    if not labels:
        why = "; ".join(f"sub-{label}: {reason}" for label, reason in missing) or "no participant at all"
        raise DataError(f"{out.root}: nobody to make a group of ({why}); run the participant level first")
    return Members(tuple(labels), tuple(missing))


def _narrow(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    for column, wanted in (("task", settings.selection.task_ids), ("session", settings.selection.session_ids)):
        if wanted:
            table = table[table[column].isin(wanted)]
    return table.reset_index(drop=True)


def _chosen(table: pd.DataFrame, members: Members, settings: Settings) -> pd.DataFrame:
    return _narrow(table[table["participant"].isin(members.labels)], settings)


def check_weights(files: pd.DataFrame) -> None:
    """Refuse a group whose members were scored with different weights of one model.

    Parameters
    ----------
    files : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.score_files`.

    Raises
    ------
    DataError
        Names the participants and the beginning of their weights' fingerprints.
    """
    for model, mine in files.groupby("model"):
        weights = mine["model_fingerprint"].astype(object).where(mine["model_fingerprint"].notna(), "unknown")
        if weights.nunique() > 1:
            who = ", ".join(f"sub-{p} {str(f)[:12]}" for p, f in zip(mine["participant"], weights, strict=True))
            raise DataError(
                f"model {model} has different weights in the group ({who}); run the participant level of all "
                "with the same --weights"
            )


def check_same(files: pd.DataFrame) -> None:
    """Refuse a group whose members' regions or features were made in different ways.

    Parameters
    ----------
    files : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.score_files`.

    Raises
    ------
    DataError
        Names the participants and their atlases, or what their features were reduced to.
    """
    for column, what, option in (
        ("atlas", "regions of different atlases", "--atlas"),
        ("feature_reduction", "features reduced in different ways", "--n-components"),
    ):
        found = files[column].astype(object).where(files[column].notna(), "unknown")
        if found.nunique() > 1:
            who = ", ".join(f"sub-{p} {value}" for p, value in zip(files["participant"], found, strict=True))
            raise DataError(f"{what} in the group ({who}); run the participant level of all with the same {option}")


def group_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and t interval of every score, then the participants' own rows.

    Parameters
    ----------
    scores : DataFrame
        Score tables of all members, with the columns :data:`KEYS`, ``participant``, ``value``, ``ci_low``,
        ``ci_high`` and ``reason``.

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS`.

    Raises
    ------
    DataError
        A participant has a row twice: several sessions or analyses are mixed.
    """
    keys = list(KEYS)
    twice = scores[scores.duplicated([*keys, "participant"])]
    if not twice.empty:
        who = ", ".join(f"sub-{label}" for label in sorted(set(twice["participant"])))
        raise DataError(f"{who}: several score tables of one model and task; choose with --session-id")
    # sort=False keeps the order of the participants' tables, dropna=False the rows without layer
    groups = scores.groupby(keys, sort=False, dropna=False)
    rows = [{**dict(zip(keys, key, strict=True)), **_over_participants(mine)} for key, mine in groups]
    own = scores.assign(level="participant", n=scores["value"].notna().astype(int))
    both = pd.concat([pd.DataFrame(rows).astype(object), own.astype(object)], ignore_index=True)
    return both.reindex(columns=list(COLUMNS)).infer_objects()


def _over_participants(mine: pd.DataFrame) -> dict[str, Any]:
    """One row of the group; ``mine`` has one row a participant."""
    values = mine["value"].to_numpy(dtype=float)
    there = np.isfinite(values)
    n = int(there.sum())
    nothing = {"level": "group", "n": n, "value": np.nan, "sd": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    lacking = _reasons(mine[~there])
    if n == 0:
        return {**nothing, "reason": "; ".join(lacking)}
    if mine["belongs_to"].iloc[0] == "dataset":
        return {**nothing, **_of_dataset(mine[there])}
    mean = float(values[there].mean())
    if n < _AT_LEAST_INTERVAL:
        lacking.insert(0, "one participant: no interval over participants")
        return {**nothing, "value": mean, "reason": "; ".join(lacking)}
    sd = float(values[there].std(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / np.sqrt(n)
    found = {"value": mean, "sd": sd, "ci_low": mean - half, "ci_high": mean + half}
    return {**nothing, **found, "reason": "; ".join(lacking) or None}


def _of_dataset(mine: pd.DataFrame) -> dict[str, Any]:
    """A score that all participants repeat: taken once; its interval is that over clips, not participants."""
    if not np.allclose(mine["value"].to_numpy(dtype=float), mine["value"].iloc[0]):
        return {"reason": "participants' tables disagree on it: run the participant level of all again"}
    first = mine.iloc[0]
    return {
        **{key: first[key] for key in ("value", "ci_low", "ci_high")},
        "reason": "of the dataset; not averaged",
    }


def _reasons(lacking: pd.DataFrame) -> list[str]:
    """Why participants lack a score, each reason once with those that it holds for."""
    told = lacking["reason"].astype(object).where(lacking["reason"].notna(), "no reason was recorded")
    people = lacking["participant"].groupby(told, sort=False)
    return [f"{', '.join(f'sub-{p}' for p in labels)}: {reason}" for reason, labels in people]


def _table_facts(files: pd.DataFrame, members: Members) -> dict[str, Any]:
    prints = files.drop_duplicates("model").set_index("model")["model_fingerprint"]
    return {
        "Participants": members.labels,
        "MissingParticipants": [{"participant": p, "reason": why} for p, why in members.missing],
        "ModelFingerprint": {str(k): None if pd.isna(v) else v for k, v in prints.items()},
    }
