"""One model in one participant: voxel maps over the cortex, tests of regions, the cortical score."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from ban_bids.encoding.backend import CLOSED_FORM, Engine
from ban_bids.encoding.blocks import PermutationPlan, permutation_plan
from ban_bids.encoding.ceiling import Ceiling, Repeats, cc_norm, noise_ceiling, repeat_rows, voxel_scores
from ban_bids.encoding.design import Design
from ban_bids.encoding.encode import Encoded, encode, slab_size
from ban_bids.encoding.participant import ParticipantData
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.encoding.significance import (
    RoiSums,
    fdr_bh,
    max_statistic_p,
    null_from_sums,
    roi_p,
    roi_sums,
    voxel_p,
)
from ban_bids.errors import NotComputable
from ban_bids.progress import progress
from ban_bids.scoring.cortical import CorticalScore, cortical_score
from ban_bids.settings import JOINT, REGIONS, EncodingSettings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HeldOutTests:
    """What the held-out rows allow: repeats for a ceiling, arrangements for p values, or why not.

    Parameters
    ----------
    rows : HeldOutRows
    repeats : Repeats or None
    permutations : PermutationPlan or None
    reasons : dict of str to str
        ``"ceiling"`` and ``"p"``: why one of them is ``n/a``.
    """

    rows: HeldOutRows
    repeats: Repeats | None
    permutations: PermutationPlan | None
    reasons: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of repeats and permutations, and reasons for what is ``n/a``."""
        found = tuple(self.repeats.notes) if self.repeats else ()
        found += tuple(self.permutations.notes) if self.permutations else ()
        return found + tuple(f"{name}: n/a, {why}" for name, why in self.reasons.items())


