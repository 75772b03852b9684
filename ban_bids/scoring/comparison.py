"""Scores of several people, and differences of two models, with intervals over people and clips jointly.

People hear the same clips, so that chance in the choice of clips does not average out over people: an interval over
people alone covers too rarely (Brennan 2001, *Generalizability Theory*, ch. 2; Owen 2007, *Ann. Appl. Stat.* 1:386).
Two kinds of deviation are therefore drawn and added, for a mean over I people of a score on K clips:

- clips: the mean over people in draw k of clips, the same clips for everyone, less the median of all draws, made wider
  for few clips (`ban_bids.scoring.bootstrap.widening`);
- people: the standard error of the mean over people times a draw of Student's t with I - 1 degrees of freedom. Which
  one draw k has follows from random weights of the people (`people_draws`), the same for all scores and differences: so
  draw k is one joint draw of all of them, and that of a difference is that of its opposite with the sign turned.

Chance that concerns one person on one clip would enter both: its variance, (mean variance of a person's draws less
variance of their mean) / (I - 1), is taken off once, though never so much that less is left than either kind alone.
The percentiles of the sum are the interval; with one participant it is that of clips alone, and speaks of this person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from ban_bids.scoring.bootstrap import (
    LEVEL,
    ClipStatistics,
    Estimate,
    resample_counts,
    share,
    signal_power,
    widening,
    with_interval,
)
from ban_bids.scoring.cortical import FEWEST_CLIPS, correlation_form

PEOPLE_AND_CLIPS = "people and clips"
PEOPLE = "people"
THESE_PEOPLE = "clips (these people)"

Cell = tuple[str, str, str]
"""What a score belongs to: row of the score table, layer, region; the last two are empty for totals."""

_STREAM_CLIPS, _STREAM_PEOPLE = 7, 8
_FEWEST_DIFFERENT = 2


@dataclass(frozen=True, eq=False)
class KeptScore:
    """What is kept of a model's cortical score in one participant: its score in any draw of clips follows from it.

    Parameters
    ----------
    statistics : mapping of (layer, region) to ClipStatistics
        All on the same K clips.
    committed : mapping of region to ClipStatistics
        Of the prediction of each region's committed layer; layers were committed on training rows and stay so.
    mapping : mapping of layer to region
        The model's own; empty without one.
    """

    statistics: Mapping[tuple[str, str], ClipStatistics]
    committed: Mapping[str, ClipStatistics] = field(default_factory=dict)
    mapping: Mapping[str, str] = field(default_factory=dict)

    def rho(self, counts: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """What models are compared by, in every draw of clips: (row, region) -> (n_draws,).

        Rho of the committed layer of each region (row ``region``), and their mean ``C``; empty without regions.
        """
        of_regions = KeptScore({}, self.committed).scores(counts)
        return {
            (row, region): values if row == "C" else correlation_form(values)
            for (row, _, region), values in of_regions.items()
        }

    def scores(self, counts: np.ndarray) -> dict[Cell, np.ndarray]:
        """Scores in every draw of clips.

        Parameters
        ----------
        counts : ndarray of shape (n_draws, K)
            How often each clip is drawn.

        Returns
        -------
        dict of (row, layer, region) to ndarray of shape (n_draws,)
            c of every pair (row ``layer``) and of the committed layers (``region``), ``C``, ``C_mapped``; NaN in draws
            of one clip alone, which tell nothing of differences between clips, and where the signal power is not
            positive.
        """
        informative = (counts > 0).sum(axis=1) >= _FEWEST_DIFFERENT
        drawn = counts[informative]
        signals: dict[tuple[int, float, bytes], np.ndarray] = {}

        def shares(statistics: ClipStatistics) -> np.ndarray:
            moments = b"".join(getattr(statistics, name).tobytes() for name in ("n", "mm", "yy", "q_mm", "q_yy"))
            bold = (statistics.n_repeats, statistics.sp_bias, moments)
            if bold not in signals:  # the same for all layers in a region
                signals[bold] = signal_power(statistics, drawn)
            c = np.full(len(counts), np.nan)
            c[informative] = share(statistics, drawn, signals[bold])
            return c

        def mean_rho(c: list[np.ndarray]) -> np.ndarray:
            return np.mean([correlation_form(of_region) for of_region in c], axis=0)

        c = {pair: shares(statistics) for pair, statistics in self.statistics.items()}
        committed = {region: shares(statistics) for region, statistics in self.committed.items()}
        scores: dict[Cell, np.ndarray] = {("layer", *pair): values for pair, values in c.items()}
        scores |= {("region", "", region): values for region, values in committed.items()}
        if committed:
            scores["C", "", ""] = mean_rho(list(committed.values()))
        if self.mapping and all(pair in c for pair in self.mapping.items()):
            # a mean over regions, as of the score itself: several layers may stand for one of them
            regions = dict.fromkeys(self.mapping.values())
            own = [[correlation_form(c[pair]) for pair in self.mapping.items() if pair[1] == one] for one in regions]
            scores["C_mapped", "", ""] = np.mean([np.mean(of_region, axis=0) for of_region in own], axis=0)
        return scores


def clip_draws(clips: Sequence[Sequence[str]], n_draws: int, seed: int) -> list[np.ndarray]:
    """Draw clips with replacement, the same clips for all people.

    Parameters
    ----------
    clips : sequence of sequence of str
        Of each person, identities that are the same for all; people may lack clips.
    n_draws, seed : int

    Returns
    -------
    list of ndarray of shape (1 + n_draws, K_i)
        Of each person, how often each of its clips stands in each draw; row 0 has every clip once. The same clips
        and seed give the same draws, whatever the people and their order.
    """
    everyone = sorted({clip for own in clips for clip in own})
    drawn = resample_counts(len(everyone), n_draws, (seed, _STREAM_CLIPS))
    column = {clip: k for k, clip in enumerate(everyone)}
    return [np.vstack([np.ones(len(own)), drawn[:, [column[clip] for clip in own]]]) for own in clips]


def people_draws(n_draws: int, n_people: int, seed: int) -> np.ndarray:
    """Random weights of people, the same for all scores: (n_draws, n_people)."""
    return np.random.default_rng((seed, _STREAM_PEOPLE)).standard_normal((n_draws, n_people))


def over_people(
    values: np.ndarray, draws: np.ndarray, n_clips: int, *, seed: int, weights: np.ndarray | None = None
) -> Estimate:
    """Mean over people, with its interval over people and clips; of one person over clips alone.

    Parameters
    ----------
    values : ndarray of shape (I,)
        Score of each person.
    draws : ndarray of shape (n_draws, I)
        The same in draws of clips, from `clip_draws`; a person's NaN stands for nothing in that draw.
    n_clips : int
        Distinct clips of all people together.
    seed : int
    weights : ndarray of shape (n_draws, I), optional
        Of these people, from `people_draws`, where they are some of the people of other scores.

    Returns
    -------
    Estimate
        ``draws`` holds the joint draws; see the module for how they are made.
    """
    n_people, value = len(values), float(np.mean(values))
    deviations = draws - values
    there = np.isfinite(deviations)
    n_there = there.sum(axis=1)
    summed = np.where(there, deviations, 0).sum(axis=1)
    joint = np.divide(summed, n_there, out=np.full(len(draws), np.nan), where=n_there > 0)
    if n_clips < FEWEST_CLIPS or not np.isfinite(joint).any():
        return Estimate(value=value)
    wider = widening(n_clips)
    joint = wider * (joint - np.nanmedian(joint))
    if n_people > 1:
        standard_error = float(np.std(values, ddof=1)) / np.sqrt(n_people)
        of_clips, of_people = _variance(joint), standard_error**2
        both = (float(np.mean(_variance(wider * deviations[:, there.any(axis=0)]))) - of_clips) / (n_people - 1)
        kept = max(of_clips + of_people - max(both, 0), of_clips, of_people)
        shrinkage = np.sqrt(kept / max(of_clips + of_people, np.finfo(float).tiny))
        weights = people_draws(len(joint), n_people, seed) if weights is None else weights
        joint = shrinkage * (joint + standard_error * student_draws(weights @ (values - value), n_people - 1))
    return Estimate(**with_interval(value, value + joint))


def _variance(draws: np.ndarray) -> np.ndarray:
    """Variance of draws along the first axis from their central half, so that a few far ones do not make it."""
    # the same numbers, but nanpercentile takes one column after the other
    percentile = np.percentile if np.isfinite(draws).all() else np.nanpercentile
    low, high = percentile(draws, [25, 75], axis=0)
    return ((high - low) / (2 * stats.norm.ppf(0.75))) ** 2


def spread_of_draws(draws: np.ndarray) -> np.ndarray:
    """Standard deviation of draws along the first axis, from their central half."""
    return np.sqrt(_variance(draws))


def student_draws(order: np.ndarray, df: int) -> np.ndarray:
    """Quantiles of Student's t in the order of random numbers: without the chance of draws in its long tails."""
    return np.asarray(stats.t.ppf((stats.rankdata(order) - 0.5) / len(order), df))


def over_people_alone(values: np.ndarray) -> Estimate:
    """Mean over people with its t interval over people: of scores that no draws of clips were kept for."""
    n_people, value = len(values), float(np.mean(values))
    if n_people < 2:
        return Estimate(value=value)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n_people - 1) * np.std(values, ddof=1) / np.sqrt(n_people))
    return Estimate(value=value, ci_low=value - half, ci_high=value + half)


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    first_draws: np.ndarray,
    second_draws: np.ndarray,
    n_clips: int,
    *,
    seed: int,
    weights: np.ndarray | None = None,
) -> Estimate:
    """Mean over people of the difference of two models, both in the same people and the same draws of clips.

    What people and clips do to both models alike drops out person by person and draw by draw, before anything is
    averaged. The difference of BAS is `ban_bids.scoring.bas.bas_score` of that of C and that of B, whose draws are
    subtracted one by one.

    Parameters
    ----------
    first, second : ndarray of shape (I,)
        Scores of the people that have both.
    first_draws, second_draws : ndarray of shape (n_draws, I)
    n_clips, seed, weights
        As for `over_people`.

    Returns
    -------
    Estimate
        First less second.
    """
    return over_people(first - second, first_draws - second_draws, n_clips, seed=seed, weights=weights)
