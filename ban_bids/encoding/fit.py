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
from ban_bids.encoding.bold import ParticipantData, columns, held_out_bold
from ban_bids.encoding.design import Design
from ban_bids.encoding.finished import Finished, kept
from ban_bids.encoding.matrices import AnyFold, LayerMatrices
from ban_bids.encoding.penalties import penalty_counts
from ban_bids.encoding.repeats import Repeats
from ban_bids.encoding.ridge.backend import CLOSED_FORM, CPU, Engine
from ban_bids.encoding.ridge.bands import Bands
from ban_bids.encoding.ridge.hyperparameters import Choice, Hyperparameters, band_weights, lattice_order
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.ridge.refitted import OwnRows, score_of_zero
from ban_bids.encoding.ridge.solvers import BandedRidge, Inner, predict_without
from ban_bids.encoding.rows import HeldOut, offsets
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
    tested : bool
        Whether what is tested of held-out rows is predicted too.
    """

    def __init__(
        self,
        data: ParticipantData,
        fold: AnyFold,
        layers: tuple[str, ...],
        *,
        voxels: np.ndarray,
        fitting: Fitting,
        tested: bool = True,
    ) -> None:
        self.tested = tested
        self.data, self.fold, self.layers, self.voxels, self.engine = data, fold, layers, voxels, fitting.engine
        alphas, grid = fitting.settings.alphas, band_weights(len(layers), fitting.settings.n_band_weights, fitting.seed)
        self.alone = Hyperparameters(alphas)
        self.together = Hyperparameters(alphas, grid, refine=2 * lattice_order(len(layers), len(grid)))

    def _inner(self, layers: tuple[str, ...]) -> Inner:
        """Inner folds of some layers' training rows."""
        fold = self.fold.fold
        if fold.whole_runs:
            return fold.groups
        raw = [self._matrices[layer].inner for layer in layers]
        return OwnRows(self.fold.bands([rows for rows in raw if rows is not None]), fold.sides)

    @cached_property
    def bold(self) -> np.ndarray:
        """Training rows, (n_training, n_voxels), float32."""
        side = self.fold.fold.training_side
        return side.standardise(columns(self.data.bold, side.rows, self.voxels))

    @cached_property
    def _matrices(self) -> dict[str, LayerMatrices]:
        first = offsets(self.data.runs)
        return {layer: self.fold.matrices(layer, self.data.nuisance, first) for layer in self.layers}

    @cached_property
    def _predicted(self) -> dict[str, np.ndarray]:
        """Held-out rows with what of them is tested below, by layer; not made where models are only chosen."""
        if not self.tested:
            return {name: m.held_out for name, m in self._matrices.items()}
        return {name: np.vstack([m.held_out, m.whole, m.specific]) for name, m in self._matrices.items()}

    def _members(self, name: str) -> tuple[str, ...]:
        return self.layers if name == JOINT else (name,)

    def _training(self, layers: tuple[str, ...]) -> Bands:
        return self.fold.bands([self._matrices[layer].training for layer in layers])

    def _solver(self, name: str) -> BandedRidge:
        return BandedRidge(self.together if name == JOINT else self.alone, self.engine)

    def choose(self, name: str) -> dict[str, Choice]:
        """Choose weights and penalties of a layer's model, or of the joint and the `reduced`, by the closed form."""
        members = self._members(name)
        training, inner = self._training(members), self._inner(members)
        if name != JOINT:
            return {name: self._solver(name).choose(training, self.bold, inner)}
        names = (JOINT, *(reduced(layer) for layer in self.layers))
        return dict(zip(names, self._solver(name).choose_nested(training, self.bold, inner), strict=True))

    def fit(self, name: str, choice: Choice | None = None) -> tuple[dict[str, np.ndarray], Choice]:
        """Fit a layer's model, or the joint one.

        Parameters
        ----------
        name : str
        choice : Choice, optional
            From `choose`; the solver chooses by default.

        Returns
        -------
        parts : dict of str to ndarray of shape (3 * n_held_out, n_voxels), float32
            What each layer adds to the prediction of held-out rows and, below, of what of them is tested: whole,
            then specific. Without what is tested (n_held_out, n_voxels).
        choice : Choice
        """
        members = self._members(name)
        solver = self._solver(name).fit(self._training(members), self.bold, self._inner(members), choice=choice)
        parts = solver.split(self.fold.bands([self._predicted[layer] for layer in members]))
        return dict(zip(members, parts)), solver.choice_

    def predict_without(self, layer: str, joint: Choice, whole: np.ndarray, choice: Choice | None = None) -> np.ndarray:
        """Predict held-out rows from all layers but one; ``whole`` is the joint model's prediction of them."""
        left_out = self.layers.index(layer)
        return predict_without(
            BandedRidge(self.together.without(left_out), self.engine),
            self._training(self.layers),
            self.fold.bands([parts.held_out for parts in self._matrices.values()]),
            left_out=left_out,
            bold=self.bold,
            inner=self._inner(self.layers),
            joint=joint,
            whole=whole,
            choice=choice,
        )


