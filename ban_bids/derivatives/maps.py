"""One participant's statistical maps: name, image and JSON file in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.bids.names import map_name
from ban_bids.derivatives.statistics import STATISTICS
from ban_bids.errors import UsageError
from ban_bids.files.write import write_map


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
    session: str | None = None,
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
    participant, task, space, session : str
        Labels without their entity; session may be None.
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
    name = map_name(participant, stat=stat, space=space, task=task, model=model, layer=layer, session=session)
    own = {} if model is None else {"Model": model, "Layer": layer}
    facts = {"Statistic": stat, **own, "SpatialReference": space, **STATISTICS[stat], **(metadata or {})}
    return write_map(name.path(root), values, mask, affine, facts)
