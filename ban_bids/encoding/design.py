"""A model's design for one participant: its features laid on the runs, reduced or made into kernels fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ban_bids.constants import JOINT
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.features import FeatureCache
from ban_bids.encoding.matrices import (
    AnyFold,
    FoldDesign,
    KernelFold,
    LayerFeatures,
    LayerMatrices,
    Reduction,
    fit_reduction,
    fit_scaler,
    layer_kernels,
)
from ban_bids.encoding.planned import Folds
from ban_bids.encoding.rows import HeldOutRows, RunRows
from ban_bids.encoding.timeline import Binned, lay_features, steps
from ban_bids.errors import NotComputable, UsageError
from ban_bids.models.candidate import Candidate

_IN_MEMORY_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Design:
    """A model's design matrices for one participant.

    Parameters
    ----------
    model : str
        The model's name.
    layers : tuple of str
        In the model's order.
    dimensions : dict of str to int
        Components of each layer, equal for all, or its features that vary; the fewest over folds.
    folds : tuple of FoldDesign or of KernelFold
    rows : HeldOutRows
        The held-out rows of all folds, by run and volume.
    index : ndarray of shape (n_held_out,), intp
        Their rows, counted through all runs.
    notes : tuple of str
        Layers of different dimensions, or that lose most of theirs to one that has few.
    """

    model: str
    layers: tuple[str, ...]
    dimensions: dict[str, int]
    folds: tuple[AnyFold, ...]
    rows: HeldOutRows
    index: np.ndarray
    notes: tuple[str, ...]

    def narrowed(self, layers: tuple[str, ...]) -> Design:
        """Return the same design with some of its layers."""
        return replace(self, layers=layers, dimensions={layer: self.dimensions[layer] for layer in layers})


def design(data: ParticipantData, model: Candidate, folds: Folds, *, n_components: int, cache: Path) -> Design:
    """Lay a model's features on the participant's runs and reduce them fold by fold.

    Parameters
    ----------
    data : ParticipantData
    model : Candidate
        Any number of layers, of any names but ``Joint``.
    folds : Folds
        The participant's, the same for every model.
    n_components : int
        Of every layer; 0 for kernels of all features.
    cache : Path
        Folder of features by clip.

    Returns
    -------
    Design
        Scaler and axes are fitted on training rows only.

    Raises
    ------
    NotComputable
        A layer's features do not vary.
    UsageError
        A layer has the name that stands for all layers together.
    """
    if JOINT in model.layers:
        raise UsageError(f"model {model.name}: no layer may be called {JOINT}, which means all of them; rename it")
    store = FeatureCache(model, cache)
    store.compute(data.clips)
    features = _Features(data, store, folds)
    notes: tuple[str, ...] = ()
    matrices: tuple[AnyFold, ...]
    if n_components:
        matrices, own = _reduced_folds(features, n_components)
        notes = _much_cut(model.name, own, n_components)
    else:
        matrices = _kernel_folds(features, cache)
    dimensions = {layer: min(fold.dimensions[layer] for fold in matrices) for layer in model.layers}
    if len(set(dimensions.values())) > 1:
        widths = ", ".join(f"{layer} {width}" for layer, width in dimensions.items())
        notes = (
            f"{model.name}: layers are compared with all their features, not matched in number "
            f"({widths}); --n-components N matches them",
        )
    return Design(model.name, tuple(model.layers), dimensions, matrices, folds.rows, folds.index, notes)


@dataclass(frozen=True, eq=False)
class _Features:
    """A model's features on the participant's runs."""

    data: ParticipantData
    store: FeatureCache
    folds: Folds

    def layer(self, layer: str) -> tuple[list[Binned], dict[int, Binned]]:
        """Return a layer's features, one per run, and by run with held-out rows those of its mean clip."""
        runs, delays = self.data.runs, self.folds.delays
        common = {
            int(r): bin_run(runs[r], self.store, layer, delays=delays, mean_clip=True)
            for r in np.unique(self.folds.rows.run)
        }
        return [bin_run(run, self.store, layer, delays=delays) for run in runs], common

    def silent(self, layer: str) -> NotComputable:
        name = self.store.model.name
        return NotComputable(f"model {name}: features of {layer} do not vary over training rows")


def _much_cut(model: str, own: Mapping[str, int], n_components: int) -> tuple[str, ...]:
    """Note where one layer of few dimensions takes most of theirs from the others, which are reduced to as many."""
    least = min(own, key=lambda layer: own[layer])
    count = own[least]
    if 2 * count > min(n_components, max(own.values())):
        return ()
    return (
        f"{model}: every layer is reduced to {count} of {n_components} components, for {least} has no more, and scores "
        f"of the others may be lower for it; leave {least} out, or take all features (--n-components all)",
    )


