"""A model's design, fold by fold: layers of one dimension, lagged and cleaned like BOLD, or their kernels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.cleaning import Nuisance
from ban_bids.encoding.features import FeatureCache
from ban_bids.encoding.folds import Fold, Listening, make_folds, offsets
from ban_bids.encoding.kernels import KernelFold, LayerFeatures, layer_kernels
from ban_bids.encoding.permutation import rests_between_clips
from ban_bids.encoding.reduction import Reduction, fit_reduction, fit_scaler
from ban_bids.encoding.rows import HeldOutRows, held_out_rows
from ban_bids.encoding.timeline import Binned, lags, lay_features, steps
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Run
from ban_bids.models.candidate import Candidate
from ban_bids.settings import Encoding

_LOG = logging.getLogger(__name__)
_IN_MEMORY_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class FoldDesign:
    """A fold and its layers' reduced features in every run.

    Parameters
    ----------
    fold : Fold
    reduced : dict of str to tuple of Binned
        By layer, one a run; all layers have the same number of components.
    specific : dict of str to tuple of Binned
        What is tested: the same, or the same less what the run's mean clip would give at every presentation
        (see `ban_bids.encoding.permutation.rests_between_clips`).
    held_out : ndarray, intp
        Where this fold's held-out rows stand in the table of held-out rows.
    """

    fold: Fold
    reduced: dict[str, tuple[Binned, ...]]
    specific: dict[str, tuple[Binned, ...]]
    held_out: np.ndarray

    kernel = "linear"
    """What solvers are given, in scikit-learn's terms: features."""

    @property
    def dimensions(self) -> dict[str, int]:
        """Components of each layer."""
        return {layer: runs[0].bins.shape[1] for layer, runs in self.reduced.items()}

    @property
    def n_coefficients(self) -> int:
        """Coefficients of a voxel's joint model."""
        return sum(runs[0].bins.shape[1] * runs[0].index.shape[1] for runs in self.reduced.values())

    def matrices(
        self, layer: str, nuisance: Sequence[Nuisance], first: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the training and held-out features of an layer, and what of the held-out ones is tested.

        Parameters
        ----------
        layer : str
        nuisance : sequence of Nuisance
            One a run.
        first : ndarray of shape (n_runs + 1,)
            First row of each run.

        Returns
        -------
        training, held_out, specific : ndarray of shape (n_rows, n_lags * n_components), float32
            Lagged inside each run, nuisance projected out, scaled so that the training kernel has mean
            diagonal 1. ``specific`` has the rows of ``held_out`` and keeps its nuisance: the permutation
            test moves its blocks, and BOLD, without nuisance, meets only the rest of it.
        """
        wanted = [self.fold.training, self.fold.held_out]
        found: list[list[np.ndarray]] = [[], []]
        specific = []
        for r, binned in enumerate(self.reduced[layer]):
            mine = [rows[(rows >= first[r]) & (rows < first[r + 1])] - first[r] for rows in wanted]
            if any(map(len, mine)):
                cleaned = nuisance[r].project(binned.lagged())
                for rows, out in zip(mine, found):
                    out.append(cleaned[rows])
                specific.append(self.specific[layer][r].lagged()[mine[1]])
        training, held_out = (np.concatenate(parts) for parts in found)
        own = np.concatenate(specific)
        power = float(np.mean(np.square(training, dtype=np.float64).sum(axis=1)))
        if power == 0:
            return training, held_out, own
        scale = np.float32(1 / np.sqrt(power))
        return training * scale, held_out * scale, own * scale


AnyFold = FoldDesign | KernelFold


@dataclass(frozen=True, eq=False)
class Design:
    """A model's design matrices for one participant.

    Parameters
    ----------
    model : str
        The model's name.
    layers : tuple of str
        In the model's order.
    lags : tuple of float
        Seconds.
    dimensions : dict of str to int
        Components of each layer, equal for all, or its features that vary; the fewest over folds.
    folds : tuple of FoldDesign or of KernelFold
    rows : HeldOutRows
        The held-out rows of all folds, by run and volume.
    index : ndarray of shape (n_held_out,), intp
        Their rows, counted through all runs.
    notes : tuple of str
        Dropped rows, split folds, layers of different dimensions.
    """

    model: str
    layers: tuple[str, ...]
    lags: tuple[float, ...]
    dimensions: dict[str, int]
    folds: tuple[AnyFold, ...]
    rows: HeldOutRows
    index: np.ndarray
    notes: tuple[str, ...]


def plan_indices(runs: Sequence[Run], plan: HeldOutPlan) -> list[tuple[list[int], list[int]]]:
    """Return the held-out and the training runs of each planned fold, as indices of ``runs``."""
    index = {run.name: i for i, run in enumerate(runs)}
    folds = []
    for i, names in enumerate(plan.folds):
        missing = [name for name in names if name not in index]
        if missing:
            raise DataError(f"held-out run {missing[0]} is not among the preprocessed runs; name another")
        training = [index[name] for name in plan.training(i, runs) if name in index]
        if not training:
            raise NotComputable(f"no run is left to train on when {', '.join(names)} is held out")
        folds.append(([index[name] for name in names], training))
    return folds


def design(data: ParticipantData, model: Candidate, plan: HeldOutPlan, settings: Encoding, cache: Path) -> Design:
    """Lay a model's features on the participant's runs and reduce them fold by fold.

    Parameters
    ----------
    data : ParticipantData
    model : Candidate
    plan : HeldOutPlan
        Which runs are held out together.
    settings : Encoding
    cache : Path
        Folder of features by clip.

    Returns
    -------
    Design
        Scaler and axes are fitted on training rows only.

    Raises
    ------
    NotComputable
        No training rows are left, or an layer's features do not vary.
    """
    delays = lags(max(run.rows.repetition_time for run in data.runs), settings.lag_max, settings.lag_step)
    planned = plan_indices(data.sources, plan)
    folds, notes = make_folds(data.runs, planned, float(delays[-1]), settings.min_training_rows)
    first = offsets(data.runs)
    held_out = sorted({r for heard, _ in planned for r in heard})
    whole = rests_between_clips(held_out_rows([(r, data.runs[r].rows) for r in held_out]))
    store = FeatureCache(model, cache)
    store.compute(data.clips)
    laid = _Laid(data, store, delays, tuple(folds), first, () if whole else tuple(held_out))
    index = np.sort(np.concatenate([fold.held_out for fold in folds]))
    made: tuple[AnyFold, ...]
    made = _folds(laid, index, settings.n_components) if settings.n_components else _kernel_folds(laid, index, cache)
    return _assemble(laid, made, index, notes)


@dataclass(frozen=True, eq=False)
class _Laid:
    """A model's features on the participant's runs; runs of which a mean clip is ``less`` what is tested."""

    data: ParticipantData
    store: FeatureCache
    delays: np.ndarray
    folds: tuple[Fold, ...]
    first: np.ndarray
    less: tuple[int, ...]

    def layer(self, layer: str) -> tuple[list[Binned], dict[int, Binned]]:
        """Return an layer's features, one a run, and by run those of its mean clip."""
        runs, given = self.data.runs, (self.store, layer, self.delays)
        common = {r: bin_run(runs[r], *given, mean_clip=True) for r in self.less}
        return [bin_run(run, *given) for run in runs], common

    def silent(self, layer: str) -> NotComputable:
        name = self.store.model.name
        return NotComputable(f"model {name}: features of {layer} do not vary over training rows")


def _folds(laid: _Laid, index: np.ndarray, n_components: int) -> tuple[FoldDesign, ...]:
    """Reduce every layer, in every fold, to the same number of components."""
    reduced: list[dict[str, tuple[Binned, ...]]] = [{} for _ in laid.folds]
    specific: list[dict[str, tuple[Binned, ...]]] = [{} for _ in laid.folds]
    for layer in laid.store.model.layers:
        binned, common = laid.layer(layer)
        now = np.concatenate([run.now for run in binned])
        for fold, layers, own in zip(laid.folds, reduced, specific):
            reduction = fit_reduction(now[fold.training], n_components)
            if reduction.axes.shape[1] == 0:
                raise laid.silent(layer)
            layers[layer] = tuple(Binned(reduction.apply(run.bins), run.index) for run in binned)
            own[layer] = _less(layers[layer], reduction, common)
    counts = [min(runs[0].bins.shape[1] for runs in layers.values()) for layers in reduced]
    return tuple(
        FoldDesign(fold, _cut(layers, count), _cut(own, count), np.searchsorted(index, fold.held_out))
        for fold, layers, own, count in zip(laid.folds, reduced, specific, counts)
    )


def _kernel_folds(laid: _Laid, index: np.ndarray, folder: Path) -> tuple[KernelFold, ...]:
    """Make kernels of all features of every layer in every fold."""
    layers, nuisance = laid.store.model.layers, laid.data.nuisance
    in_memory = _IN_MEMORY_BYTES // (len(laid.folds) * len(layers))
    kernels: list[dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]] = [{} for _ in laid.folds]
    varying: list[dict[str, int]] = [{} for _ in laid.folds]
    for layer in layers:
        binned, common = laid.layer(layer)
        for fold, made, counts in zip(laid.folds, kernels, varying):
            scaler = fit_scaler(_training_now(binned, fold, laid.first))
            if scaler.n_varying == 0:
                raise laid.silent(layer)
            features = LayerFeatures(binned, common, scaler, nuisance)
            made[layer] = layer_kernels(features, fold, laid.first, folder, in_memory)
            counts[layer] = scaler.n_varying
    return tuple(
        KernelFold(fold, made, counts, np.searchsorted(index, fold.held_out))
        for fold, made, counts in zip(laid.folds, kernels, varying)
    )


