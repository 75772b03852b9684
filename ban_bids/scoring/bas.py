"""Brain-like auditory score: BAS = (C + B) / 2, never shown without its parts and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ban_bids.encoding.permutation import QUESTIONS, SOUND, SPECIFIC
from ban_bids.preprocessing.regions import FEWEST_VOXELS
from ban_bids.scoring.behavioral import KAPPAS, BehavioralScore, Part
from ban_bids.scoring.bootstrap import LEVEL, Estimate, with_interval
from ban_bids.scoring.comparison import THESE_PEOPLE
from ban_bids.scoring.cortical import CorticalScore, LayerScore
from ban_bids.scoring.voxels import RegionTest


def bas_score(cortical: Estimate, behavioral: Estimate) -> Estimate:
    """Join C and B: two correlations, each relative to its ceiling.

    The interval comes from joint draws: draw k of C with draw k of B. C and B rest on different data and are
    drawn independently, so pairing them by number is a draw from their joint distribution.

    Parameters
    ----------
    cortical, behavioral : Estimate
        C and B.

    Returns
    -------
    Estimate
        ``(C + B) / 2``; NaN where a part is missing.
    """
    parts = {"C": cortical, "B": behavioral}
    missing = [f"{name} is n/a: {part.reason}" for name, part in parts.items() if not np.isfinite(part.value)]
    if missing:
        return Estimate(reason="; ".join(missing))
    n = min(len(cortical.draws), len(behavioral.draws))
    draws = (cortical.draws[:n] + behavioral.draws[:n]) / 2
    return Estimate(**with_interval((cortical.value + behavioral.value) / 2, draws))


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
    tests : sequence of RegionTest
        Of both questions, of the layers in the regions; none for controls.
    track_overlap : str
        ``none``, ``unknown`` (weights without a card) or the number of held-out tracks the model knows.
    reason : str
    """

    model: str
    role: Literal["scored", "control"]
    cortical: CorticalScore | None
    behavioral: BehavioralScore | None = None
    tests: Sequence[RegionTest] = ()
    track_overlap: str = "none"
    reason: str = ""


CLIPS = "clips"
"""What the interval of a participant's own score generalises to."""

_ROUGH = "the interval is rough: "
_INTERVAL = (
    f"{LEVEL:.0%} percentile interval of bootstrap draws of clips (all repeats of a clip together; people "
    "and voxels stay as they are); draws of c and B are centred on the estimate, and B's hold what other people would "
    "change, where generalises_to says so"
)
_ASKED = {SOUND: "follow sound", SPECIFIC: "follow these sounds"}
_PREDICTIONS = {SOUND: "the whole prediction", SPECIFIC: "the clip-specific prediction"}
_LEADS = "by how much more a region's committed layer leads the other layers there than it does in the other regions"


def _column(long_name: str, description: str, units: str | None = None) -> dict[str, str]:
    entry = {"LongName": long_name, "Description": description}
    return entry if units is None else {**entry, "Units": units}


def _of_question(question: str) -> dict[str, dict[str, str]]:
    name, title = f"p_{question}", f"does the region {_ASKED[question]}"
    return {
        name: _column(
            f"p value: {title}",
            f"Test of the region's mean correlation with {_PREDICTIONS[question]}: {title}; corrected over layers and "
            "regions by the maximum of standardised statistics",
        ),
        f"{name}_uncorrected": _column(f"Uncorrected p value: {title}", "The same for this layer and region alone"),
    }


