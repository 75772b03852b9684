"""What is known of an image before its voxels are read: sidecars by the inheritance principle, and its header."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ban_bids.bids.names import entities, file_suffix
from ban_bids.errors import DataError
from ban_bids.files.images import open_image, unpacked, voxel_bytes, voxel_sizes
from ban_bids.files.json import read_json
from ban_bids.files.reading import as_number, check_ordinary, opened

_FLAT = 1e-9  # mm³ of a voxel
_SIDES = (0.05, 50.0)
"""Sides that a voxel of a head may have, mm: with others the affine is in metres or micrometres."""
_FARTHEST = 1e4
"""Millimetres from the scanner's centre at which a head may lie."""


_Described = Sequence[tuple[Path, frozenset[tuple[str, str]]]]
"""Files with their entities."""


@dataclass(frozen=True)
class Companions:
    """Sidecars and tables of a dataset, found by the inheritance principle.

    Parameters
    ----------
    files : Mapping of (Path, str) to sequence of (Path, frozenset)
        By folder, and by suffix with extension (``events.tsv``): the files with their entities.
    """

    files: Mapping[tuple[Path, str], _Described]
    _read: dict[Path, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)
    _above: dict[tuple[Path, str], list[_Described]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Companions:
        """Sort the dataset's sidecars and tables."""
        files: dict[tuple[Path, str], list[tuple[Path, frozenset[tuple[str, str]]]]] = {}
        for path in paths:
            key = path.parent, file_suffix(path) + path.suffix
            files.setdefault(key, []).append((path, frozenset(entities(path))))
        return cls(files)

    def inherited(self, image: Path, kind: str) -> list[Path]:
        """Files of a kind (``bold.json``) that apply to an image, the nearest first."""
        place = image.parent, kind
        if place not in self._above:  # once for all images of a folder
            self._above[place] = [here for folder in image.parents if (here := self.files.get((folder, kind)))]
        if not self._above[place]:
            return []
        labels = set(entities(image))
        fitting = [[one for one in here if labels >= one[1]] for here in self._above[place]]
        return [path for here in fitting for path, _ in sorted(here, key=lambda one: (-len(one[1]), one[0]))]

    def table(self, image: Path) -> Path | None:
        """The table of events that is an image's; None where there is none.

        Raises
        ------
        DataError
            Of two in one folder neither is nearer.
        """
        there = self.inherited(image, "events.tsv")
        if not there:
            return None
        first = there[0]
        if rival := next((path for path in there[1:] if _rivals(first, path)), None):
            raise DataError(
                f"{first}: {rival.name} is for {image.name} as well; leave one, or name it by more entities"
            )
        return first

    def metadata(self, image: Path, kind: str | None = None) -> dict[str, Any]:
        """Sidecar fields of an image: those of nearer files win.

        Where two in one folder, of which neither is nearer, contradict each other, the field holds a text that says so:
        whoever wants a number there refuses it.

        Parameters
        ----------
        image : Path
        kind : str, optional
            Suffix of the sidecar, where it is not the image's own (``events``).

        Raises
        ------
        DataError
            A sidecar is not JSON.
        """
        fields: dict[str, Any] = {}
        origin: dict[str, Path] = {}
        for path in reversed(self.inherited(image, f"{kind or file_suffix(image)}.json")):
            if path not in self._read:
                self._read[path] = read_json(path)
            for key, value in self._read[path].items():
                if fields.get(key, value) != value and _rivals(origin[key], path):
                    told = f"not the same in {origin[key].name} and {path.name}"
                    fields[key], origin[key] = told, path
                else:
                    fields[key], origin[key] = value, path
        return fields


def _rivals(one: Path, other: Path) -> bool:
    """Whether of two files in one folder neither has all entities of the other."""
    first, second = set(entities(one)), set(entities(other))
    return one.parent == other.parent and not first <= second and not second <= first


def number(metadata: Mapping[str, Any], key: str, path: Path) -> float | None:
    """Number in a sidecar; None where the field is absent.

    Raises
    ------
    DataError
        The field holds something else.
    """
    value = metadata.get(key)
    if value is not None and as_number(value) is None:
        raise DataError(f"{path}: {key} of its sidecar is {str(value)[:80]!r}; write a number")
    return as_number(value)


def load_header(path: Path) -> nibabel.Nifti1Image:
    """Open an image without reading its voxels.

    Raises
    ------
    DataError
        The file is missing (or a link to a file that was not fetched), empty, truncated, followed by something else
        or not NIfTI, or its voxels have no place in space.
    """
    if not path.exists():
        raise DataError(f"{path}: link to a file that is not there; fetch the image (datalad get)")
    if check_ordinary(path, "restore the image") == 0:
        raise DataError(f"{path}: empty file; restore the image")
    image = open_image(path, "restore the image")
    if path.suffix == ".gz":
        _check_end(path, int(image.dataobj.offset) + voxel_bytes(image))
    affine = np.asarray(image.affine, float)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < _FLAT:
        raise DataError(f"{path}: its header gives voxels no place in space (flat or empty sform); restore the image")
    sides, centre = voxel_sizes(image), np.abs(affine[:3, 3]).max()
    if not _SIDES[0] <= min(sides) <= max(sides) <= _SIDES[1] or centre > _FARTHEST:
        text = " x ".join(f"{side:g}" for side in sides)
        raise DataError(
            f"{path}: voxels of {text} mm, {centre:g} mm from the centre, by its affine are no head's; correct the "
            "header (lengths in mm)"
        )
    return image


def _check_end(path: Path, needed: int) -> None:
    """Find a compressed image that is cut short before hours of work: gzip's last four bytes are the length unpacked.

    Where they are another number (a file of several parts has that of its last one) the file is unpacked to its end.
    """
    with opened(path) as file:
        file.seek(-4, 2)
        if int.from_bytes(file.read(4), "little") == needed % 2**32:
            return
    try:
        with gzip.open(path) as stream:
            length = unpacked(path, stream, needed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); fetch the image again") from error
    if length < needed:
        raise DataError(f"{path}: truncated ({length} of {needed} bytes unpacked); restore the image")
