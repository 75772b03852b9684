"""Linear probes: what can be read from a layer by a linear map, on recordings that took no part in fitting it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ban_bids.errors import NotComputable
from ban_bids.models.low_level import LinearReadout
from ban_bids.training.code_measures.ridge import cross_validated
from ban_bids.training.code_measures.sounds import HeldOutSounds
from ban_bids.training.low_level import fit_linear
from ban_bids.training.readout import PENALTIES, balanced_weights, inner_folds
from ban_bids.training.scores import Answers, score

CONTOURS = ("modulation", "loudness", "pitch")
"""What is read frame by frame."""

MIN_RECORDINGS = 3
"""Recordings that a class needs: one each to be answered, to choose the penalty by, and to fit on."""

_SMALLEST = 1e-12


@dataclass(frozen=True)
class Probe:
    """What is read from a layer, and how well.

    Parameters
    ----------
    target : str
        One of :data:`CONTOURS`, or a task that labels the sounds.
    measure : str
        ``R2`` (out of sample, mean over the targets that vary) or ``accuracy`` (share of sounds).
    value : float
        On recordings that took no part; missing where it cannot be computed.
    interval : (float, float)
        95 % bootstrap interval over recordings (accuracy: over sounds).
    chance : float
        0 for R²; the share of the most frequent class for accuracy.
    n_recordings, n_rows : int
        That were answered.
    reason : str
        Why it is missing, or classes that were left out.
    """

    target: str
    measure: str
    value: float = np.nan
    interval: tuple[float, float] = (np.nan, np.nan)
    chance: float = np.nan
    n_recordings: int = 0
    n_rows: int = 0
    reason: str = ""


def probe_layer(frames: np.ndarray, pooled: np.ndarray, held_out: HeldOutSounds) -> list[Probe]:
    """Read everything from one layer.

    Parameters
    ----------
    frames : ndarray, (n_rows, n_features)
        The layer in the common frames that were drawn.
    pooled : ndarray, (n_sounds, 2 · n_features)
        Mean and standard deviation over all frames of each sound.
    held_out : HeldOutSounds

    Returns
    -------
    list of Probe
        One per contour and per task that labels any sound.
    """
    tasks = sorted({task for sound in held_out.sounds for task in sound.labels})

    def contour(name: str) -> Probe:
        return regression(name, frames, held_out.targets[name], held_out.row_recordings, seed=held_out.seed)

    def task(name: str) -> Probe:
        labels = [sound.labels.get(name) for sound in held_out.sounds]
        return classification(name, pooled, labels, held_out.recordings, seed=held_out.seed)

    return [_or_reason(name, "R2", contour) for name in CONTOURS] + [
        _or_reason(name, "accuracy", task) for name in tasks
    ]


def _or_reason(target: str, measure: str, compute: Callable[[str], Probe]) -> Probe:
    try:
        return compute(target)
    except NotComputable as reason:
        return Probe(target, measure, reason=str(reason))


def regression(name: str, frames: np.ndarray, targets: np.ndarray, recordings: np.ndarray, *, seed: int) -> Probe:
    """Read targets frame by frame, see :func:`~ban_bids.training.code_measures.ridge.cross_validated`.

    Parameters
    ----------
    name : str
    frames : ndarray, (n_rows, n_features)
    targets : ndarray, (n_rows, n_targets)
        Rows where one is missing are left out.
    recordings : ndarray of int, (n_rows,)
    seed : int

    Raises
    ------
    NotComputable
        Too few recordings or frames, or layer or targets are constant.
    """
    known = np.isfinite(targets).all(axis=1)
    answered = cross_validated(frames[known].astype(np.float64), targets[known], recordings[known], seed=seed)
    r2 = answered.mean_r2(seed)
    n_recordings = len(np.unique(recordings[known]))
    return Probe(name, "R2", r2.value, r2.interval, 0.0, n_recordings, answered.n_rows)


def classification(
    name: str, pooled: np.ndarray, labels: Sequence[str | None], recordings: np.ndarray, *, seed: int
) -> Probe:
    """Read a task's classes from time-pooled activations by logistic regression.

    Parameters
    ----------
    name : str
    pooled : ndarray, (n_sounds, n_statistics)
    labels : sequence of str or None
        None: the task does not know the sound, which is left out.
    recordings : ndarray of int, (n_sounds,)
        Sounds of one recording are never on both sides of a fold.
    seed : int

    Returns
    -------
    Probe

    Raises
    ------
    NotComputable
        Fewer than two classes have :data:`MIN_RECORDINGS` recordings, or no fold without one of them can be made.

    Notes
    -----
    The penalty of the fit that answers a fold is chosen on the other folds only: by the answers, to each of them, of
    fits that heard neither.
    """
    pairs = {(label, recording) for label, recording in zip(labels, recordings.tolist()) if label is not None}
    counts = Counter(label for label, _ in pairs)
    classes = sorted(label for label, n in counts.items() if n >= MIN_RECORDINGS)
    if len(classes) < 2:
        raise NotComputable(
            f"{len(classes)} classes have {MIN_RECORDINGS} recordings; it takes two "
            f"({', '.join(f'{label} {n}' for label, n in sorted(counts.items())[:12])})"
        )
    used = np.array([label in classes for label in labels])
    truth = np.array([classes.index(label) for label in labels if label in classes])
    x, groups = pooled[used].astype(np.float64), recordings[used]
    if not (x.std(axis=0) > 0).any():
        raise NotComputable("the layer is constant")
    probabilities = nested_probabilities(x, truth, groups, seed=seed)
    accuracy = score(Answers(truth, list(probabilities[:, None])), seed=seed).track_accuracy
    left_out = sorted(set(counts) - set(classes))
    return Probe(
        name, "accuracy", accuracy.value, accuracy.interval, float(np.bincount(truth).max() / len(truth)),
        len(np.unique(groups)), len(truth),
        f"without classes of under {MIN_RECORDINGS} recordings: {', '.join(left_out)}" if left_out else "",
    )  # fmt: skip


def nested_probabilities(x: np.ndarray, truth: np.ndarray, recordings: np.ndarray, *, seed: int) -> np.ndarray:
    """Probabilities of every row's classes from fits that did not hear its fold, (n_rows, n_classes).

    Raises
    ------
    NotComputable
        Without two folds a class is missing.
    """
    fold = inner_folds(truth, recordings, seed)
    weights = balanced_weights(truth, recordings)
    losses: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(len(PENALTIES)))

    def fitted(out: Sequence[int], penalty: float) -> LinearReadout:
        train = ~np.isin(fold, out)
        if len(np.unique(truth[train])) <= truth.max():
            raise NotComputable("recordings that hold several classes leave none of a class to fit on")
        own = balanced_weights(truth[train], recordings[train])
        return fit_linear(x[train], truth[train], penalty=penalty, weights=own)

    for pair in combinations(np.unique(fold).tolist(), 2):
        for place, penalty in enumerate(PENALTIES):
            readout = fitted(pair, penalty)
            for held, other in (pair, pair[::-1]):
                rows = np.flatnonzero(fold == held)
                right = readout.probabilities(x[rows])[np.arange(len(rows)), truth[rows]]
                losses[other][place] -= np.log(np.maximum(right, _SMALLEST)) @ weights[rows]
    probabilities = np.empty((len(truth), truth.max() + 1))
    for held, loss in losses.items():
        probabilities[fold == held] = fitted([held], PENALTIES[int(loss.argmin())]).probabilities(x[fold == held])
    return probabilities
