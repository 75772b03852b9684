"""Scores of one slab of voxels after another, and what the whole cortex needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np

from ban_bids.constants import JOINT, REGIONS
from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.encode import Encoded
from ban_bids.encoding.permutation import CROSSED, PermutationPlan
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
from ban_bids.scoring.ceiling import Ceiling, Repeats, cc_norm, noise_ceiling, voxel_scores
from ban_bids.settings import Encoding

BEST_LAYER = "bestlayer"
_CEILING = tuple(field.name for field in fields(Ceiling) if field.name != "n_repeats")


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
    """Mean voxel correlation of one layer in one region, tested by permutation.

    Parameters
    ----------
    layer, region : str
    mean_r : float
        Mean over the region's voxels of the correlation, pooled over all blocks' rows, of BOLD with the
        prediction that is tested (`ban_bids.encoding.rows.HeldOut.specific`).
    p, p_fwer : float
        One-sided; against the region's own null, and against the largest of all layers and regions.
    """

    layer: str
    region: str
    mean_r: float
    p: float
    p_fwer: float


@dataclass(frozen=True, eq=False)
class SlabScores:
    """What is kept of a slab of m voxels.

    Parameters
    ----------
    maps : dict of (layer, statistic) to ndarray of shape (m,), float32
        NaN where not computable.
    inner : dict of str to ndarray of shape (m,), float32
        Score on inner folds, by layer.
    predictions : dict of str to ndarray of shape (n_held_out, m_auditory), float32
        Of the voxels that belong to a region.
    sums : dict of str to RoiSums
        Empty without permutations.
    ceiling : Ceiling or None
    """

    maps: dict[tuple[str, str], np.ndarray]
    inner: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    sums: dict[str, RoiSums]
    ceiling: Ceiling | None

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, from which `from_arrays` makes the same again, to the bit."""
        out = {f"maps/{layer}/{stat}": values for (layer, stat), values in self.maps.items()}
        out |= {f"inner/{name}": values for name, values in self.inner.items()}
        out |= {f"predictions/{name}": values for name, values in self.predictions.items()}
        for name, sums in self.sums.items():
            out |= {f"sums/{name}/inner": sums.inner, f"sums/{name}/count": sums.count}
        if self.ceiling is not None:
            out |= {f"ceiling/{key}": getattr(self.ceiling, key) for key in _CEILING}
            out["ceiling/n_repeats"] = np.array(self.ceiling.n_repeats)
        return out

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SlabScores:
        """Take what `arrays` gave."""
        kinds: dict[str, dict[str, np.ndarray]] = {}
        for key, values in arrays.items():
            kind, _, name = key.partition("/")
            kinds.setdefault(kind, {})[name] = values
        ceiling, sums = kinds.get("ceiling"), kinds.get("sums", {})
        names = dict.fromkeys(key.rpartition("/")[0] for key in sums)
        return cls(
            maps={(key.partition("/")[0], key.partition("/")[2]): v for key, v in kinds["maps"].items()},
            inner=kinds["inner"],
            predictions=kinds["predictions"],
            sums={name: RoiSums(sums[f"{name}/inner"], sums[f"{name}/count"]) for name in names},
            ceiling=None
            if ceiling is None
            else Ceiling(**{k: ceiling[k] for k in _CEILING}, n_repeats=int(ceiling["n_repeats"])),
        )


def score_slab(
    encoded: Encoded,
    slab: slice,
    data: ParticipantData,
    tests: HeldOutTests,
    settings: Encoding,
    factors: Mapping[str, float] = MappingProxyType({}),
) -> SlabScores:
    """Score the predictions of a slab's voxels: correlation, ceiling, permutations.

    Parameters
    ----------
    encoded : Encoded
        Of the slab's voxels.
    slab : slice
        Columns of ``data.bold``.
    data : ParticipantData
    tests : HeldOutTests
    settings : Encoding
        ``ev_floor`` is used here.
    factors : mapping of str to float
        By layer, from `ban_bids.encoding.crossed`; the bound for those that are not in it.

    Returns
    -------
    SlabScores
    """
    held, plan = encoded.held_out, tests.permutations
    usable, region = data.usable[slab], data.region[slab]
    ceiling = noise_ceiling(held.bold, tests.repeats) if tests.repeats is not None else None
    maps: dict[tuple[str, str], np.ndarray] = {}
    sums: dict[str, RoiSums] = {}
    for name, prediction in held.prediction.items():
        maps[name, "r"], _ = voxel_scores(prediction, held.bold, tests.rows, tests.repeats)
        maps[name, "rsquare"] = encoded.rsquare[name]
        if ceiling is not None:
            maps[name, "ccnorm"] = cc_norm(maps[name, "r"], ceiling, settings.ev_floor)
        if plan is not None:
            maps[name, "p"] = voxel_p(plan, held.specific[name], held.bold, factors.get(name, CROSSED))
            labels = np.where(usable, region, 0)
            sums[name] = roi_sums(plan, held.specific[name], held.bold, labels, len(REGIONS))
    for layer in encoded.share:
        maps[layer, "share"], maps[layer, "unique"] = encoded.share[layer], encoded.unique[layer]
    return SlabScores(
        maps={key: np.where(usable, values, np.nan).astype(np.float32) for key, values in maps.items()},
        inner=encoded.inner,
        predictions={name: values[:, region > 0] for name, values in held.prediction.items()},
        sums=sums,
        ceiling=ceiling,
    )