def _training_now(binned: Sequence[Binned], fold: Fold, first: np.ndarray) -> np.ndarray:
    """Features of training rows at lag 0, (n_training, n_features)."""
    run = np.searchsorted(first, fold.training, side="right") - 1
    return np.concatenate(
        [binned[r].bins[binned[r].index[fold.training[run == r] - first[r], 0]] for r in np.unique(run)]
    )


def _less(reduced: tuple[Binned, ...], reduction: Reduction, common: Mapping[int, Binned]) -> tuple[Binned, ...]:
    """Reduced features less those of the runs' mean clips."""
    return tuple(
        Binned(run.bins - reduction.apply(common[r].bins), run.index) if r in common else run
        for r, run in enumerate(reduced)
    )


def bin_run(run: Listening, store: FeatureCache, layer: str, delays: np.ndarray, mean_clip: bool = False) -> Binned:
    """Return one layer's features in one run, averaged over every volume at every lag.

    With ``mean_clip`` every presentation but lead-ins holds the mean, frame by frame, of those clips: what
    would be heard whatever the order of clips.
    """
    frames = [store.load(item.clip, layer) for item in run.presentations]
    if mean_clip:
        own = [k for k, item in enumerate(run.presentations) if not item.lead_in]
        mean = _mean_frames([frames[k] for k in own]) if own else None
        frames = [x if mean is None or k not in own else mean for k, x in enumerate(frames)]
    edges, values = steps(
        [item.onset for item in run.presentations],
        [item.clip.duration for item in run.presentations],
        frames,
        store.model.frame_rate[layer],
        store.silence(layer),
    )
    step = float(delays[1] - delays[0]) if len(delays) > 1 else 0.0
    return lay_features(edges, values, run.rows.times, run.rows.width(step), delays)


