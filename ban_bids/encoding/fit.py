"""Fit voxels layer by layer and jointly on the training rows of every fold; predict the held-out rows.

A decomposition serves every voxel, while predictions take memory in each: weights and penalties are chosen for
as many voxels as memory allows (`choose_models`), and models then fitted slab by slab (`encode`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ban_bids.constants import DEFAULT_SEED, JOINT
from ban_bids.encoding.bold import ParticipantData, columns
from ban_bids.encoding.design import Design
from ban_bids.encoding.finished import Finished, kept
from ban_bids.encoding.folds import offsets
from ban_bids.encoding.matrices import AnyFold, LayerMatrices
from ban_bids.encoding.ridge.backend import CPU, Engine
from ban_bids.encoding.ridge.bands import Bands
from ban_bids.encoding.ridge.hyperparameters import Choice, Hyperparameters, band_weights, lattice_order
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.ridge.solvers import BandedRidge, predict_without, without_band
from ban_bids.encoding.rows import HeldOut, Repeats
from ban_bids.encoding.variance import variances
from ban_bids.files.progress import progress
from ban_bids.settings import Encoding

_WITHOUT_VOXELS = 2**30


@dataclass(frozen=True)
class Fitting:
    """How voxels are fitted, the same for every model of a participant.

    Parameters
    ----------
    settings : Encoding
        ``alphas``, ``n_band_weights`` and ``slab`` are used here.
    seed : int
        Of the random part of the grid of layer weights.
    engine : Engine
        Solver, from `ban_bids.encoding.ridge.backend.choose_engine`; the closed form by default.
    """

    settings: Encoding
    seed: int = DEFAULT_SEED
    engine: Engine = CPU


Choices = Mapping[str, Choice]
"""What the models of a fold have chosen: by layer, ``"Joint"``, and `reduced` name of each layer."""


def reduced(layer: str) -> str:
    """Name the joint model without a layer."""
    return f"without {layer}"


class FoldModels:
    """The models of one fold: each layer's, that of all layers together, and that without each of them.

    Matrices are made when they are first needed: what is known already may make that never.

    Parameters
    ----------
    data : ParticipantData
    fold : FoldDesign or KernelFold
    layers : tuple of str
    voxels : ndarray of int
        Columns of ``data.bold``.
    fitting : Fitting
    """

    def __init__(
        self, data: ParticipantData, fold: AnyFold, layers: tuple[str, ...], *, voxels: np.ndarray, fitting: Fitting
    ) -> None:
        self.data, self.fold, self.layers, self.voxels, self.engine = data, fold, layers, voxels, fitting.engine
        alphas, grid = fitting.settings.alphas, band_weights(len(layers), fitting.settings.n_band_weights, fitting.seed)
        self.alone = Hyperparameters(alphas)
        self.together = Hyperparameters(alphas, grid, refine=2 * lattice_order(len(layers), len(grid)))

    @property
    def groups(self) -> np.ndarray:
        """Inner fold of each training row."""
        return self.fold.fold.groups

    @cached_property
    def bold(self) -> np.ndarray:
        """Training rows, (n_training, n_voxels), float32."""
        return columns(self.data.bold, self.fold.fold.training, self.voxels)

    @cached_property
    def _matrices(self) -> dict[str, LayerMatrices]:
        first = offsets(self.data.runs)
        return {layer: self.fold.matrices(layer, self.data.nuisance, first) for layer in self.layers}

    @cached_property
    def _predicted(self) -> dict[str, np.ndarray]:
        """Held-out rows with what of them is tested below, by layer; not made where models are only chosen."""
        return {layer: np.vstack(parts[1:]) for layer, parts in self._matrices.items()}

    def _members(self, name: str) -> tuple[str, ...]:
        return self.layers if name == JOINT else (name,)

    def _training(self, layers: tuple[str, ...]) -> Bands:
        return self.fold.bands([self._matrices[layer].training for layer in layers])

    def _solver(self, name: str) -> BandedRidge:
        return BandedRidge(self.together if name == JOINT else self.alone, self.engine)

    def choose(self, name: str) -> Choice:
        """Choose weights and penalties of a layer's model, or of the joint one, by the closed form."""
        return self._solver(name).choose(self._training(self._members(name)), self.bold, self.groups)

    def choose_without(self, layer: str, joint: Choice) -> Choice:
        """Choose penalties of the joint model without a layer; voxels that use it alone or not are left out."""
        i = self.layers.index(layer)
        training = self._training(self.layers).without(i)
        return self._solver(layer).choose(training, self.bold, self.groups, start=without_band(joint, i))

    def fit(self, name: str, choice: Choice | None = None) -> tuple[dict[str, np.ndarray], Choice]:
        """Fit a layer's model, or the joint one.

        Parameters
        ----------
        name : str
        choice : Choice, optional
            From `choose`; chosen here by default.

        Returns
        -------
        parts : dict of str to ndarray of shape (3 * n_held_out, n_voxels), float32
            What each layer adds to the prediction of held-out rows and, below, of what of them is tested: whole,
            then specific.
        choice : Choice
        """
        members = self._members(name)
        solver = self._solver(name).fit(self._training(members), self.bold, self.groups, choice=choice)
        parts = solver.split(self.fold.bands([self._predicted[layer] for layer in members]))
        return dict(zip(members, parts)), solver.choice_

    def predict_without(self, layer: str, joint: Choice, whole: np.ndarray, choice: Choice | None = None) -> np.ndarray:
        """Predict held-out rows from all layers but one; ``whole`` is the joint model's prediction of them."""
        return predict_without(
            self._solver(layer),
            self._training(self.layers),
            self.fold.bands([parts.held_out for parts in self._matrices.values()]),
            left_out=self.layers.index(layer),
            bold=self.bold,
            groups=self.groups,
            joint=joint,
            whole=whole,
            choice=choice,
        )


