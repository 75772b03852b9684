"""The group level: means over participants, from their derivatives alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ban_bids.app.comparable import plain_condition
from ban_bids.app.comparison import compare_group
from ban_bids.app.group_table import COLUMNS, group_table, owner_of
from ban_bids.app.overlap import known_tracks, marks
from ban_bids.bids.names import sidecar
from ban_bids.constants import SMALL_DATA
from ban_bids.derivatives.comparisons import write_group_comparison
from ban_bids.derivatives.draws import read_conditions
from ban_bids.derivatives.group_maps import check_maps, write_group_maps
from ban_bids.derivatives.provenance import read_statuses, write_provenance
from ban_bids.derivatives.quality import with_outliers, write_group_quality
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.derivatives.tables import write_table
from ban_bids.errors import DataError, UsageError
from ban_bids.reports.group import render_group
from ban_bids.settings import Selection, Settings

_LOG = logging.getLogger(__name__)

_ALIKE = ("PreprocessedBy", "ConfoundsStrategy", "HighPass", "Lags", "Penalties", "EVFloor")
"""Conditions of scores, see :func:`ban_bids.app.kept.conditions`, that are the same in all where all were run alike."""


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
        Nobody finished, or participants were scored in different tasks or with different weights, sessions, atlases,
        features, spaces or grids.
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
    check_tasks(members.files)
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
    notes = (*notes, *conditions_notes(draw_files), *weights_notes(members.files), *marks(known_tracks(scores)))
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
    everything = out.score_files()
    files = everything[everything["task"].isin(selection.task_ids)] if selection.task_ids else everything
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
            missing.append((label, _unfinished(everything[everything["participant"] == label], selection)))
    if not labels:
        why = "; ".join(f"sub-{label}: {reason}" for label, reason in missing) or "no participant at all"
        remedy = "run the participant level first"
        if selection.task_ids and len(everything):
            remedy = f"--task-id takes the held-out task of the tables, {' or '.join(sorted(set(everything['task'])))}"
        raise DataError(f"{out.root}: nobody to make a group of ({why}); {remedy}")
    return Members(tuple(labels), tuple(missing), taken[taken["participant"].isin(labels)].reset_index(drop=True))


def _unfinished(tables: pd.DataFrame, selection: Selection) -> str:
    """Why a participant has no score table of what was asked for; ``tables`` are all of the participant's."""
    if tables.empty:
        return "no score table: participant level not finished"
    tasks = ", ".join(sorted(set(tables["task"])))
    return f"no score table of task {' or '.join(selection.task_ids)}; held out was {tasks}"


def _taken(table: pd.DataFrame, members: Members) -> pd.DataFrame:
    """Rows of scores or maps that belong to the members' score tables; those of controls go with their model."""
    keys = pd.MultiIndex.from_frame(members.files[["participant", "task", "model"]])
    rows = pd.MultiIndex.from_frame(table[["participant", "task"]].assign(model=owner_of(table)))
    return table[rows.isin(keys)].reset_index(drop=True)


def check_tasks(files: pd.DataFrame) -> None:
    """Refuse a group over several held-out tasks: maps of them would be averaged, and its page shows one.

    Raises
    ------
    DataError
        Names the tasks and their participants.
    """
    people = {str(task): list(dict.fromkeys(rows["participant"])) for task, rows in files.groupby("task")}
    if len(people) > 1:
        who = "; ".join(f"{task}: {', '.join(f'sub-{label}' for label in labels)}" for task, labels in people.items())
        raise DataError(
            f"scores of several held-out tasks ({who}) are not averaged; choose one with --task-id, or run the "
            "participant level of all with the same --test-task in another OUTPUT_DIR"
        )


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
    """Refuse a group whose members were scored with other weights of one model, regions, features or definitions.

    Parameters
    ----------
    files : DataFrame
        From :meth:`ban_bids.derivatives.read.Derivatives.score_files`.

    Raises
    ------
    DataError
        Names the participants and the beginning of their weights' fingerprints, their atlases, what their features
        were reduced to, or the versions that scored them.
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
        (
            "scores by different versions of ban-bids",
            "definitions",
            "version, in another OUTPUT_DIR",
            known,
        ),
    ]
    for what, column, option, rows in alike:
        values = rows[column].astype(object).where(rows[column].notna(), "unknown")
        if values.nunique() > 1:
            who = ", ".join(f"sub-{label} {value}" for label, value in zip(rows["participant"], values, strict=True))
            raise DataError(f"{what} in the group ({who}); run the participant level of all with the same {option}")


def conditions_notes(draw_files: pd.DataFrame) -> list[str]:
    """Say in what the participants' scores differ that a call decides for all, each once.

    What must be the same is refused by :func:`check_same`; this may be on purpose, and is not seen in a mean.
    """
    models: dict[str, list[str]] = {}
    for model, files in draw_files.groupby("model", sort=False):
        kept = {str(one.participant): read_conditions(Path(str(one.path))) for one in files.itertuples()}
        for condition in _ALIKE:
            people: dict[str, list[str]] = {}
            for label, own in kept.items():
                if condition in own:
                    people.setdefault(plain_condition(own, condition), []).append(f"sub-{label}")
            if len(people) > 1:
                who = "; ".join(f"{value}: {', '.join(labels)}" for value, labels in people.items())
                models.setdefault(f"{condition} differs ({who})", []).append(str(model))
    return [f"{', '.join(names)}: participants were scored in different ways: {what}" for what, names in models.items()]


def weights_notes(files: pd.DataFrame) -> list[str]:
    """Say of which models few tracks have trained the weights, each once."""
    known = files[files["weights"].astype(str).str.contains(SMALL_DATA, regex=False)]
    return [f"{model}: weights {text}" for model, text in dict(zip(known["model"], known["weights"])).items()]


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
