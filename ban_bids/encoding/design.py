"""Design matrices of a model: equal-dimension areas, lagged, cleaned like BOLD, one set a fold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg

from ban_bids.encoding.blocks import rests_between_clips
from ban_bids.encoding.features import FeatureCache
from ban_bids.encoding.folds import Fold, Listening, make_folds, offsets
from ban_bids.encoding.nuisance import Nuisance
from ban_bids.encoding.participant import ParticipantData
from ban_bids.encoding.rows import HeldOutRows, held_out_rows
from ban_bids.encoding.timeline import Binned, lags, lay_features, steps
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.dataset import Run
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.models.base import AudioModel
from ban_bids.settings import EncodingSettings

_LOG = logging.getLogger(__name__)
_RANK_TOLERANCE = 1e-10
_FLAT = 1e-7


@dataclass(frozen=True, eq=False)
class Reduction:
    """Scaler and principal axes of one area, fitted on training rows.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_features,), float64
        ``scale`` is infinite for features that do not vary.
    axes : ndarray of shape (n_features, n_components), float64
        Orthonormal, by falling variance.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return component scores (n_rows, n_components), float32, of features (n_rows, n_features)."""
        return (((features - self.mean) / self.scale) @ self.axes).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FoldDesign:
    """A fold and its areas' reduced features in every run.

    Parameters
    ----------
    fold : Fold
    reduced : dict of str to tuple of Binned
        By area, one a run; all areas have the same number of components.
    specific : dict of str to tuple of Binned
        What is tested: the same, or the same less what the run's mean clip would give at every presentation
        (see `ban_bids.encoding.blocks.rests_between_clips`).
    held_out : ndarray, intp
        Where this fold's held-out rows stand in the table of held-out rows.
    """

    fold: Fold
    reduced: dict[str, tuple[Binned, ...]]
    specific: dict[str, tuple[Binned, ...]]
    held_out: np.ndarray

    def matrices(
        self, area: str, nuisance: Sequence[Nuisance], first: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the training and held-out features of an area, and what of the held-out ones is tested.

        Parameters
        ----------
        area : str
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
        for r, binned in enumerate(self.reduced[area]):
            mine = [rows[(rows >= first[r]) & (rows < first[r + 1])] - first[r] for rows in wanted]
            if any(map(len, mine)):
                cleaned = nuisance[r].project(binned.lagged())
                for rows, out in zip(mine, found):
                    out.append(cleaned[rows])
                specific.append(self.specific[area][r].lagged()[mine[1]])
        training, held_out = (np.concatenate(parts) for parts in found)
        own = np.concatenate(specific)
        power = float(np.mean(np.square(training, dtype=np.float64).sum(axis=1)))
        if power == 0:
            return training, held_out, own
        scale = np.float32(1 / np.sqrt(power))
        return training * scale, held_out * scale, own * scale


@dataclass(frozen=True, eq=False)
class Design:
    """A model's design matrices for one participant.

    Parameters
    ----------
    model : str
        The model's name.
    areas : tuple of str
        In the model's order.
    lags : tuple of float
        Seconds.
    n_components : tuple of int
        Components of every area, one entry a fold.
    folds : tuple of FoldDesign
    rows : HeldOutRows
        The held-out rows of all folds, by run and volume.
    index : ndarray of shape (n_held_out,), intp
        Their rows, counted through all runs.
    notes : tuple of str
        Dropped rows and split folds.
    """

    model: str
    areas: tuple[str, ...]
    lags: tuple[float, ...]
    n_components: tuple[int, ...]
    folds: tuple[FoldDesign, ...]
    rows: HeldOutRows
    index: np.ndarray
    notes: tuple[str, ...]


def fit_reduction(features: np.ndarray, n_components: int) -> Reduction:
    """Fit scaler and principal axes on training rows.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_features)
    n_components : int
        At most so many axes; fewer where the features have lower rank.

    Returns
    -------
    Reduction
        Features that do not vary are left out (z-score, then eigenvectors of the smaller Gram matrix).
    """
    table = features.astype(np.float64)
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale[scale <= _FLAT * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)] = np.inf
    table = (table - mean) / scale
    n_rows, n_features = table.shape
    wide = n_features > n_rows
    gram = table @ table.T if wide else table.T @ table
    first = max(0, len(gram) - n_components)
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(first, len(gram) - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    sound = values > _RANK_TOLERANCE * max(float(values[0]), np.finfo(np.float64).tiny)
    values, vectors = values[sound], vectors[:, sound]
    axes = table.T @ vectors / np.sqrt(values) if wide else vectors
    return Reduction(mean, scale, axes)


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


def design(
    data: ParticipantData, model: AudioModel, plan: HeldOutPlan, settings: EncodingSettings, cache: Path
) -> Design:
    """Lay a model's features on the participant's runs and reduce them fold by fold.

    Parameters
    ----------
    data : ParticipantData
    model : AudioModel
    plan : HeldOutPlan
        Which runs are held out together.
    settings : EncodingSettings
    cache : Path
        Folder of features by clip.

    Returns
    -------
    Design
        Scaler and axes are fitted on training rows only.

    Raises
    ------
    NotComputable
        No training rows are left, or an area's features do not vary.
    """
    delays = lags(max(run.rows.repetition_time for run in data.runs), settings.lag_max, settings.lag_step)
    planned = plan_indices(data.sources, plan)
    folds, notes = make_folds(data.runs, planned, float(delays[-1]), settings.min_training_rows)
    first = offsets(data.runs)
    held_out = sorted({r for heard, _ in planned for r in heard})
    whole = rests_between_clips(held_out_rows([(r, data.runs[r].rows) for r in held_out]))
    store = FeatureCache(model, cache)
    store.compute(data.clips)
    reduced: list[dict[str, tuple[Binned, ...]]] = [{} for _ in folds]
    specific: list[dict[str, tuple[Binned, ...]]] = [{} for _ in folds]
    for area in model.areas:
        binned = [bin_run(run, store, area, delays) for run in data.runs]
        common = [] if whole else [bin_run(run, store, area, delays, mean_clip=True) for run in data.runs]
        now = np.concatenate([run.now for run in binned])
        for fold, areas, own in zip(folds, reduced, specific):
            reduction = fit_reduction(now[fold.training], settings.n_components)
            if reduction.axes.shape[1] == 0:
                raise NotComputable(f"model {model.name}: features of {area} do not vary over training rows")
            areas[area] = tuple(Binned(reduction.apply(run.bins), run.index) for run in binned)
            own[area] = areas[area] if whole else _less(areas[area], reduction, common)
    return _assemble(data, model, folds, reduced, specific, delays, first, notes)


def _less(reduced: Sequence[Binned], reduction: Reduction, common: Sequence[Binned]) -> tuple[Binned, ...]:
    """Reduced features less those of the runs' mean clips."""
    return tuple(
        Binned(run.bins - reduction.apply(mean.bins), run.index) for run, mean in zip(reduced, common)
    )


