"""Figures of several models: forest of their scores, layers against depth, matrix of their differences.

Colours are those of Okabe and Ito (2008), told apart with every common kind of colour vision; models beyond them are
grey, and marks repeat what a colour says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ban_bids.constants import NOT_AVAILABLE
from ban_bids.reports.figures import COLOURS, HATCH, OTHERS, png

_MARKS = "osD^vPX"
_COLOURED = len(_MARKS)
SEEDS, _PERMUTED, _ELSE = "untrained networks", "permuted weights", "other controls"
_CONTROL_MARKS = {SEEDS: "o", _PERMUTED: "x", _ELSE: "d"}
_CONTROL_GREY = "#767676"
_TALL_LANES = 12
_WIDE_CELLS = 12
_ROUNDED = 0.005
SIGNIFICANT = 0.05
"""Corrected p under which a difference is marked."""


@dataclass(frozen=True, eq=False)
class Lane:
    """One model's line of a forest plot.

    Parameters
    ----------
    name : str
    value, low, high : float
        Score and 95 % interval; NaN: n/a.
    controls : mapping of str to float
        Name of a control -> its score.
    """

    name: str
    value: float
    low: float = np.nan
    high: float = np.nan
    controls: Mapping[str, float] = field(default_factory=dict)


def control_kind(name: str) -> str:
    """Whether a control is an untrained network, has permuted weights, or is another one."""
    stem = name.rstrip("0123456789")
    return SEEDS if stem.endswith("untrained") else _PERMUTED if stem.endswith("permuted") else _ELSE


def forest_figure(lanes: Sequence[Lane], xlabel: str) -> bytes:
    """Models below each other, each with its score, 95 % interval and controls; a line at the ceiling, 1.

    Parameters
    ----------
    lanes : sequence of Lane
        From above.
    xlabel : str
        Quantity and unit.

    Returns
    -------
    bytes
        PNG.
    """
    height = 0.44 if len(lanes) <= _TALL_LANES else 0.34
    canvas = Canvas(figsize=(10.0, height * len(lanes) + 1.5), layout="constrained")
    axes = canvas.subplots()
    for y, lane in enumerate(lanes):
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="#f3f6f9", lw=0, zorder=0)
        _draw_lane(axes, y, lane, COLOURS[y] if y < _COLOURED else OTHERS)
    axes.axvline(0, color="black", lw=0.8)
    axes.axvline(1, color="black", lw=1.2, linestyle="--")
    axes.annotate("ceiling", (1, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                  ha="center", va="bottom", fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(lanes)), [lane.name for lane in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(right=max(1.04, axes.get_xlim()[1]))
    axes.set_xlabel(xlabel)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    kinds = dict.fromkeys(control_kind(name) for lane in lanes for name in lane.controls)
    marks = [Line2D([], [], color="black", marker="o", lw=2, label="model, 95 % interval")]
    marks += [
        Line2D([], [], color=_CONTROL_GREY, marker=_CONTROL_MARKS[kind], lw=0, ms=5, mfc="none", label=kind)
        for kind in _CONTROL_MARKS
        if kind in kinds
    ]
    canvas.legend(handles=marks, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return png(canvas)


def _draw_lane(axes: Axes, y: int, lane: Lane, colour: str) -> None:
    for name, value in lane.controls.items():
        if np.isfinite(value):
            mark = _CONTROL_MARKS[control_kind(name)]
            axes.plot(value, y + 0.24, mark, color=_CONTROL_GREY, ms=4.5, mfc="none", mew=0.9, zorder=2)
    text = NOT_AVAILABLE
    if np.isfinite(lane.value):
        text = f"{lane.value:.2f}"
        if np.isfinite((lane.low, lane.high)).all():
            axes.hlines(y, lane.low, lane.high, color=colour, lw=2.4, zorder=3)
            text += f" [{lane.low:.2f}, {lane.high:.2f}]"
        axes.plot(lane.value, y, "o", color=colour, ms=7, mec="black", mew=0.6, zorder=4)
    axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=9)


def depth_figure(points: pd.DataFrame, names: Sequence[str], ylabel: str) -> bytes:
    """Score of every layer against its relative depth: a panel per region, a line per model.

    Parameters
    ----------
    points : DataFrame
        Columns ``model``, ``region``, ``layer``, ``value`` (NaN: a gap), ``committed`` (share of the folds, and of
        people, that committed the layer to the region); rows in the order of the layers.
    names : sequence of str
        Models, the best first: the first seven have colours.
    ylabel : str
        Quantity and unit.

    Returns
    -------
    bytes
        PNG. A model of one layer has no depth: its value is a dotted line.
    """
    regions = list(dict.fromkeys(points["region"]))
    n_columns = min(2, len(regions))
    n_rows = -(-len(regions) // n_columns)
    canvas = Canvas(figsize=(10.0, 3.1 * n_rows + 1.2), layout="constrained")
    panels = canvas.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, region in zip(panels, regions):
        there = points[points["region"] == region]
        for rank in reversed(range(len(names))):  # the best on top
            _draw_curve(axes, there[there["model"] == names[rank]], rank)
        axes.axhline(0, color="black", lw=0.8, zorder=1)
        axes.set_title(region, fontsize=11, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(regions) :]:
        axes.set_visible(False)
    canvas.supxlabel("relative depth (0: first layer of the model, 1: its last)", fontsize=10)
    canvas.supylabel(ylabel, fontsize=10)
    lines = [
        Line2D([], [], color=COLOURS[rank], marker=_MARKS[rank], ms=5, lw=1.8, label=name)
        for rank, name in enumerate(names[:_COLOURED])
    ]
    if len(names) > _COLOURED:
        lines.append(Line2D([], [], color=OTHERS, lw=1.1, label=f"{len(names) - _COLOURED} others"))
    lines.append(Line2D([], [], color="black", marker="o", ms=9, mfc="none", lw=0, label="committed layer"))
    canvas.legend(handles=lines, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return png(canvas)


def _draw_curve(axes: Axes, layers: pd.DataFrame, rank: int) -> None:
    values = layers["value"].to_numpy(dtype=float)
    coloured = rank < _COLOURED
    colour = COLOURS[rank] if coloured else OTHERS
    front = 50 - rank if coloured else 2
    if len(values) == 1:
        axes.axhline(values[0], color=colour, lw=1.4, linestyle=":", zorder=front)
        return
    depth = np.linspace(0, 1, len(values))
    size = 4 if len(values) <= _TALL_LANES else 2.5
    axes.plot(
        depth, values, color=colour, lw=1.8 if coloured else 1.1, zorder=front,
        marker=_MARKS[rank] if coloured else None, ms=size,
    )  # fmt: skip
    chosen = np.nan_to_num(layers["committed"].to_numpy(dtype=float)) > 0
    size = 10 if coloured else 6
    axes.plot(depth[chosen], values[chosen], "o", ms=size, mfc="none", mec=colour, mew=1.6, zorder=front)


def difference_figure(values: pd.DataFrame, p_corrected: pd.DataFrame, label: str) -> bytes:
    """Matrix of differences, row less column; bold with a star where the corrected p is under .05.

    Parameters
    ----------
    values, p_corrected : DataFrame of shape (n_models, n_models)
        NaN cells say n/a; the diagonal is left empty.
    label : str
        Quantity, beside the colour bar.

    Returns
    -------
    bytes
        PNG.
    """
    names, shown, p = list(values.index), values.to_numpy(dtype=float), p_corrected.to_numpy(dtype=float)
    n = len(names)
    cell = 0.72 if n <= _WIDE_CELLS else 0.46
    canvas = Canvas(figsize=(max(5.0, cell * n + 3.0), max(2.6, 0.72 * cell * n + 1.8)), layout="constrained")
    axes = canvas.subplots()
    finite = np.abs(shown[np.isfinite(shown)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    picture = axes.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for row, column in np.ndindex(n, n):
        if row != column:
            _difference_cell(axes, (column, row), float(shown[row, column]), float(p[row, column]), limit=limit, n=n)
    axes.set_xticks(range(n), names, rotation=40 if n > 2 else 0, ha="right" if n > 2 else "center")
    axes.set_yticks(range(n), names)
    axes.set_xlabel("less this model")
    axes.set_ylabel("this model")
    canvas.colorbar(picture, ax=axes, label=label)
    return png(canvas)


def _difference_cell(axes: Axes, place: tuple[int, int], value: float, p: float, *, limit: float, n: int) -> None:
    text, colour, marked = NOT_AVAILABLE, "black", p < SIGNIFICANT
    if np.isfinite(value):
        sign = "" if abs(value) < _ROUNDED else "+" if value > 0 else "−"
        text = f"{sign}{abs(value):.2f}{'*' if marked else ''}"
        colour = "white" if abs(value) > 0.6 * limit else "black"
    else:
        corner = (place[0] - 0.5, place[1] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="#eeeeee", edgecolor="#bbbbbb", hatch=HATCH))
    size, weight = 8.5 if n <= _WIDE_CELLS else 7, "bold" if marked else "normal"
    axes.text(*place, text, ha="center", va="center", color=colour, fontsize=size, fontweight=weight)