def choose_models(
    data: ParticipantData, design: Design, fitting: Fitting, *, store: Finished | None = None
) -> tuple[Choices, ...]:
    """Choose weights and penalties of every model, for all voxels, by the closed form.

    These are each layer's model and, where there are several layers, the joint one and that without each layer.

    Parameters
    ----------
    data : ParticipantData
    design : Design
    fitting : Fitting
    store : Finished, optional
        Each model's choices are kept there, and taken from there.

    Returns
    -------
    tuple of mapping of str to Choice
        One per fold.
    """
    size = search_size(max(len(fold.fold.training) for fold in design.folds), fitting.engine.limits)
    n_voxels = data.bold.shape[1]
    folds = []
    for i, fold in enumerate(design.folds):
        parts = []
        for first in range(0, n_voxels, size):
            voxels = np.arange(first, min(first + size, n_voxels))
            models = FoldModels(data, fold, design.layers, voxels=voxels, fitting=fitting)
            take = partial(_take, store, (i, first, len(voxels)))
            label = f"weights and penalties of {design.model}, fold {i + 1} of {len(design.folds)}"
            parts.append(_choose_fold(models, take, label))
        folds.append({name: Choice.joined([part[name] for part in parts]) for name in parts[0]})
    return tuple(folds)


def _choose_fold(models: FoldModels, take: Callable[[str, Callable[[], Choice]], Choice], label: str) -> Choices:
    choices: dict[str, Choice] = {}
    steps = [(name, False) for name in models.layers]
    if len(models.layers) > 1:
        steps += [(JOINT, False), *((layer, True) for layer in models.layers)]
    for name, left_out in progress(steps, label):
        if left_out:
            make = partial(models.choose_without, name, choices[JOINT])
            choices[reduced(name)] = take(reduced(name), make)
        else:
            choices[name] = take(name, partial(models.choose, name))
    return choices


def _take(store: Finished | None, batch: tuple[int, ...], name: str, make: Callable[[], Choice]) -> Choice:
    """Return what was kept for some voxels in one fold, or make and keep it."""
    return Choice(**kept(store, ("choice", batch, name), lambda: vars(make())))


