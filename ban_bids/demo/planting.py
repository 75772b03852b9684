"""Which of a teacher's features are planted: those that are an area's own, whatever a network's seed.

Neighbouring areas of one network carry much the same information about slow responses, and two networks
of different seeds agree on the leading components of every area. Components are therefore chosen, among the
teacher's own, that a *reference* network (a third seed, never scored) predicts well from the same area and
badly from its other areas and (PB, T2/T3) from an untrained network's area. The network that is scored has
no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from ban_bids.audio.waveforms import HeardClip, load_waveform
from ban_bids.constants import REGIONS, SAMPLING_RATE
from ban_bids.demo.responses import Courses
from ban_bids.models.candidate import Candidate
from ban_bids.typing import Floats

COARSE = 0.5
"""Step in which features are averaged before anything else, seconds: blood is too slow for less."""

N_COMPONENTS = 2
_SELECTION_BINS = 3
_CANDIDATES = 80
_PREDICTORS = 64
_FOLDS = 9
_RIDGE = 1e-2
_ROUNDS = 15
_OWN = 1.3
_UNTRAINED_MARGIN = 0.1
_CHANGED_BY_TRAINING = ("PB", "T2T3")


@dataclass(frozen=True)
class Excerpt:
    """A piece of audio that a network listens to: file, start and duration in seconds."""

    audio: Path
    start: float
    duration: float


@dataclass(frozen=True)
class Listening:
    """What a network makes of some excerpts of equal length.

    Parameters
    ----------
    features : dict of str to ndarray of float32, shape (n_excerpts, n_bins, n_features)
        Area to features, averaged over half-second bins.
    silence : dict of str to ndarray, shape (n_features,)
        Area to features of silence.
    """

    features: Mapping[str, npt.NDArray[np.float32]]
    silence: Mapping[str, npt.NDArray[np.float32]]


def listen(model: Candidate, excerpts: Sequence[Excerpt]) -> Listening:
    """Let a network listen to excerpts, and to three seconds of silence.

    Parameters
    ----------
    model : Candidate
        Any model with the four areas.
    excerpts : sequence of Excerpt
        All of one duration.

    Returns
    -------
    Listening
    """
    bins: dict[str, list[npt.NDArray[np.float32]]] = {area: [] for area in REGIONS}
    for excerpt in excerpts:
        wave = load_waveform(excerpt.audio, excerpt.start, excerpt.duration)
        for area, frames in model.features([HeardClip(None, SAMPLING_RATE, wave)])[0].items():
            count = round(excerpt.duration / COARSE)
            edges = np.linspace(0, frames.shape[0], count + 1).astype(int)
            means = np.add.reduceat(frames, edges[:-1], axis=0) / np.diff(edges)[:, None]
            bins[area].append(means.astype(np.float32))
    quiet = model.features([HeardClip.silence(3.0, SAMPLING_RATE)])[0]
    return Listening(
        {area: np.stack(values).astype(np.float32) for area, values in bins.items()},
        {area: quiet[area][-1] for area in REGIONS},
    )


def _rows(features: npt.NDArray[np.float32]) -> Floats:
    """Features in bins of 1.5 s, all excerpts below each other, shape (rows, features)."""
    n, bins, width = features.shape
    slow = features.reshape(n, bins // _SELECTION_BINS, _SELECTION_BINS, width).mean(axis=2)
    return slow.reshape(-1, width).astype(float)


def _axes(rows: Floats, count: int) -> Floats:
    """Leading principal axes (features, count) of z-scored columns, to be applied to centred ones."""
    deviation = rows.std(axis=0)
    deviation[deviation < 1e-6] = np.inf
    scaled = (rows - rows.mean(axis=0)) / deviation
    return np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1][:, :count] / deviation[:, None]


def _predictors(listening: Listening, area: str) -> Floats:
    """Principal scores of an area, as many as an analysis would take."""
    rows = _rows(listening.features[area])
    return (rows - rows.mean(axis=0)) @ _axes(rows, _PREDICTORS)


def _unexplained(predictors: Floats, targets: Floats, group: npt.NDArray[np.int_]) -> Floats:
    """Residual scatter (targets × targets) of ridge predictions on excerpts that were left out of the fit."""
    predictors = predictors / np.sqrt(np.mean(np.sum(predictors**2, axis=1)))
    residual = np.empty_like(targets)
    for fold in range(_FOLDS):
        fit, test = group % _FOLDS != fold, group % _FOLDS == fold
        known = predictors[fit]
        gram = known.T @ known / len(known) + _RIDGE * np.eye(known.shape[1])
        weights = np.linalg.solve(gram, known.T @ targets[fit] / len(known))
        residual[test] = targets[test] - predictors[test] @ weights
    return residual.T @ residual


def specific_directions(total: Floats, own: Floats, rivals: Sequence[Floats], count: int) -> Floats:
    """Directions that ``own`` explains and even the best of the rivals does not.

    Solves ``max_V min_b tr V'(R_b − R_own)V / V'TV`` by multiplicative weights over the rivals b, each round
    a generalised eigenproblem.

    Parameters
    ----------
    total : ndarray, shape (n, n)
        Scatter T of the candidates.
    own : ndarray, shape (n, n)
        Residual scatter R_own when predicted from the same area.
    rivals : sequence of ndarray, shape (n, n)
        Residual scatters R_b when predicted from elsewhere.
    count : int
        Directions wanted.

    Returns
    -------
    ndarray, shape (n, count)
    """
    steady = total + 0.02 * np.trace(total) / len(total) * np.eye(len(total))
    score = np.zeros(len(rivals))
    directions = np.empty((len(total), count))
    for _ in range(_ROUNDS):
        weight = np.exp(score - score.max())
        weight /= weight.sum()
        gain = sum((w * rival for w, rival in zip(weight, rivals)), start=-_OWN * own)
        directions = eigh(gain, steady)[1][:, ::-1][:, :count]
        power = np.einsum("ij,ik,kj->j", directions, total, directions)
        for index, rival in enumerate(rivals):
            margin = np.einsum("ij,ik,kj->j", directions, rival - own, directions) / power
            score[index] -= 8 / 3 * margin.mean()
    return directions


def plant(
    teacher: Listening,
    reference: Listening,
    untrained: Listening,
    n_stimuli: int,
    n_components: int = N_COMPONENTS,
) -> Courses:
    """Choose each area's components and follow them through the stimuli.

    Parameters
    ----------
    teacher, reference, untrained : Listening
        Three networks on the same excerpts; the first ``n_stimuli`` are the clips of the experiment.
    n_stimuli : int
        Clips of the experiment.
    n_components : int
        Components planted an area.

    Returns
    -------
    Courses
        Components of unit variance over the stimuli.
    """
    clips, silence = {}, {}
    for area in REGIONS:
        rows = _rows(teacher.features[area])
        axes = _axes(rows, _CANDIDATES)
        mean = rows.mean(axis=0)
        # Square root: small components may be chosen, but at a price.
        axes /= np.sqrt(np.maximum(((rows - mean) @ axes).std(axis=0), 1e-9))
        candidates = (rows - mean) @ axes
        axes = axes @ _choose(area, candidates, reference, untrained, n_components)
        heard = (teacher.features[area][:n_stimuli] - mean) @ axes
        spread = heard.std(axis=(0, 1))
        clips[area] = list((heard - heard.mean(axis=(0, 1))) / spread)
        quiet = (teacher.silence[area] - mean) @ axes - heard.mean(axis=(0, 1))
        # Silence is far from any music: unbounded, it would be the only thing that drives a voxel.
        silence[area] = np.clip(quiet / spread, -1, 1)
    return Courses(clips, silence, COARSE)


def _choose(area: str, candidates: Floats, reference: Listening, untrained: Listening, count: int) -> Floats:
    """Directions among the candidates that are an area's own, shape (candidates, count)."""
    n_excerpts = reference.features[area].shape[0]
    group = np.repeat(np.arange(n_excerpts), len(candidates) // n_excerpts)
    total = candidates.T @ candidates
    left = {name: _unexplained(_predictors(reference, name), candidates, group) for name in REGIONS}
    rivals = [left[name] for name in REGIONS if name != area]
    if area in _CHANGED_BY_TRAINING:  # training hardly touches what the first two areas say of slow responses
        naive = _unexplained(_predictors(untrained, area), candidates, group)
        # The untrained network has to be worse by less, or nothing would be left to plant.
        rivals.append(naive + _UNTRAINED_MARGIN * total)
    return specific_directions(total, left[area], rivals, count)
