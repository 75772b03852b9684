"""Pictures of the results page, as SVG: accuracies with their differences, and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLOUR, _GREY = "#14527a", "#8a8f98"
# a fixed salt and no date: the same results make the same file
_STYLE = {"svg.hashsalt": "ban-bids", "svg.fonttype": "none", "font.family": "sans-serif"}


def forest(results: dict[str, Any], ranked: Sequence[tuple[str, dict[str, Any]]], out: Path) -> None:
    """Accuracies and paired differences with their intervals, the best on top."""
    from_below = ranked[::-1]
    names, reference = [name for name, _ in from_below], results["reference"]
    with rc_context(_STYLE):
        figure = Figure(figsize=(9.5, 1.5 + 0.34 * len(names)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _forest(left, [m["track_accuracy"] for _, m in from_below], names, reference)
        left.axvline(1 / len(results["genres"]), color=_GREY, ls=":", lw=1)
        left.set_xlabel("track accuracy, 95 % interval\n(dotted: chance)")
        left.set_xlim(0, 1)
        left.set_yticks(range(len(names)), names)
        left.set_ylim(-0.6, len(names) - 0.4)
        none = {"value": None, "ci95": None}
        _forest(right, [m.get("difference", none) for _, m in from_below], names, reference)
        right.axvline(0, color=_GREY, ls=":", lw=1)
        over = "tracks and seeds" if results["seeds"] > 1 else "tracks"
        right.set_xlabel(f"difference to {reference}, paired 95 % interval\nover {over} (across 0: not a finding)")
        figure.savefig(out, format="svg", metadata={"Date": None})


def _forest(axes: Axes, figures: Sequence[dict[str, Any]], names: Sequence[str], reference: str) -> None:
    for row, (figure, name) in enumerate(zip(figures, names)):
        if figure["value"] is None:
            axes.text(0, row, "reference", ha="center", va="center", fontsize=8, backgroundcolor="white")
            continue
        colour = _COLOUR if name.startswith(reference) else _GREY
        axes.plot(figure.get("ci95_seeds") or figure["ci95"], [row, row], color=colour, lw=2)
        axes.plot(figure["value"], row, "o", color=colour)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def curves(of: Mapping[str, Sequence[Sequence[float]]], out: Path) -> None:
    """Training loss against steps, one line a model."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 3.4), layout="constrained")
        axes = figure.subplots()
        colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
        for k, (name, curve) in enumerate(of.items()):
            steps, losses = zip(*curve)
            axes.plot(steps, losses, label=name, color=colours[k % len(colours)], lw=1.5)
            axes.plot(steps[-1], losses[-1], "o", color=colours[k % len(colours)], ms=4)
        axes.set_xlabel("steps of gradient descent (seed 0, fold 0; dot: its end)")
        axes.set_ylabel("training loss")
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(out, format="svg", metadata={"Date": None})
