"""Which models of one output directory may be compared: what was kept of them, in the same draws, and what forbids it.

Models of one directory may have been run on different days and with different settings. What decides a score stands in
the JSON file of its draws; two models that differ there are not compared, and the reason names what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.derivatives.draws import Draws, read_clips, read_draws
from ban_bids.errors import DataError
from ban_bids.scoring.bootstrap import ClipStatistics, Estimate
from ban_bids.scoring.comparison import KeptScore, clip_draws

SAME = 1e-4
"""What tables and draws may differ by: a table's digits."""

_AGAIN = "run the participant level of {} again"
_MEASURED = ("n", "mm", "yy", "q_mm", "q_yy")  # of BOLD alone
_PREDICTED = ("py", "pp", "q_py", "q_pp")
_NOTHING = np.array([])
_SAME_BOLD = 1e-3  # relative to the largest entry; what threads and devices make of the same rows is far less


@dataclass(frozen=True, eq=False)
class Entry:
    """One scored model, with its controls, in one participant and task.

    Parameters
    ----------
    participant, model : str
    table : DataFrame
        Its rows of the score tables.
    draws : Draws or None
        Of its statistics only those of BOLD are kept, which tell whether two models met the same.
    fault : str
        Why there are no draws.
    rho : mapping of str to mapping of (row, region) to ndarray of shape (1 + n_draws,)
        By name of the model and of each control; from :meth:`ban_bids.scoring.comparison.KeptScore.rho`.
    """

    participant: str
    model: str
    table: pd.DataFrame
    draws: Draws | None = None
    fault: str = ""
    rho: Mapping[str, Mapping[tuple[str, str], np.ndarray]] = field(default_factory=dict)
    _scores: dict[tuple[str, str, str], np.ndarray | str] = field(default_factory=dict, repr=False)

    def score(self, name: str, row: str, region: str) -> np.ndarray | str:
        """Draws of C or of rho of a region, entry 0 the score itself; the reason where there are none."""
        key = (name, row, region)
        if key not in self._scores:  # asked for once in each of 19 pairs
            self._scores[key] = self._score(*key)
        return self._scores[key]

    def _score(self, name: str, row: str, region: str) -> np.ndarray | str:
        stated = self._stated(name, row, region)
        if isinstance(stated, str):
            return stated
        found = self.rho.get(name, {}).get((row, region))
        if found is None:
            return self.fault or f"no draws of {name} were kept; {_AGAIN.format(self.model)}"
        if not np.isclose(found[0], stated, rtol=SAME, atol=SAME):
            both = f"{stated:.4f} in its score table and {found[0]:.4f} by its draws"
            return f"{name} has {both}; {_AGAIN.format(self.model)}"
        return found

    def behavior(self) -> Estimate | str:
        """B of the model with its draws; the reason where there is none."""
        stated = self._stated(self.model, "B", "")
        if isinstance(stated, str):
            return stated
        if self.draws is None or not np.isfinite(self.draws.behavior.value):
            return self.fault or f"no draws of B of {self.model} were kept; {_AGAIN.format(self.model)}"
        return self.draws.behavior

    def _stated(self, name: str, row: str, region: str) -> float | str:
        """What the score table says."""
        if (name, row, region) not in self._cells:
            return f"{name} has no {row} {region}".strip() + f" in its score table; {_AGAIN.format(self.model)}"
        value, reason = self._cells[name, row, region]
        return value if np.isfinite(value) else f"{name}: {'n/a' if pd.isna(reason) else reason}"

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str], tuple[float, Any]]:
        """Value and reason of every row that models are compared by, the first one of each kind."""
        cells: dict[tuple[str, str, str], tuple[float, Any]] = {}
        rows = self.table[self.table["row"].isin(["C", "region", "B"])]
        columns = ["model", "row", "region", "rho", "value", "reason"]
        for name, row, region, rho, value, reason in rows.reindex(columns=columns).itertuples(index=False):
            own = (float(rho), str(region)) if row == "region" else (float(value), "")
            cells.setdefault((name, row, own[1]), (own[0], reason))
        return cells

    @cached_property
    def clips(self) -> frozenset[str]:
        """Identities of its clips."""
        return frozenset(self.draws.clips if self.draws else ())


def entries(scores: pd.DataFrame, draw_files: pd.DataFrame, *, n_draws: int, seed: int) -> list[Entry]:
    """Everything that can be compared in one task, scored in draws of clips that are the same for all.

    Parameters
    ----------
    scores : DataFrame
        Rows of the score tables, see :meth:`ban_bids.derivatives.read.Derivatives.scores`.
    draw_files : DataFrame
        See :meth:`ban_bids.derivatives.read.Derivatives.draw_files`.
    n_draws, seed : int

    Returns
    -------
    list of Entry
        By participant and name of the model.
    """
    own = scores["control_of"].where(scores["control_of"].notna(), scores["model"])
    paths = {(one.participant, one.model): Path(str(one.path)) for one in draw_files.itertuples()}
    groups = scores.groupby(["participant", own.rename("owner")])
    keys: list[tuple[str, str]] = [(str(label), str(model)) for (label, model), _ in groups]
    # two passes: clips of all, and then the large statistics of one at a time
    clips = {key: read_clips(paths[key]) for key in keys if key in paths}
    counts = dict(zip(clips, clip_draws(list(clips.values()), n_draws, seed), strict=True))
    found, measured = [], _Measured()
    for (label, model), table in groups:
        key = (str(label), str(model))
        draws, fault = _read(paths.get(key), key[1])
        found.append(_scored(Entry(*key, table, draws, fault), counts.get(key), measured))
    return found


