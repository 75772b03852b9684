"""Cortical score: how much of the regions' explainable variance a model's layers predict, and which layer where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from ban_bids.constants import JOINT
from ban_bids.encoding.repeats import Repeats
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.scoring.bootstrap import (
    ClipStatistics,
    Estimate,
    centred_draws,
    clip_statistics,
    percentile_interval,
    resample_counts,
    share,
    signal_power,
    with_interval,
)
from ban_bids.scoring.ceiling import Ceiling, cc_norm, noise_ceiling, voxel_correlation
from ban_bids.scoring.commitment import LayerChoice
from ban_bids.scoring.correspondence import ONE_REGION, EstimateWithP, hierarchy_index, layer_preference
from ban_bids.scoring.rsquare import noise_corrected_rsquare

NO_REPEATS = "no clip is repeated in the held-out runs, so explainable variance is unknown"
NO_MAPPING = "the model has no mapping of its layers to regions"
FEWEST_CLIPS = 3
"""With fewer repeated clips there is no c: all draws that hold two different clips are alike, whatever the noise."""

FEW_CLIPS = 10
"""With fewer repeated clips, the bootstrap interval is marked as rough."""

_THE_REGION = "\0"  # in no reason
_VOXELS = 256
_STREAM = 1


@dataclass(frozen=True)
class LayerScore(Estimate):
    """One model layer, or the committed one, in one region: c, the share of explainable variance.

    Parameters
    ----------
    layer, region : str
    n_voxels : int
        Voxels of the region with finite, varying BOLD and finite predictions.
    mean_r : float
        Mean voxel correlation on the rows that the ``r`` maps use.
    median_ccnorm : float
        Median r / CCmax over the voxels where it is defined.
    unnormalised : float
        Sum of r|r| over number of voxels, on single presentations; it never enters BAS.
    statistics : ClipStatistics or None
        What c of any draw of clips follows from; None without repeats or voxels.
    """

    layer: str
    region: str
    n_voxels: int
    mean_r: float = np.nan
    median_ccnorm: float = np.nan
    unnormalised: float = np.nan
    statistics: ClipStatistics | None = field(default=None, compare=False, repr=False)

    @property
    def rho(self) -> Estimate:
        """C in correlation form, with the limits and draws of c in the same form."""
        value, low, high = correlation_form(np.array([self.value, self.ci_low, self.ci_high]))
        draws = correlation_form(self.draws)
        return Estimate(value=float(value), ci_low=float(low), ci_high=float(high), draws=draws, reason=self.reason)


def correlation_form(c: np.ndarray) -> np.ndarray:
    """``sgn(c) sqrt(|c|)``: a share of explainable variance as a correlation relative to its ceiling."""
    return np.sign(c) * np.sqrt(np.abs(c))


@dataclass(frozen=True, eq=False)
class CorticalScore(Estimate):
    """C of one model in one participant, and what it consists of; NaN with the reason where a region has no score.

    ``C = mean over regions of rho of the region's committed layer``. All draws are the same draws of clips.

    Parameters
    ----------
    model : str
    layers : tuple of LayerScore
        Every layer in every region, layer by layer.
    regions : tuple of LayerScore
        The prediction of each region's committed layer; ``layer`` names all that folds committed.
    committed : mapping of region to mapping of layer to float
        In which share of the outer folds a layer was committed to the region, in the model's order; layers that never
        were are not there, nor are regions without voxels.
    mapping : mapping of layer to region
        The model's own; empty without one.
    mapped : Estimate
        ``C_mapped``: the same mean with the layers of the model's own mapping.
    rsquare : Estimate
        Median noise-corrected R², see `ban_bids.scoring.rsquare`.
    preference, hierarchy : EstimateWithP
        See `ban_bids.scoring.correspondence`.
    n_repeats, n_clips : int
        Repeats of every repeated clip, and repeated clips; 0 without repeats.
    notes : tuple of str
    rough : mapping of region to str
        Why intervals there may cover too little; regions of which they do not are absent.
    """

    model: str
    layers: tuple[LayerScore, ...]
    regions: tuple[LayerScore, ...]
    committed: Mapping[str, Mapping[str, float]]
    mapping: Mapping[str, str]
    mapped: Estimate
    rsquare: Estimate
    preference: EstimateWithP
    hierarchy: EstimateWithP
    n_repeats: int = 0
    n_clips: int = 0
    notes: tuple[str, ...] = ()
    rough: Mapping[str, str] = field(default_factory=dict)

    @property
    def statistics(self) -> dict[tuple[str, str], ClipStatistics]:
        """Of every (layer, region) that has them."""
        return {(score.layer, score.region): score.statistics for score in self.layers if score.statistics is not None}

    @property
    def committed_statistics(self) -> dict[str, ClipStatistics]:
        """Of the committed prediction of every region that has one, put together over folds."""
        return {score.region: score.statistics for score in self.regions if score.statistics is not None}


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredRegions:
    """Held-out BOLD of the voxels of regions: what every model of a participant is scored against.

    Parameters
    ----------
    bold : ndarray of shape (n, V)
    labels : ndarray of shape (V,), int
        Region of every voxel: 1 is ``regions[0]``; 0 belongs to none.
    rows : HeldOutRows
        The n rows.
    repeats : Repeats or None
        None without repeats: there is no explainable variance then, and c and C are NaN.
    regions : sequence of str
    absent : mapping of str to str
        Regions that the atlas does not have, with the reason.
    ev_floor : float
        Least single-repeat explainable variance of regions for c, of voxels for CCnorm and R².
    n_bootstrap, seed : int
        Of the draws of clips.
    """

    bold: np.ndarray
    labels: np.ndarray
    rows: HeldOutRows
    repeats: Repeats | None
    regions: Sequence[str]
    absent: Mapping[str, str] = field(default_factory=dict)
    ev_floor: float = 0.01
    n_bootstrap: int = 1000
    seed: int = 0

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each repeated clip is drawn, (1 + n_draws, K): row 0 has every clip once, the estimate."""
        if self.repeats is None:
            return np.ones((1, 0))
        n_clips = len(np.unique(self.repeats.clip))
        drawn = resample_counts(n_clips, self.n_bootstrap, (self.seed, _STREAM))
        # A draw of one and the same clip has no variance between clips and tells nothing.
        drawn = drawn[((drawn > 0).sum(axis=1) > 1) & (n_clips >= FEWEST_CLIPS)]
        return np.concatenate([np.ones((1, n_clips)), drawn])

    @cached_property
    def used(self) -> np.ndarray:
        """Rows that scores rest on."""
        return np.flatnonzero(self.rows.scored) if self.repeats is None else np.unique(self.repeats.index)

    @cached_property
    def usable(self) -> np.ndarray:
        """Voxels of regions whose BOLD is finite and varies on the rows used, (V,), bool."""
        y = self.bold[self.used]
        with np.errstate(invalid="ignore"):
            return np.isfinite(y).all(axis=0) & (np.ptp(y, axis=0) > 1e-6) & (self.labels > 0)

    @cached_property
    def responding(self) -> np.ndarray:
        """Usable voxels with explainable variance over the floor, (V,), bool; without repeats all usable ones."""
        if self.repeats is None:
            return self.usable
        over = np.zeros(len(self.usable), dtype=bool)
        for v in _slabs(np.flatnonzero(self.usable)):
            over[v] = noise_ceiling(self.bold[:, v], self.repeats).ev >= self.ev_floor
        return over

    @property
    def _few(self) -> str:
        """That few clips are repeated; nothing where they are not, or so few that there is no c."""
        n_clips = self.counts.shape[1]
        return f"only {n_clips} clips are repeated" if FEWEST_CLIPS <= n_clips < FEW_CLIPS else ""

    @property
    def rough(self) -> dict[str, str]:
        """Why intervals of a region may cover too little, by region."""
        half = "explainable variance of {} may be half of what was found"
        barely = {region: half.format(region) for region in self.barely_known}
        known = {region: [self._few, barely.get(region, "")] for region in self.regions}
        return {region: "; ".join(filter(None, why)) for region, why in known.items() if any(why)}

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the repeats, and whether they are few."""
        notes = () if self.repeats is None else self.repeats.notes
        if self._few:
            notes += (f"{self._few}: the bootstrap intervals of c and C are rough",)
        if self.barely_known:
            names = ", ".join(self.barely_known)
            notes += (f"explainable variance of {names} may be half of what was found: c and its interval are rough",)
        return notes

    @cached_property
    def barely_known(self) -> tuple[str, ...]:
        """Regions whose signal power has an interval that reaches down to half of it; c tends to be too low there."""
        if self.repeats is None or self.counts.shape[1] < FEWEST_CLIPS:
            return ()
        found = []
        for k, region in enumerate(self.regions):
            bold = self.bold[:, self.usable & (self.labels == k + 1)]
            if bold.shape[1]:
                signal = signal_power(_statistics(bold, bold, self.repeats), self.counts)
                low = percentile_interval(centred_draws(signal[1:], signal[0], self.counts.shape[1]))[0]
                found += [region] if 0 < low < signal[0] / 2 else []
        return tuple(found)

    def estimated(self, drawn: np.ndarray) -> dict[str, Any]:
        """Fields of an ``Estimate`` from a number in every row of ``counts``."""
        return with_interval(drawn[0], centred_draws(drawn[1:], drawn[0], self.counts.shape[1]))

    def score(self, layer: str, region: str, prediction: np.ndarray, voxels: np.ndarray) -> LayerScore:
        """Everything about one prediction (n, len(voxels)) of a region's usable voxels."""
        score = LayerScore(layer, region, len(voxels))
        if not len(voxels):
            return replace(score, reason=self.absent.get(region, f"no voxel of region {region} can be scored"))
        bold = self.bold[:, voxels]
        single = voxel_correlation(prediction, bold, self.rows, None)
        score = replace(score, unnormalised=float(np.nansum(single * np.abs(single)) / len(voxels)))
        if self.repeats is None:
            return replace(score, mean_r=float(np.nan_to_num(single).mean()), reason=NO_REPEATS)
        statistics = _statistics(prediction, bold, self.repeats)
        ceiling = noise_ceiling(bold, self.repeats)
        why = self._why_no_share(statistics, ceiling)
        r = voxel_correlation(prediction, bold, self.rows, self.repeats)
        normalised = cc_norm(r, ceiling, self.ev_floor)
        normalised = normalised[np.isfinite(normalised)]
        return replace(
            score,
            **({} if why else self.estimated(share(statistics, self.counts))),
            mean_r=float(np.nan_to_num(r).mean()),
            median_ccnorm=float(np.median(normalised)) if normalised.size else np.nan,
            reason=f"region {region} holds {why}" if why else "",
            statistics=statistics,
        )

    def _why_no_share(self, statistics: ClipStatistics, ceiling: Ceiling) -> str:
        """A ratio to a signal power that may be zero is no share of anything, however large it looks."""
        signal, total = signal_power(statistics, self.counts), float(ceiling.tp.sum())
        if not signal[0] > 0:
            return "no explainable variance: its signal power is not positive"
        if signal[0] < self.ev_floor * total:
            return f"explainable variance {signal[0] / total:.4f} under the floor of {self.ev_floor}"
        if (n_clips := self.counts.shape[1]) < FEWEST_CLIPS:
            return f"explainable variance of too few repeated clips ({n_clips} of {FEWEST_CLIPS}) to tell it from none"
        if not percentile_interval(centred_draws(signal[1:], signal[0], self.counts.shape[1]))[0] > 0:
            return "explainable variance whose interval includes zero"
        return ""


