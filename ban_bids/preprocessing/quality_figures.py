"""Pictures of quality: carpets of runs, maps of temporal signal-to-noise; and what is kept of a run for them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
from nilearn import plotting
from numpy.typing import NDArray
from PIL import Image

from ban_bids.files.tsv import read_tsv
from ban_bids.preprocessing.confounds import FD_OUTLIER, framewise_displacement_of
from ban_bids.preprocessing.figures import cut_coords
from ban_bids.preprocessing.files import load_mask
from ban_bids.preprocessing.quality import RunFiles, mean_and_noise, ratio
from ban_bids.preprocessing.space.template import Grid
from ban_bids.typing import Floats

TISSUES = ("GM", "WM", "CSF", "brain")
"""Grey matter, white matter, cerebrospinal fluid; the last one where tissues are not known."""

TSNR_TITLE = "Temporal signal-to-noise after preprocessing; outlines of the auditory regions"

_LIKELY = 0.5
_ROWS = 240  # of the whole carpet; each tissue has its share, at least a few
_FEWEST_ROWS = 20
_LIMIT = 2.5  # end of the carpet's grey scale, in standard deviations of a row
_SLICES = 7
_DPI = 80
_PALETTE = 128


def carpet_title(name: str) -> str:
    """Title of a run's carpet plot in the report."""
    return f"Carpet plot: {name}"


@dataclass(frozen=True, eq=False)
class Layout:
    """Which voxels each row of a carpet averages.

    Parameters
    ----------
    order : ndarray of int, shape (n_voxels,)
        Voxels, sorted by tissue, in their spatial order within a tissue.
    starts : ndarray of int, shape (n_rows,)
        Where in ``order`` each row begins.
    tissue : ndarray of int, shape (n_rows,)
        Index into :data:`TISSUES`.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    tissue: NDArray[np.intp]

    @classmethod
    def of(cls, n_voxels: int, tissues: tuple[Floats, Floats] | None) -> Layout:
        """Sort voxels; grey matter is what is likely neither white matter nor CSF.

        Parameters
        ----------
        n_voxels : int
        tissues : tuple of ndarray, shape (n_voxels,), or None
            Probabilities of white matter and CSF; None: not known, and voxels stay in their spatial order.
        """
        kind = np.full(n_voxels, TISSUES.index("brain"))
        if tissues is not None:
            white_matter, csf = tissues
            kind = np.where(white_matter > _LIKELY, 1, np.where(csf > _LIKELY, 2, 0))
        starts, tissue, begin = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)], 0
        for number, size in zip(*np.unique(kind, return_counts=True)):
            rows = min(size, max(_FEWEST_ROWS, round(_ROWS * size / len(kind))))
            starts.append(begin + (np.arange(rows) * size) // rows)
            tissue.append(np.full(rows, number))
            begin += size
        return cls(np.argsort(kind, kind="stable"), np.concatenate(starts), np.concatenate(tissue))

    def rows(self, volume: Floats) -> NDArray[np.float32]:
        """Mean of each row's voxels in one volume, shape (n_rows,)."""
        sums = np.add.reduceat(volume[self.order], self.starts, dtype=float)
        return (sums / np.diff([*self.starts, len(self.order)])).astype(np.float32)


def save_run_quality(
    path: Path, before: Floats | None, volumes: Iterable[Floats], layout: Layout, non_steady: int
) -> Path:
    """Write what is kept of a run for its measures and its carpet.

    Parameters
    ----------
    path : Path
        npz: ``before``, ``after``, ``mean`` (n_voxels,), ``carpet`` (n_volumes, n_rows), ``tissue``
        (n_rows,).
    before : ndarray, shape (n_voxels,), or None
        Temporal signal-to-noise before preprocessing; None: the raw run is not at hand.
    volumes : iterable of ndarray, shape (n_voxels,)
        All volumes of the run, read once.
    layout : Layout
    non_steady : int
        Leading volumes that do not count for the signal-to-noise ratio.
    """
    rows: list[NDArray[np.float32]] = []

    def noted() -> Iterator[Floats]:
        """One pass over the volumes serves the carpet and the signal-to-noise ratio."""
        for volume in volumes:
            rows.append(layout.rows(volume))
            yield volume

    mean, noise = mean_and_noise(islice(noted(), non_steady, None))
    np.savez(
        path,
        before=np.full_like(mean, np.nan) if before is None else before,
        after=ratio(mean, noise),
        mean=mean,
        carpet=np.array(rows),
        tissue=layout.tissue,
    )
    return path