@dataclass(frozen=True, eq=False)
class RegionTest:
    """Mean voxel correlation of one area in one region, tested by permutation.

    Parameters
    ----------
    area, region : str
    mean_r : float
        Mean over the region's voxels of the correlation, pooled over all blocks' rows, of BOLD with the part
        of the prediction that is specific to the clips.
    p, p_fwer : float
        One-sided; against the region's own null, and against the largest of all areas and regions.
    """

    area: str
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
    maps : dict of (area, statistic) to ndarray of shape (n_voxels,)
        Voxels in the order of the mask; NaN where not computable.
    ceiling : Ceiling or None
        Of all voxels.
    tests : tuple of RegionTest
    cortical : CorticalScore
    inner : dict of str to ndarray of shape (n_voxels,)
        Score of each area on inner folds, for choosing a best area without the held-out rows.
    backend : str
        Name of the solver that runs, see `ban_bids.encoding.backend`.
    """

    model: str
    maps: dict[tuple[str, str], np.ndarray]
    ceiling: Ceiling | None
    tests: tuple[RegionTest, ...]
    cortical: CorticalScore
    inner: dict[str, np.ndarray] = field(default_factory=dict)
    backend: str = CLOSED_FORM


def held_out_tests(
    rows: HeldOutRows, settings: EncodingSettings, seed: int, crossed: bool = False
) -> HeldOutTests:
    """Find repeats and draw permutations, the same for every model of a participant.

    Parameters
    ----------
    rows : HeldOutRows
    settings : EncodingSettings
        ``n_permutations`` is used here.
    seed : int
    crossed : bool
        Each run is held out in turn, see `ban_bids.encoding.blocks.CROSSED`.

    Returns
    -------
    HeldOutTests
    """
    reasons: dict[str, str] = {}
    repeats, permutations = None, None
    try:
        repeats = repeat_rows(rows)
    except NotComputable as why:
        reasons["ceiling"] = str(why)
    try:
        permutations = permutation_plan(rows, settings.n_permutations, seed, crossed)
    except NotComputable as why:
        reasons["p"] = str(why)
    for name, why_not in reasons.items():
        _LOG.debug("%s: n/a, %s", name, why_not)
    return HeldOutTests(rows, repeats, permutations, reasons)


def score_model(
    data: ParticipantData,
    design: Design,
    tests: HeldOutTests,
    settings: EncodingSettings,
    seed: int,
    engine: Engine | None = None,
) -> ScoredModel:
    """Fit every cortical voxel, slab by slab, and score it.

    Parameters
    ----------
    data : ParticipantData
    design : Design
        Of the model.
    tests : HeldOutTests
        From the design's held-out rows.
    settings : EncodingSettings
    seed : int
    engine : Engine, optional
        The solver; the closed form by default.

    Returns
    -------
    ScoredModel
    """
    engine = engine or Engine()
    gather = _Gather(data, design, tests, settings)
    size = slab_size(design, settings, engine.limits)
    slabs = [slice(k, min(k + size, len(data.region))) for k in range(0, len(data.region), size)]
    for slab in progress(slabs, f"sub-{data.label}: encoding with {design.model}"):
        encoded = encode(data, design, settings, slab, True, tests.repeats, engine, seed)
        gather.add(slab, encoded)
    cortical = _cortical(design.model, gather.predictions, data, tests, settings, seed)
    return ScoredModel(
        design.model,
        gather.finished_maps(),
        gather.ceiling,
        gather.region_tests(),
        cortical,
        gather.inner,
        engine.name,
    )


def score_control(
    data: ParticipantData,
    design: Design,
    tests: HeldOutTests,
    settings: EncodingSettings,
    seed: int,
    engine: Engine | None = None,
) -> CorticalScore:
    """Cortical score of a control model: single-area ridge on auditory voxels only.

    Parameters and source as for `score_model`.
    """
    voxels = np.flatnonzero(data.region > 0)
    encoded = encode(data, design, settings, voxels, False, tests.repeats, engine, seed)
    return _cortical(design.model, encoded.held_out.prediction, data, tests, settings, seed)


def _cortical(
    model: str,
    predictions: dict[str, np.ndarray],
    data: ParticipantData,
    tests: HeldOutTests,
    settings: EncodingSettings,
    seed: int,
) -> CorticalScore:
    auditory = np.flatnonzero(data.region > 0)
    bold = np.array(data.bold[_held_out_index(data, tests.rows)][:, auditory])
    bold[:, ~data.usable[auditory]] = np.nan
    return cortical_score(
        model,
        predictions,
        bold,
        data.region[auditory],
        tests.rows,
        tests.repeats,
        absent=data.absent,
        ev_floor=settings.ev_floor,
        n_bootstrap=settings.n_bootstrap,
        seed=seed,
    )


def _held_out_index(data: ParticipantData, rows: HeldOutRows) -> np.ndarray:
    first = np.cumsum([0, *(run.rows.n_volumes for run in data.runs)])
    return first[rows.run] + rows.volume


class _Gather:
    """Collects maps, auditory predictions and region sums over slabs of voxels."""

    def __init__(
        self, data: ParticipantData, design: Design, tests: HeldOutTests, settings: EncodingSettings
    ) -> None:
        self.data, self.design, self.tests, self.settings = data, design, tests, settings
        self.names = (*design.areas, JOINT) if len(design.areas) > 1 else design.areas
        self.n_voxels = len(data.region)
        self.auditory = np.flatnonzero(data.region > 0)
        shape = (len(design.index), len(self.auditory))
        self.predictions = {name: np.zeros(shape, dtype=np.float32) for name in self.names}
        self.maps: dict[tuple[str, str], np.ndarray] = {}
        self.inner = {name: np.full(self.n_voxels, np.nan, dtype=np.float32) for name in self.names}
        self.sums: dict[str, RoiSums] = {}
        self._ceilings: list[Ceiling] = []

    def _put(self, name: str, stat: str, slab: slice, values: np.ndarray) -> None:
        empty = np.full(self.n_voxels, np.nan, dtype=np.float32)
        self.maps.setdefault((name, stat), empty)[slab] = np.where(self.data.usable[slab], values, np.nan)

    def add(self, slab: slice, encoded: Encoded) -> None:
        """Score one slab and keep what the whole cortex needs."""
        held, rows, repeats = encoded.held_out, self.tests.rows, self.tests.repeats
        ceiling = noise_ceiling(held.bold, repeats) if repeats is not None else None
        if ceiling is not None:
            self._ceilings.append(ceiling)
        inside = (self.auditory >= slab.start) & (self.auditory < slab.stop)
        for name in self.names:
            prediction = held.prediction[name]
            r, _ = voxel_scores(prediction, held.bold, rows, repeats)
            self._put(name, "r", slab, r)
            self._put(name, "rsquare", slab, encoded.rsquare[name])
            self.inner[name][slab] = encoded.inner[name]
            self.predictions[name][:, inside] = prediction[:, self.auditory[inside] - slab.start]
            if ceiling is not None:
                self._put(name, "ccnorm", slab, cc_norm(r, ceiling, self.settings.ev_floor))
            self._permute(name, slab, held.specific[name], held.bold)
        for area in encoded.share:
            self._put(area, "share", slab, encoded.share[area])
            self._put(area, "unique", slab, encoded.unique[area])

    def _permute(self, name: str, slab: slice, specific: np.ndarray, bold: np.ndarray) -> None:
        plan = self.tests.permutations
        if plan is None:
            return
        self._put(name, "p", slab, voxel_p(plan, specific, bold))
        labels = np.where(self.data.usable[slab], self.data.region[slab], 0)
        sums = roi_sums(plan, specific, bold, labels, len(REGIONS))
        self.sums[name] = self.sums[name] + sums if name in self.sums else sums

    @property
    def ceiling(self) -> Ceiling | None:
        """Ceiling of all voxels, put together from the slabs."""
        if not self._ceilings:
            return None
        joined = {
            key: np.concatenate([getattr(part, key) for part in self._ceilings])
            for key in ("ev", "ccmax", "sp", "tp", "var_mean")
        }
        for values in joined.values():
            values[~self.data.usable] = np.nan
        return Ceiling(**joined, n_repeats=self._ceilings[0].n_repeats)

    def finished_maps(self) -> dict[tuple[str, str], np.ndarray]:
        """All maps, with q over the voxels of each p map."""
        q = {(name, "q"): fdr_bh(p) for (name, stat), p in self.maps.items() if stat == "p"}
        return {**self.maps, **q}

    def region_tests(self) -> tuple[RegionTest, ...]:
        """Mean r of every area in every region, with p and the p that is corrected over areas and regions."""
        plan = self.tests.permutations
        if plan is None:
            return ()
        areas = self.design.areas
        found = [null_from_sums(plan, self.sums[area]) for area in areas]
        observed = np.concatenate([one[0] for one in found])
        null = np.concatenate([one[1] for one in found], axis=1)
        p, corrected = roi_p(observed, null), max_statistic_p(observed, null)
        pairs = [(area, region) for area in areas for region in REGIONS]
        return tuple(
            RegionTest(area, region, float(observed[i]), float(p[i]), float(corrected[i]))
            for i, (area, region) in enumerate(pairs)
        )
