#!/usr/bin/env python3
"""Make what plants the demo's responses: the teacher's weights, and the directions of its areas that are their own.

    python tools/make_demo_teacher.py [OUT] [--references 6] [--nprocs 2]

All networks are BAN, trained as the demo trains its own, on synthesised tracks of a seed that no demo has. Directions
are chosen among the teacher's own components: those that the references (networks of other seeds) predict well from
the same area, and badly from their other areas. Written: ``teacher.safetensors`` and ``planted.npz``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from ban_bids.constants import REGIONS
from ban_bids.demo.build import listen_to, make_music
from ban_bids.demo.networks import TrainingJob, train_network, workers
from ban_bids.demo.plan import SIZES
from ban_bids.demo.planting import DATA, DIRECTIONS, TEACHER, Excerpt, Listening, Planted
from ban_bids.files.npz import write_arrays
from ban_bids.typing import Floats

SEED = 700_100
"""Of music and networks."""

N_COMPONENTS = 4
_SELECTION_BINS = 3
_CANDIDATES = 80
_PREDICTORS = 64
_FOLDS = 9
_RIDGE = 1e-2
_ROUNDS = 15
_OWN = 1.3


def main() -> None:
    """Train, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=DATA)
    parser.add_argument("--references", type=int, default=6)
    parser.add_argument("--nprocs", type=int, default=2)
    given = parser.parse_args()
    size = SIZES["full"]
    with tempfile.TemporaryDirectory() as folder, workers(given.nprocs) as pool:
        root = Path(folder)
        music = make_music(root, size, SEED, pool)
        jobs = [
            TrainingJob(root / "genres", root / f"{k}.safetensors", SEED + k, size.epochs)
            for k in range(1 + given.references)
        ]
        weights = list(pool.map(train_network, jobs))
        starts = (size.start, size.start + size.clip, size.genre_seconds - size.clip - size.start)
        excerpts = [Excerpt(path, size.start, size.clip) for path in music.stimuli]
        excerpts += [Excerpt(path, start, size.clip) for path in music.training for start in starts]
        heard = [one for one, _ in pool.map(listen_to, weights, [excerpts] * len(weights), [()] * len(weights))]
        planted = choose(heard[0], heard[1:], N_COMPONENTS)
        given.out.mkdir(exist_ok=True)
        (given.out / TEACHER.name).write_bytes(weights[0].read_bytes())
    arrays = {}
    for area, own in planted.items():
        arrays |= {f"{area}/mean": own.mean, f"{area}/directions": own.directions}
    write_arrays(given.out / DIRECTIONS.name, arrays)


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


def choose(teacher: Listening, references: Sequence[Listening], count: int) -> dict[str, Planted]:
    """Choose each area's directions.

    Parameters
    ----------
    teacher : Listening
    references : sequence of Listening
        To the same excerpts; what they leave unexplained is averaged.
    count : int
        Directions per area.
    """
    return {area: _choose(area, teacher, references, count) for area in REGIONS}


def _choose(area: str, teacher: Listening, references: Sequence[Listening], count: int) -> Planted:
    rows = _rows(teacher.features[area])
    mean, axes = rows.mean(axis=0), _axes(rows, _CANDIDATES)
    # square root: small components may be chosen, but at a price
    axes /= np.sqrt(np.maximum(((rows - mean) @ axes).std(axis=0), 1e-9))
    candidates = (rows - mean) @ axes
    n_excerpts = teacher.features[area].shape[0]
    group = np.repeat(np.arange(n_excerpts), len(candidates) // n_excerpts)
    left = {
        name: sum(_unexplained(_predictors(one, name), candidates, group) for one in references) / len(references)
        for name in REGIONS
    }
    rivals = [left[name] for name in REGIONS if name != area]
    directions = specific_directions(candidates.T @ candidates, left[area], rivals, count)
    return Planted(mean, axes @ directions)


if __name__ == "__main__":
    main()
