"""Pictures of quality for the report: carpets of runs, maps of temporal signal-to-noise."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from PIL import Image

from ban_bids.preprocessing.confounds import FD_OUTLIER, framewise_displacement_of

Floats = NDArray[np.floating[Any]]
_DPI = 80
_SHORT = ("GM", "WM", "CSF", "brain")
"""Of :data:`ban_bids.preprocessing.carpet.TISSUES`."""

_COLOURS = ("#4c72b0", "#c9b458", "#8a8f98", "#5b8c3a")
_LIMIT = 2.5
"""End of the carpet's grey scale, in standard deviations of a row."""

_PALETTE = 128

TSNR_TITLE = "Temporal signal-to-noise after preprocessing; outlines of the auditory regions"


def carpet_title(name: str) -> str:
    """Title of a run's carpet plot in the report."""
    return f"Carpet plot: {name}"


def carpet(rows: Floats, tissue: NDArray[np.intp], table: pd.DataFrame, tr: float, path: Path) -> Path:
    """Head motion and global signal above a run's voxels, sorted by tissue.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, n_volumes)
        See :func:`ban_bids.preprocessing.carpet.standardised`.
    tissue : ndarray of int, shape (n_rows,)
        Index into :data:`ban_bids.preprocessing.carpet.TISSUES`, rising.
    table : DataFrame
        Confounds of the run.
    tr : float
        Repetition time, seconds.
    path : Path
        PNG to write.

    References
    ----------
    Power 2017, NeuroImage 154, 150.
    """
    canvas = Canvas(figsize=(11, 5.0), layout="constrained")
    parts = canvas.subplots(3, 2, sharex="col", width_ratios=(0.012, 1), height_ratios=(1, 1, 4.5))
    for axes in parts[:, 0]:
        axes.set_axis_off()
    _line(parts[0, 1], framewise_displacement_of(table), tr, "FD, mm", "#a3352f")
    parts[0, 1].axhline(FD_OUTLIER, color="0.5", lw=0.7, ls="--")
    parts[0, 1].set_ylim(bottom=0)
    signal = table["global_signal"].to_numpy(float) if "global_signal" in table else np.zeros(0)
    relative = 100 * (signal / signal.mean() - 1) if signal.size else signal
    _line(parts[1, 1], relative, tr, "global, %", "#14527a")
    picture = parts[2, 1].imshow(
        rows, cmap="gray", vmin=-_LIMIT, vmax=_LIMIT, aspect="auto", interpolation="nearest",
        extent=(0, rows.shape[1] * tr, len(rows), 0),
    )  # fmt: skip
    _name_tissues(parts[2, 0], tissue)
    parts[2, 1].set_yticks([])
    parts[2, 1].set_xlabel("time, s")
    bar = canvas.colorbar(picture, ax=parts[2, 1], pad=0.01, fraction=0.02)
    bar.set_label("standard deviations")
    return _save(canvas, path)


def _line(axes: Axes, values: Floats, tr: float, label: str, colour: str) -> None:
    if np.isfinite(values).any():
        axes.plot((np.arange(len(values)) + 0.5) * tr, values, color=colour, lw=0.9)
    else:
        axes.text(0.5, 0.5, "n/a", transform=axes.transAxes, ha="center", va="center")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def _name_tissues(axes: Axes, tissue: NDArray[np.intp]) -> None:
    axes.set(xlim=(0, 1), ylim=(len(tissue), 0))
    for number, (name, colour) in enumerate(zip(_SHORT, _COLOURS)):
        mine = np.flatnonzero(tissue == number)
        if mine.size:
            axes.axhspan(mine[0], mine[-1] + 1, color=colour)
            middle = (mine[0] + mine[-1] + 1) / 2
            axes.text(-0.6, middle, name, ha="right", va="center", fontsize=9, clip_on=False)


def tsnr(
    maps: Sequence[NDArray[np.float32]],
    names: Sequence[str],
    within: NDArray[np.bool_],
    regions: NDArray[np.bool_],
    sides: str,
    path: Path,
) -> Path:
    """Axial slices of temporal signal-to-noise, one row a run, one scale for all, regions outlined.

    Parameters
    ----------
    maps : sequence of ndarray, shape (nx, ny, nz)
        tSNR after preprocessing; NaN outside the mask.
    names : sequence of str
        Of the runs.
    within, regions : ndarray of bool, shape (nx, ny, nz)
        Brain, and auditory regions.
    sides : str
        Letters of the hemispheres at the low and at the high end of the first axis, ``LR`` or ``RL``.
    path : Path
        PNG to write.
    """
    n = 7
    present = np.flatnonzero(regions.any((0, 1)) if regions.any() else within.any((0, 1)))
    heights = [int(z) for z in np.linspace(present[0], present[-1], n)]
    side = _box(within)
    finite = np.concatenate([values[np.isfinite(values)] for values in maps])
    top = float(np.percentile(finite, 98)) if finite.size else 1.0
    canvas = Canvas(figsize=(11, 1.75 * len(maps) + 0.3), layout="constrained", facecolor="black")
    grid = canvas.subplots(len(maps), n, squeeze=False)
    for row, values, name in zip(grid, maps, names):
        for axes, z in zip(row, heights):
            plane = np.nan_to_num(values[side][..., z]).T
            axes.imshow(plane, cmap="inferno", vmin=0, vmax=top, origin="lower")
            outline = regions[side][..., z].T
            if outline.any() and not outline.all():
                axes.contour(outline, levels=[0.5], colors=["#40e0ff"], linewidths=1.0)
            axes.set_axis_off()
        for place, letter in zip((0.03, 0.97), sides):
            row[0].text(place, 0.02, letter, color="0.75", fontsize=7, ha="center", transform=row[0].transAxes)
        row[0].text(0, 1, name, color="white", fontsize=8, transform=row[0].transAxes, va="bottom")
    bar = canvas.colorbar(ScalarMappable(Normalize(0, top), "inferno"), ax=grid, fraction=0.015, pad=0.01)
    bar.set_label("tSNR", color="white")
    bar.ax.tick_params(colors="white")
    return _save(canvas, path)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    x, y = (np.flatnonzero(mask.any(axes)) for axes in ((1, 2), (0, 2)))
    return slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1)


def _save(canvas: Canvas, path: Path) -> Path:
    """Write with few colours: a carpet is noise, which compresses badly, and pages hold many."""
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=_DPI)
    with Image.open(buffer) as image:
        image.convert("RGB").quantize(_PALETTE, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    return path
