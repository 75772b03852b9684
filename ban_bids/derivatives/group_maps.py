"""Maps of the group: mean, t and p of Fisher's z over participants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from scipy import stats

from ban_bids.bids.names import map_name
from ban_bids.derivatives.maps import write_map
from ban_bids.derivatives.statistics import STATISTICS
from ban_bids.errors import DataError
from ban_bids.files.images import naming, open_image

_AT_LEAST_T, _AT_LEAST_P = 2, 3
_LARGEST_R = 1 - 1e-7
_REMEDY = "run the participant level again"
_GRID_TOLERANCE = 1e-3


def write_group_maps(root: Path, maps: pd.DataFrame, labels: Sequence[str]) -> tuple[list[Path], tuple[str, ...]]:
    """Write mean, t and p of Fisher's z for every model layer and space.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    maps : DataFrame
        The members' maps of r that :func:`check_maps` let pass.
    labels : sequence of str
        The members.

    Returns
    -------
    written : list of Path
        Images.
    notes : tuple of str
        What is n/a and why.
    """
    written: list[Path] = []
    n = len(labels)
    notes = []
    if n < _AT_LEAST_P:
        lacking = "t and p are" if n < _AT_LEAST_T else "p is"
        notes.append(f"group maps of {lacking} n/a: {n} participant(s), t needs {_AT_LEAST_T} and p {_AT_LEAST_P}")
    for (space, model, layer), rows in maps.groupby(["space", "model", "layer"], sort=False):
        of_layer = _write_layer(root, str(space), str(model), str(layer), rows)
        if not of_layer:
            notes.append(f"{model} {layer} in {space}: no voxel is valid in all participants, so no group maps")
        written += of_layer
    return written, tuple(notes)


def _write_layer(root: Path, space: str, model: str, layer: str, maps: pd.DataFrame) -> list[Path]:
    """Maps of one layer; ``maps`` has one row per participant. Nothing where no voxel is valid in all."""
    paths = [Path(path) for path in maps["path"]]
    moments = Moments()
    first = open_image(paths[0], _REMEDY)
    for path in paths:  # one at a time: 500 people's maps of 2 mm would be 2 GiB
        image = open_image(path, _REMEDY)
        with naming(path, _REMEDY):
            moments.add(np.asarray(image.dataobj, dtype=np.float32))
    mask = moments.mask
    if not mask.any():
        return []
    facts = {
        "Model": model,
        "Layer": layer,
        "SpatialReference": space,
        "Participants": list(maps["participant"]),
        "Mask": "voxels whose r is computable in every participant",
        "ModelFingerprint": maps["model_fingerprint"].iloc[0],
        "Sources": [f"bids::{path.relative_to(root)}" for path in paths],
    }
    written = []
    for stat, values in moments.statistics().items():
        path = map_name(None, stat=stat, space=space, model=model, layer=layer).path(root)
        text = STATISTICS["group p" if stat == "p" else stat]
        written.append(write_map(path, values, mask, first.affine, {"Statistic": stat, **text, **facts}))
    return written


class Moments:
    """Mean and variance of Fisher's z over participants, whose maps are given one at a time (Welford's recurrence).

    Memory is that of one map and two numbers a voxel, however many participants there are.
    """

    def __init__(self) -> None:
        self.n = 0
        self._shape: tuple[int, ...] = ()
        self._where = np.array([], dtype=np.intp)  # voxels that are computable in everyone so far
        self._mean = self._squares = np.array([])

    def add(self, r: np.ndarray) -> None:
        """One more participant's map of r: 0 outside the mask, NaN where it is not computable."""
        flat = np.asarray(r).ravel()
        if self.n == 0:
            self._shape, self._where = r.shape, np.flatnonzero(flat)
            self._mean, self._squares = (np.zeros(len(self._where)) for _ in range(2))
        own = flat[self._where]
        there = np.isfinite(own) & (own != 0)
        if not there.all():
            self._where, own = self._where[there], own[there]
            self._mean, self._squares = self._mean[there], self._squares[there]
        self.n += 1
        z = np.arctanh(np.clip(own.astype(float), -_LARGEST_R, _LARGEST_R))
        deviation = z - self._mean
        self._mean += deviation / self.n
        self._squares += deviation * (z - self._mean)

    @property
    def mask(self) -> np.ndarray:
        """Voxels that are computable in everyone."""
        mask = np.zeros(self._shape, dtype=bool)
        mask.flat[self._where] = True
        return mask

    def statistics(self) -> dict[str, np.ndarray]:
        """Mean, t and p over participants, on Fisher's z.

        Returns
        -------
        dict of str to ndarray of shape (n_voxels,)
            In C order of the mask. ``mean``: tanh of the mean z; ``t``: one-sample t of z, from two participants on;
            ``p``: one-sided (r > 0), from three on. NaN where z does not vary.
        """
        statistics = {"mean": np.tanh(self._mean)}
        if self.n >= _AT_LEAST_T:
            error = np.sqrt(self._squares / (self.n - 1) / self.n)
            nothing = np.full(len(error), np.nan)
            statistics["t"] = np.divide(self._mean, error, out=nothing, where=error > 0)
        if self.n >= _AT_LEAST_P:
            statistics["p"] = stats.t.sf(statistics["t"], self.n - 1)
        return statistics


def check_maps(maps: pd.DataFrame, labels: Sequence[str]) -> None:
    """Refuse maps that cannot be averaged voxel by voxel.

    Parameters
    ----------
    maps : DataFrame
        The members' maps of r.
    labels : sequence of str
        The members.

    Raises
    ------
    DataError
        Spaces or grids differ, or a participant has several maps of one layer; names the participants.
    """
    spaces = {label: sorted(set(maps.loc[maps["participant"] == label, "space"])) for label in labels}
    if len(set(map(tuple, spaces.values()))) > 1:
        who = "; ".join(f"sub-{label}: {', '.join(names) or 'no maps'}" for label, names in spaces.items())
        raise DataError(f"participants are in different spaces ({who}); run all with the same --space")
    twice = maps[maps.duplicated(["participant", "space", "model", "layer"])]
    if not twice.empty:
        name = Path(twice["path"].iloc[0]).name
        raise DataError(f"{name}: not the only map of its layer; choose with --task-id")
    for _, rows in maps.groupby("space"):
        first = open_image(Path(rows["path"].iloc[0]), _REMEDY)
        for row in rows.itertuples():
            image = open_image(Path(str(row.path)), _REMEDY)
            if image.shape == first.shape and np.allclose(image.affine, first.affine, atol=_GRID_TOLERANCE):
                continue
            raise DataError(
                f"sub-{row.participant} and sub-{rows['participant'].iloc[0]} are on different grids "
                f"({_grid(image)}; {_grid(first)}); run the participant level of all with the same --res"
            )


def _grid(image: nib.Nifti1Image) -> str:
    size = " x ".join(f"{side:g}" for side in voxel_sizes(image.affine))
    origin = ", ".join(f"{x:g}" for x in image.affine[:3, 3])
    return f"{' x '.join(map(str, image.shape))} voxels of {size} mm from {origin}"
