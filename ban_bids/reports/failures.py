"""Participants and models that failed, on both pages: who, why in one line, and the log that says more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from ban_bids.bids.names import alphanumeric
from ban_bids.derivatives.provenance import read_statuses
from ban_bids.reports.page import Section, Table

_EARLIER = "; its scores on this page are those of an earlier call"


def error_sections(root: Path, missing: Sequence[tuple[str, str | None, str]]) -> list[Section]:
    """Section of errors, for the top of a page.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    missing : sequence of (str, str or None, str)
        Participant, model (None: the whole participant), and why it is missing.

    Returns
    -------
    list of Section
        None where nothing failed.
    """
    if not missing:
        return []
    lines = [
        {"participant": f"sub-{label}", "model": model or "all", "reason": why, "log": _log(root, label, model, why)}
        for label, model, why in missing
    ]
    n_missing = sum(not why.endswith(_EARLIER) for _, _, why in missing)
    one = "1 entry is" if n_missing == 1 else f"{n_missing} entries are"
    note = "run the participant level again when the cause is mended."
    note = f"{one} missing from the scores on this page; {note}" if n_missing else note.capitalize()
    table = Table("Failed or not finished", pd.DataFrame(lines), note=note, alert=True)
    return [Section("Errors", [table])]


def failures_of(root: Path, participant: str, scored: Collection[str] = ()) -> list[tuple[str, str | None, str]]:
    """Participant, model and reason of what failed in a participant, as :func:`error_sections` takes them.

    Of ``scored`` models the page shows scores, which are then of an earlier call: said in the reason.
    """
    failed = [(key, why) for key, (status, why) in read_statuses(root, participant).items() if status == "failed"]
    return [
        (label, model, f"{why or 'no reason was recorded'}{_EARLIER if _shown(model, scored) else ''}")
        for (label, model), why in failed
    ]


def _shown(model: str | None, scored: Collection[str]) -> bool:
    return bool(scored) if model is None else model in scored


def with_models(root: Path, missing: Sequence[tuple[str, str]]) -> list[tuple[str, str | None, str]]:
    """Tell models from participants in the group level's list, whose reasons begin with ``model NAME failed``."""
    failed = [key for key, (status, _) in read_statuses(root).items() if status == "failed"]
    rows: list[tuple[str, str | None, str]] = []
    for label, why in missing:
        models = [m for who, m in failed if who == label and m is not None and why.startswith(f"model {m} failed: ")]
        model = models[0] if models else None
        rows.append((label, model, why.removeprefix("failed: " if model is None else f"model {model} failed: ")))
    return rows


def _log(root: Path, label: str, model: str | None, why: str) -> str:
    """Name of the log: the traceback of this failure where there is one, else the status, else none."""
    logs = root / "logs"
    pattern = f"sub-{label}_crash.txt" if model is None else f"sub-{label}_task-*_desc-{alphanumeric(model)}_crash.txt"
    told = why.split(" (see ")[0].split("; an older score table")[0].removesuffix(_EARLIER).strip()
    for path in sorted(logs.glob(pattern)):
        if told in path.read_text(encoding="utf-8", errors="replace"):  # not that of an earlier failure
            return f"logs/{path.name}"
    status = f"sub-{label}{'' if model is None else f'_desc-{alphanumeric(model)}'}_status.json"
    return f"logs/{status}" if (logs / status).is_file() else "none"
