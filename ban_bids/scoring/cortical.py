"""Cortical score: the share of a region's explainable variance that a model's layer predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np

from ban_bids.constants import JOINT
from ban_bids.encoding.rows import HeldOutRows, Repeats
from ban_bids.scoring.bootstrap import (
    Estimate,
    centred_draws,
    clip_statistics,
    percentile_interval,
    resample_counts,
    share,
    signal_power,
    with_interval,
)
from ban_bids.scoring.ceiling import cc_norm, noise_ceiling, voxel_correlation

NO_REPEATS = "no clip is repeated in the held-out runs, so explainable variance is unknown"
FEW_CLIPS = 10
"""With fewer repeated clips, the bootstrap interval is marked as rough."""

_THE_REGION = "\0"  # in no reason
_VOXELS = 256
_STREAM = 1


@dataclass(frozen=True)
class LayerScore(Estimate):
    """One model layer in one region: c, the share of explainable variance.

    Parameters
    ----------
    layer, region : str
    n_voxels : int
        Voxels of the region with finite, varying BOLD and a finite prediction.
    mean_r : float
        Mean voxel correlation on the rows that the ``r`` maps use.
    squared_ratio : float
        Sum of r|r| over sum of CCmax squared (biased upwards; reported beside c).
    median_ccnorm : float
        Median r / CCmax over the voxels where it is defined.
    unnormalised : float
        Sum of r|r| over number of voxels, on single presentations; it never enters BAS.
    """

    layer: str
    region: str
    n_voxels: int
    mean_r: float = np.nan
    squared_ratio: float = np.nan
    median_ccnorm: float = np.nan
    unnormalised: float = np.nan


@dataclass(frozen=True, eq=False)
class CorticalScore(Estimate):
    """C of one model in one participant: the mean of the layers' c, NaN if one of them is.

    Draws are the same draws of clips in all layers.

    Parameters
    ----------
    model : str
    layers : tuple of LayerScore
        One for every (layer, region) pair that enters C.
    alignment, alignment_low, alignment_high : ndarray of shape (n_layers, n_regions)
        c of every model layer in every region, and its bootstrap interval.
    alignment_layers, alignment_regions : tuple of str
        Its rows and columns.
    n_repeats, n_clips : int
        Repeats of every repeated clip, and repeated clips; 0 without repeats.
    notes : tuple of str
    """

    model: str
    layers: tuple[LayerScore, ...]
    alignment: np.ndarray
    alignment_low: np.ndarray
    alignment_high: np.ndarray
    alignment_layers: tuple[str, ...]
    alignment_regions: tuple[str, ...]
    n_repeats: int = 0
    n_clips: int = 0
    notes: tuple[str, ...] = ()


def scored_pairs(
    mapping: Mapping[str, str] | None, layers: Sequence[str], regions: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Pairs (layer, region) that enter C: those of the mapping; without one every layer meets every region."""
    if mapping is None:
        return tuple(product(layers, regions))
    return tuple((layer, mapping[layer]) for layer in layers if layer in mapping)


