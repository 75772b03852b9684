"""What later comparisons need of a model in a participant: per-clip statistics of every score, and the draws of B.

Numbers of any draw of clips follow exactly, so that two models are compared in the same draws whenever they were run.
One file per model, ``…_draws.npz``, holds:

- ``format``: the mark ``FORMAT``; ``clips``: K identities, the same for all people;
- ``pairs`` (P, 3): model (the scored one or one of its controls), layer, region, without a layer for the prediction of
  the region's committed layers, which enters C; ``mapped`` (P,): whether the pair enters C_mapped; ``n_repeats`` and
  ``sp_bias`` (P,);
- ``vectors`` (., K) and ``matrices`` (., K (K + 1) / 2; upper triangles): the arrays of ``ClipStatistics``, each once,
  since those of BOLD alone are the same for every layer; ``which`` (P, 9): where those of each pair stand. Of ``q_py``
  the symmetric part is kept: nothing else enters a variance;
- ``b`` and ``b_draws``: B of the dataset and its draws; NaN without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.bids.names import draws_name, parse_name, sidecar
from ban_bids.errors import DataError
from ban_bids.files.json import read_json, write_json
from ban_bids.files.npz import UNREADABLE, read_arrays, write_arrays
from ban_bids.scoring.bootstrap import ClipStatistics, Estimate
from ban_bids.scoring.comparison import KeptScore

FORMAT = "ban-bids draws 1"

_CONDITIONS, _BEHAVIOR_CONDITIONS = "ComparableUnder", "BehaviorComparableUnder"
_COMMITTED = ""
_VECTORS = ("n", "py", "pp", "mm", "yy")
_MATRICES = ("q_py", "q_pp", "q_mm", "q_yy")


@dataclass(frozen=True, eq=False)
class Draws:
    """What is kept of one scored model and its controls in one participant.

    Parameters
    ----------
    participant, task, model : str
    clips : tuple of str
        Identities of the repeated clips, see `ban_bids.app.kept.clip_identity`; empty without repeats.
    scores : mapping of str to KeptScore
        By name of the model and of each control.
    behavior : Estimate
        B of the dataset with its draws; NaN without one.
    conditions, behavior_conditions : mapping
        Under which cortical scores, and B, are comparable: of two models they must be equal.
    """

    participant: str
    task: str
    model: str
    clips: tuple[str, ...] = ()
    scores: Mapping[str, KeptScore] = field(default_factory=dict, repr=False)
    behavior: Estimate = field(default_factory=Estimate, repr=False)
    conditions: Mapping[str, Any] = field(default_factory=dict, repr=False)
    behavior_conditions: Mapping[str, Any] = field(default_factory=dict, repr=False)


def write_draws(root: Path, draws: Draws, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write what comparisons need, and the JSON file beside it.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    draws : Draws
    metadata : mapping, optional
        Keys of the JSON file: ``ModelFingerprint``, ``Sources``, ...

    Returns
    -------
    Path
        ``sub-<label>_task-<task>_desc-<model>_draws.npz``.
    """
    path = draws_name(draws.participant, draws.task, draws.model).path(root)
    write_arrays(path, _arrays(draws))
    description = "Per-clip statistics of every score, and draws of B, from which models are compared in the same draws"
    own = {"Description": description, "Format": FORMAT, "Model": draws.model, "NumberOfClips": len(draws.clips)}
    own |= {_CONDITIONS: draws.conditions, _BEHAVIOR_CONDITIONS: draws.behavior_conditions}
    write_json(sidecar(path), {**(metadata or {}), **own})
    return path


def read_clips(path: Path) -> tuple[str, ...]:
    """Identities of the clips of a file that `write_draws` wrote; none of one of which `read_draws` says a fault."""
    try:
        read_json(sidecar(path))
        with np.load(path, allow_pickle=False) as stored:
            return tuple(map(str, stored["clips"])) if str(stored["format"]) == FORMAT else ()
    except (DataError, *UNREADABLE):
        return ()


def read_conditions(path: Path) -> dict[str, Any]:
    """Under what the cortical scores of a file that `write_draws` wrote are comparable; empty where that is unknown."""
    kept = read_json(sidecar(path)).get(_CONDITIONS)
    return kept if isinstance(kept, dict) else {}


