"""Models in one participant: encoding and scoring wired together, with what every model meets alike made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ban_bids.constants import REGIONS
from ban_bids.encoding.bold import ParticipantData, held_out_bold
from ban_bids.encoding.crossed import Factors, folds_cross
from ban_bids.encoding.design import Design
from ban_bids.encoding.execute import in_slabs, kept_crossing_factors
from ban_bids.encoding.finished import Finished
from ban_bids.encoding.fit import Encoded, Fitting
from ban_bids.encoding.penalties import Penalties
from ban_bids.encoding.planned import Folds, participant_folds
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Clip
from ban_bids.scoring.ceiling import noise_ceiling
from ban_bids.scoring.cortical import CorticalScore, MeasuredRegions, cortical_score
from ban_bids.scoring.voxels import CortexScores, HeldOutTests, ScoredModel, held_out_tests, slab_scores
from ban_bids.settings import Encoding

MOST_JOINT = 6
"""Mapped layers that are fitted together without ``--joint``: the search for their weights grows fast."""

_VOXELS = 8192


@dataclass(frozen=True, eq=False)
class PreparedParticipant:
    """What every model of a participant meets alike.

    Parameters
    ----------
    data : ParticipantData
    plan : HeldOutPlan
        Which runs are held out together.
    folds : Folds
    tests : HeldOutTests
        Of the folds' held-out rows.
    fitting : Fitting
    finished : Finished or None
        From `finished_batches`: slabs that an earlier run finished are taken from there, the others added.
    regions : tuple of str
        Labels 1, 2, ... of ``data.region``.
    """

    data: ParticipantData
    plan: HeldOutPlan
    folds: Folds
    tests: HeldOutTests
    fitting: Fitting
    finished: Finished | None = None
    regions: tuple[str, ...] = REGIONS


def prepare_participant(
    data: ParticipantData,
    plan: HeldOutPlan,
    fitting: Fitting,
    *,
    folder: Path | None = None,
    regions: tuple[str, ...] = REGIONS,
    recording: Mapping[Path, Path] | None = None,
) -> PreparedParticipant:
    """Make folds, find repeats, draw permutations: once for all models.

    Parameters
    ----------
    data : ParticipantData
    plan : HeldOutPlan
        Which runs are held out together.
    fitting : Fitting
    folder : Path, optional
        The participant's own, where finished slabs are kept; without it nothing is.
    regions : tuple of str
        Labels 1, 2, ... of ``data.region``.
    recording : mapping of Path to Path, optional
        Audio file -> one that stands for all of the same recording.

    Returns
    -------
    PreparedParticipant
    """
    settings = fitting.settings
    folds = participant_folds(data.sources, data.runs, data.nuisance, plan=plan, settings=settings, recording=recording)
    tests = held_out_tests(
        folds.rows,
        data.nuisance,
        n_permutations=settings.n_permutations,
        seed=fitting.seed,
        crossed=folds_cross(folds),
        same=_same_clips(data.clips, recording or {}),
    )
    finished = None if folder is None else finished_batches(folder, data, tests, fitting, regions)
    return PreparedParticipant(data, plan, folds, tests, fitting, finished, regions)


def _same_clips(clips: Sequence[Clip], recording: Mapping[Path, Path]) -> np.ndarray:
    """For each clip the first one of the same stretch of the same recording."""
    heard = [(recording.get(clip.audio, clip.audio), clip.start, clip.duration) for clip in clips]
    return np.array([heard.index(one) for one in heard], dtype=np.int32)


def finished_batches(
    folder: Path, data: ParticipantData, tests: HeldOutTests, fitting: Fitting, regions: Sequence[str] = REGIONS
) -> Finished:
    """Where a participant's finished slabs are kept until its derivatives are written; BOLD is hashed whole, once."""
    rows = tuple(run.rows for run in data.runs)
    measured = (data.bold, data.region, data.usable, data.nuisance, rows)
    settings, seed, solver = fitting.settings, fitting.seed, fitting.engine.name
    return Finished(folder, measured, tests, settings, seed, solver, tuple(regions))


