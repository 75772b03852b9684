"""One participant's cleaned BOLD, rows and regions, read run by run from preprocessed images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.encoding.cleaning import Nuisance, clean, crowding, nuisance_basis
from ban_bids.encoding.folds import Fold
from ban_bids.encoding.rows import RunRows, run_rows
from ban_bids.errors import DataError
from ban_bids.files.images import open_image, read_through
from ban_bids.files.memory import forget_pages
from ban_bids.files.npz import scratch_array
from ban_bids.inputs.types import Clip, Run
from ban_bids.preprocessing.regions import absent_regions
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.preprocessing.strategies import regressors
from ban_bids.settings import Encoding

_LOG = logging.getLogger(__name__)
_VOLUMES_AT_ONCE = 16
_VOXELS_AT_ONCE = 16_384
_ROWS_AT_ONCE = 64
_IN_MEMORY_BYTES = 512 * 2**20
_GRID_TOLERANCE = 1e-3
_REMEDY = "make it again"


@dataclass(frozen=True, eq=False)
class ParticipantData:
    """Everything that encoding needs of a participant.

    Parameters
    ----------
    label : str
        Without ``sub-``.
    sources : tuple of Run
        The runs, in the order of ``bold``.
    runs : tuple of RunRows
        Rows and presentations of each run.
    nuisance : tuple of Nuisance
        What was regressed out of each run, and is projected out of its features.
    clips : tuple of Clip
        ``clip`` in the rows counts through these.
    mask : ndarray of shape (x, y, z), bool
        Voxels of the columns of ``bold``, in C order.
    affine : ndarray of shape (4, 4)
        Of the output grid.
    region : ndarray of shape (n_voxels,), int16
        0 for none; 1, 2, ... for the labels of the atlas.
    usable : ndarray of shape (n_voxels,), bool
        False for voxels that are not finite or do not vary in some run: their scores are ``n/a``.
    bold : ndarray of shape (n_rows, n_voxels), float32
        All runs, cleaned and z-scored over their scored rows; on disk where it is large. Each side of a fold is
        cleaned again where it holds a part of a run (`ban_bids.encoding.cleaning.Side`).
    notes : tuple of str
        Warnings for the report.
    absent : mapping of str to str
        Regions that the atlas does not have, with the reason.
    """

    label: str
    sources: tuple[Run, ...]
    runs: tuple[RunRows, ...]
    nuisance: tuple[Nuisance, ...]
    clips: tuple[Clip, ...]
    mask: np.ndarray
    affine: np.ndarray
    region: np.ndarray
    usable: np.ndarray
    bold: np.ndarray
    notes: tuple[str, ...]
    absent: Mapping[str, str] = field(default_factory=dict)


def load_participant(pre: PreprocessedParticipant, settings: Encoding, scratch: Path) -> ParticipantData:
    """Read, clean and z-score every run of a participant.

    Parameters
    ----------
    pre : PreprocessedParticipant
        Images on one output grid.
    settings : Encoding
        ``high_pass`` is used here.
    scratch : Path
        Folder for an unnamed file that holds BOLD too large for memory; gone when the data are.

    Returns
    -------
    ParticipantData

    Raises
    ------
    DataError
        An image is missing, not 4-D, of another grid or of another length than its run.
    """
    cortex = open_image(pre.cortex, _REMEDY)
    mask = np.asarray(cortex.dataobj) > 0
    if not mask.any():
        raise DataError(f"{pre.cortex}: no voxel of cortex; check coregistration and masks")
    seg = open_image(pre.dseg, _REMEDY)
    _same_grid(seg, cortex, pre.dseg)
    clips = tuple(dict.fromkeys(item.clip for run in pre.runs for item in run.run.presentations))
    lengths = [run.run.n_volumes for run in pre.runs]
    bold = scratch_array((sum(lengths), int(mask.sum())), scratch, _IN_MEMORY_BYTES)
    usable = np.ones(bold.shape[1], dtype=bool)
    runs: list[RunRows] = []
    removed: list[Nuisance] = []
    notes: list[str] = []
    first = 0
    for run, length in zip(pre.runs, lengths):
        heard, nuisance, cleaned, fine = load_run(run, mask, cortex, settings=settings, clips=clips)
        bold[first : first + length] = cleaned
        forget_pages(bold)
        usable &= fine
        notes += crowding(heard.name, nuisance)
        runs.append(heard)
        removed.append(nuisance)
        first += length
    if not usable.all():
        for first in range(0, len(bold), _ROWS_AT_ONCE):
            bold[first : first + _ROWS_AT_ONCE, ~usable] = 0
            forget_pages(bold)
        notes.append(f"{int((~usable).sum())} voxels are not finite or do not vary in some run: n/a")
        _LOG.debug("sub-%s: %s", pre.participant.label, notes[-1])
    return ParticipantData(
        label=pre.participant.label,
        sources=tuple(run.run for run in pre.runs),
        runs=tuple(runs),
        nuisance=tuple(removed),
        clips=clips,
        mask=mask,
        affine=cortex.affine,
        region=np.asarray(seg.dataobj)[mask].astype(np.int16),
        usable=usable,
        bold=bold,
        notes=tuple(notes),
        absent=absent_regions(pre.dseg_table),
    )


def columns(bold: np.ndarray, rows: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Copy some rows and voxels of BOLD into memory, whole rows at a time (it may lie on disk)."""
    out = np.empty((len(rows), len(voxels)), dtype=np.float32)
    for i, row in enumerate(rows):
        out[i] = bold[row][voxels]
        if i % _ROWS_AT_ONCE == _ROWS_AT_ONCE - 1:
            forget_pages(bold)
    forget_pages(bold)
    return out


