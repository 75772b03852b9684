"""Where fMRIPrep (20.2 and later) keeps what is needed, and what to do where a piece is missing."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from ban_bids.bids.names import entities, entity
from ban_bids.constants import AROMA
from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE
from ban_bids.preprocessing.strategies import series_tail
from ban_bids.settings import Preprocessing

_LOG = logging.getLogger(__name__)
_NIFTI = (".nii.gz", ".nii")
_ADDED = {"desc", "space", "res", "label"}  # entities that a derivative has beside those of its raw file
_SURFACE = frozenset({"hemi", "den"})
_NO_RES = "native"  # --res, and a series without a res entity


def version_of(folder: Path) -> str:
    """Version that made the derivatives, ``unknown`` where their description does not say."""
    try:
        content = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
        pipeline = (content.get("GeneratedBy") or [content.get("PipelineDescription") or {}])[0]
        return str(pipeline.get("Version", "unknown"))
    except (OSError, ValueError, AttributeError, LookupError):
        _LOG.warning("%s: no readable dataset_description.json; fMRIPrep's version is unknown", folder)
        return "unknown"


def find_series(run: Run, folder: Path, options: Preprocessing) -> tuple[Path, Path]:
    """A run's series in the output space, and its brain mask.

    Parameters
    ----------
    run : Run
    folder : Path
        fMRIPrep's output.
    options : Preprocessing
        ``space``, ``res`` and ``confounds`` (the series of ICA-AROMA is another file).

    Returns
    -------
    bold, mask : Path

    Raises
    ------
    DataError
        None or several fit; the pattern and the remedy are named.
    """
    tail = series_tail(options.confounds)
    stem = f"sub-{run.participant}_{run.name}_space-{options.space}"
    there = _of_run(run, folder, tail)
    series = [path for path in there if entity(path, "space") == options.space]
    pattern = f"{stem}[_res-{options.res}]_{tail}.nii.gz"
    if not series:
        raise DataError(f"{folder}: no file {pattern}; {_remedy(run, folder, options, there)}")
    bold = _resolution(series, options.res, pattern, folder)
    where = (options.space, _res(bold))
    masks = [path for path in _of_run(run, folder, "desc-brain_mask") if (entity(path, "space"), _res(path)) == where]
    name = f"{stem}[_res-{_res(bold)}]_desc-brain_mask.nii.gz"
    return bold, _one(masks, name, folder, "it belongs beside the series: copy it there")


def find_confounds(run: Run, folder: Path) -> Path:
    """A run's table of confounds, under its present name or that of fMRIPrep before 20.2.

    Raises
    ------
    DataError
    """
    tails = ("desc-confounds_timeseries", "desc-confounds_regressors")
    tables = [path for tail in tails for path in _of_run(run, folder, tail, (".tsv",))]
    pattern = f"sub-{run.participant}_{run.name}_desc-confounds_timeseries.tsv (or _regressors.tsv)"
    return _one(tables, pattern, folder, "copy it from fMRIPrep's output, with its .json file")


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
    note = f"{len(folders)} folders have their own *_{tail}; used {folders[0][0].parent}"
    finest = sorted(folders[0], key=lambda path: float(np.prod(nib.load(path).header.get_zooms()[:3])))
    return tuple(finest), (note,) if len(folders) > 1 else ()


def find_transform(participant: Participant, folder: Path) -> Path:
    """Transform that brings the template's images onto the T1w image (ITK, ``.h5``).

    Raises
    ------
    DataError
    """
    tail = f"from-{TEMPLATE}_to-T1w_mode-image_xfm"
    transforms = _anatomical(participant, folder, tail, (".h5",))
    hint = f"--space {NATIVE} needs it for the regions: copy it, or choose --space {TEMPLATE}"
    pattern = f"sub-{participant.label}_{tail}.h5"
    return _one(transforms[0] if transforms else [], pattern, folder / f"sub-{participant.label}", hint)


def _anatomical(participant: Participant, folder: Path, tail: str, extensions: Sequence[str]) -> list[list[Path]]:
    """Files of ``anat/``, of the runs' sessions and of the others, folder by folder."""
    subject = folder / f"sub-{participant.label}"
    sessions = [f"ses-{run.session}" for run in participant.runs if run.session]
    others = [path.name for path in sorted(subject.glob("ses-*"))]
    places = [subject / name / "anat" for name in dict.fromkeys(["", *sessions, *others])]
    by_place = (_files(place, participant.label, tail, extensions) for place in places)
    return [files for files in by_place if files]


