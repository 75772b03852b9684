"""Scores of every voxel, and tests of regions: made slab by slab as named arrays, then put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from ban_bids.constants import JOINT
from ban_bids.encoding.cleaning import Nuisance
from ban_bids.encoding.crossed import CrossingFactor, Factors, tested
from ban_bids.encoding.fit import Encoded
from ban_bids.encoding.penalties import Penalties
from ban_bids.encoding.permutation import QUESTIONS, PermutationPlan, permutation_plan
from ban_bids.encoding.repeats import Repeats, repeat_rows, with_noise
from ban_bids.encoding.rows import HeldOut, HeldOutRows
from ban_bids.encoding.significance import RoiSums, fdr_bh, max_statistic_p, null_from_sums, roi_p, roi_sums, voxel_p
from ban_bids.errors import NotComputable
from ban_bids.scoring.ceiling import cc_norm, noise_ceiling, voxel_correlation
from ban_bids.scoring.cortical import CorticalScore

BEST_LAYER = "bestlayer"


@dataclass(frozen=True, eq=False)
class HeldOutTests:
    """What the held-out rows allow: repeats for a ceiling, arrangements for p values, or why not.

    Parameters
    ----------
    rows : HeldOutRows
    repeats : Repeats or None
    plans : dict of str to PermutationPlan
        By question, ``sound`` and ``specific``, where it can be answered.
    reasons : dict of str to str
        ``"ceiling"``, ``"psound"`` and ``"pspecific"``: why one of them is ``n/a``.
    """

    rows: HeldOutRows
    repeats: Repeats | None
    plans: dict[str, PermutationPlan]
    reasons: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of repeats and permutations, and reasons for what is ``n/a``."""
        parts = [part for part in (self.repeats, *self.plans.values()) if part is not None]
        notes = dict.fromkeys(note for part in parts for note in part.notes)
        return (*notes, *(f"{name}: n/a, {why}" for name, why in self.reasons.items()))


def held_out_tests(
    rows: HeldOutRows,
    nuisance: Sequence[Nuisance],
    *,
    n_permutations: int,
    seed: int,
    crossed: bool = False,
    same: np.ndarray | None = None,
) -> HeldOutTests:
    """Find repeats and draw permutations, the same for every model of a participant.

    Parameters
    ----------
    rows : HeldOutRows
    nuisance : sequence of Nuisance
        Of every run: what cleaning makes of noise is taken off the ceiling (`ban_bids.encoding.noise`).
    n_permutations, seed : int
    crossed : bool
        Folds train on one another's held-out rows, see `ban_bids.encoding.permutation.CROSSED`.
    same : ndarray of int, optional
        For each clip the first one that sounds the same; itself by default.

    Returns
    -------
    HeldOutTests
    """
    reasons: dict[str, str] = {}
    repeats, plans = None, {}
    try:
        repeats = with_noise(repeat_rows(rows), rows, nuisance)
    except NotComputable as why:
        reasons["ceiling"] = str(why)
    heard = rows if same is None else replace(rows, clip=np.where(rows.clip < 0, rows.clip, same[rows.clip]))
    for question in QUESTIONS:
        try:
            plans[question] = permutation_plan(heard, n_permutations, seed, question=question, crossed=crossed)
        except NotComputable as why:
            reasons[f"p{question}"] = str(why)
    return HeldOutTests(rows, repeats, plans, reasons)


@dataclass(frozen=True, eq=False)
class RegionTest:
    """Mean voxel correlation of one layer in one region, tested by permutation.

    Parameters
    ----------
    question : {"sound", "specific"}
        Does the region follow sound; does it follow these sounds.
    layer, region : str
    mean_r : float
        Mean over the region's voxels of the correlation, pooled over the held-out rows, of BOLD with the prediction
        that is tested (``whole`` or ``specific`` of `ban_bids.encoding.rows.HeldOut`).
    p, p_fwer : float
        One-sided; against the region's own null, and against the largest standardised one of all layers and regions.
    """

    question: str
    layer: str
    region: str
    mean_r: float
    p: float
    p_fwer: float


@dataclass(frozen=True, eq=False)
class ScoredModel:
    """All that scoring yields for one model in one participant.

    Parameters
    ----------
    model : str
    layers : tuple of str
        In the model's order.
    maps : dict of (layer, statistic) to ndarray of shape (n_voxels,)
        Voxels in the order of the mask; NaN where not computable.
    tests : tuple of RegionTest
        For both questions, where they can be answered.
    cortical : CorticalScore
    inner : dict of str to ndarray of shape (n_voxels,)
        Score of each layer on inner folds, for choosing a best layer without the held-out rows.
    factors : dict of (str, str) to CrossingFactor
        By question and layer, see `ban_bids.encoding.crossed`; empty unless folds train on each other's held-out rows.
    penalties : Penalties
        How often each was chosen.
    """

    model: str
    layers: tuple[str, ...]
    maps: dict[tuple[str, str], np.ndarray]
    tests: tuple[RegionTest, ...]
    cortical: CorticalScore
    inner: dict[str, np.ndarray] = field(default_factory=dict)
    factors: dict[tuple[str, str], CrossingFactor] = field(default_factory=dict)
    penalties: Penalties = Penalties()


