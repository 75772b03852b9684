"""The models of a fold; and their weights and penalties, chosen for many voxels before any are fitted.

A decomposition serves every voxel, while predictions take memory in each: choices are made for as many voxels
as memory allows, and models then fitted slab by slab.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from ban_bids.constants import JOINT
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.design import AnyFold, Design
from ban_bids.encoding.folds import offsets
from ban_bids.encoding.models import (
    Chosen,
    Joint,
    Single,
    choose_joint,
    choose_without,
    fit_joint,
    fit_single,
    fit_without,
)
from ban_bids.encoding.ridge.backend import Engine
from ban_bids.encoding.ridge.limits import Limits
from ban_bids.encoding.ridge.weights import band_weights, lattice_order
from ban_bids.files.progress import progress
from ban_bids.settings import Encoding

_ALONE = np.ones((1, 1), dtype=np.float32)


class Store(Protocol):
    """Where finished work is kept, see `ban_bids.scoring.resume.Finished`."""

    def load(self, batch: object) -> dict[str, np.ndarray] | None:
        """Return what was kept, or None."""
        ...

    def save(self, batch: object, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays."""
        ...


@dataclass(frozen=True, eq=False)
class FoldChoice:
    """What one fold's models have chosen.

    Parameters
    ----------
    models : dict of str to Chosen
        By layer, and ``"Joint"``.
    without : dict of str to Chosen
        Of the joint model without each layer.
    """

    models: dict[str, Chosen]
    without: dict[str, Chosen]

    def of(self, voxels: slice | np.ndarray) -> FoldChoice:
        """Return the same for some voxels."""
        return FoldChoice(
            {name: chosen.of(voxels) for name, chosen in self.models.items()},
            {name: chosen.of(voxels) for name, chosen in self.without.items()},
        )