COLUMNS: dict[str, dict[str, str]] = {
    "row": _column(
        "Kind of row",
        "layer: one model layer in one region; region: the committed layer of a region; C: cortical score; C_mapped: "
        "the same with the model's own mapping of layers to regions; R2: median noise-corrected R squared; preference, "
        "hierarchy: tests of the table of layers and regions; B: behavioural score (I2n consistency); kappa rows: "
        "error consistency; BAS: brain-like auditory score",
    ),
    "model": _column("Model", "Name of the model"),
    "role": _column("Role of the model", "scored, or control"),
    "belongs_to": _column("What the row describes", "participant, or dataset (rows that every participant repeats)"),
    "layer": _column("Model layer", "Layer of the model whose features predict"),
    "region": _column("Region", "Anatomical region whose voxels are predicted"),
    "value": _column(
        "Score",
        "layer, region: c, share of the region's explainable variance, sum over voxels of 2 cov(p, m) - var(p) over "
        "the sum of signal power, of prediction p and repeat mean m; C, C_mapped: mean over regions of rho; "
        "R2: median over voxels of r|r| / CCmax squared of the layer that is best in the voxel on inner folds; "
        f"preference: {_LEADS}, in c; hierarchy: rank correlation, over voxels, of the depth of the best layer with "
        "the depth of the region; B: I2n consistency, raw / sqrt(people); kappa_model_person, "
        "kappa_person_person: mean error consistency kappa of the model with each person, and of all pairs of people; "
        "kappa_majority: raw - people; "
        "BAS: (C + B) / 2",
        "arbitrary",
    ),
    "ci_low": _column("Lower limit", f"Lower limit of the {_INTERVAL}", "arbitrary"),
    "ci_high": _column("Upper limit", f"Upper limit of the {_INTERVAL}", "arbitrary"),
    "generalises_to": _column("Reach of the interval", "What was drawn, hence what the interval generalises to"),
    "rho": _column("c as a correlation", "sgn(c) sqrt(|c|), comparable with a noise-corrected r"),
    "rho_ci_low": _column("Lower limit of rho", "That of c in the same form"),
    "rho_ci_high": _column("Upper limit of rho", "That of c in the same form"),
    "mapped": _column("Mapped", "Whether the model's own mapping gives the layer to the region"),
    "committed": _column(
        "Committed",
        "Share of the outer folds in which the layer had the best score on inner folds in the region; 1: in all. "
        "These layers' predictions enter C",
    ),
    **_of_question(SOUND),
    **_of_question(SPECIFIC),
    "p": _column(
        "p value of a total",
        "One-sided. preference: from draws of clips; hierarchy: over all orders of the regions, at least 1/24 of four",
    ),
    "n_voxels": _column("Voxels", "Voxels of the region that could be scored", "count"),
    "mean_r": _column("Mean correlation", "Mean over voxels of the correlation that the r maps show"),
    "median_ccnorm": _column("Median CCnorm", "Median over voxels of r / CCmax where it is defined"),
    "unnormalised": _column(
        "Unnormalised score", "Sum of r|r| on single presentations over the number of voxels; never enters BAS"
    ),
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
    "n_clips": _column("Clips", "Held-out repeated clips (of the cortical rows), or clips judged by people", "count"),
    "n_people": _column("People", "People whose choices are compared", "count"),
    "readout": _column(
        "Read-out",
        "Behavioural rows and BAS: where the model's genre probabilities come from: own, none, or linear on a layer "
        "(fitted by ban-bids on so many tracks)",
    ),
    "track_overlap": _column(
        "Overlap of tracks", "Held-out tracks that trained or validated the model: none, unknown or a number"
    ),
    "reason": _column("Reason", "Why value is n/a, or which marks apply"),
}
"""Columns of the score table, and what the JSON sidecar says about each."""


