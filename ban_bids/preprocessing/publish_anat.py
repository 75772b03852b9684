"""Put the T1w image and all spatial transforms under their BIDS names, as users of fMRIPrep expect them.

``from-X_to-Y`` with ``mode-image``: antsApplyTransforms brings an image of X to Y with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.bids.names import sidecar
from ban_bids.files.atomic import place, write_text
from ban_bids.files.json import write_json
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.files import raw_uri
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE
from ban_bids.preprocessing.space.transforms import itk_text
from ban_bids.settings import Settings

_WITHOUT_T1W = "firstboldref"
"""What stands in the names for the T1w image where there is none: the first run's reference."""


def publish_anat(participant: Participant, summary: Mapping[str, Any], settings: Settings, folder: Path) -> None:
    """Place the T1w image, its mask and the transforms to and from the template."""
    used = [participant.t1w[number] for number in summary["t1w_used"]] or [participant.runs[0].bold]
    source = {"Sources": [raw_uri(path, settings.selection.bids_dir) for path in used]}
    stem = folder / f"sub-{participant.label}"
    for key, name in (
        ("to_template", f"from-{_anatomy(participant)}_to-{TEMPLATE}"),
        ("from_template", f"from-{TEMPLATE}_to-{_anatomy(participant)}"),
    ):
        transform = place(Path(summary[key]), Path(f"{stem}_{name}_mode-image_xfm.h5"))
        write_json(sidecar(transform), {"Description": "ITK composite: affine and displacement field", **source})
    if not participant.t1w:
        return
    image = place(Path(summary["t1w"]), Path(f"{stem}_desc-preproc_T1w.nii.gz"))
    write_json(sidecar(image), {"SkullStripped": False, **source})
    mask = place(Path(summary["t1w_mask"]), Path(f"{stem}_desc-brain_mask.nii.gz"))
    write_json(sidecar(mask), {"Type": "Brain", **source})
    if settings.preprocessing.space != NATIVE:
        name = f"{stem}_space-{settings.preprocessing.space}_desc-preproc_T1w.nii.gz"
        image = place(Path(summary["t1w_in_space"]), Path(name))
        write_json(sidecar(image), {"SkullStripped": False, **source})


def publish_transforms(run: Run, index: int, summary: Mapping[str, Any], settings: Settings, stem: Path) -> None:
    """Place a run's reference, its coregistration and its head motion.

    Parameters
    ----------
    run : Run
    index : int
        Of the run among the participant's.
    summary : mapping
    settings : Settings
    stem : Path
        Folder and beginning of the names.
    """
    source = {"Sources": [raw_uri(run.bold, settings.selection.bids_dir)]}
    reference = place(Path(summary["references"][index]), Path(f"{stem}_desc-coreg_boldref.nii.gz"))
    write_json(sidecar(reference), {"SkullStripped": False, **source})
    anatomy = NATIVE if summary["t1w_used"] else _WITHOUT_T1W
    with np.load(summary["motions"][index]) as stored:
        motion = stored["matrices"]
    for name, matrices in (
        (f"from-boldref_to-{anatomy}_mode-image_desc-coreg_xfm", [np.loadtxt(summary["matrices"][index])]),
        ("from-orig_to-boldref_mode-image_desc-hmc_xfm", list(motion)),
    ):
        path = write_text(Path(f"{stem}_{name}.txt"), itk_text(matrices))
        write_json(
            sidecar(path), {"Description": "ITK affine, one a volume" if "hmc" in name else "ITK affine", **source}
        )


def _anatomy(participant: Participant) -> str:
    return NATIVE if participant.t1w else _WITHOUT_T1W
