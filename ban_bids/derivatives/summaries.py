"""What the pages say beside maps and tables, kept as JSON in ``logs``: one file per participant, one per model.

Facts of the participant do not depend on any model, so that scoring another model leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ban_bids.bids.names import alphanumeric, task_label
from ban_bids.errors import DataError
from ban_bids.files.json import read_json, write_json


@dataclass(frozen=True)
class ParticipantSummary:
    """What holds for every model of one participant and held-out task.

    Parameters
    ----------
    participant, task, space : str
        Labels.
    facts : sequence of (str, value)
        Shown at the top of the page.
    notes : sequence of str
        Warnings of reading, preprocessing and cleaning.
    reasons : mapping of str to str
        Section of the page -> why something in it is ``n/a``.
    figures : sequence of (str, str)
        Title and path of preprocessing's pictures, relative to the derivatives folder.
    ran : mapping
        What is to be cited: ``preprocessed_by``, ``space``, ``confounds`` (strategy), ``atlas_references``, and
        ``dataset`` with its ``name``, ``doi`` and ``authors``. Empty in folders of older versions.
    """

    participant: str
    task: str
    space: str
    facts: Sequence[tuple[str, Any]] = ()
    notes: Sequence[str] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[tuple[str, str]] = ()
    ran: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSummary:
    """What holds for one model in one participant and held-out task.

    Parameters
    ----------
    participant, task, model, fingerprint : str
        Labels, and the hash of the scored weights.
    facts : sequence of (str, value)
    notes : sequence of str
        Warnings that concern this model.
    methods : sequence of str
        Paragraphs.
    stages : sequence of mapping
        Minutes and peak memory of every stage of the call that scored it.
    files : sequence of str
        Exactly the files that were used.
    ran : mapping
        What is to be cited: ``solver``, whether there was a ``joint`` fit, a noise ``ceiling`` and people's
        ``behavior``, whether tracks are known that ``trained`` it or its read-out, ``references`` that describe it.
    """

    participant: str
    task: str
    model: str
    fingerprint: str
    facts: Sequence[tuple[str, Any]] = ()
    notes: Sequence[str] = ()
    methods: Sequence[str] = ()
    stages: Sequence[Mapping[str, Any]] = ()
    files: Sequence[str] = ()
    ran: Mapping[str, Any] = field(default_factory=dict)


def log_label(participant: str, task: str, model: str | None = None) -> str:
    """Beginning of the names of logs: ``sub-01_task-Test``, with ``_desc-ban`` for a model's own."""
    label = f"sub-{participant}_task-{task_label(task)}"
    return label if model is None else f"{label}_desc-{alphanumeric(model)}"


def write_summary(root: Path, summary: ParticipantSummary | ModelSummary) -> Path:
    """Write a summary as ``logs/<label>_summary.json``."""
    model = summary.model if isinstance(summary, ModelSummary) else None
    label = log_label(summary.participant, summary.task, model)
    return write_json(root / "logs" / f"{label}_summary.json", asdict(summary))


def read_summaries(root: Path, participant: str) -> tuple[list[ParticipantSummary], list[ModelSummary]]:
    """Read all summaries of a participant, by task and model.

    Raises
    ------
    DataError
        There is none, or one is damaged.
    """
    participants, models = _read(root, f"sub-{participant}_task-*_summary.json")
    if not participants or not models:
        raise DataError(f"sub-{participant}: no score table in {root}; run the participant level first")
    return participants, models


def all_summaries(root: Path) -> tuple[list[ParticipantSummary], list[ModelSummary]]:
    """Read the summaries of all participants.

    Raises
    ------
    DataError
        One is damaged.
    """
    return _read(root, "sub-*_task-*_summary.json")


def _read(root: Path, pattern: str) -> tuple[list[ParticipantSummary], list[ModelSummary]]:
    participants: list[ParticipantSummary] = []
    models: list[ModelSummary] = []
    for path in sorted((root / "logs").glob(pattern)):
        content = read_json(path)
        try:
            if "model" in content:
                models.append(ModelSummary(**content))
            else:
                participants.append(ParticipantSummary(**content))
        except TypeError as error:
            raise DataError(f"{path}: not a summary ({error}); run the participant level again") from error
    return participants, models
