"""I2n: does the model find the same clips hard, against the same distractors, as people do?

The metric is the image-level signature of Rajalingham et al. (2018, *J. Neurosci.* 38:7255) carried over from two-way
image choices to clips and to choices among all genres: d' of every clip against every distractor, less the mean of its
(genre, distractor) pair, and the correlation of two such patterns over the root of their split-half reliabilities.
As there, the correlations above and below the line rest on the same amount of data, one half, so that nothing has to be
extrapolated (Spearman-Brown).

Reconstruction, where the source is silent. The two-way rate of clip i of genre t against distractor d is taken from the
answers t and d alone, ``(k_t + 1/2) / (k_t + k_d + 1)``. Rates from few answers are drawn towards 1/2, and more
so the fewer they are. So every half holds *the same number of answers* to every clip, one per person, and the model's
pattern is what people with its probabilities would show *on average with that many answers*. The false-alarm rate
of d' is one number for a (genre, distractor) pair, drops out with the pair's mean, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtri, xlogy

from ban_bids.scoring.responses import Responses

MIN_CLIPS = 2
"""Clips that a genre needs: with one, a (genre, distractor) pair's mean leaves nothing."""

MAX_HALF = 50
"""Answers per half and clip at most: more take time and change little, for all answers enter over many halvings."""

_NEARLY_CONSTANT = 1e-12
"""Variance, relative to the sum of squares, that rounding could make."""

_CELLS = 2_000_000


