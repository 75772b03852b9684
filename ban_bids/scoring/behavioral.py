"""Behavioural score: does the model answer like people, right and wrong on the same clips?

B is the mean of two parts: I2n consistency (`ban_bids.scoring.i2n`) and error consistency kappa (Geirhos,
Meding & Wichmann 2020, *Beyond accuracy*, NeurIPS 33) relative to that between people. True genres say
only which answer is right; they never stand in for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from ban_bids.errors import NotComputable
from ban_bids.inputs.types import Clip
from ban_bids.scoring.bootstrap import Estimate, percentile_interval, resample_counts, with_interval
from ban_bids.scoring.i2n import MIN_CLIPS, consistency
from ban_bids.scoring.responses import Responses, match_responses

MIN_COMMON = 5
"""Clips that a kappa between two observers needs."""

NO_CHOICES = "the dataset holds no human genre choices"

_DRAWS = 250
_STREAM = 2


@dataclass(frozen=True, eq=False)
class Part(Estimate):
    """One part of B.

    Parameters
    ----------
    raw : float
        Before it is related to people: rho(model, people), or mean kappa(model, person).
    people : float
        What it is related to: split-half reliability rho_pp, or mean kappa(person, person).
    n_clips : int
    """

    raw: float = np.nan
    people: float = np.nan
    n_clips: int = 0


@dataclass(frozen=True, eq=False)
class BehavioralScore(Estimate):
    """B of one model on one dataset: the mean of two parts from the same draws of clips; NaN if one is missing.

    Parameters
    ----------
    i2n, kappa : Part
    n_clips, n_people, n_excluded : int
        Clips and people compared; clips left out because the model knows their tracks.
    notes : tuple of str
    """

    i2n: Part
    kappa: Part
    n_clips: int = 0
    n_people: int = 0
    n_excluded: int = 0
    notes: tuple[str, ...] = ()


def no_behavior(reason: str = NO_CHOICES) -> BehavioralScore:
    """B where nothing can be compared: every number NaN, with the reason."""
    part = Part(reason=reason)
    return BehavioralScore(part, part, reason=reason)


def behavioral_score(
    choices: pd.DataFrame,
    clips: Sequence[Clip],
    probabilities: np.ndarray,
    *,
    genres: Sequence[str],
    excluded: np.ndarray | None = None,
    n_bootstrap: int = 1000,
    n_splits: int = 100,
    seed: int = 0,
) -> BehavioralScore:
    """Compare a model's genre probabilities with people's choices on the same clips.

    Parameters
    ----------
    choices : DataFrame
        Columns participant, audio, start, duration, true_genre, response; one row per choice.
    clips : sequence of Clip
        Of the rows of ``probabilities``.
    probabilities : ndarray of shape (n_clips, n_genres)
        Softmax of the model.
    genres : sequence of str
    excluded : ndarray of shape (n_clips,), bool, optional
        Clips whose tracks the model was trained or validated on; they are left out and counted.
    n_bootstrap, n_splits, seed : int
        Draws of clips within true genres; random halvings of people for the reliability.

    Returns
    -------
    BehavioralScore
        Never raises for want of data: NaN and reasons instead.

    Notes
    -----
    Intervals resample clips, not people: a person drawn twice would stand in both halves of a split and be
    compared with themselves. They speak of these people on other clips.
    """
    try:
        responses = match_responses(choices, clips, probabilities, genres=genres, excluded=excluded)
    except NotComputable as error:
        n_excluded = 0 if excluded is None else int(np.sum(excluded))
        return replace(no_behavior(str(error)), n_excluded=n_excluded)
    n_clips = len(responses.true)
    draws = resample_counts(n_clips, n_bootstrap, (seed, _STREAM), responses.true)
    counts = np.concatenate([np.ones((1, n_clips)), draws])
    i2n = _i2n_part(responses, counts, n_splits, seed)
    kappa = _kappa_part(responses, counts)
    return _joined(responses, i2n, kappa)


def _joined(responses: Responses, i2n: Part, kappa: Part) -> BehavioralScore:
    """B from its two parts, with what was compared."""
    reason = "; ".join(dict.fromkeys(p.reason for p in (i2n, kappa) if p.reason))
    both = {} if reason else with_interval((i2n.value + kappa.value) / 2, (i2n.draws + kappa.draws) / 2)
    return BehavioralScore(
        **both,
        i2n=i2n,
        kappa=kappa,
        n_clips=len(responses.true),
        n_people=len(responses.heard),
        n_excluded=responses.n_excluded,
        reason=reason,
        notes=responses.notes,
    )


def _i2n_part(responses: Responses, counts: np.ndarray, n_splits: int, seed: int) -> Part:
    """I2n consistency on clips heard by two people at least, of genres with two such clips at least."""
    if len(responses.heard) < 2:
        return Part(reason="I2n: choices of two people are needed for a reliability")
    keep = responses.heard.sum(axis=0) >= 2
    per_genre = np.bincount(responses.true[keep], minlength=len(responses.genres))
    keep &= per_genre[responses.true] >= MIN_CLIPS
    if len(np.unique(responses.true[keep])) < 2:
        reason = f"I2n: too few clips; two genres with {MIN_CLIPS} clips that two people judged are needed"
        return Part(reason=reason, n_clips=int(keep.sum()))
    value, rho, reliability = consistency(responses.of(keep), counts[:, keep], n_splits, seed=seed)
    part = Part(raw=float(rho[0]), people=float(reliability[0]), n_clips=int(keep.sum()))
    if not part.people > 0:
        return replace(part, reason=f"I2n: people's split-half reliability is not positive ({part.people:.2f})")
    if not np.isfinite(part.raw):
        return replace(part, reason="I2n: the model's or the people's pattern over clips is constant")
    return replace(part, **with_interval(value[0], value[1:]))


def _kappa_part(responses: Responses, counts: np.ndarray) -> Part:
    """Mean kappa(model, person) over mean kappa(person, person), from first answers to a clip."""
    right = (responses.first == responses.true).astype(float)
    model = (responses.probabilities.argmax(axis=1) == responses.true).astype(float)
    n_people, n_clips = right.shape
    pairs = np.array(list(combinations(range(n_people), 2)), dtype=int).reshape(-1, 2)
    a, b = pairs.T
    between = mean_kappa(right[a], right[b], responses.heard[a] & responses.heard[b], counts)
    with_model = mean_kappa(np.tile(model, (n_people, 1)), right, responses.heard, counts)
    raw, people = float(with_model[0]), float(between[0])
    reason = ""
    low, high = percentile_interval(between[1:])
    if n_people < 2:
        reason = "kappa: choices of two people are needed"
    elif not np.isfinite(people):
        reason = f"kappa: no two people judged {MIN_COMMON} clips in common and differed in some answer"
    elif not np.isfinite(raw):
        reason = f"kappa: nobody judged {MIN_COMMON} clips, or all answers of model and people are right"
    elif not low > 0:
        reason = f"kappa: people agree no more than by chance ({people:.2f}, interval {low:.2f} to {high:.2f})"
    part = Part(raw=raw, people=people, n_clips=n_clips, reason=reason)
    if reason:
        return part
    with np.errstate(invalid="ignore"):
        ratio = np.divide(with_model, between, out=np.full_like(between, np.nan), where=between > 0)
    return replace(part, **with_interval(ratio[0], ratio[1:]))


def mean_kappa(first: np.ndarray, second: np.ndarray, common: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Error consistency of pairs of observers, averaged over pairs, in every draw of clips.

    Parameters
    ----------
    first, second : ndarray of shape (n_pairs, C)
        1 where the observer was right, 0 where wrong.
    common : ndarray of shape (n_pairs, C), bool
        Clips that both judged.
    counts : ndarray of shape (n_draws, C)

    Returns
    -------
    ndarray of shape (n_draws,)
        Mean of ``(c_obs - c_exp) / (1 - c_exp)`` with ``c_exp = a b + (1 - a)(1 - b)``; pairs with fewer than
        five common clips, or certain to agree (c_exp = 1), are left out; NaN without any pair.
    """
    enough = common.sum(axis=1) >= MIN_COMMON
    weight = common[enough].astype(float).T
    one, other = first[enough].T, second[enough].T
    out = np.full(len(counts), np.nan)
    if not enough.any():
        return out
    for start in range(0, len(counts), _DRAWS):
        w = counts[start : start + _DRAWS]
        n = np.maximum(w @ weight, 1e-12)
        a, b = (w @ (weight * one)) / n, (w @ (weight * other)) / n
        observed = (w @ (weight * (one == other))) / n
        expected = a * b + (1 - a) * (1 - b)
        usable = (1 - expected > 1e-9) & (n >= 1)
        kappa = np.where(usable, (observed - expected) / np.where(usable, 1 - expected, 1), 0)
        n_pairs = usable.sum(axis=1)
        out[start : start + _DRAWS] = np.where(n_pairs > 0, kappa.sum(axis=1) / np.maximum(n_pairs, 1), np.nan)
    return out