class Cortex:
    """Puts slabs together, in the order of voxels."""

    def __init__(self, layers: tuple[str, ...], data: ParticipantData, tests: HeldOutTests) -> None:
        self.layers, self.data, self.tests = layers, data, tests
        self._slabs: list[SlabScores] = []

    def add(self, scores: SlabScores) -> None:
        """Append the next slab."""
        self._slabs.append(scores)

    @property
    def inner(self) -> dict[str, np.ndarray]:
        """Score on inner folds of every voxel, by layer."""
        return {n: np.concatenate([s.inner[n] for s in self._slabs]) for n in self._slabs[0].inner}

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        """Predictions of the voxels that belong to a region."""
        first = self._slabs[0].predictions
        return {n: np.concatenate([s.predictions[n] for s in self._slabs], axis=1) for n in first}

    @property
    def ceiling(self) -> Ceiling | None:
        """Ceiling of all voxels."""
        parts = [slab.ceiling for slab in self._slabs if slab.ceiling is not None]
        if not parts:
            return None
        joined = {key: np.concatenate([getattr(part, key) for part in parts]) for key in _CEILING}
        for values in joined.values():
            values[~self.data.usable] = np.nan
        return Ceiling(**joined, n_repeats=parts[0].n_repeats)

    def maps(self) -> dict[tuple[str, str], np.ndarray]:
        """All maps, with q over the voxels of each p map, and each voxel's best layer."""
        maps = {key: np.concatenate([s.maps[key] for s in self._slabs]) for key in self._slabs[0].maps}
        maps |= {(name, "q"): fdr_bh(p) for (name, stat), p in maps.items() if stat == "p"}
        if len(self.layers) > 1:
            maps[JOINT, BEST_LAYER] = best_layer(self.inner, self.layers, self.data.usable)
        return maps

    def region_tests(self) -> tuple[RegionTest, ...]:
        """Mean r of every layer in every region, with p and the p that is corrected over layers and regions."""
        plan = self.tests.permutations
        if plan is None:
            return ()
        found = []
        for layer in self.layers:
            total, *others = (slab.sums[layer] for slab in self._slabs)
            for sums in others:
                total += sums
            found.append(null_from_sums(plan, total))
        observed = np.concatenate([one[0] for one in found])
        null = np.concatenate([one[1] for one in found], axis=1)
        p, corrected = roi_p(observed, null), max_statistic_p(observed, null)
        pairs = [(layer, region) for layer in self.layers for region in REGIONS]
        return tuple(
            RegionTest(layer, region, float(observed[i]), float(p[i]), float(corrected[i]))
            for i, (layer, region) in enumerate(pairs)
        )


def best_layer(inner: Mapping[str, np.ndarray], layers: tuple[str, ...], usable: np.ndarray) -> np.ndarray:
    """Number each voxel's best layer, chosen on inner folds of the training runs.

    Parameters
    ----------
    inner : mapping of str to ndarray of shape (n_voxels,)
        Scores on inner folds: no held-out row has a part in them, so that the held-out score of the layer
        chosen is not raised by the choice. With leave-one-run-out that holds within a fold only: these are
        means over folds, in which each run is held out once and trains the others.
    layers : tuple of str
        In the model's order.
    usable : ndarray of shape (n_voxels,), bool

    Returns
    -------
    ndarray of shape (n_voxels,), float32
        1 for the first layer, and so on; the earlier of equals; NaN in unusable voxels.
    """
    chosen = 1 + np.argmax(np.stack([inner[layer] for layer in layers]), axis=0)
    return np.where(usable, chosen, np.nan).astype(np.float32)
