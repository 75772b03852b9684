"""One participant's statistical maps: name, image and JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ban_bids.bids.names import map_name, sidecar
from ban_bids.derivatives.statistics import STATISTICS
from ban_bids.errors import DataError, UsageError
from ban_bids.files.atomic import atomic_path
from ban_bids.files.json import write_json

_NO_EVIDENCE = dict.fromkeys(("p", "psound", "qsound", "pspecific", "qspecific"), 1.0)


def write_map(
    path: Path, values: np.ndarray, mask: np.ndarray, affine: np.ndarray, metadata: Mapping[str, Any]
) -> Path:
    """Write a statistical map and its JSON file.

    Parameters
    ----------
    path : Path
        Target, ``.nii.gz``.
    values : ndarray of shape (n_voxels,)
        One value per voxel of the mask, in C order (``volume[mask]``). NaN: not computable there; it is
        written as NaN, which nilearn plots as nothing.
    mask : ndarray of shape (x, y, z), bool
        Voxels that have a value. Outside, maps hold 0, as usual for statistical maps, but p and q maps
        hold 1: thresholded from above they would show everything outside the brain otherwise.
    affine : ndarray of shape (4, 4)
        Voxel indices to millimetres.
    metadata : mapping
        What the JSON file says; must hold ``Statistic``. ``OutsideMask``, ``NotComputable``,
        ``VoxelsInMask`` and ``VoxelsNotComputable`` are added.

    Returns
    -------
    Path
        The target. The image is in place before the JSON file, through which readers find it.

    Raises
    ------
    DataError
        Sizes of values and mask differ, or the metadata do not name the statistic.
    """
    inside = np.asarray(mask, dtype=bool)
    flat = np.asarray(values, dtype=np.float32)
    if inside.ndim != 3 or flat.shape != (int(inside.sum()),):
        raise DataError(f"{path.name}: {flat.shape} values for {int(inside.sum())} voxels of a {inside.ndim}-D mask")
    if "Statistic" not in metadata:
        raise DataError(f"{path.name}: its metadata name no Statistic")
    outside = _NO_EVIDENCE.get(str(metadata["Statistic"]), 0.0)
    image = _map_image(flat, inside, affine, outside, str(metadata.get("SpatialReference", "")))
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
    missing = int(np.count_nonzero(~np.isfinite(flat)))
    facts = {
        "OutsideMask": outside,
        "NotComputable": "NaN inside the mask",
        "VoxelsInMask": int(inside.sum()),
        "VoxelsNotComputable": missing,
    }
    write_json(sidecar(path), {**metadata, **facts})
    return path


def _map_image(flat: np.ndarray, inside: np.ndarray, affine: np.ndarray, outside: float, space: str) -> nib.Nifti1Image:
    volume = np.full(inside.shape, outside, dtype=np.float32)
    volume[inside] = np.where(np.isfinite(flat), flat, np.nan)
    image = nib.Nifti1Image(volume, np.asarray(affine, dtype=float))
    code = "mni" if space.startswith("MNI") else "aligned"
    image.set_qform(image.affine, code=code)
    image.set_sform(image.affine, code=code)
    image.header.set_xyzt_units("mm", "sec")
    return image


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
        As for :func:`write_map`.
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
    source = {} if model is None else {"Model": model, "Layer": layer}
    facts = {"Statistic": stat, **source, "SpatialReference": space, **STATISTICS[stat], **(metadata or {})}
    return write_map(name.path(root), values, mask, affine, facts)


def write_maps(
    root: Path,
    maps: Mapping[tuple[str, str], np.ndarray] | Mapping[tuple[None, str], np.ndarray],
    *,
    mask: np.ndarray,
    affine: np.ndarray,
    metadata: Mapping[str, Any],
    layers: Sequence[str] = (),
    **labels: str,
) -> tuple[Path, ...]:
    """Write every map of a scored model, or of the noise ceiling, which belongs to none.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    maps : mapping of (layer, statistic) to ndarray of shape (n_voxels,)
        The layer is None in maps of the noise ceiling.
    mask, affine
        As for :func:`write_statmap`.
    metadata : mapping
        Into every JSON file.
    layers : sequence of str
        In the model's order.
    **labels : str
        ``participant``, ``task``, ``space`` and, of a model's maps, ``model``, as for :func:`write_statmap`.

    Returns
    -------
    tuple of Path
        The images.
    """
    return tuple(
        write_statmap(
            root, values, mask, affine, stat=stat, layer=layer, **labels,
            metadata={**metadata, **_facts_of(stat, values, layers)},
        )
        for (layer, stat), values in maps.items()
    )  # fmt: skip


def _facts_of(stat: str, values: np.ndarray, layers: Sequence[str]) -> dict[str, Any]:
    """What the JSON file of one statistic says beyond those of all."""
    if stat == "share":
        return {"VoxelsNegative": int(np.count_nonzero(values < 0))}
    if stat == "bestlayer":
        counts = {layer: int(np.count_nonzero(values == k)) for k, layer in enumerate(layers, 1)}
        return {"Levels": {str(k): layer for k, layer in enumerate(layers, 1)}, "VoxelsOfLayer": counts}
    return {}
