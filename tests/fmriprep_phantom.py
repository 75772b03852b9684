"""A small fMRIPrep output: series of noise on a coarse grid of the template, masks, tables, grey matter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from ban_bids.preprocessing.space.template import TEMPLATE, template_grid

GRID = template_grid(6.0)
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def write_image(path: Path, data: np.ndarray, affine: np.ndarray = GRID.affine, tr: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    if tr is not None:
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    nib.save(image, path)
    return path


def write_table(path: Path, n: int) -> Path:
    """Confounds of slow motion."""
    rows = ["\t".join([*MOTION, "csf", "white_matter"])]
    rows += ["\t".join([f"{(row % (k + 2)) * 0.01:g}" for k in range(8)]) for row in range(n)]
    path.write_text("\n".join(rows) + "\n")
    return path


def write_run(
    folder: Path,
    sub: str,
    name: str,
    *,
    n: int = 10,
    middle: str = f"space-{TEMPLATE}",
    session: str | None = None,
    tr: float | None = 2.0,
    side: dict[str, object] | None = None,
) -> Path:
    """One run's series (returned), mask, table and sidecar; ``name`` is what stands between sub- and space-."""
    place = folder / f"sub-{sub}" / (f"ses-{session}" if session else "") / "func"
    stem = f"sub-{sub}_{name}"
    rng = np.random.default_rng(len(name))
    data = rng.normal(1000, 20, (*GRID.shape, n)).astype(np.float32)
    bold = write_image(place / f"{stem}_{middle}_desc-preproc_bold.nii.gz", data, tr=tr)
    write_image(place / f"{stem}_{middle}_desc-brain_mask.nii.gz", np.ones(GRID.shape, np.uint8))
    write_table(place / f"{stem}_desc-confounds_timeseries.tsv", n)
    known = {"RepetitionTime": 2.0, "StartTime": 0.9, "SliceTimingCorrected": True} if side is None else side
    bold.with_name(bold.name.replace(".nii.gz", ".json")).write_text(json.dumps(known))
    return bold


def write_output(folder: Path, sub: str, names: Sequence[str], **options: object) -> Path:
    """fMRIPrep's output of one participant; the folder."""
    for name in names:
        write_run(folder, sub, name, **options)  # type: ignore[arg-type]
    grey = folder / f"sub-{sub}/anat/sub-{sub}_space-{TEMPLATE}_label-GM_probseg.nii.gz"
    write_image(grey, np.ones(GRID.shape, np.float32))
    made = {"Name": "fMRIPrep", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.1"}]}
    (folder / "dataset_description.json").write_text(json.dumps(made))
    return folder
