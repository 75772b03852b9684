"""Figures of the reports, as PNG bytes. Numbers carry labels, axes carry units, what is n/a is hatched."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from nilearn import plotting

from ban_bids.files.shown import without_formulas

_DPI = 110
HATCH = "////"
_LABEL_LETTERS = 50
_MANY_LAYERS = 8
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, without their yellow, which is not seen on white."""
OTHERS = "#8a8f98"
_DARK = 60
_SUPERIOR_TEMPORAL_CUTS = (-8.0, -2.0, 4.0, 10.0, 16.0)
"""Axial heights in mm of MNI space, from the middle temporal gyrus to above Heschl's gyrus."""


@dataclass(frozen=True, eq=False)
class Bars:
    """One series of a bar chart.

    Parameters
    ----------
    name : str
        Entry of the legend.
    values, low, high : sequence of float
        One entry per label; NaN: n/a. The interval may be missing where the value is not.
    """

    name: str
    values: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray
    high: Sequence[float] | np.ndarray


def matrix_figure(
    values: pd.DataFrame, low: pd.DataFrame, high: pd.DataFrame, committed: pd.DataFrame, mapped: pd.DataFrame
) -> bytes:
    """Matrix of model layers by brain regions, every cell with its number and interval.

    Parameters
    ----------
    values, low, high : DataFrame of shape (n_layers, n_regions)
        c and its 95 % interval; NaN cells are hatched and say n/a. Index and columns are the labels.
    committed : DataFrame of shape (n_layers, n_regions)
        Share of the folds that committed the layer to the region: framed where positive, with the share under 1.
    mapped : DataFrame of shape (n_layers, n_regions)
        1 where the model's own mapping has the layer in the region: a dashed frame.

    Returns
    -------
    bytes
        PNG.
    """
    shown, shares, own, *ends = (frame.to_numpy(dtype=float) for frame in (values, committed, mapped, low, high))
    limits = np.stack(ends)
    many = len(shown) > _MANY_LAYERS  # no room for intervals then
    height = (0.3 if many else 0.95) * len(shown) + 1.3
    canvas = Canvas(figsize=(1.5 * shown.shape[1] + 2.4, height), layout="constrained")
    axes = canvas.subplots()
    finite = np.abs(shown[np.isfinite(shown)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    picture = axes.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for row, column in np.ndindex(*shown.shape):
        share, interval = float(shares[row, column]), np.full(2, np.nan) if many else limits[:, row, column]
        colour = _matrix_cell(axes, row, column, float(shown[row, column]), interval, limit)
        if share > 0:
            _frame(axes, row, column, 0.46, style="-", colour=colour)
        if 0 < share < 1:
            # low rows have room beside the number only
            where, text = (
                ((column + 0.27, row), f"{share:.0%}") if many else ((column, row - 0.33), f"{share:.0%} of folds")
            )
            axes.text(*where, text, ha="center", va="center", color=colour, fontsize=7)
        if own[row, column] == 1:
            _frame(axes, row, column, 0.41, style="--", colour=colour)
    axes.set_xticks(range(shown.shape[1]), list(values.columns))
    axes.set_yticks(range(len(shown)), list(values.index))
    axes.set_xlabel("region of the brain")
    axes.set_ylabel("layer of the model")
    canvas.colorbar(picture, ax=axes, label="c, share of explainable variance", aspect=40 if many else 20)
    return png(canvas)


def _frame(axes: Axes, row: int, column: int, half: float, *, style: str, colour: str) -> None:
    corner, size = (column - half, row - half), 2 * half
    axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=colour, lw=1.6, linestyle=style))


def _matrix_cell(axes: Axes, row: int, column: int, value: float, interval: np.ndarray, limit: float) -> str:
    """Write a cell's number; return the colour that is read on it."""
    if not np.isfinite(value):
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#eeeeee", edgecolor="#999999", hatch=HATCH)
        axes.add_patch(box)
        text, colour = "n/a", "black"
    else:
        text = f"{value:.2f}"
        if np.isfinite(interval).all():
            text += f"\n[{interval[0]:.2f}, {interval[1]:.2f}]"
        colour = "white" if abs(value) > 0.6 * limit else "black"
    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    return colour


def confusion_figure(shares: pd.DataFrame, xlabel: str) -> bytes:
    """Matrix of true genres by answers in per cent; colours go from 0 to 100 % in every such figure.

    Parameters
    ----------
    shares : DataFrame of shape (n_genres, n_answers)
        Shares of 1; rows sum to 1. Index and columns are the labels.
    xlabel : str
        Who answers.

    Returns
    -------
    bytes
        PNG.
    """
    shown = 100 * shares.to_numpy(dtype=float)
    n_rows, n_columns = shown.shape
    canvas = Canvas(figsize=(0.4 * n_columns + 1.5, 0.36 * n_rows + 1.5), layout="constrained")
    axes = canvas.subplots()
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in np.ndindex(n_rows, n_columns):
        share = float(shown[row, column])
        colour = "white" if share > _DARK else "#6b7280" if share < 1 else "black"
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=10)
        if shares.index[row] == shares.columns[column]:
            _frame(axes, row, column, 0.46, style="-", colour="#55606e")
    # a dollar sign would begin a formula
    names = [[str(name).replace("$", r"\$") for name in labels] for labels in (shares.columns, shares.index)]
    axes.set_xticks(range(n_columns), names[0], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n_rows), names[1])
    axes.set_xlabel(xlabel)
    axes.set_ylabel("genre of the clip")
    return png(canvas)


