"""Pictures of an evaluation, as PNG bytes: confusion matrix and reliability diagram."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from ban_bids.training.evaluation_scores import Evaluation, ReliabilityBin

_DPI = 110
_COLOUR = "#14527a"


def confusion_figure(evaluation: Evaluation, genres: Sequence[str], title: str) -> bytes:
    """Tracks by true genre (rows) and answer; every cell has its count and its share of the row.

    Parameters
    ----------
    evaluation : Evaluation
    genres : sequence of str
        In the confusion matrix's order. Rows of genres without tracks are hatched.
    title : str

    Returns
    -------
    bytes
        PNG.
    """
    counts = evaluation.confusion
    totals = counts.sum(axis=1)
    shares = np.divide(counts, totals[:, None], out=np.zeros(counts.shape), where=totals[:, None] > 0)
    side = 0.62 * len(genres)
    canvas = Canvas(figsize=(side + 3.2, side + 1.7), layout="constrained")
    axes = canvas.subplots()
    picture = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(counts):
        text = f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %"
        colour = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    for row in np.flatnonzero(totals == 0):
        box = Rectangle((-0.5, row - 0.5), len(genres), 1, facecolor="#eeeeee", edgecolor="#999999", hatch="///")
        axes.add_patch(box)
    axes.set_xticks(range(len(genres)), genres, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(genres)), [f"{genre} (n = {n})" for genre, n in zip(genres, totals)])
    axes.set_xlabel("genre that was answered")
    axes.set_ylabel("true genre (tracks)")
    axes.set_title(title, fontsize=10)
    canvas.colorbar(picture, ax=axes, label="share of the true genre's tracks, %", shrink=0.85)
    return _png(canvas)


def reliability_figure(evaluation: Evaluation, title: str) -> bytes:
    """Accuracy against confidence in bins of equal width, and how many tracks each bin holds.

    Parameters
    ----------
    evaluation : Evaluation
    title : str

    Returns
    -------
    bytes
        PNG.
    """
    canvas = Canvas(figsize=(5.2, 5.6), layout="constrained")
    above, below = canvas.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    _accuracies(above, evaluation.reliability)
    error, brier = evaluation.calibration_error, evaluation.brier_score
    above.set_title(
        f"{title}\nexpected calibration error {error.value:.3f}, Brier score {brier.value:.3f} (0 to 2), "
        f"n = {evaluation.n_tracks}",
        fontsize=9,
    )
    for entry in evaluation.reliability:
        below.bar((entry.low + entry.high) / 2, entry.n, width=0.9 * (entry.high - entry.low), color=_COLOUR)
    below.set_xlabel("confidence: probability of the answer")
    below.set_ylabel("tracks")
    below.set_xlim(0, 1)
    return _png(canvas)


def _accuracies(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    axes.plot([0, 1], [0, 1], color="#8a8f98", ls="--", lw=1, label="confidence = accuracy")
    for entry in bins:
        if entry.confidence is None or entry.accuracy is None:
            continue
        width = entry.high - entry.low
        axes.bar((entry.low + entry.high) / 2, entry.accuracy, width=0.9 * width, color=_COLOUR, alpha=0.35)
        axes.plot(entry.confidence, entry.accuracy, "o", color=_COLOUR)
        axes.annotate(
            f"n = {entry.n}", (entry.confidence, entry.accuracy), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=7,
        )  # fmt: skip
    axes.plot([], [], "o", color=_COLOUR, label="means of a bin's tracks")
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1.08)
    axes.legend(loc="upper left", fontsize=8)


def _png(canvas: Canvas) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