def quality_pictures(
    runs: Sequence[RunFiles], regions: NDArray[np.bool_], grid: Grid, folder: Path
) -> tuple[Path, list[Path]]:
    """Maps of signal-to-noise of all runs, and one carpet per run.

    Parameters
    ----------
    runs : sequence of RunFiles
    regions : ndarray of bool, shape (nx, ny, nz)
        Auditory regions.
    grid : Grid
        The output grid.
    folder : Path
        Where to write.

    Returns
    -------
    tsnr : Path
    carpets : list of Path
        In the order of the runs.
    """
    carpets, maps = [], {}
    for run in runs:
        mask = load_mask(run.mask)
        with np.load(run.quality) as stored:
            after, rows, tissue = stored["after"], stored["carpet"], stored["tissue"]
        volume = np.zeros(grid.shape, np.float32)
        volume[mask] = np.nan_to_num(after)
        maps[run.name] = nib.Nifti1Image(volume, grid.affine)
        steady = slice(run.non_steady, None)
        table = read_tsv(run.confounds, foreign=True)[steady]
        carpets.append(carpet(rows[steady], tissue, table, run.repetition_time, folder / f"{run.name}_carpet.png"))
    outlines = nib.Nifti1Image((regions if regions.any() else mask).astype(np.uint8), grid.affine)
    return tsnr(maps, outlines, folder / "tsnr.png"), carpets


def carpet(rows: Floats, tissue: NDArray[np.intp], table: pd.DataFrame, tr: float, path: Path) -> Path:
    """Head motion and global signal above a run's voxels, sorted by tissue.

    Parameters
    ----------
    rows : ndarray, shape (n_volumes, n_rows)
        Steady volumes; each row is shown without its line and in its own standard deviations.
    tissue : ndarray of int, shape (n_rows,)
        Index into :data:`TISSUES`, rising.
    table : DataFrame
        Confounds of these volumes.
    tr : float
        Repetition time, seconds.
    path : Path
        PNG to write.

    References
    ----------
    Power 2017, NeuroImage 154, 150.
    """
    figure = plt.figure(figsize=(11, 5.0))
    motion, signal, below = figure.subplots(3, 1, height_ratios=(1, 1, 4.5))
    _line(motion, framewise_displacement_of(table), "FD, mm", "#a3352f")
    motion.axhline(FD_OUTLIER, color="0.5", lw=0.7, ls="--")
    motion.set_ylim(bottom=0)
    brain = table["global_signal"].to_numpy(float) if "global_signal" in table else np.full(len(table), np.nan)
    _line(signal, 100 * (brain / brain.mean() - 1), "global, %", "#14527a")
    # as an image of one voxel per row; the first one, outside the mask, makes nilearn take labels as labels
    padded = np.vstack([np.zeros(len(rows)), rows.T]).astype(np.float32)[:, None, None]
    labels = np.r_[0, tissue + 1].astype(np.float32)[:, None, None]
    names = {name: np.float32(number) for number, name in enumerate(TISSUES, 1) if number in labels}
    with contextlib.redirect_stdout(io.StringIO()):  # nilearn prints how it casts the labels
        plotting.plot_carpet(
            nib.Nifti1Image(padded, np.eye(4)), nib.Nifti1Image(labels, np.eye(4)), names if len(names) > 1 else None,
            t_r=tr, figure=figure, axes=below, vmin=-_LIMIT, vmax=_LIMIT, cmap_labels="Set2",
        )  # fmt: skip
    figure.subplots_adjust(0.09, 0.12, 0.99, 0.97)
    box = figure.axes[-1].get_position()
    for axes in (motion, signal):
        place = axes.get_position()
        axes.set_position((box.x0, place.y0, box.width, place.height))
    return _save(figure, path)


def _line(axes: plt.Axes, values: Floats, label: str, colour: str) -> None:
    if np.isfinite(values).any():
        axes.plot(values, color=colour, lw=0.9)
    else:
        axes.text(0.5, 0.5, "n/a", transform=axes.transAxes, ha="center", va="center")
    axes.set(ylabel=label, xlim=(-0.5, len(values) - 0.5), xticks=[])
    axes.spines[["top", "right"]].set_visible(False)


def tsnr(maps: dict[str, nib.Nifti1Image], outlines: nib.Nifti1Image, path: Path) -> Path:
    """Axial slices of temporal signal-to-noise, one row per run, one scale for all, regions outlined.

    Parameters
    ----------
    maps : dict of str to image
        tSNR after preprocessing by the run's name; 0 outside the mask.
    outlines : image
        Auditory regions, through which the slices go.
    path : Path
        PNG to write.
    """
    values = np.concatenate([np.asarray(one.dataobj)[np.asarray(one.dataobj) > 0] for one in maps.values()])
    top = float(np.percentile(values, 98)) if values.size else 1.0
    figure = plt.figure(figsize=(11, 1.75 * len(maps)), facecolor="black")
    grid = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(0, 0, 1, 1 - 0.1 / len(maps), 0, 0.1)
    for axes, (name, one) in zip(grid, maps.items()):
        display = plotting.plot_img(
            one, display_mode="z", cut_coords=cut_coords(outlines, _SLICES)["z"], axes=axes, figure=figure,
            cmap="inferno", vmin=0, vmax=top, black_bg=True, colorbar=True, cbar_tick_format="%.0f",
        )  # fmt: skip
        display.add_contours(outlines, levels=[0.5], colors=["#40e0ff"], linewidths=1.0)
        corner = axes.get_position()
        figure.text(corner.x0 + 0.002, corner.y1, name, color="white", fontsize=8, va="bottom")
    return _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> Path:
    """Write with few colours: a carpet is noise, which compresses badly, and pages hold many."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    plt.close(figure)
    with Image.open(buffer) as image:
        image.convert("RGB").quantize(_PALETTE, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    return path