def cortical_score(
    model: str,
    predictions: Mapping[str, np.ndarray],
    inner: Mapping[str, np.ndarray],
    measured: MeasuredRegions,
    *,
    mapping: Mapping[str, str] | None = None,
) -> CorticalScore:
    """Score every layer of a model in every region, and the layers that training rows commit to the regions.

    For layer a in a region, with mean prediction p and mean BOLD m of the unique held-out rows,
    ``c_a = sum_v [2 cov(p, m) - var(p)] / sum_v SP_v`` (`ban_bids.scoring.bootstrap.share`): no voxel is
    selected and nothing is clipped. A region's committed layer is, outer fold by outer fold, that with the largest
    mean inner-fold score over the region's voxels; ``C`` is the mean over regions of ``rho = sgn(c) sqrt(|c|)`` of
    what these layers predict of their folds' held-out rows.

    Parameters
    ----------
    model : str
        Name of the model.
    predictions : mapping of str to ndarray of shape (n, V)
        Prediction of all held-out rows from each layer, in the model's order; ``Joint`` is left out.
    inner : mapping of str to ndarray of shape (n_folds, V)
        Scores of these layers on inner folds (`ban_bids.encoding.fit.Encoded`).
    measured : MeasuredRegions
    mapping : mapping of layer to region, optional
        The model's own.

    Returns
    -------
    CorticalScore
    """
    layers = [layer for layer in predictions if layer != JOINT]
    choice = LayerChoice.among({layer: inner[layer] for layer in layers}, measured.rows.fold)
    predicted = _Predicted({layer: predictions[layer] for layer in layers}, choice, measured)
    scores = [predicted.committed_score(region) for region in measured.regions]
    return CorticalScore(
        **vars(_mean_rho([[score] for score in scores])),
        model=model,
        layers=tuple(predicted.cells.values()),
        regions=tuple(scores),
        committed={region: choice.shares(chosen) for region, chosen in predicted.chosen.items()},
        mapping=dict(mapping or {}),
        mapped=predicted.mapped(mapping),
        rsquare=predicted.rsquare(),
        preference=predicted.preference(),
        hierarchy=predicted.hierarchy(),
        n_repeats=0 if measured.repeats is None else measured.repeats.n_repeats,
        n_clips=measured.counts.shape[1],
        notes=measured.notes,
        rough=measured.rough,
    )