def held_out_bold(bold: np.ndarray, folds: Sequence[Fold], index: np.ndarray, *, voxels: np.ndarray) -> np.ndarray:
    """Return BOLD of held-out rows, each fold's clean over its own rows alone.

    Parameters
    ----------
    bold : ndarray of shape (n_rows, n_voxels)
        Clean over whole runs.
    folds : sequence of Fold
    index : ndarray of shape (n_held_out,), intp
        Held-out rows of all folds, ascending.
    voxels : ndarray of int
        Columns to return.

    Returns
    -------
    ndarray of shape (n_held_out, n_chosen), float32
    """
    out = columns(bold, index, voxels)
    for fold in folds:
        if fold.held_out_side.parts:
            places = np.searchsorted(index, fold.held_out)
            out[places] = fold.held_out_side.standardise(out[places])
    return out


def load_run(
    pre: PreprocessedRun, mask: np.ndarray, grid: Any, *, settings: Encoding, clips: tuple[Clip, ...]
) -> tuple[RunRows, Nuisance, np.ndarray, np.ndarray]:
    """Read one run's voxels, regress out its nuisance and z-score them.

    Parameters
    ----------
    pre : PreprocessedRun
    mask : ndarray of bool
        Voxels to read.
    grid : nibabel image
        The output grid; the run's image must share it.
    settings : Encoding
    clips : tuple of Clip
        The participant's clips.

    Returns
    -------
    heard : RunRows
    nuisance : Nuisance
    cleaned : ndarray of shape (n_volumes, n_voxels), float32
    usable : ndarray of shape (n_voxels,), bool
    """
    run = pre.run
    rows = run_rows(run, pre.t_ref, pre.non_steady, scrubbed=pre.scrubbed, clips=clips)
    if rows.scored.sum() < 3:
        raise DataError(
            f"{pre.bold}: fewer than 3 volumes are left after non-steady and scrubbed ones and lead-ins; leave the "
            "run out or choose other --confounds"
        )
    nuisance = nuisance_basis(
        regressors(pre), run.repetition_time, settings.high_pass, keep=rows.scored, times=run.since_first
    )
    cleaned, usable = _cleaned(_voxels(pre.bold, mask, grid, run.n_volumes), nuisance)
    if not usable.any():
        raise DataError(
            f"{pre.bold}: no voxel of the cortex is finite and varies; make the image again or leave the run "
            "out (--bids-filter-file)"
        )
    presentations = tuple(sorted(run.presentations, key=lambda item: item.onset))
    return RunRows(run.name, rows, presentations), nuisance, cleaned, usable


def _cleaned(voxels: np.ndarray, nuisance: Nuisance) -> tuple[np.ndarray, np.ndarray]:
    """Clean BOLD in place, some voxels at a time: what that takes on the way is several times theirs."""
    usable = np.empty(voxels.shape[1], dtype=bool)
    for first in range(0, voxels.shape[1], _VOXELS_AT_ONCE):
        some = slice(first, first + _VOXELS_AT_ONCE)
        voxels[:, some], usable[some] = clean(voxels[:, some], nuisance)
    return voxels, usable


def _same_grid(image: Any, grid: Any, path: Path) -> None:
    if image.shape[:3] != grid.shape[:3] or not np.allclose(image.affine, grid.affine, atol=_GRID_TOLERANCE):
        raise DataError(f"{path}: not on the grid of the other images; use one space and resolution")


def _voxels(path: Path, mask: np.ndarray, grid: Any, n_volumes: int) -> np.ndarray:
    """Read the voxels of a 4-D image, a few volumes at a time: (n_volumes, n_voxels), float32."""
    voxels = np.empty((n_volumes, int(mask.sum())), dtype=np.float32)
    with read_through(path, _REMEDY) as image:
        _same_grid(image, grid, path)
        if len(image.shape) != 4 or image.shape[3] != n_volumes:
            raise DataError(f"{path}: shape {image.shape} where {n_volumes} volumes were expected")
        for first in range(0, n_volumes, _VOLUMES_AT_ONCE):
            last = min(first + _VOLUMES_AT_ONCE, n_volumes)
            voxels[first:last] = np.asanyarray(image.dataobj[..., first:last])[mask].T
    return voxels
