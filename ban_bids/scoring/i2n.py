"""I2n: does the model find the same clips hard, against the same distractors, as people do?

The metric is the image-level signature of Rajalingham et al. (2018, *J. Neurosci.* 38:7255) carried over from
two-way image choices to clips and to choices among all genres. Reconstruction, where the source is silent:
the two-way rate of people for clip i of genre t against distractor d is taken from the answers t and d alone,
``(k_t + 1/2) / (k_t + k_d + 1)``; the model's is ``p_t / (p_t + p_d)``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from ban_bids.scoring.responses import Responses

MIN_CLIPS = 2
"""Clips that a genre needs: with one, a (genre, distractor) pair's mean leaves nothing."""


def human_rates(counts: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Two-way rate of the right answer of every clip against every distractor.

    Parameters
    ----------
    counts : ndarray of shape (..., C, G)
        Answers pooled over people.
    true : ndarray of shape (C,), int

    Returns
    -------
    ndarray of shape (..., C, G)
        ``(k_t + 1/2) / (k_t + k_d + 1)``; NaN at the true genre.
    """
    right = np.take_along_axis(counts, np.broadcast_to(true[:, None], (*counts.shape[:-1], 1)), axis=-1)
    return _without_true((right + 0.5) / (right + counts + 1.0), true)


def model_rates(probabilities: np.ndarray, true: np.ndarray, n_answers: np.ndarray) -> np.ndarray:
    """Two-way rate of a model, limited to what people with ``n_answers`` answers to a clip can reach.

    The limits ``[1/2 / (n + 1), (n + 1/2) / (n + 1)]`` use the number of answers to the clip, never how
    many of them were t or d: that would carry people's choices into the model's pattern.

    Parameters
    ----------
    probabilities : ndarray of shape (C, G)
    true : ndarray of shape (C,), int
    n_answers : ndarray of shape (C,)

    Returns
    -------
    ndarray of shape (C, G)
        NaN at the true genre.
    """
    right = np.take_along_axis(probabilities, true[:, None], axis=1)
    total = right + probabilities
    rates = np.divide(right, total, out=np.full_like(total, 0.5), where=total > 0)
    n = n_answers[:, None]
    return _without_true(np.clip(rates, 0.5 / (n + 1), (n + 0.5) / (n + 1)), true)


def _without_true(rates: np.ndarray, true: np.ndarray) -> np.ndarray:
    out = np.array(rates, dtype=float)
    out[..., np.arange(len(true)), true] = np.nan
    return out


def d_prime(rates: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Sensitivity of every clip against every distractor.

    ``d'(i, d) = z(hit rate of i) - z(false-alarm rate of t against d)``; the false-alarm rate is how often
    clips of genre d are called t rather than d, averaged over those clips. It is one number for a pair
    (t, d) and so drops out again where the mean of the pair is subtracted.

    Parameters
    ----------
    rates : ndarray of shape (C, G)
        Two-way hit rates.
    true : ndarray of shape (C,), int

    Returns
    -------
    ndarray of shape (C, G)
        NaN at the true genre and for distractors without a clip of their own.
    """
    n_genres = rates.shape[1]
    false_alarm = np.full((n_genres, n_genres), np.nan)
    for d in np.unique(true):
        others = np.arange(n_genres) != d
        false_alarm[others, d] = (1 - rates[true == d][:, others]).mean(axis=0)
    return ndtri(rates) - ndtri(false_alarm[true])


def pair_covariance(x: np.ndarray, y: np.ndarray, true: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum of products of two patterns less the mean of each (true genre, distractor) pair.

    Parameters
    ----------
    x, y : ndarray of shape (C, G)
        d' of clips against distractors; columns that are NaN for a genre's clips are left out.
    true : ndarray of shape (C,), int
    counts : ndarray of shape (n_draws, C)
        How often each clip stands in each draw.

    Returns
    -------
    ndarray of shape (n_draws,)
        ``sum over pairs of [sum x y - (sum x)(sum y) / n]`` over the clips of the draw.
    """
    total = np.zeros(len(counts))
    for genre in np.unique(true):
        members = true == genre
        a, b, w = x[members], y[members], counts[:, members]
        defined = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
        a, b = a[:, defined], b[:, defined]
        n = np.maximum(w.sum(axis=1), 1)[:, None]
        total += (w @ (a * b) - (w @ a) * (w @ b) / n).sum(axis=1)
    return total


def pair_correlation(x: np.ndarray, y: np.ndarray, true: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Correlation of two patterns, each less its pair means, in every draw of clips: (n_draws,)."""
    xy, xx, yy = (pair_covariance(a, b, true, counts) for a, b in ((x, y), (x, x), (y, y)))
    scale = np.sqrt(np.maximum(xx, 0) * np.maximum(yy, 0))
    return np.divide(xy, scale, out=np.full(len(xy), np.nan), where=scale > 1e-9)


def split_halves(responses: Responses, n_splits: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pool each clip's answers over two random halves of the people who heard it.

    A person's answers to a clip stay in one half, so that nobody is compared with themselves.

    Returns
    -------
    first, second : ndarray of shape (n_splits, C, G)
        Counts of answers.
    """
    rng = np.random.default_rng(seed)
    n_people, n_clips = responses.heard.shape
    first = np.empty((n_splits, n_clips, responses.counts.shape[2]))
    for s in range(n_splits):
        keys = np.where(responses.heard, rng.random((n_people, n_clips)), np.inf)
        rank = np.argsort(np.argsort(keys, axis=0), axis=0)
        chosen = (rank + rng.integers(0, 2, n_clips)) % 2 == 0
        first[s] = np.einsum("pc,pcg->cg", chosen & responses.heard, responses.counts)
    return first, responses.counts.sum(axis=0) - first


def consistency(
    responses: Responses, counts: np.ndarray, n_splits: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Consistency of the model with people in every draw of clips.

    Parameters
    ----------
    responses : Responses
        Every clip heard by two people at least, every genre with two clips at least.
    counts : ndarray of shape (n_draws, C)
    n_splits : int
        Random halvings of people.
    seed : int

    Returns
    -------
    value : ndarray of shape (n_draws,)
        ``rho(model, people) / sqrt(rho_mm * rho_pp)``; NaN where ``rho_pp`` is not positive. ``rho_mm`` is 1:
        the softmax rates of a deterministic model carry no sampling noise.
    rho : ndarray of shape (n_draws,)
        Correlation before correction.
    reliability : ndarray of shape (n_draws,)
        ``rho_pp``: mean split-half correlation r, corrected to full length, 2r / (1 + r) (Spearman-Brown).
    """
    true = responses.true
    pooled = responses.counts.sum(axis=0)
    n_answers = np.einsum("pcg->c", responses.counts)
    people = d_prime(human_rates(pooled, true), true)
    model = d_prime(model_rates(responses.probabilities, true, n_answers), true)
    rho = pair_correlation(model, people, true, counts)
    halves = np.zeros(len(counts))
    defined = np.zeros(len(counts))
    for one, other in zip(*split_halves(responses, n_splits, seed)):
        a, b = (d_prime(human_rates(half, true), true) for half in (one, other))
        r = pair_correlation(a, b, true, counts)
        halves += np.nan_to_num(r)
        defined += np.isfinite(r)
    half = np.divide(halves, defined, out=np.full(len(halves), np.nan), where=defined > 0)
    reliability = 2 * half / (1 + half)
    with np.errstate(invalid="ignore"):
        positive = reliability > 0
    value = np.divide(
        rho,
        np.sqrt(reliability, where=positive, out=np.ones_like(rho)),
        where=positive,
        out=np.full_like(rho, np.nan),
    )
    return value, rho, reliability