def read_draws(path: Path, *, layers: bool = True) -> Draws:
    """Read a file that `write_draws` wrote.

    Parameters
    ----------
    path : Path
    layers : bool
        Whether statistics of every layer in every region are wanted; else those of committed layers alone, which is
        what models are compared by, and a seventh of it.

    Raises
    ------
    DataError
        It is missing, damaged or of another format.
    """
    arrays = read_arrays(path)
    if arrays is None or str(arrays.get("format")) != FORMAT:
        found = "missing or damaged" if arrays is None else f"of the format {arrays.get('format')!s}, not {FORMAT}"
        raise DataError(f"{path}: {found}; run the participant level of this model again")
    name = parse_name(path)
    facts = read_json(sidecar(path), remedy="run the participant level of this model again")
    try:
        return Draws(
            participant=str(name.participant),
            task=str(name.task),
            model=str(facts["Model"]),
            clips=tuple(map(str, arrays["clips"])),
            scores=_scores(arrays, layers),
            behavior=Estimate(value=float(arrays["b"]), draws=arrays["b_draws"]),
            conditions=facts.get(_CONDITIONS, {}),
            behavior_conditions=facts.get(_BEHAVIOR_CONDITIONS, {}),
        )
    except KeyError as error:
        raise DataError(
            f"{path}: of an older version, without {error}; run the participant level of this model again"
        ) from error


@dataclass(eq=False)
class _Pool:
    """Arrays of one length, each different one once."""

    places: dict[bytes, int] = field(default_factory=dict)
    rows: list[np.ndarray] = field(default_factory=list)

    def place(self, row: np.ndarray) -> int:
        row = np.ascontiguousarray(row, dtype=np.float64)
        if row.tobytes() not in self.places:
            self.places[row.tobytes()] = len(self.rows)
            self.rows.append(row)
        return self.places[row.tobytes()]

    def stacked(self, length: int) -> np.ndarray:
        return np.array(self.rows).reshape(len(self.rows), length)


def _arrays(draws: Draws) -> dict[str, np.ndarray]:
    k = len(draws.clips)
    upper = np.triu_indices(k)
    vectors, matrices = _Pool(), _Pool()
    rows = [
        (model, layer, region, statistics, kept.mapping.get(layer) == region)
        for model, kept in draws.scores.items()
        for (layer, region), statistics in [
            *kept.statistics.items(),
            *(((_COMMITTED, region), statistics) for region, statistics in kept.committed.items()),
        ]
    ]
    which = np.zeros((len(rows), len(_VECTORS) + len(_MATRICES)), dtype=np.int32)
    for row, (*_, statistics, _) in enumerate(rows):
        places = [vectors.place(getattr(statistics, name)) for name in _VECTORS]
        squares = [getattr(statistics, name) for name in _MATRICES]
        which[row] = places + [matrices.place(((square + square.T) / 2)[upper]) for square in squares]
    return {
        "format": np.array(FORMAT),
        "clips": np.array(draws.clips, dtype=np.str_),
        "pairs": np.array([row[:3] for row in rows], dtype=np.str_).reshape(-1, 3),
        "mapped": np.array([mapped for *_, mapped in rows], dtype=bool),
        "n_repeats": np.array([statistics.n_repeats for *_, statistics, _ in rows], dtype=np.int32),
        "sp_bias": np.array([statistics.sp_bias for *_, statistics, _ in rows], dtype=np.float64),
        "which": which,
        "vectors": vectors.stacked(k),
        "matrices": matrices.stacked(len(upper[0])),
        "b": np.array(draws.behavior.value, dtype=np.float64),
        "b_draws": np.asarray(draws.behavior.draws, dtype=np.float64),
    }


def _scores(arrays: Mapping[str, np.ndarray], layers: bool) -> dict[str, KeptScore]:
    pairs = [(str(model), str(layer), str(region)) for model, layer, region in arrays["pairs"]]
    scores = {}
    for model in dict.fromkeys(model for model, _, _ in pairs):
        own = [(row, layer, region) for row, (whose, layer, region) in enumerate(pairs) if whose == model]
        found = {
            (layer, region): _statistics(arrays, row) for row, layer, region in own if layers or layer == _COMMITTED
        }
        scores[model] = KeptScore(
            statistics={pair: statistics for pair, statistics in found.items() if pair[0] != _COMMITTED},
            committed={region: statistics for (layer, region), statistics in found.items() if layer == _COMMITTED},
            mapping={layer: region for row, layer, region in own if arrays["mapped"][row]},
        )
    return scores


def _statistics(arrays: Mapping[str, np.ndarray], row: int) -> ClipStatistics:
    k, places = len(arrays["clips"]), arrays["which"][row]

    def square(place: int) -> np.ndarray:
        upper = np.zeros((k, k))
        upper[np.triu_indices(k)] = arrays["matrices"][place]
        return upper + np.triu(upper, 1).T

    n_vectors = len(_VECTORS)
    return ClipStatistics(
        **{name: arrays["vectors"][place] for name, place in zip(_VECTORS, places[:n_vectors], strict=True)},
        **{name: square(place) for name, place in zip(_MATRICES, places[n_vectors:], strict=True)},
        n_repeats=int(arrays["n_repeats"][row]),
        sp_bias=float(arrays["sp_bias"][row]),
    )
