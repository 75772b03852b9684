"""A small but complete tree of derivatives, written by the project's own writers, with numbers we know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ban_bids.bids.names import DerivativeName, bas_name, sidecar
from ban_bids.constants import AREAS, JOINT
from ban_bids.derivatives.dataset import source_dataset, write_dataset_files
from ban_bids.derivatives.maps import write_statmap
from ban_bids.derivatives.provenance import write_provenance, write_status
from ban_bids.derivatives.summaries import ModelSummary, ParticipantSummary, log_label, write_summary
from ban_bids.derivatives.tables import write_table
from ban_bids.files.atomic import atomic_path
from ban_bids.scoring.bas import COLUMNS
from ban_bids.settings import Settings

SPACE = "MNI152NLin2009cAsym"
TASK = "Test"
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


def score_rows(rng: np.random.Generator, model: str) -> pd.DataFrame:
    """A table with the columns of the real one: a scored model and one control."""
    rows = []
    for name, role, top in ((model, "scored", 0.5), (model + "untrained1", "control", 0.2)):
        c = rng.uniform(0.0, top, (len(AREAS), len(AREAS)))
        lines = [_score_row("layer", c[i, j], AREAS[i], AREAS[j]) for i, j in np.ndindex(*c.shape)]
        lines += [_score_row("region", own, None, region) for own, region in zip(np.diag(c), AREAS, strict=True)]
        total = float(np.sqrt(np.diag(c)).mean())
        lines += [_score_row(row, total) for row in ("C", "C_mapped", "R2", "preference", "hierarchy")]
        if role == "scored":
            lines += [_score_row("B", BEHAVIORAL), _score_row("BAS", (total + BEHAVIORAL) / 2)]
            lines += [_score_row("kappa_model_person", np.nan)]
        rows += [{**line, "model": name, "role": role} for line in lines]
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
        known |= {"mapped": layer == region, "committed": float(layer == region), "p_sound": 0.01, "n_voxels": 40}
    return known


def make_tree(
    root: Path,
    participants: Sequence[str] = ("01", "02", "03", "04"),
    *,
    fingerprints: dict[str, str] | None = None,
    atlases: dict[str, str] | None = None,
    reductions: dict[str, str] | None = None,
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
        write_summary(root, ParticipantSummary(label, TASK, SPACE, facts=[("Runs", 3)]))
        write_status(root, label, "done")
    return FakeTree(root, mask, maps, scores)


def write_model(
    root: Path, label: str, table: pd.DataFrame, model: str, facts: dict[str, object] | None = None
) -> pd.DataFrame:
    """Write what stands for one model in one participant beside maps."""
    path = bas_name(label, TASK, model).path(root)
    known = {"Model": model, "ModelFingerprint": "f" * 16, "Atlas": "HCP-MMP1.0", "FeatureReduction": REDUCTION}
    write_table(path, table, COLUMNS, {**known, **(facts or {})})
    files = [root.parent / "bids" / f"sub-{label}_bold.nii.gz"]
    write_provenance(root, log_label(label, TASK, model), fake_settings(root), files)
    write_summary(root, fake_summary(label, model))
    return table


def fake_summary(label: str, model: str = "ban", **more: object) -> ModelSummary:
    """A model's summary."""
    known = {"files": [f"/bids/sub-{label}_bold.nii.gz"]}
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
