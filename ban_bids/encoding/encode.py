"""Fit voxels layer by layer and jointly on training runs; predict the held-out runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ban_bids.constants import DEFAULT_SEED, JOINT
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.choices import FoldChoice, FoldFit, columns
from ban_bids.encoding.design import Design
from ban_bids.encoding.models import Joint, Single
from ban_bids.encoding.ridge.backend import Engine
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.rows import HeldOut, HeldOutRows, Repeats, mean_over_repeats
from ban_bids.settings import Encoding

_WITHOUT_VOXELS = 2**30


@dataclass(frozen=True, eq=False)
class Encoded:
    """What encoding yields for some voxels of one participant.

    Parameters
    ----------
    held_out : HeldOut
        Rows, measured and predicted BOLD.
    alpha : dict of str to ndarray of shape (n_folds, n_voxels), float32
        Penalty chosen, by layer and ``"Joint"``.
    inner : dict of str to ndarray of shape (n_voxels,), float32
        Score over inner folds, averaged over folds, by layer and ``"Joint"``: minus the mean squared error of
        z-scored BOLD. Choose a voxel's best layer by this, never by the held-out rows.
    weights : ndarray of shape (n_folds, n_layers, n_voxels), float32, or None
        Weights of the layers' kernels in the joint model.
    share : dict of str to ndarray of shape (n_voxels,), float64
        Product-measure share of each layer in the joint model's R² (they sum to it).
    unique : dict of str to ndarray of shape (n_voxels,), float64
        The joint model's R² minus that of all layers but this one.
    rsquare : dict of str to ndarray of shape (n_voxels,), float64
        By layer and ``"Joint"``.
    backend : str
        Solver that ran.

    Notes
    -----
    R², shares and unique variance are taken where voxel scores are: over the repeat means where there are
    repeats, else over all scored rows less their mean in each run. NaN in unusable voxels.
    """

    held_out: HeldOut
    alpha: dict[str, np.ndarray]
    inner: dict[str, np.ndarray]
    weights: np.ndarray | None
    share: dict[str, np.ndarray]
    unique: dict[str, np.ndarray]
    rsquare: dict[str, np.ndarray]
    backend: str


def slab_size(design: Design, settings: Encoding, limits: Limits | None = None) -> int:
    """Return how many voxels to encode at a time: ``settings.slab``, fewer where memory asks for it.

    Alive at once where memory peaks: 4 A + 4 arrays of (held-out rows, voxels) with a joint model of A layers,
    one of (training rows, voxels), and coefficients in float64 with what makes them. A process without voxels
    takes less than 1 GiB. What makes a weighting's fit is repeated slab by slab: large slabs pay.
    """
    limits = limits or Limits()
    training = max(len(fold.fold.training) for fold in design.folds)
    coefficients = max(fold.n_coefficients for fold in design.folds)
    arrays = 4 * ((4 * len(design.layers) + 4) * len(design.index) + training)
    room = max(limits.memory // 4, limits.memory - _WITHOUT_VOXELS)
    return int(max(256, min(settings.slab, room // (arrays + 16 * coefficients))))


def compared(values: np.ndarray, rows: HeldOutRows, repeats: Repeats | None) -> np.ndarray:
    """Return held-out values as they are compared: repeat means, or scored rows centred in each run.

    Parameters
    ----------
    values : ndarray of shape (n, n_voxels)
    rows : HeldOutRows
    repeats : Repeats or None

    Returns
    -------
    ndarray of shape (n_unique or n_scored, n_voxels), float32
        Linear in ``values``; columns have mean 0.
    """
    if repeats is not None:
        means = mean_over_repeats(values, repeats)
        return (means - means.mean(axis=0)).astype(np.float32)
    chosen = values[rows.scored]
    run = rows.run[rows.scored]
    for r in np.unique(run):
        chosen[run == r] -= chosen[run == r].mean(axis=0)
    return chosen


def encode(
    data: ParticipantData,
    design: Design,
    settings: Encoding,
    voxels: slice | np.ndarray | None = None,
    joint: bool = True,
    repeats: Repeats | None = None,
    engine: Engine | None = None,
    seed: int = DEFAULT_SEED,
    choices: Sequence[FoldChoice] | None = None,
) -> Encoded:
    """Fit some voxels in every fold and predict all held-out rows.

    Parameters
    ----------
    data : ParticipantData
    design : Design
        Of one model, for this participant.
    settings : Encoding
        ``alphas`` and ``n_band_weights`` are used here.
    voxels : slice or ndarray of int, optional
        Columns of ``data.bold``; all by default.
    joint : bool
        Also fit the layers together, with shares and unique variance; ignored for models of one layer.
    repeats : Repeats, optional
        Where R², shares and unique variance are taken (see `Encoded`).
    engine : Engine, optional
        Solver, from `ban_bids.encoding.ridge.backend.choose_engine`; the closed form by default.
    seed : int
        Of the random part of the grid of layer weights.
    choices : sequence of FoldChoice, optional
        Of all voxels, from `ban_bids.encoding.choices.choose_models` with the same arguments; chosen here by
        default.

    Returns
    -------
    Encoded
        Voxels that are not usable are predicted as 0.
    """
    engine = engine or Engine()
    chosen = np.arange(data.bold.shape[1])[slice(None) if voxels is None else voxels]
    found = _Found(design.layers, joint and len(design.layers) > 1, (len(design.index), len(chosen)))
    for i, fold in enumerate(design.folds):
        picked = None if choices is None else choices[i].of(chosen)
        fit = FoldFit(data, fold, design.layers, chosen, settings, engine, seed, picked)
        for layer in design.layers:
            found.add_single(layer, fold.held_out, fit.single(layer))
        if found.joint:
            whole = found.add_joint(fold.held_out, fit.joint())
            for layer in design.layers:
                found.without[layer][fold.held_out] = fit.without(layer, whole)
    measured = columns(data.bold, design.index, chosen)
    held_out = HeldOut(design.rows, measured, found.prediction, found.specific)
    share, unique, rsquare = _variances(held_out, found.parts, found.without, repeats, data.usable[chosen])
    return Encoded(
        held_out=held_out,
        alpha={name: np.stack(values) for name, values in found.alpha.items()},
        inner={name: np.mean(values, axis=0) for name, values in found.inner.items()},
        weights=np.stack(found.weights) if found.weights else None,
        share=share,
        unique=unique,
        rsquare=rsquare,
        backend=engine.name,
    )


class _Found:
    """What the folds find: predictions of held-out rows, and the choices of each fold.

    The rows that are specific to the clips follow the held-out ones in what a fold predicts.
    """

    def __init__(self, layers: tuple[str, ...], joint: bool, shape: tuple[int, int]) -> None:
        self.joint = joint
        names = (*layers, JOINT) if joint else layers
        self.prediction, self.specific = _zeros(names, shape), _zeros(names, shape)
        self.parts, self.without = (_zeros(layers if joint else (), shape) for _ in range(2))
        self.alpha: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self.inner: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self.weights: list[np.ndarray] = []

    def add_single(self, layer: str, rows: np.ndarray, found: Single) -> None:
        self.prediction[layer][rows] = found.prediction[: len(rows)]
        self.specific[layer][rows] = found.prediction[len(rows) :]
        self.alpha[layer].append(found.alpha)
        self.inner[layer].append(found.inner)

    def add_joint(self, rows: np.ndarray, found: Joint) -> Joint:
        """Take a joint model's predictions; return it with that of held-out rows alone, in one part."""
        self.alpha[JOINT].append(found.alpha)
        self.inner[JOINT].append(found.inner)
        self.weights.append(found.weights)
        for layer, part in found.parts.items():
            self.parts[layer][rows] = part[: len(rows)]
            self.prediction[JOINT][rows] += part[: len(rows)]
            self.specific[JOINT][rows] += part[len(rows) :]
        return replace(found, parts={JOINT: self.prediction[JOINT][rows]})


