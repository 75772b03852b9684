"""One participant's statistical maps: name, image and JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.bids.names import map_name
from ban_bids.derivatives.statistics import STATISTICS
from ban_bids.errors import UsageError
from ban_bids.files.write import write_map


@dataclass(frozen=True)
class MapLabels:
    """Labels of one participant's maps: participant, held-out task, space."""

    participant: str
    task: str
    space: str

    @property
    def entities(self) -> dict[str, str]:
        """As keyword arguments of :func:`write_statmap`."""
        return {"participant": self.participant, "task": self.task, "space": self.space}


def write_statmap(
    root: Path,
    values: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    *,
    participant: str,
    task: str,
    space: str,
    stat: str,
    model: str | None = None,
    layer: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write one statistical map of a participant where the output tree wants it.

    Parameters
    ----------
    root : Path
    values : ndarray of shape (n_voxels,)
        In C order of the mask; NaN where not computable.
    mask : ndarray of shape (x, y, z), bool
    affine : ndarray of shape (4, 4)
        As for :func:`ban_bids.files.write.write_map`.
    participant, task, space : str
        Labels without their entity; scores pool sessions.
    stat : str
        A key of :data:`ban_bids.derivatives.statistics.STATISTICS`; its definition goes into the JSON file.
    model, layer : str, optional
        Full names; neither for ``ev`` and ``ccmax``.
    metadata : mapping, optional
        Further facts (``NumberOfRepeats``, ``ModelFingerprint``, ...); they win over the definitions.

    Returns
    -------
    Path
        The image.

    Raises
    ------
    UsageError
        The statistic is unknown or a label cannot stand in a file name.
    DataError
        Sizes of values and mask differ.
    """
    if stat not in STATISTICS:
        raise UsageError(f"statistic '{stat}' is unknown: choose from {', '.join(STATISTICS)}")
    name = map_name(participant, stat=stat, space=space, task=task, model=model, layer=layer)
    own = {} if model is None else {"Model": model, "Layer": layer}
    facts = {"Statistic": stat, **own, "SpatialReference": space, **STATISTICS[stat], **(metadata or {})}
    return write_map(name.path(root), values, mask, affine, facts)


def write_model_maps(
    root: Path,
    labels: MapLabels,
    maps: Mapping[tuple[str, str], np.ndarray],
    *,
    model: str,
    layers: Sequence[str],
    mask: np.ndarray,
    affine: np.ndarray,
    metadata: Mapping[str, Any],
) -> tuple[Path, ...]:
    """Write every map of a scored model.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    labels : MapLabels
    maps : mapping of (layer, statistic) to ndarray of shape (n_voxels,)
    model : str
    layers : sequence of str
        In the model's order.
    mask, affine
        As for :func:`write_statmap`.
    metadata : mapping
        Into every JSON file.

    Returns
    -------
    tuple of Path
        The images.
    """
    return tuple(
        write_statmap(
            root, values, mask, affine, **labels.entities, stat=stat, model=model, layer=layer,
            metadata={**metadata, **_facts_of(stat, values, layers)},
        )
        for (layer, stat), values in maps.items()
    )  # fmt: skip


def write_ceiling_maps(
    root: Path,
    labels: MapLabels,
    ceilings: Mapping[str, np.ndarray],
    *,
    mask: np.ndarray,
    affine: np.ndarray,
    metadata: Mapping[str, Any],
) -> tuple[Path, ...]:
    """Write the maps of the noise ceiling, ``ev`` and ``ccmax``, which belong to no model.

    Parameters and return value as for :func:`write_model_maps`; ``ceilings`` has a map per statistic.
    """
    return tuple(
        write_statmap(root, values, mask, affine, **labels.entities, stat=stat, metadata=metadata)
        for stat, values in ceilings.items()
    )


def _facts_of(stat: str, values: np.ndarray, layers: Sequence[str]) -> dict[str, Any]:
    """What the JSON file of one statistic says beyond those of all."""
    if stat == "share":
        return {"VoxelsNegative": int(np.count_nonzero(values < 0))}
    if stat == "bestlayer":
        counts = {layer: int(np.count_nonzero(values == k)) for k, layer in enumerate(layers, 1)}
        return {"Levels": {str(k): layer for k, layer in enumerate(layers, 1)}, "VoxelsOfLayer": counts}
    return {}