def _mean_frames(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over clips of every frame, over those that last so long."""
    total = np.zeros((max(map(len, clips)), clips[0].shape[1]))
    count = np.zeros((len(total), 1))
    for frames in clips:
        total[: len(frames)] += frames
        count[: len(frames)] += 1
    return (total / count).astype(np.float32)


def _assemble(
    laid: _Laid,
    made: tuple[AnyFold, ...],
    index: np.ndarray,
    notes: tuple[str, ...],
) -> Design:
    """List the held-out rows; tell where layers differ in dimension."""
    held_out = np.unique(np.searchsorted(laid.first, index, side="right") - 1)
    model = laid.store.model
    dimensions = {layer: min(fold.dimensions[layer] for fold in made) for layer in model.layers}
    if len(set(dimensions.values())) > 1:
        widths = ", ".join(f"{layer} {width}" for layer, width in dimensions.items())
        notes = (
            *notes,
            f"{model.name}: layers are compared with all their features, not matched in number "
            f"({widths}); --n-components N matches them",
        )
    return Design(
        model=model.name,
        layers=tuple(model.layers),
        lags=tuple(laid.delays),
        dimensions=dimensions,
        folds=made,
        rows=held_out_rows([(int(r), laid.data.runs[r].rows) for r in held_out]),
        index=index,
        notes=notes,
    )


def _cut(layers: dict[str, tuple[Binned, ...]], count: int) -> dict[str, tuple[Binned, ...]]:
    """The first components of every layer in every run."""
    return {layer: tuple(Binned(run.bins[:, :count], run.index) for run in runs) for layer, runs in layers.items()}