def _zeros(names: tuple[str, ...], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, dtype=np.float32) for name in names}


def _variances(
    held_out: HeldOut,
    parts: dict[str, np.ndarray],
    without: dict[str, np.ndarray],
    repeats: Repeats | None,
    usable: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return shares, unique variances and R² of every model.

    With y the measured and p = sum of p_a the predicted response, R² = sum(p (2y - p)) / sum(y²), which is
    1 - SSE/SST; layer a's share is sum(p_a (2y - p)) / sum(y²).
    """

    def seen(values: np.ndarray) -> np.ndarray:
        return compared(values, held_out.table, repeats)

    measured = seen(held_out.bold)
    total = np.einsum("ij,ij->j", measured, measured, dtype=np.float64)
    total = np.where(usable & (total > 0), total, np.nan)

    def explained(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ij->j", part, 2 * measured - whole, dtype=np.float64) / total

    def rsquare(values: np.ndarray) -> np.ndarray:
        predicted = seen(values)
        return explained(predicted, predicted)

    scores = {name: rsquare(values) for name, values in held_out.prediction.items()}
    if not parts:
        return {}, {}, scores
    together = seen(held_out.prediction[JOINT])
    share = {layer: explained(seen(part), together) for layer, part in parts.items()}
    unique = {layer: scores[JOINT] - rsquare(rest) for layer, rest in without.items()}
    return share, unique, scores