def cortical_score(
    model: str,
    predictions: Mapping[str, np.ndarray],
    bold: np.ndarray,
    *,
    labels: np.ndarray,
    rows: HeldOutRows,
    repeats: Repeats | None,
    regions: Sequence[str],
    mapping: Mapping[str, str] | None = None,
    absent: Mapping[str, str] = MappingProxyType({}),
    ev_floor: float = 0.01,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> CorticalScore:
    """Score one model's layers in their regions and make the alignment matrix.

    For layer a in its region, with mean prediction p and mean BOLD m of the unique held-out rows,
    ``c_a = sum_v [2 cov(p, m) - var(p)] / sum_v SP_v`` (`ban_bids.scoring.bootstrap.share`): no voxel is
    selected and nothing is clipped.

    Parameters
    ----------
    model : str
        Name of the model.
    predictions : mapping of str to ndarray of shape (n, V)
        Prediction of all held-out rows from each layer; ``Joint`` is left out.
    bold : ndarray of shape (n, V)
    labels : ndarray of shape (V,), int
        Region of every voxel: 1 is ``regions[0]``; 0 belongs to none.
    rows : HeldOutRows
        The n rows.
    repeats : Repeats or None
        None without repeats: c, C and the alignment matrix are then NaN.
    regions : sequence of str
    mapping : mapping of layer to region, optional
        The model's own; without it every layer meets every region.
    absent : mapping of str to str
        Regions that the atlas does not have, with the reason: they have no voxel, and their c is NaN.
    ev_floor : float
        Least single-repeat explainable variance for CCnorm.
    n_bootstrap, seed : int

    Returns
    -------
    CorticalScore
    """
    layers = tuple(layer for layer in predictions if layer != JOINT)
    measured = _Measured(bold, rows, repeats, ev_floor, _draws(repeats, n_bootstrap, seed))
    pairs = scored_pairs(mapping, layers, regions)
    cells = {}
    for layer, region in dict.fromkeys((*pairs, *product(layers, regions))):
        members = np.flatnonzero(labels == regions.index(region) + 1) if region in regions else np.array([], dtype=int)
        score = measured.score(layer, region, predictions[layer], members)
        cells[layer, region] = replace(score, reason=absent[region]) if region in absent else score
    table = [[cells[layer, region] for region in regions] for layer in layers]
    alignment = np.array([[(cell.value, cell.ci_low, cell.ci_high) for cell in line] for line in table], dtype=float)
    alignment = alignment.reshape(len(layers), len(regions), 3)
    scores = tuple(cells[pair] for pair in pairs)
    reason = _together([score for score in scores if not np.isfinite(score.value)])
    if not scores:
        reason = "the model has no layer that belongs to a region"
    mean: dict[str, Any] = {}
    if not reason:
        value, draws = (np.mean([getattr(score, name) for score in scores], axis=0) for name in ("value", "draws"))
        mean = with_interval(value, draws)
    return CorticalScore(
        model=model,
        layers=scores,
        **mean,
        alignment=alignment[..., 0],
        alignment_low=alignment[..., 1],
        alignment_high=alignment[..., 2],
        alignment_layers=layers,
        alignment_regions=tuple(regions),
        n_repeats=0 if repeats is None else repeats.n_repeats,
        n_clips=measured.n_clips,
        reason=reason,
        notes=measured.notes,
    )


def _draws(repeats: Repeats | None, n_bootstrap: int, seed: int) -> np.ndarray:
    """Counts of clips: row 0 has every clip once (the estimate); the others are bootstrap draws."""
    if repeats is None:
        return np.ones((1, 0))
    n_clips = len(np.unique(repeats.clip))
    drawn = resample_counts(n_clips, n_bootstrap, (seed, _STREAM))
    # A draw of one and the same clip has no variance between clips and tells nothing.
    drawn = drawn[(drawn > 0).sum(axis=1) > 1]
    return np.concatenate([np.ones((1, n_clips)), drawn])


@dataclass(frozen=True, eq=False)
class _Measured:
    """BOLD of all held-out rows (n, V), and what scores on it rest on; ``counts`` from `_draws`."""

    bold: np.ndarray
    rows: HeldOutRows
    repeats: Repeats | None
    ev_floor: float
    counts: np.ndarray

    @property
    def n_clips(self) -> int:
        """Repeated clips."""
        return self.counts.shape[1]

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the repeats, and whether they are few."""
        notes = () if self.repeats is None else self.repeats.notes
        if 0 < self.n_clips < FEW_CLIPS:
            notes += (f"only {self.n_clips} clips are repeated: the bootstrap intervals of c and C are rough",)
        return notes

    def usable(self, members: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Voxels whose BOLD is finite and varies, and whose prediction is finite, on the rows that are scored."""
        used = np.flatnonzero(self.rows.scored) if self.repeats is None else np.unique(self.repeats.index)
        y = self.bold[np.ix_(used, members)]
        with np.errstate(invalid="ignore"):
            keep = np.isfinite(y).all(axis=0) & (np.ptp(y, axis=0) > 1e-6)
        return members[keep & np.isfinite(prediction[np.ix_(used, members)]).all(axis=0)]

    def score(self, layer: str, region: str, prediction: np.ndarray, members: np.ndarray) -> LayerScore:
        """Everything about one layer in one region, on its usable voxels."""
        voxels = self.usable(members, prediction)
        score = LayerScore(layer, region, len(voxels))
        if not len(voxels):
            return replace(score, reason=f"no voxel of region {region} can be scored")
        prediction, bold = prediction[:, voxels], self.bold[:, voxels]
        single = voxel_correlation(prediction, bold, self.rows, None)
        score = replace(score, unnormalised=float(np.nansum(single * np.abs(single)) / len(voxels)))
        if self.repeats is None:
            return replace(score, mean_r=float(np.nan_to_num(single).mean()), reason=NO_REPEATS)
        drawn, why = _share(prediction, bold, self.repeats, self.counts, self.ev_floor)
        r = voxel_correlation(prediction, bold, self.rows, self.repeats)
        ceiling = noise_ceiling(bold, self.repeats)
        normalised = cc_norm(r, ceiling, self.ev_floor)
        normalised = normalised[np.isfinite(normalised)]
        squared_ceiling = float(np.sum(ceiling.sp / ceiling.var_mean))
        return replace(
            score,
            **({} if why else with_interval(drawn[0], centred_draws(drawn[1:], drawn[0]))),
            mean_r=float(np.nan_to_num(r).mean()),
            squared_ratio=float(np.nansum(r * np.abs(r)) / squared_ceiling) if squared_ceiling > 0 else np.nan,
            median_ccnorm=float(np.median(normalised)) if normalised.size else np.nan,
            reason=f"region {region} holds {why}" if why else "",
        )


def _share(
    prediction: np.ndarray, bold: np.ndarray, repeats: Repeats, counts: np.ndarray, ev_floor: float
) -> tuple[np.ndarray, str]:
    """Share c in every draw of clips, (n_draws,), and why there is none.

    A ratio to a signal power that may be zero is no share of anything, however large it looks.
    """
    slabs = [slice(start, start + _VOXELS) for start in range(0, bold.shape[1], _VOXELS)]
    parts = [clip_statistics(prediction[:, v], bold[:, v], repeats) for v in slabs]
    statistics = sum(parts[1:], parts[0])
    drawn, signal = share(statistics, counts), signal_power(statistics, counts)
    if not signal[0] > 0:
        return drawn, "no explainable variance: its signal power is not positive"
    total = float(noise_ceiling(bold, repeats).tp.sum())
    if signal[0] < ev_floor * total:
        return drawn, f"explainable variance {signal[0] / total:.4f} under the floor of {ev_floor}"
    if not percentile_interval(centred_draws(signal[1:], signal[0]))[0] > 0:
        return drawn, "explainable variance whose interval includes zero"
    return drawn, ""


def _together(missing: list[LayerScore]) -> str:
    """One reason for several regions that share it."""
    regions: dict[str, list[str]] = {}
    for score in missing:
        why = score.reason.replace(f"region {score.region}", _THE_REGION)
        regions.setdefault(why, []).append(score.region)
    return "; ".join(
        why.replace(_THE_REGION, f"region {', '.join(dict.fromkeys(names))}") for why, names in regions.items()
    )
