"""One model in one participant: voxel maps over the cortex, tests of regions, the cortical score."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.crossed import crossing_factors
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import choose_models, columns, encode, slab_size
from ban_bids.encoding.permutation import permutation_plan
from ban_bids.encoding.ridge.backend import CLOSED_FORM, Engine
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.errors import NotComputable
from ban_bids.files.progress import progress
from ban_bids.scoring.ceiling import Ceiling, repeat_rows
from ban_bids.scoring.cortical import CorticalScore, cortical_score
from ban_bids.scoring.resume import Finished
from ban_bids.scoring.slabs import Cortex, HeldOutTests, RegionTest, SlabScores, score_slab
from ban_bids.settings import Encoding

_LOG = logging.getLogger(__name__)


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
    ceiling : Ceiling or None
        Of all voxels.
    tests : tuple of RegionTest
    cortical : CorticalScore
    inner : dict of str to ndarray of shape (n_voxels,)
        Score of each layer on inner folds, for choosing a best layer without the held-out rows.
    backend : str
        Name of the solver that runs, see `ban_bids.encoding.ridge.backend`.
    factors : dict of str to float
        By layer, see `ban_bids.encoding.crossed`; empty unless each run is held out in turn.
    """

    model: str
    layers: tuple[str, ...]
    maps: dict[tuple[str, str], np.ndarray]
    ceiling: Ceiling | None
    tests: tuple[RegionTest, ...]
    cortical: CorticalScore
    inner: dict[str, np.ndarray] = field(default_factory=dict)
    backend: str = Engine().name
    factors: dict[str, float] = field(default_factory=dict)


def held_out_tests(rows: HeldOutRows, settings: Encoding, seed: int, crossed: bool = False) -> HeldOutTests:
    """Find repeats and draw permutations, the same for every model of a participant.

    Parameters
    ----------
    rows : HeldOutRows
    settings : Encoding
        ``n_permutations`` is used here.
    seed : int
    crossed : bool
        Each run is held out in turn, see `ban_bids.encoding.permutation.CROSSED`.

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
    settings: Encoding,
    seed: int,
    engine: Engine | None = None,
    finished: Finished | None = None,
) -> ScoredModel:
    """Fit every cortical voxel, slab by slab, and score it.

    Parameters
    ----------
    data : ParticipantData
    design : Design
        Of the model.
    tests : HeldOutTests
        From the design's held-out rows.
    settings : Encoding
    seed : int
    engine : Engine, optional
        The solver; the closed form by default.
    finished : Finished, optional
        From `finished_batches`, with the same arguments: slabs that an earlier run finished are taken from
        there, the others added.

    Returns
    -------
    ScoredModel
    """
    engine = engine or Engine()
    own = None if finished is None else finished.narrowed("model", design)
    cortex = Cortex(design.layers, data, tests)
    size = slab_size(design, settings, engine.limits)
    slabs = [slice(k, min(k + size, len(data.region))) for k in range(0, len(data.region), size)]
    factors = _factors(data, design, tests, settings, seed, engine, own)
    if own is not None and factors:
        own = own.narrowed(factors)
    choices = None
    for slab in progress(slabs, f"sub-{data.label}: encoding with {design.model}"):
        batch = (slab.start, slab.stop)
        known = None if own is None else own.load(batch)
        if known is not None:
            cortex.add(SlabScores.from_arrays(known))
            continue
        if choices is None and engine.solver == CLOSED_FORM:
            choices = choose_models(data, design, settings, engine=engine, seed=seed, store=own)
        encoded = encode(
            data, design, settings, voxels=slab, repeats=tests.repeats, engine=engine, seed=seed, choices=choices
        )
        scores = score_slab(encoded, slab, data, tests, settings, factors)
        if own is not None:
            own.save(batch, scores.arrays())
        cortex.add(scores)
    cortical = _cortical(design.model, cortex.predictions, data, tests, settings, seed)
    return ScoredModel(
        design.model,
        design.layers,
        cortex.maps(),
        cortex.ceiling,
        cortex.region_tests(),
        cortical,
        cortex.inner,
        engine.name,
        factors,
    )


def _factors(
    data: ParticipantData,
    design: Design,
    tests: HeldOutTests,
    settings: Encoding,
    seed: int,
    engine: Engine,
    own: Finished | None,
) -> dict[str, float]:
    """Crossing factors, taken from an earlier run where it found them."""
    if tests.permutations is None:
        return {}
    known = None if own is None else own.load("crossing factors")
    if known is not None:
        return {layer: float(value) for layer, value in known.items()}
    found = crossing_factors(data, design, tests.permutations, settings=settings, seed=seed, engine=engine)
    if own is not None:
        own.save("crossing factors", {layer: np.array(value) for layer, value in found.items()})
    return found


def score_control(
    data: ParticipantData,
    design: Design,
    tests: HeldOutTests,
    settings: Encoding,
    seed: int,
    engine: Engine | None = None,
    finished: Finished | None = None,
) -> CorticalScore:
    """Cortical score of a control model: single-layer ridge on auditory voxels only.

    Parameters and source as for `score_model`; as many voxels at a time as there.
    """
    engine = engine or Engine()
    own = None if finished is None else finished.narrowed("control", design)
    auditory = np.flatnonzero(data.region > 0)
    size = slab_size(design, settings, engine.limits)
    parts = []
    for first in range(0, max(1, len(auditory)), size):
        voxels = auditory[first : first + size]
        batch = ("auditory", first, len(voxels))
        found = None if own is None else own.load(batch)
        if found is None:
            encoded = encode(
                data, design, settings, voxels=voxels, joint=False, repeats=tests.repeats, engine=engine, seed=seed
            )
            found = encoded.held_out.prediction
            if own is not None:
                own.save(batch, found)
        parts.append(found)
    predictions = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    return _cortical(design.model, predictions, data, tests, settings, seed)


def finished_batches(
    folder: Path,
    data: ParticipantData,
    tests: HeldOutTests,
    settings: Encoding,
    seed: int,
    engine: Engine,
) -> Finished:
    """Where a participant's finished batches of voxels are kept until its derivatives are written.

    Parameters
    ----------
    folder : Path
        The participant's own.
    data, tests, settings, seed, engine
        As for `score_model`. BOLD is hashed whole, once.

    Returns
    -------
    Finished
    """
    rows = tuple(run.rows for run in data.runs)
    measured = (data.bold, data.region, data.usable, data.nuisance, rows)
    return Finished(folder, measured, tests, settings, seed, engine.name)


def _cortical(
    model: str,
    predictions: dict[str, np.ndarray],
    data: ParticipantData,
    tests: HeldOutTests,
    settings: Encoding,
    seed: int,
) -> CorticalScore:
    auditory = np.flatnonzero(data.region > 0)
    bold = columns(data.bold, _held_out_index(data, tests.rows), auditory)
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
