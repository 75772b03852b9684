"""Behavioural score: does the model answer like people, right and wrong on the same clips?

B is I2n consistency (`ban_bids.scoring.i2n`). Error consistency kappa (Geirhos, Meding & Wichmann 2020, *Beyond
accuracy*, NeurIPS 33) stands beside it and does not enter B: related to that between people it grows with people's
noise. True genres say only which answer is right; they never stand in for people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd

from ban_bids.errors import NotComputable
from ban_bids.inputs.types import Clip
from ban_bids.scoring.bootstrap import (
    Estimate,
    centred_draws,
    percentile_interval,
    resample_counts,
    with_interval,
)
from ban_bids.scoring.comparison import PEOPLE_AND_CLIPS, THESE_PEOPLE, spread_of_draws, student_draws
from ban_bids.scoring.confusion import confusions
from ban_bids.scoring.i2n import MIN_CLIPS, compare_patterns, consistency, person_effects, usable_clips
from ban_bids.scoring.responses import Responses, match_responses

MIN_COMMON = 5
"""Clips that a kappa between two observers needs."""

CLIPS_PER_GENRE = 10
"""Clips per genre under which the interval of B is rough (``benchmarks/behavior_calibration.py``)."""

FEWEST_PEOPLE = 3
"""People from whom one can tell how much B would differ with others; with fewer its interval is of these people."""

KAPPAS = ("kappa_model_person", "kappa_person_person", "kappa_majority")
"""Parts of a `BehavioralScore` that stand beside B."""

NO_CHOICES = "the dataset holds no human genre choices"

_BARE = 1 / 3
"""Lower limit of the people's reliability, relative to it, under which B is rough: of such data B tends to be low."""

_DRAWS = 250
_STREAM, _STREAM_PEOPLE = 2, 3
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Part(Estimate):
    """A number that compares the model with people.

    Parameters
    ----------
    raw : float
        Of the model, before it is related to people.
    people : float
        The same of people, to which it is related.
    n_clips : int
    """

    raw: float = np.nan
    people: float = np.nan
    n_clips: int = 0


@dataclass(frozen=True, eq=False)
class BehavioralScore(Part):
    """B of one model on one dataset: I2n consistency, with the kappas beside it.

    ``raw`` is the correlation of the model with half of the people, ``people`` that of the two halves, whose root is
    the human ceiling of ``raw``.

    Parameters
    ----------
    kappa_model_person, kappa_person_person : Part
        Mean kappa of the model with each person, and of all pairs of people.
    kappa_majority : Part
        ``raw``: mean over people of kappa(model, person); ``people``: of kappa(majority of all others, person) on the
        same clips; the value is their difference.
    confusion : DataFrame
        What people and model answered to each genre, see `ban_bids.scoring.confusion.confusions`; empty without any.
    n_people, n_excluded : int
        People compared; clips left out because the model knows their tracks.
    generalises_to : str
        What the interval of B speaks of: other people and other clips, or these people on other clips.
    rough : str
        Why the interval may cover too little; empty where it does not.
    readout : str
        Whose genre probabilities the model's are: ``own``, ``none``, or which one was fitted.
    notes : tuple of str
    conditions : mapping
        What draw k of B rests on: clips, people, genres, draws. Where it is the same for two models, draw k takes the
        same clips and people for both.
    """

    kappa_model_person: Part = field(default_factory=Part)
    kappa_person_person: Part = field(default_factory=Part)
    kappa_majority: Part = field(default_factory=Part)
    confusion: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    n_people: int = 0
    n_excluded: int = 0
    generalises_to: str = ""
    rough: str = ""
    readout: str = "none"
    notes: tuple[str, ...] = ()
    conditions: Mapping[str, object] = field(default_factory=dict)


