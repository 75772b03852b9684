"""The ``logs`` folder: with which settings, versions and files, and how each participant ended.

Files carry the labels of participant and model, so that two calls in one output directory do not overwrite
each other's.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from ban_bids import __version__
from ban_bids.bids.names import alphanumeric
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json, write_json
from ban_bids.settings import Settings

Status = Literal["done", "failed"]


def settings_toml(settings: Settings) -> str:
    """Settings as TOML text: a table per part, one key per field; ``name=path`` for derivatives and models."""
    values = dataclasses.asdict(settings)
    values["preprocessing"]["derivatives"] = [f"{name}={path}" for name, path in settings.preprocessing.derivatives]
    requests = values["models"].pop("requests")
    values["models"]["model"] = ["=".join(map(str, filter(None, request.values()))) for request in requests]
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"# ban-bids {__version__}"]
    lines += [f"{k} = {_toml(v)}" for k, v in values.items() if v is not None and k not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in table.items() if v is not None)]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # a JSON string is a TOML basic string but for DEL, which JSON lets stand
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")


def versions() -> dict[str, str]:
    """Versions of ban-bids, of Python, and of the packages that ban-bids declares.

    Returns
    -------
    dict
        Package -> version, ban-bids and Python first.
    """
    known = {"ban-bids": __version__, "python": platform.python_version(), "platform": platform.platform()}
    declared = [line for line in requires("ban-bids") or [] if "extra ==" not in line]
    for name in sorted(re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in declared):
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = "not installed"
    return known


def write_provenance(
    root: Path, label: str, settings: Settings, used: Iterable[Path | str], more: Mapping[str, Any] | None = None
) -> None:
    """Write the provenance of one model in one participant, or of the group.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    label : str
        ``group``, or a model's in a participant: ``sub-01_task-Test_desc-ban``.
    settings : Settings
        As they were in force.
    used : iterable of Path
        Exactly the files that were read.
    more : mapping, optional
        Further facts for the list of files, e.g. checksums of weights.

    Notes
    -----
    Makes ``logs/<label>_{settings.toml,versions.json,files.json}``.
    """
    logs = root / "logs"
    write_text(logs / f"{label}_settings.toml", settings_toml(settings))
    write_json(logs / f"{label}_versions.json", versions())
    paths = sorted({str(path) for path in used})
    write_json(logs / f"{label}_files.json", {**(more or {}), "FilesUsed": paths})


def write_status(
    root: Path, participant: str, status: Status, reason: str | None = None, *, model: str | None = None
) -> Path:
    """Write how a participant, or one model in it, ended, for the group level to report.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    participant : str
        Label without ``sub-``.
    status : {"done", "failed"}
        How it ended.
    reason : str, optional
        Why it failed, in one line.
    model : str, optional
        The model that could not be scored; without one the status is that of the participant.

    Returns
    -------
    Path
        ``logs/sub-<label>[_desc-<model>]_status.json``.
    """
    content = {
        "participant": participant,
        "model": model,
        "status": status,
        "reason": reason,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    suffix = "" if model is None else f"_desc-{alphanumeric(model)}"
    return write_json(root / "logs" / f"sub-{participant}{suffix}_status.json", content)


def read_statuses(root: Path, participant: str | None = None) -> dict[tuple[str, str | None], tuple[str, str | None]]:
    """Read back all that :func:`write_status` wrote.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    participant : str, optional
        Whose files are opened alone; label without ``sub-``.

    Returns
    -------
    dict
        (Participant, model or None) -> (status, reason or None).

    Raises
    ------
    DataError
        A file lacks the participant or the status.
    """
    statuses: dict[tuple[str, str | None], tuple[str, str | None]] = {}
    for path in sorted((root / "logs").glob(f"sub-{participant or '*'}_*status.json")):
        content = read_json(path)
        if "status" not in content or "participant" not in content:
            raise DataError(f"{path}: names no status; delete it and run the participant level again")
        key = (str(content["participant"]), content.get("model"))
        statuses[key] = (str(content["status"]), content.get("reason"))
    return statuses
