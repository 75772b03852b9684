"""Models that know held-out tracks (``--allow-overlap``), marked wherever their scores stand."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd


def known_tracks(scores: pd.DataFrame) -> dict[str, int]:
    """Models that were trained or validated on held-out tracks, and on how many: the most of any participant.

    Parameters
    ----------
    scores : DataFrame
        Score tables, with the columns ``model`` and ``track_overlap`` (``none``, ``unknown`` or a number).
    """
    if "track_overlap" not in scores:
        return {}
    counts = pd.to_numeric(scores["track_overlap"], errors="coerce").groupby(scores["model"].astype(str)).max()
    return {str(model): int(count) for model, count in counts.dropna().items() if count > 0}


def marks(known: Mapping[str, int]) -> list[str]:
    """One sentence per model."""
    return [
        f"{model} was trained or validated on {count} held-out track{'s' if count > 1 else ''} (--allow-overlap): "
        "its scores are too high"
        for model, count in known.items()
    ]


def marked(comparison: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A comparison of models whose ``reason`` says so in each row of a model that knows held-out tracks.

    Parameters
    ----------
    comparison : DataFrame
        Columns :data:`ban_bids.derivatives.comparisons.COLUMNS`. Rows of a participant are marked by what was held out
        there, those of the group by all.
    scores : DataFrame
        As of :func:`known_tracks`, with the column ``participant``.
    """
    of_all = known_tracks(scores)
    if not of_all:
        return comparison
    own = {str(label): known_tracks(rows) for label, rows in scores.groupby("participant")}
    reasons = []
    columns = comparison[["participant", "model", "other", "reason"]]
    for label, model, other, reason in columns.itertuples(index=False):
        known = of_all if pd.isna(label) else own[str(label)]
        told = [] if pd.isna(reason) else [str(reason)]
        told += marks({name: known[name] for name in (model, other) if name in known})
        reasons.append("; ".join(told) or None)
    return comparison.assign(reason=pd.Series(reasons, index=comparison.index, dtype=object))