@dataclass(frozen=True, eq=False)
class _Predicted:
    """Predictions (n, V) of a model's layers, and which layer its training rows choose where."""

    predictions: Mapping[str, np.ndarray]
    choice: LayerChoice
    measured: MeasuredRegions

    @cached_property
    def voxels(self) -> dict[str, np.ndarray]:
        """Usable voxels of every region, the same for all layers."""
        usable, used = self.measured.usable.copy(), self.measured.used
        for prediction in self.predictions.values():
            usable &= np.isfinite(prediction[used]).all(axis=0)
        labels = self.measured.labels
        return {region: np.flatnonzero(usable & (labels == k)) for k, region in enumerate(self.measured.regions, 1)}

    @property
    def responding(self) -> np.ndarray:
        """Usable voxels of all regions with explainable variance over the floor."""
        voxels = np.concatenate(list(self.voxels.values()))
        return voxels[self.measured.responding[voxels]]

    @cached_property
    def cells(self) -> dict[tuple[str, str], LayerScore]:
        """Every layer in every region."""
        return {
            (layer, region): self.measured.score(layer, region, self.predictions[layer][:, voxels], voxels)
            for layer, (region, voxels) in product(self.predictions, self.voxels.items())
        }

    @cached_property
    def chosen(self) -> dict[str, np.ndarray]:
        """Index of the layer that each fold commits to a region, for regions that have voxels."""
        return {region: self.choice.of_region(voxels) for region, voxels in self.voxels.items() if len(voxels)}

    def committed_score(self, region: str) -> LayerScore:
        """Score of what the committed layers predict, each in its own folds."""
        if region not in self.chosen:
            return self.measured.score("", region, self.measured.bold[:, :0], self.voxels[region])
        names = tuple(self.choice.shares(self.chosen[region]))
        if len(names) == 1:
            return self.cells[names[0], region]
        return self.measured.score(", ".join(names), region, self._together(region), self.voxels[region])

    def _together(self, region: str) -> np.ndarray:
        return self.choice.put_together(list(self.predictions.values()), self.voxels[region], self.chosen[region])

    def mapped(self, mapping: Mapping[str, str] | None) -> Estimate:
        """C with the layers of the model's own mapping."""
        if not mapping:
            return Estimate(reason=NO_MAPPING)
        regions = self.measured.regions
        own = [[self.cells[layer, r] for layer in self.predictions if mapping.get(layer) == r] for r in regions]
        without = [region for region, scores in zip(regions, own, strict=True) if not scores]
        if without:
            return Estimate(reason=f"the model's mapping has no layer for region {', '.join(without)}")
        return _mean_rho(own)

    def rsquare(self) -> Estimate:
        """Median noise-corrected R² of the layers that are best in each voxel."""
        measured, voxels = self.measured, self.responding
        if measured.repeats is None:
            return Estimate(reason=NO_REPEATS)
        first = next(iter(self.predictions))
        scores = [self.cells[first, region] for region in measured.regions]
        if not any(np.isfinite(score.value) for score in scores):
            return Estimate(reason=_reasons(scores))
        if not len(voxels):
            return Estimate(reason=f"no voxel has explainable variance over the floor of {measured.ev_floor}")
        best = self.choice.put_together(list(self.predictions.values()), voxels, self.choice.of_voxels(voxels))
        medians = noise_corrected_rsquare(
            best, measured.bold[:, voxels], measured.repeats, counts=measured.counts, ev_floor=measured.ev_floor
        )
        return Estimate(**measured.estimated(medians))

    def preference(self) -> EstimateWithP:
        """Whether regions prefer their committed layers."""
        layers = tuple(self.predictions)
        regions = [region for region in self.chosen if np.isfinite(self.cells[layers[0], region].value)]
        if self.measured.repeats is None:
            return EstimateWithP(reason=NO_REPEATS)
        if not regions:
            return EstimateWithP(reason=ONE_REGION)
        table = [[self.cells[layer, region] for region in regions] for layer in layers]
        c = np.array([[score.value for score in line] for line in table])
        draws = np.array([[score.draws for score in line] for line in table]).transpose(2, 0, 1)
        shares = [self.choice.shares(self.chosen[region]) for region in regions]
        return layer_preference(c, draws, np.array([[own.get(layer, 0) for own in shares] for layer in layers]))

    def hierarchy(self) -> EstimateWithP:
        """Whether deeper regions prefer deeper layers."""
        voxels = self.responding
        return hierarchy_index(self.choice.depth(voxels), self.measured.labels[voxels], len(self.predictions))