def slab_scores(
    encoded: Encoded,
    tests: HeldOutTests,
    *,
    usable: np.ndarray,
    region: np.ndarray,
    n_regions: int,
    ev_floor: float,
    factors: Factors = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Score the predictions of a slab's m voxels: correlation, ceiling, permutations.

    Parameters
    ----------
    encoded : Encoded
        Of the slab's voxels.
    tests : HeldOutTests
    usable : ndarray of shape (m,), bool
        Voxels that are not are NaN in all maps.
    region : ndarray of shape (m,), int
        Region 1 ... n_regions of every voxel; 0 for none.
    n_regions : int
    ev_floor : float
        Least single-repeat explainable variance for CCnorm.
    factors : mapping of (str, str) to CrossingFactor
        By question and layer, from `ban_bids.encoding.crossed`; the bound for those that are not in it.

    Returns
    -------
    dict of str to ndarray
        ``map/<layer>/<statistic>`` (m,), float32; ``penalties/<layer>`` (2, n_alphas); ``inner/<layer>`` (n_folds, m);
        ``prediction/<layer>`` (n_held_out, m_regions), of the voxels that
        belong to a region; by question and layer ``inner-products/…``, ``observed/…`` and ``count/…``, of
        `ban_bids.encoding.significance.RoiSums`.
    """
    held = encoded.held_out
    arrays = {f"inner/{name}": values for name, values in encoded.inner.items()}
    ceiling = None if tests.repeats is None else noise_ceiling(held.bold, tests.repeats)
    for name, prediction in held.prediction.items():
        arrays[f"prediction/{name}"] = prediction[:, region > 0]
        maps = {"r": voxel_correlation(prediction, held.bold, tests.rows, tests.repeats)}
        maps["rsquare"] = encoded.rsquare[name]
        maps["alpha"] = np.exp(np.log(encoded.alpha[name].astype(np.float64)).mean(axis=0))
        arrays[f"penalties/{name}"] = encoded.penalties[name]
        if ceiling is not None:
            maps["ccnorm"] = cc_norm(maps["r"], ceiling, ev_floor)
        for question, plan in tests.plans.items():
            factor = factors.get((question, name), CrossingFactor()).voxels
            maps[f"p{question}"] = voxel_p(plan, tested(held, question)[name], held.bold, factor=factor)
        if name in encoded.share:
            maps |= {"share": encoded.share[name], "unique": encoded.unique[name]}
        for stat, values in maps.items():
            arrays[f"map/{name}/{stat}"] = np.where(usable, values, np.nan).astype(np.float32)
    return arrays | _region_sums(held, tests, np.where(usable, region, 0), n_regions)


def _region_sums(held: HeldOut, tests: HeldOutTests, labels: np.ndarray, n_regions: int) -> dict[str, np.ndarray]:
    """Sums over the regions' voxels that `CortexScores.region_tests` needs, of each layer and question."""
    arrays: dict[str, np.ndarray] = {}
    for question, plan in tests.plans.items():
        for name, predicted in tested(held, question).items():
            if name != JOINT:
                sums = roi_sums(plan, predicted, held.bold, labels=labels, n_regions=n_regions)
                arrays[f"inner-products/{question}/{name}"] = sums.inner
                arrays[f"observed/{question}/{name}"] = sums.observed
                arrays[f"count/{question}/{name}"] = sums.count
    return arrays


_SUMMED = ("inner-products", "observed", "count", "penalties")
"""Kinds of arrays that are sums over voxels."""


class CortexScores:
    """Scores of voxels, from those of their slabs.

    Parameters
    ----------
    slabs : sequence of dict of str to ndarray
        From `slab_scores`, in the order of voxels; they are empty afterwards.
    usable : ndarray of shape (n_voxels,), bool
    voxels : ndarray of int, optional
        Those that the slabs hold, if not all; maps and inner scores are NaN in the others.
    """

    def __init__(
        self, slabs: Sequence[dict[str, np.ndarray]], usable: np.ndarray, voxels: np.ndarray | None = None
    ) -> None:
        self.usable = usable
        self._kinds: dict[str, dict[str, np.ndarray]] = {}
        for key in list(slabs[0]):
            kind, _, name = key.partition("/")
            parts = [slab.pop(key) for slab in slabs]  # not to hold all arrays twice
            joined = sum(parts[1:], parts[0]) if kind in _SUMMED else np.concatenate(parts, axis=-1)
            if voxels is not None and kind in ("map", "inner"):
                everywhere = np.full((*joined.shape[:-1], len(usable)), np.nan, dtype=joined.dtype)
                everywhere[..., voxels] = joined
                joined = everywhere
            self._kinds.setdefault(kind, {})[name] = joined

    def add(self, other: CortexScores) -> None:
        """Take in scores of other layers, or of the same layers in other voxels, of which none belongs to a region."""
        for kind, named in other._kinds.items():
            own = self._kinds.setdefault(kind, {})
            for name, values in named.items():
                if name not in own:
                    own[name] = values
                elif kind in _SUMMED:
                    own[name] = own[name] + values
                elif kind in ("map", "inner"):
                    own[name] = np.where(np.isnan(own[name]), values, own[name])
                elif values.shape[-1]:
                    raise ValueError(f"{kind}/{name}: of two sets of voxels that belong to regions")

    @property
    def inner(self) -> dict[str, np.ndarray]:
        """Score on inner folds of every voxel, by layer; mean over folds."""
        return {name: scores.mean(axis=0) for name, scores in self._kinds["inner"].items()}

    @property
    def penalties(self) -> dict[str, np.ndarray]:
        """How often each penalty was chosen, by layer: `ban_bids.encoding.penalties.penalty_counts`."""
        return self._kinds["penalties"]

    @property
    def inner_of_folds(self) -> dict[str, np.ndarray]:
        """Score on inner folds of every fold and voxel, by layer."""
        return self._kinds["inner"]

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        """Predictions of the voxels that belong to a region, by layer."""
        return self._kinds["prediction"]

    def maps(self, layers: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
        """All maps, with q over the voxels of each p map, and each voxel's best layer."""
        keys = {key: key.rpartition("/") for key in self._kinds["map"]}
        maps = {(layer, stat): self._kinds["map"][key] for key, (layer, _, stat) in keys.items()}
        for question in QUESTIONS:
            tested_in = [name for name, stat in maps if stat == f"p{question}"]
            maps |= {(name, f"q{question}"): fdr_bh(maps[name, f"p{question}"]) for name in tested_in}
        if len(layers) > 1:
            maps[JOINT, BEST_LAYER] = best_layer(self.inner, layers, self.usable)
        return maps

    def _sums(self, question: str, layer: str) -> RoiSums:
        key = f"{question}/{layer}"
        return RoiSums(*(self._kinds[kind][key] for kind in ("inner-products", "observed", "count")))

    def region_tests(
        self,
        plans: Mapping[str, PermutationPlan],
        layers: Sequence[str],
        regions: Sequence[str],
        factors: Factors = MappingProxyType({}),
    ) -> tuple[RegionTest, ...]:
        """Mean r of every layer in every region, with p and the p corrected over layers and regions, by question."""
        found: list[RegionTest] = []
        pairs = [(layer, region) for layer in layers for region in regions]
        for question, plan in plans.items():
            sums = [self._sums(question, layer) for layer in layers]
            used = [factors.get((question, layer), CrossingFactor()).regions for layer in layers]
            tried = [null_from_sums(plan, one, factor=factor) for one, factor in zip(sums, used)]
            mean_r = np.concatenate([one.mean_r for one in sums])
            observed = np.concatenate([one for one, _ in tried])
            null = np.concatenate([arrangements for _, arrangements in tried], axis=1)
            statistics = zip(mean_r, roi_p(observed, null), max_statistic_p(observed, null))
            found += [RegionTest(question, *pair, *map(float, values)) for pair, values in zip(pairs, statistics)]
        return tuple(found)


def best_layer(inner: Mapping[str, np.ndarray], layers: Sequence[str], usable: np.ndarray) -> np.ndarray:
    """Number each voxel's best layer, chosen on inner folds of the training runs.

    Parameters
    ----------
    inner : mapping of str to ndarray of shape (n_voxels,)
        Scores on inner folds: no held-out row has a part in them, so that the held-out score of the layer
        chosen is not raised by the choice. With leave-one-run-out that holds within a fold only: these are
        means over folds, in which each run is held out once and trains the others.
    layers : sequence of str
        In the model's order; NaN where a layer was not fitted.
    usable : ndarray of shape (n_voxels,), bool

    Returns
    -------
    ndarray of shape (n_voxels,), float32
        1 for the first layer, and so on; the earlier of equals; NaN in unusable voxels, and where nothing was fitted.
    """
    scores = np.stack([inner[layer] for layer in layers])
    fitted = np.isfinite(scores)
    chosen = 1 + np.argmax(np.where(fitted, scores, -np.inf), axis=0)
    return np.where(usable & fitted.any(axis=0), chosen, np.nan).astype(np.float32)