def bin_run(
    run: Listening, store: FeatureCache, area: str, delays: np.ndarray, mean_clip: bool = False
) -> Binned:
    """Return one area's features in one run, averaged over every volume at every lag.

    With ``mean_clip`` every presentation but lead-ins holds the mean, frame by frame, of those clips: what
    would be heard whatever the order of clips.
    """
    frames = [store.load(item.clip, area) for item in run.presentations]
    if mean_clip:
        own = [k for k, item in enumerate(run.presentations) if not item.lead_in]
        mean = _mean_frames([frames[k] for k in own]) if own else None
        frames = [x if mean is None or k not in own else mean for k, x in enumerate(frames)]
    edges, values = steps(
        [item.onset for item in run.presentations],
        [item.clip.duration for item in run.presentations],
        frames,
        store.model.frame_rate[area],
        store.silence(area),
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
    data: ParticipantData,
    model: AudioModel,
    folds: Sequence[Fold],
    reduced: Sequence[dict[str, tuple[Binned, ...]]],
    specific: Sequence[dict[str, tuple[Binned, ...]]],
    delays: np.ndarray,
    first: np.ndarray,
    notes: tuple[str, ...],
) -> Design:
    """Give every area of a fold the same number of components, and list the held-out rows."""
    index = np.sort(np.concatenate([fold.held_out for fold in folds]))
    held_out = np.unique(np.searchsorted(first, index, side="right") - 1)
    counts = [min(runs[0].bins.shape[1] for runs in areas.values()) for areas in reduced]
    return Design(
        model=model.name,
        areas=tuple(model.areas),
        lags=tuple(delays),
        n_components=tuple(counts),
        folds=tuple(
            FoldDesign(
                fold,
                _cut(areas, count),
                _cut(own, count),
                np.searchsorted(index, fold.held_out),
            )
            for fold, areas, own, count in zip(folds, reduced, specific, counts)
        ),
        rows=held_out_rows([(int(r), data.runs[r].rows) for r in held_out]),
        index=index,
        notes=notes,
    )


def _cut(areas: dict[str, tuple[Binned, ...]], count: int) -> dict[str, tuple[Binned, ...]]:
    """The first components of every area in every run."""
    return {
        area: tuple(Binned(run.bins[:, :count], run.index) for run in runs) for area, runs in areas.items()
    }