def _read(path: Path | None, model: str) -> tuple[Draws | None, str]:
    if path is None:
        return None, f"no draws of {model} were kept; {_AGAIN.format(model)}"
    try:
        return read_draws(path, layers=False), ""
    except DataError as error:
        return None, str(error)


def _scored(entry: Entry, drawn: np.ndarray | None, measured: _Measured) -> Entry:
    """The entry with its scores in draws, in place of the statistics that they follow from."""
    draws = entry.draws
    if draws is None or not draws.clips or drawn is None:
        return entry
    rho = {name: kept.rho(drawn) for name, kept in draws.scores.items()}
    bold = {region: measured.shared(statistics) for region, statistics in _bold(draws).items()}
    return replace(entry, draws=replace(draws, scores={draws.model: KeptScore({}, bold)}), rho=rho)


@dataclass
class _Measured:
    """Statistics of BOLD, each once: they are the same for all models of a participant."""

    _known: dict[tuple[str, tuple[int, ...], bytes], np.ndarray] = field(default_factory=dict)

    def shared(self, statistics: ClipStatistics) -> ClipStatistics:
        """Statistics without those of predictions."""
        arrays: dict[str, Any] = dict.fromkeys(_PREDICTED, _NOTHING)
        for name in _MEASURED:
            array = getattr(statistics, name)
            arrays[name] = self._known.setdefault((array.dtype.str, array.shape, array.tobytes()), array)
        return replace(statistics, **arrays)


def conflict(first: Entry, second: Entry, row: str) -> str:
    """Why two models of a participant are not compared; empty where they may be.

    Parameters
    ----------
    first, second : Entry
    row : {"C", "region", "B", "BAS"}

    Returns
    -------
    str
        Names what differs, both values and the remedy.
    """
    if first.draws is None or second.draws is None:
        return "; ".join(filter(None, (first.fault, second.fault)))
    cortical = "" if row == "B" else _differing(first.draws, second.draws) or _other_bold(first.draws, second.draws)
    return cortical or ("" if row not in ("B", "BAS") else _other_behavior(first.draws, second.draws))


def _differing(first: Draws, second: Draws) -> str:
    """What of the conditions of cortical scores differs."""
    lacking = [one.model for one in (first, second) if not one.conditions]
    if lacking:
        return f"what {' and '.join(lacking)} rests on was not kept; {_AGAIN.format(' and '.join(lacking))}"
    what = _listed(first.model, second.model, first.conditions, second.conditions)
    if not what and first.clips != second.clips:
        what = f"repeated clips differ ({first.model}: {len(first.clips)}, {second.model}: {len(second.clips)})"
    return what and f"{what}; {_again_alike(first.model, second.model)}"


def _other_behavior(first: Draws, second: Draws) -> str:
    if not (np.isfinite(first.behavior.value) and np.isfinite(second.behavior.value)):
        return ""  # the score's own reason says more
    lacking = [one.model for one in (first, second) if not one.behavior_conditions]
    if lacking:
        return f"what B of {' and '.join(lacking)} rests on was not kept; {_AGAIN.format(' and '.join(lacking))}"
    what = _listed(first.model, second.model, first.behavior_conditions, second.behavior_conditions)
    return what and f"B: {what}; {_again_alike(first.model, second.model)}"


def _again_alike(first: str, second: str) -> str:
    return f"run the participant level of {first} or {second} again, both with the same data and settings"


def _listed(first: str, second: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Facts that differ, with both values."""
    differ = [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
    said = [
        f"{key} differs ({first}: {plain_condition(one, key)}, {second}: {plain_condition(other, key)})"
        for key in differ
    ]
    return "; ".join(said)


def plain_condition(facts: Mapping[str, Any], key: str) -> str:
    """One of the conditions of a score in words."""
    value = facts.get(key, "unknown")
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _other_bold(first: Draws, second: Draws) -> str:
    """Whether the BOLD of some region is not the same: other images, confounds or voxels, whatever settings say."""
    one, other = (_bold(draws) for draws in (first, second))
    unlike = [region for region in one if region in other and not _alike(one[region], other[region])]
    return (
        unlike
        and (
            f"BOLD of {', '.join(unlike)} is not the same (other images, confounds or voxels); "
            f"{_again_alike(first.model, second.model)}"
        )
        or ""
    )


def _bold(draws: Draws) -> Mapping[str, ClipStatistics]:
    kept = draws.scores.get(draws.model)
    return {} if kept is None else kept.committed


def _alike(one: ClipStatistics, other: ClipStatistics) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in _MEASURED]
    return all(
        a is b or a.shape == b.shape and bool(np.all(np.abs(a - b) <= _SAME_BOLD * np.abs(a).max(initial=0)))
        for a, b in pairs
    )


def largest_class(models: Sequence[str], conflicts: Mapping[tuple[str, str], str]) -> list[str]:
    """Models that may be compared with one another: the largest such set; empty where two are equally large.

    Parameters
    ----------
    models : sequence of str
    conflicts : mapping of (str, str) to str
        From :func:`conflict`, of all pairs in this order.
    """
    classes: list[list[str]] = []
    for model in models:
        home = next((own for own in classes if not any(conflicts[member, model] for member in own)), None)
        if home is None:
            classes.append([model])
        else:
            home.append(model)
    classes.sort(key=len, reverse=True)
    equal = len(classes) > 1 and len(classes[0]) == len(classes[1])
    return [] if equal or not classes else classes[0]
