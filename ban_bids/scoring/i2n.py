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

People differ (one says *pop* more often than another), so that halves are halves of *people*: nobody stands in both,
on whatever clips. And other people would give another score: `person_effects` says by how much each of these moves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtri, xlogy

from ban_bids.scoring.responses import Responses

MIN_CLIPS = 2
"""Clips that a genre needs: with one, a (genre, distractor) pair's mean leaves nothing."""

MAX_HALF = 50
"""Answers per half and clip at most: more take time and change little, for all answers enter over many halvings."""

_NEARLY_CONSTANT = 1e-12
"""Variance that rounding could make, relative to the sum of squares, and to one z squared per clip: where a model
answers all genres alike its pattern is 0 but for rounding."""

_CELLS = 2_000_000


def hit_pattern(counts: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Two-way hit rate, as z, of every clip against every distractor.

    Parameters
    ----------
    counts : ndarray of shape (..., C, G)
        Answers to each clip.
    true : ndarray of shape (C,), int

    Returns
    -------
    ndarray of shape (..., C, G)
        ``z[(k_t + 1/2) / (k_t + k_d + 1)]``; 0 at the true genre, where nothing is compared.
    """
    rows = np.arange(len(true))
    right = counts[..., rows, true][..., None]
    pattern = ndtri((right + 0.5) / (right + counts + 1.0))
    pattern[..., rows, true] = 0
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
        One half with the other; of two clips, the mean over the halvings in which nobody stands in both halves.
    half : ndarray of shape (C, C)
        A half with itself; mean over halves.
    true : ndarray of shape (C,), int
        True genre of each clip.
    shared_effects, people_effects : ndarray of shape (P, C)
        By how much a person's answers to a clip move ``shared`` and ``people`` (both summed up by `pair_covariance`),
        on the scale of a mean over people of one number each, relative to the others; see `person_effects`.
    """

    model: np.ndarray
    shared: np.ndarray
    people: np.ndarray
    half: np.ndarray
    true: np.ndarray
    shared_effects: np.ndarray
    people_effects: np.ndarray


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


@dataclass(frozen=True, eq=False)
class Halving:
    """Two halves of the people who judged each clip, one answer each.

    Parameters
    ----------
    person : ndarray of shape (2, half, C), int
        Who answered.
    answer : ndarray of shape (2, half, C), int
        Index of the genre.
    n_genres : int
    """

    person: np.ndarray
    answer: np.ndarray
    n_genres: int

    @property
    def chosen(self) -> np.ndarray:
        """Answers as indicators: (2, half, C, G), int."""
        return (self.answer[..., None] == np.arange(self.n_genres)).astype(np.int64)

    def apart(self, n_people: int) -> np.ndarray:
        """Of which clips (of the first half, of the second) nobody stands in both halves: (C, C), bool."""
        there = np.zeros((2, n_people, self.person.shape[2]), dtype=np.float32)
        for member in np.moveaxis(self.person, 1, 0):
            for own, people in zip(there, member, strict=True):
                own[people, np.arange(people.size)] = 1
        return there[0].T @ there[1] == 0


def halvings(responses: Responses, half: int, n_splits: int, seed: int) -> Iterator[Halving]:
    """Halve people at random, again and again.

    People stand in a random order; of those who judged a clip the first are one half and the last the other. Where
    everybody judged everything, halves are the same people for all clips. Of several answers of a person to a clip
    one is drawn, anew in every halving: all of them enter the mean over halvings, and a person who answered more often
    counts no more than another.

    Parameters
    ----------
    responses : Responses
        Every clip judged by ``2 * half`` people at least.
    half, n_splits, seed : int

    Yields
    ------
    Halving
    """
    rng = np.random.default_rng(seed)
    n_people, n_clips, n_genres = responses.counts.shape
    cumulative = responses.counts.cumsum(axis=2)
    total = cumulative[:, :, -1]
    n_judges = (total > 0).sum(axis=0)
    clip = np.arange(n_clips)
    places = np.stack([np.tile(np.arange(half)[:, None], n_clips), n_judges - 1 - np.arange(half)[:, None]])
    for _ in range(n_splits):
        order = np.argsort(np.where(total > 0, rng.permutation(n_people)[:, None], n_people), axis=0)
        person = order[places, clip]
        drawn = rng.random(person.shape) * total[person, clip]
        yield Halving(person, (cumulative[person, clip] <= drawn[..., None]).sum(axis=3), n_genres)


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
    n_people, n_clips, _ = responses.counts.shape
    model = expected_pattern(responses.probabilities, true, half)
    mean, within = np.zeros_like(model), np.zeros((n_clips, n_clips))
    across, n_apart, always = (np.zeros((n_clips, n_clips)) for _ in range(3))
    parts = Parts.of(responses.counts.shape)
    for halving in halvings(responses, half, n_splits, seed):
        a, b = hit_pattern(halving.chosen.sum(axis=1), true)
        products, apart = a @ b.T, halving.apart(n_people)
        mean += (a + b) / 2
        across += np.where(apart, products, 0)
        n_apart += apart
        always += products
        within += (a @ a.T + b @ b.T) / 2
        parts.add(halving, np.stack([a, b]), true)
    return Patterns(
        model=model @ model.T,
        shared=model @ mean.T / n_splits,
        people=np.where(n_apart > 0, across / np.maximum(n_apart, 1), always / n_splits),
        half=within / n_splits,
        true=true,
        shared_effects=parts.effects(centred(model, true), half, true),
        people_effects=2 * parts.effects(None, half, true),
    )


def centred(pattern: np.ndarray, true: np.ndarray) -> np.ndarray:
    """A pattern (C, G) less the mean of each (genre, distractor) pair."""
    result = pattern.copy()
    for genre in np.unique(true):
        result[true == genre] -= pattern[true == genre].mean(axis=0)
    return result


@dataclass(frozen=True, eq=False)
class Parts:
    """What each person does to the pattern of a half, and what the other half shows meanwhile; sums over halvings.

    Parameters
    ----------
    own, others : ndarray of shape (P, C, G)
        What the half's pattern loses without the person's answer; the other half's pattern.
    n_there : ndarray of shape (P, C)
        Halvings in which the person stood in a half.
    """

    own: np.ndarray
    others: np.ndarray
    n_there: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Parts:
        """Nothing yet, of P people, C clips and G genres."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape[:2]))

    def add(self, halving: Halving, patterns: np.ndarray, true: np.ndarray) -> None:
        """Add a halving with the patterns (2, C, G) of its halves."""
        clip = np.arange(len(true))
        for k, (chosen, people) in enumerate(zip(halving.chosen, halving.person, strict=True)):
            # a person stands once in a half of a clip: no index comes twice
            self.own[people, clip] += patterns[k] - hit_pattern(chosen.sum(axis=0) - chosen, true)
            self.others[people, clip] += patterns[1 - k]
            self.n_there[people, clip] += 1

    def effects(self, partner: np.ndarray | None, half: int, true: np.ndarray) -> np.ndarray:
        """Effect of each person on the product with ``partner`` (of the other half where None): (P, C).

        Relative to the others who judged the clip, and on the scale of a mean over people; 0 for who did not judge it.
        """
        there = self.n_there > 0
        n_people, n_judges = len(there), there.sum(axis=0)
        own, others = (part / np.maximum(self.n_there, 1)[..., None] for part in (self.own, self.others))
        own, others = (_centred_where(part, there, true) for part in (own, others))
        effects = (own * (others if partner is None else partner)).sum(axis=2)
        effects = np.where(there, effects - effects.sum(axis=0) / n_judges, 0)
        # where k - 1 others share the half, a person is seen against a mean that lacks them: N / (N - 1) too far apart
        return effects * half * (1 - (half - 1) / (half * n_judges)) * (n_people / n_judges)


def _centred_where(patterns: np.ndarray, there: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Each person's pattern (P, C, G) less the mean of each (genre, distractor) pair over the person's own clips."""
    result = np.where(there[..., None], patterns, 0)
    for genre in np.unique(true):
        members = true == genre
        n = np.maximum(there[:, members].sum(axis=1), 1)[:, None, None]
        result[:, members] -= result[:, members].sum(axis=1, keepdims=True) / n
    return np.where(there[..., None], result, 0)


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
    vary, model_varies = (
        varied > _NEARLY_CONSTANT * (counts @ (1 + np.diag(products)))
        for varied, products in ((half, patterns.half), (model, patterns.model))
    )
    both = vary & model_varies
    rho = np.divide(shared, np.sqrt(np.maximum(model * half, 0)), out=missing.copy(), where=both)
    reliability = np.divide(people, half, out=missing.copy(), where=vary)
    root = np.sqrt(np.maximum(np.nan_to_num(reliability), 0))
    return np.divide(rho, root, out=missing, where=root > 0), rho, reliability


def person_effects(patterns: Patterns, value: float) -> np.ndarray:
    """By how much each person's answers to each clip move B, relative to the other people's.

    Parameters
    ----------
    patterns : Patterns
    value : float
        B.

    Returns
    -------
    ndarray of shape (P, C)
        First-order effects (Hajek projections, as in an infinitesimal jackknife; Efron 2014, *J. Am. Stat. Assoc.*
        109:991): B plus the sum of a row is a number per person, whose mean over people is B and whose standard
        error over people is that of B. B = shared / sqrt(model people), so that an effect is
        ``shared_effect / sqrt(model people) - B people_effect / (2 people)``.
    """
    every = np.ones((1, len(patterns.true)))
    model, people = (pair_covariance(p, patterns.true, every)[0] for p in (patterns.model, patterns.people))
    return patterns.shared_effects / np.sqrt(model * people) - value * patterns.people_effects / (2 * people)
