"""An evaluation as a folder: report.json, tables and pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ban_bids.errors import DataError
from ban_bids.files.atomic import write_bytes
from ban_bids.files.json import write_json
from ban_bids.files.shown import without_formulas
from ban_bids.files.tsv import write_tsv
from ban_bids.training.code_measures.pictures import code_figure
from ban_bids.training.evaluate import CheckpointEvaluation, Part
from ban_bids.training.scores import Evaluation

_DESCRIPTIONS = {
    "unseen": "tracks that the model never met",
    "validated": "validation tracks",
    "trained": "TRAINING tracks: no measure of accuracy",
}
_DPI = 110
_COLOUR = "#14527a"


def write_report(evaluation: CheckpointEvaluation, folder: Path) -> list[Path]:
    """Write ``report.json``, ``tracks.tsv`` and, for every part that has tracks, its tables and pictures.

    Parameters
    ----------
    evaluation : CheckpointEvaluation
    folder : Path
        Made where it does not exist. Files of an earlier report are replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    DataError
        When the folder cannot be written.
    """
    tables = {"tracks.tsv": _tracks(evaluation)}
    pictures: dict[str, bytes] = {}
    for name, part in evaluation.parts.items():
        if part is not None:
            tables |= {f"{name}_{file}": table for file, table in _tables(part, evaluation.genres).items()}
            title = f"{_DESCRIPTIONS[name]}: accuracy {part.evaluation.track_accuracy.value:.2f}"
            pictures[f"{name}_confusion.png"] = confusion_figure(part.evaluation, evaluation.genres, title)
            pictures[f"{name}_reliability.png"] = reliability_figure(part.evaluation, _DESCRIPTIONS[name])
    for name, comparison in evaluation.code.items():
        tables |= {f"{name}_{table}.tsv": rows for table, rows in comparison.tables.items()}
        pictures[f"{name}_code.png"] = code_figure(comparison, f"Code on {_DESCRIPTIONS[name]}")
    try:
        return [
            write_json(folder / "report.json", evaluation.to_dict()),
            *(write_tsv(folder / file, table.round(4)) for file, table in tables.items()),
            *(write_bytes(folder / file, picture) for file, picture in pictures.items()),
        ]
    except OSError as err:
        raise DataError(f"{folder}: cannot be written ({err.strerror}); choose another --report") from err


def _tables(part: Part, genres: Sequence[str]) -> dict[str, pd.DataFrame]:
    confusion = pd.DataFrame(part.evaluation.confusion, columns=list(genres))
    confusion.insert(0, "true_genre", list(genres), allow_duplicates=True)
    per_genre = part.evaluation.per_genre
    per_genre.insert(0, "genre", list(genres))
    return {"genres.tsv": per_genre, "confusion.tsv": confusion, "reliability.tsv": part.evaluation.reliability}


def _tracks(evaluation: CheckpointEvaluation) -> pd.DataFrame:
    """One row per track: what it is, what was answered and how surely."""
    rows = []
    for name, part in evaluation.parts.items():
        for track, p in zip(part.tracks, part.answers.tracks) if part is not None else ():
            answer = evaluation.genres[int(p.argmax())]
            rows.append([track.name, name, track.genre, answer, p.max(), p[evaluation.genres.index(track.genre)]])
    header = ["track", "part", "genre", "answer", "probability_of_answer", "probability_of_genre"]
    return pd.DataFrame(rows, columns=header)


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
    figure = Figure(figsize=(side + 3.2, side + 1.7), layout="constrained")
    axes = figure.subplots()
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
    figure.colorbar(picture, ax=axes, label="share of the true genre's tracks, %", shrink=0.85)
    return _png(figure)


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
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    bins = evaluation.reliability
    centre, width = (bins["low"] + bins["high"]) / 2, 0.9 * (bins["high"] - bins["low"])
    error, brier = evaluation.calibration_error, evaluation.brier_score
    above.set_title(
        f"{title}\nexpected calibration error {error.value:.3f}, Brier score {brier.value:.3f} (0 to 2), "
        f"n = {evaluation.n_tracks}",
        fontsize=9,
    )
    above.plot([0, 1], [0, 1], color="#8a8f98", ls="--", lw=1, label="confidence = accuracy")
    above.bar(centre, bins["accuracy"], width=width, color=_COLOUR, alpha=0.35)
    above.plot(bins["confidence"], bins["accuracy"], "o", color=_COLOUR, label="means of a bin's tracks")
    for confidence, accuracy, n in bins.loc[bins["n"] > 0, ["confidence", "accuracy", "n"]].to_numpy():
        above.text(confidence, accuracy + 0.02, f"n = {n:.0f}", ha="center", fontsize=7)
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1.08)
    above.legend(loc="upper left", fontsize=8)
    below.bar(centre, bins["n"], width=width, color=_COLOUR)
    below.set_xlabel("confidence: probability of the answer")
    below.set_ylabel("tracks")
    below.set_xlim(0, 1)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    without_formulas(figure).savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