def choose_models(
    data: ParticipantData, design: Design, fitting: Fitting, *, voxels: np.ndarray, store: Finished | None = None
) -> tuple[Choices, ...]:
    """Choose weights and penalties of every model by the closed form.

    These are each layer's model and, where there are several layers, the joint one and that without each layer.

    Parameters
    ----------
    data : ParticipantData
    design : Design
    fitting : Fitting
    voxels : ndarray of int
        Columns of ``data.bold``.
    store : Finished, optional
        Each model's choices are kept there, and taken from there.

    Returns
    -------
    tuple of mapping of str to Choice
        One per fold.
    """
    size = search_size(max(len(fold.fold.training) for fold in design.folds), fitting.engine.limits)
    folds = []
    for i, fold in enumerate(design.folds):
        parts = []
        for first in range(0, len(voxels), size):
            some = voxels[first : first + size]
            models = FoldModels(data, fold, design.layers, voxels=some, fitting=fitting)
            take = partial(_take, store, (i, first, len(some)))
            label = f"weights and penalties of {design.model}, fold {i + 1} of {len(design.folds)}"
            parts.append(_choose_fold(models, take, label))
        folds.append({name: Choice.joined([part[name] for part in parts]) for name in parts[0]})
    return tuple(folds)


def _choose_fold(models: FoldModels, take: Callable[[str, Callable[[], Choices]], Choices], label: str) -> Choices:
    names = (*models.layers, JOINT) if len(models.layers) > 1 else models.layers
    choices: dict[str, Choice] = {}
    for name in progress(names, label):
        choices |= take(name, partial(models.choose, name))
    return choices


def _take(store: Finished | None, batch: tuple[int, ...], name: str, make: Callable[[], Choices]) -> Choices:
    """Return what was kept for some voxels in one fold, or make and keep it."""

    def arrays() -> dict[str, np.ndarray]:
        return {f"{part}/{model}": values for model, choice in make().items() for part, values in vars(choice).items()}

    found = kept(store, ("choice", batch, name), arrays)
    models = [key.removeprefix("alpha/") for key in found if key.startswith("alpha/")]
    return {model: Choice(*(found[f"{part}/{model}"] for part in ("weights", "alpha", "score"))) for model in models}


