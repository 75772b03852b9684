"""What is known of an image before its voxels are read: sidecars by the inheritance principle, and its header."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from ban_bids.bids.names import entities, file_suffix
from ban_bids.errors import DataError
from ban_bids.files.json import read_json


@dataclass(frozen=True)
class Companions:
    """Sidecars and tables of a dataset, found by the inheritance principle.

    Parameters
    ----------
    files : Mapping of (Path, str) to sequence of Path
        By folder, and by suffix with extension (``events.tsv``).
    """

    files: Mapping[tuple[Path, str], Sequence[Path]]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Companions:
        """Sort the dataset's sidecars and tables."""
        files: dict[tuple[Path, str], list[Path]] = {}
        for path in paths:
            files.setdefault((path.parent, file_suffix(path) + path.suffix), []).append(path)
        return cls(files)

    def inherited(self, image: Path, kind: str) -> list[Path]:
        """Files of a kind (``bold.json``) that apply to an image, the nearest first."""
        labels = set(entities(image))
        applying: list[Path] = []
        for folder in image.parents:
            here = [path for path in self.files.get((folder, kind), ()) if labels.issuperset(entities(path))]
            applying += sorted(here, key=lambda path: (-len(entities(path)), path))
        return applying

    def metadata(self, image: Path) -> dict[str, Any]:
        """Sidecar fields of an image: those of nearer files win.

        Raises
        ------
        DataError
            A sidecar is not JSON.
        """
        fields: dict[str, Any] = {}
        for path in reversed(self.inherited(image, f"{file_suffix(image)}.json")):
            fields |= read_json(path)
        return fields


def number(metadata: Mapping[str, Any], key: str, path: Path) -> float | None:
    """Number in a sidecar; None where the field is absent.

    Raises
    ------
    DataError
        The field holds something else.
    """
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DataError(f"{path}: {key} of its sidecar is {value!r}; write a number")
    return float(value)


def load_header(path: Path) -> nibabel.Nifti1Image:
    """Open an image without reading its voxels.

    Raises
    ------
    DataError
        The file is missing (or a link to a file that was not fetched), empty, truncated or not NIfTI.
    """
    if not path.exists():
        raise DataError(f"{path}: link to a file that is not there; fetch the image (datalad get)")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file; restore the image")
    try:
        image = nibabel.load(path)
        header_bytes = int(image.dataobj.offset)
        needed = header_bytes + int(np.prod(image.shape)) * image.get_data_dtype().itemsize
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a NIfTI image that can be read ({error}); restore it") from error
    if path.suffix == ".nii" and path.stat().st_size < needed:
        raise DataError(f"{path}: truncated ({path.stat().st_size} of {needed} bytes); restore the image")
    return image