def score_table(models: Sequence[ModelScores]) -> pd.DataFrame:
    """Tidy table of scores: one row per layer and region, one per region, then the totals, model after model.

    Parameters
    ----------
    models : sequence of ModelScores
        The scored model first, controls after it.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`. Missing numbers are NaN and missing text is None: both are to be written ``n/a``.
    """
    rows = [row for model in models for row in _rows(model)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(model: ModelScores) -> list[dict[str, object]]:
    c, b = model.cortical, model.behavioral
    rows = [_row("C", Estimate(reason=model.reason))] if c is None else _cortical_rows(c, model.tests)
    if b is not None:
        rows += _behavioral_rows(b)
    if b is not None and c is not None:
        rows.append({**_row_of_bas(c, b), "readout": b.readout})
    common = {"model": model.model, "role": model.role, "track_overlap": model.track_overlap}
    return [{**common, **row} for row in rows]


def _row(row: str, score: Estimate) -> dict[str, object]:
    return {
        "row": row,
        "belongs_to": "participant",
        "value": score.value,
        "ci_low": score.ci_low,
        "ci_high": score.ci_high,
        "generalises_to": CLIPS if np.isfinite(score.ci_low) else None,
        "reason": score.reason or None,
    }


def _cortical_rows(score: CorticalScore, tests: Sequence[RegionTest]) -> list[dict[str, object]]:
    p = {(test.layer, test.region, test.question): test for test in tests}
    rows = [_layer_row(layer, score, p) for layer in score.layers]
    # folds may commit different layers, of different participants too: the row is of the region alone
    rows += [{**_region_row("region", region, score.rough), "layer": None} for region in score.regions]
    why = _why_rough(score)
    totals = {"C": score, "C_mapped": score.mapped, "R2": score.rsquare}
    rows += [_marked(_row(name, total), why) for name, total in totals.items()]
    tested = {"preference": score.preference, "hierarchy": score.hierarchy}
    rows += [{**_row(name, total), "p": total.p} for name, total in tested.items()]
    return [{**row, "n_clips": score.n_clips} for row in rows]


def _why_rough(score: CorticalScore) -> str:
    """Why the interval of C may cover too little: what holds of any region, each once."""
    return "; ".join(dict.fromkeys(part for text in score.rough.values() for part in text.split("; ")))


def _row_of_bas(c: CorticalScore, b: BehavioralScore) -> dict[str, object]:
    """BAS, whose interval is rough where that of either part is."""
    row, why = _row("BAS", bas_score(c, b)), _why_rough(c)
    if row["generalises_to"] is None:
        return row
    parts = {"C": f"{_ROUGH}{why}" if why else "", "B": b.rough}
    return {**row, "reason": "; ".join(f"{name}: {text}" for name, text in parts.items() if text) or None}


def _marked(row: dict[str, object], why: str) -> dict[str, object]:
    """A row that says so where its interval may cover too little."""
    if not why or row["generalises_to"] is None:
        return row
    told = [str(row["reason"])] if row["reason"] else []
    return {**row, "reason": "; ".join([*told, f"{_ROUGH}{why}"])}


def _region_row(row: str, score: LayerScore, rough: Mapping[str, str]) -> dict[str, object]:
    copied = ("layer", "region", "n_voxels", "mean_r", "median_ccnorm", "unnormalised")
    rho = score.rho
    found = {
        **_row(row, score),
        **{name: getattr(score, name) for name in copied},
        "rho": rho.value,
        "rho_ci_low": rho.ci_low,
        "rho_ci_high": rho.ci_high,
        "reason": _reason(score) or None,
    }
    return _marked(found, rough.get(score.region, ""))


def _layer_row(
    layer: LayerScore, cortical: CorticalScore, tests: Mapping[tuple[str, str, str], RegionTest]
) -> dict[str, object]:
    row = _region_row("layer", layer, cortical.rough)
    row["mapped"] = cortical.mapping.get(layer.layer) == layer.region if cortical.mapping else None
    if layer.region in cortical.committed:
        row["committed"] = cortical.committed[layer.region].get(layer.layer, 0.0)
    for question in QUESTIONS:
        test = tests.get((layer.layer, layer.region, question))
        if test is not None:
            row |= {f"p_{question}": test.p_fwer, f"p_{question}_uncorrected": test.p}
    return row


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
    for row, reach in zip(rows, (score.generalises_to or THESE_PEOPLE, *[THESE_PEOPLE] * len(KAPPAS)), strict=True):
        row["generalises_to"] = reach if row["generalises_to"] else None
    return [{**row, "belongs_to": "dataset", "n_people": score.n_people, "readout": score.readout} for row in rows]