def search_size(n_training: int, limits: Limits) -> int:
    """Return for how many voxels to choose at a time: their training rows take two fifths of the memory."""
    return int(max(256, 2 * limits.memory // 5 // (4 * n_training + 256)))


def alive_arrays(design: Design, *, joint: bool, tested: bool) -> int:
    """Count arrays of held-out rows that a slab's encoding holds at once.

    The prediction of each layer and, where they are tested, two more; those of the joint model, what each layer adds to
    it and what the others predict without it; what a fit returns, and BOLD.
    """
    layers = len(design.layers)
    return 5 * layers + 5 if joint else (3 * layers + 5 if tested else layers + 3)


def slab_size(
    design: Design, settings: Encoding, limits: Limits = CPU.limits, alive: int | None = None, kept: int = 0
) -> int:
    """Return how many voxels to encode at a time: ``settings.slab``, fewer where memory asks for it.

    Alive at once where memory peaks: arrays of (held-out rows, voxels), one of (training rows, voxels), and
    coefficients in float64 with what makes them. A process without voxels takes less than 1 GiB. What makes a
    weighting's fit is repeated slab by slab: large slabs pay.

    Parameters
    ----------
    design : Design
    settings : Encoding
    limits : Limits
    alive : int, optional
        Arrays of held-out rows, see `alive_arrays`; those of a joint model by default.
    kept : int
        Bytes that earlier slabs' results take in the end.
    """
    alive = alive_arrays(design, joint=True, tested=True) if alive is None else alive
    training = max(len(fold.fold.training) for fold in design.folds)
    coefficients = max(fold.n_coefficients for fold in design.folds)
    arrays = 4 * (alive * len(design.index) + training)
    memory = max(limits.memory // 2, limits.memory - kept)
    room = max(memory // 4, memory - _WITHOUT_VOXELS)
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
    penalties : dict of str to ndarray of shape (2, n_alphas), int64
        How often each was chosen in usable voxels: `ban_bids.encoding.penalties.penalty_counts`.
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
    penalties: dict[str, np.ndarray]
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
    tested: bool = True,
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
        Of these voxels, from `choose_models`; chosen here by default.
    tested : bool
        Whether ``whole`` and ``specific`` predictions, which tests need, are made; empty without.

    Returns
    -------
    Encoded
        Voxels that are not usable are predicted as 0.
    """
    chosen = np.arange(data.bold.shape[1])[slice(None) if voxels is None else voxels]
    names = (*design.layers, JOINT) if joint and len(design.layers) > 1 else design.layers
    predicted = _Predicted(design.layers, names, (len(design.index), len(chosen)), tested)
    for i, fold in enumerate(design.folds):
        models = FoldModels(data, fold, design.layers, voxels=chosen, fitting=fitting, tested=tested)
        known = {} if choices is None else choices[i]
        if choices is None and JOINT in names and fitting.engine.solver == CLOSED_FORM:
            known = models.choose(JOINT)
        predicted.fold(models, np.searchsorted(design.index, fold.fold.held_out), known)
    measured = held_out_bold(data.bold, [fold.fold for fold in design.folds], design.index, voxels=chosen)
    held_out = HeldOut(design.rows, measured, predicted.prediction, predicted.whole, predicted.specific)
    return _encoded(predicted, held_out, fitting.settings.alphas, repeats=repeats, usable=data.usable[chosen])


def _encoded(
    predicted: _Predicted,
    held_out: HeldOut,
    alphas: Sequence[float],
    *,
    repeats: Repeats | None,
    usable: np.ndarray,
) -> Encoded:
    """Put together what all folds have predicted and chosen."""
    share, unique, rsquare = variances(held_out, predicted.parts, predicted.without, repeats=repeats, usable=usable)
    of_folds = predicted.choices
    alpha = {name: np.stack([choice.alpha for choice in of_folds[name]]) for name in of_folds}
    inner = {name: np.stack([choice.score for choice in of_folds[name]]) for name in of_folds}
    counted = partial(penalty_counts, alphas, zero=np.stack(predicted.zero), usable=usable)
    return Encoded(
        held_out=held_out,
        alpha=alpha,
        penalties={name: counted(chosen=alpha[name], score=inner[name]) for name in of_folds},
        inner=inner,
        weights=np.stack([choice.weights for choice in of_folds[JOINT]]) if JOINT in of_folds else None,
        share=share,
        unique=unique,
        rsquare=rsquare,
    )


class _Predicted:
    """Predictions of held-out rows, and the choices of each fold.

    What is tested follows the held-out rows in what a fold predicts: whole, then specific.
    """

    def __init__(self, layers: tuple[str, ...], names: tuple[str, ...], shape: tuple[int, int], tested: bool) -> None:
        def zeros(names: tuple[str, ...]) -> dict[str, np.ndarray]:
            return {name: np.zeros(shape, dtype=np.float32) for name in names}

        self.prediction = zeros(names)
        self.whole, self.specific = (zeros(names if tested else ()) for _ in range(2))
        self.parts, self.without = (zeros(layers if JOINT in names else ()) for _ in range(2))
        self.choices: dict[str, list[Choice]] = {name: [] for name in names}
        self.zero: list[np.ndarray] = []

    def fold(self, models: FoldModels, places: np.ndarray, known: Choices) -> None:
        """Fit a fold's models, with the choices that are known, and predict its held-out rows."""
        self.zero.append(score_of_zero(models.bold, [validation for _, validation in models.fold.fold.sides]))
        for name in self.choices:
            self.add(name, places, *models.fit(name, known.get(name)))
        for layer in self.without:
            whole, best = self.prediction[JOINT][places], self.choices[JOINT][-1]
            self.without[layer][places] = models.predict_without(layer, best, whole, known.get(reduced(layer)))

    def add(self, name: str, rows: np.ndarray, parts: Mapping[str, np.ndarray], choice: Choice) -> None:
        """Take a fold's prediction, the sum of parts."""
        self.choices[name].append(choice)
        for layer, part in parts.items():
            scored, *tested = np.split(part, 3 if self.whole else 1)
            self.prediction[name][rows] += scored
            for kind, values in zip((self.whole, self.specific), tested):
                kind[name][rows] += values
            if name == JOINT:
                self.parts[layer][rows] = scored