def _reduced_folds(features: _Features, n_components: int) -> tuple[tuple[FoldDesign, ...], dict[str, int]]:
    """Reduce every layer, in every fold, to the same number of components; also how many each layer could have."""
    folds = features.folds.folds
    reduced: list[dict[str, tuple[Binned, ...]]] = [{} for _ in folds]
    specific: list[dict[str, tuple[Binned, ...]]] = [{} for _ in folds]
    for layer in features.store.model.layers:
        binned, common = features.layer(layer)
        for fold, whole, tested in zip(folds, reduced, specific):
            reduction = fit_reduction(_training_now(binned, fold.training, features.folds.first), n_components)
            if reduction.axes.shape[1] == 0:
                raise features.silent(layer)
            whole[layer] = tuple(Binned(reduction.apply(run.bins), run.index) for run in binned)
            tested[layer] = _less(whole[layer], reduction, common)
    widths = [{layer: runs[0].bins.shape[1] for layer, runs in layers.items()} for layers in reduced]
    cut = tuple(
        FoldDesign(fold, _cut(whole, min(width.values())), _cut(tested, min(width.values())))
        for fold, whole, tested, width in zip(folds, reduced, specific, widths)
    )
    return cut, {layer: min(width[layer] for width in widths) for layer in features.store.model.layers}


def _kernel_folds(features: _Features, folder: Path) -> tuple[KernelFold, ...]:
    """Make kernels of all features of every layer in every fold."""
    folds, layers, first = features.folds.folds, features.store.model.layers, features.folds.first
    in_memory = _IN_MEMORY_BYTES // (len(folds) * len(layers))
    kernels: list[dict[str, LayerMatrices]] = [{} for _ in folds]
    varying: list[dict[str, int]] = [{} for _ in folds]
    for layer in layers:
        binned, common = features.layer(layer)
        for fold, by_layer, counts in zip(folds, kernels, varying):
            scaler = fit_scaler(_training_now(binned, fold.training, first))
            if scaler.n_varying == 0:
                raise features.silent(layer)
            source = LayerFeatures(binned, common, scaler, features.data.nuisance)
            by_layer[layer] = layer_kernels(source, fold, first, folder=folder, in_memory=in_memory)
            counts[layer] = scaler.n_varying
    return tuple(KernelFold(fold, by_layer, counts) for fold, by_layer, counts in zip(folds, kernels, varying))


def _training_now(binned: Sequence[Binned], training: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Features of training rows at lag 0, (n_training, n_features)."""
    run = np.searchsorted(first, training, side="right") - 1
    return np.concatenate([binned[r].bins[binned[r].index[training[run == r] - first[r], 0]] for r in np.unique(run)])


def _less(reduced: tuple[Binned, ...], reduction: Reduction, common: Mapping[int, Binned]) -> tuple[Binned, ...]:
    """Reduced features less those of the runs' mean clips."""
    return tuple(
        Binned(run.bins - reduction.apply(common[r].bins), run.index) if r in common else run
        for r, run in enumerate(reduced)
    )


def _cut(layers: dict[str, tuple[Binned, ...]], count: int) -> dict[str, tuple[Binned, ...]]:
    """The first components of every layer in every run."""
    return {layer: tuple(Binned(run.bins[:, :count], run.index) for run in runs) for layer, runs in layers.items()}


def bin_run(run: RunRows, store: FeatureCache, layer: str, *, delays: np.ndarray, mean_clip: bool = False) -> Binned:
    """Return one layer's features in one run, averaged over every volume at every lag.

    With ``mean_clip`` every presentation but lead-ins holds the mean, frame by frame, of those clips: what
    would be heard whatever the order of clips.
    """
    frames = [store.load(item.clip, layer) for item in run.presentations]
    if mean_clip:
        averaged = [k for k, item in enumerate(run.presentations) if not item.lead_in]
        mean = _mean_frames([frames[k] for k in averaged]) if averaged else None
        frames = [x if mean is None or k not in averaged else mean for k, x in enumerate(frames)]
    edges, values = steps(
        [item.onset for item in run.presentations],
        [item.clip.duration for item in run.presentations],
        frames,
        rate=store.frame_rate(layer),
        silence=store.silence(layer),
    )
    step = float(delays[1] - delays[0]) if len(delays) > 1 else 0.0
    return lay_features(edges, values, run.rows.times, width=run.rows.width(step), delays=delays)


def _mean_frames(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over clips of every frame, over those that last so long."""
    total = np.zeros((max(map(len, clips)), clips[0].shape[1]))
    count = np.zeros((len(total), 1))
    for frames in clips:
        total[: len(frames)] += frames
        count[: len(frames)] += 1
    return (total / count).astype(np.float32)