def bar_figure(labels: Sequence[str], series: Sequence[Bars], ylabel: str) -> bytes:
    """Layers side by side with their controls, with 95 % confidence intervals.

    Parameters
    ----------
    labels : sequence of str
        Groups along the axis.
    series : sequence of Bars
        One bar per group each.
    ylabel : str
        Quantity and unit.

    Returns
    -------
    bytes
        PNG. Every bar carries its number; missing ones say n/a.
    """
    canvas = Canvas(figsize=(max(6.0, 0.62 * len(labels) * len(series) + 2.0), 3.8), layout="constrained")
    axes = canvas.subplots()
    width = 0.8 / len(series)
    for k, bars in enumerate(series):
        values = np.asarray(bars.values, dtype=float)
        where = np.arange(len(labels)) + (k - (len(series) - 1) / 2) * width
        colour = (*COLOURS, OTHERS)[k % (len(COLOURS) + 1)]
        axes.bar(where, np.nan_to_num(values), width * 0.92, color=colour, label=bars.name)
        ends = np.stack([np.asarray(bars.low, dtype=float), np.asarray(bars.high, dtype=float)])
        for x, value, interval in zip(where, values, ends.T, strict=True):
            _label_bar(axes, x, width, value, interval)
    axes.axhline(0, color="black", lw=0.8)
    crowded = sum(len(label) for label in labels) > _LABEL_LETTERS
    axes.set_xticks(range(len(labels)), labels)
    if crowded:
        axes.tick_params(axis="x", rotation=20)
    axes.set_ylabel(ylabel)
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        canvas.legend(loc="outside upper center", ncols=min(len(series), 4), frameon=False, fontsize=9)
    return png(canvas)


def _label_bar(axes: Axes, x: float, width: float, value: float, interval: np.ndarray) -> None:
    if not np.isfinite(value):
        axes.axvspan(x - width * 0.46, x + width * 0.46, 0, 1, fc="#f4f4f4", ec="#bbbbbb", hatch=HATCH, zorder=0)
        axes.text(x, 0, "n/a", ha="center", va="bottom", fontsize=8, color="black")
        return
    top = value
    if np.isfinite(interval).all():
        # a percentile interval need not contain the estimate: draw its ends, not lengths from the bar
        axes.vlines(x, interval[0], interval[1], color="black", lw=1.1)
        axes.hlines(interval, x - width * 0.15, x + width * 0.15, color="black", lw=1.1)
        top = interval[1] if value >= 0 else interval[0]
    side = "bottom" if value >= 0 else "top"
    axes.annotate(
        f"{value:.2f}", (x, top), (0, 2 if value >= 0 else -2), textcoords="offset points",
        ha="center", va=side, fontsize=8,
    )  # fmt: skip


def map_figure(image: Path | nib.Nifti1Image, *, label: str, symmetric: bool = True) -> bytes:
    """Axial slices of a map around superior temporal cortex.

    Parameters
    ----------
    image : Path or image
        Map; NaN and 0 are not drawn.
    label : str
        Quantity and unit, beside the colour bar.
    symmetric : bool
        Diverging colours about 0 (correlations), else sequential ones from 0 (ceilings); they end at the 99.5th
        percentile of the magnitudes.

    Returns
    -------
    bytes
        PNG.
    """
    shown = _without_gaps(nib.load(image) if isinstance(image, Path) else image)
    canvas = Canvas(figsize=(2.1 * len(_SUPERIOR_TEMPORAL_CUTS) + 1.0, 3.1))
    plotting.plot_stat_map(
        shown,
        display_mode="z",
        cut_coords=list(_SUPERIOR_TEMPORAL_CUTS),
        threshold=1e-6,
        vmax=max(_largest(shown), 1e-6),
        vmin=None if symmetric else 0.0,
        symmetric_cbar=symmetric,
        cmap="RdBu_r" if symmetric else "inferno",
        resampling_interpolation="nearest",
        annotate=True,
        figure=canvas,
        axes=(0, 0, 1, 0.9),
    )
    canvas.text(0.995, 0.985, label, ha="right", va="top", fontsize=10)
    return png(canvas)


def _without_gaps(image: nib.Nifti1Image) -> nib.Nifti1Image:
    # nilearn would do the same to NaN, with a warning that alarms readers of the log
    data = np.nan_to_num(np.asarray(image.dataobj, dtype=np.float32), posinf=0.0, neginf=0.0)
    return nib.Nifti1Image(data, image.affine)


def _largest(image: nib.Nifti1Image) -> float:
    seen = np.abs(image.get_fdata(dtype=np.float32))
    seen = seen[seen > 0]
    return float(np.percentile(seen, 99.5)) if seen.size else 1.0


def png(canvas: Canvas) -> bytes:
    """Return a canvas as PNG."""
    buffer = io.BytesIO()
    without_formulas(canvas).savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()
