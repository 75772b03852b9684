"""Where fMRIPrep (20.2 and later) keeps a participant's anatomy; runs' files are found by `bids.fmriprep`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from ban_bids.bids.names import entities
from ban_bids.errors import DataError
from ban_bids.files.fetched import absence
from ban_bids.files.images import naming, voxel_sizes
from ban_bids.files.json import read_json
from ban_bids.inputs.derivatives import RESTORE, made_header
from ban_bids.inputs.types import Participant
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE

_LOG = logging.getLogger(__name__)
_NIFTI = (".nii.gz", ".nii")


def version_of(folder: Path) -> str:
    """Version that made the derivatives, ``unknown`` where their description does not say."""
    try:
        content = read_json(folder / "dataset_description.json")
        pipeline = (content.get("GeneratedBy") or [content.get("PipelineDescription") or {}])[0]
        return str(pipeline.get("Version", "unknown"))
    except (DataError, AttributeError, LookupError, TypeError):
        _LOG.warning("%s: no readable dataset_description.json; fMRIPrep's version is unknown", folder)
        return "unknown"


def find_anatomical(
    participant: Participant, folder: Path, space: str, tail: str
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """A participant's anatomical images of one kind, and a note where sessions have their own.

    Parameters
    ----------
    participant : Participant
    folder : Path
        fMRIPrep's output.
    space : str
        The template, or ``T1w``: images without a ``space`` entity.
    tail : str
        End of the name without extension; without ``desc`` only images that have none.

    Returns
    -------
    paths : tuple of Path
        The finest first; of ``anat/``, else of the first session of the runs, else of any session.
    notes : tuple of str
    """

    def fits(path: Path) -> bool:
        labels = dict(entities(path))
        return labels.get("space", NATIVE) == space and ("desc" in labels) == tail.startswith("desc-")

    fitting = [list(filter(fits, images)) for images in _anatomical(participant, folder, tail, _NIFTI)]
    folders = [images for images in fitting if images]
    if not folders:
        return (), ()
    fetched = [path for path in folders[0] if absence(path) is None]  # of several resolutions any will do
    note = f"{len(folders)} folders have their own *_{tail}; used {folders[0][0].parent}"
    finest = sorted(fetched, key=_voxel_volume) or folders[0]
    return tuple(finest), (note,) if len(folders) > 1 else ()


def _voxel_volume(path: Path) -> float:
    return float(np.prod(voxel_sizes(made_header(path))))


def find_transform(participant: Participant, folder: Path) -> Path:
    """Transform that brings the template's images onto the T1w image (ITK, ``.h5``).

    Raises
    ------
    DataError
    """
    tail = f"from-{TEMPLATE}_to-T1w_mode-image_xfm"
    transforms = _anatomical(participant, folder, tail, (".h5",))
    pattern = f"sub-{participant.label}_{tail}.h5"
    if not transforms:
        raise DataError(
            f"{folder / f'sub-{participant.label}'}: no file {pattern}; --space {NATIVE} needs it for the regions: "
            f"copy it, or choose --space {TEMPLATE}"
        )
    if len(transforms[0]) > 1:
        names = ", ".join(path.name for path in transforms[0])
        raise DataError(f"{folder}: several files fit {pattern} ({names}); leave one of them")
    with naming(transforms[0][0], RESTORE), h5py.File(transforms[0][0]):
        return transforms[0][0]


def _anatomical(participant: Participant, folder: Path, tail: str, extensions: Sequence[str]) -> list[list[Path]]:
    """Files of ``anat/``, of the runs' sessions and of the others, folder by folder."""
    subject = folder / f"sub-{participant.label}"
    sessions = [f"ses-{run.session}" for run in participant.runs if run.session]
    others = [path.name for path in sorted(subject.glob("ses-*"))]
    places = [subject / name / "anat" for name in dict.fromkeys(["", *sessions, *others])]
    by_place = (_files(place, participant.label, tail, extensions) for place in places)
    return [files for files in by_place if files]


def _files(place: Path, participant: str, tail: str, extensions: Sequence[str]) -> list[Path]:
    # by a pattern with a star: one without passes over links to what was not fetched
    there = sorted(place.glob(f"sub-{participant}_*"))
    return [path for extension in extensions for path in there if path.name.endswith(f"_{tail}{extension}")]