def _statistics(prediction: np.ndarray, bold: np.ndarray, repeats: Repeats) -> ClipStatistics:
    parts = [clip_statistics(prediction[:, v], bold[:, v], repeats) for v in _slabs(np.arange(bold.shape[1]))]
    return sum(parts[1:], parts[0])


def _slabs(voxels: np.ndarray) -> list[np.ndarray]:
    """Few voxels at a time: statistics in float64 take memory."""
    return [voxels[first : first + _VOXELS] for first in range(0, len(voxels), _VOXELS)]


def _mean_rho(scores: Sequence[Sequence[LayerScore]]) -> Estimate:
    """Mean over regions of the mean rho of each region's scores, in the same draws; one missing, all missing."""
    missing = [score for own in scores for score in own if not np.isfinite(score.value)]
    if missing:
        return Estimate(reason=_reasons(missing))
    value, draws = (
        np.mean([np.mean([getattr(score.rho, name) for score in own], axis=0) for own in scores], axis=0)
        for name in ("value", "draws")
    )
    return Estimate(**with_interval(value, draws))


def _reasons(missing: Sequence[LayerScore]) -> str:
    """One reason for several regions that share it."""
    regions: dict[str, list[str]] = {}
    for score in missing:
        why = score.reason.replace(f"region {score.region}", _THE_REGION)
        regions.setdefault(why, []).append(score.region)
    said = []
    for why, names in regions.items():
        several = list(dict.fromkeys(names))
        if len(several) > 1:
            why = why.replace(f"{_THE_REGION} holds", f"{_THE_REGION} hold").replace("its signal", "their signal")
        said.append(why.replace(_THE_REGION, f"region{'s' * (len(several) > 1)} {', '.join(several)}"))
    return "; ".join(said)
