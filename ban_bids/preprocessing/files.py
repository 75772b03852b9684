"""Small file helpers of preprocessing: images, hard links, atomic placing."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ban_bids.errors import UsageError


def save_image(path: Path, data: NDArray[Any], affine: NDArray[np.floating[Any]]) -> Path:
    """Write a 3-D image; masks and labels as uint8, everything else as float32."""
    small = data.dtype == bool or np.issubdtype(data.dtype, np.integer)
    image = nib.Nifti1Image(data.astype(np.uint8 if small else np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def load_image(path: Path | str) -> tuple[NDArray[np.float32], NDArray[np.floating[Any]]]:
    """3-D image as float32 with its affine."""
    image = nib.load(path)
    return np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float)


def load_mask(path: Path | str) -> NDArray[np.bool_]:
    """3-D mask as bool."""
    return np.asarray(nib.load(path).dataobj) > 0.5


def place(source: Path, target: Path) -> Path:
    """Put a file under its final name in one step: hard link where possible, else a copy, then rename.

    Raises
    ------
    UsageError
        The target's folder cannot be written.
    """
    temporary = target.with_name(f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except PermissionError as error:
        raise UsageError(f"{target.parent}: not writable by uid {os.getuid()}; choose another") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def place_text(text: str, target: Path) -> Path:
    """Write a text file in one step."""
    temporary = target.with_name(f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
    return target


def place_json(content: Mapping[str, Any], target: Path) -> Path:
    """Write a JSON sidecar in one step."""
    return place_text(json.dumps(content, indent=2) + "\n", target)


def place_sidecar(image: Path, content: Mapping[str, Any]) -> Path:
    """Write the JSON file beside an image."""
    return place_json(content, image.with_name(image.name.split(".")[0] + ".json"))


def raw_uri(path: Path, root: Path) -> str:
    """BIDS URI of a file of the raw dataset."""
    inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return f"bids:raw:{inside}"
