"""Brain-like auditory score: BAS = (C + B) / 2, never shown without its parts and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from ban_bids.constants import REGIONS
from ban_bids.preprocessing.regions import FEWEST_VOXELS
from ban_bids.scoring.behavioral import KAPPAS, BehavioralScore, Part
from ban_bids.scoring.bootstrap import LEVEL, Estimate, with_interval
from ban_bids.scoring.cortical import CorticalScore, LayerScore

NO_GEOMETRIC = "the geometric mean needs both parts positive"


def bas_score(cortical: CorticalScore, behavioral: BehavioralScore) -> tuple[Estimate, Estimate]:
    """Join C and B.

    The interval comes from joint draws: draw k of C with draw k of B. C and B rest on different data and are
    drawn independently, so pairing them by number is a draw from their joint distribution.

    Parameters
    ----------
    cortical : CorticalScore
    behavioral : BehavioralScore

    Returns
    -------
    bas : Estimate
        ``(C + B) / 2``; NaN where a part is missing.
    geometric : Estimate
        ``sqrt(C * B)``, a sensitivity line; NaN unless both parts are positive. Draws with a part that is not
        positive count as 0, the limit of the geometric mean there.
    """
    parts: dict[str, Estimate] = {"C": cortical, "B": behavioral}
    missing = [f"{name} is n/a: {part.reason}" for name, part in parts.items() if not np.isfinite(part.value)]
    if missing:
        nothing = Estimate(reason="; ".join(missing))
        return nothing, nothing
    c, b = cortical.value, behavioral.value
    n = min(len(cortical.draws), len(behavioral.draws))
    c_draws, b_draws = cortical.draws[:n], behavioral.draws[:n]
    geometric = Estimate(reason=NO_GEOMETRIC)
    if c > 0 and b > 0:
        draws = np.sqrt(np.maximum(c_draws, 0) * np.maximum(b_draws, 0))
        geometric = Estimate(**with_interval(np.sqrt(c * b), draws))
    return Estimate(**with_interval((c + b) / 2, (c_draws + b_draws) / 2)), geometric


@dataclass(frozen=True, eq=False)
class ModelScores:
    """All that a score table says about one model in one participant.

    Parameters
    ----------
    model : str
    role : {"scored", "control"}
    cortical : CorticalScore or None
        None where the model could not be scored; ``reason`` says why.
    behavioral : BehavioralScore or None
        None leaves the rows of B and BAS out (controls).
    p : mapping of (layer, region) to float
        Family-wise p value (max statistic over regions) of the mean correlation.
    p_uncorrected : mapping of (layer, region) to float
    track_overlap : str
        ``none``, ``unknown`` (weights without a card) or the number of held-out tracks the model knows.
    reason : str
    """

    model: str
    role: Literal["scored", "control"]
    cortical: CorticalScore | None
    behavioral: BehavioralScore | None = None
    p: Mapping[tuple[str, str], float] = field(default_factory=dict)
    p_uncorrected: Mapping[tuple[str, str], float] = field(default_factory=dict)
    track_overlap: str = "none"
    reason: str = ""


_INTERVAL = (
    f"{LEVEL:.0%} percentile interval of bootstrap draws of clips (all repeats of a clip together; people "
    "and voxels stay as they are); draws of c are centred on the estimate"
)


def _column(long_name: str, description: str, units: str | None = None) -> dict[str, str]:
    entry = {"LongName": long_name, "Description": description}
    return entry if units is None else {**entry, "Units": units}


def score_columns(regions: Sequence[str]) -> dict[str, dict[str, str]]:
    """Columns of the score table, and what the JSON sidecar says about each.

    Parameters
    ----------
    regions : sequence of str
        Each has a column ``c_<region>``.
    """
    return {
        "row": _column(
            "Kind of row",
            "layer: one model layer in one region; C: cortical score; B: behavioural score; kappa_model_person, "
            "kappa_person_person, kappa_majority: error consistency, beside B; BAS: brain-like auditory score; "
            "BAS_geometric: geometric mean of C and B",
        ),
        "model": _column("Model", "Name of the model"),
        "role": _column("Role of the model", "scored, or control"),
        "belongs_to": _column(
            "What the row describes", "participant, or dataset (rows that every participant repeats)"
        ),
        "layer": _column("Model layer", "Layer of the model whose features predict"),
        "region": _column("Region", "Anatomical region whose voxels are predicted"),
        "value": _column(
            "Score",
            "layer: share of the region's explainable variance, sum over voxels of sgn(r) times the mean over "
            "pairs of different repeats of cov(p, y_i) cov(p, y_j) / var(p), over the sum of signal power; "
            "C: mean over layers; B: I2n consistency, raw / sqrt(people); "
            "kappa_model_person, kappa_person_person: mean error consistency kappa of the model with each person, and "
            "of all pairs of people; kappa_majority: raw - people; "
            "BAS: (C + B) / 2; BAS_geometric: sqrt(C B)",
            "arbitrary",
        ),
        "ci_low": _column("Lower limit", f"Lower limit of the {_INTERVAL}", "arbitrary"),
        "ci_high": _column("Upper limit", f"Upper limit of the {_INTERVAL}", "arbitrary"),
        "p": _column(
            "p value",
            "Block permutation of the region's mean correlation with the prediction (clip-specific, unless the "
            "held-out runs rest between clips), "
            "max statistic over layers and regions",
        ),
        "p_uncorrected": _column("Uncorrected p value", "The same for the region alone"),
        "n_voxels": _column("Voxels", "Voxels of the region that could be scored", "count"),
        "mean_r": _column("Mean correlation", "Mean over voxels of the correlation that the r maps show"),
        "squared_ratio": _column("Squared ratio", "Sum of r|r| over sum of CCmax squared; biased upwards"),
        "median_ccnorm": _column("Median CCnorm", "Median over voxels of r / CCmax where it is defined"),
        "unnormalised": _column(
            "Unnormalised score", "Sum of r|r| on single presentations over the number of voxels; never enters BAS"
        ),
        **{
            f"c_{region}": _column(
                f"Share of {region}", f"The row's model layer in region {region}: one row of the alignment matrix"
            )
            for region in regions
        },
        "raw": _column(
            "Model with people",
            "B: correlation of the model with half of the people, before correction; kappa_majority: mean over people "
            "of kappa(model, person)",
        ),
        "people": _column(
            "People with people",
            "B: correlation of one half of the people with the other; kappa_majority: mean over people of "
            "kappa(majority of all others, person), on the clips of raw",
        ),
        "n_clips": _column("Clips", "Held-out repeated clips (layer, C), or clips judged by people", "count"),
        "n_people": _column("People", "People whose choices are compared", "count"),
        "track_overlap": _column(
            "Overlap of tracks", "Held-out tracks that trained or validated the model: none, unknown or a number"
        ),
        "reason": _column("Reason", "Why value is n/a, or which marks apply"),
    }


COLUMNS = score_columns(REGIONS)
"""Columns of the score table with the regions of every atlas that ships."""


def score_table(models: Sequence[ModelScores], regions: Sequence[str] = REGIONS) -> pd.DataFrame:
    """Tidy table of scores: one row per layer, then the totals, model after model.

    Parameters
    ----------
    models : sequence of ModelScores
        The scored model first, controls after it.
    regions : sequence of str
        Of the atlas.

    Returns
    -------
    DataFrame
        Columns `score_columns`. Missing numbers are NaN and missing text is None: both are to be written ``n/a``.
    """
    rows = [row for model in models for row in _rows(model)]
    return pd.DataFrame(rows, columns=list(score_columns(regions)))


def _rows(model: ModelScores) -> list[dict[str, object]]:
    c, b = model.cortical, model.behavioral
    if c is None:
        rows = [_row("C", Estimate(reason=model.reason))]
    else:
        rows = [*(_layer_row(layer, model, c) for layer in c.layers), {**_row("C", c), "n_clips": c.n_clips}]
    if b is not None:
        rows += _behavioral_rows(b)
    if b is not None and c is not None:
        rows += [_row(name, score) for name, score in zip(("BAS", "BAS_geometric"), bas_score(c, b))]
    common = {"model": model.model, "role": model.role, "track_overlap": model.track_overlap}
    return [{**common, **row} for row in rows]


def _row(row: str, score: Estimate) -> dict[str, object]:
    return {
        "row": row,
        "belongs_to": "participant",
        "value": score.value,
        "ci_low": score.ci_low,
        "ci_high": score.ci_high,
        "reason": score.reason or None,
    }


def _layer_row(layer: LayerScore, model: ModelScores, cortical: CorticalScore) -> dict[str, object]:
    pair = (layer.layer, layer.region)
    line = cortical.alignment[cortical.alignment_layers.index(layer.layer)]
    shares = {f"c_{name}": share for name, share in zip(cortical.alignment_regions, line)}
    copied = ("layer", "region", "n_voxels", "mean_r", "squared_ratio", "median_ccnorm", "unnormalised")
    return {
        **_row("layer", layer),
        **{name: getattr(layer, name) for name in copied},
        **shares,
        "p": model.p.get(pair, np.nan),
        "p_uncorrected": model.p_uncorrected.get(pair, np.nan),
        "n_clips": cortical.n_clips,
        "reason": _reason(layer) or None,
    }


def _reason(layer: LayerScore) -> str:
    """Why c is n/a, and a mark where it rests on little."""
    few = f"region {layer.region} has only {layer.n_voxels} voxels: its figures rest on little"
    return "; ".join([layer.reason] * bool(layer.reason) + [few] * (0 < layer.n_voxels < FEWEST_VOXELS))


def _behavioral_rows(score: BehavioralScore) -> list[dict[str, object]]:
    """B, and the kappas beside it, which do not enter B."""
    parts: dict[str, Part] = {name: getattr(score, name) for name in KAPPAS}
    rows = [
        {**_row(name, part), "raw": part.raw, "people": part.people, "n_clips": part.n_clips}
        for name, part in {"B": score, **parts}.items()
    ]
    rows[0]["reason"] = "; ".join(filter(None, (score.reason, score.rough))) or None
    return [{**row, "belongs_to": "dataset", "n_people": score.n_people} for row in rows]