def no_behavior(reason: str = NO_CHOICES) -> BehavioralScore:
    """B where nothing can be compared: every number NaN, with the reason."""
    part = Part(reason=reason)
    return BehavioralScore(reason=reason, kappa_model_person=part, kappa_person_person=part, kappa_majority=part)


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
        Columns participant, audio, start, duration, true_genre, response; one row per choice. All answers count.
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
    The interval of B is of other people and other clips: see `over_people_and_clips`. Those of the kappas draw clips
    and speak of these people. Draws within genres of n clips vary too little, by (n - 1)/n, and so are spread about the
    estimate by the root of clips / (clips - genres).
    """
    try:
        responses = match_responses(choices, clips, probabilities, genres=genres, excluded=excluded)
    except NotComputable as error:
        n_excluded = 0 if excluded is None else int(np.sum(excluded))
        return replace(no_behavior(str(error)), n_excluded=n_excluded)
    return score_responses(responses, n_bootstrap=n_bootstrap, n_splits=n_splits, seed=seed)


def score_responses(responses: Responses, *, n_bootstrap: int, n_splits: int, seed: int) -> BehavioralScore:
    """Score people's answers and a model's probabilities that lie side by side; see `behavioral_score`."""
    n_clips = len(responses.true)
    draws = resample_counts(n_clips, n_bootstrap, (seed, _STREAM), responses.true)
    counts = np.concatenate([np.ones((1, n_clips)), draws])
    with_model, between, majority = _kappas(responses, counts)
    score = _consistency(responses, counts, n_splits, seed)
    return replace(
        score,
        confusion=confusions(responses),
        kappa_model_person=with_model,
        kappa_person_person=between,
        kappa_majority=majority,
        n_people=len(responses.heard),
        n_excluded=responses.n_excluded,
        conditions={
            "JudgedClips": n_clips,
            "People": len(responses.heard),
            "Genres": responses.plain_genres,
            "NumberOfDraws": n_bootstrap,
            "RandomSeed": seed,
            "Answers": _fingerprint(responses),
            "IntervalOver": score.generalises_to,
        },
    )


def _fingerprint(responses: Responses) -> str:
    """Hash of who answered what to which clip; without the model's own answers."""
    clip = np.arange(len(responses.true)) if responses.clip is None else responses.clip
    arrays = (clip, responses.true, responses.counts, responses.n_answers)
    parts = [np.ascontiguousarray(array, dtype=np.int64).tobytes() for array in arrays]
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def spread(draws: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Give draws the variance back that drawing within small genres takes away.

    Parameters
    ----------
    draws : ndarray of shape (1 + n_draws,)
        The estimate, and its draws of clips within genres: of n clips, they have (n - 1) / n of the variance.
    true : ndarray of shape (C,), int
        Genre of each clip.

    Returns
    -------
    ndarray of shape (1 + n_draws,)
        Differences from the estimate times the root of clips / (clips - genres) (cf. Rao & Wu 1988).
    """
    n_clips, n_genres = len(true), len(np.unique(true))
    return draws[0] + (draws - draws[0]) * np.sqrt(n_clips / max(n_clips - n_genres, 1))


def _consistency(responses: Responses, counts: np.ndarray, n_splits: int, seed: int) -> BehavioralScore:
    """I2n consistency on clips that enough people judged."""
    n_people = (responses.counts.sum(axis=2) > 0).sum(axis=0)
    keep, half = usable_clips(n_people, responses.true)
    n_clips, notes = int(keep.sum()), responses.notes
    if len(responses.heard) < 2:
        return BehavioralScore(reason="choices of two people are needed for a reliability", notes=notes)
    if not half:
        reason = f"too few clips; {MIN_CLIPS} clips of a genre that two people judged are needed"
        return BehavioralScore(reason=reason, notes=notes)
    if n_clips < len(keep):
        notes += (f"B leaves out {len(keep) - n_clips} clips that fewer than {2 * half} people judged",)
    used = responses.of(keep).of_judges()
    patterns = compare_patterns(used, half, n_splits, seed=seed)
    value, rho, reliability = consistency(patterns, counts[:, keep])
    score = BehavioralScore(raw=float(rho[0]), people=float(reliability[0]), n_clips=n_clips, notes=notes)
    low, high = percentile_interval(spread(reliability, used.true)[1:])
    if not low > 0:
        return replace(score, reason=_no_ceiling(score.people, low, high))
    if not np.isfinite(score.raw):
        return replace(score, reason="the model's pattern over clips is constant")
    effects = person_effects(patterns, float(value[0]))
    draws, other_people = over_people_and_clips(spread(value, used.true), effects, used.true, seed=seed)
    rough = _rough(n_clips, len(np.unique(used.true)), barely=low < _BARE * score.people, differ=other_people > 1)
    reach = PEOPLE_AND_CLIPS if np.isfinite(other_people) else THESE_PEOPLE
    return replace(score, **with_interval(value[0], draws), rough=rough, generalises_to=reach)


def over_people_and_clips(
    drawn: np.ndarray, effects: np.ndarray, true: np.ndarray, *, seed: int
) -> tuple[np.ndarray, float]:
    """Draws of B over clips and people jointly.

    Parameters
    ----------
    drawn : ndarray of shape (1 + n_draws,)
        B, and its draws of clips.
    effects : ndarray of shape (P, C)
        By how much each person's answers to each clip move B (`ban_bids.scoring.i2n.person_effects`).
    true : ndarray of shape (C,), int
        Genre of each clip.
    seed : int
        The same people get the same weights for all models.

    Returns
    -------
    draws : ndarray of shape (n_draws,)
        Those of clips, centred on B and widened (`ban_bids.scoring.bootstrap.centred_draws`), plus what other people
        would change: Student's t with P - 1 degrees of freedom times the standard error over people. The chance of one
        person's answer to one clip is in the draws of clips already. So it is taken off the variance over people: the
        variance of a person's sum over clips less the sum of the clips' variances, these times C / (C - genres) for the
        mean of each genre that is taken out (Brennan 2001, *Generalizability Theory*, ch. 2).
    ratio : float
        Standard error over people relative to the spread of the draws of clips; NaN with fewer than `FEWEST_PEOPLE`
        people, whose draws are of clips alone.
    """
    n_people, n_clips = effects.shape
    draws = centred_draws(drawn[1:], float(drawn[0]), n_clips)
    if n_people < FEWEST_PEOPLE:
        return draws, np.nan
    totals = effects.sum(axis=1)
    alone = effects.var(axis=0, ddof=1).sum() * n_clips / max(n_clips - len(np.unique(true)), 1)
    error = np.sqrt(max(totals.var(ddof=1) - alone, 0) / n_people)
    weights = np.random.default_rng((seed, _STREAM_PEOPLE)).standard_normal((len(draws), n_people))
    ratio = error / max(float(spread_of_draws(draws)), _TIE)
    return draws + error * student_draws(weights @ totals, n_people - 1), float(ratio)


def _rough(n_clips: int, n_genres: int, *, barely: bool, differ: bool) -> str:
    few = f"{n_clips} clips of {n_genres} genres, fewer than {CLIPS_PER_GENRE} each"
    reasons = [few] * (n_clips < CLIPS_PER_GENRE * n_genres) + ["people barely agree more than by chance"] * barely
    reasons += ["B differs more between people than between clips; more people are needed"] * differ
    return f"the interval is rough: {'; '.join(reasons)}" if reasons else ""


def _no_ceiling(reliability: float, low: float, high: float) -> str:
    """Why no model can be related to these people."""
    if not np.isfinite(reliability):
        return "people's pattern over clips is constant"
    return (
        "people's agreement on which clips are hard cannot be told from chance "
        f"(split halves {reliability:.2f}, interval {low:.2f} to {high:.2f})"
    )


def _kappas(responses: Responses, counts: np.ndarray) -> tuple[Part, Part, Part]:
    """Mean kappa(model, person) and kappa(person, person), and the model's over the majority's with each person."""
    right, heard, true = responses.right, responses.heard, responses.true
    n_people, n_clips = right.shape
    model = np.tile(share_right(responses.probabilities, true), (n_people, 1))
    a, b = np.array(list(combinations(range(n_people), 2)), dtype=int).reshape(-1, 2).T
    fewer = f"kappa: {{}} judged {MIN_COMMON} clips in common with answers both right and wrong"
    with_model = _part(
        spread(mean_kappa(model, right, heard, counts), true), fewer.format("no person and model"), n_clips
    )
    between = mean_kappa(right[a], right[b], heard[a] & heard[b], counts)
    two = fewer.format("no two people") if n_people > 1 else "kappa: choices of two people are needed"
    majority, voted = majority_of_others(responses)
    common = heard & voted
    of_model, of_majority = (pair_kappas(one, right, common, counts) for one in (model, majority))
    both = np.isfinite(of_model) & np.isfinite(of_majority)
    means = [_mean(np.where(both, kappas, np.nan)) for kappas in (of_model, of_majority)]
    over = _part(spread(means[0] - means[1], true), two, int(common.any(axis=0).sum()))
    return (
        with_model,
        _part(spread(between, true), two, n_clips),
        replace(over, raw=float(means[0][0]), people=float(means[1][0])),
    )


def _part(values: np.ndarray, reason: str, n_clips: int) -> Part:
    """Estimate and draws of it, or the reason why there is none."""
    if not np.isfinite(values[0]):
        return Part(reason=reason, n_clips=n_clips)
    return Part(**with_interval(values[0], values[1:]), n_clips=n_clips)


def share_right(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How likely the highest of the last axis is the true one, equal ones being drawn among.

    Parameters
    ----------
    scores : ndarray of shape (..., C, G)
    true : ndarray of shape (C,), int

    Returns
    -------
    ndarray of shape (..., C)
        1, 0, or one over the number of genres that share the highest score.
    """
    best = scores >= scores.max(axis=-1, keepdims=True) - _TIE
    return best[..., np.arange(len(true)), true] / best.sum(axis=-1)


def majority_of_others(responses: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Whether the genre that most of the others chose is right, for each person who is left out.

    Everybody has one vote per clip, divided among genres as their own answers are; answers that are no genre of the
    model go to none. Of genres with equally many votes each is the majority's choice with equal probability.

    Returns
    -------
    right : ndarray of shape (P, C)
        Probability that the others' choice is right.
    voted : ndarray of shape (P, C), bool
        Whether there is a vote of another person.
    """
    votes = responses.counts / np.maximum(responses.n_answers, 1)[..., None]
    others = np.maximum(votes.sum(axis=0) - votes, 0)
    return share_right(others, responses.true), others.max(axis=2) > _TIE


def mean_kappa(first: np.ndarray, second: np.ndarray, common: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of `pair_kappas` over the pairs for which it is defined: (n_draws,); NaN without any."""
    chunks = range(0, len(counts), _DRAWS)
    return np.concatenate([_mean(pair_kappas(first, second, common, counts[k : k + _DRAWS])) for k in chunks])


def _mean(kappas: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined."""
    defined = np.isfinite(kappas)
    n = defined.sum(axis=1)
    return np.where(n > 0, np.where(defined, kappas, 0).sum(axis=1) / np.maximum(n, 1), np.nan)


def pair_kappas(first: np.ndarray, second: np.ndarray, common: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Error consistency of pairs of observers in every draw of clips.

    Parameters
    ----------
    first, second : ndarray of shape (n_pairs, C)
        Share r of the observer's answers to the clip that are right.
    common : ndarray of shape (n_pairs, C), bool
        Clips that both judged.
    counts : ndarray of shape (n_draws, C)

    Returns
    -------
    ndarray of shape (n_draws, n_pairs)
        ``(c_obs - c_exp) / (1 - c_exp)``. c_obs is the probability that an answer of one and an answer of the other to
        the same clip, each drawn from all that they gave, are both right or both wrong: the mean over clips of
        ``r s + (1 - r)(1 - s)``; c_exp the same of means over clips. With one answer per clip this is kappa of
        Geirhos et al. (2020, eqs. 1-3). NaN for pairs with fewer than five common clips, or certain to agree
        (c_exp = 1).
    """
    weight = common.astype(float).T
    one, other = first.T, second.T
    n = counts @ weight
    scale = np.maximum(n, 1e-12)
    a, b = (counts @ (weight * one)) / scale, (counts @ (weight * other)) / scale
    observed = (counts @ (weight * (one * other + (1 - one) * (1 - other)))) / scale
    expected = a * b + (1 - a) * (1 - b)
    usable = (common.sum(axis=1) >= MIN_COMMON) & (1 - expected > _TIE) & (n >= 1)
    return np.divide(observed - expected, 1 - expected, out=np.full(n.shape, np.nan), where=usable)
