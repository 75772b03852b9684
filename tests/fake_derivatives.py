"""A small but complete tree of derivatives, written by the project's own writers, with numbers we know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ban_bids.bids.names import DerivativeName, bas_name, sidecar
from ban_bids.constants import AREAS, JOINT
from ban_bids.derivatives.comparisons import COLUMNS as COMPARISON_COLUMNS
from ban_bids.derivatives.dataset import source_dataset, write_dataset_files
from ban_bids.derivatives.maps import write_statmap
from ban_bids.derivatives.provenance import write_provenance, write_status
from ban_bids.derivatives.summaries import ModelSummary, ParticipantSummary, log_label, write_summary
from ban_bids.derivatives.tables import write_table
from ban_bids.files.atomic import atomic_path
from ban_bids.preprocessing.atlases import citations
from ban_bids.scoring.bas import COLUMNS
from ban_bids.settings import Settings

SPACE = "MNI152NLin2009cAsym"
TASK = "Test"
VERSION = "0.2"
REDUCTION = "64 principal components"
BEHAVIORAL = 0.4
SHAPE = (12, 14, 11)
AFFINE = np.array([[-12.0, 0, 0, 70], [0, 14.0, 0, -110], [0, 0, 12.0, -55], [0, 0, 0, 1]])


@dataclass(frozen=True)
class FakeTree:
    root: Path
    mask: np.ndarray
    maps: dict[tuple[str, str, str], np.ndarray]  # participant, layer, stat -> values in the mask
    scores: dict[str, pd.DataFrame]


def fake_settings(root: Path, level: str = "participant") -> Settings:
    return Settings.of(bids_dir=root.parent / "bids", output_dir=root, level=level, work_dir=root / "work")


def score_rows(
    rng: np.random.Generator,
    model: str,
    layers: Sequence[str] = AREAS,
    *,
    controls: Sequence[str] = ("untrained1",),
    behavior: float = BEHAVIORAL,
) -> pd.DataFrame:
    """A table with the columns of the real one: a scored model and its controls; layers are committed in turn."""
    rows = []
    members = [(model, "scored", 0.5), *((model + control, "control", 0.2) for control in controls)]
    for name, role, top in members:
        c = rng.uniform(0.0, top, (len(layers), len(AREAS)))
        chosen = [round(j * (len(layers) - 1) / (len(AREAS) - 1)) for j in range(len(AREAS))]
        lines = [_layer_row(c[i, j], layers[i], AREAS[j], i == chosen[j]) for i, j in np.ndindex(*c.shape)]
        own = c[chosen, range(len(AREAS))]
        lines += [_score_row("region", value, None, region) for value, region in zip(own, AREAS, strict=True)]
        total = float(np.sqrt(own).mean())
        lines += [_score_row(row, total) for row in ("C", "C_mapped", "R2", "preference", "hierarchy")]
        if role == "scored":
            lines += [_score_row("B", behavior), _score_row("BAS", (total + behavior) / 2)]
            lines += [_score_row("kappa_model_person", np.nan)]
        rows += [{**line, "model": name, "role": role} for line in lines]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _layer_row(value: float, layer: str, region: str, committed: bool) -> dict[str, object]:
    return {**_score_row("layer", value, layer, region), "committed": float(committed)}


def _score_row(row: str, value: float, layer: str | None = None, region: str | None = None) -> dict[str, object]:
    known: dict[str, object] = {
        "row": row,
        "belongs_to": "dataset" if row == "B" else "participant",
        "layer": layer,
        "region": region,
        "value": value,
        "ci_low": value - 0.1,
        "ci_high": value + 0.1,
        "reason": "people judged too few clips" if np.isnan(value) else None,
    }
    if region is not None:
        known |= {"rho": np.sqrt(value), "rho_ci_low": np.sqrt(value) - 0.1, "rho_ci_high": np.sqrt(value) + 0.1}
    if layer is not None:
        known |= {"mapped": layer == region, "p_sound": 0.01, "n_voxels": 40}
    return known


def make_tree(
    root: Path,
    participants: Sequence[str] = ("01", "02", "03", "04"),
    *,
    fingerprints: dict[str, str] | None = None,
    atlases: dict[str, str] | None = None,
    reductions: dict[str, str] | None = None,
    versions: dict[str, str] | None = None,
    affines: dict[str, np.ndarray] | None = None,
    sessions: Sequence[str] = (),
    model: str = "ban",
    layers: Sequence[str] = (*AREAS, JOINT),
) -> FakeTree:
    """Write score tables, maps of r, p, ev and regions of each participant."""
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:-2, 2:-2, 2:-2] = True
    write_dataset_files(root, [source_dataset(root.parent / "bids", doi="doi:10.18112/openneuro.ds003720.v1.0.0")])
    maps: dict[tuple[str, str, str], np.ndarray] = {}
    scores: dict[str, pd.DataFrame] = {}
    for label in participants:
        affine = (affines or {}).get(label, AFFINE)
        facts = {
            "ModelFingerprint": (fingerprints or {}).get(label, "f" * 16),
            "Atlas": (atlases or {}).get(label, "HCP-MMP1.0"),
            "FeatureReduction": (reductions or {}).get(label, REDUCTION),
            "DefinitionsVersion": (versions or {}).get(label, VERSION),
            "NumberOfRepeats": 4,
            "RepeatsUsed": "mean of 4 repeats",
            "Sources": [f"bids:raw:sub-{label}/func/sub-{label}_task-{TASK}_run-01_bold.nii.gz"],
        }
        place = {"participant": label, "task": TASK, "space": SPACE, "metadata": facts}
        for layer in layers:
            for stat in ("r", "pspecific"):
                values = rng.uniform(-0.2, 0.6, int(mask.sum())) if stat == "r" else rng.uniform(0.01, 1, mask.sum())
                values[int(label)] = np.nan
                maps[label, layer, stat] = values
                write_statmap(root, values, mask, affine, stat=stat, model=model, layer=layer, **place)
        ceiling = rng.uniform(0.01, 0.6, int(mask.sum()))
        maps[label, "", "ev"] = ceiling
        write_statmap(root, ceiling, mask, affine, stat="ev", **place)
        scores[label] = write_model(root, label, score_rows(rng, model), model, {**facts, "Sessions": sessions})
        _write_regions(root, label, mask, affine)
        write_summary(root, ParticipantSummary(label, TASK, SPACE, facts=[("Runs", 3)], ran=RAN_PARTICIPANT))
        write_status(root, label, "done")
    return FakeTree(root, mask, maps, scores)


def write_model(
    root: Path, label: str, table: pd.DataFrame, model: str, facts: dict[str, object] | None = None
) -> pd.DataFrame:
    """Write what stands for one model in one participant beside maps."""
    path = bas_name(label, TASK, model).path(root)
    known = {"Model": model, "ModelFingerprint": "f" * 16, "Atlas": "HCP-MMP1.0", "FeatureReduction": REDUCTION}
    known["DefinitionsVersion"] = VERSION
    write_table(path, table, COLUMNS, {**known, **(facts or {})})
    files = [root.parent / "bids" / f"sub-{label}_bold.nii.gz"]
    write_provenance(root, log_label(label, TASK, model), fake_settings(root), files)
    write_summary(root, fake_summary(label, model))
    return table


def compared(scores: pd.DataFrame, *, n_a: Sequence[tuple[str, str]] = (), level: str = "participant") -> pd.DataFrame:
    """A comparison of all models of a table: differences of its own numbers, made-up intervals, p and ranks."""
    c = scores[(scores["row"] == "C") & (scores["role"] == "scored")].set_index("model")["value"].astype(float)
    controls = scores[(scores["row"] == "C") & (scores["role"] == "control")]
    rows = [_compared("models", a, b, c[a] - c[b], (a, b) in n_a) for a, b in combinations(c.index, 2)]
    for model, own in controls.groupby("control_of"):
        values = own.set_index("model")["value"].astype(float)
        rows += [_compared("control", model, name, c[model] - value) for name, value in values.items()]
        untrained = values[values.index.str.contains("untrained")]
        if len(untrained) > 1:
            rows.append(_compared("control", model, f"{model}untrained", c[model] - untrained.mean()))
    for key in ("C", "BAS"):
        for model, rank in c.rank(ascending=False).items():
            limits = {"value": rank, "ci_low": max(1, rank - 1), "ci_high": min(len(c), rank + 1)}
            rows.append(
                {**_compared("rank", model, None, rank), **limits, "row": key, "first": 0.7 if rank == 1 else 0.003}
            )
    table = pd.DataFrame(rows).assign(level=level, participant=None, task=TASK, n=1)
    return table.reindex(columns=list(COMPARISON_COLUMNS))


def _compared(kind: str, model: str, other: str | None, value: float, n_a: bool = False) -> dict[str, object]:
    p = float(np.exp(-(abs(value) * 20)))
    known = {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "p": p, "p_corrected": min(1.0, 3 * p)}
    if n_a or np.isnan(value):
        known = {**dict.fromkeys(known, np.nan), "reason": "other confounds: motion12 and compcor"}
    return {"kind": kind, "model": model, "other": other, "row": "C", **known}


RAN_PARTICIPANT = {
    "preprocessed_by": "ban-bids",
    "space": SPACE,
    "confounds": "motion12",
    "atlas_references": list(citations("hcp-mmp")),
    "dataset": {
        "name": "Music & brain",
        "doi": "doi:10.18112/openneuro.ds003720.v1.0.0",
        "authors": ["A. One", "B. Two"],
    },
}
RAN_MODEL = {
    "solver": "closed-form",
    "joint": True,
    "ceiling": True,
    "behavior": True,
    "trained": True,
    "references": [],
}
"""As :mod:`ban_bids.app.summary` writes them."""


def fake_summary(label: str, model: str = "ban", **more: object) -> ModelSummary:
    """A model's summary."""
    known = {"files": [f"/bids/sub-{label}_bold.nii.gz"], "ran": RAN_MODEL}
    return ModelSummary(label, TASK, model, "f" * 16, **{**known, **more})  # type: ignore[arg-type]


def _write_regions(root: Path, label: str, mask: np.ndarray, affine: np.ndarray) -> None:
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[mask] = np.arange(int(mask.sum())) % 5
    path = DerivativeName("dseg", ".nii.gz", label, space=SPACE, desc="auditory").path(root)
    with atomic_path(path) as temporary:
        nib.save(nib.Nifti1Image(labels, affine), temporary)
    table = pd.DataFrame(
        {
            "index": range(1, 5),
            "name": AREAS,
            "abbreviation": AREAS,
            "n_voxels": [int((labels == i).sum()) for i in range(1, 5)],
        }
    )
    columns = {name: f"{name} of the region" for name in table}
    write_table(sidecar(path, ".tsv"), table, columns)