@dataclass(frozen=True, eq=False)
class Pass:
    """Layers of a model that are fitted in the same voxels.

    Parameters
    ----------
    layers : tuple of str
    voxels : ndarray of int
        Columns of ``data.bold``.
    joint : bool
        Whether they are fitted together too.
    """

    layers: tuple[str, ...]
    voxels: np.ndarray
    joint: bool


def model_passes(
    layers: Sequence[str], mapping: Mapping[str, str] | None, region: np.ndarray, settings: Encoding
) -> tuple[Pass, ...]:
    """Where each layer of a model is fitted, and which are fitted together.

    Parameters
    ----------
    layers : sequence of str
        In the model's order.
    mapping : mapping of layer to region, or None
        The model's own.
    region : ndarray of shape (n_voxels,), int
        0 outside the auditory regions.
    settings : Encoding
        ``voxels`` and ``joint``.

    Returns
    -------
    tuple of Pass
        All layers together with ``joint``; else the mapped ones in the auditory regions, where few enough are fitted
        together too, then in the rest of cortex; last the others.
    """
    auditory = np.flatnonzero(region > 0)
    mapped = tuple(layer for layer in layers if layer in (mapping or {}))
    whole = bool(mapped) and settings.voxels == "cortex"
    if settings.joint:
        return (Pass(tuple(layers), np.arange(len(region)) if whole else auditory, joint=True),)
    others = tuple(layer for layer in layers if layer not in mapped)
    rest = np.flatnonzero(region == 0) if whole else auditory[:0]
    # one without voxels only where there is no other: its arrays are empty, but they are there
    places = [voxels for voxels in (auditory, rest) if len(voxels)] or [auditory]
    few = len(mapped) <= MOST_JOINT and len(auditory) > 0
    passes = [Pass(mapped, voxels, joint=few and voxels is auditory) for voxels in places]
    return tuple(one for one in (*passes, Pass(others, auditory, joint=False)) if one.layers)


def score_model(prepared: PreparedParticipant, design: Design, mapping: Mapping[str, str] | None = None) -> ScoredModel:
    """Fit voxels, slab by slab, and score them: which ones, and which layers together, says `model_passes`.

    Parameters
    ----------
    prepared : PreparedParticipant
    design : Design
        Of the model, on the participant's folds.
    mapping : mapping of layer to region, optional
        The model's own; without it every layer meets every region.

    Returns
    -------
    ScoredModel
    """
    data, tests, fitting = prepared.data, prepared.tests, prepared.fitting
    finished = None if prepared.finished is None else prepared.finished.narrowed("model", design)
    factors = kept_crossing_factors(data, design, fitting, plans=tests.plans, finished=finished)
    passes = model_passes(design.layers, mapping, data.region, fitting.settings)
    cortex = _fitted(prepared, design, passes[0], factors, finished)
    for more in passes[1:]:
        cortex.add(_fitted(prepared, design, more, factors, finished))
    predictions = {layer: cortex.predictions[layer] for layer in design.layers}
    inner = {layer: scores[:, data.region > 0] for layer, scores in cortex.inner_of_folds.items()}
    return ScoredModel(
        model=design.model,
        layers=design.layers,
        maps=cortex.maps(design.layers),
        tests=cortex.region_tests(tests.plans, design.layers, prepared.regions, factors),
        cortical=_cortical(prepared, design, predictions, inner, mapping=mapping),
        inner=cortex.inner,
        factors=factors,
        penalties=Penalties(tuple(sorted(fitting.settings.alphas)), cortex.penalties),
    )