class FoldFit:
    """The three kinds of model of one fold, on the same matrices.

    Parameters
    ----------
    data : ParticipantData
    fold : FoldDesign or KernelFold
    layers : tuple of str
    voxels : ndarray of int
        Columns of ``data.bold``.
    settings : Encoding
        ``alphas`` and ``n_band_weights`` are used here.
    engine : Engine
    seed : int
        Of the random part of the grid of layer weights.
    choice : FoldChoice, optional
        Of these voxels; chosen at each fit by default.
    """

    def __init__(
        self,
        data: ParticipantData,
        fold: AnyFold,
        layers: tuple[str, ...],
        voxels: np.ndarray,
        settings: Encoding,
        engine: Engine,
        seed: int,
        choice: FoldChoice | None = None,
    ) -> None:
        self._source = (data, fold, layers, voxels)
        self.groups, self.alphas, self.engine, self.choice = fold.fold.groups, settings.alphas, engine, choice
        self.kernel = fold.kernel
        self.grid = band_weights(len(layers), settings.n_band_weights, seed)
        self.finer = 2 * lattice_order(len(layers), len(self.grid))

    @cached_property
    def bold(self) -> np.ndarray:
        """Training rows, (n_training, n_voxels), float32."""
        data, fold, _, voxels = self._source
        return columns(data.bold, fold.fold.training, voxels)

    @cached_property
    def _matrices(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        data, fold, layers, _ = self._source
        first = offsets(data.runs)
        return {layer: fold.matrices(layer, data.nuisance, first) for layer in layers}

    @property
    def _training(self) -> dict[str, np.ndarray]:
        """Training rows, by layer."""
        return {layer: parts[0] for layer, parts in self._matrices.items()}

    @cached_property
    def _held_out(self) -> dict[str, np.ndarray]:
        """Held-out rows with what of them is tested below, by layer; not made where models are only chosen."""
        return {layer: np.vstack(parts[1:]) for layer, parts in self._matrices.items()}

    def single(self, layer: str) -> Single:
        """Fit one layer's model."""
        training, held_out = self._training[layer], self._held_out[layer]
        chosen = None if self.choice is None else self.choice.models[layer]
        given = (self.groups, self.alphas, self.engine, chosen, self.kernel)
        return fit_single(training, self.bold, held_out, *given)

    def joint(self) -> Joint:
        """Fit the model of all layers."""
        training, held_out = self._training, self._held_out
        chosen = None if self.choice is None else self.choice.models[JOINT]
        given = (self.groups, self.alphas, self.grid, self.engine, self.finer)
        return fit_joint(training, self.bold, held_out, *given, chosen, self.kernel)

    def without(self, layer: str, joint: Joint) -> np.ndarray:
        """Predict held-out rows (of which nothing is tested) from all layers but one."""
        training = self._training
        held_out = {name: parts[1] for name, parts in self._matrices.items()}
        chosen = None if self.choice is None else self.choice.without[layer]
        given = (self.groups, self.alphas, self.engine)
        return fit_without(layer, joint, training, self.bold, held_out, *given, chosen, self.kernel)

    def choose(self, name: str) -> Chosen:
        """Choose weights and penalties of an layer's model, or of the joint one."""
        training = self._training
        common = (self.bold, self.groups, self.alphas)
        if name == JOINT:
            return choose_joint(training, *common, self.grid, self.engine, self.finer, self.kernel)
        alone = {name: training[name]}
        return choose_joint(alone, *common, _ALONE, self.engine, kernel=self.kernel)

    def choose_without(self, layer: str, joint: Chosen) -> Chosen:
        """Choose penalties of the joint model without an layer."""
        training = self._training
        given = (self.groups, self.alphas, self.engine, self.kernel)
        return choose_without(layer, joint, training, self.bold, *given)


def choose_models(
    data: ParticipantData,
    design: Design,
    settings: Encoding,
    joint: bool,
    engine: Engine,
    seed: int,
    store: Store | None = None,
) -> tuple[FoldChoice, ...]:
    """Choose weights and penalties of every model, for all voxels, by the closed form.

    Parameters
    ----------
    data : ParticipantData
    design : Design
    settings : Encoding
        ``alphas`` and ``n_band_weights`` are used here.
    joint : bool
        Also for the joint model, and for it without each layer; ignored for models of one layer.
    engine : Engine
    seed : int
        Of the random part of the grid of layer weights.
    store : Store, optional
        Each model's choices are kept there, and taken from there.

    Returns
    -------
    tuple of FoldChoice
        One a fold.
    """
    size = search_size(max(len(fold.fold.training) for fold in design.folds), engine.limits)
    n_voxels = data.bold.shape[1]
    found = []
    for i, fold in enumerate(design.folds):
        parts = []
        for first in range(0, n_voxels, size):
            voxels = np.arange(first, min(first + size, n_voxels))
            fit = FoldFit(data, fold, design.layers, voxels, settings, engine, seed)
            kept = _Kept(store, (i, first, len(voxels)))
            told = f"weights and penalties of {design.model}, fold {i + 1} of {len(design.folds)}"
            parts.append(_choose_fold(fit, design.layers, joint and len(design.layers) > 1, kept, told))
        found.append(_joined(parts))
    return tuple(found)


def search_size(n_training: int, limits: Limits) -> int:
    """Return for how many voxels to choose at a time: their training rows take two fifths of the memory."""
    return int(max(256, 2 * limits.memory // 5 // (4 * n_training + 256)))


def columns(bold: np.ndarray, rows: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Copy some rows and voxels of BOLD into memory, whole rows at a time (it may lie on disk)."""
    out = np.empty((len(rows), len(voxels)), dtype=np.float32)
    for i, row in enumerate(rows):
        out[i] = bold[row][voxels]
    return out


class _Kept:
    """Choices of some voxels in one fold, kept one model after the other."""

    def __init__(self, store: Store | None, batch: tuple[int, ...]) -> None:
        self.store, self.batch = store, batch

    def take(self, name: str, make: Callable[[], Chosen]) -> Chosen:
        """Return what was kept, or make and keep it."""
        known = None if self.store is None else self.store.load(("choice", self.batch, name))
        if known is not None:
            return Chosen(**known)
        chosen = make()
        if self.store is not None:
            self.store.save(("choice", self.batch, name), vars(chosen))
        return chosen


def _choose_fold(fit: FoldFit, layers: tuple[str, ...], joint: bool, kept: _Kept, told: str) -> FoldChoice:
    models: dict[str, Chosen] = {}
    without: dict[str, Chosen] = {}
    steps = [(layer, False) for layer in layers]
    if joint:
        steps += [(JOINT, False), *((layer, True) for layer in layers)]
    for name, left_out in progress(steps, told):
        if left_out:
            make = partial(fit.choose_without, name, models[JOINT])
            without[name] = kept.take(f"without {name}", make)
        else:
            models[name] = kept.take(name, partial(fit.choose, name))
    return FoldChoice(models, without)


def _joined(parts: Sequence[FoldChoice]) -> FoldChoice:
    """Voxels after voxels."""

    def join(of: Sequence[dict[str, Chosen]]) -> dict[str, Chosen]:
        return {
            name: Chosen(
                np.concatenate([one[name].weights for one in of], axis=1),
                np.concatenate([one[name].alpha for one in of]),
                np.concatenate([one[name].inner for one in of]),
            )
            for name in of[0]
        }

    return FoldChoice(join([part.models for part in parts]), join([part.without for part in parts]))
