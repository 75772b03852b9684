"""Atomic writers: a reader sees the old file or the new one, never a part of one.

Each file is written under a name of its own in the same folder and then renamed over the target, so
that two processes that write at once both finish and the later one wins whole.
"""

from __future__ import annotations

import json
import logging
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from ban_bids.bids.names import sidecar
from ban_bids.errors import DataError, UsageError

_LOG = logging.getLogger(__name__)

TEMPORARY_PREFIX = ".tmp-"
"""Beginning of names of files that are being written; ``.bidsignore`` and all readers skip them."""

NOT_AVAILABLE = "n/a"

_NO_EVIDENCE = {"p": 1.0, "q": 1.0}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside the target; on success it replaces the target, else it is removed.

    Parameters
    ----------
    path : Path
        Target; its folder is made where it does not exist.

    Yields
    ------
    Path
        To be written by the caller. It keeps the target's extension.

    Raises
    ------
    UsageError
        The folder cannot be written.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except PermissionError as error:
        raise UsageError(f"{path}: user {os.getuid()} cannot write there; give another output directory") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text atomically and return the path."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object atomically.

    Parameters
    ----------
    path : Path
        Target.
    content : mapping
        May hold numpy numbers and arrays, paths, tuples and sets; numbers that are not finite become
        ``"n/a"``, for JSON has none.

    Returns
    -------
    Path
        The target.
    """
    return write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """JSON's own types for numpy's, for paths and for collections."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return NOT_AVAILABLE
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def write_tsv(path: Path, table: pd.DataFrame) -> Path:
    """Write a BIDS table atomically: tabs, a header, ``n/a`` for what is missing.

    Parameters
    ----------
    path : Path
        Target.
    table : DataFrame
        Its index is not written. Booleans become ``true`` and ``false``; tabs and line ends within
        a cell become spaces.

    Returns
    -------
    Path
        The target.
    """
    text = table.astype(object).map(_cell).to_csv(sep="\t", index=False, lineterminator="\n")
    return write_text(path, text)


def _cell(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return NOT_AVAILABLE
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return " ".join(value.split()) if isinstance(value, str) else value


def read_tsv(path: Path) -> pd.DataFrame:
    """Read a table that :func:`write_tsv` wrote; ``n/a`` becomes missing, labels such as ``01`` stay text.

    Parameters
    ----------
    path : Path
        Table.

    Returns
    -------
    DataFrame
        Columns whose every value is a number are numeric, but for ``participant`` and ``session``.

    Raises
    ------
    DataError
        The file is missing or empty.
    """
    labels = {"participant": str, "session": str, "task": str, "space": str, "name": str, "abbreviation": str}
    try:
        return pd.read_csv(path, sep="\t", dtype=labels, na_values=[NOT_AVAILABLE], keep_default_na=False)
    except (OSError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: not a readable table ({error}); run the participant level again") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    DataError
        The file is missing, damaged or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable JSON ({error}); run the participant level again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no JSON object; run the participant level again")
    return content


def write_map(
    path: Path,
    values: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    metadata: Mapping[str, Any],
) -> Path:
    """Write a statistical map and its JSON file.

    Parameters
    ----------
    path : Path
        Target, ``.nii.gz``.
    values : ndarray of shape (n_voxels,)
        One value a voxel of the mask, in C order (``volume[mask]``). NaN: not computable there; it is
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
