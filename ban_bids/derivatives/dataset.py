"""What the derivatives folder says of itself: description, ``.bidsignore``, README."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ban_bids import __version__
from ban_bids.files.atomic import TEMPORARY_PREFIX, write_text
from ban_bids.files.json import write_json

BIDS_VERSION = "1.10.0"

_IGNORED = (
    "/work",
    "/logs",
    "*.html",
    "*_statmap.*",
    "*_bas.*",
    "*_draws.*",
    "*_confusion.*",
    "*_comparison.*",
    "*_qc.*",
    "group_quality.*",
    "*_desc-auditory_dseg.*",
    "*_desc-cortex_mask.*",
    "*_boldref.*",
    "*_xfm.*",
    "*_timeseries.*",
    "figures",
    f"{TEMPORARY_PREFIX}*",
)
"""What BIDS has no rule for: maps of statistics, tables of scores and quality, draws, reports, figures,
transforms, confounds, and regions and masks in ``func`` that belong to no task.

Folders stand without a closing slash: the official validator does not apply ``work/`` to the folder itself.
"""


def write_dataset_files(root: Path, sources: Sequence[dict[str, Any]] = (), *, ignored: Sequence[str] = ()) -> Path:
    """Write ``dataset_description.json``, ``.bidsignore`` and ``README``.

    Parameters
    ----------
    root : Path
        The derivatives folder; made where it does not exist.
    sources : sequence of dict
        ``SourceDatasets`` of BIDS: objects with ``URL``, ``DOI`` or ``Version``.
    ignored : sequence of str
        Further lines of ``.bidsignore``, e.g. of a work directory with another name.

    Returns
    -------
    Path
        ``dataset_description.json``.
    """
    generated: dict[str, Any] = {
        "Name": "ban-bids",
        "Version": __version__,
        "Description": "Brain-like auditory scores of auditory networks",
    }
    container = {key: os.environ.get(f"BAN_BIDS_CONTAINER{name}") for key, name in (("Type", ""), ("Tag", "_TAG"))}
    if container["Type"]:  # as the image that this runs in says
        generated["Container"] = {key: value for key, value in container.items() if value}
    content: dict[str, Any] = {
        "Name": "ban-bids: brain-like auditory scores",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated],
    }
    if sources:
        content["SourceDatasets"] = [dict(source) for source in sources]
    write_text(root / ".bidsignore", "\n".join((*_IGNORED, *ignored)) + "\n")
    readme = (files("ban_bids.derivatives") / "readme.txt").read_text(encoding="utf-8")
    write_text(root / "README", readme.format(version=__version__))
    return write_json(root / "dataset_description.json", content)


def source_dataset(root: Path, doi: str | None = None) -> dict[str, str]:
    """One entry of ``SourceDatasets``.

    Parameters
    ----------
    root : Path
        Where the dataset lies; becomes a ``file://`` address.
    doi : str, optional
        As its own description gives it.

    Returns
    -------
    dict
        Keys ``URL`` and, where known, ``DOI``.
    """
    return {"URL": root.resolve().as_uri(), **({"DOI": doi} if doi else {})}