def search_size(n_training: int, limits: Limits) -> int:
    """Return for how many voxels to choose at a time: their training rows take two fifths of the memory."""
    return int(max(256, 2 * limits.memory // 5 // (4 * n_training + 256)))


def slab_size(design: Design, settings: Encoding, limits: Limits = CPU.limits) -> int:
    """Return how many voxels to encode at a time: ``settings.slab``, fewer where memory asks for it.

    Alive at once where memory peaks: 5 A + 5 arrays of (held-out rows, voxels) with a joint model of A layers,
    one of (training rows, voxels), and coefficients in float64 with what makes them. A process without voxels
    takes less than 1 GiB. What makes a weighting's fit is repeated slab by slab: large slabs pay.
    """
    training = max(len(fold.fold.training) for fold in design.folds)
    coefficients = max(fold.n_coefficients for fold in design.folds)
    arrays = 4 * ((5 * len(design.layers) + 5) * len(design.index) + training)
    room = max(limits.memory // 4, limits.memory - _WITHOUT_VOXELS)
    return int(max(256, min(settings.slab, room // (arrays + 16 * coefficients))))


@dataclass(frozen=True, eq=False)
class Encoded:
    """What encoding yields for some voxels of one participant.

    Parameters
    ----------
    held_out : HeldOut
        Rows, measured and predicted BOLD.
    alpha : dict of str to ndarray of shape (n_folds, n_voxels), float32
        Penalty chosen, by layer and ``"Joint"``.
    inner : dict of str to ndarray of shape (n_folds, n_voxels), float32
        Score over inner folds, by layer and ``"Joint"``: minus the mean squared error of z-scored BOLD. Choose the
        best layer for a fold's held-out rows by that fold's, never by held-out rows.
    weights : ndarray of shape (n_folds, n_layers, n_voxels), float32, or None
        Weights of the layers' kernels in the joint model.
    share : dict of str to ndarray of shape (n_voxels,), float64
        Product-measure share of each layer in the joint model's R² (they sum to it).
    unique : dict of str to ndarray of shape (n_voxels,), float64
        The joint model's R² minus that of all layers but this one.
    rsquare : dict of str to ndarray of shape (n_voxels,), float64
        By layer and ``"Joint"``.

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


def encode(
    data: ParticipantData,
    design: Design,
    fitting: Fitting,
    *,
    voxels: slice | np.ndarray | None = None,
    joint: bool = True,
    repeats: Repeats | None = None,
    choices: Sequence[Choices] | None = None,
) -> Encoded:
    """Fit some voxels in every fold and predict all held-out rows.

    Parameters
    ----------
    data : ParticipantData
    design : Design
        Of one model, for this participant.
    fitting : Fitting
    voxels : slice or ndarray of int, optional
        Columns of ``data.bold``; all by default.
    joint : bool
        Also fit the layers together, with shares and unique variance; ignored for models of one layer.
    repeats : Repeats, optional
        Where R², shares and unique variance are taken (see `Encoded`).
    choices : sequence of mapping of str to Choice, optional
        Of all voxels, from `choose_models` with the same arguments; chosen here by default.

    Returns
    -------
    Encoded
        Voxels that are not usable are predicted as 0.
    """
    chosen = np.arange(data.bold.shape[1])[slice(None) if voxels is None else voxels]
    layers = design.layers
    names = (*layers, JOINT) if joint and len(layers) > 1 else layers
    predicted = _Predicted(layers, names, (len(design.index), len(chosen)))
    for i, fold in enumerate(design.folds):
        known = {} if choices is None else {name: choice.of(chosen) for name, choice in choices[i].items()}
        models = FoldModels(data, fold, layers, voxels=chosen, fitting=fitting)
        places = np.searchsorted(design.index, fold.fold.held_out)
        for name in names:
            predicted.add(name, places, *models.fit(name, known.get(name)))
        for layer in predicted.without:
            whole, best = predicted.prediction[JOINT][places], predicted.choices[JOINT][-1]
            rest = models.predict_without(layer, best, whole, known.get(reduced(layer)))
            predicted.without[layer][places] = rest
    measured = columns(data.bold, design.index, chosen)
    held_out = HeldOut(design.rows, measured, predicted.prediction, predicted.whole, predicted.specific)
    share, unique, rsquare = variances(
        held_out, predicted.parts, predicted.without, repeats=repeats, usable=data.usable[chosen]
    )
    of_folds = predicted.choices
    return Encoded(
        held_out=held_out,
        alpha={name: np.stack([choice.alpha for choice in of_folds[name]]) for name in names},
        inner={name: np.stack([choice.score for choice in of_folds[name]]) for name in names},
        weights=np.stack([choice.weights for choice in of_folds[JOINT]]) if JOINT in names else None,
        share=share,
        unique=unique,
        rsquare=rsquare,
    )


class _Predicted:
    """Predictions of held-out rows, and the choices of each fold.

    What is tested follows the held-out rows in what a fold predicts: whole, then specific.
    """

    def __init__(self, layers: tuple[str, ...], names: tuple[str, ...], shape: tuple[int, int]) -> None:
        def zeros(names: tuple[str, ...]) -> dict[str, np.ndarray]:
            return {name: np.zeros(shape, dtype=np.float32) for name in names}

        self.prediction, self.whole, self.specific = zeros(names), zeros(names), zeros(names)
        self.parts, self.without = (zeros(layers if JOINT in names else ()) for _ in range(2))
        self.choices: dict[str, list[Choice]] = {name: [] for name in names}

    def add(self, name: str, rows: np.ndarray, parts: Mapping[str, np.ndarray], choice: Choice) -> None:
        """Take a fold's prediction, the sum of parts."""
        self.choices[name].append(choice)
        for layer, part in parts.items():
            scored, whole, specific = np.split(part, 3)
            self.prediction[name][rows] += scored
            self.whole[name][rows] += whole
            self.specific[name][rows] += specific
            if name == JOINT:
                self.parts[layer][rows] = scored