def _files(place: Path, participant: str, tail: str, extensions: Sequence[str]) -> list[Path]:
    patterns = (f"sub-{participant}_{middle}{tail}{extension}" for extension in extensions for middle in ("", "*_"))
    return [path for pattern in patterns for path in sorted(place.glob(pattern))]


def _res(path: Path) -> str:
    """Resolution of a file; ``02`` is ``2``."""
    return (entity(path, "res") or _NO_RES).lstrip("0")


def _same(key: str, one: str | None, other: str) -> bool:
    """Whether two values of an entity agree: some versions write ``run-1`` for ``run-01``."""
    return one == other or (key == "run" and one is not None and one.lstrip("0") == other.lstrip("0"))


def _of_run(
    run: Run, folder: Path, tail: str, extensions: Sequence[str] = _NIFTI, more: frozenset[str] = frozenset()
) -> list[Path]:
    """Files of a run with a tail, in any space and resolution; ``more`` entities may be in their names."""
    wanted = {key: value for key, value in run.entities if key != "part"}  # fMRIPrep drops it
    subject = folder / f"sub-{run.participant}"
    places = dict.fromkeys([subject / (f"ses-{run.session}" if run.session else "") / "func", subject / "func"])

    def fits(path: Path) -> bool:
        labels = dict(entities(path))
        agree = all(_same(key, labels.get(key), value) for key, value in wanted.items())
        return agree and not set(labels) - set(wanted) - _ADDED - more

    return [path for place in places for path in _files(place, run.participant, tail, extensions) if fits(path)]


def _one(paths: Sequence[Path], pattern: str, folder: Path, hint: str) -> Path:
    if not paths:
        raise DataError(f"{folder}: no file {pattern}; {hint}")
    if len(paths) > 1:
        names = ", ".join(sorted(path.name for path in paths))
        raise DataError(f"{folder}: several files fit {pattern} ({names}); leave one of them")
    return paths[0]


def _resolution(series: Sequence[Path], res: str, pattern: str, folder: Path) -> Path:
    """The series of ``--res``; with ``native``, the default, also the only one there is."""
    wanted = res.removesuffix("mm").lstrip("0")
    fits = [path for path in series if _res(path) == wanted]
    if not fits and wanted == _NO_RES and len(series) == 1:
        return series[0]
    there = ", ".join(sorted(_res(path) for path in series))
    hint = f"choose with --res one that is there: {there}"
    if not fits and len(series) > 1:
        raise DataError(f"{folder}: several files fit {pattern}; {hint}")
    return _one(fits, pattern, folder, hint)


def _remedy(run: Run, folder: Path, options: Preprocessing, there: Sequence[Path]) -> str:
    """What to do where a run has no series in the output space."""
    spaces_option = f"--output-spaces {options.space}"
    again = f"run fMRIPrep again with {spaces_option}"
    if options.confounds == AROMA:
        return (
            f"only fMRIPrep before 23.2 makes it, with --use-aroma and {spaces_option}: run that, or other --confounds"
        )
    if there:
        spaces = sorted({(entity(path, "space") or "that of the raw run") for path in there})
        return f"the spaces there ({', '.join(spaces)}) cannot stand in for it; {again}"
    surfaces = _of_run(run, folder, "bold", (".dtseries.nii", ".func.gii"), _SURFACE)
    if surfaces:
        spaces = sorted({(entity(path, "space") or "fsLR") for path in surfaces})
        return f"there are only surfaces or CIFTI ({', '.join(spaces)}), and the regions are volumes; {again}"
    if any(_of_run(run, folder, f"desc-{kind}_boldref") for kind in ("hmc", "coreg")):
        return f"this is fMRIPrep's minimal output; {again} and --level full"
    return f"fMRIPrep has not finished this run; {again}"