def hit_pattern(counts: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Two-way hit rate, as z, of every clip against every distractor.

    Parameters
    ----------
    counts : ndarray of shape (C, G)
        Answers to each clip.
    true : ndarray of shape (C,), int

    Returns
    -------
    ndarray of shape (C, G)
        ``z[(k_t + 1/2) / (k_t + k_d + 1)]``; 0 at the true genre, where nothing is compared.
    """
    rows = np.arange(len(true))
    right = counts[rows, true][:, None]
    pattern = ndtri((right + 0.5) / (right + counts + 1.0))
    pattern[rows, true] = 0
    return pattern


def expected_pattern(probabilities: np.ndarray, true: np.ndarray, n_answers: int) -> np.ndarray:
    """Mean of `hit_pattern` over all outcomes of ``n_answers`` independent answers.

    Parameters
    ----------
    probabilities : ndarray of shape (C, G)
        Of the answers to each clip.
    true : ndarray of shape (C,), int
    n_answers : int

    Returns
    -------
    ndarray of shape (C, G)
        Sum over (k_t, k_d) of their trinomial probability times ``z[(k_t + 1/2) / (k_t + k_d + 1)]``; 0 at the true
        genre.
    """
    k_t, k_d = (k.ravel() for k in np.mgrid[: n_answers + 1, : n_answers + 1])
    k_t, k_d = k_t[k_t + k_d <= n_answers], k_d[k_t + k_d <= n_answers]
    rest = n_answers - k_t - k_d
    orders = gammaln(n_answers + 1) - gammaln(k_t + 1) - gammaln(k_d + 1) - gammaln(rest + 1)
    z = ndtri((k_t + 0.5) / (k_t + k_d + 1.0))
    rows = np.arange(len(true))
    right = np.broadcast_to(probabilities[rows, true][:, None], probabilities.shape).ravel()
    wrong = probabilities.ravel()
    neither = np.maximum(1 - right - wrong, 0)
    mean = np.empty(len(wrong))
    step = max(1, _CELLS // len(z))
    for start in range(0, len(wrong), step):
        t, d, o = (p[start : start + step, None] for p in (right, wrong, neither))
        mean[start : start + step] = np.exp(orders + xlogy(k_t, t) + xlogy(k_d, d) + xlogy(rest, o)) @ z
    pattern = mean.reshape(probabilities.shape)
    pattern[rows, true] = 0
    return pattern


@dataclass(frozen=True, eq=False)
class Patterns:
    """Sums over distractors of products of two clips' patterns, from which B of any draw of clips follows.

    Parameters
    ----------
    model : ndarray of shape (C, C)
        Model with model.
    shared : ndarray of shape (C, C)
        Model with a half of people; mean over halves.
    people : ndarray of shape (C, C)
        One half with the other; mean over halvings.
    half : ndarray of shape (C, C)
        A half with itself; mean over halves.
    true : ndarray of shape (C,), int
        True genre of each clip.
    """

    model: np.ndarray
    shared: np.ndarray
    people: np.ndarray
    half: np.ndarray
    true: np.ndarray


def usable_clips(n_people: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, int]:
    """Which clips are compared, and how many people stand in a half.

    Parameters
    ----------
    n_people : ndarray of shape (C,), int
        People who judged each clip.
    true : ndarray of shape (C,), int

    Returns
    -------
    keep : ndarray of shape (C,), bool
        Clips that twice ``half`` people judged, of genres with `MIN_CLIPS` such clips.
    half : int
        People per half: the number with which most answers are used (clips times people), of equals the smallest;
        0 where no clip is left.
    """
    best = np.zeros(len(true), dtype=bool)
    half = 0
    for k in range(1, min(int(n_people.max(initial=0)) // 2, MAX_HALF) + 1):
        keep = n_people >= 2 * k
        keep &= np.bincount(true[keep], minlength=true.max() + 1)[true] >= MIN_CLIPS
        if k * keep.sum() > half * best.sum():
            best, half = keep, k
    return best, half


def halvings(responses: Responses, half: int, n_splits: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers of two random halves of the people who judged each clip, one answer per person.

    A person stands in one half only of a clip, so that nobody is compared with themselves. Of several answers of a
    person to a clip one is drawn, anew in every halving: all of them enter the mean over halvings, and a person who
    answered more often counts no more than another.

    Parameters
    ----------
    responses : Responses
        Every clip judged by ``2 * half`` people at least.
    half, n_splits, seed : int

    Returns
    -------
    first, second : ndarray of shape (n_splits, C, G), int
        Counts of answers; ``half`` per clip.
    """
    rng = np.random.default_rng(seed)
    n_clips, n_genres = responses.counts.shape[1:]
    cumulative = responses.counts.cumsum(axis=2)
    total = cumulative[:, :, -1]
    counts = np.zeros((2, n_splits, n_clips, n_genres), dtype=np.int64)
    clip = np.arange(n_clips)
    for s in range(n_splits):
        order = np.argsort(np.where(total > 0, rng.random(total.shape), np.inf), axis=0)[: 2 * half]
        drawn = rng.random(order.shape) * total[order, clip]
        answer = (cumulative[order, clip] <= drawn[..., None]).sum(axis=2)
        chosen = answer[..., None] == np.arange(n_genres)
        counts[:, s] = chosen[:half].sum(axis=0), chosen[half:].sum(axis=0)
    return counts[0], counts[1]


def compare_patterns(responses: Responses, half: int, n_splits: int, *, seed: int) -> Patterns:
    """Products of the patterns of model and people, from which `consistency` follows.

    Parameters
    ----------
    responses : Responses
        Every clip judged by ``2 * half`` people at least.
    half : int
        People per half.
    n_splits : int
        Random halvings of people.
    seed : int
    """
    true = responses.true
    model = expected_pattern(responses.probabilities, true, half)
    n_clips = len(true)
    mean, across, within = np.zeros_like(model), np.zeros((n_clips, n_clips)), np.zeros((n_clips, n_clips))
    for one, other in zip(*halvings(responses, half, n_splits, seed)):
        a, b = hit_pattern(one, true), hit_pattern(other, true)
        mean += (a + b) / 2
        across += a @ b.T
        within += (a @ a.T + b @ b.T) / 2
    return Patterns(
        model=model @ model.T,
        shared=model @ mean.T / n_splits,
        people=across / n_splits,
        half=within / n_splits,
        true=true,
    )


def pair_covariance(products: np.ndarray, true: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum over (genre, distractor) pairs of the products of two patterns less the pair's means.

    Parameters
    ----------
    products : ndarray of shape (C, C)
        Sum over distractors of the product of one pattern's clip and the other's.
    true : ndarray of shape (C,), int
    counts : ndarray of shape (n_draws, C)
        How often each clip stands in each draw.

    Returns
    -------
    ndarray of shape (n_draws,)
        ``sum over pairs of [sum x y - (sum x)(sum y) / n]`` over the clips of the draw.
    """
    total = counts @ np.diag(products)
    for genre in np.unique(true):
        members = true == genre
        w = counts[:, members]
        square = ((w @ products[np.ix_(members, members)]) * w).sum(axis=1)
        total = total - square / np.maximum(w.sum(axis=1), 1)
    return total


def consistency(patterns: Patterns, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Consistency of the model with people in every draw of clips.

    Parameters
    ----------
    patterns : Patterns
    counts : ndarray of shape (n_draws, C)

    Returns
    -------
    value : ndarray of shape (n_draws,)
        ``rho / sqrt(reliability)``; NaN where the reliability is not positive. The model's own reliability is 1: its
        pattern carries no sampling noise.
    rho : ndarray of shape (n_draws,)
        Correlation of the model with a half of people.
    reliability : ndarray of shape (n_draws,)
        Correlation of one half of people with the other.
    """
    model, shared, people, half = (
        pair_covariance(products, patterns.true, counts)
        for products in (patterns.model, patterns.shared, patterns.people, patterns.half)
    )
    missing = np.full(len(counts), np.nan)
    vary = half > _NEARLY_CONSTANT * (counts @ np.diag(patterns.half))
    both = vary & (model > _NEARLY_CONSTANT * (counts @ np.diag(patterns.model)))
    rho = np.divide(shared, np.sqrt(np.maximum(model * half, 0)), out=missing.copy(), where=both)
    reliability = np.divide(people, half, out=missing.copy(), where=vary)
    root = np.sqrt(np.maximum(np.nan_to_num(reliability), 0))
    return np.divide(rho, root, out=missing, where=root > 0), rho, reliability
