"""A picture of a model's code beside that of its untrained twin."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ban_bids.training.code_measures.comparison import CodeComparison
from ban_bids.training.code_measures.measure import STAND_IN

_COLOURS = ("#14527a", "#b0793a")
_NAMES = {"R2": "R² on unheard recordings", "accuracy": "accuracy, unheard recordings"}
_PROFILE = {
    "receptive_field_s": "receptive field, s",
    "timescale_s": "timescale, s",
    "tuning_width_octaves": "tuning width, octaves",
    "best_rate_hz": "best rate, Hz",
    "spectral_r2": "R² from spectrogram",
    "sparseness": "sparseness (kurtosis)",
}
_COLUMNS = 4


def code_figure(comparison: CodeComparison, title: str) -> bytes:
    """Every measure by layer, the model beside its untrained twin; bars are 95 % intervals.

    Parameters
    ----------
    comparison : CodeComparison
    title : str

    Returns
    -------
    bytes
        PNG.
    """
    tables = comparison.tables
    names = [one.model for one in comparison.models]
    panels = [("dimension, raw", tables["dimension"], "raw"), ("dimension, z-scored", tables["dimension"], "zscored")]
    targets = tables["probes"][["target", "measure"]].drop_duplicates().itertuples(index=False)
    for target, measure in targets:
        rows = tables["probes"]
        panels.append((f"{target}: {_NAMES[measure]}", rows[rows["target"] == target], "value"))
    panels += [(label, tables["profile"], column) for column, label in _PROFILE.items()]
    n_rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(3.4 * _COLUMNS, 2.5 * n_rows + 0.9), layout="constrained")
    grid = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
    for axes, (label, table, column) in zip(grid, panels):
        _panel(axes, table, column, names)
        axes.set_title(label, fontsize=9)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), fontsize=9)
    heard = f"{comparison.n_sounds} tracks, {comparison.seconds:.0f} s, {comparison.n_rows} frames for probes"
    figure.suptitle(f"{title} ({heard})\n{STAND_IN}", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _panel(axes: Axes, table: pd.DataFrame, column: str, names: Sequence[str]) -> None:
    layers = list(dict.fromkeys(table["layer"]))
    for k, name in enumerate(names):
        rows = table[table["model"] == name].set_index("layer").reindex(layers)
        values = rows[column].astype(float).to_numpy()
        place = np.arange(len(layers)) + 0.14 * (k - (len(names) - 1) / 2)
        style: dict[str, Any] = {"color": _COLOURS[k % len(_COLOURS)], "label": name}
        if "ci95_low" in rows:
            bounds = np.abs(rows[["ci95_low", "ci95_high"]].astype(float).to_numpy().T - values)
            axes.errorbar(place, values, bounds, fmt="o-", ms=4, lw=1, capsize=2, **style)
        else:
            axes.plot(place, values, "o-", ms=4, lw=1, **style)
    if "chance" in table and np.isfinite(chance := float(table["chance"].astype(float).max())):
        axes.axhline(chance, color="#8a8f98", ls="--", lw=1)
    if not np.isfinite(table[column].astype(float)).any():
        axes.text(0.5, 0.5, "n/a", transform=axes.transAxes, ha="center", color="#8a8f98")
    axes.set_xticks(range(len(layers)), layers)
    axes.margins(x=0.1)
