"""Images of preprocessing: read, written, and placed under their final names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ban_bids.bids.names import sidecar
from ban_bids.errors import DataError
from ban_bids.files import atomic
from ban_bids.files.images import read_through
from ban_bids.files.json import write_json
from ban_bids.typing import Floats

_FETCH = "fetch the file again"


def save_image(path: Path, data: NDArray[Any], affine: Floats) -> Path:
    """Write a 3-D image; masks and labels as uint8, everything else as float32."""
    small = data.dtype == bool or np.issubdtype(data.dtype, np.integer)
    image = nib.Nifti1Image(data.astype(np.uint8 if small else np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def load_image(path: Path | str, remedy: str = _FETCH) -> tuple[NDArray[np.float32], Floats]:
    """3-D image, also one of a single volume, as float32 with its affine.

    Raises
    ------
    DataError
        It cannot be read or is not 3-D; ``remedy`` ends the message.
    """
    with read_through(Path(path), remedy) as image:
        data, affine = np.array(image.dataobj, np.float32), np.array(image.affine, float)
    return _volume(data, path, remedy), affine


def load_mask(path: Path | str, remedy: str = _FETCH) -> NDArray[np.bool_]:
    """3-D mask as bool; raises as :func:`load_image`."""
    with read_through(Path(path), remedy) as image:
        mask = np.asarray(image.dataobj) > 0.5
    return _volume(mask, path, remedy)


def _volume(data: NDArray[Any], path: Path | str, remedy: str) -> NDArray[Any]:
    """Data without further axes of one entry."""
    if data.ndim < 3 or data.size != np.prod(data.shape[:3]):
        raise DataError(f"{path}: shape {data.shape} is not that of a 3-D image; {remedy}")
    return data.reshape(data.shape[:3])


def place(source: Path | str, target: Path | str, content: Mapping[str, Any] | None = None) -> Path:
    """Put a file under its final name in one step, with its JSON file.

    Parameters
    ----------
    source, target : Path or str
    content : mapping, optional
        Of the JSON file beside it.

    Raises
    ------
    UsageError
        The target's folder cannot be written.
    """
    path = atomic.place(Path(source), Path(target))
    if content is not None:
        write_json(sidecar(path), content)
    return path


def raw_uri(path: Path, root: Path) -> str:
    """BIDS URI of a file of the raw dataset."""
    inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return f"bids:raw:{inside}"


def node_name(text: str) -> str:
    """Name that Nipype takes, and under which its folder is found again; distinct labels have distinct names."""
    return "".join(c if c.isalnum() else "-" if c == "+" else "_" for c in text)


def participant_node(label: str) -> str:
    """Name of a participant's workflow: ``sub_01``; plus signs of the label are hyphens."""
    return node_name(f"sub_{label}")


def participant_of(node: str) -> str:
    """``sub-01`` of the name of a participant's workflow."""
    return node.replace("-", "+").replace("_", "-", 1)
