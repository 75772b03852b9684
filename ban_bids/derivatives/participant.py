"""One participant's results as files: maps, score table, and the facts that later stages read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.bids.names import bas_name
from ban_bids.derivatives.maps import write_statmap
from ban_bids.derivatives.tables import write_table
from ban_bids.encoding.bold import ParticipantData
from ban_bids.files.write import read_json, write_json
from ban_bids.scoring.voxels import BEST_LAYER, ScoredModel


@dataclass(frozen=True)
class Labels:
    """Labels of one participant's files: participant, held-out task, space."""

    participant: str
    task: str
    space: str


@dataclass(frozen=True)
class Summary:
    """What a report says beside maps and scores; kept as ``logs/sub-<label>_summary.json``.

    Parameters
    ----------
    participant, task, space, model, fingerprint : str
        Labels, and the hash of the scored weights.
    facts : sequence of (str, value)
        Shown at the top of the report.
    notes : sequence of str
        All warnings of all stages.
    reasons : dict of str to str
        Section of the report -> why something in it is ``n/a``.
    methods : sequence of str
        Paragraphs.
    alignment : dict
        ``values``, ``low``, ``high`` (layers × regions; None where ``n/a``), ``layers``, ``regions``.
    tests : sequence of dict
        Permutation tests of regions.
    figures : sequence of (str, str)
        Title and path of preprocessing's pictures, relative to the output directory.
    stages : sequence of dict
        Minutes and peak memory of every stage.
    files : sequence of str
        Exactly the files that were used.
    extra : dict
        Further facts, e.g. of inference and folds.
    """

    participant: str
    task: str
    space: str
    model: str
    fingerprint: str
    facts: Sequence[tuple[str, Any]] = ()
    notes: Sequence[str] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    methods: Sequence[str] = ()
    alignment: Mapping[str, Any] = field(default_factory=dict)
    tests: Sequence[Mapping[str, Any]] = ()
    figures: Sequence[tuple[str, str]] = ()
    stages: Sequence[Mapping[str, Any]] = ()
    files: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def summary_path(root: Path, participant: str) -> Path:
    """Where a participant's summary lies."""
    return root / "logs" / f"sub-{participant}_summary.json"


def write_summary(root: Path, summary: Summary) -> Path:
    """Write a participant's summary, atomically."""
    return write_json(summary_path(root, summary.participant), asdict(summary))


def read_summary(root: Path, participant: str) -> Summary:
    """Read a participant's summary back.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    return Summary(**read_json(summary_path(root, participant)))


def write_maps(
    root: Path,
    labels: Labels,
    data: ParticipantData,
    scores: ScoredModel,
    metadata: Mapping[str, Any],
) -> tuple[Path, ...]:
    """Write every map of a scored model, and the noise ceiling's.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    labels : Labels
    data : ParticipantData
        Mask and affine.
    scores : ScoredModel
    metadata : mapping
        Into every JSON file.

    Returns
    -------
    tuple of Path
        The images.
    """
    common = {"participant": labels.participant, "task": labels.task, "space": labels.space}
    repeats = 0 if scores.ceiling is None else scores.ceiling.n_repeats
    facts = {**metadata, "NumberOfRepeats": repeats, "RepeatsUsed": _rows_used(repeats)}
    paths = [
        write_statmap(
            root, values, data.mask, data.affine, **common, stat=stat, model=scores.model, layer=layer,
            metadata={**facts, **_own_facts(stat, values, scores.layers)},
        )
        for (layer, stat), values in scores.maps.items()
    ]  # fmt: skip
    if scores.ceiling is not None:
        for stat in ("ev", "ccmax"):
            values = np.asarray(getattr(scores.ceiling, stat), dtype=np.float32)
            paths.append(write_statmap(root, values, data.mask, data.affine, **common, stat=stat, metadata=facts))
    return tuple(paths)


def _own_facts(stat: str, values: np.ndarray, layers: Sequence[str]) -> dict[str, Any]:
    """What the JSON file of one statistic says beyond those of all."""
    if stat == "share":
        return {"VoxelsNegative": int(np.count_nonzero(values < 0))}
    if stat == BEST_LAYER:
        counts = {layer: int(np.count_nonzero(values == k)) for k, layer in enumerate(layers, 1)}
        return {"Levels": {str(k): layer for k, layer in enumerate(layers, 1)}, "VoxelsOfArea": counts}
    return {}


def _rows_used(repeats: int) -> str:
    return f"mean of {repeats} repeats of each clip" if repeats > 1 else "single presentations"


def write_scores(
    root: Path,
    labels: Labels,
    model: str,
    table: pd.DataFrame,
    columns: Mapping[str, str | Mapping[str, Any]],
    metadata: Mapping[str, Any],
) -> Path:
    """Write the score table ``_bas.tsv`` and the JSON file that defines its columns."""
    path = bas_name(labels.participant, labels.task, model).path(root)
    return write_table(path, table, columns, metadata)