def _fitted(
    prepared: PreparedParticipant, design: Design, one: Pass, factors: Factors, finished: Finished | None
) -> CortexScores:
    """Fit and score the layers of one pass."""
    data, tests, fitting = prepared.data, prepared.tests, prepared.fitting

    def score(encoded: Encoded, slab: np.ndarray) -> dict[str, np.ndarray]:
        return slab_scores(
            encoded,
            tests,
            usable=data.usable[slab],
            region=data.region[slab],
            n_regions=len(prepared.regions),
            ev_floor=fitting.settings.ev_floor,
            factors=factors,
        )

    slabs = in_slabs(
        data,
        design.narrowed(one.layers),
        fitting,
        score=score,
        voxels=one.voxels,
        joint=one.joint and len(one.layers) > 1,
        repeats=tests.repeats,
        finished=None if finished is None else finished.narrowed(dict(factors), one.layers, len(one.voxels), one.joint),
    )
    return CortexScores(slabs, data.usable, None if len(one.voxels) == len(data.region) else one.voxels)


def ceiling_maps(prepared: PreparedParticipant) -> dict[str, np.ndarray]:
    """Noise ceiling of every voxel, whatever the model.

    Returns
    -------
    dict of str to ndarray of shape (n_voxels,)
        ``ev`` and ``ccmax``, see `ban_bids.scoring.ceiling.Ceiling`, NaN in unusable voxels; empty without repeats.
    """
    data, repeats = prepared.data, prepared.tests.repeats
    if repeats is None:
        return {}
    maps = {name: np.full(len(data.region), np.nan, dtype=np.float32) for name in ("ev", "ccmax")}
    usable = np.flatnonzero(data.usable)
    for first in range(0, len(usable), _VOXELS):
        some = usable[first : first + _VOXELS]
        bold = held_out_bold(data.bold, prepared.folds.folds, prepared.folds.index, voxels=some)
        ceiling = noise_ceiling(bold, repeats)
        maps["ev"][some], maps["ccmax"][some] = ceiling.ev, ceiling.ccmax
    return maps


def score_control(
    prepared: PreparedParticipant, design: Design, mapping: Mapping[str, str] | None = None
) -> CorticalScore:
    """Cortical score of a control model: single-layer ridge on the regions' voxels only.

    Parameters as for `score_model`; as many voxels at a time as there.
    """
    auditory = np.flatnonzero(prepared.data.region > 0)

    def predictions(encoded: Encoded, _: np.ndarray) -> dict[str, np.ndarray]:
        predicted = {f"prediction/{layer}": values for layer, values in encoded.held_out.prediction.items()}
        return predicted | {f"inner/{layer}": values for layer, values in encoded.inner.items()}

    slabs = in_slabs(
        prepared.data,
        design,
        prepared.fitting,
        score=predictions,
        voxels=auditory,
        joint=False,
        tested=False,
        repeats=prepared.tests.repeats,
        finished=None if prepared.finished is None else prepared.finished.narrowed("control", design),
    )
    scores = CortexScores(slabs, prepared.data.usable[auditory])
    return _cortical(prepared, design, scores.predictions, scores.inner_of_folds, mapping=mapping)


def _cortical(
    prepared: PreparedParticipant,
    design: Design,
    predictions: Mapping[str, np.ndarray],
    inner: Mapping[str, np.ndarray],
    *,
    mapping: Mapping[str, str] | None,
) -> CorticalScore:
    """Score predictions of the regions' voxels, without those that are not usable."""
    data, tests, settings = prepared.data, prepared.tests, prepared.fitting.settings
    auditory = np.flatnonzero(data.region > 0)
    bold = held_out_bold(data.bold, prepared.folds.folds, prepared.folds.index, voxels=auditory)
    bold[:, ~data.usable[auditory]] = np.nan
    measured = MeasuredRegions(
        bold=bold,
        labels=data.region[auditory],
        rows=tests.rows,
        repeats=tests.repeats,
        regions=prepared.regions,
        absent=data.absent,
        ev_floor=settings.ev_floor,
        n_bootstrap=settings.n_bootstrap,
        seed=prepared.fitting.seed,
    )
    return cortical_score(design.model, predictions, inner, measured, mapping=mapping)
