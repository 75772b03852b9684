"""T1w and BOLD images of a head that moves, of any grid; what is heard may show in the auditory regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
from scipy import ndimage

from ban_bids.demo.anatomy import save_image
from ban_bids.demo.phantom import Scan
from ban_bids.preprocessing.regions import read_atlas
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.template import template_brain

POSE = np.array([2.0, -4, 5, 0.04, 0.02, -0.03])
"""Where the head lies in the scanner: mm, radians."""

STEP = np.array([1.0] * 3 + [1 / 50] * 3) * 0.03
"""Standard deviation of its random walk from volume to volume: mm, radians."""

BRIGHTNESS, NOISE = 8.0, 8.0


@dataclass(frozen=True, eq=False)
class Head:
    """The template's brain, as BOLD and T1w images show it.

    Parameters
    ----------
    brain : ndarray of float, (x, y, z)
        Intensity of the T1w image, without a skull.
    contrast : ndarray of float32, (x, y, z)
        Of BOLD images.
    affine : ndarray, (4, 4)
    labels : ndarray of uint8
        1 and more in the auditory regions; on the atlas's own grid.
    labels_affine : ndarray, (4, 4)
    """

    brain: np.ndarray
    contrast: np.ndarray
    affine: np.ndarray
    labels: np.ndarray
    labels_affine: np.ndarray

    @classmethod
    def load(cls) -> Head:
        """Read the template and the shipped atlas."""
        brain = ants.image_read(str(template_brain())).numpy()
        contrast = ndimage.gaussian_filter(np.where(brain > 1, 140.0 - brain, 0), 1.0).astype(np.float32)
        return cls(brain, contrast, nib.load(template_brain()).affine, *read_atlas())

    def write_t1w(self, path: Path) -> None:
        """Write an image of the brain in a skull, on the template's 1-mm grid; nothing is done where it is."""
        if path.exists():
            return
        outside = ndimage.distance_transform_edt(self.brain[::2, ::2, ::2] <= 1, sampling=2.0)
        skull = ndimage.zoom(np.where((outside > 8) & (outside < 12), 80.0, 0.0), 2, order=1)
        skull = skull[tuple(slice(n) for n in self.brain.shape)]
        head = self.brain[tuple(slice(n) for n in skull.shape)] + skull
        noisy = (head + np.random.default_rng(0).normal(0, 2, head.shape)).clip(0)
        _save(path, (10 * noisy).astype(np.int16), rigid_matrix(POSE, np.zeros(3)) @ self.affine)

    def write_run(self, path: Path, scan: Scan, seed: int, response: np.ndarray | None = None) -> None:
        """Write one run, the head moving on; nothing is done where it is. Memory: the run once, as int16.

        Parameters
        ----------
        path : Path
            Not compressed where it ends in ``.nii``.
        scan : Scan
            Grid, voxel size, volumes, TR and slice times.
        seed : int
            Of motion and noise.
        response : ndarray, (n_volumes, n_slices, 1 + n_regions), optional
            By how much, in parts of its brightness, tissue of each region is brighter; 0 is outside the regions.
        """
        if path.exists():
            return
        rng = np.random.default_rng(seed)
        grid = np.diag([scan.voxel] * 3 + [1.0])
        grid[:3, 3] = -scan.voxel / 2 * np.array(scan.shape) + (0, -18, 10)
        walk = np.cumsum(rng.normal(0, STEP, (scan.n_volumes, 6)), axis=0)
        series = np.empty((*scan.shape, scan.n_volumes), np.int16)
        slices = np.arange(scan.shape[2])
        for t, moved in enumerate(walk):
            place = np.linalg.inv(rigid_matrix(moved, np.zeros(3))) @ grid
            volume = _pulled(self.contrast, self.affine, place, scan.shape, order=1)
            if response is not None:
                labels = _pulled(self.labels, self.labels_affine, place, scan.shape, order=0)
                volume *= 1 + response[t][slices, labels].astype(np.float32)
            noise = rng.standard_normal(scan.shape, dtype=np.float32)
            series[..., t] = BRIGHTNESS * volume + 20 + NOISE * noise
        _save(path, series, rigid_matrix(POSE, np.zeros(3)) @ grid, scan.repetition_time)


def _pulled(
    image: np.ndarray, affine: np.ndarray, place: np.ndarray, shape: tuple[int, ...], *, order: int
) -> np.ndarray:
    """An image on the grid whose voxels lie at ``place``."""
    pull = np.linalg.inv(affine) @ place
    return ndimage.affine_transform(image, pull[:3, :3], pull[:3, 3], shape, order=order)


def _save(path: Path, data: np.ndarray, affine: np.ndarray, repetition_time: float | None = None) -> None:
    """Write an image whole or not at all."""
    unfinished = path.with_name(f"unfinished_{path.name}")
    save_image(unfinished, data, affine, repetition_time)
    unfinished.replace(path)
