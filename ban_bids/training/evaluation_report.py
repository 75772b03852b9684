"""An evaluation as a folder: report.json, tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.training.evaluate import CheckpointEvaluation, Part
from ban_bids.training.evaluation_figures import confusion_figure, reliability_figure

_SAID = {
    "unseen": "tracks that the model never met",
    "validated": "validation tracks",
    "trained": "TRAINING tracks: no measure of accuracy",
}


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
    contents: dict[str, str | bytes] = {
        "report.json": json.dumps(evaluation.to_dict(), indent=2) + "\n",
        "tracks.tsv": _tracks(evaluation),
    }
    for name, part in evaluation.parts.items():
        if part is not None:
            contents |= {f"{name}_{rest}": text for rest, text in _part(name, part, evaluation.genres).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / file).write_bytes(data)
    except OSError as err:
        raise DataError(f"{folder}: cannot be written ({err.strerror}); choose another --report") from err
    return [folder / file for file in contents]


def _part(name: str, part: Part, genres: Sequence[str]) -> dict[str, str | bytes]:
    scores = part.evaluation
    rows = [[genre, *asdict(row).values()] for genre, row in zip(genres, scores.genre_rows)]
    title = f"{_SAID[name]}: accuracy {scores.track_accuracy.value:.2f}"
    return {
        "genres.tsv": _table(["genre", "n", "precision", "recall", "f1"], rows),
        "confusion.tsv": _table(
            ["true_genre", *genres], [[genre, *row] for genre, row in zip(genres, scores.confusion.tolist())]
        ),
        "reliability.tsv": _table(
            ["low", "high", "n", "confidence", "accuracy"],
            [list(asdict(entry).values()) for entry in scores.reliability],
        ),
        "confusion.png": confusion_figure(scores, genres, title),
        "reliability.png": reliability_figure(scores, _SAID[name]),
    }


def _tracks(evaluation: CheckpointEvaluation) -> str:
    """A row a track: what it is, what was answered and how surely."""
    rows = []
    for name, part in evaluation.parts.items():
        for track, p in zip(part.tracks, part.answers.tracks) if part is not None else ():
            answer = evaluation.genres[int(p.argmax())]
            own = float(p[evaluation.genres.index(track.genre)])
            rows.append([track.name, name, track.genre, answer, float(p.max()), own])
    header = ["track", "part", "genre", "answer", "probability_of_answer", "probability_of_genre"]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return "".join("\t".join(_cell(value) for value in row) + "\n" for row in [header, *rows])


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
